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
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/config"
	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/httpapi"
	"github.com/tenantry/tenantry/internal/pgtest"
	"github.com/tenantry/tenantry/internal/tenant"
)

// server is a whole app on a real port, with a clock that the test moves.
type server struct {
	app     *app.App
	address string
	log     *logBuffer
	// ids, keys and tokens are by e-mail address; of two users with the same
	// address the first in the seed counts.
	ids, keys, tokens map[string]string

	clock atomic.Int64 // microseconds since 1970
}

// logBuffer is the server's log from level error on.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// theDay is when every server of these tests starts. Each look at its clock
// lasts a millisecond.
var theDay = time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)

// engine is what servers keep their data in.
type engine string

const (
	sqlite   engine = "sqlite"
	postgres engine = "postgres"
)

// eachEngine runs a test on each engine, in parallel, as a subtest named after it.
func eachEngine(t *testing.T, test func(t *testing.T, e engine)) {
	t.Helper()
	for _, e := range []engine{sqlite, postgres} {
		t.Run(string(e), func(t *testing.T) {
			t.Parallel()
			test(t, e)
		})
	}
}

// database is the setting for a fresh database.
func (e engine) database(t *testing.T) string {
	if e == postgres {
		return dbtest.Postgres(t)
	}
	return "" // in the data folder
}

// start serves a seed from SQLite, for tests that are not about what is stored.
func start(t *testing.T, seed []byte, configure ...func(*config.Config)) *server {
	t.Helper()
	return sqlite.start(t, seed, configure...)
}

// start serves a seed; nil is the one of the cases, which is made only once.
func (e engine) start(t *testing.T, seed []byte, configure ...func(*config.Config)) *server {
	t.Helper()
	if seed == nil {
		return e.startCopy(t, usual, configure...)
	}
	s := newServer()
	s.serve(t, dbtest.Folder(t), e.database(t), seed, configure...)
	return s
}

// startCopy serves a copy of what was filled once.
func (e engine) startCopy(t *testing.T, f *filling, configure ...func(*config.Config)) *server {
	t.Helper()
	s, data, database := newServer(), dbtest.Folder(t), ""
	var made seeded
	if e == postgres {
		database, made = f.postgres(t)
	} else {
		made = f.sqlite()
	}
	s.ids, s.keys, s.tokens = maps.Clone(made.ids), maps.Clone(made.keys), maps.Clone(made.tokens)
	s.clock.Store(made.clock)
	for name, content := range made.files {
		if err := os.WriteFile(filepath.Join(data, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.serve(t, data, database, nil, configure...)
	return s
}

func (s *server) serve(t *testing.T, data, database string, seed []byte, configure ...func(*config.Config)) {
	t.Helper()
	configure = append([]func(*config.Config){func(c *config.Config) { c.Database = database }}, configure...)
	if err := s.open(data, seed, configure...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.app.Close(); err != nil {
			t.Error(err)
		}
	})
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
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func newServer() *server {
	s := &server{log: &logBuffer{}, ids: map[string]string{}, keys: map[string]string{}, tokens: map[string]string{}}
	s.clock.Store(theDay.UnixMicro())
	return s
}

func (s *server) open(data string, seed []byte, configure ...func(*config.Config)) error {
	c, err := app.Defaults()
	if err != nil {
		return err
	}
	c.Data, c.RateLimit = data, -1
	for _, f := range configure {
		f(&c)
	}
	source := tenant.NewSource(func() time.Time { return time.UnixMicro(s.clock.Add(1000)) }, nil)
	logger := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelError}))
	parts := app.Parts{Source: source, Logger: logger, AdmissionWait: 20 * time.Second, KeepMails: c.PortalURL != ""}
	if s.app, err = app.Open(context.Background(), c, parts); err != nil {
		return err
	}
	if seed == nil {
		return nil
	}
	if err = s.load(seed); err != nil {
		s.app.Close()
	}
	return err
}

// filling fills a database that servers get copies of.
type filling struct {
	name string
	fill func(*server) error
	// configure is how the server is set that fills it.
	configure func(*config.Config)
	sqlite    func() seeded // with the database among its files
	seeds     sync.Map      // of PostgreSQL, by address; "template" is the one that was made last
}

// seeded is a database that was filled, and its data folder.
type seeded struct {
	files             map[string][]byte
	ids, keys, tokens map[string]string
	clock             int64
}

