package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

// report reads the users with their groups from a server that has done nothing
// else yet, against a loop over the same rows that does nothing with them.
func (b *bench) report(ctx context.Context) error {
	kinds := []struct{ name, accept, mark string }{
		{"report/csv", "text/csv", "\n"}, {"report/json", "application/json", "["},
	}
	if !b.wanted("report/csv", "report/json") {
		return nil
	}
	d, err := b.usersData(ctx, b.users)
	if err != nil {
		return err
	}
	times := 3
	if b.short {
		times = 1
	}
	for _, kind := range kinds {
		if !b.wanted(kind.name) {
			continue
		}
		var rates, perCPU, baselines, database []float64
		var peak, before float64
		var size int64
		for range times {
			rate, err := mergeUsers(ctx, d)
			if err != nil {
				return err
			}
			baselines = append(baselines, rate)
			server, err := b.serve(d)
			if err != nil {
				return err
			}
			header := http.Header{"Authorization": {"Bearer " + d.Key}, "Accept": {kind.accept}}
			r, err := readReport(ctx, server, d, reportPath, header, kind.mark)
			if err == nil && b.profile != "" {
				err = b.profiled(server, kind.name, func() error {
					_, err := readReport(ctx, server, d, reportPath, header, kind.mark)
					return err
				})
			}
			server.stop()
			if err != nil {
				return fmt.Errorf("%s: %w", kind.name, err)
			}
			rates, perCPU = append(rates, float64(d.Rows)/r.wall.Seconds()), append(perCPU, float64(d.Rows)/r.cpu.Seconds())
			database = append(database, microsOf(r.databaseCPU)/float64(d.Rows))
			peak, before, size = max(peak, r.peak), max(before, r.before), r.size
		}
		line := (&Line{Name: kind.name, Figure: median(rates), Unit: "users/s"}).against("two cursors", median(baselines))
		line.aim("", line.Figure, true, 300_000)
		line.also("of CPU", median(perCPU), "users/s").also("answer", float64(size)/1e6, "MB")
		if d.cluster != nil {
			line.also("database", median(database), "µs of CPU a user")
		}
		b.add(line)
		b.add((&Line{Name: kind.name + "/resident", Figure: peak, Unit: "MiB peak"}).against("at start", before).aim("", peak, false, 64))
	}
	return nil
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

type reportResult struct {
	wall, cpu    time.Duration
	databaseCPU  time.Duration
	peak, before float64
	size         int64
}

const reportPath = "/v2/organizations/users/users_groups_report"

// readReport counts the rows by a character that each brings once.
func readReport(ctx context.Context, server *process, d *data, path string, header http.Header, mark string) (r reportResult, err error) {
	request, err := http.NewRequestWithContext(ctx, "GET", "http://"+server.addr+path, nil)
	if err != nil {
		return r, err
	}
	request.Header = header
	if r.before, err = memory(server.pid(), "VmRSS"); err != nil {
		return r, err
	}
	if err := resetPeak(server.pid()); err != nil {
		return r, err
	}
	cpu, databaseCPU, err := server.cpuTimes()
	if err != nil {
		return r, err
	}
	began := time.Now()
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return r, err
	}
	defer answer.Body.Close()
	read := 0
	buffer := make([]byte, 256<<10)
	for {
		n, err := answer.Body.Read(buffer)
		read += bytes.Count(buffer[:n], []byte(mark))
		r.size += int64(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			return r, err
		}
	}
	r.wall = time.Since(began)
	after, databaseAfter, err := server.cpuTimes()
	if err != nil {
		return r, err
	}
	r.cpu, r.databaseCPU = after-cpu, databaseAfter-databaseCPU
	if r.peak, err = memory(server.pid(), "VmHWM"); err != nil {
		return r, err
	}
	if mark == "[" {
		read-- // the list's own
	}
	if answer.StatusCode != 200 || read != d.Rows {
		return r, fmt.Errorf("%s with %d rows, not %d", answer.Status, read, d.Rows)
	}
	return r, nil
}

// mergeUsers is how many users a second two ordered cursors, merged, come to.
func mergeUsers(ctx context.Context, d *data) (float64, error) {
	db, err := d.open()
	if err != nil {
		return 0, err
	}
	defer db.close()
	began := time.Now()
	members, done, err := db.query(ctx, "SELECT user_number, group_id FROM membership WHERE account_id = ?1 ORDER BY user_number", d.Account)
	if err != nil {
		return 0, err
	}
	defer done()
	users := 0
	var of int64
	var group string
	err = db.each(ctx, func(rows rows) error {
		var id, email, status string
		var number, created, signedIn int64
		if err := rows.Scan(&number, &id, &email, &status, &created, &signedIn); err != nil {
			return err
		}
		for of <= number && members.Next() {
			if err := members.Scan(&of, &group); err != nil {
				return err
			}
		}
		users++
		return nil
	}, `SELECT number, id, email, user_status, created_at, last_sign_in_at FROM organization_user
		WHERE account_id = ?1 AND removed = FALSE ORDER BY number`, d.Account)
	if err == nil && users != d.Rows {
		err = fmt.Errorf("SQL finds %d users, not %d", users, d.Rows)
	}
	return float64(users) / time.Since(began).Seconds(), err
}
