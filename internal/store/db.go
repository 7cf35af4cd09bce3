// Package store keeps the tenants: one body of SQL, and one way to write.
//
// Every write goes through Update and Tx.Apply, which puts the rows, the audit
// entry and the event of one Change into one transaction. Writes that wait at
// the same moment share one commit, so that the disk is synced once for all of
// them; none is confirmed before that sync.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

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
	// Committed hears, after each commit, how many writes it confirmed and how long
	// it took from its begin; nil means nobody. It must not block.
	Committed func(writes int, took time.Duration)
}

// DB is one database. It is safe for concurrent use.
type DB struct {
	source  *tenant.Source
	log     *slog.Logger
	engine  engine
	readers *sessions
	jobs    chan *job
	batch   int
	broken  atomic.Pointer[error]
	stopped chan struct{}

	committed  func(writes int, took time.Duration)
	unresolved atomic.Int64

	closing sync.RWMutex
	closed  bool

	mu        sync.RWMutex
	listeners []func(ids []string)
	hearers   []func(text string)
	takers    []func()
}

// Open opens a database and brings its schema up to date: an address that begins
// with "postgres://" is one of PostgreSQL, which other processes may have open,
// too; anything else is the path of an SQLite file, with or without "sqlite:"
// before it, which is made when there is none and taken for this process alone.
func Open(ctx context.Context, database string, o Options) (*DB, error) {
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
	engine, err := openEngine(ctx, database, o)
	if err != nil {
		return nil, err
	}
	db := &DB{
		source: o.Source, log: o.Logger, batch: o.Batch, engine: engine,
		readers: newSessions(o.Readers),
		jobs:    make(chan *job, 4*o.Batch),
		stopped: make(chan struct{}), committed: o.Committed,
	}
	writer, err := db.sessions(ctx, o.Readers)
	if err != nil {
		engine.close()
		return nil, err
	}
	engine.follow(db)
	go db.commitLoop(writer)
	return db, nil
}

func openEngine(ctx context.Context, database string, o Options) (engine, error) {
	if isPostgres(database) {
		return openPostgres(ctx, database, o.Source, o.Logger)
	}
	return openSQLite(ctx, strings.TrimPrefix(database, "sqlite:"))
}

// sessions opens the readers and the one that writes.
func (db *DB) sessions(ctx context.Context, readers int) (writer session, err error) {
	if writer, err = db.engine.writer(ctx); err != nil {
		return nil, err
	}
	// Better now than with the first request.
	if err := writer.beginWrite(nil); err != nil {
		return nil, fmt.Errorf("the database cannot be written: %w", err)
	}
	writer.rollback()
	for range readers {
		s, err := db.engine.reader(ctx)
		if err != nil {
			return nil, err
		}
		db.readers.put(s)
	}
	return writer, nil
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
	return db.engine.close()
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
// confirmed, the ids of what changed: accounts, users, groups, connections, their
// identities and key digests. What other processes commit it hears as soon as they say so; nil means that anything may
// have changed. It must not block.
func (db *DB) Announce(listener func(ids []string)) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.listeners = append(db.listeners, listener)
}

func (db *DB) announce(ids []string) {
	db.mu.RLock()
	defer db.mu.RUnlock()
	for _, listener := range db.listeners {
		listener(ids)
	}
}

// TakenBack registers a function that hears when the database may have lost what
// it has shown, though not what it has confirmed: another server has taken its
// place. With SQLite there is none. It must not block.
func (db *DB) TakenBack(taker func()) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.takers = append(db.takers, taker)
}

func (db *DB) takeBack() {
	db.mu.RLock()
	defer db.mu.RUnlock()
	for _, taker := range db.takers {
		taker()
	}
}

// Trusted reports whether what was announced is all there is, up to Staleness
// ago: what is kept from before may be used. With SQLite it always is.
func (db *DB) Trusted() bool { return db.engine.trusted() }

// Doubt is for how long it has not been Trusted, 0 while it is.
func (db *DB) Doubt() time.Duration { return db.engine.doubt() }

