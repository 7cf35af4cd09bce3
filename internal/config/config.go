// Package config is what an operator may set: by flag, environment variable or
// file, in that order of precedence. The zero configuration works.
package config

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// Config is the server's configuration. The tags name flag, environment
// variable, default and help; the file uses the flag's name with underscores.
type Config struct {
	Listen string `default:"127.0.0.1:8077" env:"TENANTRY_LISTEN" help:"Address to listen on, host:port."`
	Data   string `default:"tenantry-data" env:"TENANTRY_DATA" type:"path" help:"Folder for the database and the secrets; made on first start."`

	Database string `env:"TENANTRY_DATABASE" placeholder:"ADDRESS" help:"Database: postgres://user:password@host/name, or sqlite:FILE; default: the file tenantry.db in the data folder."`

	MasterKey     string `env:"TENANTRY_MASTER_KEY" help:"Master key, 32 bytes in base64; default: the file master.key in the data folder."`
	OperatorToken string `env:"TENANTRY_OPERATOR_TOKEN" help:"Token of the operator API; default: the file operator.token in the data folder."`

	TLSCert string `env:"TENANTRY_TLS_CERT" type:"path" help:"Certificate file (PEM); with --tls-key, serve HTTPS."`
	TLSKey  string `env:"TENANTRY_TLS_KEY" type:"path" help:"Key file of the certificate (PEM)."`

	RateLimit float64 `default:"100" env:"TENANTRY_RATE_LIMIT" help:"Requests a second one key may make on average; -1 for no limit."`
	RateBurst int     `default:"1000" env:"TENANTRY_RATE_BURST" help:"Requests one key may make at once."`
	MaxBody   int64   `default:"65536" env:"TENANTRY_MAX_BODY" help:"Largest request body, in bytes."`

	TrustedProxies []netip.Prefix `name:"trusted-proxy" env:"TENANTRY_TRUSTED_PROXY" placeholder:"CIDR" help:"Proxies whose X-Forwarded-For tells the client's address; may be repeated."`
	SSOAllow       []netip.Prefix `name:"sso-allow" env:"TENANTRY_SSO_ALLOW" placeholder:"CIDR" help:"Networks that sign-in servers of organizations may be in, beside the public Internet; may be repeated."`

	DefaultChannels   int64         `default:"2" env:"TENANTRY_DEFAULT_CHANNELS" help:"Outbound channels of a new managed account, as far as the pool bears it."`
	PasswordMinLength int           `default:"8" env:"TENANTRY_PASSWORD_MIN_LENGTH" help:"Shortest password taken, in characters."`
	Currency          string        `default:"USD" env:"TENANTRY_CURRENCY" help:"Currency of new accounts, ISO 4217."`
	KeepAnswers       time.Duration `default:"5m" env:"TENANTRY_KEEP_ANSWERS" help:"How long a create that an SDK sends again gets its first answer."`
	SessionLife       time.Duration `default:"12h" env:"TENANTRY_SESSION_LIFE" help:"How long a sign-in lasts."`
	DirectoryMemory   int64         `default:"1024" env:"TENANTRY_DIRECTORY_MEMORY" help:"Memory for the list indexes, in MiB; one million accounts take about 75."`

	AdmissionListen  string        `env:"TENANTRY_ADMISSION_LISTEN" placeholder:"ADDRESS" help:"Address of the admission API, host:port; default: where the other APIs are."`
	AdmissionToken   string        `env:"TENANTRY_ADMISSION_TOKEN" help:"Token of switches and proxies; default: the file admission.token in the data folder."`
	AdmissionReasons string        `env:"TENANTRY_ADMISSION_REASONS" type:"path" placeholder:"FILE" help:"YAML file with the codes and phrases that differ from the usual ones, by reason."`
	AdmissionFailure string        `env:"TENANTRY_ADMISSION_FAILURE" placeholder:"KIND=POLICY,..." help:"What decides when the database cannot be reached: open, closed or last-known for call, message, api, login, register; default: last-known, but closed for api and login."`
	AdmissionMaxAge  time.Duration `default:"10m" env:"TENANTRY_ADMISSION_MAX_AGE" help:"How long last-known goes by what was known."`
	AdmissionRates   string        `env:"TENANTRY_ADMISSION_RATES" placeholder:"KIND=RATE,..." help:"How many a second one account may have on average of call, message, api, login, register, such as call=5; default: no limit."`
	LeaseLife        time.Duration `default:"2h" env:"TENANTRY_LEASE_LIFE" help:"How long a call holds its channels when nobody says that it lives."`
	LeaseGrace       time.Duration `default:"1m" env:"TENANTRY_LEASE_GRACE" help:"How long a call holds its channels that the switch does not name among those that live."`

	Portal              string        `default:"on" enum:"on,off" env:"TENANTRY_PORTAL" help:"Whether people find pages under /portal/: ${enum}."`
	PortalURL           string        `name:"portal-url" env:"TENANTRY_PORTAL_URL" placeholder:"URL" help:"Where people find the portal; links in mails begin with it."`
	SMTPURL             string        `name:"smtp-url" env:"TENANTRY_SMTP_URL" placeholder:"URL" help:"Server that takes mails, smtp://user:password@host:port or smtps://…; default: no mail is sent."`
	SMTPFrom            string        `name:"smtp-from" env:"TENANTRY_SMTP_FROM" placeholder:"ADDRESS" help:"Sender of mails, such as Tenantry <tenantry@example.com>."`
	SMTPStartTLS        string        `name:"smtp-starttls" default:"required" enum:"required,opportunistic,off" env:"TENANTRY_SMTP_STARTTLS" help:"Whether mail goes by TLS where the URL is smtp: ${enum}."`
	Services            string        `env:"TENANTRY_SERVICES" type:"path" placeholder:"FILE" help:"YAML file with services of yours that are put behind the API."`
	MessageGateway      string        `env:"TENANTRY_MESSAGE_GATEWAY" placeholder:"URL" help:"HTTP server that messages are handed over to; default: a sandbox that delivers nothing."`
	MessageGatewayToken string        `env:"TENANTRY_MESSAGE_GATEWAY_TOKEN" help:"Bearer token that the message gateway is shown."`
	MessageKeep         time.Duration `default:"72h" env:"TENANTRY_MESSAGE_KEEP" help:"How long a message is remembered."`
	WebhookURL          string        `name:"webhook-url" env:"TENANTRY_WEBHOOK_URL" placeholder:"URL" help:"Where events are sent, signed: http or https; default: nowhere."`
	WebhookFailoverURL  string        `name:"webhook-failover-url" env:"TENANTRY_WEBHOOK_FAILOVER_URL" placeholder:"URL" help:"Where an event is sent when webhook-url does not accept it."`
	WebhookEvents       []string      `env:"TENANTRY_WEBHOOK_EVENTS" placeholder:"EVENT,..." help:"Events that are sent, such as managed_account.disabled, or calls for all that begin with it; default: all."`
	WebhookTimeout      time.Duration `default:"2s" env:"TENANTRY_WEBHOOK_TIMEOUT" help:"How long the receiver may take to answer."`

	DrainTime time.Duration `default:"10s" env:"TENANTRY_DRAIN_TIME" help:"How long a stop waits for requests under way."`
	LogLevel  string        `default:"info" enum:"debug,info,warn,error" env:"TENANTRY_LOG_LEVEL" help:"What is logged: ${enum}."`
	LogFormat string        `default:"text" enum:"text,json" env:"TENANTRY_LOG_FORMAT" help:"How it is logged: ${enum}."`

	MetricsListen string `env:"TENANTRY_METRICS_LISTEN" placeholder:"ADDRESS" help:"Address of GET /metrics, which asks for no credentials, host:port, such as 127.0.0.1:9077; default: no metrics."`
	Traces        string `default:"off" enum:"off,otlp" env:"TENANTRY_TRACES" help:"Where traces go: ${enum}; otlp reads the OTEL_ variables, and needs a program built with -tags otlp."`
}

