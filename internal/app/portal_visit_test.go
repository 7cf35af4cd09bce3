package app_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/tenantry/tenantry/internal/config"
	"github.com/tenantry/tenantry/internal/portal"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

const (
	sessionCookie  = "__Host-tenantry"
	actingCookie   = "__Host-tenantry-as"
	pendingCookie  = "__Host-tenantry-pending"
	operatorCookie = "__Host-tenantry-operator"
	noticeCookie   = "__Host-tenantry-notice"

	goodPassword  = "Correct!Horse7Battery"
	otherPassword = "Staple#Horse9Battery"
)

// The organizations of peopled: a manager, one that manages nothing, a managed account,
// and another manager.
const (
	managerID = "00000000-0000-7000-8000-000000000001"
	plainID   = "00000000-0000-7000-8000-000000000002"
	rivalID   = "00000000-0000-7000-8000-000000000003"
	managedID = "00000000-0000-7000-8000-000000000011"
)

// peopledSeed has somebody of each role; who has a password signs in in a test.
const peopledSeed = `
accounts:
  - id: ` + managerID + `
    business_name: Example Reseller
    email: manager@example.com
    password: ` + goodPassword + `
    api_key: KEY0PEOPLE0000000000000000000000001_aaaaaaaaaaaaaaaaaaaaaa
    api_token: people_manager_token_1
    balance: "1000.00"
    manager: {channel_pool: 500}
    managed_accounts:
      - id: ` + managedID + `
        business_name: Larry's Cat Food Inc
        email: larry@example.com
        password: ` + goodPassword + `
        api_key: KEY0PEOPLE0000000000000000000000011_aaaaaaaaaaaaaaaaaaaaaa
        api_token: people_larrys_token_11
        balance: "300.00"
        channel_limit: 30
        connections: [{name: Cattery, kind: credentials, usernames: [cattery]}]
        groups: [{id: 00000000-0000-7000-8000-0000000000b1, name: Cats, permissions: [reporting]}]
        users: [{id: 00000000-0000-7000-8000-0000000000a1, email: tom@example.com, groups: [Cats]}]
      - id: 00000000-0000-7000-8000-000000000013
        business_name: Sleeping Beauty Hotels
        email: hotels@example.net
        status: disabled
        users: [{id: 00000000-0000-7000-8000-0000000000a3, email: porter@example.net}]
      - {id: 00000000-0000-7000-8000-000000000015, business_name: Closed Shop, email: shop@example.net, status: cancelled}
    groups:
      - {id: 00000000-0000-7000-8000-000000000101, name: Account managers, permissions: [managed_accounts]}
      - {id: 00000000-0000-7000-8000-000000000102, name: Nothing much, permissions: [reporting]}
    users:
      - {id: 00000000-0000-7000-8000-000000000016, email: agent@example.com, password: ` + goodPassword + `, groups: [Account managers]}
      - {id: 00000000-0000-7000-8000-000000000019, email: helper@example.com, groups: [Nothing much]}
  - id: ` + plainID + `
    business_name: Example Organization
    email: owner@example.com
    password: ` + goodPassword + `
    api_key: KEY0PEOPLE0000000000000000000000002_aaaaaaaaaaaaaaaaaaaaaa
    balance: "50.00"
    groups:
      - {id: 00000000-0000-7000-8000-000000000201, name: Sales}
      - {id: 00000000-0000-7000-8000-000000000202, name: Administrators, permissions: [organization]}
      - {id: 00000000-0000-7000-8000-000000000203, name: Bookkeeping, permissions: [account]}
      - {id: 00000000-0000-7000-8000-000000000204, name: Dreamers, permissions: [managed_accounts]}
      - {id: 00000000-0000-7000-8000-000000000205, name: Lines, permissions: [connections]}
      - {id: 00000000-0000-7000-8000-000000000206, name: Reporters, permissions: [reporting]}
    users:
      - {id: 00000000-0000-7000-8000-000000000021, email: user@example.com, password: ` + goodPassword + `, groups: [Sales]}
      - {id: 00000000-0000-7000-8000-000000000022, email: admin@example.com, groups: [Administrators]}
      - {id: 00000000-0000-7000-8000-000000000023, email: clerk@example.com, groups: [Bookkeeping]}
      - {id: 00000000-0000-7000-8000-000000000024, email: dreamer@example.com, groups: [Dreamers]}
      - {id: 00000000-0000-7000-8000-000000000025, email: banned@example.com, user_status: blocked, groups: [Administrators]}
      - {id: 00000000-0000-7000-8000-000000000026, email: nobody@example.com}
      - {id: 00000000-0000-7000-8000-000000000027, email: wires@example.com, groups: [Lines]}
      - {id: 00000000-0000-7000-8000-000000000028, email: gone@example.com, groups: [Reporters]}
  - id: ` + rivalID + `
    business_name: Rival Reseller
    email: rival@example.net
    api_key: KEY0PEOPLE0000000000000000000000003_aaaaaaaaaaaaaaaaaaaaaa
    manager: {channel_pool: 10}
    managed_accounts: [{id: 00000000-0000-7000-8000-000000000031, business_name: Rival Customer, email: customer@example.net}]
    groups: [{id: 00000000-0000-7000-8000-000000000301, name: Rivals, permissions: [reporting]}]
    users: [{id: 00000000-0000-7000-8000-000000000036, email: spy@example.net, groups: [Rivals]}]
`

