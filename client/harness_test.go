package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tenantry/tenantry/client"
	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/pgtest"
)

// What testdata/seed.yaml has.
const (
	managerKey   = "KEY0DE00000000000000000000000000001_tenantry-dev-manager-k"
	managerToken = "tenantry-dev-token-001"
	userKey      = "KEY0DE00000000000000000000000000021_tenantry-dev-user-keyy"
	nobodyKey    = "KEY0DE00000000000000000000000000002_tenantry-dev-organizat"
	larry        = "00000000-0000-7000-8000-000000000011"
	company      = "00000000-0000-7000-8000-000000000012"
	hotels       = "00000000-0000-7000-8000-000000000013"
	userID       = "00000000-0000-7000-8000-000000000021"
	adminID      = "00000000-0000-7000-8000-000000000022"
	unknownID    = "00000000-0000-7000-8000-00000000dead"
)

// TestMain starts a server for the examples and puts it into the environment,
// where they find it as any program does. It is SQLite's: the tests run on both.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		s, err := open("")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer s.close()
		os.Setenv("TELNYX_BASE_URL", s.base+"/v2")
		os.Setenv("TELNYX_API_KEY", managerKey)
		os.Setenv("TENANTRY_OPERATOR_URL", s.base+"/operator/v1")
		os.Setenv("TENANTRY_OPERATOR_TOKEN", s.token)
		return m.Run()
	}())
}

// server is a whole Tenantry on a real port.
type server struct {
	base, address, token string
	connections          atomic.Int64 // accepted so far
	close                func()
}

// open starts a server with a database at the address, "" for one in its data
// folder.
func open(database string) (*server, error) {
	text, err := os.ReadFile("testdata/seed.yaml")
	if err != nil {
		return nil, err
	}
	seed, err := app.ParseSeed(text)
	if err != nil {
		return nil, err
	}
	c, err := app.Defaults()
	if err != nil {
		return nil, err
	}
	// What is tested here is not the disk.
	if c.Data, err = os.MkdirTemp(pgtest.Memory(), "tenantry-client-"); err != nil {
		return nil, err
	}
	c.Database, c.RateLimit, c.OperatorToken = database, -1, ""
	a, err := app.Open(context.Background(), c, app.Parts{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	if _, err := a.Load(context.Background(), seed); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &server{address: listener.Addr().String(), token: a.OperatorToken}
	s.base = "http://" + s.address
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		a.Serve(ctx, counting{listener, &s.connections})
		close(done)
	}()
	s.close = func() {
		stop()
		<-done
		a.Close()
		os.RemoveAll(c.Data)
	}
	return s, nil
}

type counting struct {
	net.Listener
	n *atomic.Int64
}

func (c counting) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.n.Add(1)
	}
	return conn, err
}

// eachServer runs a test with a server of its own for each engine, in parallel.
func eachServer(t *testing.T, test func(t *testing.T, s *server)) {
	t.Helper()
	dbtest.EachAddress(t, func(t *testing.T, address string) { test(t, start(t, address)) })
}

// start is a server of the test's own.
func start(t *testing.T, database string) *server {
	t.Helper()
	s, err := open(database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

// client calls as the manager unless the options say otherwise.
func (s *server) client(t *testing.T, options ...client.Option) *client.Client {
	t.Helper()
	return newClient(t, s.base+"/v2", append([]client.Option{client.WithKey(managerKey)}, options...)...)
}

func (s *server) operator(t *testing.T) *client.Operator {
	t.Helper()
	return client.NewOperator(newClient(t, s.base+"/operator/v1", client.WithKey(s.token)))
}

// newClient has connections of its own, which are closed with the test.
func newClient(t *testing.T, base string, options ...client.Option) *client.Client {
	t.Helper()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 64
	t.Cleanup(transport.CloseIdleConnections)
	defaults := []client.Option{
		client.WithBaseURL(base), client.WithKey("KEY-of-a-test"), client.WithHTTPClient(&http.Client{Transport: transport}),
	}
	return client.New(append(defaults, options...)...)
}

// scripted is a client of a server that answers as the test wants.
func scripted(t *testing.T, handler http.HandlerFunc, options ...client.Option) *client.Client {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return newClient(t, s.URL+"/v2", options...)
}

// answers always answers the same.
func answers(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// inMemory is a server and a client whose network is in memory, for the bubbles of
// testing/synctest: nothing but time passes there.
func inMemory(t *testing.T, handler http.HandlerFunc, options ...client.Option) *client.Client {
	t.Helper()
	listener := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	s := &http.Server{Handler: handler, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	served := make(chan struct{})
	go func() { s.Serve(listener); close(served) }()
	transport := &http.Transport{DialContext: listener.dial}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		s.Close()
		<-served
	})
	defaults := []client.Option{
		client.WithBaseURL("http://server.invalid/v2"), client.WithKey("KEY-of-a-test"), client.WithHTTPClient(&http.Client{Transport: transport}),
	}
	return client.New(append(defaults, options...)...)
}

type pipes struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "memory"} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// list is the text of a page of accounts with these ids.
func list(meta string, ids ...string) string {
	data := []map[string]any{}
	for _, id := range ids {
		data = append(data, map[string]any{"id": id, "nickname": "the " + id})
	}
	text, err := json.Marshal(data)
	if err != nil {
		panic(err)
	}
	if meta == "" {
		return fmt.Sprintf(`{"data":%s}`, text)
	}
	return fmt.Sprintf(`{"data":%s,"meta":%s}`, text, meta)
}

// refused wants err to be an *Error and is it.
func refused(t *testing.T, err error) *client.Error {
	t.Helper()
	var e *client.Error
	if !errors.As(err, &e) {
		t.Fatalf("%v (%T) is no *client.Error", err, err)
	}
	return e
}

func must[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}
