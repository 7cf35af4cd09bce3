package app_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/pgtest"
)

// TestDatabaseFull takes away the room on PostgreSQL's disk while two nodes write,
// and gives it back: first for the tables, then for its log, without which it
// gives up.
func TestDatabaseFull(t *testing.T) {
	if testing.Short() {
		t.Skip("fills disks: not with -short")
	}
	t.Parallel()
	seed := drillSeed(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	s := pgtest.Start(t, pgtest.Options{DiskBytes: 160 << 20})
	database := s.URL("postgres")
	nodes := []*drillNode{openDrillNode(t, "A", database), openDrillNode(t, "B", database)}
	book := newDrillBook(t, nodes[0])
	// Something to read, and what takes room in the tables.
	reader := book.client(on(nodes[0]), seed)
	known := reader.create(t.Context())
	drillSQL(t, database, "CREATE TABLE filler (text TEXT)", "ALTER TABLE filler ALTER text SET STORAGE PLAIN")
	var all []time.Duration
	for _, log := range []bool{false, true} {
		when := map[bool]string{false: "no room for tables", true: "no room for the log"}[log]
		stop := book.drillLoad(seed, nodes...)
		defer stop()
		drillSleep(rng, 200*time.Millisecond, 500*time.Millisecond)
		refused := book.answered(503)
		s.FillDisk(rng.Int64N(64 << 10))
		// What has been set aside is used up: the free room in the pages, or in the log.
		filled := drillFill(t, database, log)
		drillSleep(rng, 2*time.Second, 4*time.Second)
		if !log {
			// The server is up: what there is can be read.
			reader.read(t.Context(), known, "enabled")
			if text := reader.send(t.Context(), "GET", "/v2/managed_accounts?page[size]=5", "", ""); text == nil {
				t.Errorf("%s: nothing can be read", when)
			}
		}
		t.Logf("%s: %v; %d requests refused", when, filled, book.answered(503)-refused)
		s.FillDisk(-1)
		s.Start() // if it has ended
		since := time.Now()
		for _, n := range nodes {
			n.reset()
		}
		all = append(all, failoverRecovered(t, when, since, drillRecoveryTime, nodes...)...)
		stop()
		drillSQL(t, database, "TRUNCATE filler")
		book.verify(t, when, database, nodes[1])
	}
	failoverReport(t, all)
	t.Log(book)
	drillPaths(t, nodes...)
}

// drillFill uses up what room a full server has set aside, until it refuses, and
// returns how.
func drillFill(t *testing.T, database string, log bool) error {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for {
		if log {
			_, err = conn.Exec(ctx, "SELECT pg_logical_emit_message(false, 'drill', repeat('x', 1000000))")
		} else {
			_, err = conn.Exec(ctx, "INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 8)")
		}
		if err != nil {
			return err
		}
	}
}

// answered is how many requests were answered with a status.
func (b *drillBook) answered(status int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.answers[status]
}

// TestNoConnections leaves the nodes without connections, in a server that lets in
// few.
func TestNoConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds: not with -short")
	}
	t.Parallel()
	seed := drillSeed(t)
	s := pgtest.Start(t, pgtest.Options{Settings: []string{"max_connections = 25", "superuser_reserved_connections = 0"}})
	database := s.URL("postgres")
	nodes := []*drillNode{openDrillNode(t, "A", database), openDrillNode(t, "B", database)}
	book := newDrillBook(t, nodes[0])
	stop := book.drillLoad(seed, nodes...)
	defer stop()
	var all []time.Duration
	for round := range 2 {
		time.Sleep(300 * time.Millisecond)
		// One ends the nodes' connections, and others take their places, all of them.
		admin, err := pgx.Connect(t.Context(), database)
		if err != nil {
			t.Fatal(err)
		}
		var taken []*pgx.Conn
		for began := time.Now(); time.Since(began) < 4*time.Second; time.Sleep(time.Millisecond) {
			conn, err := pgx.Connect(t.Context(), database)
			if err == nil {
				taken = append(taken, conn)
				continue
			}
			if _, err := admin.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tenantry'"); err != nil {
				t.Fatal(err)
			}
		}
		writes := book.writes()
		time.Sleep(2 * time.Second)
		if more := book.writes() - writes; more > 0 {
			t.Errorf("round %d: %d writes without a connection", round, more)
		}
		for _, conn := range append(taken, admin) {
			conn.Close(t.Context())
		}
		since := time.Now()
		for _, n := range nodes {
			n.reset()
		}
		when := fmt.Sprintf("round %d", round)
		all = append(all, failoverRecovered(t, when, since, drillRecoveryTime, nodes...)...)
		book.verify(t, when, database, nodes[0])
		t.Logf("%s: %d connections taken", when, len(taken))
	}
	stop()
	book.verify(t, "at the end", database, nodes[1])
	failoverReport(t, all)
	t.Log(book)
	drillPaths(t, nodes...)
}

