package app_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/pgtest"
)

// drillWire stands between a node and PostgreSQL and understands enough of what
// they say to cut the connection at a chosen statement.
type drillWire struct {
	listener net.Listener
	target   string

	mu sync.Mutex
	// decide says what is to be done with what the node does next.
	decide func(wireEvent) wireAction
	done   map[string]int // cuts that were made, by event and action
	// german: the server's severities are translated, as they may be.
	german bool
	open   map[net.Conn]bool
	closed bool
}

// wireEvent is something that a node does.
type wireEvent string

const (
	wireConnect      wireEvent = "connect"
	wireCommit       wireEvent = "commit"
	wireLookup       wireEvent = "look-up"
	wireLookupCommit wireEvent = "commit of the look-up"
)

// wireAction is what the wire does about it.
type wireAction string

const (
	wirePass wireAction = ""
	// The server never hears of it; the connection is closed.
	cutBefore wireAction = "cut before"
	// The server has done it; the answer never comes, and the connection is closed.
	cutAfter wireAction = "cut after"
	// The server may have heard of it or not.
	cutWithin wireAction = "cut within"
	// The server hears of it when the node looks for it already.
	cutEarly wireAction = "cut early"
	// The same as the first two, but the connection stays, and nothing comes through
	// it any more.
	stallBefore wireAction = "stall before"
	stallAfter  wireAction = "stall after"
)

// newDrillWire puts a wire before a database and returns the address to use.
func newDrillWire(t *testing.T, database string) (*drillWire, string) {
	t.Helper()
	u, err := url.Parse(pgtest.TCP(database))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &drillWire{listener: listener, target: u.Host, done: map[string]int{}, open: map[net.Conn]bool{}}
	u.Host = listener.Addr().String()
	var running sync.WaitGroup
	running.Go(func() {
		for {
			node, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { w.serve(node) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		w.mu.Lock()
		w.closed = true
		for c := range w.open {
			c.Close()
		}
		w.mu.Unlock()
		running.Wait()
	})
	return w, u.String()
}

// follow has the wire decide so from now on.
func (w *drillWire) follow(decide func(wireEvent) wireAction) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.decide = decide
}

func (w *drillWire) ask(e wireEvent) wireAction {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.decide == nil {
		return wirePass
	}
	a := w.decide(e)
	if a != wirePass {
		w.done[string(e)+": "+string(a)]++
	}
	return a
}

// count is how often the wire cut or stalled at an event.
func (w *drillWire) count(e wireEvent) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for what, times := range w.done {
		if strings.HasPrefix(what, string(e)+":") {
			n += times
		}
	}
	return n
}

func (w *drillWire) counts() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.TrimPrefix(fmt.Sprint(w.done), "map")
}

// keep remembers a connection until the test is over, so that a stalled one is not
// closed before.
func (w *drillWire) keep(c net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		c.Close()
		return false
	}
	w.open[c] = true
	return true
}

func (w *drillWire) drop(c net.Conn) {
	c.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.open, c)
}

// serve carries one connection.
func (w *drillWire) serve(node net.Conn) {
	if !w.keep(node) {
		return
	}
	defer w.drop(node)
	if w.ask(wireConnect) != wirePass {
		return
	}
	server, err := net.Dial("tcp", w.target)
	if err != nil || !w.keep(server) {
		return
	}
	defer w.drop(server)

	var mu sync.Mutex
	muted, heard := false, make(chan struct{}) // closed when the server is ready and nobody is told
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		in := bufio.NewReader(server)
		for {
			kind, message, err := readWire(in, true)
			if err != nil {
				mu.Lock()
				if !muted {
					node.Close()
				}
				mu.Unlock()
				return
			}
			mu.Lock()
			if muted && kind == 'Z' {
				close(heard)
				mu.Unlock()
				io.Copy(io.Discard, in)
				return
			}
			if !muted {
				if w.german && (kind == 'N' || kind == 'E') {
					message = bytes.ReplaceAll(message, []byte("SWARNING\x00"), []byte("SWARNUNG\x00"))
					message = bytes.ReplaceAll(message, []byte("SERROR\x00"), []byte("SFEHLR\x00"))
				}
				node.Write(message)
			}
			mu.Unlock()
		}
	}()
	mute := func() {
		mu.Lock()
		muted = true
		mu.Unlock()
	}

	in := bufio.NewReader(node)
	_, message, err := readWire(in, false)
	if err != nil {
		return
	}
	server.Write(message)
	statements := map[string]string{}
	var group []byte
	var event wireEvent
	looking := false
	for {
		kind, message, err := readWire(in, true)
		if err != nil {
			return // and the server hears that the node is gone
		}
		group = append(group, message...)
		switch e := wireEventOf(statements, kind, message[5:]); {
		case e == wireLookup:
			event, looking = e, true
		case e == wireCommit && looking:
			event, looking = wireLookupCommit, false
		case e != "":
			event = e
		}
		if !slices.Contains([]byte{'Q', 'S', 'H', 'X'}, kind) {
			continue
		}
		action := wirePass
		if event != "" {
			action = w.ask(event)
		}
		switch action {
		case cutBefore:
			return
		case cutWithin:
			mute()
			server.Write(group)
			return
		case cutEarly:
			mute()
			node.Close()
			time.Sleep(500 * time.Millisecond)
			server.Write(group)
			select {
			case <-heard:
			case <-ended:
			}
			return
		case cutAfter, stallAfter:
			mute()
			server.Write(group)
			select {
			case <-heard:
			case <-ended:
			}
			if action == stallAfter {
				io.Copy(io.Discard, in)
			}
			return
		case stallBefore:
			mute()
			io.Copy(io.Discard, in)
			// The node is gone, and the server does not hear of it.
			<-ended
			return
		}
		if _, err := server.Write(group); err != nil {
			return
		}
		group, event = group[:0], ""
	}
}

