//go:build unix

package app_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/client"
)

// These tests put real proxies, with the very files of deploy/, before an upstream of
// the test's, and have them ask the program as it is shipped.

// proxyProgram is a proxy that is installed here.
type proxyProgram struct {
	program string // on the PATH
	file    string // in deploy/
	// arrange writes what else it needs into a folder that has its files, and returns
	// its arguments and environment.
	arrange func(t *testing.T, folder, token string) (args, env []string)
}

var proxyPrograms = []proxyProgram{
	{"nginx", "nginx/tenantry.conf", arrangeNginx},
	{"caddy", "caddy/Caddyfile", arrangeCaddy},
}

func arrangeNginx(t *testing.T, folder, token string) (args, env []string) {
	write(t, folder, "tenantry-token", `proxy_set_header X-Tenantry-Admission "`+token+`";`)
	conf := "daemon off;\nworker_processes 1;\npid nginx.pid;\nerror_log stderr warn;\n"
	if os.Getuid() == 0 {
		conf += "user root;\n" // or else nobody, whom the folder is closed to
	}
	conf += "events {}\nhttp {\n  access_log off;\n  include /etc/nginx/mime.types;\n"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		conf += "  " + kind + "_temp_path " + kind + ";\n"
	}
	write(t, folder, "nginx.conf", conf+"  include tenantry.conf;\n}\n")
	return []string{"-p", folder, "-c", "nginx.conf", "-e", "stderr"}, nil
}

func arrangeCaddy(t *testing.T, folder, token string) (args, env []string) {
	return []string{"run", "--config", "Caddyfile"}, []string{
		"TENANTRY_ADMISSION_TOKEN=" + token, "HOME=" + folder, "XDG_DATA_HOME=" + folder, "XDG_CONFIG_HOME=" + folder,
		"CADDY_ADMIN=unix/" + filepath.Join(folder, "admin.sock"),
	}
}

func write(t *testing.T, folder, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// replacement is a change to a file of deploy/ that a reader of it makes as well.
type replacement struct{ old, new string }

// startProxy runs a proxy until the test is over, and returns its address.
func startProxy(t *testing.T, p proxyProgram, tenantry, upstream, token string, changes ...replacement) (address string, said *logBuffer) {
	t.Helper()
	path := proxyPath(t, p.program)
	// The port is free now, and may be somebody else's in a moment.
	for range 5 {
		address = freeAddress(t)
		folder := t.TempDir()
		args, env := p.arrange(t, folder, token)
		text := deployFiles(t)[p.file]
		_, port, _ := net.SplitHostPort(address)
		for _, r := range append([]replacement{
			{"127.0.0.1:8077", tenantry}, {"127.0.0.1:9000", upstream}, {":8080 {", ":" + port + " {\n\tbind 127.0.0.1"},
			{"listen 8080;", "listen " + address + ";"}, {"/etc/nginx/tenantry-token", "tenantry-token"},
		}, changes...) {
			text = strings.ReplaceAll(text, r.old, r.new)
		}
		if !strings.Contains(text, tenantry) || !strings.Contains(text, upstream) || !strings.Contains(text, port) {
			t.Fatalf("%s does not name its addresses", p.file)
		}
		write(t, folder, filepath.Base(p.file), text)
		said = &logBuffer{}
		// The shell ends the proxy when the test lets go of its input, in whatever way
		// the test itself ends.
		c := exec.Command("sh", append([]string{"-c", `"$@" & proxy=$!; read -r _; kill "$proxy"; wait "$proxy"`, "sh", path}, args...)...)
		c.Dir, c.Stdout, c.Stderr = folder, said, said
		c.Env = append(os.Environ(), env...)
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		c.WaitDelay = 5 * time.Second
		stdin, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		stop := sync.OnceFunc(func() {
			stdin.Close()
			late := time.AfterFunc(15*time.Second, func() { syscall.Kill(-c.Process.Pid, syscall.SIGKILL) })
			defer late.Stop()
			c.Wait()
			syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		})
		t.Cleanup(stop)
		if listens(t, address, said) {
			if slices.Contains(strings.Fields(strings.ReplaceAll(said.String(), `"`, " ")), token) {
				t.Errorf("%s has written the token", p.program)
			}
			return address, said
		}
		stop()
	}
	t.Fatalf("%s does not start:\n%s", p.program, said)
	return "", nil
}

// listens waits until a proxy can be reached; false if its port is somebody else's.
func listens(t *testing.T, address string, said *logBuffer) bool {
	for start := time.Now(); time.Since(start) < 30*time.Second; time.Sleep(10 * time.Millisecond) {
		if strings.Contains(said.String(), "ddress already in use") {
			return false
		}
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return true
		}
	}
	t.Fatalf("nothing listens:\n%s", said)
	return false
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// proxyPath is where a program is. Without it the test is skipped, or fails where
// nothing may be skipped.
func proxyPath(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		// Debian keeps its servers off the PATH of users.
		path, err = exec.LookPath("/usr/sbin/" + program)
	}
	if err == nil {
		return path
	}
	if os.Getenv("TENANTRY_TEST_REQUIRE") == "all" {
		t.Fatalf("%s is missing and TENANTRY_TEST_REQUIRE=all: %v", program, err)
	}
	t.Skipf("NOT TESTED with %s, which is missing (Debian: apt-get install %[1]s): %v", program, err)
	return ""
}

