package httpapi

import (
	"context"
	"fmt"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/internal/dbtest"
)

// random is what differs between two servers that were told the same: ids, keys,
// tokens and times.
var random = regexp.MustCompile(`[A-Za-z0-9_-]{20,}|\d{4}-\d\d-\d\dT[0-9:.]+Z`)

// TestEnginesAnswerAlike sends to a server of each engine the seeds of the fuzz
// targets and texts that a database may stumble over: both answer the same, and
// none with a fault. PostgreSQL, for one, stores no NUL and nothing but UTF-8.
func TestEnginesAnswerAlike(t *testing.T) {
	t.Run("fuzz seeds", func(t *testing.T) {
		both := newTwins(t)
		for i, id := range both.lite.pathSeeds() {
			both.ask(t, "path "+id, func(w *world) []*httptest.ResponseRecorder { return w.tryPath(t, w.pathSeeds()[i]) })
		}
		for i, raw := range both.lite.requestSeeds() {
			both.ask(t, fmt.Sprintf("%+v", raw), func(w *world) []*httptest.ResponseRecorder {
				return []*httptest.ResponseRecorder{w.tryRequest(t, w.requestSeeds()[i])}
			})
		}
	})
	t.Run("hostile texts", func(t *testing.T) {
		both := newTwins(t)
		for _, text := range hostileTexts {
			for i, p := range both.lite.placesFor(text) {
				both.ask(t, fmt.Sprintf("%q", p), func(w *world) []*httptest.ResponseRecorder {
					p := w.placesFor(text)[i]
					answer := w.do(p.method, p.target, p.body, p.headers...)
					check(t, fmt.Sprintf("%q", p), answer)
					return []*httptest.ResponseRecorder{answer}
				})
			}
		}
	})
}

// twins are two worlds that are told the same.
type twins struct {
	lite, postgres *world
	statuses       map[int]int // how many answers had each
}

func newTwins(t *testing.T) *twins {
	t.Helper()
	both := &twins{newWorld(t, nil), newWorldAt(t, dbtest.Postgres(t), nil), map[int]int{}}
	t.Cleanup(func() {
		for _, w := range []*world{both.lite, both.postgres} {
			if err := w.db.Verify(context.Background()); err != nil {
				t.Errorf("a database is not sound after all this: %v", err)
			}
		}
		t.Logf("answers by status: %v", both.statuses)
		if both.statuses[200] < 50 || both.statuses[422] < 50 || both.statuses[404] < 50 {
			t.Error("most was refused before it came to the database")
		}
	})
	return both
}

func (both *twins) ask(t *testing.T, what string, ask func(w *world) []*httptest.ResponseRecorder) {
	t.Helper()
	got, want := ask(both.postgres), ask(both.lite)
	if len(got) != len(want) {
		t.Fatalf("%s: %d answers, want %d", what, len(got), len(want))
	}
	for i := range got {
		text := func(answer *httptest.ResponseRecorder) string {
			if answer == nil {
				return "none"
			}
			answer.Header().Del("X-Request-Id")
			return fmt.Sprintln(answer.Code, answer.Header()) + random.ReplaceAllString(answer.Body.String(), "*")
		}
		if got, want := text(got[i]), text(want[i]); got != want {
			t.Errorf("%.300s: PostgreSQL answers\n%s\nSQLite\n%s", what, got, want)
		}
		if got[i] != nil {
			both.statuses[got[i].Code]++
		}
	}
}

// hostileTexts are as they stand in a JSON string, where some are escapes.
var hostileTexts = []string{
	"\x00", `\u0000`, `a\u0000b`, "\xff", "\xc3\x28", "\xed\xa0\x80", `\ud800`, `\udc00\ud800`, "\ufffe", "\U0010ffff", "\ufeff",
	`'; DROP TABLE account; --`, `$1`, `%`, `_`, `\\`, `\"`, "\u202e", "e\u0301", "İ", "ſ", "\x7f", `\u0001`, "\x01", strings.Repeat("ä", 300),
}

// place is a request with a hostile text in one place.
type place struct {
	method, target, body string
	headers              []string
}

