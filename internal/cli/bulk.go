package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tenantry/tenantry/client"
)

// A bulk run does one thing for each row of a file. It plans first: the whole file
// is checked before anything is sent. Then some rows at a time are done, within
// the server's rate limit, and each outcome is appended to a result file and
// synced, so that a run that was interrupted goes on where it was. Rows that were
// under way then are sent again, with the same idempotency key.

// BulkFlags is the flags of commands that can be done for many.
type BulkFlags struct {
	From     string `group:"Bulk" placeholder:"FILE" help:"Do it for each line of a CSV file; - is standard input."`
	Result   string `group:"Bulk" type:"path" placeholder:"FILE" help:"Where the outcome of each line is kept; default: FILE.result.csv beside the file."`
	Parallel int    `group:"Bulk" default:"8" help:"How many lines are under way at once."`
}

// row is one row of a bulk run.
type row struct {
	line      int
	id, email string // as far as they are known before
	// identity tells the row from all others of the file, wherever it stands.
	identity string
	key      string
	do       func(context.Context, *session) (outcome, error)
}

// outcome is what became of a row.
type outcome struct {
	status    string // created, exists, disabled, failed
	id, email string
	// what follows says why it failed
	text, code, requestID string
}

// bulk is a run.
type bulk struct {
	doing    string // "creating"
	rows     []*row
	results  *results
	parallel int
	pace     *pace
}

// Patience of a bulk run with one row.
const (
	mostTries   = 10  // without an answer, or with 5xx
	mostRefused = 200 // with 429
)

// planned says what a run is going to do.
func (b *bulk) planned(t *Terminal, what string) int {
	left := 0
	for _, r := range b.rows {
		if !b.results.finished(r) {
			left++
		}
	}
	if done := len(b.rows) - left; done > 0 {
		t.note("%s: %s, %s done already, %s to do.", what, rowsOf(len(b.rows)), thousands(done), thousands(left))
	} else {
		t.note("%s: %s to do.", what, rowsOf(left))
	}
	return left
}

func rowsOf(n int) string {
	if n == 1 {
		return "1 row"
	}
	return thousands(n) + " rows"
}

// run does what is left. Its error says why not everything is done.
func (b *bulk) run(ctx context.Context, s *session) error {
	left := make([]*row, 0, len(b.rows))
	for _, r := range b.rows {
		if !b.results.finished(r) {
			left = append(left, r)
		}
	}
	if len(left) == 0 {
		return nil
	}
	// stop ends the run for a reason that concerns all rows.
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	todo := make(chan *row)
	type done struct {
		row *row
		outcome
	}
	outcomes := make(chan done, b.parallel)
	var workers sync.WaitGroup
	var lost lostRows
	for range b.parallel {
		workers.Go(func() {
			for r := range todo {
				o, err := b.try(ctx, s, r)
				if ctx.Err() != nil && err != nil {
					return // left for the next run
				}
				if fatal(err) || lost.count(err, b.parallel) {
					stop(err)
					return
				}
				if err != nil {
					o = failed(err)
					o.id = r.id
				}
				outcomes <- done{r, o}
			}
		})
	}
	go func() {
		defer close(todo)
		for _, r := range left {
			select {
			case todo <- r:
			case <-ctx.Done():
				return
			}
		}
	}()
	go func() { workers.Wait(); close(outcomes) }()

	bar := newProgress(s.t, b.doing, len(left))
	defer bar.close()
	failures := 0
	for first := range outcomes {
		// What came meanwhile shares one sync.
		for batch := []done{first}; ; {
			for _, d := range batch {
				b.results.add(d.row, d.outcome)
				if d.status == "failed" {
					failures++
				}
			}
			bar.add(len(batch), failures)
			batch = batch[:0]
			for more := true; more; {
				select {
				case d, ok := <-outcomes:
					if more = ok; ok {
						batch = append(batch, d)
					}
				default:
					more = false
				}
			}
			if len(batch) == 0 {
				break
			}
		}
		if err := b.results.sync(); err != nil {
			stop(fmt.Errorf("the result file cannot be written: %w", err))
			for range outcomes { // nobody may wait for ever
			}
			break
		}
	}
	return context.Cause(ctx)
}

