package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/client"
)

// Doctor is "tenantry doctor": it says what is wrong with the set-up, and what to
// do about it.
type Doctor struct {
	JSON  bool   `name:"json" group:"Output" help:"Print JSON."`
	Color string `group:"Output" default:"auto" enum:"auto,always,never" placeholder:"WHEN" help:"Colours: auto, always or never. NO_COLOR is obeyed."`
	Server
}

// Help shows an example.
func (Doctor) Help() string {
	return `It looks at the profile, the address, the key, the way to the server, the clock and
what the key may do, and changes nothing. The exit code is 0 when all is well.
Examples:
  tenantry doctor
  tenantry doctor --profile prod --json`
}

// finding is one thing that was looked at.
type finding struct {
	Check string `json:"check"`
	// State is ok, warning, problem or skipped.
	State  string `json:"state"`
	Detail string `json:"detail"`
	// Do is what to do about it, "" when nothing.
	Do string `json:"do,omitempty"`
}

// diagnosis is what the doctor found.
type diagnosis struct {
	Well     bool      `json:"well"`
	Findings []finding `json:"findings"`
}

func (d *diagnosis) add(state, check, detail, do string) {
	d.Findings = append(d.Findings, finding{check, state, detail, do})
}

// Run looks at everything.
func (x *Doctor) Run(ctx context.Context, t *Terminal) error {
	d := &diagnosis{}
	x.examine(ctx, d)
	problems := 0
	for _, f := range d.Findings {
		if f.State == "problem" {
			problems++
		}
	}
	d.Well = problems == 0
	if x.JSON {
		if err := encode(t.Out, d); err != nil {
			return err
		}
	} else {
		for _, f := range d.Findings {
			state := fmt.Sprintf("%-7s", f.State)
			fmt.Fprintf(t.Out, "%s  %-8s  %s\n", t.paint(t.Out, statusColor(f.State), state), f.Check, plain(f.Detail))
			if f.Do != "" {
				fmt.Fprintf(t.Out, "%19s%s\n", "", t.paint(t.Out, bold, "→ "+plain(f.Do)))
			}
		}
	}
	switch problems {
	case 0:
		return nil
	case 1:
		return errors.New("there is a problem with the set-up")
	}
	return fmt.Errorf("there are %d problems with the set-up", problems)
}

func (x *Doctor) examine(ctx context.Context, d *diagnosis) {
	found, err := x.settings()
	switch {
	case err != nil:
		d.add("problem", "profile", err.Error(), "")
		return
	case found.profile != "":
		d.add("ok", "profile", "profile "+found.profile+" is used", "")
	default:
		d.add("ok", "profile", "no profile is used", "")
	}
	goOn := x.examineURL(d, found.baseURL)
	switch key := found.key; {
	case key.value == "":
		d.add("problem", "key", "there is no API key", "set TELNYX_API_KEY, or make a profile: tenantry profile add NAME --base-url "+found.baseURL.value)
		goOn = false
	case strings.ContainsFunc(key.value, func(r rune) bool { return r <= ' ' || r > '~' }):
		d.add("problem", "key", "the key from "+key.source+" has characters in it that no key has", "copy it once more, without quotes or line breaks")
		goOn = false
	default:
		d.add("ok", "key", fmt.Sprintf("%s, from %s", api.Mask(key.value), key.source), "")
	}
	if goOn && found.profile != "" && found.baseURL.source != found.key.source {
		d.add("warning", "key", "the key comes from "+found.key.source+" and the address from "+found.baseURL.source,
			"make sure that they belong together: the key is sent to that address")
	}
	if goOn {
		x.examineServer(ctx, d, found)
	}
}

