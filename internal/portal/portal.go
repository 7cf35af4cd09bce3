// Package portal is mission control: pages for account owners, their users,
// managers and the operator. They are rendered here and work without scripts, which
// only make them quicker to use.
//
// A page is a row in Routes: what it needs is checked before its handler runs, and
// the menu is made of the same table. A change is a POST that ends in a redirect, or
// in the page that it came from with what was wrong; only what is shown once, such as a
// new key, is its own answer.
package portal

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"runtime/debug"
	"strings"
	"time"

	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/mail"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/signon"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// Prefix is what the paths of all pages begin with.
const Prefix = "/portal/"

// Options tune a Portal. Address, NewRequestID, Allow and Status are required: they are
// those of the API, so that both tell the same.
type Options struct {
	// URL is where people find the installation, without a slash at the end: sign-in
	// servers of organizations send them back there. "" means no single sign-on.
	URL string
	// Product is the name that pages show; "" means Tenantry.
	Product string
	// Mails are shown to everybody who asks, for a stand-in; nil where mail is sent.
	Mails *mail.Memory
	// Issuers asks the sign-in servers of organizations; nil means no single sign-on.
	Issuers *signon.Issuers
	// Address is where a request comes from.
	Address func(*http.Request) string
	// NewRequestID is the x-request-id of one more answer.
	NewRequestID func() string
	// Allow counts one more request of a session or, where nobody has signed in, an
	// address, or refuses it.
	Allow func(who string) error
	// Status is the HTTP status of a kind of refusal.
	Status func(tenant.Kind) int
	// Observe is asked once for each of Operations and told of each request; nil for
	// nobody.
	Observe func(operation string) func(status int, took time.Duration)
	// Logger hears of faults; nil means the default.
	Logger *slog.Logger
}

// Portal answers below Prefix, and sends there who comes to what is above. It is an
// http.Handler.
type Portal struct {
	service *service.Service
	auth    *auth.Authenticator
	sealer  *auth.Sealer
	source  *tenant.Source
	options Options
	log     *slog.Logger
	mux     *http.ServeMux
	origin  *http.CrossOriginProtection
	assets  assets
	pages   pages
	// observed are told of what each of Operations did.
	observed []func(status int, took time.Duration)
}

// Operations are what metrics tell apart: looking at pages, and changes.
var Operations = []string{"portal_page", "portal_change"}

