package webhook_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
	"github.com/tenantry/tenantry/internal/webhook"
)

var (
	key      = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	operator = tenant.Actor{Operator: true, CredentialID: "operator"}
)

// clock is a time that goes on by itself and can be moved.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// world is a database with tenants that things happen to.
type world struct {
	db      *store.DB
	address string
	clock   *clock
	tenants *service.Service
	actor   tenant.Actor
}

// eachWorld runs a test in a world of its own for each engine.
func eachWorld(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	dbtest.EachAddress(t, func(t *testing.T, address string) {
		clock := &clock{}
		db := dbtest.Open(t, address, store.Options{Source: tenant.NewSource(clock.Now, nil)})
		test(t, newWorld(t, db, address, clock))
	})
}

func newWorld(t *testing.T, db *store.DB, address string, clock *clock) *world {
	t.Helper()
	sealer, err := auth.NewSealer(make([]byte, auth.MasterKeySize), db.Source())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{db: db, address: address, clock: clock, tenants: service.New(db, sealer, auth.NewPasswords(0), service.Options{})}
	email, pool := "root@example.com", int64(1000)
	var root service.Account
	if _, err := w.tenants.CreateRootAccount(t.Context(), operator, service.NewAccount{BusinessName: "Root", Email: &email}, once(),
		func(a *service.Account) ([]byte, error) { root = *a; return nil, nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := w.tenants.ApproveManager(t.Context(), operator, root.ID, &pool); err != nil {
		t.Fatal(err)
	}
	w.actor = tenant.Actor{AccountID: root.ID, UserID: root.ID, Manager: true, RequestID: "request"}
	return w
}

// other opens the same database as another node does. Close it to kill the node.
func (w *world) other(t *testing.T) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), w.address, store.Options{Source: tenant.NewSource(w.clock.Now, nil), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func once() service.Once { return service.Once{Request: "once"} }

func (w *world) child(t *testing.T) string {
	t.Helper()
	var id string
	limit := int64(5)
	if _, err := w.tenants.CreateManagedAccount(t.Context(), w.actor, service.NewAccount{BusinessName: "Child", ChannelLimit: &limit}, once(),
		func(a *service.Account) ([]byte, error) { id = a.ID; return nil, nil }); err != nil {
		t.Fatal(err)
	}
	return id
}

// happen has an account disabled and enabled n times in all.
func (w *world) happen(t *testing.T, id string, n int) {
	t.Helper()
	for i := range n {
		var err error
		if i%2 == 0 {
			_, err = w.tenants.DisableAccount(t.Context(), w.actor, id, "")
		} else {
			_, err = w.tenants.EnableAccount(t.Context(), w.actor, id, false, "")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// request is what a receiver got.
type request struct {
	api.WebhookEvent
	header http.Header
	gone   <-chan struct{} // closed when the sender has cut the connection
	body   []byte
}

// receiver is a server on a real port that notes what it gets. Once stops its answers
// are the script's.
type receiver struct {
	*httptest.Server
	t *testing.T

	mu       sync.Mutex
	got      []request
	now      map[string]int // requests under way, by event
	byOwner  map[string]int // by account
	most     int
	hangs    bool               // so that it takes a request for under way that the sender has given up
	accepted map[string][]int64 // sequences that were accepted, by account
	answer   func(w http.ResponseWriter, r request, n int)
}

// newReceiver answers as answer does, which hears how many requests came before; nil
// accepts everything.
func newReceiver(t *testing.T, answer func(w http.ResponseWriter, r request, n int)) *receiver {
	t.Helper()
	r := &receiver{t: t, answer: answer, now: map[string]int{}, byOwner: map[string]int{}, accepted: map[string][]int64{}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(func() {
		r.Server.CloseClientConnections()
		r.Server.Close()
	})
	return r
}

// status remembers what was answered.
type status struct {
	http.ResponseWriter
	code int
}

func (s *status) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

func (s *status) Unwrap() http.ResponseWriter { return s.ResponseWriter }

func (r *receiver) ServeHTTP(w http.ResponseWriter, raw *http.Request) {
	body, err := io.ReadAll(raw.Body)
	got := request{header: raw.Header, body: body, gone: raw.Context().Done()}
	if err != nil {
		return // the sender has gone
	}
	if err := json.Unmarshal(body, &got.WebhookEvent); err != nil {
		r.t.Errorf("%s: %v", body, err)
	}
	r.verify(got)
	id, owner := got.Data.ID, got.Data.Payload.AccountID
	r.mu.Lock()
	n := len(r.got)
	r.got = append(r.got, got)
	r.now[id]++
	r.byOwner[owner]++
	total := 0
	for _, count := range r.now {
		total += count
	}
	r.most = max(r.most, total)
	if owner != "" && !r.hangs && (r.now[id] > 1 || r.byOwner[owner] > 1) {
		r.t.Errorf("%s: %d requests for the event are under way, %d for its account", id, r.now[id], r.byOwner[owner])
	}
	r.mu.Unlock()
	s := &status{w, 200}
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.now[id]--
		r.byOwner[owner]--
		if s.code/100 == 2 {
			r.accepted[owner] = append(r.accepted[owner], got.Data.Payload.Sequence)
		}
	}()
	if r.answer != nil {
		r.answer(s, got, n)
	}
}

func (r *receiver) verify(got request) {
	timestamp := got.header.Get("Telnyx-Timestamp")
	signature, err := base64.StdEncoding.DecodeString(got.header.Get("Telnyx-Signature-Ed25519"))
	if err != nil || !ed25519.Verify(key.Public().(ed25519.PublicKey), []byte(timestamp+"|"+string(got.body)), signature) {
		r.t.Errorf("the signature is wrong: %v", got.header)
	}
	if _, err := strconv.ParseInt(timestamp, 10, 64); err != nil {
		r.t.Error(err)
	}
}

func (r *receiver) requests() []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// wait waits until n requests have come, and returns all.
func (r *receiver) wait(n int) []request {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%d requests", n), func() bool { return len(r.requests()) >= n })
	return r.requests()
}

// sequences are what was accepted of an account, in order.
func (r *receiver) sequences(account string) []int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.accepted[account])
}

// eventually waits for what others do, generously.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for until := time.Now().Add(20 * time.Second); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("it did not come to %s", what)
		}
	}
}

// options are those of tests: nobody waits longer than needed.
func options(url string) webhook.Options {
	return webhook.Options{
		URL: url, Key: key, Timeout: 5 * time.Second, Pause: time.Millisecond, Poll: 5 * time.Millisecond,
		Logger: slog.New(slog.DiscardHandler),
	}
}

// send begins to send, until stop, which waits.
func send(t *testing.T, db *store.DB, o webhook.Options) (stop func()) {
	t.Helper()
	sender, err := webhook.New(t.Context(), db, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		sender.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

// deliveries are what the operator sees, newest first.
func (w *world) deliveries(t *testing.T, status string) []store.Delivery {
	t.Helper()
	found, _, err := w.tenants.Deliveries(t.Context(), status, "", service.Page{Number: 1, Size: 250})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// settled waits until nothing is to be delivered.
func (w *world) settled(t *testing.T) {
	t.Helper()
	eventually(t, "nothing to deliver", func() bool {
		var oldest time.Time
		if err := w.db.View(t.Context(), func(tx *store.Tx) (err error) {
			since, err := tx.WebhookSince()
			if err == nil {
				oldest, err = tx.WebhookOldest(since)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return oldest.IsZero()
	})
}

// numbers are from first to last.
func numbers(first, last int64) (all []int64) {
	for n := first; n <= last; n++ {
		all = append(all, n)
	}
	return all
}
