package store_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// keep writes one row that nothing else looks at.
func keep(tx *store.Tx, id string) error {
	return tx.KeepAnswer(store.Answer{ID: id, Request: "test", ExpiresAt: tx.Now()})
}

func kept(t testing.TB, db *store.DB) (n int64) {
	t.Helper()
	if err := db.View(context.Background(), func(tx *store.Tx) (err error) {
		n, err = tx.Int("SELECT COUNT(*) FROM answer")
		return err
	}); err != nil {
		t.Error(err)
	}
	return n
}

// together runs the jobs so that all of them wait when the writer turns to them,
// in this order, and returns their errors.
func together(t *testing.T, db *store.DB, jobs ...func() error) []error {
	t.Helper()
	entered, free := make(chan struct{}), make(chan struct{})
	held := make(chan error)
	go func() {
		held <- db.Update(context.Background(), "", func(*store.Tx) error {
			close(entered)
			<-free
			return nil
		})
	}()
	<-entered
	errs := make([]error, len(jobs))
	var done sync.WaitGroup
	for i, job := range jobs {
		done.Go(func() { errs[i] = job() })
		for db.Waiting() <= i {
			runtime.Gosched()
		}
	}
	close(free)
	if err := <-held; err != nil {
		t.Fatal(err)
	}
	done.Wait()
	return errs
}

func TestFailedWriteLeavesNoTrace(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		failure := errors.New("no")
		var heard atomic.Int64 // ids
		db.Announce(func(ids []string) { heard.Add(int64(len(ids))) })
		gone, cancel := context.WithCancel(ctx)
		cancel()
		ran := false
		errs := together(t, db,
			func() error { return db.Update(ctx, "", func(tx *store.Tx) error { return keep(tx, "first") }) },
			func() error {
				return db.Update(ctx, "", func(tx *store.Tx) error {
					keep(tx, "2")
					everyChange(tx)
					return failure
				})
			},
			func() error {
				return db.Update(ctx, "", func(tx *store.Tx) error {
					keep(tx, "3")
					panic("closure")
				})
			},
			func() error {
				return db.Update(gone, "", func(tx *store.Tx) error {
					ran = true
					return keep(tx, "4")
				})
			},
			// A constraint that breaks half-way.
			func() error {
				return db.Update(ctx, "", func(tx *store.Tx) error { return errors.Join(keep(tx, "5"), keep(tx, "5")) })
			},
			func() error { return db.Update(ctx, "", func(tx *store.Tx) error { return keep(tx, "6") }) },
		)
		if errs[0] != nil || errs[5] != nil {
			t.Errorf("the writes beside: %v, %v", errs[0], errs[5])
		}
		if errs[1] != failure {
			t.Errorf("the error of the closure came back as %v", errs[1])
		}
		if errs[2] == nil || !strings.Contains(errs[2].Error(), "panic") || len(tenantErrors(errs[2])) > 0 {
			t.Errorf("panic: %v", errs[2])
		}
		if !errors.Is(errs[3], context.Canceled) || ran {
			t.Errorf("cancelled before its turn: ran %t, %v", ran, errs[3])
		}
		if errs[4] == nil {
			t.Error("a broken constraint was confirmed")
		}
		if n := kept(t, db); n != 2 {
			t.Errorf("%d rows are there, want the 2 confirmed", n)
		}
		if n := heard.Load(); n != 0 {
			t.Errorf("%d ids were announced", n)
		}
		// All is as before: the failed change goes through now, and is announced.
		if err := db.Update(ctx, "", everyChange); err != nil {
			t.Error(err)
		}
		if heard.Load() == 0 {
			t.Error("nothing was announced")
		}
		if err := db.Update(ctx, "", func(tx *store.Tx) error { return keep(tx, "2") }); err != nil {
			t.Error(err)
		}
	})
}

func tenantErrors(err error) []*tenant.Error {
	var e *tenant.Error
	if errors.As(err, &e) {
		return []*tenant.Error{e}
	}
	return nil
}

