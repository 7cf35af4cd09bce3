package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"

	"github.com/tenantry/tenantry/internal/admission"
	"github.com/tenantry/tenantry/internal/tenant"
)

// gatewayWorld is a world on a real port, with services behind it.
type gatewayWorld struct {
	*world
	url, address string
	log          *lockedBuffer
}

// newGateway puts the services of a file behind a world; UPSTREAM in it is the
// address of a server with that handler.
func newGateway(t testing.TB, file string, upstream http.HandlerFunc, configure ...func(*Options)) *gatewayWorld {
	t.Helper()
	behind := httptest.NewUnstartedServer(upstream)
	behind.Config.ErrorLog = log.New(io.Discard, "", 0)
	behind.Start()
	t.Cleanup(behind.Close)
	return newGatewayTo(t, strings.ReplaceAll(file, "UPSTREAM", behind.Listener.Addr().String()), configure...)
}

func newGatewayTo(t testing.TB, file string, configure ...func(*Options)) *gatewayWorld {
	t.Helper()
	services, err := ReadServices([]byte(file), func(name string) (string, bool) { return "from-" + name, true })
	if err != nil {
		t.Fatal(err)
	}
	g := &gatewayWorld{log: &lockedBuffer{}}
	g.world = newWorld(t, g.log, append([]func(*Options){func(o *Options) { o.Services = services }}, configure...)...)
	front := httptest.NewUnstartedServer(g.world)
	front.Config.ErrorLog = log.New(g.log, "", 0)
	front.Start()
	t.Cleanup(func() {
		front.Close()
		if text := g.text(); strings.Contains(text, "panic") {
			t.Errorf("the gateway panicked:\n%s", text)
		}
	})
	g.url, g.address = front.URL, front.Listener.Addr().String()
	return g
}

// text is the log.
func (g *gatewayWorld) text() string {
	g.log.mu.Lock()
	defer g.log.mu.Unlock()
	return g.log.Buffer.String()
}

// send sends a request as the child, unless it says otherwise.
func (g *gatewayWorld) send(t testing.TB, method, target string, body io.Reader, headers ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, g.url+target, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+g.child.Key)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(text)
}

// raw sends bytes, and returns all that comes back within the time that a test may
// take for it: until the connection is closed, or enough is there.
func (g *gatewayWorld) raw(t testing.TB, text string, enough func(string) bool) string {
	t.Helper()
	conn, err := net.Dial("tcp", g.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	var got []byte
	buffer := make([]byte, 4096)
	for enough == nil || !enough(string(got)) {
		n, err := conn.Read(buffer)
		if got = append(got, buffer[:n]...); err != nil {
			break
		}
	}
	return string(got)
}

// echo tells what it was asked.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	json.NewEncoder(w).Encode(echoed{r.Method, r.URL.EscapedPath(), r.URL.RawQuery, r.Host, r.Header, r.Trailer, string(body)})
}

type echoed struct {
	Method, Path, Query, Host string
	Header, Trailer           http.Header
	Body                      string
}

func decodeEcho(t testing.TB, text string) (e echoed) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		t.Fatalf("not what the service says: %v\n%s", err, text)
	}
	return e
}

const twoServices = `
services:
  - name: sms
    path: /v2/sms
    url: http://UPSTREAM
    headers:
      X-Gateway-Secret: {env: SMS_SECRET}
      X-Plain: plain
  - name: sms-admin
    path: /v2/sms/admin
    url: http://UPSTREAM/base/
    strip_prefix: true
    permissions: [account]
    methods: [GET, POST]
    max_body: 10
  - name: texts
    path: /texts
    kind: message
    url: http://UPSTREAM
    permissions: [messaging]
`

func TestGatewayAdmits(t *testing.T) {
	g := newGateway(t, twoServices, echo)
	user := "Bearer " + g.userKey
	for _, x := range []struct {
		what, method, target, body string
		headers                    []string
		status                     int
		code                       string
	}{
		{"V2 key", "GET", "/v2/sms/x", "", nil, 200, ""},
		{"the path itself", "GET", "/v2/sms", "", nil, 200, ""},
		{"V1 pair", "GET", "/v2/sms/x", "", []string{"Authorization", "", "X-Api-User", "manager@example.com", "X-Api-Token", g.child.Token}, 200, ""},
		{"wrong V1 pair", "GET", "/v2/sms/x", "", []string{"Authorization", "", "X-Api-User", "nobody@example.com", "X-Api-Token", g.child.Token}, 401, "10009"},
		{"no key", "GET", "/v2/sms/x", "", []string{"Authorization", ""}, 401, "10009"},
		{"unknown key", "POST", "/v2/sms/x", "x", []string{"Authorization", "Bearer KEY0"}, 401, "10009"},
		{"the operator's token", "GET", "/v2/sms/x", "", []string{"Authorization", "Bearer " + g.operatorToken}, 401, "10009"},
		{"a user", "GET", "/v2/sms/x", "", []string{"Authorization", user}, 200, ""},
		{"a user with the permission", "GET", "/v2/sms/admin/x", "", []string{"Authorization", user}, 200, ""},
		{"a user without", "GET", "/texts/x", "", []string{"Authorization", user}, 403, "10010"},
		{"an owner", "GET", "/texts/x", "", nil, 200, ""},
		{"another method", "DELETE", "/v2/sms/admin/x", "", nil, 405, "10015"},
		{"TRACE", "TRACE", "/v2/sms/x", "", nil, 405, "10015"},
		{"any type of body", "POST", "/v2/sms/x", "a=b", []string{"Content-Type", "application/x-www-form-urlencoded"}, 200, ""},
		{"more than a body of ours", "POST", "/v2/sms/x", strings.Repeat("x", 1<<20), nil, 200, ""},
		{"as much as may be", "POST", "/v2/sms/admin/x", "0123456789", nil, 200, ""},
		{"more", "POST", "/v2/sms/admin/x", "0123456789x", nil, 413, "10015"},
		{"a neighbour", "GET", "/v2/smsx", "", nil, 404, "10005"},
		{"ours", "GET", "/v2/balance", "", nil, 200, ""},
	} {
		t.Run(x.what, func(t *testing.T) {
			answer, text := g.send(t, x.method, x.target, strings.NewReader(x.body), x.headers...)
			checkAnswer(t, x.what, answer, []byte(text))
			if answer.StatusCode != x.status || x.code != "" && !strings.Contains(text, `"code":"`+x.code+`"`) {
				t.Errorf("%d %s", answer.StatusCode, text)
			}
		})
	}
	// Of a body without a length only its end tells the size.
	answer, text := g.send(t, "POST", "/v2/sms/admin/x", io.MultiReader(strings.NewReader("01234567"), strings.NewReader("89ab")))
	if answer.StatusCode != 413 {
		t.Errorf("too much in chunks: %d %s", answer.StatusCode, text)
	}

	for _, x := range []struct {
		what, code string
		do         func() error
	}{
		{"disabled", "20012", func() error {
			if answer := g.do("POST", "/v2/managed_accounts/"+g.child.ID+"/actions/disable", ""); answer.Code != 200 {
				return fmt.Errorf("%d %s", answer.Code, answer.Body)
			}
			return nil
		}},
		{"blocked", "20013", func() error {
			_, err := g.service.BlockAccount(t.Context(), tenant.Actor{Operator: true}, g.child.ID)
			return err
		}},
	} {
		if err := x.do(); err != nil {
			t.Fatal(err)
		}
		answer, text := g.send(t, "GET", "/v2/sms/x", nil)
		if checkAnswer(t, x.what, answer, []byte(text)); answer.StatusCode != 403 || !strings.Contains(text, x.code) {
			t.Errorf("%s: %d %s", x.what, answer.StatusCode, text)
		}
	}
	if _, err := g.service.BlockUser(t.Context(), tenant.Actor{Operator: true}, g.manager.ID, g.user); err != nil {
		t.Fatal(err)
	}
	if answer, text := g.send(t, "GET", "/v2/sms/x", nil, "Authorization", user); answer.StatusCode != 403 || !strings.Contains(text, "The user is blocked") {
		t.Errorf("a blocked user: %d %s", answer.StatusCode, text)
	}
}

