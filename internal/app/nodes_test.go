package app_test

import (
	"bufio"
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
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/client"
	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/config"
	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/pgtest"
)

// The secrets that all nodes of these tests share.
const (
	nodesMasterKey     = "b25lIG1hc3RlciBrZXkgZm9yIGV2ZXJ5IG5vZGUuLi4="
	nodesOperatorToken = "the-operator-of-all-nodes"
)

// openNode opens an app on a database that other nodes may have open, too. It
// keeps nothing in a folder, and its clock is the real one.
func openNode(database string, log io.Writer, configure ...func(*config.Config)) (*app.App, error) {
	c, err := app.Defaults()
	if err != nil {
		return nil, err
	}
	c.Database, c.MasterKey, c.OperatorToken, c.RateLimit = database, nodesMasterKey, nodesOperatorToken, -1
	for _, f := range configure {
		f(&c)
	}
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelError}))
	return app.Open(context.Background(), c, app.Parts{Logger: logger})
}

// startNode serves such an app on a port of its own until the test is over. By
// then it must not have logged an error, but that it was unavailable.
func startNode(t *testing.T, database string, configure ...func(*config.Config)) *server {
	t.Helper()
	s := &server{log: &logBuffer{}}
	var err error
	if s.app, err = openNode(database, s.log, configure...); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.app.Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-done, s.app.Close()); err != nil {
			t.Error(err)
		}
		for line := range strings.Lines(s.log.String()) {
			if !strings.Contains(line, "the service is unavailable") {
				t.Errorf("a node logged %s", line)
			}
		}
	})
	return s
}

// startNodes starts so many nodes on one database.
func startNodes(t *testing.T, database string, count int) (nodes []*server) {
	t.Helper()
	for range count {
		nodes = append(nodes, startNode(t, database))
	}
	return nodes
}

// as is a client of this node that sends nothing twice.
func (s *server) as(key string) *client.Client {
	return client.New(client.WithBaseURL("http://"+s.address+"/v2"), client.WithKey(key), client.WithRetries(0))
}

func (s *server) operator() *client.Operator {
	return client.NewOperator(client.New(client.WithBaseURL("http://"+s.address+"/operator/v1"), client.WithKey(nodesOperatorToken), client.WithRetries(0)))
}

// manager makes a manager with a pool of channels.
func (s *server) manager(t *testing.T, email string, pool int64) *api.OperatorAccount {
	t.Helper()
	made, err := s.operator().CreateAccount(t.Context(), api.CreateRootAccount{BusinessName: "Manager", Email: email})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.operator().ApproveManager(t.Context(), made.ID, &pool); err != nil {
		t.Fatal(err)
	}
	return made
}

// child makes a managed account.
func (s *server) child(t *testing.T, key, name string) *client.ManagedAccount {
	t.Helper()
	made, err := s.as(key).ManagedAccounts.Create(t.Context(), client.ManagedAccountCreate{BusinessName: name})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// code is the vendor's code of a refusal, "" for none.
func code(err error) string {
	var refused *client.Error
	if errors.As(err, &refused) {
		return refused.Code()
	}
	return ""
}

// isBusy reports whether the node has more to do than it can, and says so: nothing
// was done.
func isBusy(err error) bool {
	var refused *client.Error
	return errors.As(err, &refused) && refused.StatusCode == http.StatusServiceUnavailable
}

// network is what lies between a node and PostgreSQL, and can be broken.
type network struct {
	t        *testing.T
	database string
	proxy    *toxiproxy.Proxy
}

var registerToxics = sync.OnceFunc(func() {
	toxics.Register("deaf", new(deaf))
	toxics.Register("closed", new(closed))
})

func newNetwork(t *testing.T, database string) *network {
	t.Helper()
	registerToxics()
	u, err := url.Parse(pgtest.TCP(database))
	if err != nil {
		t.Fatal(err)
	}
	api := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	n := &network{t: t, database: database, proxy: toxiproxy.NewProxy(api, t.Name(), "127.0.0.1:0", u.Host)}
	if err := n.proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.proxy.Stop)
	return n
}

// address is the database's by way of this network, for a node of that name.
func (n *network) address(name string) string {
	u, err := url.Parse(pgtest.TCP(n.database))
	if err != nil {
		n.t.Fatal(err)
	}
	u.Host = n.proxy.Listen
	q := u.Query()
	q.Set("application_name", name)
	u.RawQuery = q.Encode()
	return u.String()
}

// add makes trouble, to the server (upstream) or from it (downstream).
func (n *network) add(stream, kind, attributes string) {
	n.t.Helper()
	_, err := n.proxy.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(`{"type": %q, "stream": %q, "attributes": {%s}}`, kind, stream, attributes)))
	if err != nil {
		n.t.Error(err)
	}
}

// delay makes everything take so long; what is under way is kept.
func (n *network) delay(by time.Duration) {
	n.t.Helper()
	for _, stream := range []string{"upstream", "downstream"} {
		n.add(stream, "latency", fmt.Sprintf(`"latency": %d`, by.Milliseconds()))
	}
}

// lift ends all trouble.
func (n *network) lift() { n.proxy.Toxics.ResetToxics(context.Background()) }

// isNotification recognises what only the connection that listens gets: an A, its
// length, a process, the channel, the text.
func isNotification(data []byte) bool {
	at := bytes.Index(data, []byte("tenantry\x00"))
	return at >= 9 && data[at-9] == 'A'
}

