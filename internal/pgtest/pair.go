package pgtest

import (
	"context"
	"errors"
	"net/url"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// pairDatabase is the one that URL of a pair names.
const pairDatabase = "tenantry"

// Pair is a primary and a standby that follows it: the primary confirms a
// commit when the standby has it too. When the one is killed the other takes
// over, and the first comes back as its standby:
//
//	p.KillPrimary()
//	p.Promote()
//	p.Rejoin()
//
// Between Promote and Rejoin there is but one server, which confirms alone.
// Whatever was confirmed by the time Rejoin returns is on both. All methods but
// URL are for the goroutine of the test, as those of [Server] are.
type Pair struct {
	t                testing.TB
	primary, standby *Server
	both             [2]*Server // in the order of the URL
	whole            bool       // the standby has all that was confirmed
}

// StartPair starts two servers that are removed when the test ends.
func StartPair(t testing.TB) *Pair {
	t.Helper()
	o := Options{Settings: []string{
		// A standby whose primary is gone looks for more from it again after
		// that time, and hears of its promotion no sooner.
		"wal_retrieve_retry_interval = 100ms",
		// What is written between the copy and the moment the copy follows.
		"wal_keep_size = 128MB",
	}}
	p := &Pair{t: t, primary: newServer(t, o), standby: newServer(t, o)}
	p.both = [2]*Server{p.primary, p.standby}
	p.primary.cluster.upstream, p.standby.cluster.upstream = p.standby.cluster, p.primary.cluster
	p.must(p.primary.cluster.copyPristine())
	p.primary.Start()
	p.must(p.primary.cluster.query("", func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "CREATE DATABASE "+pairDatabase)
		return err
	}))
	p.must(p.join())
	return p
}

func (p *Pair) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatalf("pgtest: %v", err)
	}
}

// URL returns one address for both servers, with target_session_attrs set so
// that a client finds the one that takes writes.
func (p *Pair) URL() string {
	a, b := p.both[0].cluster, p.both[1].cluster
	query := url.Values{
		"host":                 {a.folder.path + "," + b.folder.path},
		"port":                 {strconv.Itoa(a.port) + "," + strconv.Itoa(b.port)},
		"target_session_attrs": {"read-write"},
	}
	u := url.URL{Scheme: "postgres", User: url.User(superuser), Path: "/" + pairDatabase, RawQuery: query.Encode()}
	return u.String()
}

// Primary returns the server that takes writes, or did before it was killed. It
// may be frozen and thawed, and another one promoted meanwhile.
func (p *Pair) Primary() *Server { return p.primary }

// Standby returns the other one.
func (p *Pair) Standby() *Server { return p.standby }

// KillPrimary is kill -9 for the primary. The standby has all it confirmed.
func (p *Pair) KillPrimary() {
	p.t.Helper()
	p.mayLose()
	p.primary.Kill()
}

// mayLose ends the test if the standby could not take over.
func (p *Pair) mayLose() {
	p.t.Helper()
	if !p.whole {
		p.t.Fatal("pgtest: the other server has not rejoined: confirmed writes would be lost")
	}
}

// Promote makes the standby the primary and returns when it takes writes. A
// primary that was frozen, not killed, knows nothing of it: when thawed it takes
// writes too, but confirms none.
func (p *Pair) Promote() {
	p.t.Helper()
	p.mayLose()
	p.must(p.standby.cluster.query("", func(ctx context.Context, conn *pgx.Conn) error {
		// Waiting is left to us: the server itself would look every 100 ms.
		if _, err := conn.Exec(ctx, "SELECT pg_promote(wait => false)"); err != nil {
			return err
		}
		return asking(ctx, conn, "the standby does not take over", "SELECT NOT pg_is_in_recovery()")
	}))
	p.primary, p.standby = p.standby, p.primary
	p.whole = false
}

// Rejoin makes the server that was primary before a standby of the new one,
// kills it first if it is alive, and returns when no commit is confirmed any
// more that the standby has not.
func (p *Pair) Rejoin() {
	p.t.Helper()
	p.standby.Kill()
	p.must(os.RemoveAll(p.standby.cluster.data()))
	p.must(p.join())
}

// join makes a standby of an empty data folder. It is a copy of the primary, not
// pg_rewind's work on what is there: for small databases that takes as long,
// and it needs nothing of the old one.
func (p *Pair) join() error {
	primary, standby := p.primary.cluster, p.standby.cluster
	err := primary.in.run("pg_basebackup", "--pgdata="+standby.data(), "--host="+primary.folder.path,
		"--port="+strconv.Itoa(primary.port), "--username="+superuser, "--checkpoint=fast", "--wal-method=stream", "--no-sync")
	if err != nil {
		return err
	}
	// When promoted it must not wait for a standby that it has not got yet.
	if err := standby.write("postgresql.auto.conf", ""); err != nil {
		return err
	}
	if err := standby.write("standby.signal", ""); err != nil {
		return err
	}
	if err := standby.start(); err != nil {
		return err
	}
	if err := primary.query("", requireStandby); err != nil {
		return err
	}
	p.whole = true
	return nil
}

// requireStandby has the primary wait for the standby at each commit from now,
// and returns when the standby has all that was confirmed before.
func requireStandby(ctx context.Context, conn *pgx.Conn) error {
	err := asking(ctx, conn, "the standby does not follow",
		"SELECT EXISTS (SELECT FROM pg_stat_replication WHERE application_name = 'standby' AND state = 'streaming')")
	if err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "ALTER SYSTEM SET synchronous_standby_names = 'standby'"); err != nil {
		return err
	}
	// Commits wait from the moment the checkpointer has read this setting. The
	// second reload begins when the first has been announced to all processes,
	// and the checkpointer hears of that before it makes a checkpoint.
	for range 2 {
		if err := reload(ctx, conn); err != nil {
			return err
		}
	}
	if _, err := conn.Exec(ctx, "CHECKPOINT"); err != nil {
		return err
	}
	err = asking(ctx, conn, "the standby is not synchronous",
		"SELECT EXISTS (SELECT FROM pg_stat_replication WHERE application_name = 'standby' AND sync_state = 'sync')")
	if err != nil {
		return err
	}
	// This commit waits, and what was confirmed before lies before it.
	_, err = conn.Exec(ctx, "SELECT pg_logical_emit_message(true, 'pgtest', 'both have this')")
	return err
}

// reload has all processes read the settings and returns when ours has.
func reload(ctx context.Context, conn *pgx.Conn) error {
	var before time.Time
	if err := conn.QueryRow(ctx, "SELECT pg_conf_load_time()").Scan(&before); err != nil {
		return err
	}
	var sent bool
	if err := conn.QueryRow(ctx, "SELECT pg_reload_conf()").Scan(&sent); err != nil {
		return err
	}
	if !sent {
		return errors.New("the server does not reload its settings")
	}
	return asking(ctx, conn, "the settings are not reloaded", "SELECT pg_conf_load_time() > $1", before)
}

// asking waits until a question is answered with true.
func asking(ctx context.Context, conn *pgx.Conn, failing, sql string, args ...any) error {
	return eventually(failing, func() (bool, error) {
		var yes bool
		err := conn.QueryRow(ctx, sql, args...).Scan(&yes)
		return yes, err
	})
}

// query connects to a database for as long as ask takes.
func (c *cluster) query(database string, ask func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.url(database))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return ask(ctx, conn)
}
