package store_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"modernc.org/sqlite"

	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// TestLoneFault: a storage fault in the only write of a batch counts like one of
// many: the caller may try again, and nothing more is written. SQLite alone: what
// PostgreSQL's server says of its own storage is its own business.
func TestLoneFault(t *testing.T) {
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "tenantry.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Update(t.Context(), "", func(*store.Tx) error { return damage(t) })
	if !tenant.IsKind(err, tenant.Unavailable) {
		t.Errorf("the write: %v", err)
	}
	if err := db.Update(t.Context(), "", func(*store.Tx) error { return nil }); !tenant.IsKind(err, tenant.Unavailable) {
		t.Errorf("the next one: %v", err)
	}
	if db.Ready(t.Context()) == nil {
		t.Error("it calls itself ready")
	}
}

// damage is what the driver says of a file that is no database.
func damage(t *testing.T) error {
	t.Helper()
	path := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(path, []byte("this is no database, whatever its name may say about it, and long enough to have a header of its own"), 0o600); err != nil {
		t.Fatal(err)
	}
	broken, err := store.Open(context.Background(), path, store.Options{})
	if err == nil {
		broken.Close()
		t.Fatal("it was opened")
	}
	var driver *sqlite.Error
	if !errors.As(err, &driver) {
		t.Fatalf("not the driver's error: %v", err)
	}
	return err
}

// TestAuditAfterClockStep: an entry is found by its time even if the clock was set
// back before it.
func TestAuditAfterClockStep(t *testing.T) {
	dbtest.EachAddress(t, auditAfterClockStep)
}

func auditAfterClockStep(t *testing.T, address string) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	source := tenant.NewSource(func() time.Time { return now }, nil)
	// The account has no keys, which Verify would mind.
	db, err := store.Open(t.Context(), address, store.Options{Source: source})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	operator := tenant.Actor{Operator: true}
	const id = "00000000-0000-7000-8000-000000000001"
	apply := func(rule func(tx *store.Tx) (tenant.Change, error)) {
		t.Helper()
		if err := db.Update(t.Context(), "", func(tx *store.Tx) error {
			change, err := rule(tx)
			if err != nil {
				return err
			}
			return tx.Apply(change)
		}); err != nil {
			t.Fatal(err)
		}
	}
	apply(func(tx *store.Tx) (tenant.Change, error) {
		account := tenant.Account{ID: id, Email: "a@example.com", OrganizationName: "A", CreatedAt: tx.Now(), UpdatedAt: tx.Now()}
		return tenant.NewAccount(operator, account, tenant.User{ID: id, AccountID: id, Email: "a@example.com", Status: tenant.UserEnabled, CreatedAt: tx.Now()}, nil)
	})
	for i, at := range []time.Duration{14, 11, 11, 11} {
		now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(at * time.Hour)
		apply(func(tx *store.Tx) (tenant.Change, error) {
			account, err := tx.Account(id)
			if err != nil {
				return tenant.Change{}, err
			}
			if i%2 == 0 {
				return tenant.Block(operator, *account, tx.Now())
			}
			return tenant.Unblock(operator, *account, tx.Now())
		})
	}
	if err := db.View(t.Context(), func(tx *store.Tx) error {
		first, last, err := tx.AuditRange(id, time.Date(2026, 1, 1, 13, 0, 0, 0, time.UTC), time.Time{})
		if err == nil && (first != 2 || last != 5) {
			t.Errorf("entries %d to %d were made after 13:00, want 2 to 5", first, last)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