// usual is the seed of the cases.
var usual = newFilling("usual", func(*config.Config) {}, func(s *server) error {
	text, err := os.ReadFile(filepath.Join(casesFolder, "seed.yaml"))
	if err != nil {
		return err
	}
	return s.load(text)
})

func newFilling(name string, configure func(*config.Config), fill func(*server) error) *filling {
	f := &filling{name: name, fill: fill, configure: configure}
	f.sqlite = sync.OnceValue(func() seeded {
		made, err := f.make("")
		if err != nil {
			panic(err)
		}
		return made
	})
	return f
}

func (f *filling) make(database string) (made seeded, err error) {
	data, err := os.MkdirTemp("", "tenantry-test-")
	if err != nil {
		return made, err
	}
	defer os.RemoveAll(data)
	s := newServer()
	if err := s.open(data, nil, func(c *config.Config) { c.Database = database }, f.configure); err != nil {
		return made, err
	}
	if err := errors.Join(f.fill(s), s.app.Close()); err != nil {
		return made, err
	}
	made = seeded{map[string][]byte{}, s.ids, s.keys, s.tokens, s.clock.Load()}
	entries, err := os.ReadDir(data)
	for _, entry := range entries {
		if err == nil {
			made.files[entry.Name()], err = os.ReadFile(filepath.Join(data, entry.Name()))
		}
	}
	return made, err
}

// postgres is a copy of a database, or one that is as good.
func (f *filling) postgres(t *testing.T) (string, seeded) {
	address := pgtest.Template(t, f.name, func(url string) error {
		made, err := f.make(url)
		f.seeds.Store(url, made)
		f.seeds.Store("template", made)
		return err
	})
	made, ok := f.seeds.Load(address) // filled for this test alone
	if !ok {
		made, _ = f.seeds.Load("template")
	}
	return address, made.(seeded)
}

func (s *server) load(text []byte) error {
	seed, err := app.ParseSeed(text)
	if err != nil {
		return err
	}
	made, err := s.app.Load(context.Background(), seed)
	if err != nil {
		return err
	}
	for _, account := range made {
		s.ids[account.Email], s.keys[account.Email], s.tokens[account.Email] = account.ID, account.Key, account.Token
	}
	for accounts := seed.Accounts; len(accounts) > 0; accounts = accounts[1:] {
		accounts = append(accounts, accounts[0].ManagedAccounts...)
		for _, user := range accounts[0].Users {
			if s.ids[user.Email] == "" {
				s.ids[user.Email], s.keys[user.Email] = user.ID, user.APIKey
			}
		}
	}
	return nil
}

// connection is one keep-alive connection to a server. Everything that passes
// through it is held to the contract.
type connection struct {
	server *server
	tcp    net.Conn
	reader *bufio.Reader
}

// reply is an answer, its body read.
type reply struct {
	*http.Response
	body []byte
}

func (s *server) connect(t *testing.T) *connection {
	c := &connection{server: s}
	t.Cleanup(c.close)
	return c
}

func (c *connection) close() {
	if c.tcp != nil {
		c.tcp.Close()
		c.tcp = nil
	}
}

// send writes a request byte by byte as it is and reads the reply. The reply has
// to be one that api/openapi.yaml declares; so has the request, unless it is
// meant to be refused.
func (c *connection) send(t *testing.T, raw string, refused bool) reply {
	t.Helper()
	if c.tcp == nil {
		var err error
		if c.tcp, err = net.Dial("tcp", c.server.address); err != nil {
			t.Fatal(err)
		}
		c.reader = bufio.NewReader(c.tcp)
	}
	c.tcp.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c.tcp, raw); err != nil {
		t.Fatal(err)
	}
	request, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
	if err != nil {
		t.Fatalf("the test's own request cannot be read: %v\n%s", err, raw)
	}
	response, err := http.ReadResponse(c.reader, request)
	if err != nil {
		t.Fatalf("no reply to %s: %v", firstLine(raw), err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("half a reply to %s: %v", firstLine(raw), err)
	}
	if response.Close {
		c.close()
	}
	r := reply{response, body}
	err = validate(request, r, refused)
	if err == errNoPath && c.server.app.Config.Services != "" {
		err = validateEnvelope(r) // a service's path, and a refusal of ours
	}
	if err != nil {
		t.Errorf("%s answers %d, against the contract: %v\n%s", firstLine(raw), r.StatusCode, err, body)
	}
	if r.StatusCode == 500 {
		t.Errorf("%s answers 500: %s", firstLine(raw), c.server.log)
	}
	return r
}

