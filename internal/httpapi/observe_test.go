package httpapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/tenantry/tenantry/internal/tenant"
)

// witness is an Observer that counts by name.
type witness struct {
	mu    sync.Mutex
	count map[string]int
}

func (w *witness) add(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.count == nil {
		w.count = map[string]int{}
	}
	w.count[name]++
}

func (w *witness) Operation(id string) func(int, time.Duration) {
	return func(status int, took time.Duration) {
		if took <= 0 {
			w.add(id + " took no time")
		}
		w.add(fmt.Sprintf("%s %d", id, status))
	}
}

func (w *witness) RateLimited(limiter string) { w.add(limiter) }

// observed is a world that is watched in every way, its log in JSON.
func observed(t *testing.T, level slog.Level) (w *world, seen *witness, spans *tracetest.SpanRecorder, log *lockedBuffer) {
	log, seen, spans = &lockedBuffer{}, &witness{}, tracetest.NewSpanRecorder()
	w = newWorld(t, nil, func(o *Options) {
		o.Logger = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: level}))
		o.Observer = seen
		o.Tracer = sdk.NewTracerProvider(sdk.WithSpanProcessor(spans)).Tracer("")
	})
	return w, seen, spans, log
}

// traces is all that is in the spans.
func traces(spans *tracetest.SpanRecorder) string {
	var text strings.Builder
	for _, span := range spans.Ended() {
		fmt.Fprintln(&text, span.Name(), span.Status(), span.Attributes(), span.Events(), span.Links())
	}
	return text.String()
}

// lines are what was logged since the last call.
func lines(t *testing.T, log *lockedBuffer) (all []map[string]any) {
	t.Helper()
	log.mu.Lock()
	defer log.mu.Unlock()
	for line := range strings.Lines(log.Buffer.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		all = append(all, fields)
	}
	log.Reset()
	return all
}

// failing is an operation whose handler does what it is told.
func (w *world) failing(do func(*call) (any, error)) *operation {
	return w.operation(Route{"Failing", "GET /failing", "public", func(_ *Server, c *call) (any, error) { return do(c) }})
}

// ask sends a request to an operation that is not among the routes.
func (w *world) ask(o *operation, r *http.Request) (answer *httptest.ResponseRecorder) {
	defer func() {
		if p := recover(); p != nil && p != http.ErrAbortHandler {
			panic(p)
		}
	}()
	answer = httptest.NewRecorder()
	w.serve(o, answer, r, "")
	return answer
}

