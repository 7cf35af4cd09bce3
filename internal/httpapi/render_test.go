package httpapi

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/admission"
	"github.com/tenantry/tenantry/internal/store"
)

var (
	allowed = &admission.Decision{Reason: admission.Allowed, AccountID: "a", ConnectionID: "c", Limit: 10}
	leased  = &admission.Decision{
		Reason: admission.Allowed, AccountID: "a", ConnectionID: "c", Limit: 10, InUse: 3,
		Lease: &store.Lease{ID: "l", ExpiresAt: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)},
	}
	disabled = &admission.Decision{Reason: admission.AccountDisabled, AccountID: "a"}
	full     = &admission.Decision{Reason: admission.ChannelLimit, AccountID: "a", Limit: 0, InUse: 0, Degraded: true}
	unknown  = &admission.Decision{Reason: admission.UnknownCredentials}
	limited  = &admission.Decision{Reason: admission.RateLimited, AccountID: "a"}
)

// TestRenderings holds each rendering to its bytes.
func TestRenderings(t *testing.T) {
	const detail = `"detail":"The account is inactive: it was disabled by its manager.","source":{"pointer":"/"},"meta":{"url":"https://developers.telnyx.com/docs/overview/errors/20012"}`
	for _, x := range []struct {
		name      string
		render    renderer
		direction string
		d         *admission.Decision
		want      string
	}{
		{"json allow", renderJSON, "", leased, `{"data":{"record_type":"admission","decision":"allow","reason":"allowed","degraded":false,"account_id":"a","connection_id":"c",` +
			`"sip":{"code":200,"phrase":"OK"},"http":{"status":200,"errors":[]},"smpp_status":0,"lease":{"id":"l","expires_at":"2026-11-21T12:00:00.000Z"},"limit":10,"in_use":3,"cache_seconds":0}}`},
		{"json deny", renderJSON, "outbound", disabled, `{"data":{"record_type":"admission","decision":"deny","reason":"account_disabled","degraded":false,"account_id":"a",` +
			`"sip":{"code":403,"phrase":"Account is disabled D17"},"http":{"status":403,"errors":[{"code":"20012","title":"Account inactive",` + detail + `}]},"smpp_status":257,"cache_seconds":0}}`},
		{"text allow", renderText, "", allowed, "ALLOW\n"},
		{"text lease", renderText, "", leased, "ALLOW lease=l\n"},
		{"text deny", renderText, "", disabled, "DENY 403 Account is disabled D17\n"},
		{"text deny inbound", renderText, "inbound", disabled, "DENY 404 Not found D19\n"},
		{"form allow", renderForm, "", leased, "decision=allow&reason=allowed&account_id=a&connection_id=c&sip_code=200&sip_phrase=OK&http_status=200&code=&smpp_status=0&degraded=false" +
			"&lease_id=l&lease_expires_at=2026-11-21T12%3A00%3A00.000Z&limit=10&in_use=3"},
		{"form deny", renderForm, "", full, "decision=deny&reason=channel_limit&account_id=a&connection_id=&sip_code=403&sip_phrase=User%20channel%20limit%20exceeded%20D1&http_status=403" +
			"&code=10039&smpp_status=88&degraded=true&limit=0"},
	} {
		reply := admission.DefaultTable()[x.d.Reason]
		r := x.render(x.direction, x.d, &reply)
		if string(r.body) != x.want || r.status != 200 {
			t.Errorf("%s: %d\n%s\nwant\n%s", x.name, r.status, r.body, x.want)
		}
	}
	const head = `<?xml version="1.0" encoding="UTF-8" standalone="no"?>` + "\n" + `<document type="freeswitch/xml">`
	for _, x := range []struct {
		context string
		park    bool
		d       *admission.Decision
		want    string
	}{
		{"public", false, leased, head + `<section name="result"><result status="not found"/></section></document>` + "\n"},
		{"public", true, leased, head + `<section name="dialplan"><context name="public"><extension name="tenantry"><condition>` +
			`<action application="set" data="tenantry_reason=allowed"/><action application="set" data="tenantry_account_id=a"/>` +
			`<action application="set" data="tenantry_lease_id=l"/><action application="park"/></condition></extension></context></section></document>` + "\n"},
		{`"><a b='&`, false, disabled, head + `<section name="dialplan"><context name="&#34;&gt;&lt;a b=&#39;&amp;"><extension name="tenantry"><condition>` +
			`<action application="set" data="tenantry_reason=account_disabled"/><action application="respond" data="403 Account is disabled D17"/>` +
			`</condition></extension></context></section></document>` + "\n"},
	} {
		reply := admission.DefaultTable()[x.d.Reason]
		if got := renderFreeSWITCH(x.context, x.park, "", x.d, &reply); got != x.want {
			t.Errorf("FreeSWITCH, %s:\n%s\nwant\n%s", x.d.Reason, got, x.want)
		}
	}
	for _, x := range []struct {
		all    bool
		d      *admission.Decision
		status int
		header string
		body   string
	}{
		{false, leased, 200, "[[X-Tenantry-Reason allowed] [X-Tenantry-Status 200] [X-Tenantry-Account a]]", ""},
		{false, disabled, 403, "[[X-Tenantry-Reason account_disabled] [X-Tenantry-Status 403] [X-Tenantry-Account a] [X-Tenantry-Body BODY]]",
			`{"errors":[{"code":"20012","title":"Account inactive",` + detail + `}]}`},
		{false, unknown, 401, `[[X-Tenantry-Reason unknown_credentials] [X-Tenantry-Status 401] [X-Tenantry-Body BODY] [Www-Authenticate Bearer realm="tenantry"]]`,
			`{"errors":[{"code":"10009","title":"Authentication failed","detail":"Could not understand the provided credentials.","source":{"pointer":"/"},"meta":{"url":"https://developers.telnyx.com/docs/overview/errors/10009"}}]}`},
		{false, limited, 403, "[[X-Tenantry-Reason rate_limited] [X-Tenantry-Status 429] [X-Tenantry-Account a] [X-Tenantry-Body BODY] [Retry-After 1]]", "*"},
		{true, limited, 429, "[[X-Tenantry-Reason rate_limited] [X-Tenantry-Status 429] [X-Tenantry-Account a] [X-Tenantry-Body BODY] [Retry-After 1]]", "*"},
	} {
		reply := admission.DefaultTable()[x.d.Reason]
		r := renderForward(x.all, x.d, &reply)
		header := fmt.Sprint(r.header)
		if len(r.body) > 0 {
			header = strings.ReplaceAll(header, string(r.body), "BODY")
		}
		if r.status != x.status || header != x.header || x.body != "*" && string(r.body) != x.body {
			t.Errorf("forward, %s: %d %s\n%s\nwant %d %s\n%s", x.d.Reason, r.status, header, r.body, x.status, x.header, x.body)
		}
	}
}

