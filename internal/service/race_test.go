package service_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// TestChannelRace: whatever 64 callers want at once, the pool is never exceeded,
// not in any snapshot, and the counter is the sum.
func TestChannelRace(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		const pool, accounts, callers = 100, 30, 64
		root := w.root(t, "root@example.com", pool)
		actor := w.actor(t, root.Key)
		var list []string
		var numbers []int64
		for range accounts {
			list = append(list, w.child(t, actor, nil).ID)
		}
		for i := range accounts + 10 {
			numbers = append(numbers, int64(i+1))
		}
		look := func() (allocated, sum int64) {
			if err := w.db.View(context.Background(), func(tx *store.Tx) error {
				manager, err := tx.Manager(root.ID)
				if err != nil {
					return err
				}
				rows, err := tx.AccountsByNumber(root.ID, numbers)
				for _, a := range rows {
					sum += a.ChannelLimit
				}
				allocated = manager.ChannelsAllocated
				return err
			}); err != nil {
				t.Error(err)
			}
			return allocated, sum
		}
		stop := make(chan struct{})
		var observer, work sync.WaitGroup
		observer.Go(func() {
			for n := 0; ; n++ {
				if allocated, sum := look(); allocated != sum || sum > pool {
					t.Errorf("look %d: %d allocated, the limits add up to %d, the pool is %d", n, allocated, sum, pool)
				}
				runtime.Gosched()
				select {
				case <-stop:
					return
				default:
				}
			}
		})
		var given, refused atomic.Int64
		for i := range callers {
			work.Go(func() {
				random := rand.New(rand.NewPCG(1, uint64(i)))
				for range 15 {
					id, limit := list[random.IntN(accounts)], random.Int64N(20)
					account, err := patient(func() (*tenant.Account, error) { return w.SetChannelLimit(w.ctx, actor, id, &limit) })
					switch {
					case err == nil && account.ChannelLimit == limit:
						given.Add(1)
					case is(err, tenant.OutOfRange):
						refused.Add(1)
					default:
						t.Errorf("limit %d: %v", limit, err)
					}
				}
			})
		}
		work.Go(func() {
			// Meanwhile accounts come, and one goes.
			for i := range 10 {
				a := w.child(t, actor, nil)
				if i%2 == 0 {
					w.CancelAccount(w.ctx, operator, a.ID)
				} else {
					w.SetChannelLimit(w.ctx, actor, a.ID, ptr[int64](0))
				}
			}
		})
		work.Wait()
		close(stop)
		observer.Wait()
		if given.Load() < 50 || refused.Load() < 50 {
			t.Errorf("%d given, %d refused: it was no contest", given.Load(), refused.Load())
		}
	})
}

func TestEmailRace(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		root := w.root(t, "root@example.com", 10)
		actor := w.actor(t, root.Key)
		for round := range 3 {
			var won, lost atomic.Int64
			var work sync.WaitGroup
			for i := range 64 {
				work.Go(func() {
					email := fmt.Sprintf("Same%d@example.com", round)
					if i%2 == 0 {
						email = fmt.Sprintf("same%d@EXAMPLE.com", round)
					}
					_, err := w.create(actor, service.NewAccount{BusinessName: "x", Email: &email}, once())
					switch {
					case err == nil:
						won.Add(1)
					case is(err, tenant.Duplicate):
						lost.Add(1)
					default:
						t.Error(err)
					}
				})
			}
			work.Wait()
			if won.Load() != 1 || lost.Load() != 63 {
				t.Errorf("%d won and %d lost", won.Load(), lost.Load())
			}
		}
	})
}

// TestCreateRacesStop: once a manager is known to be stopped, nothing is created
// under it any more, not even by a request that was let in before.
func TestCreateRacesStop(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		for name, stop := range map[string]func(id string) (*service.Account, error){
			"block":  func(id string) (*service.Account, error) { return w.BlockAccount(w.ctx, operator, id) },
			"cancel": func(id string) (*service.Account, error) { return w.CancelAccount(w.ctx, operator, id) },
			"revoke": func(id string) (*service.Account, error) { return w.RevokeManager(w.ctx, operator, id) },
		} {
			root := w.root(t, name+"@example.com", 10)
			actor := w.actor(t, root.Key)
			var work sync.WaitGroup
			var made atomic.Int64
			for range 16 {
				work.Go(func() {
					for {
						_, err := w.create(actor, service.NewAccount{BusinessName: "x"}, once())
						if err == nil {
							made.Add(1)
							continue
						}
						if !is(err, tenant.Blocked) && !is(err, tenant.Unauthenticated) && !is(err, tenant.Forbidden) {
							t.Error(err)
						}
						return
					}
				})
			}
			for made.Load() < 50 {
				w.AnyAccount(w.ctx, root.ID)
			}
			if _, err := stop(root.ID); err != nil {
				t.Fatal(err)
			}
			got, err := w.AnyAccount(w.ctx, root.ID)
			if err != nil {
				t.Fatal(err)
			}
			counted := got.Manager.Accounts
			if actor.Manager { // as it was when they were let in
				if _, err := w.create(actor, service.NewAccount{BusinessName: "x"}, once()); err == nil {
					t.Errorf("%s: an account was created after it was confirmed", name)
					// Let the others end.
					if _, err := w.RevokeManager(w.ctx, operator, root.ID); err != nil {
						t.Fatal(err)
					}
				}
			}
			work.Wait()
			if got, err = w.AnyAccount(w.ctx, root.ID); err != nil || got.Manager.Accounts != counted {
				t.Errorf("%s: %d accounts when it was confirmed, %d in the end, %v", name, counted, got.Manager.Accounts, err)
			}
		}
	})
}

