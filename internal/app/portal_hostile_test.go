package app_test

import (
	"encoding/csv"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"golang.org/x/net/html"

	"github.com/tenantry/tenantry/internal/portal"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// hostileNames are names that would do something where they are not text alone.
var hostileNames = []string{
	`<script>alert(1)</script>`, `</script><script>alert(1)</script>`, `<ScRiPt src=//evil.example></sCrIpT>`, `<svg onload=alert(1)>`, `<svg/onload=alert(1)//`,
	`<img src=x onerror=alert(1)>`, `<iframe srcdoc="<script>alert(1)</script>">`, `<math><mi//xlink:href="data:x,<script>alert(1)</script>">`, `<body onload=alert(1)>`,
	`<a href="javascript:alert(1)">x</a>`, `<base href="//evil.example/">`, `<meta http-equiv="refresh" content="0;url=//evil.example">`, `<link rel=stylesheet href=//evil.example>`,
	`<style>*{display:none}</style>`, `<form action=//evil.example><input name=x>`, `<template><script>alert(1)</script></template>`, `<plaintext>`, `<!--`, `-->`, `<![CDATA[`, `]]>`, `<?php`, `<%= 7*7 %>`,
	`" onmouseover="alert(1)`, `' onmouseover='alert(1)`, "` onmouseover=`alert(1)", `"><svg onload=alert(1)>`, `'><svg onload=alert(1)>`, `x" autofocus onfocus=alert(1) y="`, `" style="position:fixed;inset:0`,
	`</title><script>alert(1)</script>`, `</textarea><script>alert(1)</script>`, `</option></select><svg onload=alert(1)>`, `</svg><script>alert(1)</script>`, `</td></tr></table><svg onload=alert(1)>`,
	`javascript:alert(1)`, `data:text/html,<script>alert(1)</script>`, `//evil.example`, `https://evil.example/`, `../../evil`,
	`{{.}}`, `{{template "layout" .}}`, `{{printf "%s" .Data}}`, `${7*7}`, `#{7*7}`, `<%- include %>`, `{% raw %}`, `[[7*7]]`, `&lt;script&gt;`, `&#60;script&#62;`, `&quot;&amp;&notit;`, `&`, `<`, `"`, `'`, `\`, `\u003cscript\u003e`, `%3Cscript%3E`,
	`=1+1`, `+1+1`, `-1+1`, `@SUM(1)`, `=cmd|' /C calc'!A0`, ` =1+1`, `＝1+1`, `＋1`, `－1`, `＠x`, `=HYPERLINK("http://evil.example","x")`, `'=1+1`, `"=1+1"`, `,=1+1`, `;=1+1`, `%0A=1`, `|calc`,
	"\u200bzero width", "\u00a0no-break", "e\u0301\u0301\u0301\u0301\u0301\u0301", "\u05d0\u05d1\u05d2 \u0627\u0644", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\ufeffmark", "\ufdfa", "\u2044\uff0f", "x\U000e0041\U000e0042", "\u00ad\u2060x",
	strings.Repeat("W", 255), strings.Repeat("<", 255), strings.Repeat(`"`, 255), strings.Repeat("&", 255), strings.Repeat("a ", 127), strings.Repeat("ä", 127),
}

// refusedNames are not taken as names at all: they would turn or break the text around.
var refusedNames = []string{"a\u202eb", "a\u2066b", "a\nb", "a\x1b[31mb", "a\u2028b", "\x07", " ", "\u00a0", "a\ufffdb", strings.Repeat("x", 256)}

// hostileMailboxes are what comes before the @ of addresses that are valid.
var hostileMailboxes = []string{
	`'onmouseover='alert`, `{{.}}`, `${7*7}`, "`id`", `=1+1`, `+1`, `-1`, `a&b`, `a'b`, `#x`, `a/b`, `%3Cscript%3E`, `a?b=c`, `é`, "\u05d0", `|calc`, `!x`, `*`, `a~b`, `{%x%}`,
}

// naming gives everything in an organization a name.
type naming struct {
	names, mailboxes []string
	accounts, users  []string // their ids
}

// giveNames makes a manager accounts of those names, and groups, users, keys and
// sessions.
func (s *server) giveNames(t *testing.T, n *naming) {
	t.Helper()
	ctx, a := t.Context(), s.app.Service
	manager := tenant.Actor{AccountID: managerID, UserID: managerID, Manager: true, CredentialID: "named"}
	operator := tenant.Actor{Operator: true, CredentialID: "named"}
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var group *tenant.Group
	for i, name := range n.names {
		email := fmt.Sprintf("account%03d@example.com", i)
		var account *service.Account
		must(a.CreateManagedAccount(ctx, manager, service.NewAccount{BusinessName: name, Email: &email}, service.Once{Request: email}, func(made *service.Account) ([]byte, error) {
			account = made
			return nil, nil
		}))
		n.accounts = append(n.accounts, account.ID)
		must(a.CreateConnection(ctx, operator, account.ID, tenant.Connection{Name: name, Kind: "credentials", Usernames: []string{fmt.Sprint("line", i)}, Active: true, Hold: name},
			service.Once{Request: email}, func(*tenant.Connection) ([]byte, error) { return nil, nil }))
		must(a.SetChannelLimit(ctx, manager, account.ID, new(int64(3))))
		owner := tenant.Actor{AccountID: account.ID, UserID: account.ID, ManagerID: managerID, CredentialID: "named"}
		key, _, err := a.CreateKey(ctx, owner, name, time.Time{})
		must(key, err)
		group, err = a.CreateOwnGroup(ctx, manager, name, []string{"reporting"})
		must(group, err)
		must(a.CreateOwnGroup(ctx, owner, name, []string{"account"}))
		must(a.DisableAccount(ctx, manager, account.ID, name))
		must(a.EnableAccount(ctx, manager, account.ID, false, name))
		session := store.Session{
			ID: s.app.DB.Source().NewID(), Digest: s.app.Sealer.Digest("owner" + account.ID), Kind: store.PortalSession, AccountID: account.ID, UserID: account.ID,
			CreatedAt: time.UnixMicro(s.clock.Load()), ExpiresAt: time.UnixMicro(s.clock.Load()).Add(time.Hour), UsedAt: time.UnixMicro(s.clock.Load()),
			UserAgent: name, Address: name,
		}
		acting := session
		acting.ID, acting.Digest, acting.PersonAccountID, acting.PersonUserID, acting.Reason = s.app.DB.Source().NewID(), s.app.Sealer.Digest("acting"+account.ID), managerID, s.ids["agent@example.com"], name
		must(nil, s.app.DB.Update(ctx, account.ID, func(tx *store.Tx) error {
			if err := tx.StartSession(acting); err != nil {
				return err
			}
			return tx.StartSession(session)
		}))
		s.tokens["session of owner "+account.ID], s.tokens["session of acting "+account.ID] = "owner"+account.ID, "acting"+account.ID
	}
	for _, mailbox := range n.mailboxes {
		must(a.CreateUser(ctx, operator, managerID, service.NewUser{Email: mailbox + "@example.com", GroupIDs: []string{group.ID}}, service.Once{Request: mailbox}, func(u *service.User, _ string) ([]byte, error) {
			n.users = append(n.users, u.ID)
			return nil, nil
		}))
	}
	for _, mailbox := range n.mailboxes[:5] {
		must(a.Invite(ctx, manager, mailbox+"@example.org", []string{group.ID}))
	}
}

// shape is a page without its texts and the values of attributes, and texts are those.
func shape(t *testing.T, body []byte) (shape string, texts []string) {
	t.Helper()
	page, err := html.Parse(strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for n := range page.Descendants() {
		switch n.Type {
		case html.TextNode:
			texts = append(texts, n.Data)
		case html.ElementNode:
			b.WriteString("<" + n.Data)
			for _, a := range n.Attr {
				b.WriteString(" " + a.Key)
				texts = append(texts, a.Val)
			}
			b.WriteString(">")
		default:
			fmt.Fprintf(&b, "(%d)", n.Type)
		}
	}
	return b.String(), texts
}

// TestPortalHostileNames: whatever things are called, pages are made of the same elements
// and attributes as with harmless names of the same length, and show the names as they are.
func TestPortalHostileNames(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, e engine) {
		harmless := func(names []string) (plain []string) {
			for i, name := range names {
				text := fmt.Sprintf("n%03d", i)
				plain = append(plain, text+strings.Repeat("x", max(0, len(name)-len(text))))
			}
			return plain
		}
		worlds := []*naming{{names: hostileNames, mailboxes: hostileMailboxes}, {names: harmless(hostileNames), mailboxes: harmless(hostileMailboxes)}}
		var visited [2][]string
		var shapes [2]map[int]string
		var seen [2]strings.Builder
		for w, n := range worlds {
			s := e.startCopy(t, peopled, portalOn)
			s.giveNames(t, n)
			shapes[w] = map[int]string{}
			look := func(v *visitor, path string) {
				t.Helper()
				r := v.get(t, path)
				if r.StatusCode != 200 {
					t.Errorf("%s: %d", path, r.StatusCode)
				}
				made, texts := shape(t, r.body)
				shapes[w][len(visited[w])] = made
				visited[w] = append(visited[w], path)
				seen[w].WriteString("\x00" + strings.Join(texts, "\x00") + "\x00")
			}
			manager, operator := s.visitorAs(roleNamed("manager")), s.visitorAs(roleNamed("operator"))
			for _, path := range []string{
				"", "accounts?size=250", "accounts?status=enabled&sort=email&size=250", "accounts?size=3&q=x", "channels", "connections", "users?size=250", "groups", "invitations", "audit", "keys", "sessions", "accounts/new", "accounts/disable",
			} {
				look(manager, "/portal/"+path)
			}
			for _, path := range []string{"", "/accounts?size=250", "/accounts/" + managerID + "/accounts?size=250", "/accounts/" + managerID + "/users?size=250", "/accounts/" + managerID + "/audit"} {
				look(operator, "/portal/operator"+path)
			}
			for i, id := range n.accounts {
				look(manager, "/portal/accounts/"+id)
				owner := s.with(sessionCookie, "owner"+id)
				look(owner, "/portal/sessions")
				look(owner, "/portal/keys")
				look(s.with(actingCookie, "acting"+id), "/portal/")
				if i%4 != 0 {
					continue // more of the same
				}
				look(owner, "/portal/audit")
				look(owner, "/portal/connections")
				look(owner, "/portal/groups")
				look(owner, "/portal/profile")
				look(operator, "/portal/operator/accounts/"+id)
				look(operator, "/portal/operator/accounts/"+id+"/audit")
				look(operator, "/portal/operator/accounts/"+id+"/users")
			}
			for i, id := range n.users {
				if i < 5 {
					look(manager, "/portal/users/"+id)
				}
			}
			// What is searched for comes back, too, and what was entered wrongly.
			for _, name := range n.names {
				r := manager.get(t, "/portal/accounts?q="+url.QueryEscape(name))
				if r.StatusCode != 200 {
					t.Errorf("search for %q: %d", name, r.StatusCode)
				}
				r = manager.post(t, "/portal/accounts/new", url.Values{"business_name": {name}, "email": {name}})
				made, texts := shape(t, r.body)
				if r.StatusCode != 422 || !slices.Contains(texts, name) {
					t.Errorf("a new account with the address %q: %d, or it does not come back", name, r.StatusCode)
				}
				shapes[w][len(visited[w])] = made
				visited[w] = append(visited[w], "new account "+name)
			}
			for _, path := range []string{"/portal/accounts.csv", "/portal/users.csv"} {
				checkCells(t, n, path, manager.get(t, path))
			}
			for _, name := range refusedNames {
				for _, form := range []string{"/portal/accounts/new business_name", "/portal/groups name", "/portal/keys name", "/portal/accounts/" + n.accounts[0] + "/disable reason"} {
					path, field, _ := strings.Cut(form, " ")
					if field == "reason" && strings.TrimSpace(name) == "" {
						continue // none is needed
					}
					if r := manager.post(t, path, url.Values{field: {name}}); r.StatusCode != 422 || !r.explained() {
						t.Errorf("%s with %s %q: %d, %q", path, field, name, r.StatusCode, r.complaint())
					}
				}
			}
		}
		for i, made := range shapes[0] {
			if made != shapes[1][i] {
				t.Errorf("%s has other elements than %s: %s", visited[0][i], visited[1][i], difference(strings.ReplaceAll(shapes[1][i], "<", "\n<"), strings.ReplaceAll(made, "<", "\n<")))
			}
		}
		if len(shapes[0]) != len(shapes[1]) || len(shapes[0]) < 4*len(hostileNames) {
			t.Errorf("%d and %d pages were seen", len(shapes[0]), len(shapes[1]))
		}
		for w, n := range worlds {
			text := seen[w].String()
			for _, name := range n.names {
				if !strings.Contains(text, "\x00"+name+"\x00") {
					t.Errorf("%q is nowhere as it is", name)
				}
			}
			for _, mailbox := range n.mailboxes {
				if !strings.Contains(text, "\x00"+mailbox+"@example.com\x00") {
					t.Errorf("%q is nowhere as it is", mailbox)
				}
			}
		}
	})
}

