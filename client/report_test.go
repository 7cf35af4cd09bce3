package client_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantry/tenantry/client"
)

const reportHead = "id,email,user_status,created_at,last_sign_in_at,groups"

// TestReportRows reads what CSV has in store.
func TestReportRows(t *testing.T) {
	t.Parallel()
	c := scripted(t, answers(200, "text/csv", reportHead+`
1,a@example.com,enabled,2018-02-02T22:25:27.521Z,2018-02-02T22:25:27.521Z,"Engineering, Sales"
2,b@example.com,disabled,2018-02-02T22:25:27.521Z,,
3,c@example.com,blocked,2018-02-02T22:25:27.521Z,,"He said ""hi""
and left"`))
	want := []client.GroupsReportRow{
		{"1", "a@example.com", "enabled", "2018-02-02T22:25:27.521Z", "2018-02-02T22:25:27.521Z", "Engineering, Sales"},
		{"2", "b@example.com", "disabled", "2018-02-02T22:25:27.521Z", "", ""},
		{"3", "c@example.com", "blocked", "2018-02-02T22:25:27.521Z", "", "He said \"hi\"\nand left"},
	}
	var got []client.GroupsReportRow // kept: a row is nobody's buffer
	for row, err := range c.OrganizationUsers.GroupsReportRows(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, row)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q", got)
	}
	for row, err := range scripted(t, answers(200, "text/csv", reportHead)).OrganizationUsers.GroupsReportRows(t.Context()) {
		t.Errorf("no rows, and yet %v %v", row, err)
	}
}

// TestRowsAsTheyCome wants each row to be seen before the next is sent.
func TestRowsAsTheyCome(t *testing.T) {
	t.Parallel()
	seen := make(chan string)
	c := scripted(t, func(w http.ResponseWriter, r *http.Request) {
		send := func(text string) {
			io.WriteString(w, text)
			w.(http.Flusher).Flush()
		}
		// The break after a row ends it; without, it may go on.
		send(reportHead + "\n1,a@example.com,enabled,then,,\n")
		for i := range 3 {
			if got := <-seen; got != fmt.Sprint(i+1) {
				t.Errorf("row %s is seen when %d is sent", got, i+1)
			}
			send(fmt.Sprintf("%d,a@example.com,enabled,then,,\n", i+2))
		}
	}, client.WithTimeout(30*time.Second))
	n := 0
	for row, err := range c.OrganizationUsers.GroupsReportRows(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n < 4 {
			seen <- row.ID
		}
	}
	if n != 4 {
		t.Errorf("%d rows", n)
	}
}

// TestReportWithoutEnd is about answers that are no whole report.
func TestReportWithoutEnd(t *testing.T) {
	t.Parallel()
	abort := func(w http.ResponseWriter) {
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	const row = "\n1,a@example.com,enabled,then,,"
	for _, test := range []struct {
		name string
		do   func(http.ResponseWriter)
		rows int
		kind error // nil for none
		want string
	}{
		{"cut between rows", func(w http.ResponseWriter) { io.WriteString(w, reportHead+row+row+"\n"); abort(w) }, 2, client.ErrConnection, "the answer broke off: unexpected EOF"},
		{"cut in a row", func(w http.ResponseWriter) { io.WriteString(w, reportHead+row+"\n2,b@exa"); abort(w) }, 1, client.ErrConnection, "the answer broke off: unexpected EOF"},
		{"cut in a cell", func(w http.ResponseWriter) { io.WriteString(w, reportHead+row+"\n2,\"b@exa"); abort(w) }, 1, client.ErrConnection, "the answer broke off: unexpected EOF"},
		{"cut in the head", func(w http.ResponseWriter) { io.WriteString(w, "id,em"); abort(w) }, 0, client.ErrConnection, "the answer broke off: unexpected EOF"},
		{"shorter than it says", func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, reportHead+row)
		}, 0, client.ErrConnection, "the answer broke off: unexpected EOF"},
		{"a row too short", func(w http.ResponseWriter) { io.WriteString(w, reportHead+row+"\n2,b") }, 1, nil, "the answer is not what was expected: record on line 3: wrong number of fields (HTTP 200)"},
		{"a cell without end", func(w http.ResponseWriter) { io.WriteString(w, reportHead+row+"\n2,\"b") }, 1, nil,
			`the answer is not what was expected: record on line 3; parse error on line 4, column 0: extraneous or missing " in quoted-field (HTTP 200)`},
		{"empty", func(w http.ResponseWriter) {}, 0, nil, "the answer is not what was expected: it does not begin with " + reportHead + " (HTTP 200)"},
		{"other columns", func(w http.ResponseWriter) { io.WriteString(w, "id,email\n1,a@example.com") }, 0, nil,
			"the answer is not what was expected: it does not begin with " + reportHead + " (HTTP 200)"},
		{"JSON", func(w http.ResponseWriter) { io.WriteString(w, `{"data":[]}`) }, 0, nil,
			`the answer is not what was expected: parse error on line 1, column 2: bare " in non-quoted-field (HTTP 200)`},
	} {
		c := scripted(t, func(w http.ResponseWriter, r *http.Request) { test.do(w) })
		rows, wrong := 0, 0
		for row, err := range c.OrganizationUsers.GroupsReportRows(t.Context()) {
			if err == nil {
				rows++
				continue
			}
			wrong++
			var kinds []error
			if test.kind != nil {
				kinds = []error{test.kind}
			}
			if !isOnly(err, kinds...) || row != (client.GroupsReportRow{}) || refused(t, err).Operation != "retrieve groups report" {
				t.Errorf("%s: %v %v", test.name, row, err)
			}
			if got := err.Error(); got != "retrieve groups report: "+test.want && !(test.name == "a cell without end" && strings.Contains(got, "quoted-field")) {
				t.Errorf("%s reads\n%s\nand not\nretrieve groups report: %s", test.name, got, test.want)
			}
		}
		// Of a report whose length is known to be wrong the last row may be seen or not.
		if rows != test.rows && test.name != "shorter than it says" || wrong != 1 {
			t.Errorf("%s: %d rows, %d errors", test.name, rows, wrong)
		}
	}
}

