package store

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Exec runs any statement in a write transaction, for tests that damage things.
func (db *DB) Exec(ctx context.Context, query string, args ...any) error {
	return db.Update(ctx, "", func(tx *Tx) error {
		return tx.exec(query, args...)
	})
}

// Int is the number that a query finds.
func (tx *Tx) Int(query string, args ...any) (int64, error) { return tx.count(query, args...) }

// Unchecked switches the CHECK constraints of the writer off or on; PostgreSQL
// drops them for good.
func (db *DB) Unchecked(ctx context.Context, off bool) error {
	return db.Update(ctx, "", func(tx *Tx) error {
		if !db.IsPostgres() {
			_, err := tx.s.run(fmt.Sprintf("PRAGMA ignore_check_constraints = %t", off))
			return err
		}
		drops, err := all(tx, scanText, `SELECT 'ALTER TABLE ' || conrelid::regclass || ' DROP CONSTRAINT ' || conname
			FROM pg_constraint WHERE contype = 'c' AND connamespace = current_schema()::regnamespace`)
		for _, drop := range drops {
			if err == nil {
				_, err = tx.s.run(drop)
			}
		}
		return err
	})
}

// IsPostgres tells which engine is below, for tests that damage it.
func (db *DB) IsPostgres() bool {
	_, is := db.engine.(*postgresEngine)
	return is
}

var placeholder = regexp.MustCompile(`\$(\d+)`)

// Plans are the plans of all statements that were prepared so far, by statement.
// PostgreSQL makes them for any arguments.
func (db *DB) Plans(ctx context.Context) (map[string]string, error) {
	plans := map[string]string{}
	explain := func(tx *Tx) error {
		lite, ok := tx.s.(*sqliteSession)
		if !ok {
			return explainPostgres(tx, plans)
		}
		for query := range maps.Clone(lite.stmts) {
			var args []any
			for _, p := range placeholder.FindAllStringSubmatch(query, -1) {
				for n, _ := strconv.Atoi(p[1]); len(args) < n; {
					args = append(args, 1)
				}
			}
			rows, err := lite.conn.QueryContext(ctx, "EXPLAIN QUERY PLAN "+bind(query), args...)
			if err != nil {
				return fmt.Errorf("%s: %w", query, err)
			}
			plan, err := readPlan(rows)
			if err != nil {
				return fmt.Errorf("%s: %w", query, err)
			}
			plans[strings.Join(strings.Fields(query), " ")] = plan
		}
		return nil
	}
	if err := db.Update(ctx, "", explain); err != nil {
		return nil, err
	}
	for range cap(db.readers.free) {
		if err := db.View(ctx, explain); err != nil {
			return nil, err
		}
	}
	return plans, nil
}

func explainPostgres(tx *Tx, plans map[string]string) error {
	if _, err := tx.s.run("SET LOCAL plan_cache_mode = force_generic_plan"); err != nil {
		return err
	}
	type prepared struct {
		name, query string
		params      int64
	}
	statements, err := all(tx, func(row scanner, p *prepared) error { return row.Scan(&p.name, &p.query, &p.params) },
		"SELECT name, statement, cardinality(parameter_types) FROM pg_prepared_statements")
	if err != nil {
		return err
	}
	for _, p := range statements {
		verb, _, _ := strings.Cut(p.query, " ")
		if !slices.Contains([]string{"SELECT", "INSERT", "UPDATE", "DELETE"}, verb) || strings.Contains(p.query, "pg_") {
			continue
		}
		execute := `EXPLAIN EXECUTE "` + p.name + `"`
		if p.params > 0 {
			execute += "(" + strings.Repeat("NULL, ", int(p.params)-1) + "NULL)"
		}
		lines, err := all(tx, scanText, execute)
		if err != nil {
			return fmt.Errorf("%s: %w", p.query, err)
		}
		plans[strings.Join(strings.Fields(p.query), " ")] = strings.Join(lines, "\n")
	}
	return nil
}

// Index is one of PostgreSQL's.
type Index struct {
	Table   string
	Columns []string
}

// Indexes are PostgreSQL's, by name.
func (db *DB) Indexes(ctx context.Context) (map[string]Index, error) {
	indexes := map[string]Index{}
	return indexes, db.View(ctx, func(tx *Tx) error {
		type column struct{ index, table, name string }
		return each(tx, func(row scanner, c *column) error { return row.Scan(&c.index, &c.table, &c.name) }, func(c *column) error {
			indexes[c.index] = Index{c.table, append(indexes[c.index].Columns, c.name)}
			return nil
		}, `SELECT i.relname, t.relname, a.attname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
			JOIN pg_class t ON t.oid = x.indrelid JOIN pg_attribute a ON a.attrelid = i.oid
			WHERE i.relnamespace = current_schema()::regnamespace ORDER BY i.relname, a.attnum`)
	})
}

func readPlan(rows *sql.Rows) (string, error) {
	defer rows.Close()
	var lines []string
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			return "", err
		}
		lines = append(lines, detail)
	}
	return strings.Join(lines, "; "), rows.Err()
}

// Len is how many values are kept.
func (c *Cache[V]) Len() int {
	n := 0
	for i := range c.shards {
		n += len(c.shards[i].values)
	}
	return n
}
