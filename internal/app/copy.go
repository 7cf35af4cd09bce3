package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tenantry/tenantry/internal/cli"
	"github.com/tenantry/tenantry/internal/config"
	"github.com/tenantry/tenantry/internal/store"
)

// CopyCommand is "tenantry copy".
type CopyCommand struct {
	From    string `required:"" placeholder:"sqlite:FILE" help:"Database to copy; no server may have it open, and it is not changed."`
	To      string `required:"" env:"TENANTRY_DATABASE" placeholder:"ADDRESS" help:"Database to copy it to: postgres://user:password@host/name; it must be empty."`
	Restart bool   `help:"Empty a database that holds an unfinished copy, and begin anew."`
	JSON    bool   `name:"json" help:"Print JSON, and no progress."`
}

// Help shows an example.
func (CopyCommand) Help() string {
	return `Moves a whole installation from SQLite to PostgreSQL. Stop the server first. When the
copy is interrupted, run the same command again: it goes on where it was. At the end
all rows are read back from both sides and compared; until then no server starts on
the copy. Examples:
  tenantry copy --from sqlite:/var/lib/tenantry/tenantry.db --to postgres://tenantry@localhost/tenantry
  TENANTRY_DATABASE=postgres://… tenantry copy --from sqlite:tenantry-data/tenantry.db --json`
}

// Validate refuses what cannot work before anything is opened.
func (c *CopyCommand) Validate() error {
	if c.From == "" || c.To == "" {
		return nil // that they are missing is said by the parser
	}
	for _, address := range []string{c.From, c.To} {
		if err := config.CheckDatabase(address); err != nil {
			return err
		}
	}
	if !strings.HasPrefix(c.From, "sqlite:") || strings.HasPrefix(c.To, "sqlite:") {
		return errors.New("a copy goes from sqlite:FILE to postgres://…: other ways are not supported")
	}
	return nil
}

// copyResult is what was done.
type copyResult struct {
	From     string            `json:"from"`
	To       string            `json:"to"`
	Tables   []copyResultTable `json:"tables"`
	Rows     int64             `json:"rows"`
	Seconds  float64           `json:"seconds"`
	Resumed  bool              `json:"resumed"`
	Verified bool              `json:"verified"`
}

type copyResultTable struct {
	Name   string `json:"name"`
	Rows   int64  `json:"rows"`
	SHA256 string `json:"sha256"`
}

// Run copies.
func (c *CopyCommand) Run(ctx context.Context, t *cli.Terminal) error {
	began := time.Now()
	add, end := func(int) {}, func() {}
	options := store.CopyOptions{
		Restart: c.Restart,
		Step: func(doing string, rows int64) {
			end()
			add, end = func(int) {}, func() {}
			switch {
			case rows > 0:
				add, end = t.Progress(doing, int(rows))
			case !c.JSON:
				fmt.Fprintln(t.Err, doing)
			}
		},
		Rows: func(rows int) { add(rows) },
	}
	copied, err := store.Copy(ctx, c.From, c.To, options)
	end()
	if errors.Is(err, context.Canceled) && !c.JSON {
		fmt.Fprintln(t.Err, "Run the same command again to go on.")
	}
	if err != nil {
		return err
	}
	result := copyResult{
		From: config.DatabaseName(c.From), To: config.DatabaseName(c.To), Tables: []copyResultTable{},
		Seconds: time.Since(began).Seconds(), Resumed: copied.Resumed, Verified: true,
	}
	for _, table := range copied.Tables {
		result.Tables = append(result.Tables, copyResultTable(table))
		result.Rows += table.Rows
	}
	if c.JSON {
		return json.NewEncoder(t.Out).Encode(result)
	}
	for _, table := range result.Tables {
		fmt.Fprintf(t.Out, "%-18s %12d rows  sha256 %s\n", table.Name, table.Rows, table.SHA256)
	}
	fmt.Fprintf(t.Out, "%s was copied to %s in %s: %d rows, the same on both sides.\n",
		result.From, result.To, time.Since(began).Round(100*time.Millisecond), result.Rows)
	fmt.Fprintln(t.Out, "Start the server with --database and the same master key; keep the file until all is well.")
	return nil
}
