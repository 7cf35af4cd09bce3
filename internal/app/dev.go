package app

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/tenantry/tenantry/internal/config"
	"github.com/tenantry/tenantry/internal/service"
)

//go:embed dev.yaml
var devSeed []byte

// DevCommand is "tenantry dev".
type DevCommand struct {
	Listen     string  `default:"" placeholder:"ADDRESS" env:"TENANTRY_LISTEN" help:"Address to listen on; default 127.0.0.1:8077, or a free port when that is taken."`
	Seed       string  `type:"existingfile" placeholder:"FILE" help:"Start with the accounts of a YAML file instead of the usual ones."`
	JSON       bool    `name:"json" help:"Print one line of JSON once ready, and nothing else."`
	RateLimit  float64 `default:"-1" help:"Requests a second one key may make on average; -1 for no limit."`
	RateBurst  int     `default:"1000" help:"Requests one key may make at once."`
	Services   string  `type:"existingfile" placeholder:"FILE" help:"YAML file with services of yours that are put behind the API."`
	WebhookURL string  `name:"webhook-url" placeholder:"URL" help:"Where events are sent."`
}

// Help shows an example.
func (DevCommand) Help() string {
	return `A fresh stand-in with an approved manager, made anew at each start and gone at
the end. Examples:
  tenantry dev
  tenantry dev --json --listen 127.0.0.1:0
  tenantry dev --seed accounts.yaml
  tenantry dev --services services.yaml`
}

// DevInfo is the line that "dev --json" prints.
type DevInfo struct {
	BaseURL         string `json:"base_url"`
	ManagerKey      string `json:"manager_key"`
	ManagerID       string `json:"manager_id"`
	ManagerEmail    string `json:"manager_email"`
	OrganizationKey string `json:"organization_key"`
	OperatorURL     string `json:"operator_url"`
	OperatorToken   string `json:"operator_token"`
	PortalURL       string `json:"portal_url"`
	MailsURL        string `json:"mails_url"`
}

// Run serves until the process is told to stop.
func (d *DevCommand) Run() error {
	// A closed terminal hangs up: then, too, nothing is left behind.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	return d.run(ctx, os.Stdout)
}

func (d *DevCommand) run(ctx context.Context, out io.Writer) error {
	text := devSeed
	if d.Seed != "" {
		var err error
		if text, err = os.ReadFile(d.Seed); err != nil {
			return err
		}
	}
	seed, err := ParseSeed(text)
	if err != nil {
		return fmt.Errorf("seed %s: %w", d.Seed, err)
	}
	if len(seed.Accounts) == 0 {
		return fmt.Errorf("seed %s: there are no accounts in it", d.Seed)
	}
	folder, err := os.MkdirTemp("", "tenantry-dev-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	c, err := Defaults()
	if err != nil {
		return err
	}
	c.Data, c.RateLimit, c.RateBurst, c.LogLevel = folder, d.RateLimit, d.RateBurst, "warn"
	c.DrainTime = min(c.DrainTime, time.Second)
	c.MetricsListen, c.AdmissionListen = "", ""      // what is set for a server on this machine is taken already
	c.MessageGateway, c.MessageGatewayToken = "", "" // nobody means real messages here
	c.Database = ""                                  // and its data is no place for keys that everybody knows
	c.Services = d.Services                          // not those that are set for a server
	c.WebhookURL, c.WebhookFailoverURL = d.WebhookURL, ""
	c.Listen = cmp.Or(c.Listen, "127.0.0.1:8077")
	logger := NewLogger(c, os.Stderr)
	slog.SetDefault(logger)
	// First of all: the links in mails lead there.
	listener, err := d.listen(c)
	if err != nil {
		return err
	}
	defer listener.Close()
	c.SMTPURL, c.SMTPFrom, c.PortalURL = "", "", baseURL(c, listener) // nobody out there is to hear of it
	// Who tries single sign-on here has a sign-in server on this machine.
	c.SSOAllow = append(c.SSOAllow, netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))
	a, err := Open(ctx, c, Parts{Logger: logger, KeepMails: true})
	if err != nil {
		return err
	}
	defer a.Close()
	made, err := a.Load(ctx, seed)
	if err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	if err := d.announce(out, a.devInfo(c, listener, made), seed); err != nil {
		return err
	}
	return a.Serve(ctx, listener)
}

func (d *DevCommand) listen(c config.Config) (net.Listener, error) {
	if d.Listen != "" {
		return net.Listen("tcp", d.Listen)
	}
	if listener, err := net.Listen("tcp", c.Listen); err == nil {
		return listener, nil
	}
	return net.Listen("tcp", "127.0.0.1:0")
}

// devInfo names the first manager, and the first root account that is none, or
// else the manager again.
func (a *App) devInfo(c config.Config, listener net.Listener, made []service.Account) DevInfo {
	base := baseURL(c, listener)
	info := DevInfo{BaseURL: base + "/v2", OperatorURL: base + "/operator/v1", OperatorToken: a.OperatorToken, PortalURL: base + "/portal/", MailsURL: base + "/portal/mails"}
	for _, account := range made {
		if account.ManagerID != "" {
			continue
		}
		full, err := a.Service.AnyAccount(context.Background(), account.ID)
		switch {
		case err != nil:
		case full.Manager != nil && info.ManagerID == "":
			info.ManagerKey, info.ManagerID, info.ManagerEmail = account.Key, account.ID, account.Email
		case full.Manager == nil && info.OrganizationKey == "":
			info.OrganizationKey = account.Key
		}
	}
	if info.OrganizationKey == "" {
		info.OrganizationKey = info.ManagerKey
	}
	return info
}

func (d *DevCommand) announce(out io.Writer, info DevInfo, seed *Seed) error {
	if d.JSON {
		return json.NewEncoder(out).Encode(info)
	}
	password := "once a password was set by a mail"
	for _, account := range seed.Accounts {
		if account.Email != nil && *account.Email == info.ManagerEmail && account.Password != nil {
			password = *account.Password
		}
	}
	_, err := fmt.Fprint(out, strings.NewReplacer(
		"{base}", info.BaseURL, "{key}", info.ManagerKey, "{orgkey}", info.OrganizationKey, "{email}", info.ManagerEmail, "{password}", password,
		"{portal}", info.PortalURL, "{operator}", info.OperatorURL, "{token}", info.OperatorToken,
	).Replace(devText))
	return err
}

const devText = `Tenantry is ready. Everything in it is gone when it stops (Ctrl-C).

  Base URL          {base}
  Manager           {email}
  Manager key       {key}
  Organization key  {orgkey}
  Operator API      {operator}
  Operator token    {token}
  Portal            {portal}
  Sign in with      {email}, {password}
  Operator's pages  {portal}operator
  Mails             {portal}mails

  export TELNYX_BASE_URL={base} TELNYX_API_KEY={key}

curl    curl -H "Authorization: Bearer $TELNYX_API_KEY" $TELNYX_BASE_URL/managed_accounts
Ruby    require "telnyx"; Telnyx::Client.new.managed_accounts.list.auto_paging_each { puts _1.email }
Go      client := telnyx.NewClient(); page, err := client.ManagedAccounts.List(ctx, telnyx.ManagedAccountListParams{})
Node    const client = new Telnyx(); for await (const a of client.managedAccounts.list()) console.log(a.email)
Python  from telnyx import Telnyx; [print(a.email) for a in Telnyx().managed_accounts.list()]
`