// TestGroupCommit: a row is visible to readers after its commit alone, so that
// the numbers of rows that the closures see from outside tell the commits apart.
func TestGroupCommit(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *store.DB) {
		const writes = 100
		var mu sync.Mutex
		seen := map[int64]bool{}
		jobs := make([]func() error, writes)
		for i := range jobs {
			jobs[i] = func() error {
				return db.Update(t.Context(), "", func(tx *store.Tx) error {
					n := kept(t, db)
					mu.Lock()
					defer mu.Unlock()
					seen[n] = true
					return keep(tx, fmt.Sprint(i))
				})
			}
		}
		for i, err := range together(t, db, jobs...) {
			if err != nil {
				t.Errorf("write %d: %v", i, err)
			}
		}
		if len(seen) != 4 {
			t.Errorf("%d writes took %d commits, want 4 with batches of 32", writes, len(seen))
		}
		if n := kept(t, db); n != writes {
			t.Errorf("%d rows of %d are there", n, writes)
		}
	}, store.Options{Batch: 32})
}

func TestQueueIsBounded(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *store.DB) {
		entered, free := make(chan struct{}), make(chan struct{})
		var done sync.WaitGroup
		var confirmed, refused atomic.Int64
		done.Go(func() {
			db.Update(t.Context(), "", func(*store.Tx) error {
				close(entered)
				<-free
				return nil
			})
		})
		<-entered
		for i := range 20 {
			done.Go(func() {
				err := db.Update(t.Context(), "", func(tx *store.Tx) error { return keep(tx, fmt.Sprint(i)) })
				switch {
				case err == nil:
					confirmed.Add(1)
				case tenant.IsKind(err, tenant.Unavailable):
					refused.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		for refused.Load() < 12 {
			runtime.Gosched()
		}
		close(free)
		done.Wait()
		if confirmed.Load() != 8 || kept(t, db) != 8 {
			t.Errorf("%d confirmed, %d rows, want 8: four batches of 2", confirmed.Load(), kept(t, db))
		}
	}, store.Options{Batch: 2})
}

// TestOneProcess: a file is one process's own. SQLite alone: PostgreSQL is there to
// be shared.
func TestOneProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tenantry.db")
	db, err := store.Open(t.Context(), path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if second, err := store.Open(t.Context(), path, store.Options{}); err == nil {
		second.Close()
		t.Fatal("a second Open of the same file succeeded")
	} else if !strings.Contains(err.Error(), "in use") {
		t.Errorf("the refusal does not say why: %v", err)
	}
	if err := db.Update(t.Context(), "", func(tx *store.Tx) error { return keep(tx, "1") }); err != nil {
		t.Errorf("the refused Open disturbed the first: %v", err)
	}
	if err := errors.Join(db.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	if err := db.Update(t.Context(), "", func(tx *store.Tx) error { return nil }); !tenant.IsKind(err, tenant.Unavailable) {
		t.Errorf("a write after Close: %v", err)
	}
	again, err := store.Open(t.Context(), path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if n := kept(t, again); n != 1 {
		t.Errorf("%d rows after opening again, want 1", n)
	}
}

// TestClosedIsFree: a file that was closed can be opened at once, even while this
// process starts others, which have its files for a moment. SQLite alone.
func TestClosedIsFree(t *testing.T) {
	path := dbtest.SQLite(t)
	ctx, stop := context.WithCancel(t.Context())
	var starting sync.WaitGroup
	starting.Go(func() {
		for ctx.Err() == nil {
			exec.CommandContext(ctx, "true").Run()
		}
	})
	for range 40 {
		db, err := store.Open(t.Context(), path, store.Options{})
		if err == nil {
			err = db.Close()
		}
		if err != nil {
			t.Error(err)
			break
		}
	}
	stop()
	starting.Wait()
}

func TestNewerDatabase(t *testing.T) {
	dbtest.EachAddress(t, func(t *testing.T, address string) {
		db, err := store.Open(t.Context(), address, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(
			db.Exec(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, TRUE)"),
			db.Close(),
		); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the refusal leaves no lock behind
			db, err = store.Open(t.Context(), address, store.Options{})
			if err == nil {
				db.Close()
				t.Fatal("a database of a newer program was opened")
			}
			if !strings.Contains(err.Error(), "9999") {
				t.Errorf("the refusal does not say why: %v", err)
			}
		}
	})
}

// TestSnapshot: what a View reads does not change while it reads.
func TestSnapshot(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *store.DB) {
		err := db.View(t.Context(), func(tx *store.Tx) error {
			before, err := tx.Int("SELECT COUNT(*) FROM answer")
			if err != nil {
				return err
			}
			if err := db.Update(t.Context(), "", func(tx *store.Tx) error { return keep(tx, "1") }); err != nil {
				return err
			}
			after, err := tx.Int("SELECT COUNT(*) FROM answer")
			if before != 0 || after != 0 {
				t.Errorf("one snapshot had %d and then %d rows", before, after)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}