// wireEventOf recognizes what the drill is about. Statements are prepared by name
// and carried out later.
func wireEventOf(statements map[string]string, kind byte, body []byte) wireEvent {
	first, rest, _ := strings.Cut(string(body), "\x00")
	switch kind {
	case 'P':
		statements[first], _, _ = strings.Cut(rest, "\x00")
	case 'B':
		name, _, _ := strings.Cut(rest, "\x00")
		switch query := statements[name]; {
		case query == "COMMIT":
			return wireCommit
		case strings.Contains(query, "node") && strings.HasSuffix(query, "RETURNING batch"):
			return wireLookup
		}
	}
	return ""
}

// readWire reads one message; the first of a node has no kind.
func readWire(in *bufio.Reader, typed bool) (kind byte, message []byte, err error) {
	head := make([]byte, 4, 5)
	if typed {
		head = head[:5]
	}
	if _, err := io.ReadFull(in, head); err != nil {
		return 0, nil, err
	}
	length := int(binary.BigEndian.Uint32(head[len(head)-4:])) - 4
	if length < 0 || length > 1<<24 {
		return 0, nil, fmt.Errorf("a message of %d bytes", length)
	}
	message = append(head, make([]byte, length)...)
	if _, err := io.ReadFull(in, message[len(head):]); err != nil {
		return 0, nil, err
	}
	if typed {
		kind = message[0]
	}
	return kind, message, nil
}

// wireStep is one thing to be done when its turn has come and the event does.
type wireStep struct {
	event  wireEvent
	action wireAction
	// more is how often it is done again.
	more int
}

// script does its steps in order, each at the next event of its kind.
func script(steps ...wireStep) func(wireEvent) wireAction {
	return func(e wireEvent) wireAction {
		if len(steps) == 0 || steps[0].event != e {
			return wirePass
		}
		action := steps[0].action
		if steps[0].more--; steps[0].more < 0 {
			steps = steps[1:]
		}
		return action
	}
}

// forever is more than anybody tries.
const forever = 1 << 30

