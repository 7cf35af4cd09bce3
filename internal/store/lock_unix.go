//go:build unix

package store

import (
	"errors"
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

// unlock says so: to close the file is not enough while a child that was just
// forked, and has not come to be another program yet, has it open too.
func (l *fileLock) unlock() error {
	return errors.Join(syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN), l.file.Close())
}
