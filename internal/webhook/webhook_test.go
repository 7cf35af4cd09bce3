package webhook_test

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/internal/admission"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/webhook"
)

// TestEvent is one event, as its receiver sees it.
func TestEvent(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		before := w.child(t) // before there is a webhook
		r := newReceiver(t, nil)
		send(t, w.db, options(r.URL+"/hook?token=x"))
		w.happen(t, before, 1)
		got := r.wait(1)[0]
		if got.header.Get("Content-Type") != "application/json" || got.Data.ID == "" || got.Data.OccurredAt == "" {
			t.Errorf("%v %s", got.header, got.body)
		}
		got.Data.ID, got.Data.OccurredAt = "", ""
		want := api.WebhookEvent{
			Data: api.WebhookEventData{RecordType: "event", EventType: "managed_account.disabled", Payload: api.WebhookPayload{
				AccountID: before, ManagerAccountID: w.actor.AccountID, Sequence: 2, UserID: w.actor.UserID, ChangeMadeBy: "account_manager",
				RequestID: "request", ResourceType: "managed_account", ResourceID: before,
				Changes: []api.AuditChange{{Field: "disabled", From: false, To: true}},
			}},
			Meta: api.WebhookEventMeta{Attempt: 1, DeliveredTo: r.URL + "/hook?token=x"},
		}
		if !reflect.DeepEqual(got.WebhookEvent, want) {
			t.Errorf("got  %+v\nwant %+v", got.WebhookEvent, want)
		}
		w.settled(t)
		for _, d := range w.deliveries(t, "") {
			if text, _ := json.Marshal(d); d.Status != store.DeliveryDelivered || strings.Contains(string(text), "token") || len(d.Log) != 1 || d.Log[0].URL != r.URL {
				t.Errorf("seen as %s", text)
			}
		}
		if n := len(r.requests()); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}

// TestOrder: each account's events come in order, whatever is refused, and not more
// than 8 at once; accounts do not wait for each other.
func TestOrder(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		var stuck atomic.Value
		stuck.Store("")
		r := newReceiver(t, func(out http.ResponseWriter, r request, n int) {
			if r.Data.Payload.AccountID == stuck.Load() || rand.N(10) == 0 {
				out.WriteHeader(http.StatusInternalServerError)
			}
		})
		send(t, w.db, options(r.URL))
		var ids []string
		for range 12 {
			ids = append(ids, w.child(t))
		}
		stuck.Store(ids[0])
		var all sync.WaitGroup
		for _, id := range ids {
			all.Go(func() { w.happen(t, id, 10) })
		}
		all.Wait()
		forward := func(id string) bool {
			w.clock.move(time.Second) // whoever waits does not wait long
			return len(r.sequences(id)) >= 11
		}
		for _, id := range ids[1:] {
			eventually(t, "all events of an account that is not stuck", func() bool { return forward(id) })
		}
		if got := r.sequences(ids[0]); !slices.Equal(got, numbers(1, int64(len(got)))) || len(got) > 1 {
			t.Errorf("the account that is stuck got through: %v", got)
		}
		stuck.Store("")
		eventually(t, "all events of the account that was stuck", func() bool { return forward(ids[0]) })
		for _, id := range ids {
			if got := r.sequences(id); !slices.Equal(got, numbers(1, 11)) {
				t.Errorf("account %s: %v", id, got)
			}
		}
		if r.most > 8 {
			t.Errorf("%d requests at once", r.most)
		}
	})
}

