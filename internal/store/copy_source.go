package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
)

// copySource is the file that is copied, on one unchanging snapshot.
type copySource struct {
	name    string // for people
	version int64
	tables  copyTables
	// identity tells these rows from those of other installations, and from those of
	// this one at another time.
	identity string

	lock    *fileLock
	db      *sql.DB
	session *sqliteSession
}

// openCopySource opens a file for reading alone, while no server has it.
func openCopySource(ctx context.Context, path string) (_ *copySource, err error) {
	s := &copySource{name: filepath.Base(path)}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open the source: %w", err)
	}
	if s.lock, err = lockFile(path + ".lock"); errors.As(err, new(*fs.PathError)) {
		return nil, fmt.Errorf("lock the source: %w", err)
	} else if err != nil {
		return nil, fmt.Errorf("the database %s is in use by another process: stop the server first", s.name)
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	// Not as sqliteFile does it: the journal mode is written into the file.
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() + "?mode=ro&_pragma=busy_timeout(5000)&_pragma=query_only(1)&_pragma=cache_size(-16384)"
	if s.db, err = sql.Open("sqlite", dsn); err != nil {
		return nil, err
	}
	schema, err := schemaOf(ctx, s.db, "SELECT COUNT(*) FROM sqlite_schema WHERE name = 'goose_db_version'",
		"SELECT MAX(version_id) FROM goose_db_version WHERE is_applied")
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", s.name, err)
	case schema.From == 0:
		return nil, fmt.Errorf("%s is no database of this program", s.name)
	case schema.From != schema.To:
		return nil, fmt.Errorf("%s has schema %d and this program %d: run tenantry migrate --database sqlite:FILE first", s.name, schema.From, schema.To)
	}
	s.version = schema.To
	session, err := newSQLiteSession(ctx, s.db)
	if err != nil {
		return nil, err
	}
	s.session = session.(*sqliteSession)
	return s, s.session.beginRead(ctx, true)
}

func (s *copySource) close() {
	if s.session != nil {
		s.session.rollback()
		s.session.close()
	}
	if s.db != nil {
		s.db.Close()
	}
	if s.lock != nil {
		s.lock.unlock()
	}
}

// survey finds out which tables there are and what tells these rows from others:
// how many there are, and the first of each table. A change of the tenants' data
// adds a row to the audit log at least.
func (s *copySource) survey(ctx context.Context) error {
	err := s.session.query(`SELECT m.name, p.name, lower(p.type), p.pk FROM sqlite_schema m JOIN pragma_table_info(m.name) p
		WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY m.name, p.name`, nil, func(row scanner) error {
		var table, column, kind string
		var place int64
		if err := row.Scan(&table, &column, &kind, &place); err != nil {
			return err
		}
		return s.tables.add(table, column, kind, int(place))
	})
	if err != nil {
		return err
	}
	identity := sha256.New()
	fmt.Fprintln(identity, s.version)
	for _, t := range s.tables {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.session.query("SELECT COUNT(*) FROM "+t.quoted(), nil, func(row scanner) error { return row.Scan(&t.rows) }); err != nil {
			return fmt.Errorf("count the rows of the table %s: %w", t.name, err)
		}
		fmt.Fprintln(identity, t.name, t.rows)
		rows, err := s.rows(t, nil)
		if err != nil {
			return err
		}
		first, err := rows.next(nil)
		rows.close()
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		identity.Write(first)
	}
	s.identity = hex.EncodeToString(identity.Sum(nil))
	return nil
}

// read calls row with every row of a table.
func (s *copySource) read(t *copyTable, row func([]byte) error) error {
	rows, err := s.rows(t, nil)
	if err != nil {
		return err
	}
	defer rows.close()
	var buffer []byte
	for {
		if buffer, err = rows.next(buffer[:0]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := row(buffer); err != nil {
			return err
		}
	}
}

// copyRows are the rows of a table, one after the other.
type copyRows struct {
	table  *copyTable
	rows   driver.Rows
	values []driver.Value // of the last row
}

// rows are all rows behind a key, or from the first.
func (s *copySource) rows(t *copyTable, behind []string) (*copyRows, error) {
	var args []any
	for i, part := range behind {
		var arg any = part
		if t.columns[t.key[i]].kind == "bigint" {
			n, err := strconv.ParseInt(part, 10, 64)
			if err != nil {
				return nil, err
			}
			arg = n
		}
		args = append(args, arg)
	}
	stmt, err := s.session.prepare(t.query(len(args) > 0))
	if err != nil {
		return nil, err
	}
	values, err := s.session.bound(args)
	if err != nil {
		return nil, err
	}
	rows, err := stmt.(driver.StmtQueryContext).QueryContext(context.Background(), values)
	if err != nil {
		return nil, err
	}
	return &copyRows{t, rows, make([]driver.Value, len(t.columns))}, nil
}

// next appends the next row, or returns io.EOF behind the last.
func (r *copyRows) next(row []byte) ([]byte, error) {
	if err := r.rows.Next(r.values); err != nil {
		return row, err
	}
	return r.table.appendRow(row, r.values)
}

// key is the key of the last row.
func (r *copyRows) key() []string {
	var key []string
	for _, c := range r.table.key {
		key = append(key, fmt.Sprint(r.values[c]))
	}
	return key
}

func (r *copyRows) close() { r.rows.Close() }
