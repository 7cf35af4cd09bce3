package signon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"

	"code.dny.dev/ssrf"
)

// azure is where virtual machines at Azure find the service that configures them; the
// others of that kind are in special-purpose networks, which ssrf denies.
var azure = netip.MustParsePrefix("168.63.129.16/32")

// egress sends requests to nowhere but the public Internet and what was allowed. It looks
// at the address that is dialed, when it is dialed: a name may mean another one by then.
type egress struct {
	secure, plain       *http.Transport
	dialer, plainDialer *net.Dialer
}

func newEgress(allowed []netip.Prefix) *egress {
	var four, six []netip.Prefix
	for _, network := range allowed {
		if network.Addr().Is4() {
			four = append(four, network)
		} else {
			six = append(six, network)
		}
	}
	guardian := ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(four...), ssrf.WithAllowedV6Prefixes(six...), ssrf.WithDeniedV4Prefixes(azure))
	e := &egress{}
	e.secure, e.dialer = newTransport(guardian.Safe)
	e.plain, e.plainDialer = newTransport(func(network, address string, c syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil || !at.Addr().IsLoopback() {
			return fmt.Errorf("%w: %s is not to be spoken to without TLS", ssrf.ErrProhibitedIP, address)
		}
		return guardian.Safe(network, address, c)
	})
	return e
}

func newTransport(guard func(network, address string, c syscall.RawConn) error) (*http.Transport, *net.Dialer) {
	dialer := &net.Dialer{Timeout: patience, Control: guard}
	// No proxy: it would dial for us, unguarded.
	return &http.Transport{
		DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, TLSHandshakeTimeout: patience,
		// What unpacks to more than it seems is not asked for.
		DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
		// A connection that the issuer has closed meanwhile would cost a code, and a slow
		// issuer does not take all that there are.
		DisableKeepAlives: true, MaxConnsPerHost: 20,
	}, dialer
}

// RoundTrip sends a request as its scheme wants it.
func (e *egress) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Set("User-Agent", "tenantry")
	switch request.URL.Scheme {
	case "https":
		return e.secure.RoundTrip(request)
	case "http":
		return e.plain.RoundTrip(request)
	}
	return nil, fmt.Errorf("the scheme %q is not spoken", request.URL.Scheme)
}

// unanswered is a fault of the way to an issuer. It has nothing in it that came from
// there, but what is in a certificate.
func unanswered(err error) *fault {
	cause := "its answer could not be read"
	if op, ok := errors.AsType[*net.OpError](err); ok {
		cause = op.Error()
	}
	if bad, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		cause = bad.Error()
	}
	switch {
	case errors.Is(err, context.Canceled):
		cause = "nobody waited for its answer"
	case errors.Is(err, ssrf.ErrProhibitedIP):
		cause += "; the setting sso-allow may name networks that are allowed"
	case errors.Is(err, context.DeadlineExceeded):
		cause = fmt.Sprintf("no answer in time, of %s at most", patience)
	}
	return &fault{saidNothing, cause}
}
