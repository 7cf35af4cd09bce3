// Package dbtest gives tests a database of every engine that store knows.
package dbtest

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/pgtest"
	"github.com/tenantry/tenantry/internal/store"
)

// Each runs test on a fresh database of each engine, as [EachAddress] does, and
// opens it as [Open] does.
func Each(t *testing.T, test func(t *testing.T, db *store.DB), options ...store.Options) {
	t.Helper()
	EachAddress(t, func(t *testing.T, address string) { test(t, Open(t, address, options...)) })
}

// EachAddress runs test on each engine, in parallel, as a subtest named after it,
// with the address of a database that has no rows.
func EachAddress(t *testing.T, test func(t *testing.T, address string)) {
	t.Helper()
	InTurn(t, func(t *testing.T, address func(testing.TB) string) {
		t.Parallel()
		test(t, address(t))
	})
}

// InTurn is EachAddress for tests that measure something, or keep all processors
// busy: one engine follows the other. The function makes the database.
func InTurn(t *testing.T, test func(t *testing.T, address func(testing.TB) string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, SQLite) })
	t.Run("postgres", func(t *testing.T) { test(t, Postgres) })
}

// Open opens a database for a test. Options are taken as they are; without them,
// or without a logger in them, nothing is logged. When the test is over, the
// database is verified, unless the test failed or closed it, and closed.
func Open(t testing.TB, address string, options ...store.Options) *store.DB {
	t.Helper()
	var o store.Options
	if len(options) > 0 {
		o = options[0]
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	db, err := store.Open(t.Context(), address, o)
	if err != nil {
		t.Fatal(err)
	}
	// On a crowded machine it may hear the first notices late.
	for until := time.Now().Add(10 * time.Second); !db.Trusted() && time.Now().Before(until); {
		time.Sleep(time.Millisecond)
	}
	t.Cleanup(func() {
		defer db.Close()
		ctx := context.Background() // the test's own is over
		writes := db.Update(ctx, "", func(*store.Tx) error { return nil }) == nil
		if writes && !t.Failed() {
			if err := db.Verify(ctx); err != nil {
				t.Errorf("the database is not sound after the test:\n%v", err)
			}
		}
	})
	return db
}

// SQLite is the address of a database that does not exist yet. It lies in memory
// where there is a place for it: a test that is about the disk takes its own.
func SQLite(t testing.TB) string {
	t.Helper()
	return "sqlite:" + filepath.Join(Folder(t), "tenantry.db")
}

// Folder is a folder in memory, if there is a place for it, until the end of the
// test.
func Folder(t testing.TB) string {
	t.Helper()
	path, err := os.MkdirTemp(pgtest.Memory(), "tenantry-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(path) })
	return path
}

// Postgres is the address of a fresh database with the newest schema.
func Postgres(t testing.TB) string {
	t.Helper()
	return pgtest.Template(t, "tenantry", func(url string) error {
		_, err := store.Migrate(context.Background(), url, store.Options{Logger: slog.New(slog.DiscardHandler)})
		return err
	})
}
