package store_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

func setCredit(db *store.DB, t *testing.T, credit int64) {
	t.Helper()
	if err := db.Update(t.Context(), "", func(tx *store.Tx) error {
		account, err := tx.Account(rootID)
		if err != nil {
			return err
		}
		change, err := tenant.SetCredit(tenant.Actor{Operator: true}, *account, nil, &credit, tx.Now())
		if err != nil {
			return err
		}
		return tx.Apply(change)
	}); err != nil {
		t.Error(err)
	}
}

func credit(db *store.DB, t *testing.T) func() (int64, error) {
	return func() (n int64, err error) {
		err = db.View(t.Context(), func(tx *store.Tx) error {
			account, err := tx.Account(rootID)
			if err == nil {
				n = account.Balance.CreditLimit
			}
			return err
		})
		return n, err
	}
}

func withRoot(t *testing.T, db *store.DB) {
	t.Helper()
	if err := db.Update(t.Context(), "", func(tx *store.Tx) error {
		if err := everyChange(tx); err != nil {
			return err
		}
		root, err := tx.Account(rootID)
		if err != nil {
			return err
		}
		change, err := tenant.Unblock(tenant.Actor{Operator: true}, *root, tx.Now())
		if err != nil {
			return err
		}
		return tx.Apply(change)
	}); err != nil {
		t.Fatal(err)
	}
}

// TestStaleReadIsNotKept: a value read before a change, by a read that ends after
// the change was announced, answers its own caller and nobody else.
func TestStaleReadIsNotKept(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *store.DB) {
		withRoot(t, db)
		cache := store.NewCache[int64](db, 1000)
		read, announced := make(chan struct{}), make(chan struct{})
		var reader sync.WaitGroup
		reader.Go(func() {
			n, err := cache.Load(rootID, func() (int64, error) {
				n, err := credit(db, t)()
				close(read)
				<-announced
				return n, err
			})
			if n != 0 || err != nil {
				t.Errorf("the slow reader got %d, %v", n, err)
			}
		})
		<-read
		setCredit(db, t, 7)
		// Another reader, meanwhile, has the new one, and it stays.
		if n, err := cache.Load(rootID, credit(db, t)); n != 7 || err != nil {
			t.Errorf("a reader after the change got %d, %v", n, err)
		}
		close(announced)
		reader.Wait()
		// It may have been forgotten once more: a node hears its own notices, too.
		if n, ok := cache.Get(rootID); ok && n != 7 {
			t.Errorf("kept: %d", n)
		}
		if n, err := cache.Load(rootID, credit(db, t)); n != 7 || err != nil {
			t.Errorf("after the slow read: %d, %v", n, err)
		}
	})
}

// TestCacheUnderFire: whoever begins to load after a change was confirmed sees
// that change, or a later one.
func TestCacheUnderFire(t *testing.T) {
	dbtest.InTurn(t, func(t *testing.T, address func(testing.TB) string) {
		db := dbtest.Open(t, address(t))
		withRoot(t, db)
		cache := store.NewCache[int64](db, 1000)
		var mu sync.RWMutex
		confirmed, stop := int64(0), make(chan struct{})
		var readers sync.WaitGroup
		for range 2 {
			readers.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					mu.RLock()
					least := confirmed
					mu.RUnlock()
					n, err := cache.Load(rootID, credit(db, t))
					if n < least || err != nil {
						t.Errorf("loaded %d after %d was confirmed, %v", n, least, err)
						return
					}
				}
			})
		}
		for n := range int64(150) {
			setCredit(db, t, n+1)
			mu.Lock()
			confirmed = n + 1
			mu.Unlock()
		}
		close(stop)
		readers.Wait()
	})
}

func TestCacheKeepsNoError(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *store.DB) {
		cache := store.NewCache[int](db, 640)
		failure := errors.New("no")
		if _, err := cache.Load("x", func() (int, error) { return 1, failure }); err != failure {
			t.Errorf("got %v", err)
		}
		if n, err := cache.Load("x", func() (int, error) { return 2, nil }); n != 2 || err != nil {
			t.Errorf("an error was kept: %d, %v", n, err)
		}
		for i := range 100_000 {
			cache.Load(fmt.Sprint(i), func() (int, error) { return i, nil })
		}
		if n := cache.Len(); n > 640 || n < 600 {
			t.Errorf("%d values are kept, want at most 640 and nearly so", n)
		}
	})
}
