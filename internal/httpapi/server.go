// Package httpapi speaks HTTP: it decodes a request, calls one use case and
// encodes what comes back. Routes stand in the tables of each noun's file; every
// refusal leaves through writeError.
package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"path"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/internal/admission"
	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/carrier"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// Options tune a Server. The zero value has the documented defaults.
type Options struct {
	// Rate is how many requests a second one key may make, on average; 0 means
	// 100, below 0 means no limit.
	Rate float64
	// Burst is how many it may make at once; 0 means 1,000.
	Burst int
	// MaxBody is the largest request body, in bytes; 0 means 64 KiB.
	MaxBody int64
	// TrustedProxies are the proxies whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// Admission decides; nil means one with the documented defaults.
	Admission *admission.Service
	// Reasons say how a decision is put; nil means admission.DefaultTable.
	Reasons admission.Table
	// AdmissionApart leaves the admission API to the handler Server.Admission.
	AdmissionApart bool
	// Services are what the gateway puts behind this API; see ReadServices.
	Services []GatewayService
	// Messages hands messages over; nil means the sandbox.
	Messages *carrier.Dispatcher
	// WebhookKey is the public key of what signs events, in base64.
	WebhookKey string
	// TestWebhook sends a test event; nil where there is no webhook.
	TestWebhook func() store.Attempt
	// Logger hears of faults, of refused credentials at info level, and at debug
	// level of each request.
	Logger *slog.Logger
	// Observer is told of each request; nil for nobody.
	Observer Observer
	// Tracer makes a span of each request; nil for none.
	Tracer trace.Tracer
}

// Server answers the API. It is an http.Handler.
type Server struct {
	service   *service.Service
	auth      *auth.Authenticator
	admission *admission.Service
	reasons   map[admission.Reason]*admission.Reply
	services  []*gatewayService
	apart     bool                  // the admission API is answered by Admission alone
	forwards  map[string]*operation // by the prefix of their paths
	checks    map[string]*operation // by path
	messages  *carrier.Dispatcher
	db        *store.DB
	log       *slog.Logger
	observer  Observer     // may be nil
	tracer    trace.Tracer // may be nil
	mux       *http.ServeMux
	retrieve  *operation // of one managed account
	unknown   *operation // what no route matches
	maxBody   int64
	keys      *limiter // requests, by key
	failures  *limiter // refused credentials, by address
	signIns   *limiter // tries to sign in, by address
	signInsTo *limiter // the same, by e-mail
	refused   pace     // lines about refused credentials
	// unavailable is for lines about answers with status 503.
	unavailable pace
	unanswered  pace // lines about services that did not answer
	proxies     []netip.Prefix
	webhookKey  string
	testWebhook func() store.Attempt
	began       time.Time // what call.began counts from
	replies     *store.Cache[reply]
	idPrefix    string
	idSeed      maphash.Seed
	idCount     atomic.Uint64
}

// reply is an encoded answer to "retrieve".
type reply struct {
	managerID string
	body      encoded
}

// encoded is JSON that is ready to be sent.
type encoded []byte

// stream is an answer that is written as it is made.
type stream struct {
	contentType string
	write       func(io.Writer) error
}

