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

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// Schema says where a database's schema stands, and where this program takes it.
type Schema struct {
	// From is 0 for a database that does not exist yet.
	From, To int64
	// Steps are the names of the migrations between the two.
	Steps []string
}

// Plan says what Migrate would do to a database, and does nothing. A server may
// run meanwhile.
func Plan(ctx context.Context, database string) (Schema, error) {
	const version = "SELECT MAX(version_id) FROM goose_db_version WHERE is_applied"
	if isPostgres(database) {
		config, err := postgresConfig(database)
		if err != nil {
			return Schema{}, err
		}
		db := stdlib.OpenDB(*config)
		defer db.Close()
		return schemaOf(ctx, db, "SELECT COUNT(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'goose_db_version'", version)
	}
	path := strings.TrimPrefix(database, "sqlite:")
	if _, err := os.Stat(path); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			return Schema{}, err
		}
		return schemaFrom(0)
	}
	db, err := sqliteFile(path, true)
	if err != nil {
		return Schema{}, err
	}
	defer db.Close()
	return schemaOf(ctx, db, "SELECT COUNT(*) FROM sqlite_schema WHERE name = 'goose_db_version'", version)
}

func schemaOf(ctx context.Context, db *sql.DB, tablesQuery, versionQuery string) (Schema, error) {
	var tables int
	if err := db.QueryRowContext(ctx, tablesQuery).Scan(&tables); err != nil {
		return Schema{}, fmt.Errorf("read the schema version: %w", err)
	}
	if tables == 0 {
		return schemaFrom(0)
	}
	var have sql.NullInt64
	if err := db.QueryRowContext(ctx, versionQuery).Scan(&have); err != nil {
		return Schema{}, fmt.Errorf("read the schema version: %w", err)
	}
	return schemaFrom(have.Int64)
}

// Migrate brings a database to the schema of this program and says what it did; an
// SQLite file is made when there is none, and no server may have it open.
func Migrate(ctx context.Context, database string, o Options) (Schema, error) {
	plan, err := Plan(ctx, database)
	if err != nil {
		return plan, err
	}
	db, err := Open(ctx, database, o)
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