// TestFailover: 3 attempts each, then the account waits, 1 second the first time and
// up to 15 minutes later; attempts are counted through.
func TestFailover(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		var well atomic.Bool
		answer := func(code int) func(http.ResponseWriter, request, int) {
			return func(out http.ResponseWriter, _ request, _ int) {
				if !well.Load() {
					out.WriteHeader(code)
				}
			}
		}
		first, second := newReceiver(t, answer(410)), newReceiver(t, answer(400))
		o := options(first.URL)
		o.FailoverURL = second.URL
		var mu sync.Mutex
		counted := map[string]int{}
		o.Counted = func(what string) {
			mu.Lock()
			defer mu.Unlock()
			counted[what]++
		}
		send(t, w.db, o)
		id := w.child(t)
		for round := 1; round <= 14; round++ {
			second.wait(3 * round)
			if f, s := len(first.requests()), len(second.requests()); f != 3*round || s != 3*round {
				t.Fatalf("round %d: %d and %d requests", round, f, s)
			}
			var due time.Time
			eventually(t, "the round being noted", func() bool {
				if d := w.deliveries(t, "waiting"); len(d) != 1 || d[0].Attempts != int64(6*round) {
					return false
				}
				w.db.View(t.Context(), func(tx *store.Tx) error {
					state, err := tx.WebhookState("")
					due = state.DueAt
					return err
				})
				return true
			})
			longest := min(time.Second<<(round-1), 15*time.Minute)
			if wait := due.Sub(w.clock.Now()); wait > longest || wait < longest/2-10*time.Second {
				t.Errorf("after round %d it waits %s, want half of %s or more", round, wait, longest)
			}
			well.Store(round == 14)
			w.clock.move(longest)
		}
		w.settled(t)
		attempts := []int64{}
		for _, r := range append(first.requests(), second.requests()...) {
			attempts = append(attempts, r.Meta.Attempt)
		}
		slices.Sort(attempts)
		if !slices.Equal(attempts, numbers(1, 85)) {
			t.Errorf("attempts are numbered %v", attempts)
		}
		d := w.deliveries(t, "delivered")
		if len(d) != 1 || d[0].AccountID != id || d[0].Attempts != 85 || len(d[0].Log) != 1 || d[0].Log[0].Error != "" {
			t.Errorf("%+v", d)
		}
		eventually(t, "what is noted being counted", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return counted["refused"] == 84 && counted["delivered"] == 1 && counted["failed"] == 0
		})
	})
}

// TestGivenUp: what nobody accepts while events are kept is given up, and the next
// event of the account has its turn. The operator may have it sent again.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		var well atomic.Bool
		r := newReceiver(t, func(out http.ResponseWriter, r request, _ int) {
			if r.Data.Payload.Sequence == 2 && !well.Load() {
				out.WriteHeader(500)
			}
		})
		send(t, w.db, options(r.URL))
		id := w.child(t)
		w.settled(t)
		w.happen(t, id, 2)
		eventually(t, "a round that failed", func() bool {
			d := w.deliveries(t, "waiting")
			return len(d) == 2 && d[1].Attempts == 3
		})
		w.clock.move(store.KeepEvents + time.Second)
		eventually(t, "being given up", func() bool { return len(w.deliveries(t, "failed")) == 1 })
		w.settled(t)
		if got := r.sequences(id); !slices.Equal(got, []int64{1, 3}) {
			t.Errorf("accepted were %v", got)
		}
		well.Store(true)
		if _, err := w.tenants.RetryDelivery(t.Context(), w.deliveries(t, "failed")[0].ID); err != nil {
			t.Fatal(err)
		}
		w.settled(t)
		if got := r.sequences(id); !slices.Equal(got, []int64{1, 3, 2}) {
			t.Errorf("accepted were %v", got)
		}
		// In the end nothing of it is left.
		w.clock.move(25 * time.Hour)
		if err := w.db.Update(t.Context(), "", func(tx *store.Tx) error {
			_, err := tx.Prune(tx.Now().Add(-store.KeepEvents), 500)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if left := w.deliveries(t, ""); len(left) > 0 {
			t.Errorf("%d deliveries are left", len(left))
		}
	})
}

