package app_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/pgtest"
)

// TestFailover kills -9 the primary while two nodes write, promotes the standby
// that confirmed each commit with it, and has the nodes find it by themselves.
func TestFailover(t *testing.T) {
	if testing.Short() {
		t.Skip("kills PostgreSQL 5 times: not with -short")
	}
	t.Parallel()
	rounds := 5
	if set := os.Getenv("TENANTRY_TEST_FAILOVERS"); set != "" {
		var err error
		if rounds, err = strconv.Atoi(set); err != nil {
			t.Fatal(err)
		}
	}
	seed := drillSeed(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	p := pgtest.StartPair(t)
	nodes := []*drillNode{openDrillNode(t, "A", p.URL()), openDrillNode(t, "B", p.URL())}
	book := newDrillBook(t, nodes[0])
	var all []time.Duration
	for round := range rounds {
		stop := book.drillLoad(seed+uint64(round), nodes...)
		defer stop()
		drillSleep(rng, 200*time.Millisecond, 700*time.Millisecond)
		if round%2 == 1 {
			// So that it dies while commits wait for the standby.
			p.Standby().Freeze()
			drillSleep(rng, 20*time.Millisecond, 100*time.Millisecond)
			p.KillPrimary()
			p.Standby().Thaw()
		} else {
			p.KillPrimary()
		}
		// Whoever promotes has to notice first.
		drillSleep(rng, 0, 5*time.Second)
		p.Promote()
		promoted := time.Now()
		for _, n := range nodes {
			n.reset()
		}
		all = append(all, failoverRecovered(t, fmt.Sprintf("round %d", round), promoted, drillRecoveryTime, nodes...)...)
		drillSleep(rng, 0, 500*time.Millisecond)
		stop()
		book.verify(t, fmt.Sprintf("round %d", round), failoverDatabase(p), nodes[round%2])
		book.lists(t, fmt.Sprintf("round %d", round), failoverDatabase(p), nodes...)
		p.Rejoin()
		if t.Failed() {
			t.Fatalf("round %d: %v", round, book)
		}
	}
	failoverReport(t, all)
	for _, n := range nodes {
		// It tries five times a second for as long as nobody answers.
		if said := n.log.times("notices from other nodes are not heard"); said > 3*rounds {
			t.Errorf("node %s said %d times that it hears no notices", n.name, said)
		}
	}
	t.Logf("%d failovers: %v", rounds, book)
	drillPaths(t, nodes...)
}

// failoverDatabase is the address of the primary alone: the other one may be
// frozen.
func failoverDatabase(p *pgtest.Pair) string { return p.Primary().URL("tenantry") }

// failoverReport prints how long nodes needed after a promotion.
func failoverReport(t *testing.T, all []time.Duration) {
	t.Helper()
	for i := range all {
		all[i] = max(0, all[i].Round(time.Millisecond)) // it may be quicker than who is to say that the fault is over
	}
	t.Logf("first confirmed write of each node after the fault: at most %v, all %v", slices.Max(all), all)
}

// drillPaths prints how often a commit had to be looked up.
func drillPaths(t *testing.T, nodes ...*drillNode) {
	t.Helper()
	for _, n := range nodes {
		t.Logf("node %s: %d answers to a commit lost: %d had taken place, %d had not, of the rest nobody could tell in time", n.name, n.log.times("the answer to a commit was lost"),
			n.log.times("the commit that was looked up took place"), n.log.times("the commit that was looked up did not take place"))
	}
}

// failoverRecovered waits until each node has confirmed a write since a moment, at
// which they were reset, and fails the test if one needs longer than most.
func failoverRecovered(t *testing.T, when string, since time.Time, most time.Duration, nodes ...*drillNode) (all []time.Duration) {
	t.Helper()
	for _, n := range nodes {
		took, err := n.wait(since)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if all = append(all, took); took > most {
			t.Errorf("%s: node %s needed %v", when, n.name, took)
		}
	}
	return all
}

// TestPrimaryFrozen stops all processes of the primary for a while: they neither
// answer nor end. It goes on as if nothing had been, or another one has taken its
// place.
func TestPrimaryFrozen(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a server that does not answer: not with -short")
	}
	t.Parallel()
	seed := drillSeed(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	p := pgtest.StartPair(t)
	nodes := []*drillNode{openDrillNode(t, "A", p.URL()), openDrillNode(t, "B", p.URL())}
	book := newDrillBook(t, nodes[0])
	var thawed, promoted []time.Duration
	for round, test := range []struct {
		least, most time.Duration
		promote     bool
	}{
		{least: 500 * time.Millisecond, most: 3 * time.Second},
		{least: 6 * time.Second, most: 8 * time.Second},
		{least: 500 * time.Millisecond, most: 3 * time.Second, promote: true},
		{least: 5 * time.Second, most: 6 * time.Second, promote: true},
	} {
		stop := book.drillLoad(seed+uint64(round), nodes...)
		defer stop()
		drillSleep(rng, 200*time.Millisecond, 700*time.Millisecond)
		p.Primary().Freeze()
		began := time.Now()
		drillSleep(rng, test.least, test.most)
		frozen := time.Since(began).Round(time.Millisecond)
		if test.promote {
			p.Promote()
		} else {
			p.Primary().Thaw()
		}
		since := time.Now()
		for _, n := range nodes {
			n.reset()
		}
		when := fmt.Sprintf("round %d, frozen for %v, promoted: %t", round, frozen, test.promote)
		// A node loses its patience 5 s after the server has frozen, and finds 2 s later
		// that it cannot be connected.
		took := failoverRecovered(t, when, since, 2*drillRecoveryTime, nodes...)
		t.Logf("%s: writes again after %v", when, took)
		if test.promote {
			promoted = append(promoted, took...)
		} else {
			thawed = append(thawed, took...)
		}
		drillSleep(rng, 200*time.Millisecond, 500*time.Millisecond)
		stop()
		book.verify(t, when, failoverDatabase(p), nodes[round%2])
		if test.promote {
			p.Rejoin()
		}
	}
	failoverReport(t, thawed)
	failoverReport(t, promoted)
	t.Log(book)
	drillPaths(t, nodes...)
}

// TestStandbyGone takes away the standby that each commit waits for: nothing is
// confirmed without it, and nobody waits for ever.
func TestStandbyGone(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a standby that is gone: not with -short")
	}
	t.Parallel()
	seed := drillSeed(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	p := pgtest.StartPair(t)
	nodes := []*drillNode{openDrillNode(t, "A", p.URL()), openDrillNode(t, "B", p.URL())}
	book := newDrillBook(t, nodes[0])
	stop := book.drillLoad(seed, nodes...)
	defer stop()
	var all []time.Duration
	for _, test := range []struct {
		name       string
		time       time.Duration
		gone, back func()
		// cancel has an administrator cancel what waits, meanwhile.
		cancel bool
	}{
		{name: "frozen", time: 9 * time.Second, gone: func() { p.Standby().Freeze() }, back: func() { p.Standby().Thaw() }},
		{name: "killed", time: 3 * time.Second, gone: func() { p.Standby().Kill() }, back: p.Rejoin},
		{name: "killed and waits cancelled", time: 4 * time.Second, cancel: true, gone: func() { p.Standby().Kill() }, back: p.Rejoin},
		{name: "killed and done without", time: 3 * time.Second, gone: func() { p.Standby().Kill() }, back: func() {
			drillSQL(t, p.Primary().URL(""), "ALTER SYSTEM SET synchronous_standby_names = ''", "SELECT pg_reload_conf()")
		}},
	} {
		drillSleep(rng, 200*time.Millisecond, 500*time.Millisecond)
		test.gone()
		time.Sleep(100 * time.Millisecond) // answers that are on their way
		before := book.writes()
		for began := time.Now(); time.Since(began) < test.time; time.Sleep(50 * time.Millisecond) {
			if test.cancel {
				drillSQL(t, p.Primary().URL(""), "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
			}
		}
		if confirmed := book.writes() - before; confirmed > 0 {
			t.Errorf("%s: %d writes were confirmed without the standby", test.name, confirmed)
		}
		for _, n := range nodes {
			n.reset()
		}
		test.back()
		since := time.Now()
		took := failoverRecovered(t, test.name, since, drillRecoveryTime, nodes...)
		t.Logf("%s: writes again after %v", test.name, took)
		all = append(all, took...)
		book.verify(t, test.name, failoverDatabase(p), nodes[0])
	}
	stop()
	book.verify(t, "at the end", failoverDatabase(p), nodes[1])
	failoverReport(t, all)
	t.Log(book)
	drillPaths(t, nodes...)
}

// TestCancelledWait has an administrator cancel the wait of a commit for the
// standby, in a server that speaks another language: what it has to say then is a
// warning beside its confirmation, and nothing is confirmed.
func TestCancelledWait(t *testing.T) {
	if testing.Short() {
		t.Skip("needs two servers: not with -short")
	}
	t.Parallel()
	p := pgtest.StartPair(t)
	wire, address := newDrillWire(t, failoverDatabase(p))
	wire.german = true
	n := openDrillNode(t, "A", address)
	book := newDrillBook(t, n)
	c := book.client(on(n), 1)
	if c.create(t.Context()) == "" {
		t.Fatal("nothing can be written")
	}
	p.Standby().Freeze()
	before := book.writes()
	done := make(chan string, 1)
	go func() { done <- c.create(context.Background()) }()
	for began := time.Now(); time.Since(began) < 3*time.Second; time.Sleep(50 * time.Millisecond) {
		drillSQL(t, p.Primary().URL(""), "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
	}
	if book.writes() > before {
		t.Error("a write was confirmed that the standby has not got")
	}
	p.Standby().Thaw()
	if <-done == "" {
		t.Error("a write was not confirmed when the standby had it")
	}
	book.verify(t, "at the end", failoverDatabase(p), n)
	drillPaths(t, n)
}

// TestTakenBack has the primary show what the standby has not got, because an
// administrator has cancelled the wait for it, and die: nothing of it was
// confirmed, and the nodes must not remember it.
func TestTakenBack(t *testing.T) {
	if testing.Short() {
		t.Skip("needs two servers: not with -short")
	}
	t.Parallel()
	p := pgtest.StartPair(t)
	nodes := []*drillNode{openDrillNode(t, "A", p.URL()), openDrillNode(t, "B", p.URL())}
	book := newDrillBook(t, nodes[0])
	c := book.client(on(nodes[0]), 1)
	id := c.create(t.Context())
	if id == "" {
		t.Fatal("nothing can be written")
	}
	book.lists(t, "before", failoverDatabase(p), nodes...)
	p.Standby().Kill()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan string, 2)
	go func() { done <- c.create(ctx) }()
	go func() {
		c := book.client(on(nodes[1]), 1)
		c.disable(ctx, id)
		done <- ""
	}()
	for began := time.Now(); time.Since(began) < 2*time.Second; time.Sleep(50 * time.Millisecond) {
		drillSQL(t, p.Primary().URL(""), "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
	}
	book.lists(t, "not confirmed", failoverDatabase(p), nodes...)
	p.KillPrimary()
	stop()
	p.Standby().Start()
	p.Promote()
	<-done
	<-done
	since := time.Now()
	for c.create(t.Context()) == "" || time.Since(since) < time.Second {
		if time.Since(since) > 20*time.Second {
			t.Fatal("nothing can be written")
		}
	}
	book.verify(t, "after", failoverDatabase(p), nodes[0])
	book.lists(t, "after", failoverDatabase(p), nodes...)
}

// drillSQL has an administrator execute statements.
func drillSQL(t *testing.T, database string, statements ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, statement := range statements {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}
