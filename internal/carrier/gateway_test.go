package carrier

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/tenant"
)

// script is a gateway that answers one way after the other.
type script struct {
	*httptest.Server
	mu      sync.Mutex
	answers []http.HandlerFunc
	keys    []string // of what came
	bodies  []string
	tokens  []string
}

func newScript(t *testing.T, answers ...http.HandlerFunc) *script {
	t.Helper()
	s := &script{answers: answers}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.keys, s.bodies = append(s.keys, r.Header.Get("Idempotency-Key")), append(s.bodies, string(body))
		s.tokens = append(s.tokens, r.Header.Get("Authorization"))
		if len(s.answers) == 0 {
			t.Errorf("a request too many: %s", body)
			s.mu.Unlock()
			return
		}
		answer := s.answers[0]
		s.answers = s.answers[1:]
		s.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
		w.WriteHeader(code)
		io.WriteString(w, body)
	}
}

// cut ends the connection without an answer.
func cut(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		conn.Close()
	}
}

// silent does not answer for as long as anybody waits.
func silent(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// TestGateway: each answer of the gateway is the end of a message, or has it sent again
// under the same key.
func TestGateway(t *testing.T) {
	sent, refused, unknown := tenant.MessageSent, tenant.MessageRefused, tenant.MessageUnconfirmed
	for _, test := range []struct {
		name    string
		answers []http.HandlerFunc
		status  tenant.MessageStatus
		reason  string
	}{
		{"taken", []http.HandlerFunc{status(200, `{"id":"x"}`)}, sent, ""},
		{"taken without a word", []http.HandlerFunc{status(204, ``)}, sent, ""},
		{"refused", []http.HandlerFunc{status(422, `{"errors":[{"code":"1","title":"No","detail":"No route."}]}`)}, refused, "No route."},
		{"refused by title", []http.HandlerFunc{status(400, `{"errors":[{"title":"No"}]}`)}, refused, "No"},
		{"refused by detail", []http.HandlerFunc{status(409, `{"detail":"Twice\u001b[31m\nred"}`)}, refused, "Twice [31m red"},
		{"refused without a word", []http.HandlerFunc{status(403, `<html>`)}, refused, ""},
		{"fails", []http.HandlerFunc{status(500, ``)}, refused, ""},
		{"is elsewhere", []http.HandlerFunc{status(302, ``)}, refused, ""},
		{"is busy, then takes it", []http.HandlerFunc{status(503, ``), status(502, ``), status(504, ``), status(202, ``)}, sent, ""},
		{"cuts, then refuses", []http.HandlerFunc{cut, status(422, `{"detail":"No"}`)}, refused, "No"},
		{"does not answer", []http.HandlerFunc{silent}, unknown, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, dbtest.SQLite(t))
			gateway := newScript(t, test.answers...)
			var log bytes.Buffer
			g := NewGateway(gateway.URL+"/messages?key=canary-in-the-url", "canary-token", slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
			g.timeout = time.Second
			d := NewDispatcher(w.db, g, g.log)
			m := w.send(t, good, time.Time{})
			d.HandOver(t.Context(), m)
			for n := 0; m.Status == tenant.MessageQueued && n < 10; n++ {
				w.clock.move(m.DueAt.Sub(w.clock.Now()))
				due(t, d, 1)
				m = w.now(t, m)
			}
			got := w.now(t, m)
			gateway.mu.Lock()
			defer gateway.mu.Unlock()
			if got.Status != test.status || got.Reason != test.reason || len(gateway.answers) > 0 {
				t.Errorf("%+v, and %d answers are left", got, len(gateway.answers))
			}
			for i, key := range gateway.keys {
				if key != m.ID || gateway.tokens[i] != "Bearer canary-token" || gateway.bodies[i] != gateway.bodies[0] {
					t.Errorf("request %d: key %s, token %s, body %s", i, key, gateway.tokens[i], gateway.bodies[i])
				}
			}
			if strings.Contains(log.String(), "canary") {
				t.Errorf("a secret is in the log: %s", log.String())
			}
		})
	}
}

// TestGatewayGone: who is not there is waited for, and gets what waited.
func TestGatewayGone(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	var log bytes.Buffer
	g := NewGateway("http://"+address, "", slog.New(slog.NewTextHandler(&log, nil)))
	d := NewDispatcher(w.db, g, discard)
	m := w.send(t, good, time.Time{})
	d.HandOver(t.Context(), m)
	for range 2 {
		if m = w.now(t, m); m.Status != tenant.MessageQueued {
			t.Fatalf("%+v", m)
		}
		w.clock.move(5 * time.Minute)
		due(t, d, 1)
	}
	if listener, err = net.Listen("tcp", address); err != nil {
		t.Skipf("somebody else has the port by now: %v", err)
	}
	server := &http.Server{Handler: status(200, "")}
	go server.Serve(listener)
	defer server.Close()
	w.clock.move(5 * time.Minute)
	due(t, d, 1)
	if m = w.now(t, m); m.Status != tenant.MessageSent {
		t.Errorf("%+v", m)
	}
	if n := strings.Count(log.String(), "cannot be reached"); n != 1 || !strings.Contains(log.String(), "takes messages again") {
		t.Errorf("the log has\n%s", log.String())
	}
}

// TestGatewayMessage holds what the gateway gets to docs/messages.md.
func TestGatewayMessage(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t))
	gateway := newScript(t, status(200, ""))
	d := NewDispatcher(w.db, NewGateway(gateway.URL, "", discard), discard)
	m := w.send(t, good, time.Time{})
	d.HandOver(t.Context(), m)
	var got, want map[string]any
	if err := json.Unmarshal([]byte(gateway.bodies[0]), &got); err != nil {
		t.Fatal(err)
	}
	json.Unmarshal([]byte(`{"id":"`+m.ID+`","account_id":"`+w.actor.AccountID+`","to":"+18445550001","from":"+18005550101","text":"Hello","type":"SMS","encoding":"gsm7","parts":1,"received_at":"2026-11-21T12:00:00Z"}`), &want)
	if len(got) != len(want) {
		t.Errorf("%s", gateway.bodies[0])
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s is %v, want %v", name, got[name], want[name])
		}
	}
	if gateway.tokens[0] != "" {
		t.Errorf("Authorization is %q", gateway.tokens[0])
	}
}

// TestGatewayAfterSandbox: what the sandbox said that it sent is not sent after all.
func TestGatewayAfterSandbox(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t))
	d := NewDispatcher(w.db, Sandbox{}, discard)
	m := w.send(t, good, time.Time{})
	d.HandOver(t.Context(), m)
	w.clock.move(moment)
	due(t, d, 1)
	w.clock.move(moment)
	gateway := newScript(t)
	due(t, NewDispatcher(w.db, NewGateway(gateway.URL, "", discard), discard), 1)
	if got := w.now(t, m); got.Status != tenant.MessageUnconfirmed {
		t.Errorf("%+v", got)
	}
}

// FuzzReason: whatever a gateway says, what is kept of it is one short line.
func FuzzReason(f *testing.F) {
	for _, seed := range []string{``, `{}`, `[]`, `{"detail":"No\u0000 \u202ereally"}`, `{"errors":[{"title":"a"}]}`, `{"errors":[]}`, `{"detail":1}`, `{"detail":"` + strings.Repeat("ü", 300) + `"}`, "{\"detail\":\"\xff\"}", `<html>`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		said := reason(text)
		if utf8.RuneCountInString(said) > mostReason || !utf8.ValidString(said) || strings.TrimSpace(said) != said ||
			strings.ContainsFunc(said, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q", said)
		}
	})
}
