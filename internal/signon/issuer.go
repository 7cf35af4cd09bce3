package signon

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"

	"github.com/tenantry/tenantry/internal/tenant"
)

const (
	// keepIssuer is how long is believed what an issuer said of itself.
	keepIssuer = 10 * time.Minute
	// keepKeys is how long a key that is not there is not looked for again.
	keepKeys = 10 * time.Second
	// mostIssuers and mostKeys bound the memory; of an RSA key go-jose takes 4,096 bits.
	mostIssuers = 1000
	mostKeys    = 64
	// mostBody is the longest answer that is read.
	mostBody = 1 << 20
	mostURL  = 2048
)

// algorithms are the signatures that only the issuer can make. Of the others, none has
// no key, and the key of HS256 is the client secret.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512, jose.PS256, jose.PS384, jose.PS512, jose.EdDSA,
}

// Issuers asks issuers, and remembers for a while what they are like. It is safe for
// concurrent use.
type Issuers struct {
	source *tenant.Source
	logger *slog.Logger
	egress *egress
	// follower follows redirects, for the configuration alone.
	client, follower *http.Client

	mu      sync.Mutex
	known   map[string]*issuer
	flights map[string]*flight
}

// New makes an Issuers.
func New(o Options) *Issuers {
	i := &Issuers{source: o.Source, logger: o.Logger, egress: newEgress(o.Allowed), known: map[string]*issuer{}, flights: map[string]*flight{}}
	if i.logger == nil {
		i.logger = slog.New(slog.DiscardHandler)
	}
	i.client = &http.Client{Transport: i.egress, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	i.follower = &http.Client{Transport: i.egress, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) > 3 || r.URL.Scheme != via[0].URL.Scheme {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	return i
}

// issuer is what one said of itself.
type issuer struct {
	name        string
	endpoint    oauth2.Endpoint
	userInfoURL string
	algorithms  []jose.SignatureAlgorithm
	// namesItself tells that its answers say whose they are (RFC 9207).
	namesItself bool
	keys        []key
	// at is when it was asked.
	at time.Time
}

type key struct {
	id, algorithm string
	public        crypto.PublicKey
}

// client is what OAuth calls us.
func (f *issuer) client(signOn *tenant.SignOn, secret, redirectURL string) *oauth2.Config {
	return &oauth2.Config{
		ClientID: signOn.ClientID, ClientSecret: secret, Endpoint: f.endpoint, RedirectURL: redirectURL,
		Scopes: []string{oidc.ScopeOpenID, oidc.ScopeEmail},
	}
}

// fault is why an issuer cannot be used: said is for the owner who enters it, and has
// nothing in it that came from there; cause is for the log.
type fault struct{ said, cause string }

func (f *fault) Error() string { return f.cause }

const (
	saidNothing  = "No sign-in server answered there."
	saidNonsense = "What answers there does not speak OpenID Connect."
)

// flight is a question that several wait for.
type flight struct {
	done  chan struct{}
	found *issuer
	err   error
}

// find is what an issuer said of itself, no longer ago than that. What many ask for at
// once is asked once; who no longer waits does not take the answer from the others.
func (i *Issuers) find(ctx context.Context, name string, age time.Duration) (*issuer, error) {
	i.mu.Lock()
	now := i.source.Now()
	if known := i.known[name]; known != nil && known.fresh(now, age) {
		i.mu.Unlock()
		return known, nil
	}
	f := i.flights[name]
	if f == nil {
		f = &flight{done: make(chan struct{})}
		i.flights[name] = f
		go i.fly(context.WithoutCancel(ctx), f, name, now)
	}
	i.mu.Unlock()
	select {
	case <-f.done:
		return f.found, f.err
	case <-ctx.Done():
		return nil, unanswered(ctx.Err())
	}
}

func (f *issuer) fresh(now time.Time, age time.Duration) bool {
	return !now.Before(f.at) && now.Before(f.at.Add(age))
}

func (i *Issuers) fly(ctx context.Context, f *flight, name string, now time.Time) {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	defer func() {
		// No server guards this goroutine, and what it reads is a stranger's.
		if problem := recover(); problem != nil {
			f.found, f.err = nil, &fault{saidNonsense, fmt.Sprint("panic: ", problem)}
		}
		i.mu.Lock()
		delete(i.flights, name)
		delete(i.known, name)
		if f.err == nil {
			i.makeRoom(now)
			i.known[name] = f.found
		}
		i.mu.Unlock()
		close(f.done)
	}()
	f.found, f.err = i.ask(ctx, name)
	if f.err == nil {
		f.found.at = now
	}
}

// makeRoom forgets what is out of date, or else what is oldest, so that one more fits.
func (i *Issuers) makeRoom(now time.Time) {
	if len(i.known) < mostIssuers {
		return
	}
	var oldest *issuer
	for name, known := range i.known {
		if !known.fresh(now, keepIssuer) {
			delete(i.known, name)
		} else if oldest == nil || known.at.Before(oldest.at) {
			oldest = known
		}
	}
	if len(i.known) >= mostIssuers {
		delete(i.known, oldest.name)
	}
}

func (i *Issuers) forget(found *issuer) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.known[found.name] == found {
		delete(i.known, found.name)
	}
}

// ask asks an issuer for its configuration and keys.
func (i *Issuers) ask(ctx context.Context, name string) (*issuer, error) {
	if !usable(name, true) {
		return nil, &fault{"Must be an https URL without a query.", "its URL is none"}
	}
	var said struct {
		Issuer       string   `json:"issuer"`
		AuthURL      string   `json:"authorization_endpoint"`
		TokenURL     string   `json:"token_endpoint"`
		KeysURL      string   `json:"jwks_uri"`
		UserInfoURL  string   `json:"userinfo_endpoint"`
		Algorithms   []string `json:"id_token_signing_alg_values_supported"`
		ClientProofs []string `json:"token_endpoint_auth_methods_supported"`
		NamesItself  bool     `json:"authorization_response_iss_parameter_supported"`
	}
	if err := i.get(ctx, i.follower, strings.TrimSuffix(name, "/")+"/.well-known/openid-configuration", "", &said); err != nil {
		return nil, err
	}
	// One that speaks for another could make its people ours.
	if said.Issuer != name {
		return nil, &fault{"The sign-in server there calls itself otherwise. Mind a slash at the end.", "it calls itself otherwise"}
	}
	plain := strings.HasPrefix(name, "http:")
	for _, endpoint := range []string{said.AuthURL, said.TokenURL, said.KeysURL} {
		if !usable(endpoint, plain) {
			return nil, &fault{saidNonsense, "an endpoint is no https URL"}
		}
	}
	if said.UserInfoURL != "" && !usable(said.UserInfoURL, plain) {
		return nil, &fault{saidNonsense, "the userinfo endpoint is no https URL"}
	}
	found := &issuer{
		name: name, endpoint: oauth2.Endpoint{AuthURL: said.AuthURL, TokenURL: said.TokenURL}, userInfoURL: said.UserInfoURL,
		namesItself: said.NamesItself,
	}
	// To try one after the other, as oauth2 would, costs the code.
	switch {
	case len(said.ClientProofs) == 0 || slices.Contains(said.ClientProofs, "client_secret_basic"):
		found.endpoint.AuthStyle = oauth2.AuthStyleInHeader
	case slices.Contains(said.ClientProofs, "client_secret_post"):
		found.endpoint.AuthStyle = oauth2.AuthStyleInParams
	default:
		return nil, &fault{"The sign-in server there takes no client secret.", "it takes no client secret"}
	}
	for _, algorithm := range algorithms {
		if slices.Contains(said.Algorithms, string(algorithm)) || said.Algorithms == nil && algorithm == jose.RS256 {
			found.algorithms = append(found.algorithms, algorithm)
		}
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := i.get(ctx, i.client, said.KeysURL, "", &set); err != nil {
		return nil, err
	}
	for _, raw := range set.Keys {
		if k, ok := readKey(raw); ok && len(found.keys) < mostKeys {
			found.keys = append(found.keys, k)
		}
	}
	if len(found.algorithms) == 0 || len(found.keys) == 0 {
		return nil, &fault{"The sign-in server there has no keys of a kind that is taken.", "it has no keys of a kind that is taken"}
	}
	return found, nil
}

// usable tells whether a URL is one to talk to. Where plain http is allowed, the dialer
// sees to it that it stays in this machine.
func usable(text string, plain bool) bool {
	u, err := url.Parse(text)
	return err == nil && len(text) <= mostURL && (u.Scheme == "https" || plain && u.Scheme == "http") && u.Hostname() != "" && u.User == nil &&
		!strings.Contains(text, "#")
}

// readKey is a public key to check signatures by. Others are passed over, as RFC 7517
// has it in section 5.
func readKey(raw json.RawMessage) (key, bool) {
	var k jose.JSONWebKey
	if k.UnmarshalJSON(raw) != nil || k.Use != "" && k.Use != "sig" || len(k.KeyID) > 1024 {
		return key{}, false
	}
	switch k.Key.(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey:
		return key{k.KeyID, k.Algorithm, k.Key}, true
	}
	return key{}, false
}

// keySet checks signatures by an issuer's keys.
type keySet struct {
	issuers *Issuers
	found   *issuer
	head    jose.Header
	// err is why the keys could not be asked for.
	err error
}

// VerifySignature asks the issuer for its keys again, but not all the time, if none that
// is known fits: they change.
func (k *keySet) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	payload, err := k.try(ctx, token)
	if err == nil {
		return payload, nil
	}
	found, err := k.issuers.find(ctx, k.found.name, keepKeys)
	if err != nil {
		k.err = err
		return nil, err
	}
	k.found = found
	return k.try(ctx, token)
}

func (k *keySet) try(ctx context.Context, token string) ([]byte, error) {
	var fit oidc.StaticKeySet
	for _, candidate := range k.found.keys {
		if (k.head.KeyID == "" || k.head.KeyID == candidate.id) && (candidate.algorithm == "" || candidate.algorithm == k.head.Algorithm) {
			fit.PublicKeys = append(fit.PublicKeys, candidate.public)
		}
	}
	return fit.VerifySignature(ctx, token)
}

// get asks for a JSON object. Errors are faults.
func (i *Issuers) get(ctx context.Context, client *http.Client, address, bearer string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return &fault{saidNothing, "its URL is none"}
	}
	request.Header.Set("Accept", "application/json")
	if bearer != "" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	response, err := client.Do(request)
	if err != nil {
		return unanswered(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return &fault{saidNonsense, fmt.Sprintf("%s answers with status %d", request.URL.Redacted(), response.StatusCode)}
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, mostBody+1))
	if err != nil {
		return unanswered(err)
	}
	if len(body) > mostBody {
		return &fault{saidNonsense, fmt.Sprintf("%s answers with more than %d bytes", request.URL.Redacted(), mostBody)}
	}
	if json.Unmarshal(body, into) != nil {
		return &fault{saidNonsense, request.URL.Redacted() + " answers with other JSON than it should"}
	}
	return nil
}
