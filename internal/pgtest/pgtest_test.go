package pgtest

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func connect(t testing.TB, address string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func exec1(t testing.TB, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// ask returns the one value of the one row.
func ask[T any](t testing.TB, conn *pgx.Conn, sql string, args ...any) T {
	t.Helper()
	var answer T
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&answer); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return answer
}

func TestURL(t *testing.T) {
	t.Parallel()
	var name string
	t.Run("fresh", func(t *testing.T) {
		a, b := connect(t, URL(t)), connect(t, URL(t))
		exec1(t, a, "CREATE TABLE thing ()")
		exec1(t, b, "CREATE TABLE thing ()")
		name = ask[string](t, a, "SELECT current_database()")
		if got := ask[string](t, a, "SHOW synchronous_commit"); got != "on" {
			t.Errorf("synchronous_commit is %s", got)
		}
		// Both are dropped although somebody is connected.
	})
	t.Run("dropped", func(t *testing.T) {
		if ask[bool](t, connect(t, URL(t)), "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name) {
			t.Errorf("the database %s is still there after its test", name)
		}
	})
}

func TestTCP(t *testing.T) {
	t.Parallel()
	conn := connect(t, TCP(URL(t)))
	if !ask[bool](t, conn, "SELECT inet_server_addr() IS NOT NULL") {
		t.Error("not connected by TCP")
	}
	for address, want := range map[string]string{
		"postgres://u@/d?host=%2Frun&port=1":                                   "postgres://u@127.0.0.1:1/d?sslmode=disable",
		"postgres://u@/d?host=%2Fa%2C%2Fb&port=1%2C2&target_session_attrs=any": "postgres://u@/d?host=127.0.0.1%2C127.0.0.1&port=1%2C2&sslmode=disable&target_session_attrs=any",
		"postgres://u:p@db.example:5432/d?sslmode=require":                     "postgres://u:p@db.example:5432/d?sslmode=require",
	} {
		if got := TCP(address); got != want {
			t.Errorf("TCP(%s) is\n%s, not\n%s", address, got, want)
		}
	}
}

func TestTemplate(t *testing.T) {
	t.Parallel()
	requireInstalled(t)
	name := rand.Text() // with -count the test runs again in the same process
	var prepared atomic.Int32
	prepare := func(address string) error {
		prepared.Add(1)
		conn, err := pgx.Connect(context.Background(), address)
		if err != nil {
			return err
		}
		_, err = conn.Exec(context.Background(), "CREATE TABLE thing (name TEXT); INSERT INTO thing VALUES ('from the template')")
		return errors.Join(err, conn.Close(context.Background()))
	}
	t.Run("copies", func(t *testing.T) {
		for range 8 {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				conn := connect(t, Template(t, name, prepare))
				exec1(t, conn, "INSERT INTO thing VALUES ('mine')")
				if n := ask[int](t, conn, "SELECT count(*) FROM thing"); n != 2 {
					t.Errorf("%d rows, not the template's and mine", n)
				}
			})
		}
	})
	if n := prepared.Load(); n != 1 {
		t.Errorf("prepared %d times", n)
	}
}

// refusing is a test that fails instead of ending its goroutine.
type refusing struct {
	testing.TB
	said string
}

type refusal struct{}

func (*refusing) Helper()          {}
func (r *refusing) Fatal(a ...any) { r.Fatalf("%s", fmt.Sprint(a...)) }
func (r *refusing) Fatalf(s string, a ...any) {
	r.said = "FAIL " + fmt.Sprintf(s, a...)
	panic(refusal{})
}
func (r *refusing) Skipf(s string, a ...any) {
	r.said = "SKIP " + fmt.Sprintf(s, a...)
	panic(refusal{})
}

// refused returns how a call has ended the test.
func refused(t testing.TB, call func(t testing.TB)) string {
	r := &refusing{TB: t}
	func() {
		defer func() {
			if e := recover(); e != nil && e != (refusal{}) {
				panic(e)
			}
		}()
		call(r)
	}()
	return r.said
}

func TestTemplateFails(t *testing.T) {
	t.Parallel()
	for range 2 {
		said := refused(t, func(t testing.TB) {
			Template(t, "broken", func(string) error { return errors.New("no such table") })
		})
		if !strings.HasPrefix(said, "FAIL") || !strings.HasSuffix(said, "no such table") {
			t.Error(said)
		}
	}
}

