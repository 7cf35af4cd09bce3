package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is the CPU time, user and system, that a process has used: what stands
// in /proc/PID/stat, in nanoseconds instead of hundredths of a second.
func cpuTime(pid int) (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|2, &t); err != nil {
		return 0, fmt.Errorf("read the CPU time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// memory is a line of /proc/PID/status, such as VmHWM, in MiB.
func memory(pid int, name string) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			return float64(kib) / 1024, err
		}
	}
	return 0, fmt.Errorf("process %d has no %s", pid, name)
}

// resetPeak makes VmHWM count from now.
func resetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

func datasync(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }

// childrenTime is the CPU time of a process's children that have ended, to a
// hundredth of a second.
func childrenTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name, in parentheses, may itself hold spaces and parentheses.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 15 {
		return 0, fmt.Errorf("/proc/%d/stat is not understood", pid)
	}
	user, err := strconv.Atoi(fields[13])
	system, err2 := strconv.Atoi(fields[14])
	return time.Duration(user+system) * 10 * time.Millisecond, errors.Join(err, err2)
}

// owner is whom PostgreSQL runs as, for it refuses to run as root: nil for the
// user of this process.
func owner() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		return nil, errors.New("PostgreSQL refuses to run as root, and there is no user postgres")
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
}

// asOwner is for PostgreSQL's programs, which Ctrl-C is not for.
func asOwner() *syscall.SysProcAttr {
	credential, _ := owner() // giveAway has looked at the error
	return &syscall.SysProcAttr{Setsid: true, Credential: credential}
}

func endWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGINT }

// giveAway makes a folder PostgreSQL's own.
func giveAway(folder string) error {
	credential, err := owner()
	if credential == nil {
		return err
	}
	return os.Chown(folder, int(credential.Uid), int(credential.Gid))
}

func syncAll() { unix.Sync() }

// sleep is more exact than time.Sleep, which may take a millisecond at least.
func sleep(d time.Duration) {
	t := unix.NsecToTimespec(d.Nanoseconds())
	unix.Nanosleep(&t, nil)
}
