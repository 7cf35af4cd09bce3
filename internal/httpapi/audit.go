package httpapi

import (
	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
)

var auditRoutes = []Route{
	{"ListAuditLogs", "GET /v2/audit_events", "account", (*Server).listAudit},
}

func (s *Server) listAudit(c *call) (any, error) {
	q := c.query()
	filter := auditFilter(q)
	page := q.page(c, 20)
	if err := q.done(); err != nil {
		return nil, err
	}
	entries, place, err := s.service.AuditLog(c.Context(), c.actor, filter, page)
	if err != nil {
		return nil, err
	}
	return listOf(entries, wireAudit, page, place), nil
}

// auditFilter reads the bounds and the order; absent, it is newest first.
func auditFilter(q *query) service.AuditFilter {
	return service.AuditFilter{
		After: q.time("filter[created_after]"), Before: q.time("filter[created_before]"),
		Ascending: q.enum("sort", "asc", "desc") == "asc",
	}
}

func wireAudit(e *store.AuditEntry) api.AuditEvent {
	wire := api.AuditEvent{
		ID: e.ID, RecordType: "audit_event", UserID: e.UserID, OrganizationID: e.AccountID, ResourceID: e.ResourceID,
		ChangeMadeBy: e.MadeBy, ChangeType: e.Event, Changes: make([]api.AuditChange, len(e.Changes)),
		RequestID: e.RequestID, CreatedAt: api.Time(e.CreatedAt),
	}
	for i, f := range e.Changes {
		wire.Changes[i] = api.AuditChange{Field: f.Field, From: f.From, To: f.To}
	}
	return wire
}