// Tell sends a line of text, of at most 7,000 bytes, to the other processes that have this
// database open, within a fraction of a second, or loses it. With SQLite there are
// none.
func (db *DB) Tell(text string) { db.engine.tell(text) }

// Hear registers a function that hears what others Tell. It must not block.
func (db *DB) Hear(hearer func(text string)) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.hearers = append(db.hearers, hearer)
}

func (db *DB) heard(text string) {
	db.mu.RLock()
	defer db.mu.RUnlock()
	for _, hearer := range db.hearers {
		hearer(text)
	}
}

// Waiting is how many writes wait for their turn.
func (db *DB) Waiting() int { return len(db.jobs) }

// Unresolved is how many commits there were, since the database was opened, of
// which nobody could tell in time whether they took place.
func (db *DB) Unresolved() int64 { return db.unresolved.Load() }

// View runs fn on one unchanging snapshot of the database.
func (db *DB) View(ctx context.Context, fn func(*Tx) error) error {
	return db.view(ctx, false, fn)
}

func (db *DB) view(ctx context.Context, slow bool, fn func(*Tx) error) (err error) {
	s, err := db.readers.take(ctx)
	if err != nil {
		return err
	}
	defer func() {
		put := db.readers.put
		if isLost(err) {
			put = db.readers.putLast
		}
		s.endRead(func() { put(s) })
	}()
	if err := s.beginRead(ctx, slow); err != nil {
		return outOfReach(fmt.Errorf("begin a read: %w", err))
	}
	return outOfReach(fn(&Tx{s: s, source: db.source, now: db.source.Now()}))
}

// outOfReach is the refusal of what the database cannot do now.
func outOfReach(err error) error {
	if err == nil || !isLost(err) && !isConflict(err) && !isOverloaded(err) {
		return err
	}
	return errors.Join(tenant.Refuse(tenant.Unavailable, "The database cannot be reached. Try again."), err)
}

// Update runs fn in a write transaction and returns nil once its changes are on
// disk. An error of fn undoes what fn did and comes back as it is. fn may touch
// nothing but its Tx, for it may run more than once.
//
// Writes of one lane follow each other, wherever they are made: none sees half of
// another, or less. The lane of all that concerns an account is the id of its root
// account; that of what concerns no account yet is "".
//
// A refusal of kind Unavailable means that nothing was written, or that nobody
// can tell: only when the storage failed, or could not be reached for 10 seconds
// after the commit was sent, is the outcome unknown.
func (db *DB) Update(ctx context.Context, lane string, fn func(*Tx) error) error {
	return db.UpdateAll(ctx, []string{lane}, fn)
}

// UpdateAll is Update for what concerns several lanes.
func (db *DB) UpdateAll(ctx context.Context, lanes []string, fn func(*Tx) error) error {
	j := &job{ctx: ctx, lanes: lanes, fn: fn, done: make(chan error, 1)}
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
	// Once begun, the outcome is worth waiting for even if the caller has gone: a job
	// whose context has ended before its turn is skipped.
	late := time.NewTimer(turnTime)
	defer late.Stop()
	select {
	case err := <-j.done:
		return err
	case <-late.C:
		if j.begin() { // then nobody else does
			return ErrBusy
		}
		return <-j.done
	}
}

// turnTime is how long a write waits for its turn.
const turnTime = 3 * time.Second

// ErrBusy is the refusal of a write that was not even begun, of kind Unavailable.
var ErrBusy error = tenant.Refuse(tenant.Unavailable, "Too many writes wait already.")

type job struct {
	ctx   context.Context
	lanes []string
	fn    func(*Tx) error
	begun atomic.Bool
	done  chan error
	err   error
	tx    *Tx
}

// begin reports whether the job is the caller's to do, or to give up.
func (j *job) begin() bool { return j.begun.CompareAndSwap(false, true) }

