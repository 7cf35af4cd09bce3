package webhook_test

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// TestRestart: what a server had not sent when it stopped, or died, the next one
// sends; in order, and nothing is sent twice but what was under way at its death.
func TestRestart(t *testing.T) {
	t.Parallel()
	dbtest.EachAddress(t, func(t *testing.T, address string) {
		clock := &clock{}
		open := func() *store.DB {
			return dbtest.Open(t, address, store.Options{Source: tenant.NewSource(clock.Now, nil)})
		}
		db := open()
		w := newWorld(t, db, address, clock)
		hold := make(chan struct{})
		r := newReceiver(t, func(out http.ResponseWriter, _ request, n int) {
			if n == 3 {
				<-hold // while this one is under way, the first server ends
			}
		})
		o := options(r.URL)
		o.Alone = true
		stop := send(t, db, o)
		id := w.child(t)
		w.happen(t, id, 20)
		r.wait(4)
		var ended sync.WaitGroup
		ended.Go(stop)
		close(hold)
		ended.Wait()
		accepted := len(r.sequences(id))
		if accepted < 4 || accepted > 20 {
			t.Fatalf("%d were accepted before the stop", accepted)
		}
		db.Close()
		w.db = open()
		send(t, w.db, o)
		w.settled(t)
		if got := r.sequences(id); !slices.Equal(got, numbers(1, 21)) {
			t.Errorf("accepted were %v", got)
		}
	})
}

// TestNodes: of several nodes one sends at a time, and when it dies another goes on.
// newReceiver sees to it that no event, and no account, has two requests at once.
func TestNodes(t *testing.T) {
	t.Parallel()
	clock := &clock{}
	address := dbtest.Postgres(t)
	w := newWorld(t, dbtest.Open(t, address, store.Options{Source: tenant.NewSource(clock.Now, nil)}), address, clock)
	r := newReceiver(t, func(out http.ResponseWriter, _ request, _ int) {
		if rand.N(5) == 0 {
			out.WriteHeader(500)
		}
	})
	o := options(r.URL)
	kill := func() (*store.DB, func()) {
		db := w.other(t)
		return db, send(t, db, o)
	}
	var ids []string
	nodes := []*store.DB{}
	for range 3 {
		db, _ := kill()
		nodes = append(nodes, db)
	}
	for range 6 {
		ids = append(ids, w.child(t))
	}
	var all sync.WaitGroup
	for _, id := range ids {
		all.Go(func() { w.happen(t, id, 20) })
	}
	// Its database is gone in the middle: what it has sent it cannot note.
	r.wait(20)
	turn := func() (state store.WebhookState) {
		w.db.View(t.Context(), func(tx *store.Tx) (err error) {
			state, err = tx.WebhookState("")
			return err
		})
		return state
	}
	if first := turn(); first.Node == "" || first.EndsAt.Sub(clock.Now()) < 10*time.Second {
		t.Errorf("nobody has a turn of 30 seconds: %+v", first)
	}
	nodes[0].Close()
	nodes[1].Close()
	all.Wait()
	eventually(t, "all events", func() bool {
		// Nobody waits half a minute for a turn to end.
		clock.move(20 * time.Millisecond)
		return !slices.ContainsFunc(ids, func(id string) bool {
			got := r.sequences(id)
			return len(got) == 0 || got[len(got)-1] != 21
		})
	})
	w.settled(t)
	for _, id := range ids {
		got := r.sequences(id)
		again := len(got) - 21
		if got = slices.Compact(got); !slices.Equal(got, numbers(1, 21)) {
			t.Errorf("account %s: %v", id, got)
		}
		if again > 4 {
			t.Errorf("account %s: %d events came again", id, again)
		}
	}
}
