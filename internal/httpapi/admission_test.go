package httpapi

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/internal/admission"
	"github.com/tenantry/tenantry/internal/tenant"
)

const switchToken = "token-of-a-switch"

// newSwitchWorld is a world with a token for switches, whose child has a connection.
func newSwitchWorld(t testing.TB, configure ...func(*Options)) *world {
	t.Helper()
	w := newWorld(t, nil, configure...)
	w.auth.AdmitSwitches(switchToken)
	answer := w.do("POST", "/operator/v1/accounts/"+w.child.ID+"/connections",
		`{"name":"trunk","kind":"credentials","active":true,"usernames":["alice"],"addresses":["192.0.2.1"],"numbers":["+15550100"]}`, "Authorization", "Bearer "+w.operatorToken)
	if answer.Code != 200 {
		t.Fatalf("make a connection: %d %s", answer.Code, answer.Body)
	}
	return w
}

// ask sends a request as a switch, unless it says otherwise.
func (w *world) asSwitch(method, target, body string, headers ...string) *httptest.ResponseRecorder {
	return w.do(method, target, body, append([]string{"Authorization", "Bearer " + switchToken}, headers...)...)
}

// decision asks with a JSON body.
func (w *world) decision(t testing.TB, body string) api.Admission {
	t.Helper()
	answer := w.asSwitch("POST", "/admission/v1/check", body)
	var got api.Response[api.Admission]
	if err := json.Unmarshal(answer.Body.Bytes(), &got); err != nil || answer.Code != 200 {
		t.Fatalf("%s: %d %s", body, answer.Code, answer.Body)
	}
	return got.Data
}

