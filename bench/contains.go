package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// containsTerms are the terms that are looked for, and how many rows have each.
var containsTerms = []struct{ name, email, organization string }{
	{"none", "zqxjk", "zqxjk"},
	{"rare", word(333), word(333)},              // 0.2%
	{"some", "@" + domains[5], " " + trades[5]}, // 6%
	{"all", ".com", " inc."},
	{"aaa", "aaa", "aaa"},
	{".co", ".co", ".co"},
	{"e.c", "e.c", "e.c"},
}

// rememberedTerms is how many searches a list remembers, and more.
const rememberedTerms = 9

// contains looks for parts of emails and names: a term that was not asked for
// before, and the same again; against LIKE in the same database.
func (b *bench) contains(ctx context.Context) error {
	fields := []struct{ name, parameter string }{
		{"email", "filter[email][contains]"}, {"organization_name", "filter[organization_name][contains]"},
	}
	var names []string
	for _, f := range fields {
		for _, t := range containsTerms {
			names = append(names, "contains/"+f.name+"/"+t.name)
		}
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
	clients, err := server.dial(1)
	if err != nil {
		return err
	}
	defer clients.close()
	db, err := d.open()
	if err != nil {
		return err
	}
	defer db.close()

	ask := func(parameter, term string) (took time.Duration, hits int64, err error) {
		request := listRequest(d.Key, parameter, term, 1)
		began := time.Now()
		answer, err := clients.all[0].do(request)
		if err != nil {
			return 0, 0, err
		}
		took = time.Since(began)
		meta, err := listMeta(answer)
		return took, meta.TotalResults, err
	}
	if _, _, err := ask("", ""); err != nil { // reads the accounts into memory
		return err
	}
	fresh := random()
	for _, f := range fields {
		for _, t := range containsTerms {
			name, term := "contains/"+f.name+"/"+t.name, t.email
			if f.name != "email" {
				term = t.organization
			}
			if !b.wanted(name) {
				continue
			}
			var cold, again, like []time.Duration
			var hits int64
			for end := time.Now().Add(b.time / 4); len(cold) < 3 || time.Now().Before(end); {
				for range rememberedTerms {
					if _, _, err := ask(f.parameter, "zq"+strconv.FormatUint(fresh(), 36)); err != nil {
						return err
					}
				}
				took, n, err := ask(f.parameter, term)
				if err != nil {
					return err
				}
				hits, cold = n, append(cold, took)
				for range 5 {
					took, _, err := ask(f.parameter, term)
					if err != nil {
						return err
					}
					again = append(again, took)
				}
			}
			for end := time.Now().Add(b.time / 10); len(like) < 2 || time.Now().Before(end); {
				took, n, err := searchLike(ctx, db, d.Account, f.name, term)
				if err != nil {
					return err
				}
				if n != hits {
					return fmt.Errorf("%s: the server finds %d rows and SQL %d", name, hits, n)
				}
				like = append(like, took)
			}
			line := &Line{Name: name, Figure: millis(quantile(cold, 0.5)), Unit: "ms cold"}
			line.against("LIKE", millis(quantile(like, 0.5))).aim("", line.Figure, false, 30)
			b.add(line.also("worst", millis(quantile(cold, 1)), "ms").also("again", millis(quantile(again, 0.5)), "ms").
				also("hits", float64(hits), "").also("tries", float64(len(cold)), ""))
		}
	}
	return nil
}

// searchLike is how long SQL takes for the first page of a search and its total.
func searchLike(ctx context.Context, db *sqlDB, manager, column, term string) (took time.Duration, hits int64, err error) {
	where := " FROM account WHERE manager_id = ?1 AND cancelled = FALSE AND " + column + " LIKE '%' || ?2 || '%'"
	if db.postgres != "" {
		where = strings.Replace(where, " LIKE ", " ILIKE ", 1)
	}
	began := time.Now()
	err = db.each(ctx, func(rows rows) error { return rows.Scan(&hits) }, "SELECT COUNT(*)"+where, manager, term)
	if err != nil {
		return 0, 0, err
	}
	err = db.each(ctx, func(rows rows) error {
		var id, email, name string
		return rows.Scan(&id, &email, &name)
	}, "SELECT id, email, organization_name"+where+" ORDER BY number DESC LIMIT 25", manager, term)
	return time.Since(began), hits, err
}
