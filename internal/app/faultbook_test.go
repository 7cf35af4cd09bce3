package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/client"
	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/store"
)

// The drills with PostgreSQL share two things: nodes, and a book of what their
// clients asked for and were told. A request that was confirmed must have been
// done once, one whose outcome is unknown once at most, whatever was broken.

const (
	// drillAnswerTime is how long any request may take, at worst: 3 s until its turn,
	// 5 s to begin, 10 s until nobody can tell what became of it.
	drillAnswerTime = 18 * time.Second
	// drillRecoveryTime is how long a node may need to write again after a fault is
	// over.
	drillRecoveryTime = 5 * time.Second
)

const (
	drillMasterKey = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	drillOperator  = "the operator of the drills"
)

// drillNode is a server on a database that others may use, too.
type drillNode struct {
	name string
	app  *app.App // nil when it is a process of its own
	url  string
	log  *drillLog
	// recovered is when a write was first confirmed since it was set to 0, in
	// nanoseconds since drillBegan; last is when one was last, and longest the most
	// that lay between two.
	recovered, last, longest atomic.Int64
}

var drillBegan = time.Now()

// openDrillNode serves a database on a port until the test is over.
func openDrillNode(t *testing.T, name, database string) *drillNode {
	t.Helper()
	n := &drillNode{name: name, log: &drillLog{said: map[string]int{}}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("what node %s said last:\n%s", name, n.log.tail())
		}
		if faults := n.log.faults(); len(faults) > 0 {
			t.Errorf("node %s had unexpected errors, the first of %d:\n%s", name, len(faults), faults[0])
		}
	})
	c, err := app.Defaults()
	if err != nil {
		t.Fatal(err)
	}
	c.Database, c.MasterKey, c.OperatorToken, c.RateLimit = database, drillMasterKey, drillOperator, -1
	if n.app, err = app.Open(t.Context(), c, app.Parts{Logger: slog.New(n.log)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.app.Close(); err != nil {
			t.Errorf("close node %s: %v", name, err)
		}
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.url = "http://" + listener.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.app.Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		<-done // requests that a test gave up may outlive the time to drain
	})
	return n
}

// wait is how long it took after a moment until a write was confirmed; reset must
// have been called at that moment.
func (n *drillNode) wait(since time.Time) (time.Duration, error) {
	for {
		if at := n.recovered.Load(); at != 0 {
			return drillBegan.Add(time.Duration(at)).Sub(since), nil
		}
		if time.Since(since) > 3*drillRecoveryTime {
			return 0, fmt.Errorf("node %s confirms nothing %v after the fault", n.name, 3*drillRecoveryTime)
		}
		time.Sleep(time.Millisecond)
	}
}

func (n *drillNode) reset() { n.recovered.Store(0) }

func (n *drillNode) confirmed() {
	now := int64(time.Since(drillBegan))
	n.recovered.CompareAndSwap(0, now)
	if last := n.last.Swap(now); last != 0 && now-last > n.longest.Load() {
		n.longest.Store(now - last) // of two at once, either is as good
	}
}

// drillLog counts what a node says.
type drillLog struct {
	mu    sync.Mutex
	said  map[string]int
	lines []string
	bad   []string
}

func (l *drillLog) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }
func (l *drillLog) WithAttrs([]slog.Attr) slog.Handler               { return l }
func (l *drillLog) WithGroup(string) slog.Handler                    { return l }

func (l *drillLog) Handle(_ context.Context, r slog.Record) error {
	line := r.Time.Format("15:04:05.000 ") + r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += " " + a.String()
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said[r.Message]++
	if r.Level >= slog.LevelError && r.Message != "the service is unavailable" {
		l.bad = append(l.bad, line)
	}
	if l.lines = append(l.lines, line); len(l.lines) > 200 {
		l.lines = slices.Delete(l.lines, 0, 100)
	}
	return nil
}

// times is how often a message that begins so was logged.
func (l *drillLog) times(message string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for m, times := range l.said {
		if strings.HasPrefix(m, message) {
			n += times
		}
	}
	return n
}

func (l *drillLog) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

func (l *drillLog) faults() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.bad)
}

// drillBook is what was asked for and what came of it.
type drillBook struct {
	key string // the manager's

	mu sync.Mutex
	// creates is by business name, which nobody else asks for: the id that was
	// confirmed, or "" as long as nothing was.
	creates map[string]string
	limits  map[string]*drillLimits // by id
	// disables are ids, and whether it was confirmed.
	disables map[string]bool
	// answers counts them by status; 0 is none.
	answers map[int]int
	slowest time.Duration
	// confirmed and unknown count the things asked for, tries the requests.
	confirmed, unknown, tries int
	wrong                     []error
}