// TestSeen: a request, however it ends, is one count, one span and one line, and
// all of them and the answer have the same request id.
func TestSeen(t *testing.T) {
	w, seen, spans, log := observed(t, slog.LevelDebug)
	const trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	do := func(method, target string, headers ...string) func() *httptest.ResponseRecorder {
		return func() *httptest.ResponseRecorder {
			return w.do(method, target, "", append(headers, "Traceparent", "00-"+trace+"-"+parent+"-01")...)
		}
	}
	fail := func(ctx context.Context, handle func(*call) (any, error)) func() *httptest.ResponseRecorder {
		return func() *httptest.ResponseRecorder {
			return w.ask(w.failing(handle), httptest.NewRequest("GET", "/failing", nil).WithContext(ctx))
		}
	}
	half := func(err error) func(*call) (any, error) {
		return func(*call) (any, error) {
			return stream{"text/csv", func(out io.Writer) error {
				out.Write(make([]byte, 1<<17))
				return err
			}}, nil
		}
	}
	cause := errors.New("the cause")
	gone, leave := context.WithCancel(t.Context())
	leave()
	for _, test := range []struct {
		name, operation string
		status          int
		account         string
		beside          string // level and message of another line, if there is one
		do              func() *httptest.ResponseRecorder
	}{
		{"found", "RetrieveManagedAccount", 200, w.manager.ID, "", do("GET", "/v2/managed_accounts/"+w.child.ID)},
		{"found the long way", "GetUserBalance", 200, w.manager.ID, "", do("GET", "/v2/balance")},
		{"missing", "RetrieveManagedAccount", 404, w.manager.ID, "", do("GET", "/v2/managed_accounts/"+w.other.ID)},
		{"no credentials", "GetUserBalance", 401, "", "INFO credentials refused", do("GET", "/v2/balance", "Authorization", "Bearer x")},
		{"no path", "unknown", 404, "", "", do("GET", "/nowhere")},
		{"no method", "unknown", 405, "", "", do("BREW", "/v2/balance")},
		{"unclean", "unknown", 404, "", "", do("GET", "/v2//balance")},
		{"fault", "Failing", 500, "", "ERROR unexpected error", fail(t.Context(), func(*call) (any, error) { return nil, cause })},
		{"unavailable", "Failing", 503, "", "ERROR the service is unavailable", fail(t.Context(), func(*call) (any, error) {
			return nil, errors.Join(tenant.Refuse(tenant.Unavailable, "Wait."), cause)
		})},
		{"gone", "Failing", 499, "", "", fail(gone, func(c *call) (any, error) { return nil, c.Context().Err() })},
		{"half an answer", "Failing", 500, "", "ERROR a stream broke off", fail(t.Context(), half(cause))},
		{"half an answer, gone", "Failing", 499, "", "", fail(gone, half(cause))},
	} {
		seen.count = nil
		answer := test.do()
		id := answer.Header().Get("X-Request-Id")
		if test.status >= 500 && answer.Code == test.status && !strings.Contains(answer.Body.String(), id) {
			t.Errorf("%s: no request id in %s", test.name, answer.Body)
		}
		if want := fmt.Sprintf("map[%s %d:1]", test.operation, test.status); fmt.Sprint(seen.count) != want {
			t.Errorf("%s: counted %v, want %s", test.name, seen.count, want)
		}
		var said []string
		for _, line := range lines(t, log) {
			said = append(said, fmt.Sprint(line["level"], " ", line["msg"]))
			if line["level"] == "ERROR" && !strings.Contains(fmt.Sprint(line["error"]), "the cause") {
				t.Errorf("%s: no cause in %v", test.name, line)
			}
			if line["request_id"] != id || line["operation"] != test.operation || line["status"] != float64(test.status) || cmp.Or(line["account_id"], any("")) != test.account {
				t.Errorf("%s: logged %v", test.name, line)
			}
			if _, ok := line["took"]; (line["msg"] == "request") != ok {
				t.Errorf("%s: logged %v", test.name, line)
			}
			if traced := strings.HasPrefix(fmt.Sprint(line["trace_id"]), trace); traced != (test.operation != "Failing") {
				t.Errorf("%s: logged %v", test.name, line)
			}
		}
		if want := strings.TrimPrefix(test.beside+", DEBUG request", ", "); strings.Join(said, ", ") != want {
			t.Errorf("%s: logged %q, want %q", test.name, said, want)
		}
		ended := spans.Ended()
		spans.Reset()
		if len(ended) != 1 {
			t.Errorf("%s: %d spans", test.name, len(ended))
			continue
		}
		span, attributes := ended[0], map[string]string{}
		for _, a := range span.Attributes() {
			attributes[string(a.Key)] = a.Value.String()
		}
		want := map[string]string{
			"http.request.method": "GET", "http.response.status_code": fmt.Sprint(test.status), "tenantry.request_id": id,
		}
		if test.account != "" {
			want["tenantry.account_id"] = test.account
		}
		switch test.operation {
		case "RetrieveManagedAccount":
			want["http.route"] = "/v2/managed_accounts/{id}"
		case "GetUserBalance":
			want["http.route"] = "/v2/balance"
		case "Failing":
			want["http.route"] = "/failing"
		}
		if test.name == "no method" {
			want["http.request.method"] = "_OTHER"
		}
		if !maps.Equal(attributes, want) || span.Name() != test.operation || (span.Status().Code == codes.Error) != (test.status >= 500) {
			t.Errorf("%s: span %s %v %v, want %v", test.name, span.Name(), span.Status(), attributes, want)
		}
		if test.operation != "Failing" && (span.Parent().SpanID().String() != parent || !span.Parent().IsRemote()) {
			t.Errorf("%s: the parent is %v", test.name, span.Parent())
		}
	}

	// A panic is a line more, with the stack.
	seen.count = nil
	answer := fail(t.Context(), func(*call) (any, error) { panic("the cause") })()
	all := lines(t, log)
	if len(all) != 3 || all[0]["panic"] != "the cause" || all[0]["stack"] == nil || seen.count["Failing 500"] != 1 {
		t.Errorf("a panic: %v, %v", all, seen.count)
	}
	for _, line := range all {
		if line["request_id"] != answer.Header().Get("X-Request-Id") || line["status"] != 500.0 {
			t.Errorf("a panic: logged %v", line)
		}
	}
}

