package store

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
)

// A copy moves a whole installation from a file of SQLite to PostgreSQL. It reads
// each table in the order of its primary key and writes some thousand rows in one
// transaction, which also notes in the target how far it has come: whenever it is
// interrupted, kill -9 included, the next run goes on there. That note is at the
// same time the mark of a database that is not to be served. It goes when all rows
// have been read back from both sides and were the same.

// CopyOptions tune Copy. The zero value is right for most.
type CopyOptions struct {
	// Restart empties a target that holds an unfinished copy, of whatever, first.
	Restart bool
	// Step hears what is done next, and to how many rows; 0 where they are not
	// counted. Nil means that nobody listens, as with Rows.
	Step func(doing string, rows int64)
	// Rows hears how many more rows that was done to.
	Rows func(n int)
	// Batch is how many rows share one transaction; 0 means 20,000.
	Batch int
}

// Copied is what a copy did.
type Copied struct {
	// Resumed is whether it went on with an earlier one.
	Resumed bool
	Tables  []CopiedTable
}

// CopiedTable is a table that is the same on both sides.
type CopiedTable struct {
	Name string
	Rows int64
	// SHA256 is over all rows in the order of the primary key, in hexadecimal. Each
	// side has it for itself.
	SHA256 string
}

// Copy copies the SQLite database from into the PostgreSQL database to, and
// compares the two. What it needs of memory does not depend on how many rows there
// are.
//
// No server may have from open; it is only read, and must have the schema of this
// program. to is brought to that schema, and must be empty or hold an unfinished
// copy of the same rows; what else it may hold is refused and left alone. Until
// Copy has returned nil, Open refuses to.
func Copy(ctx context.Context, from, to string, o CopyOptions) (copied Copied, err error) {
	defer func() {
		// A connection that is closed in the middle of something seldom says why.
		if err != nil && ctx.Err() != nil {
			err = errors.Join(ctx.Err(), err)
		}
	}()
	if isPostgres(from) || !isPostgres(to) {
		return Copied{}, errors.New("a copy goes from a file of SQLite to PostgreSQL: other ways are not supported")
	}
	o.Batch = cmp.Or(o.Batch, 20_000)
	if o.Step == nil {
		o.Step = func(string, int64) {}
	}
	if o.Rows == nil {
		o.Rows = func(int) {}
	}
	source, err := openCopySource(ctx, strings.TrimPrefix(from, "sqlite:"))
	if err != nil {
		return Copied{}, err
	}
	defer source.close()
	target, err := openCopyTarget(ctx, to)
	if err != nil {
		return Copied{}, err
	}
	defer target.close()
	o.Step("counting", 0)
	if err := source.survey(ctx); err != nil {
		return Copied{}, err
	}
	if copied.Resumed, err = target.begin(ctx, source, o.Restart); err != nil {
		return Copied{}, err
	}
	if copied.Resumed {
		o.Step(fmt.Sprintf("going on where the last run ended, behind %d rows", target.mark.Rows), 0)
	}
	rows := int64(0)
	for _, t := range source.tables {
		rows += t.rows
	}
	if left := rows - target.mark.Rows; left > 0 {
		o.Step("copying", left)
	}
	for _, t := range source.tables {
		if err := target.load(ctx, source, t, o); err != nil {
			return copied, fmt.Errorf("copy the table %s: %w", t.name, err)
		}
	}
	if err := target.finish(ctx, source.tables, o); err != nil {
		return copied, err
	}
	o.Step("comparing", rows)
	for _, t := range source.tables {
		same, err := compareCopy(ctx, source, target, t, o)
		if err != nil {
			return copied, fmt.Errorf("compare the table %s: %w", t.name, err)
		}
		copied.Tables = append(copied.Tables, same)
	}
	return copied, target.unmark(ctx)
}

// copyTable is a table as both sides have it.
type copyTable struct {
	name    string
	columns []copyColumn // by name
	key     []int        // the columns of the primary key, in its order
	rows    int64        // on the side of the source
}

type copyColumn struct {
	name string
	kind string // text, bigint or boolean
}

// copyTables are all tables of one side, by name. Both sides tell them out of the
// schema itself, so that no list of columns is written a second time.
type copyTables []*copyTable

