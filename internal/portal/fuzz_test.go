package portal

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/net/html"

	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/httpapi"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// FuzzLocal: nobody is ever sent elsewhere than below Prefix, as browsers read addresses.
func FuzzLocal(f *testing.F) {
	for _, next := range []string{
		"", "/portal/", "/portal/accounts?q=a&page=2", "/portal/x/", "//evil.example", `/\evil.example`, "https://evil.example/portal/", "/portal/../evil", "/portal/%2e%2e/evil", "/portal//evil",
		"/portal/..%2f..%2f", "/portal/%5c%5cevil", "javascript:alert(1)", "/portal/\r\nX: y", "/portal/#//x", "/portal/?next=//x", "/portal", "/portal/é", "/portal/\xff", "/portal/%", "/portal/.", "/portal/;/..", "\t/portal/",
	} {
		f.Add(next)
	}
	base, _ := url.Parse("https://portal.example.com/portal/sign-in")
	f.Fuzz(func(t *testing.T, next string) {
		to := local(next)
		if !strings.HasPrefix(to, Prefix) || strings.ContainsAny(to, "\\\r\n\t\x00") {
			t.Fatalf("%q leads to %q", next, to)
		}
		u, err := base.Parse(to)
		if err != nil || u.Host != base.Host || u.Scheme != base.Scheme || u.User != nil || !strings.HasPrefix(path.Clean(u.Path)+"/", Prefix) {
			t.Fatalf("%q leads to %q: %v, %v", next, to, u, err)
		}
		if again := local(to); again != to {
			t.Errorf("%q is %q, which is %q", next, to, again)
		}
	})
}

// FuzzNotice: a cookie that says anything is a notice or none.
func FuzzNotice(f *testing.F) {
	for _, text := range []string{"", "e30", "bnVsbA", encodeNotice(notice{"Done.", false}), encodeNotice(notice{"<script>", true}), "W10", "eyJUZXh0IjoxfQ", "%%%"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if n := decodeNotice(text); n != nil && (n.Text == "" || len(n.Text) > 1000) {
			t.Errorf("%q is the notice %+v", text, n)
		}
		if !utf8.ValidString(text) || text == "" || len(text) > 1000 {
			return
		}
		if n := decodeNotice(encodeNotice(notice{text, true})); n == nil || *n != (notice{text, true}) {
			t.Errorf("%q comes back as %+v", text, n)
		}
	})
}

// FuzzLinked: a mail is shown as it is, and only addresses of the web are links.
func FuzzLinked(f *testing.F) {
	for _, text := range []string{
		"", "Set it:\n\nhttps://portal.example.com/portal/reset-password?token=a-b\n", "javascript:alert(1)\n", "http://x/\"onmouseover=\"alert(1)", "https://x/<script>alert(1)</script>", "<script>\n</script>", "https://\n", " https://x/ \r\n", "http:x", "HTTPS://X/&amp;",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) || strings.ContainsAny(text, "\r\x00") {
			return // browsers read those otherwise
		}
		page, err := html.Parse(strings.NewReader("<pre>.\n" + string(linked(text)) + "</pre>"))
		if err != nil {
			t.Fatal(err)
		}
		var shown strings.Builder
		for n := range page.Descendants() {
			switch {
			case n.Type == html.TextNode:
				shown.WriteString(n.Data)
			case n.Data == "a":
				u, err := url.Parse(n.Attr[0].Val)
				if err != nil || len(n.Attr) != 1 || n.Attr[0].Key != "href" || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
					t.Errorf("%q has the link %v", text, n.Attr)
				}
			case n.Data != "html" && n.Data != "head" && n.Data != "body" && n.Data != "pre":
				t.Errorf("%q has an element %s", text, n.Data)
			}
		}
		if shown.String() != ".\n"+text {
			t.Errorf("%q is shown as %q", text, shown.String())
		}
	})
}

// FuzzPlace: whatever stands in a URL, it is a place in the list, or its beginning.
func FuzzPlace(f *testing.F) {
	for _, text := range []string{"", "0.1", "5.17", "-1.1", "1.-1", "1.0", "9223372036854775807.9223372036854775807", "1e3.4", "1.2.3", "+1.+2", ".", "٣.١"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at := readPlace(text)
		if at.Limit < 0 || at.Number < 0 {
			t.Errorf("%q is %+v", text, at)
		}
		if again := readPlace(writePlace(at)); again != at {
			t.Errorf("%q is %+v, and comes back as %+v", text, at, again)
		}
	})
}