// drillLimits are the channel limits that one client gave one account, one after
// the other, none of them twice.
type drillLimits struct {
	confirmed []int64
	// open is what may be in force instead: it was asked for later.
	open []int64
	all  []int64
}

func newDrillBook(t *testing.T, n *drillNode) *drillBook {
	t.Helper()
	operator := client.NewOperator(client.New(client.WithBaseURL(n.url+"/operator/v1"), client.WithKey(drillOperator), client.WithRetries(0)))
	return &drillBook{
		key: newManager(t, operator), creates: map[string]string{}, limits: map[string]*drillLimits{},
		disables: map[string]bool{}, answers: map[int]int{},
	}
}

func (b *drillBook) say(format string, a ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wrong = append(b.wrong, fmt.Errorf(format, a...))
}

// drillClient sends requests to a node as the vendor's SDKs do.
type drillClient struct {
	book *drillBook
	node func() *drillNode
	http *http.Client
	rng  *rand.Rand
	// tries is how often a request is sent at most.
	tries int
	keyed bool
	// switches: it asks another node than the one that it was told something by.
	switches bool

	name  int
	asked int
	mine  []string
	limit int64
}

var drillClients atomic.Int64

func (b *drillBook) client(node func() *drillNode, seed uint64) *drillClient {
	name := int(drillClients.Add(1))
	return &drillClient{
		book: b, node: node, tries: 3, name: name, rng: rand.New(rand.NewPCG(seed, uint64(name))),
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}, Timeout: time.Minute},
	}
}

func on(n *drillNode) func() *drillNode { return func() *drillNode { return n } }

// send sends a request until it is answered or its tries are used up, and returns
// the body of a confirmation, or nil. A request whose context ends stays unknown.
func (c *drillClient) send(ctx context.Context, method, path, body, key string) []byte {
	for try := 0; ; try++ {
		n := c.node()
		began := time.Now()
		status, header, text, err := c.once(ctx, n, method, path, body, key, try)
		took := time.Since(began)
		if ctx.Err() != nil {
			return nil
		}
		b := c.book
		b.mu.Lock()
		b.tries++
		b.answers[status]++
		b.slowest = max(b.slowest, took)
		b.mu.Unlock()
		if took > drillAnswerTime {
			b.say("%s %s took %v on node %s and ended with %d", method, path, took, n.name, status)
		}
		if status == http.StatusOK {
			if method != http.MethodGet {
				n.confirmed()
			}
			return text
		}
		if wrong := drillRetryable(status, header, text); wrong != nil {
			b.say("%s %s on node %s at %s: %w", method, path, n.name, began.Format("15:04:05.000"), wrong)
			return nil
		}
		if status == 0 && n.app != nil && !(os.IsTimeout(err) && c.http.Timeout < drillAnswerTime) {
			b.say("%s %s on node %s broke off after %v: %w", method, path, n.name, took, err)
		}
		if try+1 >= c.tries {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(c.pause(try, header)):
		}
	}
}

// pause is how long the SDKs wait.
func (c *drillClient) pause(try int, header http.Header) time.Duration {
	if seconds, err := strconv.Atoi(header.Get("Retry-After")); err == nil {
		return time.Duration(seconds) * time.Second
	}
	longest := time.Second / 2 << try
	return longest - time.Duration(c.rng.Int64N(int64(longest)/4))
}

func (c *drillClient) once(ctx context.Context, n *drillNode, method, path, body, key string, try int) (int, http.Header, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, n.url+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	request.Header.Set("Authorization", "Bearer "+c.book.key)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Stainless-Retry-Count", strconv.Itoa(try))
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	// net/http sends a request again by itself when a kept connection turns out to be
	// closed, if it may: not here.
	request.GetBody = nil
	response, err := c.http.Do(request)
	if err != nil {
		return 0, nil, nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, nil, nil, err
	}
	return response.StatusCode, response.Header, text, nil
}