// deaf lets notifications come late, and holds back the first that contains a text,
// with all that follows it. When it is lifted, such a connection is broken off.
type deaf struct {
	Late int64  `json:"late"` // in milliseconds
	Hold string `json:"hold"`
}

// GetBufferSize is how much may be late at once.
func (*deaf) GetBufferSize() int { return 1024 }

// NewState is whether a connection was held back.
func (*deaf) NewState() any { return new(bool) }

func (*deaf) Cleanup(stub *toxics.ToxicStub) {
	if *stub.State.(*bool) {
		stub.Close()
	}
}

func (d *deaf) Pipe(stub *toxics.ToxicStub) {
	for {
		select {
		case <-stub.Interrupt:
			return
		case c := <-stub.Input:
			if c == nil {
				stub.Close()
				return
			}
			if isNotification(c.Data) {
				late := time.After(time.Until(c.Timestamp.Add(time.Duration(d.Late) * time.Millisecond)))
				if bytes.Contains(c.Data, []byte(d.Hold)) {
					late, *stub.State.(*bool) = nil, true
				}
				select {
				case <-late:
				case <-stub.Interrupt:
					if late != nil {
						stub.Output <- c
					}
					return
				}
			}
			stub.Output <- c
		}
	}
}

// closed breaks connections off that are just begun.
type closed struct{}

func (closed) Pipe(stub *toxics.ToxicStub) {
	for {
		select {
		case <-stub.Interrupt:
			return
		case c := <-stub.Input:
			if c == nil || len(c.Data) > 8 && bytes.Equal(c.Data[4:8], []byte{0, 3, 0, 0}) {
				stub.Close()
				return
			}
			stub.Output <- c
		}
	}
}

