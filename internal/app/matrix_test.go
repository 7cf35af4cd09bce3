package app_test

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/internal/httpapi"
)

// unknownID is an id that nothing has.
const unknownID = "00000000-0000-7000-8000-0000000000ff"

// expected is what each caller is answered on a route, by the route's scope and
// with the ids of the caller who has the permission: 200 for the other tenant is
// 404 where there are ids. 0 is any answer but 401 and 403.
var expected = map[string]map[string]int{
	"public":  {"no key": 0, "wrong key": 0, "other tenant": 0, "disabled account": 0, "blocked account": 0, "operator": 0},
	"session": {"no key": 401, "wrong key": 401, "other tenant": 401, "disabled account": 401, "blocked account": 401, "operator": 401},
	"operator": {
		"no key": 401, "wrong key": 401, "other tenant": 401, "disabled account": 401, "blocked account": 401,
		"manager": 401, "sub-user with permission": 401, "V1 of a manager": 401, "operator": 200,
	},
	"admission": {
		"no key": 401, "wrong key": 401, "other tenant": 401, "disabled account": 401, "blocked account": 401,
		"manager": 401, "sub-user with permission": 401, "V1 of a manager": 401, "operator": 200,
	},
	"managed_accounts": {
		"no key": 401, "wrong key": 401, "other tenant": 200, "disabled account": 403, "blocked account": 403,
		"sub-user without permission": 403, "blocked sub-user": 403, "not a manager": 403, "operator": 401, "sub-user with permission": 200,
	},
	"organization": {
		"no key": 401, "wrong key": 401, "other tenant": 200, "disabled account": 403, "blocked account": 403,
		"sub-user without permission": 403, "blocked sub-user": 403, "operator": 401, "sub-user with permission": 200,
	},
	"messaging": {
		"no key": 401, "wrong key": 401, "other tenant": 200, "disabled account": 403, "blocked account": 403,
		"sub-user without permission": 403, "blocked sub-user": 403, "operator": 401, "sub-user with permission": 200,
	},
	"account": {
		"no key": 401, "wrong key": 401, "other tenant": 200, "disabled account": 403, "blocked account": 403,
		"sub-user without permission": 403, "blocked sub-user": 403, "operator": 401, "sub-user with permission": 200,
	},
}

// callers are the e-mail addresses behind the names, by scope where it matters.
func callers(scope string) map[string]string {
	with := map[string][2]string{ // with permission, without
		"managed_accounts": {"agent@example.com", "clerk@example.com"},
		"account":          {"clerk@example.com", "agent@example.com"},
		"messaging":        {"clerk@example.com", "agent@example.com"},
		"organization":     {"admin@example.com", "user@example.com"},
		"operator":         {"admin@example.com"},
		"admission":        {"admin@example.com"},
	}[scope]
	return map[string]string{
		"other tenant": "rival@example.net", "disabled account": "hotels@example.net", "blocked account": "sons@example.net",
		"manager": "manager@example.com", "not a manager": "owner@example.com", "blocked sub-user": "banned@example.net",
		"sub-user with permission": with[0], "sub-user without permission": with[1],
	}
}

// wellFormed are the bodies and queries that routes need to answer 200.
var wellFormed = map[string]string{
	"CreateManagedAccount":                   `{"business_name":"Made by the matrix"}`,
	"UpdateManagedAccount":                   `{"managed_account_allow_custom_pricing":true}`,
	"SendMessage":                            `{"to":"+18445550001","from":"+18005550101","text":"From the matrix"}`,
	"UpdateManagedAccountGlobalChannelLimit": `{"channel_limit":1}`,
	"OperatorCreateAccount":                  `{"business_name":"Made by the matrix","email":"matrix@example.com"}`,
	"OperatorUpdateCredit":                   `{"balance":"1.00"}`,
	"OperatorCreateUser":                     `{"email":"matrix@example.com"}`,
	"OperatorCreateGroup":                    `{"name":"Matrix"}`,
	"OperatorCreateConnection":               `{"name":"Matrix","kind":"credentials"}`,
	"OperatorUpdateConnection":               `{"active":false}`,
	"CheckAdmission":                         `{"kind":"call","account_id":"00000000-0000-7000-8000-000000000002"}`,
	"CheckAdmissionByQuery":                  `?kind=call&account_id=00000000-0000-7000-8000-000000000002`,
	"ListLeases":                             `?switch=matrix`,
	"PutLiveCalls":                           `{"call_ids":[]}`,
	"PutLiveCallsByPost":                     `{"call_ids":[]}`,
	"OperatorCheckAdmission":                 `{"kind":"call","account_id":"00000000-0000-7000-8000-000000000002"}`,
	"OperatorListLeases":                     `?switch=matrix`,
	"OperatorListAuditEvents":                `?account_id=00000000-0000-7000-8000-000000000002`,
}