// add adds a column; they come in the order of table and column. place is where in
// the primary key it is, from 1, or 0.
func (ts *copyTables) add(table, column, kind string, place int) error {
	if table == "goose_db_version" || table == "node" {
		return nil // the version is the other side's own, and so are its processes
	}
	if kind != "text" && kind != "bigint" && kind != "boolean" {
		return fmt.Errorf("the column %s of the table %s has the type %s, which is not copied", column, table, kind)
	}
	if len(*ts) == 0 || (*ts)[len(*ts)-1].name != table {
		*ts = append(*ts, &copyTable{name: table})
	}
	t := (*ts)[len(*ts)-1]
	t.columns = append(t.columns, copyColumn{column, kind})
	for place > len(t.key) {
		t.key = append(t.key, 0)
	}
	if place > 0 {
		t.key[place-1] = len(t.columns) - 1
	}
	return nil
}

// check refuses tables that the other side has not, or not so.
func (ts copyTables) check(others copyTables) error {
	for i := range max(len(ts), len(others)) {
		if i >= len(ts) || i >= len(others) || ts[i].name != others[i].name {
			return errors.New("the two databases do not have the same tables")
		}
		t, other := ts[i], others[i]
		if len(t.key) == 0 || !slices.Equal(t.columns, other.columns) || !slices.Equal(t.key, other.key) {
			return fmt.Errorf("the two databases do not have the same columns, or not the same key, in the table %s", t.name)
		}
	}
	return nil
}

// names are columns of the table, as SQL has them.
func (t *copyTable) names(columns []int) string {
	var names []string
	for _, c := range columns {
		names = append(names, pgx.Identifier{t.columns[c].name}.Sanitize())
	}
	return strings.Join(names, ", ")
}

func (t *copyTable) allNames() string {
	all := make([]int, len(t.columns))
	for i := range all {
		all[i] = i
	}
	return t.names(all)
}

func (t *copyTable) quoted() string { return pgx.Identifier{t.name}.Sanitize() }

// query reads the rows in the order of the key: from the first, or from behind the
// key that its arguments are.
func (t *copyTable) query(behind bool) string {
	var conditions []string
	if t.name == "installation" {
		conditions = append(conditions, "name <> '"+copyName+"'")
	}
	if behind {
		var places []string
		for i := range t.key {
			places = append(places, "$"+strconv.Itoa(i+1))
		}
		conditions = append(conditions, "("+t.names(t.key)+") > ("+strings.Join(places, ", ")+")")
	}
	query := "SELECT " + t.allNames() + " FROM " + t.quoted()
	if len(conditions) > 0 {
		query += " WHERE " + strings.Join(conditions, " AND ")
	}
	return query + " ORDER BY " + t.names(t.key)
}

// A row is the same bytes on both sides: what COPY takes in its binary format, and
// what a query answers in that. For each column there are four bytes with the
// length of the value, or -1 for NULL, and the value.

const copyNull = 0xffffffff

// appendRow appends a row as SQLite has it.
func (t *copyTable) appendRow(row []byte, values []driver.Value) ([]byte, error) {
	for i, value := range values {
		c := t.columns[i]
		text, isText := value.(string)
		number, isNumber := value.(int64)
		switch {
		case value == nil:
			row = binary.BigEndian.AppendUint32(row, copyNull)
		case isText && c.kind == "text":
			if strings.IndexByte(text, 0) >= 0 || !utf8.ValidString(text) {
				return nil, fmt.Errorf("%s of the row %s has a NUL character in it or is not UTF-8, which PostgreSQL does not store: change it first", c.name, t.keyOfValues(values))
			}
			row = binary.BigEndian.AppendUint32(row, uint32(len(text)))
			row = append(row, text...)
		case isNumber && c.kind == "bigint":
			row = binary.BigEndian.AppendUint32(row, 8)
			row = binary.BigEndian.AppendUint64(row, uint64(number))
		case isNumber && c.kind == "boolean" && (number == 0 || number == 1):
			row = binary.BigEndian.AppendUint32(row, 1)
			row = append(row, byte(number))
		default:
			return nil, fmt.Errorf("%s of the row %s is no %s: change it first", c.name, t.keyOfValues(values), c.kind)
		}
	}
	return row, nil
}

// keyOf names a row for people.
func (t *copyTable) keyOf(row []byte) string {
	values := make([]driver.Value, len(t.columns))
	for i, c := range t.columns {
		size := binary.BigEndian.Uint32(row)
		row = row[4:]
		if size == copyNull {
			continue
		}
		switch value := row[:size]; c.kind {
		case "bigint":
			values[i] = int64(binary.BigEndian.Uint64(value))
		default:
			values[i] = string(value)
		}
		row = row[size:]
	}
	return t.keyOfValues(values)
}