// sqlOf is a connection to the database itself.
func sqlOf(t *testing.T, database string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// TestNodesShareAPool: whatever 64 clients of four nodes want at once, and while
// the operator changes the pool, it is never exceeded.
func TestNodesShareAPool(t *testing.T) {
	t.Parallel()
	const accounts, callers, calls = 12, 64, 6
	database := dbtest.Postgres(t)
	nodes := startNodes(t, database, 4)
	manager := nodes[0].manager(t, "pool@example.com", 100)
	var ids []string
	for range accounts {
		ids = append(ids, nodes[0].child(t, manager.APIKey, "Child").ID)
	}
	var work, observers sync.WaitGroup
	stop := make(chan struct{})
	conn := sqlOf(t, database)
	looks := 0
	observers.Go(func() {
		for ; ; looks++ {
			var pool, allocated, sum int64
			if err := conn.QueryRow(context.Background(), `SELECT m.channel_pool, m.channels_allocated, SUM(a.channel_limit)::bigint
				FROM manager m JOIN account a ON a.manager_id = m.account_id WHERE m.account_id = $1
				GROUP BY m.account_id`, manager.ID).Scan(&pool, &allocated, &sum); err != nil {
				t.Error(err)
				return
			}
			if sum > pool || sum != allocated {
				t.Errorf("look %d: the limits add up to %d, %d are said to be handed out, the pool has %d", looks, sum, allocated, pool)
				return
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	observers.Go(func() {
		for n := 0; ; n++ {
			pool, err := nodes[n%len(nodes)].as(manager.APIKey).ManagedAccounts.AllocatableGlobalOutboundChannels(context.Background())
			if err != nil {
				t.Error(err)
				return
			}
			if pool.Allocated > pool.Allocatable {
				t.Errorf("a node says that %d channels of %d are handed out", pool.Allocated, pool.Allocatable)
				return
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	var given, refused, resized atomic.Int64
	for i := range callers {
		work.Go(func() {
			random := rand.New(rand.NewPCG(3, uint64(i)))
			at := nodes[i%len(nodes)].as(manager.APIKey)
			for range calls {
				want := random.Int64N(30)
				got, err := at.ManagedAccounts.UpdateGlobalChannelLimit(t.Context(), ids[random.IntN(accounts)], want)
				switch {
				case err == nil && got.ChannelLimit == want:
					given.Add(1)
				case code(err) == api.CodeOutOfRange:
					refused.Add(1)
				case isBusy(err):
				default:
					t.Errorf("limit %d: %+v, %v", want, got, err)
				}
			}
		})
	}
	work.Go(func() {
		random := rand.New(rand.NewPCG(4, 4))
		for n := range 40 {
			pool := 80 + random.Int64N(60)
			_, err := nodes[n%len(nodes)].operator().ApproveManager(t.Context(), manager.ID, &pool)
			switch {
			case err == nil:
				resized.Add(1)
			case code(err) != api.CodeOutOfRange && !isBusy(err):
				t.Errorf("a pool of %d: %v", pool, err)
			}
		}
	})
	work.Wait()
	close(stop)
	observers.Wait()
	if given.Load() < callers || refused.Load() < callers || resized.Load() == 0 {
		t.Errorf("%d given, %d refused, %d pools: it was no contest", given.Load(), refused.Load(), resized.Load())
	}
	if err := nodes[3].app.DB.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	t.Logf("%d limits given, %d refused, %d times another pool, %d looks from outside", given.Load(), refused.Load(), resized.Load(), looks)
}

// created is an answer to a create.
type created struct{ reply }

// is reports whether both made the same account.
func (c created) is(other created) bool {
	return c.StatusCode == 200 && other.StatusCode == 200 && bytes.Equal(c.body, other.body)
}

// post sends a create on a connection of its own, with further headers, and holds
// the answer to the contract. It may be called from any goroutine.
func (s *server) post(t *testing.T, key, body string, headers ...string) created {
	p := s.begin(t, key, body, headers...)
	if p == nil {
		return created{reply{Response: &http.Response{}}}
	}
	return p.finish(t)
}

// pending is a create that a node has begun to work on.
type pending struct {
	tcp    net.Conn
	reader *bufio.Reader
	raw    string
}

// begin sends a create, and returns when the node has asked for its body and was
// sent it; nil when it cannot.
func (s *server) begin(t *testing.T, key, body string, headers ...string) *pending {
	tcp, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Error(err)
		return nil
	}
	tcp.SetDeadline(time.Now().Add(time.Minute))
	raw := strings.TrimSuffix(request("POST", "/v2/managed_accounts", key, body), "\r\n"+body)
	p := &pending{tcp: tcp, reader: bufio.NewReader(tcp), raw: raw + strings.Join(append(headers, ""), "\r\n")}
	_, err = io.WriteString(tcp, p.raw+"Expect: 100-continue\r\nConnection: close\r\n\r\n")
	line := ""
	for err == nil && line != "\r\n" {
		if line, err = p.reader.ReadString('\n'); err == nil && line != "\r\n" && line != "HTTP/1.1 100 Continue\r\n" {
			err = fmt.Errorf("a node answers %q", line)
		}
	}
	if err == nil {
		_, err = io.WriteString(tcp, body)
	}
	if err != nil {
		t.Error(err)
		tcp.Close()
		return nil
	}
	p.raw += "\r\n" + body
	return p
}

func (p *pending) finish(t *testing.T) (c created) {
	defer p.tcp.Close()
	sent, err := http.ReadRequest(bufio.NewReader(strings.NewReader(p.raw)))
	if err == nil {
		c.Response, err = http.ReadResponse(p.reader, sent)
	}
	if err == nil {
		c.body, err = io.ReadAll(c.Body)
	}
	if err == nil {
		err = validate(sent, c.reply, true)
	}
	if err != nil {
		t.Errorf("%s: %v\n%s", firstLine(p.raw), err, c.body)
		c.Response = &http.Response{}
	}
	return c
}

// named is how many accounts of the manager's have a name.
func (s *server) named(t *testing.T, key, name string) int64 {
	t.Helper()
	list, err := s.as(key).ManagedAccounts.List(t.Context(), client.ManagedAccountList{OrganizationNameEq: name})
	if err != nil {
		t.Fatal(err)
	}
	return list.Meta.TotalResults
}

func quoted(name string) string { return fmt.Sprintf(`{"business_name":%q}`, name) }

// TestIdempotencyKeyOnNodes: one key is one account, whichever nodes are asked.
func TestIdempotencyKeyOnNodes(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, dbtest.Postgres(t), 4)
	key := nodes[0].manager(t, "key@example.com", 100).APIKey

	// The same request everywhere at once.
	for round := range 10 {
		name := fmt.Sprintf("Same %d", round)
		var answers [8]created
		var work sync.WaitGroup
		for i := range answers {
			work.Go(func() {
				answers[i] = nodes[i%len(nodes)].post(t, key, quoted(name), fmt.Sprintf("Idempotency-Key: same-%d", round))
			})
		}
		work.Wait()
		for _, a := range answers {
			if !a.is(answers[0]) {
				t.Errorf("round %d: got\n%s\nthe first\n%s", round, a.body, answers[0].body)
			}
		}
		if n := nodes[round%len(nodes)].named(t, key, name); n != 1 {
			t.Errorf("round %d: one key made %d accounts", round, n)
		}
		// Another request with that key, elsewhere.
		refused := nodes[(round+1)%len(nodes)].post(t, key, quoted("Other"), fmt.Sprintf("Idempotency-Key: same-%d", round))
		if refused.StatusCode != 422 || !bytes.Contains(refused.body, []byte(`"code":"`+api.CodeIdempotencyReuse+`"`)) ||
			!bytes.Contains(refused.body, []byte(`"source":{"parameter":"Idempotency-Key"}`)) {
			t.Errorf("round %d: another body with the same key: %d %s", round, refused.StatusCode, refused.body)
		}
	}

	// Two requests that want the same key at once: one gets it.
	for round := range 10 {
		var answers [2]created
		var work sync.WaitGroup
		for i := range answers {
			work.Go(func() {
				answers[i] = nodes[(round+i)%len(nodes)].post(t, key, quoted(fmt.Sprintf("Rival %d", i)), fmt.Sprintf("Idempotency-Key: rival-%d", round))
			})
		}
		work.Wait()
		statuses := []int{answers[0].StatusCode, answers[1].StatusCode}
		slices.Sort(statuses)
		if !slices.Equal(statuses, []int{200, 422}) {
			t.Errorf("round %d: two bodies with one key are answered %v", round, statuses)
		}
	}
	if n := nodes[0].named(t, key, "Other"); n != 0 {
		t.Errorf("%d refused accounts are there", n)
	}
	if n := nodes[0].named(t, key, "Rival 0") + nodes[1].named(t, key, "Rival 1"); n != 10 {
		t.Errorf("%d accounts of 10 keys", n)
	}
}

// TestRetriesOnNodes: a create that an SDK sends again, to other nodes, is done
// once.
func TestRetriesOnNodes(t *testing.T) {
	t.Parallel()
	database := dbtest.Postgres(t)
	nodes := startNodes(t, database, 3)
	key := nodes[0].manager(t, "retry@example.com", 100).APIKey
	other := nodes[0].manager(t, "other@example.com", 1000).APIKey
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	// begun waits until so many tries of a create are known to all nodes, or it is done.
	begun := func(name string, tries int) {
		for until := time.Now().Add(30 * time.Second); ; time.Sleep(2 * time.Millisecond) {
			known := 0
			if err := conn.QueryRow(t.Context(), `SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted
				AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&known); err != nil {
				t.Fatal(err)
			}
			if known >= tries || nodes[0].named(t, key, name) > 0 {
				return
			}
			if time.Now().After(until) {
				t.Fatalf("%s: %d of %d tries are known", name, known, tries)
			}
		}
	}
	const first, second = "X-Stainless-Retry-Count: 1", "X-Stainless-Retry-Count: 2"

	t.Run("answer lost", func(t *testing.T) {
		for round := range 6 {
			name := fmt.Sprintf("Lost %d", round)
			made := nodes[0].post(t, key, quoted(name))
			again, third := nodes[1].post(t, key, quoted(name), first), nodes[2].post(t, key, quoted(name), second)
			if !made.is(again) || !made.is(third) {
				t.Errorf("round %d: three tries got\n%s\n%s\n%s", round, made.body, again.body, third.body)
			}
			if n := nodes[1].named(t, key, name); n != 1 {
				t.Errorf("round %d: %d accounts", round, n)
			}
		}
	})

	t.Run("cut", func(t *testing.T) {
		// Nobody waits for the first answer. What came of it is unknown, and stays so.
		for round := range 10 {
			name := fmt.Sprintf("Cut %d", round)
			p := nodes[0].begin(t, key, quoted(name))
			if p == nil {
				return
			}
			begun(name, 1)
			p.tcp.Close()
			again, third := nodes[1].post(t, key, quoted(name), first), nodes[2].post(t, key, quoted(name), second)
			if !again.is(third) {
				t.Errorf("round %d: the tries got\n%s\n%s", round, again.body, third.body)
			}
			if n := nodes[1].named(t, key, name); n != 1 {
				t.Errorf("round %d: %d accounts", round, n)
			}
		}
	})

	t.Run("overlapping", func(t *testing.T) {
		// The first try stands in line behind other passwords on its node when the
		// retry comes to another one, which has nothing to do.
		overlapped := 0
		for round := range 4 {
			name := fmt.Sprintf("Overlapping %d", round)
			body := fmt.Sprintf(`{"business_name":%q,"password":"correct horse battery staple"}`, name)
			var busy sync.WaitGroup
			for i := range 6 {
				p := nodes[0].begin(t, other, fmt.Sprintf(`{"business_name":"Busy","password":"correct horse battery %d"}`, i))
				if p == nil {
					return
				}
				busy.Go(func() { p.finish(t) })
			}
			p := nodes[0].begin(t, key, body)
			if p == nil {
				return
			}
			answered := make(chan created, 1)
			go func() { answered <- p.finish(t) }()
			for range 2 { // what came after it, and needs no password, is done
				nodes[0].child(t, other, "Later")
			}
			early := len(answered) > 0
			again := nodes[1].post(t, key, body, first)
			made := <-answered
			if !early {
				overlapped++
			}
			busy.Wait()
			if !made.is(again) {
				t.Errorf("round %d: the first try got\n%s\nthe retry\n%s", round, made.body, again.body)
			}
			if n := nodes[2].named(t, key, name); n != 1 {
				t.Errorf("round %d: a create and its retry made %d accounts", round, n)
			}
		}
		if overlapped == 0 {
			t.Error("no retry came while the first try was under way")
		}
		t.Logf("%d retries came while the first try was under way", overlapped)
	})

	t.Run("overlapping and cut", func(t *testing.T) {
		// The clients of the first two tries have gone while those were under way.
		for round := range 6 {
			name := fmt.Sprintf("Left %d", round)
			body := fmt.Sprintf(`{"business_name":%q,"password":"correct horse battery staple"}`, name)
			for i, headers := range [][]string{nil, {first}} {
				p := nodes[i].begin(t, key, body, headers...)
				if p == nil {
					return
				}
				begun(name, i+1)
				p.tcp.Close()
			}
			if made := nodes[2].post(t, key, body, second); made.StatusCode != 200 {
				t.Errorf("round %d: the last try got %d %s", round, made.StatusCode, made.body)
			}
			if n := nodes[0].named(t, key, name); n != 1 {
				t.Errorf("round %d: %d accounts", round, n)
			}
		}
	})

	t.Run("three at once", func(t *testing.T) {
		// The client has given two tries up, and the nodes do not know.
		for round := range 6 {
			name := fmt.Sprintf("Three %d", round)
			body := fmt.Sprintf(`{"business_name":%q,"password":"correct horse battery staple"}`, name)
			var tries []*pending
			for i, headers := range [][]string{nil, {first}, {second}} {
				p := nodes[i].begin(t, key, body, headers...)
				if p == nil {
					return
				}
				begun(name, i+1)
				tries = append(tries, p)
			}
			answers := [3]created{}
			for i, p := range tries {
				answers[i] = p.finish(t)
			}
			if !answers[0].is(answers[1]) || !answers[0].is(answers[2]) {
				t.Errorf("round %d: the tries got\n%s\n%s\n%s", round, answers[0].body, answers[1].body, answers[2].body)
			}
			if n := nodes[round%3].named(t, key, name); n != 1 {
				t.Errorf("round %d: three tries made %d accounts", round, n)
			}
		}
	})
}

// mostStale is how long a change may be unknown to another node.
const mostStale = time.Second

// question is what a node can answer from memory.
type question struct {
	key, path string
}

// of asks a node. The answer is its status and what it is about, "" when there is
// none in time.
func (q question) of(ctx context.Context, node *server, patience time.Duration) string {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	request, err := http.NewRequestWithContext(ctx, "GET", "http://"+node.address+q.path, nil)
	if err != nil {
		return err.Error()
	}
	request.Header.Set("Authorization", "Bearer "+q.key)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	var answer struct {
		Data   api.ManagedAccount
		Errors []api.Error
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return ""
	}
	text := fmt.Sprint(response.StatusCode, " ", answer.Data.Status, " ", answer.Data.UpdatedAt)
	for _, e := range answer.Errors {
		text += e.Code
	}
	return text
}

func unavailable(answer string) bool { return answer == "" || strings.HasPrefix(answer, "503 ") }

// watch compares what one node is asked to do with what another one knows of it.
type watch struct {
	a, b    *server
	manager *api.OperatorAccount
	account *client.ManagedAccount
	// every is how often B is asked, patience how long for.
	every, patience time.Duration

	asked, unanswered, users int
	// stalest is, for each change, the latest that a question was sent which got the
	// old answer, after the change was confirmed.
	stalest []time.Duration
}

// newWatch watches a node at the far end of a network.
func newWatch(t *testing.T) (*watch, *network) {
	t.Helper()
	database := dbtest.Postgres(t)
	n := newNetwork(t, database)
	w := &watch{a: startNode(t, database), b: startNode(t, n.address("far")), every: 5 * time.Millisecond, patience: 500 * time.Millisecond}
	// What still hangs must not keep the node from stopping.
	t.Cleanup(n.lift)
	w.manager = w.a.manager(t, "manager@example.com", 100)
	w.account = w.a.child(t, w.manager.APIKey, "Watched")
	return w, n
}

// change makes a change at A, once B knows the answers to the questions by heart,
// and then asks B until it knows the new ones. meanwhile is called between.
func (w *watch) change(t *testing.T, what string, change func() error, meanwhile func(), questions ...question) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	before := make([]string, len(questions))
	for i, q := range questions {
		before[i] = q.of(ctx, w.a, time.Minute)
		for known, until := 0, time.Now().Add(time.Minute); known < 3; {
			switch got := q.of(ctx, w.b, w.patience); {
			case got == before[i]:
				known++
			case time.Now().After(until):
				t.Fatalf("%s: A says %q, B says %q and does not learn", what, before[i], got)
			}
		}
	}
	type sighting struct {
		question int
		sent     time.Time
		answer   string
	}
	sightings := make(chan sighting, 1<<12)
	var work sync.WaitGroup
	defer work.Wait()
	defer stop()
	for i, q := range questions {
		work.Go(func() {
			ticker := time.NewTicker(w.every)
			defer ticker.Stop()
			for {
				s := sighting{question: i, sent: time.Now()}
				s.answer = q.of(ctx, w.b, w.patience)
				select {
				case sightings <- s:
				case <-ctx.Done():
					return
				}
				select {
				case <-ticker.C:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	err := change()
	confirmed := time.Now()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	after := make([]string, len(questions))
	for i, q := range questions {
		if after[i] = q.of(ctx, w.a, time.Minute); after[i] == before[i] {
			t.Fatalf("%s: A still says %q", what, after[i])
		}
	}
	if meanwhile != nil {
		meanwhile()
	}
	known, stalest := make([]int, len(questions)), time.Duration(0)
	for late := time.After(30 * time.Second); slices.Min(known) < 5; {
		var s sighting
		select {
		case s = <-sightings:
		case <-late:
			t.Fatalf("%s: B has not learnt it in half a minute", what)
		}
		if s.sent.Before(confirmed) {
			continue
		}
		w.asked++
		switch {
		case unavailable(s.answer):
			w.unanswered++
		case s.answer == after[s.question]:
			known[s.question]++
		case s.answer == before[s.question]:
			known[s.question] = 0
			stalest = max(stalest, s.sent.Sub(confirmed))
		default:
			t.Errorf("%s: B says %q, which was %q and is %q", what, s.answer, before[s.question], after[s.question])
		}
	}
	w.stalest = append(w.stalest, stalest)
	if stalest > mostStale {
		t.Errorf("%s: B was asked %v after it was confirmed, and knew nothing of it", what, stalest)
	}
}

// round makes one of each change that must be known everywhere.
func (w *watch) round(t *testing.T, before, meanwhile func()) {
	t.Helper()
	ctx := t.Context()
	path := "/v2/managed_accounts/" + w.account.ID
	reply, account := question{w.manager.APIKey, path}, question{w.account.APIKey, path}
	manager, operator := w.a.as(w.manager.APIKey), w.a.operator()
	var user *api.CreatedUser
	step := func(what string, change func() error, questions ...question) {
		t.Helper()
		w.change(t, what, func() error {
			if before != nil {
				before()
			}
			return change()
		}, meanwhile, questions...)
	}
	step("disable", func() error { _, err := manager.ManagedAccounts.Disable(ctx, w.account.ID); return err }, reply, account)
	step("limit", func() error {
		_, err := manager.ManagedAccounts.UpdateGlobalChannelLimit(ctx, w.account.ID, int64(10+len(w.stalest)))
		return err
	}, reply)
	step("enable", func() error { _, err := manager.ManagedAccounts.Enable(ctx, w.account.ID, false); return err }, reply, account)
	w.users++
	user, err := operator.CreateUser(ctx, w.manager.ID, api.CreateOrganizationUser{Email: fmt.Sprintf("user%d@example.com", w.users)})
	if err != nil {
		t.Fatal(err)
	}
	step("remove a user", func() error { _, err := manager.OrganizationUsers.Remove(ctx, user.ID); return err }, question{user.APIKey, path})
	step("block", func() error { _, err := operator.Block(ctx, w.manager.ID); return err }, reply, account)
	step("unblock", func() error { _, err := operator.Unblock(ctx, w.manager.ID); return err }, reply, account)
}

func (w *watch) report(t *testing.T) {
	t.Helper()
	slices.Sort(w.stalest)
	t.Logf("%d changes, B was asked %d times and did not answer %d times; the last question with the old answer came %v after the confirmation at most, in the middle %v",
		len(w.stalest), w.asked, w.unanswered, slices.Max(w.stalest).Round(time.Microsecond), w.stalest[len(w.stalest)/2].Round(time.Microsecond))
}

// TestStaleness: what one node has confirmed, another one knows at once, and
// within a second whatever happens to what lies between: no key, account or answer
// is remembered for longer. A node that cannot know says so.
func TestStaleness(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for connections that do not answer: not with -short")
	}
	t.Parallel()
	// They wait most of the time: all at once, whatever -parallel says.
	var all sync.WaitGroup
	defer all.Wait()
	run := func(name string, test func(t *testing.T)) { all.Go(func() { t.Run(name, test) }) }

	run("intact", func(t *testing.T) {
		w, _ := newWatch(t)
		w.every = time.Millisecond
		for range 10 {
			w.round(t, nil, nil)
		}
		w.report(t)
	})

	// listening ends the connection on which B listens.
	listening := func(conn *pgx.Conn) (int64, error) {
		tag, err := conn.Exec(context.Background(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = 'far' AND (query LIKE 'LISTEN%' OR query LIKE '%pg_notify%')`)
		return tag.RowsAffected(), err
	}

	run("listening cut", func(t *testing.T) {
		w, n := newWatch(t)
		conn := sqlOf(t, n.database)
		stop := make(chan struct{})
		var cutter sync.WaitGroup
		defer cutter.Wait()
		defer close(stop)
		var cuts atomic.Int64
		cutter.Go(func() {
			for {
				cut, err := listening(conn)
				if err != nil {
					t.Error(err)
					return
				}
				cuts.Add(cut)
				select {
				case <-stop:
					return
				case <-time.After(rand.N(400 * time.Millisecond)):
				}
			}
		})
		for round := 0; round < 4 || cuts.Load() < 8; round++ {
			w.round(t, nil, nil)
		}
		w.report(t)
	})

	run("listening refused", func(t *testing.T) {
		w, n := newWatch(t)
		conn := sqlOf(t, n.database)
		// Those that are open stay so.
		w.round(t, nil, nil)
		n.add("upstream", "closed", "")
		if cut, err := listening(conn); err != nil || cut == 0 {
			t.Fatalf("%d connections were cut: %v", cut, err)
		}
		for range 2 {
			w.round(t, nil, nil)
		}
		n.lift()
		w.round(t, nil, nil)
		w.report(t)
	})

	run("listening stalled", func(t *testing.T) {
		w, n := newWatch(t)
		w.round(t, nil, nil)
		n.add("downstream", "deaf", `"hold": ""`)
		for range 2 {
			w.round(t, nil, nil)
		}
		n.lift()
		w.round(t, nil, nil)
		w.report(t)
	})

	run("listening late", func(t *testing.T) {
		// A heartbeat arrives when it is nearly too old, and what changed after it was
		// sent does not.
		w, n := newWatch(t)
		w.round(t, func() {
			n.lift()
			n.add("downstream", "deaf", `"late": 700, "hold": " c "`)
			time.Sleep(time.Second + rand.N(700*time.Millisecond)) // for some heartbeats
		}, nil)
		w.report(t)
	})

	run("first reads", firstReads)

	run("slow", func(t *testing.T) {
		w, n := newWatch(t)
		w.patience = 10 * time.Second
		n.delay(60 * time.Millisecond)
		w.round(t, nil, nil)
		w.report(t)
	})

	run("frozen", func(t *testing.T) {
		w, n := newWatch(t)
		for range 2 {
			w.round(t, func() { n.delay(time.Hour) }, func() {
				time.Sleep(rand.N(1500 * time.Millisecond))
				n.lift()
			})
		}
		w.report(t)
	})

	run("cut off", func(t *testing.T) {
		w, n := newWatch(t)
		path := "/v2/managed_accounts/" + w.account.ID
		reply := question{w.manager.APIKey, path}
		w.change(t, "disable", func() error {
			for _, stream := range []string{"upstream", "downstream"} {
				n.add(stream, "timeout", `"timeout": 0`)
			}
			_, err := w.a.as(w.manager.APIKey).ManagedAccounts.Disable(t.Context(), w.account.ID)
			return err
		}, func() {
			began := time.Now()
			for {
				answer := reply.of(t.Context(), w.b, time.Minute)
				if unavailable(answer) {
					t.Logf("B says that it cannot answer after %v: %q", time.Since(began).Round(time.Millisecond), answer)
					break
				}
				if time.Since(began) > mostStale {
					t.Errorf("B is cut off and says %q", answer)
					break
				}
			}
			n.lift()
		}, reply, question{w.account.APIKey, path})
		w.change(t, "enable", func() error {
			_, err := w.a.as(w.manager.APIKey).ManagedAccounts.Enable(t.Context(), w.account.ID, false)
			return err
		}, nil, reply)
		w.report(t)
	})

	run("late commit", lateCommit)
}

// firstReads: what B reads for the first time while A changes it is not what it
// keeps.
func firstReads(t *testing.T) {
	w, n := newWatch(t)
	var accounts []*client.ManagedAccount
	for range 16 {
		accounts = append(accounts, w.a.child(t, w.manager.APIKey, "Unread"))
	}
	var work sync.WaitGroup
	for range accounts { // B knows the key, and has its connections
		work.Go(func() {
			question{w.manager.APIKey, "/v2/managed_accounts/" + w.manager.ID}.of(t.Context(), w.b, time.Minute)
		})
	}
	work.Wait()
	n.delay(60 * time.Millisecond)
	for _, account := range accounts {
		q := question{w.manager.APIKey, "/v2/managed_accounts/" + account.ID}
		read := make(chan string, 1)
		go func() { read <- q.of(t.Context(), w.b, time.Minute) }()
		work.Go(func() {
			time.Sleep(rand.N(time.Second)) // somewhere in the middle of it
			if _, err := w.a.as(w.manager.APIKey).ManagedAccounts.Disable(t.Context(), account.ID); err != nil {
				t.Error(err)
				return
			}
			confirmed := time.Now()
			<-read
			for {
				age := time.Since(confirmed)
				got := q.of(t.Context(), w.b, time.Minute)
				if strings.HasPrefix(got, "200 disabled ") {
					return
				}
				if age > mostStale {
					t.Errorf("B was asked %v after an account was disabled, and says %q", age, got)
					return
				}
			}
		})
	}
	work.Wait()
}

// lateCommit: a change that took place after nobody could tell whether it had
// is known to the node it was made on, too.
func lateCommit(t *testing.T) {
	database := dbtest.Postgres(t)
	nodes := startNodes(t, database, 2)
	manager := nodes[0].manager(t, "late@example.com", 10)
	account := nodes[0].child(t, manager.APIKey, "Late")
	path := "/v2/managed_accounts/" + account.ID
	questions := []question{{manager.APIKey, path}, {account.APIKey, path}}
	var before []string
	for _, q := range questions {
		before = append(before, q.of(t.Context(), nodes[0], time.Minute))
	}
	// The commit takes longer than anybody waits for it, and cannot be cancelled.
	conn := sqlOf(t, database)
	if _, err := conn.Exec(t.Context(), `CREATE TABLE gate ();
		CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$
		DECLARE until timestamptz := clock_timestamp() + interval '1 min';
		BEGIN
			WHILE NOT EXISTS (SELECT FROM gate) AND clock_timestamp() < until LOOP
				BEGIN PERFORM pg_sleep(0.05); EXCEPTION WHEN query_canceled THEN NULL; END;
			END LOOP;
			RETURN NULL;
		END $$;
		CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON account DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late()`); err != nil {
		t.Fatal(err)
	}
	disable := func() error {
		_, err := nodes[0].as(manager.APIKey).ManagedAccounts.Disable(t.Context(), account.ID)
		return err
	}
	if err := disable(); !errors.Is(err, client.ErrServer) {
		t.Fatalf("a commit without an answer: %v", err)
	}
	for i, q := range questions { // it keeps what it reads
		before[i] = q.of(t.Context(), nodes[0], time.Minute)
	}
	if _, err := conn.Exec(t.Context(), "INSERT INTO gate DEFAULT VALUES"); err != nil {
		t.Fatal(err)
	}
	for until, done := time.Now().Add(time.Minute), false; !done; {
		err := conn.QueryRow(t.Context(), "SELECT disabled FROM account WHERE id = $1", account.ID).Scan(&done)
		if err != nil || time.Now().After(until) {
			t.Fatalf("it has not taken place: %v", err)
		}
	}
	done := time.Now()
	for n, node := range nodes {
		for i, q := range questions {
			for q.of(t.Context(), node, time.Minute) == before[i] {
				if age := time.Since(done); age > mostStale {
					t.Errorf("node %d says %q, %v after the change", n, before[i], age)
					break
				}
			}
		}
	}
	// Asking again is answered, and must be true.
	if err := disable(); err != nil {
		t.Fatal(err)
	}
	if got := questions[1].of(t.Context(), nodes[0], time.Minute); got == before[1] {
		t.Errorf("the account was disabled again, and its key gets %q", got)
	}
}

// TestCallerLeaves: a caller who leaves while its node waits for a connection says
// nothing of the database to others.
func TestCallerLeaves(t *testing.T) {
	t.Parallel()
	database := dbtest.Postgres(t)
	n := newNetwork(t, database)
	a, b := startNode(t, database), startNode(t, n.address("far"))
	manager := a.manager(t, "left@example.com", 10)
	n.delay(time.Hour)
	ctx, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	if _, err := b.as(manager.APIKey).Balance.Retrieve(ctx); !errors.Is(err, client.ErrTimeout) {
		t.Fatal(err)
	}
	n.lift()
	time.Sleep(4 * time.Second) // a database that was gone for so long would be given up
	var work sync.WaitGroup
	for range 8 {
		work.Go(func() {
			if _, err := b.as(manager.APIKey).Balance.Retrieve(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
}

// TestFrozenProcess stops a node's process for longer than it may be behind. What
// it is asked meanwhile it answers afterwards, and not from memory.
func TestFrozenProcess(t *testing.T) {
	database := dbtest.Postgres(t)
	a := startNode(t, database)
	t.Setenv("TENANTRY_DATABASE", database)
	t.Setenv("TENANTRY_MASTER_KEY", nodesMasterKey)
	t.Setenv("TENANTRY_OPERATOR_TOKEN", nodesOperatorToken)
	process := serve(t, t.TempDir())
	b := &server{address: strings.TrimPrefix(process.url, "http://")}
	manager := a.manager(t, "manager@example.com", 100)
	account := a.child(t, manager.APIKey, "Frozen")
	path := "/v2/managed_accounts/" + account.ID
	for round := range 2 {
		user, err := a.operator().CreateUser(t.Context(), manager.ID, api.CreateOrganizationUser{Email: fmt.Sprintf("user%d@example.com", round)})
		if err != nil {
			t.Fatal(err)
		}
		questions := []question{{manager.APIKey, path}, {account.APIKey, path}, {user.APIKey, path}}
		for range 20 {
			for _, q := range questions {
				if got, want := q.of(t.Context(), b, time.Minute), q.of(t.Context(), a, time.Minute); got != want {
					t.Fatalf("B says %q, A %q", got, want)
				}
			}
		}
		if err := process.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		if _, err := a.as(manager.APIKey).ManagedAccounts.Disable(t.Context(), account.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := a.as(manager.APIKey).OrganizationUsers.Remove(t.Context(), user.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(mostStale) // as long as it may be behind
		var work sync.WaitGroup
		for i := range 30 {
			q := questions[i%len(questions)]
			want := q.of(t.Context(), a, time.Minute)
			work.Go(func() {
				if got := q.of(t.Context(), b, time.Minute); got != want {
					t.Errorf("B says %q after it was frozen, A %q", got, want)
				}
			})
		}
		if err := process.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		work.Wait()
		if _, err := a.as(manager.APIKey).ManagedAccounts.Enable(t.Context(), account.ID, false); err != nil {
			t.Fatal(err)
		}
		for i, q := range questions {
			for until := time.Now().Add(time.Minute); q.of(t.Context(), b, time.Minute) != q.of(t.Context(), a, time.Minute); {
				if time.Now().After(until) {
					t.Fatalf("question %d: B does not learn", i)
				}
			}
		}
	}
}

// TestNodesStart: nodes that start at once on an empty database all come up. One
// with another master key is refused, and is told why.
func TestNodesStart(t *testing.T) {
	t.Parallel()
	t.Run("at once", func(t *testing.T) {
		t.Parallel()
		database := pgtest.URL(t)
		var apps [4]*app.App
		var work sync.WaitGroup
		for i := range apps {
			work.Go(func() {
				var err error
				if apps[i], err = openNode(database, &logBuffer{}); err != nil {
					t.Errorf("node %d: %v", i, err)
				}
			})
		}
		work.Wait()
		for _, a := range apps {
			if a == nil {
				continue
			}
			if err := a.DB.Ready(t.Context()); err != nil {
				t.Error(err)
			}
			if err := a.DB.Verify(t.Context()); err != nil {
				t.Error(err)
			}
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		}
		// They do what nodes do.
		nodes := startNodes(t, database, 2)
		key := nodes[0].manager(t, "manager@example.com", 10).APIKey
		nodes[0].child(t, key, "Child")
		if n := nodes[1].named(t, key, "Child"); n != 1 {
			t.Errorf("the other node lists %d accounts", n)
		}
	})

	t.Run("another master key", func(t *testing.T) {
		t.Parallel()
		database := pgtest.URL(t)
		another := func(c *config.Config) { c.MasterKey = "YW5vdGhlciBtYXN0ZXIga2V5IGZvciBhIG5vZGUuLi4=" }
		// Whoever is first settles which one it is.
		var errs [2]error
		var work sync.WaitGroup
		for i, configure := range []func(*config.Config){func(*config.Config) {}, another} {
			work.Go(func() {
				var a *app.App
				if a, errs[i] = openNode(database, &logBuffer{}, configure); errs[i] == nil {
					a.Close()
				}
			})
		}
		work.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Fatalf("two nodes with two master keys: %v; %v", errs[0], errs[1])
		}
		if err := errors.Join(errs[:]...); !strings.Contains(err.Error(), "the master key is not the one that this database was made with") {
			t.Error(err)
		}
	})

	t.Run("no master key", func(t *testing.T) {
		t.Parallel()
		database := dbtest.Postgres(t)
		startNode(t, database)
		_, err := openNode(database, &logBuffer{}, func(c *config.Config) { c.MasterKey, c.Data = "", t.TempDir() })
		if err == nil || !strings.Contains(err.Error(), "all nodes on one database need the same") {
			t.Error(err)
		}
	})
}
