package app_test

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/tenantry/tenantry/internal/portal"
)

// letIn are the roles that each Need lets in. Of the others, those that have signed
// in are told that they may not, and all the rest are sent to sign in.
var letIn = map[portal.Need][]string{
	"signed_in": {
		"in no group", "organization alone", "account alone", "connections alone", "managed_accounts where nothing is managed",
		"owner", "manager", "managed_accounts of a manager", "managed owner", "acting",
	},
	"in_person": {
		"in no group", "organization alone", "account alone", "connections alone", "managed_accounts where nothing is managed",
		"owner", "manager", "managed_accounts of a manager", "managed owner",
	},
	"managers":           {"manager", "managed_accounts of a manager"},
	"managers_in_person": {"manager", "managed_accounts of a manager"},
	"view_users":         {"organization alone", "owner", "manager", "managed owner", "acting"},
	"invite_users":       {"organization alone", "owner", "manager", "managed owner", "acting"},
	"manage_groups":      {"organization alone", "owner", "manager", "managed owner", "acting"},
	"remove_users":       {"organization alone", "owner", "manager", "managed owner", "acting"},
	"manage_user_keys":   {"organization alone", "owner", "manager", "managed owner", "acting"},
	"view_audit":         {"account alone", "owner", "manager", "managed owner", "acting"},
	"view_connections":   {"connections alone", "owner", "manager", "managed owner", "acting"},
	"manage_sign_on":     {"owner", "manager", "managed owner"},
	"reset_factor":       {"owner", "manager", "managed owner"},
	"operator":           {"operator"},
}

// outcome is what a role is to be answered by a page of that need.
func outcome(t *testing.T, need portal.Need, r role) string {
	t.Helper()
	switch {
	case need == "anybody":
		return "let in"
	case letIn[need] == nil:
		t.Errorf("there is a need %q that this test does not know", need)
	case slices.Contains(letIn[need], r.name):
		return "let in"
	case need != "operator" && slices.Contains(letIn["signed_in"], r.name):
		return "told"
	}
	return "sent to sign in"
}

// got is what an answer comes to.
func got(r reply) string {
	switch to := r.Header.Get("Location"); {
	case r.StatusCode == 403 && strings.Contains(string(r.body), "You are not authorized to access the requested resource."):
		return "told"
	case r.StatusCode == 303 && (strings.HasPrefix(to, "/portal/sign-in") || strings.HasPrefix(to, "/portal/operator/sign-in")):
		return "sent to sign in"
	}
	return "let in"
}

// pageIDs are what stands for the parameters of a path, by what comes before them, in
// each organization; a name is one that peopled has in ids.
var pageIDs = map[string]map[string]string{
	"accounts": {
		managerID: managedID, plainID: managedID, managedID: managedID, rivalID: "00000000-0000-7000-8000-000000000031",
	},
	"users": {
		managerID: "00000000-0000-7000-8000-000000000019", plainID: "00000000-0000-7000-8000-000000000021",
		managedID: "00000000-0000-7000-8000-0000000000a1", rivalID: "00000000-0000-7000-8000-000000000036",
	},
	"groups": {
		managerID: "00000000-0000-7000-8000-000000000102", plainID: "00000000-0000-7000-8000-000000000201",
		managedID: "00000000-0000-7000-8000-0000000000b1", rivalID: "00000000-0000-7000-8000-000000000301",
	},
	"user's keys": {
		managerID: "key of helper@example.com", plainID: "key of user@example.com", managedID: "key of tom@example.com", rivalID: "key of spy@example.net",
	},
	"invitations": {
		managerID: "invitation of " + managerID, plainID: "invitation of " + plainID, managedID: "invitation of " + managedID, rivalID: "invitation of " + rivalID,
	},
	"operator's accounts": {managerID: managerID, plainID: plainID, managedID: managedID, rivalID: rivalID},
	"start":               {managerID: managerID, plainID: plainID, managedID: managedID, rivalID: rivalID},
}