// proxySeed has an account for each answer.
const proxySeed = `
accounts:
  - business_name: Example Reseller
    email: manager@example.com
    manager: {channel_pool: 10}
    managed_accounts:
      - {business_name: Larry's Cat Food Inc, email: larry@example.com}
      - {business_name: Example Company LLC, email: other@example.com}
      - {business_name: Blocked, email: blocked@example.com, status: blocked}
      - {business_name: Cancelled, email: cancelled@example.com, status: cancelled}
`

// proxyReasons give refusals that a caller may repeat.
const proxyReasons = `
account_blocked: {http_status: 429, code: "10011", title: Too many requests}
account_cancelled: {http_status: 503, code: "10007", title: Service unavailable}
`

// proxyWorld is a server, what proxies ask of it, and what they let through.
type proxyWorld struct {
	*server // ids, keys and tokens
	data    string
	process *served
	token   string
	flags   []string

	asked    *askedServer
	upstream *upstreamServer
}

func newProxyWorld(t *testing.T, flags ...string) *proxyWorld {
	t.Helper()
	w := &proxyWorld{server: newServer(), data: t.TempDir()}
	if err := w.open(w.data, []byte(proxySeed)); err != nil {
		t.Fatal(err)
	}
	w.token = w.app.AdmissionToken
	if err := w.app.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, w.data, "reasons.yaml", proxyReasons)
	w.flags = []string{"--admission-reasons", filepath.Join(w.data, "reasons.yaml")}
	w.process = serve(t, w.data, append(w.flags, flags...)...)
	w.asked = newAskedServer(t, w.process.url)
	w.upstream = newUpstreamServer(t, w.ids)
	return w
}

// manager is the API as the manager has it.
func (w *proxyWorld) manager() *client.ManagedAccounts {
	return client.New(client.WithBaseURL(w.process.url+"/v2"), client.WithKey(w.keys["manager@example.com"])).ManagedAccounts
}

// askedServer stands before Tenantry and writes down what proxies ask it.
type askedServer struct {
	*httptest.Server
	mu          sync.Mutex
	requests    []*http.Request
	bodies      int64           // bytes of all bodies
	connections map[string]bool // that they came on
}

func newAskedServer(t *testing.T, target string) *askedServer {
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	a := &askedServer{connections: map[string]bool{}}
	forward := httputil.NewSingleHostReverseProxy(u)
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		a.mu.Lock()
		a.requests = append(a.requests, r.Clone(context.Background()))
		a.bodies += n
		a.connections[r.RemoteAddr] = true
		a.mu.Unlock()
		r.Body = http.NoBody
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		a.CloseClientConnections()
		a.Close()
	})
	return a
}

