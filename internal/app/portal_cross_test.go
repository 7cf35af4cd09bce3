package app_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/internal/portal"
)

// TestPortalCrossSite: what another site makes a browser send changes nothing, however
// old the browser; nor does a form in another encoding, nor any request without a body.
func TestPortalCrossSite(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, e engine) {
		s := e.startCopy(t, peopled, portalOn)
		c := s.connect(t)
		before := traces(t, s, c)
		const form = "application/x-www-form-urlencoded"
		tries := []struct {
			name, method string
			header       http.Header
			contentType  string
			status       int
		}{
			{"another site", "POST", http.Header{"Sec-Fetch-Site": {"cross-site"}}, form, 403},
			{"a neighbour", "POST", http.Header{"Sec-Fetch-Site": {"same-site"}}, form, 403},
			{"another site, which names this one", "POST", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"http://" + s.address}}, form, 403},
			{"an old browser", "POST", http.Header{"Origin": {"https://evil.example"}}, form, 403},
			{"an old browser, from nowhere", "POST", http.Header{"Origin": {"null"}}, form, 403},
			{"another port", "POST", http.Header{"Origin": {"http://127.0.0.1:1"}}, form, 403},
			{"a name that begins alike", "POST", http.Header{"Origin": {"https://portal.example.com.evil.example"}}, form, 403},
			{"another method, from another site", "PUT", http.Header{"Sec-Fetch-Site": {"cross-site"}}, form, 403},
			{"text", "POST", nil, "text/plain", 415},
			{"JSON", "POST", nil, "application/json", 415},
			{"parts", "POST", nil, "multipart/form-data; boundary=x", 415},
			{"GET", "GET", nil, "", 0},
			{"HEAD", "HEAD", nil, "", 0},
			{"PUT", "PUT", nil, form, 404},
			{"DELETE", "DELETE", nil, "", 404},
			{"GET that wants to be POST", "GET", http.Header{"Sec-Fetch-Site": {"same-origin"}, "X-Http-Method-Override": {"POST"}}, form, 0},
		}
		for _, route := range portal.Routes {
			if !strings.HasPrefix(route.Pattern, "POST ") {
				continue
			}
			r := roleNamed("owner")
			for _, other := range roles {
				if outcome(t, route.Need, other) == "let in" && other.name != "nobody" {
					r = other
					break
				}
			}
			_, path, body := s.asked(t, route, r)
			for _, try := range tries {
				v := s.visitorAs(r)
				v.header = try.header
				if v.header == nil {
					v.header = http.Header{"Sec-Fetch-Site": {"same-origin"}}
				}
				target := path
				if try.method == "GET" || try.method == "HEAD" {
					target += "?" + body
				}
				got := v.do(t, try.method, target, try.contentType, body)
				if try.status != 0 && got.StatusCode != try.status {
					t.Errorf("%s, %s: %d, want %d", route.Pattern, try.name, got.StatusCode, try.status)
				}
				if v.jar[r.cookie] != s.tokens["session of "+r.session] {
					t.Errorf("%s, %s: the session is gone", route.Pattern, try.name)
				}
			}
			if after := traces(t, s, c); after != before {
				t.Fatalf("%s: it left traces:\n%s\nbefore:\n%s", route.Pattern, after, before)
			}
		}
		for _, r := range roles {
			if outcome(t, "signed_in", r) == "let in" || r.name == "operator" {
				page := map[bool]string{true: "/portal/operator", false: "/portal/"}[r.name == "operator"]
				if got := s.visitorAs(r).get(t, page); got.StatusCode != 200 {
					t.Errorf("%s is signed out: %d", r.name, got.StatusCode)
				}
			}
		}
		// What comes from the portal's own address passes, also behind a proxy that asks
		// for another host.
		v := s.visitorAs(roleNamed("owner"))
		v.header = http.Header{"Origin": {"https://portal.example.com"}}
		if got := v.post(t, "/portal/keys", url.Values{"name": {"own"}}); got.StatusCode != 200 {
			t.Errorf("from the portal itself: %d, %s", got.StatusCode, got.complaint())
		}
	})
}

// elsewhere are pages that nobody is to be sent to after signing in.
var elsewhere = []string{
	"//evil.example", "///evil.example", `/\evil.example`, `\\evil.example`, `/portal/\..\..\\evil.example`, "https://evil.example/portal/", "HTTPS://evil.example",
	"http:evil.example", "https:/portal/", "evil.example", "evil.example/portal/", "/portal/../../evil", "/portal/..//evil.example", "/portal//evil.example",
	"/portal/./../evil", "/portal/%2e%2e/evil", "/portal/%2e%2e%2fevil", "/portal/..%2f..%2fevil", "/portal/%2f%2fevil.example", "/%2fevil.example", "%2f%2fevil.example",
	"/portal%2f..%2f..%2fevil", "/portal/%5c..%5cevil", "/portal/%5cevil", "/portalx/", "/portal", "/", "", "/v2/whoami", "/operator/v1/accounts", "/PORTAL/",
	"javascript:alert(1)", "JaVaScRiPt://portal/%0aalert(1)", "data:text/html,<script>alert(1)</script>", "vbscript:x", "blob:x",
	"/portal/\r\nSet-Cookie: a=b", "/portal/\r\n\r\n<script>alert(1)</script>", "/portal/\nLocation: https://evil.example", "/portal/%0d%0aSet-Cookie:%20a=b",
	"/portal/\x00", "/portal/%00", "/portal/\t/evil.example", "\t//evil.example", " //evil.example", "\u00a0//evil.example", "/portal/?\r\nX: y", "/portal/?a=\x01",
	"//portal/", "//evil.example/portal/", "@evil.example", "//user@evil.example/portal/", "https://portal.example.com@evil.example/portal/", ":80", "/portal/:@evil",
	"?next=//evil.example", "#//evil.example", "/portal/#//evil.example", "/portal/?next=//evil.example", "/portal/sign-out", "/portal/sign-in?next=/portal/sign-in",
	"/portal/" + strings.Repeat("a", 40_000), strings.Repeat("/portal/", 1000), "/portal/é", "/portal/\xff", "／／evil.example", "/portal/..／evil", "/portal/;//evil", "/portal/..;/evil",
}