// New makes a server over its parts.
func New(db *store.DB, s *service.Service, a *auth.Authenticator, o Options) *Server {
	if o.Rate == 0 {
		o.Rate = 100
	}
	if o.Burst == 0 {
		o.Burst = 1000
	}
	if o.MaxBody == 0 {
		o.MaxBody = 64 << 10
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Admission == nil {
		o.Admission = admission.New(db, admission.Options{})
	}
	if o.Reasons == nil {
		o.Reasons = admission.DefaultTable()
	}
	if o.Messages == nil {
		o.Messages = carrier.NewDispatcher(db, carrier.Sandbox{}, o.Logger)
	}
	now := db.Source().Now
	server := &Server{
		messages: o.Messages, admission: o.Admission, reasons: map[admission.Reason]*admission.Reply{}, apart: o.AdmissionApart, forwards: map[string]*operation{}, checks: map[string]*operation{},
		service: s, auth: a, db: db, log: o.Logger, observer: o.Observer, tracer: o.Tracer, mux: http.NewServeMux(), maxBody: o.MaxBody,
		keys:      newLimiter(now, o.Rate, o.Burst, "keys", db.Tell),
		failures:  newLimiter(now, 5, 100, "failures", db.Tell),
		signIns:   newLimiter(now, 0.2, 20, "sign_ins", db.Tell),
		signInsTo: newLimiter(now, 1, 50, "sign_ins_to", db.Tell),
		refused:   pace{now: now}, unavailable: pace{now: now}, unanswered: pace{now: now},
		proxies:    o.TrustedProxies,
		webhookKey: o.WebhookKey, testWebhook: o.TestWebhook,
		began:    time.Now(),
		replies:  store.NewCache[reply](db, 1<<16),
		idPrefix: db.Source().NewID()[:24],
		idSeed:   maphash.MakeSeed(),
	}
	for reason, reply := range o.Reasons {
		server.reasons[reason] = &reply
	}
	limiters := []*limiter{server.keys, server.failures, server.signIns, server.signInsTo}
	db.Hear(func(text string) {
		for _, l := range limiters {
			l.hear(text)
		}
	})
	for _, r := range Routes {
		o := server.operation(r)
		server.mux.HandleFunc(r.Pattern, func(w http.ResponseWriter, request *http.Request) {
			server.serve(o, w, request, request.PathValue("id"))
		})
		if r.Pattern == "GET "+retrievePrefix+"{id}" {
			server.retrieve = o
		}
	}
	for path, r := range checks {
		o := server.operation(r)
		server.checks[path] = o
		server.mux.HandleFunc(path, func(w http.ResponseWriter, request *http.Request) { server.serve(o, w, request, "") })
	}
	for _, f := range forwards {
		server.forwards[f.prefix] = server.operation(Route{"CheckAdmission", "", "forward", func(s *Server, c *call) (any, error) {
			return s.serveForward(c, f.kind)
		}})
	}
	for _, g := range o.Services {
		server.services = append(server.services, server.gatewayService(g))
	}
	server.unknown = server.operation(Route{ID: "unknown"})
	server.mux.Handle("/", http.HandlerFunc(server.serveUnknown))
	return server
}

// Route is one operation: its id in api/openapi.yaml, its place and who may
// call it. The scope is public, session, operator or a permission; what it
// demands beyond the kind of credentials is decided by package service.
type Route struct {
	ID      string
	Pattern string
	Scope   string
	handle  func(*Server, *call) (any, error)
}

// Routes is the whole API.
var Routes = concat(accountRoutes, userRoutes, auditRoutes, messageRoutes, sessionRoutes, operatorRoutes, connectionRoutes, webhookRoutes, admissionRoutes, healthRoutes)

func concat(tables ...[]Route) (all []Route) {
	for _, t := range tables {
		all = append(all, t...)
	}
	return all
}

// call is one request on its way to a use case.
type call struct {
	*http.Request
	operation *operation
	id        string // of the path, "" when it has none
	actor     tenant.Actor
	refused   admission.Reason // what is against a caller of the gateway, "" for nothing yet
	session   *service.Session // of routes with that scope
	body      []byte
	// requestID is the x-request-id of the answer.
	requestID string
	began     time.Duration // since the server was made; 0 when nobody wants to know
	span      trace.Span    // nil when there are no traces

	header http.Header // of the answer
	values [8]string
	set    int32
	status int32 // of the answer
}

// put sets a header of the answer; key must be canonical. The values lie in the
// call itself: one allocation for all of them shows where an answer takes 10 µs.
func (c *call) put(key, value string) {
	if int(c.set) == len(c.values) {
		c.header[key] = []string{value}
		return
	}
	c.values[c.set] = value
	c.set++
	c.header[key] = c.values[c.set-1 : c.set : c.set]
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// It also bounds how long net/http waits for a body that nobody reads. What
	// has been read in time may take longer to be answered: see readBody.
	if r.ContentLength != 0 {
		http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
	}
	// The request that comes most often by far need not be looked for among all
	// routes. An id in any other form goes the long way.
	if id, ok := strings.CutPrefix(r.URL.Path, retrievePrefix); ok && r.Method == http.MethodGet && tenant.IsUUID(id) {
		s.serve(s.retrieve, w, r, id)
		return
	}
	if strings.HasPrefix(r.URL.Path, admissionPrefix) {
		if s.apart {
			s.refuse(w, r, tenant.Refuse(tenant.NotFound, ""))
		} else {
			s.serveAdmission(w, r)
		}
		return
	}
	if len(s.services) > 0 {
		if g, clean := s.serviceAt(r.URL.EscapedPath()); g != nil {
			if clean {
				s.serve(g.operation, w, r, "")
			} else {
				s.refuse(w, r, tenant.Refuse(tenant.NotFound, ""))
			}
			return
		}
	}
	s.serveMux(w, r)
}

func (s *Server) serveMux(w http.ResponseWriter, r *http.Request) {
	if unclean(r.URL.EscapedPath()) {
		s.refuse(w, r, tenant.Refuse(tenant.NotFound, ""))
		return
	}
	s.mux.ServeHTTP(w, r)
}

// unclean reports whether a path is one that the mux would redirect, without an
// envelope or an id. No client makes such a path on purpose.
func unclean(p string) bool {
	return !strings.HasPrefix(p, "/") || strings.Contains(p, "//") ||
		strings.Contains(p, "/.") && path.Clean(p) != strings.TrimSuffix(p, "/")
}

// serve is the one way of every request: id, panic guard, credentials, rate
// limit, handler, answer.
func (s *Server) serve(o *operation, w http.ResponseWriter, r *http.Request, id string) {
	c := s.begin(o, w, r)
	defer s.end(c)
	c.id = id
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			c.status = http.StatusInternalServerError
			s.logCall(c, slog.LevelError, "a handler panicked", "panic", p, "stack", string(debug.Stack()))
			s.writeError(w, c, errors.New("panic"))
		}
	}()
	answer, err := s.answer(o.Route, w, c)
	if err == nil {
		err = s.write(w, c, answer)
	}
	if err != nil {
		s.writeError(w, c, err)
	}
}

