package main

import (
	"context"
	"errors"
	"sync"
	"time"
)

// share is one part of a load: clients of one node, and what they ask.
type share struct {
	node    *process
	clients int
	from    source
}

// together runs the shares at once. The samples are in their order; what the
// database took for all of them is in the first.
func together(ctx context.Context, d time.Duration, shares ...share) ([]sample, error) {
	samples, errs := make([]sample, len(shares)), make([]error, len(shares))
	var wait sync.WaitGroup
	for i, s := range shares {
		wait.Go(func() {
			clients, err := s.node.dial(s.clients)
			if err != nil {
				errs[i] = err
				return
			}
			defer clients.close()
			samples[i], errs[i] = clients.run(ctx, d, s.from)
			if i > 0 {
				samples[i].databaseCPU = 0
			}
		})
	}
	wait.Wait()
	return samples, errors.Join(errs...)
}

// nodes has two servers on one database: what the second adds to the creates, and
// what it is to read from a node while another writes.
func (b *bench) nodes(ctx context.Context) error {
	names := []string{"nodes/create/1", "nodes/create/2", "nodes/create/2-managers", "nodes/get", "nodes/get/beside-creates"}
	if b.cluster == nil || !b.wanted(names...) {
		return nil
	}
	d, err := b.accountsData(ctx, 0)
	if err != nil {
		return err
	}
	if d, err = b.copied(ctx, d); err != nil {
		return err
	}
	var all [2]*process
	for i := range all {
		if all[i], err = b.serve(d); err != nil {
			return err
		}
		defer all[i].stop()
	}
	commits := func() (int64, error) {
		return d.cluster.number(ctx, d.name, "SELECT COALESCE(SUM(batch), 0)::bigint FROM node")
	}
	first, second := creating(d.Key, ""), creating(d.Others[0], "")
	loads := [][]share{
		{{all[0], 64, first}},
		{{all[0], 32, first}, {all[1], 32, first}},
		{{all[0], 32, first}, {all[1], 32, second}},
	}
	const rounds = 3
	totals, counts := make([]sample, len(loads)), make([]int64, len(loads))
	for range rounds {
		for i, load := range loads {
			before, err := commits()
			if err != nil {
				return err
			}
			samples, err := together(ctx, b.time/rounds, load...)
			if err != nil {
				return err
			}
			after, err := commits()
			if err != nil {
				return err
			}
			counts[i] += after - before
			for k, s := range samples {
				if k > 0 {
					s.wall = 0 // at the same time
				}
				totals[i].add(s)
			}
		}
	}
	for i, s := range totals {
		line := creates(names[i], &s)
		if i > 0 {
			line.against("1 node", totals[0].perWall())
		}
		b.add(line.also("commits", float64(counts[i])/s.wall.Seconds(), "a second").also("creates a commit", float64(s.requests)/float64(counts[i]), "").
			also("database", s.databaseEach(), "µs of CPU"))
	}

	// The account that is read exists since the creates above.
	answer, err := all[1].once(creating(d.Key, "")(0)())
	if err != nil {
		return err
	}
	account, err := accountOf(answer)
	if err != nil {
		return err
	}
	hot := always(getRequest("/v2/managed_accounts/"+account.ID, d.Key))
	var quiet, busy, writing sample
	for range rounds {
		samples, err := together(ctx, b.time/rounds, share{all[1], 64, hot})
		if err != nil {
			return err
		}
		quiet.add(samples[0])
		if samples, err = together(ctx, b.time/rounds, share{all[1], 64, hot}, share{all[0], 32, first}); err != nil {
			return err
		}
		busy.add(samples[0])
		writing.add(samples[1])
	}
	gets := func(name string, s *sample) *Line {
		return (&Line{Name: name, Figure: s.perCPU(), Unit: "req/s of CPU"}).also("cpu", s.cpuEach(), "µs").also("wall", s.perWall(), "req/s").
			also("p50", millis(quantile(s.latencies, 0.5)), "ms").also("p99", millis(quantile(s.latencies, 0.99)), "ms")
	}
	b.add(gets(names[3], &quiet))
	b.add(gets(names[4], &busy).against("nobody writes", quiet.perCPU()).also("creates on the other", writing.perWall(), "a second"))
	return nil
}
