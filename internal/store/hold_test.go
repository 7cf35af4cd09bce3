package store_test

import (
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// TestHoldEnds: a process that holds a name and does nothing any more keeps others
// from it for a while, and then they are told.
func TestHoldEnds(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a name that is held: not with -short")
	}
	t.Parallel()
	address := dbtest.Postgres(t)
	var both [2]*store.DB
	for i := range both {
		db, err := store.Open(t.Context(), address, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		both[i] = db
	}
	release, err := both[0].Hold(t.Context(), "name", false)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := both[1].Hold(t.Context(), "name", true); !tenant.IsKind(err, tenant.Unavailable) {
		t.Errorf("a name that is held: %v", err)
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("it took %v", took)
	}
	release()
	if release, err = both[1].Hold(t.Context(), "name", true); err != nil {
		t.Fatalf("a name that was released: %v", err)
	}
	release()
}

// TestHoldAfterClose: who comes while the database is closed, or after, is told so
// and does not wait for ever.
func TestHoldAfterClose(t *testing.T) {
	t.Parallel()
	db, err := store.Open(t.Context(), dbtest.Postgres(t), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if release, err := db.Hold(t.Context(), "name", false); !tenant.IsKind(err, tenant.Unavailable) {
			t.Fatalf("after the end: %t, %v", release != nil, err)
		}
	}
}
