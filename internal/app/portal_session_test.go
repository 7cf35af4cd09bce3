package app_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/tenant"
)

// signIn signs a visitor in with the password that they all have.
func (v *visitor) signIn(t *testing.T, email string) {
	t.Helper()
	r := v.post(t, "/portal/sign-in", url.Values{"email": {email}, "password": {goodPassword}})
	if r.StatusCode != 303 || r.Header.Get("Location") != "/portal/" || v.jar[sessionCookie] == "" {
		t.Fatalf("%s signs in: %d to %q: %s", email, r.StatusCode, r.Header.Get("Location"), r.complaint())
	}
}

// with is another browser with the same cookie.
func (s *server) with(name, value string) *visitor {
	v := s.visitor()
	v.jar[name] = value
	return v
}

// notice is what the next page will show.
func (v *visitor) notice(t *testing.T) string {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(v.jar[noticeCookie])
	if err != nil {
		t.Errorf("the notice %q: %v", v.jar[noticeCookie], err)
	}
	return string(text)
}

// move moves the server's clock.
func (s *server) move(by time.Duration) { s.clock.Add(by.Microseconds()) }

// TestPortalTokens: a token is new at sign-in, after the second factor, after another
// password, and once a second factor is on; the one before is dead, on the server.
func TestPortalTokens(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, e engine) {
		s := e.startCopy(t, peopled, portalOn)
		alive := func(what, token string, want bool) {
			t.Helper()
			if r := s.with(sessionCookie, token).get(t, "/portal/profile"); (r.StatusCode == 200) != want || !want && r.StatusCode != 303 {
				t.Errorf("%s: %d, want it alive: %t", what, r.StatusCode, want)
			}
		}
		v := s.visitor()
		v.jar[sessionCookie] = "planted" // by whoever wants to know it afterwards
		v.jar[pendingCookie], v.jar[actingCookie] = "planted", "planted"
		v.signIn(t, "user@example.com")
		first := v.jar[sessionCookie]
		if first == "planted" || v.jar[pendingCookie] != "" || v.jar[actingCookie] != "" {
			t.Errorf("after sign-in the browser has %v", v.jar)
		}
		alive("planted", "planted", false)
		alive("the first token", first, true)

		// The same person again, in the same browser: the session before ends.
		v.signIn(t, "user@example.com")
		second := v.jar[sessionCookie]
		if second == first {
			t.Error("a second sign-in has the token of the first")
		}
		alive("the token of the sign-in before", first, false)

		elsewhere := s.visitor()
		elsewhere.signIn(t, "user@example.com")
		r := v.post(t, "/portal/profile/password", url.Values{"old_password": {goodPassword}, "password": {otherPassword}, "repeated": {otherPassword}})
		third := v.jar[sessionCookie]
		if r.StatusCode != 303 || third == second {
			t.Errorf("another password: %d, %s; the same token: %t", r.StatusCode, r.complaint(), third == second)
		}
		alive("the token before the password", second, false)
		alive("another browser's", elsewhere.jar[sessionCookie], false)
		alive("the token after it", third, true)

		// A second factor.
		r = v.post(t, "/portal/profile/second-factor", nil)
		secret, link := enrolment(t, r)
		r = v.post(t, "/portal/profile/second-factor/confirm", url.Values{"code": {"000000"}, "url": {link}})
		if r.StatusCode != 422 || v.jar[sessionCookie] != third {
			t.Errorf("a wrong code: %d", r.StatusCode)
		}
		if again, _ := enrolment(t, r); again != secret {
			t.Errorf("after a wrong code the secret is another")
		}
		r = v.post(t, "/portal/profile/second-factor/confirm", url.Values{"code": {s.code(t, secret)}, "url": {link}})
		fourth := v.jar[sessionCookie]
		if r.StatusCode != 200 || fourth == third || !strings.Contains(string(r.body), "recovery codes") {
			t.Errorf("the second factor: %d, %s; the same token: %t", r.StatusCode, r.complaint(), fourth == third)
		}
		alive("the token before the second factor", third, false)
		alive("the token with it", fourth, true)
		if strings.Contains(string(v.get(t, "/portal/profile").body), secret) {
			t.Error("the secret of the second factor is shown again")
		}

		// Signing in takes two steps now.
		v = s.visitor()
		r = v.post(t, "/portal/sign-in", url.Values{"email": {"user@example.com"}, "password": {otherPassword}, "next": {"/portal/keys"}})
		pending := v.jar[pendingCookie]
		if r.StatusCode != 303 || r.Header.Get("Location") != "/portal/sign-in/code?next=%2Fportal%2Fkeys" || pending == "" || v.jar[sessionCookie] != "" {
			t.Fatalf("with the password alone: %d to %q, with %v", r.StatusCode, r.Header.Get("Location"), v.jar)
		}
		alive("a token that owes the code", pending, false)
		if r := v.get(t, "/portal/profile"); r.StatusCode != 303 {
			t.Errorf("a page while the code is owed: %d", r.StatusCode)
		}
		if r := v.post(t, "/portal/sign-in/code", url.Values{"code": {"000000"}}); r.StatusCode != 422 || r.complaint() == "" {
			t.Errorf("a wrong code: %d, %q", r.StatusCode, r.complaint())
		}
		s.move(time.Minute) // the code before was used
		code := s.code(t, secret)
		r = v.post(t, "/portal/sign-in/code", url.Values{"code": {code}, "next": {"/portal/keys"}})
		if r.StatusCode != 303 || r.Header.Get("Location") != "/portal/keys" || v.jar[sessionCookie] == pending || v.jar[pendingCookie] != "" {
			t.Errorf("with the code: %d to %q, %s, with %v", r.StatusCode, r.Header.Get("Location"), r.complaint(), v.jar)
		}
		alive("the token", v.jar[sessionCookie], true)
		alive("the token that owed the code", pending, false)
		for what, code := range map[string]string{"with the same token": s.code(t, secret), "with the same code": code} {
			if r := s.with(pendingCookie, pending).post(t, "/portal/sign-in/code", url.Values{"code": {code}}); r.StatusCode != 422 {
				t.Errorf("again, %s: %d", what, r.StatusCode)
			}
		}

		// Out, on the server as well.
		last := v.jar[sessionCookie]
		if r := v.post(t, "/portal/sign-out", nil); r.StatusCode != 303 || len(v.jar) != 1 {
			t.Errorf("sign out: %d, with %v", r.StatusCode, v.jar)
		}
		alive("after signing out", last, false)
	})
}