// TestDisableRace: after DisableAccount returned, no key of the account opens
// anything, however warm the caches are; after EnableAccount returned, each does.
func TestDisableRace(t *testing.T) {
	dbtest.InTurn(t, func(t *testing.T, address func(testing.TB) string) {
		w, rounds := openWorld(t, address(t)), 500
		if testing.Short() || strings.HasSuffix(t.Name(), "postgres") {
			rounds = 100 // the readers leave PostgreSQL's own processes little time
		}
		root := w.root(t, "root@example.com", 10)
		manager := w.actor(t, root.Key)
		child := w.child(t, manager, nil)
		user, key := w.user(t, child.ID, service.NewUser{Email: "user@example.com"})
		credentials := []auth.Credentials{
			{Authorization: "Bearer " + child.Key}, {Authorization: "Token " + child.Token},
			{User: child.Email, Token: child.Token}, {Authorization: "Bearer " + key},
		}
		// A round has one disabling. stopped is set after it returned, ending before
		// the enabling begins.
		type round struct{ stopped, ending atomic.Bool }
		var current atomic.Pointer[round]
		current.Store(&round{})
		stop := make(chan struct{})
		var readers sync.WaitGroup
		var admitted, refused atomic.Int64
		for i := range 3 {
			readers.Go(func() {
				for n := i; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					runtime.Gosched()
					r := current.Load()
					stopped := r.stopped.Load()
					_, err := w.auth.Actor(w.ctx, credentials[n%len(credentials)])
					switch {
					case err == nil:
						admitted.Add(1)
						if stopped && !r.ending.Load() {
							t.Errorf("credentials %d were let in after the account was stopped", n%len(credentials))
							return
						}
					case is(err, tenant.Inactive) || is(err, tenant.Blocked) || is(err, tenant.Unauthenticated):
						refused.Add(1)
					default:
						t.Error(err)
						return
					}
				}
			})
		}
		for n := range rounds {
			var err error
			enable := func(ctx context.Context, actor tenant.Actor, id string) (*service.Account, error) {
				return w.EnableAccount(ctx, actor, id, false, "")
			}
			disable := func(ctx context.Context, actor tenant.Actor, id string) (*service.Account, error) {
				return w.DisableAccount(ctx, actor, id, "")
			}
			stopping, starting := disable, enable
			actor, id := manager, child.ID
			switch n % 3 {
			case 1:
				stopping, starting, actor = w.BlockAccount, w.UnblockAccount, operator
			case 2: // the manager's own key is not looked at
				stopping, starting, actor, id = w.BlockAccount, w.UnblockAccount, operator, root.ID
			}
			if _, err = stopping(w.ctx, actor, id); err != nil {
				t.Fatal(err)
			}
			r := current.Load()
			r.stopped.Store(true)
			for i, c := range credentials {
				if _, err := w.auth.Actor(w.ctx, c); err == nil {
					t.Fatalf("round %d: credentials %d were let in after the account was stopped", n, i)
				}
			}
			r.ending.Store(true)
			if _, err = starting(w.ctx, actor, id); err != nil {
				t.Fatal(err)
			}
			current.Store(&round{})
			for i, c := range credentials {
				if _, err := w.auth.Actor(w.ctx, c); err != nil {
					t.Fatalf("round %d: credentials %d are refused after the account was started again: %v", n, i, err)
				}
			}
		}
		close(stop)
		readers.Wait()
		t.Logf("%d admitted, %d refused", admitted.Load(), refused.Load())

		// A removed user's key is forgotten too.
		owner := w.actor(t, child.Key)
		if _, err := w.RemoveUser(w.ctx, owner, user.ID, once(), func(*service.User) ([]byte, error) { return nil, nil }); err != nil {
			t.Fatal(err)
		}
		if _, err := w.auth.Actor(w.ctx, credentials[3]); !is(err, tenant.Unauthenticated) {
			t.Errorf("the key of a removed user: %v", err)
		}
	})
}
