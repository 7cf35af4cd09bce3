// Package pgtest gives tests PostgreSQL: a fresh database ([URL], [Template]),
// a server to break ([Start]), or two of which one takes over ([StartPair]).
//
// The servers are private to the test process and come from what is installed
// below /usr/lib/postgresql or on the PATH, the newest of it. Where PostgreSQL
// is missing, the test is skipped, or fails if the environment has
// TENANTRY_TEST_REQUIRE=all; go test -short skips it in any case. As PostgreSQL
// refuses to run as root, root's servers run as the user postgres or nobody.
//
// However the test process ends, kill -9 included, its servers end with it and
// their folders are removed.
package pgtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// patience is how long anything may take that a server is asked for. It is
// generous, for a busy machine must not fail a test.
const patience = time.Minute

// URL returns the address of a fresh, empty database that is dropped when the
// test ends, whoever is connected to it. It lies on a server that all tests of
// the process share, or on the one that TENANTRY_TEST_POSTGRES names by URL.
//
// The shared server keeps every promise of PostgreSQL's but one: fsync is off,
// so it would not survive a power cut. It can be reached by its Unix socket, as
// the URL has it, and by TCP, see [TCP].
func URL(t testing.TB) string {
	t.Helper()
	s := sharing(t)
	name := databaseName("test")
	s.create(t, name, "template0")
	return s.url(name)
}

// Template is like URL, but the database is a copy of one that prepare has
// filled: once in the process for each name, however many tests ask. When
// prepare returns it must have closed its connections.
//
// On a server that TENANTRY_TEST_POSTGRES names, every database is prepared by
// itself, because nothing could remove a template there at the end.
func Template(t testing.TB, name string, prepare func(url string) error) string {
	t.Helper()
	s := sharing(t)
	if s.foreign {
		address := URL(t)
		if err := prepare(address); err != nil {
			t.Fatalf("pgtest: prepare %s: %v", name, err)
		}
		return address
	}
	s.mu.Lock()
	made := s.templates[name]
	if made == nil {
		made = &template{database: databaseName("template")}
		s.templates[name] = made
	}
	s.mu.Unlock()
	if err := made.prepare(s, prepare); err != nil {
		t.Fatalf("pgtest: prepare %s: %v", name, err)
	}
	copied := databaseName("test")
	s.create(t, copied, made.database)
	return s.url(copied)
}

// TCP turns a URL of this package's into one that goes through TCP on
// 127.0.0.1, which a proxy can be put in the way of. The address of a server
// that is reached by TCP anyway comes back as it is.
func TCP(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	query := u.Query()
	hosts := strings.Split(query.Get("host"), ",")
	if !strings.HasPrefix(hosts[0], "/") {
		return address
	}
	query.Set("sslmode", "disable")
	if len(hosts) == 1 {
		u.Host = "127.0.0.1:" + query.Get("port")
		query.Del("host")
		query.Del("port")
	} else {
		query.Set("host", strings.Repeat(",127.0.0.1", len(hosts))[1:])
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// shared is the server that URL and Template make databases on.
type shared struct {
	url      func(database string) string
	foreign  bool   // it was there before this process and stays after it
	strategy string // how databases are copied

	mu        sync.Mutex // one at a time: admin is a single connection
	admin     *pgx.Conn
	templates map[string]*template
}

var theShared = sync.OnceValues(func() (*shared, error) {
	s := &shared{templates: map[string]*template{}}
	if address := os.Getenv("TENANTRY_TEST_POSTGRES"); address != "" {
		u, err := url.Parse(address)
		if err != nil || !strings.HasPrefix(u.Scheme, "postgres") {
			return nil, fmt.Errorf("TENANTRY_TEST_POSTGRES is not the URL of a PostgreSQL server")
		}
		s.foreign = true
		s.url = func(database string) string {
			other := *u
			if database != "" {
				other.Path = "/" + database
			}
			return other.String()
		}
		return s, nil
	}
	c, err := newCluster(false, []string{
		"full_page_writes = off", // after kill -9 nobody reads these files again
		"log_min_messages = log", // nor a log of all that tests do wrong on purpose
	})
	if err != nil {
		return nil, err
	}
	s.url = c.url
	if c.in.major >= 15 {
		// The older way is still the faster one, by a quarter.
		s.strategy = " STRATEGY file_copy"
	}
	if err := c.copyPristine(); err != nil {
		return nil, err
	}
	return s, c.start()
})

func sharing(t testing.TB) *shared {
	t.Helper()
	if os.Getenv("TENANTRY_TEST_POSTGRES") == "" || testing.Short() {
		requireInstalled(t)
	}
	s, err := theShared()
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	return s
}

// databaseName is one that no other test process uses, on a foreign server too.
func databaseName(kind string) string {
	return "tenantry_" + kind + "_" + strings.ToLower(rand.Text()[:16])
}

// create copies a database and drops the copy when the test ends.
func (s *shared) create(t testing.TB, name, from string) {
	t.Helper()
	if err := s.do("CREATE DATABASE " + name + " TEMPLATE " + from + s.strategy); err != nil {
		t.Fatalf("pgtest: create a database: %v", err)
	}
	t.Cleanup(func() {
		err := s.do("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '" + name + "'")
		if err == nil {
			err = s.deserted(name)
		}
		if err == nil {
			err = s.do("DROP DATABASE IF EXISTS " + name + " WITH (FORCE)")
		}
		if err != nil {
			t.Errorf("pgtest: drop the database: %v", err)
		}
	})
}

// do runs a statement as the administrator.
func (s *shared) do(sql string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Not the test's context: that one is over when databases are dropped.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if s.admin == nil || s.admin.IsClosed() {
		admin, err := pgx.Connect(ctx, s.url(""))
		if err != nil {
			return err
		}
		s.admin = admin
	}
	_, err := s.admin.Exec(ctx, sql)
	return err
}

// template is a database that others are copies of.
type template struct {
	database string

	mu   sync.Mutex
	done bool
	err  error
}

// prepare makes the template unless that was done or has failed before.
func (m *template) prepare(s *shared, fill func(url string) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.done {
		return m.err
	}
	// fill may leave by t.FailNow, which runs nothing but deferred calls.
	m.done, m.err = true, fmt.Errorf("it did not return")
	if m.err = s.do("CREATE DATABASE " + m.database + " TEMPLATE template0"); m.err != nil {
		return m.err
	}
	m.err = fmt.Errorf("it did not return")
	if m.err = fill(s.url(m.database)); m.err != nil {
		return m.err
	}
	if m.err = s.do("ALTER DATABASE " + m.database + " ALLOW_CONNECTIONS false"); m.err != nil {
		return m.err
	}
	m.err = s.deserted(m.database)
	return m.err
}

// deserted waits until nobody is connected to a database. The server notices a
// moment after a client has left; copying and dropping would wait as well, but
// look again only every 100 ms.
func (s *shared) deserted(database string) error {
	return eventually("somebody is still connected", func() (bool, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		var empty bool
		err := s.admin.QueryRow(context.Background(), `SELECT NOT EXISTS (
			SELECT FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend')`, database).Scan(&empty)
		return empty, err
	})
}

// eventually asks until the answer is yes, or says what did not come about.
func eventually(failing string, ask func() (bool, error)) error {
	return within(patience, failing, ask)
}

func within(limit time.Duration, failing string, ask func() (bool, error)) error {
	deadline := time.Now().Add(limit)
	for {
		yes, err := ask()
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", failing, err)
		case yes:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("%s after %v", failing, limit)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
