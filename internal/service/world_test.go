package service_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

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
	flag.Set("rapid.steps", "60")
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

func (c *clock) Move(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(by)
}

// fatal is what the helpers need of a test, which may be rapid's.
type fatal interface {
	Helper()
	Fatalf(format string, args ...any)
}

// world is a service over a database, with all that stands beside it.
type world struct {
	ctx    context.Context
	db     *store.DB
	clock  *clock
	sealer *auth.Sealer
	*service.Service
	auth *auth.Authenticator
}

var operator = tenant.Actor{Operator: true, CredentialID: "operator"}

// eachWorld runs a test in a world of its own for each engine.
func eachWorld(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	dbtest.EachAddress(t, func(t *testing.T, address string) { test(t, openWorld(t, address)) })
}

// openWorld is a world over a database that is verified in the end.
func openWorld(t *testing.T, address string) *world {
	t.Helper()
	clock := newClock()
	db := dbtest.Open(t, address, store.Options{Source: tenant.NewSource(clock.Now, nil)})
	w, err := newWorld(t.Context(), db, clock)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func newWorld(ctx context.Context, db *store.DB, clock *clock) (*world, error) {
	sealer, err := auth.NewSealer(make([]byte, auth.MasterKeySize), db.Source())
	if err != nil {
		return nil, err
	}
	return &world{
		ctx: ctx, db: db, clock: clock, sealer: sealer,
		Service: service.New(db, sealer, auth.NewPasswords(0), service.Options{DefaultChannels: 2, PortalURL: "https://portal.example.com", OperatorToken: "token"}),
		auth:    auth.NewAuthenticator(db, sealer, "token"),
	}, nil
}

// root makes a manager with a pool of channels.
func (w *world) root(t fatal, email string, pool int64) service.Account {
	t.Helper()
	var made service.Account
	_, err := w.CreateRootAccount(w.ctx, operator, service.NewAccount{BusinessName: "Root of " + email, Email: &email}, once(),
		func(a *service.Account) ([]byte, error) {
			made = *a
			return nil, nil
		})
	if err != nil {
		t.Fatalf("create a root account: %v", err)
	}
	if _, err := w.ApproveManager(w.ctx, operator, made.ID, &pool); err != nil {
		t.Fatalf("approve it: %v", err)
	}
	return made
}

// actor is who holds a V2 key.
func (w *world) actor(t fatal, key string) tenant.Actor {
	t.Helper()
	actor, err := w.auth.Actor(w.ctx, auth.Credentials{Authorization: "Bearer " + key})
	if err != nil {
		t.Fatalf("authenticate: %v", err)
	}
	return actor
}

// child makes a managed account; edit may be nil.
func (w *world) child(t fatal, actor tenant.Actor, edit func(*service.NewAccount)) service.Account {
	t.Helper()
	in := service.NewAccount{BusinessName: "Child"}
	if edit != nil {
		edit(&in)
	}
	made, err := w.create(actor, in, once())
	if err != nil {
		t.Fatalf("create an account: %v", err)
	}
	return *made
}

// create returns the account as the answer has it, replayed or not: that is, by
// its id alone.
func (w *world) create(actor tenant.Actor, in service.NewAccount, o service.Once) (*service.Account, error) {
	var made *service.Account
	answer, err := patient(func() ([]byte, error) {
		return w.CreateManagedAccount(w.ctx, actor, in, o, func(a *service.Account) ([]byte, error) {
			copied := *a
			made = &copied
			return []byte(a.ID), nil
		})
	})
	if err != nil {
		return nil, err
	}
	if made == nil {
		made = &service.Account{Account: tenant.Account{ID: string(answer)}}
	}
	return made, nil
}

// patient tries again what was not even begun: on a busy machine, a write among
// many may wait too long for its turn.
func patient[T any](try func() (T, error)) (T, error) {
	for {
		if v, err := try(); !errors.Is(err, store.ErrBusy) {
			return v, err
		}
	}
}

// user makes a sub-user and returns it with its key.
func (w *world) user(t fatal, accountID string, in service.NewUser) (service.User, string) {
	t.Helper()
	var made service.User
	var secret string
	_, err := w.CreateUser(w.ctx, operator, accountID, in, once(), func(u *service.User, key string) ([]byte, error) {
		made, secret = *u, key
		return nil, nil
	})
	if err != nil {
		t.Fatalf("create a user: %v", err)
	}
	return made, secret
}

// group makes a group that grants the permissions.
func (w *world) group(t fatal, accountID, name string, permissions ...string) tenant.Group {
	t.Helper()
	var made tenant.Group
	if _, err := w.CreateGroup(w.ctx, operator, accountID, "", name, permissions, once(), func(g *tenant.Group) ([]byte, error) {
		made = *g
		return nil, nil
	}); err != nil {
		t.Fatalf("create a group: %v", err)
	}
	return made
}

// once names a request that is never sent again.
func once() service.Once { return service.Once{Request: "once"} }

// is reports whether err is a refusal of that kind.
func is(err error, kind tenant.Kind) bool { return tenant.IsKind(err, kind) }

// kind is what err refuses: "" for nil, and a text that tells kinds apart.
func kind(err error) string {
	var e *tenant.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return refusal(e.Kind)
	default:
		return "unexpected: " + err.Error()
	}
}

func refusal(k tenant.Kind) string { return fmt.Sprintf("kind %d", k) }

func ptr[T any](v T) *T { return &v }

func ids(accounts []service.Account) []string {
	list := make([]string, len(accounts))
	for i := range accounts {
		list[i] = accounts[i].ID
	}
	return list
}

func sorted(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return list
}