// FuzzList: whatever a URL asks for is a list that can be asked for, and its links ask
// for the same.
func FuzzList(f *testing.F) {
	for _, query := range []string{
		"", "q=a&status=enabled&sort=-email&page=3&size=20", "page=0&size=0", "page=-1&size=251", "page=1e18", "page=1000000000000000000", "page=999999999999&size=250", "q=%00&status=%ff", "q=%zz", "a;b", "q=+x+", "q=\xff",
	} {
		f.Add(query, int64(120))
	}
	f.Fuzz(func(t *testing.T, query string, total int64) {
		if total < 0 {
			return
		}
		ask := func(query string) *list {
			v := &visit{Request: &http.Request{Method: "GET", URL: &url.URL{Path: accountsPath, RawQuery: query}}}
			l := listOf(v, accountStatuses, accountSorts)
			l.Total = total % (1 << 40)
			return l
		}
		l := ask(query)
		if l.Page < 1 || l.Size < 1 || l.Size > mostPage || !utf8.ValidString(l.Query) || strings.Contains(l.Query, "\x00") {
			t.Fatalf("%q asks for %+v", query, l)
		}
		if first, last := l.First(), l.Last(); first < 0 || last < 0 || last > l.Total || first > l.Total || l.Pages() < 0 {
			t.Errorf("%q shows from %d to %d of %d", query, first, last, l.Total)
		}
		u, err := url.Parse(l.With("", ""))
		if err != nil || u.Path != accountsPath {
			t.Fatalf("%q leads to %q: %v", query, l.With("", ""), err)
		}
		if again := ask(u.RawQuery); again.Query != l.Query || again.Status != l.Status || again.Sort != l.Sort || again.Size != l.Size {
			t.Errorf("%q asks for %+v, and leads to %+v", query, l, again)
		}
		for _, link := range []string{l.Previous(), l.Next()} {
			if link == "" {
				continue
			}
			u, err := url.Parse(link)
			if err != nil {
				t.Fatalf("%q leads to %q", query, link)
			}
			if near := ask(u.RawQuery); near.Page < 1 || near.Page > max(near.Pages(), 1) || near.Page == l.Page {
				t.Errorf("%q, of which there are %d, leads to page %d", query, l.Total, near.Page)
			}
		}
	})
}

// FuzzForm sends anything to everything, as the operator and as a manager's owner at
// once: it is answered with a page or a redirect, and never with a fault.
func FuzzForm(f *testing.F) {
	p, signIn := usualPortal(f)
	for i := range Routes {
		f.Add(i, "", "application/x-www-form-urlencoded", "", "")
	}
	for i, body := range []string{
		"email=a@example.com&password=x", "name=x&permissions=organization", "reason=%00", "channel_limit=1e9", "%zz", "ids=a b c&hang_up=1", "url=otpauth://totp/x?secret=AAAA&code=1", "id=x&id=y&all=1&q=%ff", "balance=1.00&credit_limit=-1",
	} {
		f.Add(i*7, body, "application/x-www-form-urlencoded; charset=utf-8", "a%2fb", "q=%00&page=9&from=x")
		f.Add(i*7, body, "", "%00", "next=//x")
		f.Add(i*5, body, "multipart/form-data; boundary=x", "\xff", "a;b")
	}
	f.Fuzz(func(t *testing.T, route int, body, contentType, id, query string) {
		if route < 0 {
			route = -(route + 1)
		}
		r := Routes[route%len(Routes)]
		method, pattern, _ := strings.Cut(r.Pattern, " ")
		at := strings.TrimSuffix(pattern, "{$}")
		for _, name := range []string{"{id}", "{key_id}", "{user_id}", "{digest}", "{name}"} {
			at = strings.ReplaceAll(at, name, url.PathEscape(id))
		}
		if strings.HasSuffix(r.Pattern, "sign-in") && strings.Contains(body, "password") && len(body) > 100 {
			return // each hashes a password
		}
		request := httptest.NewRequest(method, "http://portal.example.com/", strings.NewReader(body))
		u, err := url.Parse(at)
		if err != nil {
			return
		}
		request.URL.Path, request.URL.RawPath, request.URL.RawQuery = u.Path, u.RawPath, query
		request.Header.Set("Sec-Fetch-Site", "same-origin")
		if contentType != "" {
			request.Header.Set("Content-Type", contentType)
		}
		token := signIn(t)
		request.AddCookie(&http.Cookie{Name: sessionCookie, Value: "manager" + token})
		request.AddCookie(&http.Cookie{Name: operatorCookie, Value: "operator" + token})
		request.Header.Add("Cookie", noticeCookie+"="+base64.RawURLEncoding.EncodeToString([]byte(id)))
		w := httptest.NewRecorder()
		p.ServeHTTP(w, request)
		if w.Code >= 500 || w.Code < 200 {
			t.Fatalf("%s %s?%s with %q: %d\n%s", method, request.URL.EscapedPath(), query, body, w.Code, w.Body)
		}
		if to := w.Header().Get("Location"); to != "" && !strings.HasPrefix(to, Prefix) && path.Clean(u.Path) == strings.TrimSuffix(u.Path, "/") {
			t.Errorf("%s leads to %q", at, to)
		}
		if w.Header().Get("X-Request-Id") == "" || w.Body.Len() > 0 && w.Header().Get("Content-Type") == "" {
			t.Errorf("the headers %v", w.Header())
		}
	})
}