// idOf is what stands for a parameter of a route, for a role: what is a person's own is
// by the person.
func (s *server) idOf(t *testing.T, pattern, parameter string, r role) string {
	t.Helper()
	before := strings.Split(pattern[:strings.Index(pattern, parameter)], "/")
	kind := before[len(before)-2]
	switch {
	case parameter == "{key_id}":
		kind = "user's keys"
	case strings.Contains(pattern, "/portal/operator/") && kind == "accounts":
		kind = "operator's accounts"
	case kind == "keys":
		if id := s.ids["key of "+r.session]; id != "" {
			return id
		}
		return s.ids["key of larry@example.com"] // whom "acting" acts for; of the others nobody looks
	case kind == "sessions":
		return cmp.Or(s.ids["session of "+r.session], unknownID)
	}
	id := pageIDs[kind][r.organization]
	if id == "" {
		t.Errorf("%s: this test knows no id for %s", pattern, parameter)
	}
	if named := s.ids[id]; named != "" {
		id = named
	}
	return id
}

// changes are the forms of all changes, and how who may is answered: 303 where nothing
// is said. {users} and the like are ids.
var changes = map[string]struct {
	form   string
	status int
}{
	"POST /portal/sign-in":                                                    {"email=user@example.com&password=wrong", 422},
	"POST /portal/sign-in/code":                                               {"code=000000", 303},
	"POST /portal/sign-out":                                                   {"", 303},
	"POST /portal/operator/sign-in":                                           {"token=wrong", 422},
	"POST /portal/forgot-password":                                            {"email=user@example.com", 200},
	"POST /portal/reset-password":                                             {"token=none&password=x&repeated=x", 410},
	"POST /portal/invitation":                                                 {"token=none&password=x&repeated=x", 410},
	"POST /portal/accounts/new":                                               {"business_name=Made+by+the+matrix", 303},
	"POST /portal/accounts/{id}/disable":                                      {"reason=matrix&hang_up=1", 303},
	"POST /portal/accounts/{id}/enable":                                       {"reason=matrix", 303},
	"POST /portal/accounts/{id}/credentials":                                  {"", 200},
	"POST /portal/accounts/{id}/channels":                                     {"channel_limit=31", 303},
	"POST /portal/accounts/{id}/pricing":                                      {"custom_pricing=1", 303},
	"POST /portal/accounts/{id}/sign-in-as":                                   {"reason=matrix&minutes=15", 303},
	"POST /portal/accounts/disable":                                           {"accounts=larry@example.com", 200},
	"POST /portal/accounts/disable/confirm":                                   {"ids=" + managedID + "&reason=matrix", 200},
	"POST /portal/users/{id}/remove":                                          {"", 303},
	"POST /portal/users/{id}/join":                                            {"group_id={groups}", 303},
	"POST /portal/users/{id}/leave":                                           {"group_id={groups}", 303},
	"POST /portal/users/{id}/keys/{key_id}/revoke":                            {"", 303},
	"POST /portal/users/{id}/reset-second-factor":                             {"", 303},
	"POST /portal/users/{id}/bypass":                                          {"bypasses=1", 303},
	"POST /portal/users/{id}/unlink":                                          {"", 303},
	"POST /portal/groups":                                                     {"name=Matrix&permissions=organization", 303},
	"POST /portal/groups/{id}":                                                {"name=Matrix", 303},
	"POST /portal/groups/{id}/members":                                        {"email={email}", 303},
	"POST /portal/groups/{id}/remove":                                         {"", 303},
	"POST /portal/keys":                                                       {"name=matrix&expires=168h", 200},
	"POST /portal/keys/{id}/rotate":                                           {"overlap=1h", 200},
	"POST /portal/keys/{id}/revoke":                                           {"", 303},
	"POST /portal/sessions/{id}/end":                                          {"", 303},
	"POST /portal/sessions/end-all":                                           {"", 303},
	"POST /portal/profile/password":                                           {"old_password=wrong&password=x&repeated=x", 422},
	"POST /portal/profile/second-factor":                                      {"", 200},
	"POST /portal/profile/second-factor/confirm":                              {"code=000000&url=otpauth%3A%2F%2Ftotp%2Fx%3Fsecret%3DABCDEFGH", 409},
	"POST /portal/profile/second-factor/remove":                               {"code=000000", 409},
	"POST /portal/invitations":                                                {"email=matrix@example.org", 303},
	"POST /portal/invitations/{id}/resend":                                    {"", 429}, // it has just been sent
	"POST /portal/invitations/{id}/revoke":                                    {"", 303},
	"POST /portal/single-sign-on":                                             {"issuer=https://127.0.0.1:1&client_id=c&client_secret=s&domains=example.com", 422},
	"POST /portal/single-sign-on/remove":                                      {"", 303},
	"POST /portal/operator/end-all":                                           {"", 303},
	"POST /portal/operator/accounts/new":                                      {"business_name=Made+by+the+matrix&email=matrix@example.org", 303},
	"POST /portal/operator/accounts/{id}/approve":                             {"channel_pool=5", 303},
	"POST /portal/operator/accounts/{id}/revoke":                              {"", 303},
	"POST /portal/operator/accounts/{id}/block":                               {"", 303},
	"POST /portal/operator/accounts/{id}/unblock":                             {"", 303},
	"POST /portal/operator/accounts/{id}/cancel":                              {"confirm=owner@example.com", 303},
	"POST /portal/operator/accounts/{id}/credit":                              {"balance=1.00&credit_limit=0.00", 303},
	"POST /portal/operator/accounts/{id}/users/{user_id}/block":               {"", 303},
	"POST /portal/operator/accounts/{id}/users/{user_id}/unblock":             {"", 303},
	"POST /portal/operator/accounts/{id}/users/{user_id}/reset-second-factor": {"", 303},
}

