package service_test

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// connection makes a connection, as the answer has it.
func (w *world) connection(accountID string, in tenant.Connection, o service.Once) (*tenant.Connection, error) {
	var made *tenant.Connection
	answer, err := w.CreateConnection(w.ctx, operator, accountID, in, o, func(c *tenant.Connection) ([]byte, error) {
		made = c
		return []byte(c.ID), nil
	})
	if err == nil && made == nil {
		made = &tenant.Connection{ID: string(answer)}
	}
	return made, err
}

// on are the names of an account's connections that are on.
func (w *world) on(t fatal, accountID string) []string {
	t.Helper()
	connections, err := w.Connections(w.ctx, accountID)
	if err != nil {
		t.Fatalf("list connections: %v", err)
	}
	names := []string{}
	for _, c := range connections {
		if c.Active {
			names = append(names, c.Name)
		}
	}
	return names
}

// last is the newest entry of an account's audit log, and how many there are.
func (w *world) last(t fatal, accountID string) (store.AuditEntry, int64) {
	t.Helper()
	entries, place, err := w.AuditLogOf(w.ctx, accountID, service.AuditFilter{}, service.Page{Number: 1, Size: 1})
	if err != nil {
		t.Fatalf("audit log: %v", err)
	}
	return entries[0], place.Total
}

// TestReenable: disabling switches connections off, enabling leaves them off, unless
// it is told to switch them on; then those with problems stay off and are named.
func TestReenable(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		root := w.root(t, "root@example.com", 10)
		manager := w.actor(t, root.Key)
		child, other := w.child(t, manager, nil), w.child(t, manager, nil)
		for account, connections := range map[string][]tenant.Connection{
			child.ID: {
				{Name: "good", Kind: tenant.KindCredentials, Usernames: []string{"good"}, Active: true},
				{Name: "held", Kind: tenant.KindAddress, Addresses: []string{"192.0.2.1"}, Hold: "unpaid", Active: true},
				{Name: "empty", Kind: tenant.KindAddress, Usernames: []string{"no-address"}, Active: true},
				{Name: "off", Kind: tenant.KindAddress, Addresses: []string{"192.0.2.2"}},
			},
			other.ID: {{Name: "theirs", Kind: tenant.KindCredentials, Usernames: []string{"theirs"}, Active: true}},
		} {
			for _, c := range connections {
				if _, err := w.connection(account, c, once()); err != nil {
					t.Fatal(err)
				}
			}
		}
		want := func(when string, names ...string) {
			t.Helper()
			if got := w.on(t, child.ID); !slices.Equal(got, names) {
				t.Errorf("%s, %q are on, want %q", when, got, names)
			}
			if got := w.on(t, other.ID); len(got) != 1 {
				t.Errorf("%s, another account's are %q", when, got)
			}
		}
		enable := func(reenable bool) *service.Account {
			t.Helper()
			account, err := w.EnableAccount(w.ctx, manager, child.ID, reenable, "")
			if err != nil {
				t.Fatal(err)
			}
			return account
		}
		disable := func() {
			t.Helper()
			if _, err := w.DisableAccount(w.ctx, manager, child.ID, ""); err != nil {
				t.Fatal(err)
			}
		}
		left := func(a *service.Account) (names []string) {
			for _, l := range a.LeftOff {
				names = append(names, fmt.Sprint(l.Connection.Name, l.Problems))
			}
			return names
		}
		stay := []string{"empty[it has no address]", "held[held by the operator: unpaid]"}

		want("at first", "good")
		disable()
		want("disabled")
		if entry, _ := w.last(t, child.ID); fmt.Sprint(entry.Changes) != "[{disabled false true} {connections.good.active true false}]" {
			t.Errorf("disabling is recorded as %v", entry.Changes)
		}
		if a := enable(false); left(a) != nil {
			t.Errorf("left off without being asked for: %q", left(a))
		}
		want("enabled alone")
		disable()
		if a := enable(true); !slices.Equal(left(a), stay) {
			t.Errorf("left off are %q, want %q", left(a), stay)
		}
		want("enabled with connections", "good", "off")
		entry, entries := w.last(t, child.ID)
		if entry.Event != "managed_account.enabled" || fmt.Sprint(entry.Changes) != "[{disabled true false} {connections.good.active false true} {connections.off.active false true}"+
			" {connections.empty.left_off <nil> it has no address} {connections.held.left_off <nil> held by the operator: unpaid}]" {
			t.Errorf("enabling is recorded as %s %v", entry.Event, entry.Changes)
		}
		// Again there is nothing to do, and they are still named.
		if a := enable(true); !slices.Equal(left(a), stay) {
			t.Errorf("left off the second time are %q", left(a))
		}
		if _, again := w.last(t, child.ID); again != entries {
			t.Errorf("enabling again left %d entries", again-entries)
		}
		// An account that is enabled gets those that are off.
		list, err := w.Connections(w.ctx, child.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range list {
			switch c.Name {
			case "good":
				_, err = w.AlterConnection(w.ctx, operator, child.ID, c.ID, func(c *tenant.Connection) { c.Active = false })
			case "held":
				_, err = w.AlterConnection(w.ctx, operator, child.ID, c.ID, func(c *tenant.Connection) { c.Hold = "" })
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		want("switched off", "off")
		if a := enable(true); !slices.Equal(left(a), stay[:1]) {
			t.Errorf("left off after the hold are %q", left(a))
		}
		want("enabled a third time", "good", "held", "off")
	})
}

// TestConnectionsOfStoppedAccounts: nothing goes on while the account is disabled,
// and a cancelled account has and gets none.
func TestConnectionsOfStoppedAccounts(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		root := w.root(t, "root@example.com", 10)
		manager := w.actor(t, root.Key)
		child := w.child(t, manager, nil)
		if _, err := w.DisableAccount(w.ctx, manager, child.ID, ""); err != nil {
			t.Fatal(err)
		}
		in := tenant.Connection{Name: "x", Kind: tenant.KindCredentials, Usernames: []string{"x"}, Active: true}
		made, err := w.connection(child.ID, in, once())
		if err != nil || made.Active {
			t.Fatalf("made in a disabled account: %+v, %v", made, err)
		}
		on := func(c *tenant.Connection) { c.Active = true }
		if _, err := w.AlterConnection(w.ctx, operator, child.ID, made.ID, on); !is(err, tenant.Conflict) {
			t.Errorf("switched on in a disabled account: %v", err)
		}
		if _, err := w.EnableAccount(w.ctx, manager, child.ID, false, ""); err != nil {
			t.Fatal(err)
		}
		if c, err := w.AlterConnection(w.ctx, operator, child.ID, made.ID, on); err != nil || !c.Active {
			t.Errorf("switched on: %+v, %v", c, err)
		}
		// A block is the account's own: its connections are as they were after it.
		if _, err := w.BlockAccount(w.ctx, operator, child.ID); err != nil {
			t.Fatal(err)
		}
		if got := w.on(t, child.ID); len(got) != 1 {
			t.Errorf("on in a blocked account: %q", got)
		}
		if _, err := w.CancelAccount(w.ctx, operator, child.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Connection(w.ctx, child.ID, made.ID); !is(err, tenant.NotFound) {
			t.Errorf("a cancelled account's connection: %v", err)
		}
		if _, err := w.connection(child.ID, in, once()); !is(err, tenant.Conflict) {
			t.Errorf("made in a cancelled account: %v", err)
		}
		if _, err := w.connection(root.ID, in, once()); err != nil {
			t.Errorf("its username is not free: %v", err)
		}
	})
}

