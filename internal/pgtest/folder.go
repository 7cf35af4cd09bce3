package pgtest

import (
	"fmt"
	"os"
	"os/exec"
)

// watchdog waits for the end of its input, which nobody writes to: it comes
// when the test process closes the other end or is no more. Then it ends the
// servers below the folder $1 and removes that. A server is known by a process
// number and a command line: the number alone could be somebody else's by now.
// A frozen one has to be woken, or it would not hear that it should end.
const watchdog = `
read -r _
n=0
while [ -e "$1" ] && [ $n -lt 600 ]; do
	n=$((n + 1)) busy=
	for file in "$1"/*/postmaster.pid; do
		read -r pid <"$file" || continue
		case "$(tr '\0' ' ' <"/proc/$pid/cmdline")" in
		*" ${file%/*} "*) busy=yes ;;
		*) continue ;;
		esac
		read -r others <"/proc/$pid/task/$pid/children"
		kill -CONT "$pid" $others
		if [ $n -lt 200 ]; then kill -QUIT "$pid"; else kill -KILL "$pid"; fi
	done
	if [ -z "$busy" ]; then rm -rf "$1" || umount -l "$1"/*; fi
	[ ! -e "$1" ] || sleep 0.05
done
[ ! -e "$1" ]
`

// folder holds the files of servers and is removed at the end of the test
// process if not before, its servers ended.
type folder struct {
	path     string
	lifeline *os.File // what the watchdog waits for
	watchdog *exec.Cmd
}

// Memory is the folder for files in memory, or, where there is none with room in
// it, the one for temporary files.
func Memory() string {
	// A container may have as little as 64 MB there.
	if spaceIn("/dev/shm") >= 1<<30 {
		return "/dev/shm"
	}
	return os.TempDir()
}

// newFolder makes one in memory, or on a disk where that is wanted.
func newFolder(onDisk bool) (*folder, error) {
	parent := os.TempDir()
	if !onDisk {
		parent = Memory()
	}
	path, err := os.MkdirTemp(parent, "tenantry-pg-")
	if err != nil {
		return nil, err
	}
	f := &folder{path: path}
	if err := f.watch(); err != nil {
		os.RemoveAll(path)
		return nil, fmt.Errorf("the watchdog: %w", err)
	}
	if err := giveAway(path); err != nil {
		f.remove()
		return nil, err
	}
	return f, nil
}

func (f *folder) watch() error {
	r, w, err := os.Pipe() // both are closed in programs that this process starts
	if err != nil {
		return err
	}
	defer r.Close()
	// It runs as we do, not as the servers: it may have to unmount.
	c := exec.Command("/bin/sh", "-c", watchdog, "pgtest-watchdog", f.path)
	c.Dir, c.Stdin = "/", r
	c.SysProcAttr = detached()
	if err := c.Start(); err != nil {
		w.Close()
		return err
	}
	f.lifeline, f.watchdog = w, c
	return nil
}

// remove ends the servers in the folder and removes it.
func (f *folder) remove() error {
	f.lifeline.Close()
	return f.watchdog.Wait()
}