func (t *copyTable) keyOfValues(values []driver.Value) string {
	var parts []string
	for _, c := range t.key {
		text := fmt.Sprint(values[c])
		if s, ok := values[c].(string); ok {
			text = strconv.Quote(s)
		}
		parts = append(parts, t.columns[c].name+"="+text)
	}
	return strings.Join(parts, ", ")
}

// compareCopy reads a table from both sides at once.
func compareCopy(ctx context.Context, source *copySource, target *copyTarget, t *copyTable, o CopyOptions) (CopiedTable, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ours := readCopyBlocks(ctx, func(row func([]byte) error) error { return source.read(t, row) })
	theirs := readCopyBlocks(ctx, func(row func([]byte) error) error { return target.read(ctx, t, row) })
	defer ours.drain()
	defer theirs.drain()
	defer stop()
	result := CopiedTable{Name: t.name}
	for {
		a, b := <-ours.blocks, <-theirs.blocks
		if a == nil && ours.err != nil {
			return result, ours.err
		}
		if b == nil && theirs.err != nil {
			return result, theirs.err
		}
		if a == nil && b == nil {
			break
		}
		if difference := t.difference(a, b); difference != "" {
			return result, fmt.Errorf("%w: %s; it is not to be used: begin anew with --restart", ErrCopyDiffers, difference)
		}
		result.Rows += int64(len(a.ends))
		o.Rows(len(a.ends))
	}
	sum, other := hex.EncodeToString(ours.sum.Sum(nil)), hex.EncodeToString(theirs.sum.Sum(nil))
	if sum != other || result.Rows != t.rows {
		return result, fmt.Errorf("%w: checksum %s of %d rows, and %s of %d", ErrCopyDiffers, sum, t.rows, other, result.Rows)
	}
	result.SHA256 = sum
	return result, nil
}

// ErrCopyDiffers is the end of a copy that is not the same as its source.
var ErrCopyDiffers = errors.New("the copy differs from its source")

// difference names the first row that is not in both blocks, or nothing.
func (t *copyTable) difference(a, b *copyBlock) string {
	if a != nil && b != nil && bytes.Equal(a.data, b.data) {
		return ""
	}
	for i := 0; ; i++ {
		x, y := a.row(i), b.row(i)
		switch {
		case bytes.Equal(x, y):
		case x == nil:
			return "it has the row " + t.keyOf(y) + " behind the last of the source"
		case y == nil:
			return "it ends before the row " + t.keyOf(x)
		case t.keyOf(x) == t.keyOf(y):
			return "the row " + t.keyOf(x) + " is another"
		default:
			return "where the source has the row " + t.keyOf(x) + ", it has " + t.keyOf(y)
		}
	}
}

// copyBlock are some rows, one behind the other.
type copyBlock struct {
	data []byte
	ends []int
}

// copyBlockSize is when a block is full, in bytes. Two tables are cut into blocks
// at the same rows for as long as they are the same.
const copyBlockSize = 256 << 10

// row is the bytes of row i, nil behind the last.
func (b *copyBlock) row(i int) []byte {
	if b == nil || i >= len(b.ends) {
		return nil
	}
	start := 0
	if i > 0 {
		start = b.ends[i-1]
	}
	return b.data[start:b.ends[i]]
}

// copyBlocks are the rows of one side.
type copyBlocks struct {
	blocks chan *copyBlock // closed behind the last
	// These two are settled when blocks is closed.
	sum hash.Hash
	err error
}

// readCopyBlocks calls read in the background, and read calls its argument with
// each row.
func readCopyBlocks(ctx context.Context, read func(func(row []byte) error) error) *copyBlocks {
	b := &copyBlocks{blocks: make(chan *copyBlock, 2), sum: sha256.New()}
	go func() {
		defer close(b.blocks)
		block := &copyBlock{}
		send := func() error {
			b.sum.Write(block.data)
			select {
			case b.blocks <- block:
				block = &copyBlock{}
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		b.err = read(func(row []byte) error {
			block.data = append(block.data, row...)
			block.ends = append(block.ends, len(block.data))
			if len(block.data) < copyBlockSize {
				return nil
			}
			return send()
		})
		if b.err == nil && len(block.ends) > 0 {
			b.err = send()
		}
	}()
	return b
}

// drain waits until nothing is read any more.
func (b *copyBlocks) drain() {
	for range b.blocks {
	}
}
