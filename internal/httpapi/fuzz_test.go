package httpapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/tenant"
)

// wireQueries are the query strings of the wire contract, and some that are not.
var wireQueries = []string{
	"", "page[size]=2", "page[size]=2&page_number=2", "page[number]=2&page[size]=2&page_number=3", "page_number=2&page_size=2&page[number]=3",
	"page={:size=>2}", "page={:size=>2}&number=2", "page=%7B%3Asize%3D%3E2%7D", "filter={:email=>{:contains=>\"john\"}}", `filter={email: {contains: "john"}}`,
	"filter%5Bemail%5D%5Bcontains%5D=john&sort=-email", "filter[email][contains]=ab", "filter[email][eq]=x&filter[email][eq]=y", "filter[email]=x",
	"filter[][]", "filter[status][eq]=all&include_cancelled_accounts=true", "filter[status][eq]=ALL", "sort=created_at", "sort=--email", "sort=",
	"page[number]=0", "page[size]=0", "page[size]=-1", "page[size]=1000000000", "page[number]=9223372036854775808", "page[number]=1e3", "page[number]=+1",
	"a;b", "a=%zz", "a=%00", "a=%ff", "=%ff", "%ff=a", "filter[organization_name][eq]=%F0%9F%98%80", "include_groups=yes", "filter[user_status]=blocked&filter[email]=U",
	"filter[created_after]=1970-01-01 00:00:00 UTC&filter[created_before]=2026-01-03T00:00:00%2B00:00&sort=asc", "page[number]=1&page[number]=7&number=x",
}

func FuzzQuery(f *testing.F) {
	for _, seed := range wireQueries {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		for _, read := range []func(q *query, c *call){
			func(q *query, c *call) {
				filter := accountFilter(q)
				if page := q.page(c, 20); page.Number < 1 || page.Size < 1 || page.Size > mostPerPage {
					t.Errorf("page %+v", page)
				}
				for _, term := range []string{filter.EmailContains, filter.NameContains} {
					if term != "" && utf8.RuneCountInString(term) < 3 {
						t.Errorf("the term %q is too short", term)
					}
				}
			},
			func(q *query, c *call) { userFilter(q); q.page(c, 250) },
			func(q *query, c *call) { auditFilter(q); q.page(c, 20) },
		} {
			c := &call{Request: &http.Request{Header: http.Header{}, URL: &url.URL{RawQuery: raw}}}
			q := parseQuery(raw)
			read(q, c)
			err := q.done()
			for _, refusal := range refusalsIn(err) {
				// What has no name is said of the whole.
				if !utf8.ValidString(refusal.Parameter) || problems[refusal.Kind].code == "" {
					t.Errorf("refusal %+v", refusal)
				}
			}
			if (err == nil) != (len(refusalsIn(err)) == 0) {
				t.Errorf("an error that is no refusal: %v", err)
			}
			for name, values := range q.values {
				for _, value := range values {
					if !utf8.ValidString(name+value) || strings.ContainsRune(name+value, 0) {
						t.Errorf("%q=%q was taken", name, value)
					}
				}
			}
			// What was understood means the same when it is written plainly.
			if err == nil {
				again := parseQuery(q.values.Encode())
				read(again, c)
				if err := again.done(); err != nil || !reflect.DeepEqual(again.values, q.values) {
					t.Errorf("%q became %q, which says %v: %v", raw, q.values.Encode(), again.values, err)
				}
			}
		}
	})
}