// TestPortalPendingEnds: who begins again, or waits too long, owes nothing any more.
func TestPortalPendingEnds(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, e engine) {
		s := e.startCopy(t, peopled, portalOn)
		v := s.visitorAs(roleNamed("owner"))
		secret, link := enrolment(t, v.post(t, "/portal/profile/second-factor", nil))
		if r := v.post(t, "/portal/profile/second-factor/confirm", url.Values{"code": {s.code(t, secret)}, "url": {link}}); r.StatusCode != 200 {
			t.Fatalf("the second factor: %d, %s", r.StatusCode, r.complaint())
		}
		for name, end := range map[string]func(v *visitor){
			"begun again": func(v *visitor) { v.post(t, "/portal/sign-out", url.Values{"end": {"pending"}}) },
			"too late":    func(*visitor) { s.move(6 * time.Minute) },
		} {
			v := s.visitor()
			v.post(t, "/portal/sign-in", url.Values{"email": {"owner@example.com"}, "password": {goodPassword}})
			pending := v.jar[pendingCookie]
			if pending == "" {
				t.Fatalf("no code is owed: %v", v.jar)
			}
			end(v)
			s.move(time.Minute)
			if r := s.with(pendingCookie, pending).post(t, "/portal/sign-in/code", url.Values{"code": {s.code(t, secret)}}); r.StatusCode != 422 || !strings.Contains(r.complaint(), "Sign in again") {
				t.Errorf("%s: %d, %q", name, r.StatusCode, r.complaint())
			}
		}
	})
}

var factorURL = regexp.MustCompile(`name="url" value="([^"]*)"`)

// enrolment is the secret of a second factor that a page shows, and the URL in its form.
func enrolment(t *testing.T, r reply) (secret, link string) {
	t.Helper()
	found := factorURL.FindSubmatch(r.body)
	if found == nil {
		t.Fatalf("no second factor in a page with status %d: %s", r.StatusCode, r.complaint())
	}
	link = strings.NewReplacer("&amp;", "&", "&#43;", "+").Replace(string(found[1]))
	u, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query().Get("secret"), link
}

