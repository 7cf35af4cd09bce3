package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"

	"github.com/tenantry/tenantry/internal/directory"
	"github.com/tenantry/tenantry/internal/tenant"
)

// session is one connection with the statements it has prepared. It speaks to
// the driver itself: database/sql has opened the connection and keeps its hands
// off while it is taken, and its conversions and locks would cost a fifth of each
// statement.
type session struct {
	conn  *sql.Conn
	raw   driver.Conn
	stmts map[string]driver.Stmt
	args  []driver.NamedValue
}

func newSession(ctx context.Context, db *sql.DB) (*session, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	s := &session{conn: conn, stmts: map[string]driver.Stmt{}}
	return s, conn.Raw(func(raw any) error {
		s.raw = raw.(driver.Conn)
		return nil
	})
}

func (s *session) close() {
	for _, stmt := range s.stmts {
		stmt.Close()
	}
	s.conn.Close()
}

// prepare keeps every statement: their texts are constants of this package.
func (s *session) prepare(query string) (driver.Stmt, error) {
	if stmt := s.stmts[query]; stmt != nil {
		return stmt, nil
	}
	stmt, err := s.raw.Prepare(bind(query))
	if err != nil {
		return nil, err
	}
	s.stmts[query] = stmt
	return stmt, nil
}

// bound makes the arguments what a driver takes. They are good until the next
// statement.
func (s *session) bound(args []any) ([]driver.NamedValue, error) {
	s.args = s.args[:0]
	for i, arg := range args {
		value, err := driver.DefaultParameterConverter.ConvertValue(arg)
		if err != nil {
			return nil, fmt.Errorf("argument %d: %w", i+1, err)
		}
		s.args = append(s.args, driver.NamedValue{Ordinal: i + 1, Value: value})
	}
	return s.args, nil
}

// run executes a statement and returns how many rows it changed. Statements run
// to their end whatever becomes of the caller; they are all short.
func (s *session) run(query string, args ...any) (int64, error) {
	stmt, err := s.prepare(query)
	if err != nil {
		return 0, err
	}
	values, err := s.bound(args)
	if err != nil {
		return 0, err
	}
	result, err := stmt.(driver.StmtExecContext).ExecContext(context.Background(), values)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// query calls row with every row in turn, until it returns an error.
func (s *session) query(query string, args []any, row func(scanner) error) (err error) {
	stmt, err := s.prepare(query)
	if err != nil {
		return err
	}
	values, err := s.bound(args)
	if err != nil {
		return err
	}
	rows, err := stmt.(driver.StmtQueryContext).QueryContext(context.Background(), values)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	current := &record{make([]driver.Value, len(rows.Columns()))}
	for {
		if err := rows.Next(current.values); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := row(current); err != nil {
			return err
		}
	}
}

// scanner is a row whose columns can be read.
type scanner interface{ Scan(dest ...any) error }

// record is a row as a driver gives it.
type record struct{ values []driver.Value }

// Scan copies the columns into the variables that dest points at.
func (r *record) Scan(dest ...any) error {
	if len(dest) != len(r.values) {
		return fmt.Errorf("%d columns for %d variables", len(r.values), len(dest))
	}
	for i, value := range r.values {
		ok := false
		switch d := dest[i].(type) {
		case *string:
			*d, ok = value.(string)
		case *int64:
			*d, ok = value.(int64)
		case *bool:
			switch v := value.(type) {
			case bool:
				*d, ok = v, true
			case int64:
				*d, ok = v != 0, true
			}
		case *directory.Status:
			var n int64
			n, ok = value.(int64)
			*d = directory.Status(n)
		case *tenant.UserStatus:
			var text string
			text, ok = value.(string)
			*d = tenant.UserStatus(text)
		case *tenant.KeyKind:
			var text string
			text, ok = value.(string)
			*d = tenant.KeyKind(text)
		}
		if !ok {
			return fmt.Errorf("column %d is a %T, which does not fit a %T", i+1, value, dest[i])
		}
	}
	return nil
}
