package admission_test

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tenantry/tenantry/internal/admission"
	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// eachPair runs a test on two nodes: two of PostgreSQL, or one and the same of SQLite.
func eachPair(t *testing.T, test func(t *testing.T, here, there *world)) {
	t.Helper()
	dbtest.EachAddress(t, func(t *testing.T, address string) {
		clock := newClock()
		db, err := store.Open(t.Context(), address, store.Options{Source: tenant.NewSource(clock.Now, nil)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		here := newWorld(t, db, clock, admission.Options{AcquireWait: time.Minute})
		there := here
		if t.Name()[len(t.Name())-len("postgres"):] == "postgres" {
			there = here.other(t, address, admission.Options{AcquireWait: time.Minute})
		}
		test(t, here, there)
	})
}

// TestLease: a call takes channels once, gives them back once, and frees itself.
func TestLease(t *testing.T) {
	t.Parallel()
	o := admission.Options{LeaseLife: time.Hour, Grace: time.Minute}
	eachWorld(t, o, func(t *testing.T, w *world) {
		a := w.child(t, 3)
		release := func(call string, want int64) {
			t.Helper()
			if n, err := w.Release(w.ctx, call); err != nil || n != want {
				t.Fatalf("release of %s: %d, %v; not %d", call, n, err, want)
			}
		}
		use := func(want int64) {
			t.Helper()
			if n := w.inUse(t, a.ID); n != want {
				t.Fatalf("%d channels in use, not %d", n, want)
			}
		}
		d := w.acquire(t, a.ID, "1")
		if d.Lease == nil || d.Limit != 3 || d.InUse != 1 || !d.Lease.ExpiresAt.Equal(w.clock.Now().Add(time.Hour)) {
			t.Fatalf("the first call: %+v", d)
		}
		if again := w.acquire(t, a.ID, "1"); again.Lease == nil || again.Lease.ID != d.Lease.ID || again.InUse != 1 {
			t.Fatalf("the same call again: %+v", again)
		}
		two := w.decide(t, admission.Request{Kind: admission.Call, AccountID: a.ID, CallID: "2", Units: 2, Acquire: true})
		if !two.Allowed() || two.InUse != 3 {
			t.Fatalf("a call of two channels: %+v", two)
		}
		if d := w.acquire(t, a.ID, "3"); d.Reason != admission.ChannelLimit || d.Lease != nil || d.InUse != 3 {
			t.Fatalf("one too many: %+v", d)
		}
		// Inbound calls hold a lease, and no outbound channel.
		if d := w.decide(t, admission.Request{Kind: admission.Call, Direction: admission.Inbound, AccountID: a.ID, CallID: "in", Acquire: true}); d.Lease == nil {
			t.Fatalf("inbound: %+v", d)
		}
		use(3)
		release("2", 1)
		release("2", 0)
		release("never", 0)
		release("in", 1)
		use(1)

		// Lowering leaves what runs alone and refuses what is new.
		w.acquire(t, a.ID, "4")
		w.setLimit(t, a.ID, 1)
		use(2)
		if d := w.acquire(t, a.ID, "5"); d.Reason != admission.ChannelLimit {
			t.Fatalf("above a lowered limit: %+v", d)
		}
		release("4", 1)
		if d := w.acquire(t, a.ID, "5"); d.Reason != admission.ChannelLimit {
			t.Fatalf("at a lowered limit: %+v", d)
		}
		// So does disabling.
		w.disable(t, a.ID)
		use(1)
		w.enable(t, a.ID)

		// The switch names what lives; the rest ends after the grace.
		w.setLimit(t, a.ID, 2)
		w.acquire(t, a.ID, "5")
		w.clock.move(50 * time.Minute)
		if done, err := w.Reconcile(w.ctx, "s", []string{"1", "unheard of"}); err != nil || done != (admission.Reconciled{Live: 1, Ending: 1}) {
			t.Fatalf("reconcile: %+v, %v", done, err)
		}
		w.clock.move(30 * time.Second)
		use(2)
		// It was only slow: the next list has it.
		if done, err := w.Reconcile(w.ctx, "s", []string{"1", "5"}); err != nil || done != (admission.Reconciled{Live: 2}) {
			t.Fatalf("reconcile: %+v, %v", done, err)
		}
		w.clock.move(10 * time.Minute)
		use(2)
		for range 3 { // naming it never again does not prolong it
			if _, err := w.Reconcile(w.ctx, "s", []string{"1"}); err != nil {
				t.Fatal(err)
			}
			w.clock.move(25 * time.Second)
		}
		use(1)
		// What has ended does not come back.
		if done, err := w.Reconcile(w.ctx, "s", []string{"1", "5"}); err != nil || done != (admission.Reconciled{Live: 1}) {
			t.Fatalf("reconcile: %+v, %v", done, err)
		}
		use(1)
		if _, err := w.Reconcile(w.ctx, "another", nil); err != nil {
			t.Fatal(err)
		}
		// Nobody ever releases it.
		w.clock.move(45 * time.Minute) // three quarters of its life after it was named
		use(1)
		w.clock.move(15 * time.Minute)
		use(0)
		release("1", 0)
		if d := w.acquire(t, a.ID, "1"); d.Lease == nil || d.Lease.ID == two.Lease.ID || d.InUse != 1 {
			t.Fatalf("the same name for a new call: %+v", d)
		}
	})
}

// TestLeasesSurvive: what calls hold is there after a restart.
func TestLeasesSurvive(t *testing.T) {
	t.Parallel()
	dbtest.EachAddress(t, func(t *testing.T, address string) {
		clock := newClock()
		open := func() *store.DB {
			db, err := store.Open(t.Context(), address, store.Options{Source: tenant.NewSource(clock.Now, nil)})
			if err != nil {
				t.Fatal(err)
			}
			return db
		}
		db := open()
		w := newWorld(t, db, clock, admission.Options{})
		a := w.child(t, 1)
		w.acquire(t, a.ID, "1")
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		db = open()
		defer db.Close()
		after := node(t, db, clock, admission.Options{})
		if d := after.acquire(t, a.ID, "2"); d.Reason != admission.ChannelLimit || d.InUse != 1 {
			t.Errorf("a second call after the restart: %+v", d)
		}
		if d := after.acquire(t, a.ID, "1"); !d.Allowed() {
			t.Errorf("the first call after the restart: %+v", d)
		}
	})
}

// modelLease is a lease as the model has it.
type modelLease struct {
	call, name string
	outbound   bool
	units      int64
	until      time.Time
}

// TestLeaseModel: random sequences of everything that touches leases come out as a
// model has it; the limit holds at each step for whatever was let in under it.
func TestLeaseModel(t *testing.T) {
	t.Parallel()
	const life, grace = time.Hour, time.Minute
	eachWorld(t, admission.Options{LeaseLife: life, Grace: grace, AcquireWait: time.Minute}, func(t *testing.T, w *world) {
		run := 0
		rapid.Check(t, func(t *rapid.T) {
			run++
			type account struct {
				service.Account
				limit    int64
				disabled bool
				leases   []modelLease
			}
			accounts := make([]*account, 2)
			for i := range accounts {
				accounts[i] = &account{Account: w.child(t, 3), limit: 3}
			}
			live := func(a *account) {
				a.leases = slices.DeleteFunc(a.leases, func(l modelLease) bool { return !l.until.After(w.clock.Now()) })
			}
			used := func(a *account) (n int64) {
				live(a)
				for _, l := range a.leases {
					if l.outbound {
						n += l.units
					}
				}
				return n
			}
			pick := func(t *rapid.T) *account { return accounts[rapid.IntRange(0, 1).Draw(t, "account")] }
			callID := func(t *rapid.T) string {
				return fmt.Sprintf("%d-%d", run, rapid.IntRange(0, 7).Draw(t, "call"))
			}
			switchName := func(t *rapid.T) string { return fmt.Sprintf("%d-%d", run, rapid.IntRange(0, 1).Draw(t, "switch")) }
			t.Repeat(map[string]func(*rapid.T){
				"acquire": func(t *rapid.T) {
					a, l := pick(t), modelLease{call: callID(t), name: switchName(t), until: w.clock.Now().Add(life)}
					l.outbound, l.units = rapid.IntRange(0, 4).Draw(t, "direction") > 0, rapid.Int64Range(1, 2).Draw(t, "units")
					direction := admission.Inbound
					if l.outbound {
						direction = admission.Outbound
					}
					d := w.decide(t, admission.Request{
						Kind: admission.Call, AccountID: a.ID, CallID: l.call, Switch: l.name, Direction: direction, Units: l.units, Acquire: true,
					})
					live(a)
					held := slices.IndexFunc(a.leases, func(h modelLease) bool { return h.call == l.call })
					want := admission.Allowed
					switch {
					case a.disabled:
						want = admission.AccountDisabled
					case l.outbound && l.units > a.limit:
						want = admission.ChannelLimit
					case held >= 0:
						a.leases[held].until, a.leases[held].name = l.until, l.name
					case l.outbound && used(a)+l.units > a.limit:
						want = admission.ChannelLimit
					default:
						a.leases = append(a.leases, l)
					}
					if d.Reason != want || d.Allowed() != (d.Lease != nil) {
						t.Fatalf("acquire %+v is %+v, not %s", l, d, want)
					}
				},
				"release": func(t *rapid.T) {
					call, want := callID(t), int64(0)
					for _, a := range accounts {
						live(a)
						before := len(a.leases)
						a.leases = slices.DeleteFunc(a.leases, func(l modelLease) bool { return l.call == call })
						want += int64(before - len(a.leases))
					}
					if n, err := w.Release(w.ctx, call); err != nil || n != want {
						t.Fatalf("release ended %d, %v; not %d", n, err, want)
					}
				},
				"reconcile": func(t *rapid.T) {
					name := switchName(t)
					var named []string
					for i := range 8 {
						if rapid.Bool().Draw(t, "named") {
							named = append(named, fmt.Sprintf("%d-%d", run, i))
						}
					}
					var want admission.Reconciled
					for _, a := range accounts {
						live(a)
						for i := range a.leases {
							switch l := &a.leases[i]; {
							case l.name != name:
							case slices.Contains(named, l.call):
								want.Live++
								if l.until.Sub(w.clock.Now()) < life/4*3 {
									l.until = w.clock.Now().Add(life)
								}
							default:
								want.Ending++
								if ends := w.clock.Now().Add(grace); ends.Before(l.until) {
									l.until = ends
								}
							}
						}
					}
					if done, err := w.Reconcile(w.ctx, name, named); err != nil || done != want {
						t.Fatalf("reconcile: %+v, %v; not %+v", done, err, want)
					}
				},
				"wait": func(t *rapid.T) {
					w.clock.move(rapid.SampledFrom([]time.Duration{time.Second, grace / 2, grace, life / 3, life}).Draw(t, "time"))
				},
				"limit": func(t *rapid.T) {
					a := pick(t)
					a.limit = rapid.Int64Range(0, 5).Draw(t, "limit")
					w.setLimit(t, a.ID, a.limit)
				},
				"disable": func(t *rapid.T) {
					a := pick(t)
					a.disabled = true
					w.disable(t, a.ID)
				},
				"enable": func(t *rapid.T) {
					a := pick(t)
					a.disabled = false
					w.enable(t, a.ID)
				},
				"prune": func(t *rapid.T) {
					if err := w.db.Update(w.ctx, "prune", func(tx *store.Tx) error {
						_, err := tx.Prune(tx.Now().Add(-store.KeepEvents), 500)
						return err
					}); err != nil {
						t.Fatal(err)
					}
				},
				"": func(t *rapid.T) {
					for _, a := range accounts {
						if got, want := w.inUse(t, a.ID), used(a); got != want || got < 0 {
							t.Fatalf("%d channels in use, not %d", got, want)
						}
						leases, _, err := w.Leases(w.ctx, admission.LeaseFilter{AccountID: a.ID}, "", 0)
						if err != nil || len(leases) != len(a.leases) {
							t.Fatalf("%d leases, %v; not %d", len(leases), err, len(a.leases))
						}
					}
				},
			})
		})
	})
}

// TestLimitAtEachInstant: two nodes take and give channels of one account as fast
// as they can, calls expire and are pruned and reconciled meanwhile; no snapshot
// shows more than the limit, and none less than nothing.
func TestLimitAtEachInstant(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, here, there *world) {
		const limit = 5
		a := here.child(t, limit)
		stop := make(chan struct{})
		var work, observer sync.WaitGroup
		var taken, refused atomic.Int64
		observer.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				// A look lasts a moment, in which the clock of this test may leap.
				began := here.clock.Now()
				if n := here.inUse(t, a.ID); n < 0 || n > limit && here.clock.Now().Equal(began) {
					t.Errorf("%d channels in use", n)
				}
			}
		})
		rounds := 60
		if testing.Short() {
			rounds = 20
		}
		for i := range 8 {
			w := []*world{here, there}[i%2]
			work.Go(func() {
				for n := range rounds {
					call := fmt.Sprintf("%d-%d", i, n)
					switch d := w.acquire(t, a.ID, call); {
					case d.Degraded:
						t.Errorf("degraded: %+v", d)
					case d.Allowed():
						taken.Add(1)
					case d.Reason == admission.ChannelLimit:
						refused.Add(1)
					default:
						t.Errorf("%+v", d)
					}
					switch n % 5 {
					case 0: // forgotten
					case 1:
						if _, err := w.Reconcile(w.ctx, "s", []string{call}); err != nil {
							t.Error(err)
						}
						w.clock.move(30 * time.Second)
					case 2:
						if err := w.db.Update(w.ctx, "prune", func(tx *store.Tx) error {
							_, err := tx.Prune(tx.Now().Add(-store.KeepEvents), 500)
							return err
						}); err != nil {
							t.Error(err)
						}
					default:
						if _, err := w.Release(w.ctx, call); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		work.Wait()
		close(stop)
		observer.Wait()
		if taken.Load() < 20 || refused.Load() < 5 {
			t.Errorf("%d taken, %d refused: it was no contest", taken.Load(), refused.Load())
		}
	})
}