// refuse answers what is none of the operations.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	c := s.begin(s.unknown, w, r)
	defer s.end(c)
	s.writeError(w, c, err)
}

func (s *Server) answer(route Route, w http.ResponseWriter, c *call) (any, error) {
	if err := s.authenticate(route, c); err != nil {
		if tenant.IsKind(err, tenant.Unauthenticated) {
			if verdict := s.failures.take(s.Address(c.Request)); !verdict.ok {
				s.rateLimited("failures")
				verdict.write(c)
				return nil, tenant.RefuseParameter(tenant.TooMany, "Authorization", "Too many wrong credentials came from this address.")
			}
		}
		return nil, err
	}
	elsewhere := route.Scope == "gateway" // is the body read, and a repetition told
	if who := s.limited(c); who != "" {
		verdict := s.keys.take(who)
		verdict.write(c)
		if !verdict.ok {
			s.rateLimited("keys")
			if !elsewhere && c.Method == http.MethodPost && c.ContentLength != 0 && s.readBody(w, c) == nil {
				s.turnedAway(c)
			}
			return nil, tenant.RefuseParameter(tenant.TooMany, "Authorization", "")
		}
	}
	c.actor.RequestID = c.requestID
	if c.ContentLength != 0 && c.Method != http.MethodGet && c.Method != http.MethodHead && route.Scope != "forward" && !elsewhere {
		if err := s.readBody(w, c); err != nil {
			return nil, err
		}
	}
	answer, err := route.handle(s, c)
	var decided *denied
	if !elsewhere && c.Method == http.MethodPost && (tenant.IsKind(err, tenant.TooMany) || errors.Is(err, store.ErrBusy) || errors.As(err, &decided)) {
		s.turnedAway(c)
	}
	return answer, err
}

// limited is who has to keep to the rate limit: a credential, or nobody. A caller of
// the gateway whom nobody could look up is known by the address.
func (s *Server) limited(c *call) string {
	switch {
	case c.actor.AccountID != "":
		return c.actor.CredentialID
	case c.operation.service != nil:
		return s.Address(c.Request)
	}
	return ""
}

// Allow counts one more request of a credential, or of an address, or refuses it with
// kind TooMany: for what stands beside the API.
func (s *Server) Allow(who string) error {
	if s.keys.take(who).ok {
		return nil
	}
	s.rateLimited("keys")
	return tenant.RefuseParameter(tenant.TooMany, "Authorization", "")
}

// turnedAway remembers that nothing was done, for the SDK will ask again.
func (s *Server) turnedAway(c *call) {
	if once, err := c.once(); err == nil {
		s.service.Refused(once)
	}
}

func (s *Server) authenticate(route Route, c *call) (err error) {
	switch route.Scope {
	case "public":
	case "session":
		token, _ := auth.Bearer(c.Header.Get("Authorization"))
		if c.session, err = s.service.Session(c.Context(), token); err == nil {
			c.actor = tenant.Actor{AccountID: c.session.AccountID, UserID: c.session.UserID, CredentialID: c.session.Digest}
		}
	case "operator":
		c.actor, err = s.auth.Operator(c.Header.Get("Authorization"))
	case "admission":
		c.actor.CredentialID = "admission"
		err = s.auth.Switch(c.admissionToken())
	case "forward":
		// Authorization is that of whom is asked about.
		err = s.auth.Switch(c.Header.Get("X-Tenantry-Admission"))
	case "gateway":
		err = s.identifyCaller(c)
	default:
		c.actor, err = s.auth.Actor(c.Context(), c.credentials())
	}
	return err
}