// otherwise is what pages answer to who may see them, where it is not 200.
var otherwise = map[string]int{
	"GET /portal/sign-in/code":   303,                                // nobody owes a code
	"GET /portal/reset-password": 410, "GET /portal/invitation": 410, // without a link
	"GET /portal/sso/start/{id}": 303, "GET /portal/sso/callback": 303, // none is set up
}

// asked is the request of a role for a route.
func (s *server) asked(t *testing.T, route portal.Route, r role) (method, path, form string) {
	t.Helper()
	method, path, _ = strings.Cut(route.Pattern, " ")
	path = strings.TrimSuffix(path, "{$}")
	if path == "/portal/assets/{digest}/{name}" {
		return method, s.asset(t), ""
	}
	path = parameter.ReplaceAllStringFunc(path, func(name string) string { return s.idOf(t, route.Pattern, name, r) })
	if method == "GET" {
		return method, path, ""
	}
	change, known := changes[route.Pattern]
	if !known {
		t.Errorf("this test knows no form for %s", route.Pattern)
	}
	email := map[string]string{managerID: "agent@example.com", plainID: "clerk@example.com", managedID: "larry@example.com"}[r.organization]
	return method, path, strings.NewReplacer("{groups}", pageIDs["groups"][r.organization], "{email}", email).Replace(change.form)
}

var stylesheet = regexp.MustCompile(`href="(/portal/assets/[^"]*\.css)"`)

// asset is where the stylesheet is.
func (s *server) asset(t *testing.T) string {
	t.Helper()
	found := stylesheet.FindSubmatch(s.visitor().get(t, "/portal/sign-in").body)
	if found == nil {
		t.Fatal("the sign-in page has no stylesheet")
	}
	return string(found[1])
}

// TestPortalRefusals asks for every page and every change as everybody: whoever may not
// is refused, and leaves nothing. Those who may see a page do.
func TestPortalRefusals(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, e engine) {
		s := e.startCopy(t, peopled, portalOn)
		c := s.connect(t)
		before := traces(t, s, c)
		for _, route := range portal.Routes {
			for _, r := range roles {
				want := outcome(t, route.Need, r)
				method, path, form := s.asked(t, route, r)
				if method == "POST" && want == "let in" {
					continue // see TestPortalChanges
				}
				v := s.visitorAs(r)
				answer := v.do(t, method, path, "application/x-www-form-urlencoded", form)
				if r.cookie == actingCookie && r.name != "acting" && want == "sent to sign in" && route.Need != "operator" {
					want = "let in" // as whom the browser has signed in beside it: nobody
					if answer.Header.Get("Location") != "/portal/" || v.jar[actingCookie] != "" {
						t.Errorf("%s as %s: %d to %q, with %v", route.Pattern, r.name, answer.StatusCode, answer.Header.Get("Location"), v.jar)
					}
				}
				if route.Need != "anybody" && got(answer) != want {
					t.Errorf("%s as %s is %s (%d), not %s", route.Pattern, r.name, got(answer), answer.StatusCode, want)
				}
				if status := max(200, otherwise[route.Pattern]); want == "let in" && route.Need != "anybody" && method == "GET" && r.cookie != actingCookie && answer.StatusCode != status {
					t.Errorf("%s as %s: %d, want %d", route.Pattern, r.name, answer.StatusCode, status)
				}
				if status := max(200, otherwise[route.Pattern]); route.Need == "anybody" && answer.StatusCode != status {
					t.Errorf("%s as %s: %d, want %d", route.Pattern, r.name, answer.StatusCode, status)
				}
			}
			if after := traces(t, s, c); after != before {
				t.Fatalf("%s: refused requests left traces:\n%s\nbefore:\n%s", route.Pattern, after, before)
			}
		}
	})
}