// TestQuiet: what anybody can cause as often as he likes is one line a second,
// and the next one says how much it stands for.
func TestQuiet(t *testing.T) {
	w, _, _, log := observed(t, slog.LevelInfo)
	now := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
	w.refused.now = func() time.Time { return now }
	w.unavailable.now = w.refused.now
	stopped := w.failing(func(*call) (any, error) { return nil, tenant.Refuse(tenant.Unavailable, "") })
	for _, test := range []struct {
		message string
		cause   func()
	}{
		{"credentials refused", func() { w.do("GET", "/v2/balance", "", "Authorization", "Bearer wrong") }},
		{"the service is unavailable", func() { w.ask(stopped, httptest.NewRequest("GET", "/failing", nil)) }},
	} {
		for i, step := range []struct {
			after time.Duration
			want  []float64 // held back before each line
		}{
			{0, []float64{0}}, {999 * time.Millisecond, nil}, {time.Millisecond, []float64{199}}, {time.Hour, []float64{99}}, {-2 * time.Hour, []float64{99}},
		} {
			now = now.Add(step.after)
			for range 100 {
				test.cause()
			}
			var held []float64
			for _, line := range lines(t, log) {
				if line["msg"] != test.message {
					t.Errorf("logged %v", line)
				}
				held = append(held, line["held_back"].(float64))
			}
			if !slices.Equal(held, step.want) {
				t.Errorf("%s, step %d: %v, want %v", test.message, i, held, step.want)
			}
		}
	}

	// Refused are the blocked and the disabled too, and who signs in in vain; the
	// address is whom to look for.
	operator := []string{"Authorization", "Bearer " + w.operatorToken}
	w.do("POST", "/operator/v1/accounts/"+w.child.ID+"/actions/block", "", operator...)
	w.do("POST", "/v2/managed_accounts/"+w.other.ID+"/actions/disable", "", "Authorization", "Bearer "+w.managerKey(t, w.other.ManagerID))
	if all := lines(t, log); len(all) != 0 {
		t.Errorf("at info level nothing is told of what went well: %v", all)
	}
	for _, test := range []struct {
		reason string
		status float64
		cause  func()
	}{
		{"blocked", 403, func() { w.do("GET", "/v2/balance", "", "Authorization", "Bearer "+w.child.Key) }},
		{"inactive", 403, func() { w.do("GET", "/v2/balance", "", "Authorization", "Bearer "+w.other.Key) }},
		{"credentials", 401, func() { w.do("POST", "/portal/session", `{"email":"user@example.com","password":"wrong"}`) }},
		{"credentials", 401, func() { w.do("GET", "/operator/v1/accounts", "") }},
	} {
		now = now.Add(time.Minute)
		test.cause()
		all := lines(t, log)
		if len(all) != 1 || all[0]["level"] != "INFO" || all[0]["status"] != test.status || all[0]["address"] != "192.0.2.1" || !strings.Contains(fmt.Sprint(all[0]["reason"]), test.reason) {
			t.Errorf("%s: logged %v", test.reason, all)
		}
	}
}

// TestRateLimited: each limiter has its own name.
func TestRateLimited(t *testing.T) {
	w, seen, _, _ := observed(t, slog.LevelError)
	now := func() time.Time { return time.Unix(0, 0) }
	w.keys, w.failures, w.signIns, w.signInsTo = newLimiter(now, 1, 2, "", func(string) {}), newLimiter(now, 1, 2, "", func(string) {}), newLimiter(now, 1, 2, "", func(string) {}), newLimiter(now, 1, 2, "", func(string) {})
	for range 5 {
		w.do("GET", "/v2/balance", "")
		w.do("GET", "/v2/balance", "", "Authorization", "Bearer wrong")
		w.do("POST", "/portal/session", `{"email":"user@example.com","password":"wrong"}`)
	}
	for _, limiter := range []string{"keys", "failures", "sign_ins"} {
		if seen.count[limiter] != 3 {
			t.Errorf("%s: %d of 5 turned away", limiter, seen.count[limiter])
		}
	}
}
