//go:build !linux

package pgtest

import (
	"errors"
	"os"
	"syscall"
)

var errUnsupported = errors.New("a private server needs Linux; TENANTRY_TEST_POSTGRES may name another one")

func supported() error                   { return errUnsupported }
func detached() *syscall.SysProcAttr     { return nil }
func asOwner() *syscall.SysProcAttr      { return nil }
func dieWithParent(*syscall.SysProcAttr) {}
func giveAway(string) error              { return errUnsupported }
func spaceIn(string) int64               { return 0 }
func mountMemory(string, int64) error    { return errUnsupported }
func unmount(string) error               { return errUnsupported }
func allocate(*os.File, int64) error     { return errUnsupported }
func killAll(*os.Process) error          { return errUnsupported }
func freezeAll(*os.Process) error        { return errUnsupported }
func thawAll(*os.Process) error          { return errUnsupported }
