package store

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// copyName is the name of the mark in the table installation.
const copyName = "copy"

// copyMark says how far a copy has come. While a database has it, it is not served.
type copyMark struct {
	// From is the file's name, for people.
	From string `json:"from"`
	// Source is copySource.identity.
	Source string `json:"source"`
	// Table and Key are where the last row that is here came from; the tables before
	// are here in full.
	Table string   `json:"table"`
	Key   []string `json:"key"`
	Rows  int64    `json:"rows"`
	// Indexes are the statements that make those that are still to be made.
	Indexes []string `json:"indexes"`
}

// readCopyMark reads the mark of a database that may not even have a schema yet,
// nil if it has none.
func readCopyMark(row func(query string) scanner) (*copyMark, error) {
	var there bool
	if err := row("SELECT to_regclass('installation') IS NOT NULL").Scan(&there); err != nil || !there {
		return nil, err
	}
	var value string
	if err := row("SELECT COALESCE(MAX(value), '') FROM installation WHERE name = '" + copyName + "'").Scan(&value); err != nil || value == "" {
		return nil, err
	}
	mark := new(copyMark)
	return mark, json.Unmarshal([]byte(value), mark)
}

// refuseCopy refuses a database that is half copied.
func refuseCopy(row func(query string) scanner) error {
	mark, err := readCopyMark(row)
	if err == nil && mark != nil {
		err = fmt.Errorf("the database holds an unfinished copy of %s: run the same tenantry copy again to finish it", mark.From)
	}
	return err
}

// copyTarget is the database that is copied to, over one connection.
type copyTarget struct {
	config *pgx.ConnConfig
	conn   *pgx.Conn
	mark   *copyMark
}

// copyWait is how long a run waits for the end of another, which may have been
// killed: the server notices that with its next answer.
const copyWait = 10 * time.Second

func openCopyTarget(ctx context.Context, url string) (*copyTarget, error) {
	config, err := postgresConfig(url)
	if err != nil {
		return nil, err
	}
	for _, limit := range []string{"lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"} {
		config.RuntimeParams[limit] = "0"
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open the target: %w", err)
	}
	t := &copyTarget{config: config, conn: conn}
	for began := time.Now(); ; time.Sleep(retryPause) {
		var alone bool
		if err = conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", lockKey("tenantry copy")).Scan(&alone); err == nil && alone {
			return t, nil
		}
		if err == nil && time.Since(began) > copyWait {
			err = errors.New("another copy to the same database is under way, or not over yet if it was killed: try again in a minute")
		}
		if err != nil {
			t.close()
			return nil, err
		}
	}
}

func (t *copyTarget) close() {
	ctx, stop := context.WithTimeout(context.Background(), time.Second)
	defer stop()
	t.conn.Close(ctx)
	// When a statement was interrupted, the server is being told so.
	select {
	case <-t.conn.PgConn().CleanupDone():
	case <-ctx.Done():
	}
}

func (t *copyTarget) row(ctx context.Context) func(string) scanner {
	return func(query string) scanner { return t.conn.QueryRow(ctx, query) }
}

// begin finds out how far an earlier copy has come, or makes the target ready for
// a new one. No server starts on it meanwhile.
func (t *copyTarget) begin(ctx context.Context, source *copySource, restart bool) (resumed bool, err error) {
	if _, err := t.conn.Exec(ctx, "SELECT pg_advisory_lock($1)", int64(migrateLock)); err != nil {
		return false, fmt.Errorf("lock the target: %w", err)
	}
	if t.mark, err = readCopyMark(t.row(ctx)); err != nil {
		return false, err
	}
	if t.mark != nil && restart {
		if err := t.clear(ctx); err != nil {
			return false, fmt.Errorf("empty the target: %w", err)
		}
	}
	if t.mark == nil {
		err = t.prepare(ctx, source)
	} else if resumed = true; t.mark.Source != source.identity {
		err = fmt.Errorf("the target holds an unfinished copy of another source, %s, or of this one before it changed: --restart empties it and begins anew", t.mark.From)
	}
	if err == nil {
		_, err = t.conn.Exec(ctx, "SELECT pg_advisory_unlock($1)", int64(migrateLock))
	}
	return resumed, err
}

