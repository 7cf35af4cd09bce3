package cli_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/client"
	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/cli"
	"github.com/tenantry/tenantry/internal/dbtest"
)

// commands is as much of the program as the tests here call.
type commands struct {
	Accounts cli.Accounts `cmd:""`
	Balance  cli.Balance  `cmd:""`
	Users    cli.Users    `cmd:""`
	Doctor   cli.Doctor   `cmd:""`
}

// ran is how a command ended.
type ran struct {
	code        int
	out, errors string
}

func run(ctx context.Context, arguments ...string) ran {
	var out, errors bytes.Buffer
	t := &cli.Terminal{In: strings.NewReader(""), Out: &out, Err: &errors}
	code := cli.Main(ctx, &commands{}, arguments, t)
	return ran{code, out.String(), errors.String()}
}

// chaos stands before a server and answers some requests itself, drops some before
// the server hears of them, and some after it has answered: then the client cannot
// know what became of them.
type chaos struct {
	next                    http.Handler
	refuse, drop, lose, die float64 // how probable each is

	seen, refused, dropped, lost, died atomic.Int64
	// after is called for each create that the server has answered.
	after func(n int64)
	done  atomic.Int64
	// early counts what came while everybody was asked to wait.
	mu    sync.Mutex
	until time.Time
	early atomic.Int64
}

const chaosPause = 30 * time.Millisecond

func (c *chaos) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		c.next.ServeHTTP(w, r)
		return
	}
	c.seen.Add(1)
	c.mu.Lock()
	if time.Now().Before(c.until) {
		c.early.Add(1)
	}
	c.mu.Unlock()
	cut := func(counter *atomic.Int64) {
		counter.Add(1)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			conn.Close()
		}
	}
	switch p := rand.Float64(); {
	case p < c.refuse:
		c.refused.Add(1)
		w.Header().Set("Retry-After-Ms", fmt.Sprint(chaosPause.Milliseconds()))
		w.WriteHeader(http.StatusTooManyRequests)
		c.mu.Lock()
		c.until = time.Now().Add(chaosPause)
		c.mu.Unlock()
		return
	case p < c.refuse+c.drop:
		cut(&c.dropped)
		return
	case p < c.refuse+c.drop+c.die:
		c.died.Add(1)
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	answer := httptest.NewRecorder()
	c.next.ServeHTTP(answer, r)
	if c.after != nil {
		c.after(c.done.Add(1))
	}
	if rand.Float64() < c.lose {
		cut(&c.lost)
		return
	}
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	io.Copy(w, answer.Body)
}

