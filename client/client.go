package client

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// DefaultBaseURL is the vendor's own address.
const DefaultBaseURL = "https://api.telnyx.com/v2"

// Client calls one server with one key. It is safe for concurrent use.
type Client struct {
	ManagedAccounts   *ManagedAccounts
	OrganizationUsers *OrganizationUsers
	Balance           *Balances
	AuditEvents       *AuditEvents
	Messages          *Messages

	// secrets is a function because no verb of fmt looks behind one.
	secrets   func() *secrets
	http      *http.Client
	timeout   time.Duration
	retries   int
	log       *slog.Logger
	userAgent string
}

// secrets are what must not be printed; base may have a password in it.
type secrets struct{ base, key, v1User, v1Token string }

// Option changes a Client.
type Option func(*Client)

// WithKey sets the V2 key; without, it is TELNYX_API_KEY. Space around it is cut.
func WithKey(key string) Option { return func(c *Client) { c.secrets().key = key } }

// WithV1 sets V1 credentials, which are then sent instead of a key.
func WithV1(user, token string) Option {
	return func(c *Client) { c.secrets().v1User, c.secrets().v1Token = user, token }
}

// WithBaseURL sets the address of the API, "/v2" included; without, it is
// TELNYX_BASE_URL or else DefaultBaseURL.
func WithBaseURL(base string) Option { return func(c *Client) { c.secrets().base = base } }

// WithHTTPClient sets what sends the requests; without, it is a client that all
// Clients share and that keeps up to 64 connections to a server open. Redirects
// are followed only if h has a CheckRedirect.
func WithHTTPClient(h *http.Client) Option { return func(c *Client) { c.http = h } }

// WithTimeout bounds each try of a request; the default is a minute, 0 is no
// bound. Of a streamed report it bounds each wait for more, not the whole.
func WithTimeout(d time.Duration) Option { return func(c *Client) { c.timeout = d } }

// WithRetries sets how often a request that failed for a reason that may pass is
// sent again; the default is 2, 0 never.
func WithRetries(n int) Option { return func(c *Client) { c.retries = n } }

// WithLogger logs each try at debug level: method, path, status, time. Never a
// header or a body.
func WithLogger(log *slog.Logger) Option { return func(c *Client) { c.log = log } }

// WithUserAgent sets the User-Agent header.
func WithUserAgent(agent string) Option { return func(c *Client) { c.userAgent = agent } }

// shared keeps more idle connections than the default of two, which would make
// every third of some parallel calls dial anew.
var shared = sync.OnceValue(func() *http.Client {
	transport, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return http.DefaultClient // somebody replaced it, and will have a reason
	}
	transport = transport.Clone()
	transport.MaxIdleConnsPerHost = 64
	return &http.Client{Transport: transport}
})

// New makes a client from the environment and the options, which win.
func New(options ...Option) *Client {
	s := &secrets{base: cmp.Or(os.Getenv("TELNYX_BASE_URL"), DefaultBaseURL), key: os.Getenv("TELNYX_API_KEY")}
	c := &Client{secrets: func() *secrets { return s }, timeout: time.Minute, retries: 2, userAgent: "tenantry-go"}
	for _, option := range options {
		option(c)
	}
	s.base = strings.TrimRight(s.base, "/")
	s.key = strings.TrimSpace(s.key) // a key out of a file often has a line break
	if c.http == nil {
		c.http = shared()
	}
	if c.http.CheckRedirect == nil {
		// The API has no redirects, and following one would show V1 credentials to
		// another host and turn a POST into a GET.
		h := *c.http
		h.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		c.http = &h
	}
	c.ManagedAccounts = &ManagedAccounts{c}
	c.OrganizationUsers = &OrganizationUsers{c}
	c.Balance = &Balances{c}
	c.AuditEvents = &AuditEvents{c}
	c.Messages = &Messages{c}
	return c
}

// BaseURL is the address of the API, without a slash at the end.
func (c *Client) BaseURL() string { return c.secrets().base }

// String names the server and never a secret.
func (c Client) String() string {
	if base, err := url.Parse(c.secrets().base); err == nil && base.Host != "" {
		return "client of " + base.Redacted()
	}
	return "client"
}

// Format is String for every verb of fmt.
func (c Client) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// LogValue is String for slog.
func (c Client) LogValue() slog.Value { return slog.StringValue(c.String()) }
