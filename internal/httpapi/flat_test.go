package httpapi

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/internal/admission"
	"github.com/tenantry/tenantry/internal/store"
)

// FuzzFlat: what the short ways read, the long ways read too, and the same.
func FuzzFlat(f *testing.F) {
	for _, seed := range []string{
		`{"kind":"call","direction":"outbound","account_id":"a"}`, ` { "kind" : "call" ,"call_id":"c","acquire":true , "units":2,"strict":false,"switch":"s"}` + "\r\n\t",
		`{"kind":"api","api_key":"k"}`, `{"kind":"login","api_user":"u@example.com","api_token":"t"}`, `{"sip_username":"","source_ip":"::1","number":"+1","connection_id":"c"}`,
		`{"units":0}`, `{"units":-1}`, `{"units":01}`, `{"units":1.0}`, `{"units":1e2}`, `{"units":9223372036854775808}`, `{"units":"2"}`, `{"units":null}`, `{"units":}`, `{"acquire":1}`,
		`{"acquire":truefalse}`, `{"acquire":"true"}`, `{"kind":1}`, `{"kind":null}`, `{"unknown":"x","Kind":"x"}`, `{"unknown":[]}`, `{"a":"x","a":"x"}`, `{"kind":"a","\u006bind":"b"}`,
		`{"kind":"a",}`, `{,}`, `{}`, ``, ` `, `{`, `{"`, `{"kind`, `{"kind"`, `{"kind":`, `{"kind":"`, `{"kind":"a"`, `{"kind":"a"}}`, `{"kind":"a"} {}`, `["a"]`, `null`, `"a"`, "{\"kind\":\"\xff\"}",
		"{\"kind\":\"a\nb\"}", `{"kind":"ü"}`, `{"kind":"\u00fc"}`, `{"kind":"a"/**/}`, "\xef\xbb\xbf{}", "{\v\"kind\":\"a\"}",
		`{"a":"","b":"","c":"","d":"","e":"","f":"","g":"","h":"","i":"","j":"","k":"","l":"","m":"","n":"","o":"","p":"","q":""}`,
		"kind=call&account_id=a", "units=2&acquire=1&strict=f", "units=x", "kind=a&kind=b", "kind=&kind=b", "kind&kind=b", "a=1&a=2&kind=&&=&kind", "kind=a;b", "kind=a+b", "kind=%61", "kind=a&x=%zz", "api_key=a=b",
	} {
		f.Add(seed)
	}
	given := question{Request: admission.Request{Kind: "message", AccountID: "given", Units: 3, Acquire: true}, strict: true}
	f.Fuzz(func(t *testing.T, text string) {
		c := &call{Request: &http.Request{URL: &url.URL{RawQuery: text}}, body: []byte(text)}
		for _, before := range []question{{}, given} {
			short := before
			if !short.setFlat(c.body) {
				continue
			}
			if long, err := c.decodeQuestion(before); err != nil || short != long {
				t.Errorf("read as %+v, want %+v, %v", short, long, err)
			}
		}
		var short, long question
		if !short.setPlain(text) {
			return
		}
		values, err := c.fields()
		if err == nil {
			err = long.setAll(values)
		}
		if err != nil || short != long {
			t.Errorf("the query is read as %+v, want %+v, %v", short, long, err)
		}
	})
}

// TestFlat: what switches send goes the short way.
func TestFlat(t *testing.T) {
	for body, want := range map[string]bool{
		`{"kind":"call","sip_username":"larry","call_id":"c1","acquire":true,"units":2,"switch":"fs1"}`: true,
		"{\n  \"kind\": \"api\",\n  \"api_key\": \"KEY\",\n  \"strict\": false\n}\n":                    true,
		`{"kind":"call","number":"\u002b1"}`:                                                            false,
		`{"kind":"call","units":0}`:                                                                     false,
		`{"kind":"call","x":{}}`:                                                                        false,
	} {
		var q question
		if got := q.setFlat([]byte(body)); got != want {
			t.Errorf("%s: %t", body, got)
		}
	}
}

// FuzzRenderJSON: the answer is, byte for byte, what encoding/json makes of it.
func FuzzRenderJSON(f *testing.F) {
	f.Add("allowed", "a", "c", "lease", "OK", "20012", int64(10), int64(3), int64(0), true, false)
	f.Add("channel_limit", "", "", "", "User channel limit exceeded D1", "", int64(0), int64(0), int64(1<<40), false, true)
	f.Add("account_disabled", "a\"\\<>&\u2028\x00\x7f", "\xff", "ü", "'", "\t", int64(-1), int64(-1), int64(-1), true, true)
	f.Fuzz(func(t *testing.T, reason, accountID, connectionID, leaseID, phrase, code string, limit, inUse, micros int64, lease, degraded bool) {
		d := &admission.Decision{
			Reason: admission.Reason(reason), AccountID: accountID, ConnectionID: connectionID, Limit: limit, InUse: inUse, Degraded: degraded,
		}
		if lease {
			d.Lease = &store.Lease{ID: leaseID, ExpiresAt: time.UnixMicro(micros)}
		}
		reply := &admission.Reply{
			Outbound: admission.SIP{Code: 200, Phrase: phrase}, Inbound: admission.SIP{Code: 404, Phrase: code},
			Status: 403, Code: code, Title: phrase, Detail: accountID, SMPP: 257,
		}
		for _, direction := range []string{"", admission.Outbound, admission.Inbound} {
			want, err := encode(api.Response[api.Admission]{Data: wireAdmission(direction, d, reply)})
			if got := renderJSON(direction, d, reply); err != nil || string(got.body) != string(want) {
				t.Errorf("%s\nwant\n%s, %v", got.body, want, err)
			}
		}
		want, err := encode(api.Errors{Errors: []api.Error{admissionError(reply)}})
		if got := renderForward(true, d, reply); err != nil || !d.Allowed() && string(got.body) != string(want) {
			t.Errorf("forwarded: %s\nwant\n%s, %v", got.body, want, err)
		}
	})
}

// wireAdmission is the answer as the document has it.
func wireAdmission(direction string, d *admission.Decision, reply *admission.Reply) api.Admission {
	sip := reply.SIP(direction)
	answer := api.Admission{
		RecordType: "admission", Decision: decisionOf(d), Reason: string(d.Reason), Degraded: d.Degraded,
		AccountID: d.AccountID, ConnectionID: d.ConnectionID,
		SIP:  api.AdmissionSIP{Code: int64(sip.Code), Phrase: sip.Phrase},
		HTTP: api.AdmissionHTTP{Status: int64(reply.Status), Errors: []api.Error{}}, SMPPStatus: int64(reply.SMPP),
	}
	if !d.Allowed() {
		answer.HTTP.Errors = append(answer.HTTP.Errors, admissionError(reply))
	}
	if d.Lease != nil {
		answer.Lease = &api.AdmissionLease{ID: d.Lease.ID, ExpiresAt: api.Time(d.Lease.ExpiresAt)}
	}
	if limit, inUse := numbers(d); limit {
		answer.Limit = &d.Limit
		if inUse {
			answer.InUse = &d.InUse
		}
	}
	return answer
}
