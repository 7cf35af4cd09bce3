package client

import (
	"context"
	"iter"
	"net/url"
	"time"

	"github.com/tenantry/tenantry/api"
)

// AuditEvents is the log of changes to the key's own organization. Every method
// refuses with *Error.
type AuditEvents struct{ c *Client }

// AuditEvent is one change as it came.
type AuditEvent struct {
	api.AuditEvent
	Fields
}

// MarshalJSON is the object as it came.
func (a AuditEvent) MarshalJSON() ([]byte, error) { return a.marshal(a.AuditEvent) }

// AuditEventList chooses what a list has. Zero values choose nothing.
type AuditEventList struct {
	// CreatedAfter and CreatedBefore bound the time of the change.
	CreatedAfter, CreatedBefore time.Time
	// OldestFirst turns the order; without, it is newest first.
	OldestFirst bool
	// PageNumber counts from 1; PageSize is 1 to 250, 20 when 0.
	PageNumber, PageSize int64
}

func (p AuditEventList) query() url.Values {
	q := url.Values{}
	if !p.CreatedAfter.IsZero() {
		q.Set("filter[created_after]", p.CreatedAfter.UTC().Format(time.RFC3339Nano))
	}
	if !p.CreatedBefore.IsZero() {
		q.Set("filter[created_before]", p.CreatedBefore.UTC().Format(time.RFC3339Nano))
	}
	if p.OldestFirst {
		q.Set("sort", "asc")
	}
	return q
}

// List is one page of changes (ListAuditLogs).
func (s *AuditEvents) List(ctx context.Context, params AuditEventList) (*Page[AuditEvent], error) {
	r := request{operation: "list audit events", method: "GET", path: "/audit_events", query: params.query()}
	return page[AuditEvent](ctx, s.c, r, params.PageNumber, params.PageSize)
}

// All goes through every change from the page that params names on. It ends after
// an error.
func (s *AuditEvents) All(ctx context.Context, params AuditEventList) iter.Seq2[*AuditEvent, error] {
	return every(ctx, func() (*Page[AuditEvent], error) { return s.List(ctx, params) })
}
