package store_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

const otherRootID = "00000000-0000-7000-8000-000000000002"

// change applies what a rule says of an account, in a transaction of its own.
func changeAccount(t *testing.T, db *store.DB, accountID string, rule func(tx *store.Tx, a tenant.Account) (tenant.Change, error)) error {
	t.Helper()
	return db.Update(t.Context(), accountID, func(tx *store.Tx) error {
		account, err := tx.Account(accountID)
		if err != nil {
			return err
		}
		change, err := rule(tx, *account)
		if err != nil {
			return err
		}
		return tx.Apply(change)
	})
}

func create(t *testing.T, db *store.DB, accountID string, c tenant.Connection) error {
	t.Helper()
	return changeAccount(t, db, accountID, func(_ *store.Tx, a tenant.Account) (tenant.Change, error) {
		return tenant.NewConnection(tenant.Actor{Operator: true}, a, c)
	})
}

func alter(t *testing.T, db *store.DB, accountID, id string, alter func(*tenant.Connection)) error {
	t.Helper()
	return changeAccount(t, db, accountID, func(tx *store.Tx, a tenant.Account) (tenant.Change, error) {
		c, err := tx.Connection(accountID, id, "id")
		if err != nil {
			return tenant.Change{}, err
		}
		return tenant.AlterConnection(tenant.Actor{Operator: true}, a, *c, alter, tx.Now())
	})
}