func TestCheckAdmission(t *testing.T) {
	w := newSwitchWorld(t)
	id, form := w.child.ID, "application/x-www-form-urlencoded"
	for _, x := range []struct {
		what, method, target, body string
		headers                    []string
		status                     int
		want                       string
	}{
		{"JSON", "POST", "/check", `{"kind":"call","account_id":"` + id + `"}`, nil, 200, `"decision":"allow"`},
		{"JSON by another method", "PUT", "/check", `{"kind":"call","account_id":"` + id + `"}`, nil, 200, `"decision":"allow"`},
		{"query", "GET", "/check?kind=call&account_id=" + id, "", nil, 200, `"decision":"allow"`},
		{"query and form", "POST", "/check?kind=call", "sip_username=alice", []string{"Content-Type", form}, 200, `"account_id":"` + id + `"`},
		{"text", "GET", "/check.txt?kind=call&source_ip=192.0.2.1", "", nil, 200, "ALLOW\n"},
		{"text by Accept", "GET", "/check?kind=call&source_ip=192.0.2.9", "", []string{"Accept", "text/plain"}, 200, "DENY 403 Forbidden D25\n"},
		{"form", "POST", "/check.form?kind=message&number=%2B15550100", "", nil, 200, "decision=allow&"},
		{"V2 key", "POST", "/check", `{"kind":"api","api_key":"` + w.child.Key + `"}`, nil, 200, `"account_id":"` + id + `"`},
		{"V2 key of a user", "POST", "/check", `{"kind":"api","api_key":"` + w.userKey + `"}`, nil, 200, `"account_id":"` + w.manager.ID + `"`},
		{"V1", "POST", "/check", `{"kind":"login","api_user":"manager@example.com","api_token":"` + w.child.Token + `"}`, nil, 200, `"decision":"allow"`},
		{"V1 of somebody else", "POST", "/check", `{"kind":"login","api_user":"x@example.com","api_token":"` + w.child.Token + `"}`, nil, 200, `"reason":"unknown_credentials"`},
		{"wrong key", "POST", "/check", `{"kind":"api","api_key":"KEY0"}`, nil, 200, `"reason":"unknown_credentials"`},
		{"key of another account", "POST", "/check", `{"kind":"api","api_key":"` + w.child.Key + `","account_id":"` + w.manager.ID + `"}`, nil, 200, `"reason":"unknown_credentials"`},
		{"strict, allowed", "GET", "/check?kind=call&strict=true&account_id=" + id, "", nil, 200, `"decision":"allow"`},
		{"strict, refused", "GET", "/check.txt?kind=call&strict=1&account_id=none", "", nil, 401, "DENY 403 Forbidden D25\n"},
		{"no kind", "POST", "/check", `{"account_id":"` + id + `"}`, nil, 422, `"/kind"`},
		{"no kind for a key", "POST", "/check", `{"api_key":"x"}`, nil, 422, `"/kind"`},
		{"nobody", "GET", "/check?kind=call", "", nil, 422, `"/account_id"`},
		{"units", "GET", "/check?kind=call&account_id=x&units=many", "", nil, 422, `"/units"`},
		{"no units", "POST", "/check", `{"kind":"call","account_id":"x","units":0}`, nil, 422, `"/units"`},
		{"acquire", "GET", "/check?kind=call&account_id=x&acquire=maybe", "", nil, 422, `"/acquire"`},
		{"twice", "GET", "/check?kind=call&account_id=x&account_id=y", "", nil, 400, `"/account_id"`},
		{"no type", "POST", "/check", `<x/>`, []string{"Content-Type", "application/xml"}, 415, `"Content-Type"`},
		{"no token", "GET", "/check?kind=call&account_id=" + id, "", []string{"Authorization", ""}, 401, `10009`},
		{"a tenant's token", "GET", "/check?kind=call&account_id=" + id, "", []string{"Authorization", "Bearer " + w.manager.Key}, 401, `10009`},
		{"the operator's", "GET", "/check?kind=call&account_id=" + id, "", []string{"Authorization", "Bearer " + w.operatorToken}, 200, `"decision":"allow"`},
		{"token as a password", "GET", "/check.txt?kind=call&account_id=" + id, "", []string{"Authorization", "Basic OnRva2VuLW9mLWEtc3dpdGNo"}, 200, "ALLOW"},
		{"token in its own header", "GET", "/check.txt?kind=call&account_id=" + id, "", []string{"Authorization", "Bearer x", "X-Tenantry-Admission", switchToken}, 200, "ALLOW"},
		{"no such path", "GET", "/checks", "", nil, 404, "10005"},
	} {
		answer := w.asSwitch(x.method, admissionPrefix+x.target, x.body, x.headers...)
		if !strings.HasPrefix(answer.Header().Get("Content-Type"), "text/") {
			check(t, x.what, answer)
		}
		if answer.Code != x.status || !strings.Contains(answer.Body.String(), x.want) {
			t.Errorf("%s: %d %s, not %d %s", x.what, answer.Code, answer.Body, x.status, x.want)
		}
	}
	// What was allowed a moment ago is refused once the account is disabled.
	if answer := w.do("POST", "/v2/managed_accounts/"+id+"/actions/disable", ""); answer.Code != 200 {
		t.Fatal(answer.Body)
	}
	for _, body := range []string{`{"kind":"call","account_id":"` + id + `"}`, `{"kind":"api","api_key":"` + w.child.Key + `"}`, `{"kind":"register","sip_username":"alice"}`} {
		began := time.Now()
		if d := w.decision(t, body); d.Reason != "account_disabled" {
			t.Errorf("%s after it was disabled: %+v, %s", body, d, time.Since(began))
		}
	}
	if _, err := w.service.BlockUser(t.Context(), tenant.Actor{Operator: true}, w.manager.ID, w.user); err != nil {
		t.Fatal(err)
	}
	if d := w.decision(t, `{"kind":"api","api_key":"`+w.userKey+`"}`); d.Reason != "user_blocked" || d.HTTP.Errors[0].Code != "20013" {
		t.Errorf("a user who is blocked: %+v", d)
	}
}

func TestCheckFreeSWITCH(t *testing.T) {
	w := newSwitchWorld(t)
	channel := func(edit ...string) string {
		values := url.Values{
			"section": {"dialplan"}, "tag_name": {""}, "key_name": {""}, "hostname": {"fs1"}, "Caller-Context": {"public"}, "Call-Direction": {"inbound"},
			"Unique-ID": {"uuid-1"}, "variable_sip_network_ip": {"192.0.2.1"}, "Caller-Destination-Number": {"+15550100"}, "variable_sip_from_user": {"alice"},
		}
		for i := 0; i < len(edit); i += 2 {
			values.Set(edit[i], edit[i+1])
		}
		return values.Encode()
	}
	for _, x := range []struct{ what, target, body, want string }{
		{"by address", "", channel(), "not found"},
		{"another section", "", channel("section", "directory"), "not found"},
		{"by name", "", channel("variable_sip_auth_username", "alice"), "not found"},
		{"by nobody's address", "", channel("variable_sip_network_ip", "192.0.2.7"), `data="403 Forbidden D25"`},
		{"a name without proof", "", channel("variable_sip_network_ip", "192.0.2.7", "variable_sip_from_user", "alice"), `data="403 Forbidden D25"`},
		{"inbound", "?direction=inbound", channel(), "not found"},
		{"inbound to nobody", "?direction=inbound", channel("Caller-Destination-Number", "+15550199"), `data="404 Not found"`},
		{"parked", "?then=park&acquire=true", channel(), `<action application="park"/>`},
		{"in a hostile context", "", channel("variable_sip_network_ip", "x", "Caller-Context", `"/><x`), `<context name="&#34;/&gt;&lt;x">`},
		{"not understood", "?units=x", channel(), `data="503 Service Unavailable"`},
		{"broken", "", "%zz", `data="503 Service Unavailable"`},
		{"broken query", "?%zz", channel(), `data="503 Service Unavailable"`},
	} {
		answer := w.asSwitch("POST", admissionPrefix+"/check.xml"+x.target, x.body, "Content-Type", "application/x-www-form-urlencoded")
		if answer.Code != 200 || !strings.Contains(answer.Body.String(), x.want) || !strings.HasPrefix(answer.Header().Get("Content-Type"), "text/xml") {
			t.Errorf("%s: %d %s\nnot %s", x.what, answer.Code, answer.Body, x.want)
		}
	}
	leases, _, err := w.admission.Leases(t.Context(), admission.LeaseFilter{Switch: "fs1"}, "", 0)
	if err != nil || len(leases) != 1 || leases[0].CallID != "uuid-1" {
		t.Errorf("leases of the switch: %+v, %v", leases, err)
	}
}

