//go:build !linux

package faultfs

import (
	"errors"
	"runtime"
)

var errOS = errors.New("faultfs needs Linux, this is " + runtime.GOOS)

// Available returns why FUSE cannot be used here, nil if it can.
func Available() error { return errOS }

func (f *FS) mount() (unmount func(), err error) { return nil, errOS }

func keyOf(string) (fileKey, error) { return fileKey{}, errOS }
