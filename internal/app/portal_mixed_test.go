package app_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/internal/config"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/tenant"
)

var shownTo = regexp.MustCompile(`name="shown_to" value="([^"]+)"`)

// TestPortalLeftOpen: a page that was left open does nothing in the name of who has
// signed in since, or acts for somebody else now.
func TestPortalLeftOpen(t *testing.T) {
	t.Parallel()
	s := sqlite.startCopy(t, peopled, portalOn)
	own := s.visitor()
	own.signIn(t, "manager@example.com")
	page := func(path string) string {
		found := shownTo.FindSubmatch(own.get(t, path).body)
		if found == nil {
			t.Fatalf("no form of %s says for whom it is", path)
		}
		return string(found[1])
	}
	left := page("/portal/groups")
	form := func(shown, name string) url.Values { return url.Values{"name": {name}, "shown_to": {shown}} }
	r := own.post(t, "/portal/accounts/"+managedID+"/sign-in-as", url.Values{"reason": {"help"}, "minutes": {"15"}})
	if r.StatusCode != 303 {
		t.Fatalf("sign in as: %d %s", r.StatusCode, r.complaint())
	}
	if r := own.post(t, "/portal/groups", form(left, "Stray")); r.StatusCode != 409 {
		t.Errorf("the manager's form while acting: %d", r.StatusCode)
	}
	acting := page("/portal/groups")
	if r := own.post(t, "/portal/groups", form(acting, "Meant")); r.StatusCode != 303 {
		t.Errorf("the account's form while acting: %d %s", r.StatusCode, r.complaint())
	}
	if r := own.post(t, "/portal/sign-out", url.Values{"end": {"acting"}}); r.StatusCode != 303 {
		t.Fatalf("leave: %d", r.StatusCode)
	}
	if r := own.post(t, "/portal/keys", form(acting, "stray")); r.StatusCode != 409 {
		t.Errorf("the account's form after leaving it: %d", r.StatusCode)
	}
	if r := own.post(t, "/portal/groups", form(left, "Own")); r.StatusCode != 303 {
		t.Errorf("the own form in person: %d %s", r.StatusCode, r.complaint())
	}
	for id, want := range map[string]string{managerID: "Account managers, Nothing much, Own", managedID: "Cats, Meant"} {
		groups, err := s.app.Service.Groups(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, g := range groups {
			names = append(names, g.Name)
		}
		if slices.Sort(names); strings.Join(names, ", ") != want {
			t.Errorf("the groups are %q, want %q", names, want)
		}
	}
}

// TestPortalTwoDoors: who is signed in as the operator and acts for an account signs out
// of what the button names.
func TestPortalTwoDoors(t *testing.T) {
	t.Parallel()
	s := sqlite.startCopy(t, peopled, portalOn)
	v := s.visitorAs(roleNamed("acting"))
	v.jar[operatorCookie] = s.tokens["session of operator"]
	if r := v.post(t, "/portal/sign-out", url.Values{"end": {"operator"}}); r.StatusCode != 303 || v.jar[operatorCookie] != "" || v.jar[actingCookie] == "" {
		t.Errorf("the operator signs out: %d, with %v", r.StatusCode, v.jar)
	}
	if r := s.with(operatorCookie, s.tokens["session of operator"]).get(t, "/portal/operator"); r.StatusCode != 303 {
		t.Errorf("the operator's session after that: %d", r.StatusCode)
	}
	if r := v.get(t, "/portal/"); r.StatusCode != 200 {
		t.Errorf("acting goes on: %d", r.StatusCode)
	}
}

// TestPortalCounted: a cookie that opens nothing does not get around the rate limit, nor
// do pages that are refused.
func TestPortalCounted(t *testing.T) {
	t.Parallel()
	s := sqlite.startCopy(t, peopled, portalOn, func(c *config.Config) { c.RateLimit, c.RateBurst = 0.001, 8 })
	for name, ask := range map[string]func(i int) reply{
		"made up": func(i int) reply {
			return s.with(sessionCookie, fmt.Sprint("made up ", i)).get(t, "/portal/users")
		},
		"refused": func(int) reply { return s.visitorAs(roleNamed("in no group")).get(t, "/portal/users") },
	} {
		limited := 0
		for i := range 20 {
			if ask(i).StatusCode == 429 {
				limited++
			}
		}
		if limited < 10 {
			t.Errorf("%s: %d of 20 were limited", name, limited)
		}
	}
}

// TestPortalSignOnMeant: another site leads nobody to the sign-in server of a tenant, nor
// out of the session there is.
func TestPortalSignOnMeant(t *testing.T) {
	t.Parallel()
	s := sqlite.startCopy(t, peopled, portalOn, func(c *config.Config) { c.SSOAllow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	issuer := httptest.NewServer(nil)
	defer issuer.Close()
	issuer.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":"%[1]s/auth","token_endpoint":"%[1]s/token","jwks_uri":"%[1]s/keys","id_token_signing_alg_values_supported":["ES256"],
			"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid":"1","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`, issuer.URL)
	})
	secret := "secret"
	owner := tenant.Actor{AccountID: plainID, UserID: plainID}
	if err := s.app.Service.SetSignOn(t.Context(), owner, service.NewSignOn{Issuer: issuer.URL, ClientID: "c", Secret: &secret, Domains: []string{"example.com"}}); err != nil {
		t.Fatal(err)
	}
	start := "/portal/sso/start/" + plainID
	for _, test := range []struct {
		name, site, target string
		signedIn, there    bool
	}{
		{"from here", "same-origin", start, false, true},
		{"typed", "none", start, false, true},
		{"from another site", "cross-site", start, false, false},
		{"from a neighbour", "same-site", start, false, false},
		{"from another site, sure", "cross-site", start + "?sure=1", false, false},
		{"who has signed in, from here", "same-origin", start, true, false},
		{"who has signed in, typed", "none", start, true, false},
		{"who has signed in, and is sure", "same-origin", start + "?sure=1", true, true},
	} {
		v := s.visitor()
		if test.signedIn {
			v = s.visitorAs(roleNamed("manager"))
		}
		v.header, v.issuer = http.Header{"Sec-Fetch-Site": {test.site}}, issuer.URL
		r := v.get(t, test.target)
		there := r.StatusCode == 303 && strings.HasPrefix(r.Header.Get("Location"), issuer.URL+"/auth?")
		asked := r.StatusCode == 200 && strings.Contains(string(r.body), "Example Organization") && r.Header.Get("Refresh") == ""
		if there != test.there || asked == test.there {
			t.Errorf("%s: %d to %q", test.name, r.StatusCode, r.Header.Get("Location"))
		}
	}
	v := s.visitor()
	if r := v.post(t, "/portal/sign-in", url.Values{"email": {"manager@example.com"}, "password": {goodPassword}, "next": {start}}); r.Header.Get("Location") != "/portal/" {
		t.Errorf("after a password: to %q", r.Header.Get("Location"))
	}
	// An owner whose server is down can still let people in by password.
	issuer.Close()
	v = s.visitorAs(roleNamed("owner"))
	if r := v.post(t, "/portal/single-sign-on", url.Values{"issuer": {issuer.URL}, "client_id": {"c"}, "domains": {"example.com, example.org"}}); r.StatusCode != 303 {
		t.Errorf("settings of a server that is down: %d %s", r.StatusCode, r.complaint())
	}
}

// TestPortalBounds: what one page shows is bounded, whatever there is.
func TestPortalBounds(t *testing.T) {
	t.Parallel()
	s := sqlite.startCopy(t, peopled, portalOn)
	v := s.visitorAs(roleNamed("owner"))
	if r := v.post(t, "/portal/groups", url.Values{"name": {"Twice"}, "permissions": {"account", "account"}}); r.StatusCode != 422 {
		t.Errorf("a permission named twice: %d", r.StatusCode)
	}
	for i := range 300 {
		name := fmt.Sprintf("%03d %s", i, strings.Repeat("ж", 120))
		if _, err := s.app.Service.CreateOwnGroup(t.Context(), tenant.Actor{AccountID: plainID, UserID: plainID}, name, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"groups", "groups?page=99", "users/00000000-0000-7000-8000-000000000021", "invitations"} {
		if r := v.get(t, "/portal/"+path); len(r.body) > 100_000 {
			t.Errorf("%s has %d bytes", path, len(r.body))
		}
	}
	if r := v.get(t, "/portal/users?page=99"); r.StatusCode != 303 || r.Header.Get("Location") != "/portal/users" {
		t.Errorf("a page after the last: %d to %q", r.StatusCode, r.Header.Get("Location"))
	}
	if r := v.do(t, "HEAD", "/portal/users.csv", "", ""); r.StatusCode != 200 || len(r.body) > 0 {
		t.Errorf("HEAD of a download: %d with %d bytes", r.StatusCode, len(r.body))
	}
}

// TestPortalBulkAsShown: disabling all that match is about what the list had, each once,
// and a form that was refused comes again with what was chosen.
func TestPortalBulkAsShown(t *testing.T) {
	t.Parallel()
	s := sqlite.startCopy(t, peopled, portalOn)
	v := s.visitorAs(roleNamed("manager"))
	if r := v.post(t, "/portal/accounts/disable", url.Values{"all": {"1"}, "q": {"e"}, "status": {"disabled"}}); r.StatusCode != 200 || strings.Contains(string(r.body), "larry@example.com") {
		t.Errorf("all that are disabled: %d %s", r.StatusCode, r.body)
	}
	ids := managedID + "\n" + managedID
	r := v.post(t, "/portal/accounts/disable/confirm", url.Values{"ids": {ids}, "reason": {strings.Repeat("x", 300)}, "hang_up": {"1"}})
	if text := string(r.body); r.StatusCode != 422 || !strings.Contains(text, managedID) || !strings.Contains(text, `name="hang_up" value="1" checked`) || !strings.Contains(text, "A reason may have at most") {
		t.Errorf("a reason that is too long: %d %s", r.StatusCode, text)
	}
	r = v.post(t, "/portal/accounts/disable/confirm", url.Values{"ids": {ids}, "reason": {"fraud"}})
	if r.StatusCode != 200 || !strings.Contains(string(r.body), "<h1>1 account disabled") {
		t.Errorf("one account, named twice: %d %s", r.StatusCode, r.body)
	}
}
