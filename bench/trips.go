package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// farRTT is how far away the database is made to be, there and back.
const farRTT = 500 * time.Microsecond

// trips counts what goes between a server and PostgreSQL for each operation, one
// client at a time: how often the server waits for an answer, and what that does
// when the database is some way off.
func (b *bench) trips(ctx context.Context) error {
	names := []string{"get-kept", "get", "list", "contains", "audit-page", "create", "channel-limit", "disable", "sign-in"}
	for i := range names {
		names[i] = "trips/" + names[i]
	}
	if b.cluster == nil || !b.wanted(append(names, "trips/create/64")...) {
		return nil
	}
	d, err := b.accountsData(ctx, b.accounts)
	if err != nil {
		return err
	}
	defer d.restore(ctx)
	proxy, err := newProxy(fmt.Sprintf("127.0.0.1:%d", d.cluster.port))
	if err != nil {
		return err
	}
	defer proxy.listener.Close()
	server, err := b.serveThrough(d, proxy)
	if err != nil {
		return err
	}
	defer server.stop()
	operations, err := b.operations(ctx, d, server)
	if err != nil {
		return err
	}
	clients, err := server.dial(1)
	if err != nil {
		return err
	}
	defer clients.close()
	for i, o := range operations {
		if !b.wanted(names[i]) {
			continue
		}
		count := 100
		if o.most > 0 {
			count = min(count, o.most/3)
		}
		run := func(rtt time.Duration) (s sample, err error) {
			proxy.rtt.Store(int64(rtt))
			defer proxy.rtt.Store(0)
			return clients.run(ctx, time.Minute, o.next.limited(count))
		}
		// The first time, the server prepares its statements.
		if _, err := clients.run(ctx, time.Minute, o.next.limited(min(10, count))); err != nil {
			return fmt.Errorf("%s: %w", o.name, err)
		}
		before := proxy.total()
		near, err := run(0)
		if err != nil {
			return fmt.Errorf("%s: %w", o.name, err)
		}
		seen := proxy.total().minus(before)
		far, err := run(farRTT)
		if err != nil {
			return fmt.Errorf("%s: %w", o.name, err)
		}
		n := float64(near.requests)
		b.add((&Line{Name: names[i], Figure: float64(seen.trips) / n, Unit: "round trips"}).also("statements", float64(seen.statements)/n, "").
			also("sent", float64(seen.sent)/n, "bytes").also("received", float64(seen.received)/n, "bytes").
			also("p50", microsOf(quantile(near.latencies, 0.5)), "µs").also(fmt.Sprintf("p50 at %s", farRTT), microsOf(quantile(far.latencies, 0.5)), "µs"))
	}
	if !b.wanted("trips/create/64") {
		return nil
	}
	// Many at once share commits, but each statement is still waited for.
	many, err := server.dial(64)
	if err != nil {
		return err
	}
	defer many.close()
	rate := func(rtt time.Duration) (float64, counts, error) {
		proxy.rtt.Store(int64(rtt))
		defer proxy.rtt.Store(0)
		before := proxy.total()
		s, err := many.run(ctx, b.time, creating(d.Key, ""))
		seen := proxy.total().minus(before)
		seen.trips, seen.statements = seen.trips*100/int64(max(s.requests, 1)), seen.statements*100/int64(max(s.requests, 1))
		return s.perWall(), seen, err
	}
	near, seen, err := rate(0)
	if err != nil {
		return err
	}
	far, _, err := rate(farRTT)
	if err != nil {
		return err
	}
	b.add((&Line{Name: "trips/create/64", Figure: far, Unit: "a second, far"}).against("near", near).
		also("round trips", float64(seen.trips)/100, "").also("statements", float64(seen.statements)/100, ""))
	return nil
}

// serveThrough launches a server whose database is behind a proxy.
func (b *bench) serveThrough(d *data, proxy *proxy) (*process, error) {
	u, err := url.Parse(d.cluster.url(d.name))
	if err != nil {
		return nil, err
	}
	u.Host = proxy.listener.Addr().String()
	p, err := b.launch("server", "-data", d.folder, "-database", u.String())
	if err == nil {
		p.cluster = d.cluster
	}
	return p, err
}

// proxy stands between a server and PostgreSQL, counts, and makes the way longer.
type proxy struct {
	listener net.Listener
	to       string
	rtt      atomic.Int64

	mu    sync.Mutex
	wires []*wire
}

// counts are what went over the wire.
type counts struct{ trips, statements, sent, received int64 }

func (c counts) minus(d counts) counts {
	return counts{c.trips - d.trips, c.statements - d.statements, c.sent - d.sent, c.received - d.received}
}

// wire is one connection.
type wire struct {
	mu     sync.Mutex
	counts counts
	// listens: it waits for notices, which is not what is counted.
	listens  bool
	answered bool // the last who spoke was PostgreSQL
	pending  []byte
	started  bool
}

func newProxy(to string) (*proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: listener, to: to}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", p.to)
			if err != nil {
				conn.Close()
				continue
			}
			w := &wire{}
			p.mu.Lock()
			p.wires = append(p.wires, w)
			p.mu.Unlock()
			go p.pump(server, conn, w.fromServer)
			go p.pump(conn, server, w.fromClient)
		}
	}()
	return p, nil
}

// total is the sum over all connections that do not listen.
func (p *proxy) total() (sum counts) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.wires {
		w.mu.Lock()
		if !w.listens {
			c := w.counts
			sum = counts{sum.trips + c.trips, sum.statements + c.statements, sum.sent + c.sent, sum.received + c.received}
		}
		w.mu.Unlock()
	}
	return sum
}

// pump carries bytes one way, each half a round trip later.
func (p *proxy) pump(from, to net.Conn, see func([]byte)) {
	type chunk struct {
		bytes []byte
		due   time.Time
	}
	way := make(chan chunk, 1024)
	go func() {
		defer to.Close()
		for c := range way {
			if wait := time.Until(c.due); wait > 0 {
				sleep(wait)
			}
			if _, err := to.Write(c.bytes); err != nil {
				break
			}
		}
		for range way { // so that the other side is not left waiting
		}
	}()
	defer close(way)
	for {
		buffer := make([]byte, 32<<10)
		n, err := from.Read(buffer)
		if n > 0 {
			see(buffer[:n])
			way <- chunk{buffer[:n], time.Now().Add(time.Duration(p.rtt.Load() / 2))}
		}
		if err != nil {
			return
		}
	}
}

func (w *wire) fromServer(b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts.received += int64(len(b))
	w.answered = true
}

// fromClient reads the messages: a type, the length of the rest, the rest. The
// first has no type.
func (w *wire) fromClient(b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts.sent += int64(len(b))
	if w.answered {
		w.answered = false
		w.counts.trips++
	}
	w.pending = append(w.pending, b...)
	for {
		head := 5
		if !w.started {
			head = 4
		}
		if len(w.pending) < head {
			return
		}
		size := head - 4 + int(binary.BigEndian.Uint32(w.pending[head-4:]))
		if len(w.pending) < size {
			return
		}
		if w.started {
			switch message := w.pending[:size]; message[0] {
			case 'Q':
				w.listens = w.listens || bytes.Contains(message, []byte("LISTEN "))
				w.counts.statements++
			case 'E':
				w.counts.statements++
			}
		}
		w.started = true
		w.pending = w.pending[size:]
	}
}
