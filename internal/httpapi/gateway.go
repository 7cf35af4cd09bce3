package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/propagation"

	"github.com/tenantry/tenantry/internal/admission"
	"github.com/tenantry/tenantry/internal/tenant"
)

// gatewayService is a GatewayService as one server proxies to it.
type gatewayService struct {
	GatewayService
	operation *operation
	target    *url.URL
	base      string // the path of target, escaped, without a slash at the end
	transport *http.Transport
}

func (s *Server) gatewayService(o GatewayService) *gatewayService {
	g := &gatewayService{GatewayService: o}
	g.operation = s.operation(Route{o.Name, "ANY " + o.Path, "gateway", (*Server).callService})
	g.operation.service = g
	g.target, _ = url.Parse(o.URL) // ReadServices has seen it
	g.base = strings.TrimSuffix(g.target.EscapedPath(), "/")
	soon := min(g.Timeout, 10*time.Second)
	// HTTP/1.1 alone, for WebSockets want it.
	g.transport = &http.Transport{
		DialContext:         (&net.Dialer{Timeout: soon}).DialContext,
		TLSHandshakeTimeout: soon,
		DisableCompression:  true,
		MaxIdleConnsPerHost: 256,
		// Shorter than services keep a connection that rests (many 5 seconds): a write
		// on one that they close just then could not be tried again.
		IdleConnTimeout:        4 * time.Second,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 256 << 10,
	}
	return g
}

// serviceAt finds the service of an escaped path, nil for none. The path is not clean
// if somebody who reads it in another way than we do could take it for what is outside
// the service's, or another service's.
func (s *Server) serviceAt(escaped string) (g *gatewayService, clean bool) {
	if g = s.longest(escaped, strings.HasPrefix); g == nil {
		return nil, false
	}
	if unclean(escaped) {
		return g, false
	}
	// Who reads it may ignore case, take \ for /, pass over ;parameters and doubled
	// slashes, and decode more than once.
	reading := escaped
	for range 4 {
		plain, ok := plainPath(reading)
		if !ok || s.longest(plain, hasPrefixFold) != g {
			return g, false
		}
		next := unescape(reading)
		if next == reading {
			return g, true
		}
		reading = next
	}
	return g, false
}