// TestPortalNext: whatever a link asks for, who has signed in goes on below /portal/ on
// this host. Each answer's Location, headers and links are looked at by the visitor.
func TestPortalNext(t *testing.T) {
	t.Parallel()
	s := sqlite.startCopy(t, peopled, portalOn)
	set := map[string]bool{}
	goes := func(t *testing.T, what, next string, r reply, cookies ...string) {
		t.Helper()
		to := r.Header.Get("Location")
		if r.StatusCode == 400 && strings.Contains(next, "\x00") {
			return // no form has that
		}
		if r.StatusCode != 303 {
			t.Errorf("%s with %.80q: %d, %s", what, next, r.StatusCode, r.complaint())
		}
		if r.Header.Get("X") != "" || len(r.Header.Values("Location")) != 1 || strings.Contains(to, `\`) {
			t.Errorf("%s with %.80q: %v", what, next, r.Header)
		}
		for _, c := range r.Cookies() {
			if !strings.HasPrefix(c.Name, sessionCookie) {
				t.Errorf("%s with %.80q sets the cookie %s", what, next, c.Raw)
			}
		}
		set[to] = true
	}
	// One with a second factor: half of a sign-in costs no password.
	owner := s.visitorAs(roleNamed("owner"))
	secret, link := enrolment(t, owner.post(t, "/portal/profile/second-factor", nil))
	if r := owner.post(t, "/portal/profile/second-factor/confirm", url.Values{"code": {s.code(t, secret)}, "url": {link}}); r.StatusCode != 200 {
		t.Fatalf("the second factor: %d", r.StatusCode)
	}
	form := func(next string) string { return "next=" + url.QueryEscape(next) }
	for i, next := range elsewhere {
		query := "?" + form(next)
		if len(query) > 8000 {
			query = query[:8000]
		}
		for _, page := range []string{"/portal/sign-in", "/portal/operator/sign-in"} {
			if r := s.visitor().get(t, page+query); r.StatusCode != 200 {
				t.Errorf("%s with %.80q: %d", page, next, r.StatusCode)
			}
		}
		goes(t, "single sign-on", next, s.visitor().get(t, "/portal/sso/start/"+plainID+query))
		goes(t, "the operator", next, s.visitor().do(t, "POST", "/portal/operator/sign-in", "application/x-www-form-urlencoded", form(next)+"&token="+url.QueryEscape(s.app.OperatorToken)))
		if r := s.with(pendingCookie, s.tokens["session of pending"]).get(t, "/portal/sign-in/code"+query); r.StatusCode != 200 {
			t.Errorf("the code's page with %.80q: %d", next, r.StatusCode)
		}
		if i%12 != 0 { // each of these hashes a password
			continue
		}
		goes(t, "a password", next, s.visitor().do(t, "POST", "/portal/sign-in", "application/x-www-form-urlencoded", "email=user@example.com&password="+url.QueryEscape(goodPassword)+"&"+form(next)))
		v := s.visitor()
		goes(t, "a password, a code owed", next, v.do(t, "POST", "/portal/sign-in", "application/x-www-form-urlencoded", "email=owner@example.com&password="+url.QueryEscape(goodPassword)+"&"+form(next)))
		s.move(60e9)
		goes(t, "a code", next, v.do(t, "POST", "/portal/sign-in/code", "application/x-www-form-urlencoded", "code="+s.code(t, secret)+"&"+form(next)))
	}
	if !set["/portal/operator"] || len(set) < 5 {
		t.Errorf("they all go to %v", set)
	}
	// Who is sent to sign in comes back to the page, and no further.
	for _, page := range []string{"/portal/keys?x=%2F%2Fevil", "/portal/accounts?q=a%26b", "/portal/users/%2e%2e%2fx", "/portal/groups/a%0d%0ab", "/portal//evil.example", "/portal/..%2f..%2f%2fevil"} {
		r := s.visitor().get(t, page)
		if to, err := url.Parse(r.Header.Get("Location")); err != nil || r.StatusCode == 303 && to.Path != "/portal/sign-in" {
			t.Errorf("%s: %d to %q", page, r.StatusCode, r.Header.Get("Location"))
		}
	}
	// Names that stand in a header do not end it.
	v := s.visitorAs(roleNamed("manager"))
	for path, form := range map[string]url.Values{
		"/portal/accounts/" + managedID + "/channels":              {"channel_limit": {"30"}, "from": {"channels"}, "at": {"1.1\r\nX: y"}},
		"/portal/users/" + s.ids["helper@example.com"] + "/unlink": {"from_group": {"\r\nX: y"}},
		"/portal/users/" + s.ids["agent@example.com"] + "/unlink":  {"from_group": {"../../../evil"}},
		"/portal/users/" + managerID + "/unlink":                   {"from_group": {".."}},
	} {
		if r := v.post(t, path, form); r.StatusCode != 303 || r.Header.Get("X") != "" {
			t.Errorf("%s with %v: %d, %v", path, form, r.StatusCode, r.Header)
		}
	}
}
