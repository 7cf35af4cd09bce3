//go:build otlp

package app_test

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/tenantry/tenantry/internal/config"
)

// TestTraces: a collector gets each request's span, the last ones while the
// server stops, with its request id and below the span that the client named.
func TestTraces(t *testing.T) {
	var (
		mu        sync.Mutex
		spans     = map[string]*trace.Span{} // by request id
		resources []string
		all       strings.Builder
	)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var export collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &export)
		}
		if err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("X-Tenant") != "ours" {
			t.Errorf("%s %v: %v", r.URL.Path, r.Header, err)
		}
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprint(&all, &export)
		for _, of := range export.ResourceSpans {
			resources = append(resources, attributes(of.Resource.Attributes)["service.name"])
			for _, scope := range of.ScopeSpans {
				for _, span := range scope.Spans {
					spans[attributes(span.Attributes)["tenantry.request_id"]] = span
				}
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	defer receiver.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=ours")
	t.Setenv("OTEL_SERVICE_NAME", "accounts")
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000") // only the end sends
	const traceID, parentID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	var id, other string
	var s *server
	t.Run("serve", func(t *testing.T) { // the server stops at its end
		s = start(t, nil, func(c *config.Config) { c.Traces = "otlp" })
		c := s.connect(t)
		get := strings.TrimSuffix(request("GET", "/v2/managed_accounts/"+s.ids["larry@example.com"], s.keys["manager@example.com"], ""), "\r\n") +
			"Traceparent: 00-" + traceID + "-" + parentID + "-01\r\n\r\n"
		id = c.send(t, get, true).Header.Get("X-Request-Id")
		other = c.call(t, "GET", "/v2/balance", "wrong", "").Header.Get("X-Request-Id")
	})
	mu.Lock()
	defer mu.Unlock()
	span := spans[id]
	if span == nil || spans[other] == nil || len(spans) != 2 {
		t.Fatalf("the collector has %d spans: %v", len(spans), spans)
	}
	if hex.EncodeToString(span.TraceId) != traceID || hex.EncodeToString(span.ParentSpanId) != parentID || span.Kind != trace.Span_SPAN_KIND_SERVER || span.Name != "RetrieveManagedAccount" {
		t.Errorf("%v", span)
	}
	if got := attributes(span.Attributes); got["http.route"] != "/v2/managed_accounts/{id}" || got["tenantry.account_id"] != s.ids["manager@example.com"] {
		t.Errorf("%v", got)
	}
	if len(spans[other].ParentSpanId) != 0 || attributes(spans[other].Attributes)["http.response.status_code"] != "401" {
		t.Errorf("%v", spans[other])
	}
	if len(resources) == 0 || resources[0] != "accounts" {
		t.Errorf("the service is %q", resources)
	}
	for _, secret := range []string{s.keys["manager@example.com"], s.app.OperatorToken, "wrong"} {
		if strings.Contains(all.String(), secret) {
			t.Errorf("%s is in the traces", secret)
		}
	}
}

func attributes(pairs []*common.KeyValue) map[string]string {
	all := map[string]string{}
	for _, pair := range pairs {
		all[pair.Key] = pair.Value.GetStringValue()
		if _, ok := pair.Value.Value.(*common.AnyValue_IntValue); ok {
			all[pair.Key] = fmt.Sprint(pair.Value.GetIntValue())
		}
	}
	return all
}

// TestTracesUnsent: a collector that does not answer holds the stop up for no
// longer than the drain time.
func TestTracesUnsent(t *testing.T) {
	release := make(chan struct{})
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer receiver.Close()
	defer close(release)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.URL)
	began := time.Now()
	t.Run("serve", func(t *testing.T) {
		s := start(t, nil, func(c *config.Config) { c.Traces, c.DrainTime = "otlp", 100*time.Millisecond })
		s.connect(t).call(t, "GET", "/healthz", "", "")
	})
	if took := time.Since(began); took > 9*time.Second { // the exporter itself gives up after ten
		t.Errorf("the server stopped after %s", took)
	}
}
