package portal

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

const (
	signInPath         = Prefix + "sign-in"
	codePath           = Prefix + "sign-in/code"
	signOutPath        = Prefix + "sign-out"
	operatorSignInPath = Prefix + "operator/sign-in"
	mailsPath          = Prefix + "mails"
)

var signInRoutes = []Route{
	{"sign in", "GET " + signInPath, Anybody, (*Portal).showSignIn},
	{"sign in", "POST " + signInPath, Anybody, (*Portal).signIn},
	{"code", "GET " + codePath, Anybody, (*Portal).showCode},
	{"code", "POST " + codePath, Anybody, (*Portal).enterCode},
	{"sign out", "POST " + signOutPath, Anybody, (*Portal).signOut},
	{"operator sign in", "GET " + operatorSignInPath, Anybody, (*Portal).showOperatorSignIn},
	{"operator sign in", "POST " + operatorSignInPath, Anybody, (*Portal).operatorSignIn},
	{"mails", "GET " + mailsPath, Anybody, (*Portal).mails},
}

// signInForm is what the page shows beside its fields.
type signInForm struct {
	Next string
	// Organization is the one that a link named, or whose single sign-on this browser
	// used last; "" for none.
	Organization string
	// SignOn is where its people sign in elsewhere.
	SignOn string
	// Mails says that there is a page with mails.
	Mails bool
	// Insecure says that browsers will not keep anybody signed in here.
	Insecure bool
}

func (p *Portal) showSignIn(v *visit) (any, error) {
	form := signInForm{
		Next: local(v.URL.Query().Get("next")), Organization: v.query("organization"), Mails: p.options.Mails != nil,
		Insecure: v.TLS == nil && !loopback(v.Host) && v.Header.Get("X-Forwarded-Proto") != "https",
	}
	if v.Method == http.MethodPost {
		form.Next, form.Organization = local(v.text("next")), v.text("organization_id")
	}
	if home := cookie(v.Request, homeCookie); home != "" && tenant.IsUUID(home) {
		form.SignOn = signOnStart(home, form.Next)
	}
	return page{template: "sign-in", title: "Sign in", data: form}, nil
}

func (p *Portal) signIn(v *visit) (any, error) {
	email, password := v.text("email"), v.PostForm.Get("password")
	switch {
	case email == "":
		return p.again(v, tenant.RefuseField(tenant.Missing, "email", "Your email address is needed."), (*Portal).showSignIn)
	case password == "":
		return p.again(v, tenant.RefuseField(tenant.Missing, "password", "Your password is needed."), (*Portal).showSignIn)
	}
	session, err := p.service.SignIn(v.Context(), service.SignIn{
		Email: email, Password: password, OrganizationID: v.text("organization_id"), Kind: store.PortalSession,
		Where: p.where(v), RequestID: v.requestID,
	})
	if err != nil {
		if tenant.IsKind(err, tenant.Unauthenticated) {
			err = tenant.RefuseField(tenant.Unauthenticated, "password", "Email address or password is wrong.")
		}
		return p.again(v, err, (*Portal).showSignIn)
	}
	next := local(v.text("next"))
	if session.Kind == store.PendingSession {
		remember(v.w, pendingCookie, session.Token, session.ExpiresAt.Sub(p.source.Now()))
		return redirect{to: codePath + "?next=" + url.QueryEscape(next)}, nil
	}
	return p.enter(v, session, next), nil
}

// enter goes on as who has signed in. What was signed in before in this browser ends.
func (p *Portal) enter(v *visit, session *service.Session, next string) redirect {
	for _, name := range []string{sessionCookie, actingCookie} {
		p.end(v, name)
	}
	forget(v.w, actingCookie) // whatever became of that session
	forget(v.w, pendingCookie)
	remember(v.w, sessionCookie, session.Token, 0)
	return redirect{to: next}
}

// end ends the session of a cookie, if it is one, and takes the cookie away.
func (p *Portal) end(v *visit, name string) error {
	token := cookie(v.Request, name)
	if token == "" {
		return nil
	}
	session, err := p.sessionOf(v, name, token)
	var ended *signInNeeded
	if err == nil {
		err = p.service.SignOut(v.Context(), *session)
	} else if errors.As(over(err), &ended) {
		err = nil
	}
	if err == nil {
		forget(v.w, name)
	}
	return err
}