func (a *askedServer) address() string { return a.Listener.Addr().String() }

// since returns what was asked from the nth request on.
func (a *askedServer) since(n int) []*http.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.requests[n:])
}

// upstreamServer is an API behind a proxy. It believes whatever account a request
// names, so that it complains of every request that it should not have got.
type upstreamServer struct {
	*httptest.Server
	mu       sync.Mutex
	wrong    []string
	requests int
	// goOn lets a download go on that has sent its first half.
	goOn chan struct{}
	half []byte
}

// echo is what the upstream got.
type echo struct {
	Method, URI, Account string
	Length               int
	SHA256               string
}

func newUpstreamServer(t *testing.T, ids map[string]string) *upstreamServer {
	u := &upstreamServer{goOn: make(chan struct{}), half: make([]byte, 1<<20)}
	for i := range u.half {
		u.half[i] = byte(rand.Uint32())
	}
	allowed := []string{ids["manager@example.com"], ids["larry@example.com"], ids["other@example.com"]}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		u.requests++
		if got := r.Header.Values("X-Tenantry-Account"); len(got) != 1 || !slices.Contains(allowed, got[0]) {
			u.wrong = append(u.wrong, fmt.Sprintf("%s %s: accounts %q", r.Method, r.RequestURI, got))
		}
		for name, values := range r.Header {
			plain := strings.ToLower(strings.ReplaceAll(name, "_", "-"))
			if name != "X-Tenantry-Account" && strings.HasPrefix(plain, "x-tenantry") || plain == "authorization" || strings.HasPrefix(plain, "x-api-") {
				u.wrong = append(u.wrong, fmt.Sprintf("%s %s: %s is %q", r.Method, r.RequestURI, name, values))
			}
		}
		u.mu.Unlock()
		switch {
		case r.URL.Path == "/download":
			w.Write(u.half)
			http.NewResponseController(w).Flush()
			select {
			case <-u.goOn:
				w.Write(u.half)
			case <-r.Context().Done():
			}
		case strings.HasPrefix(r.URL.Path, "/status/"):
			var status int
			fmt.Sscanf(r.URL.Path, "/status/%d", &status)
			w.Header().Set("Content-Type", "text/plain")
			w.WriteHeader(status)
			io.WriteString(w, "the upstream's own")
		default:
			body, err := io.ReadAll(r.Body)
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			json.NewEncoder(w).Encode(echo{r.Method, r.RequestURI, r.Header.Get("X-Tenantry-Account"), len(body), fmt.Sprintf("%x", sha256.Sum256(body))})
		}
	}))
	t.Cleanup(func() {
		u.CloseClientConnections()
		u.Close()
	})
	return u
}

func (u *upstreamServer) address() string { return u.Listener.Addr().String() }

// check complains of what should not have come through, and says how much came.
func (u *upstreamServer) check(t *testing.T) int {
	t.Helper()
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, wrong := range u.wrong {
		t.Errorf("the upstream got %s", wrong)
	}
	u.wrong = nil
	return u.requests
}

// apiCaller calls an API through a proxy.
type apiCaller struct {
	address string
	http    *http.Client
}

func newCaller(t *testing.T, address string) *apiCaller {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &apiCaller{address, &http.Client{Transport: transport, Timeout: 30 * time.Second}}
}

// do sends a request with headers in pairs.
func (c *apiCaller) do(t *testing.T, method, target string, body io.Reader, headers ...string) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+c.address+target, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	response, err := c.http.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	return reply{response, text}
}

// allowed wants an answer of the upstream's to an account.
func allowed(t *testing.T, r reply, account string) (got echo) {
	t.Helper()
	if err := json.Unmarshal(r.body, &got); r.StatusCode != 200 || err != nil || got.Account != account {
		t.Errorf("%d %s %v, want an answer to %s", r.StatusCode, r.body, err, account)
	}
	noneOfTenantry(t, r)
	return got
}

