package store

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/tenantry/tenantry/internal/tenant"
)

// session is one connection with the statements it has prepared.
type session struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
}

func newSession(ctx context.Context, db *sql.DB) (*session, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	return &session{conn, map[string]*sql.Stmt{}}, nil
}

func (s *session) close() {
	for _, stmt := range s.stmts {
		stmt.Close()
	}
	s.conn.Close()
}

// prepare keeps every statement: their texts are constants of this package.
// Queries run to their end whatever becomes of the caller; they are all short.
func (s *session) prepare(query string) (*sql.Stmt, error) {
	if stmt := s.stmts[query]; stmt != nil {
		return stmt, nil
	}
	stmt, err := s.conn.PrepareContext(context.Background(), bind(query))
	if err != nil {
		return nil, err
	}
	s.stmts[query] = stmt
	return stmt, nil
}

func (s *session) run(query string) error {
	stmt, err := s.prepare(query)
	if err != nil {
		return err
	}
	_, err = stmt.Exec()
	return err
}

// sessions are the readers that are free. The one used last is taken first, so
// that little work warms few caches.
type sessions struct {
	free chan struct{} // as many as there are
	mu   sync.Mutex
	idle []*session
}

func newSessions(n int) *sessions { return &sessions{free: make(chan struct{}, n)} }

func (p *sessions) take(ctx context.Context) (*session, error) {
	select {
	case <-p.free:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.idle) - 1
	s := p.idle[last]
	p.idle = p.idle[:last]
	return s, nil
}

func (p *sessions) put(s *session) {
	p.mu.Lock()
	p.idle = append(p.idle, s)
	p.mu.Unlock()
	p.free <- struct{}{}
}

// close waits for the readers to come back, and closes them.
func (p *sessions) close() {
	for range cap(p.free) {
		s, _ := p.take(context.Background()) // cannot end
		s.close()
	}
}

// Tx is one transaction: the only way to the rows.
type Tx struct {
	s      *session
	source *tenant.Source
	now    time.Time
	write  bool
	wrote  bool
	ids    []string
}

// Now is the time of the transaction: it is read once.
func (tx *Tx) Now() time.Time { return tx.now }

func (tx *Tx) exec(query string, args ...any) (int64, error) {
	tx.wrote = true
	stmt, err := tx.s.prepare(query)
	if err != nil {
		return 0, err
	}
	result, err := stmt.Exec(args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (tx *Tx) count(query string, args ...any) (int64, error) {
	n, err := one(tx, func(row scanner, n *int64) error { return row.Scan(n) }, query, args...)
	if err != nil || n == nil {
		return 0, err
	}
	return *n, nil
}

type scanner interface{ Scan(dest ...any) error }

// one reads a row, or nil when there is none.
func one[T any](tx *Tx, scan func(scanner, *T) error, query string, args ...any) (*T, error) {
	tx.wrote = tx.wrote || !strings.HasPrefix(query, "SELECT")
	stmt, err := tx.s.prepare(query)
	if err != nil {
		return nil, err
	}
	var value T
	if err := scan(stmt.QueryRow(args...), &value); err != nil {
		if errors.Is(err, sql.ErrNoRows) {
			return nil, nil
		}
		return nil, err
	}
	return &value, nil
}

// each calls fn with every row in turn; the value is overwritten by the next.
func each[T any](tx *Tx, scan func(scanner, *T) error, fn func(*T) error, query string, args ...any) error {
	tx.wrote = tx.wrote || !strings.HasPrefix(query, "SELECT")
	stmt, err := tx.s.prepare(query)
	if err != nil {
		return err
	}
	rows, err := stmt.Query(args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	var value T
	for rows.Next() {
		if err := scan(rows, &value); err != nil {
			return err
		}
		if err := fn(&value); err != nil {
			return err
		}
	}
	return rows.Err()
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