// drillRetryable says what is wrong with an answer that is neither a confirmation
// nor a refusal that the SDKs try again: only 503, with the envelope and a time
// to wait, is right when something is broken.
func drillRetryable(status int, header http.Header, text []byte) error {
	if status == 0 {
		return nil
	}
	var e api.Errors
	switch err := json.Unmarshal(text, &e); {
	case status != http.StatusServiceUnavailable:
		return fmt.Errorf("status %d: %s", status, text)
	case header.Get("X-Should-Retry") == "false":
		return errors.New("a 503 that is not to be tried again")
	case header.Get("Retry-After") != "1":
		return fmt.Errorf("a 503 with Retry-After %q", header.Get("Retry-After"))
	case err != nil || len(e.Errors) == 0 || e.Errors[0].Code == "" || e.Errors[0].Title == "":
		return fmt.Errorf("a 503 without the envelope: %s", text)
	}
	return nil
}

// create makes an account and returns its id, "" when nothing was confirmed.
func (c *drillClient) create(ctx context.Context) string {
	c.asked++
	name := fmt.Sprintf("Drill %d-%d", c.name, c.asked)
	key := ""
	if c.keyed {
		key = fmt.Sprintf("drill-%d-%d", c.name, c.asked)
	}
	b := c.book
	b.mu.Lock()
	b.creates[name] = ""
	b.mu.Unlock()
	text := c.send(ctx, "POST", "/v2/managed_accounts", `{"business_name":"`+name+`"}`, key)
	var made api.Response[api.ManagedAccount]
	if text != nil {
		if err := json.Unmarshal(text, &made); err != nil || made.Data.ID == "" || made.Data.APIKey == "" || made.Data.OrganizationName != name {
			b.say("the create of %s was confirmed with %s", name, text)
			return ""
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.creates[name] = made.Data.ID
	b.outcome(text)
	return made.Data.ID
}

// outcome counts; b.mu is held.
func (b *drillBook) outcome(text []byte) bool {
	if text == nil {
		b.unknown++
		return false
	}
	b.confirmed++
	return true
}

// setLimit gives an account that is nobody else's a limit that it never had.
func (c *drillClient) setLimit(ctx context.Context, id string) bool {
	c.limit++
	limit := c.limit + 100
	b := c.book
	b.mu.Lock()
	l := b.limits[id]
	if l == nil {
		l = &drillLimits{}
		b.limits[id] = l
	}
	l.open, l.all = append(l.open, limit), append(l.all, limit)
	b.mu.Unlock()
	text := c.send(ctx, "PATCH", "/v2/managed_accounts/"+id+"/update_global_channel_limit", fmt.Sprintf(`{"channel_limit":%d}`, limit), "")
	if text != nil && !bytes.Contains(text, fmt.Appendf(nil, `"channel_limit":%d`, limit)) {
		b.say("the limit %d of %s was confirmed with %s", limit, id, text)
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.outcome(text) {
		return false
	}
	l.confirmed, l.open = append(l.confirmed, limit), nil
	return true
}

// disable stops an account, once.
func (c *drillClient) disable(ctx context.Context, id string) bool {
	b := c.book
	b.mu.Lock()
	b.disables[id] = false
	b.mu.Unlock()
	text := c.send(ctx, "POST", "/v2/managed_accounts/"+id+"/actions/disable", "", "")
	b.mu.Lock()
	defer b.mu.Unlock()
	b.disables[id] = b.outcome(text)
	return b.disables[id]
}

// read looks at an account that was confirmed to this client. Another node may
// answer from memory for as long as store.Staleness.
func (c *drillClient) read(ctx context.Context, id, status string) {
	if c.switches {
		select {
		case <-time.After(store.Staleness):
		case <-ctx.Done():
			return
		}
	}
	text := c.send(ctx, "GET", "/v2/managed_accounts/"+id, "", "")
	if text == nil {
		return
	}
	var found api.Response[api.ManagedAccount]
	if err := json.Unmarshal(text, &found); err != nil || found.Data.ID != id || found.Data.Status != status {
		c.book.say("account %s, which is %s, reads %s", id, status, text)
	}
}

// load does one thing after the other until ctx ends, with little pauses: what is
// to be found out is not how fast it goes.
func (c *drillClient) load(ctx context.Context) {
	for ctx.Err() == nil {
		switch what := c.rng.IntN(10); {
		case len(c.mine) == 0 || what < 4:
			if id := c.create(ctx); id != "" {
				c.mine = append(c.mine, id)
			}
		case what < 7:
			c.setLimit(ctx, c.mine[c.rng.IntN(len(c.mine))])
		case what < 8:
			last := len(c.mine) - 1
			if id := c.mine[last]; c.disable(ctx, id) {
				c.read(ctx, id, "disabled")
			}
			c.mine = c.mine[:last]
		default:
			c.read(ctx, c.mine[c.rng.IntN(len(c.mine))], "enabled")
		}
		drillSleep(c.rng, 0, 20*time.Millisecond)
	}
}

// probe writes without giving a refused request much time, so that it sees soon
// when a node can write again.
func (c *drillClient) probe(ctx context.Context) {
	c.tries = 1
	for id := ""; ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		if id == "" {
			id = c.create(ctx)
		} else {
			c.setLimit(ctx, id)
		}
	}
}

// drillLoad runs clients on nodes until stop is called, which waits for their
// last answers: four for each node, every other one with idempotency keys, and a
// probe.
func (b *drillBook) drillLoad(seed uint64, nodes ...*drillNode) (stop func()) {
	var stops []func()
	for _, n := range nodes {
		probe := b.client(on(n), seed)
		stops = append(stops, b.drillSwitching(seed, 4, on(n)), drillRun(probe.probe, probe))
	}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}

// drillSwitching runs clients that send each try of a request to the next of the
// nodes. When there are several, a client does not wait long for one.
func (b *drillBook) drillSwitching(seed uint64, clients int, nodes ...func() *drillNode) (stop func()) {
	var stops []func()
	for i := range clients {
		turn := i
		c := b.client(func() *drillNode {
			turn++
			return nodes[turn%len(nodes)]()
		}, seed)
		c.keyed, c.switches = i%2 == 0, len(nodes) > 1
		if c.switches {
			c.http.Timeout = 4 * time.Second
		}
		stops = append(stops, drillRun(c.load, c))
	}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}

// drillRun runs a client until stop is called.
func drillRun(run func(context.Context), c *drillClient) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(ctx)
	}()
	return func() {
		cancel()
		<-done
		c.http.CloseIdleConnections()
	}
}

