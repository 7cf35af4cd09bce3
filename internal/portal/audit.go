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

// entry is one of the audit log, as it is shown.
type entry struct {
	store.AuditEntry
	// Email is whose doing it was, "" where it was nobody of the organization.
	Email string
	// About is the page of what it is about, "" for none.
	About string
}

// By says who did it: what the wire calls telnyx is the operator here.
func (e entry) By() string {
	if e.MadeBy == "telnyx" {
		return "operator"
	}
	return words(e.MadeBy)
}

// Told are the first changes, without what a new thing does not have.
func (e entry) Told() []tenant.FieldChange {
	told := e.told()
	return told[:min(len(told), mostShown)]
}

// Untold is how many more there are.
func (e entry) Untold() int { return len(e.told()) - len(e.Told()) }

func (e entry) told() (told []tenant.FieldChange) {
	for _, c := range e.Changes {
		if c.From == nil && (c.To == nil || c.To == false || c.To == "") {
			continue
		}
		told = append(told, c)
	}
	return told
}

// told are entries of the log of the actor's account, with names, and with the pages of
// what is still there.
func (p *Portal) told(v *visit, entries []store.AuditEntry) ([]entry, error) {
	var ids []string
	ofGroups := false
	for _, e := range entries {
		ids = append(ids, e.UserID)
		if e.ResourceType == "organization_user" {
			ids = append(ids, e.ResourceID)
		}
		ofGroups = ofGroups || e.ResourceType == "group"
	}
	emails, groups := map[string]string{}, map[string]bool{}
	if v.in != nil && v.actor.Can(tenant.ViewAudit) {
		var err error
		if emails, err = p.service.EmailsOf(v.Context(), v.actor, ids); err != nil {
			return nil, err
		}
	}
	if v.in != nil && ofGroups && v.actor.Can(tenant.ViewUsers) {
		all, err := p.service.OwnGroups(v.Context(), v.actor)
		if err != nil {
			return nil, err
		}
		for _, g := range all {
			groups[g.ID] = true
		}
	}
	all := make([]entry, len(entries))
	for i, e := range entries {
		all[i] = entry{e, emails[e.UserID], ""}
		switch {
		case v.in == nil || e.ResourceID == v.actor.AccountID:
		case e.ResourceType == "managed_account" && Managers.allows(v.actor):
			all[i].About = accountPath(e.ResourceID)
		case e.ResourceType == "organization_user" && v.actor.Can(tenant.ViewUsers) && emails[e.ResourceID] != "":
			all[i].About = userPath(e.ResourceID)
		case e.ResourceType == "group" && groups[e.ResourceID]:
			all[i].About = groupPath(e.ResourceID)
		}
	}
	return all, nil
}

type auditPage struct {
	Entries []entry
	Events  []string
	// What was asked for, as it was written.
	Event, User, Resource, After, Before string
	// Newest and Next are pages, "" for none.
	Newest, Next string
	// Account is the page of whose log it is, "" for one's own.
	Account string
}

func (p *Portal) audit(v *visit) (any, error) {
	return p.showAudit(v, "Audit log", "", func(search service.AuditSearch) ([]store.AuditEntry, int64, error) {
		return p.service.SearchAudit(v.Context(), v.actor, search, pageSize)
	})
}

func (p *Portal) showAudit(v *visit, title, account string, find func(service.AuditSearch) ([]store.AuditEntry, int64, error)) (any, error) {
	a := auditPage{
		Events: tenant.Events, Account: account,
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
	if a.Entries, err = p.told(v, entries); err != nil {
		return nil, err
	}
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