// prepare takes an empty database and marks it.
func (t *copyTarget) prepare(ctx context.Context, source *copySource) error {
	if err := t.empty(ctx, source.tables); err != nil {
		return err
	}
	files, err := postgresMigrations()
	if err != nil {
		return err
	}
	db := stdlib.OpenDB(*t.config)
	defer db.Close()
	if err := migrate(ctx, goose.DialectPostgres, db, files); err != nil {
		return err
	}
	tables, err := t.tables(ctx)
	if err != nil {
		return err
	}
	if err := source.tables.check(tables); err != nil {
		return err
	}
	t.mark = &copyMark{From: source.name, Source: source.identity, Indexes: []string{}}
	return t.transact(ctx, func() error {
		// The migrations make this row, and the source has it, too.
		if _, err := t.conn.Exec(ctx, "DELETE FROM manager WHERE account_id = ''"); err != nil {
			return err
		}
		if err := t.dropIndexes(ctx); err != nil {
			return err
		}
		value, err := json.Marshal(t.mark)
		if err != nil {
			return err
		}
		_, err = t.conn.Exec(ctx, "INSERT INTO installation (name, value) VALUES ('"+copyName+"', $1)", string(value))
		return err
	})
}

// empty refuses a database in which there is anything. A server on it would have
// said in installation which master key it has.
func (t *copyTarget) empty(ctx context.Context, known copyTables) error {
	tables, err := t.texts(ctx, "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tablename NOT IN ('goose_db_version', 'node') ORDER BY 1")
	if err != nil {
		return err
	}
	for _, table := range tables {
		if !slices.ContainsFunc(known, func(k *copyTable) bool { return k.name == table }) {
			return fmt.Errorf("the target is not empty: there is a table %s in it, which is not of this program", table)
		}
		condition := ""
		if table == "manager" {
			condition = " WHERE account_id <> ''"
		}
		var some bool
		if err := t.row(ctx)("SELECT EXISTS (SELECT FROM " + pgx.Identifier{table}.Sanitize() + condition + ")").Scan(&some); err != nil {
			return err
		}
		if some {
			return fmt.Errorf("the target is not empty: there are rows in its table %s", table)
		}
	}
	return nil
}

// clear takes an unfinished copy away.
func (t *copyTarget) clear(ctx context.Context) error {
	tables, err := t.tables(ctx)
	if err != nil {
		return err
	}
	err = t.transact(ctx, func() error {
		for _, table := range tables {
			if _, err := t.conn.Exec(ctx, "TRUNCATE "+table.quoted()); err != nil {
				return err
			}
		}
		for _, index := range t.mark.Indexes {
			if _, err := t.conn.Exec(ctx, index); err != nil {
				return err
			}
		}
		return nil
	})
	t.mark = nil
	return err
}

func (t *copyTarget) tables(ctx context.Context) (tables copyTables, err error) {
	rows, err := t.conn.Query(ctx, `SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), COALESCE(array_position(i.indkey::int2[], a.attnum) + 1, 0)
		FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
		WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
		ORDER BY c.relname COLLATE "C", a.attname COLLATE "C"`)
	if err != nil {
		return nil, err
	}
	var table, column, kind string
	var place int
	_, err = pgx.ForEachRow(rows, []any{&table, &column, &kind, &place}, func() error { return tables.add(table, column, kind, place) })
	return tables, err
}

// dropIndexes takes away all indexes but those of the primary keys, and notes how
// they are made again: to make them at the end takes a fraction of the time.
func (t *copyTarget) dropIndexes(ctx context.Context) error {
	const ours = ` FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid WHERE t.relnamespace = current_schema()::regnamespace
		AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid) ORDER BY i.indexrelid`
	var err error
	if t.mark.Indexes, err = t.texts(ctx, "SELECT pg_get_indexdef(i.indexrelid)"+ours); err != nil {
		return err
	}
	names, err := t.texts(ctx, "SELECT i.indexrelid::regclass::text"+ours)
	for _, name := range names {
		if err == nil {
			_, err = t.conn.Exec(ctx, "DROP INDEX "+name)
		}
	}
	return err
}

