package portal

import (
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/signon"
	"github.com/tenantry/tenantry/internal/tenant"
)

const (
	signOnPath     = Prefix + "single-sign-on"
	signOnAskPath  = Prefix + "sso"
	signOnBackPath = Prefix + "sso/callback"
)

var signOnRoutes = []Route{
	{"ask for organization", "GET " + signOnAskPath, Anybody, (*Portal).askOrganization},
	{"start single sign-on", "GET " + Prefix + "sso/start/{id}", Anybody, (*Portal).startSignOn},
	{"end single sign-on", "GET " + signOnBackPath, Anybody, (*Portal).endSignOn},
	{"single sign-on", "GET " + signOnPath, Need(tenant.ManageSignOn), (*Portal).showSignOn},
	{"set single sign-on", "POST " + signOnPath, Need(tenant.ManageSignOn), (*Portal).setSignOn},
	{"remove single sign-on", "POST " + signOnPath + "/remove", Need(tenant.ManageSignOn), (*Portal).removeSignOn},
}

// signOnStart is where a person goes to sign in elsewhere: a link, for browsers do not
// let a form lead to another site.
func signOnStart(organizationID, next string) string {
	to := Prefix + "sso/start/" + url.PathEscape(organizationID)
	if next != Prefix {
		to += "?next=" + url.QueryEscape(next)
	}
	return to
}

// underway is a sign-in elsewhere, as the browser keeps it, sealed.
type underway struct {
	signon.State
	Next string
}

const underwayTime = 10 * time.Minute

func (p *Portal) redirectURL() string { return p.options.URL + signOnBackPath }

// askOrganization is for who does not have the organization's own link.
func (p *Portal) askOrganization(v *visit) (any, error) {
	if id := v.query("organization"); id != "" {
		if !tenant.IsUUID(id) {
			v.problem = &problem{status: http.StatusUnprocessableEntity, field: "organization", text: "An organization id looks like 0195f3a2-7c1e-7d1f-9a51-0d6f9ad0c001."}
		} else {
			return onward(v, signOnStart(id, Prefix)), nil
		}
	}
	return page{template: "sso", title: "Single sign-on", data: v.query("organization")}, nil
}

// onward answers a form whose way leads to a sign-in server, where no redirect of it may.
func onward(v *visit, to string) page {
	v.w.Header().Set("Refresh", "0; url="+to)
	return page{template: "onward", title: "On to your sign-in server", data: to}
}

