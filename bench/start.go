package main

import (
	"context"
	"time"
)

// start is the time from exec to the first answer, and what the first list costs
// on top, which reads all accounts into memory.
func (b *bench) start(ctx context.Context) error {
	all, first := "start/"+millions(b.accounts), "start/first-list"
	if !b.wanted("start/empty", all, first) {
		return nil
	}
	empty, err := b.accountsData(ctx, 0)
	if err != nil {
		return err
	}
	full, err := b.accountsData(ctx, b.accounts)
	if err != nil {
		return err
	}
	times := 5
	if b.short {
		times = 3
	}
	var bare, small, large, lists, scans []time.Duration
	var resident float64
	for range times {
		if err := ctx.Err(); err != nil {
			return err
		}
		took, _, err := b.startOne(getRequest("/2", ""), nil, "bare")
		if err != nil {
			return err
		}
		bare = append(bare, took)
		if took, _, err = b.startOne(getRequest("/healthz", ""), nil, "server", empty.args()...); err != nil {
			return err
		}
		small = append(small, took)
		took, list, err := b.startOne(getRequest("/healthz", ""), func(p *process) (err error) {
			if _, err = p.once(listRequest(full.Key, "", "", 1)); err == nil {
				resident, err = memory(p.pid(), "VmRSS")
			}
			return err
		}, "server", full.args()...)
		if err != nil {
			return err
		}
		large, lists = append(large, took), append(lists, list)
		if took, err = scanAccounts(ctx, full); err != nil {
			return err
		}
		scans = append(scans, took)
	}
	line := func(name string, took []time.Duration, against string, baseline []time.Duration) *Line {
		return (&Line{Name: name, Figure: millis(quantile(took, 0.5)), Unit: "ms"}).
			against(against, millis(quantile(baseline, 0.5))).also("worst", millis(quantile(took, 1)), "ms")
	}
	b.add(line("start/empty", small, "bare handler", bare))
	b.add(line(all, large, "empty", small))
	b.add(line(first, lists, "SQL scan", scans).also("resident", resident, "MiB"))
	return nil
}

// startOne is the time from exec to the answer, and how long then took.
func (b *bench) startOne(request []byte, then func(*process) error, role string, args ...string) (start, after time.Duration, err error) {
	p, err := b.launch(role, args...)
	if err != nil {
		return 0, 0, err
	}
	defer p.stop()
	if _, err := p.once(request); err != nil {
		return 0, 0, err
	}
	start = time.Since(p.began)
	if then == nil {
		return start, 0, nil
	}
	began := time.Now()
	err = then(p)
	return start, time.Since(began), err
}

// scanAccounts reads in SQL what a list needs to know of every account.
func scanAccounts(ctx context.Context, d *data) (time.Duration, error) {
	db, err := d.open()
	if err != nil {
		return 0, err
	}
	defer db.close()
	began := time.Now()
	err = db.each(ctx, func(rows rows) error {
		var number int64
		var email, name string
		var disabled, blocked, cancelled bool
		return rows.Scan(&number, &email, &name, &disabled, &blocked, &cancelled)
	}, "SELECT number, email, organization_name, disabled, blocked, cancelled FROM account WHERE manager_id = ?1 ORDER BY number", d.Account)
	return time.Since(began), err
}
