package carrier

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

var discard = slog.New(slog.DiscardHandler)

// clock is a time that stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(by)
}

// world is an account that sends, under a manager.
type world struct {
	*service.Service
	db             *store.DB
	clock          *clock
	manager, actor tenant.Actor
}

func newWorld(t *testing.T, address string) *world {
	t.Helper()
	w := &world{clock: &clock{now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}}
	w.db = dbtest.Open(t, address, store.Options{Source: tenant.NewSource(w.clock.Now, nil)})
	sealer, err := auth.NewSealer(make([]byte, auth.MasterKeySize), w.db.Source())
	if err != nil {
		t.Fatal(err)
	}
	w.Service = service.New(w.db, sealer, auth.NewPasswords(0), service.Options{})
	operator, pool := tenant.Actor{Operator: true}, int64(10)
	made := func(into *tenant.Actor, manager bool) func(*service.Account) ([]byte, error) {
		return func(a *service.Account) ([]byte, error) {
			*into = tenant.Actor{AccountID: a.ID, UserID: a.ID, ManagerID: a.ManagerID, CredentialID: "key", Manager: manager}
			return nil, nil
		}
	}
	email := "manager@example.com"
	if _, err = w.CreateRootAccount(t.Context(), operator, service.NewAccount{BusinessName: "Manager", Email: &email}, service.Once{}, made(&w.manager, true)); err == nil {
		if _, err = w.ApproveManager(t.Context(), operator, w.manager.AccountID, &pool); err == nil {
			_, err = w.CreateManagedAccount(t.Context(), w.manager, service.NewAccount{BusinessName: "Child"}, service.Once{}, made(&w.actor, false))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// send records a message, and nothing more.
func (w *world) send(t testing.TB, to string, sendAt time.Time) *tenant.Message {
	t.Helper()
	m, fresh, err := w.SendMessage(t.Context(), w.actor, tenant.MessageContent{To: to, From: "+18005550101", Text: "Hello"}, sendAt, service.Once{Request: "send"})
	if err != nil || !fresh {
		t.Fatal(fresh, err)
	}
	return m
}

// now is how far a message has come.
func (w *world) now(t testing.TB, m *tenant.Message) *tenant.Message {
	t.Helper()
	found, err := w.Message(t.Context(), w.actor, m.ID)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func due(t testing.TB, d *Dispatcher, want int) {
	t.Helper()
	if n, err := d.Due(t.Context()); n != want || err != nil {
		t.Fatalf("%d messages were due, want %d: %v", n, want, err)
	}
}

const good = "+18445550001"

// TestSandbox follows a message to each number to its end.
func TestSandbox(t *testing.T) {
	dbtest.EachAddress(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		d := NewDispatcher(w.db, Sandbox{}, discard)
		for _, test := range []struct {
			to      string
			steps   []tenant.MessageStatus
			failure tenant.MessageFailure
		}{
			{good, []tenant.MessageStatus{"queued", "sent", "delivered"}, ""},
			{ToRefused, []tenant.MessageStatus{"sending_failed"}, tenant.FailureRejected},
			{ToUndeliverable, []tenant.MessageStatus{"queued", "sent", "delivery_failed"}, tenant.FailureUndeliverable},
			{ToUnconfirmed, []tenant.MessageStatus{"delivery_unconfirmed"}, tenant.FailureNoAnswer},
		} {
			m := w.send(t, test.to, time.Time{})
			d.HandOver(t.Context(), m)
			for i, want := range test.steps {
				if i > 0 {
					due(t, d, 0)
					w.clock.move(moment)
					due(t, d, 1)
				}
				last := i == len(test.steps)-1
				got := w.now(t, m)
				if got.Status != want || got.CompletedAt.IsZero() == last || got.DueAt.IsZero() != last || last && got.Failure != test.failure {
					t.Errorf("%s, step %d: %+v", test.to, i, got)
				}
				if got.SentAt.IsZero() != (i == 0) {
					t.Errorf("%s is %s and was sent at %s", test.to, want, got.SentAt)
				}
			}
			w.clock.move(24 * time.Hour)
			due(t, d, 0)
		}
	})
}

// TestUnreachable: a message waits for its carrier while it is valid, longer each time.
func TestUnreachable(t *testing.T) {
	dbtest.EachAddress(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		d := NewDispatcher(w.db, Sandbox{}, discard)
		m := w.send(t, ToUnreachable, time.Time{})
		d.HandOver(t.Context(), m)
		tries, pause := 1, time.Duration(0)
		for got := w.now(t, m); got.Status == tenant.MessageQueued; got = w.now(t, m) {
			next := got.DueAt.Sub(w.clock.Now())
			if next < pause || next > 5*time.Minute || tries > 30 {
				t.Fatalf("after %d tries it waits %s, after %s", tries, next, pause)
			}
			pause = next
			w.clock.move(next)
			due(t, d, 1)
			tries++
		}
		got := w.now(t, m)
		if got.Status != tenant.MessageExpired || got.Failure != tenant.FailureExpired || tries < 10 || w.clock.Now().After(m.ValidUntil) || w.clock.Now().Before(m.ValidUntil.Add(-10*time.Minute)) {
			t.Errorf("after %d tries at %s: %+v", tries, w.clock.Now(), got)
		}
	})
}

// counting counts how often each message is handed over, and takes its time.
type counting struct {
	mu    sync.Mutex
	times map[string]int
	hold  chan struct{} // closed when it may answer; nil for at once
}

func (c *counting) HandOver(_ context.Context, m *tenant.Message) Outcome {
	c.mu.Lock()
	if c.times == nil {
		c.times = map[string]int{}
	}
	c.times[m.ID]++
	c.mu.Unlock()
	if c.hold != nil {
		<-c.hold
	}
	return Outcome{Status: tenant.MessageSent}
}

// TestCrash: what was recorded and not handed over is handed over by others, but not
// before whoever recorded it had time to.
func TestCrash(t *testing.T) {
	dbtest.EachAddress(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		var c counting
		d := NewDispatcher(w.db, &c, discard)
		m := w.send(t, good, time.Time{})
		due(t, d, 0)
		w.clock.move(tenant.HandOverTime - time.Microsecond)
		due(t, d, 0)
		w.clock.move(time.Microsecond)
		due(t, d, 1)
		if got := w.now(t, m); got.Status != tenant.MessageSent || got.Attempts != 2 || c.times[m.ID] != 1 {
			t.Errorf("%+v, handed over %v", got, c.times)
		}
		// Whoever was thought dead comes back: what it knows does not count any more.
		d.settle(t.Context(), m, Outcome{Status: tenant.MessageRefused, Failure: tenant.FailureRejected})
		if got := w.now(t, m); got.Status != tenant.MessageSent || got.Failure != "" {
			t.Errorf("%+v", got)
		}
	})
}

// TestTogether: several nodes, or workers of one, hand over each message once.
func TestTogether(t *testing.T) {
	dbtest.EachAddress(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		const messages = 200
		for range messages {
			w.send(t, good, w.clock.Now().Add(time.Minute))
		}
		w.clock.move(time.Minute)
		var c counting
		nodes := []*store.DB{w.db, w.db}
		if strings.HasPrefix(address, "postgres") {
			nodes[1] = dbtest.Open(t, address, store.Options{Source: tenant.NewSource(w.clock.Now, nil)})
		}
		var all sync.WaitGroup
		var mu sync.Mutex
		total := 0
		for _, db := range append(nodes, nodes...) {
			d := NewDispatcher(db, &c, discard)
			all.Go(func() {
				for {
					n, err := d.Due(t.Context())
					mu.Lock()
					total += n
					mu.Unlock()
					if n == 0 || err != nil {
						if err != nil {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		all.Wait()
		for id, n := range c.times {
			if n != 1 {
				t.Errorf("%s is handed over %d times", id, n)
			}
		}
		if len(c.times) != messages || total != messages {
			t.Errorf("%d messages are handed over, %d were taken", len(c.times), total)
		}
	})
}

// TestStopped: what waits when its account is stopped, or its manager's is, is not sent.
func TestStopped(t *testing.T) {
	operator := tenant.Actor{Operator: true}
	for name, stop := range map[string]func(w *world, ctx context.Context) error{
		"disabled": func(w *world, ctx context.Context) error {
			_, err := w.DisableAccount(ctx, w.manager, w.actor.AccountID, "")
			return err
		},
		"blocked": func(w *world, ctx context.Context) error {
			_, err := w.BlockAccount(ctx, operator, w.actor.AccountID)
			return err
		},
		"cancelled": func(w *world, ctx context.Context) error {
			_, err := w.CancelAccount(ctx, operator, w.actor.AccountID)
			return err
		},
		"manager, blocked": func(w *world, ctx context.Context) error {
			_, err := w.BlockAccount(ctx, operator, w.manager.AccountID)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			dbtest.EachAddress(t, func(t *testing.T, address string) {
				w := newWorld(t, address)
				var c counting
				d := NewDispatcher(w.db, &c, discard)
				m := w.send(t, good, w.clock.Now().Add(time.Hour))
				d.HandOver(t.Context(), m)
				if err := stop(w, t.Context()); err != nil {
					t.Fatal(err)
				}
				w.clock.move(time.Hour)
				due(t, d, 1)
				if got := w.now(t, m); got.Status != tenant.MessageRefused || got.Failure != tenant.FailureStopped || len(c.times) > 0 {
					t.Errorf("%+v, handed over %v", got, c.times)
				}
				// And nothing new is recorded, whoever has let it in.
				_, _, err := w.SendMessage(t.Context(), w.actor, m.MessageContent, time.Time{}, service.Once{Request: "new"})
				if err == nil {
					t.Error("a new message is recorded")
				}
			})
		})
	}
}

// TestLater: a message is handed over when it was ordered for, and not before.
func TestLater(t *testing.T) {
	dbtest.EachAddress(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		var c counting
		d := NewDispatcher(w.db, &c, discard)
		m := w.send(t, good, w.clock.Now().Add(tenant.MaxSchedule))
		d.HandOver(t.Context(), m)
		w.clock.move(tenant.MaxSchedule - time.Microsecond)
		due(t, d, 0)
		w.clock.move(time.Microsecond)
		due(t, d, 1)
		if got := w.now(t, m); got.Status != tenant.MessageSent || c.times[m.ID] != 1 {
			t.Errorf("%+v, handed over %v", got, c.times)
		}
		// It is remembered for as long as others, from then on.
		prune := func() error {
			return w.db.Update(t.Context(), "", func(tx *store.Tx) error {
				_, err := tx.Prune(tx.Now().Add(-store.KeepEvents), 500)
				return err
			})
		}
		w.clock.move(71 * time.Hour)
		if err := prune(); err != nil {
			t.Fatal(err)
		}
		w.now(t, m)
		w.clock.move(2 * time.Hour)
		if err := prune(); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Message(t.Context(), w.actor, m.ID); !tenant.IsKind(err, tenant.NotFound) {
			t.Errorf("after three days: %v", err)
		}
	})
}

// TestCrowded: when too many are being handed over, a message waits for its turn.
func TestCrowded(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t))
	c := counting{hold: make(chan struct{})}
	d := NewDispatcher(w.db, &c, discard)
	d.busy = make(chan struct{}, 2)
	var all sync.WaitGroup
	for range 2 {
		m := w.send(t, good, time.Time{})
		all.Go(func() { d.HandOver(t.Context(), m) })
	}
	for len(d.busy) < 2 {
		time.Sleep(time.Millisecond)
	}
	m := w.send(t, good, time.Time{})
	d.HandOver(t.Context(), m)
	if got := w.now(t, m); got.Status != tenant.MessageQueued || !got.DueAt.Equal(w.clock.Now().Add(crowded)) {
		t.Errorf("%+v", got)
	}
	close(c.hold)
	all.Wait()
	w.clock.move(crowded)
	due(t, d, 1)
	if got := w.now(t, m); got.Status != tenant.MessageSent {
		t.Errorf("%+v", got)
	}
}

// TestRepeats: a request that comes again is recorded once, in whatever state it is.
func TestRepeats(t *testing.T) {
	dbtest.EachAddress(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		d := NewDispatcher(w.db, Sandbox{}, discard)
		content := tenant.MessageContent{To: ToRefused, From: "+18005550101", Text: "Hello"}
		once := service.Once{Request: "POST /v2/messages", Body: []byte("body")}
		first, fresh, err := w.SendMessage(t.Context(), w.actor, content, time.Time{}, once)
		if err != nil || !fresh {
			t.Fatal(fresh, err)
		}
		d.HandOver(t.Context(), first)
		once.Try = 1
		again, fresh, err := w.SendMessage(t.Context(), w.actor, content, time.Time{}, once)
		if err != nil || fresh || again.ID != first.ID || again.Failure != tenant.FailureRejected {
			t.Errorf("%+v %t %v", again, fresh, err)
		}
	})
}

// TestRun: Run looks after what is due, and waits for it when it is to end.
func TestRun(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t))
	c := counting{hold: make(chan struct{})}
	d := NewDispatcher(w.db, &c, discard)
	m := w.send(t, good, w.clock.Now().Add(time.Minute))
	w.clock.move(time.Minute)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		d.Run(ctx)
		close(done)
	}()
	for n := 0; n == 0; time.Sleep(time.Millisecond) {
		c.mu.Lock()
		n = len(c.times)
		c.mu.Unlock()
	}
	stop()
	close(c.hold)
	<-done
	if got := w.now(t, m); got.Status != tenant.MessageSent {
		t.Errorf("%+v", got)
	}
}

func TestBackoff(t *testing.T) {
	var all []string
	for _, n := range []int64{1, 2, 3, 8, 9, 1000} {
		all = append(all, backoff(n).String())
	}
	if got := fmt.Sprint(all); got != "[2s 4s 8s 4m16s 5m0s 5m0s]" {
		t.Error(got)
	}
}