// hostile are values that would mean something else in one of the renderings.
var hostile = []string{
	`"><action application="system" data="reboot"/>`, "]]>", "&amp;", "&#0;", "<!--", "${system(reboot)}", "a\nALLOW lease=x", "a\r\nX-Evil: 1", "a&decision=allow", "a;b", "%00", "\x00", "\xff\xfe",
	"=cmd()", ",", "'", "\u202e", strings.Repeat("x", 300),
}

// TestHostileRenderings: whatever a caller calls itself, the answer stays one answer.
func TestHostileRenderings(t *testing.T) {
	for _, text := range hostile {
		for _, base := range []*admission.Decision{leased, disabled} {
			d := *base
			d.AccountID, d.ConnectionID = text, text
			checkRendered1(t, text, &d)
		}
	}
}

func checkRendered1(t *testing.T, context string, d *admission.Decision) {
	t.Helper()
	reply := admission.DefaultTable()[d.Reason]
	if r := renderJSON("", d, &reply); !json.Valid(r.body) {
		t.Errorf("%q: not JSON: %s", context, r.body)
	}
	if r := renderText("", d, &reply); strings.Count(string(r.body), "\n") != 1 || strings.HasPrefix(string(r.body), "ALLOW") != d.Allowed() {
		t.Errorf("%q: not one line: %q", context, r.body)
	}
	r := renderForm("", d, &reply)
	values, err := url.ParseQuery(string(r.body))
	if err != nil || len(values["decision"]) != 1 || values.Get("decision") != decisionOf(d) || values.Get("account_id") != d.AccountID {
		t.Errorf("%q: not the form of it: %s", context, r.body)
	}
	for _, park := range []bool{false, true} {
		var document struct {
			Sections []struct {
				Contexts []struct {
					Extensions []struct {
						Actions []struct {
							Application string `xml:"application,attr"`
						} `xml:"condition>action"`
					} `xml:"extension"`
				} `xml:"context"`
			} `xml:"section"`
		}
		text := renderFreeSWITCH(context, park, "", d, &reply)
		if err := xml.Unmarshal([]byte(text), &document); err != nil {
			t.Errorf("%q: not XML: %v\n%s", context, err, text)
			continue
		}
		var applications []string
		for _, s := range document.Sections {
			for _, c := range s.Contexts {
				for _, e := range c.Extensions {
					for _, a := range e.Actions {
						applications = append(applications, a.Application)
					}
				}
			}
		}
		want := "set respond"
		switch {
		case d.Allowed() && !park:
			want = ""
		case d.Allowed():
			want = "set set set park"
		}
		if got := strings.Join(applications, " "); got != want {
			t.Errorf("%q: the dialplan does %s, not %s", context, got, want)
		}
	}
}
