// Package dbtest gives tests a database of every engine that store knows.
package dbtest

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/tenantry/tenantry/internal/pgtest"
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
	EachAddress(t, func(t *testing.T, address string) {
		db, err := store.Open(t.Context(), address, o)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		test(t, db)
		writes := db.Update(t.Context(), "", func(*store.Tx) error { return nil }) == nil
		if writes && !t.Failed() {
			if err := db.Verify(t.Context()); err != nil {
				t.Errorf("the database is not sound after the test:\n%v", err)
			}
		}
	})
}

// EachAddress is Each for tests that open the database themselves: it has no rows
// and, with PostgreSQL, the newest schema.
func EachAddress(t *testing.T, test func(t *testing.T, address string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		test(t, filepath.Join(t.TempDir(), "tenantry.db"))
	})
	t.Run("postgres", func(t *testing.T) {
		test(t, Postgres(t))
	})
}

// Postgres is the address of a fresh database with the newest schema.
func Postgres(t testing.TB) string {
	return pgtest.Template(t, "tenantry", func(url string) error {
		_, err := store.Migrate(context.Background(), url, store.Options{Logger: slog.New(slog.DiscardHandler)})
		return err
	})
}