// TestPortalChanges: whoever may do something can.
func TestPortalChanges(t *testing.T) {
	t.Parallel()
	done := map[string]bool{}
	for _, route := range portal.Routes {
		done[route.Pattern] = true
		if !strings.HasPrefix(route.Pattern, "POST ") {
			continue
		}
		t.Run(strings.ReplaceAll(route.Pattern[len("POST /portal/"):], "/", " "), func(t *testing.T) {
			t.Parallel()
			eachEngine(t, func(t *testing.T, e engine) {
				if e == postgres && testing.Short() {
					t.Skip("one engine is enough with -short")
				}
				s := e.startCopy(t, peopled, portalOn)
				want := changes[route.Pattern].status
				first := true
				for _, r := range roles {
					if outcome(t, route.Need, r) != "let in" {
						continue
					}
					method, path, form := s.asked(t, route, r)
					v := s.visitorAs(r)
					v.shown = []string{s.keys["larry@example.com"], s.tokens["larry@example.com"]} // who asks for them
					answer := v.do(t, method, path, "application/x-www-form-urlencoded", form)
					if route.Need != "anybody" && (got(answer) == "told" || got(answer) == "sent to sign in" && want != 303) || first && answer.StatusCode != want {
						t.Errorf("as %s: %d to %q, want %d: %s", r.name, answer.StatusCode, answer.Header.Get("Location"), want, answer.complaint())
					}
					first = false
				}
			})
		})
	}
	for pattern := range changes {
		if !done[pattern] {
			t.Errorf("there is no %s any more", pattern)
		}
	}
}

// TestPortalTokensElsewhere: what opens the portal opens nothing else.
func TestPortalTokensElsewhere(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, e engine) {
		s := e.startCopy(t, peopled, portalOn)
		c := s.connect(t)
		for _, whose := range []string{"owner@example.com", "acting", "operator", "pending", "manager@example.com"} {
			token := s.tokens["session of "+whose]
			for _, path := range []string{"/v2/balance", "/v2/managed_accounts", "/portal/session", "/operator/v1/accounts", "/v2/organizations/users"} {
				if r := c.call(t, "GET", path, token, ""); r.StatusCode != 401 {
					t.Errorf("%s with the session of %s: %d", path, whose, r.StatusCode)
				}
			}
		}
		if r := c.call(t, "GET", "/portal/session", s.tokens["session of api"], ""); r.StatusCode != 200 {
			t.Errorf("the session of the API itself: %d", r.StatusCode)
		}
	})
}

