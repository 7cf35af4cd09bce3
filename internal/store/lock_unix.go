//go:build unix

package store

import (
	"os"
	"syscall"
)

// fileLock keeps a second server off the same file.
type fileLock struct{ file *os.File }

func lockFile(path string) (*fileLock, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		return nil, err
	}
	return &fileLock{file}, nil
}

func (l *fileLock) unlock() error { return l.file.Close() }
