package service_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/tenant"
)

// pager reads as the SDKs do: until the last page by total_pages, or until a page
// is empty.
type pager struct {
	list   func(service.Page) ([]string, service.Place, error)
	page   service.Page
	seen   []string
	over   bool
	untold bool // it does not look at total_pages, but at the rows alone
}

func (p *pager) next(t fatal) []string {
	t.Helper()
	rows, place, err := p.list(p.page)
	if err != nil {
		t.Fatalf("page %d: %v", p.page.Number, err)
	}
	pages := (place.Total + p.page.Size - 1) / p.page.Size
	p.over = len(rows) == 0 || p.page.Number >= pages
	if p.untold {
		p.over = int64(len(rows)) < p.page.Size
	}
	if int64(len(rows)) > p.page.Size || len(rows) > 0 && p.page.Number > pages {
		t.Fatalf("page %d of %d has %d rows", p.page.Number, pages, len(rows))
	}
	p.seen = append(p.seen, rows...)
	p.page.Number++
	return rows
}

// complete: whoever was there from the start to the end came exactly once, and
// nobody came twice.
func (p *pager) complete(t fatal, throughout []string) {
	t.Helper()
	times := map[string]int{}
	for _, id := range p.seen {
		times[id]++
		if times[id] > 1 {
			t.Fatalf("%s came twice in %d rows", id, len(p.seen))
		}
	}
	for i, id := range throughout {
		if times[id] == 0 {
			t.Fatalf("number %d of %d never came, in %d rows", i+1, len(throughout), len(p.seen))
		}
	}
}

// crowd is the accounts of a manager, with what of them has happened since a walk
// began.
type crowd struct {
	*world
	actor    tenant.Actor
	status   map[string]string
	stayed   map[string]bool // by id: matches the filter since the start
	matching func(status string) bool
	serial   int
}

var accountFilters = []service.AccountFilter{
	{}, {Ascending: true}, {ByEmail: true}, {ByEmail: true, Ascending: true},
	{Status: "enabled"}, {Status: "all", Ascending: true}, {Status: "disabled", ByEmail: true}, {Status: "active", ByEmail: true, Ascending: true},
	{Cancelled: true}, {EmailContains: "a"}, {EmailContains: "example", ByEmail: true, Ascending: true}, {NameContains: "child", Status: "enabled"},
}

func newCrowd(t fatal, w *world, name string, f service.AccountFilter) *crowd {
	root := w.root(t, name+"@example.com", 10)
	c := &crowd{world: w, actor: w.actor(t, root.Key), status: map[string]string{}, stayed: map[string]bool{}}
	c.matching = func(status string) bool {
		switch f.Status {
		case "all":
			return true
		case "active":
			return status != "cancelled"
		case "":
			return f.Cancelled || status != "cancelled"
		}
		return status == f.Status
	}
	return c
}

func (c *crowd) grow(t fatal, n int) {
	for range n {
		c.serial++
		// The names come in no order, and all have an "a".
		email := fmt.Sprintf("a%04d@example.com", c.serial*7919%10007)
		a := c.child(t, c.actor, func(in *service.NewAccount) { in.Email = &email })
		c.status[a.ID] = "enabled"
	}
}

// begin marks who is there now.
func (c *crowd) begin() {
	for id, status := range c.status {
		c.stayed[id] = c.matching(status)
	}
}

// disturb changes something.
func (c *crowd) disturb(t *rapid.T) {
	// Sorted, so that the same draws do the same.
	id := rapid.SampledFrom(slices.Sorted(maps.Keys(c.status))).Draw(t, "whom")
	var got *service.Account
	var err error
	switch what := rapid.SampledFrom([]string{"create", "create", "disable", "disable", "enable", "block", "unblock", "cancel"}).Draw(t, "what"); what {
	case "create":
		c.grow(t, rapid.IntRange(1, 4).Draw(t, "new"))
		return
	case "disable":
		got, err = c.DisableAccount(c.ctx, c.actor, id, "")
	case "enable":
		got, err = c.EnableAccount(c.ctx, c.actor, id, false, "")
	case "block":
		got, err = c.BlockAccount(c.ctx, operator, id)
	case "unblock":
		got, err = c.UnblockAccount(c.ctx, operator, id)
	case "cancel":
		got, err = c.CancelAccount(c.ctx, operator, id)
	}
	switch {
	case is(err, tenant.Conflict): // cancelled before
	case err != nil:
		t.Fatalf("disturb: %v", err)
	default:
		c.status[id] = string(got.Status())
		c.stayed[id] = c.stayed[id] && c.matching(c.status[id])
	}
}