func connections(t *testing.T, db *store.DB, accountID string) (list []tenant.Connection) {
	t.Helper()
	if err := db.View(t.Context(), func(tx *store.Tx) (err error) {
		list, err = tx.Connections(accountID)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

// owner is the connection that has an identity, "" for none.
func owner(t *testing.T, db *store.DB, value string) (id string) {
	t.Helper()
	if err := db.View(t.Context(), func(tx *store.Tx) error {
		identity, err := tx.Identity(value)
		if identity != nil {
			id = identity.ConnectionID
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return id
}

func TestConnections(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *store.DB) {
		withRoot(t, db)
		made := tenant.Connection{
			ID: "x", Name: "x", Kind: tenant.KindAddress, Active: true, Hold: "",
			Usernames: []string{"Zoe", "amy"}, Addresses: []string{"2001:DB8::0:1", "192.0.2.1"}, Numbers: []string{"+442", "+441"},
		}
		if err := create(t, db, otherRootID, made); err != nil {
			t.Fatal(err)
		}
		if err := create(t, db, otherRootID, tenant.Connection{ID: "a", Name: "a", Kind: tenant.KindCredentials}); err != nil {
			t.Fatal(err)
		}
		list := connections(t, db, otherRootID)
		if len(list) != 2 || list[0].ID != "a" || list[0].Identities() != nil || list[1].ID != "x" {
			t.Fatalf("connections are %+v", list)
		}
		want := []string{"sip:amy", "sip:zoe", "ip:192.0.2.1", "ip:2001:db8::1", "tel:+441", "tel:+442"}
		if got := list[1].Identities(); !slices.Equal(got, want) {
			t.Errorf("identities are %q, want %q", got, want)
		}
		if err := db.View(t.Context(), func(tx *store.Tx) error {
			one, err := tx.Connection(otherRootID, "x", "id")
			if err == nil && !slices.Equal(one.Identities(), want) {
				t.Errorf("alone it has %q", one.Identities())
			}
			if _, err := tx.Connection(rootID, "x", "id"); !tenant.IsKind(err, tenant.NotFound) {
				t.Errorf("another account's connection: %v", err)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if err := alter(t, db, otherRootID, "x", func(c *tenant.Connection) { c.Usernames, c.Numbers = nil, []string{"+443", "+442"} }); err != nil {
			t.Fatal(err)
		}
		for value, want := range map[string]string{
			"sip:amy": "", "sip:zoe": "", "ip:192.0.2.1": "x", "tel:+441": "", "tel:+442": "x", "tel:+443": "x",
		} {
			if got := owner(t, db, value); got != want {
				t.Errorf("%s is %q's, want %q", value, got, want)
			}
		}
		// A cancelled account frees everything.
		if err := changeAccount(t, db, otherRootID, func(tx *store.Tx, a tenant.Account) (tenant.Change, error) {
			rows, err := tx.ConnectionRows(otherRootID)
			if err != nil {
				return tenant.Change{}, err
			}
			return tenant.Cancel(tenant.Actor{Operator: true}, a, rows, tx.Now())
		}); err != nil {
			t.Fatal(err)
		}
		if list := connections(t, db, otherRootID); len(list) > 0 || owner(t, db, "tel:+442") != "" {
			t.Errorf("a cancelled account has %+v", list)
		}
	})
}

// TestIdentityTaken: what one connection has no other gets, of whatever account, and
// nothing of the refused change stays.
func TestIdentityTaken(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *store.DB) {
		withRoot(t, db) // "c" of rootID has alice and +15550101
		for field, taken := range map[string]tenant.Connection{
			"/usernames": {Usernames: []string{"bob", "ALICE"}, Numbers: []string{"+443"}},
			"/numbers":   {Usernames: []string{"bob"}, Numbers: []string{"+443", "+15550101"}},
			"/name":      {Name: "c", Usernames: []string{"bob"}},
		} {
			account := otherRootID
			if taken.ID, taken.Kind = "new", tenant.KindCredentials; taken.Name == "c" {
				account = rootID
			} else {
				taken.Name = "new"
			}
			err := create(t, db, account, taken)
			var refused *tenant.Error
			if !errors.As(err, &refused) || refused.Kind != tenant.Duplicate || refused.Pointer != field {
				t.Errorf("%s: %v", field, err)
			}
			if owner(t, db, "sip:bob") != "" || owner(t, db, "tel:+443") != "" || len(connections(t, db, otherRootID)) > 0 {
				t.Errorf("%s: something of the refused connection stayed", field)
			}
		}
		if err := create(t, db, otherRootID, tenant.Connection{ID: "new", Name: "c", Kind: tenant.KindCredentials, Usernames: []string{"bob"}}); err != nil {
			t.Fatalf("the name of another account's connection: %v", err)
		}
		err := alter(t, db, otherRootID, "new", func(c *tenant.Connection) { c.Usernames = []string{"alice"} })
		if !tenant.IsKind(err, tenant.Duplicate) || owner(t, db, "sip:bob") != "new" || owner(t, db, "sip:alice") != "c" {
			t.Errorf("taking it later: %v", err)
		}
	})
}

// TestConnectionsAreAnnounced: whoever keeps a connection, or whose an identity is,
// forgets it with the commit that changes it.
func TestConnectionsAreAnnounced(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *store.DB) {
		withRoot(t, db)
		kept := store.NewCache[bool](db, 1000)
		const username, number = "sip:alice", "tel:+15550101"
		for _, step := range []struct {
			name    string
			do      func() error
			forgets []string
		}{
			{"disable", func() error {
				return changeAccount(t, db, rootID, func(tx *store.Tx, a tenant.Account) (tenant.Change, error) {
					rows, err := tx.ConnectionRows(rootID)
					if err != nil {
						return tenant.Change{}, err
					}
					return tenant.Disable(tenant.Actor{Operator: true}, a, rows, "", tx.Now())
				})
			}, []string{"c"}},
			{"enable", func() error {
				return changeAccount(t, db, rootID, func(tx *store.Tx, a tenant.Account) (tenant.Change, error) {
					list, err := tx.Connections(rootID)
					if err != nil {
						return tenant.Change{}, err
					}
					return tenant.Enable(tenant.Actor{Operator: true}, a, list, true, "", tx.Now())
				})
			}, []string{"c"}},
			{"give a number up", func() error {
				return alter(t, db, rootID, "c", func(c *tenant.Connection) { c.Numbers = nil })
			}, []string{"c", number}},
			{"take it", func() error {
				return alter(t, db, rootID, "c", func(c *tenant.Connection) { c.Numbers = []string{"+15550101"} })
			}, []string{"c", number}},
			{"change nothing", func() error {
				return alter(t, db, rootID, "c", func(c *tenant.Connection) { c.Usernames = []string{"Alice"} })
			}, nil},
			{"remove", func() error {
				return changeAccount(t, db, rootID, func(tx *store.Tx, a tenant.Account) (tenant.Change, error) {
					c, err := tx.ConnectionByID("c")
					if err != nil {
						return tenant.Change{}, err
					}
					return tenant.RemoveConnection(tenant.Actor{Operator: true}, *c), nil
				})
			}, []string{"c", number, username}},
		} {
			for _, id := range []string{"c", username, number} {
				kept.Load(id, func() (bool, error) { return true, nil })
			}
			if err := step.do(); err != nil {
				t.Fatalf("%s: %v", step.name, err)
			}
			for _, id := range []string{"c", username, number} {
				_, got := kept.Get(id)
				if forgets := slices.Contains(step.forgets, id); got && forgets {
					t.Errorf("%s: %s is kept", step.name, id)
				} else if !got && !forgets && !db.IsPostgres() { // a node hears its own notices, too
					t.Errorf("%s: %s is forgotten", step.name, id)
				}
			}
		}
	})
}
