package client_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/client"
)

// FuzzAnswer gives a client any answer: every call ends, with a result or an
// *Error that reads.
func FuzzAnswer(f *testing.F) {
	f.Add(200, "", `{"data":{"id":"x"}}`)
	f.Add(200, "", list(`{"page_number":1,"total_pages":2}`, "a", "b"))
	f.Add(200, "", `{"data":[null,{"api_key":null}],"meta":null}`)
	f.Add(200, "", reportHead+"\n1,a@example.com,enabled,then,,\"A, B\"")
	f.Add(422, "1.5", envelope(`{"code":10004,"title":"T","source":{"pointer":"/x"}}`))
	f.Add(429, "Wed, 21 Oct 2099 07:28:00 GMT", `{"errors":{}}`)
	f.Fuzz(func(t *testing.T, status int, after, body string) {
		status = 100 + max(status, -status)%900
		pages := 0
		c := client.New(client.WithBaseURL("http://server.invalid"), client.WithRetries(0), client.WithHTTPClient(&http.Client{
			Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				text := body
				if pages++; pages > 5 {
					text = `{"data":[]}`
				}
				return &http.Response{StatusCode: max(status, 200), Header: http.Header{"Retry-After": {after}}, Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
			}),
		}))
		check := func(err error) {
			var e *client.Error
			if err != nil && (!errors.As(err, &e) || e.Error() == "" || e.RetryAfter < 0) {
				t.Errorf("%v is no *Error", err)
			}
		}
		account, err := c.ManagedAccounts.Retrieve(t.Context(), "x")
		if check(err); err == nil {
			var id any
			if _, err := account.Field("id", &id); err != nil {
				t.Error(err)
			}
		}
		pages = 0
		for account, err := range c.ManagedAccounts.All(t.Context(), client.ManagedAccountList{}) {
			if check(err); err == nil {
				var id any
				account.Field("id", &id)
			}
		}
		pages = 0
		for _, err := range c.OrganizationUsers.GroupsReportRows(t.Context()) {
			check(err)
		}
	})
}