func (c *crowd) throughout() (ids []string) {
	for id, stayed := range c.stayed {
		if stayed {
			ids = append(ids, id)
		}
	}
	return sorted(ids)
}

func (c *crowd) pager(f service.AccountFilter, size int64, client string) *pager {
	return &pager{
		list: func(p service.Page) ([]string, service.Place, error) {
			rows, place, err := c.ManagedAccounts(c.ctx, c.actor, f, p)
			return ids(rows), place, err
		},
		page: service.Page{Number: 1, Size: size, Reader: "credential", Client: client},
	}
}

// TestWalks: two readers with one credential, each on a connection of its own,
// walk through a list that changes under them, and sometimes ask for the same
// page again.
func TestWalks(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		n := 0
		rapid.Check(t, func(t *rapid.T) {
			n++
			f := rapid.SampledFrom(accountFilters).Draw(t, "filter")
			c := newCrowd(t, w, fmt.Sprintf("walk%d", n), f)
			c.grow(t, rapid.IntRange(1, 25).Draw(t, "accounts"))
			for range rapid.IntRange(0, 5).Draw(t, "before") {
				c.disturb(t)
			}
			c.begin()
			size := rapid.Int64Range(1, 6).Draw(t, "size")
			readers := []*pager{c.pager(f, size, "one"), c.pager(f, size, "two")}
			readers[0].untold = rapid.Bool().Draw(t, "untold")
			for step := 0; ; step++ {
				walking := slices.DeleteFunc(slices.Clone(readers), func(p *pager) bool { return p.over })
				if len(walking) == 0 || step > 500 {
					break
				}
				p := rapid.SampledFrom(walking).Draw(t, "reader")
				rows := p.next(t)
				if rapid.IntRange(0, 3).Draw(t, "repeat") == 0 && p.page.Number > 2 {
					again := *p
					again.page.Number--
					again.page.Retry = true
					again.seen = nil
					if repeated := again.next(t); !slices.Equal(repeated, rows) {
						t.Fatalf("page %d had %q and then %q", again.page.Number-1, rows, repeated)
					}
				}
				// A list that grew for ever would be walked for ever.
				for range rapid.IntRange(0, max(0, 2-step/20)).Draw(t, "changes") {
					c.disturb(t)
				}
			}
			for _, p := range readers {
				if !p.over {
					t.Fatalf("a walk has no end")
				}
				p.complete(t, c.throughout())
			}
		})
	})
}

// TestWalkAmongLooks: whoever only looks at the first page does not disturb a
// walk, not even when an answer is lost with its connection and the SDK asks again
// on another.
func TestWalkAmongLooks(t *testing.T) {
	for _, client := range []string{"same", "others"} {
		t.Run(client, func(t *testing.T) {
			eachWorld(t, func(t *testing.T, w *world) {
				c := newCrowd(t, w, "looks", service.AccountFilter{})
				c.grow(t, 12)
				looks := func(n int, client string) {
					for i := range n {
						name := client
						if client == "others" {
							name = fmt.Sprint(client, i)
						}
						c.pager(service.AccountFilter{}, 3, name).next(t)
						c.grow(t, 1)
					}
				}
				looks(5, map[string]string{"same": "one", "others": "others"}[client])
				c.begin()
				p := c.pager(service.AccountFilter{}, 3, "one")
				p.next(t)
				c.grow(t, 2)
				rows := p.next(t)
				again := *p
				again.page.Number, again.page.Client, again.page.Retry = 2, "another", true
				if repeated := again.next(t); !slices.Equal(repeated, rows) {
					t.Errorf("page 2 had %q and then %q", rows, repeated)
				}
				p.page.Client = "another"
				looks(40, "others")
				for !p.over {
					p.next(t)
				}
				p.complete(t, c.throughout())
			})
		})
	}
}