// examineURL reports whether it is worth while to call.
func (x *Doctor) examineURL(d *diagnosis, base setting) bool {
	if err := checkBaseURL(base.value); err != nil {
		d.add("problem", "address", fmt.Sprintf("%q, from %s, is no address", base.value, base.source), "it has to be like "+client.DefaultBaseURL)
		return false
	}
	u, _ := url.Parse(base.value)
	where := u.Redacted() + ", from " + base.source
	if path := strings.TrimRight(u.Path, "/"); !strings.HasSuffix(path, "/v2") {
		u.Path = path + "/v2"
		d.add("problem", "address", where+", does not end in /v2", "set it to "+u.Redacted())
		return true
	}
	host := u.Hostname()
	if ip := net.ParseIP(host); u.Scheme == "http" && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		d.add("warning", "address", where+", sends the key unencrypted", "use https outside this machine")
		return true
	}
	d.add("ok", "address", where, "")
	return true
}

// patience is how long the doctor waits for an answer.
const patience = 10 * time.Second

// farOff is how much the clocks may differ.
const farOff = 30 * time.Second

func (x *Doctor) examineServer(ctx context.Context, d *diagnosis, found settings) {
	seen := &observer{next: http.DefaultTransport}
	c := client.New(client.WithBaseURL(found.baseURL.value), client.WithKey(found.key.value), client.WithRetries(0),
		client.WithTimeout(min(x.Timeout, patience)), client.WithHTTPClient(&http.Client{Transport: seen}), client.WithUserAgent("tenantry-cli"))
	_, err := c.Balance.Retrieve(ctx)
	if errors.Is(err, client.ErrConnection) {
		what, do := unreachable(err, found.baseURL.value)
		d.add("problem", "server", what, do)
		return
	}
	x.examineHealth(ctx, d, found.baseURL.value)
	if skew, ok := seen.skew(); !ok {
		d.add("skipped", "clock", "the server does not say what time it is", "")
	} else if skew.Abs() > farOff {
		which := "ahead of"
		if skew < 0 {
			which = "behind"
		}
		d.add("problem", "clock", fmt.Sprintf("this machine's clock is %s %s the server's", skew.Abs().Round(time.Second), which),
			"set the clock, here or there; with systemd: timedatectl set-ntp true")
	} else {
		d.add("ok", "clock", "the clocks agree", "")
	}
	if !x.examineKey(d, err, found) {
		return
	}
	_, err = c.ManagedAccounts.List(ctx, client.ManagedAccountList{PageSize: 1})
	var refused *client.Error
	switch {
	case err == nil:
		d.add("ok", "manager", "the account manages others", "")
	case errors.As(err, &refused) && errors.Is(err, client.ErrPermissionDenied):
		d.add("problem", "manager", "the account is no manager, or the key may not manage accounts: accounts and channels will be refused",
			"have the operator approve it: tenantry operator approve-manager ID --channel-pool N; the vendor approves managers by hand")
	default:
		d.add("problem", "manager", err.Error(), "")
	}
}

// examineKey judges by a call of the account's balance. It reports whether the key
// is accepted.
func (x *Doctor) examineKey(d *diagnosis, err error, found settings) bool {
	var refused *client.Error
	errors.As(err, &refused)
	switch {
	case err == nil:
		d.add("ok", "access", "the server takes the key", "")
		return true
	case errors.Is(err, client.ErrAuthentication):
		d.add("problem", "access", "the server does not know the key from "+found.key.source+", or its account was cancelled (401)",
			"copy the key once more, and see that it belongs to this server")
	case errors.Is(err, client.ErrPermissionDenied) && refused.Code() == api.CodeAccountInactive:
		d.add("problem", "access", "the account is disabled (403, code 20012)", "its manager can enable it: tenantry accounts enable ID")
	case errors.Is(err, client.ErrPermissionDenied) && refused.Code() == api.CodeAccountBlocked:
		d.add("problem", "access", "the account, or its manager's, is blocked (403, code 20013)", "only the operator can lift that: ask whoever runs the server")
	case errors.Is(err, client.ErrPermissionDenied):
		d.add("ok", "access", "the server takes the key, which may not see the balance", "")
		return true
	case errors.Is(err, client.ErrNotFound):
		d.add("problem", "access", "there is no such API at the address (404)", "the address has to end in /v2 and to lead to Tenantry or Telnyx")
	case errors.Is(err, client.ErrRateLimited):
		d.add("warning", "access", "the server has enough of our calls for now (429)", fmt.Sprintf("wait %s and run doctor again", max(refused.RetryAfter, time.Second)))
	case errors.Is(err, client.ErrServer):
		d.add("problem", "access", err.Error(), "look into the server's log for the request id")
	default:
		d.add("problem", "access", err.Error(), "the address may lead to something else than Tenantry or Telnyx")
	}
	return false
}