// withoutWebhook is what the operator is answered instead of 200 by a server that has
// no webhook, and so no deliveries.
var withoutWebhook = map[string]int{"OperatorTestWebhook": 409, "OperatorRetryWebhookDelivery": 404}

// ownIDs are what stands for the parameters of a path, as the callers with
// permission have it; otherIDs are as good, but of somebody else or another kind.
var ownIDs = map[string]string{
	"managed_accounts {id}":    "00000000-0000-7000-8000-000000000011",
	"organization {id}":        "00000000-0000-7000-8000-000000000021",
	"operator {id}":            "00000000-0000-7000-8000-000000000002",
	"operator {user_id}":       "00000000-0000-7000-8000-000000000021",
	"operator {group_id}":      "00000000-0000-7000-8000-000000000202",
	"operator {connection_id}": "00000000-0000-7000-8000-000000000411",
	"operator {call_id}":       "call",
	"admission {call_id}":      "call",
	"admission {name}":         "matrix",
}

var otherIDs = map[string]string{
	"managed_accounts {id}":    "00000000-0000-7000-8000-000000000031",
	"organization {id}":        "00000000-0000-7000-8000-000000000016",
	"operator {id}":            "00000000-0000-7000-8000-000000000021",
	"operator {user_id}":       "00000000-0000-7000-8000-000000000016",
	"operator {group_id}":      "00000000-0000-7000-8000-000000000101",
	"operator {connection_id}": "00000000-0000-7000-8000-000000000401",
}

// withMessage adds to ids a message of whoever has that key.
func withMessage(t *testing.T, c *connection, ids map[string]string, key string) map[string]string {
	t.Helper()
	r := c.call(t, "POST", "/v2/messages", key, wellFormed["SendMessage"])
	for tries := 0; r.StatusCode == 503 && tries < 20; tries++ { // on a crowded machine
		r = c.call(t, "POST", "/v2/messages", key, wellFormed["SendMessage"])
	}
	var sent api.Response[api.Message]
	if err := json.Unmarshal(r.body, &sent); err != nil || sent.Data.ID == "" {
		t.Fatalf("send a message: %d %s", r.StatusCode, r.body)
	}
	ids = maps.Clone(ids)
	ids["messaging {id}"] = sent.Data.ID
	return ids
}

var parameter = regexp.MustCompile(`\{\w+\}`)

// TestMatrix asks every route as everybody.
func TestMatrix(t *testing.T) {
	t.Parallel()
	for _, route := range httpapi.Routes {
		want, known := expected[route.Scope]
		if !known {
			t.Errorf("%s has scope %s, which this test does not know", route.ID, route.Scope)
			continue
		}
		t.Run(route.ID, func(t *testing.T) {
			t.Parallel()
			eachEngine(t, func(t *testing.T, e engine) { askAsEverybody(t, e.start(t, nil), route, want) })
		})
	}
}

func askAsEverybody(t *testing.T, s *server, route httpapi.Route, want map[string]int) {
	c := s.connect(t)
	email := callers(route.Scope)
	keys := map[string]string{"no key": "", "wrong key": "KEY0", "operator": s.app.OperatorToken}
	for who, address := range email {
		keys[who] = s.keys[address]
	}
	ownIDs := withMessage(t, c, ownIDs, s.keys["manager@example.com"])
	before := traces(t, s, c)
	// Who is to be refused comes first, so that there is something left to find.
	names := slices.Sorted(maps.Keys(want))
	slices.SortStableFunc(names, func(a, b string) int { return want[b] - want[a] })
	for _, who := range names {
		status, raw := want[who], routeRequest(route, ownIDs, keys[who])
		if who == "other tenant" && status == 200 && strings.Contains(route.Pattern, "{") {
			status = 404
		}
		if instead := withoutWebhook[route.ID]; instead != 0 && status == 200 {
			status = instead
		}
		if who == "V1 of a manager" {
			raw = strings.Replace(routeRequest(route, ownIDs, "x"), "Authorization: Bearer x",
				"X-Api-User: manager@example.com\r\nX-Api-Token: "+s.tokens["manager@example.com"], 1)
		}
		if status == 200 {
			if after := traces(t, s, c); after != before {
				t.Errorf("refused requests left traces:\n%s\nbefore:\n%s", after, before)
			}
		}
		got := c.send(t, raw, true).StatusCode
		for tries := 0; got == 503 && tries < 20; tries++ { // so says a crowded machine: ask again
			got = c.send(t, raw, true).StatusCode
		}
		if status != 0 && got != status || status == 0 && (got == 401 || got == 403) || got >= 500 {
			t.Errorf("%s as %s: %d, want %d", route.Pattern, who, got, status)
		}
	}
}