// links are where a page leads, and where its forms go, with their method before.
func links(t *testing.T, body []byte) (to, forms []string) {
	t.Helper()
	page, err := html.Parse(strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	for n := range page.Descendants() {
		switch {
		case n.Data == "form" && strings.EqualFold(attribute(n, "method"), "post"):
			forms = append(forms, "POST "+attribute(n, "action"))
		case n.Data == "form" && attribute(n, "action") != "":
			to = append(to, attribute(n, "action"))
		case n.Data == "a" || n.Data == "link":
			if href := attribute(n, "href"); strings.HasPrefix(href, portal.Prefix) {
				to = append(to, href)
			}
		case n.Data == "script" && attribute(n, "src") != "":
			to = append(to, attribute(n, "src"))
		}
	}
	return to, forms
}

// TestPortalLinks follows every link that anybody is shown: each leads to a page, and
// each form to a change that the visitor may make. What the menu does not show is
// refused.
func TestPortalLinks(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, e engine) {
		s := e.startCopy(t, peopled, portalOn)
		c := s.connect(t)
		before := traces(t, s, c)
		menus, all := map[string][]string{}, map[string]bool{}
		for _, r := range roles {
			if outcome(t, "signed_in", r) != "let in" && r.name != "operator" && r.name != "nobody" {
				continue
			}
			v := s.visitorAs(r)
			begin := "/portal/"
			if r.name == "operator" {
				begin = "/portal/operator"
			}
			queue, from := []string{begin}, map[string]string{begin: ""}
			for i := 0; i < len(queue) && i < 400; i++ {
				answer := v.get(t, queue[i])
				if answer.StatusCode == 303 && r.name != "operator" && r.name != "nobody" && !strings.HasPrefix(queue[i], "/portal/sso") {
					t.Errorf("%s: %s, from %s, leads to %q", r.name, queue[i], from[queue[i]], answer.Header.Get("Location"))
				}
				if answer.StatusCode != 200 && answer.StatusCode != 303 {
					t.Errorf("%s: %s, from %s, answers %d", r.name, queue[i], from[queue[i]], answer.StatusCode)
				}
				to, forms := links(t, answer.body)
				if next := answer.Header.Get("Location"); next != "" {
					to = append(to, next)
				}
				for _, link := range to {
					if _, seen := from[link]; !seen && !strings.Contains(link, "next=") {
						from[link] = queue[i]
						queue = append(queue, link)
					}
				}
				for _, form := range forms {
					if route := routeOf(form); route == nil || outcome(t, route.Need, r) != "let in" {
						t.Errorf("%s: %s has a form that the visitor may not send: %s", r.name, queue[i], form)
					}
				}
				if i == 0 {
					menus[r.name] = to
				}
			}
			if len(queue) < 5 {
				t.Errorf("%s finds %d pages", r.name, len(queue))
			}
		}
		for _, menu := range menus {
			for _, link := range menu {
				all[link] = true
			}
		}
		for name, menu := range menus {
			if name == "operator" || name == "nobody" {
				continue
			}
			for _, link := range slices.Sorted(maps.Keys(all)) {
				route := routeOf("GET " + link)
				if route == nil || slices.Contains(menu, link) || route.Need == "anybody" || strings.Contains(route.Pattern, "{id}") {
					continue
				}
				if want := outcome(t, route.Need, roleNamed(name)); want == "let in" && !strings.Contains(link, "?") && !strings.HasSuffix(link, "/new") {
					t.Errorf("%s may go to %s, and nothing leads there", name, link)
				}
			}
		}
		if after := traces(t, s, c); after != before {
			t.Errorf("looking at pages left traces:\n%s\nbefore:\n%s", after, before)
		}
	})
}

// routeOf is the route of "METHOD path", nil for none.
func routeOf(asked string) *portal.Route {
	method, target, _ := strings.Cut(asked, " ")
	u, err := url.Parse(target)
	if err != nil {
		return nil
	}
	var best *portal.Route
	for i, route := range portal.Routes {
		m, pattern, _ := strings.Cut(strings.TrimSuffix(route.Pattern, "{$}"), " ")
		expression := "^" + regexp.MustCompile(`\\\{\w+\\\}`).ReplaceAllString(regexp.QuoteMeta(pattern), "[^/]+") + "$"
		if m == method && regexp.MustCompile(expression).MatchString(u.Path) && (best == nil || strings.Contains(best.Pattern, "{")) {
			best = &portal.Routes[i]
		}
	}
	return best
}