// TestGatewayReasons: a refusal is said as the operator has it for proxies.
func TestGatewayReasons(t *testing.T) {
	table := admission.DefaultTable()
	reply := table[admission.UnknownCredentials]
	reply.Detail = "Ask extension 100."
	table[admission.UnknownCredentials] = reply
	g := newGateway(t, twoServices, echo, func(o *Options) { o.Reasons = table })
	if answer, text := g.send(t, "GET", "/v2/sms/x", nil, "Authorization", "Bearer x"); answer.StatusCode != 401 || !strings.Contains(text, "Ask extension 100.") {
		t.Errorf("%d %s", answer.StatusCode, text)
	}
}

func TestGatewayRateLimit(t *testing.T) {
	g := newGateway(t, twoServices, echo, func(o *Options) { o.Rate, o.Burst = 0.001, 2 })
	for i, want := range []int{200, 200, 429} {
		answer, text := g.send(t, "POST", "/v2/sms/x", strings.NewReader("{}"))
		if answer.StatusCode != want || answer.Header.Get("X-Ratelimit-Limit") != "2" || answer.Header.Get("X-Ratelimit-Remaining") != fmt.Sprint(max(0, 1-i)) {
			t.Errorf("request %d: %d %v %s", i+1, answer.StatusCode, answer.Header, text)
		}
		if want == 429 && (answer.Header.Get("Retry-After") == "" || !strings.Contains(text, "10011")) {
			t.Errorf("%v %s", answer.Header, text)
		}
	}
	// It is one limit for all that a key does.
	if answer, _ := g.send(t, "GET", "/v2/balance", nil); answer.StatusCode != 429 {
		t.Errorf("the key asks on with status %d", answer.StatusCode)
	}
}

func TestGatewayIdentity(t *testing.T) {
	g := newGateway(t, twoServices, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Ratelimit-Limit", "7")
		w.Header().Set("X-Request-Id", "mine")
		echo(w, r)
	}, func(o *Options) { o.Rate, o.TrustedProxies = 100, nil })
	const forged = "forged-by-the-caller"
	var smuggled []string
	for _, name := range []string{
		"X-Tenantry-Account", "x-tenantry-user", "X-Tenantry-Manager", "X_Tenantry_Account", "X-Tenantry_Account", "X.Tenantry.Account", "X-Tenantry-New", "X-Tenantry-Permissions",
		"X-Request-Id", "X_Request_Id", "Cookie", "X-Api-User", "X-Api-Token", "X_Api_Token", "Proxy-Authorization", "X-Forwarded-For", "X-Forwarded-Host", "X_Forwarded_For",
		"X-Forwarded-Anything", "Forwarded", "X-Real-IP", "X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override", "X-Gateway-Secret", "X-Plain", "Proxy",
	} {
		smuggled = append(smuggled, name+": "+forged)
	}
	text := g.raw(t, "POST /v2/sms/a%2Fb?q=1&r=%20 HTTP/1.1\r\nHost: api.example.com\r\nConnection: close, X-Tenantry-Account, X-Request-Id, X-Gateway-Secret\r\n"+
		"Authorization: Bearer "+g.userKey+"\r\nX-Other: kept\r\n"+strings.Join(smuggled, "\r\n")+
		"\r\nTransfer-Encoding: chunked\r\nTrailer: X-Tenantry-Account\r\n\r\n2\r\nhi\r\n0\r\nX-Tenantry-Account: "+forged+"\r\n\r\n", nil)
	answer, err := http.ReadResponse(bufio.NewReader(strings.NewReader(text)), nil)
	if err != nil || answer.StatusCode != 200 {
		t.Fatalf("%v\n%s", err, text)
	}
	body, _ := io.ReadAll(answer.Body)
	e := decodeEcho(t, string(body))
	if strings.Contains(string(body), forged) || strings.Contains(string(body), g.userKey) {
		t.Errorf("the service sees what it should not: %s", body)
	}
	for name, want := range map[string]string{
		"X-Tenantry-Account": g.manager.ID, "X-Tenantry-User": g.user, "X-Tenantry-Permissions": "account,managed_accounts,organization", "X-Tenantry-Manager": "",
		"X-Request-Id": answer.Header.Get("X-Request-Id"), "X-Gateway-Secret": "from-SMS_SECRET", "X-Plain": "plain", "X-Other": "kept",
		"X-Forwarded-Host": "api.example.com", "X-Forwarded-Proto": "http", "X-Forwarded-For": "127.0.0.1", "Authorization": "",
	} {
		if got := strings.Join(e.Header.Values(name), " | "); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if e.Method != "POST" || e.Path != "/v2/sms/a%2Fb" || e.Query != "q=1&r=%20" || e.Body != "hi" || len(e.Trailer) > 0 {
		t.Errorf("the service was asked %+v", e)
	}
	if got := answer.Header.Values("X-Ratelimit-Limit"); len(got) != 1 || got[0] != "1000" {
		t.Errorf("X-Ratelimit-Limit is %q", got)
	}

	_, text = g.send(t, "GET", "/v2/sms/admin/a?b", nil)
	if e = decodeEcho(t, text); e.Path != "/base/a" || e.Header.Get("X-Forwarded-Prefix") != "/v2/sms/admin" || e.Header.Get("X-Tenantry-Manager") != g.manager.ID ||
		e.Header.Get("X-Tenantry-User") != g.child.ID || e.Header.Get("X-Tenantry-Permissions") != "*" {
		t.Errorf("the service was asked %+v", e)
	}
	if _, text = g.send(t, "GET", "/v2/sms/admin", nil); decodeEcho(t, text).Path != "/base" {
		t.Errorf("the path itself: %s", text)
	}
	// A proxy that is trusted may say who asks.
	g.proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	_, text = g.send(t, "GET", "/v2/sms", nil, "X-Forwarded-For", "192.0.2.7", "X-Forwarded-Proto", "https")
	if e = decodeEcho(t, text); e.Header.Get("X-Forwarded-For") != "192.0.2.7, 127.0.0.1" || e.Header.Get("X-Forwarded-Proto") != "https" {
		t.Errorf("behind a proxy: %+v", e)
	}
	if strings.Contains(g.text(), "from-SMS_SECRET") {
		t.Error("the secret is in the log")
	}
}

