package app

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"

	"github.com/tenantry/tenantry/internal/cli"
	"github.com/tenantry/tenantry/internal/config"
	"github.com/tenantry/tenantry/internal/store"
)

// MigrateCommand is "tenantry migrate".
type MigrateCommand struct {
	Data     string `default:"tenantry-data" env:"TENANTRY_DATA" type:"path" help:"The server's data folder."`
	Database string `env:"TENANTRY_DATABASE" placeholder:"ADDRESS" help:"Database: postgres://user:password@host/name, or sqlite:FILE; default: the file tenantry.db in the data folder."`
	Plan     bool   `help:"Say what would be done, and do nothing; the server may run meanwhile."`
	JSON     bool   `name:"json" help:"Print JSON."`
}

// Help shows an example.
func (MigrateCommand) Help() string {
	return `A server migrates by itself when it starts; this does it before. With SQLite no
server may run meanwhile; with PostgreSQL those of the release before may. Make a
copy first: there is no way back. Examples:
  tenantry migrate --plan
  tenantry migrate --database postgres://tenantry@localhost/tenantry
  tenantry migrate --data /var/lib/tenantry`
}

// migration is what was done, or would be.
type migration struct {
	Database string   `json:"database"`
	From     int64    `json:"from"`
	To       int64    `json:"to"`
	Steps    []string `json:"steps"`
	// Done is false for a plan.
	Done bool `json:"done"`
}

// Run migrates.
func (m *MigrateCommand) Run(ctx context.Context, t *cli.Terminal) error {
	if m.Database != "" {
		if err := config.CheckDatabase(m.Database); err != nil {
			return err
		}
	}
	c := config.Config{Data: m.Data, Database: m.Database}
	address := c.DatabaseAddress()
	name := config.DatabaseName(address)
	var schema store.Schema
	var err error
	if m.Plan {
		schema, err = store.Plan(ctx, address)
	} else {
		if m.Database == "" {
			if err := os.MkdirAll(m.Data, 0o700); err != nil {
				return fmt.Errorf("make the data folder: %w", err)
			}
		}
		schema, err = store.Migrate(ctx, address, store.Options{Logger: slog.New(slog.NewTextHandler(t.Err, nil))})
	}
	if err != nil {
		return err
	}
	if m.JSON {
		return json.NewEncoder(t.Out).Encode(migration{name, schema.From, schema.To, append([]string{}, schema.Steps...), !m.Plan})
	}
	switch {
	case len(schema.Steps) == 0:
		fmt.Fprintf(t.Out, "%s has schema %d already: nothing to do.\n", name, schema.To)
	case m.Plan:
		fmt.Fprintf(t.Out, "%s would go from schema %d to %d:\n", name, schema.From, schema.To)
	default:
		fmt.Fprintf(t.Out, "%s went from schema %d to %d:\n", name, schema.From, schema.To)
	}
	for _, step := range schema.Steps {
		fmt.Fprintln(t.Out, "  "+step)
	}
	return nil
}
