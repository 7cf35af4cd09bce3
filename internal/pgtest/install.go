package pgtest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// installation is PostgreSQL as it is installed here.
type installation struct {
	bin   string // the folder of its programs
	major int    // its version
}

var installed = sync.OnceValues(func() (*installation, error) {
	if err := supported(); err != nil {
		return nil, err
	}
	// Debian keeps them off the PATH, each version in a folder of its own.
	folders, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return nil, err
	}
	if found, err := exec.LookPath("postgres"); err == nil {
		if found, err = filepath.EvalSymlinks(found); err == nil {
			folders = append(folders, filepath.Dir(found))
		}
	}
	var newest *installation
	for _, folder := range folders {
		if !exists(filepath.Join(folder, "initdb")) {
			continue
		}
		major, err := majorVersion(filepath.Join(folder, "postgres"))
		if err == nil && (newest == nil || major > newest.major) {
			newest = &installation{folder, major}
		}
	}
	if newest == nil {
		return nil, errors.New("no server in /usr/lib/postgresql/*/bin nor on the PATH (Debian: apt-get install postgresql)")
	}
	return newest, nil
})

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// majorVersion is 15 where the program says "postgres (PostgreSQL) 15.16 (…)".
func majorVersion(program string) (int, error) {
	out, err := exec.Command(program, "--version").Output()
	if err != nil {
		return 0, err
	}
	_, version, _ := strings.Cut(string(out), ") ")
	digits := strings.IndexFunc(version, func(r rune) bool { return r < '0' || r > '9' })
	return strconv.Atoi(version[:max(digits, 0)])
}

// requireInstalled skips the test where there is no PostgreSQL, or fails it
// where nothing may be skipped.
func requireInstalled(t testing.TB) *installation {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: -short: PostgreSQL is a program of its own")
	}
	in, err := installed()
	if err != nil {
		missing(t, "PostgreSQL is not installed", err)
	}
	return in
}

func missing(t testing.TB, what string, err error) {
	t.Helper()
	if os.Getenv("TENANTRY_TEST_REQUIRE") == "all" {
		t.Fatalf("%s and TENANTRY_TEST_REQUIRE=all: %v", what, err)
		return
	}
	t.Skipf("SKIPPED: %s: %v", what, err)
}

// command is one of PostgreSQL's programs, or one that works on its files, as
// the user who may run them and away from the terminal: Ctrl-C is not for it.
func (in *installation) command(program string, args ...string) *exec.Cmd {
	if own := filepath.Join(in.bin, program); exists(own) {
		program = own
	}
	c := exec.Command(program, args...)
	c.Dir = "/" // the test's own may be closed to that user
	for _, variable := range os.Environ() {
		// The user's PGDATA, PGPORT or PGOPTIONS are not meant for us.
		if !strings.HasPrefix(variable, "PG") && !strings.HasPrefix(variable, "LC_") {
			c.Env = append(c.Env, variable)
		}
	}
	c.Env = append(c.Env, "LC_ALL=C")
	c.SysProcAttr = asOwner()
	return c
}

// run runs a command to its end, which comes with that of this process too.
func (in *installation) run(program string, args ...string) error {
	c := in.command(program, args...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	// The kernel watches the thread that starts the program, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	dieWithParent(c.SysProcAttr)
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(program), err, out.Bytes())
	}
	return nil
}
