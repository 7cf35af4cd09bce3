package pgtest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

func supported() error {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		return fmt.Errorf("a private server needs /proc: %w", err)
	}
	_, err := owner()
	return err
}

// owner is whom servers run as: nil for the user of this process.
var owner = sync.OnceValues(func() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		if account, err = user.Lookup("nobody"); err != nil {
			return nil, errors.New("it refuses to run as root, and there is no user postgres or nobody")
		}
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
})

// detached is for a program that no signal from the terminal should reach.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// asOwner is for one that servers are made of.
func asOwner() *syscall.SysProcAttr {
	a := detached()
	a.Credential, _ = owner() // supported has looked at the error
	return a
}

func dieWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }

// giveAway makes a file or folder the servers' own.
func giveAway(path string) error {
	credential, err := owner()
	if credential == nil {
		return err
	}
	return os.Chown(path, int(credential.Uid), int(credential.Gid))
}

// spaceIn is how many bytes are free in a folder, 0 if that is unknown.
func spaceIn(folder string) int64 {
	var s unix.Statfs_t
	if err := unix.Statfs(folder, &s); err != nil {
		return 0
	}
	return int64(s.Bavail) * int64(s.Bsize)
}

// mountMemory puts a small disk, held in memory, at a folder.
func mountMemory(folder string, size int64) error {
	return unix.Mount("pgtest", folder, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, fmt.Sprintf("mode=0700,size=%d", size))
}

// unmount takes it away, files in use or not.
func unmount(folder string) error { return unix.Unmount(folder, unix.MNT_DETACH) }

// allocate makes an empty file take so much of the disk.
func allocate(f *os.File, size int64) error { return unix.Fallocate(int(f.Fd()), 0, 0, size) }

// killAll kills -9 a server's first process and all others. The first is
// stopped before that, so it starts no others meanwhile, and killed last, so
// their numbers stay theirs.
func killAll(postmaster *os.Process) error {
	if err := signalAll(postmaster, syscall.SIGKILL, "Z"); err != nil {
		return err
	}
	return postmaster.Kill()
}

// freezeAll stops all processes of a server.
func freezeAll(postmaster *os.Process) error {
	return signalAll(postmaster, syscall.SIGSTOP, "TZ")
}

// thawAll lets them go on.
func thawAll(postmaster *os.Process) error {
	children, err := childrenOf(postmaster.Pid)
	if err != nil {
		return err
	}
	for pid := range children {
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil && err != syscall.ESRCH {
			return err
		}
	}
	return postmaster.Signal(syscall.SIGCONT)
}

// signalAll stops the first process and sends a signal to the others until the
// kernel shows each of them in one of the wanted states.
func signalAll(postmaster *os.Process, signal syscall.Signal, wanted string) error {
	if err := postmaster.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	err := eventually("the server does not stop", func() (bool, error) {
		state, _, err := statusOf(postmaster.Pid)
		return strings.Contains("TZ", state), err
	})
	if err != nil {
		return err
	}
	return eventually("processes of the server go on", func() (bool, error) {
		children, err := childrenOf(postmaster.Pid)
		all := true
		for pid, state := range children {
			if !strings.Contains(wanted, state) {
				all = false
				if err := syscall.Kill(pid, signal); err != nil {
					return false, err
				}
			}
		}
		return all, err
	})
}

// childrenOf are the processes started by one, with their states. PostgreSQL
// gives each a session of its own, so there is no group to send a signal to.
func childrenOf(parent int) (map[int]string, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	children := map[int]string{}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if state, its, err := statusOf(pid); err == nil && its == parent {
			children[pid] = state
		}
	}
	return children, nil
}

// statusOf is the state and the parent of a process.
func statusOf(pid int) (state string, parent int, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0, err
	}
	// The name, in parentheses, may itself hold spaces and parentheses.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 2 {
		return "", 0, fmt.Errorf("/proc/%d/stat is not understood", pid)
	}
	parent, err = strconv.Atoi(fields[1])
	return fields[0], parent, err
}