// call sends a request with a bearer key and a JSON body, "" for none.
func (c *connection) call(t *testing.T, method, target, key, body string) reply {
	t.Helper()
	return c.send(t, request(method, target, key, body), true)
}

func request(method, target, key, body string) string {
	text := method + " " + target + " HTTP/1.1\r\nHost: localhost\r\n"
	if key != "" {
		text += "Authorization: Bearer " + key + "\r\n"
	}
	if body != "" {
		text += fmt.Sprintf("Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	return text + "\r\n" + body
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\r\n")
	return line
}

// contract is api/openapi.yaml.
var contract = sync.OnceValue(func() routers.Router {
	doc, err := openapi3.NewLoader().LoadFromData(api.OpenAPI)
	if err != nil {
		panic(err)
	}
	router, err := legacy.NewRouter(doc)
	if err != nil {
		panic(err)
	}
	return router
})

// vendorReplies are the vendor's own schemas of the 200 replies, by operation.
var vendorReplies = sync.OnceValue(func() map[string]*openapi3.Schema {
	doc, err := openapi3.NewLoader().LoadFromFile("../../api/testdata/vendor-shapes.json")
	if err != nil {
		panic(err)
	}
	schemas := map[string]*openapi3.Schema{}
	for _, path := range doc.Paths.Map() {
		for _, operation := range path.Operations() {
			schemas[operation.OperationID] = operation.Responses.Value("200").Value.Content["application/json"].Schema.Value
		}
	}
	return schemas
})

var errNoPath = errors.New("neither 404 nor 405 for a path that the contract lacks")

// validate holds an exchange to the contract and, where the vendor has the same
// operation, its 200 reply to the vendor's schema. HEAD is GET without the body.
func validate(request *http.Request, r reply, refused bool) error {
	if r.Header.Get("X-Request-Id") == "" {
		return fmt.Errorf("no x-request-id")
	}
	head := request.Method == "HEAD"
	if head {
		request.Method = "GET"
	}
	route, params, err := contract().FindRoute(request)
	// The router passes over a slash at the end.
	if err != nil || strings.HasSuffix(request.URL.Path, "/") {
		if r.StatusCode != 404 && r.StatusCode != 405 {
			return errNoPath
		}
		return validateEnvelope(r)
	}
	input := &openapi3filter.RequestValidationInput{
		Request: request, PathParams: params, Route: route,
		Options: &openapi3filter.Options{
			AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true, SkipSettingDefaults: true,
		},
	}
	if !refused {
		if err := openapi3filter.ValidateRequest(context.Background(), input); err != nil {
			return fmt.Errorf("the request is not in the contract: %w", err)
		}
	}
	if route.Operation.Responses.Status(r.StatusCode) == nil {
		return fmt.Errorf("%s does not declare status %d", route.Operation.OperationID, r.StatusCode)
	}
	if head {
		return nil
	}
	if r.StatusCode != 200 {
		if err := validateEnvelope(r); err != nil {
			return err
		}
	}
	if err := openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: r.StatusCode, Header: r.Header, Options: input.Options,
		Body: io.NopCloser(bytes.NewReader(r.body)),
	}); err != nil {
		return err
	}
	if r.StatusCode == 200 && r.Header.Get("Content-Type") == "application/json" {
		return validateVendor(route.Operation.OperationID, r.body)
	}
	return nil
}

// validateEnvelope is for every refusal, wherever it comes from.
func validateEnvelope(r reply) error {
	if got := r.Header.Get("Content-Type"); got != "application/json" {
		return fmt.Errorf("Content-Type is %q", got)
	}
	var envelope api.Errors
	d := json.NewDecoder(bytes.NewReader(r.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&envelope); err != nil {
		return fmt.Errorf("not the error envelope: %w", err)
	}
	if len(envelope.Errors) == 0 {
		return fmt.Errorf("no errors in the envelope")
	}
	for _, e := range envelope.Errors {
		if e.Code == "" || e.Title == "" || e.Detail == "" || e.Source == nil || (e.Source.Pointer == "") == (e.Source.Parameter == "") ||
			e.Meta == nil || e.Meta.URL != "https://developers.telnyx.com/docs/overview/errors/"+e.Code {
			return fmt.Errorf("half an error: %+v", e)
		}
	}
	if r.Header.Get("Content-Length") != fmt.Sprint(len(r.body)) {
		return fmt.Errorf("Content-Length is %q", r.Header.Get("Content-Length"))
	}
	return nil
}

func validateVendor(operation string, body []byte) error {
	schema := vendorReplies()[operation]
	if schema == nil {
		return nil
	}
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		return err
	}
	if err := schema.VisitJSON(value, openapi3.VisitAsResponse()); err != nil {
		return fmt.Errorf("the vendor's schema: %w", err)
	}
	return nil
}

