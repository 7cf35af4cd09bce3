package pgtest

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// TestPair writes while one server after the other is killed, and misses none of
// what was confirmed.
func TestPair(t *testing.T) {
	t.Parallel()
	at := time.Now()
	p := StartPair(t)
	t.Logf("start %v", time.Since(at))
	exec1(t, connect(t, p.URL()), "CREATE TABLE counted (writer BIGINT, n BIGINT)")

	const writers = 4
	ctx, stop := context.WithCancel(t.Context())
	confirmed := make([]map[int]bool, writers)
	var running sync.WaitGroup
	for writer := range writers {
		confirmed[writer] = map[int]bool{}
		running.Go(func() {
			insert := func(conn *pgx.Conn, n int) error {
				ctx, cancel := context.WithTimeout(ctx, time.Second) // a frozen server does not even refuse
				defer cancel()
				_, err := conn.Exec(ctx, "INSERT INTO counted VALUES ($1, $2)", writer, n)
				return err
			}
			for n := 0; ctx.Err() == nil; {
				conn, err := pgx.Connect(ctx, p.URL()+"&connect_timeout=1")
				if err != nil {
					time.Sleep(5 * time.Millisecond) // neither takes writes
					continue
				}
				for err == nil {
					n++
					if err = insert(conn, n); err == nil {
						confirmed[writer][n] = true
					}
				}
				conn.Close(ctx)
			}
		})
	}
	stopped := sync.OnceFunc(func() { stop(); running.Wait() })
	defer stopped()
	rounds := []func(){p.KillPrimary, func() { p.Primary().Freeze() }, p.KillPrimary}
	for _, fail := range rounds {
		written(t, p, 100)
		at := time.Now()
		fail()
		p.Promote()
		t.Logf("promoted %v", time.Since(at))
		written(t, p, 10)
		p.Rejoin()
		t.Logf("rejoined %v", time.Since(at))
	}
	written(t, p, 100)
	stopped()

	p.KillPrimary()
	p.Promote()
	conn := connect(t, TCP(p.URL()))
	total := 0
	for writer := range writers {
		rows, err := conn.Query(t.Context(), "SELECT n FROM counted WHERE writer = $1", writer)
		if err != nil {
			t.Fatal(err)
		}
		there := map[int]bool{}
		for _, n := range must(pgx.CollectRows(rows, pgx.RowTo[int])) {
			there[n] = true
		}
		for n := range confirmed[writer] {
			if !there[n] {
				t.Errorf("row %d of writer %d was confirmed and is lost", n, writer)
			}
		}
		total += len(confirmed[writer])
	}
	t.Logf("%d confirmed", total)
}

// written waits until the primary has so many rows more.
func written(t *testing.T, p *Pair, more int) {
	t.Helper()
	conn := connect(t, p.Primary().URL(pairDatabase))
	start := ask[int](t, conn, "SELECT count(*) FROM counted")
	if err := asking(t.Context(), conn, "nobody writes", "SELECT count(*) >= $1 FROM counted", start+more); err != nil {
		t.Fatal(err)
	}
}

// TestPairWaits sees that nothing is confirmed without the standby, and that a
// test is stopped that would lose what was.
func TestPairWaits(t *testing.T) {
	t.Parallel()
	p := StartPair(t)
	conn := connect(t, p.URL())
	exec1(t, conn, "CREATE TABLE thing ()")
	p.Standby().Freeze()
	answered := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.Background(), "INSERT INTO thing DEFAULT VALUES")
		answered <- err
	}()
	err := asking(t.Context(), connect(t, p.Primary().URL("")), "nobody waits for the standby",
		"SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep')")
	if err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-answered:
		t.Fatalf("confirmed without the standby: %v", err)
	default:
	}
	p.Standby().Thaw()
	if err := <-answered; err != nil {
		t.Fatal(err)
	}

	p.Primary().Freeze()
	p.Promote()
	exec1(t, connect(t, p.Primary().URL(pairDatabase)), "INSERT INTO thing DEFAULT VALUES")
	p.Standby().Thaw() // it still takes itself for the primary
	old := connect(t, p.Standby().URL(pairDatabase))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := old.Exec(ctx, "INSERT INTO thing DEFAULT VALUES"); err == nil {
		t.Error("a primary that another has replaced confirms")
	}
	said := refused(t, func(t testing.TB) {
		p.t = t
		p.KillPrimary()
	})
	p.t = t
	if !strings.Contains(said, "has not rejoined") {
		t.Errorf("KillPrimary without a standby: %q", said)
	}
	p.Rejoin()
	if n := ask[int](t, connect(t, p.Standby().URL(pairDatabase)), "SELECT count(*) FROM thing"); n != 2 {
		t.Errorf("%d rows on the standby", n)
	}
}
