package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tenantry/tenantry/client"
)

// table is a CSV file that was read whole.
type table struct {
	digest   string // of its content
	records  []record
	problems []problem
}

// problem is what is wrong with a line.
type problem struct {
	line int
	text string
}

func (p problem) String() string { return fmt.Sprintf("line %d: %s", p.line, p.text) }

// record is one line of a table.
type record struct {
	line  int
	cells map[string]string
}

// readTable reads a CSV file with a header out of the columns that are known, of
// which the first is needed.
func readTable(t *Terminal, from string, columns []string) (*table, error) {
	var text []byte
	var err error
	if from == "-" {
		text, err = io.ReadAll(t.In)
	} else {
		text, err = os.ReadFile(from)
	}
	if err != nil {
		return nil, usagef("the file cannot be read: %v", err)
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if !utf8.Valid(text) {
		return nil, usagef("%s is not UTF-8: save it as CSV UTF-8", from)
	}
	sum := sha256.Sum256(text)
	file := &table{digest: hex.EncodeToString(sum[:8])}
	in := csv.NewReader(bytes.NewReader(text))
	head, err := in.Read()
	if err == io.EOF {
		return nil, usagef("%s is empty: it needs the header %s", from, strings.Join(columns, ","))
	}
	if err != nil {
		return nil, usagef("%s: %v", from, err)
	}
	for i, name := range head {
		head[i] = strings.TrimSpace(name)
		if !slices.Contains(columns, head[i]) {
			return nil, usagef("%s has a column %q; it may have %s", from, head[i], strings.Join(columns, ","))
		}
		if slices.Contains(head[:i], head[i]) {
			return nil, usagef("%s has the column %s twice", from, head[i])
		}
	}
	if !slices.Contains(head, columns[0]) {
		return nil, usagef("%s has no column %s; its header has to be out of %s", from, columns[0], strings.Join(columns, ","))
	}
	in.FieldsPerRecord = -1
	for {
		cells, err := in.Read()
		if err == io.EOF {
			return file, nil
		}
		if err != nil { // nothing after it can be told apart
			var broken *csv.ParseError
			if errors.As(err, &broken) {
				file.problem(broken.StartLine, "%v", broken.Err)
				return file, nil
			}
			return nil, err
		}
		line, _ := in.FieldPos(0)
		if len(cells) != len(head) {
			file.problem(line, "it has %d cells, the header has %d", len(cells), len(head))
			continue
		}
		r := record{line, map[string]string{}}
		for i, name := range head {
			r.cells[name] = strings.TrimSpace(cells[i])
			if name == "password" {
				r.cells[name] = cells[i]
			}
		}
		file.records = append(file.records, r)
	}
}

func (f *table) problem(line int, format string, values ...any) {
	f.problems = append(f.problems, problem{line, fmt.Sprintf(format, values...)})
}

// shownProblems is how many problems a plan shows.
const shownProblems = 10

// check refuses a file with problems, and shows the first of them.
func (f *table) check(t *Terminal, from string) error {
	if len(f.problems) == 0 {
		if len(f.records) == 0 {
			return usagef("%s has a header and no rows", from)
		}
		return nil
	}
	slices.SortStableFunc(f.problems, func(a, b problem) int { return a.line - b.line })
	shown := f.problems[:min(shownProblems, len(f.problems))]
	text := fmt.Sprintf("%s has %d problems, so nothing was sent", from, len(f.problems))
	if len(f.problems) == 1 {
		text = from + " has a problem, so nothing was sent"
	}
	if t.json {
		var all []string
		for _, p := range shown {
			all = append(all, p.String())
		}
		return usagef("%s: %s", text, strings.Join(all, "; "))
	}
	for _, p := range shown {
		t.note("%s, %s", from, p)
	}
	if more := len(f.problems) - len(shown); more > 0 {
		t.note("and %s more", thousands(more))
	}
	return usagef("%s", text)
}

// identify gives each row an identity of its own: its content, and the how manieth
// of the same content it is.
func identify(rows []*row, contents []string) {
	seen := map[string]int{}
	for i, r := range rows {
		content := digest(contents[i])
		seen[content]++
		r.identity = content
		if n := seen[content]; n > 1 {
			r.identity += "-" + strconv.Itoa(n)
		}
	}
}

// begin checks the flags and opens a session and the results of a run.
func (f *BulkFlags) begin(t *Terminal, c *Changing, content string) (*session, *bulk, error) {
	if f.Parallel < 1 || f.Parallel > 256 {
		return nil, nil, usagef("--parallel has to be from 1 to 256")
	}
	path := f.Result
	switch {
	case path != "":
	case f.From == "-":
		if !c.DryRun {
			return nil, nil, usagef("standard input has no place beside it: give --result FILE")
		}
	case f.From != "":
		path = resultPath(f.From)
	}
	b := &bulk{parallel: f.Parallel, pace: &pace{parallel: f.Parallel}}
	plain := *c
	plain.DryRun = false // a bulk run stops after the plan instead
	s, err := plain.open(t, bulkOptions(b.pace, f.Parallel)...)
	if err != nil {
		return nil, nil, err
	}
	b.results, err = openResults(path, s.BaseURL(), content, c.DryRun)
	return s, b, err
}

// carryOut does a planned run to its end.
func (b *bulk) carryOut(ctx context.Context, s *session) error {
	stopped := b.run(ctx, s)
	if err := b.results.tidy(b.rows); err != nil {
		return fmt.Errorf("the result file cannot be written: %w", err)
	}
	return b.finish(s.t, s.out, stopped)
}

var createColumns = []string{"business_name", "email", "password", "managed_account_allow_custom_pricing", "rollup_billing"}

func (x *CreateAccount) bulk(ctx context.Context, t *Terminal) error {
	file, err := readTable(t, x.From, createColumns)
	if err != nil {
		return err
	}
	rows := x.rows(file)
	if err := file.check(t, x.From); err != nil {
		return err
	}
	s, b, err := x.begin(t, &x.Changing, file.digest)
	if err != nil {
		return err
	}
	defer b.results.close()
	b.doing, b.rows = "creating", rows
	if err := b.results.adopt(rows); err != nil {
		return err
	}
	left := b.planned(t, "Accounts to create on "+s.BaseURL())
	if x.DryRun {
		t.note("Nothing was sent: this is a dry run.")
		b.results.path = ""
		return b.finish(t, x.Output, nil)
	}
	if left == 0 {
		return b.finish(t, x.Output, nil)
	}
	return b.carryOut(ctx, s)
}

// rows checks the records and makes rows of them.
func (x *CreateAccount) rows(file *table) []*row {
	var rows []*row
	var contents []string
	emails := map[string]int{}
	for _, r := range file.records {
		body := client.ManagedAccountCreate{BusinessName: r.cells["business_name"]}
		switch name := body.BusinessName; {
		case name == "":
			file.problem(r.line, "business_name is empty")
		case len(name) > 255:
			file.problem(r.line, "business_name has more than 255 bytes")
		}
		if email := r.cells["email"]; email != "" {
			body.Email = &email
			folded := strings.ToLower(email)
			switch at := strings.LastIndexByte(email, '@'); {
			case at < 1 || at == len(email)-1 || strings.ContainsAny(email, " \t\r\n,;<>"):
				file.problem(r.line, "email %s is no address", plain(strconv.Quote(email)))
			case emails[folded] > 0:
				file.problem(r.line, "email %s is in line %d already", plain(email), emails[folded])
			default:
				emails[folded] = r.line
			}
		}
		if password := r.cells["password"]; password != "" {
			body.Password = &password
		}
		body.AllowCustomPricing = file.flag(r, "managed_account_allow_custom_pricing")
		body.RollupBilling = file.flag(r, "rollup_billing")
		rows = append(rows, &row{line: r.line, email: r.cells["email"], do: x.createOne(body)})
		var content []string
		for _, name := range createColumns {
			content = append(content, r.cells[name])
		}
		contents = append(contents, strings.Join(content, "\x00"))
	}
	identify(rows, contents)
	return rows
}

// flag reads a cell that is true, false or empty.
func (f *table) flag(r record, name string) *bool {
	switch value := strings.ToLower(r.cells[name]); value {
	case "":
		return nil
	case "true", "yes", "1":
		return new(true)
	case "false", "no", "0":
		return new(false)
	default:
		f.problem(r.line, "%s has to be true or false, not %s", name, plain(strconv.Quote(value)))
		return nil
	}
}

func (x *CreateAccount) createOne(body client.ManagedAccountCreate) func(context.Context, *session) (outcome, error) {
	return func(ctx context.Context, s *session) (outcome, error) {
		a, err := s.ManagedAccounts.Create(ctx, body)
		if err == nil {
			return outcome{status: "created", id: a.ID, email: a.Email}, nil
		}
		if x.IfNotExists && body.Email != nil && isDuplicate(err) {
			there, err := accountByEmail(ctx, s, *body.Email, true)
			if err != nil {
				return outcome{}, err
			}
			if there != nil {
				return outcome{status: "exists", id: there.ID, email: there.Email}, nil
			}
		}
		return outcome{}, err
	}
}

var disableColumns = []string{"id", "email", "business_name"}

func (x *DisableAccount) bulk(ctx context.Context, t *Terminal) error {
	var rows []*row
	content := digest(fmt.Sprint(x.Filter))[:16]
	what := "Accounts to disable on "
	if x.From != "" {
		file, err := readTable(t, x.From, disableColumns)
		if err != nil {
			return err
		}
		rows = disableRows(file)
		if err := file.check(t, x.From); err != nil {
			return err
		}
		content = file.digest
	}
	s, b, err := x.begin(t, &x.Changing, content)
	if err != nil {
		return err
	}
	defer b.results.close()
	if x.From == "" {
		if rows, err = x.chosen(ctx, t); err != nil {
			return err
		}
	}
	b.doing, b.rows = "disabling", rows
	if x.From == "" {
		b.rows = append(b.rows, b.results.earlier(rows)...)
	}
	if err := b.results.adopt(b.rows); err != nil {
		return err
	}
	left := b.planned(t, what+s.BaseURL())
	if x.From == "" {
		for i, r := range rows {
			if i == shownProblems {
				t.note("  and %s more", thousands(len(rows)-i))
				break
			}
			t.note("  %s  %s", plain(r.id), plain(r.email))
		}
	}
	if x.DryRun {
		t.note("Nothing was sent: this is a dry run.")
		b.results.path = ""
		return b.finish(t, x.Output, nil)
	}
	if left == 0 {
		return b.finish(t, x.Output, nil)
	}
	if err := t.confirm(x.Yes, fmt.Sprintf("This disables %s accounts", thousands(left)), strconv.Itoa(left)); err != nil {
		return err
	}
	return b.carryOut(ctx, s)
}

func disableRows(file *table) []*row {
	var rows []*row
	lines := map[string]int{}
	for _, r := range file.records {
		id := r.cells["id"]
		switch {
		case id == "":
			file.problem(r.line, "id is empty")
		case lines[id] > 0:
			file.problem(r.line, "id %s is in line %d already", plain(id), lines[id])
		default:
			lines[id] = r.line
			rows = append(rows, disableRow(r.line, id, r.cells["email"]))
		}
	}
	return rows
}

func disableRow(line int, id, email string) *row {
	return &row{line: line, identity: digest(id), id: id, email: email, do: func(ctx context.Context, s *session) (outcome, error) {
		a, err := s.ManagedAccounts.Disable(ctx, id)
		if err != nil {
			return outcome{}, err
		}
		return outcome{status: "disabled", id: a.ID, email: a.Email}, nil
	}}
}

// chosen are the accounts that the filter names and that are not disabled yet.
func (x *DisableAccount) chosen(ctx context.Context, t *Terminal) ([]*row, error) {
	reading := x.Changing
	reading.DryRun = false
	s, err := reading.open(t)
	if err != nil {
		return nil, err
	}
	list := x.Filter.list()
	list.PageSize = 250
	var rows []*row
	for a, err := range s.ManagedAccounts.All(ctx, list) {
		if err != nil {
			return nil, err
		}
		if a.Status != "disabled" && a.Status != "cancelled" {
			rows = append(rows, disableRow(len(rows)+1, a.ID, a.Email))
		}
	}
	return rows, nil
}