// refused wants a refusal in the vendor's form.
func refused(t *testing.T, what string, r reply, status int, code string) {
	t.Helper()
	var body api.Errors
	if err := json.Unmarshal(r.body, &body); err != nil || r.StatusCode != status || len(body.Errors) != 1 || body.Errors[0].Code != code ||
		body.Errors[0].Title == "" || body.Errors[0].Detail == "" || body.Errors[0].Source == nil || body.Errors[0].Meta == nil {
		t.Errorf("%s: %d %s, want %d with code %s", what, r.StatusCode, r.body, status, code)
	}
	if got := r.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("%s: Content-Type is %q", what, got)
	}
	if got, want := r.Header.Get("Retry-After"), status == 429 || status == 503; got == "1" != want {
		t.Errorf("%s: %d with Retry-After %q", what, status, got)
	}
	// nginx says it with the 503 as well that stands for a 401 about its own token.
	if got := r.Header.Get("Www-Authenticate"); (got != "") != (status == 401) && status != 503 {
		t.Errorf("%s: %d with WWW-Authenticate %q", what, status, got)
	}
	noneOfTenantry(t, r)
}

// noneOfTenantry: what is said between proxy and Tenantry is not for the caller.
func noneOfTenantry(t *testing.T, r reply) {
	t.Helper()
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Tenantry") {
			t.Errorf("the caller gets %s: %s", name, r.Header.Get(name))
		}
	}
}

func TestProxies(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("runs programs of others")
	}
	for _, p := range proxyPrograms {
		t.Run(p.program, func(t *testing.T) {
			t.Parallel()
			testProxy(t, p)
		})
	}
}

