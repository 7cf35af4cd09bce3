package app_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/internal/config"
)

// gateway is an operator's, which takes each key once.
type gateway struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	taken  map[string]int // requests by key
}

func newGateway(t *testing.T) *gateway {
	g := &gateway{status: 200, taken: map[string]int{}}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if r.Header.Get("Authorization") != "Bearer gateway-token" {
			t.Errorf("Authorization is %q", r.Header.Get("Authorization"))
		}
		g.taken[r.Header.Get("Idempotency-Key")]++
		w.WriteHeader(g.status)
	}))
	t.Cleanup(g.Close)
	return g
}

func (g *gateway) answer(status int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.status = status
}

func (g *gateway) times(id string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.taken[id]
}

// TestGateway: a server with a gateway hands messages over while the sender waits, and
// later what the gateway could not take; not what is of an account that was stopped.
func TestGateway(t *testing.T) {
	t.Parallel()
	eachEngine(t, testGateway)
}

func testGateway(t *testing.T, e engine) {
	g := newGateway(t)
	s := e.start(t, nil, func(c *config.Config) { c.MessageGateway, c.MessageGatewayToken = g.URL, "gateway-token" })
	c := s.connect(t)
	message := func(r reply) api.Message {
		t.Helper()
		var m api.Response[api.Message]
		if err := json.Unmarshal(r.body, &m); err != nil || r.StatusCode != 200 {
			t.Fatalf("%d %s", r.StatusCode, r.body)
		}
		return m.Data
	}
	send := func(email string) api.Message {
		t.Helper()
		return message(c.call(t, "POST", "/v2/messages", s.keys[email], wellFormed["SendMessage"]))
	}
	// becomes waits for what the server does by itself.
	becomes := func(id, email, status string) api.Message {
		t.Helper()
		for until := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			m := message(c.call(t, "GET", "/v2/messages/"+id, s.keys[email], ""))
			if m.To[0].Status == status {
				return m
			}
			if time.Now().After(until) {
				t.Fatalf("the message is %+v, and not %s", m, status)
			}
		}
	}
	if m := send("owner@example.com"); m.To[0].Status != "sent" || g.times(m.ID) != 1 {
		t.Errorf("%+v, %d requests", m, g.times(m.ID))
	}
	g.answer(503)
	waits, stopped := send("owner@example.com"), send("larry@example.com")
	if waits.To[0].Status != "queued" || stopped.To[0].Status != "queued" || g.times(stopped.ID) != 1 {
		t.Errorf("%+v %+v", waits, stopped)
	}
	if r := c.call(t, "POST", "/v2/managed_accounts/"+s.ids["larry@example.com"]+"/actions/disable", s.keys["manager@example.com"], ""); r.StatusCode != 200 {
		t.Fatal(r.StatusCode)
	}
	g.answer(200)
	s.clock.Add((5 * time.Minute).Microseconds())
	if m := becomes(waits.ID, "owner@example.com", "sent"); g.times(m.ID) != 2 {
		t.Errorf("%d requests", g.times(m.ID))
	}
	if r := c.call(t, "POST", "/v2/managed_accounts/"+s.ids["larry@example.com"]+"/actions/enable", s.keys["manager@example.com"], ""); r.StatusCode != 200 {
		t.Fatal(r.StatusCode)
	}
	if m := becomes(stopped.ID, "larry@example.com", "sending_failed"); g.times(m.ID) != 1 || m.Errors[0].Code != api.CodeAccountInactive {
		t.Errorf("%+v, %d requests", m, g.times(m.ID))
	}
	if strings.Contains(s.log.String(), "gateway-token") {
		t.Error("the token is in the log")
	}
}