// check compares the book with the database, asked without the product, and says
// what is lost, doubled or nobody's. What is still under way may be there or not.
func (b *drillBook) check(ctx context.Context, database string) (wrong []error) {
	ctx, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return []error{err}
	}
	defer conn.Close(ctx)
	say := func(format string, a ...any) { wrong = append(wrong, fmt.Errorf(format, a...)) }

	type row struct {
		id       string
		limit    int64
		disabled bool
	}
	// What was confirmed before the snapshot is there; what is begun after it may be
	// missing.
	b.mu.Lock()
	defer b.mu.Unlock()
	wrong = append(wrong, b.wrong...)
	b.wrong = nil
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		return append(wrong, err)
	}
	defer tx.Rollback(ctx)
	byName, byID := map[string][]string{}, map[string]row{}
	rows, err := tx.Query(ctx, "SELECT id, organization_name, channel_limit, disabled FROM account WHERE manager_id <> ''")
	if err != nil {
		return append(wrong, err)
	}
	for rows.Next() {
		var r row
		var name string
		if err := rows.Scan(&r.id, &name, &r.limit, &r.disabled); err != nil {
			return append(wrong, err)
		}
		byName[name], byID[r.id] = append(byName[name], r.id), r
	}
	if err := rows.Err(); err != nil {
		return append(wrong, err)
	}
	for name, ids := range byName {
		confirmed, asked := b.creates[name]
		switch {
		case !asked:
			say("account %s %q was not asked for", ids, name)
		case len(ids) > 1:
			say("one create gave %d accounts: %q has %s", len(ids), name, ids)
		case confirmed != "" && confirmed != ids[0]:
			say("account %q was confirmed as %s and is %s", name, confirmed, ids[0])
		}
	}
	for name, id := range b.creates {
		if id != "" && byName[name] == nil {
			say("account %q was confirmed as %s and is lost", name, id)
		}
	}
	// Every change has its entry, so that one that was made twice shows even if the
	// second changed nothing any more.
	made := map[string]int{}
	entries, err := tx.Query(ctx, "SELECT resource_id, event, changes FROM audit_entry WHERE event IN ('managed_account.channel_limit_updated', 'managed_account.disabled', 'managed_account.created')")
	if err != nil {
		return append(wrong, err)
	}
	for entries.Next() {
		var id, event, changes string
		if err := entries.Scan(&id, &event, &changes); err != nil {
			return append(wrong, err)
		}
		what := id + " " + event
		if event == "managed_account.channel_limit_updated" {
			limit, err := drillNewLimit(changes)
			if err != nil {
				return append(wrong, err)
			}
			what = fmt.Sprintf("%s %d", what, limit)
		}
		if made[what]++; made[what] > 1 {
			say("%s was done %d times", what, made[what])
		}
	}
	if err := entries.Err(); err != nil {
		return append(wrong, err)
	}
	for id, l := range b.limits {
		for _, limit := range l.confirmed {
			if made[fmt.Sprintf("%s managed_account.channel_limit_updated %d", id, limit)] != 1 {
				say("the limit %d of account %s was confirmed and never made", limit, id)
			}
		}
		allowed := slices.Clone(l.open)
		if len(l.confirmed) > 0 {
			allowed = append(allowed, l.confirmed[len(l.confirmed)-1])
		}
		if got := byID[id].limit; !slices.Contains(allowed, got) && (len(l.confirmed) > 0 || slices.Contains(l.all, got)) {
			say("account %s has the limit %d, not one of %d", id, got, allowed)
		}
	}
	for id, confirmed := range b.disables {
		if confirmed && (!byID[id].disabled || made[id+" managed_account.disabled"] != 1) {
			say("account %s was disabled and is not", id)
		}
	}
	return wrong
}