func TestGatewayPaths(t *testing.T) {
	g := newGateway(t, twoServices, echo)
	for _, x := range []struct {
		target string
		path   string // as the service sees it, "" for a refusal
	}{
		{"/v2/sms/", "/v2/sms/"},
		{"/v2/sms/a%20b", "/v2/sms/a%20b"},
		{"/v2/sms/100%25", "/v2/sms/100%25"},
		{"/v2/sms/a..b/.c", "/v2/sms/a..b/.c"},
		{"/v2/sms/https%3A%2F%2Fhost", "/v2/sms/https%3A%2F%2Fhost"},
		{"/v2/sms/a;v=1/b", "/v2/sms/a;v=1/b"},
		{"/v2/sms/../balance", ""},
		{"/v2/sms/..", ""},
		{"/v2/sms/.", ""},
		{"/v2/sms/%2e%2e/x", ""},
		{"/v2/sms/.%2e/x", ""},
		{"/v2/sms/..%2fx", ""},
		{"/v2/sms/..%5cx", ""},
		{"/v2/sms/..\\x", ""},
		{"/v2/sms/..;/x", ""},
		{"/v2/sms/%252e%252e/x", ""},
		{"/v2/sms/%25252e%25252e/x", ""},
		{"/v2/sms//x", ""},
		{"//v2/sms/x", ""},
		{"/v2//sms/x", ""},
		{"/v2/sms%2Fx", ""},
		{"/v2/%73ms/x", ""},
		{"/v2/SMS/x", ""},
		{"/v2/sms/a%00b", ""},
		{"/v2/sms/a%0d%0ab", ""},
		// What another service asks more of.
		{"/v2/sms/admin/x", "/base/x"},
		{"/v2/sms/administration", "/v2/sms/administration"},
		{"/v2/sms/%61dmin/x", ""},
		{"/v2/sms/admin%2Fx", ""},
		{"/v2/sms%2Fadmin/x", ""},
		{"/v2/sms/%2561dmin/x", ""},
		{"/v2/sms/Admin/x", ""},
		{"/v2/sms/admin;a=b/x", ""},
		{"/v2/sms/%2Fadmin/x", ""},
		{"/v2/sms/;/admin/x", ""},
	} {
		text := g.raw(t, "GET "+x.target+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer "+g.child.Key+"\r\n\r\n", nil)
		answer, err := http.ReadResponse(bufio.NewReader(strings.NewReader(text)), nil)
		if err != nil {
			t.Fatalf("%s: %v", x.target, err)
		}
		body, _ := io.ReadAll(answer.Body)
		switch {
		case x.path == "" && answer.StatusCode != 404:
			t.Errorf("%s: %d %s", x.target, answer.StatusCode, body)
		case x.path != "" && answer.StatusCode != 200:
			t.Errorf("%s: %d %s", x.target, answer.StatusCode, body)
		case x.path != "" && decodeEcho(t, string(body)).Path != x.path:
			t.Errorf("%s: the service sees %s", x.target, body)
		}
	}
}

// FuzzGatewayPath: however a service reads the path that it gets, that is below the
// prefix of its own, and of no other with a longer one.
func FuzzGatewayPath(f *testing.F) {
	for _, seed := range []string{"/v2/sms/x", "/v2/sms/%2e%2e/x", "/v2/sms/%252561dmin", "/v2/sms/..;a/%5c..", "/v2/sms/%2Fadmin", "/v2/sms/admin/x", "/v2/sms/%", "/v2/sms/;/a"} {
		f.Add(seed)
	}
	s := &Server{}
	for _, p := range []string{"/v2/sms", "/v2/sms/admin", "/texts"} {
		s.services = append(s.services, &gatewayService{GatewayService: GatewayService{Path: p}})
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := url.ParseRequestURI(raw)
		if err != nil {
			return
		}
		escaped := u.EscapedPath()
		g, clean := s.serviceAt(escaped)
		if g == nil || !clean {
			return
		}
		if !strings.HasPrefix(escaped, g.Path) {
			t.Fatalf("%q is not below %q", escaped, g.Path)
		}
		for reading, i := escaped, 0; i < 6; i++ {
			for _, how := range []func(string) string{
				func(p string) string { return p },
				func(p string) string { return strings.ReplaceAll(p, `\`, "/") },
				strings.ToLower,
				func(p string) string {
					parts := strings.Split(p, "/")
					for i := range parts {
						parts[i], _, _ = strings.Cut(parts[i], ";")
					}
					return strings.Join(parts, "/")
				},
			} {
				read := path.Clean(how(reading))
				if s.longest(read, strings.HasPrefix) != g {
					t.Fatalf("%q of service %s may be read as %q", raw, g.Path, read)
				}
			}
			if decoded, err := url.PathUnescape(reading); err == nil {
				reading = decoded
			}
		}
	})
}

// TestGatewayStreams: what a service says is there at once, goes on when the account
// is disabled, and ends when the client goes.
func TestGatewayStreams(t *testing.T) {
	next, gone := make(chan string), make(chan struct{})
	g := newGateway(t, twoServices, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/sms/events" {
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			select {
			case event := <-next:
				fmt.Fprintf(w, "data: %s\n\n", event)
				http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				close(gone)
				return
			}
		}
	})
	ctx, leave := context.WithCancel(t.Context())
	r, _ := http.NewRequestWithContext(ctx, "GET", g.url+"/v2/sms/events", nil)
	r.Header.Set("Authorization", "Bearer "+g.child.Key)
	go func() { next <- "1" }()
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewReader(answer.Body)
	read := func(want string) {
		t.Helper()
		if line, err := lines.ReadString('\n'); err != nil || line != "data: "+want+"\n" {
			t.Fatalf("%q %v", line, err)
		}
		lines.ReadString('\n')
	}
	read("1")
	if answer := g.do("POST", "/v2/managed_accounts/"+g.child.ID+"/actions/disable", ""); answer.Code != 200 {
		t.Fatal(answer.Body)
	}
	if answer, text := g.send(t, "GET", "/v2/sms/other", nil); answer.StatusCode != 403 || !strings.Contains(text, "20012") {
		t.Errorf("a new request: %d %s", answer.StatusCode, text)
	}
	next <- "2"
	read("2")
	leave()
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Error("the service goes on for a client who has gone")
	}
}

// TestGatewayDuplex: a client may go on sending while the service answers.
func TestGatewayDuplex(t *testing.T) {
	g := newGateway(t, twoServices, func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		control.EnableFullDuplex()
		w.WriteHeader(200)
		control.Flush()
		for lines := bufio.NewScanner(r.Body); lines.Scan(); control.Flush() {
			fmt.Fprintf(w, "heard %s\n", lines.Text())
		}
	})
	body, say := io.Pipe()
	r, _ := http.NewRequest("POST", g.url+"/v2/sms/talk", body)
	r.Header.Set("Authorization", "Bearer "+g.child.Key)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewReader(answer.Body)
	for i := range 3 {
		fmt.Fprintf(say, "%d\n", i)
		if line, err := lines.ReadString('\n'); line != fmt.Sprintf("heard %d\n", i) {
			t.Fatalf("%q %v", line, err)
		}
	}
	say.Close()
	if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
		t.Errorf("%q %v", rest, err)
	}
}

func TestGatewayWebSocket(t *testing.T) {
	ended := make(chan struct{})
	g := newGateway(t, twoServices, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			echo(w, r)
			return
		}
		conn, b, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(b, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nX-Tenantry-Account: upstream\r\n\r\n", r.Header.Get("Upgrade"))
		b.Flush()
		for {
			line, err := b.ReadString('\n')
			if err != nil {
				close(ended)
				return
			}
			fmt.Fprintf(b, "%s heard %s", r.Header.Get("X-Tenantry-Account"), line)
			b.Flush()
		}
	})
	upgrade := func(protocol string) (net.Conn, *bufio.Reader, *http.Response) {
		t.Helper()
		conn, err := net.Dial("tcp", g.address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprintf(conn, "GET /v2/sms/ws HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: %s\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n", g.child.Key, protocol)
		b := bufio.NewReader(conn)
		answer, err := http.ReadResponse(b, nil)
		if err != nil {
			t.Fatal(err)
		}
		return conn, b, answer
	}
	conn, b, answer := upgrade("websocket")
	if answer.StatusCode != 101 || answer.Header.Get("Upgrade") != "websocket" || answer.Header.Get("X-Tenantry-Account") != "" || !tenant.IsUUID(answer.Header.Get("X-Request-Id")) {
		t.Fatalf("%d %v", answer.StatusCode, answer.Header)
	}
	talk := func(what string) {
		t.Helper()
		fmt.Fprintf(conn, "%s\n", what)
		if line, err := b.ReadString('\n'); line != g.child.ID+" heard "+what+"\n" {
			t.Fatalf("%q %v", line, err)
		}
	}
	talk("hello")
	if answer := g.do("POST", "/v2/managed_accounts/"+g.child.ID+"/actions/disable", ""); answer.Code != 200 {
		t.Fatal(answer.Body)
	}
	talk("still there")
	if _, _, answer := upgrade("websocket"); answer.StatusCode != 403 {
		t.Errorf("a new one: %d", answer.StatusCode)
	}
	conn.Close()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the service goes on for a client who has gone")
	}

	// HTTP/2 in the clear would be a way past everything.
	if answer := g.do("POST", "/v2/managed_accounts/"+g.child.ID+"/actions/enable", ""); answer.Code != 200 {
		t.Fatal(answer.Body)
	}
	for _, protocol := range []string{"h2c", "websocket, h2c", "TLS/1.0"} {
		_, _, answer := upgrade(protocol)
		body, _ := io.ReadAll(answer.Body)
		if e := decodeEcho(t, string(body)); answer.StatusCode != 200 || e.Header.Get("Upgrade") != "" || e.Header.Get("Http2-Settings") != "" {
			t.Errorf("%s: %d %s", protocol, answer.StatusCode, body)
		}
	}
}

// TestGatewayLarge: what is passed on is not held in memory.
func TestGatewayLarge(t *testing.T) {
	const size = 96 << 20
	var peak atomic.Uint64
	look := func() {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if m.HeapInuse > peak.Load() {
			peak.Store(m.HeapInuse)
		}
	}
	g := newGateway(t, twoServices, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Length", fmt.Sprint(n))
		piece := make([]byte, 1<<20)
		for i := range size >> 20 {
			if w.Write(piece); i%8 == 0 {
				look()
			}
		}
	})
	runtime.GC()
	look()
	before := peak.Load()
	count := 0
	r, _ := http.NewRequest("POST", g.url+"/v2/sms/large", readerFunc(func(p []byte) (int, error) {
		if count >= size {
			return 0, io.EOF
		}
		if n := min(len(p), size-count); n > 0 {
			if count>>23 != (count+n)>>23 {
				look()
			}
			count += n
			return n, nil
		}
		return 0, io.EOF
	}))
	r.Header.Set("Authorization", "Bearer "+g.child.Key)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	n, err := io.Copy(io.Discard, answer.Body)
	if err != nil || n != size || answer.Header.Get("X-Length") != fmt.Sprint(size) {
		t.Errorf("%d bytes came back, %v, %s arrived", n, err, answer.Header.Get("X-Length"))
	}
	if grown := int64(peak.Load()) - int64(before); grown > size/3 {
		t.Errorf("memory grew by %d MiB", grown>>20)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// rawUpstream answers each connection by hand.
func rawUpstream(t testing.TB, serve func(conn net.Conn, r *http.Request)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					serve(conn, r)
				}
			}()
		}
	}()
	return listener.Addr().String()
}

func TestGatewayUpstreamFails(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	hold := make(chan struct{})
	defer close(hold)
	says := func(text string) string {
		return rawUpstream(t, func(conn net.Conn, _ *http.Request) { io.WriteString(conn, text) })
	}
	for _, x := range []struct {
		what, address, method string
		status                int
		code, retry           string
	}{
		{"down", closed.Addr().String(), "POST", 502, "10007", ""},
		{"no such host", "nowhere.invalid:80", "POST", 502, "10007", ""},
		{"hangs up", says(""), "GET", 502, "10007", ""},
		{"hangs up on a write", says(""), "POST", 502, "10007", "false"},
		{"half a head", says("HTTP/1.1 200 OK\r\nX-"), "POST", 502, "10007", "false"},
		{"another protocol", says("SSH-2.0-OpenSSH\r\n"), "GET", 502, "10007", ""},
		{"a status that is none", says("HTTP/1.1 099 What\r\nContent-Length: 0\r\n\r\n"), "GET", 502, "10007", ""},
		{"switches unasked", says("HTTP/1.1 101 Switching Protocols\r\n\r\nhello"), "GET", 502, "10007", ""},
		{"switches to something", says("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhello"), "GET", 502, "10007", ""},
		{"two lengths", says("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"), "GET", 502, "10007", ""},
		{"a head without end", rawUpstream(t, func(conn net.Conn, _ *http.Request) {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\n")
			for i := 0; ; i++ {
				if _, err := fmt.Fprintf(conn, "X-%d: %s\r\n", i, strings.Repeat("x", 1000)); err != nil {
					return
				}
			}
		}), "GET", 502, "10007", ""},
		{"interim answers without end", rawUpstream(t, func(conn net.Conn, _ *http.Request) {
			for {
				if _, err := io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\nX: "+strings.Repeat("x", 1000)+"\r\n\r\n"); err != nil {
					return
				}
			}
		}), "GET", 504, "10008", ""},
		{"slow", rawUpstream(t, func(net.Conn, *http.Request) { <-hold }), "GET", 504, "10008", ""},
		{"slow with a write", rawUpstream(t, func(net.Conn, *http.Request) { <-hold }), "POST", 504, "10008", "false"},
	} {
		t.Run(x.what, func(t *testing.T) {
			timeout := "1m"
			if x.status == 504 {
				timeout = "300ms"
			}
			g := newGatewayTo(t, "services: [{name: x, path: /x, url: 'http://"+x.address+"', timeout: "+timeout+"}]", func(o *Options) { o.Rate = 100 })
			var body io.Reader
			if x.method == "POST" {
				body = strings.NewReader(`{"a":"b"}`)
			}
			answer, text := g.send(t, x.method, "/x/y", body)
			if answer.StatusCode != x.status || !strings.Contains(text, `"code":"`+x.code+`"`) || answer.Header.Get("X-Should-Retry") != x.retry {
				t.Errorf("%d %v %s", answer.StatusCode, answer.Header, text)
			}
			if answer.Header.Get("X-Ratelimit-Limit") == "" || !tenant.IsUUID(answer.Header.Get("X-Request-Id")) || answer.Header.Get("X") != "" {
				t.Errorf("headers of the answer: %v", answer.Header)
			}
			if strings.Contains(text, x.address) || strings.Contains(text, "tcp") {
				t.Errorf("the answer tells of the inside: %s", text)
			}
			if !strings.Contains(g.text(), "a service behind the gateway did not answer") {
				t.Errorf("nobody is told: %s", g.text())
			}
		})
	}
}

// TestGatewayHalf: half an answer is not passed on as a whole one, and its loss is
// seen.
func TestGatewayHalf(t *testing.T) {
	for _, half := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nnonsense\r\n",
	} {
		seen := &witness{}
		address := rawUpstream(t, func(conn net.Conn, _ *http.Request) { io.WriteString(conn, half) })
		g := newGatewayTo(t, "services: [{name: x, path: /x, url: 'http://"+address+"'}]", func(o *Options) { o.Observer = seen })
		text := g.raw(t, "GET /x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+g.child.Key+"\r\n\r\n", nil)
		answer, err := http.ReadResponse(bufio.NewReader(strings.NewReader(text)), nil)
		if err != nil {
			t.Fatalf("%q: %v %q", half, err, text)
		}
		if body, err := io.ReadAll(answer.Body); err == nil || string(body) != "half" {
			t.Errorf("%q: half an answer is %q, %v", half, body, err)
		}
		// The count is made once the answer is over, which the client may see first.
		eventually(t, func() bool { seen.mu.Lock(); defer seen.mu.Unlock(); return seen.count["x 502"] == 1 })
	}
}

// eventually waits for what is about to be.
func eventually(t testing.TB, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("it never came")
		}
	}
}

func TestGatewayHostileAnswer(t *testing.T) {
	address := rawUpstream(t, func(conn net.Conn, r *http.Request) {
		io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\nX-Tenantry-Account: forged\r\nX-Early: forged\r\n\r\n"+
			"HTTP/1.1 418 Teapot\r\nX-Tenantry-Account: forged\r\nX_Tenantry_Account: forged\r\nX-Request-Id: forged\r\nX-Ratelimit-Limit: forged\r\nSet-Cookie: session=forged\r\n"+
			"Connection: X-Ratelimit-Remaining\r\nKeep-Alive: forged\r\nX-Kept: yes\r\nRetry-After: 9\r\nContent-Type: text/x\r\nTransfer-Encoding: chunked\r\nTrailer: X-Tenantry-User, X-Sum\r\n\r\n"+
			"2\r\nhi\r\n0\r\nX-Tenantry-User: forged\r\nX-Sum: 1\r\nX-Tenantry-Late: forged\r\n\r\n")
	})
	g := newGatewayTo(t, "services: [{name: x, path: /x, url: 'http://"+address+"'}]", func(o *Options) { o.Rate = 100 })
	text := g.raw(t, "GET /x HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nConnection: close\r\nAuthorization: Bearer "+g.child.Key+"\r\n\r\n", nil)
	if strings.Contains(text, "forged") || !strings.HasPrefix(text, "HTTP/1.1 418") || !strings.Contains(text, "X-Kept: yes") || !strings.Contains(text, "Retry-After: 9") ||
		!strings.Contains(text, "X-Ratelimit-Limit: 1000") || !strings.Contains(text, "X-Ratelimit-Remaining: ") || !strings.Contains(text, "X-Sum: 1") || !strings.Contains(text, "Content-Type: text/x\r\n") {
		t.Error(text)
	}
}

// TestGatewaySmuggling: one request is one, wherever its end may seem to be.
func TestGatewaySmuggling(t *testing.T) {
	asked := &witness{} // by case, for some come late
	g := newGateway(t, twoServices, func(w http.ResponseWriter, r *http.Request) {
		asked.add(r.Header.Get("X-Case"))
		echo(w, r)
	})
	head := "Host: x\r\nX-Case: CASE\r\nAuthorization: Bearer " + g.child.Key + "\r\n"
	inner := "GET /v2/sms/inner HTTP/1.1\r\n" + strings.Replace(head, "CASE", "inner", 1) + "\r\n"
	for _, x := range []struct {
		what, text string
		answers    string // statuses
		asked      int
	}{
		{"length and chunks", "POST /v2/sms/a HTTP/1.1\r\n" + head + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner, "200 200", 1},
		{"chunks and length", "POST /v2/sms/a HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "200", 1},
		{"two lengths", "POST /v2/sms/a HTTP/1.1\r\n" + head + "Content-Length: 4\r\nContent-Length: 5\r\n\r\nhello" + inner, "400", 0},
		{"chunked by another name", "POST /v2/sms/a HTTP/1.1\r\n" + head + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + inner, "501", 0},
		{"chunked twice", "POST /v2/sms/a HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + inner, "501", 0},
		{"a space in the name", "POST /v2/sms/a HTTP/1.1\r\n" + head + "Content-Length : 4\r\n\r\n0000" + inner, "400", 0},
		{"bad chunk", "POST /v2/sms/a HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n" + inner, "400", -1},
		{"a body that is a request", "POST /v2/sms/a HTTP/1.1\r\n" + head + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(inner)) + inner, "200", 1},
		{"a GET with one", "GET /v2/sms/a HTTP/1.1\r\n" + head + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(inner)) + inner, "200", 1},
		{"one that nobody reads", "POST /v2/sms/a HTTP/1.1\r\nHost: x\r\n" + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(inner)) + inner, "401", 0},
	} {
		t.Run(x.what, func(t *testing.T) {
			text := g.raw(t, strings.ReplaceAll(x.text, "CASE", x.what)+"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", nil)
			var answers []string
			for b := bufio.NewReader(strings.NewReader(text)); ; {
				answer, err := http.ReadResponse(b, nil)
				if err != nil {
					break
				}
				body, _ := io.ReadAll(answer.Body)
				if strings.Contains(string(body), `{"status":"ok"}`) {
					break
				}
				answers = append(answers, fmt.Sprint(answer.StatusCode))
			}
			asked.mu.Lock()
			defer asked.mu.Unlock()
			if got, count := strings.Join(answers, " "), asked.count[x.what]; got != x.answers || asked.count["inner"] > 1 || x.asked >= 0 && count != x.asked {
				t.Errorf("answers %s, asked %d\n%s", got, count, text)
			}
		})
	}
}

// TestGatewayEarlyAnswer: when the answer comes before the body has, what is left of
// the body is no request.
func TestGatewayEarlyAnswer(t *testing.T) {
	var asked atomic.Int64
	address := rawUpstream(t, func(conn net.Conn, _ *http.Request) {
		asked.Add(1)
		io.WriteString(conn, "HTTP/1.1 422 Unprocessable\r\nContent-Length: 2\r\n\r\nno")
		io.Copy(io.Discard, conn)
	})
	g := newGatewayTo(t, "services: [{name: x, path: /x, url: 'http://"+address+"'}]")
	inner := "GET /x/inner HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + g.child.Key + "\r\n\r\n"
	for _, head := range []string{fmt.Sprintf("Content-Length: %d\r\n\r\n1234567", len(inner)+7), "Transfer-Encoding: chunked\r\n\r\nff\r\n1234567"} {
		asked.Store(0)
		conn, err := net.Dial("tcp", g.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(time.Minute))
		fmt.Fprintf(conn, "POST /x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n%s", g.child.Key, head)
		b := bufio.NewReader(conn)
		answer, err := http.ReadResponse(b, nil)
		if err != nil || answer.StatusCode != 422 {
			t.Fatalf("%v %v", answer, err)
		}
		if body, err := io.ReadAll(answer.Body); string(body) != "no" || err != nil || !answer.Close {
			t.Errorf("%q %v, %v", body, err, answer.Header)
		}
		io.WriteString(conn, inner)
		if rest, err := io.ReadAll(b); len(rest) > 0 || errors.Is(err, os.ErrDeadlineExceeded) || asked.Load() != 1 {
			t.Errorf("asked %d, and then %q %v", asked.Load(), rest, err)
		}
	}
}

// TestGatewaySlowClient: who stops sending is told so, and the service is let go.
func TestGatewaySlowClient(t *testing.T) {
	gone := make(chan struct{})
	g := newGateway(t, "services: [{name: x, path: /x, url: 'http://UPSTREAM', timeout: 200ms}]", func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		close(gone)
	})
	for _, head := range []string{"Content-Length: 100\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"} {
		gone = make(chan struct{})
		text := g.raw(t, "POST /x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+g.child.Key+"\r\n"+head, nil)
		if !strings.HasPrefix(text, "HTTP/1.1 400") || !strings.Contains(text, "could not be read") {
			t.Error(text)
		}
		<-gone
	}
}

// TestGatewayUnreadUpload: a service that takes nothing in is too slow.
func TestGatewayUnreadUpload(t *testing.T) {
	hold := make(chan struct{})
	defer close(hold)
	g := newGatewayTo(t, "services: [{name: x, path: /x, timeout: 300ms, url: 'http://"+rawUpstream(t, func(net.Conn, *http.Request) { <-hold })+"'}]")
	conn, err := net.Dial("tcp", g.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n", g.child.Key, 1<<30)
	go io.Copy(conn, readerFunc(func(p []byte) (int, error) { return len(p), nil }))
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || answer.StatusCode != 504 {
		t.Errorf("%v %v", answer, err)
	}
}

// TestGatewayExpect: the service says whether a body is wanted.
func TestGatewayExpect(t *testing.T) {
	g := newGateway(t, twoServices, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/sms/no" {
			w.WriteHeader(417)
			return
		}
		echo(w, r)
	}, func(o *Options) { o.Rate = 100 })
	ask := func(path, body string) (*http.Response, string) {
		t.Helper()
		conn, err := net.Dial("tcp", g.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", path, g.child.Key)
		b := bufio.NewReader(conn)
		answer, err := http.ReadResponse(b, nil)
		if err == nil && answer.StatusCode == 100 {
			io.WriteString(conn, body)
			answer, err = http.ReadResponse(b, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(answer.Body)
		return answer, string(text)
	}
	if answer, text := ask("/v2/sms/yes", "hello"); answer.StatusCode != 200 || decodeEcho(t, text).Body != "hello" || answer.Header.Get("X-Ratelimit-Limit") == "" || answer.Header.Get("X-Request-Id") == "" {
		t.Errorf("%d %v %s", answer.StatusCode, answer.Header, text)
	}
	if answer, _ := ask("/v2/sms/no", ""); answer.StatusCode != 417 {
		t.Errorf("%d", answer.StatusCode)
	}
}

// TestGatewayHTTP2: the client's HTTP/2 makes no difference.
func TestGatewayHTTP2(t *testing.T) {
	early := rawUpstream(t, func(conn net.Conn, _ *http.Request) {
		io.WriteString(conn, "HTTP/1.1 422 Unprocessable\r\nContent-Length: 2\r\n\r\nno")
		io.Copy(io.Discard, conn)
	})
	g := newGateway(t, "services: [{name: x, path: /x, url: 'http://UPSTREAM'}, {name: stalled, path: /x/stalled, url: 'http://UPSTREAM', timeout: 300ms}, {name: early, path: /early, url: 'http://"+early+"'}]",
		func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/x/stalled" {
				io.Copy(io.Discard, r.Body)
			}
			echo(w, r)
		})
	front := httptest.NewUnstartedServer(g.world)
	front.EnableHTTP2 = true
	front.StartTLS()
	defer front.Close()
	ask := func(path string, body io.Reader) (*http.Response, string) {
		t.Helper()
		r, _ := http.NewRequest("POST", front.URL+path, body)
		r.Header.Set("Authorization", "Bearer "+g.child.Key)
		answer, err := front.Client().Do(r)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil || answer.ProtoMajor != 2 {
			t.Fatalf("%s: %v, HTTP/%d", path, err, answer.ProtoMajor)
		}
		return answer, string(text)
	}
	large := strings.Repeat("x", 3<<20)
	if answer, text := ask("/x/y", strings.NewReader(large)); answer.StatusCode != 200 || decodeEcho(t, text).Body != large || decodeEcho(t, text).Header.Get("X-Forwarded-Proto") != "https" {
		t.Errorf("%d", answer.StatusCode)
	}
	stalled, write := io.Pipe()
	defer write.Close()
	go io.WriteString(write, "half")
	if answer, text := ask("/x/stalled", stalled); answer.StatusCode != 400 {
		t.Errorf("stalled: %d %s", answer.StatusCode, text)
	}
	open, write := io.Pipe()
	defer write.Close()
	go io.WriteString(write, "half")
	if answer, text := ask("/early", open); answer.StatusCode != 422 || text != "no" {
		t.Errorf("early: %d %s", answer.StatusCode, text)
	}
	if answer, _ := ask("/x/y", nil); answer.StatusCode != 200 {
		t.Errorf("after all that: %d", answer.StatusCode)
	}
}

// TestGatewayPasses: what a service answers is the answer, errors and all.
func TestGatewayPasses(t *testing.T) {
	seen := &witness{}
	g := newGateway(t, twoServices, func(w http.ResponseWriter, r *http.Request) {
		var status int
		fmt.Sscanf(r.URL.Path, "/v2/sms/%d", &status)
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		if status != 204 && status != 304 {
			io.WriteString(w, "its own words")
		}
	}, func(o *Options) { o.Observer, o.Tracer = seen, sdk.NewTracerProvider().Tracer("") })
	for _, status := range []int{200, 201, 204, 302, 304, 400, 401, 404, 429, 500, 502, 503, 504, 599} {
		answer, text := g.send(t, "GET", fmt.Sprintf("/v2/sms/%d", status), nil)
		if answer.StatusCode != status || answer.Header.Get("Location") != "/elsewhere" || text != "" && text != "its own words" || text == "" && status != 204 && status != 304 {
			t.Errorf("%d: %d %v %q", status, answer.StatusCode, answer.Header, text)
		}
		eventually(t, func() bool {
			seen.mu.Lock()
			defer seen.mu.Unlock()
			return seen.count[fmt.Sprintf("sms %d", status)] == 1
		})
	}
	if strings.Contains(g.text(), "level=ERROR") {
		t.Error(g.text())
	}
	if answer, text := g.send(t, "HEAD", "/v2/sms/200", nil); answer.StatusCode != 200 || text != "" {
		t.Errorf("HEAD: %d %q", answer.StatusCode, text)
	}
}

// TestGatewayOutage: when the database cannot be asked, the policy of the kind
// decides; nobody is somebody, then.
func TestGatewayOutage(t *testing.T) {
	for _, x := range []struct {
		policy     admission.Policy
		sms, admin int
	}{{admission.Closed, 503, 503}, {admission.Open, 200, 503}} {
		g := newGateway(t, twoServices, echo)
		g.admission = admission.New(g.db, admission.Options{Failure: map[string]admission.Policy{admission.API: x.policy}, Wait: 50 * time.Millisecond})
		g.db.Close()
		answer, text := g.send(t, "GET", "/v2/sms/x", nil)
		if answer.StatusCode != x.sms {
			t.Errorf("%v: %d %s", x.policy, answer.StatusCode, text)
		}
		if x.sms == 200 {
			if e := decodeEcho(t, text); e.Header.Get("X-Tenantry-Account") != "" || e.Header.Get("X-Tenantry-Permissions") != "" || e.Header.Get("X-Tenantry-Degraded") != "true" {
				t.Errorf("the service was asked %+v", e)
			}
		} else if !strings.Contains(text, "10007") || answer.Header.Get("Retry-After") == "" {
			t.Errorf("%v %s", answer.Header, text)
		}
		if answer, text := g.send(t, "GET", "/v2/sms/admin/x", nil); answer.StatusCode != x.admin {
			t.Errorf("%v: %d %s", x.policy, answer.StatusCode, text)
		}
	}
}

func TestReadServices(t *testing.T) {
	lookup := func(name string) (string, bool) {
		value, ok := map[string]string{"GOOD": "secret", "EMPTY": "", "LINES": "secret\r\nX: y"}[name]
		return value, ok
	}
	const good = "services:\n- name: a\n  path: /v2/a\n  url: https://host/base\n"
	services, err := ReadServices([]byte(good+"  headers: {x-key: {env: GOOD}}\n"), lookup)
	if err != nil || len(services) != 1 || services[0].Timeout != 30*time.Second || services[0].Kind != admission.API || services[0].Headers["X-Key"].text != "secret" {
		t.Fatalf("%+v %v", services, err)
	}
	var b bytes.Buffer
	slog.New(slog.NewJSONHandler(&b, nil)).Info("services", "all", services)
	if text := fmt.Sprintf("%v %+v %#v %s", services, services, services, &b); strings.Contains(text, "secret") {
		t.Errorf("the secret can be printed: %s", text)
	}
	for _, x := range []struct{ text, want string }{
		{"", "no services"},
		{"services: []", "no services"},
		{"service: []", "line 1: field service not found"},
		{"services: 3", "line 1"},
		{good + "---\nservices: []\n", "more than one document"},
		{good + "  timeuot: 3s\n", "line 5: field timeuot not found in a service"},
		{good + "  timeout: 3\n", "line 5: cannot unmarshal !!int `3` into a time such as 30s"},
		{good + "  timeout: 1ms\n", "timeout must be"},
		{good + "  timeout: soon\n", "line 5"},
		{good + "  kind: call\n", "kind must be"},
		{good + "  max_body: -1\n", "max_body"},
		{good + "  methods: [get]\n", "methods"},
		{good + "  methods: [TRACE]\n", "methods"},
		{good + "  permissions: [everything]\n", "a permission is one of"},
		{good + "  headers: {X-Key: {env: MISSING}}\n", "X-Key: the environment variable MISSING is not set"},
		{good + "  headers: {X-Key: {env: EMPTY}}\n", "EMPTY is not set"},
		{good + "  headers: {X-Key: {env: LINES}}\n", "the value of X-Key"},
		{good + "  headers: {X-Key: {file: x}}\n", "line 5: a header is a text, or {env: VARIABLE}"},
		{good + "  headers: {X-Key: }\n", "the value of X-Key"},
		{good + "  headers: {X-Tenantry-Account: x}\n", "X-Tenantry-Account is not for you to set"},
		{good + "  headers: {host: x}\n", "Host is not for you to set"},
		{good + "  headers: {'X Key': x}\n", "no name of a header"},
		{good + "  headers: {X-Key: x, x-key: y}\n", "twice"},
		{good + good[len("services:\n"):], "line 5: service a: there are two services of that name"},
		{good + "- name: b\n  path: /V2/A\n  url: http://h\n", "line 5: service b: the path /V2/A is that of service a, too"},
		{strings.Replace(good, "name: a", "name: A", 1), "a name has"},
		{strings.Replace(good, "name: a", "name: unknown", 1), "a name has"},
		{strings.Replace(good, "/v2/a", "v2/a", 1), "the path has to be"},
		{strings.Replace(good, "/v2/a", "/v2/a/", 1), "the path has to be"},
		{strings.Replace(good, "/v2/a", "/v2/../a", 1), "the path has to be"},
		{strings.Replace(good, "/v2/a", "/v2/%61", 1), "the path has to be"},
		{strings.Replace(good, "/v2/a", "/", 1), "the path has to be"},
		{strings.Replace(good, "/v2/a", "/v2", 1), "line 2: service a: the path /v2 is in the way of Tenantry's own /v2/"},
		{strings.Replace(good, "/v2/a", "/v2/managed_accounts", 1), "in the way of"},
		{strings.Replace(good, "/v2/a", "/v2/Managed_Accounts/x/y", 1), "in the way of"},
		{strings.Replace(good, "/v2/a", "/v2/organizations", 1), "in the way of"},
		{strings.Replace(good, "/v2/a", "/operator", 1), "in the way of"},
		{strings.Replace(good, "/v2/a", "/admission/v1/forward/x", 1), "in the way of"},
		{strings.Replace(good, "/v2/a", "/portal/x", 1), "in the way of"},
		{strings.Replace(good, "/v2/a", "/healthz", 1), "in the way of"},
		{strings.Replace(good, "https://host/base", "host:80", 1), "url"},
		{strings.Replace(good, "https://host/base", "ftp://host", 1), "url has to be"},
		{strings.Replace(good, "https://host/base", "http://host?q=1", 1), "url has to be"},
		{strings.Replace(good, "https://host/base", "http://host/a/../b", 1), "not clean"},
		{strings.Replace(good, "https://host/base", "http://u:secret@host", 1), "no user and password"},
		{strings.Replace(good, "https://host/base", "\"\"", 1), "url has to be"},
	} {
		_, err := ReadServices([]byte(x.text), lookup)
		if err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s\n%v, not %s", x.text, err, x.want)
		}
		if err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "httpapi")) {
			t.Errorf("the error tells too much: %v", err)
		}
	}
}

func FuzzReadServices(f *testing.F) {
	f.Add([]byte(twoServices))
	f.Add([]byte("services: [{name: x, path: /x, url: 'http://h', headers: {a: {env: B}}}]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		services, err := ReadServices(text, func(string) (string, bool) { return "secret", true })
		if err != nil {
			return
		}
		for _, g := range services {
			if u, err := url.Parse(g.URL); err != nil || u.Host == "" || takenBy(g.Path) != "" || g.Timeout <= 0 {
				t.Errorf("%+v", g)
			}
		}
	})
}