// role is somebody who visits the portal, by what is in the browser.
type role struct {
	name, cookie string
	// session is whose session it is in peopled, "" for none.
	session string
	// organization is where the ids are from that the visitor asks for.
	organization string
}

// roles are everybody; of who is not let in the name says why.
var roles = []role{
	{"nobody", "", "", plainID},
	{"in no group", sessionCookie, "nobody@example.com", plainID},
	{"organization alone", sessionCookie, "admin@example.com", plainID},
	{"account alone", sessionCookie, "clerk@example.com", plainID},
	{"connections alone", sessionCookie, "wires@example.com", plainID},
	{"managed_accounts where nothing is managed", sessionCookie, "dreamer@example.com", plainID},
	{"owner", sessionCookie, "owner@example.com", plainID},
	{"manager", sessionCookie, "manager@example.com", managerID},
	{"managed_accounts of a manager", sessionCookie, "agent@example.com", managerID},
	{"managed owner", sessionCookie, "larry@example.com", managedID},
	{"acting", actingCookie, "acting", managedID},
	{"operator", operatorCookie, "operator", plainID},
	{"blocked", sessionCookie, "banned@example.com", plainID},
	{"owner of a disabled account", sessionCookie, "hotels@example.net", managedID},
	{"user of a disabled account", sessionCookie, "porter@example.net", managedID},
	{"operator at another door", sessionCookie, "operator", plainID},
	{"operator as somebody's owner", actingCookie, "operator", plainID},
	{"owner as the operator", operatorCookie, "owner@example.com", plainID},
	{"API session", sessionCookie, "api", plainID},
	{"API session as the operator", operatorCookie, "api", plainID},
	{"code owed", sessionCookie, "pending", plainID},
	{"API key", sessionCookie, "key", plainID},
	{"operator's token", operatorCookie, "token", plainID},
	{"out of time", sessionCookie, "expired", plainID},
	{"made up", sessionCookie, "made up", plainID},
}

func roleNamed(name string) role {
	return roles[slices.IndexFunc(roles, func(r role) bool { return r.name == name })]
}

// portalOn is how the servers of these tests are set.
func portalOn(c *config.Config) { c.PortalURL = "https://portal.example.com" }