// try does one row, with as many tries as it takes.
func (b *bulk) try(ctx context.Context, s *session, r *row) (outcome, error) {
	ctx = client.WithIdempotencyKey(ctx, r.key)
	for tries, refused := 0, 0; ; {
		if err := b.pace.wait(ctx); err != nil {
			return outcome{}, err
		}
		o, err := r.do(ctx, s)
		switch {
		case err == nil, ctx.Err() != nil:
			return o, err
		case errors.Is(err, client.ErrRateLimited):
			// The pace has heard of it and holds everybody.
			if refused++; refused >= mostRefused {
				return o, err
			}
		case passing(err):
			if tries++; tries >= mostTries {
				return o, err
			}
			select {
			case <-time.After(backoff(tries)):
			case <-ctx.Done():
				return o, ctx.Err()
			}
		default:
			return o, err
		}
	}
}

// passing reports whether the same request may succeed later.
func passing(err error) bool {
	return errors.Is(err, client.ErrConnection) || errors.Is(err, client.ErrTimeout) || errors.Is(err, client.ErrServer)
}

// fatal reports whether no row can succeed.
func fatal(err error) bool {
	return errors.Is(err, client.ErrAuthentication) || errors.Is(err, client.ErrPermissionDenied)
}

// backoff is how long a row waits after so many tries: 50 ms doubled each time, at
// most 5 s, less up to a half.
func backoff(tries int) time.Duration {
	longest := min(5*time.Second, 50*time.Millisecond<<(tries-1))
	return longest - rand.N(longest/2)
}

// lostRows counts rows that were given up one after the other because nobody
// answered: after some there is no server to go on with.
type lostRows struct {
	mu sync.Mutex
	n  int
}

func (l *lostRows) count(err error, most int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil || !passing(err) {
		l.n = 0
		return false
	}
	l.n++
	return l.n >= most
}

func failed(err error) outcome {
	o := outcome{status: "failed", text: err.Error()}
	var call *client.Error
	if errors.As(err, &call) {
		o.code, o.requestID = call.Code(), call.RequestID
	}
	return o
}

// summary is the end of a run as JSON.
type summary struct {
	Rows     int            `json:"rows"`
	Outcomes map[string]int `json:"outcomes"`
	Left     int            `json:"left"`
	Result   string         `json:"result,omitempty"`
}

// finish prints how the run ended and returns why it did not do everything.
func (b *bulk) finish(t *Terminal, o Output, stopped error) error {
	sum := summary{Rows: len(b.rows), Outcomes: map[string]int{}, Result: b.results.path}
	for _, r := range b.rows {
		if status := b.results.status(r); status != "" {
			sum.Outcomes[status]++
		} else {
			sum.Left++
		}
	}
	var err error
	switch {
	case o.JSON:
		err = encode(t.Out, sum)
	case o.CSV:
		err = b.results.write(t.Out, b.rows)
	case o.Quiet:
		for _, r := range b.rows {
			if b.results.finished(r) {
				fmt.Fprintln(t.Out, plain(b.results.byRow[r.identity].id))
			}
		}
	default:
		err = t.details(sum.lines(t))
	}
	if err != nil {
		return err
	}
	again := fmt.Sprintf("%s are done and %s are left: run the same command again to go on",
		thousands(sum.Rows-sum.Left-sum.Outcomes["failed"]), thousands(sum.Left+sum.Outcomes["failed"]))
	switch n := sum.Outcomes["failed"]; {
	case errors.Is(stopped, context.Canceled):
		return &partlyError{"interrupted: " + again}
	case stopped != nil:
		return fmt.Errorf("%w; %s", stopped, again)
	case n > 0:
		why := fmt.Sprintf("%s failed", rowsOf(n))
		if b.results.path != "" {
			why += ", the reasons are in " + b.results.path
		}
		return &partlyError{why + "; run the same command again to try them once more"}
	}
	return nil
}

func (s summary) lines(t *Terminal) [][2]string {
	rows := [][2]string{}
	for _, status := range []string{"created", "exists", "disabled", "failed"} {
		if n := s.Outcomes[status]; n > 0 {
			color := green
			if status == "failed" {
				color = red
			}
			rows = append(rows, [2]string{status, t.paint(t.Out, color, thousands(n))})
		}
	}
	if s.Left > 0 {
		rows = append(rows, [2]string{"to do", thousands(s.Left)})
	}
	if s.Result != "" {
		rows = append(rows, [2]string{"result", s.Result})
	}
	return rows
}

// bulkOptions make a client that leaves waiting and trying again to the run, which
// sees all rows at once.
func bulkOptions(p *pace, parallel int) []client.Option {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = parallel
	return []client.Option{client.WithRetries(0), client.WithHTTPClient(&http.Client{Transport: p.watch(transport)})}
}

// digest shortens what tells rows or files apart.
func digest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:12])
}

// thousands writes a number with commas.
func thousands(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