// longest is the service with the longest path that path is, or is below.
func (s *Server) longest(path string, begins func(s, prefix string) bool) (found *gatewayService) {
	for _, g := range s.services {
		if begins(path, g.Path) && (len(path) == len(g.Path) || path[len(g.Path)] == '/') && (found == nil || len(g.Path) > len(found.Path)) {
			found = g
		}
	}
	return found
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// plainPath is a path without parameters, backslashes and empty parts; ok is false
// when something in it leads upwards, or is no text.
func plainPath(p string) (plain string, ok bool) {
	if strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", false
	}
	if !strings.ContainsAny(p, `;\.`) && !strings.Contains(p, "//") {
		return p, true
	}
	var b strings.Builder
	for part := range strings.SplitSeq(strings.ReplaceAll(p, `\`, "/"), "/") {
		part, _, _ = strings.Cut(part, ";")
		switch part {
		case "":
		case ".", "..":
			return "", false
		default:
			b.WriteString("/" + part)
		}
	}
	return b.String(), true
}

// unescape decodes what is escaped, and leaves what only looks so.
func unescape(p string) string {
	if !strings.Contains(p, "%") {
		return p
	}
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		if i+2 < len(p) && p[i] == '%' {
			if text, err := url.PathUnescape(p[i : i+3]); err == nil {
				b.WriteString(text)
				i += 2
				continue
			}
		}
		b.WriteByte(p[i])
	}
	return b.String()
}

// notAdmitted is a refusal for a reason of admission, said as the table of reasons
// has it.
type notAdmitted struct {
	reason  admission.Reason
	reply   admission.Reply
	refusal *tenant.Error
}

// Error implements error.
func (e *notAdmitted) Error() string { return string(e.reason) }

// Unwrap is the refusal of the nearest kind.
func (e *notAdmitted) Unwrap() error { return e.refusal }

func (s *Server) notAdmitted(reason admission.Reason) error {
	kind := tenant.Forbidden
	switch reason {
	case admission.AccountDisabled, admission.AccountCancelled, admission.UserDisabled:
		kind = tenant.Inactive
	case admission.AccountBlocked, admission.UserBlocked:
		kind = tenant.Blocked
	case admission.UnknownCredentials, admission.UnknownAccount:
		kind = tenant.Unauthenticated
	case admission.Unreachable:
		kind = tenant.Unavailable
	}
	return &notAdmitted{reason, *s.reasons[reason], tenant.RefuseParameter(kind, "Authorization", "")}
}

// identifyCaller finds out who calls a service. What is said against him is said once
// he has kept to the rate limit, but for credentials that nobody knows.
func (s *Server) identifyCaller(c *call) (err error) {
	c.actor, c.refused, err = s.identify(c.Context(), c.operation.service.Kind, c.credentials())
	if err == nil && c.refused == admission.UnknownCredentials {
		return s.notAdmitted(c.refused)
	}
	return err
}

// callService decides whether a request may go to its service.
func (s *Server) callService(c *call) (any, error) {
	g := c.operation.service
	d, err := s.decideCall(c, g.Kind)
	if err != nil {
		return nil, err
	}
	if !d.Allowed() {
		return nil, s.notAdmitted(d.Reason)
	}
	for _, permission := range g.Permissions {
		switch {
		case c.actor.AccountID == "":
			return nil, s.notAdmitted(admission.Unreachable) // nobody can tell
		case !c.actor.May(permission):
			return nil, tenant.RefuseParameter(tenant.Forbidden, "Authorization", "None of the user's groups has the permission "+permission+".")
		}
	}
	// TRACE would show the caller the headers that are set here.
	if c.Method == http.MethodTrace || c.Method == http.MethodConnect || len(g.Methods) > 0 && !slices.Contains(g.Methods, c.Method) {
		allowed := strings.Join(g.Methods, ", ")
		if allowed == "" {
			allowed = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
		}
		c.header["Allow"] = []string{allowed}
		return nil, tenant.Refuse(tenant.NoMethod, "This path has "+allowed+".")
	}
	if g.MaxBody > 0 && c.ContentLength > g.MaxBody {
		return nil, g.tooLarge() // before anybody is told to go on sending
	}
	return proxied{d.Degraded}, nil
}

func (g *gatewayService) tooLarge() error {
	return tenant.Refuse(tenant.TooLarge, fmt.Sprintf("A request body may have at most %d bytes.", g.MaxBody))
}

func (s *Server) decideCall(c *call, kind string) (*admission.Decision, error) {
	if c.refused == admission.Unreachable {
		return s.admission.Unknown(kind, &admission.Decision{}), nil
	}
	d, err := s.admission.Decide(c.Context(), admission.Request{Kind: kind, AccountID: c.actor.AccountID})
	if err == nil && c.refused != "" && d.Allowed() {
		d.Reason = c.refused
	}
	return d, err
}

// proxied is the answer of a service, which is yet to be asked. Degraded is
// admission's.
type proxied struct{ degraded bool }

// proxy passes a request on and its answer back, as both come. The error is that of
// a service that gave no answer; a later one breaks the connection.
func (s *Server) proxy(w http.ResponseWriter, c *call, p proxied) (failed error) {
	g := c.operation.service
	ctx, cancel := context.WithCancelCause(c.Context())
	defer cancel(nil)
	control := http.NewResponseController(w)
	// Whoever sends a body is watched in another way from here on, and may go on while
	// the service answers.
	control.SetReadDeadline(time.Time{})
	up := &upload{control: control, timeout: g.Timeout, cancel: cancel}
	up.timer = time.AfterFunc(g.Timeout, up.late)
	defer up.end()
	in := c.WithContext(ctx)
	if c.ContentLength != 0 {
		control.EnableFullDuplex()
		up.body = c.Body
		if g.MaxBody > 0 {
			up.body = http.MaxBytesReader(w, c.Body, g.MaxBody)
		}
		in.Body = up
	}
	down := &download{ResponseWriter: w, control: control}
	own := maps.Clone(c.header)
	broken := true
	defer func() {
		if !broken {
			return
		}
		// Half an answer is out, and the connection breaks.
		if c.status = http.StatusBadGateway; down.lost || c.Context().Err() != nil {
			c.status = statusGone
			return
		}
		s.logRefusal(c, errors.New("the answer broke off"))
	}()
	(&httputil.ReverseProxy{
		Transport: g.transport, FlushInterval: -1, BufferPool: buffers{}, ErrorLog: log.New(io.Discard, "", 0),
		Rewrite: func(r *httputil.ProxyRequest) { s.rewrite(c, r, p.degraded) },
		ModifyResponse: func(answer *http.Response) error {
			switch {
			case answer.StatusCode < 200 && answer.StatusCode != http.StatusSwitchingProtocols:
				return fmt.Errorf("it answered with status %d", answer.StatusCode)
			case answer.StatusCode == http.StatusSwitchingProtocols && answer.Request.Header.Get("Upgrade") == "":
				return errors.New("it switched protocols, which nobody asked for")
			}
			up.answered()
			c.status = int32(answer.StatusCode)
			cleanAnswer(answer.Header)
			cleanAnswer(answer.Trailer)
			// What an interim answer left, and what we say ourselves, is said by us.
			clear(c.header)
			maps.Copy(answer.Header, own)
			up.mayClose(c, answer.Header)
			if answer.StatusCode != http.StatusSwitchingProtocols {
				answer.Body = &trailers{answer.Body, answer}
			}
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) { failed = up.blame(c, err) },
	}).ServeHTTP(down, in)
	broken = false
	if failed != nil {
		clear(c.header)
		maps.Copy(c.header, own)
		up.mayClose(c, c.header)
		if !again(c.Request, failed) {
			c.header["X-Should-Retry"] = []string{"false"}
		}
	}
	return failed
}

// again reports whether a request that failed may be sent again by an SDK that knows
// nothing of it: that it was not done, or may be done twice.
func again(r *http.Request, err error) bool {
	switch r.Method {
	case http.MethodPost, http.MethodPatch:
		var dial *net.OpError
		return r.Header.Get("Idempotency-Key") != "" || errors.As(err, &dial) && dial.Op == "dial"
	}
	return true
}

// rewrite makes the request that the service gets: without the caller's secrets, and
// with who the caller is.
func (s *Server) rewrite(c *call, r *httputil.ProxyRequest, degraded bool) {
	g, out := c.operation.service, r.Out
	rest := r.In.URL.EscapedPath()
	if g.StripPrefix {
		rest = rest[len(g.Path):]
	}
	escaped := g.base + rest
	if escaped == "" {
		escaped = "/"
	}
	decoded, err := url.PathUnescape(escaped)
	if err != nil {
		decoded = escaped
	}
	out.URL = &url.URL{Scheme: g.target.Scheme, Host: g.target.Host, Path: decoded, RawPath: escaped, RawQuery: out.URL.RawQuery}
	out.Host = ""
	out.Trailer = nil
	for name := range out.Header {
		if withheld(name) {
			delete(out.Header, name)
		}
	}
	// Another protocol than WebSocket, such as HTTP/2, could ask for whatever it likes.
	if upgrade, ok := out.Header["Upgrade"]; ok && (len(upgrade) != 1 || !strings.EqualFold(upgrade[0], "websocket")) {
		out.Header.Del("Upgrade")
		out.Header.Del("Connection")
	}

	peer, _ := netip.ParseAddrPort(r.In.RemoteAddr)
	behind := s.trusted(peer.Addr().Unmap())
	if behind {
		out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
	}
	r.SetXForwarded()
	if proto := r.In.Header.Get("X-Forwarded-Proto"); behind && (proto == "http" || proto == "https") {
		out.Header.Set("X-Forwarded-Proto", proto)
	}
	if g.StripPrefix {
		out.Header.Set("X-Forwarded-Prefix", g.Path)
	}
	set := func(name, value string) {
		if value != "" {
			out.Header[name] = []string{value}
		}
	}
	set("X-Request-Id", c.requestID)
	set("X-Tenantry-Account", c.actor.AccountID)
	set("X-Tenantry-User", c.actor.UserID)
	set("X-Tenantry-Manager", c.actor.ManagerID)
	if c.actor.Owner() {
		set("X-Tenantry-Permissions", "*")
	} else {
		set("X-Tenantry-Permissions", strings.Join(slices.Compact(slices.Sorted(slices.Values(c.actor.Permissions))), ","))
	}
	if degraded {
		set("X-Tenantry-Degraded", "true")
	}
	if c.span != nil {
		propagation.TraceContext{}.Inject(c.Context(), propagation.HeaderCarrier(out.Header))
	}
	for name, value := range g.Headers {
		set(name, value.text)
	}
}

// withheld are headers of a caller that no service gets: secrets, what we say
// ourselves, and what some take for another path, method or peer. Many services
// read _ as -.
func withheld(name string) bool {
	if strings.ContainsAny(name, "_.") {
		name = textproto.CanonicalMIMEHeaderKey(strings.NewReplacer("_", "-", ".", "-").Replace(name))
	}
	switch name {
	case "Authorization", "X-Api-User", "X-Api-Token", "Cookie", "X-Request-Id", "Forwarded", "X-Real-Ip", "Proxy", "Http2-Settings",
		"X-Original-Url", "X-Rewrite-Url", "X-Http-Method-Override", "X-Http-Method", "X-Method-Override":
		return true
	}
	return strings.HasPrefix(name, "X-Tenantry-") || strings.HasPrefix(name, "X-Forwarded-")
}

// cleanAnswer takes off the headers that only we say, and cookies: they would be
// those of this API, and no service is sent any.
func cleanAnswer(header http.Header) {
	for name := range header {
		plain := textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(name, "_", "-"))
		if strings.HasPrefix(plain, "X-Tenantry-") || plain == "Set-Cookie" {
			delete(header, name)
		}
	}
}

// trailers is the body of an answer whose trailers are cleaned once they are there.
type trailers struct {
	io.ReadCloser
	answer *http.Response
}

func (t *trailers) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if err == io.EOF {
		cleanAnswer(t.answer.Trailer)
	}
	return n, err
}

// buffers are for copying.
type buffers struct{}

var bufferPool = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// Get implements httputil.BufferPool.
func (buffers) Get() []byte { return bufferPool.Get().(*[32 << 10]byte)[:] }

// Put implements httputil.BufferPool.
func (buffers) Put(b []byte) { bufferPool.Put((*[32 << 10]byte)(b)) }

// download is the client's side of an answer.
type download struct {
	http.ResponseWriter
	control *http.ResponseController
	lost    bool // the client
}

// Unwrap is for http.ResponseController.
func (d *download) Unwrap() http.ResponseWriter { return d.ResponseWriter }

// WriteHeader keeps interim answers back: there may be anything in their headers.
func (d *download) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		d.ResponseWriter.WriteHeader(status)
	}
}

// Write gives the client streamPause for each piece, and not for the whole.
func (d *download) Write(p []byte) (int, error) {
	d.control.SetWriteDeadline(time.Now().Add(streamPause))
	n, err := d.ResponseWriter.Write(p)
	d.lost = d.lost || err != nil
	return n, err
}

// upload is the client's side of a request until the service answers. It ends one
// that makes no headway, and knows whose fault that was.
type upload struct {
	body    io.Reader // nil for none
	control *http.ResponseController
	timeout time.Duration
	cancel  context.CancelCauseFunc

	mu    sync.Mutex
	timer *time.Timer
	// reading: somebody waits for the client; done: nobody reads any more; began: the
	// answer did; tooLate: the time was over; stalled: as the client was waited for.
	reading, done, began, tooLate, stalled bool
	failed                                 error // of the last Read, io.EOF for the end
}

// long ago is over at once.
var longAgo = time.Unix(1, 0)

// Read implements io.Reader.
func (u *upload) Read(p []byte) (int, error) {
	u.mu.Lock()
	if u.done {
		u.mu.Unlock()
		return 0, http.ErrBodyReadAfterClose
	}
	u.reading = true
	u.mu.Unlock()
	n, err := u.body.Read(p)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.reading, u.failed = false, err
	if !u.began && !u.done && !u.tooLate {
		u.timer.Reset(u.timeout)
	}
	return n, err
}

// Close implements io.Closer; the server closes the body itself.
func (u *upload) Close() error { return nil }

// late ends the request.
func (u *upload) late() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.began || u.done {
		return
	}
	u.tooLate, u.stalled = true, u.reading
	if u.stalled {
		u.control.SetReadDeadline(longAgo)
	}
	u.cancel(context.DeadlineExceeded)
}

// answered stops the clock: an answer may take as long as it likes.
func (u *upload) answered() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.began = true
	u.timer.Stop()
}

// mayClose has the connection closed after an answer that begins before the body has
// ended: net/http could take what is left of the body for the next request.
func (u *upload) mayClose(c *call, header http.Header) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.body != nil && u.failed != io.EOF && c.ProtoMajor == 1 {
		header["Connection"] = []string{"close"}
	}
}

// end sees to it that nobody reads any more, and that the rest of a body is not
// waited for without end.
func (u *upload) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.timer.Stop()
	u.done = true
	switch {
	case u.reading:
		u.control.SetReadDeadline(longAgo)
	case u.body != nil && u.failed == nil:
		u.control.SetReadDeadline(time.Now().Add(bodyTime))
	}
}

// blame makes a refusal of what went wrong.
func (u *upload) blame(c *call, err error) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	var large *http.MaxBytesError
	badBody := tenant.Refuse(tenant.Malformed, "The request body could not be read.")
	switch {
	case u.stalled:
		return badBody
	case c.Context().Err() != nil:
		return fmt.Errorf("the client has gone: %w", c.Context().Err())
	case errors.As(u.failed, &large):
		return c.operation.service.tooLarge()
	case u.failed != nil && u.failed != io.EOF:
		return badBody
	case u.tooLate:
		return fmt.Errorf("%w: %v", tenant.Refuse(tenant.GatewayTimeout, ""), err)
	}
	return fmt.Errorf("%w: %w", tenant.Refuse(tenant.BadGateway, ""), err)
}
