package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Line is one measured figure.
type Line struct {
	Name   string  `json:"name"`
	Figure float64 `json:"figure"`
	Unit   string  `json:"unit"`
	// Baseline is what the figure is held against, measured in the same run and
	// the same unit; 0 when the line is itself a baseline.
	Baseline float64 `json:"baseline,omitempty"`
	Against  string  `json:"against,omitempty"`
	// Ratio is Figure through Baseline.
	Ratio float64 `json:"ratio,omitempty"`
	// Aim is what the project wants, "" where it wants nothing; Met whether this
	// run got there.
	Aim string `json:"aim,omitempty"`
	Met bool   `json:"met,omitempty"`
	// Also is what was measured besides.
	Also []Also `json:"also,omitempty"`
}

// Also is a figure beside the main one.
type Also struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit,omitempty"`
}

func (l *Line) against(name string, baseline float64) *Line {
	l.Against, l.Baseline, l.Ratio = name, baseline, l.Figure/baseline
	return l
}

func (l *Line) also(name string, value float64, unit string) *Line {
	l.Also = append(l.Also, Also{name, value, unit})
	return l
}

// aim notes an aim for the figure, or the ratio: at least want, or at most.
func (l *Line) aim(what string, got float64, atLeast bool, want float64) *Line {
	sign := "<="
	l.Met = got <= want
	if atLeast {
		sign, l.Met = ">=", got >= want
	}
	l.Aim = strings.TrimSpace(fmt.Sprintf("%s %s %s", what, sign, number(want)))
	return l
}

// add keeps a line and prints it, if it is wanted.
func (b *bench) add(l *Line) {
	if !b.wanted(l.Name) {
		return
	}
	b.lines = append(b.lines, l)
	var also []string
	for _, a := range l.Also {
		also = append(also, strings.TrimSpace(a.Name+" "+number(a.Value)+" "+a.Unit))
	}
	baseline, ratio := "", ""
	if l.Baseline != 0 {
		baseline, ratio = number(l.Baseline)+" "+l.Against, fmt.Sprintf("%.3f", l.Ratio)
	}
	aim := l.Aim
	if aim != "" && l.Met {
		aim += " ok"
	} else if aim != "" {
		aim += " NO"
	}
	fmt.Fprintf(b.out, "%-30s %11s %-13s %-24s %7s  %-18s %s\n", l.Name, number(l.Figure), l.Unit, baseline, ratio, aim, strings.Join(also, ", "))
}

func (b *bench) printHead() {
	fmt.Fprintf(b.out, "%s\n%s accounts, %s users, %s a line\n\n", b.machine(), millions(b.accounts), millions(b.users), b.time)
	fmt.Fprintf(b.out, "%-30s %11s %-13s %-24s %7s  %-18s %s\n", "line", "figure", "unit", "baseline", "ratio", "aim", "also")
}

func (b *bench) printJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		Time     time.Time `json:"time"`
		Machine  string    `json:"machine"`
		Accounts int       `json:"accounts"`
		Users    int       `json:"users"`
		Lines    []*Line   `json:"lines"`
	}{time.Now().UTC(), b.machine(), b.accounts, b.users, b.lines})
}

// number writes three digits that count, and commas.
func number(v float64) string {
	switch {
	case v < 10:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case v < 100:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	digits := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// quantile is the q-th part of the values; 0 when there are none.
func quantile(values []time.Duration, q float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[min(len(values)-1, int(q*float64(len(values))))]
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
func microsOf(d time.Duration) float64 {
	return float64(d) / float64(time.Microsecond)
}