// TestLocksAndConflicts has another session hold what the nodes need, get in each
// other's way with them, and PostgreSQL give up transactions in favour of others.
func TestLocksAndConflicts(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for locks: not with -short")
	}
	t.Parallel()
	seed := drillSeed(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	database := dbtest.Postgres(t)
	nodes := []*drillNode{openDrillNode(t, "A", database), openDrillNode(t, "B", database)}
	book := newDrillBook(t, nodes[0])
	stop := book.drillLoad(seed, nodes...)
	defer stop()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	recovered := func(when string) {
		t.Helper()
		since := time.Now()
		for _, n := range nodes {
			n.reset()
		}
		took := failoverRecovered(t, when, since, drillRecoveryTime, nodes...)
		book.verify(t, when, database, nodes[0])
		t.Logf("%s: writes again after %v; %v", when, took, book)
	}
	exec := func(sql string) error {
		_, err := conn.Exec(t.Context(), sql)
		return err
	}
	must := func(sql string) {
		t.Helper()
		if err := exec(sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	time.Sleep(300 * time.Millisecond)
	for _, lock := range []string{
		"SELECT * FROM account FOR UPDATE", "LOCK TABLE account IN ACCESS EXCLUSIVE MODE", "LOCK TABLE node IN ACCESS EXCLUSIVE MODE",
	} {
		// The nodes may be waiting for what this session has just then, and it be the
		// one that PostgreSQL gives up.
		for {
			must("BEGIN")
			err := exec(lock)
			if err == nil {
				break
			}
			if !strings.Contains(err.Error(), "40P01") {
				t.Fatalf("%s: %v", lock, err)
			}
			must("ROLLBACK")
		}
		drillSleep(rng, 3500*time.Millisecond, 4500*time.Millisecond)
		must("ROLLBACK")
		recovered(lock)
	}

	for range 3 {
		must("BEGIN")
		// A write takes its manager's row before others, this one after.
		err := exec("UPDATE account SET pending = pending WHERE manager_id <> ''")
		if err == nil {
			time.Sleep(100 * time.Millisecond)
			err = exec("UPDATE manager SET channel_pool = channel_pool WHERE account_id <> ''")
		}
		if err != nil && !strings.Contains(err.Error(), "40P01") {
			t.Fatal(err)
		}
		must("ROLLBACK")
	}
	recovered("deadlocks")
	var deadlocks int
	if err := conn.QueryRow(t.Context(), "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").Scan(&deadlocks); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d deadlocks", deadlocks)

	must(`CREATE FUNCTION give_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF random() < 0.1 THEN RAISE EXCEPTION 'given up' USING ERRCODE = CASE WHEN random() < 0.5 THEN '40001' ELSE '40P01' END; END IF;
		RETURN NEW; END $$`)
	must("CREATE TRIGGER give_up BEFORE INSERT ON audit_entry FOR EACH ROW EXECUTE FUNCTION give_up()")
	must("CREATE CONSTRAINT TRIGGER give_up_late AFTER INSERT ON outbox DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION give_up()")
	time.Sleep(2 * time.Second)
	must("DROP TRIGGER give_up ON audit_entry")
	must("DROP TRIGGER give_up_late ON outbox")
	recovered("serialization failures")
	stop()
	book.verify(t, "at the end", database, nodes[1])
	drillPaths(t, nodes...)
}

// TestConnectionsTerminated has an administrator end connections of the nodes, and
// cancel their statements, whatever they do just then.
func TestConnectionsTerminated(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds: not with -short")
	}
	t.Parallel()
	seed := drillSeed(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	database := dbtest.Postgres(t)
	nodes := []*drillNode{openDrillNode(t, "A", database), openDrillNode(t, "B", database)}
	book := newDrillBook(t, nodes[0])
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	ended := map[string]int{}
	stop := book.drillLoad(seed, nodes...)
	defer stop()
	for began := time.Now(); time.Since(began) < 5*time.Second; drillSleep(rng, 0, 20*time.Millisecond) {
		how := []string{"pg_terminate_backend", "pg_terminate_backend", "pg_cancel_backend"}[rng.IntN(3)]
		which := []string{"state = 'active'", "state LIKE 'idle in transaction%'", "TRUE"}[rng.IntN(3)]
		rows, err := conn.Query(t.Context(), "SELECT pid FROM pg_stat_activity WHERE application_name = 'tenantry' AND datname = current_database() AND "+which)
		if err != nil {
			t.Fatal(err)
		}
		pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
		if err != nil {
			t.Fatal(err)
		}
		if len(pids) == 0 {
			continue
		}
		slices.Sort(pids)
		if _, err := conn.Exec(t.Context(), "SELECT "+how+"($1)", pids[rng.IntN(len(pids))]); err != nil {
			t.Fatal(err)
		}
		ended[how]++
	}
	since := time.Now()
	for _, n := range nodes {
		n.reset()
	}
	took := failoverRecovered(t, "at the end", since, drillRecoveryTime, nodes...)
	stop()
	book.verify(t, "at the end", database, nodes[1])
	failoverReport(t, took)
	t.Logf("%v: %v", ended, book)
	drillPaths(t, nodes...)
}
