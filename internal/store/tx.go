package store

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tenantry/tenantry/internal/tenant"
)

// sessions are the readers that are free. The one used last is taken first, so
// that little work warms few caches.
type sessions struct {
	free chan struct{} // as many as there are
	mu   sync.Mutex
	idle []session
}

func newSessions(n int) *sessions { return &sessions{free: make(chan struct{}, n)} }

// longestWait is how long a query waits for its turn.
const longestWait = 5 * time.Second

func (p *sessions) take(ctx context.Context) (session, error) {
	var open bool
	select {
	case _, open = <-p.free:
	default:
		waiting, stop := context.WithTimeoutCause(ctx, longestWait, tenant.Refuse(tenant.Unavailable, "Too many requests wait for the database already."))
		defer stop()
		select {
		case _, open = <-p.free:
		case <-waiting.Done():
			return nil, context.Cause(waiting)
		}
	}
	if !open {
		return nil, tenant.Refuse(tenant.Unavailable, "The service is stopping.")
	}
	return p.last(), nil
}

// last is a free reader; there must be one.
func (p *sessions) last() session {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.idle) - 1
	s := p.idle[last]
	p.idle = p.idle[:last]
	return s
}

func (p *sessions) put(s session) {
	p.mu.Lock()
	p.idle = append(p.idle, s)
	p.mu.Unlock()
	p.free <- struct{}{}
}

// putLast is put for one that is best left alone while there are others: it has
// lost its connection, and may not get another.
func (p *sessions) putLast(s session) {
	p.mu.Lock()
	p.idle = slices.Insert(p.idle, 0, s)
	p.mu.Unlock()
	p.free <- struct{}{}
}

// close waits for the readers to come back, and closes them.
func (p *sessions) close() {
	for range cap(p.free) {
		<-p.free
		p.last().close()
	}
	close(p.free) // none comes back: all have been taken
}

// Tx is one transaction: the only way to the rows.
type Tx struct {
	s      session
	source *tenant.Source
	now    time.Time
	// dirty: something was written, or a statement failed, which ends the whole
	// transaction with some engines.
	dirty bool
	// careful: each statement's error is wanted with the statement.
	careful bool
	ids     []string
}

// Now is the time of the transaction: it is read once.
func (tx *Tx) Now() time.Time { return tx.now }

// exec writes. That it failed may be known only later, unless the transaction is
// careful; the batch is then done again by one that is.
func (tx *Tx) exec(query string, args ...any) error {
	tx.dirty = true
	if !tx.careful {
		return tx.s.later(query, args...)
	}
	_, err := tx.s.run(query, args...)
	return err
}

// execCount writes, and returns how many rows changed.
func (tx *Tx) execCount(query string, args ...any) (int64, error) {
	tx.dirty = true
	return tx.s.run(query, args...)
}

func (tx *Tx) count(query string, args ...any) (int64, error) {
	n, err := one(tx, func(row scanner, n *int64) error { return row.Scan(n) }, query, args...)
	if err != nil || n == nil {
		return 0, err
	}
	return *n, nil
}

// one reads a row, or nil when there is none.
func one[T any](tx *Tx, scan func(scanner, *T) error, query string, args ...any) (*T, error) {
	var found *T
	err := each(tx, scan, func(v *T) error {
		if found == nil {
			value := *v
			found = &value
		}
		return nil
	}, query, args...)
	return found, err
}

// each calls fn with every row in turn; the value is overwritten by the next.
func each[T any](tx *Tx, scan func(scanner, *T) error, fn func(*T) error, query string, args ...any) error {
	tx.dirty = tx.dirty || !strings.HasPrefix(query, "SELECT")
	var value T
	err := tx.s.query(query, args, func(row scanner) error {
		if err := scan(row, &value); err != nil {
			return err
		}
		return fn(&value)
	})
	tx.dirty = tx.dirty || err != nil
	return err
}

// all reads every row; the result is never nil.
func all[T any](tx *Tx, scan func(scanner, *T) error, query string, args ...any) ([]T, error) {
	values := []T{}
	err := each(tx, scan, func(v *T) error {
		values = append(values, *v)
		return nil
	}, query, args...)
	return values, err
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}
