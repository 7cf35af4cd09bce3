package main

import (
	"context"
	"fmt"
	"time"
)

// getClients is how many connections read accounts at once.
const getClients = 64

// get reads one account at a time out of working sets of three sizes, against a
// handler that answers as many bytes.
func (b *bench) get(ctx context.Context) error {
	names := []string{"get/hot", "get/10k", "get/all"}
	if !b.wanted(names...) {
		return nil
	}
	d, err := b.accountsData(ctx, b.accounts)
	if err != nil {
		return err
	}
	server, err := b.serve(d)
	if err != nil {
		return err
	}
	defer server.stop()
	bare, err := b.launch("bare")
	if err != nil {
		return err
	}
	defer bare.stop()

	path := func(i int) string { return "/v2/managed_accounts/" + d.id(i) }
	hot := getRequest(path(d.Rows/2), d.Key)
	body, err := server.once(hot)
	if err != nil {
		return err
	}
	size := len(body)
	baseline, err := bare.dial(getClients)
	if err != nil {
		return err
	}
	defer baseline.close()
	clients, err := server.dial(getClients)
	if err != nil {
		return err
	}
	defer clients.close()

	among := func(n int) source {
		return func(int) func() []byte {
			request, next := getRequest(path(0), d.Key), random()
			return func() []byte {
				copy(request[len("GET "):], path(int(next()%uint64(n))))
				return request
			}
		}
	}
	small := min(10_000, d.Rows)
	sets := []source{always(hot), among(small), among(d.Rows)}
	bytesRequest := getRequest(fmt.Sprintf("/%d", size), d.Key)
	// The small set comes into memory; the large one does as far as it fits, and so
	// would push the small one out.
	for i := range small {
		if _, err := clients.all[i%getClients].do(getRequest(path(i), d.Key)); err != nil {
			return err
		}
	}
	measure := func(names []string, sets []source) error {
		const rounds = 5
		var bares sample
		samples := make([]sample, len(sets))
		for range rounds {
			s, err := baseline.run(ctx, b.time/rounds, always(bytesRequest))
			if err != nil {
				return err
			}
			bares.add(s)
			for i, from := range sets {
				if s, err = clients.run(ctx, b.time/rounds, from); err != nil {
					return err
				}
				samples[i].add(s)
			}
		}
		resident, err := memory(server.pid(), "VmRSS")
		for i, s := range samples {
			line := (&Line{Name: names[i], Figure: s.perCPU(), Unit: "req/s of CPU"}).against("bare handler", bares.perCPU())
			if names[i] == "get/hot" {
				line.aim("ratio", line.Ratio, true, 0.80)
			}
			b.add(line.also("cpu", s.cpuEach(), "µs").also("wall", s.perWall(), "req/s").also("p50", millis(quantile(s.latencies, 0.5)), "ms").
				also("p99", millis(quantile(s.latencies, 0.99)), "ms").also("resident", resident, "MiB").also("answer", float64(size), "bytes"))
		}
		return err
	}
	if b.wanted(names[:2]...) {
		if err := measure(names[:2], sets[:2]); err != nil {
			return err
		}
	}
	if b.wanted(names[2]) {
		if _, err := clients.run(ctx, b.time/5, sets[2]); err != nil {
			return err
		}
		if err := measure(names[2:], sets[2:]); err != nil {
			return err
		}
	}
	if b.profile == "" {
		return nil
	}
	for _, p := range []struct {
		name string
		at   *connections
		from source
	}{{"get/bare", baseline, always(bytesRequest)}, {"get/hot", clients, sets[0]}, {"get/all", clients, sets[2]}} {
		err := b.profiled(p.at.process, p.name, func() error {
			_, err := p.at.run(ctx, max(b.time, 5*time.Second), p.from)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