func (t *copyTarget) texts(ctx context.Context, query string) ([]string, error) {
	rows, err := t.conn.Query(ctx, query)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// transact runs fn in a transaction. After an error the connection is of no use
// any more, and its end is that of the transaction.
func (t *copyTarget) transact(ctx context.Context, fn func() error) error {
	if _, err := t.conn.Exec(ctx, "BEGIN"); err != nil {
		return err
	}
	if err := fn(); err != nil {
		return err
	}
	_, err := t.conn.Exec(ctx, "COMMIT")
	return err
}

// progress notes in a transaction what it has done.
func (t *copyTarget) progress(ctx context.Context) error {
	value, err := json.Marshal(t.mark)
	if err != nil {
		return err
	}
	tag, err := t.conn.Exec(ctx, "UPDATE installation SET value = $1 WHERE name = '"+copyName+"'", string(value))
	if err == nil && tag.RowsAffected() != 1 {
		err = errLostMark
	}
	return err
}

var errLostMark = errors.New("the target has lost the mark of this copy: somebody else has changed it")

// load copies what is missing of a table.
func (t *copyTarget) load(ctx context.Context, source *copySource, table *copyTable, o CopyOptions) error {
	var behind []string
	switch {
	case table.name < t.mark.Table:
		return nil
	case table.name == t.mark.Table:
		behind = t.mark.Key
	}
	rows, err := source.rows(table, behind)
	if err != nil {
		return err
	}
	defer rows.close()
	for {
		batch := &copyBatch{rows: rows, most: o.Batch}
		err := t.transact(ctx, func() error {
			if err := batch.send(ctx, t.conn, table); err != nil || batch.count == 0 {
				return err
			}
			t.mark.Table, t.mark.Key = table.name, batch.key
			t.mark.Rows += int64(batch.count)
			return t.progress(ctx)
		})
		if err != nil {
			return err
		}
		if batch.count > 0 {
			o.Rows(batch.count)
		}
		if batch.count < o.Batch {
			return nil
		}
	}
}

// finish makes the indexes that were left out, and has the server look at what it
// has got: else the first queries would have the plans of tables without rows.
func (t *copyTarget) finish(ctx context.Context, tables copyTables, o CopyOptions) error {
	if len(t.mark.Indexes) > 0 {
		o.Step("making the indexes", 0)
	}
	for len(t.mark.Indexes) > 0 {
		index := t.mark.Indexes[0]
		err := t.transact(ctx, func() error {
			if _, err := t.conn.Exec(ctx, index); err != nil {
				return fmt.Errorf("%s: %w", index, err)
			}
			t.mark.Indexes = t.mark.Indexes[1:]
			return t.progress(ctx)
		})
		if err != nil {
			return err
		}
	}
	for _, table := range tables {
		if _, err := t.conn.Exec(ctx, "ANALYZE "+table.quoted()); err != nil {
			return fmt.Errorf("analyze the table %s: %w", table.name, err)
		}
	}
	return nil
}

// read calls row with every row of a table.
func (t *copyTarget) read(ctx context.Context, table *copyTable, row func([]byte) error) error {
	rows, err := t.conn.Query(ctx, table.query(false), pgx.QueryExecModeDescribeExec, pgx.QueryResultFormats{pgx.BinaryFormatCode})
	if err != nil {
		return err
	}
	defer rows.Close()
	var buffer []byte
	for rows.Next() {
		buffer = buffer[:0]
		for _, value := range rows.RawValues() {
			if value == nil {
				buffer = binary.BigEndian.AppendUint32(buffer, copyNull)
				continue
			}
			buffer = binary.BigEndian.AppendUint32(buffer, uint32(len(value)))
			buffer = append(buffer, value...)
		}
		if err := row(buffer); err != nil {
			return err
		}
	}
	return rows.Err()
}

// unmark lets the target be served.
func (t *copyTarget) unmark(ctx context.Context) error {
	tag, err := t.conn.Exec(ctx, "DELETE FROM installation WHERE name = '"+copyName+"'")
	if err == nil && tag.RowsAffected() != 1 {
		err = errLostMark
	}
	return err
}

// copyBatch is the rows of one transaction.
type copyBatch struct {
	rows *copyRows
	most int
	// What was sent.
	count int
	key   []string
}

// send sends the rows to the server.
func (b *copyBatch) send(ctx context.Context, conn *pgx.Conn, table *copyTable) error {
	r, w := io.Pipe()
	wrote := make(chan error, 1)
	go func() {
		err := b.write(w)
		w.CloseWithError(err)
		wrote <- err
	}()
	_, err := conn.PgConn().CopyFrom(ctx, r, "COPY "+table.quoted()+" ("+table.allNames()+") FROM STDIN (FORMAT binary)")
	r.Close()
	// The server says little of what is wrong on this side.
	if cause := <-wrote; cause != nil && !errors.Is(cause, io.ErrClosedPipe) {
		return cause
	}
	return err
}

// copyBuffer is how much is written at once, in bytes.
const copyBuffer = 64 << 10

// write writes them in the binary format of COPY.
func (b *copyBatch) write(w io.Writer) error {
	buffer := append(make([]byte, 0, 2*copyBuffer), "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	for b.count < b.most {
		start := len(buffer)
		buffer = binary.BigEndian.AppendUint16(buffer, uint16(len(b.rows.values)))
		next, err := b.rows.next(buffer)
		if errors.Is(err, io.EOF) {
			buffer = buffer[:start]
			break
		}
		if err != nil {
			return err
		}
		b.count++
		if buffer = next; len(buffer) < copyBuffer {
			continue
		}
		if _, err := w.Write(buffer); err != nil {
			return err
		}
		buffer = buffer[:0]
	}
	if b.count > 0 {
		b.key = b.rows.key()
	}
	_, err := w.Write(append(buffer, 0xff, 0xff)) // no more rows
	return err
}
