package admission_test

import (
	"context"
	"flag"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/admission"
	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// TestMain makes the sequences of random tests fewer and longer: a world costs
// more than a step. The command line still has the last word.
func TestMain(m *testing.M) {
	flag.Set("rapid.checks", "40")
	flag.Set("rapid.steps", "80")
	os.Exit(m.Run())
}

// clock is a time that stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// fatal is what tests, benchmarks and rapid's have in common.
type fatal interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// world is a database with an admission service, and what makes tenants in it.
type world struct {
	ctx   context.Context
	db    *store.DB
	clock *clock
	*admission.Service
	tenants *service.Service

	root  service.Account
	actor tenant.Actor // of root
}

var operator = tenant.Actor{Operator: true, CredentialID: "operator"}

// eachWorld runs a test in a world of its own for each engine.
func eachWorld(t *testing.T, o admission.Options, test func(t *testing.T, w *world)) {
	t.Helper()
	dbtest.EachAddress(t, func(t *testing.T, address string) {
		clock := newClock()
		db := dbtest.Open(t, address, store.Options{Source: tenant.NewSource(clock.Now, nil)})
		test(t, newWorld(t, db, clock, o))
	})
}

func newWorld(t *testing.T, db *store.DB, clock *clock, o admission.Options) *world {
	t.Helper()
	w := node(t, db, clock, o)
	email, pool := "root@example.com", int64(1000)
	_, err := w.tenants.CreateRootAccount(w.ctx, operator, service.NewAccount{BusinessName: "Root", Email: &email}, once(),
		func(a *service.Account) ([]byte, error) { w.root = *a; return nil, nil })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.tenants.ApproveManager(w.ctx, operator, w.root.ID, &pool); err != nil {
		t.Fatal(err)
	}
	w.actor = tenant.Actor{AccountID: w.root.ID, UserID: w.root.ID, Manager: true}
	return w
}

// node is a world without anything in it.
func node(t *testing.T, db *store.DB, clock *clock, o admission.Options) *world {
	t.Helper()
	sealer, err := auth.NewSealer(make([]byte, auth.MasterKeySize), db.Source())
	if err != nil {
		t.Fatal(err)
	}
	return &world{
		ctx: t.Context(), db: db, clock: clock, Service: admission.New(db, o),
		tenants: service.New(db, sealer, auth.NewPasswords(0), service.Options{}),
	}
}

// other opens the same database as another node does.
func (w *world) other(t *testing.T, address string, o admission.Options) *world {
	t.Helper()
	db, err := store.Open(w.ctx, address, store.Options{Source: tenant.NewSource(w.clock.Now, nil), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	n := node(t, db, w.clock, o)
	n.root, n.actor = w.root, w.actor
	return n
}

// child makes a managed account with a channel limit.
func (w *world) child(t fatal, limit int64, edit ...func(*service.NewAccount)) service.Account {
	t.Helper()
	var made service.Account
	in := service.NewAccount{BusinessName: "Child", ChannelLimit: &limit}
	for _, f := range edit {
		f(&in)
	}
	_, err := w.tenants.CreateManagedAccount(w.ctx, w.actor, in, once(), func(a *service.Account) ([]byte, error) { made = *a; return nil, nil })
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// connection gives an account a connection that is on.
func (w *world) connection(t fatal, accountID string, in tenant.Connection) tenant.Connection {
	t.Helper()
	var made tenant.Connection
	in.Active = true
	_, err := w.tenants.CreateConnection(w.ctx, operator, accountID, in, once(), func(c *tenant.Connection) ([]byte, error) { made = *c; return nil, nil })
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func (w *world) setLimit(t fatal, id string, limit int64) {
	t.Helper()
	if _, err := w.tenants.SetChannelLimit(w.ctx, w.actor, id, &limit); err != nil {
		t.Fatal(err)
	}
}

func (w *world) disable(t fatal, id string) {
	t.Helper()
	if _, err := w.tenants.DisableAccount(w.ctx, w.actor, id, ""); err != nil {
		t.Fatal(err)
	}
}

func (w *world) enable(t fatal, id string) {
	t.Helper()
	if _, err := w.tenants.EnableAccount(w.ctx, w.actor, id, true, ""); err != nil {
		t.Fatal(err)
	}
}

func (w *world) decide(t fatal, r admission.Request) *admission.Decision {
	t.Helper()
	d, err := w.Decide(w.ctx, r)
	if err != nil {
		t.Fatalf("%+v: %v", r, err)
	}
	return d
}

// acquire takes a channel for a call of an account.
func (w *world) acquire(t fatal, accountID, callID string) *admission.Decision {
	t.Helper()
	return w.decide(t, admission.Request{Kind: admission.Call, AccountID: accountID, CallID: callID, Acquire: true, Switch: "s"})
}

// inUse is how many channels of an account are in use, as managers see it.
func (w *world) inUse(t fatal, id string) int64 {
	t.Helper()
	use, err := w.tenants.ChannelUse(w.ctx, w.actor, id)
	if err != nil {
		t.Fatal(err)
	}
	return use.InUse
}

// once names a request that is never sent again.
func once() service.Once { return service.Once{Request: "once"} }
