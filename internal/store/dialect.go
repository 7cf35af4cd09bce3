package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// This file is the only one that knows which engine is below: how it is opened,
// how its placeholders look, how a write begins, and what its errors mean.

//go:embed migrations/*.sql
var migrations embed.FS

// oldestSQLite is the first release without the WAL-reset race that can corrupt
// a database.
const oldestSQLite = "3.51.3"

// openSQLite opens the file for writing, or with readOnly for queries alone.
// synchronous=FULL: what was committed survives a power cut.
func openSQLite(path string, readOnly bool) (*sql.DB, error) {
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

func checkEngine(ctx context.Context, db *sql.DB) error {
	var version string
	if err := db.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&version); err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	if compareVersions(version, oldestSQLite) < 0 {
		return fmt.Errorf("SQLite %s is too old: %s is the first that is safe here", version, oldestSQLite)
	}
	return nil
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

// migrate brings the schema up to what this binary knows, and refuses a
// database that is newer.
func migrate(ctx context.Context, db *sql.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files)
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

const (
	beginWrite  = "BEGIN IMMEDIATE"
	beginRead   = "BEGIN"
	commit      = "COMMIT"
	rollback    = "ROLLBACK"
	forUpdate   = "" // a write transaction holds the only lock there is
	savepoint   = "SAVEPOINT one"
	release     = "RELEASE one"
	rollbackOne = "ROLLBACK TO one"
)

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

// engineFindings calls note with each fault that the engine finds in its own
// file: pages, indexes and constraints.
func engineFindings(tx *Tx, note func(*string) error) error {
	return each(tx, func(row scanner, s *string) error { return row.Scan(s) }, func(s *string) error {
		if *s == "ok" {
			return nil
		}
		finding := "database file: " + *s
		return note(&finding)
	}, "PRAGMA integrity_check")
}

// isDuplicate reports whether err is a broken unique index that covers column.
func isDuplicate(err error, column string) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE && strings.Contains(e.Error(), column)
}

// isFull reports whether the disk is full: the write was undone and a later one
// may succeed.
func isFull(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_FULL
}

// isBroken reports whether the storage failed in a way after which nothing that
// this handle writes can be trusted.
func isBroken(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY:
		return true
	}
	return false
}