// peopled is peopledSeed with sessions, keys, invitations and links that were mailed. In
// ids and tokens they are by what they are and whose.
var peopled = newFilling("peopled", portalOn, func(s *server) error {
	if err := s.load([]byte(peopledSeed)); err != nil {
		return err
	}
	ctx, a := context.Background(), s.app
	s.tokens["session of key"], s.tokens["session of token"], s.tokens["session of made up"] = s.keys["owner@example.com"], a.OperatorToken, "madeup"
	now := time.UnixMicro(s.clock.Load())
	begin := func(who string, session store.Session) error {
		token := "token" + strings.NewReplacer("@", "_at_", ".", "_", " ", "_").Replace(who)
		s.tokens["session of "+who], s.ids["session of "+who] = token, a.DB.Source().NewID()
		session.ID, session.Digest, session.CreatedAt, session.UsedAt = s.ids["session of "+who], a.Sealer.Digest(token), now, now
		session.Address, session.UserAgent = "192.0.2.9", "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"
		if session.Kind == "" {
			session.Kind = store.PortalSession
		}
		if session.ExpiresAt.IsZero() {
			session.ExpiresAt = now.Add(12 * time.Hour)
		}
		return a.DB.Update(ctx, session.AccountID, func(tx *store.Tx) error { return tx.StartSession(session) })
	}
	failed := errors.Join(
		begin("acting", store.Session{AccountID: managedID, UserID: managedID, PersonAccountID: managerID, PersonUserID: s.ids["agent@example.com"], Reason: "they called"}),
		begin("operator", store.Session{AccountID: store.OperatorAccount, UserID: a.Sealer.OperatorID(a.OperatorToken)}),
		begin("api", store.Session{Kind: store.APISession, AccountID: plainID, UserID: plainID}),
		begin("pending", store.Session{Kind: store.PendingSession, AccountID: plainID, UserID: plainID}),
		begin("expired", store.Session{AccountID: plainID, UserID: plainID, ExpiresAt: now.Add(time.Microsecond)}),
	)
	for _, organization := range []struct{ id, users string }{
		{managerID, "manager@example.com agent@example.com helper@example.com"},
		{plainID, "owner@example.com user@example.com admin@example.com clerk@example.com wires@example.com dreamer@example.com banned@example.com nobody@example.com"},
		{managedID, "larry@example.com tom@example.com"},
		{rivalID, "rival@example.net spy@example.net"},
		{s.ids["hotels@example.net"], "hotels@example.net porter@example.net"},
	} {
		for _, email := range strings.Fields(organization.users) {
			id := s.ids[email]
			failed = errors.Join(failed, begin(email, store.Session{AccountID: organization.id, UserID: id}))
			if strings.HasSuffix(email, "hotels@example.net") || email == "porter@example.net" || email == "banned@example.com" {
				continue // may have no key
			}
			key, secret, err := a.Service.CreateKey(ctx, tenant.Actor{AccountID: organization.id, UserID: id, CredentialID: "peopled"}, "night job", time.Time{})
			if err != nil {
				return err
			}
			s.ids["key of "+email], s.tokens["key of "+email] = key.ID, secret
		}
		if organization.id == s.ids["hotels@example.net"] {
			continue
		}
		owner := tenant.Actor{AccountID: organization.id, UserID: organization.id, CredentialID: "peopled"}
		invitation, err := a.Service.Invite(ctx, owner, "guest@example.org", nil)
		if err != nil {
			return err
		}
		s.ids["invitation of "+organization.id] = invitation.ID
	}
	// Somebody whom the log still tells of.
	owner := tenant.Actor{AccountID: plainID, UserID: plainID, CredentialID: "peopled"}
	_, err := a.Service.RemoveUser(ctx, owner, s.ids["gone@example.com"], service.Once{Request: "gone"}, func(*service.User) ([]byte, error) { return nil, nil })
	failed = errors.Join(failed, err,
		a.Service.JoinGroup(ctx, owner, "00000000-0000-7000-8000-000000000201", s.ids["nobody@example.com"]),
		a.Service.LeaveGroup(ctx, owner, "00000000-0000-7000-8000-000000000201", s.ids["nobody@example.com"]),
		a.Service.RemoveGroup(ctx, owner, "00000000-0000-7000-8000-000000000206"),
		a.Service.RequestReset(ctx, "user@example.com", "", service.Where{}),
	)
	for {
		n, err := a.Service.SendMail(ctx, a.Mails, slog.New(slog.DiscardHandler))
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
	}
	for _, mail := range a.Mails.Mails() {
		if link := mailedLink.FindStringSubmatch(mail.Text); link != nil {
			s.tokens[link[1]] = link[2]
		}
	}
	if s.tokens["invitation"] == "" || s.tokens["reset-password"] == "" {
		failed = errors.Join(failed, errors.New("no link was mailed"))
	}
	// Each has been given all of its managed accounts' rows: nothing is read late.
	return failed
})