// TestFilter: events that are not wanted are skipped, and hold nobody up.
func TestFilter(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		r := newReceiver(t, nil)
		o := options(r.URL)
		o.Events = []string{"managed_account.enabled", "calls"}
		send(t, w.db, o)
		id := w.child(t)
		w.happen(t, id, 4)
		r.wait(2)
		w.settled(t)
		if got := r.sequences(id); !slices.Equal(got, []int64{3, 5}) {
			t.Errorf("accepted were %v", got)
		}
		if skipped := w.deliveries(t, "skipped"); len(skipped) != 3 {
			t.Errorf("skipped were %v", skipped)
		}
	})
}

// TestNothingWithout: without a webhook events stay where they are.
func TestNothingWithout(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		w.happen(t, w.child(t), 3)
		if err := w.db.View(t.Context(), func(tx *store.Tx) error {
			since, err := tx.WebhookSince()
			state, failed := tx.WebhookState("")
			if since != "" || !state.Outbox || !state.DueAt.IsZero() || state.Node != "" {
				t.Errorf("since %q, %+v", since, state)
			}
			return errors.Join(err, failed)
		}); err != nil {
			t.Fatal(err)
		}
		if found := w.deliveries(t, ""); len(found) > 0 {
			t.Errorf("%v", found)
		}
	})
}

// TestHangUp: the webhook hears of exactly the calls that live, with their switches.
func TestHangUp(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		r := newReceiver(t, nil)
		o := options(r.URL)
		o.Events = []string{"calls.terminate"}
		send(t, w.db, o)
		id := w.child(t)
		decide := admission.New(w.db, admission.Options{})
		for _, call := range []string{"one", "two", "over"} {
			direction := "outbound"
			if call == "over" {
				direction = "inbound"
			}
			d, err := decide.Decide(t.Context(), admission.Request{
				Kind: admission.Call, AccountID: id, CallID: call, Acquire: true, Switch: "fs-" + call, Direction: direction,
			})
			if err != nil || d.Lease == nil {
				t.Fatalf("%s: %+v %v", call, d, err)
			}
		}
		if _, err := decide.Release(t.Context(), "over"); err != nil {
			t.Fatal(err)
		}
		for n := 1; n <= 2; n++ { // also of an account that is disabled already
			if _, err := w.tenants.DisableAndHangUp(t.Context(), w.actor, id, ""); err != nil {
				t.Fatal(err)
			}
			got := r.wait(n)[n-1]
			want := []api.WebhookCall{{CallID: "one", Switch: "fs-one"}, {CallID: "two", Switch: "fs-two"}}
			if got.Data.EventType != "calls.terminate" || !slices.Equal(got.Data.Payload.Calls, want) {
				t.Errorf("%s", got.body)
			}
		}
	})
}

