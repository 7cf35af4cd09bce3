package admission_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/admission"
	"github.com/tenantry/tenantry/internal/store"
)

// TestHangUp: disabling leaves calls alone; only who asks for it gets an event with
// the calls that run, in the same commit.
func TestHangUp(t *testing.T) {
	t.Parallel()
	eachWorld(t, admission.Options{}, func(t *testing.T, w *world) {
		a := w.child(t, 5)
		events := func() (all []string) {
			t.Helper()
			if err := w.db.View(w.ctx, func(tx *store.Tx) error {
				first, last, err := tx.AuditRange(a.ID, time.Time{}, time.Time{})
				if err != nil {
					return err
				}
				entries, err := tx.AuditEntries(a.ID, first, last)
				for _, e := range entries {
					if e.Event == "calls.terminate" {
						all = append(all, fmt.Sprint(e.Changes))
					}
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
			return all
		}
		w.acquire(t, a.ID, "1")
		w.acquire(t, a.ID, "2")
		w.disable(t, a.ID)
		if got := events(); len(got) != 0 || w.inUse(t, a.ID) != 2 {
			t.Fatalf("disabled: %s, %d channels in use", got, w.inUse(t, a.ID))
		}
		w.Release(w.ctx, "2")
		w.decide(t, admission.Request{Kind: admission.Call, AccountID: a.ID})
		for range 2 { // an account that is disabled already may be asked again
			if _, err := w.tenants.DisableAndHangUp(w.ctx, w.actor, a.ID, ""); err != nil {
				t.Fatal(err)
			}
		}
		if got := fmt.Sprint(events()); got != "[[{call_id <nil> 1} {switch <nil> s}] [{call_id <nil> 1} {switch <nil> s}]]" || w.inUse(t, a.ID) != 1 {
			t.Errorf("asked to hang up: %s, %d channels in use", got, w.inUse(t, a.ID))
		}
		w.Release(w.ctx, "1")
		if _, err := w.tenants.DisableAndHangUp(w.ctx, w.actor, a.ID, ""); err != nil || len(events()) != 2 {
			t.Errorf("without a call: %v, %s", err, events())
		}
	})
}