// DatabaseAddress is where the database is: what was set, or the file in the data
// folder.
func (c *Config) DatabaseAddress() string {
	if c.Database != "" {
		return c.Database
	}
	return filepath.Join(c.Data, "tenantry.db")
}

// DatabaseName is an address without the secrets in it, to be shown.
func DatabaseName(address string) string {
	if u, err := url.Parse(address); err == nil && strings.HasPrefix(u.Scheme, "postgres") {
		hosts := u.Host
		if hosts == "" {
			hosts = u.Query().Get("host")
		}
		return u.Scheme + "://" + hosts + u.Path
	}
	return strings.TrimPrefix(address, "sqlite:")
}

// CheckDatabase refuses an address that no engine has. It does not repeat the
// address: there may be a password in it.
func CheckDatabase(address string) error {
	for _, scheme := range []string{"postgres://", "postgresql://", "sqlite:"} {
		if rest, ok := strings.CutPrefix(address, scheme); ok && rest != "" {
			return nil
		}
	}
	return fmt.Errorf("database must be postgres://USER:PASSWORD@HOST/NAME or sqlite:FILE")
}

// Check refuses what cannot work, and says which setting it is.
func (c *Config) Check() error {
	if c.Database != "" {
		if err := CheckDatabase(c.Database); err != nil {
			return err
		}
	}
	switch {
	case !hostPort(c.Listen):
		return fmt.Errorf("listen must be host:port, such as 127.0.0.1:8077 or :8077, not %q", c.Listen)
	case c.MetricsListen != "" && !hostPort(c.MetricsListen):
		return fmt.Errorf("metrics-listen must be host:port, such as 127.0.0.1:9077, not %q", c.MetricsListen)
	case c.AdmissionListen != "" && !hostPort(c.AdmissionListen):
		return fmt.Errorf("admission-listen must be host:port, such as 127.0.0.1:8078, not %q", c.AdmissionListen)
	case c.AdmissionToken != "" && len(c.AdmissionToken) < 16:
		return fmt.Errorf("admission-token must have at least 16 characters")
	case c.AdmissionMaxAge < time.Second || c.LeaseLife < time.Minute || c.LeaseGrace < time.Second:
		return fmt.Errorf("admission-max-age and lease-grace must be at least 1s and lease-life at least 1m")
	case c.MessageGateway != "" && !webURL(c.MessageGateway):
		// It is not repeated: there may be a password in it.
		return fmt.Errorf("message-gateway must be an http or https URL, such as https://sms.example.com/messages")
	case c.MessageGatewayToken != "" && c.MessageGateway == "":
		return fmt.Errorf("message-gateway-token is nothing without message-gateway")
	case c.MessageKeep < 24*time.Hour || c.MessageKeep > 3650*24*time.Hour:
		return fmt.Errorf("message-keep must be at least 24h, which is how long idempotency keys last, and at most 87600h")
	case c.WebhookURL != "" && !webURL(c.WebhookURL):
		return fmt.Errorf("webhook-url must be an address that begins with http:// or https://")
	case c.WebhookFailoverURL != "" && (c.WebhookURL == "" || !webURL(c.WebhookFailoverURL)):
		return fmt.Errorf("webhook-failover-url must be an address that begins with http:// or https://, beside webhook-url")
	case c.WebhookTimeout < 100*time.Millisecond || c.WebhookTimeout > 30*time.Second:
		return fmt.Errorf("webhook-timeout must be from 100ms to 30s")
	case c.Data == "":
		return fmt.Errorf("data must name a folder")
	case c.OperatorToken != "" && len(c.OperatorToken) < 16:
		return fmt.Errorf("operator-token must have at least 16 characters")
	case c.PortalURL != "" && !bareURL(c.PortalURL):
		return fmt.Errorf("portal-url must be https://HOST, or http://HOST, without a query or a slash at the end, not %q", c.PortalURL)
	case c.SMTPURL != "" && (c.SMTPFrom == "" || c.PortalURL == ""):
		return fmt.Errorf("smtp-url goes with smtp-from and portal-url: one of them is missing")
	case c.DrainTime < 0:
		return fmt.Errorf("drain-time must not be negative")
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return fmt.Errorf("tls-cert and tls-key go together: one of them is missing")
	case !(c.RateLimit >= 0.001 && c.RateLimit <= 1e6 || c.RateLimit == -1):
		return fmt.Errorf("rate-limit must be from 0.001 to 1000000, or -1 for no limit")
	case c.RateBurst < 1 || c.RateBurst > 1e6:
		return fmt.Errorf("rate-burst must be from 1 to 1000000")
	case c.MaxBody < 1<<10 || c.MaxBody > 1<<30:
		return fmt.Errorf("max-body must be from 1024 to %d bytes", 1<<30)
	case c.DefaultChannels < 0:
		return fmt.Errorf("default-channels must be 0 or more")
	case c.PasswordMinLength < 8 || c.PasswordMinLength > 64:
		return fmt.Errorf("password-min-length must be from 8 to 64")
	case len(c.Currency) != 3 || strings.ToUpper(c.Currency) != c.Currency:
		return fmt.Errorf("currency must be an ISO 4217 code such as USD")
	case c.KeepAnswers < time.Second || c.SessionLife < time.Minute:
		return fmt.Errorf("keep-answers must be at least 1s and session-life at least 1m")
	case c.DirectoryMemory < 1 || c.DirectoryMemory > 1<<30:
		return fmt.Errorf("directory-memory must be from 1 to %d MiB", 1<<30)
	}
	return nil
}

