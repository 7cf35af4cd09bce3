package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"

	"github.com/tenantry/tenantry/api"
)

const pageSize = 25

// listQueries are the lists that are measured.
var listQueries = []struct{ name, parameter, value string }{
	{"default", "", ""},
	{"created_at", "sort", "created_at"},
	{"email", "sort", "email"},
	{"-email", "sort", "-email"},
	{"enabled", "filter[status][eq]", "enabled"},
	{"disabled", "filter[status][eq]", "disabled"},
	{"all", "filter[status][eq]", "all"},
	{"with-cancelled", "include_cancelled_accounts", "true"},
	{"name-eq", "filter[organization_name][eq]", rowName(12345)},
}

// listRequest asks for a page of accounts.
func listRequest(key, parameter, value string, page int) []byte {
	query := url.Values{"page[size]": {fmt.Sprint(pageSize)}, "page[number]": {fmt.Sprint(page)}}
	if parameter != "" {
		query.Set(parameter, value)
	}
	return getRequest("/v2/managed_accounts?"+query.Encode(), key)
}

// listMeta is where a page says that it stands.
func listMeta(answer []byte) (api.Meta, error) {
	var list api.ListResponse[struct{}]
	err := json.Unmarshal(answer, &list)
	return list.Meta, err
}

// place is a page that is measured in one way.
type place struct {
	// page names the line; begin is where it is measured, which is earlier when
	// the list is shorter.
	page, begin int
	walk        bool
	requests    [][]byte
	sample
}

// list reads pages of accounts one at a time, from page 1 to page 40,000 of a
// million: by jumping there, which counts, and by walking on from page to page,
// which remembers.
func (b *bench) list(ctx context.Context) error {
	var names []string
	for _, q := range listQueries {
		names = append(names, b.listNames(q.name)...)
	}
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
	return b.profiled(server, "list", func() error {
		for _, q := range listQueries {
			if !b.wanted(b.listNames(q.name)...) {
				continue
			}
			if err := b.listOne(ctx, d, server, bare, q.name, q.parameter, q.value); err != nil {
				return fmt.Errorf("%s: %w", q.name, err)
			}
		}
		return nil
	})
}

// listPages are page 1, 1,000 and 40,000 of a million accounts.
func (b *bench) listPages() []int { return []int{1, b.accounts / 1000, b.accounts / pageSize} }

func (b *bench) listNames(query string) (names []string) {
	for _, page := range b.listPages() {
		names = append(names, listName(query, page, false), listName(query, page, true))
	}
	return names
}

func listName(query string, page int, walk bool) string {
	how := "jump"
	if walk {
		how = "walk"
	}
	return fmt.Sprintf("list/%s/%d/%s", query, page, how)
}

func (b *bench) listOne(ctx context.Context, d *data, server, bare *process, name, parameter, value string) error {
	clients, err := server.dial(1)
	if err != nil {
		return err
	}
	defer clients.close()
	baseline, err := bare.dial(1)
	if err != nil {
		return err
	}
	defer baseline.close()
	// The first request builds what the list needs.
	answer, err := clients.all[0].do(listRequest(d.Key, parameter, value, 1))
	if err != nil {
		return err
	}
	size := len(answer)
	meta, err := listMeta(answer)
	if err != nil {
		return err
	}
	pages := int(meta.TotalPages)
	var places []*place
	last := 0
	for i, page := range b.listPages() {
		// A walk goes on for so many pages and begins anew. Jumps go to every other
		// page before it, so that none of them continues anything.
		length := min(200, pages/4)
		begin := min(page, pages-length)
		if i > 0 && (pages < 100 || begin < 8 || begin == last) {
			continue
		}
		last = begin
		jump, walk := &place{page: page, begin: begin}, &place{page: page, begin: begin, walk: true}
		for k := range max(length, 1) {
			walk.requests = append(walk.requests, listRequest(d.Key, parameter, value, begin+k))
		}
		for page := begin - 2; i > 0 && page > max(begin-18, 3); page -= 2 {
			jump.requests = append(jump.requests, listRequest(d.Key, parameter, value, page))
		}
		if i == 0 {
			jump.requests = walk.requests[:1]
		}
		places = append(places, jump, walk)
	}
	const rounds = 4
	var bares sample
	for range rounds {
		s, err := baseline.run(ctx, b.time/10/rounds, always(getRequest(fmt.Sprintf("/%d", size), d.Key)))
		if err != nil {
			return err
		}
		bares.add(s)
		for _, p := range places {
			at := 0
			s, err := clients.run(ctx, b.time/10/rounds, func(int) func() []byte {
				return func() []byte {
					at++
					return p.requests[at%len(p.requests)]
				}
			})
			if err != nil {
				return err
			}
			p.add(s)
		}
	}
	for i, p := range places {
		line := &Line{Name: listName(name, p.page, p.walk), Figure: p.cpuEach(), Unit: "µs of CPU"}
		if first := places[i%2]; p == first {
			line.against("bare handler", bares.cpuEach())
		} else {
			line.against("page 1", first.cpuEach())
			line.aim("ratio", line.Ratio, false, 1.2)
		}
		line.also("p50", microsOf(quantile(p.latencies, 0.5)), "µs").also("p99", microsOf(quantile(p.latencies, 0.99)), "µs").
			also("times bare", p.cpuEach()/bares.cpuEach(), "").also("bare p50", microsOf(quantile(bares.latencies, 0.5)), "µs").
			also("at page", float64(p.begin), "").also("of", float64(pages), "").also("answer", float64(size), "bytes")
		b.add(line)
	}
	return nil
}
