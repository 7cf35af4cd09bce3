package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/tenantry/tenantry/internal/tenant"
)

// Observer is told what a server does; metrics are made of it.
type Observer interface {
	// Operation is asked for each operation once, when the server is made, so that
	// nothing is looked up for a request. What it returns hears of each request's
	// end: the status of the answer, and how long it took.
	Operation(id string) func(status int, took time.Duration)
	// RateLimited hears of each request that a limiter turned away: keys, failures
	// or sign_ins.
	RateLimited(limiter string)
}

// operation is a route as one server answers it.
type operation struct {
	Route
	service *gatewayService                      // nil for what is answered here
	observe func(status int, took time.Duration) // nil when nobody wants to know
}

func (s *Server) operation(r Route) *operation {
	o := &operation{Route: r}
	if s.observer != nil {
		o.observe = s.observer.Operation(r.ID)
	}
	return o
}

// statusGone stands for the status where the client did not wait for the answer:
// that is no fault of ours, and so none of 500 and above.
const statusGone = 499

// begin makes the call of a request: from here on it has its id, and is seen.
// Who calls it defers end.
func (s *Server) begin(o *operation, w http.ResponseWriter, r *http.Request) *call {
	c := &call{Request: r, operation: o, requestID: s.NewRequestID(), status: http.StatusOK, header: w.Header()}
	c.put("X-Request-Id", c.requestID)
	if s.tracer != nil {
		s.startSpan(c)
	}
	if o.observe != nil || s.log.Enabled(r.Context(), slog.LevelDebug) {
		c.began = time.Since(s.began)
	}
	return c
}

// startSpan makes the span of a request, below the one that the client names in
// its traceparent.
func (s *Server) startSpan(c *call) {
	ctx := propagation.TraceContext{}.Extract(c.Context(), propagation.HeaderCarrier(c.Header))
	about := []attribute.KeyValue{
		attribute.String("http.request.method", c.method()), attribute.String("tenantry.request_id", c.requestID),
	}
	if _, path, ok := strings.Cut(c.operation.Pattern, " "); ok {
		about = append(about, attribute.String("http.route", path))
	}
	ctx, c.span = s.tracer.Start(ctx, c.operation.ID, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(about...))
	c.Request = c.WithContext(ctx)
}

// end tells everybody who wants to know how the request ended.
func (s *Server) end(c *call) {
	if c.span != nil {
		c.span.SetAttributes(attribute.Int("http.response.status_code", int(c.status)))
		if c.actor.AccountID != "" {
			c.span.SetAttributes(attribute.String("tenantry.account_id", c.actor.AccountID))
		}
		if c.status >= 500 {
			c.span.SetStatus(codes.Error, "")
		}
		c.span.End()
	}
	if c.began == 0 {
		return
	}
	took := time.Since(s.began) - c.began
	if c.operation.observe != nil {
		c.operation.observe(int(c.status), took)
	}
	if s.log.Enabled(c.Context(), slog.LevelDebug) {
		s.logCall(c, slog.LevelDebug, "request", "method", c.method(), "took", took)
	}
}

// logCall writes a line that belongs to a request. What the client wrote is not
// in it, for there may be secrets in that.
func (s *Server) logCall(c *call, level slog.Level, message string, more ...any) {
	line := []any{"request_id", c.requestID, "operation", c.operation.ID, "status", c.status}
	if c.actor.AccountID != "" {
		line = append(line, "account_id", c.actor.AccountID)
	}
	if c.span != nil {
		line = append(line, "trace_id", c.span.SpanContext().TraceID().String())
	}
	s.log.Log(c.Context(), level, message, append(line, more...)...)
}

// logRefusal logs why a request was refused, where that is for the operator to
// know: each fault of ours, and one line a second of what anybody could cause as
// often as he likes.
func (s *Server) logRefusal(c *call, err error) {
	switch {
	case c.status == http.StatusServiceUnavailable:
		if held, ok := s.unavailable.pass(); ok {
			s.logCall(c, slog.LevelError, "the service is unavailable", "error", err, "held_back", held)
		}
	case c.status == http.StatusBadGateway, c.status == http.StatusGatewayTimeout:
		if held, ok := s.unanswered.pass(); ok {
			s.logCall(c, slog.LevelError, "a service behind the gateway did not answer", "error", err, "held_back", held)
		}
	case c.status >= 500:
		s.logCall(c, slog.LevelError, "unexpected error", "error", err)
	case tenant.IsKind(err, tenant.Unauthenticated), tenant.IsKind(err, tenant.Inactive), tenant.IsKind(err, tenant.Blocked):
		if held, ok := s.refused.pass(); ok {
			s.logCall(c, slog.LevelInfo, "credentials refused", "reason", err, "address", s.Address(c.Request), "held_back", held)
		}
	}
}

// gone reports whether err is there only because the client did not wait.
func (c *call) gone(err error) bool {
	return errors.Is(err, context.Canceled) && c.Context().Err() != nil
}

// method is the request's, if it is one of HTTP's.
func (c *call) method() string {
	if slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}, c.Method) {
		return c.Method
	}
	return "_OTHER"
}

// rateLimited tells that a limiter turned the request away.
func (s *Server) rateLimited(limiter string) {
	if s.observer != nil {
		s.observer.RateLimited(limiter)
	}
}

// pace lets one line a second into the log, so that nobody can fill the disk, and
// counts those that it holds back.
type pace struct {
	now  func() time.Time
	mu   sync.Mutex
	last time.Time
	held int
}

// pass says whether a line may be written, and how many were held back since the
// one before.
func (p *pace) pass() (held int, ok bool) {
	now := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	// A clock that was set back must not silence anything.
	if since := now.Sub(p.last); since >= 0 && since < time.Second {
		p.held++
		return 0, false
	}
	held, p.held, p.last = p.held, 0, now
	return held, true
}