func TestMissing(t *testing.T) {
	for require, want := range map[string]string{"": "SKIP SKIPPED: PostgreSQL is not installed", "all": "FAIL PostgreSQL is not installed"} {
		t.Setenv("TENANTRY_TEST_REQUIRE", require)
		said := refused(t, func(t testing.TB) { missing(t, "PostgreSQL is not installed", errors.New("nowhere")) })
		if !strings.HasPrefix(said, want) || !strings.HasSuffix(said, "nowhere") {
			t.Errorf("%q: %s", require, said)
		}
	}
}

// TestChild is what the tests below run as a process of its own.
func TestChild(t *testing.T) {
	switch os.Getenv("PGTEST_CHILD") {
	case "":
		t.Skip("for other tests")
	case "foreign":
		conn := connect(t, URL(t))
		exec1(t, conn, "CREATE TABLE thing ()")
		fmt.Println("listens on", ask[string](t, conn, "SHOW port"))
		for range 2 {
			connect(t, Template(t, "none", func(string) error { return nil }))
		}
	default:
		u, err := pgx.ParseConfig(URL(t))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("folder", u.Host)
		var o Options
		if mountable(t) {
			o.DiskBytes = 64 << 20
		}
		frozen := Start(t, o)
		frozen.Freeze()
		fmt.Println("folder", frozen.cluster.folder.path)
		fmt.Println("ready")
		if os.Getenv("PGTEST_CHILD") == "panic" {
			panic("as wanted")
		}
		select {}
	}
}

func mountable(t testing.TB) bool {
	folder := t.TempDir()
	return mountMemory(folder, 1<<20) == nil && unmount(folder) == nil
}

// child starts a process that runs TestChild, to be read line by line.
func child(t *testing.T, how string, environment ...string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.v")
	c.Env = append(append(os.Environ(), "PGTEST_CHILD="+how), environment...)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
	return c, bufio.NewScanner(out)
}

// TestNothingIsLeft ends test processes in ways that run no cleanup.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	requireInstalled(t)
	for how, signal := range map[string]os.Signal{"kill": os.Kill, "interrupt": os.Interrupt, "panic": nil} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			c, out := child(t, how)
			var folders []string
			for out.Scan() && !strings.HasSuffix(out.Text(), "ready") {
				if _, folder, ok := strings.Cut(out.Text(), "folder "); ok {
					folders = append(folders, folder)
				}
			}
			if len(folders) != 2 {
				t.Fatalf("the child has made %q", folders)
			}
			if signal != nil {
				if n := len(processesIn(t, folders)); n < 4 {
					t.Errorf("the child has started %d servers and watchdogs", n)
				}
				if err := c.Process.Signal(signal); err != nil {
					t.Fatal(err)
				}
			}
			for out.Scan() {
				continue // to the end of the process
			}
			ended := time.Now()
			err := within(10*time.Second, "something is left", func() (bool, error) {
				return !exists(folders[0]) && !exists(folders[1]) && len(processesIn(t, folders)) == 0, nil
			})
			if err != nil {
				t.Fatal(err, processesIn(t, folders))
			}
			t.Logf("gone after %v", time.Since(ended))
		})
	}
}

// processesIn are the servers that have been started on folders.
func processesIn(t *testing.T, folders []string) []string {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range lines {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		for _, folder := range folders {
			if strings.Contains(string(text), folder) {
				found = append(found, strings.ReplaceAll(string(text), "\x00", " "))
			}
		}
	}
	return found
}

// TestForeignServer has a process make its databases on a server of this one.
func TestForeignServer(t *testing.T) {
	t.Parallel()
	s := Start(t, Options{})
	_, out := child(t, "foreign", "TENANTRY_TEST_POSTGRES="+s.URL(""))
	var said strings.Builder
	for out.Scan() {
		fmt.Fprintln(&said, out.Text())
	}
	if want := fmt.Sprintf("listens on %d\n", s.cluster.port); !strings.Contains(said.String(), want) || !strings.Contains(said.String(), "--- PASS") {
		t.Errorf("the process says\n%snot %s", said.String(), want)
	}
	if left := ask[int](t, connect(t, s.URL("")), "SELECT count(*) FROM pg_database WHERE datname LIKE 'tenantry%'"); left != 0 {
		t.Errorf("%d databases are left", left)
	}
}
