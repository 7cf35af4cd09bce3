package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/pgtest"
)

// Toxiproxy logs some things by a logger that nobody can replace.
func init() { zerolog.SetGlobalLevel(zerolog.Disabled) }

// toxicLine is a line between a node and PostgreSQL that can be made bad.
type toxicLine struct {
	proxy *toxiproxy.Proxy
	bad   []string // the names of the toxics on it
}

// newToxicLine puts a line before a database and returns the address to use.
func newToxicLine(t *testing.T, database string) (*toxicLine, string) {
	t.Helper()
	u, err := url.Parse(pgtest.TCP(database))
	if err != nil {
		t.Fatal(err)
	}
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	proxy := toxiproxy.NewProxy(server, t.Name(), "127.0.0.1:0", u.Host)
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Stop)
	u.Host = proxy.Listen
	return &toxicLine{proxy: proxy}, u.String()
}

// toxicFaults are what can happen to a line: by name, up is towards the server.
var toxicFaults = []struct {
	kind string
	// attributes for a random source.
	attributes func(*rand.Rand) map[string]int64
	// long faults go on for longer than a node is patient.
	long bool
}{
	{kind: "timeout", long: true, attributes: func(*rand.Rand) map[string]int64 { return map[string]int64{"timeout": 0} }},
	{kind: "timeout", attributes: func(rng *rand.Rand) map[string]int64 { return map[string]int64{"timeout": 1 + rng.Int64N(1000)} }},
	{kind: "reset_peer", attributes: func(rng *rand.Rand) map[string]int64 { return map[string]int64{"timeout": rng.Int64N(200)} }},
	{kind: "latency", attributes: func(rng *rand.Rand) map[string]int64 {
		return map[string]int64{"latency": 50 + rng.Int64N(400), "jitter": rng.Int64N(50)}
	}},
	{kind: "bandwidth", attributes: func(rng *rand.Rand) map[string]int64 { return map[string]int64{"rate": 1 + rng.Int64N(8)} }},
	{kind: "slow_close", attributes: func(rng *rand.Rand) map[string]int64 { return map[string]int64{"delay": 500 + rng.Int64N(3000)} }},
	{kind: "limit_data", attributes: func(rng *rand.Rand) map[string]int64 { return map[string]int64{"bytes": 1 + rng.Int64N(20_000)} }},
	{kind: "slicer", attributes: func(rng *rand.Rand) map[string]int64 {
		return map[string]int64{"average_size": 1 + rng.Int64N(100), "size_variation": 0, "delay": rng.Int64N(2000)}
	}},
	{kind: "down", long: true},
}

// spoil makes the line bad by chance and says how.
func (l *toxicLine) spoil(rng *rand.Rand) (what string, long bool, err error) {
	fault := toxicFaults[rng.IntN(len(toxicFaults))]
	if fault.kind == "down" {
		l.proxy.Stop()
		return "down", fault.long, nil
	}
	for _, direction := range [][]string{{"upstream"}, {"downstream"}, {"upstream", "downstream"}}[rng.IntN(3)] {
		name := fault.kind + " " + direction
		text, err := json.Marshal(map[string]any{"name": name, "type": fault.kind, "stream": direction, "attributes": fault.attributes(rng)})
		if err != nil {
			return "", false, err
		}
		if _, err := l.proxy.Toxics.AddToxicJson(strings.NewReader(string(text))); err != nil {
			return "", false, fmt.Errorf("%s: %w", text, err)
		}
		l.bad = append(l.bad, name)
		what += string(text)
	}
	return what, fault.long, nil
}

// mend makes the line good again.
func (l *toxicLine) mend() error {
	for _, name := range l.bad {
		if err := l.proxy.Toxics.RemoveToxic(context.Background(), name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	l.bad = nil
	if !l.proxy.Enabled {
		return l.proxy.Start()
	}
	return nil
}

// TestBadLines has two nodes write over lines that stall, break, are slow, or let
// through a part, at moments of chance.
func TestBadLines(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for answers that do not come: not with -short")
	}
	t.Parallel()
	seed := drillSeed(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	database := dbtest.Postgres(t)
	var lines []*toxicLine
	var nodes []*drillNode
	for _, name := range []string{"A", "B"} {
		line, address := newToxicLine(t, database)
		lines, nodes = append(lines, line), append(nodes, openDrillNode(t, name, address))
	}
	book := newDrillBook(t, nodes[0])
	var all []time.Duration
	const rounds = 7
	for round := range rounds {
		stop := book.drillLoad(seed+uint64(round), nodes...)
		defer stop()
		drillSleep(rng, 100*time.Millisecond, 400*time.Millisecond)
		when, long := fmt.Sprintf("round %d", round), false
		for i, line := range lines {
			what, itsLong, err := line.spoil(rng)
			if err != nil {
				t.Fatal(err)
			}
			when += ", " + nodes[i].name + " " + what
			long = long || itsLong
		}
		if long && rng.IntN(2) == 0 {
			drillSleep(rng, 5*time.Second, 8*time.Second)
		} else {
			drillSleep(rng, 200*time.Millisecond, 2*time.Second)
		}
		for _, line := range lines {
			if err := line.mend(); err != nil {
				t.Fatal(err)
			}
		}
		since := time.Now()
		for _, n := range nodes {
			n.reset()
		}
		took := failoverRecovered(t, when, since, drillRecoveryTime, nodes...)
		t.Logf("%s: writes again after %v", when, took)
		all = append(all, took...)
		drillSleep(rng, 100*time.Millisecond, 300*time.Millisecond)
		stop()
		book.verify(t, when, database, nodes[round%2])
	}
	failoverReport(t, all)
	t.Logf("%d faults: %v", rounds*len(nodes), book)
	drillPaths(t, nodes...)
}