func (p *Portal) sessionOf(v *visit, name, token string) (*store.Session, error) {
	switch name {
	case operatorCookie:
		return p.auth.OperatorSignedIn(v.Context(), token)
	case pendingCookie:
		return p.service.PendingSignIn(v.Context(), token)
	}
	in, err := p.auth.SignedIn(v.Context(), token)
	if err != nil {
		return nil, err
	}
	return &in.Session, nil
}

// codeForm is what the page for the second factor shows.
type codeForm struct{ Next string }

func (p *Portal) showCode(v *visit) (any, error) {
	if cookie(v.Request, pendingCookie) == "" {
		return redirect{to: signInPath}, nil
	}
	next := v.URL.Query().Get("next")
	if v.Method == http.MethodPost {
		next = v.text("next")
	}
	return page{template: "code", title: "Second factor", data: codeForm{local(next)}}, nil
}

func (p *Portal) enterCode(v *visit) (any, error) {
	token := cookie(v.Request, pendingCookie)
	if token == "" {
		return redirect{to: signInPath, notice: "It took too long. Sign in again.", bad: true}, nil
	}
	session, err := p.service.ConfirmSignIn(v.Context(), token, v.text("code"), p.where(v), v.requestID)
	if err != nil {
		return p.again(v, err, (*Portal).showCode)
	}
	return p.enter(v, session, local(v.text("next"))), nil
}

// What a form may ask to end.
const (
	endOperator = "operator"
	endActing   = "acting"
	endPending  = "pending"
)

// signOut ends what the form names, or else all sessions of the person's in this
// browser.
func (p *Portal) signOut(v *visit) (any, error) {
	names, to := []string{actingCookie, sessionCookie, pendingCookie}, redirect{to: signInPath, notice: "You are signed out."}
	switch v.text("end") {
	case endOperator:
		p.log.Info("the operator signed out at the portal", "request_id", v.requestID, "address", p.options.Address(v.Request))
		names, to.to = []string{operatorCookie}, operatorSignInPath
	case endPending:
		names = []string{pendingCookie}
	case endActing:
		names, to = []string{actingCookie}, redirect{to: Prefix}
		if in, err := p.auth.SignedIn(v.Context(), cookie(v.Request, actingCookie)); err == nil {
			to = redirect{to: accountPath(in.AccountID), notice: "You act for " + in.Account.OrganizationName + " no longer."}
		}
	}
	for _, name := range names {
		if err := p.end(v, name); err != nil {
			return nil, err
		}
	}
	return to, nil
}

func (p *Portal) showOperatorSignIn(v *visit) (any, error) {
	next := v.URL.Query().Get("next")
	if v.Method == http.MethodPost {
		next = v.text("next")
	}
	if next = local(next); next == Prefix {
		next = operatorPath
	}
	return page{template: "operator-sign-in", title: "Operator", data: codeForm{next}}, nil
}

func (p *Portal) operatorSignIn(v *visit) (any, error) {
	session, err := p.service.OperatorSignIn(v.Context(), v.text("token"), p.where(v), v.requestID)
	if err != nil {
		// There is no audit log of nobody's account.
		p.log.Warn("somebody was refused as the operator at the portal", "request_id", v.requestID, "address", p.options.Address(v.Request), "error", err)
		if tenant.IsKind(err, tenant.Unauthenticated) {
			err = tenant.RefuseField(tenant.Unauthenticated, "token", "That is not the operator's token.")
		}
		return p.again(v, err, (*Portal).showOperatorSignIn)
	}
	p.log.Info("the operator signed in at the portal", "request_id", v.requestID, "address", p.options.Address(v.Request))
	p.end(v, operatorCookie)
	remember(v.w, operatorCookie, session.Token, 0)
	next := local(v.text("next"))
	if next == Prefix {
		next = operatorPath
	}
	return redirect{to: next}, nil
}

// mails are what a stand-in would have sent.
func (p *Portal) mails(v *visit) (any, error) {
	if p.options.Mails == nil {
		return nil, tenant.Refuse(tenant.NotFound, "")
	}
	return page{template: "mails", title: "Mails", data: p.options.Mails.Mails()}, nil
}