// drillNewLimit is the channel limit that an audit entry tells of.
func drillNewLimit(changes string) (int64, error) {
	var fields []struct {
		Field string          `json:"field"`
		To    json.RawMessage `json:"to"`
	}
	if err := json.Unmarshal([]byte(changes), &fields); err != nil {
		return 0, err
	}
	for _, f := range fields {
		if f.Field == "channel_limit" {
			return strconv.ParseInt(strings.Trim(string(f.To), `"`), 10, 64)
		}
	}
	return 0, fmt.Errorf("no channel limit in %s", changes)
}

// verify fails the test if the book and the database disagree, or the database is
// not sound.
func (b *drillBook) verify(t *testing.T, when, database string, n *drillNode) {
	t.Helper()
	wrong := b.check(t.Context(), database)
	if n.app != nil {
		if err := n.app.DB.Verify(t.Context()); err != nil {
			wrong = append(wrong, fmt.Errorf("the database is not sound: %w", err))
		}
	}
	for i, err := range wrong {
		if i == 10 {
			t.Errorf("%s: and %d more", when, len(wrong)-i)
			break
		}
		t.Errorf("%s: %v", when, err)
	}
}

// lists compares the totals of lists, which each node makes from what it keeps in
// memory, with the database. Nobody may write meanwhile, but what was given up may
// come to its end.
func (b *drillBook) lists(t *testing.T, when, database string, nodes ...*drillNode) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, n := range nodes {
		for _, list := range []struct{ filter, where string }{
			{"", "NOT cancelled"}, {"&filter[status][eq]=disabled", "disabled"}, {"&filter[organization_name][contains]=-10", "organization_name LIKE '%-10%'"},
		} {
			var want, got int64
			for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
				if err := conn.QueryRow(t.Context(), "SELECT COUNT(*) FROM account WHERE manager_id <> '' AND "+list.where).Scan(&want); err != nil {
					t.Fatal(err)
				}
				text := b.client(on(n), 0).send(t.Context(), "GET", "/v2/managed_accounts?page[size]=1"+list.filter, "", "")
				var page api.ListResponse[api.ManagedAccount]
				if err := json.Unmarshal(text, &page); err != nil {
					t.Fatalf("%s: a list of node %s: %s", when, n.name, text)
				}
				if got = page.Meta.TotalResults; got == want || time.Since(began) > 5*time.Second {
					break
				}
			}
			if got != want {
				t.Errorf("%s: the list of node %s with %q has %d accounts, the database %d", when, n.name, list.filter, got, want)
			}
		}
	}
}

// writes is how many writes were confirmed.
func (b *drillBook) writes() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.confirmed
}

// String is the sum of the book.
func (b *drillBook) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return fmt.Sprintf("%d things asked for: %d confirmed, %d unknown; %d requests, answers by status (0: none) %v, the slowest after %v",
		b.confirmed+b.unknown, b.confirmed, b.unknown, b.tries, b.answers, b.slowest.Round(time.Millisecond))
}

// drillSleep sleeps for a time between two.
func drillSleep(rng *rand.Rand, least, most time.Duration) {
	time.Sleep(least + time.Duration(rng.Int64N(int64(most-least))))
}

// drillSeed is a new seed, or the one that failed.
func drillSeed(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if set := os.Getenv("TENANTRY_TEST_SEED"); set != "" {
		n, err := strconv.ParseUint(set, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("seed: TENANTRY_TEST_SEED=%d", seed)
	return seed
}