// credentials are what the request brought of V2 or V1.
func (c *call) credentials() auth.Credentials {
	return auth.Credentials{
		Authorization: c.Header.Get("Authorization"), User: c.Header.Get("X-Api-User"), Token: c.Header.Get("X-Api-Token"),
	}
}

// bodyTime is how long a request body may take.
const bodyTime = 15 * time.Second

// readBody takes the body in, up to the limit. An empty one may have any type.
func (s *Server) readBody(w http.ResponseWriter, c *call) error {
	most := s.maxBody
	if c.operation.ID == "PutLiveCalls" || c.operation.ID == "PutLiveCallsByPost" {
		most = max(most, mostLive)
	}
	tooLarge := func() error {
		return tenant.Refuse(tenant.TooLarge, fmt.Sprintf("A request body may have at most %d bytes.", most))
	}
	if c.ContentLength > most {
		return tooLarge() // before anybody is told to go on sending
	}
	var body []byte
	var err error
	if c.ContentLength > 0 && c.ContentLength <= s.maxBody {
		body = make([]byte, c.ContentLength)
		_, err = io.ReadFull(c.Body, body)
	} else {
		body, err = io.ReadAll(io.LimitReader(c.Body, most+1))
	}
	if err != nil {
		return tenant.Refuse(tenant.Malformed, "The request body could not be read.")
	}
	if int64(len(body)) > most {
		return tooLarge()
	}
	http.NewResponseController(w).SetReadDeadline(time.Time{})
	c.Request.Body = http.NoBody
	c.body = body
	if len(body) == 0 {
		return nil
	}
	kind, _, _ := strings.Cut(c.Header.Get("Content-Type"), ";")
	if c.operation.Scope == "admission" {
		if err := s.checkAdmissionType(c); err != nil {
			return err
		}
	} else if !strings.EqualFold(strings.TrimSpace(kind), "application/json") {
		return tenant.RefuseParameter(tenant.MediaType, "Content-Type", "A request body must be application/json.")
	}
	if coding := c.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return tenant.RefuseParameter(tenant.MediaType, "Content-Encoding", "A request body may not be compressed.")
	}
	return nil
}

func (s *Server) write(w http.ResponseWriter, c *call, answer any) error {
	switch answer := answer.(type) {
	case encoded:
		c.put("Content-Type", "application/json")
		if len(answer) > 2000 { // net/http counts what fits into its buffer itself, for less
			c.put("Content-Length", strconv.Itoa(len(answer)))
			http.NewResponseController(w).SetWriteDeadline(time.Now().Add(streamPause))
		}
		w.Write(answer)
		return nil
	case stream:
		return s.writeStream(w, c, answer)
	case proxied:
		return s.proxy(w, c, answer)
	case rendered:
		for _, h := range answer.header {
			c.put(h[0], h[1])
		}
		if answer.contentType != "" {
			c.put("Content-Type", answer.contentType)
		}
		if len(answer.body) == 0 || len(answer.body) > 2000 { // as above
			c.put("Content-Length", strconv.Itoa(len(answer.body)))
		}
		c.status = int32(answer.status)
		w.WriteHeader(answer.status)
		w.Write(answer.body)
		return nil
	default:
		body, err := encode(answer)
		if err != nil {
			return err
		}
		return s.write(w, c, encoded(body))
	}
}

// encode is JSON without the escapes that only matter inside HTML.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// streamPause is how long a reader of a stream may take over one buffer.
const streamPause = 30 * time.Second

func (s *Server) writeStream(w http.ResponseWriter, c *call, answer stream) error {
	out := &streamWriter{w: w, control: http.NewResponseController(w), contentType: answer.contentType}
	err := answer.write(out)
	if err == nil {
		err = out.flush()
	}
	if err != nil && out.began {
		// Half an answer is out: only a broken connection says that it is half.
		if c.status = statusGone; !out.lost && c.Context().Err() == nil {
			c.status = http.StatusInternalServerError
			s.logCall(c, slog.LevelError, "a stream broke off", "error", err)
		}
		panic(http.ErrAbortHandler)
	}
	return err
}

// streamWriter gathers 64 KiB at a time. Nothing goes out before the first is
// full, so that an early error can still be answered as one.
type streamWriter struct {
	w           http.ResponseWriter
	control     *http.ResponseController
	contentType string
	buffer      []byte
	began       bool
	lost        bool // the client
}