// TestConnectionRepeated: a create that comes again makes nothing, and one that is
// refused is refused for its own reason however often the database runs it.
func TestConnectionRepeated(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		root := w.root(t, "root@example.com", 10)
		o := service.Once{Request: "create", Key: "key"}
		in := tenant.Connection{Name: "x", Kind: tenant.KindCredentials, Usernames: []string{"x"}}
		first, err := w.connection(root.ID, in, o)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := w.connection(root.ID, in, o); err != nil || again.ID != first.ID {
			t.Errorf("again: %+v, %v", again, err)
		}
		taken := tenant.Connection{Name: "y", Kind: tenant.KindCredentials, Usernames: []string{"X"}, Numbers: []string{"+442", "+441", "+441"}}
		if _, err := w.connection(root.ID, taken, once()); !is(err, tenant.Duplicate) {
			t.Errorf("a username that is taken: %v", err)
		}
		if !slices.Equal(taken.Numbers, []string{"+442", "+441", "+441"}) {
			t.Errorf("the caller's list is %q now", taken.Numbers)
		}
	})
}

func TestConnectionsFull(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		root := w.root(t, "root@example.com", 10)
		if err := w.db.Update(w.ctx, root.ID, func(tx *store.Tx) error {
			for i := range tenant.MaxConnections - 5 {
				id := fmt.Sprint("early", i)
				change, err := tenant.NewConnection(operator, root.Account, tenant.Connection{ID: id, Name: id, Kind: tenant.KindAddress})
				if err != nil {
					return err
				}
				if err := tx.Apply(change); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		var work sync.WaitGroup
		var made, refused atomic.Int64
		for i := range 15 {
			work.Go(func() {
				_, err := w.connection(root.ID, tenant.Connection{Name: fmt.Sprint(i), Kind: tenant.KindAddress}, once())
				switch {
				case err == nil:
					made.Add(1)
				case is(err, tenant.Conflict):
					refused.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		work.Wait()
		if made.Load() != 5 || refused.Load() != 10 {
			t.Errorf("%d were made, %d refused", made.Load(), refused.Load())
		}
	})
}

// contest lets connections of two managers' accounts claim the same number at once,
// through whichever of the worlds, and wants one to get it.
func contest(t *testing.T, worlds ...*world) {
	t.Helper()
	w := worlds[0]
	accounts := []string{w.root(t, "one@example.com", 0).ID, w.root(t, "two@example.com", 0).ID}
	for round := range 10 {
		number := fmt.Sprintf("+4400%d", round)
		var won, lost atomic.Int64
		var work sync.WaitGroup
		for i := range 16 {
			work.Go(func() {
				_, err := worlds[i%len(worlds)].connection(accounts[i/2%2], tenant.Connection{
					Name: fmt.Sprint(round, i), Kind: tenant.KindCredentials, Active: true,
					Usernames: []string{fmt.Sprintf("user-%d-%d", round, i)}, Numbers: []string{number},
				}, once())
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
		if won.Load() != 1 || lost.Load() != 15 {
			t.Errorf("%d won and %d lost", won.Load(), lost.Load())
		}
	}
	if all := len(w.on(t, accounts[0])) + len(w.on(t, accounts[1])); all != 10 {
		t.Errorf("%d connections are there, want one a round", all)
	}
}

func TestNumberRace(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) { contest(t, w) })
}

// TestNumberRaceOfNodes: no lane of the one node's keeps the other's away.
func TestNumberRaceOfNodes(t *testing.T) {
	address, clock := dbtest.Postgres(t), newClock()
	var worlds []*world
	for range 2 {
		db, err := store.Open(t.Context(), address, store.Options{Source: tenant.NewSource(clock.Now, nil), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		w, err := newWorld(t.Context(), db, clock)
		if err != nil {
			t.Fatal(err)
		}
		worlds = append(worlds, w)
	}
	contest(t, worlds...)
}
