package cli

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// results are the outcomes of a bulk run. In a file they stand as they come, later
// ones for the same row in the place of earlier ones, until the run is over and
// the file is written anew, in order. A row's key has the form
// tenantry-RUN-IDENTITY: RUN stands for the file as it was when the first run
// began, so that keys stay when a line is corrected, and IDENTITY for the row's
// own content, so that they do not when the row is another.
type results struct {
	path   string // "" for none
	server string
	run    string

	file  *os.File
	out   *bufio.Writer
	byRow map[string]recorded
}

type recorded struct {
	outcome
	line int
}

var resultColumns = []string{"line", "status", "id", "email", "error", "code", "request_id", "server", "key"}

const keyPrefix = "tenantry-"

// openResults reads what earlier runs did. content is the digest of the file that
// is run; it is remembered when there was none. A dry run writes nothing.
func openResults(path, server, content string, dry bool) (_ *results, err error) {
	r := &results{path: path, server: server, run: content, byRow: map[string]recorded{}}
	if path == "" {
		return r, nil
	}
	if dry {
		text, err := os.ReadFile(path)
		if err == nil {
			_, err = r.read(text)
		} else if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return r, err
	}
	if r.file, err = os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, usagef("the result file cannot be written: %v", err)
	}
	defer func() {
		if err != nil {
			r.file.Close()
		}
	}()
	if err := lockFile(r.file); err != nil {
		return nil, usagef("another run writes %s: wait for it, or give --result another file", path)
	}
	text, err := io.ReadAll(r.file)
	if err != nil {
		return nil, err
	}
	good, err := r.read(text)
	if err != nil {
		return nil, err
	}
	// A line that a crash left half written goes.
	if err = r.file.Truncate(int64(good)); err == nil {
		_, err = r.file.Seek(int64(good), io.SeekStart)
	}
	if err != nil {
		return nil, err
	}
	r.out = bufio.NewWriter(r.file)
	if good == 0 {
		r.out.WriteString(csvLine(resultColumns...))
		r.out.WriteString(csvLine("0", "started", "", "", "", "", "", r.server, keyPrefix+r.run))
		err = r.sync()
	}
	return r, err
}

// read takes in a result file and returns how much of it is whole.
func (r *results) read(text []byte) (good int, err error) {
	foreign := func(why string) error {
		return usagef("%s is no result file of this command (%s): give --result another file, or remove it", r.path, why)
	}
	for number := 1; good < len(text); number++ {
		end := bytes.IndexByte(text[good:], '\n')
		if end < 0 {
			if number == 1 {
				return 0, foreign("it has another header")
			}
			return good, nil
		}
		cells, err := csv.NewReader(bytes.NewReader(text[good : good+end+1])).Read()
		last := good+end+1 == len(text)
		switch {
		case number == 1 && (err != nil || !slices.Equal(cells, resultColumns)):
			return 0, foreign("it has another header")
		case number == 1:
		case err != nil || len(cells) != len(resultColumns):
			if last {
				return good, nil
			}
			return 0, foreign(fmt.Sprintf("line %d is damaged", number))
		default:
			if err := r.take(cells); err != nil {
				return 0, err
			}
		}
		good += end + 1
	}
	return good, nil
}

func (r *results) take(cells []string) error {
	if server := cells[7]; server != r.server {
		return usagef("%s has the results of another server, %s: give --result another file", r.path, server)
	}
	run, identity, _ := strings.Cut(strings.TrimPrefix(cells[8], keyPrefix), "-")
	r.run = run
	if identity == "" { // the row that says that it began
		return nil
	}
	line, _ := strconv.Atoi(cells[0])
	r.byRow[identity] = recorded{line: line, outcome: outcome{
		status: cells[1], id: cells[2], email: cells[3], text: cells[4], code: cells[5], requestID: cells[6],
	}}
	return nil
}

// adopt gives the rows their keys and refuses results that belong to none of them.
func (r *results) adopt(rows []*row) error {
	known := map[string]bool{}
	for _, row := range rows {
		known[row.identity] = true
		row.key = keyPrefix + r.run + "-" + row.identity
	}
	strange := 0
	for identity, o := range r.byRow {
		if !known[identity] && o.status != "failed" {
			strange++
		}
	}
	if strange > 0 {
		return usagef("%s has the results of %s that this file does not have (any more): give --result another file", r.path, rowsOf(strange))
	}
	return nil
}

// earlier makes rows of what is done and not among rows: a filter does not choose
// what it has chosen before.
func (r *results) earlier(rows []*row) (more []*row) {
	chosen := map[string]bool{}
	for _, row := range rows {
		chosen[row.identity] = true
	}
	for identity, o := range r.byRow {
		if !chosen[identity] && o.status != "failed" {
			more = append(more, &row{line: o.line, identity: identity, id: o.id, email: o.email})
		}
	}
	slices.SortFunc(more, func(a, b *row) int { return a.line - b.line })
	return more
}

// status is what became of a row, "" when it is left.
func (r *results) status(row *row) string { return r.byRow[row.identity].status }

// finished reports whether a row needs nothing more.
func (r *results) finished(row *row) bool {
	status := r.status(row)
	return status != "" && status != "failed"
}

// add records an outcome; sync makes it last.
func (r *results) add(row *row, o outcome) {
	if o.email == "" {
		o.email = row.email
	}
	r.byRow[row.identity] = recorded{o, row.line}
	if r.out != nil {
		r.out.WriteString(csvLine(r.cells(row)...))
	}
}

func (r *results) cells(row *row) []string {
	o := r.byRow[row.identity]
	return []string{strconv.Itoa(row.line), o.status, o.id, cell(plain(o.email)), cell(plain(o.text)), o.code, o.requestID, r.server, row.key}
}

func (r *results) sync() error {
	if r.out == nil {
		return nil
	}
	if err := r.out.Flush(); err != nil {
		return err
	}
	return r.file.Sync()
}

// write writes the header and a line for each row that has an outcome.
func (r *results) write(w io.Writer, rows []*row) error {
	out := bufio.NewWriter(w)
	out.WriteString(csvLine(resultColumns...))
	for _, row := range rows {
		if r.status(row) != "" {
			out.WriteString(csvLine(r.cells(row)...))
		}
	}
	return out.Flush()
}

// tidy writes the file anew, one line for each row, in order, once every row has
// an outcome.
func (r *results) tidy(rows []*row) error {
	if r.file == nil || slices.ContainsFunc(rows, func(row *row) bool { return r.status(row) == "" }) {
		return nil
	}
	var text bytes.Buffer
	if err := r.write(&text, rows); err != nil {
		return err
	}
	return replaceFile(r.path, text.Bytes())
}

func (r *results) close() {
	if r.file != nil {
		r.file.Close()
	}
}

func csvLine(cells ...string) string {
	var line strings.Builder
	w := csv.NewWriter(&line)
	w.Write(cells)
	w.Flush()
	return line.String()
}

// resultPath is the file beside a file that keeps the outcomes.
func resultPath(from string) string {
	return strings.TrimSuffix(from, filepath.Ext(from)) + ".result.csv"
}