// TestValidation: what the harness is to find out it finds out.
func TestValidation(t *testing.T) {
	t.Parallel()
	const (
		account = `"record_type":"managed_account","id":"f65ceda4-6522-4ad6-aede-98de83385123","email":"user@example.com","api_user":"u",` +
			`"organization_name":"o","manager_account_id":"m","created_at":"2018-02-02T22:25:27.521Z","updated_at":"2018-02-02T22:25:27.521Z",` +
			`"managed_account_allow_custom_pricing":false,"rollup_billing":false,"status":"enabled","status_reasons":[]`
		list    = `{"data":[{` + account + `}],"meta":{"total_pages":1,"total_results":1,"page_number":1,"page_size":20}}`
		refusal = `{"errors":[{"code":"10005","title":"t","detail":"d","source":{"pointer":"/"},"meta":{"url":"https://developers.telnyx.com/docs/overview/errors/10005"}}]}`
	)
	for _, test := range []struct {
		name, target string
		status       int
		body, bad    string
		without      string // header
	}{
		{name: "list", target: "/v2/managed_accounts", status: 200, body: list},
		{name: "no id", target: "/v2/managed_accounts", status: 200, body: list, without: "X-Request-Id", bad: "x-request-id"},
		{name: "no type", target: "/v2/managed_accounts", status: 200, body: list, without: "Content-Type", bad: "ontent"},
		{name: "field too much", target: "/v2/managed_accounts", status: 200, body: strings.Replace(list, `"data":[{`, `"data":[{"balance":{},`, 1), bad: "balance"},
		{name: "null", target: "/v2/managed_accounts", status: 200, body: strings.Replace(list, `"email":"user@example.com"`, `"email":null`, 1), bad: "nullable"},
		{name: "field too few", target: "/v2/managed_accounts/x", status: 200, body: `{"data":{` + account + `}}`, bad: "api_key"},
		{name: "status", target: "/v2/managed_accounts", status: 404, body: refusal, bad: "does not declare"},
		{name: "refusal", target: "/v2/managed_accounts/x", status: 404, body: refusal},
		{name: "refusal without source", target: "/v2/managed_accounts/x", status: 404, body: strings.Replace(refusal, `"source":{"pointer":"/"},`, "", 1), bad: "half an error"},
		{name: "refusal in text", target: "/v2/nowhere", status: 404, body: "404 page not found", bad: "envelope"},
		{name: "redirect", target: "/v2/nowhere", status: 307, body: "", bad: "neither"},
		{name: "bad query", target: "/v2/managed_accounts?page[size]=0", status: 200, body: list, bad: "page[size]"},
	} {
		request, err := http.ReadRequest(bufio.NewReader(strings.NewReader(request("GET", test.target, "key", ""))))
		if err != nil {
			t.Fatal(err)
		}
		header := http.Header{"X-Request-Id": {"r"}, "Content-Type": {"application/json"}, "Content-Length": {fmt.Sprint(len(test.body))}}
		header.Del(test.without)
		err = validate(request, reply{&http.Response{StatusCode: test.status, Header: header}, []byte(test.body)}, false)
		if (err == nil) != (test.bad == "") || err != nil && !strings.Contains(err.Error(), test.bad) {
			t.Errorf("%s: %v, want a complaint about %q", test.name, err, test.bad)
		}
	}
	if err := validateVendor("ListManagedAccounts", []byte(strings.Replace(list, `"api_user":"u",`, "", 1))); err == nil {
		t.Error("the vendor requires api_user in a list, and nobody complains")
	}
	served := 0
	for _, route := range httpapi.Routes {
		if vendorReplies()[route.ID] != nil {
			served++
		}
	}
	if served != 15 {
		t.Errorf("the vendor's schemas hold %d of our operations, want 12 and the three beside them", served)
	}
}
