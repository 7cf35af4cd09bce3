package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/tenantry/tenantry/internal/directory"
	"github.com/tenantry/tenantry/internal/tenant"
)

// oldestSQLite is the first release without the WAL-reset race that can corrupt
// a database.
const oldestSQLite = "3.51.3"

// sqliteEngine is a file that this process has to itself.
type sqliteEngine struct {
	lock        *fileLock
	write, read *sql.DB
}

func openSQLite(ctx context.Context, path string) (_ engine, err error) {
	// The database and what SQLite puts beside it are for this user alone.
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	file.Close()
	e := &sqliteEngine{}
	if e.lock, err = lockFile(path + ".lock"); errors.Is(err, fs.ErrPermission) {
		return nil, err
	} else if err != nil {
		return nil, fmt.Errorf("the database %s is in use by another process: %w", filepath.Base(path), err)
	}
	defer func() {
		if err != nil {
			e.close()
		}
	}()
	if e.write, err = sqliteFile(path, false); err != nil {
		return nil, err
	}
	e.write.SetMaxOpenConns(1)
	var version string
	if err := e.write.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&version); err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	if compareVersions(version, oldestSQLite) < 0 {
		return nil, fmt.Errorf("SQLite %s is too old: %s is the first that is safe here", version, oldestSQLite)
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	if err := migrate(ctx, goose.DialectSQLite3, e.write, files); err != nil {
		return nil, err
	}
	e.read, err = sqliteFile(path, true)
	return e, err
}

// sqliteFile opens the file for writing, or with readOnly for queries alone.
// synchronous=FULL: what was committed survives a power cut.
func sqliteFile(path string, readOnly bool) (*sql.DB, error) {
	pragmas := []string{
		"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)",
		"temp_store(MEMORY)", "wal_autocheckpoint(8000)",
	}
	// Negative sizes are KiB. The system's own cache holds the rest of the file.
	if readOnly {
		pragmas = append(pragmas, "query_only(1)", "cache_size(-4096)")
	} else {
		pragmas = append(pragmas, "cache_size(-32768)")
	}
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() + "?_pragma=" + strings.Join(pragmas, "&_pragma=")
	return sql.Open("sqlite", dsn)
}

func compareVersions(a, b string) int {
	var x, y [3]int
	fmt.Sscanf(a, "%d.%d.%d", &x[0], &x[1], &x[2])
	fmt.Sscanf(b, "%d.%d.%d", &y[0], &y[1], &y[2])
	for i := range x {
		if x[i] != y[i] {
			return x[i] - y[i]
		}
	}
	return 0
}

func (e *sqliteEngine) reader(ctx context.Context) (session, error) {
	return newSQLiteSession(ctx, e.read)
}

func (e *sqliteEngine) writer(ctx context.Context) (session, error) {
	return newSQLiteSession(ctx, e.write)
}

// Nobody else writes the file.

func (e *sqliteEngine) follow(*DB)    {}
func (e *sqliteEngine) trusted() bool { return true }
func (e *sqliteEngine) tell(string)   {}

func (e *sqliteEngine) doubt() time.Duration { return 0 }

func (e *sqliteEngine) hold(context.Context, string, bool) (func(), error) {
	return func() {}, nil
}

func (e *sqliteEngine) findings(tx *Tx, note func(*string) error) error {
	return each(tx, func(row scanner, s *string) error { return row.Scan(s) }, func(s *string) error {
		if *s == "ok" {
			return nil
		}
		finding := "database file: " + *s
		return note(&finding)
	}, "PRAGMA integrity_check")
}

func (e *sqliteEngine) close() error {
	var errs []error
	if e.read != nil {
		errs = append(errs, e.read.Close())
	}
	if e.write != nil {
		errs = append(errs, e.write.Close())
	}
	if e.lock != nil {
		errs = append(errs, e.lock.unlock())
	}
	return errors.Join(errs...)
}

// sqliteSession speaks to the driver itself: database/sql has opened the
// connection and keeps its hands off while it is taken, and its conversions and
// locks would cost a fifth of each statement.
type sqliteSession struct {
	conn  *sql.Conn
	raw   driver.Conn
	stmts map[string]driver.Stmt
	args  []driver.NamedValue
}

func newSQLiteSession(ctx context.Context, db *sql.DB) (session, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	s := &sqliteSession{conn: conn, stmts: map[string]driver.Stmt{}}
	return s, conn.Raw(func(raw any) error {
		s.raw = raw.(driver.Conn)
		return nil
	})
}

func (s *sqliteSession) close() {
	for _, stmt := range s.stmts {
		stmt.Close()
	}
	s.conn.Close()
}

func (s *sqliteSession) beginRead(context.Context, bool) error {
	_, err := s.run("BEGIN")
	return err
}

// beginWrite takes the only lock there is, which is all lanes.
func (s *sqliteSession) beginWrite([]string) error {
	_, err := s.run("BEGIN IMMEDIATE")
	return err
}

func (s *sqliteSession) commit([]string) error {
	_, err := s.run("COMMIT")
	return err
}

func (s *sqliteSession) rollback() { s.run("ROLLBACK") }

func (s *sqliteSession) endRead(done func()) {
	s.rollback()
	done()
}

// prepare keeps every statement: their texts are constants of this package.
func (s *sqliteSession) prepare(query string) (driver.Stmt, error) {
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

// bind turns $1 into ?1: SQLite would take $1 for a name, numbered by first
// appearance.
func bind(query string) string {
	var out strings.Builder
	for i := 0; i < len(query); i++ {
		if query[i] == '$' && i+1 < len(query) && query[i+1] >= '0' && query[i+1] <= '9' {
			out.WriteByte('?')
			continue
		}
		out.WriteByte(query[i])
	}
	return out.String()
}

// bound makes the arguments what a driver takes. They are good until the next
// statement.
func (s *sqliteSession) bound(args []any) ([]driver.NamedValue, error) {
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

func (s *sqliteSession) run(query string, args ...any) (int64, error) {
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

// later is now: the engine is in this process.
func (s *sqliteSession) later(query string, args ...any) error {
	_, err := s.run(query, args...)
	return err
}

func (s *sqliteSession) query(query string, args []any, row func(scanner) error) (err error) {
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

// record is a row as the driver gives it.
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
		case *SessionKind:
			var text string
			text, ok = value.(string)
			*d = SessionKind(text)
		}
		if !ok {
			return fmt.Errorf("column %d is a %T, which does not fit a %T", i+1, value, dest[i])
		}
	}
	return nil
}
