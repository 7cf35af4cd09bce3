package httpapi

import (
	"encoding/xml"
	"net/url"
	"strconv"
	"strings"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/internal/admission"
)

// rendered is an answer with a status, a type and headers of its own.
type rendered struct {
	status      int
	contentType string
	header      [][2]string // canonical
	body        []byte
}

// renderer turns a decision, and how its reason is said, into an answer.
type renderer func(direction string, d *admission.Decision, reply *admission.Reply) rendered

// renderJSON writes what encode makes of an api.Admission, without reflection.
func renderJSON(direction string, d *admission.Decision, reply *admission.Reply) rendered {
	sip := reply.SIP(direction)
	b := make([]byte, 0, 352) // what is allowed fits, and has a lease
	b = append(b, `{"data":{"record_type":"admission","decision":"`...)
	b = append(b, decisionOf(d)...)
	b = append(b, `","reason":`...)
	b = appendJSON(b, string(d.Reason))
	b = append(b, `,"degraded":`...)
	b = strconv.AppendBool(b, d.Degraded)
	if d.AccountID != "" {
		b = append(b, `,"account_id":`...)
		b = appendJSON(b, d.AccountID)
	}
	if d.ConnectionID != "" {
		b = append(b, `,"connection_id":`...)
		b = appendJSON(b, d.ConnectionID)
	}
	b = append(b, `,"sip":{"code":`...)
	b = strconv.AppendInt(b, int64(sip.Code), 10)
	b = append(b, `,"phrase":`...)
	b = appendJSON(b, sip.Phrase)
	b = append(b, `},"http":{"status":`...)
	b = strconv.AppendInt(b, int64(reply.Status), 10)
	b = append(b, `,"errors":[`...)
	if !d.Allowed() {
		b = appendError(b, reply)
	}
	b = append(b, `]},"smpp_status":`...)
	b = strconv.AppendInt(b, int64(reply.SMPP), 10)
	if d.Lease != nil {
		b = append(b, `,"lease":{"id":`...)
		b = appendJSON(b, d.Lease.ID)
		b = append(b, `,"expires_at":`...)
		b = appendJSON(b, api.Time(d.Lease.ExpiresAt))
		b = append(b, '}')
	}
	if limit, inUse := numbers(d); limit {
		b = append(b, `,"limit":`...)
		b = strconv.AppendInt(b, d.Limit, 10)
		if inUse {
			b = append(b, `,"in_use":`...)
			b = strconv.AppendInt(b, d.InUse, 10)
		}
	}
	b = append(b, `,"cache_seconds":0}}`...)
	return rendered{status: 200, contentType: "application/json", body: b}
}

// numbers says whether the limit is known, and the channels in use.
func numbers(d *admission.Decision) (limit, inUse bool) {
	return d.Limit > 0 || d.Reason == admission.ChannelLimit, d.Lease != nil || d.InUse > 0
}

func decisionOf(d *admission.Decision) string {
	if d.Allowed() {
		return "allow"
	}
	return "deny"
}

// admissionError is a reason in the vendor's form.
func admissionError(reply *admission.Reply) api.Error {
	e := api.Error{Code: reply.Code, Title: reply.Title, Detail: reply.Detail, Source: &api.ErrorSource{Pointer: "/"}}
	if reply.Code != "" {
		e.Meta = &api.ErrorMeta{URL: errorPages + reply.Code}
	}
	return e
}

// appendError writes what encode makes of the admissionError.
func appendError(b []byte, reply *admission.Reply) []byte {
	b = appendJSON(append(b, `{"code":`...), reply.Code)
	b = appendJSON(append(b, `,"title":`...), reply.Title)
	b = appendJSON(append(b, `,"detail":`...), reply.Detail)
	b = append(b, `,"source":{"pointer":"/"}`...)
	if reply.Code != "" {
		b = appendJSON(append(b, `,"meta":{"url":`...), errorPages+reply.Code)
		b = append(b, '}')
	}
	return append(b, '}')
}

// renderText is one line: ALLOW and what the call holds, or DENY and what to answer.
func renderText(direction string, d *admission.Decision, reply *admission.Reply) rendered {
	b := make([]byte, 0, 128)
	if d.Allowed() {
		b = append(b, "ALLOW"...)
		if d.Lease != nil {
			b = append(append(b, " lease="...), d.Lease.ID...)
		}
	} else {
		sip := reply.SIP(direction)
		b = strconv.AppendInt(append(b, "DENY "...), int64(sip.Code), 10)
		b = append(append(b, ' '), sip.Phrase...)
	}
	return rendered{status: 200, contentType: "text/plain; charset=utf-8", body: append(b, '\n')}
}

