package signon_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/tenant"
)

// TestPrivateIssuers: an issuer in a special-purpose network is not connected to, however
// it is written.
func TestPrivateIssuers(t *testing.T) {
	t.Parallel()
	bell := listen(t, "127.0.0.1:0")
	resolver := (&names{known: map[string][]string{
		"loopback.test.": {"127.0.0.1"}, "private.test.": {"10.0.0.1"}, "metadata.test.": {"169.254.169.254"}, "this.test.": {"0.0.0.0"},
	}}).resolver(t)
	for _, host := range []string{
		"127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]",
		"loopback.test", "this.test", "private.test", "metadata.test",
		"10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "169.254.169.254", "168.63.129.16", "100.100.100.200", "192.0.0.192", "198.18.0.1",
		"224.0.0.1", "255.255.255.255", "[fd00:ec2::254]", "[fe80::1]", "[ff02::1]", "[fec0::1]", "[2001:db8::1]",
	} {
		for _, scheme := range []string{"https", "http"} {
			issuer := fmt.Sprintf("%s://%s:%d", scheme, host, bell.port())
			i, notes := newIssuers(newClock().source())
			i.Rewire(resolver, nil)
			ctx, stop := context.WithTimeout(t.Context(), 5*time.Second)
			err := i.Check(ctx, issuer)
			stop()
			refused(t, service.Verified{}, err, tenant.Invalid, "")
			if !strings.Contains(notes.String(), "prohibited IP address") || !strings.Contains(notes.String(), "sso-allow") {
				t.Errorf("%s: noted: %s", issuer, notes)
			}
			if err != nil && strings.Contains(err.Error(), "prohibited") {
				t.Errorf("%s: the owner is told %v", issuer, err)
			}
		}
	}
	// Other ways of writing 127.0.0.1 are names that nobody has.
	for _, host := range []string{"2130706433", "0x7f000001", "0177.0.0.1", "127.1"} {
		i, _ := newIssuers(newClock().source())
		i.Rewire(resolver, nil)
		refused(t, service.Verified{}, i.Check(t.Context(), fmt.Sprintf("https://%s:%d", host, bell.port())), tenant.Invalid, "")
	}
	bell.silent(t)
}

// TestPrivateEndpoints: neither do the endpoints lead there that an issuer names which may
// be connected to.
func TestPrivateEndpoints(t *testing.T) {
	t.Parallel()
	bell := listen(t, "127.0.0.2:0")
	public := netip.MustParsePrefix("127.0.0.1/32")
	for _, endpoint := range []string{"token_endpoint", "jwks_uri", "userinfo_endpoint"} {
		for _, scheme := range []string{"http", "https"} {
			t.Run(endpoint+" "+scheme, func(t *testing.T) {
				t.Parallel()
				source := newClock().source()
				p := newProvider(t, source, announce(endpoint, fmt.Sprintf("%s://127.0.0.2:%d/x", scheme, bell.port())))
				claim(object{"email": nil})(p)
				i, notes := newIssuers(source, public)
				v, err := signIn(t, i, p.signOn())
				refused(t, v, err, tenant.Unavailable, "")
				if !strings.Contains(notes.String(), "prohibited IP address") {
					t.Errorf("noted: %s", notes)
				}
			})
		}
	}
	t.Run("redirect", func(t *testing.T) {
		t.Parallel()
		source := newClock().source()
		p := newProvider(t, source, func(p *provider) {
			p.answers[documentPath] = func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, fmt.Sprintf("http://127.0.0.2:%d/x", bell.port()), http.StatusFound)
			}
		})
		i, notes := newIssuers(source, public)
		refused(t, service.Verified{}, i.Check(t.Context(), p.URL), tenant.Invalid, "")
		if !strings.Contains(notes.String(), "prohibited IP address") {
			t.Errorf("noted: %s", notes)
		}
	})
	t.Cleanup(func() { bell.silent(t) })
}

