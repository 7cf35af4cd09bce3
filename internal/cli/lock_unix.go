//go:build unix

package cli

import (
	"os"
	"syscall"
)

// lockFile takes an open file for this process alone, until it is closed.
func lockFile(file *os.File) error {
	return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