func testProxy(t *testing.T, p proxyProgram) {
	proxyPath(t, p.program)
	w := newProxyWorld(t)
	address, said := startProxy(t, p, w.asked.address(), w.upstream.address(), w.token)
	c := newCaller(t, address)
	larry := w.ids["larry@example.com"]
	bearer := func(email string) []string { return []string{"Authorization", "Bearer " + w.keys[email]} }
	key := bearer("larry@example.com")
	// through holds what step lets through to a number of requests.
	through := func(t *testing.T, want int, step func()) {
		t.Helper()
		before := w.upstream.check(t)
		step()
		if got := w.upstream.check(t) - before; got != want {
			t.Errorf("%d requests went through, not %d", got, want)
		}
	}

	t.Run("allowed", func(t *testing.T) {
		through(t, 8, func() {
			for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
				if got := allowed(t, c.do(t, method, "/v2/x.html?a=b&kind=call", nil, key...), larry); got.Method != method || got.URI != "/v2/x.html?a=b&kind=call" {
					t.Errorf("the upstream got %+v", got)
				}
			}
			allowed(t, c.do(t, "GET", "/", nil, "X-Api-User", "larry@example.com", "X-Api-Token", w.tokens["larry@example.com"]), larry)
			allowed(t, c.do(t, "GET", "/", nil, bearer("manager@example.com")...), w.ids["manager@example.com"])
		})
	})

	t.Run("refused", func(t *testing.T) {
		through(t, 0, func() {
			for _, path := range []string{"/", "/x.html", "/x.jpg?y", "/tenantry-admission", "/admission/v1/forward", "/%0d%0aX-Evil:1"} {
				r := c.do(t, "GET", path, nil)
				if path == "/tenantry-admission" && r.StatusCode == 404 {
					continue // is nginx's own
				}
				refused(t, "no key at "+path, r, 401, "10009")
			}
			refused(t, "unknown key", c.do(t, "GET", "/", nil, "Authorization", "Bearer KEY0"), 401, "10009")
			refused(t, "basic", c.do(t, "GET", "/", nil, "Authorization", "Basic bGFycnk6eA=="), 401, "10009")
			refused(t, "half of V1", c.do(t, "GET", "/", nil, "X-Api-User", "larry@example.com"), 401, "10009")
			refused(t, "wrong V1", c.do(t, "GET", "/", nil, "X-Api-User", "larry@example.com", "X-Api-Token", w.tokens["other@example.com"]), 401, "10009")
			refused(t, "with a body", c.do(t, "POST", "/", bytes.NewReader(make([]byte, 1<<20))), 401, "10009")
			if r := c.do(t, "HEAD", "/", nil); r.StatusCode != 401 || len(r.body) > 0 {
				t.Errorf("HEAD: %d %s", r.StatusCode, r.body)
			}
			refused(t, "429", c.do(t, "GET", "/x.html", nil, bearer("blocked@example.com")...), 429, "10011")
			refused(t, "503", c.do(t, "GET", "/", nil, bearer("cancelled@example.com")...), 503, "10007")
		})
	})

	t.Run("spoofed", func(t *testing.T) {
		other := w.ids["other@example.com"]
		through(t, 1, func() {
			allowed(t, c.do(t, "GET", "/", nil, append([]string{
				"X-Tenantry-Account", other, "x-tenantry-account", other, "X_Tenantry_Account", other, "X-Tenantry_account", other, "X-Tenantry-Reason", "x",
				"X-Tenantry-Admission", "x", "X-Tenantry-Statuses", "x", "X-Tenantry-Status", "200", "X-Tenantry-Body", "x",
			}, key...)...), larry)
		})
		through(t, 0, func() {
			refused(t, "an account alone", c.do(t, "GET", "/", nil, "X-Tenantry-Account", other, "X_Tenantry_Account", other), 401, "10009")
			// The caller cannot choose how Tenantry answers.
			refused(t, "429", c.do(t, "GET", "/", nil, append(bearer("blocked@example.com"), "X-Tenantry-Statuses", "no")...), 429, "10011")
			refused(t, "a status", c.do(t, "GET", "/", nil, "X-Tenantry-Status", "200"), 401, "10009")
		})
		// A proxy takes away what Connection names: not the account.
		through(t, 1, func() {
			raw(t, address, "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+w.keys["larry@example.com"]+
				"\r\nConnection: close, X-Tenantry-Account, X-Tenantry-Admission, X-Tenantry-Statuses\r\n\r\n", 200)
		})
		// Nor does somebody else's key count beside the one that was looked at.
		raw(t, address, "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer KEY0\r\nAuthorization: Bearer "+w.keys["larry@example.com"]+"\r\nConnection: close\r\n\r\n", 0)
		raw(t, address, "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+w.keys["larry@example.com"]+"\r\nAuthorization: Bearer KEY0\r\nConnection: close\r\n\r\n", 0)
		w.upstream.check(t)
	})

	t.Run("asked", func(t *testing.T) {
		seen := len(w.asked.since(0))
		body := make([]byte, 5<<20)
		for i := range body {
			body[i] = byte(rand.Uint32())
		}
		sum := fmt.Sprintf("%x", sha256.Sum256(body))
		headers := append([]string{"Cookie", "session=secret", "Content-Type", "application/octet-stream", "Expect", "100-continue"}, key...)
		for _, reader := range []io.Reader{bytes.NewReader(body), struct{ io.Reader }{bytes.NewReader(body)}} { // with a length, and in chunks
			if got := allowed(t, c.do(t, "POST", "/upload?q=1", reader, headers...), larry); got.Length != len(body) || got.SHA256 != sum {
				t.Errorf("%d bytes arrived, or others than were sent", got.Length)
			}
		}
		w.asked.mu.Lock()
		if w.asked.bodies != 0 {
			t.Errorf("Tenantry got %d bytes of bodies", w.asked.bodies)
		}
		w.asked.mu.Unlock()
		asked := w.asked.since(seen)
		if len(asked) != 2 {
			t.Errorf("Tenantry was asked %d times", len(asked))
		}
		for _, r := range asked {
			if r.Method != "GET" && r.Method != "HEAD" || r.RequestURI != "/admission/v1/forward" || r.ContentLength > 0 || r.Header.Get("X-Tenantry-Admission") != w.token || r.Header.Get("Cookie") != "" {
				t.Errorf("Tenantry was asked %s %s with %d bytes and %v", r.Method, r.RequestURI, r.ContentLength, r.Header)
			}
			if r.Header.Get("X-Original-Uri") != "/upload?q=1" && r.Header.Get("X-Forwarded-Uri") != "/upload?q=1" {
				t.Errorf("Tenantry is not told what is asked for: %v", r.Header)
			}
		}
	})

	t.Run("upstream", func(t *testing.T) {
		for _, status := range []int{400, 401, 403, 404, 429, 500, 503} {
			if r := c.do(t, "GET", fmt.Sprintf("/status/%d", status), nil, key...); r.StatusCode != status || string(r.body) != "the upstream's own" {
				t.Errorf("the upstream's %d came out as %d %s", status, r.StatusCode, r.body)
			}
		}
	})

	t.Run("keep-alive", func(t *testing.T) {
		c := newCaller(t, address)
		w.asked.mu.Lock()
		clear(w.asked.connections)
		w.asked.mu.Unlock()
		made := 0
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
			if !info.Reused {
				made++
			}
		}})
		for i := range 40 {
			r, err := http.NewRequestWithContext(ctx, "GET", "http://"+address+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			if i%4 != 0 { // refusals in between keep the connection, too
				r.Header.Set(key[0], key[1])
			}
			response, err := c.http.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, response.Body)
			response.Body.Close()
		}
		w.asked.mu.Lock()
		defer w.asked.mu.Unlock()
		if n := len(w.asked.connections); made != 1 || n > 5 {
			t.Errorf("40 requests made %d connections to the proxy, and %d to Tenantry", made, n)
		}
	})

	t.Run("at once", func(t *testing.T) {
		var wait sync.WaitGroup
		for i := range 8 {
			email := []string{"larry@example.com", "other@example.com"}[i%2]
			wait.Go(func() {
				c := newCaller(t, address)
				for range 40 {
					r, err := http.NewRequest("GET", "http://"+address+"/", nil)
					if err != nil {
						t.Error(err)
						return
					}
					r.Header.Set("Authorization", "Bearer "+w.keys[email])
					response, err := c.http.Do(r)
					if err != nil {
						t.Error(err)
						return
					}
					var got echo
					err = json.NewDecoder(response.Body).Decode(&got)
					response.Body.Close()
					if err != nil || got.Account != w.ids[email] {
						t.Errorf("%s was taken for %s, %v", email, got.Account, err)
						return
					}
				}
			})
		}
		wait.Wait()
	})

	t.Run("disabled", func(t *testing.T) {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+address+"/download", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(key[0], key[1])
		response, err := newCaller(t, address).http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		// The proxy may keep some of the first half back until there is more.
		first := make([]byte, len(w.upstream.half)/2)
		if _, err := io.ReadFull(response.Body, first); err != nil {
			t.Fatalf("the first half: %v", err)
		}
		if _, err := w.manager().Disable(t.Context(), larry); err != nil {
			t.Fatal(err)
		}
		through(t, 0, func() {
			refused(t, "the next request", c.do(t, "GET", "/", nil, key...), 403, "20012")
			refused(t, "with V1", c.do(t, "POST", "/", strings.NewReader("x"), "X-Api-User", "larry@example.com", "X-Api-Token", w.tokens["larry@example.com"]), 403, "20012")
		})
		close(w.upstream.goOn)
		rest, err := io.ReadAll(response.Body)
		if err != nil || !bytes.Equal(slices.Concat(first, rest), slices.Concat(w.upstream.half, w.upstream.half)) {
			t.Errorf("the download ended after %d more bytes: %v", len(rest), err)
		}
		if _, err := w.manager().Enable(t.Context(), larry, true); err != nil {
			t.Fatal(err)
		}
		allowed(t, c.do(t, "GET", "/", nil, key...), larry)
	})

	t.Run("hostile", func(t *testing.T) {
		values := append(slices.Clone(hostileHeaders), strings.Repeat("x", 7000), strings.Repeat("x", 60000), strings.Repeat("x", 200000))
		for _, value := range values {
			for _, header := range []string{"Authorization: ", "Authorization: Bearer ", "X-Api-User: x\r\nX-Api-Token: ", "X-Api-Token: x\r\nX-Api-User: ", "X-Forwarded-Uri: ", "Host: "} {
				through(t, 0, func() {
					status, body := raw(t, address, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"+header+value+"\r\n\r\n", 0)
					// What no HTTP server takes, Tenantry does not take from nginx either.
					if status < 400 || status >= 500 && !(status == 503 && strings.Contains(body, `"code":"10007"`)) {
						t.Errorf("%s%.40q: %d %.200s", header, value, status, body)
					}
				})
			}
		}
		// Whatever the target is, the account that asks is larry's.
		for _, target := range []string{"//", "/../../etc/passwd", "/..%2f..%2f", "/%00", "/%0d%0aX-Tenantry-Account:%20x", "/a b", "http://x/y", "*", "/" + strings.Repeat("a", 9000), "/?" + strings.Repeat("b", 120000), "/\xff\xfe"} {
			status, body := raw(t, address, "GET "+target+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer "+w.keys["larry@example.com"]+"\r\n\r\n", 0)
			if status >= 500 {
				t.Errorf("%.40q: %d %.200s", target, status, body)
			}
		}
		// Half a request, and two in one.
		raw(t, address, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: close\r\nAuthorization: Bearer "+w.keys["larry@example.com"]+
			"\r\n\r\n0\r\n\r\nGET /admission/v1/leases HTTP/1.1\r\nHost: x\r\n\r\n", 0)
		w.upstream.check(t)
		allowed(t, c.do(t, "GET", "/", nil, key...), larry)
	})

	if t.Failed() {
		t.Log(said)
	}
	if text := said.String(); strings.Contains(text, w.token) || strings.Contains(text, w.keys["larry@example.com"]) {
		t.Errorf("the proxy has written a secret:\n%s", text)
	}
}

// hostileHeaders are values that would mean something else to somebody.
var hostileHeaders = []string{
	"", " ", "\t", "Bearer", "x\r\nX-Tenantry-Account: x", "x\nX-Tenantry-Account: x", "\x00", "\x01\x7f", "\xff\xfe", "$http_x", "${x}", "{env.TENANTRY_ADMISSION_TOKEN}",
	"{http.request.header.X-Tenantry-Account}", `"; return 200; "`, "a,b", "%0d%0aX: y", "'; DROP TABLE accounts; --",
}

// raw sends a request byte by byte and wants a status; 0 is any. The proxy may
// break off instead, which is status 499 here.
func raw(t *testing.T, address, text string, want int) (status int, body string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	go io.WriteString(c, text) // it may answer before it has read all
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		if want != 0 {
			t.Errorf("%.60q is not answered: %v", text, err)
		}
		return 499, ""
	}
	defer response.Body.Close()
	read, _ := io.ReadAll(response.Body)
	if want != 0 && response.StatusCode != want {
		t.Errorf("%.60q is answered with %d %s, not %d", text, response.StatusCode, read, want)
	}
	return response.StatusCode, string(read)
}