// commitLoop is the only writer. It takes whatever waits into one transaction;
// while that is synced, the next batch gathers.
func (db *DB) commitLoop(s session) {
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
		batch = slices.DeleteFunc(batch, func(j *job) bool { return !j.begin() })
		if len(batch) > 0 {
			db.commitBatch(s, batch)
		}
	}
}

func (db *DB) commitBatch(s session, batch []*job) {
	began := time.Now()
	err := db.tryBatch(s, batch)
	if isUnknown(err) {
		db.unresolved.Add(1)
	}
	if err == nil && db.committed != nil {
		db.committed(len(batch), time.Since(began))
	}
	var refused error
	if err != nil {
		refused = db.unwritten(err)
	}
	for _, j := range batch {
		if err != nil && (j.err == nil || isBroken(j.err) || isFull(j.err) || isPassing(j.err)) {
			j.err = refused
		}
		if j.err == nil && len(j.tx.ids) > 0 {
			db.announce(j.tx.ids)
		}
		j.done <- j.err
	}
}

// isPassing reports whether a transaction that failed so did nothing, and may do
// better when it is tried again.
func isPassing(err error) bool { return isLost(err) || isConflict(err) || isOverloaded(err) }

// retryTime is how long a batch is tried again for what passes.
const retryTime = 5 * time.Second

// tryBatch runs the jobs in one transaction. What it returns concerns them all.
//
// A savepoint for each job would cost a third of the whole, so that there is none
// at first. Most refusals come before anything is written and undo nothing. When
// one comes later, all is undone and the batch runs again, behind savepoints.
func (db *DB) tryBatch(s session, batch []*job) error {
	savepoints := false
	for began := time.Now(); ; {
		if broken := db.broken.Load(); broken != nil {
			return *broken
		}
		again, err := db.runBatch(s, batch, savepoints)
		switch {
		case again:
			savepoints = true // and no statement waits for another
		case !isLost(err) && !isConflict(err) || time.Since(began) > retryTime:
			return err
		default:
			time.Sleep(rand.N(2 * retryPause))
		}
	}
}

func (db *DB) runBatch(s session, batch []*job, savepoints bool) (again bool, err error) {
	lanes := make([]string, 0, len(batch))
	for _, j := range batch {
		j.err = nil
		lanes = append(lanes, j.lanes...)
	}
	if err := s.beginWrite(lanes); err != nil {
		return false, err
	}
	defer func() {
		if err != nil || again {
			s.rollback()
		}
	}()
	var ids []string
	for _, j := range batch {
		if j.err = j.ctx.Err(); j.err != nil {
			continue
		}
		if savepoints {
			if _, err := s.run(savepoint); err != nil {
				return false, err
			}
		}
		j.tx = &Tx{s: s, source: db.source, now: db.source.Now(), careful: savepoints}
		j.err = j.run()
		switch {
		case isLate(j.err) && !savepoints:
			return true, nil
		case j.err != nil && (isBroken(j.err) || isFull(j.err) || isPassing(j.err)):
			return false, j.err
		case j.err != nil && !savepoints && j.tx.dirty:
			return true, nil
		case j.err != nil && savepoints:
			// A failed statement may have undone the whole transaction: then there is
			// no savepoint to go back to, and the batch is lost.
			if _, err := s.run(rollbackOne); isPassing(err) {
				return false, err // what this one was refused for is nothing to the others
			} else if err != nil {
				return false, j.err
			}
		}
		if savepoints {
			if _, err := s.run(release); err != nil {
				return false, err
			}
		}
		if j.err == nil {
			ids = append(ids, j.tx.ids...)
		}
	}
	err = s.commit(ids)
	return isLate(err) && !savepoints, err
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
	switch {
	case isFull(err):
		detail = "The storage is full."
	case isUnknown(err):
		detail = "The change may have been written or not. Try again: the same request is not done twice."
	}
	db.log.Warn("a commit failed", "error", err)
	return errors.Join(tenant.Refuse(tenant.Unavailable, detail), err)
}
