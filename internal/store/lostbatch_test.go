package store_test

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// TestRefusedAsConnectionIsLost: when the connection goes while one write of a
// batch is refused, the others are done again, and not told of that refusal.
func TestRefusedAsConnectionIsLost(t *testing.T) {
	address := dbtest.Postgres(t)
	db, err := store.Open(t.Context(), address, store.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	runs := 0
	errs := together(t, db,
		func() error { return db.Update(t.Context(), "", func(tx *store.Tx) error { return keep(tx, "first") }) },
		func() error {
			return db.Update(t.Context(), "", func(tx *store.Tx) error {
				// It has written something before it is refused, so that all run once more.
				err := keep(tx, "second")
				if runs++; err == nil && runs == 2 {
					var pid int64
					if pid, err = tx.Int("SELECT pg_backend_pid()"); err == nil {
						_, err = conn.Exec(t.Context(), "SELECT pg_terminate_backend($1, 60000)", pid)
					}
				}
				return errors.Join(err, tenant.Refuse(tenant.Conflict, "This is between the two of us."))
			})
		})
	if errs[0] != nil {
		t.Errorf("the other write: %v", errs[0])
	}
	if !tenant.IsKind(errs[1], tenant.Conflict) || runs < 3 {
		t.Errorf("the refused write ran %d times: %v", runs, errs[1])
	}
	if n := kept(t, db); n != 1 {
		t.Errorf("%d rows were written", n)
	}
}