// traces tell whether anything happened to the tenants whose things are asked
// for: their audit logs.
func traces(t *testing.T, s *server, c *connection) string {
	t.Helper()
	var all []string
	for _, email := range []string{"manager@example.com", "larry@example.com", "owner@example.com"} {
		r := c.call(t, "GET", "/operator/v1/audit_events?page[size]=250&account_id="+s.ids[email], s.app.OperatorToken, "")
		all = append(all, string(r.body))
	}
	return strings.Join(all, "\n")
}

// TestForeignIDs: somebody else's id is answered like one that nobody has, on
// every route with an id, byte for byte but for the request id.
func TestForeignIDs(t *testing.T) {
	t.Parallel()
	eachEngine(t, testForeignIDs)
}

func testForeignIDs(t *testing.T, e engine) {
	s := e.start(t, nil)
	c := s.connect(t)
	// Whose it is has just looked at it: what the server remembers is nobody else's.
	if r := c.call(t, "GET", "/v2/managed_accounts/"+otherIDs["managed_accounts {id}"], s.keys["rival@example.net"], ""); r.StatusCode != 200 {
		t.Fatalf("its own manager is answered %d", r.StatusCode)
	}
	ownIDs := withMessage(t, c, ownIDs, s.keys["manager@example.com"])
	otherIDs := withMessage(t, c, otherIDs, s.keys["rival@example.net"])
	asked := 0
	for _, route := range httpapi.Routes {
		key := s.app.OperatorToken
		if route.Scope != "operator" {
			key = s.keys[callers(route.Scope)["sub-user with permission"]]
		}
		for _, name := range parameter.FindAllString(route.Pattern, -1) {
			place := route.Scope + " " + name
			if name == "{call_id}" || name == "{name}" {
				continue // a switch's own words, which are nobody's
			}
			if otherIDs[place] == "" {
				t.Errorf("%s: this test knows nobody else's id for %s", route.ID, place)
				continue
			}
			ask := func(id string) reply {
				ids := maps.Clone(ownIDs)
				ids[place] = id
				r := c.send(t, routeRequest(route, ids, key), true)
				if r.Header.Get("X-Request-Id") == "" {
					t.Errorf("%s: no request id", route.ID)
				}
				r.Header.Del("X-Request-Id")
				r.Header.Del("Date")
				return r
			}
			foreign, unknown := ask(otherIDs[place]), ask(unknownID)
			if foreign.StatusCode != 404 || foreign.StatusCode != unknown.StatusCode || string(foreign.body) != string(unknown.body) ||
				!maps.EqualFunc(foreign.Header, unknown.Header, slices.Equal) {
				t.Errorf("%s: a foreign %s is answered\n%d %v %s\nan unknown one\n%d %v %s", route.ID, name,
					foreign.StatusCode, foreign.Header, foreign.body, unknown.StatusCode, unknown.Header, unknown.body)
			}
			asked++
		}
	}
	if asked == 0 {
		t.Error("no route has an id")
	}
}

// routeRequest is a request that the route answers with 200 when the key may.
func routeRequest(route httpapi.Route, ids map[string]string, key string) string {
	method, path, _ := strings.Cut(route.Pattern, " ")
	path = parameter.ReplaceAllStringFunc(path, func(name string) string { return ids[route.Scope+" "+name] })
	body := wellFormed[route.ID]
	if strings.HasPrefix(body, "?") {
		path, body = path+body, ""
	}
	return request(method, path, key, body)
}