// examineHealth asks for what only Tenantry has, beside the API.
func (x *Doctor) examineHealth(ctx context.Context, d *diagnosis, base string) {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	request, err := http.NewRequestWithContext(ctx, "GET", strings.TrimSuffix(strings.TrimRight(base, "/"), "/v2")+"/readyz", nil)
	if err != nil {
		return
	}
	request.Header.Set("User-Agent", "tenantry-cli")
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		d.add("warning", "server", "it answers calls but not /readyz: "+err.Error(), "")
		return
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(response.Body, 4096))
	switch {
	case response.StatusCode == http.StatusOK && strings.Contains(string(text), `"status":"ok"`):
		d.add("ok", "server", "Tenantry, ready to read and write", "")
	case response.StatusCode == http.StatusServiceUnavailable:
		d.add("problem", "server", "it runs but cannot write its database (/readyz says 503)", "look at its disk and its log: it may be full or broken")
	default:
		d.add("ok", "server", fmt.Sprintf("it answers; /readyz says %d, so it is not Tenantry or hides that", response.StatusCode), "")
	}
}

// unreachable says in plain words why nobody answered.
func unreachable(err error, base string) (what, do string) {
	u, _ := url.Parse(base)
	var dns *net.DNSError
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &dns):
		return "there is no host " + u.Hostname(), "check the address, and whether this machine has a name server"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens at " + u.Host, "start the server (tenantry serve), or check host and port"
	case errors.As(err, &authority):
		return "the server's certificate is signed by nobody this machine trusts", "install the authority's certificate, or point SSL_CERT_FILE at it"
	case errors.As(err, &hostname):
		return "the server's certificate is for another name than " + u.Hostname(), "use the name in the certificate, or renew it with this one"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the server's certificate has expired or is not valid yet", "renew it, and check this machine's clock"
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return u.Host + " does not speak TLS", "begin the address with http:// or give the server a certificate"
	case errors.Is(err, client.ErrTimeout):
		return fmt.Sprintf("%s does not answer within %s", u.Host, patience), "check the network, a firewall or proxy on the way (HTTPS_PROXY is " + orNot(os.Getenv("HTTPS_PROXY")) + ")"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), strings.Contains(err.Error(), "server closed idle connection"):
		return u.Host + " closed the connection", "it may want https://, or something on the way cuts it"
	}
	return err.Error(), "check the network and the address"
}

func orNot(s string) string {
	if s == "" {
		return "not set"
	}
	return "set"
}

// observer remembers how this machine's clock stands to the server's.
type observer struct {
	next http.RoundTripper

	mu    sync.Mutex
	known bool
	off   time.Duration
}

func (o *observer) RoundTrip(request *http.Request) (*http.Response, error) {
	began := time.Now()
	response, err := o.next.RoundTrip(request)
	if err != nil {
		return response, err
	}
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		// The date was written somewhere between asking and now, in whole seconds.
		middle := began.Add(time.Since(began) / 2)
		o.known, o.off = true, middle.Sub(date.Add(time.Second/2))
	}
	return response, nil
}

func (o *observer) skew() (time.Duration, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.off, o.known
}
