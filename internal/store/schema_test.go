package store_test

import (
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/store"
)

var update = flag.Bool("update", false, "write testdata/schema.sql anew")

// TestSchema: the sum of all migrations is testdata/schema.sql, with each engine.
// It is written in one manner, whatever the engine calls things.
func TestSchema(t *testing.T) {
	const golden = "testdata/schema.sql"
	t.Run("sqlite", func(t *testing.T) {
		got := sqliteSchema(t, migrated(t, "sqlite", dbtest.SQLite(t)))
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		compareSchema(t, golden, got)
	})
	t.Run("postgres", func(t *testing.T) {
		compareSchema(t, golden, postgresSchema(t, migrated(t, "pgx", dbtest.Postgres(t))))
	})
}

func compareSchema(t *testing.T, golden, got string) {
	t.Helper()
	want, err := os.ReadFile(golden)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	has, wants := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for _, line := range has {
		if !slices.Contains(wants, line) {
			t.Errorf("is not in %s: %s", golden, line)
		}
	}
	for _, line := range wants {
		if !slices.Contains(has, line) {
			t.Errorf("is in %s alone: %s", golden, line)
		}
	}
	if got != string(want) {
		t.Errorf("the schema is not %s. If it is to be so: go test ./internal/store -run TestSchema -update. It is\n%s", golden, got)
	}
}

