package portal

import (
	"net/url"
	"strconv"
	"time"

	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

const auditPath = Prefix + "audit"

var auditRoutes = []Route{
	{"audit log", "GET " + auditPath, Need(tenant.ViewAudit), (*Portal).audit},
}

type auditPage struct {
	Entries []store.AuditEntry
	Events  []string
	// What was asked for, as it was written.
	Event, User, Resource, After, Before string
	// Newest and Next are pages, "" for none.
	Newest, Next string
	// AccountID is whose log the operator looks at.
	AccountID string
}

func (p *Portal) audit(v *visit) (any, error) {
	return p.showAudit(v, "Audit log", "", func(search service.AuditSearch) ([]store.AuditEntry, int64, error) {
		return p.service.SearchAudit(v.Context(), v.actor, search, pageSize)
	})
}

func (p *Portal) showAudit(v *visit, title, accountID string, find func(service.AuditSearch) ([]store.AuditEntry, int64, error)) (any, error) {
	a := auditPage{
		Events: tenant.Events, AccountID: accountID,
		Event: v.query("event"), User: v.query("user"), Resource: v.query("resource"), After: v.query("after"), Before: v.query("before"),
	}
	search := service.AuditSearch{AuditFilter: store.AuditFilter{Event: a.Event, UserID: a.User, ResourceID: a.Resource}}
	search.From, _ = strconv.ParseInt(v.query("from"), 10, 64)
	search.From = max(search.From, 0)
	for _, bound := range []struct {
		field, text string
		into        *time.Time
		day         time.Duration
	}{{"after", a.After, &search.After, 0}, {"before", a.Before, &search.Before, 24 * time.Hour}} {
		if bound.text == "" {
			continue
		}
		day, err := time.Parse(time.DateOnly, bound.text)
		if err != nil {
			v.problem = &problem{status: p.options.Status(tenant.Invalid), field: bound.field, text: "A day looks like 2026-01-31."}
			return page{template: "audit", title: title, data: a}, nil
		}
		*bound.into = day.Add(bound.day) // both days belong to what is asked for
	}
	entries, next, err := find(search)
	if err != nil {
		return nil, err
	}
	a.Entries = entries
	q := url.Values{}
	for name, value := range map[string]string{"event": a.Event, "user": a.User, "resource": a.Resource, "after": a.After, "before": a.Before} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if search.From > 0 {
		a.Newest = v.URL.Path + "?" + q.Encode()
	}
	if next > 0 {
		q.Set("from", strconv.FormatInt(next, 10))
		a.Next = v.URL.Path + "?" + q.Encode()
	}
	return page{template: "audit", title: title, data: a}, nil
}
