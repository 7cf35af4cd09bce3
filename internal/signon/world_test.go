package signon_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/signon"
	"github.com/tenantry/tenantry/internal/tenant"
)

const (
	clientID    = "tenantry at example"
	secret      = "a secret: of%the+client & more canary"
	redirectURL = "https://portal.example.com/sso/callback"
)

// object is what is written as JSON.
type object = map[string]any

// keyPair is a key that tokens are signed with.
type keyPair struct {
	id, algorithm string
	private       any
	public        any
}

func rsaKey(t testing.TB, id string) keyPair {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return keyPair{id, "RS256", private, private.Public()}
}

// usualKey is a provider's first; to make one takes a while.
var usualKey = sync.OnceValue(func() *rsa.PrivateKey {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return private
})

func ecKey(t testing.TB, id string) keyPair {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return keyPair{id, "ES256", private, private.Public()}
}

func (k keyPair) jwk() object {
	text, err := jose.JSONWebKey{Key: k.public, KeyID: k.id, Algorithm: k.algorithm, Use: "sig"}.MarshalJSON()
	if err != nil {
		panic(err)
	}
	var o object
	json.Unmarshal(text, &o)
	return o
}

// sign makes a JWT.
func sign(t testing.TB, algorithm string, key any, id string, claims object) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(algorithm), Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(claims)
	signed, err := signer.Sign(text)
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// provider is an OpenID provider where whoever comes is signed in. The functions change
// what it says; token and others replace the answer of an endpoint.
type provider struct {
	*httptest.Server
	t      testing.TB
	source *tenant.Source

	mu       sync.Mutex
	signing  keyPair
	keys     []object // nil: that of signing
	document func(object)
	claims   func(object)
	idToken  func(claims object) any
	userInfo object
	answers  map[string]http.HandlerFunc
	pending  map[string]url.Values // by code
	asked    map[string]int        // by path
}

const (
	documentPath = "/.well-known/openid-configuration"
	tokenPath    = "/token"
	keysPath     = "/keys"
	userInfoPath = "/userinfo"
)

func newProvider(t testing.TB, source *tenant.Source, edit func(*provider)) *provider {
	t.Helper()
	p := &provider{t: t, source: source, signing: keyPair{"one", "RS256", usualKey(), usualKey().Public()}, answers: map[string]http.HandlerFunc{}, pending: map[string]url.Values{}, asked: map[string]int{}}
	if edit != nil {
		edit(p)
	}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked[r.URL.Path]++
	answer := p.answers[r.URL.Path]
	p.mu.Unlock()
	if answer != nil {
		answer(w, r)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch r.URL.Path {
	case documentPath:
		say(w, 200, p.configuration())
	case keysPath:
		keys := p.keys
		if keys == nil {
			keys = []object{p.signing.jwk()}
		}
		say(w, 200, object{"keys": keys})
	case "/authorize":
		query := r.URL.Query()
		code := rand.Text()
		p.pending[code] = query
		back := query.Get("redirect_uri") + "?" + url.Values{"code": {code}, "state": {query.Get("state")}}.Encode()
		http.Redirect(w, r, back, http.StatusFound)
	case tokenPath:
		p.serveToken(w, r)
	case userInfoPath:
		if r.Header.Get("Authorization") != "Bearer the access token" {
			say(w, 401, object{"error": "invalid_token"})
			return
		}
		say(w, 200, p.userInfo)
	default:
		http.NotFound(w, r)
	}
}

func (p *provider) configuration() object {
	o := object{
		"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + tokenPath,
		"jwks_uri": p.URL + keysPath, "userinfo_endpoint": p.URL + userInfoPath,
		"id_token_signing_alg_values_supported": []string{"RS256", "ES256", "HS256", "none"},
	}
	if p.document != nil {
		p.document(o)
	}
	return o
}

func (p *provider) serveToken(w http.ResponseWriter, r *http.Request) {
	id, password, basic := r.BasicAuth()
	id, _ = url.QueryUnescape(id)
	password, _ = url.QueryUnescape(password)
	if !basic {
		id, password = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	if id != clientID || password != secret {
		say(w, 401, object{"error": "invalid_client"})
		return
	}
	code := r.PostFormValue("code")
	asked, known := p.pending[code]
	delete(p.pending, code)
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if !known || r.PostFormValue("grant_type") != "authorization_code" || r.PostFormValue("redirect_uri") != asked.Get("redirect_uri") ||
		asked.Get("code_challenge_method") != "S256" || base64.RawURLEncoding.EncodeToString(sum[:]) != asked.Get("code_challenge") {
		say(w, 400, object{"error": "invalid_grant", "error_description": "canary " + secret})
		return
	}
	now := p.source.Now().Unix()
	claims := object{
		"iss": p.URL, "sub": "ada", "aud": clientID, "exp": now + 300, "iat": now, "nonce": asked.Get("nonce"),
		"email": "ada@example.com", "email_verified": true,
	}
	if p.claims != nil {
		p.claims(claims)
	}
	var token any
	if p.idToken != nil {
		token = p.idToken(claims)
	} else {
		token = sign(p.t, p.signing.algorithm, p.signing.private, p.signing.id, claims)
	}
	say(w, 200, object{"access_token": "the access token", "token_type": "Bearer", "expires_in": 300, "id_token": token})
}

func say(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

// set changes the provider while it runs.
func (p *provider) set(edit func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	edit()
}

func (p *provider) count(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[path]
}

func (p *provider) signOn() *tenant.SignOn {
	return &tenant.SignOn{AccountID: "an account", Issuer: p.URL, ClientID: clientID, Domains: []string{"example.com"}}
}

// clock is a source whose time a test owns.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) source() *tenant.Source {
	return tenant.NewSource(func() time.Time {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.now
	}, nil)
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// notes are what was logged.
type notes struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (n *notes) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.Write(p)
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.String()
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// newIssuers makes Issuers that log for the test.
func newIssuers(source *tenant.Source, allowed ...netip.Prefix) (*signon.Issuers, *notes) {
	n := &notes{}
	return signon.New(signon.Options{Allowed: allowed, Source: source, Logger: slog.New(slog.NewTextHandler(n, nil))}), n
}

// visit is the browser at the issuer: what it is sent back with.
func visit(t testing.TB, address string) url.Values {
	t.Helper()
	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := browser.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	back, err := response.Location()
	if err != nil {
		t.Fatalf("status %d: %v", response.StatusCode, err)
	}
	return back.Query()
}

// signIn goes all the way.
func signIn(t testing.TB, i *signon.Issuers, signOn *tenant.SignOn) (service.Verified, error) {
	t.Helper()
	address, state, err := i.Begin(t.Context(), signOn, redirectURL)
	if err != nil {
		return service.Verified{}, err
	}
	return i.Finish(t.Context(), signOn, secret, redirectURL, state, visit(t, address))
}

// refused wants a refusal of that kind, parameter included, that tells no secret.
func refused(t testing.TB, v service.Verified, err error, kind tenant.Kind, parameter string) {
	t.Helper()
	e, ok := err.(*tenant.Error)
	switch {
	case err == nil:
		t.Errorf("accepted: %+v", v)
	case v != (service.Verified{}):
		t.Errorf("refused, and yet %+v", v)
	case !ok:
		t.Errorf("%T: %v", err, err)
	case e.Kind != kind || e.Parameter != parameter:
		t.Errorf("kind %d, parameter %q, wanted %d, %q: %v", e.Kind, e.Parameter, kind, parameter, err)
	case bytes.Contains([]byte(e.Detail), []byte("canary")) || len(e.Detail) < 20 || len(e.Detail) > 200:
		t.Errorf("says %q", e.Detail)
	}
}

// doorbell counts who connects to an address of this machine.
type doorbell struct {
	net.Listener
	mu   sync.Mutex
	rung int
}

func listen(t testing.TB, address string) *doorbell {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Skipf("this machine has no %s: %v", address, err)
	}
	d := &doorbell{Listener: l}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d.mu.Lock()
			d.rung++
			d.mu.Unlock()
			c.Close()
		}
	}()
	return d
}

