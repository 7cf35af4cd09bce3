package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// leases lets calls begin and end: those of many accounts at once, and one after
// another of an account that has many.
func (b *bench) leases(ctx context.Context) error {
	const pairs = "lease/pairs"
	name := func(n int) string { return "lease/running-" + millions(n) }
	// So many calls an account has while another of it begins and ends.
	running := []int{10, 1000, 10_000}
	if b.short {
		running = running[:2]
	}
	wanted := []string{pairs}
	for _, n := range running {
		wanted = append(wanted, name(n))
	}
	if !b.wanted(wanted...) {
		return nil
	}
	d, err := b.accountsData(ctx, 0)
	if err != nil {
		return err
	}
	if d, err = b.copied(ctx, d); err != nil {
		return err
	}
	ids, err := b.callers(ctx, d, getClients+1)
	if err != nil {
		return err
	}
	server, err := b.serve(d)
	if err != nil {
		return err
	}
	defer server.stop()
	token, err := os.ReadFile(filepath.Join(d.folder, "operator.token"))
	if err != nil {
		return err
	}
	key := strings.TrimSpace(string(token))
	var calls atomic.Int64
	begin := func(account string, call int64) []byte {
		return getRequest(fmt.Sprintf("/admission/v1/check.txt?kind=call&acquire=true&switch=s&account_id=%s&call_id=c%d", account, call), key)
	}
	// pair begins a call of the client's account, and ends it.
	pair := func(account func(client int) string) source {
		return func(client int) func() []byte {
			var call int64
			return func() []byte {
				if call == 0 {
					call = calls.Add(1)
					return begin(account(client), call)
				}
				request := jsonRequest("POST", fmt.Sprintf("/admission/v1/leases/c%d/release", call), key, "", "")
				call = 0
				return request
			}
		}
	}
	clients, err := server.dial(getClients)
	if err != nil {
		return err
	}
	defer clients.close()
	one := &connections{process: server, all: clients.all[:1]}
	measured := func(name string, on *connections, from source) error {
		if !b.wanted(name) {
			return nil
		}
		var s sample
		err := b.profiled(server, name, func() (err error) {
			s, err = on.run(ctx, b.time, from)
			return err
		})
		if err != nil {
			return err
		}
		b.add((&Line{Name: name, Figure: s.perWall() / 2, Unit: "pairs/s"}).also("cpu", 2*s.cpuEach(), "µs").also("database", 2*s.databaseEach(), "µs").
			also("p50", millis(quantile(s.latencies, 0.5)), "ms").also("p99", millis(quantile(s.latencies, 0.99)), "ms"))
		return nil
	}
	if err := measured(pairs, clients, pair(func(client int) string { return ids[client] })); err != nil {
		return err
	}
	last := ids[getClients]
	filled := 0
	for _, n := range running {
		if !b.wanted(name(n)) {
			continue
		}
		fill := source(func(int) func() []byte {
			return func() []byte { return begin(last, calls.Add(1)) }
		}).limited(n - filled)
		if _, err := clients.run(ctx, time.Hour, fill); err != nil {
			return err
		}
		filled = n
		if err := measured(name(n), one, pair(func(int) string { return last })); err != nil {
			return err
		}
	}
	return nil
}

// callers makes n accounts that may have any number of calls, and returns their ids.
func (b *bench) callers(ctx context.Context, d *data, n int) (ids []string, err error) {
	server, err := b.serve(d)
	if err != nil {
		return nil, err
	}
	defer server.stop()
	next := creating(d.Key, "")(0)
	for range n {
		answer, err := server.once(next())
		if err != nil {
			return nil, err
		}
		account, err := accountOf(answer)
		if err != nil {
			return nil, err
		}
		ids = append(ids, account.ID)
	}
	server.stop()
	address := d.file()
	if d.cluster != nil {
		address = d.cluster.url(d.name)
	}
	db, err := openSQL(address, "")
	if err != nil {
		return nil, err
	}
	defer db.close()
	return ids, db.exec(ctx, "UPDATE account SET channel_limit = 1000000 WHERE manager_id <> ''")
}
