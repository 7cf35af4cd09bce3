package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/tenantry/tenantry/api"
)

// operation is one thing that the API does, to be measured by itself.
type operation struct {
	name string
	next source
	// writes share commits, so that what one costs depends on how many wait.
	writes bool
	// most bounds how often it can be done; 0 means any number.
	most int
}

const (
	password   = "correct horse battery"
	signInMost = 40 // times for one e-mail; the limit is 50 at once
)

// operations creates what the operations need and returns them, to be measured in
// this order.
func (b *bench) operations(ctx context.Context, d *data, server *process) ([]operation, error) {
	accounts, people := 4000, 10
	if b.short {
		accounts, people = 300, 3
	}
	clients, err := server.dial(1)
	if err != nil {
		return nil, err
	}
	defer clients.close()
	var ids, emails []string
	var own string // the first one's key
	for i := range accounts + people {
		from := creating(d.Key, "")
		if i >= accounts {
			from = creating(d.Key, password)
		}
		answer, err := clients.all[0].do(from(0)())
		if err != nil {
			return nil, err
		}
		account, err := accountOf(answer)
		if err != nil {
			return nil, err
		}
		if i >= accounts {
			emails = append(emails, account.Email)
			continue
		}
		if ids = append(ids, account.ID); i == 0 {
			own = account.APIKey
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	// The first one's log has some pages.
	limit := func(key string) source {
		var n atomic.Int64
		return shared(func() []byte {
			i := n.Add(1)
			return jsonRequest("PATCH", "/v2/managed_accounts/"+ids[i%int64(len(ids))]+"/update_global_channel_limit", key,
				fmt.Sprintf(`{"channel_limit":%d}`, 3+i/int64(len(ids))%2), "")
		})
	}
	for i := range 60 {
		request := jsonRequest("PATCH", "/v2/managed_accounts/"+ids[0]+"/update_global_channel_limit", d.Key, fmt.Sprintf(`{"channel_limit":%d}`, 5+i%2), "")
		if _, err := clients.all[0].do(request); err != nil {
			return nil, err
		}
	}
	if _, err := clients.all[0].do(listRequest(d.Key, "", "", 1)); err != nil { // reads the accounts into memory
		return nil, err
	}

	hot := getRequest("/v2/managed_accounts/"+d.id(d.Rows/2), d.Key)
	if _, err := clients.all[0].do(hot); err != nil {
		return nil, err
	}
	stride := d.Rows*618/1000 | 1
	for d.Rows%stride == 0 {
		stride += 2
	}
	var got, disabled, signedIn atomic.Int64
	fresh, pages := random(), random()
	last := uint64(max(d.Rows/pageSize-1, 1))
	return []operation{
		{name: "get-kept", next: always(hot)},
		// Each account once: what is kept in memory is of no use.
		{name: "get", most: d.Rows, next: shared(func() []byte {
			return getRequest("/v2/managed_accounts/"+d.id(int(got.Add(1))*stride%d.Rows), d.Key)
		})},
		{name: "list", next: func(int) func() []byte {
			return func() []byte { return listRequest(d.Key, "", "", 1+int(pages()%last)) }
		}},
		{name: "contains", next: func(int) func() []byte {
			return func() []byte {
				return listRequest(d.Key, "filter[email][contains]", "zq"+strconv.FormatUint(fresh()>>40, 36), 1)
			}
		}},
		{name: "audit-page", next: always(getRequest("/v2/audit_events?"+url.Values{"page[size]": {"20"}, "page[number]": {"2"}}.Encode(), own))},
		{name: "create", writes: true, next: creating(d.Key, "")},
		{name: "channel-limit", writes: true, next: limit(d.Key)},
		{name: "disable", writes: true, most: len(ids), next: shared(func() []byte {
			return jsonRequest("POST", "/v2/managed_accounts/"+ids[disabled.Add(1)%int64(len(ids))]+"/actions/disable", d.Key, "", "")
		})},
		{name: "sign-in", most: signInMost * people, next: shared(func() []byte {
			n := signedIn.Add(1)
			return jsonRequest("POST", "/portal/session", "", fmt.Sprintf(`{"email":%q,"password":%q}`, emails[n%int64(people)], password),
				fmt.Sprintf("10.%d.%d.%d", n>>16&255, n>>8&255, n&255))
		})},
	}, nil
}

// shared is a source that all clients draw from.
func shared(next func() []byte) source { return func(int) func() []byte { return next } }

// limited ends after so many requests; 0 means never.
func (s source) limited(most int) source {
	if most == 0 {
		return s
	}
	var n atomic.Int64
	return func(client int) func() []byte {
		next := s(client)
		return func() []byte {
			if n.Add(1) > int64(most) {
				return nil
			}
			return next()
		}
	}
}

// jsonRequest is a request as an SDK would send it, in short. key and from may be
// "".
func jsonRequest(method, path, key, body, from string) []byte {
	request := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: application/json\r\nContent-Length: %d\r\n", method, path, len(body))
	if body != "" {
		request = append(request, "Content-Type: application/json\r\n"...)
	}
	if key != "" {
		request = append(request, "Authorization: Bearer "+key+"\r\n"...)
	}
	if from != "" {
		request = append(request, "X-Forwarded-For: "+from+"\r\n"...)
	}
	return append(append(request, "\r\n"...), body...)
}

// created counts the accounts, so that each has an email of its own.
var created atomic.Uint64

// accountOf is the account in an answer.
func accountOf(answer []byte) (api.ManagedAccount, error) {
	var account api.Response[api.ManagedAccount]
	err := json.Unmarshal(answer, &account)
	return account.Data, err
}

// creating makes accounts, with a password unless that is "".
func creating(key, password string) source {
	const digits = "0000000000"
	more := ""
	if password != "" {
		more = fmt.Sprintf(`,"password":%q`, password)
	}
	body := `{"business_name":"Harbour ` + digits + ` Inc.","email":"office.` + digits + `@harbour.example.com"` + more + `}`
	return func(int) func() []byte {
		request := jsonRequest("POST", "/v2/managed_accounts", key, body, "")
		first := bytes.Index(request, []byte(digits))
		second := bytes.LastIndex(request, []byte(digits))
		return func() []byte {
			number := fmt.Appendf(nil, "%010d", created.Add(1))
			copy(request[first:], number)
			copy(request[second:], number)
			return request
		}
	}
}

// cost is what each operation takes of the server's CPU, and of its database's.
func (b *bench) cost(ctx context.Context) error {
	clients := func(o operation) []int {
		if o.writes {
			return []int{1, 64}
		}
		return []int{8}
	}
	name := func(o operation, n int) string {
		if o.writes {
			return fmt.Sprintf("cost/%s/%d", o.name, n)
		}
		return "cost/" + o.name
	}
	if !b.wanted("cost/idle", "cost/get-kept", "cost/get", "cost/list", "cost/contains", "cost/audit-page", "cost/create/1", "cost/create/64",
		"cost/channel-limit/1", "cost/channel-limit/64", "cost/disable/1", "cost/disable/64", "cost/sign-in") {
		return nil
	}
	d, err := b.accountsData(ctx, b.accounts)
	if err != nil {
		return err
	}
	if d, err = b.copied(ctx, d); err != nil {
		return err
	}
	defer d.restore(ctx)
	server, err := b.serve(d)
	if err != nil {
		return err
	}
	defer server.stop()
	operations, err := b.operations(ctx, d, server)
	if err != nil {
		return err
	}
	if b.cluster != nil {
		// What an idle node makes the database do: its heartbeat.
		idle, err := server.idle(ctx, b.time/2)
		if err != nil {
			return err
		}
		b.add((&Line{Name: "cost/idle", Figure: 1e6 * idle.cpu.Seconds() / idle.wall.Seconds(), Unit: "µs a second"}).
			also("of the database", 1e6*idle.databaseCPU.Seconds()/idle.wall.Seconds(), "µs"))
	}
	for _, o := range operations {
		for _, n := range clients(o) {
			if !b.wanted(name(o, n)) {
				continue
			}
			connections, err := server.dial(n)
			if err != nil {
				return err
			}
			wal, err := d.wal(ctx)
			if err != nil {
				return err
			}
			next, most := o.next, o.most
			if o.writes {
				most /= 2 // is done twice
			}
			var s sample
			err = b.profiled(server, name(o, n), func() error {
				s, err = connections.run(ctx, b.time, next.limited(most))
				return err
			})
			connections.close()
			if err != nil {
				return fmt.Errorf("%s: %w", o.name, err)
			}
			line := (&Line{Name: name(o, n), Figure: s.cpuEach(), Unit: "µs of CPU"}).also("p50", microsOf(quantile(s.latencies, 0.5)), "µs").
				also("p99", microsOf(quantile(s.latencies, 0.99)), "µs").also("wall", s.perWall(), "a second").also("done", float64(s.requests), "")
			if d.cluster != nil {
				after, err := d.wal(ctx)
				if err != nil {
					return err
				}
				line.also("database", s.databaseEach(), "µs of CPU")
				if o.writes {
					line.also("log", float64(after-wal)/float64(s.requests), "bytes")
				}
			}
			b.add(line)
		}
	}
	return nil
}

// idle is what a server takes when it is asked nothing.
func (p *process) idle(ctx context.Context, d time.Duration) (s sample, err error) {
	before, databaseBefore, err := p.cpuTimes()
	if err != nil {
		return s, err
	}
	began := time.Now()
	select {
	case <-ctx.Done():
		return s, ctx.Err()
	case <-time.After(d):
	}
	s.wall = time.Since(began)
	after, databaseAfter, err := p.cpuTimes()
	s.cpu, s.databaseCPU = after-before, databaseAfter-databaseBefore
	return s, err
}

// wal is where the write-ahead log of PostgreSQL stands.
func (d *data) wal(ctx context.Context) (int64, error) {
	if d.cluster == nil {
		return 0, nil
	}
	return d.cluster.number(ctx, d.name, "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint")
}

// size is what the accounts take on the disk, and how long it took to make them.
func (b *bench) size(ctx context.Context) error {
	if !b.wanted("size/account") {
		return nil
	}
	d, err := b.accountsData(ctx, b.accounts)
	if err != nil {
		return err
	}
	n := float64(d.Rows * d.Managers)
	line := (&Line{Name: "size/account", Figure: float64(d.Bytes) / n, Unit: "bytes"}).also("all", float64(d.Bytes)/1e6, "MB").also("built in", d.Seconds, "s")
	if d.cluster != nil {
		for _, t := range copiedTables[:4] {
			rows, err := d.cluster.number(ctx, d.name, "SELECT pg_table_size($1::text::regclass)", t.name)
			if err != nil {
				return err
			}
			indexes, err := d.cluster.number(ctx, d.name, "SELECT pg_indexes_size($1::text::regclass)", t.name)
			if err != nil {
				return err
			}
			line.also(t.name, float64(rows)/n, "bytes").also("its indexes", float64(indexes)/n, "bytes")
		}
	}
	b.add(line)
	return nil
}
