package pgtest

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Options say what kind of server [Start] starts. The zero value is fast.
type Options struct {
	// Settings are further lines for postgresql.conf.
	Settings []string

	// Durable has the server keep its files in the folder for temporary ones,
	// not in memory, and sync them.
	Durable bool

	// DiskBytes gives the server a disk of its own, in memory, of that size. A
	// server without any data of a test's takes 40 MB. Only root can mount a
	// disk: for others the test is skipped, or fails if the environment has
	// TENANTRY_TEST_REQUIRE=all.
	DiskBytes int64
}

// Server is a server of one test's own, to be broken. Its methods, but for URL and
// Addr, are for the goroutine of the test, which they end when they fail.
type Server struct {
	t       testing.TB
	cluster *cluster
	ballast string // the file of FillDisk, on a server with a disk of its own
}

// Start starts a server that is removed when the test ends. The end of its log
// is shown if the test fails.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s := newServer(t, o)
	s.must(s.cluster.copyPristine())
	s.must(s.cluster.start())
	return s
}

// newServer is a server without any files yet.
func newServer(t testing.TB, o Options) *Server {
	t.Helper()
	requireInstalled(t)
	c, err := newCluster(o.Durable, o.Settings)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	s := &Server{t: t, cluster: c}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the log of the server at %s:\n%s", c.addr(), c.tail(0))
		}
		if err := c.kill(); err != nil {
			t.Errorf("pgtest: %v", err)
		}
		if o.DiskBytes > 0 && s.ballast != "" {
			if err := unmount(c.data()); err != nil {
				t.Errorf("pgtest: unmount: %v", err)
			}
		}
		if err := c.folder.remove(); err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	if o.DiskBytes > 0 {
		s.must(os.Mkdir(c.data(), 0o700))
		if err := mountMemory(c.data(), o.DiskBytes); err != nil {
			missing(t, "no disk can be mounted", err)
		}
		s.ballast = filepath.Join(c.data(), "ballast")
		s.must(giveAway(c.data()))
	}
	return s
}

func (s *Server) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("pgtest: %v", err)
	}
}

// URL returns the address of a database by way of the Unix socket; there is one
// named postgres from the start. It stays the same when the server is started
// again.
func (s *Server) URL(database string) string { return s.cluster.url(database) }

// Addr returns host and port for TCP, which stay the same too.
func (s *Server) Addr() string { return s.cluster.addr() }

// Kill ends all processes of the server at once, by kill -9, frozen or not.
func (s *Server) Kill() {
	s.t.Helper()
	s.must(s.cluster.kill())
}

// Stop shuts the server down in order; its clients' transactions are rolled back.
func (s *Server) Stop() {
	s.t.Helper()
	s.must(s.cluster.stop())
}

// Start starts the server after Kill, Stop or an end of its own, and returns
// when it answers.
func (s *Server) Start() {
	s.t.Helper()
	s.must(s.cluster.start())
}

// Freeze stops all processes of the server where they are (SIGSTOP). The kernel
// goes on taking connections for it, until its queue is full.
func (s *Server) Freeze() {
	s.t.Helper()
	s.must(s.cluster.freeze())
}

// Thaw lets a frozen server go on as if nothing had been.
func (s *Server) Thaw() {
	s.t.Helper()
	s.must(s.cluster.thaw())
}

// FillDisk leaves the server so many bytes of its own disk (see
// [Options].DiskBytes), rounded to pages; a negative number gives back all.
func (s *Server) FillDisk(left int64) {
	s.t.Helper()
	if s.ballast == "" {
		s.t.Fatal("pgtest: the server has no disk of its own: Options.DiskBytes")
	}
	if err := os.Remove(s.ballast); !os.IsNotExist(err) {
		s.must(err)
	}
	if left < 0 {
		return
	}
	f, err := os.Create(s.ballast)
	s.must(err)
	defer f.Close()
	for {
		size := spaceIn(s.cluster.data()) - left
		if size <= 0 {
			return
		}
		// The server may take some of it in between.
		if err := allocate(f, size); !errors.Is(err, syscall.ENOSPC) {
			s.must(err)
			return
		}
	}
}