// bareURL is one that more can be put behind.
func bareURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == "" &&
		!strings.HasSuffix(text, "/") && !strings.ContainsAny(text, "?#\r\n ")
}

// webURL does not tell what is wrong: there may be a secret in the address.
func webURL(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.Fragment == ""
}

func hostPort(address string) bool {
	_, _, err := net.SplitHostPort(address)
	return err == nil
}

// File reads settings from a YAML file, for kong.Configuration's sake: names are
// those of the flags, with - or _. An environment variable wins over the file,
// a flag over both. A name that no setting has is an error.
func File(r io.Reader) (kong.Resolver, error) {
	path := "configuration"
	if named, ok := r.(interface{ Name() string }); ok {
		path = named.Name()
	}
	raw := map[string]any{}
	if err := yaml.NewDecoder(r).Decode(&raw); err != nil && err != io.EOF {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	settings := map[string]string{}
	for name, value := range raw {
		switch value.(type) {
		case map[string]any, []any, nil:
			return nil, fmt.Errorf("%s: %s must be a single value", path, name)
		}
		settings[strings.ReplaceAll(name, "_", "-")] = fmt.Sprint(value)
	}
	return &file{path, settings}, nil
}

type file struct {
	path     string
	settings map[string]string
}

// Validate refuses a name that is no flag of the program.
func (f *file) Validate(app *kong.Application) error {
	known := map[string]bool{}
	kong.Visit(app, func(node kong.Visitable, next kong.Next) error {
		if flag, ok := node.(*kong.Flag); ok {
			known[flag.Name] = true
		}
		return next(nil)
	})
	for name := range f.settings {
		if !known[name] {
			return fmt.Errorf("%s: there is no setting %s", f.path, name)
		}
	}
	return nil
}

// Resolve is the file's value for a flag that was not given.
func (f *file) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range flag.Envs {
		if _, set := os.LookupEnv(name); set {
			return nil, nil
		}
	}
	if value, ok := f.settings[flag.Name]; ok {
		return value, nil
	}
	return nil, nil
}