// TestReportRefused gives the reason, and tries again where there is use in it.
func TestReportRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		c := inMemory(t, func(w http.ResponseWriter, r *http.Request) {
			if tries++; tries < 3 {
				answers(503, "application/json", envelope())(w, r)
				return
			}
			answers(403, "application/json", envelope(`{"code":"10010","title":"Not authorized"}`))(w, r)
		})
		body, err := c.OrganizationUsers.GroupsReportCSV(t.Context())
		if body != nil || !isOnly(err, client.ErrPermissionDenied) || tries != 3 {
			t.Errorf("%v %v after %d tries", body, err, tries)
		}
	})
}

// TestStreamTimeout wants the timeout to bound each wait for more, and not the
// whole nor the reader's own pauses.
func TestStreamTimeout(t *testing.T) {
	t.Parallel()
	const rows = 100
	report := func(pause time.Duration) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, reportHead+"\n")
			w.(http.Flusher).Flush()
			for i := range rows {
				select {
				case <-time.After(pause):
				case <-r.Context().Done():
					return
				}
				fmt.Fprintf(w, "%d,a@example.com,enabled,then,,\n", i)
				w.(http.Flusher).Flush()
			}
		}
	}
	read := func(t *testing.T, c *client.Client, pause time.Duration) (n int, err error) {
		for _, err := range c.OrganizationUsers.GroupsReportRows(t.Context()) {
			if err != nil {
				return n, err
			}
			n++
			time.Sleep(pause)
		}
		return n, nil
	}
	synctest.Test(t, func(t *testing.T) {
		n, err := read(t, inMemory(t, report(9*time.Second), client.WithTimeout(10*time.Second)), 0)
		if n != rows || err != nil {
			t.Errorf("slow server: %d rows, %v", n, err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		n, err := read(t, inMemory(t, report(0), client.WithTimeout(10*time.Second)), time.Minute)
		if n != rows || err != nil {
			t.Errorf("slow reader: %d rows, %v", n, err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		n, err := read(t, inMemory(t, report(11*time.Second), client.WithTimeout(10*time.Second)), 0)
		if n != 0 || !isOnly(err, client.ErrConnection, client.ErrTimeout) || time.Since(began) != 10*time.Second ||
			err.Error() != "retrieve groups report: the server did not answer in time: context deadline exceeded" {
			t.Errorf("server that stops: %d rows, %v", n, err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		n, err := read(t, inMemory(t, report(time.Hour), client.WithTimeout(0)), 0)
		if n != rows || err != nil {
			t.Errorf("no bound: %d rows, %v", n, err)
		}
	})
	synctest.Test(t, func(t *testing.T) { // the beginning is bounded too, and tried again
		tries := 0
		c := inMemory(t, func(w http.ResponseWriter, r *http.Request) {
			if tries++; tries == 1 {
				<-r.Context().Done()
				return
			}
			report(0)(w, r)
		}, client.WithTimeout(10*time.Second))
		if n, err := read(t, c, 0); n != rows || err != nil || tries != 2 {
			t.Errorf("%d rows, %v, %d tries", n, err, tries)
		}
	})
}

// TestReportBreak wants who stops in the middle to stop the server too.
func TestReportBreak(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	c := scripted(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, reportHead+"\n1,a@example.com,enabled,then,,\n2,")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(gone)
	})
	for row, err := range c.OrganizationUsers.GroupsReportRows(t.Context()) {
		if err != nil || row.ID != "1" {
			t.Fatal(row, err)
		}
		break
	}
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Error("the server is still at it")
	}
}

// TestLargeReport goes through a million rows, 70 MB, in the memory of a few.
func TestLargeReport(t *testing.T) {
	rows := 1_000_000
	if testing.Short() {
		rows = 100_000
	}
	var most atomic.Uint64
	c := scripted(t, func(w http.ResponseWriter, r *http.Request) {
		out := bufio.NewWriter(w)
		out.WriteString(reportHead)
		for i := range rows {
			fmt.Fprintf(out, "\n%d,user@example.com,enabled,2018-02-02T22:25:27.521Z,,\"A, B\"", i)
		}
		out.Flush()
	})
	held := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	n, before := 0, uint64(0)
	for row, err := range c.OrganizationUsers.GroupsReportRows(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if row.ID != fmt.Sprint(n) {
			t.Fatalf("row %d is %v", n, row)
		}
		switch n++; {
		case n == 1000:
			before = held()
		case n%(rows/4) == 0:
			most.Store(max(most.Load(), held()))
		}
	}
	if n != rows || most.Load() > before+8<<20 {
		t.Errorf("%d rows; %d bytes held at first, %d later", n, before, most.Load())
	}
	t.Logf("%d rows, %d KiB held after 1,000 rows and %d KiB at most later", n, before>>10, most.Load()>>10)
}

// TestReportError wants the errors of the raw stream to be *Error too.
func TestReportError(t *testing.T) {
	t.Parallel()
	c := scripted(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, reportHead)
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	body, err := c.OrganizationUsers.GroupsReportCSV(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	if string(text) != reportHead || !isOnly(err, client.ErrConnection) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%q %v", text, err)
	}
}