// code is what an authenticator shows now.
func (s *server) code(t *testing.T, secret string) string {
	t.Helper()
	code, err := totp.GenerateCode(secret, time.UnixMicro(s.clock.Load()))
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// TestPortalSessionsEnd: a session is over at once when the account or the person is
// stopped, or its time is, and the sign-in page says why.
func TestPortalSessionsEnd(t *testing.T) {
	t.Parallel()
	operator := tenant.Actor{Operator: true, CredentialID: "test"}
	manager := tenant.Actor{AccountID: managerID, UserID: managerID, Manager: true, CredentialID: "test"}
	plain := tenant.Actor{AccountID: plainID, UserID: plainID, CredentialID: "test"}
	for _, test := range []struct {
		name, who string
		end       func(t *testing.T, s *server) error
		says      string
	}{
		{"the account is disabled", "managed owner", func(t *testing.T, s *server) error {
			_, err := s.app.Service.DisableAccount(t.Context(), manager, managedID, "")
			return err
		}, "disabled by its manager"},
		{"the account is blocked", "owner", func(t *testing.T, s *server) error {
			_, err := s.app.Service.BlockAccount(t.Context(), operator, plainID)
			return err
		}, "The account is blocked"},
		{"the manager is blocked", "managed owner", func(t *testing.T, s *server) error {
			_, err := s.app.Service.BlockAccount(t.Context(), operator, managerID)
			return err
		}, "blocked"},
		{"the account is cancelled", "owner", func(t *testing.T, s *server) error {
			_, err := s.app.Service.CancelAccount(t.Context(), operator, plainID)
			return err
		}, ""},
		{"the user is blocked", "organization alone", func(t *testing.T, s *server) error {
			_, err := s.app.Service.BlockUser(t.Context(), operator, plainID, s.ids["admin@example.com"])
			return err
		}, "The user is blocked"},
		{"the user is removed", "account alone", func(t *testing.T, s *server) error {
			_, err := s.app.Service.RemoveUser(t.Context(), plain, s.ids["clerk@example.com"], service.Once{Request: "x"}, func(*service.User) ([]byte, error) { return nil, nil })
			return err
		}, "Sign in again"},
		{"the password is reset", "user@example.com", func(t *testing.T, s *server) error {
			r := s.visitor().post(t, "/portal/reset-password", url.Values{"token": {s.tokens["reset-password"]}, "password": {otherPassword}, "repeated": {otherPassword}})
			if r.StatusCode != 303 {
				return fmt.Errorf("%d: %s", r.StatusCode, r.complaint())
			}
			return nil
		}, "The password was changed"},
		{"all sessions are ended elsewhere", "owner", func(t *testing.T, s *server) error {
			s.visitorAs(roleNamed("owner")).post(t, "/portal/sessions/end-all", nil)
			return nil
		}, "The session was ended"},
		{"nobody uses it", "owner", func(_ *testing.T, s *server) error {
			s.move(31 * time.Minute)
			return nil
		}, "Nobody has used the session for a while"},
		{"its time is over", "owner", func(t *testing.T, s *server) error {
			for range 25 {
				s.move(29 * time.Minute)
				s.visitorAs(roleNamed("owner")).get(t, "/portal/keys")
			}
			return nil
		}, "The session has expired"},
		{"all of the operator's are ended", "operator", func(t *testing.T, s *server) error {
			return s.app.Service.EndOperatorSessions(t.Context())
		}, "The session was ended"},

		{"the person loses the permission", "acting", func(t *testing.T, s *server) error {
			return s.app.Service.LeaveGroup(t.Context(), manager, "00000000-0000-7000-8000-000000000101", s.ids["agent@example.com"])
		}, "You may not act for this account any more"},
		{"the group loses it", "acting", func(t *testing.T, s *server) error {
			_, err := s.app.Service.AlterGroup(t.Context(), manager, "00000000-0000-7000-8000-000000000101", "Account managers", nil)
			return err
		}, "You may not act for this account any more"},
		{"the person is blocked", "acting", func(t *testing.T, s *server) error {
			_, err := s.app.Service.BlockUser(t.Context(), operator, managerID, s.ids["agent@example.com"])
			return err
		}, "The session was ended"},
		{"the manager is none any more", "acting", func(t *testing.T, s *server) error {
			_, err := s.app.Service.RevokeManager(t.Context(), operator, managerID)
			return err
		}, "The session was ended"},
		{"the account acted for is disabled", "acting", func(t *testing.T, s *server) error {
			_, err := s.app.Service.DisableAccount(t.Context(), manager, managedID, "")
			return err
		}, "disabled by its manager"},
		{"the owner ends it", "acting", func(t *testing.T, s *server) error {
			r := s.visitorAs(roleNamed("managed owner")).post(t, "/portal/sessions/"+s.ids["session of acting"]+"/end", nil)
			if r.StatusCode != 303 {
				return fmt.Errorf("%d: %s", r.StatusCode, r.complaint())
			}
			return nil
		}, "The session was ended"},
		{"the time to act is over", "acting", func(_ *testing.T, s *server) error {
			s.move(13 * time.Hour)
			return nil
		}, "The session has expired"},
	} {
		t.Run(strings.ReplaceAll(test.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			eachEngine(t, func(t *testing.T, e engine) {
				s := e.startCopy(t, peopled, portalOn)
				r := role{session: test.who, cookie: sessionCookie}
				if !strings.Contains(test.who, "@") {
					r = roleNamed(test.who)
				}
				page, end := "/portal/keys", "/portal/sign-in?next=%2Fportal%2Fkeys"
				switch r.cookie {
				case operatorCookie:
					page, end = "/portal/operator/accounts", "/portal/operator/sign-in?next=%2Fportal%2Foperator%2Faccounts"
				case actingCookie:
					end = "/portal/"
				}
				v := s.visitorAs(r)
				// Somebody else is signed in by another cookie, and goes on.
				beside := map[string]string{sessionCookie: operatorCookie, operatorCookie: sessionCookie, actingCookie: sessionCookie}[r.cookie]
				v.jar[beside] = "somebody's"
				if got := v.get(t, page); got.StatusCode != 200 {
					t.Fatalf("before: %d", got.StatusCode)
				}
				if err := test.end(t, s); err != nil {
					t.Fatal(err)
				}
				for _, method := range []string{"POST", "GET"} {
					v := s.visitorAs(r)
					v.jar[beside] = "somebody's"
					want := end
					got := v.do(t, method, page, "", "")
					if method == "POST" {
						if r.cookie == operatorCookie {
							continue
						}
						want, _, _ = strings.Cut(end, "?")
					}
					if got.StatusCode != 303 || got.Header.Get("Location") != want || !strings.Contains(v.notice(t), test.says) {
						t.Errorf("%s: %d to %q, want %q, with the notice %s", method, got.StatusCode, got.Header.Get("Location"), want, v.notice(t))
					}
					if v.jar[r.cookie] != "" || v.jar[beside] != "somebody's" {
						t.Errorf("the browser keeps %v", v.jar)
					}
					delete(v.jar, beside)
					target, _, _ := strings.Cut(end, "?")
					shown := v.get(t, target)
					if target == "/portal/" {
						shown = v.get(t, "/portal/sign-in") // the front page leads there, and keeps the notice for it
					}
					if shown.StatusCode != 200 || !strings.Contains(string(shown.body), test.says) {
						t.Errorf("the page after that: %d, %q", shown.StatusCode, shown.complaint())
					}
				}
			})
		})
	}
}

// TestPortalSignInAs: who goes on as an account's owner comes back as who it was.
func TestPortalSignInAs(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, e engine) {
		s := e.startCopy(t, peopled, portalOn)
		v := s.visitorAs(roleNamed("managed_accounts of a manager"))
		own := v.jar[sessionCookie]
		at := "/portal/accounts/" + managedID
		as := func() string {
			t.Helper()
			if r := v.post(t, at+"/sign-in-as", url.Values{"reason": {"They called."}, "minutes": {"15"}}); r.StatusCode != 303 || v.jar[actingCookie] == "" || v.jar[sessionCookie] != own {
				t.Fatalf("sign in as: %d, %s, with %v", r.StatusCode, r.complaint(), v.jar)
			}
			return v.jar[actingCookie]
		}
		gone := func(what, token string) {
			t.Helper()
			if r := s.with(actingCookie, token).get(t, "/portal/"); r.StatusCode != 303 {
				t.Errorf("%s: the session as the owner answers %d", what, r.StatusCode)
			}
		}
		acting := as()
		body := string(v.get(t, "/portal/").body)
		if !strings.Contains(body, "You act as Larry&#39;s Cat Food Inc.") || !strings.Contains(body, "They called.") {
			t.Error("the page does not say for whom one acts, and why")
		}
		for _, page := range []string{"/portal/profile", "/portal/sessions", at, "/portal/accounts", "/portal/single-sign-on"} {
			if r := v.get(t, page); r.StatusCode != 403 {
				t.Errorf("%s while acting: %d", page, r.StatusCode)
			}
		}
		if r := v.post(t, "/portal/sign-out", url.Values{"end": {"acting"}}); r.StatusCode != 303 || r.Header.Get("Location") != at || v.jar[actingCookie] != "" || v.jar[sessionCookie] != own {
			t.Errorf("leave the account: %d to %q, with %v", r.StatusCode, r.Header.Get("Location"), v.jar)
		}
		gone("left", acting)
		if r := v.get(t, at); r.StatusCode != 200 {
			t.Errorf("back in person: %d", r.StatusCode)
		}
		acting = as()
		if r := v.post(t, "/portal/sign-out", nil); r.StatusCode != 303 || v.jar[actingCookie] != "" || v.jar[sessionCookie] != "" {
			t.Errorf("sign out of both: %d, with %v", r.StatusCode, v.jar)
		}
		gone("signed out", acting)
		if r := s.with(sessionCookie, own).get(t, "/portal/"); r.StatusCode != 303 {
			t.Errorf("the own session after that: %d", r.StatusCode)
		}
		// Whoever signs in in this browser does not go on as somebody's owner.
		v.signIn(t, "agent@example.com")
		own = v.jar[sessionCookie]
		acting = as()
		v.signIn(t, "owner@example.com")
		if v.jar[actingCookie] != "" {
			t.Error("who signed in acts as somebody else's owner")
		}
		gone("somebody else signed in", acting)
		// It ends with the own one that began it, wherever that is ended.
		v.signIn(t, "agent@example.com")
		own = v.jar[sessionCookie]
		acting = as()
		s.with(sessionCookie, own).post(t, "/portal/sessions/end-all", nil)
		gone("all ended elsewhere", acting)
	})
}

