package store

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"strings"
)

// Exec runs any statement in a write transaction, for tests that damage things.
func (db *DB) Exec(ctx context.Context, query string, args ...any) error {
	return db.Update(ctx, func(tx *Tx) error {
		_, err := tx.exec(query, args...)
		return err
	})
}

// Int is the number that a query finds.
func (tx *Tx) Int(query string, args ...any) (int64, error) { return tx.count(query, args...) }

// Unchecked switches the CHECK constraints of the writer off or on.
func (db *DB) Unchecked(ctx context.Context, off bool) error {
	return db.Update(ctx, func(tx *Tx) error {
		_, err := tx.s.run(fmt.Sprintf("PRAGMA ignore_check_constraints = %t", off))
		return err
	})
}

var placeholder = regexp.MustCompile(`\$(\d+)`)

// Plans are the plans of all statements that were prepared so far, by statement.
func (db *DB) Plans(ctx context.Context) (map[string]string, error) {
	plans := map[string]string{}
	explain := func(tx *Tx) error {
		for query := range maps.Clone(tx.s.stmts) {
			var args []any
			for _, p := range placeholder.FindAllStringSubmatch(query, -1) {
				for n, _ := strconv.Atoi(p[1]); len(args) < n; {
					args = append(args, 1)
				}
			}
			rows, err := tx.s.conn.QueryContext(ctx, "EXPLAIN QUERY PLAN "+bind(query), args...)
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
	if err := db.Update(ctx, explain); err != nil {
		return nil, err
	}
	for range cap(db.readers.free) {
		s, err := db.readers.take(ctx)
		if err != nil {
			return nil, err
		}
		defer db.readers.put(s)
		if err := explain(&Tx{s: s}); err != nil {
			return nil, err
		}
	}
	return plans, nil
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

// Waiting is how many writes wait for their turn.
func (db *DB) Waiting() int { return len(db.jobs) }

// Len is how many values are kept.
func (c *Cache[V]) Len() int {
	n := 0
	for i := range c.shards {
		n += len(c.shards[i].values)
	}
	return n
}
