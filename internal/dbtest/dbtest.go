// Package dbtest gives tests a database of every engine that store knows.
package dbtest

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/tenantry/tenantry/internal/store"
)

// Each runs test on a fresh database of each engine, as a subtest named after
// it. Options are taken as they are; without them, or without a logger in them,
// nothing is logged. When the test is over, the database is verified, unless the
// test failed or closed it, and closed.
func Each(t *testing.T, test func(t *testing.T, db *store.DB), options ...store.Options) {
	t.Helper()
	var o store.Options
	if len(options) > 0 {
		o = options[0]
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	t.Run("sqlite", func(t *testing.T) {
		db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "tenantry.db"), o)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		test(t, db)
		writes := db.Update(t.Context(), func(*store.Tx) error { return nil }) == nil
		if writes && !t.Failed() {
			if err := db.Verify(t.Context()); err != nil {
				t.Errorf("the database is not sound after the test:\n%v", err)
			}
		}
	})
}