func (d *doorbell) port() int { return d.Addr().(*net.TCPAddr).Port }

func (d *doorbell) silent(t testing.TB) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.rung != 0 {
		t.Errorf("%d connections", d.rung)
	}
}

// names is a DNS server that answers with the addresses of a name one after the other,
// the last for ever; it knows no IPv6.
type names struct {
	mu    sync.Mutex
	known map[string][]string
}

func (n *names) resolver(t testing.TB) *net.Resolver {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	go func() {
		buffer := make([]byte, 1500)
		for {
			size, from, err := server.ReadFrom(buffer)
			if err != nil {
				return
			}
			server.WriteTo(n.answer(buffer[:size]), from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

func (n *names) answer(query []byte) []byte {
	name, at := "", 12
	for query[at] != 0 {
		name += string(query[at+1:at+1+int(query[at])]) + "."
		at += 1 + int(query[at])
	}
	question := query[12 : at+5]
	reply := append([]byte{query[0], query[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, question...)
	n.mu.Lock()
	defer n.mu.Unlock()
	addresses := n.known[name]
	if len(addresses) == 0 {
		reply[3] |= 3 // no such name
		return reply
	}
	if query[at+2] != 1 { // not type A
		return reply
	}
	if len(addresses) > 1 {
		n.known[name] = addresses[1:]
	}
	reply[7] = 1
	reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
	return append(reply, netip.MustParseAddr(addresses[0]).AsSlice()...)
}

// stub is a network where an issuer answers in memory, for bubbles of synctest.
type stub struct {
	mu     sync.Mutex
	keys   object
	asked  map[string]int // by URL
	answer func(r *http.Request) (*http.Response, error)
}

func newStub(t testing.TB) *stub {
	s := &stub{keys: object{"keys": []object{ecKey(t, "one").jwk()}}, asked: map[string]int{}}
	s.answer = s.usual
	return s
}

func (s *stub) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.asked[r.URL.String()]++
	answer := s.answer
	s.mu.Unlock()
	return answer(r)
}

func (s *stub) usual(r *http.Request) (*http.Response, error) {
	recorder := httptest.NewRecorder()
	switch host := "https://" + r.URL.Host; r.URL.Path {
	case documentPath:
		say(recorder, 200, object{
			"issuer": host, "authorization_endpoint": host + "/authorize", "token_endpoint": host + tokenPath, "jwks_uri": host + keysPath,
			"id_token_signing_alg_values_supported": []string{"ES256"},
		})
	case keysPath:
		say(recorder, 200, s.keys)
	default:
		recorder.WriteHeader(404)
	}
	return recorder.Result(), nil
}

func (s *stub) counts() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.asked)
}