func TestForwardAdmission(t *testing.T) {
	w := newSwitchWorld(t)
	forward := func(method, path string, headers ...string) *httptest.ResponseRecorder {
		return w.do(method, path, "", append([]string{"Authorization", "", "X-Tenantry-Admission", switchToken}, headers...)...)
	}
	bearer := "Bearer " + w.child.Key
	for _, path := range []string{"/admission/v1/forward", "/admission/v1/forward/", "/admission/v1/forward/v2/messages?kind=call&account_id=x", "/admission/v1/forward//x/../y/%2e%2e"} {
		for _, method := range []string{"GET", "POST", "DELETE", "OPTIONS"} {
			answer := forward(method, path, "Authorization", bearer)
			if answer.Code != 200 || answer.Body.Len() != 0 || answer.Header().Get("X-Tenantry-Account") != w.child.ID || answer.Header().Get("X-Tenantry-Status") != "200" {
				t.Errorf("%s %s: %d %v %s", method, path, answer.Code, answer.Header(), answer.Body)
			}
		}
	}
	// A body is nobody's business.
	if answer := w.do("POST", "/admission/v1/forward/x", "<x/>", "Authorization", bearer, "X-Tenantry-Admission", switchToken, "Content-Type", "text/xml"); answer.Code != 200 {
		t.Errorf("with a body: %d %s", answer.Code, answer.Body)
	}
	if answer := forward("GET", "/admission/v1/forward/x", "X-Api-User", "user@example.com", "X-Api-Token", w.child.Token); answer.Code != 200 {
		t.Errorf("V1: %d %s", answer.Code, answer.Body)
	}
	want := func(what string, answer *httptest.ResponseRecorder, status int, code, real string) {
		t.Helper()
		check(t, what, answer)
		h := answer.Header()
		if answer.Code != status || !strings.Contains(answer.Body.String(), `"code":"`+code+`"`) || h.Get("X-Tenantry-Status") != real || h.Get("X-Tenantry-Body") != answer.Body.String() {
			t.Errorf("%s: %d %v %s", what, answer.Code, h, answer.Body)
		}
	}
	want("no credentials", forward("GET", "/admission/v1/forward/x"), 401, "10009", "401")
	want("wrong credentials", forward("GET", "/admission/v1/forward/x", "Authorization", "Bearer KEY0"), 401, "10009", "401")
	broke := int64(-1)
	if _, err := w.service.SetCredit(t.Context(), tenant.Actor{Operator: true}, w.child.ID, &broke, nil); err != nil {
		t.Fatal(err)
	}
	if answer := forward("GET", "/admission/v1/forward/x", "Authorization", bearer); answer.Code != 200 {
		t.Errorf("an API request without money: %d", answer.Code)
	}
	want("a message without money", forward("POST", "/admission/v1/forward-message/x", "Authorization", bearer), 403, "20100", "403")
	if answer := w.do("POST", "/v2/managed_accounts/"+w.child.ID+"/actions/disable", ""); answer.Code != 200 {
		t.Fatal(answer.Body)
	}
	want("disabled", forward("GET", "/admission/v1/forward/x", "Authorization", bearer), 403, "20012", "403")
	for what, answer := range map[string]*httptest.ResponseRecorder{
		"the caller's token is not the proxy's": forward("GET", "/admission/v1/forward/x", "Authorization", "Bearer "+switchToken, "X-Tenantry-Admission", ""),
		"a wrong token":                         forward("GET", "/admission/v1/forward/x", "Authorization", bearer, "X-Tenantry-Admission", "x"),
	} {
		if answer.Code != 401 || answer.Header().Get("X-Tenantry-Status") != "" {
			t.Errorf("%s: %d %v", what, answer.Code, answer.Header())
		}
	}
	if answer := forward("GET", "/admission/v1/forward-other/x", "Authorization", bearer); answer.Code != 404 {
		t.Errorf("a kind that there is not: %d", answer.Code)
	}
}