// commitCases are commits whose answers do not come. Each is confirmed once in the
// end, and there once.
var commitCases = []struct {
	name  string
	steps []wireStep
	// slow cases take seconds, for nothing says that the connection is dead.
	slow bool
	// forgotten: the node has not written for a week, and is no longer listed.
	forgotten bool
	// later: it is known too late, or not at all, so that the client is told to come
	// back.
	later bool
}{
	{name: "done", steps: []wireStep{{event: wireCommit, action: cutAfter}}},
	{name: "not done", steps: []wireStep{{event: wireCommit, action: cutBefore}}},
	{name: "either", steps: []wireStep{{event: wireCommit, action: cutWithin}}},
	{name: "done late", steps: []wireStep{{event: wireCommit, action: cutEarly}}},
	{name: "done late by a node that was forgotten", forgotten: true, steps: []wireStep{{event: wireCommit, action: cutEarly}}},
	{name: "done, and cut while it is looked up", steps: []wireStep{
		{event: wireCommit, action: cutAfter}, {event: wireConnect, action: cutBefore, more: 2}, {event: wireLookup, action: cutBefore},
		{event: wireLookup, action: cutAfter}, {event: wireLookupCommit, action: cutBefore}, {event: wireLookupCommit, action: cutAfter},
	}},
	{name: "not done, and cut while it is looked up", steps: []wireStep{
		{event: wireCommit, action: cutBefore}, {event: wireConnect, action: cutBefore, more: 2}, {event: wireLookup, action: cutAfter},
		{event: wireLookup, action: cutWithin}, {event: wireLookupCommit, action: cutAfter}, {event: wireLookupCommit, action: cutWithin},
	}},
	{name: "not done, twice", steps: []wireStep{{event: wireCommit, action: cutBefore}, {event: wireLookupCommit, action: cutAfter}, {event: wireCommit, action: cutBefore}}},
	{name: "not done, then done", steps: []wireStep{{event: wireCommit, action: cutBefore}, {event: wireCommit, action: cutAfter}, {event: wireLookup, action: cutBefore}}},
	{name: "done and stalled", slow: true, steps: []wireStep{{event: wireCommit, action: stallAfter}}},
	{name: "not done and stalled", slow: true, later: true, steps: []wireStep{{event: wireCommit, action: stallBefore}}},
	{name: "done, and nobody can tell", slow: true, later: true, steps: []wireStep{{event: wireCommit, action: cutAfter}, {event: wireConnect, action: cutBefore, more: forever}}},
	{name: "not done, and nobody can tell", slow: true, later: true, steps: []wireStep{{event: wireCommit, action: cutBefore}, {event: wireConnect, action: cutBefore, more: forever}}},
	{name: "done, and the look-up is never confirmed", slow: true, later: true, steps: []wireStep{{event: wireCommit, action: cutAfter}, {event: wireLookupCommit, action: cutAfter, more: forever}}},
	{name: "stalled, and the look-up stalls", slow: true, later: true, steps: []wireStep{{event: wireCommit, action: stallAfter}, {event: wireLookup, action: stallBefore, more: forever}}},
}

// commitKinds are the writes that the cases are tried with.
var commitKinds = []string{"create", "create with a key", "limit", "disable"}

