package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// steadyRate is a moderate load, in requests a second.
const steadyRate = 2000

// admission asks for decisions about calls, against a handler that answers as many
// bytes; then at a moderate rate, beside that handler, and at half of what it can do;
// then about every account once.
func (b *bench) admission(ctx context.Context) error {
	names := []string{"admission/json", "admission/query", "admission/text", "admission/steady", "admission/half-load", "admission/memory"}
	if !b.wanted(names...) {
		return nil
	}
	d, err := b.accountsData(ctx, b.accounts)
	if err != nil {
		return err
	}
	server, err := b.serve(d, "-debug") // which says how large its heap is
	if err != nil {
		return err
	}
	defer server.stop()
	bare, err := b.launch("bare")
	if err != nil {
		return err
	}
	defer bare.stop()
	// The operator's token does where there is none for switches.
	token, err := os.ReadFile(filepath.Join(d.folder, "admission.token"))
	if err != nil {
		return err
	}
	key := strings.TrimSpace(string(token))
	asJSON := func(i int) []byte {
		body := `{"kind":"call","direction":"outbound","account_id":"` + rowID(i, d.Rows) + `"}`
		return []byte(fmt.Sprintf("POST /admission/v1/check HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nContent-Type: application/json\r\n"+
			"Authorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", key, len(body), body))
	}
	asQuery := func(i int) []byte {
		return getRequest("/admission/v1/check?kind=call&account_id="+rowID(i, d.Rows), key)
	}
	asText := func(i int) []byte {
		return getRequest("/admission/v1/check.txt?kind=call&account_id="+rowID(i, d.Rows), key)
	}

	clients, err := server.dial(getClients)
	if err != nil {
		return err
	}
	defer clients.close()
	baseline, err := bare.dial(getClients)
	if err != nil {
		return err
	}
	defer baseline.close()
	among := func(make func(int) []byte, n int) source {
		requests := [][]byte{}
		for i := range min(n, 1000) {
			requests = append(requests, make(i))
		}
		return func(int) func() []byte {
			next := random()
			return func() []byte { return requests[next()%uint64(len(requests))] }
		}
	}
	var peak float64
	for _, x := range []struct {
		name string
		make func(int) []byte
	}{{names[0], asJSON}, {names[1], asQuery}, {names[2], asText}} {
		// What is half of what it can do is known from the last.
		if !b.wanted(x.name) && (x.name != names[2] || !b.wanted(names[4])) {
			continue
		}
		body, err := server.once(x.make(0))
		if err != nil {
			return err
		}
		// The handler that does nothing reads the same request.
		path := fmt.Sprintf("/%d", len(body))
		first, rest, _ := strings.Cut(string(x.make(0)), " HTTP/1.1")
		method, _, _ := strings.Cut(first, " ")
		nothing := []byte(method + " " + path + " HTTP/1.1" + rest)
		const rounds = 5
		var ours, bares sample
		for range rounds {
			s, err := baseline.run(ctx, b.time/rounds, always(nothing))
			if err != nil {
				return err
			}
			bares.add(s)
			if s, err = clients.run(ctx, b.time/rounds, among(x.make, d.Rows)); err != nil {
				return err
			}
			ours.add(s)
		}
		line := (&Line{Name: x.name, Figure: ours.perCPU(), Unit: "req/s of CPU"}).against("bare handler", bares.perCPU())
		line.aim("ratio", line.Ratio, true, 0.85)
		b.add(line.also("cpu", ours.cpuEach(), "µs").also("wall", ours.perWall(), "req/s").also("p50", millis(quantile(ours.latencies, 0.5)), "ms").
			also("p99", millis(quantile(ours.latencies, 0.99)), "ms").also("answer", float64(len(body)), "bytes"))
		peak = ours.perWall()
		if b.profile != "" {
			for _, p := range []struct {
				name string
				at   *connections
				from source
			}{{x.name, clients, among(x.make, d.Rows)}, {x.name + "/bare", baseline, always(nothing)}} {
				err := b.profiled(p.at.process, p.name, func() error {
					_, err := p.at.run(ctx, max(b.time, 5*time.Second), p.from)
					return err
				})
				if err != nil {
					return err
				}
			}
		}
	}
	if b.wanted(names[3]) {
		nothing := getRequest("/6?kind=call&account_id="+rowID(0, d.Rows), key)
		const rounds = 5
		var ours, bares sample
		for range rounds {
			s, err := baseline.paced(ctx, b.time/rounds, steadyRate, always(nothing))
			if err != nil {
				return err
			}
			bares.add(s)
			if s, err = clients.paced(ctx, b.time/rounds, steadyRate, among(asText, d.Rows)); err != nil {
				return err
			}
			ours.add(s)
		}
		at := func(s *sample, q float64) float64 { return millis(quantile(s.latencies, q)) }
		b.add((&Line{Name: names[3], Figure: at(&ours, 0.99), Unit: "ms p99"}).against("bare handler", at(&bares, 0.99)).
			also("p50", at(&ours, 0.5), "ms").also("bare p50", at(&bares, 0.5), "ms").
			also("p99.9", at(&ours, 0.999), "ms").also("bare p99.9", at(&bares, 0.999), "ms").also("wall", ours.perWall(), "req/s"))
	}
	if b.wanted(names[4]) {
		s, err := clients.paced(ctx, b.time, peak/2, among(asText, d.Rows))
		if err != nil {
			return err
		}
		p99 := millis(quantile(s.latencies, 0.99))
		line := &Line{Name: names[4], Figure: p99, Unit: "ms p99"}
		line.aim("p99", p99, false, 2)
		b.add(line.also("wall", s.perWall(), "req/s").also("p50", millis(quantile(s.latencies, 0.5)), "ms"))
	}
	if !b.wanted(names[5]) {
		return nil
	}
	before, err := server.heap()
	if err != nil {
		return err
	}
	var wait sync.WaitGroup
	errs := make([]error, len(clients.all))
	for i, one := range clients.all {
		wait.Go(func() {
			for n := i; n < d.Rows && errs[i] == nil && ctx.Err() == nil; n += len(clients.all) {
				_, errs[i] = one.do(asText(n))
			}
		})
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	after, err := server.heap()
	if err != nil {
		return err
	}
	resident, err := memory(server.pid(), "VmRSS")
	if err != nil {
		return err
	}
	b.add((&Line{Name: names[5], Figure: float64(after-before) / float64(d.Rows), Unit: "bytes each"}).also("accounts", float64(d.Rows), "").
		also("heap before", float64(before)/(1<<20), "MiB").also("after", float64(after)/(1<<20), "MiB").also("resident", resident, "MiB"))
	return nil
}

// paced lets the clients send rate requests a second together, each on time or as
// soon as the last is answered. A request's latency counts from when it was due.
func (c *connections) paced(ctx context.Context, d time.Duration, rate float64, from source) (s sample, err error) {
	var mu sync.Mutex
	var wait sync.WaitGroup
	pause := time.Duration(float64(len(c.all)) / rate * float64(time.Second))
	began := time.Now()
	for i, one := range c.all {
		wait.Go(func() {
			next := from(i)
			var latencies []time.Duration
			var failed error
			for due := began.Add(pause * time.Duration(i) / time.Duration(len(c.all))); due.Sub(began) < d && failed == nil && ctx.Err() == nil; due = due.Add(pause) {
				time.Sleep(time.Until(due))
				_, failed = one.do(next())
				latencies = append(latencies, time.Since(due))
			}
			mu.Lock()
			defer mu.Unlock()
			s.requests += len(latencies)
			s.latencies = append(s.latencies, latencies...)
			if failed != nil {
				err = failed
			}
		})
	}
	wait.Wait()
	s.wall = time.Since(began)
	return s, err
}
