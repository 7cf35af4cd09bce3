package client_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/client"
)

var kinds = []error{
	client.ErrBadRequest, client.ErrAuthentication, client.ErrPermissionDenied, client.ErrNotFound, client.ErrConflict,
	client.ErrUnprocessable, client.ErrRateLimited, client.ErrServer, client.ErrConnection, client.ErrTimeout,
}

// isOnly reports whether err is of these kinds and of no other.
func isOnly(err error, want ...error) bool {
	for _, kind := range kinds {
		if errors.Is(err, kind) != slices.Contains(want, kind) {
			return false
		}
	}
	return err != nil
}

// envelope is a refusal's text.
func envelope(errors ...string) string { return `{"errors":[` + strings.Join(errors, ",") + `]}` }

// TestErrors pins, for each kind of refusal, what errors.Is finds and the sentence
// that a person reads.
func TestErrors(t *testing.T) {
	t.Parallel()
	const json, html = "application/json", "text/html"
	const missing = `{"code":"10004","title":"Missing required parameter","detail":"business_name is required.","source":{"pointer":"/business_name"},"meta":{"url":"https://example.com"}}`
	const email = `{"code":"10019","title":"Invalid email address","detail":"That is no e-mail address.","source":{"pointer":"/email"}}`
	cases := []struct {
		name        string
		status      int
		contentType string
		body        string
		kind        error // nil for none
		code        string
		want        string
	}{
		{"bad request", 400, json, envelope(`{"code":"10015","title":"Bad Request","detail":"page[size] has to be 1 to 250.","source":{"parameter":"page[size]"}}`), client.ErrBadRequest, "10015",
			"create managed account: page[size]: page[size] has to be 1 to 250 (HTTP 400, code 10015, request r1)"},
		{"wrong key", 401, json, envelope(`{"code":"10009","title":"Authentication failed","detail":"Could not understand the provided credentials.","source":{"parameter":"Authorization"}}`), client.ErrAuthentication, "10009",
			"create managed account: Could not understand the provided credentials (HTTP 401, code 10009, request r1)"},
		{"not allowed", 403, json, envelope(`{"code":"10010","title":"Not authorized","detail":"You are not authorized to access the requested resource.","source":{"pointer":"/"}}`), client.ErrPermissionDenied, "10010",
			"create managed account: You are not authorized to access the requested resource (HTTP 403, code 10010, request r1)"},
		{"title alone", 404, json, envelope(`{"code":"10005","title":"Resource not found"}`), client.ErrNotFound, "10005",
			"create managed account: Resource not found (HTTP 404, code 10005, request r1)"},
		{"conflict", 409, json, envelope(`{"code":"10021","title":"Resource in use","detail":""}`), client.ErrConflict, "10021",
			"create managed account: Resource in use (HTTP 409, code 10021, request r1)"},
		{"two at once", 422, json, envelope(missing, email), client.ErrUnprocessable, "10004",
			"create managed account: business_name: business_name is required; email: That is no e-mail address (HTTP 422, code 10004, request r1)"},
		{"too many", 429, json, envelope(`{"code":"10011","title":"Too many requests","detail":"You have exceeded the maximum number of allowed requests."}`), client.ErrRateLimited, "10011",
			"create managed account: You have exceeded the maximum number of allowed requests (HTTP 429, code 10011, request r1)"},
		{"server error", 500, json, envelope(`{"code":"10007","title":"Unexpected error","detail":"Please ask with the request id."}`), client.ErrServer, "10007",
			"create managed account: Please ask with the request id (HTTP 500, code 10007, request r1)"},
		{"timeout of the server", 408, json, envelope(`{"code":"10008","title":"Request timeout"}`), client.ErrTimeout, "10008",
			"create managed account: Request timeout (HTTP 408, code 10008, request r1)"},
		{"code as a number", 422, json, envelope(`{"code":10015,"title":"Bad Request","detail":"No.","source":null,"meta":{"url":7}}`), client.ErrUnprocessable, "10015",
			"create managed account: No (HTTP 422, code 10015, request r1)"},
		{"an error that has nothing", 422, json, envelope(`{}`), client.ErrUnprocessable, "",
			"create managed account: unprocessable entity (HTTP 422, request r1)"},
		{"nothing in the envelope", 422, json, envelope(), client.ErrUnprocessable, "",
			"create managed account: unprocessable entity (HTTP 422, request r1)"},
		{"another shape", 400, json, `{"error":"invalid_client"}`, client.ErrBadRequest, "", "create managed account: bad request (HTTP 400, request r1)"},
		{"a list", 400, json, `[1,2]`, client.ErrBadRequest, "", "create managed account: bad request (HTTP 400, request r1)"},
		{"HTML of a proxy", 502, html, "<html><body><h1>502 Bad Gateway</h1></body></html>", client.ErrServer, "", "create managed account: bad gateway (HTTP 502, request r1)"},
		{"empty", 503, json, "", client.ErrServer, "", "create managed account: service unavailable (HTTP 503, request r1)"},
		{"broken JSON", 422, json, `{"errors":[{"code":"1`, client.ErrUnprocessable, "", "create managed account: unprocessable entity (HTTP 422, request r1)"},
		{"huge", 500, json, `{"errors":[{"code":"10007","detail":"` + strings.Repeat("x", 3<<20) + `"}]}`, client.ErrServer, "", "create managed account: internal server error (HTTP 500, request r1)"},
		{"a status without a name", 599, json, "", client.ErrServer, "", "create managed account: the server refuses (HTTP 599, request r1)"},
		{"teapot", 418, json, "", nil, "", "create managed account: i'm a teapot (HTTP 418, request r1)"},
		{"moved", 301, html, "<a href=/elsewhere>", nil, "", "create managed account: moved permanently (HTTP 301, request r1)"},
		{"HTML as an answer", 200, html, "<html>Please sign in to the Wi-Fi</html>", nil, "",
			"create managed account: the answer is not what was expected: invalid character '<' looking for beginning of value (HTTP 200, request r1)"},
		{"nothing as an answer", 200, json, "", nil, "", "create managed account: the answer is not what was expected: unexpected end of JSON input (HTTP 200, request r1)"},
		{"a list as an answer", 200, json, `{"data":[]}`, nil, "",
			"create managed account: the answer is not what was expected: json: …"},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := scripted(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Request-Id", "r1")
				w.Header().Set("Location", "/v2/elsewhere")
				answers(test.status, test.contentType, test.body)(w, r)
			}, client.WithRetries(0))
			_, err := c.ManagedAccounts.Create(t.Context(), client.ManagedAccountCreate{})
			e := refused(t, err)
			start, _, open := strings.Cut(test.want, "…")
			if err.Error() != test.want && !(open && strings.HasPrefix(err.Error(), start)) {
				t.Errorf("reads\n%s\nand not\n%s", err, test.want)
			}
			var want []error
			if test.kind != nil {
				want = []error{test.kind}
			}
			if !isOnly(err, want...) {
				t.Errorf("%v is not of the kind %v alone", err, test.kind)
			}
			if e.StatusCode != test.status || e.Code() != test.code || e.RequestID != "r1" || e.Operation != "create managed account" {
				t.Errorf("%+v", e)
			}
		})
	}
}