// TestRebinding: a name that meant one address when it was asked for the configuration,
// and means another for the rest.
func TestRebinding(t *testing.T) {
	t.Parallel()
	source := newClock().source()
	p := newProvider(t, source, nil)
	port := p.Listener.Addr().(*net.TCPAddr).Port
	bell := listen(t, fmt.Sprintf("127.0.0.2:%d", port))
	p.URL = fmt.Sprintf("http://issuer.test:%d", port)
	i, notes := newIssuers(source, netip.MustParsePrefix("127.0.0.1/32"))
	known := &names{known: map[string][]string{"issuer.test.": {"127.0.0.1"}}}
	i.Rewire(known.resolver(t), nil)
	address, state, err := i.Begin(t.Context(), p.signOn(), redirectURL)
	if err != nil {
		t.Fatalf("%v\n%s", err, notes)
	}
	query := visit(t, strings.Replace(address, "issuer.test", "127.0.0.1", 1))
	known.mu.Lock()
	known.known["issuer.test."] = []string{"127.0.0.2"}
	known.mu.Unlock()
	v, err := i.Finish(t.Context(), p.signOn(), secret, redirectURL, state, query)
	refused(t, v, err, tenant.Unavailable, "")
	if !strings.Contains(notes.String(), "prohibited IP address") {
		t.Errorf("noted: %s", notes)
	}
	bell.silent(t)
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		hops int
		to   func(p *provider, n string) string
		good bool
	}{
		"three":          {3, func(_ *provider, n string) string { return "/hop?" + n }, true},
		"four":           {4, func(_ *provider, n string) string { return "/hop?" + n }, false},
		"another scheme": {1, func(p *provider, n string) string { return strings.Replace(p.URL, "http:", "https:", 1) + "/hop?" + n }, false},
		"no scheme":      {1, func(_ *provider, n string) string { return "file:///etc/passwd" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source := newClock().source()
			p := newProvider(t, source, nil)
			hop := func(w http.ResponseWriter, r *http.Request) {
				if len(r.URL.RawQuery) == test.hops {
					say(w, 200, p.configuration())
					return
				}
				http.Redirect(w, r, test.to(p, r.URL.RawQuery+"x"), http.StatusFound)
			}
			p.set(func() { p.answers[documentPath], p.answers["/hop"] = hop, hop })
			i, notes := newIssuers(source, loopback...)
			if err := i.Check(t.Context(), p.URL); (err == nil) != test.good {
				t.Errorf("%v\n%s", err, notes)
			}
		})
	}
}

// TestTLS: who cannot prove to be the issuer is none, and TLS 1.1 is no proof. A proxy of
// the environment is not asked.
func TestTLS(t *testing.T) {
	// The package reads no environment; this holds it to that.
	bell := listen(t, "127.0.0.1:0")
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"} {
		t.Setenv(name, fmt.Sprintf("http://127.0.0.1:%d", bell.port()))
	}
	for name, test := range map[string]struct {
		host    string
		trusted bool
		most    uint16
		plain   bool // an endpoint is http
		good    bool
	}{
		"good":              {"example.com", true, tls.VersionTLS13, false, true},
		"TLS 1.2":           {"example.com", true, tls.VersionTLS12, false, true},
		"TLS 1.1":           {"example.com", true, tls.VersionTLS11, false, false},
		"unknown authority": {"example.com", false, tls.VersionTLS13, false, false},
		"another name":      {"example.org", true, tls.VersionTLS13, false, false},
		"plain endpoint":    {"example.com", true, tls.VersionTLS13, true, false},
		"plain redirect":    {"example.com", true, tls.VersionTLS13, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			source := newClock().source()
			p := &provider{t: t, source: source, signing: ecKey(t, "one"), answers: map[string]http.HandlerFunc{}, asked: map[string]int{}}
			p.Server = httptest.NewUnstartedServer(p)
			p.Server.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: test.most}
			p.Server.StartTLS()
			defer p.Server.Close()
			p.URL = fmt.Sprintf("https://%s:%d", test.host, p.Listener.Addr().(*net.TCPAddr).Port)
			if test.plain {
				announce("token_endpoint", strings.Replace(p.URL, "https", "http", 1)+tokenPath)(p)
			}
			roots := x509.NewCertPool()
			if test.trusted {
				roots.AddCert(p.Certificate())
			}
			plain := httptest.NewServer(p)
			defer plain.Close()
			if name == "plain redirect" {
				p.answers[documentPath] = func(w http.ResponseWriter, r *http.Request) {
					if r.TLS != nil {
						http.Redirect(w, r, plain.URL+documentPath, http.StatusFound)
						return
					}
					say(w, 200, p.configuration())
				}
			}
			i, notes := newIssuers(source, loopback...)
			i.Rewire((&names{known: map[string][]string{test.host + ".": {"127.0.0.1"}}}).resolver(t), roots)
			err := i.Check(t.Context(), p.URL)
			if (err == nil) != test.good {
				t.Errorf("%v\n%s", err, notes)
			}
		})
	}
	bell.silent(t)
}

// TestPlainOutside: what is allowed is not allowed without TLS, but in this machine.
func TestPlainOutside(t *testing.T) {
	t.Parallel()
	for _, allowed := range []string{"0.0.0.0/0", "10.0.0.0/8"} {
		i, notes := newIssuers(newClock().source(), netip.MustParsePrefix(allowed))
		refused(t, service.Verified{}, i.Check(t.Context(), "http://10.255.255.1:1"), tenant.Invalid, "")
		if !strings.Contains(notes.String(), "without TLS") {
			t.Errorf("noted: %s", notes)
		}
	}
}