var mailedLink = regexp.MustCompile(`/portal/([a-z-]+)\?token=([\w%.-]+)`)

// visitor is a browser, except that it does not run scripts. All that it is answered is
// held to what every answer of the portal must be.
type visitor struct {
	s      *server
	jar    map[string]string
	header http.Header
	// shown are secrets that the visitor has asked for.
	shown []string
	// issuer is the one place elsewhere where the visitor may be led, "" for none.
	issuer string
}

var visiting = &http.Client{
	Transport:     &http.Transport{MaxIdleConnsPerHost: 4, IdleConnTimeout: 10 * time.Second},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Timeout:       time.Minute,
}

func (s *server) visitor() *visitor { return &visitor{s: s, jar: map[string]string{}} }

// visitorAs has the session of a role.
func (s *server) visitorAs(r role) *visitor {
	v := s.visitor()
	if r.cookie != "" {
		v.jar[r.cookie] = s.tokens["session of "+r.session]
	}
	return v
}

func (v *visitor) get(t *testing.T, target string) reply {
	t.Helper()
	return v.do(t, "GET", target, "", "")
}

// post sends a form as a browser does from a page of the portal.
func (v *visitor) post(t *testing.T, target string, form url.Values) reply {
	t.Helper()
	return v.do(t, "POST", target, "application/x-www-form-urlencoded", form.Encode())
}