// TestErrorParts wants the parts of an error within reach.
func TestErrorParts(t *testing.T) {
	t.Parallel()
	c := scripted(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "3600")
		w.Header().Set("X-Should-Retry", "false")
		answers(429, "application/json", envelope(`{"code":"1","title":"T","detail":"D","source":{"pointer":"/p","parameter":"q"},"meta":{"url":"u"}}`))(w, r)
	})
	_, err := c.Balance.Retrieve(t.Context())
	want := []api.Error{{Code: "1", Title: "T", Detail: "D", Source: &api.ErrorSource{Pointer: "/p", Parameter: "q"}, Meta: &api.ErrorMeta{URL: "u"}}}
	e := refused(t, err)
	if diff := cmp.Diff(want, e.Errors); diff != "" || e.RetryAfter != time.Hour || errors.Unwrap(e) != nil {
		t.Errorf("%s, retry after %s", diff, e.RetryAfter)
	}
}

// TestNoAnswer is about errors of the network.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close() // nobody listens there now
	c := newClient(t, "http://"+address+"/v2", client.WithRetries(0))
	_, err = c.ManagedAccounts.List(t.Context(), client.ManagedAccountList{EmailEq: "canary@example.com"})
	var network *net.OpError
	want := "list managed accounts: the server cannot be reached: dial tcp " + address + ": connect: connection refused"
	if !isOnly(err, client.ErrConnection) || !errors.As(err, &network) || err.Error() != want {
		t.Errorf("%v", err)
	}

	stuck := scripted(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, client.WithRetries(0))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = stuck.Balance.Retrieve(ctx)
	if !isOnly(err, client.ErrConnection, client.ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) ||
		err.Error() != "retrieve balance: the server did not answer in time: context deadline exceeded" {
		t.Errorf("%v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	_, err = stuck.Balance.Retrieve(ctx)
	if !isOnly(err) || !errors.Is(err, context.Canceled) || err.Error() != "retrieve balance: cancelled: context canceled" {
		t.Errorf("%v", err)
	}
	impatient := newClient(t, stuck.BaseURL(), client.WithRetries(0), client.WithTimeout(0), client.WithHTTPClient(&http.Client{Timeout: 10 * time.Millisecond}))
	if _, err = impatient.Balance.Retrieve(t.Context()); !isOnly(err, client.ErrConnection, client.ErrTimeout) {
		t.Errorf("%v", err)
	}
}

// TestBadBaseURL wants a wrong address to be said at once, and never shown: it may
// be a key in the wrong place.
func TestBadBaseURL(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"api.telnyx.com/v2", "localhost:8077/v2", "KEY-canary", "http://[canary", "ftp://canary/v2", "http://", ":", "http://canary:99999999999999/v2/%zz"} {
		_, err := client.New(client.WithBaseURL(base)).Balance.Retrieve(t.Context())
		if err == nil || err.Error() != "retrieve balance: the base URL (TELNYX_BASE_URL) has to be like https://api.telnyx.com/v2" || isOnly(err, client.ErrConnection) {
			t.Errorf("%q: %v", base, err)
		}
	}
}

// TestRedirects wants nothing to be sent after a redirect: not the credentials to
// another host, and no GET in the place of a POST.
func TestRedirects(t *testing.T) {
	t.Parallel()
	elsewhere := scripted(t, func(w http.ResponseWriter, r *http.Request) { t.Errorf("%s %s %v", r.Method, r.URL, r.Header) })
	for _, status := range []int{301, 302, 303, 307, 308} {
		c := scripted(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.BaseURL()+r.URL.Path, status)
		}, client.WithV1("user", "token"))
		_, err := c.ManagedAccounts.Create(t.Context(), client.ManagedAccountCreate{})
		if e := refused(t, err); e.StatusCode != status {
			t.Error(err)
		}
	}
	followed := false
	c := scripted(t, func(w http.ResponseWriter, r *http.Request) {
		if followed = r.URL.Path == "/elsewhere"; followed {
			answers(200, "application/json", `{"data":{}}`)(w, r)
			return
		}
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}, client.WithHTTPClient(&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}))
	if _, err := c.Balance.Retrieve(t.Context()); err != nil || !followed {
		t.Errorf("who wants redirects has them: %v", err)
	}
}