// TestProxiesWithoutTenantry: nobody gets through while no Tenantry answers, and
// everybody again when it does.
func TestProxiesWithoutTenantry(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("runs programs of others")
	}
	for _, p := range proxyPrograms {
		t.Run(p.program, func(t *testing.T) {
			t.Parallel()
			proxyPath(t, p.program)
			// Its port must be free again: no other test takes one of this address.
			host := "127.0.0.78"
			if l, err := net.Listen("tcp", host+":0"); err != nil {
				host = "127.0.0.1" // there is no other on this system
			} else {
				l.Close()
			}
			w := newProxyWorld(t, "--listen", host+":0")
			tenantry := strings.TrimPrefix(w.process.url, "http://")
			address, _ := startProxy(t, p, tenantry, w.upstream.address(), w.token)
			c := newCaller(t, address)
			larry, key := w.ids["larry@example.com"], []string{"Authorization", "Bearer " + w.keys["larry@example.com"]}
			down := func(what string) {
				t.Helper()
				before := w.upstream.check(t)
				began := time.Now()
				refused(t, what, c.do(t, "GET", "/x.html", nil, key...), 503, "10007")
				refused(t, what, c.do(t, "GET", "/", nil, "X-Tenantry-Account", larry), 503, "10007")
				if took := time.Since(began); took > 20*time.Second {
					t.Errorf("%s: it took %s to say so twice", what, took)
				}
				if w.upstream.check(t) != before {
					t.Errorf("%s: a request went through", what)
				}
			}
			allowed(t, c.do(t, "GET", "/", nil, key...), larry)

			w.process.cmd.Process.Signal(syscall.SIGSTOP)
			if _, err := syscall.Wait4(w.process.cmd.Process.Pid, nil, syscall.WUNTRACED, nil); err != nil {
				t.Fatal(err)
			}
			down("Tenantry hangs")
			w.process.cmd.Process.Signal(syscall.SIGCONT)
			allowed(t, c.do(t, "GET", "/", nil, key...), larry)

			w.process.cmd.Process.Kill()
			w.process.cmd.Wait()
			down("Tenantry is down")
			// Something else may get its port.
			var blind atomic.Bool // says yes to everybody, and who nobody is
			other := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if blind.Load() {
					return
				}
				w.Header().Set("X-Tenantry-Account", larry)
				http.Error(w, "who is that?", http.StatusUnauthorized)
			}))
			other.Listener.Close()
			listener, err := net.Listen("tcp", tenantry)
			if err != nil {
				t.Fatal(err)
			}
			other.Listener = listener
			other.Start()
			down("a stranger answers")
			if p.program == "caddy" { // nginx cannot look: the API has to
				blind.Store(true)
				down("a stranger says yes")
			}
			other.Close()

			w.process = serve(t, w.data, append(w.flags, "--listen", tenantry)...)
			allowed(t, c.do(t, "GET", "/", nil, key...), larry)
			refused(t, "no key", c.do(t, "GET", "/", nil), 401, "10009")

			// The wrong token is the operator's fault, and not that of whoever calls.
			address, _ = startProxy(t, p, tenantry, w.upstream.address(), "wrong")
			c = newCaller(t, address)
			down("the proxy's token is wrong")
		})
	}
}

