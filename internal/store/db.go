// Package store keeps the tenants: one body of SQL, and one way to write.
//
// Every write goes through Update and Tx.Apply, which puts the rows, the audit
// entry and the event of one Change into one transaction. Writes that wait at
// the same moment share one commit, so that the disk is synced once for all of
// them; none is confirmed before that sync.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/tenantry/tenantry/internal/tenant"
)

// Options tune a DB. The zero value is right for most.
type Options struct {
	// Source gives time and ids; nil means the real ones.
	Source *tenant.Source
	// Readers is how many queries run at once; 0 means 8.
	Readers int
	// Batch is how many writes share one commit at most; 0 means 256.
	Batch int
	// Logger hears of faults of the storage; nil means slog's default.
	Logger *slog.Logger
}

// DB is one database. It is safe for concurrent use.
type DB struct {
	source  *tenant.Source
	log     *slog.Logger
	write   *sql.DB
	read    *sql.DB
	readers *sessions
	jobs    chan *job
	batch   int
	broken  atomic.Pointer[error]
	stopped chan struct{}
	lock    *fileLock

	closing   sync.RWMutex
	closed    bool
	listeners []func(ids []string)
}

// Open opens the database in a file, brings its schema up to date and takes the
// file for this process alone.
func Open(ctx context.Context, path string, o Options) (_ *DB, err error) {
	if o.Source == nil {
		o.Source = tenant.NewSource(nil, nil)
	}
	if o.Readers == 0 {
		o.Readers = 8
	}
	if o.Batch == 0 {
		o.Batch = 256
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	db := &DB{
		source: o.Source, log: o.Logger, batch: o.Batch,
		readers: newSessions(o.Readers),
		jobs:    make(chan *job, 4*o.Batch),
		stopped: make(chan struct{}),
	}
	// The database and what SQLite puts beside it are for this user alone.
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	file.Close()
	if db.lock, err = lockFile(path + ".lock"); errors.Is(err, fs.ErrPermission) {
		return nil, err
	} else if err != nil {
		return nil, fmt.Errorf("the database %s is in use by another process: %w", filepath.Base(path), err)
	}
	defer func() {
		if err != nil {
			db.release()
		}
	}()
	if db.write, err = openSQLite(path, false); err != nil {
		return nil, err
	}
	db.write.SetMaxOpenConns(1)
	if err := checkEngine(ctx, db.write); err != nil {
		return nil, err
	}
	if err := migrate(ctx, db.write); err != nil {
		return nil, err
	}
	writer, err := newSession(ctx, db.write)
	if err != nil {
		return nil, err
	}
	// Better now than with the first request.
	if _, err := writer.run(beginWrite); err != nil {
		return nil, fmt.Errorf("the database cannot be written: %w", err)
	}
	writer.run(rollback)
	if db.read, err = openSQLite(path, true); err != nil {
		return nil, err
	}
	for range o.Readers {
		s, err := newSession(ctx, db.read)
		if err != nil {
			return nil, err
		}
		db.readers.put(s)
	}
	go db.commitLoop(writer)
	return db, nil
}

// Source is where this database's times and ids come from.
func (db *DB) Source() *tenant.Source { return db.source }

// Close lets the writes that wait finish, and closes the file.
func (db *DB) Close() error {
	db.closing.Lock()
	if db.closed {
		db.closing.Unlock()
		return nil
	}
	db.closed = true
	close(db.jobs)
	db.closing.Unlock()
	<-db.stopped
	db.readers.close()
	return db.release()
}

func (db *DB) release() error {
	var errs []error
	if db.read != nil {
		errs = append(errs, db.read.Close())
	}
	if db.write != nil {
		errs = append(errs, db.write.Close())
	}
	if db.lock != nil {
		errs = append(errs, db.lock.unlock())
	}
	return errors.Join(errs...)
}

// Ready is nil when the database can be read and written.
func (db *DB) Ready(ctx context.Context) error {
	if broken := db.broken.Load(); broken != nil {
		return *broken
	}
	return db.View(ctx, func(tx *Tx) error {
		_, err := tx.count("SELECT COUNT(*) FROM manager WHERE account_id = $1", "")
		return err
	})
}

// Announce registers a function that hears, after each commit and before it is
// confirmed, the ids of what changed: accounts, users and key digests. It must
// not block.
func (db *DB) Announce(listener func(ids []string)) { db.listeners = append(db.listeners, listener) }

// View runs fn on one unchanging snapshot of the database.
func (db *DB) View(ctx context.Context, fn func(*Tx) error) error {
	s, err := db.readers.take(ctx)
	if err != nil {
		return err
	}
	defer db.readers.put(s)
	if _, err := s.run(beginRead); err != nil {
		return fmt.Errorf("begin a read: %w", err)
	}
	defer s.run(commit)
	return fn(&Tx{s: s, source: db.source, now: db.source.Now()})
}

// Update runs fn in a write transaction and returns nil once its changes are on
// disk. An error of fn undoes what fn did and comes back as it is. fn may touch
// nothing but its Tx, for it may run more than once.
//
// A refusal of kind Unavailable means that nothing was written, or that the
// storage failed and nobody can tell; only then is the outcome unknown.
func (db *DB) Update(ctx context.Context, fn func(*Tx) error) error {
	j := &job{ctx: ctx, fn: fn, done: make(chan error, 1)}
	db.closing.RLock()
	if db.closed {
		db.closing.RUnlock()
		return tenant.Refuse(tenant.Unavailable, "The service is stopping.")
	}
	select {
	case db.jobs <- j:
		db.closing.RUnlock()
	default:
		db.closing.RUnlock()
		return ErrBusy
	}
	// Once queued, the outcome is worth waiting for even if the caller has gone:
	// a job whose context has ended before its turn is skipped.
	return <-j.done
}

// ErrBusy is the refusal of a write that was not even begun, of kind Unavailable.
var ErrBusy error = tenant.Refuse(tenant.Unavailable, "Too many writes wait already.")

type job struct {
	ctx  context.Context
	fn   func(*Tx) error
	done chan error
	err  error
	tx   *Tx
}

// commitLoop is the only writer. It takes whatever waits into one transaction;
// while that is synced, the next batch gathers.
func (db *DB) commitLoop(s *session) {
	defer close(db.stopped)
	defer s.close()
	batch := make([]*job, 0, db.batch)
	for first := range db.jobs {
		batch = append(batch[:0], first)
		// The scheduler runs a woken goroutine before those that wait: without this,
		// each write would wake the loop and commit alone while others stand in line.
		for n := -1; n != len(db.jobs); {
			n = len(db.jobs)
			runtime.Gosched()
		}
	gather:
		for len(batch) < db.batch {
			select {
			case j, ok := <-db.jobs:
				if !ok {
					break gather
				}
				batch = append(batch, j)
			default:
				break gather
			}
		}
		db.commitBatch(s, batch)
	}
}

func (db *DB) commitBatch(s *session, batch []*job) {
	err := db.tryBatch(s, batch)
	for _, j := range batch {
		if err != nil && (j.err == nil || isBroken(j.err) || isFull(j.err)) {
			j.err = db.unwritten(err)
		}
		if j.err == nil && len(j.tx.ids) > 0 {
			for _, listener := range db.listeners {
				listener(j.tx.ids)
			}
		}
		j.done <- j.err
	}
}

// tryBatch runs the jobs in one transaction. What it returns concerns them all.
//
// A savepoint for each job would cost a third of the whole, so that there is none
// at first. Most refusals come before anything is written and undo nothing. When
// one comes later, all is undone and the batch runs again, behind savepoints.
func (db *DB) tryBatch(s *session, batch []*job) error {
	if broken := db.broken.Load(); broken != nil {
		return *broken
	}
	again, err := db.runBatch(s, batch, false)
	if again {
		_, err = db.runBatch(s, batch, true)
	}
	return err
}

func (db *DB) runBatch(s *session, batch []*job, savepoints bool) (again bool, err error) {
	if _, err := s.run(beginWrite); err != nil {
		return false, err
	}
	defer func() {
		if err != nil || again {
			s.run(rollback)
		}
	}()
	for _, j := range batch {
		if j.err = j.ctx.Err(); j.err != nil {
			continue
		}
		if savepoints {
			if _, err := s.run(savepoint); err != nil {
				return false, err
			}
		}
		j.tx = &Tx{s: s, source: db.source, now: db.source.Now(), write: true}
		j.err = j.run()
		switch {
		case j.err != nil && (isBroken(j.err) || isFull(j.err)):
			return false, j.err
		case j.err != nil && !savepoints && j.tx.wrote:
			return true, nil
		case j.err != nil && savepoints:
			// A failed statement may have undone the whole transaction: then there is
			// no savepoint to go back to, and the batch is lost.
			if _, err := s.run(rollbackOne); err != nil {
				return false, j.err
			}
		}
		if savepoints {
			if _, err := s.run(release); err != nil {
				return false, err
			}
		}
	}
	_, err = s.run(commit)
	return false, err
}

func (j *job) run() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("a write panicked: %v", r)
		}
	}()
	return j.fn(j.tx)
}

// unwritten says what a failed commit means to the caller. After a fault of the
// storage itself the database is not written any more until it is opened again:
// what a second sync would confirm cannot be trusted.
func (db *DB) unwritten(err error) error {
	if isBroken(err) && db.broken.CompareAndSwap(nil, &err) {
		db.log.Error("the storage failed: nothing is written any more until a restart", "error", err)
	}
	detail := "The change could not be written. Try again."
	if isFull(err) {
		detail = "The storage is full."
	}
	db.log.Warn("a commit failed", "error", err)
	return errors.Join(tenant.Refuse(tenant.Unavailable, detail), err)
}
