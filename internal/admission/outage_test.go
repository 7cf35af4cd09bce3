package admission_test

import (
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/admission"
	"github.com/tenantry/tenantry/internal/pgtest"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// TestOutage: while the database is away each kind is decided as its policy says;
// calls go on within what this node knows of the limit, and take their channels
// when the database is back.
func TestOutage(t *testing.T) {
	t.Parallel()
	for name, break1 := range map[string]struct{ away, back func(*pgtest.Server) }{
		"killed": {(*pgtest.Server).Kill, (*pgtest.Server).Start},
		"frozen": {(*pgtest.Server).Freeze, (*pgtest.Server).Thaw},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := pgtest.Start(t, pgtest.Options{})
			clock := newClock()
			db, err := store.Open(t.Context(), server.URL("postgres"), store.Options{
				Source: tenant.NewSource(clock.Now, nil), Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			w := newWorld(t, db, clock, admission.Options{
				Failure: map[string]admission.Policy{admission.Message: admission.Open},
				Wait:    200 * time.Millisecond, AcquireWait: 300 * time.Millisecond,
			})
			a, stopped, cold := w.child(t, 3), w.child(t, 3), w.child(t, 3)
			w.disable(t, stopped.ID)
			w.acquire(t, a.ID, "before")
			w.decide(t, admission.Request{Kind: admission.Call, AccountID: stopped.ID})

			break1.away(server)
			for db.Trusted() {
				time.Sleep(10 * time.Millisecond)
			}
			asked := time.Now()
			for range 20 {
				w.decide(t, admission.Request{Kind: admission.Call, AccountID: a.ID})
			}
			if took := time.Since(asked); took > 9*time.Second { // half a second each, and more
				t.Errorf("20 decisions took %s: each waits for the database", took)
			}
			ask := func(kind, id string) *admission.Decision {
				return w.decide(t, admission.Request{Kind: kind, AccountID: id})
			}
			for _, x := range []struct {
				what string
				d    *admission.Decision
				want admission.Reason
			}{
				{"last-known, known", ask(admission.Call, a.ID), admission.Allowed},
				{"last-known, known to be disabled", ask(admission.Call, stopped.ID), admission.AccountDisabled},
				{"last-known, not known", ask(admission.Call, cold.ID), admission.Unreachable},
				{"closed", ask(admission.API, a.ID), admission.Unreachable},
				{"closed", ask(admission.Login, stopped.ID), admission.Unreachable},
				{"open, known", ask(admission.Message, a.ID), admission.Allowed},
				{"open, known to be disabled", ask(admission.Message, stopped.ID), admission.AccountDisabled},
				{"open, not known", ask(admission.Message, cold.ID), admission.Allowed},
			} {
				if x.d.Reason != x.want || !x.d.Degraded {
					t.Errorf("%s: %+v, not %s", x.what, x.d, x.want)
				}
			}
			for i, want := range []admission.Reason{admission.Allowed, admission.Allowed, admission.ChannelLimit} {
				if d := w.acquire(t, a.ID, fmt.Sprintf("during-%d", i)); d.Reason != want || !d.Degraded || d.Lease != nil {
					t.Errorf("call %d in the outage: %+v, not %s", i, d, want)
				}
			}
			if d := w.acquire(t, a.ID, "during-0"); !d.Allowed() {
				t.Errorf("the first of them again: %+v", d)
			}
			if _, err := w.Release(w.ctx, "during-0"); !tenant.IsKind(err, tenant.Unavailable) {
				t.Errorf("a release in the outage: %v", err)
			}

			break1.back(server)
			for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
				if d := w.acquire(t, a.ID, "after"); !d.Degraded {
					break
				}
				if time.Since(began) > 20*time.Second {
					t.Fatal("the database is back and not asked")
				}
			}
			leases, _, err := w.Leases(w.ctx, admission.LeaseFilter{AccountID: a.ID}, "", 0)
			if err != nil {
				t.Fatal(err)
			}
			var calls []string
			for _, l := range leases {
				calls = append(calls, l.CallID)
			}
			if got := fmt.Sprint(calls); got != "[after before during-1]" {
				t.Errorf("after the outage these hold channels: %s", got)
			}
			if d := w.acquire(t, a.ID, "one more"); d.Reason != admission.ChannelLimit {
				t.Errorf("one too many after the outage: %+v", d)
			}
			if d := ask(admission.API, stopped.ID); d.Reason != admission.AccountDisabled || d.Degraded {
				t.Errorf("after the outage: %+v", d)
			}
		})
	}
}

// TestLastKnownAge: what was known last is not good for ever.
func TestLastKnownAge(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	db, err := store.Open(t.Context(), server.URL("postgres"), store.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for !db.Trusted() { // before that nothing is kept
		time.Sleep(time.Millisecond)
	}
	w := newWorld(t, db, newClock(), admission.Options{MaxAge: 5 * time.Second, Wait: 50 * time.Millisecond})
	a := w.child(t, 1)
	call := admission.Request{Kind: admission.Call, AccountID: a.ID}
	// The notice of its own create may come late and have it forgotten once more.
	for until := time.Now().Add(time.Second); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		w.decide(t, call)
	}
	server.Kill()
	for db.Doubt() == 0 {
		time.Sleep(time.Millisecond)
	}
	if d := w.decide(t, call); !d.Allowed() || !d.Degraded {
		t.Errorf("at first: %+v", d)
	}
	for db.Doubt() < 5*time.Second {
		time.Sleep(10 * time.Millisecond)
	}
	if d := w.decide(t, call); d.Reason != admission.Unreachable {
		t.Errorf("when it is too old: %+v", d)
	}
	if d := w.acquire(t, a.ID, "1"); d.Reason != admission.Unreachable {
		t.Errorf("a call when it is too old: %+v", d)
	}
}

// TestFlood: any number of unknown callers is refused, the same ones without asking
// the database, and callers that are known are let in meanwhile.
func TestFlood(t *testing.T) {
	t.Parallel()
	eachWorld(t, admission.Options{Wait: 10 * time.Second}, func(t *testing.T, w *world) {
		a := w.child(t, 1)
		call := admission.Request{Kind: admission.Call, AccountID: a.ID}
		w.decide(t, call)
		var flood sync.WaitGroup
		for i := range 32 {
			flood.Go(func() {
				for n := range 100 {
					d, err := w.Decide(w.ctx, admission.Request{Kind: admission.Call, SIPUsername: fmt.Sprintf("%d-%d", i, n)})
					if err != nil || d.Reason != admission.UnknownUsername {
						t.Errorf("%+v, %v", d, err)
					}
				}
			})
		}
		for range 100 {
			if d := w.decide(t, call); !d.Allowed() || d.Degraded {
				t.Errorf("meanwhile: %+v", d)
			}
		}
		flood.Wait()
		// They are known to be nobody's by now: nothing is asked, on a database that
		// is closed.
		if err := w.db.Close(); err != nil {
			t.Fatal(err)
		}
		if d := w.decide(t, admission.Request{Kind: admission.Call, SIPUsername: "31-99"}); d.Reason != admission.UnknownUsername {
			t.Errorf("the last one again: %+v", d)
		}
	})
}