// TestLostCommits cuts the connection at a commit, before and after the server has
// got it, and again while the node looks for it: the outcome is found out, not
// guessed.
func TestLostCommits(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for answers that do not come: not with -short")
	}
	t.Parallel()
	type drill struct {
		database string
		wire     *drillWire
		node     *drillNode
		book     *drillBook
	}
	open := func() drill {
		d := drill{database: dbtest.Postgres(t)}
		wire, address := newDrillWire(t, d.database)
		d.wire, d.node = wire, openDrillNode(t, "A", address)
		d.book = newDrillBook(t, d.node)
		return d
	}
	run := func(d drill, i int, kind string) (told time.Duration, err error) {
		test := commitCases[i]
		c := d.book.client(on(d.node), 1)
		c.keyed = kind == "create with a key"
		id := ""
		if kind == "limit" || kind == "disable" {
			if id = c.create(t.Context()); id == "" {
				return 0, fmt.Errorf("there is no account to begin with: %v", d.book)
			}
		}
		ask := func(try int) (int, []byte, error) {
			path, body, key := "/v2/managed_accounts", `{"business_name":"`+test.name+" "+kind+`"}`, ""
			method := "POST"
			switch kind {
			case "create with a key":
				key = strings.ReplaceAll(strings.ReplaceAll(test.name, " ", "-"), ",", "")
			case "limit":
				method, path, body = "PATCH", path+"/"+id+"/update_global_channel_limit", `{"channel_limit":101}`
			case "disable":
				path, body = path+"/"+id+"/actions/disable", ""
			}
			status, header, text, err := c.once(t.Context(), d.node, method, path, body, key, try)
			if err == nil && status != 200 {
				err = drillRetryable(status, header, text)
			}
			return status, text, err
		}
		d.book.mu.Lock()
		if id == "" {
			d.book.creates[test.name+" "+kind] = ""
		}
		d.book.mu.Unlock()
		if test.forgotten {
			drillSQL(t, d.database, "DELETE FROM node")
		}
		looked := d.node.log.times("the answer to a commit was lost")
		d.wire.follow(script(slices.Clone(test.steps)...))
		var others sync.WaitGroup
		if test.later {
			others.Go(func() {
				// Whoever comes meanwhile does not wait for all of it.
				time.Sleep(500 * time.Millisecond)
				other := d.book.client(on(d.node), 2)
				other.tries = 1
				began := time.Now()
				if id := other.create(t.Context()); id != "" || time.Since(began) > 4500*time.Millisecond {
					d.book.say("another create waited for %v and made %q", time.Since(began), id)
				}
			})
		}
		began := time.Now()
		status, text, err := ask(0)
		told = time.Since(began)
		others.Wait()
		d.wire.follow(nil)
		if err != nil {
			return told, err
		}
		if looked == d.node.log.times("the answer to a commit was lost") {
			return told, fmt.Errorf("no answer was lost: %s", d.wire.counts())
		}
		if told > drillAnswerTime {
			return told, fmt.Errorf("it took %v", told)
		}
		if want := map[bool]int{false: 200, true: 503}[test.later]; status != want {
			return told, fmt.Errorf("status %d, not %d: %s", status, want, text)
		}
		for try := 1; status != 200; try++ {
			if try == 3 {
				return told, fmt.Errorf("not confirmed in 3 tries: %s", text)
			}
			time.Sleep(time.Second)
			if status, text, err = ask(try); err != nil {
				return told, err
			}
		}
		// What the book thinks of it, as if it had been asked in one go.
		d.book.mu.Lock()
		defer d.book.mu.Unlock()
		switch kind {
		case "limit":
			d.book.limits[id] = &drillLimits{confirmed: []int64{101}, all: []int64{101}}
		case "disable":
			d.book.disables[id] = true
		default:
			var made api.Response[api.ManagedAccount]
			if err := json.Unmarshal(text, &made); err != nil {
				return told, err
			}
			d.book.creates[test.name+" "+kind] = made.Data.ID
		}
		return told, nil
	}

	paths, looked, there, absent := 0, 0, 0, 0
	report := func(d drill, when string) {
		d.book.verify(t, when, d.database, d.node)
		paths += d.wire.count(wireCommit)
		looked += d.node.log.times("the answer to a commit was lost")
		there += d.node.log.times("the commit that was looked up took place")
		absent += d.node.log.times("the commit that was looked up did not take place")
	}
	var running sync.WaitGroup
	var slow []func()
	for i, test := range commitCases {
		if !test.slow {
			continue
		}
		for _, kind := range commitKinds[:2] {
			d, when := open(), test.name+", "+kind
			running.Go(func() {
				told, err := run(d, i, kind)
				if err != nil {
					t.Errorf("%s: %v", when, err)
				}
				t.Logf("%s: answered after %v", when, told.Round(time.Millisecond))
			})
			slow = append(slow, func() { report(d, when) })
		}
	}
	d := open()
	for i, test := range commitCases {
		if test.slow {
			continue
		}
		for _, kind := range commitKinds {
			when := test.name + ", " + kind
			if _, err := run(d, i, kind); err != nil {
				t.Errorf("%s: %v", when, err)
			}
		}
	}
	report(d, "the fast cases")
	running.Wait()
	for _, report := range slow {
		report()
	}
	t.Logf("%d commits cut or stalled, %d looked up: %d had taken place, %d had not, of the rest nobody could tell in time; the fast cases: %s",
		paths, looked, there, absent, d.wire.counts())
}

// TestCommitsCutAtRandom cuts one commit in ten of two nodes under load, and every
// third thing that a node does to find out.
func TestCommitsCutAtRandom(t *testing.T) {
	if testing.Short() {
		t.Skip("cuts 60 commits: not with -short")
	}
	t.Parallel()
	seed := drillSeed(t)
	database := dbtest.Postgres(t)
	var wires []*drillWire
	var nodes []*drillNode
	for _, name := range []string{"A", "B"} {
		wire, address := newDrillWire(t, database)
		wires, nodes = append(wires, wire), append(nodes, openDrillNode(t, name, address))
	}
	book := newDrillBook(t, nodes[0])
	for i, wire := range wires {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		wire.follow(func(e wireEvent) wireAction {
			often := 3
			if e == wireCommit {
				often = 10
			}
			if rng.IntN(often) > 0 {
				return wirePass
			}
			return []wireAction{cutBefore, cutAfter, cutWithin}[rng.IntN(3)]
		})
	}
	const cuts = 60
	stop := book.drillLoad(seed, nodes...)
	defer stop()
	for began := time.Now(); wires[0].count(wireCommit)+wires[1].count(wireCommit) < cuts; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatalf("after a minute: %v", book)
		}
	}
	for _, w := range wires {
		w.follow(nil)
	}
	time.Sleep(100 * time.Millisecond)
	stop()
	book.verify(t, "at the end", database, nodes[0])
	for i, w := range wires {
		t.Logf("node %s: %s", nodes[i].name, w.counts())
	}
	drillPaths(t, nodes...)
	t.Log(book)
}
