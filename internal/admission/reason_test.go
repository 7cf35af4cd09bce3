package admission_test

import (
	"strings"
	"testing"

	"github.com/tenantry/tenantry/internal/admission"
)

// TestReadTable: an operator may say a reason otherwise, as far as every dialect can
// say it.
func TestReadTable(t *testing.T) {
	table, err := admission.ReadTable([]byte("account_disabled:\n  sip_outbound: {code: 480, phrase: Away}\n  smpp_status: 11\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := admission.DefaultTable()
	reply := want[admission.AccountDisabled]
	reply.Outbound, reply.SMPP = admission.SIP{Code: 480, Phrase: "Away"}, 11
	want[admission.AccountDisabled] = reply
	for reason, reply := range want {
		if table[reason] != reply {
			t.Errorf("%s: %+v, not %+v", reason, table[reason], reply)
		}
	}
	if table, err := admission.ReadTable(nil); err != nil || len(table) != len(want) {
		t.Errorf("an empty file: %d reasons, %v", len(table), err)
	}
	for text, part := range map[string]string{
		"nonsense: {}":                                              "nonsense",
		"account_disabled: {http: 403}":                             "http",
		"account_disabled: {http_status: 200}":                      "HTTP status 200",
		"account_disabled: {sip_inbound: {code: 200, phrase: OK}}":  "SIP code",
		"account_disabled: {sip_inbound: {code: 404, phrase: ''}}":  "phrase",
		"account_disabled: {sip_inbound: {phrase: \"a\\nb\"}}":      "phrase",
		"account_disabled: {sip_inbound: {phrase: '${system(x)}'}}": "phrase",
		"account_disabled: {smpp_status: 0}":                        "SMPP",
		"allowed: {http_status: 204}":                               "HTTP status 204",
		"allowed: {sip_outbound: {code: 486}}":                      "SIP code",
		"account_disabled: {detail: \"\\u00e9\"}":                   "ASCII",
		"- a": "map",
	} {
		if _, err := admission.ReadTable([]byte(text)); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %v, which does not name %q", text, err, part)
		}
	}
}
