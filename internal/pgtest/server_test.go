//go:build linux

package pgtest

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestServer(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{"memory": {}, "durable": {Durable: true, Settings: []string{"max_connections = 17"}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := Start(t, o)
			addr := s.Addr()
			conn := connect(t, s.URL("postgres"))
			if got := ask[string](t, conn, "SHOW fsync"); (got == "on") != o.Durable {
				t.Errorf("fsync is %s", got)
			}
			if got := ask[string](t, conn, "SHOW max_connections"); (got == "17") != (o.Settings != nil) {
				t.Errorf("max_connections is %s", got)
			}
			exec1(t, conn, "CREATE TABLE thing (n BIGINT)")
			for i, end := range []func(){s.Kill, s.Stop, s.Kill} {
				exec1(t, conn, "INSERT INTO thing VALUES ($1)", i)
				end()
				if _, err := net.Dial("tcp", addr); err == nil {
					t.Error("somebody listens although the server has ended")
				}
				if _, err := conn.Exec(t.Context(), "INSERT INTO thing VALUES (100)"); err == nil {
					t.Error("a server that has ended has answered")
				}
				s.Start()
				if s.Addr() != addr {
					t.Errorf("the address is %s, no longer %s", s.Addr(), addr)
				}
				conn = connect(t, TCP(s.URL("postgres")))
				if n := ask[int](t, conn, "SELECT count(*) FROM thing"); n != i+1 {
					t.Errorf("%d rows, not %d", n, i+1)
				}
			}
		})
	}
}

// TestPortIsTaken has somebody take the port before the server does.
func TestPortIsTaken(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := newServer(t, Options{})
	s.must(s.cluster.copyPristine())
	s.cluster.port = l.Addr().(*net.TCPAddr).Port
	s.Start()
	if s.Addr() == l.Addr().String() {
		t.Error("the server listens where somebody else does")
	}
	connect(t, TCP(s.URL("")))
}

func TestFreeze(t *testing.T) {
	t.Parallel()
	s := Start(t, Options{})
	conn := connect(t, s.URL(""))
	exec1(t, conn, "CREATE TABLE thing ()")
	s.Freeze()
	answered := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.Background(), "INSERT INTO thing DEFAULT VALUES")
		answered <- err
	}()
	// Nothing can be waited for: what is looked for is that nothing comes.
	select {
	case err := <-answered:
		t.Fatalf("a frozen server has answered: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	for pid, state := range must(childrenOf(s.cluster.server.Process.Pid)) {
		if state != "T" {
			t.Errorf("process %d is in state %s", pid, state)
		}
	}
	s.Thaw()
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	s.Freeze()
	s.Kill()
	s.Start()
	if n := ask[int](t, connect(t, s.URL("")), "SELECT count(*) FROM thing"); n != 1 {
		t.Errorf("%d rows", n)
	}
	s.Freeze()
	s.Stop()
}

// fill inserts until that fails for want of space and returns how many inserts
// were confirmed. The disk is full for the table, which fails the statement, or
// for the log, which ends the server.
func fill(t *testing.T, s *Server) int {
	t.Helper()
	conn := connect(t, s.URL(""))
	exec1(t, conn, "CREATE TABLE thing (n BIGINT, filling TEXT)")
	for n := range 2000 {
		_, err := conn.Exec(t.Context(), `INSERT INTO thing
			SELECT $1, repeat(md5(random()::text), 50) FROM generate_series(1, 100)`, n)
		if err == nil {
			continue
		}
		t.Logf("after %d inserts: %v", n, err)
		var said *pgconn.PgError
		if full := errors.As(err, &said) && said.Code == "53100"; !full && !conn.IsClosed() {
			t.Fatal("that is something else")
		}
		return n
	}
	t.Fatal("the disk does not get full")
	return 0
}

func TestDiskBytes(t *testing.T) {
	t.Parallel()
	fill(t, Start(t, Options{DiskBytes: 96 << 20}))
}

func TestFillDisk(t *testing.T) {
	t.Parallel()
	s := Start(t, Options{DiskBytes: 256 << 20})
	s.FillDisk(1 << 20)
	confirmed := fill(t, s)
	s.FillDisk(-1)
	s.Kill()
	s.Start()
	conn := connect(t, s.URL(""))
	if n := ask[int](t, conn, "SELECT count(DISTINCT n) FROM thing"); n != confirmed {
		t.Errorf("%d inserts are there, %d were confirmed", n, confirmed)
	}
	exec1(t, conn, "INSERT INTO thing SELECT n, repeat('x', 10000) FROM generate_series(1, 1000) n")
}

func TestDiskIsWanted(t *testing.T) {
	t.Parallel()
	requireInstalled(t)
	if mountable(t) {
		t.Skip("it can be had")
	}
	said := refused(t, func(t testing.TB) { Start(t, Options{DiskBytes: 64 << 20}) })
	if !strings.Contains(said, "no disk can be mounted") {
		t.Error(said)
	}
}