// migrated is a database that the store has made.
func migrated(t *testing.T, driver, address string) *sql.DB {
	t.Helper()
	if _, err := store.Migrate(t.Context(), address, store.Options{}); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open(driver, strings.TrimPrefix(address, "sqlite:"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// table is what the engines tell of one, in the words of the migrations.
type table struct {
	name            string
	columns         []column
	checks, indexes []string
}

type column struct {
	name, kind, initial string // initial is the default, "" for none
	notNull             bool
	key                 int // its place in the primary key, 0 for none
}

func write(tables []table) string {
	var out strings.Builder
	out.WriteString("-- What all migrations add up to, with either engine. TestSchema writes it: -update.\n")
	for _, table := range tables {
		fmt.Fprintf(&out, "\nCREATE TABLE %s (\n", table.name)
		var key []string
		for n := 1; ; n++ {
			at := slices.IndexFunc(table.columns, func(c column) bool { return c.key == n })
			if at < 0 {
				break
			}
			key = append(key, table.columns[at].name)
		}
		for _, c := range table.columns {
			fmt.Fprintf(&out, "    %s %s", c.name, c.kind)
			// A key is never NULL here, although SQLite would bear it.
			if c.notNull || c.key > 0 {
				out.WriteString(" NOT NULL")
			}
			if c.initial != "" {
				out.WriteString(" DEFAULT " + c.initial)
			}
			out.WriteString(",\n")
		}
		slices.Sort(table.checks)
		for _, check := range table.checks {
			fmt.Fprintf(&out, "    CHECK (%s),\n", check)
		}
		fmt.Fprintf(&out, "    PRIMARY KEY (%s)\n);\n", strings.Join(key, ", "))
		slices.Sort(table.indexes)
		for _, index := range table.indexes {
			out.WriteString(index + ";\n")
		}
	}
	return out.String()
}

// list scans rows of one query.
func list[T any](t *testing.T, db *sql.DB, scan func(*sql.Rows, *T) error, query string, args ...any) (all []T) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	for rows.Next() {
		var v T
		if err := scan(rows, &v); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		all = append(all, v)
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return all
}

func scanColumn(rows *sql.Rows, c *column) error {
	var initial sql.NullString
	err := rows.Scan(&c.name, &c.kind, &c.notNull, &initial, &c.key)
	c.initial = initial.String
	return err
}

func scanString(rows *sql.Rows, text *string) error { return rows.Scan(text) }

func sqliteSchema(t *testing.T, db *sql.DB) string {
	t.Helper()
	var tables []table
	for _, name := range list(t, db, scanString, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'goose_%' ORDER BY name") {
		table := table{name: name}
		table.columns = list(t, db, scanColumn, `SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_info(?) ORDER BY cid`, name)
		text := list(t, db, scanString, "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?", name)[0]
		table.checks = sqliteChecks(text)
		table.indexes = list(t, db, scanString, "SELECT sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL", name)
		// What it made of PRIMARY KEY is told above; of UNIQUE, there would be one more.
		if own := list(t, db, scanString, "SELECT name FROM pragma_index_list(?) WHERE origin = 'u'", name); len(own) > 0 {
			t.Errorf("table %s has an index without a name: %q", name, own)
		}
		tables = append(tables, table)
	}
	return write(tables)
}

// sqliteChecks finds the conditions in the text of a table.
func sqliteChecks(text string) (checks []string) {
	for {
		_, rest, found := strings.Cut(text, "CHECK (")
		if !found {
			return checks
		}
		depth, end := 1, 0
		for ; depth > 0; end++ {
			switch rest[end] {
			case '(':
				depth++
			case ')':
				depth--
			}
		}
		checks = append(checks, plain(rest[:end-1]))
		text = rest[end:]
	}
}

var (
	anyOf    = regexp.MustCompile(`= ANY \(ARRAY\[([^\]]*)\]\)`)
	in       = regexp.MustCompile(`IN \(([^)]*)\)`)
	brackets = regexp.MustCompile(`\[([^\]]*)\]`)
	boolean  = regexp.MustCompile(`\b(?:true|false)\b`)
)

// plain is a condition or a default as the migrations would have it, without the
// brackets and types that PostgreSQL adds.
func plain(text string) string {
	text = strings.ReplaceAll(text, "::text", "")
	text = boolean.ReplaceAllStringFunc(text, strings.ToUpper)
	text = anyOf.ReplaceAllString(text, "IN ($1)")
	text = in.ReplaceAllString(text, "IN [$1]")
	text = strings.NewReplacer("(", "", ")", "").Replace(text)
	return brackets.ReplaceAllString(text, "($1)")
}

func postgresSchema(t *testing.T, db *sql.DB) string {
	t.Helper()
	const ours = " AND c.relnamespace = current_schema()::regnamespace"
	var tables []table
	for _, name := range list(t, db, scanString, "SELECT relname FROM pg_class c WHERE relkind IN ('r', 'p') AND relname NOT LIKE 'goose_%'"+ours+` ORDER BY relname COLLATE "C"`) {
		table := table{name: name}
		table.columns = list(t, db, scanColumn, `SELECT column_name, UPPER(data_type), is_nullable = 'NO', column_default,
			COALESCE((SELECT array_position(conkey::int[], ordinal_position::int) FROM pg_constraint
				WHERE contype = 'p' AND conrelid = CAST($1 AS TEXT)::regclass), 0)
			FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = $1 ORDER BY ordinal_position`, name)
		for i := range table.columns {
			table.columns[i].initial = plain(table.columns[i].initial)
		}
		for _, check := range list(t, db, scanString, "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'c' AND conrelid = $1::regclass", name) {
			table.checks = append(table.checks, plain(strings.TrimPrefix(check, "CHECK ")))
		}
		if others := list(t, db, scanString, "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype NOT IN ('c', 'n', 'p') AND conrelid = $1::regclass", name); len(others) > 0 {
			t.Errorf("table %s has constraints that this test does not compare: %q", name, others)
		}
		for _, index := range list(t, db, scanString, `SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE NOT indisprimary AND indrelid = $1::regclass`, name) {
			head, where, partial := strings.Cut(index, " WHERE ")
			head = strings.NewReplacer("public.", "", "USING btree ", "").Replace(head)
			if partial {
				head += " WHERE " + plain(where)
			}
			table.indexes = append(table.indexes, head)
		}
		tables = append(tables, table)
	}
	// Text is compared by its bytes, as SQLite does it.
	for _, name := range list(t, db, scanString, `SELECT c.relname || '.' || a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
		WHERE c.relkind IN ('r', 'i') AND c.relname NOT LIKE 'goose_%' AND a.attnum > 0 AND a.attcollation <> 0 AND a.attcollation <> '"C"'::regcollation`+ours) {
		t.Errorf("%s is not in the collation C", name)
	}
	return write(tables)
}