func TestLeases(t *testing.T) {
	w := newSwitchWorld(t)
	acquire := func(call string) api.Admission {
		t.Helper()
		return w.decision(t, `{"kind":"call","account_id":"`+w.child.ID+`","acquire":true,"call_id":"`+call+`","switch":"fs/1"}`)
	}
	if d := acquire("a/b@c"); d.Lease == nil || *d.Limit != 2 || *d.InUse != 1 {
		t.Fatalf("%+v", d)
	}
	acquire("2")
	if d := acquire("3"); d.Reason != "channel_limit" || d.SMPPStatus != 88 || *d.InUse != 2 {
		t.Fatalf("%+v", d)
	}
	for _, x := range []struct {
		method, target, body string
		headers              []string
		status               int
		want                 string
	}{
		{"GET", "/leases?account_id=" + w.child.ID, "", nil, 200, `"call_id":"a/b@c"`},
		{"GET", "/leases?account_id=" + w.child.ID + "&limit=1", "", nil, 200, `"more":true`},
		{"GET", "/leases?switch=fs/1&after=2", "", nil, 200, `"call_id":"a/b@c"`},
		{"GET", "/leases?call_id=2", "", nil, 200, `"more":false`},
		{"GET", "/leases", "", nil, 400, "account_id"},
		{"GET", "/leases?call_id=2&switch=x", "", nil, 400, "account_id"},
		{"POST", "/leases/a%2Fb@c/release", "", nil, 200, `{"data":{"call_id":"a/b@c","released":1}}`},
		{"POST", "/leases/a%2Fb@c/release", "ignored=1", []string{"Content-Type", "application/x-www-form-urlencoded"}, 200, `"released":0`},
		{"POST", "/leases/" + strings.Repeat("x", 256) + "/release", "", nil, 400, `"call_id"`},
		{"POST", "/leases/%ff/release", "", nil, 400, `"call_id"`},
		{"PUT", "/switches/fs%2F1/live", `{"call_ids":["2","x"]}`, nil, 200, `{"data":{"switch":"fs/1","live":1,"ending":0}}`},
		{"PUT", "/switches/fs%2F1/live", "2\r\nx\n\n", []string{"Content-Type", "text/plain"}, 200, `"live":1`},
		{"POST", "/switches/fs%2F1/live", "2\n", []string{"Content-Type", "text/plain"}, 200, `"live":1`},
		{"PUT", "/switches/fs%2F1/live", "", []string{"Content-Type", "text/plain"}, 422, "/call_ids"},
		{"PUT", "/switches/fs%2F1/live", " \r\n\n", []string{"Content-Type", "text/plain; charset=utf-8"}, 422, "/call_ids"},
		{"PUT", "/switches/fs%2F1/live", `{}`, nil, 422, "/call_ids"},
		{"PUT", "/switches/fs%2F1/live", "", nil, 422, "/call_ids"},
		{"PUT", "/switches/fs%2F1/live", `{"call_ids":[]}`, nil, 200, `"ending":1`},
		{"PUT", "/switches/fs1/live", `{"call_ids":["` + strings.Repeat("x", 100_000) + `"]}`, nil, 200, `"live":0`},
	} {
		answer := w.asSwitch(x.method, admissionPrefix+x.target, x.body, x.headers...)
		check(t, x.target, answer)
		if answer.Code != x.status || !strings.Contains(answer.Body.String(), x.want) {
			t.Errorf("%s %s: %d %s, not %d %s", x.method, x.target, answer.Code, answer.Body, x.status, x.want)
		}
	}
}

// TestAdmissionApart: a listener of its own answers the admission API and nothing
// else; the other then does not.
func TestAdmissionApart(t *testing.T) {
	w := newSwitchWorld(t, func(o *Options) { o.AdmissionApart = true })
	for path, want := range map[string][2]int{
		"/admission/v1/check.txt?kind=call&account_id=x": {404, 200}, "/admission/v1/forward/x": {404, 401}, "/v2/managed_accounts": {401, 404}, "/healthz": {200, 200}, "/": {404, 404},
	} {
		for i, h := range []http.Handler{w.Server, w.Admission()} {
			r := httptest.NewRequest("GET", path, nil)
			r.Header.Set("X-Tenantry-Admission", switchToken)
			answer := httptest.NewRecorder()
			h.ServeHTTP(answer, r)
			if answer.Code != want[i] {
				t.Errorf("%s at handler %d: %d, not %d", path, i, answer.Code, want[i])
			}
		}
	}
}