func (v *visitor) do(t *testing.T, method, target, contentType, body string) reply {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+v.s.address+"/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	path, query, _ := strings.Cut(target, "?")
	request.URL.Opaque, request.URL.RawQuery = "//"+v.s.address+path, query
	if v.header == nil {
		request.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	maps.Copy(request.Header, v.header)
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	for name, value := range v.jar {
		request.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	response, err := visiting.Do(request)
	if err != nil {
		t.Fatalf("%s %.200s: %v", method, target, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s %.200s: %v", method, target, err)
	}
	r := reply{response, text}
	for _, cookie := range response.Cookies() {
		if cookie.MaxAge < 0 {
			delete(v.jar, cookie.Name)
		} else {
			v.jar[cookie.Name] = cookie.Value
		}
	}
	if err := v.judge(r, path); err != nil {
		t.Errorf("%s %.200s answers %d: %v", method, target, r.StatusCode, err)
	}
	return r
}

// judge holds an answer to what is true of every one, whoever asks for what.
func (v *visitor) judge(r reply, path string) error {
	if r.StatusCode >= 500 {
		return fmt.Errorf("%s\n%s", r.body, v.s.log)
	}
	h := r.Header
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin",
		"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store",
		"Strict-Transport-Security": "max-age=31536000",
		"Content-Security-Policy":   "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
	} {
		if name == "Cache-Control" && r.StatusCode == 200 && strings.HasPrefix(path, "/portal/assets/") {
			want = "public, max-age=31536000, immutable"
		}
		if name == "Strict-Transport-Security" && v.s.app.Config.PortalURL == "" {
			want = ""
		}
		if got := strings.Join(h.Values(name), ", "); got != want {
			return fmt.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if len(h.Values("X-Request-Id")) != 1 || h.Get("Permissions-Policy") == "" {
		return fmt.Errorf("no x-request-id, or no Permissions-Policy: %v", h)
	}
	for _, c := range r.Cookies() {
		if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || len(c.Raw) > 4000 {
			return fmt.Errorf("the cookie %s", c.Raw)
		}
	}
	if to := h.Get("Location"); to != "" && (v.issuer == "" || !strings.HasPrefix(to, v.issuer+"/")) {
		if u, err := url.Parse(to); err != nil || u.Scheme != "" || u.Host != "" || !strings.HasPrefix(to, portal.Prefix) || slices.ContainsFunc(strings.Split(u.Path, "/")[2:], func(part string) bool { return part == ".." || part == "." }) || strings.Contains(u.Path, "//") {
			return fmt.Errorf("it leads to %q", to)
		}
	}
	if h.Get("Content-Type") == "" && len(r.body) > 0 {
		return errors.New("a body without a Content-Type")
	}
	if err := v.noSecrets(r, path); err != nil {
		return err
	}
	if !strings.HasPrefix(h.Get("Content-Type"), "text/html") {
		return nil
	}
	return wellMade(r.body)
}

// noSecrets looks for everybody's secrets in an answer.
func (v *visitor) noSecrets(r reply, path string) error {
	text := string(r.body) + r.Header.Get("Location")
	if path == "/portal/mails" {
		return nil // the stand-in's, which are there to be read
	}
	for _, all := range []map[string]string{v.s.keys, v.s.tokens, {"the operator's token": v.s.app.OperatorToken, "the token of switches": v.s.app.AdmissionToken}} {
		for whose, secret := range all {
			if secret != "" && strings.Contains(text, secret) && !slices.Contains(v.shown, secret) {
				return fmt.Errorf("a secret is shown: %s", whose)
			}
			if secret != "" && !strings.HasSuffix(whose, "made up") && strings.Contains(text, v.s.app.Sealer.Digest(secret)) {
				return fmt.Errorf("a digest is shown: %s", whose)
			}
		}
	}
	if strings.Contains(text, "$argon2") {
		return errors.New("the hash of a password is shown")
	}
	return nil
}

// wellMade holds the HTML of a page to its Content-Security-Policy, and to forms and
// links that lead nowhere else.
func wellMade(body []byte) error {
	page, err := html.Parse(strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	for n := range page.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if n.Data == "style" || n.Data == "iframe" || n.Data == "object" || n.Data == "embed" || n.Data == "base" || n.Data == "script" && n.FirstChild != nil {
			return fmt.Errorf("there is an element %s", n.Data)
		}
		for _, a := range n.Attr {
			switch {
			case a.Key == "style", strings.HasPrefix(a.Key, "on"), a.Key == "srcdoc", a.Key == "formaction":
				return fmt.Errorf("%s has an attribute %s", n.Data, a.Key)
			case a.Key == "href" && !strings.HasPrefix(a.Val, "#") && !strings.HasPrefix(a.Val, "https://portal.example.com/portal/"), a.Key == "src", a.Key == "action":
				if !strings.HasPrefix(a.Val, portal.Prefix) {
					return fmt.Errorf("%s leads to %q", n.Data, a.Val)
				}
			}
		}
	}
	return nil
}

// attribute is an attribute's value, "" for none.
func attribute(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

var requestIDs = regexp.MustCompile(`Request <span class="mono">[^<]*</span>|request id [\w-]+`)

// told is an answer as somebody compares it with another, without the request id.
func (r reply) told() string {
	h := r.Header.Clone()
	h.Del("X-Request-Id")
	h.Del("Date")
	return fmt.Sprint(r.StatusCode, h, requestIDs.ReplaceAllString(string(r.body), "Request"))
}

var wrongs = []*regexp.Regexp{
	regexp.MustCompile(`(?:class="problem"|class="notice bad")[^>]*>([^<]*)<`),
	regexp.MustCompile(`<h1>[^<]*</h1>\s*<p>([^<]*)</p>`), // a page that says nothing else
}

// complaint is what a page says is wrong, "" for nothing.
func (r reply) complaint() string {
	for _, wrong := range wrongs {
		if found := wrong.FindSubmatch(r.body); found != nil {
			return html.UnescapeString(string(found[1]))
		}
	}
	return ""
}

// difference is the first line in which two answers differ, "" for none.
func difference(a, b string) string {
	left, right := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range max(len(left), len(right)) {
		l, r := "", ""
		if i < len(left) {
			l = left[i]
		}
		if i < len(right) {
			r = right[i]
		}
		if l != r {
			return fmt.Sprintf("line %d is\n%.700s\nhere and\n%.700s\nthere", i+1, l, r)
		}
	}
	return ""
}
