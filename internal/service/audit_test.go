package service_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// TestSearchAudit: each filter, and each two of them, finds what a look at the whole
// log finds, page by page.
func TestSearchAudit(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		start := w.clock.Now()
		owner := w.in(t, w.portal(t, p.owner).Token).Actor
		for i := range 40 {
			w.clock.Move(time.Minute)
			actor := owner
			if i%3 == 0 {
				actor = w.in(t, w.portal(t, p.member).Token).Actor
			}
			key, _, err := w.CreateKey(w.ctx, actor, fmt.Sprint("key ", i), time.Time{})
			if err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 {
				if err := w.RevokeKey(w.ctx, actor, actor.UserID, key.ID); err != nil {
					t.Fatal(err)
				}
			}
			if i%15 == 14 {
				owner = w.in(t, w.portal(t, p.owner).Token).Actor
			}
		}
		whole, _, err := w.AuditLogOf(w.ctx, p.child.ID, service.AuditFilter{}, service.Page{Number: 1, Size: 1000})
		if err != nil || len(whole) < 60 {
			t.Fatalf("the log: %d, %v", len(whole), err)
		}
		some := whole[len(whole)/2]
		filters := []service.AuditSearch{{}}
		for _, f := range []store.AuditFilter{
			{Event: "api_key.created"}, {UserID: p.user.ID}, {ResourceID: some.ResourceID}, {Event: "api_key.revoked", UserID: p.user.ID},
			{UserID: some.UserID, ResourceID: some.ResourceID}, {Event: "none"}, {UserID: p.root.ID},
			{Event: some.Event, UserID: some.UserID, ResourceID: some.ResourceID},
		} {
			filters = append(filters, service.AuditSearch{AuditFilter: f},
				service.AuditSearch{AuditFilter: f, After: start.Add(10 * time.Minute), Before: start.Add(30 * time.Minute)})
		}
		for _, search := range filters {
			var want, got []int64
			for _, e := range whole {
				f := search.AuditFilter
				if (f.Event == "" || f.Event == e.Event) && (f.UserID == "" || f.UserID == e.UserID) && (f.ResourceID == "" || f.ResourceID == e.ResourceID) &&
					(search.After.IsZero() || e.CreatedAt.After(search.After)) && (search.Before.IsZero() || e.CreatedAt.Before(search.Before)) {
					want = append(want, e.Number)
				}
			}
			for pages := 0; ; pages++ {
				entries, next, err := w.SearchAudit(w.ctx, owner, search, 7)
				if err != nil || len(entries) > 7 || pages > 20 {
					t.Fatalf("%+v: %d entries, %v", search, len(entries), err)
				}
				for _, e := range entries {
					got = append(got, e.Number)
				}
				if search.From = next; next == 0 {
					break
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%+v: %v, want %v", search, got, want)
			}
		}
		member := w.in(t, w.portal(t, p.member).Token).Actor
		if _, _, err := w.SearchAudit(w.ctx, member, service.AuditSearch{}, 7); !is(err, tenant.Forbidden) {
			t.Errorf("without the permission: %v", err)
		}
	})
}