// renderForm is for HASH() of Asterisk and the like. A space is %20, which all of
// them read.
func renderForm(direction string, d *admission.Decision, reply *admission.Reply) rendered {
	sip := reply.SIP(direction)
	var b strings.Builder
	add := func(name, value string) {
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		b.WriteString(name + "=" + strings.ReplaceAll(url.QueryEscape(value), "+", "%20"))
	}
	add("decision", decisionOf(d))
	add("reason", string(d.Reason))
	add("account_id", d.AccountID)
	add("connection_id", d.ConnectionID)
	add("sip_code", strconv.Itoa(sip.Code))
	add("sip_phrase", sip.Phrase)
	add("http_status", strconv.Itoa(reply.Status))
	add("code", reply.Code)
	add("smpp_status", strconv.Itoa(reply.SMPP))
	add("degraded", strconv.FormatBool(d.Degraded))
	if d.Lease != nil {
		add("lease_id", d.Lease.ID)
		add("lease_expires_at", api.Time(d.Lease.ExpiresAt))
	}
	if limit, inUse := numbers(d); limit {
		add("limit", strconv.FormatInt(d.Limit, 10))
		if inUse {
			add("in_use", strconv.FormatInt(d.InUse, 10))
		}
	}
	return rendered{status: 200, contentType: "application/x-www-form-urlencoded", body: []byte(b.String())}
}

const freeswitchHead = `<?xml version="1.0" encoding="UTF-8" standalone="no"?>` + "\n" + `<document type="freeswitch/xml">`

// freeswitchNotFound sends the switch to its next dialplan.
const freeswitchNotFound = freeswitchHead + `<section name="result"><result status="not found"/></section></document>` + "\n"

func renderedXML(document string) rendered {
	return rendered{status: 200, contentType: "text/xml; charset=utf-8", body: []byte(document)}
}

// renderFreeSWITCH is a dialplan: what is refused is answered so; what is allowed goes
// on with the next dialplan, or is parked with what is known of it.
func renderFreeSWITCH(context string, park bool, direction string, d *admission.Decision, reply *admission.Reply) string {
	if d.Allowed() && !park {
		return freeswitchNotFound
	}
	var b strings.Builder
	b.WriteString(freeswitchHead + `<section name="dialplan"><context name="`)
	b.WriteString(escapeXML(context))
	b.WriteString(`"><extension name="tenantry"><condition>`)
	action := func(application, data string) {
		b.WriteString(`<action application="` + application + `"`)
		if data != "" {
			b.WriteString(` data="` + escapeXML(data) + `"`)
		}
		b.WriteString("/>")
	}
	action("set", "tenantry_reason="+string(d.Reason))
	if d.Allowed() {
		action("set", "tenantry_account_id="+d.AccountID)
		if d.Lease != nil {
			action("set", "tenantry_lease_id="+d.Lease.ID)
		}
		action("park", "")
	} else {
		sip := reply.SIP(direction)
		action("respond", strconv.Itoa(sip.Code)+" "+sip.Phrase)
	}
	b.WriteString("</condition></extension></context></section></document>\n")
	return b.String()
}

func escapeXML(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s)) // a Builder never fails
	return b.String()
}

// renderForward is for proxies: exactly 200 lets the request pass. nginx knows no
// refusal but 401 and 403, so that others are 403 unless the proxy has said that it
// carries all; the true status, and the body, stand in headers too.
func renderForward(all bool, d *admission.Decision, reply *admission.Reply) rendered {
	r := rendered{status: 200, header: [][2]string{
		{"X-Tenantry-Reason", string(d.Reason)}, {"X-Tenantry-Status", strconv.Itoa(reply.Status)},
	}}
	if d.AccountID != "" {
		r.header = append(r.header, [2]string{"X-Tenantry-Account", d.AccountID})
	}
	if d.Allowed() {
		return r
	}
	switch r.status = reply.Status; {
	case all, r.status == 401:
	default:
		r.status = 403
	}
	r.body = append(appendError([]byte(`{"errors":[`), reply), "]}"...)
	r.contentType = "application/json"
	r.header = append(r.header, [2]string{"X-Tenantry-Body", string(r.body)})
	switch reply.Status {
	case 401:
		r.header = append(r.header, [2]string{"Www-Authenticate", `Bearer realm="tenantry"`})
	case 429, 503: // also where the proxy gets a 403
		r.header = append(r.header, [2]string{"Retry-After", "1"})
	}
	return r
}