func FuzzSpreadHash(f *testing.F) {
	for _, seed := range []string{
		`{:email=>{:contains=>"john"}}`, `{email: {contains: "john"}}`, `{:size=>2}`, `{:size=>2, :number=>1}`, `{"email"=>{"eq"=>"a\"b\\c\#{d}\u00e9\u{1F600}\x41"}}`,
		`{:a=>nil}`, `{}`, `{:a=>:b}`, `{:a=>true, :b=>-1.5}`, `{`, `{:a=>{:b=>{:c=>{:d=>{:e=>1}}}}}`, `{:a=>"\ud800"}`, `{:a=>"\x00"}`, `{"x": 1,}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		into := url.Values{}
		if err := spreadHash("filter", text, into); err != nil {
			if !errors.Is(err, errHash) {
				t.Errorf("error %v", err)
			}
			return
		}
		for name, values := range into {
			if !strings.HasPrefix(name, "filter[") || !strings.HasSuffix(name, "]") || strings.Count(name, "[") > len(text) {
				t.Errorf("name %q", name)
			}
			for _, value := range values {
				if !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
					t.Errorf("value %q", value)
				}
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `null`, `{"business_name":"Larry's Cat Food Inc","email":"new_managed_account@customer.org","password":"3jVjLq!tMuWKyWx4NN*CvhnB","rollup_billing":true}`,
		`{"channel_limit":10}`, `{"channel_limit":1e309}`, `{"channel_limit":-0}`, `{"channel_limit":9223372036854775808}`, `{"channel_limit":1.0}`,
		`{"permissions":["a",null,1]}`, `{"a":1,"a":2}`, `{"a":1}{}`, "\xef\xbb\xbf{}", `{"a":1,}`, `{/**/}`, `{"email":"\ud800"}`, `[[[[`, `{"group_ids":{}}`, `{"":""}`, `{"~/":1,"~/":1}`,
		`{"business_name":null}`, `{"BUSINESS_NAME":"x"}`, "{\"email\":\"\xff\"}", `{"balance":"1.00","credit_limit":5}`, strings.Repeat(`{"a":`, 100),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, dst := range []any{
			new(api.CreateManagedAccount), new(api.UpdateManagedAccount), new(api.EnableManagedAccount), new(api.UpdateGlobalChannelLimit), new(api.CreateSession),
			new(api.CreateRootAccount), new(api.UpdateCredit), new(api.ApproveManager), new(api.CreateOrganizationUser), new(api.CreateGroup),
			new(api.CreateConnection), new(api.UpdateConnection), new(api.SendMessage),
		} {
			err := decodeObject(body, dst)
			for _, refusal := range refusalsIn(err) {
				if refusal.Pointer == "" || refusal.Pointer[0] != '/' || problems[refusal.Kind].code == "" {
					t.Errorf("refusal %+v", refusal)
				}
			}
			if err != nil {
				if len(refusalsIn(err)) == 0 {
					t.Errorf("an error that is no refusal: %v", err)
				}
				continue
			}
			// The standard library takes what we take, and reads the same, but that it
			// takes other cases of a name too.
			standard := reflect.New(reflect.TypeOf(dst).Elem()).Interface()
			if len(body) > 0 && !cased(body, dst) {
				if err := json.Unmarshal(body, standard); err != nil {
					t.Errorf("taken, but not JSON: %v", err)
				} else if !reflect.DeepEqual(dst, standard) {
					t.Errorf("read as %+v, want %+v", dst, standard)
				}
			}
		}
	})
}

// TestDecodeRefuses what readers of JSON do not agree on, and says where it is.
func TestDecodeRefuses(t *testing.T) {
	for body, want := range map[string]*tenant.Error{
		`{"email":"a","email":"b"}`:  {Kind: tenant.BadJSON, Pointer: "/email"},
		`{"x":1,"x":1}`:              {Kind: tenant.BadJSON, Pointer: "/x"},
		`{"a/b~":1,"a/b~":1}`:        {Kind: tenant.BadJSON, Pointer: "/a~1b~0"},
		`{"\u0061":1,"a":1}`:         {Kind: tenant.BadJSON, Pointer: "/a"},
		`{"email":1}`:                {Kind: tenant.WrongType, Pointer: "/email"},
		`{"rollup_billing":"true"}`:  {Kind: tenant.WrongType, Pointer: "/rollup_billing"},
		`{"rollup_billing":1}`:       {Kind: tenant.WrongType, Pointer: "/rollup_billing"},
		`[]`:                         {Kind: tenant.BadJSON, Pointer: "/"},
		`null`:                       {Kind: tenant.BadJSON, Pointer: "/"},
		`{} {}`:                      {Kind: tenant.BadJSON, Pointer: "/"},
		`{"a":1,}`:                   {Kind: tenant.BadJSON, Pointer: "/"},
		"\xef\xbb\xbf{}":             {Kind: tenant.BadJSON, Pointer: "/"},
		"{\"email\":\"\xff\"}":       {Kind: tenant.BadEncoding, Pointer: "/"},
		" ":                          {Kind: tenant.BadJSON, Pointer: "/"},
		strings.Repeat("[", 100_000): {Kind: tenant.BadJSON, Pointer: "/"},
	} {
		var dst api.CreateManagedAccount
		refusals := refusalsIn(decodeObject([]byte(body), &dst))
		if len(refusals) != 1 || refusals[0].Kind != want.Kind || refusals[0].Pointer != want.Pointer {
			t.Errorf("%.40s: %+v, want %+v", body, refusals, want)
		}
	}
	var dst api.CreateManagedAccount
	if errs := refusalsIn(decodeObject([]byte(`{"email":1,"password":2,"business_name":null}`), &dst)); len(errs) != 2 {
		t.Errorf("two wrong fields: %v", errs)
	}
	var limit api.UpdateGlobalChannelLimit
	for _, n := range []string{"1.0", "1e2", "9223372036854775808", `"1"`, "1e309"} {
		if err := decodeObject([]byte(`{"channel_limit":`+n+`}`), &limit); !tenant.IsKind(err, tenant.WrongType) {
			t.Errorf("%s: %v", n, err)
		}
	}
}

// cased reports whether a field of dst stands in the body in another case.
func cased(body []byte, dst any) bool {
	var fields map[string]json.RawMessage
	json.Unmarshal(body, &fields)
	v := reflect.TypeOf(dst).Elem()
	for name := range fields {
		for i := range v.NumField() {
			tag, _, _ := strings.Cut(v.Field(i).Tag.Get("json"), ",")
			if name != tag && strings.EqualFold(name, tag) {
				return true
			}
		}
	}
	return false
}

func FuzzAccept(f *testing.F) {
	for _, seed := range []string{"", "*/*", "text/csv", "application/json", "text/csv;q=0.5, application/json", "text/*", "text/csv;q=NaN", "teXt/Csv;q=02", "text/csv;q=1e400", ", ,", "text/csv; q=\"1\"", "TEXT/CSV; charset=utf-8"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, accept string) {
		csv := prefersCSV(accept)
		if csv && !strings.Contains(strings.ToLower(accept), "text/csv") {
			t.Errorf("%q never names CSV", accept)
		}
		if strings.ToLower(strings.TrimSpace(accept)) == "text/csv" && !csv {
			t.Errorf("%q is refused", accept)
		}
		if !strings.ContainsAny(accept, `"\`) && prefersCSV(accept+", application/json") {
			// As much for JSON as can be: then JSON it is.
			t.Errorf("%q likes CSV better than JSON", accept)
		}
	})
}

func FuzzReportRow(f *testing.F) {
	f.Add("6a09cdc3-8948-47f0-aa62-74ac943d6c58", "user@example.com", "g1", "Engineering", true, int64(0), int64(1517610327521))
	f.Add("\"\\", "ü<&>\u2028@example.com", "\x7f", "a\x00b\xff", false, int64(1), int64(-1))
	f.Fuzz(func(t *testing.T, id, email, groupID, name string, bypasses bool, signedIn, created int64) {
		const most = 250_000_000_000_000 // the year 9892: the format has four digits
		user := &service.User{
			User: tenant.User{
				ID: id, AccountID: "owner", Email: email, Status: tenant.UserEnabled, BypassesSSO: bypasses,
				CreatedAt: time.UnixMilli(created % most).UTC(),
			},
			Groups: []tenant.Group{{ID: groupID, Name: name}, {ID: "2", Name: email}},
		}
		if user.CreatedAt.Year() < 0 {
			return
		}
		if signedIn != 0 {
			user.LastSignInAt = time.UnixMilli(signedIn % most).UTC()
			if user.LastSignInAt.Year() < 0 {
				return
			}
		}
		if len(groupID)%2 == 0 {
			user.Groups = []tenant.Group{}
		}
		if bypasses {
			user.AccountID = user.ID
		}
		want, err := encode(wireUser(user))
		if err != nil {
			t.Fatal(err)
		}
		w := &reportWriter{}
		if got := w.json(user); !sameJSON(got, want) {
			t.Errorf("the report writes\n%s, the list\n%s", got, want)
		}
		second := w.json(user)
		if second[0] != ',' || !sameJSON(second[1:], want) {
			t.Errorf("the second row is %s", second)
		}
	})
}

// sameJSON compares without regard to the order of fields.
func sameJSON(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

func FuzzIdempotencyKey(f *testing.F) {
	for _, seed := range []string{"", "a", "A-_9", strings.Repeat("x", 255), strings.Repeat("x", 256), "a b", "ä", "a\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, key string) {
		want := len(key) >= 1 && len(key) <= 255
		for _, c := range []byte(key) {
			want = want && strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", c) >= 0
		}
		if goodKey(key) != want {
			t.Errorf("%q is good: %t", key, !want)
		}
	})
}

func FuzzPathID(f *testing.F) {
	w := newWorld(f, nil)
	for _, seed := range w.pathSeeds() {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, id string) { w.tryPath(t, id) })
}

// pathSeeds are what may stand for an id in a path.
func (w *world) pathSeeds() []string {
	return []string{
		w.child.ID, w.other.ID, w.manager.ID, "x", "..", ".", "%2e%2e", "%2F", "u%201%2F2", "%00", "%ff", "allocatable_global_outbound_channels",
		"users_groups_report", "a;b", "a?b", strings.Repeat("x", 9000), "%F0%9F%98%80", "//", "a//b",
	}
}

// tryPath sends requests with that id.
func (w *world) tryPath(t testing.TB, id string) (answers []*httptest.ResponseRecorder) {
	t.Helper()
	for _, pattern := range []string{"/v2/managed_accounts/{}", "/v2/managed_accounts/{}/actions/disable", "/v2/organizations/users/{}", "/v2/messages/{}", "/operator/v1/accounts/{}/groups/{}/users/{}", "/{}"} {
		path := strings.ReplaceAll(pattern, "{}", id)
		u, err := url.Parse("http://localhost" + path)
		if err != nil {
			continue // no client can send it, and net/http would answer 400
		}
		for _, method := range []string{"GET", "POST", "PUT"} {
			r := httptest.NewRequest("GET", "http://localhost/", nil)
			r.Method, r.URL, r.RequestURI = method, u, u.RequestURI()
			r.Header.Set("Authorization", "Bearer "+w.manager.Key)
			if strings.HasPrefix(path, "/operator") {
				r.Header.Set("Authorization", "Bearer "+w.operatorToken)
			}
			answer := httptest.NewRecorder()
			w.ServeHTTP(answer, r)
			check(t, method+" "+path, answer)
			if strings.Contains(answer.Body.String(), w.other.Key) && !strings.HasPrefix(path, "/operator") {
				t.Fatalf("%s tells another manager's secret", path)
			}
			answers = append(answers, answer)
		}
	}
	return answers
}

// FuzzRequest sends whole requests to a server that has something to lose.
func FuzzRequest(f *testing.F) {
	w := newWorld(f, nil)
	for _, r := range w.requestSeeds() {
		f.Add(r.method, r.path, r.query, r.body, r.media, r.who)
	}
	f.Fuzz(func(t *testing.T, method, path, query, body, media string, who byte) {
		w.tryRequest(t, rawRequest{method, path, query, body, media, who})
	})
}

// rawRequest is a request by any of eight, who may be wrong.
type rawRequest struct {
	method, path, query, body, media string
	who                              byte
}

func (w *world) requestSeeds() (seeds []rawRequest) {
	paths := []string{"/v2/managed_accounts", "/", "//", "/v2/../v2", "/nowhere", "*"}
	for _, route := range Routes {
		_, path, _ := strings.Cut(route.Pattern, " ")
		path = strings.NewReplacer("{id}", w.child.ID, "{group_id}", w.group, "{user_id}", w.user).Replace(path)
		paths = append(paths, path)
		if strings.Contains(route.Pattern, "/operator/v1/accounts/{id}/") {
			paths = append(paths, strings.Replace(path, w.child.ID, w.manager.ID, 1))
		}
		if strings.Contains(route.Pattern, "organizations/users/{id}") {
			paths = append(paths, strings.NewReplacer("{id}", w.user2).Replace(strings.Fields(route.Pattern)[1]))
		}
	}
	bodies := []string{
		"", "{}", `{"business_name":"Larry's Cat Food Inc"}`, `{"business_name":"x","email":"A@example.com"}`, `{"channel_limit":7}`, `{"channel_pool":60}`, `{"email":"u@example.com","group_ids":["x"]}`,
		`{"name":"g","permissions":["account"]}`, `{"balance":"12.50"}`, `{"to":"+18445550001","from":"+18005550101","text":"Hello","send_at":"2026-01-03T00:00:00Z"}`,
		`{"to":"+15005550001","messaging_profile_id":"x","media_urls":["http://example.com"],"subject":"s"}`, `{"reenable_all_connections":true}`, `[`, `{"email":"x","password":"y"}`, `{"email":"ü@example.com"}`, "\x00",
	}
	for i, path := range paths {
		for _, method := range []string{"GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS"} {
			seeds = append(seeds, rawRequest{method, path, wireQueries[i%len(wireQueries)], bodies[i%len(bodies)], "application/json", byte(i)})
		}
	}
	for i, raw := range wireQueries {
		for _, path := range []string{"/v2/managed_accounts", "/v2/organizations/users", "/v2/audit_events", "/operator/v1/accounts"} {
			seeds = append(seeds, rawRequest{"GET", path, raw, "", "text/csv", byte(i)})
		}
	}
	for _, body := range bodies {
		for _, path := range []string{"/v2/managed_accounts", "/v2/messages", "/operator/v1/accounts", "/portal/session", "/operator/v1/accounts/" + w.manager.ID + "/users", "/operator/v1/accounts/" + w.manager.ID + "/groups"} {
			seeds = append(seeds, rawRequest{"POST", path, "", body, "application/json; charset=utf-8", 0})
		}
	}
	return seeds
}

// tryRequest is the answer, or nil when net/http would not even ask for one.
func (w *world) tryRequest(t testing.TB, raw rawRequest) *httptest.ResponseRecorder {
	t.Helper()
	if !strings.HasPrefix(raw.path, "/") && raw.path != "*" || strings.ContainsAny(raw.method, " \t\r\n") || raw.method == "" {
		return nil
	}
	u, err := url.ParseRequestURI(raw.path)
	if err != nil || u.Host != "" {
		return nil
	}
	u.RawQuery = raw.query
	r := httptest.NewRequest("GET", "http://localhost/", strings.NewReader(raw.body))
	r.Method, r.URL, r.RequestURI = raw.method, u, raw.path
	r.Header.Set("Content-Type", raw.media)
	r.Header.Set("Accept", raw.media)
	secret := w.manager.Key
	switch raw.who % 8 {
	case 1:
		secret = w.userKey
	case 2:
		secret = w.child.Key
	case 3:
		secret = "wrong"
	case 4:
		r.Header.Set("Idempotency-Key", raw.query)
	case 5:
		r.Header.Set("X-Stainless-Retry-Count", raw.query)
	}
	if strings.HasPrefix(raw.path, "/operator") && raw.who%8 != 3 {
		secret = w.operatorToken
	}
	r.Header.Set("Authorization", "Bearer "+secret)
	answer := httptest.NewRecorder()
	w.ServeHTTP(answer, r)
	check(t, raw.method+" "+raw.path, answer)
	return answer
}
