package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// This file, sqlite.go and postgres.go are the only ones that know which engine is
// below: how it is opened, how its placeholders look, how a write begins, how
// others hear of it, and what its errors mean.

//go:embed migrations/*.sql
var migrations embed.FS

// engine is a database that is open.
type engine interface {
	// reader and writer are new sessions.
	reader(ctx context.Context) (session, error)
	writer(ctx context.Context) (session, error)
	// findings calls note with each fault that the engine finds in itself.
	findings(tx *Tx, note func(*string) error) error
	// follow tells the DB of what other processes write, until close.
	follow(db *DB)
	// trusted reports whether what the DB was told of is all there is.
	trusted() bool
	// doubt is for how long it has not been trusted.
	doubt() time.Duration
	// tell sends a text to the other processes, or loses it.
	tell(text string)
	// hold is DB.Hold.
	hold(ctx context.Context, name string, alone bool) (release func(), err error)
	close() error
}

// session is one connection, for one transaction at a time. Its statements run to
// their end whatever becomes of the caller; they are all short.
type session interface {
	// beginRead starts a transaction on one unchanging snapshot. Its statements may
	// take their time if slow.
	beginRead(ctx context.Context, slow bool) error
	// beginWrite starts one that has the lanes to itself.
	beginWrite(lanes []string) error
	// run executes a statement and returns how many rows it changed.
	run(query string, args ...any) (int64, error)
	// later executes it at the latest with the next one. If it fails then, the
	// error is that one's, and isLate.
	later(query string, args ...any) error
	// query calls row with every row in turn, until it returns an error.
	query(query string, args []any, row func(scanner) error) error
	// commit confirms what was written and tells the ids to other processes. When
	// the answer is lost, it finds out: an error that isUnknown is left only when it
	// cannot, one that isLost means that nothing was written.
	commit(ids []string) error
	rollback()
	// endRead ends a transaction that only read, and calls done: later, if there is
	// something to wait for.
	endRead(done func())
	close()
}

// scanner is a row whose columns can be read.
type scanner interface{ Scan(dest ...any) error }

// Savepoints are the same in both.
const (
	savepoint   = "SAVEPOINT one"
	release     = "RELEASE one"
	rollbackOne = "ROLLBACK TO one"
)

// isPostgres tells an address of PostgreSQL from the path of a file.
func isPostgres(database string) bool {
	return strings.HasPrefix(database, "postgres://") || strings.HasPrefix(database, "postgresql://")
}

// migrate brings the schema up to what this binary knows, and refuses a
// database that is newer.
func migrate(ctx context.Context, dialect goose.Dialect, db *sql.DB, files fs.FS) error {
	provider, err := goose.NewProvider(dialect, db, files)
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	have, err := provider.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("read the schema version: %w", err)
	}
	sources := provider.ListSources()
	if newest := sources[len(sources)-1].Version; have > newest {
		return fmt.Errorf("the database has schema %d and this program knows %d: use a newer program", have, newest)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate the schema: %w", err)
	}
	return nil
}

// isDuplicate reports whether err is a broken unique index, or primary key, that
// covers column.
func isDuplicate(err error, column string) bool {
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		code := lite.Code()
		return (code == sqlite3.SQLITE_CONSTRAINT_UNIQUE || code == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY) && strings.Contains(lite.Error(), column)
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "23505" {
		columns, _, _ := strings.Cut(pg.Detail, ")=(") // in whatever language
		return strings.Contains(columns, column)
	}
	return false
}

// isFull reports whether the disk is full: the write was undone and a later one
// may succeed.
func isFull(err error) bool {
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		return lite.Code()&0xff == sqlite3.SQLITE_FULL
	}
	return pgCode(err) == "53100"
}

// isBroken reports whether the storage failed in a way after which nothing that
// this process writes can be trusted. A server of its own judges for itself.
func isBroken(err error) bool {
	var lite *sqlite.Error
	if !errors.As(err, &lite) {
		return false
	}
	switch lite.Code() & 0xff {
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY:
		return true
	}
	return false
}

// isConflict reports whether the engine gave up a transaction in favour of
// another, so that all of it may be done again.
func isConflict(err error) bool {
	switch pgCode(err) {
	case "40001", "40P01":
		return true
	}
	return false
}

// isOverloaded reports whether the engine refuses work that it may do later.
func isOverloaded(err error) bool {
	code := pgCode(err)
	// Class 58 is the server's own system: a disk, a file.
	return code == "55P03" || code == "57014" || strings.HasPrefix(code, "53") || strings.HasPrefix(code, "58")
}

func pgCode(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// lost is an error of a connection that is gone, and with it what was not
// committed.
type lost struct{ error }

func (e lost) Unwrap() error { return e.error }

func isLost(err error) bool { return errors.As(err, new(lost)) }

// late is the error of a statement that was to be executed later.
type late struct{ error }

func (e late) Unwrap() error { return e.error }

func isLate(err error) bool { return errors.As(err, new(late)) }

// unknown is a commit of which nobody could tell in time whether it took place.
type unknown struct{ error }

func (e unknown) Unwrap() error { return e.error }

func isUnknown(err error) bool { return errors.As(err, new(unknown)) }
