package config

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

func parse(t testing.TB, text string, args ...string) (*Config, error) {
	t.Helper()
	var c Config
	resolver, err := File(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	parser, err := kong.New(&c, kong.Resolvers(resolver), kong.Exit(func(int) { t.Fatal("exit") }))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(args); err != nil {
		return nil, err
	}
	return &c, c.Check()
}

func TestPrecedence(t *testing.T) {
	const text = "listen: 127.0.0.1:1\nrate_limit: 5\nrate-burst: 7\nkeep_answers: 10m\n"
	c, err := parse(t, text)
	if err != nil || c.Listen != "127.0.0.1:1" || c.RateLimit != 5 || c.RateBurst != 7 || c.KeepAnswers != 10*time.Minute || c.MaxBody != 65536 {
		t.Errorf("file: %+v, %v", c, err)
	}
	t.Setenv("TENANTRY_LISTEN", "127.0.0.1:2")
	t.Setenv("TENANTRY_RATE_LIMIT", "6")
	c, err = parse(t, text, "--listen=127.0.0.1:3")
	if err != nil || c.Listen != "127.0.0.1:3" || c.RateLimit != 6 || c.RateBurst != 7 {
		t.Errorf("flag, environment, file: %+v, %v", c, err)
	}
}

func TestFileRefuses(t *testing.T) {
	for text, word := range map[string]string{
		"rate_limt: 5": "rate-limt", "listen: [a]": "listen", "listen: {a: b}": "listen", "listen:": "listen", "- a": "configuration", "rate_limit: much": "much", "a: b: c": "configuration",
		"log_level: loud": "loud", "traces: on": "traces", "keep_answers: 5": "keep-answers",
	} {
		if _, err := parse(t, text); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestCheck(t *testing.T) {
	if c, err := parse(t, ""); err != nil {
		t.Fatalf("the defaults: %+v, %v", c, err)
	}
	for name, edit := range map[string]func(*Config){
		"tls-cert":            func(c *Config) { c.TLSCert = "x" },
		"rate-limit":          func(c *Config) { c.RateLimit = 0 },
		"rate-limit ":         func(c *Config) { c.RateLimit = math.NaN() },
		"rate-limit  ":        func(c *Config) { c.RateLimit = math.Inf(1) },
		"rate-limit   ":       func(c *Config) { c.RateLimit = 1e10 },
		"rate-limit    ":      func(c *Config) { c.RateLimit = 1e-10 },
		"rate-burst":          func(c *Config) { c.RateBurst = 0 },
		"rate-burst ":         func(c *Config) { c.RateBurst = math.MaxInt },
		"metrics-listen":      func(c *Config) { c.MetricsListen = "9077" },
		"max-body":            func(c *Config) { c.MaxBody = 1023 },
		"max-body ":           func(c *Config) { c.MaxBody = math.MaxInt64 },
		"default-channels":    func(c *Config) { c.DefaultChannels = -1 },
		"password-min-length": func(c *Config) { c.PasswordMinLength = 7 },
		"currency":            func(c *Config) { c.Currency = "usd" },
		"keep-answers":        func(c *Config) { c.KeepAnswers = 0 },
		"session-life":        func(c *Config) { c.SessionLife = time.Second },
		"portal-url":          func(c *Config) { c.PortalURL = "example.com" },
		"portal-url ":         func(c *Config) { c.PortalURL = "https://example.com/" },
		"portal-url  ":        func(c *Config) { c.PortalURL = "https://example.com?x" },
		"smtp-url":            func(c *Config) { c.SMTPURL, c.PortalURL = "smtp://mx", "https://example.com" },
		"smtp-url ":           func(c *Config) { c.SMTPURL, c.SMTPFrom = "smtp://mx", "a@example.com" },
		"directory-memory":    func(c *Config) { c.DirectoryMemory = 0 },
		"directory-memory ":   func(c *Config) { c.DirectoryMemory = math.MaxInt64 },
	} {
		c, _ := parse(t, "")
		edit(c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(name)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if c, err := parse(t, "traces: off\nmetrics_listen: :9077"); err != nil || c.Traces != "off" || c.MetricsListen != ":9077" {
		t.Errorf("what is to be seen: %+v, %v", c, err)
	}
	if c, err := parse(t, "sso_allow: 10.1.0.0/16,fd00::/8"); err != nil || len(c.SSOAllow) != 2 || c.SSOAllow[1].String() != "fd00::/8" {
		t.Errorf("networks: %+v, %v", c, err)
	}
	c, _ := parse(t, "rate_limit: -1")
	if err := c.Check(); err != nil {
		t.Errorf("no limit: %v", err)
	}
}

// FuzzFile: a file is taken or refused, and what is taken can be served with.
func FuzzFile(f *testing.F) {
	for _, seed := range []string{
		"", "listen: 127.0.0.1:1\n", "rate_limit: 5\nrate-limit: 6", "rate_limt: 5", "listen: [a]", "&a [*a]", "a: &a b\nlisten: *a", "<<: {listen: x}", "{", "%YAML 9", "\xff", "rate_limit: .nan", "rate_limit: .inf",
		"keep_answers: 5m", "max_body: 0x10000", "listen: !!binary aGk=", "? a\n: b", "currency: EUR\npassword_min_length: 15", "master_key: 1", "1: 2", "null: 1", "listen: 2001-01-01", "---\n---\n", "help: true", "rate_limit: 1e-320",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parse(t, text)
		if err != nil {
			if err.Error() == "" {
				t.Error("a refusal without a reason")
			}
			return
		}
		if !(c.RateLimit < 0 || c.RateLimit > 0) || math.IsInf(c.RateLimit, 1) || c.RateBurst < 1 || c.MaxBody < 1024 || c.DirectoryMemory < 1 || c.DirectoryMemory<<20 < 1 {
			t.Errorf("taken: %+v", c)
		}
	})
}
