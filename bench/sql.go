package main

import (
	"context"
	"database/sql"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"
	_ "modernc.org/sqlite" // for openSQL
)

// sqlDB is a database past the product, with its settings: one of SQLite, or of
// PostgreSQL by the driver that the product has. Placeholders are ?1, ?2.
type sqlDB struct {
	lite     *sql.DB
	postgres string // the address
	idle     []*pgx.Conn
}

// rows are what a query found.
type rows interface {
	Next() bool
	Scan(dest ...any) error
	Err() error
}

// open opens the database that was built, to read it.
func (d *data) open() (*sqlDB, error) {
	if d.cluster != nil {
		return openSQL(d.cluster.url(d.name), "")
	}
	return openSQL(d.file(), "mode=ro")
}

// openSQL opens the file of SQLite, with options, or the address of PostgreSQL.
func openSQL(address, options string) (*sqlDB, error) {
	if strings.HasPrefix(address, "postgres://") {
		return &sqlDB{postgres: address}, nil
	}
	lite, err := sql.Open("sqlite", "file:"+(&url.URL{Path: address}).EscapedPath()+
		"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=cache_size(-65536)&_pragma=wal_autocheckpoint(4000)&"+options)
	if err != nil {
		return nil, err
	}
	lite.SetMaxOpenConns(2)
	return &sqlDB{lite: lite}, nil
}

func (db *sqlDB) close() {
	if db.lite != nil {
		db.lite.Close()
	}
	for _, conn := range db.idle {
		conn.Close(context.Background())
	}
}

// query asks; done is to be called when the rows are read.
func (db *sqlDB) query(ctx context.Context, query string, args ...any) (found rows, done func(), err error) {
	if db.lite != nil {
		found, err := db.lite.QueryContext(ctx, query, args...)
		return found, func() { found.Close() }, err
	}
	if len(db.idle) == 0 {
		conn, err := pgx.Connect(ctx, db.postgres)
		if err != nil {
			return nil, nil, err
		}
		// As the product has it: compiling a query takes longer than running it.
		if _, err := conn.Exec(ctx, "SET jit = off"); err != nil {
			return nil, nil, err
		}
		db.idle = append(db.idle, conn)
	}
	conn := db.idle[len(db.idle)-1]
	db.idle = db.idle[:len(db.idle)-1]
	all, err := conn.Query(ctx, numbered(query), args...)
	return all, func() {
		all.Close()
		db.idle = append(db.idle, conn)
	}, err
}

// each calls row with every row in turn.
func (db *sqlDB) each(ctx context.Context, row func(rows) error, query string, args ...any) error {
	found, done, err := db.query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer done()
	for found.Next() {
		if err := row(found); err != nil {
			return err
		}
	}
	return found.Err()
}

// exec runs a statement that yields no rows.
func (db *sqlDB) exec(ctx context.Context, statement string, args ...any) error {
	return db.each(ctx, func(rows) error { return nil }, statement, args...)
}

// numbered writes placeholders as PostgreSQL wants them.
func numbered(query string) string { return strings.ReplaceAll(query, "?", "$") }
