package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pressly/goose/v3"
)

// Schema says where a database's schema stands, and where this program takes it.
type Schema struct {
	// From is 0 for a database that does not exist yet.
	From, To int64
	// Steps are the names of the migrations between the two.
	Steps []string
}

// Plan says what Migrate would do to the database in a file, and does nothing. A
// server may run meanwhile.
func Plan(ctx context.Context, path string) (Schema, error) {
	if _, err := os.Stat(path); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			return Schema{}, err
		}
		return schemaFrom(0)
	}
	db, err := openSQLite(path, true)
	if err != nil {
		return Schema{}, err
	}
	defer db.Close()
	var tables int
	if err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM sqlite_schema WHERE name = 'goose_db_version'").Scan(&tables); err != nil {
		return Schema{}, fmt.Errorf("read the schema version: %w", err)
	}
	if tables == 0 {
		return schemaFrom(0)
	}
	var have sql.NullInt64
	if err := db.QueryRowContext(ctx, "SELECT MAX(version_id) FROM goose_db_version WHERE is_applied").Scan(&have); err != nil {
		return Schema{}, fmt.Errorf("read the schema version: %w", err)
	}
	return schemaFrom(have.Int64)
}

// Migrate brings the database in a file, which is made when there is none, to the
// schema of this program and says what it did. No server may run meanwhile.
func Migrate(ctx context.Context, path string, o Options) (Schema, error) {
	plan, err := Plan(ctx, path)
	if err != nil {
		return plan, err
	}
	db, err := Open(ctx, path, o)
	if err != nil {
		return plan, err
	}
	return plan, db.Close()
}

func schemaFrom(have int64) (Schema, error) {
	schema := Schema{From: have}
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return schema, err
	}
	for _, file := range files {
		version, err := goose.NumericComponent(file)
		if err != nil {
			return schema, err
		}
		schema.To = max(schema.To, version)
		if version > have {
			schema.Steps = append(schema.Steps, strings.TrimSuffix(filepath.Base(file), ".sql"))
		}
	}
	if have > schema.To {
		return schema, fmt.Errorf("the database has schema %d and this program knows %d: use a newer program", have, schema.To)
	}
	return schema, nil
}