// New makes a portal over its parts.
func New(db *store.DB, s *service.Service, a *auth.Authenticator, sealer *auth.Sealer, o Options) (*Portal, error) {
	if o.Product == "" {
		o.Product = "Tenantry"
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	p := &Portal{
		service: s, auth: a, sealer: sealer, source: db.Source(), options: o, log: o.Logger,
		mux: http.NewServeMux(), origin: http.NewCrossOriginProtection(), assets: loadAssets(),
	}
	if o.URL != "" {
		u, err := url.Parse(o.URL)
		if err != nil {
			return nil, err
		}
		// A proxy may ask for another host than the browser does.
		if err := p.origin.AddTrustedOrigin(u.Scheme + "://" + u.Host); err != nil {
			return nil, err
		}
	}
	for _, operation := range Operations {
		observe := func(int, time.Duration) {}
		if o.Observe != nil {
			observe = o.Observe(operation)
		}
		p.observed = append(p.observed, observe)
	}
	var err error
	if p.pages, err = p.loadPages(); err != nil {
		return nil, err
	}
	for _, r := range Routes {
		p.mux.Handle(r.Pattern, p.handler(r))
	}
	front := p.handler(Route{Name: "front", Need: Anybody, handle: func(*Portal, *visit) (any, error) { return redirect{to: Prefix}, nil }})
	p.mux.Handle("/{$}", front)
	p.mux.Handle(strings.TrimSuffix(Prefix, "/"), front)
	p.mux.Handle(Prefix, p.handler(Route{Name: "unknown", Need: Anybody, handle: (*Portal).unknown}))
	return p, nil
}

// unknown is no page. A change that was refused, though, was answered at its own
// address: who loads that again gets the page it belongs to.
func (p *Portal) unknown(v *visit) (any, error) {
	_, pattern := p.mux.Handler(&http.Request{Method: http.MethodPost, URL: v.URL, Host: v.Host})
	if v.Method != http.MethodGet || pattern == Prefix {
		// The menu is there all the same, for who has one.
		if !within(v.URL.Path, operatorPath) || p.admitOperator(v) != nil {
			_ = p.identify(v)
		}
		return nil, tenant.Refuse(tenant.NotFound, "")
	}
	for at := path.Dir(v.URL.Path); len(at) > len(Prefix); at = path.Dir(at) {
		if _, pattern := p.mux.Handler(&http.Request{Method: http.MethodGet, URL: &url.URL{Path: at}, Host: v.Host}); pattern != Prefix && pattern != "" {
			return redirect{to: (&url.URL{Path: at}).String()}, nil
		}
	}
	return redirect{to: Prefix}, nil
}

func (p *Portal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.secure(w, r)
	p.mux.ServeHTTP(w, r) // which answers by itself where a path is not clean
}

// visit is one request on its way to a page.
type visit struct {
	*http.Request
	w         http.ResponseWriter
	route     Route
	requestID string
	// in is who has signed in; nil for nobody, and for the operator.
	in *auth.SignedIn
	// operator is the operator's session.
	operator *store.Session
	// actor is who asks, as the use cases want it.
	actor tenant.Actor
	// problem is what was wrong with the form that is shown again; nil for nothing.
	problem *problem
	status  int
}

const (
	// mostForm is the largest form, in bytes: a thousand ids fit in.
	mostForm = 256 << 10
	formTime = 15 * time.Second
)

func (p *Portal) handler(route Route) http.HandlerFunc {
	observe := p.observed[0]
	if strings.HasPrefix(route.Pattern, "POST ") {
		observe = p.observed[1]
	}
	return func(w http.ResponseWriter, r *http.Request) {
		v := &visit{Request: r, w: w, route: route, requestID: w.Header().Get("X-Request-Id"), status: http.StatusOK}
		began := time.Now()
		defer func() { observe(v.status, time.Since(began)) }()
		defer func() {
			if e := recover(); e != nil {
				if e == http.ErrAbortHandler {
					panic(e)
				}
				p.log.Error("a page panicked", "request_id", v.requestID, "page", route.Name, "panic", e, "stack", string(debug.Stack()))
				p.fail(v, errors.New("panic"))
			}
		}()
		answer, err := p.answer(v)
		if err == nil {
			err = p.write(v, answer)
		}
		if err != nil {
			p.fail(v, err)
		}
	}
}

// secure sets what every answer has. Pages are for one person and never kept.
func (p *Portal) secure(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Request-Id", p.options.NewRequestID())
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("Cache-Control", "no-store")
	if r.TLS != nil || strings.HasPrefix(p.options.URL, "https:") {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

func (p *Portal) answer(v *visit) (any, error) {
	if err := p.origin.Check(v.Request); err != nil {
		return nil, tenant.Refuse(tenant.Forbidden, "This came from another site, and nothing was done.")
	}
	// Who shows no session that lasts is counted by the address.
	refused := p.admit(v)
	who := v.actor.CredentialID
	if who == "" {
		who = "portal " + p.options.Address(v.Request)
	}
	if err := p.options.Allow(who); err != nil {
		return nil, err
	}
	if refused != nil {
		return nil, refused
	}
	if v.Method == http.MethodPost {
		if err := v.readForm(); err != nil {
			return nil, err
		}
		if shown := v.text(shownField); v.in != nil && shown != "" && shown != v.person() {
			return nil, tenant.Refuse(tenant.Conflict, "Somebody else has signed in here since this page was shown, or you act for somebody else now. Nothing was done.")
		}
	}
	return v.route.handle(p, v)
}

// shownField is in every form, and says for whom the page was shown: one that was left
// open does nothing in the name of who has signed in since.
const shownField = "shown_to"

// person is who has signed in, and who acts as that one.
func (v *visit) person() string {
	if v.in == nil {
		return ""
	}
	return v.in.UserID + v.in.PersonUserID
}

func (v *visit) readForm() error {
	kind, _, _ := strings.Cut(v.Header.Get("Content-Type"), ";")
	if kind != "" && !strings.EqualFold(strings.TrimSpace(kind), "application/x-www-form-urlencoded") {
		return tenant.RefuseParameter(tenant.MediaType, "Content-Type", "A form must be application/x-www-form-urlencoded.")
	}
	control := http.NewResponseController(v.w)
	control.SetReadDeadline(time.Now().Add(formTime))
	v.Body = http.MaxBytesReader(v.w, v.Body, mostForm)
	err := v.ParseForm()
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return tenant.Refuse(tenant.TooLarge, "The form is too large.")
	}
	if err != nil {
		return tenant.Refuse(tenant.Malformed, "The form could not be read.")
	}
	control.SetReadDeadline(time.Time{})
	for _, values := range v.PostForm {
		for i, value := range values {
			if strings.Contains(value, "\x00") {
				return tenant.Refuse(tenant.Malformed, "The form could not be read.")
			}
			values[i] = strings.ToValidUTF8(strings.ReplaceAll(value, "\r\n", "\n"), "\ufffd")
		}
	}
	return nil
}

// text is a field of the form without the space around it.
func (v *visit) text(name string) string { return strings.TrimSpace(v.PostForm.Get(name)) }

// checked reports whether a box of the form was ticked.
func (v *visit) checked(name string) bool { return v.PostForm.Get(name) != "" }

// query is a parameter of the URL as it can be looked for.
func (v *visit) query(name string) string {
	return strings.TrimSpace(strings.ToValidUTF8(strings.ReplaceAll(v.URL.Query().Get(name), "\x00", ""), ""))
}

func (p *Portal) where(v *visit) service.Where {
	return service.Where{Address: p.options.Address(v.Request), UserAgent: v.UserAgent()}
}

// signInNeeded sends who is not signed in, or not any more, to the page where that
// is mended.
type signInNeeded struct {
	// why is "" where nobody was signed in.
	why string
	// acting says that a session as somebody else's owner has ended, and the person's
	// own goes on.
	acting bool
}

func (e *signInNeeded) Error() string { return e.why }

// admit finds out who asks, and refuses what the page does not want.
func (p *Portal) admit(v *visit) error {
	switch v.route.Need {
	case Anybody:
		return nil
	case Operator:
		return p.admitOperator(v)
	}
	if err := p.identify(v); err != nil {
		return err
	}
	if !v.route.Need.allows(v.actor) {
		return tenant.RefuseParameter(tenant.Forbidden, "Cookie", "")
	}
	return nil
}

func (p *Portal) admitOperator(v *visit) error {
	token := cookie(v.Request, operatorCookie)
	if token == "" {
		return &signInNeeded{}
	}
	session, err := p.auth.OperatorSignedIn(v.Context(), token)
	if err != nil {
		return over(err)
	}
	v.operator = session
	v.actor = tenant.Actor{Operator: true, CredentialID: "operator", RequestID: v.requestID}
	return nil
}

// identify is by the session in which a person acts as somebody else's owner, or else
// by the person's own.
func (p *Portal) identify(v *visit) error {
	for _, name := range []string{actingCookie, sessionCookie} {
		token := cookie(v.Request, name)
		if token == "" {
			continue
		}
		in, err := p.auth.SignedIn(v.Context(), token)
		if err != nil {
			err = over(err)
			if ended, ok := err.(*signInNeeded); ok {
				ended.acting = name == actingCookie
			}
			return err
		}
		v.in, v.actor = in, in.Actor
		v.actor.RequestID = v.requestID
		return nil
	}
	return &signInNeeded{}
}

// over is what a refused session comes to: its reason, to be shown where one signs in.
func over(err error) error {
	for _, kind := range []tenant.Kind{tenant.Unauthenticated, tenant.Inactive, tenant.Blocked} {
		if !tenant.IsKind(err, kind) {
			continue
		}
		refused, _ := errors.AsType[*tenant.Error](err)
		if refused.Detail == "" && kind == tenant.Unauthenticated {
			return &signInNeeded{why: "Your session is over. Sign in again."}
		}
		return &signInNeeded{why: refused.Error()}
	}
	return err
}

// fail answers with what went wrong.
func (p *Portal) fail(v *visit, err error) {
	var needed *signInNeeded
	if errors.As(err, &needed) {
		p.sendToSignIn(v, needed)
		return
	}
	status, text := http.StatusInternalServerError, "Something went wrong here. Tell the operator the request id "+v.requestID+"."
	if refused, ok := errors.AsType[*tenant.Error](err); ok {
		status, text = p.options.Status(refused.Kind), refused.Error()
	} else if v.Context().Err() != nil || errors.Is(err, context.Canceled) {
		status, text = http.StatusServiceUnavailable, "The request was given up."
	}
	if status >= 500 && v.Context().Err() == nil {
		p.log.Error("a page failed", "request_id", v.requestID, "page", v.route.Name, "status", status, "error", err)
	}
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		v.w.Header().Set("Retry-After", "2")
	}
	if err := p.write(v, page{template: "problem", title: http.StatusText(status), status: status, data: text}); err != nil {
		p.log.Error("a page failed", "request_id", v.requestID, "error", err)
	}
}

func (p *Portal) sendToSignIn(v *visit, needed *signInNeeded) {
	to, over := redirect{to: signInPath}, sessionCookie
	if v.route.Need == Operator {
		to.to, over = operatorSignInPath, operatorCookie
	}
	switch {
	case needed.acting:
		forget(v.w, actingCookie)
		to = redirect{to: Prefix, notice: "You act for the other account no longer. " + strings.TrimSuffix(needed.why, " Sign in again."), bad: true}
	case needed.why != "":
		forget(v.w, over)
		to.notice, to.bad = needed.why, true
	}
	if next := v.URL.RequestURI(); v.Method == http.MethodGet && !needed.acting && next != Prefix {
		to.to += "?next=" + url.QueryEscape(next)
	}
	p.write(v, to)
}