// TestPortalForeignIDs: somebody else's id is answered like one that nobody has, byte
// for byte but for the request id, wherever an id goes.
func TestPortalForeignIDs(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, e engine) {
		s := e.startCopy(t, peopled, portalOn)
		rival := role{"rival", sessionCookie, "rival@example.net", rivalID}
		ask := func(route portal.Route, r role, id map[string]string, form string) reply {
			method, path, _ := strings.Cut(route.Pattern, " ")
			path = parameter.ReplaceAllStringFunc(path, func(name string) string {
				if id[name] != "" {
					return id[name]
				}
				return s.idOf(t, route.Pattern, name, r)
			})
			return s.visitorAs(r).do(t, method, path, "application/x-www-form-urlencoded", form)
		}
		alike := func(what string, foreign, unknown reply, theirs, nobodys string) {
			t.Helper()
			if diff := difference(strings.ReplaceAll(unknown.told(), nobodys, "ID"), strings.ReplaceAll(foreign.told(), theirs, "ID")); diff != "" {
				t.Errorf("%s: a foreign id is answered otherwise than an unknown one: %s", what, diff)
			}
		}
		asked := 0
		for _, route := range portal.Routes {
			r := roleNamed("manager")
			if route.Need == "operator" {
				r = roleNamed("operator")
			}
			_, _, form := s.asked(t, route, r)
			for _, name := range parameter.FindAllString(route.Pattern, -1) {
				if name == "{$}" || name == "{digest}" || name == "{name}" {
					continue
				}
				theirs := s.idOf(t, route.Pattern, name, rival)
				if route.Need == "operator" && name == "{id}" {
					theirs = s.ids["spy@example.net"] // to the operator, no account is foreign
				}
				foreign := ask(route, r, map[string]string{name: theirs}, form)
				for _, unknown := range []string{unknownID, "zz", "%00", "a%00", "%FF", "%27", "%C3%A4", "%F0%9F%98%80", strings.Repeat("9", 300)} {
					alike(route.Pattern+" with "+name+" "+unknown, foreign, ask(route, r, map[string]string{name: unknown}, form), theirs, unknown)
				}
				if want := max(404, 0); foreign.StatusCode != want && route.Pattern != "GET /portal/sso/start/{id}" {
					t.Errorf("%s with a foreign %s: %d", route.Pattern, name, foreign.StatusCode)
				}
				asked++
			}
		}
		if asked < 40 {
			t.Errorf("only %d routes have an id", asked)
		}
		// Ids in forms.
		manager := roleNamed("manager")
		for _, test := range []struct{ pattern, form, theirs string }{
			{"POST /portal/users/{id}/join", "group_id=%s", pageIDs["groups"][rivalID]},
			{"POST /portal/users/{id}/leave", "group_id=%s", pageIDs["groups"][rivalID]},
			{"POST /portal/invitations", "email=new@example.org&group_ids=%s", pageIDs["groups"][rivalID]},
			{"POST /portal/accounts/disable", "id=%s", pageIDs["accounts"][rivalID]},
			{"POST /portal/accounts/disable", "accounts=%s", "customer@example.net"},
			{"POST /portal/accounts/disable/confirm", "ids=%s", pageIDs["accounts"][rivalID]},
			{"POST /portal/groups/{id}/members", "email=%s", "spy@example.net"},
			{"GET /portal/audit", "user=%s", s.ids["spy@example.net"]},
			{"GET /portal/audit", "resource=%s", pageIDs["groups"][rivalID]},
			{"GET /portal/accounts", "q=%s", pageIDs["accounts"][rivalID]},
			{"GET /portal/accounts", "q=%s", "customer@example.net"},
		} {
			route := portal.Routes[slices.IndexFunc(portal.Routes, func(r portal.Route) bool { return r.Pattern == test.pattern })]
			nobodys := unknownID
			if strings.Contains(test.theirs, "@") {
				nobodys = strings.Repeat("x", len(test.theirs)-len("@example.net")) + "@example.net"
			}
			send := func(id string) reply {
				form := fmt.Sprintf(test.form, id)
				if strings.HasPrefix(test.pattern, "GET ") {
					return s.visitorAs(manager).get(t, strings.TrimPrefix(test.pattern, "GET ")+"?"+form)
				}
				return ask(route, manager, nil, form)
			}
			escape := func(text string) string { return url.QueryEscape(text) }
			foreign, unknown := send(test.theirs), send(nobodys)
			foreign.body = []byte(strings.ReplaceAll(string(foreign.body), escape(test.theirs), "ID"))
			unknown.body = []byte(strings.ReplaceAll(string(unknown.body), escape(nobodys), "ID"))
			alike(test.pattern+" "+test.form, foreign, unknown, test.theirs, nobodys)
		}
	})
}
