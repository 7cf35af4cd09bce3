package cli

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rivo/uniseg"
	"pgregory.net/rapid"
)

func TestPlain(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"Larry's Café 猫 🐈":      "Larry's Café 猫 🐈",
		"a\x1b[2Jb\r\n\tc\x00":  `a\x1b[2Jb\r\n\tc\x00`,
		"evil\u202emoc.elpmaxe": `evil\u202emoc.elpmaxe`,
		"\u009b31m":             `\u009b31m`,
		"zero\u200bwidth":       `zero\u200bwidth`,
	} {
		if got := plain(text); got != want || plain(got) != got {
			t.Errorf("plain(%q) is %q, want %q", text, got, want)
		}
	}
}

// TestHostileServer lets a server put control characters everywhere it can.
func TestHostileServer(t *testing.T) {
	t.Parallel()
	const evil = `\u001b]0;owned\u0007\u001b[2J\u202e`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/balance"):
			w.Header().Set("X-Request-Id", "x\x9b31m")
			w.WriteHeader(422)
			fmt.Fprint(w, `{"errors":[{"code":"`+evil+`","title":"x","detail":"`+evil+`"}]}`)
		default:
			fmt.Fprint(w, `{"data":[{"id":"`+evil+`","email":"`+evil+`","organization_name":"`+evil+`","status":"`+evil+`"}],"meta":{"total_pages":1,"total_results":1}}`)
		}
	}))
	t.Cleanup(server.Close)
	for _, arguments := range [][]string{{"accounts", "list"}, {"balance"}, {"accounts", "disable", "--filter-status", "active", "--dry-run"}} {
		var program struct {
			Accounts Accounts `cmd:""`
			Balance  Balance  `cmd:""`
		}
		var out bytes.Buffer
		Main(t.Context(), &program, append(arguments, "--base-url", server.URL+"/v2", "--key", "KEY"), &Terminal{Out: &out, Err: &out})
		if text := out.String(); !strings.Contains(text, `\x1b`) || strings.ContainsAny(text, "\x1b\x07\u202e\u009b") {
			t.Errorf("%q prints %q", arguments, text)
		}
	}
}

func TestCell(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"": "", "Larry": "Larry", "=1+1": "'=1+1", "@SUM(A1)": "'@SUM(A1)", "-5.00": "-5.00", "+1": "+1", "-cmd": "'-cmd", "\tx": "'\tx",
	} {
		if got := cell(value); got != want {
			t.Errorf("cell(%q) is %q, want %q", value, got, want)
		}
	}
}

func TestThousands(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 10_000: "10,000", 1_234_567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) is %s", n, got)
		}
	}
}

// TestFit holds that whatever the columns, a line fits the terminal and the first
// column is there.
func TestFit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		shapes := rapid.SliceOfN(rapid.SampledFrom([]shape{cut, whole, spare}), 1, 8).Draw(t, "shapes")
		limit := rapid.IntRange(1, 120).Draw(t, "limit")
		rows := rapid.SliceOfN(rapid.SliceOfN(rapid.StringOfN(rapid.RuneFrom([]rune("ab é猫🐈")), 0, 40, -1), len(shapes), len(shapes)), 1, 5).Draw(t, "rows")
		widths := fit(rows, shapes, limit)
		if got := total(widths); got > limit {
			t.Fatalf("%v has %d cells", widths, got)
		}
		if widths[0] < 0 {
			t.Fatal("the first column is gone")
		}
		for _, row := range rows {
			var line strings.Builder
			writeRow(&line, row, widths, func(_ int, _, shown string) string { return shown })
			if w := uniseg.StringWidth(strings.TrimSuffix(line.String(), "\n")); w > limit {
				t.Fatalf("%q has %d cells of %d", line.String(), w, limit)
			}
		}
		if unlimited := fit(rows, shapes, 0); slices.Min(unlimited) < 0 {
			t.Fatal("a column is gone without need")
		}
	})
}

// TestPace runs on a clock that jumps.
func TestPace(t *testing.T) {
	t.Parallel()
	headers := func(pairs ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(pairs); i += 2 {
			h.Set(pairs[i], pairs[i+1])
		}
		return h
	}
	takes := func(t *testing.T, p *pace, calls int, want time.Duration) {
		t.Helper()
		began := time.Now()
		for range calls {
			if err := p.wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got := time.Since(began); (got - want).Abs() > want/50 {
			t.Errorf("%d calls took %s, want %s", calls, got, want)
		}
	}
	for name, test := range map[string]func(t *testing.T, p *pace){
		"nothing heard": func(t *testing.T, p *pace) { takes(t, p, 1000, 0) },
		"429 holds everybody": func(t *testing.T, p *pace) {
			p.heard(429, headers("Retry-After", "7"))
			takes(t, p, 100, 7*time.Second)
			p.heard(429, headers("Retry-After", "7", "Retry-After-Ms", "250"))
			takes(t, p, 100, 250*time.Millisecond)
			p.heard(429, headers())
			takes(t, p, 100, time.Second)
			p.heard(503, headers("Retry-After", time.Now().Add(30*time.Second).UTC().Format(http.TimeFormat)))
			takes(t, p, 100, 30*time.Second)
		},
		"a shorter pause does not end a longer one": func(t *testing.T, p *pace) {
			p.heard(429, headers("Retry-After", "7"))
			p.heard(429, headers("Retry-After", "1"))
			takes(t, p, 1, 7*time.Second)
		},
		"nobody is believed for ever": func(t *testing.T, p *pace) {
			p.heard(429, headers("Retry-After", "86400"))
			takes(t, p, 1, longestPause)
		},
		"plenty left": func(t *testing.T, p *pace) {
			p.heard(200, headers("X-Ratelimit-Limit", "1000", "X-Ratelimit-Remaining", "500", "X-Ratelimit-Reset", "5"))
			takes(t, p, 1000, 0)
		},
		"nearly used up": func(t *testing.T, p *pace) { // 1,000 come back in 10 s
			p.heard(200, headers("X-Ratelimit-Limit", "1000", "X-Ratelimit-Remaining", "0", "X-Ratelimit-Reset", "10"))
			takes(t, p, 1001, 10*time.Second)
		},
		"nonsense": func(t *testing.T, p *pace) {
			p.heard(200, headers("X-Ratelimit-Limit", "-5", "X-Ratelimit-Remaining", "0", "X-Ratelimit-Reset", "1"))
			p.heard(200, headers("X-Ratelimit-Limit", "x", "X-Ratelimit-Remaining", "0", "X-Ratelimit-Reset", "1"))
			p.heard(429, headers("Retry-After", "0"))
			takes(t, p, 10, 0)
		},
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { test(t, &pace{parallel: 8}) }) })
	}
}