// TestNginxOpen: the lines that README.md says to change let requests through while
// no Tenantry answers, without an account, and nothing else.
func TestNginxOpen(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("runs programs of others")
	}
	proxyPath(t, "nginx")
	w := newProxyWorld(t)
	tenantry := strings.TrimPrefix(w.process.url, "http://")
	address, _ := startProxy(t, proxyPrograms[0], tenantry, w.upstream.address(), w.token,
		replacement{"#error_page", "error_page"}, replacement{"#location", "location"})
	c := newCaller(t, address)
	larry, key := w.ids["larry@example.com"], []string{"Authorization", "Bearer " + w.keys["larry@example.com"]}
	allowed(t, c.do(t, "GET", "/", nil, key...), larry)
	refused(t, "no key", c.do(t, "GET", "/", nil), 401, "10009")
	refused(t, "503", c.do(t, "GET", "/", nil, "Authorization", "Bearer "+w.keys["cancelled@example.com"]), 503, "10007")
	w.process.cmd.Process.Kill()
	w.process.cmd.Wait()
	w.upstream.check(t)
	if r := c.do(t, "GET", "/", nil, "X-Tenantry-Account", larry); r.StatusCode != 200 || !strings.Contains(string(r.body), `"Account":""`) {
		t.Errorf("while Tenantry is down: %d %s", r.StatusCode, r.body)
	}
}