// TestJump: a page that is not the next one is found by counting.
func TestJump(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		c := newCrowd(t, w, "jump", service.AccountFilter{})
		c.grow(t, 23)
		for _, f := range accountFilters {
			whole := c.pager(f, 250, "whole")
			whole.next(t)
			for number := int64(8); number > 0; number-- {
				p := c.pager(f, 4, fmt.Sprint(number))
				p.page.Number = number
				rows := p.next(t)
				from, to := min(len(whole.seen), int(number-1)*4), min(len(whole.seen), int(number)*4)
				if !slices.Equal(rows, whole.seen[from:to]) {
					t.Errorf("%+v: page %d is %q, want %q", f, number, rows, whole.seen[from:to])
				}
			}
			_, place, err := c.ManagedAccounts(c.ctx, c.actor, f, service.Page{Number: 1<<53 - 1, Size: 250})
			if err != nil || place.Total != int64(len(whole.seen)) {
				t.Errorf("%+v: past the end there are %d, want %d, %v", f, place.Total, len(whole.seen), err)
			}
		}
	})
}

// TestLikeFilters: a filter whose words read like another filter does not go on
// where that one's walk ended.
func TestLikeFilters(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		c := newCrowd(t, w, "like", service.AccountFilter{})
		for i, name := range []string{"y", "x NameEq: NameContains:y", "x NameEq: NameContains:y", "x NameEq: NameContains:y"} {
			email := fmt.Sprintf("b%d@example.com", i)
			c.child(t, c.actor, func(in *service.NewAccount) { in.Email, in.BusinessName = &email, name })
		}
		p := c.pager(service.AccountFilter{EmailContains: "b", NameContains: "x NameEq: NameContains:y"}, 1, "c")
		p.next(t)
		// Written without quotes, this filter reads as the one above.
		q := c.pager(service.AccountFilter{EmailContains: "b NameEq: NameContains:x", NameContains: "y"}, 1, "c")
		if rows := q.next(t); len(rows) != 0 {
			t.Errorf("nobody has that address: %q", rows)
		}
		q.page.Number = 2
		if _, place, err := q.list(q.page); err != nil || place.Total != 0 {
			t.Errorf("page 2 of nothing counts %d, %v", place.Total, err)
		}
	})
}

// TestUsersWalk: the list of users while users come, go and are blocked.
func TestUsersWalk(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		n := 0
		rapid.Check(t, func(t *rapid.T) {
			n++
			root := w.root(t, fmt.Sprintf("users%d@example.com", n), 0)
			actor := w.actor(t, root.Key)
			f := rapid.SampledFrom([]service.UserFilter{{}, {Groups: true}, {Status: "enabled"}, {EmailContains: "U"}}).Draw(t, "filter")
			serial := 0
			stayed := map[string]bool{}
			add := func() string {
				serial++
				u, _ := w.user(t, root.ID, service.NewUser{Email: fmt.Sprintf("u%d@example.com", serial)})
				return u.ID
			}
			for range rapid.IntRange(0, 20).Draw(t, "users") {
				stayed[add()] = true
			}
			if f.EmailContains == "" {
				stayed[root.ID] = true
			}
			p := &pager{
				list: func(p service.Page) ([]string, service.Place, error) {
					users, place, err := w.Users(w.ctx, actor, f, p)
					var list []string
					for _, u := range users {
						list = append(list, u.ID)
					}
					return list, place, err
				},
				page: service.Page{Number: 1, Size: rapid.Int64Range(1, 5).Draw(t, "size"), Reader: "r", Client: "c"},
			}
			for !p.over {
				p.next(t)
				for range rapid.IntRange(0, min(2, len(stayed))).Draw(t, "changes") {
					id := rapid.SampledFrom(slices.Sorted(maps.Keys(stayed))).Draw(t, "whom")
					switch rapid.IntRange(0, 2).Draw(t, "what") {
					case 0:
						add()
					case 1:
						if _, err := w.RemoveUser(w.ctx, actor, id, once(), func(*service.User) ([]byte, error) { return nil, nil }); err == nil {
							stayed[id] = false
						}
					case 2:
						if _, err := w.BlockUser(w.ctx, operator, root.ID, id); err == nil {
							stayed[id] = stayed[id] && f.Status == ""
						}
					}
				}
			}
			var throughout []string
			for id, stays := range stayed {
				if stays {
					throughout = append(throughout, id)
				}
			}
			p.complete(t, sorted(throughout))
		})
	})
}