func TestProgressLine(t *testing.T) {
	t.Parallel()
	p := &progress{doing: "creating", total: 10_000, done: 2500, failed: 3}
	if got := p.line(5 * time.Second); got != "creating: 2,500 of 10,000 rows, 500 a second, about 15s left, 3 failed" {
		t.Error(got)
	}
	if got := (&progress{doing: "creating", total: 1}).line(0); got != "creating: 0 of 1 row" {
		t.Error(got)
	}
}

// TestProgressLines has a line every few seconds where there is no terminal.
func TestProgressLines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := newProgress(&Terminal{Err: &out}, "creating", 100)
		time.Sleep(progressEvery / 2)
		p.add(50, 0)
		time.Sleep(progressEvery)
		p.close()
		if got := out.String(); got != "creating: 50 of 100 rows, 10 a second, about 5s left\n" {
			t.Errorf("%q", got)
		}
	})
}

// TestResults opens result files that were left in all states.
func TestResults(t *testing.T) {
	t.Parallel()
	const server = "http://127.0.0.1/v2"
	head := csvLine(resultColumns...)
	started := csvLine("0", "started", "", "", "", "", "", server, keyPrefix+"run1")
	done := csvLine("2", "created", "id2", "a@example.com", "", "", "", server, keyPrefix+"run1-aaa")
	bad := csvLine("3", "failed", "", "b@example.com", "an \"error\", long", "10012", "r", server, keyPrefix+"run1-bbb")
	for name, c := range map[string]struct {
		text  string
		whole string // what of it is kept; "" when it is refused
		rows  int
		run   string
	}{
		"new":                 {"", head + strings.ReplaceAll(started, "run1", "new"), 0, "new"},
		"begun":               {head + started, head + started, 0, "run1"},
		"in the middle":       {head + started + done + bad, head + started + done + bad, 2, "run1"},
		"tidy":                {head + done + bad, head + done + bad, 2, "run1"},
		"later lines win":     {head + started + strings.ReplaceAll(bad, "bbb", "aaa") + done, head + started + strings.ReplaceAll(bad, "bbb", "aaa") + done, 1, "run1"},
		"half a line":         {head + started + done + bad[:20], head + started + done, 1, "run1"},
		"half a quoted line":  {head + started + done + bad[:40], head + started + done, 1, "run1"},
		"zeros after a crash": {head + started + done + "\x00\x00\x00\x00", head + started + done, 1, "run1"},
		"damaged last line":   {head + started + done + "what\n", head + started + done, 1, "run1"},
		"damaged":             {head + started + "what\n" + done, "", 0, ""},
		"another file":        {"name,email\nx,y\n", "", 0, ""},
		"no table":            {"hello", "", 0, ""},
		"another server":      {head + strings.ReplaceAll(done, server, "http://other/v2"), "", 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "x.result.csv")
			if c.text != "" {
				if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			r, err := openResults(path, server, "new", false)
			if c.whole == "" {
				var usage *usageError
				if text, _ := os.ReadFile(path); !errors.As(err, &usage) || string(text) != c.text {
					t.Errorf("it is not refused, or touched: %v, %q", err, text)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer r.close()
			if text, _ := os.ReadFile(path); string(text) != c.whole {
				t.Errorf("the file has\n%s\nwant\n%s", text, c.whole)
			}
			if len(r.byRow) != c.rows || r.run != c.run {
				t.Errorf("%d rows of run %s", len(r.byRow), r.run)
			}
			if c.rows > 0 && !r.finished(&row{identity: "aaa"}) || r.finished(&row{identity: "bbb"}) {
				t.Error("what is finished is not known")
			}
			if _, err := openResults(path, server, "new", false); err == nil {
				t.Error("a second run gets the file too")
			}
		})
	}
}

// TestIdentity holds that a row keeps its identity when others move, and that
// equal rows have different ones.
func TestIdentity(t *testing.T) {
	t.Parallel()
	identities := func(contents ...string) []string {
		rows := make([]*row, len(contents))
		for i := range rows {
			rows[i] = &row{line: i + 2}
		}
		identify(rows, contents)
		var all []string
		for _, r := range rows {
			all = append(all, r.identity)
		}
		return all
	}
	before, after := identities("a", "b", "a"), identities("new", "a", "a", "b")
	if before[0] == before[2] || before[0] != after[1] || before[2] != after[2] || before[1] != after[3] {
		t.Errorf("%q became %q", before, after)
	}
}