// TestPortalEnumeration: nobody learns whether an address is known: neither at sign-in,
// nor by asking for a new password, nor by what locks.
func TestPortalEnumeration(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, e engine) {
		s := e.startCopy(t, peopled, portalOn)
		emails := []string{"owner@example.com", "none@example.com", "manager@example.com"}
		ask := func(email, path string, form url.Values) string {
			t.Helper()
			form.Set("email", email)
			r := s.visitor().post(t, path, form)
			r.Header.Del("Content-Length")
			return strings.ReplaceAll(r.told(), email, "EMAIL")
		}
		alike := func(what, path string, form url.Values) string {
			t.Helper()
			known := ask(emails[0], path, form)
			for _, email := range emails[1:] {
				if diff := difference(known, ask(email, path, form)); diff != "" {
					t.Errorf("%s: %s is answered otherwise than %s: %s", what, email, emails[0], diff)
				}
			}
			return known
		}
		alike("forgotten", "/portal/forgot-password", url.Values{})
		for i := range 5 {
			if answer := alike("a wrong password", "/portal/sign-in", url.Values{"password": {fmt.Sprint("wrong ", i)}}); !strings.HasPrefix(answer, "422") {
				t.Errorf("a wrong password: %.300s", answer)
			}
		}
		for _, password := range []string{"wrong", goodPassword} {
			answer := alike("locked", "/portal/sign-in", url.Values{"password": {password}})
			if !strings.HasPrefix(answer, "429") || !strings.Contains(answer, "Too many tries") {
				t.Errorf("after five failures: %.300s", answer)
			}
		}
		s.move(6 * time.Minute)
		s.visitor().signIn(t, emails[0])
		for range 6 {
			alike("forgotten again and again", "/portal/forgot-password", url.Values{})
		}
	})
}

// TestPortalMails: where mail goes out, nobody reads it in the portal.
func TestPortalMails(t *testing.T) {
	t.Parallel()
	s := sqlite.startCopy(t, peopled)
	if r := s.visitor().get(t, "/portal/mails"); r.StatusCode != 404 {
		t.Errorf("mails: %d", r.StatusCode)
	}
	for _, path := range []string{"/portal", "/portal//accounts", "/portal/../portal/", "/portal/nowhere", "/portal/accounts/"} {
		if r := s.visitor().get(t, path); r.StatusCode != 303 && r.StatusCode != 307 && r.StatusCode != 404 {
			t.Errorf("%s: %d", path, r.StatusCode)
		}
	}
	v := s.visitor()
	v.header = http.Header{"Accept": {"text/html"}}
	if r := v.get(t, "/"); r.StatusCode != 303 {
		t.Errorf("/: %d", r.StatusCode)
	}
}