// TestPace: an account may have so many of a kind a second.
func TestPace(t *testing.T) {
	w := newSwitchWorld(t)
	rates, err := admission.ReadRates("call=5, message=0.5")
	if err != nil {
		t.Fatal(err)
	}
	pace := Pace(w.db, rates)
	for kind, want := range map[string]int{"call": 10, "message": 1, "api": 100} {
		n := 0
		for range 100 {
			if pace(kind, "a") {
				n++
			}
		}
		if n < want || n > want+1 || !pace(kind, "b") {
			t.Errorf("%d of %s at once", n, kind)
		}
	}
	if Pace(w.db, nil) != nil {
		t.Error("no limit is a limit")
	}
	for _, wrong := range []string{"calls=5", "call", "call=", "call=0", "call=-1", "call=NaN", "call=1e9", "5"} {
		if rates, err := admission.ReadRates(wrong); err == nil {
			t.Errorf("%s is read as %v", wrong, rates)
		}
	}
}

// FuzzQuestion: whatever a switch sends is understood, or refused with a field that
// has a name.
func FuzzQuestion(f *testing.F) {
	for _, seed := range [][3]string{
		{"", "application/json", `{"kind":"call","account_id":"a","units":2,"acquire":true,"call_id":"c","switch":"s"}`},
		{"kind=call&account_id=a", "", ""}, {"kind=call", "application/x-www-form-urlencoded", "sip_username=alice&units=1&acquire=yes"},
		{"strict=1&strict=0", "text/plain", "x"}, {"%zz", "application/x-www-form-urlencoded", "%zz"}, {"", "application/x-www-form-urlencoded; charset=x", "section=dialplan&Unique-ID=1"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	table := admission.DefaultTable()
	f.Fuzz(func(t *testing.T, query, kind, body string) {
		c := &call{Request: &http.Request{Header: http.Header{"Content-Type": {kind}}, URL: &url.URL{RawQuery: query}}, body: []byte(body)}
		q, err := c.question()
		for _, refusal := range refusalsIn(err) {
			if problems[refusal.Kind].code == "" {
				t.Errorf("refusal %+v", refusal)
			}
		}
		if err != nil {
			return
		}
		if values, err := c.fields(); err == nil {
			q.freeswitch(values)
		}
		for reason := range table {
			d := &admission.Decision{Reason: reason, AccountID: q.AccountID, ConnectionID: q.ConnectionID}
			if d.Allowed() {
				d.Lease = leased.Lease
			}
			checkRendered1(t, q.CallID+q.Switch, d)
		}
	})
}

// BenchmarkCheck is a decision from memory, without net/http.
func BenchmarkCheck(b *testing.B) {
	w := newSwitchWorld(b, func(o *Options) { o.Logger = slog.New(slog.DiscardHandler) })
	for _, x := range []struct{ name, method, target, body string }{
		{"json", "POST", "/admission/v1/check", `{"kind":"call","direction":"outbound","account_id":"` + w.child.ID + `"}`},
		{"query", "GET", "/admission/v1/check?kind=call&account_id=" + w.child.ID, ""},
		{"text", "GET", "/admission/v1/check.txt?kind=call&account_id=" + w.child.ID, ""},
	} {
		b.Run(x.name, func(b *testing.B) {
			r := httptest.NewRequest(x.method, x.target, nil)
			r.Header.Set("Authorization", "Bearer "+switchToken)
			r.Header.Set("Content-Type", "application/json")
			r.ContentLength = int64(len(x.body))
			body, answer := strings.NewReader(x.body), blank{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(answer.header)
				body.Reset(x.body)
				r.Body = io.NopCloser(body)
				w.ServeHTTP(answer, r)
			}
			if answer.header.Get("Content-Type") == "" {
				b.Fatal("it was not answered")
			}
		})
	}
}

// blank is a ResponseWriter that costs nothing.
type blank struct{ header http.Header }

func (b blank) Header() http.Header             { return b.header }
func (b blank) Write(p []byte) (int, error)     { return len(p), nil }
func (b blank) WriteHeader(int)                 {}
func (b blank) SetReadDeadline(time.Time) error { return nil }
