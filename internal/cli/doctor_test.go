package cli_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestDoctor shows the doctor servers and set-ups that are ill in one way each.
func TestDoctor(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	for _, name := range []string{"TELNYX_API_KEY", "TELNYX_BASE_URL", "TENANTRY_PROFILE"} {
		t.Setenv(name, "")
	}
	answer := func(status int, code string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"errors":[{"code":"%s","title":"No","detail":"No."}]}`, code)
		}
	}
	healthy := map[string]http.HandlerFunc{
		"/readyz":              func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"status":"ok"}`) },
		"/v2/balance":          func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"data":{}}`) },
		"/v2/managed_accounts": func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"data":[],"meta":{}}`) },
	}
	// but is the healthy server with one thing changed.
	but := func(path string, handler http.HandlerFunc) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == path:
				handler(w, r)
			case healthy[r.URL.Path] != nil:
				healthy[r.URL.Path](w, r)
			default:
				answer(404, "10005")(w, r)
			}
		})
	}
	serve := func(h http.Handler) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.URL + "/v2"
	}
	quiet := log.New(io.Discard, "", 0)
	untrusted := httptest.NewUnstartedServer(but("", nil))
	untrusted.Config.ErrorLog = quiet
	untrusted.StartTLS()
	t.Cleanup(untrusted.Close)
	rude, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rude.Close() })
	go func() {
		for {
			conn, err := rude.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	clock := func(off time.Duration) http.Handler {
		return but("/v2/balance", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
			fmt.Fprint(w, `{"data":{}}`)
		})
	}
	plain := serve(but("", nil))

	for _, c := range []struct {
		name, url, key string
		state          string // of the finding that counts
		check          string
		says, advises  string
	}{
		{"well", plain, "KEY", "ok", "manager", "manages others", ""},
		{"wrong key", serve(but("/v2/balance", answer(401, "10009"))), "KEY", "problem", "access", "does not know the key", "copy the key"},
		{"disabled", serve(but("/v2/balance", answer(403, "20012"))), "KEY", "problem", "access", "is disabled", "manager can enable"},
		{"blocked", serve(but("/v2/balance", answer(403, "20013"))), "KEY", "problem", "access", "is blocked", "only the operator"},
		{"narrow key", serve(but("/v2/balance", answer(403, "10010"))), "KEY", "ok", "access", "may not see the balance", ""},
		{"no manager", serve(but("/v2/managed_accounts", answer(403, "10010"))), "KEY", "problem", "manager", "is no manager", "approve-manager"},
		{"rate limited", serve(but("/v2/balance", answer(429, "10011"))), "KEY", "warning", "access", "enough of our calls", "run doctor again"},
		{"fault", serve(but("/v2/balance", answer(500, "10007"))), "KEY", "problem", "access", "HTTP 500", "server's log"},
		{"another server", serve(http.NotFoundHandler()), "KEY", "problem", "access", "no such API", "/v2"},
		{"a web page", serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>") })), "KEY", "problem", "access", "not what was expected", "something else"},
		{"not writable", serve(but("/readyz", answer(503, "10007"))), "KEY", "problem", "server", "cannot write its database", "disk"},
		{"clock ahead", serve(clock(-time.Hour)), "KEY", "problem", "clock", "1h0m0s ahead of", "set the clock"},
		{"clock behind", serve(clock(time.Hour)), "KEY", "problem", "clock", "1h0m", "set the clock"},
		{"no /v2", strings.TrimSuffix(plain, "/v2"), "KEY", "problem", "address", "does not end in /v2", "set it to " + plain},
		{"untrusted", untrusted.URL + "/v2", "KEY", "problem", "server", "signed by nobody", "SSL_CERT_FILE"},
		{"no TLS", strings.Replace(plain, "http:", "https:", 1), "KEY", "problem", "server", "does not speak TLS", "http://"},
		{"hangs up", "http://" + rude.Addr().String() + "/v2", "KEY", "problem", "server", "closed the connection", "https://"},
		{"nobody there", "http://127.0.0.1:1/v2", "KEY", "problem", "server", "nothing listens at 127.0.0.1:1", "tenantry serve"},
		{"strange key", plain, "KEY\u00a0x", "problem", "key", "characters in it", "once more"},
		{"no address", "localhost:8077", "KEY", "problem", "address", "is no address", "like https://"},
		{"unencrypted", "http://192.0.2.1:1/v2", "KEY", "warning", "address", "sends the key unencrypted", "https"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			end := run(t.Context(), "doctor", "--json", "--base-url", c.url, "--key", c.key, "--timeout", "2s")
			var d struct {
				Well     bool
				Findings []struct{ Check, State, Detail, Do string }
			}
			if err := json.Unmarshal([]byte(end.out), &d); err != nil {
				t.Fatalf("%v in %+v", err, end)
			}
			found, problem := false, false
			for _, f := range d.Findings {
				problem = problem || f.State == "problem"
				found = found || f.Check == c.check && f.State == c.state && strings.Contains(f.Detail, c.says) && strings.Contains(f.Do, c.advises)
			}
			if !found {
				t.Errorf("it does not say %s %s %q %q: %s", c.state, c.check, c.says, c.advises, end.out)
			}
			if d.Well == problem || (end.code == 0) != d.Well || end.code > 1 {
				t.Errorf("well is %t and the exit code %d: %s", d.Well, end.code, end.out)
			}
		})
	}
}