// usualPortal is one with a manager who has one account. signIn sees to it that the
// manager and the operator are signed in: what it returns comes after their names in the
// tokens.
func usualPortal(t testing.TB) (p *Portal, signIn func(testing.TB) string) {
	ctx := t.Context()
	source := tenant.NewSource(nil, nil)
	db := dbtest.Open(t, dbtest.SQLite(t), store.Options{Source: source})
	sealer, err := auth.NewSealer(make([]byte, auth.MasterKeySize), source)
	if err != nil {
		t.Fatal(err)
	}
	s := service.New(db, sealer, auth.NewPasswords(0), service.Options{DefaultChannels: 2, PortalURL: "https://portal.example.com", OperatorToken: "token"})
	operator := tenant.Actor{Operator: true, CredentialID: "operator"}
	email, id := "manager@example.com", ""
	_, err = s.CreateRootAccount(ctx, operator, service.NewAccount{BusinessName: "Manager", Email: &email}, service.Once{Request: "1"}, func(a *service.Account) ([]byte, error) {
		id = a.ID
		return nil, nil
	})
	if err == nil {
		_, err = s.ApproveManager(ctx, operator, id, new(int64(10)))
	}
	if err == nil {
		manager := tenant.Actor{AccountID: id, UserID: id, Manager: true, CredentialID: "seed"}
		_, err = s.CreateManagedAccount(ctx, manager, service.NewAccount{BusinessName: "Managed"}, service.Once{Request: "2"}, func(*service.Account) ([]byte, error) { return nil, nil })
	}
	if err != nil {
		t.Fatal(err)
	}
	authenticator := auth.NewAuthenticator(db, sealer, "token")
	tokens := 0
	signIn = func(t testing.TB) string {
		token := strconv.Itoa(tokens)
		_, ended := authenticator.SignedIn(ctx, "manager"+token)
		if _, err := authenticator.OperatorSignedIn(ctx, "operator"+token); err == nil && ended == nil {
			return token
		}
		tokens++
		token = strconv.Itoa(tokens)
		now := source.Now()
		if err := db.Update(ctx, id, func(tx *store.Tx) error {
			for who, session := range map[string]store.Session{
				"manager": {AccountID: id, UserID: id}, "operator": {AccountID: store.OperatorAccount, UserID: sealer.OperatorID("token")},
			} {
				session.ID, session.Digest, session.Kind = source.NewID(), sealer.Digest(who+token), store.PortalSession
				session.CreatedAt, session.UsedAt, session.ExpiresAt = now, now, now.Add(time.Hour)
				if err := tx.StartSession(session); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return token
	}
	p, err = New(db, s, authenticator, sealer, Options{
		Address: func(*http.Request) string { return "192.0.2.1" }, NewRequestID: source.NewID, Allow: func(string) error { return nil },
		Status: httpapi.Status,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p, signIn
}