// start runs a server with the usual manager behind some handler.
func start(t *testing.T, database string, rate float64, burst int, before func(http.Handler) http.Handler) (arguments []string, c *client.Client) {
	t.Helper()
	configuration, err := app.Defaults()
	if err != nil {
		t.Fatal(err)
	}
	configuration.Data, configuration.Database, configuration.RateLimit, configuration.RateBurst = t.TempDir(), database, rate, burst
	a, err := app.Open(t.Context(), configuration, app.Parts{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	seed, err := app.ParseSeed([]byte(`
accounts:
  - business_name: Example Reseller
    email: manager@example.com
    api_key: KEY0DE00000000000000000000000000001_tenantry-dev-manager-k
    manager: {channel_pool: 500}
`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Load(t.Context(), seed); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: before(a.Handler), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	go server.Serve(listener)
	t.Cleanup(func() {
		server.Close()
		a.Close()
	})
	url, key := "http://"+listener.Addr().String()+"/v2", "KEY0DE00000000000000000000000000001_tenantry-dev-manager-k"
	return []string{"--base-url", url, "--key", key}, client.New(client.WithBaseURL(url), client.WithKey(key))
}

// customers writes a file of n rows, every other without an e-mail, so that only
// the idempotency key keeps them from being made twice.
func customers(t *testing.T, n int) string {
	t.Helper()
	var rows strings.Builder
	rows.WriteString("business_name,email\n")
	for i := range n {
		email := ""
		if i%2 == 1 {
			email = fmt.Sprintf("owner%d@example.com", i)
		}
		fmt.Fprintf(&rows, "Customer %d,%s\n", i, email)
	}
	file := filepath.Join(t.TempDir(), "customers.csv")
	if err := os.WriteFile(file, []byte(rows.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestBulkSurvivesChaos creates five thousand accounts on a server that refuses,
// drops and loses at random, is stopped in the middle, and goes on. Every row has
// to be there, and once.
func TestBulkSurvivesChaos(t *testing.T) {
	t.Parallel()
	dbtest.EachAddress(t, testBulkSurvivesChaos)
}

func testBulkSurvivesChaos(t *testing.T, database string) {
	n := 5_000
	if testing.Short() {
		n = 500
	}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var monkey *chaos
	server, c := start(t, database, -1, 1000, func(next http.Handler) http.Handler {
		monkey = &chaos{next: next, refuse: 0.005, drop: 0.03, lose: 0.03, die: 0.01, after: func(done int64) {
			if done == int64(n/2) {
				interrupt()
			}
		}}
		return monkey
	})
	file := customers(t, n)
	const parallel = 64 // more creates share a commit, which under -race is slow
	arguments := append([]string{"accounts", "create", "--from", file, "--parallel", fmt.Sprint(parallel)}, server...)

	began := time.Now()
	first := run(ctx, arguments...)
	if first.code != 7 || !strings.Contains(first.errors, "run the same command again to go on") {
		t.Fatalf("the interrupted run: %+v", first)
	}
	// A crash may leave half a line.
	results := strings.TrimSuffix(file, ".csv") + ".result.csv"
	f, err := os.OpenFile(results, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString(`17,created,"half a li`)
	f.Close()

	second := run(t.Context(), append(arguments, "--json")...)
	if second.code != 0 || !strings.Contains(second.out, fmt.Sprintf(`{"rows":%d,"outcomes":{"created":%d},"left":0`, n, n)) {
		t.Fatalf("the second run: %+v", second)
	}
	if !strings.Contains(second.errors, "done already") {
		t.Errorf("the second run did everything again: %s", second.errors)
	}
	took := time.Since(began)

	made, ids := map[string]bool{}, map[string]bool{}
	for a, err := range c.ManagedAccounts.All(t.Context(), client.ManagedAccountList{PageSize: 250}) {
		if err != nil {
			t.Fatal(err)
		}
		if made[a.OrganizationName] {
			t.Errorf("%s is there twice", a.OrganizationName)
		}
		made[a.OrganizationName], ids[a.ID] = true, true
	}
	if len(made) != n {
		t.Errorf("%d accounts were made of %d rows", len(made), n)
	}
	lines := readResults(t, results)
	if len(lines) != n {
		t.Errorf("the result file has %d rows", len(lines))
	}
	for i, line := range lines {
		if line[0] != fmt.Sprint(i+2) || line[1] != "created" || !ids[line[2]] {
			t.Fatalf("row %d of the result file is %q", i, line)
		}
		delete(ids, line[2]) // each id once
	}
	t.Logf("%d rows in %s with %d requests: %d refused, %d dropped, %d answers lost, %d times 502; %d came while all should wait",
		n, took.Round(time.Millisecond), monkey.seen.Load(), monkey.refused.Load(), monkey.dropped.Load(), monkey.lost.Load(),
		monkey.died.Load(), monkey.early.Load())
	if monkey.refused.Load() == 0 || monkey.dropped.Load() == 0 || monkey.lost.Load() == 0 {
		t.Error("there was no chaos")
	}
	// What was under way when one was refused comes early; what begins later waits.
	if early, most := monkey.early.Load(), parallel*monkey.refused.Load(); early > most {
		t.Errorf("%d requests came while all should wait, more than %d", early, most)
	}
}

func readResults(t *testing.T, path string) [][]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return lines[1:]
}

// TestBulkKeepsTheRate runs more rows than the server's burst has room for: once
// that is used up the whole run goes at the server's rate, nearly without being
// refused. One engine is enough here and below: this is about the program.
func TestBulkKeepsTheRate(t *testing.T) { // alone, for it measures time
	var refused, seen atomic.Int64
	const rate, burst, n = 200, 100, 400
	server, _ := start(t, dbtest.SQLite(t), rate, burst, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer := httptest.NewRecorder()
			next.ServeHTTP(answer, r)
			if seen.Add(1); answer.Code == http.StatusTooManyRequests {
				refused.Add(1)
			}
			for name, values := range answer.Header() {
				w.Header()[name] = values
			}
			w.WriteHeader(answer.Code)
			io.Copy(w, answer.Body)
		})
	})
	began := time.Now()
	end := run(t.Context(), append([]string{"accounts", "create", "--from", customers(t, n), "--parallel", "8"}, server...)...)
	took := time.Since(began)
	if end.code != 0 {
		t.Fatalf("%+v", end)
	}
	t.Logf("%d rows at %d a second took %s; %d of %d requests were refused", n, rate, took.Round(time.Millisecond), refused.Load(), seen.Load())
	if refused.Load() > 20 {
		t.Errorf("%d of %d requests were refused: the run does not slow down", refused.Load(), seen.Load())
	}
	t.Logf("it could have taken %s", time.Duration(n-burst)*time.Second/rate)
}

// TestBulkGivesUp ends a run against a server that has gone, and leaves the rows
// for another.
func TestBulkGivesUp(t *testing.T) {
	if testing.Short() {
		t.Skip("its patience is measured in seconds")
	}
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := "http://" + listener.Addr().String() + "/v2"
	listener.Close()
	file := customers(t, 50)
	end := run(t.Context(), "accounts", "create", "--from", file, "--parallel", "2", "--base-url", gone, "--key", "KEY")
	if end.code != 6 || !strings.Contains(end.errors, "are left: run the same command again to go on") {
		t.Errorf("%+v", end)
	}
}

// TestBulkAlone keeps two runs off the same result file.
func TestBulkAlone(t *testing.T) {
	t.Parallel()
	holding, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	server, _ := start(t, dbtest.SQLite(t), -1, 1, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			once.Do(func() { close(holding) })
			<-release
			next.ServeHTTP(w, r)
		})
	})
	arguments := append([]string{"accounts", "create", "--from", customers(t, 3)}, server...)
	first := make(chan ran)
	go func() { first <- run(t.Context(), arguments...) }()
	<-holding
	if second := run(t.Context(), arguments...); second.code != 2 || !strings.Contains(second.errors, "another run writes") {
		t.Errorf("%+v", second)
	}
	close(release)
	if end := <-first; end.code != 0 {
		t.Errorf("%+v", end)
	}
}