// checkCells holds a download to its names: each is there, and a spreadsheet takes no
// cell for a formula.
func checkCells(t *testing.T, n *naming, path string, r reply) {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(string(r.body))).ReadAll()
	if err != nil || r.StatusCode != 200 || !strings.HasPrefix(r.Header.Get("Content-Disposition"), `attachment; filename="`) || r.Header.Get("Content-Type") != "text/csv; charset=utf-8" {
		t.Fatalf("%s: %d, %v, %v", path, r.StatusCode, r.Header, err)
	}
	cells := map[string]bool{}
	for _, row := range rows {
		for _, cell := range row {
			start := strings.TrimLeftFunc(cell, unicode.IsSpace)
			if start != "" && strings.ContainsAny(start[:1], "=+@\t\r") || strings.HasPrefix(start, "＝") || strings.HasPrefix(start, "＋") || strings.HasPrefix(start, "－") || strings.HasPrefix(start, "＠") ||
				strings.HasPrefix(start, "-") && strings.Trim(start, "-.0123456789") != "" {
				t.Errorf("%s: the cell %q is a formula", path, cell)
			}
			cells[strings.TrimPrefix(cell, "'")] = true
		}
	}
	wanted := n.names
	if path == "/portal/users.csv" {
		wanted = nil
		for _, mailbox := range n.mailboxes {
			wanted = append(wanted, mailbox+"@example.com")
		}
	}
	for _, name := range wanted {
		if !cells[strings.TrimPrefix(name, "'")] {
			t.Errorf("%s lacks %q", path, name)
		}
	}
}

