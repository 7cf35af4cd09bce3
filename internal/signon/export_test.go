package signon

import (
	"crypto/x509"
	"net"
	"net/http"
)

// Rewire lets a test own names and certificates. The guard stays.
func (i *Issuers) Rewire(resolver *net.Resolver, roots *x509.CertPool) {
	i.egress.dialer.Resolver, i.egress.plainDialer.Resolver = resolver, resolver
	i.egress.secure.TLSClientConfig.RootCAs = roots
}

// Through lets a test be the network.
func (i *Issuers) Through(network http.RoundTripper) {
	i.client.Transport, i.follower.Transport = network, network
}

// MostIssuers is how many are remembered.
const MostIssuers = mostIssuers
