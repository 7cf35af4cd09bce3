package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// create makes accounts over HTTP, each confirmed when it is on the disk: with
// the writes that wait sharing a commit, as the product has it, against one
// transaction each.
func (b *bench) create(ctx context.Context) error {
	all, slow := "create/64/on-"+millions(b.accounts*b.managers), "create/64/sync-2ms"
	counts := []int{1, 8, 64}
	name := func(n int) string { return fmt.Sprintf("create/%d", n) }
	if !b.wanted("create/fdatasync", "create/bare-insert", name(1), name(8), name(64), slow, all) {
		return nil
	}
	empty, err := b.accountsData(ctx, 0)
	if err != nil {
		return err
	}
	grouped, err := b.creator(ctx, empty)
	if err != nil {
		return err
	}
	defer grouped.stop()
	single, err := b.creator(ctx, empty, "-batch", "1")
	if err != nil {
		return err
	}
	defer single.stop()

	const rounds = 3
	var syncs, inserts sample
	together, apart := make([]sample, len(counts)), make([]sample, len(counts))
	for range rounds {
		if err := b.syncs(ctx, &syncs, b.time/rounds/2); err != nil {
			return err
		}
		if err := b.inserts(ctx, &inserts, b.time/rounds/2); err != nil {
			return err
		}
		for i, n := range counts {
			if !b.wanted(name(n), all) {
				continue
			}
			if err := single.run(ctx, &apart[i], n, b.time/rounds); err != nil {
				return err
			}
			if err := grouped.run(ctx, &together[i], n, b.time/rounds); err != nil {
				return err
			}
		}
	}
	b.add(&Line{Name: "create/fdatasync", Figure: syncs.perWall(), Unit: "syncs/s"})
	b.add((&Line{Name: "create/bare-insert", Figure: inserts.perWall(), Unit: "inserts/s"}).against("fdatasync", syncs.perWall()))
	for i, n := range counts {
		if !b.wanted(name(n)) {
			continue
		}
		line := creates(name(n), &together[i]).against("one tx each", apart[i].perWall())
		if n == 64 {
			line.aim("ratio", line.Ratio, true, 5)
		}
		b.add(line.also("per fdatasync", together[i].perWall()/syncs.perWall(), "").
			also("one tx each p50", millis(quantile(apart[i].latencies, 0.5)), "ms").also("one tx each cpu", apart[i].cpuEach(), "µs"))
	}
	if b.profile != "" {
		err := b.profiled(grouped.process, "create/64", func() error { return grouped.run(ctx, &sample{}, 64, max(b.time, 10*time.Second)) })
		if err != nil {
			return err
		}
	}
	if b.cluster != nil && b.wanted(slow) {
		if err := b.createSlowly(ctx, slow, empty); err != nil {
			return err
		}
	}
	if !b.wanted(all) {
		return nil
	}
	full, err := b.accountsData(ctx, b.accounts)
	if err != nil {
		return err
	}
	big, err := b.creator(ctx, full)
	if err != nil {
		return err
	}
	defer big.stop()
	var s, t sample
	for range rounds {
		if err := grouped.run(ctx, &t, 64, b.time/rounds); err != nil {
			return err
		}
		if err := big.run(ctx, &s, 64, b.time/rounds); err != nil {
			return err
		}
	}
	b.add(creates(all, &s).against("on empty", t.perWall()))
	return nil
}

func creates(name string, s *sample) *Line {
	return (&Line{Name: name, Figure: s.perWall(), Unit: "creates/s"}).also("p50", millis(quantile(s.latencies, 0.5)), "ms").
		also("p99", millis(quantile(s.latencies, 0.99)), "ms").also("cpu", s.cpuEach(), "µs")
}

// creator is a server on a database of its own that accounts are created on.
type creator struct {
	*process
	key string
}

func (b *bench) creator(ctx context.Context, d *data, args ...string) (*creator, error) {
	d, err := b.copied(ctx, d)
	if err != nil {
		return nil, err
	}
	p, err := b.serve(d, args...)
	return &creator{p, d.Key}, err
}

// createSlowly is the same with a disk that takes 2 ms longer to sync: so long
// PostgreSQL waits before it does.
func (b *bench) createSlowly(ctx context.Context, name string, empty *data) error {
	var all [2]*creator
	for i, args := range [][]string{nil, {"-batch", "1"}} {
		d, err := b.copied(ctx, empty)
		if err != nil {
			return err
		}
		err = d.cluster.do(ctx, "postgres", "ALTER DATABASE "+d.name+" SET commit_delay = 2000", "ALTER DATABASE "+d.name+" SET commit_siblings = 0")
		if err != nil {
			return err
		}
		p, err := b.serve(d, args...)
		if err != nil {
			return err
		}
		defer p.stop()
		all[i] = &creator{p, d.Key}
	}
	var samples [2]sample
	const rounds = 3
	for range rounds {
		for i, c := range all {
			if err := c.run(ctx, &samples[i], 64, b.time/rounds); err != nil {
				return err
			}
		}
	}
	line := creates(name, &samples[0]).against("one tx each", samples[1].perWall())
	b.add(line.aim("ratio", line.Ratio, true, 5))
	return nil
}

func (c *creator) run(ctx context.Context, into *sample, n int, d time.Duration) error {
	clients, err := c.dial(n)
	if err != nil {
		return err
	}
	defer clients.close()
	s, err := clients.run(ctx, d, creating(c.key, ""))
	into.add(s)
	return err
}

// syncs writes 4 KiB and syncs, over and over, as the disk of this run allows.
func (b *bench) syncs(ctx context.Context, into *sample, d time.Duration) error {
	file, err := os.OpenFile(filepath.Join(b.folder, "syncs"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	const pages = 1024
	page := make([]byte, 4096)
	if _, err := file.WriteAt(page, pages*4096-1); err != nil {
		return err
	}
	return into.repeat(ctx, d, func(i int) error {
		page[0]++
		if _, err := file.WriteAt(page, int64(i%pages)*4096); err != nil {
			return err
		}
		return datasync(file)
	})
}

// inserts adds rows of an account's size to one table, one transaction each.
func (b *bench) inserts(ctx context.Context, into *sample, d time.Duration) error {
	address := filepath.Join(b.folder, "inserts.db")
	if b.cluster != nil {
		address = b.cluster.url(schemaName) // which is made anew in each run
	}
	db, err := openSQL(address, "_txlock=immediate")
	if err != nil {
		return err
	}
	defer db.close()
	if err := db.exec(ctx, "CREATE TABLE IF NOT EXISTS bench_insert (id TEXT PRIMARY KEY, email TEXT UNIQUE, name TEXT, created_at BIGINT)"); err != nil {
		return err
	}
	return into.repeat(ctx, d, func(int) error {
		i := int(created.Add(1))
		return db.exec(ctx, "INSERT INTO bench_insert (id, email, name, created_at) VALUES (?1, ?2, ?3, ?4)", rowID(i, 1_000_000), rowEmail(i), rowName(i), i)
	})
}

// repeat calls f over and over in this process.
func (s *sample) repeat(ctx context.Context, d time.Duration, f func(i int) error) error {
	began := time.Now()
	n := 0
	for time.Since(began) < d {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f(n); err != nil {
			return err
		}
		n++
	}
	s.add(sample{requests: n, wall: time.Since(began)})
	return nil
}