func (w *world) placesFor(text string) (places []place) {
	escaped := url.PathEscape(text)
	operator := []string{"Authorization", "Bearer " + w.operatorToken}
	get := func(target string, headers ...string) { places = append(places, place{"GET", target, "", headers}) }
	post := func(target, body string, headers ...string) {
		places = append(places, place{"POST", target, body, headers})
	}
	// In a path, for each id of each route.
	for _, route := range Routes {
		method, path, _ := strings.Cut(route.Pattern, " ")
		for _, name := range []string{"{id}", "{group_id}", "{user_id}"} {
			if !strings.Contains(path, name) {
				continue
			}
			target := strings.NewReplacer(name, escaped, "{id}", w.manager.ID, "{group_id}", w.group, "{user_id}", w.user).Replace(path)
			p := place{method: method, target: target}
			if route.Scope == "operator" {
				p.headers = operator
			}
			if method == "PATCH" || method == "POST" {
				p.body = "{}"
			}
			places = append(places, p)
		}
	}
	// In a query.
	escaped = url.QueryEscape(text)
	for _, query := range []string{
		"filter[email][contains]=abc", "filter[email][eq]=", "filter[organization_name][contains]=abc", "filter[organization_name][eq]=", "filter[status][eq]=",
		"filter[email]=abc", "filter[user_status]=", "filter[created_after]=", "sort=", "page[size]=", "page_number=", "include_groups=", "account_id=", "manager_account_id=", "",
	} {
		for _, path := range []string{"/v2/managed_accounts", "/v2/organizations/users", "/v2/audit_events"} {
			get(path + "?" + query + escaped)
		}
		get("/operator/v1/accounts?"+query+escaped, operator...)
		get("/operator/v1/audit_events?"+query+escaped, operator...)
	}
	// In each field of each body. What comes out of it looks the same in the lists of
	// both.
	post("/v2/managed_accounts", `{"business_name":"`+text+`","email":"hostile@example.com"}`)
	post("/v2/managed_accounts", `{"business_name":"x","email":"`+text+`@example.com"}`)
	post("/v2/managed_accounts", `{"business_name":"x","`+text+`":"x","email":"hostile@example.com"}`)
	post("/v2/managed_accounts", `{"business_name":"x","password":"`+text+`","email":"hostile@example.com"}`)
	post("/operator/v1/accounts", `{"business_name":"`+text+`","email":"hostile.root@example.com"}`, operator...)
	post("/operator/v1/accounts", `{"business_name":"x","email":"hostile.root@example.com","balance":"`+text+`"}`, operator...)
	account := "/operator/v1/accounts/" + w.manager.ID
	post(account+"/users", `{"email":"`+text+`@example.com"}`, operator...)
	post(account+"/users", `{"email":"hostile.user@example.com","group_ids":["`+text+`"]}`, operator...)
	post(account+"/groups", `{"name":"`+text+`"}`, operator...)
	post(account+"/groups", `{"name":"hostile","permissions":["`+text+`"]}`, operator...)
	post("/portal/session", `{"email":"`+text+`@example.com","password":"x"}`)
	post("/portal/session", `{"email":"manager@example.com","password":"`+text+`"}`)
	get("/v2/managed_accounts?filter[status][eq]=all&page[size]=250&sort=created_at")
	get("/operator/v1/accounts?page[size]=250", operator...)
	get(account+"/groups", operator...)
	get("/v2/organizations/users?include_groups=true&page[size]=250")
	// In a header. There net/http lets through what is not below a space.
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return places
	}
	get("/v2/balance", "Authorization", "Bearer "+text)
	get("/v2/balance", "Authorization", "Token "+text)
	get("/v2/balance", "Authorization", "Basic "+text)
	get("/v2/balance", "Authorization", text)
	get("/v2/balance", "Authorization", "", "X-Api-User", text, "X-Api-Token", w.manager.Token)
	get("/v2/balance", "Authorization", "", "X-Api-User", w.manager.Email, "X-Api-Token", text)
	get("/portal/session", "Authorization", "Bearer "+text)
	for _, name := range []string{"Idempotency-Key", "X-Stainless-Retry-Count", "User-Agent", "X-Request-Id", "X-Forwarded-For", "Traceparent", "Accept", "Content-Type"} {
		post("/v2/managed_accounts", `{"business_name":"x","email":"hostile@example.com"}`, name, text)
	}
	return places
}