// TestHostileReceivers: whatever a receiver does, it is over in bounded time, is told
// in short, and the next attempt is as good as any.
func TestHostileReceivers(t *testing.T) {
	t.Parallel()
	var visited atomic.Bool
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visited.Store(true) }))
	t.Cleanup(elsewhere.Close)
	raw := func(text string) func(http.ResponseWriter, request, int) {
		return func(out http.ResponseWriter, _ request, _ int) {
			conn, _, err := http.NewResponseController(out).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			io.WriteString(conn, text)
			conn.Close()
		}
	}
	for name, test := range map[string]struct {
		answer func(http.ResponseWriter, request, int)
		want   string // in the error; "" when it counts as accepted
	}{
		"never answers": {func(_ http.ResponseWriter, r request, _ int) { <-r.gone }, "no answer within"},
		"endless body": {func(out http.ResponseWriter, _ request, _ int) {
			for range 1 << 14 {
				if _, err := out.Write(make([]byte, 1<<14)); err != nil {
					return
				}
			}
			t.Error("256 MiB of an answer were read")
		}, ""},
		"slow body": {func(out http.ResponseWriter, r request, _ int) {
			out.WriteHeader(200)
			http.NewResponseController(out).Flush()
			<-r.gone
		}, ""},
		"redirect": {func(out http.ResponseWriter, _ request, _ int) {
			http.Redirect(out, new(http.Request), elsewhere.URL, http.StatusTemporaryRedirect)
		}, "the answer has status 307"},
		"garbage":          {raw("\x00\xff\x1b[31mno HTTP\r\n\r\n"), "malformed"},
		"closes":           {raw(""), "EOF"},
		"half a header":    {raw("HTTP/1.1 200 O"), "EOF"},
		"status 99999":     {raw("HTTP/1.1 99999 Many\r\n\r\n"), "malformed"},
		"many headers":     {raw("HTTP/1.1 200 OK\r\n" + strings.Repeat("X-A: "+strings.Repeat("b", 1000)+"\r\n", 200) + "\r\n"), "header"},
		"length that lies": {raw("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachWorld(t, func(t *testing.T, w *world) {
				var well atomic.Bool
				r := newReceiver(t, func(out http.ResponseWriter, r request, n int) {
					if !well.Load() {
						test.answer(out, r, n)
					}
				})
				r.hangs = true
				o := options(r.URL)
				o.Timeout = 300 * time.Millisecond
				send(t, w.db, o)
				w.child(t)
				if test.want == "" {
					w.settled(t)
					return
				}
				var seen []store.Delivery
				eventually(t, "a round that failed", func() bool {
					seen = w.deliveries(t, "waiting")
					return len(seen) == 1 && seen[0].Attempts >= 3
				})
				for _, a := range seen[0].Log {
					if !strings.Contains(a.Error, test.want) || len(a.Error) > 800 || strings.ContainsAny(a.Error, "\x00\x1b") {
						t.Errorf("%+v", a)
					}
				}
				well.Store(true)
				// Who hangs has the account for himself until he is cut off.
				eventually(t, "accepting it", func() bool {
					w.clock.move(time.Second)
					return len(w.deliveries(t, "delivered")) == 1
				})
			})
		})
	}
	t.Cleanup(func() {
		if visited.Load() {
			t.Error("a redirect was followed")
		}
	})
}

// TestOutOfReach: nobody listens, or nobody who is to be trusted.
func TestOutOfReach(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	stranger := httptest.NewUnstartedServer(http.NotFoundHandler())
	stranger.TLS = &tls.Config{MaxVersion: tls.VersionTLS13}
	stranger.Config.ErrorLog = nil
	stranger.StartTLS()
	t.Cleanup(stranger.Close)
	for url, want := range map[string]string{
		"http://user:password@" + closed.Addr().String() + "/secret": "refused",
		stranger.URL + "/secret":                                     "certificate",
		"http://nowhere.invalid/secret":                              "",
		"https://" + closed.Addr().String() + "/secret":              "refused",
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			eachWorld(t, func(t *testing.T, w *world) {
				send(t, w.db, options(url))
				w.child(t)
				var seen []store.Delivery
				eventually(t, "a round that failed", func() bool {
					seen = w.deliveries(t, "waiting")
					return len(seen) == 1 && seen[0].Attempts >= 3
				})
				text := fmt.Sprintf("%+v", seen)
				if !strings.Contains(text, want) || strings.Contains(text, "secret") || strings.Contains(text, "password") {
					t.Error(text)
				}
			})
		})
	}
}

// TestTestEvent: the operator's own event is signed like any other, and tells what
// came of it.
func TestTestEvent(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, w *world) {
		r := newReceiver(t, func(out http.ResponseWriter, _ request, n int) {
			if n > 0 {
				out.WriteHeader(503)
			}
		})
		sender, err := webhook.New(t.Context(), w.db, options(r.URL))
		if err != nil {
			t.Fatal(err)
		}
		if a := sender.Test(); a.Status != 200 || a.Error != "" {
			t.Errorf("%+v", a)
		}
		if a := sender.Test(); a.Status != 503 || a.Error == "" {
			t.Errorf("%+v", a)
		}
		if got := r.requests()[0]; got.Data.EventType != webhook.TestEvent || got.Data.ID == "" {
			t.Errorf("%s", got.body)
		}
	})
}
