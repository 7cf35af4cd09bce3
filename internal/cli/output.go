package cli

import (
	"bufio"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/client"
)

// Output chooses the form of the answer.
type Output struct {
	JSON  bool   `name:"json" group:"Output" xor:"form" help:"Print JSON, errors too."`
	CSV   bool   `name:"csv" group:"Output" xor:"form" help:"Print CSV."`
	Quiet bool   `short:"q" group:"Output" xor:"form" help:"Print ids only."`
	Color string `group:"Output" default:"auto" enum:"auto,always,never" placeholder:"WHEN" help:"Colours: auto, always or never. NO_COLOR is obeyed."`
}

// view is how objects of one kind look to people, in CSV and as an id.
type view[T any] struct {
	id      func(*T) string
	columns []column[T]
}

// column is one property.
type column[T any] struct {
	// wire is its name in CSV.
	wire  string
	value func(*T) string
	// label is its name in details; "" is wire with spaces.
	label string
	// head is its heading in tables; "" leaves it to CSV and details.
	head  string
	shape shape
	// table is what tables have instead of value, nil for the same.
	table func(*T) string
	// secret is shown in part unless all of it is asked for, and not in CSV.
	secret bool
	// color chooses a colour by the value.
	color func(string) string
}

// shape says how a column of a table gets narrower.
type shape int

const (
	cut   shape = iota // loses its end
	whole              // stays: half an id is none
	spare              // goes first when there is no room
)

func statusColor(status string) string {
	switch status, _, _ := strings.Cut(status, " "); status {
	case "enabled", "ok":
		return green
	case "disabled", "warning":
		return yellow
	case "blocked", "cancelled", "problem":
		return red
	}
	return ""
}

// day is the date of a timestamp, for tables.
func day(timestamp string) string {
	if len(timestamp) < len("2006-01-02") {
		return timestamp
	}
	return timestamp[:len("2006-01-02")]
}

func encode(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// showOne prints one object. With reveal people see secrets in full.
func showOne[T any](t *Terminal, o Output, v view[T], item *T, reveal bool) error {
	switch {
	case o.JSON:
		return encode(t.Out, item)
	case o.CSV:
		return showCSV(t.Out, v, oneOf(item))
	case o.Quiet:
		_, err := fmt.Fprintln(t.Out, plain(v.id(item)))
		return err
	}
	var rows [][2]string
	for _, c := range v.columns {
		value := c.value(item)
		if c.secret && !reveal && value != "" {
			value = api.Mask(value) + " (--reveal shows it)"
		}
		if value = plain(value); value == "" {
			continue
		}
		if c.color != nil {
			value = t.paint(t.Out, c.color(value), value)
		}
		rows = append(rows, [2]string{cmp.Or(c.label, strings.ReplaceAll(c.wire, "_", " ")), value})
	}
	return t.details(rows)
}

// details prints names and values, one a line.
func (t *Terminal) details(rows [][2]string) error {
	longest := 0
	for _, row := range rows {
		longest = max(longest, len(row[0]))
	}
	for _, row := range rows {
		name := row[0] + strings.Repeat(" ", longest-len(row[0]))
		if _, err := fmt.Fprintf(t.Out, "%s  %s\n", t.paint(t.Out, bold, name), row[1]); err != nil {
			return err
		}
	}
	return nil
}

func oneOf[T any](item *T) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) { yield(item, nil) }
}

func eachOf[T any](items []T) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		for i := range items {
			if !yield(&items[i], nil) {
				return
			}
		}
	}
}

// showPage prints one page of a list.
func showPage[T any](t *Terminal, o Output, v view[T], page *client.Page[T]) error {
	if o.JSON {
		if page.Data == nil {
			page.Data = []T{}
		}
		return encode(t.Out, page)
	}
	if err := showItems(t, o, v, eachOf(page.Data)); err != nil {
		return err
	}
	// A script is told only that there is more than it got.
	if m := page.Meta; !o.CSV && !o.Quiet || m.TotalPages > 1 {
		t.note("%s", t.paint(t.Err, faint, footer(len(page.Data), m)))
	}
	return nil
}

func footer(shown int, m api.Meta) string {
	switch {
	case m.TotalResults == 0:
		return "nothing found"
	case m.TotalPages <= 1:
		return fmt.Sprintf("%d in all", m.TotalResults)
	case shown == 0:
		return fmt.Sprintf("page %d is past the last, which is %d", m.PageNumber, m.TotalPages)
	}
	return fmt.Sprintf("page %d of %d, %d in all; --page for another, --all for everything", m.PageNumber, m.TotalPages, m.TotalResults)
}

// showItems prints what comes, as it comes; JSON is one object a line.
func showItems[T any](t *Terminal, o Output, v view[T], items iter.Seq2[*T, error]) error {
	out := bufio.NewWriter(t.Out)
	err := func() error {
		switch {
		case o.CSV:
			return showCSV(out, v, items)
		case o.JSON, o.Quiet:
			for item, err := range items {
				if err != nil {
					return err
				}
				if o.Quiet {
					_, err = fmt.Fprintln(out, plain(v.id(item)))
				} else {
					err = encode(out, item)
				}
				if err != nil {
					return err
				}
			}
			return nil
		}
		return showTable(t, out, v, items)
	}()
	if flushed := out.Flush(); err == nil {
		err = flushed
	}
	return err
}

func showCSV[T any](w io.Writer, v view[T], items iter.Seq2[*T, error]) error {
	out := csv.NewWriter(w)
	var cells []string
	for _, c := range v.columns {
		if !c.secret {
			cells = append(cells, c.wire)
		}
	}
	err := out.Write(cells)
	for item, failed := range items {
		if failed != nil {
			err = failed
		}
		if err != nil {
			break
		}
		cells = cells[:0]
		for _, c := range v.columns {
			if !c.secret {
				cells = append(cells, cell(c.value(item)))
			}
		}
		err = out.Write(cells)
	}
	out.Flush()
	if err == nil {
		err = out.Error()
	}
	return err
}

// cell keeps a spreadsheet from running what somebody took for a name: an
// apostrophe goes before, as in the server's own report. Numbers are left alone.
func cell(value string) string {
	if value == "" || !strings.ContainsRune("=+-@\t\r", rune(value[0])) {
		return value
	}
	if _, err := strconv.ParseFloat(value, 64); err == nil {
		return value
	}
	return "'" + value
}