// startSignOn answers alike for an organization that nobody has and for one whose
// people sign in here.
func (p *Portal) startSignOn(v *visit) (any, error) {
	none := redirect{to: signInPath, notice: "No single sign-on is set up for this organization. Ask its owner.", bad: true}
	if p.options.Issuers == nil || p.options.URL == "" {
		return none, nil
	}
	settings, _, err := p.service.SignOnOf(v.Context(), v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if settings == nil {
		return none, nil
	}
	if !v.meant() {
		return p.askFirst(v, settings)
	}
	to, state, err := p.options.Issuers.Begin(v.Context(), settings, p.redirectURL())
	if err != nil {
		return p.notSignedOn(err)
	}
	text, err := json.Marshal(underway{state, local(v.URL.Query().Get("next"))})
	if err != nil {
		return nil, err
	}
	sealed := p.sealer.Seal(text, "single sign-on under way")
	remember(v.w, signOnCookie, base64.RawURLEncoding.EncodeToString([]byte(sealed)), underwayTime)
	return redirect{to: to}, nil
}

// meant reports whether the person wants to sign in there: a page of another site may
// have led here, and the issuer is whom some tenant says, so that who has signed in
// already would find himself signed in as somebody else.
func (v *visit) meant() bool {
	site := v.Header.Get("Sec-Fetch-Site")
	if v.query("sure") != "" && (site == "same-origin" || site == "") {
		return true
	}
	signedIn := cookie(v.Request, sessionCookie) != "" || cookie(v.Request, actingCookie) != ""
	return !signedIn && (site == "same-origin" || site == "none")
}

// askedFirst is what the page shows that asks.
type askedFirst struct {
	Organization, Issuer string
	// Go is where it goes on.
	Go string
	// SignedIn is who has signed in here, "" for nobody.
	SignedIn string
}

func (p *Portal) askFirst(v *visit, settings *tenant.SignOn) (any, error) {
	account, err := p.anyAccount(v, settings.AccountID)
	if err != nil {
		return nil, err
	}
	q := url.Values{"sure": {"1"}}
	if next := local(v.URL.Query().Get("next")); next != Prefix {
		q.Set("next", next)
	}
	asked := askedFirst{Organization: account.OrganizationName, Issuer: settings.Issuer, Go: signOnStart(settings.AccountID, Prefix) + "?" + q.Encode()}
	if p.identify(v) == nil {
		asked.SignedIn = v.in.User.Email
		v.in = nil // the page is as for anybody
	}
	return page{template: "sso-first", title: "Single sign-on", data: asked}, nil
}

func (p *Portal) notSignedOn(err error) (any, error) {
	for _, kind := range []tenant.Kind{tenant.Unauthenticated, tenant.Unavailable, tenant.Conflict, tenant.Inactive, tenant.Blocked, tenant.Forbidden} {
		if tenant.IsKind(err, kind) {
			return redirect{to: signInPath, notice: err.Error(), bad: true}, nil
		}
	}
	return nil, err
}

func (p *Portal) endSignOn(v *visit) (any, error) {
	kept := cookie(v.Request, signOnCookie)
	forget(v.w, signOnCookie)
	var u underway
	sealed, err := base64.RawURLEncoding.DecodeString(kept)
	if err == nil {
		var text []byte
		if text, err = p.sealer.Open(string(sealed), "single sign-on under way"); err == nil {
			err = json.Unmarshal(text, &u)
		}
	}
	if kept == "" || err != nil || p.options.Issuers == nil {
		return redirect{to: signInPath, notice: "This sign-in was not begun in this browser, or took too long. Try again.", bad: true}, nil
	}
	settings, secret, err := p.service.SignOnOf(v.Context(), u.AccountID)
	if err != nil {
		return nil, err
	}
	if settings == nil {
		return redirect{to: signInPath, notice: "No single sign-on is set up for this organization any more.", bad: true}, nil
	}
	verified, err := p.options.Issuers.Finish(v.Context(), settings, secret, p.redirectURL(), u.State, v.URL.Query())
	if err != nil {
		return p.notSignedOn(err)
	}
	session, err := p.service.SSOSignIn(v.Context(), u.AccountID, verified, p.where(v), v.requestID)
	if err != nil {
		return p.notSignedOn(err)
	}
	remember(v.w, homeCookie, u.AccountID, 365*24*time.Hour)
	return p.enter(v, session, local(u.Next)), nil
}

type signOnSettings struct {
	*tenant.SignOn
	// Ready says that the operator has made single sign-on possible.
	Ready bool
	// Link is for the organization's people, Redirect for the sign-in server.
	Link, Redirect string
}

func (p *Portal) showSignOn(v *visit) (any, error) {
	settings, err := p.service.SignOn(v.Context(), v.actor)
	if err != nil {
		return nil, err
	}
	shown := signOnSettings{
		SignOn: settings, Ready: p.options.Issuers != nil && p.options.URL != "",
		Link: p.options.URL + signOnStart(v.actor.AccountID, Prefix), Redirect: p.redirectURL(),
	}
	return page{template: "single-sign-on", title: "Single sign-on", data: shown}, nil
}

func (p *Portal) setSignOn(v *visit) (any, error) {
	in := service.NewSignOn{
		Issuer: v.text("issuer"), ClientID: v.text("client_id"), Required: v.checked("required"),
		Domains: strings.FieldsFunc(v.text("domains"), func(r rune) bool { return strings.ContainsRune(", ;\n\t", r) }),
	}
	if secret := v.text("client_secret"); secret != "" {
		in.Secret = &secret
	}
	// One that is down must not keep anybody from changing the rest.
	before, err := p.service.SignOn(v.Context(), v.actor)
	if err != nil {
		return nil, err
	}
	if p.options.Issuers != nil && in.Issuer != "" && (before == nil || before.Issuer != in.Issuer) {
		if err := p.options.Issuers.Check(v.Context(), in.Issuer); err != nil {
			return p.again(v, err, (*Portal).showSignOn)
		}
	}
	if err := p.service.SetSignOn(v.Context(), v.actor, in); err != nil {
		return p.again(v, err, (*Portal).showSignOn)
	}
	return redirect{to: signOnPath, notice: "Single sign-on is set. Try it in another browser before you sign out here."}, nil
}

func (p *Portal) removeSignOn(v *visit) (any, error) {
	if err := p.service.RemoveSignOn(v.Context(), v.actor); err != nil {
		return p.again(v, err, (*Portal).showSignOn)
	}
	return redirect{to: signOnPath, notice: "Single sign-on is off: everybody needs a password."}, nil
}

// loopback reports whether a Host header names this machine itself.
func loopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}
