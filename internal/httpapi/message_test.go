package httpapi

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/internal/admission"
	"github.com/tenantry/tenantry/internal/carrier"
)

const hello = `{"to":"+18445550001","from":"+18005550101","text":"Hello"}`

// withGateway has the messages of a world handed over to a gateway.
func withGateway(t testing.TB, w *world, gateway http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(gateway)
	t.Cleanup(server.Close)
	w.messages = carrier.NewDispatcher(w.db, carrier.NewGateway(server.URL, "", slog.New(slog.DiscardHandler)), slog.New(slog.DiscardHandler))
	return server
}

func sent(t testing.TB, answer *httptest.ResponseRecorder) api.Message {
	t.Helper()
	check(t, "send", answer)
	var body api.Response[api.Message]
	if err := json.Unmarshal(answer.Body.Bytes(), &body); err != nil || answer.Code != 200 {
		t.Fatalf("%d %s", answer.Code, answer.Body)
	}
	return body.Data
}

// TestMessageGateway: what the sender is told while it waits is what the gateway said,
// and never a fault of ours.
func TestMessageGateway(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		var mu sync.Mutex
		status, said, asked := 200, "", 0
		gateway := withGateway(t, w, func(answer http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			asked++
			answer.WriteHeader(status)
			io.WriteString(answer, said)
		})
		set := func(code int, text string) { mu.Lock(); status, said, asked = code, text, 0; mu.Unlock() }
		if m := sent(t, w.do("POST", "/v2/messages", hello)); m.To[0].Status != "sent" || m.SentAt == nil || m.CompletedAt != nil {
			t.Errorf("%+v", m)
		}
		for _, code := range []int{502, 503, 504} {
			set(code, "")
			m := sent(t, w.do("POST", "/v2/messages", hello))
			if m.To[0].Status != "queued" || len(m.Errors) > 0 || asked != 1 {
				t.Errorf("%d: %+v, asked %d times", code, m, asked)
			}
		}
		for _, code := range []int{302, 400, 401, 404, 409, 422, 429, 500} {
			set(code, `{"errors":[{"detail":"Not to there."}]}`)
			headers := []string{"Idempotency-Key", "key-" + http.StatusText(code)[:1] + string(rune('a'+code%26))}
			for range 2 { // the second time it is remembered
				answer := w.do("POST", "/v2/messages", hello, headers...)
				check(t, "refused", answer)
				if answer.Code != 422 || !strings.Contains(answer.Body.String(), `"code":"40004"`) || !strings.Contains(answer.Body.String(), "Not to there.") || asked != 1 {
					t.Errorf("%d: %d %s, asked %d times", code, answer.Code, answer.Body, asked)
				}
			}
		}
		gateway.Close()
		if m := sent(t, w.do("POST", "/v2/messages", hello)); m.To[0].Status != "queued" {
			t.Errorf("without a gateway: %+v", m)
		}
	})
}

// TestMessageDenied: admission is asked, and the operator's own words are said. The
// retry of what was denied is not the answer to an equal message.
func TestMessageDenied(t *testing.T) {
	table := admission.DefaultTable()
	funds := table[admission.InsufficientFunds]
	funds.Status, funds.Code, funds.Title, funds.Detail = 429, "10011", "Pay first", "Call us."
	table[admission.InsufficientFunds] = funds
	w := newWorld(t, nil, func(o *Options) { o.Reasons = table })
	credit := func(balance string) {
		t.Helper()
		if answer := w.do("PATCH", "/operator/v1/accounts/"+w.manager.ID, `{"balance":"`+balance+`"}`, "Authorization", "Bearer "+w.operatorToken); answer.Code != 200 {
			t.Fatal(answer.Body)
		}
	}
	first := sent(t, w.do("POST", "/v2/messages", hello))
	credit("-1.00")
	answer := w.do("POST", "/v2/messages", hello)
	if answer.Code != 429 || !strings.Contains(answer.Body.String(), `"title":"Pay first","detail":"Call us.","source":{"parameter":"Authorization"}`) || answer.Header().Get("Retry-After") != "1" {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
	credit("1.00")
	if again := sent(t, w.do("POST", "/v2/messages", hello, "X-Stainless-Retry-Count", "1")); again.ID == first.ID {
		t.Error("the retry of a message that was denied is answered with another message")
	}
}