func (w *streamWriter) Write(p []byte) (int, error) {
	w.buffer = append(w.buffer, p...)
	if len(w.buffer) < 64<<10 {
		return len(p), nil
	}
	return len(p), w.flush()
}

func (w *streamWriter) flush() error {
	if !w.began {
		w.began = true
		w.w.Header().Set("Content-Type", w.contentType)
	}
	w.control.SetWriteDeadline(time.Now().Add(streamPause))
	_, err := w.w.Write(w.buffer)
	w.buffer = w.buffer[:0]
	w.lost = err != nil
	return err
}

// serveUnknown answers what no route matches: 405 with the methods that the path
// has, or 404.
func (s *Server) serveUnknown(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
		other := &http.Request{Method: method, URL: r.URL, Host: r.Host}
		if _, pattern := s.mux.Handler(other); pattern != "/" && pattern != "" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		s.refuse(w, r, tenant.Refuse(tenant.NotFound, ""))
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	s.refuse(w, r, tenant.Refuse(tenant.NoMethod, "This path has "+strings.Join(allowed, ", ")+"."))
}

// NewRequestID is a UUID that no other answer of any process has. The count in it
// is shuffled, four rounds of a Feistel network, for it would tell each tenant how
// much all of them ask.
func (s *Server) NewRequestID() string {
	const half = 1<<24 - 1
	count := s.idCount.Add(1)
	left, right := count>>24&half, count&half
	for round := range uint64(4) {
		left, right = right, left^maphash.Comparable(s.idSeed, right<<2|round)&half
	}
	var digits [12]byte
	for n, i := left<<24|right, len(digits)-1; i >= 0; i, n = i-1, n>>4 {
		digits[i] = "0123456789abcdef"[n&15]
	}
	return s.idPrefix + string(digits[:])
}

// once names a request that must not be done twice.
func (c *call) once() (service.Once, error) {
	o := service.Once{
		Request: c.actor.CredentialID + "\x00" + c.Method + "\x00" + c.URL.EscapedPath(),
		Body:    c.body, Key: c.Header.Get("Idempotency-Key"),
	}
	if keys := c.Header.Values("Idempotency-Key"); len(keys) > 1 || len(keys) == 1 && !goodKey(keys[0]) {
		return o, tenant.RefuseParameter(tenant.BadKey, "Idempotency-Key", "An idempotency key has 1 to 255 characters out of A-Z, a-z, 0-9, - and _.")
	}
	o.Try = c.try()
	return o, nil
}

// try is how often the SDK has sent the request before, as it says; 0 when it
// says nothing.
func (c *call) try() int64 {
	n, _ := strconv.ParseInt(c.Header.Get("X-Stainless-Retry-Count"), 10, 32)
	return max(n, 0)
}

func goodKey(key string) bool {
	return key != "" && len(key) <= 255 && !strings.ContainsFunc(key, func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

// Address is who sent the request: the peer or, behind trusted proxies, whom the
// first of them saw. Of IPv6 it is the network of 64 bits that one customer has.
func (s *Server) Address(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	who := peer.Addr().Unmap()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && s.trusted(who); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		who = hop.Unmap()
	}
	if who.Is6() {
		if network, err := who.Prefix(64); err == nil {
			return network.String()
		}
	}
	return who.String()
}

func (s *Server) trusted(who netip.Addr) bool {
	return slices.ContainsFunc(s.proxies, func(p netip.Prefix) bool { return p.Contains(who) })
}

var healthRoutes = []Route{
	{"Healthz", "GET /healthz", "public", (*Server).healthz},
	{"Readyz", "GET /readyz", "public", (*Server).readyz},
	{"GetOpenAPI", "GET /openapi.yaml", "public", (*Server).openAPI},
}

func (s *Server) healthz(*call) (any, error) { return api.Health{Status: "ok"}, nil }

func (s *Server) readyz(c *call) (any, error) {
	ctx, stop := context.WithTimeout(c.Context(), time.Second)
	defer stop()
	if err := s.db.Ready(ctx); err != nil {
		return nil, fmt.Errorf("%w: %v", tenant.Refuse(tenant.Unavailable, "The database cannot be written."), err)
	}
	return api.Health{Status: "ok"}, nil
}

func (s *Server) openAPI(*call) (any, error) {
	return stream{"application/yaml", func(w io.Writer) error {
		_, err := w.Write(api.OpenAPI)
		return err
	}}, nil
}