// TestPortalSecrets: what was entered as a secret is on no page afterwards. Everybody's
// keys, tokens, links and hashes are looked for in each answer of all these tests.
func TestPortalSecrets(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, e engine) {
		s := e.startCopy(t, peopled, portalOn)
		const secret = "CANARY-client-secret-1f0b"
		owner := tenant.Actor{AccountID: plainID, UserID: plainID, CredentialID: "test"}
		if err := s.app.Service.SetSignOn(t.Context(), owner, service.NewSignOn{Issuer: "https://login.example.com", ClientID: "c", Secret: new(secret), Domains: []string{"example.com"}}); err != nil {
			t.Fatal(err)
		}
		manager, plain := s.visitorAs(roleNamed("manager")), s.visitorAs(roleNamed("owner"))
		code, _ := enrolment(t, plain.post(t, "/portal/profile/second-factor", nil))
		planted := map[string]string{"client secret": secret, "second factor": code}
		for name, key := range map[string]reply{
			"made": plain.post(t, "/portal/keys", url.Values{"name": {"made"}}), "rotated": plain.post(t, "/portal/keys/"+s.ids["key of owner@example.com"]+"/rotate", url.Values{"overlap": {"1h"}}),
		} {
			_, texts := shape(t, key.body)
			i := slices.IndexFunc(texts, func(text string) bool { return strings.HasPrefix(text, "KEY") })
			if key.StatusCode != 200 || i < 0 {
				t.Fatalf("the key that was %s is not shown: %d, %s", name, key.StatusCode, key.complaint())
			}
			planted[name] = texts[i]
		}
		// Once asked for, once shown.
		manager.shown = []string{s.keys["larry@example.com"], s.tokens["larry@example.com"]}
		if r := manager.post(t, "/portal/accounts/"+managedID+"/credentials", nil); !strings.Contains(string(r.body), s.keys["larry@example.com"]) {
			t.Errorf("the credentials are not shown: %d", r.StatusCode)
		}
		manager.shown = nil
		for _, form := range []url.Values{
			{"email": {"x@example.com"}, "password": {"CANARY-password-" + code}, "next": {"/portal/"}},
			{"token": {"CANARY-token-" + code}},
		} {
			path := map[bool]string{true: "/portal/sign-in", false: "/portal/operator/sign-in"}[form.Has("email")]
			if r := s.visitor().post(t, path, form); strings.Contains(string(r.body), "CANARY") {
				t.Errorf("%s shows what was entered", path)
			}
		}
		if r := manager.post(t, "/portal/accounts/new", url.Values{"email": {"x"}, "business_name": {"X"}, "password": {"CANARY-password"}}); r.StatusCode != 422 || strings.Contains(string(r.body), "CANARY") {
			t.Errorf("a new account: %d, or it shows the password", r.StatusCode)
		}
		if r := plain.post(t, "/portal/profile/password", url.Values{"old_password": {"CANARY-1"}, "password": {"CANARY-2"}, "repeated": {"CANARY-3"}}); r.StatusCode != 422 || strings.Contains(string(r.body), "CANARY") {
			t.Errorf("another password: %d, or it is shown", r.StatusCode)
		}
		for _, r := range roles {
			if outcome(t, "signed_in", r) != "let in" && r.name != "operator" {
				continue
			}
			v := s.visitorAs(r)
			for _, route := range portal.Routes {
				if !strings.HasPrefix(route.Pattern, "GET ") {
					continue
				}
				_, path, _ := s.asked(t, route, r)
				body := string(v.get(t, path).body)
				for name, secret := range planted {
					if strings.Contains(body, secret) {
						t.Errorf("%s shows %s a secret: %s", path, r.name, name)
					}
				}
			}
		}
		if text := s.log.String(); strings.Contains(text, "CANARY") || text != "" {
			t.Errorf("the log: %s", text)
		}
	})
}
