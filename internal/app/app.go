// Package app wires the parts together and runs them: it is the only package
// that sees them all, and what the tests start too.
package app

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/trace"

	"github.com/tenantry/tenantry/internal/admission"
	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/carrier"
	"github.com/tenantry/tenantry/internal/config"
	"github.com/tenantry/tenantry/internal/httpapi"
	"github.com/tenantry/tenantry/internal/mail"
	"github.com/tenantry/tenantry/internal/portal"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/signon"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
	"github.com/tenantry/tenantry/internal/webhook"
)

// App is a server that is wired and not yet listening.
type App struct {
	Config  config.Config
	DB      *store.DB
	Sealer  *auth.Sealer
	Service *service.Service
	// Authenticator tells who holds a key or a session.
	Authenticator *auth.Authenticator
	Handler       http.Handler
	// Mails are those that nobody sends, when Parts said so; else nil.
	Mails *mail.Memory
	// OperatorToken is the secret of the operator API, AdmissionToken that of switches.
	OperatorToken, AdmissionToken string

	// switches answers the admission API on its own listener; both are nil when
	// Handler does.
	switches         http.Handler
	switchesListener net.Listener

	sender   mail.Sender // nil when no mail is sent
	messages *carrier.Dispatcher
	// webhook sends events; nil when there is nowhere to send them.
	webhook *webhook.Sender

	log     *slog.Logger
	metrics *metrics       // nil when nobody is to see them
	traces  tracerProvider // nil when there are none
}

// tracerProvider is what the OpenTelemetry SDK makes, if it was built in.
type tracerProvider interface {
	trace.TracerProvider
	// Shutdown sends the spans that are left, for as long as ctx lasts.
	Shutdown(ctx context.Context) error
}

// Parts replaces the real world for tests; the zero value is the real one.
type Parts struct {
	Source *tenant.Source
	Logger *slog.Logger
	// Batch is store.Options.Batch.
	Batch int
	// AdmissionWait is admission.Options.Wait: tests are patient with a crowded machine.
	AdmissionWait time.Duration
	// KeepMails keeps mails in memory, to be looked at, when no server takes them.
	KeepMails bool
}

// Open makes the data folder and its secrets where they are missing, opens the
// database and wires everything. Metrics have their address from here on, and are
// answered by Serve.
func Open(ctx context.Context, c config.Config, parts Parts) (_ *App, err error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	if parts.Source == nil {
		parts.Source = tenant.NewSource(nil, nil)
	}
	if parts.Logger == nil {
		parts.Logger = slog.Default()
	}
	a := &App{Config: c, log: parts.Logger}
	defer func() {
		if err != nil {
			a.Close()
		}
	}()
	if c.MetricsListen != "" {
		if a.metrics, err = newMetrics(c.MetricsListen); err != nil {
			return nil, err
		}
	}
	if c.Traces == "otlp" {
		if a.traces, err = newTraces(ctx, a.log); err != nil {
			return nil, err
		}
	}
	// A node that is told everything keeps nothing of its own.
	keeps := c.Database == "" || c.MasterKey == "" || c.OperatorToken == ""
	if keeps {
		if err := os.MkdirAll(c.Data, 0o700); err != nil {
			return nil, fmt.Errorf("make the data folder: %w", err)
		}
	}
	// The database comes first: its lock keeps a second process from the secrets.
	var committed func(writes int, took time.Duration)
	if a.metrics != nil {
		committed = a.metrics.committed
	}
	a.DB, err = store.Open(ctx, c.DatabaseAddress(), store.Options{
		Source: parts.Source, Logger: parts.Logger, Batch: parts.Batch, Committed: committed,
	})
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	master, err := a.masterKey(ctx, parts.Source)
	if err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	if a.Sealer, err = auth.NewSealer(master, parts.Source); err != nil {
		return nil, err
	}
	if err := a.checkMasterKey(ctx); err != nil {
		return nil, err
	}
	if a.OperatorToken, err = a.token(c.OperatorToken, "operator", parts.Source); err != nil {
		return nil, err
	}
	// Without a folder and a token of theirs, switches show the operator's.
	if keeps || c.AdmissionToken != "" {
		if a.AdmissionToken, err = a.token(c.AdmissionToken, "admission", parts.Source); err != nil {
			return nil, err
		}
	}
	portalURL, err := a.mail(parts.KeepMails)
	if err != nil {
		return nil, err
	}
	a.Service = service.New(a.DB, a.Sealer, auth.NewPasswords(c.PasswordMinLength), service.Options{
		DefaultChannels: c.DefaultChannels, Currency: c.Currency, KeepAnswers: c.KeepAnswers,
		SessionLife: c.SessionLife, PortalURL: portalURL, DirectoryBytes: c.DirectoryMemory << 20, KeepMessages: c.MessageKeep,
		OperatorToken: a.OperatorToken,
	})
	a.messages = carrier.NewDispatcher(a.DB, a.carrier(), a.log)
	options := httpapi.Options{
		Rate: c.RateLimit, Burst: c.RateBurst, MaxBody: c.MaxBody, TrustedProxies: c.TrustedProxies, Logger: parts.Logger,
		Messages: a.messages,
	}
	if a.traces != nil {
		options.Tracer = a.traces.Tracer("github.com/tenantry/tenantry")
	}
	if a.metrics != nil {
		options.Observer = a.metrics
	}
	if err := a.admission(&options, parts.AdmissionWait); err != nil {
		return nil, err
	}
	if err := a.services(&options); err != nil {
		return nil, err
	}
	if err := a.sendEvents(ctx, &options, parts); err != nil {
		return nil, err
	}
	authenticator := auth.NewAuthenticator(a.DB, a.Sealer, a.OperatorToken)
	a.Authenticator = authenticator
	if a.AdmissionToken != "" {
		authenticator.AdmitSwitches(a.AdmissionToken)
	}
	server := httpapi.New(a.DB, a.Service, authenticator, options)
	a.Handler = server
	if c.Portal == "on" {
		if err := a.portal(server, options.Observer); err != nil {
			return nil, err
		}
	}
	if options.AdmissionApart {
		a.switches = server.Admission()
		if a.switchesListener, err = net.Listen("tcp", c.AdmissionListen); err != nil {
			return nil, fmt.Errorf("listen on %s: %w", c.AdmissionListen, err)
		}
	}
	if a.metrics != nil {
		a.metrics.watch(a.DB)
		a.Handler = promhttp.InstrumentHandlerInFlight(a.metrics.inFlight, a.Handler)
	}
	return a, nil
}

// token is the one that was given, or the one in the data folder.
func (a *App) token(given, name string, source *tenant.Source) (string, error) {
	if given != "" {
		return given, nil
	}
	token, err := auth.LoadSecret(filepath.Join(a.Config.Data, name+".token"), 32, source)
	if err != nil {
		return "", fmt.Errorf("%s token: %w", name, err)
	}
	return base64.StdEncoding.EncodeToString(token), nil
}

// mail sets who sends mails, and returns what their links begin with, "" when none
// are sent.
func (a *App) mail(keep bool) (string, error) {
	c := &a.Config
	switch {
	case c.SMTPURL != "":
		sender, err := mail.NewSMTP(mail.SMTPOptions{URL: c.SMTPURL, From: c.SMTPFrom, StartTLS: c.SMTPStartTLS})
		if err != nil {
			return "", err
		}
		a.sender = sender
	case keep:
		a.Mails = &mail.Memory{}
		a.sender = a.Mails
	default:
		return "", nil
	}
	return c.PortalURL, nil
}

// carrier is who gets the messages.
func (a *App) carrier() carrier.Carrier {
	if a.Config.MessageGateway == "" {
		return carrier.Sandbox{}
	}
	return carrier.NewGateway(a.Config.MessageGateway, a.Config.MessageGatewayToken, a.log)
}

// admission sets what decides, and how that is put.
func (a *App) admission(options *httpapi.Options, wait time.Duration) error {
	c := &a.Config
	failure, err := admission.ReadFailure(c.AdmissionFailure)
	if err != nil {
		return fmt.Errorf("admission-failure: %w", err)
	}
	if c.AdmissionReasons != "" {
		text, err := os.ReadFile(c.AdmissionReasons)
		if err != nil {
			return fmt.Errorf("admission-reasons: %w", err)
		}
		if options.Reasons, err = admission.ReadTable(text); err != nil {
			return fmt.Errorf("admission-reasons: %s: %w", c.AdmissionReasons, err)
		}
	}
	rates, err := admission.ReadRates(c.AdmissionRates)
	if err != nil {
		return fmt.Errorf("admission-rates: %w", err)
	}
	options.Admission = admission.New(a.DB, admission.Options{
		LeaseLife: c.LeaseLife, Grace: c.LeaseGrace, Failure: failure, MaxAge: c.AdmissionMaxAge, Pace: httpapi.Pace(a.DB, rates), Wait: wait,
	})
	options.AdmissionApart = c.AdmissionListen != ""
	return nil
}

// services reads what the gateway puts behind the API.
func (a *App) services(options *httpapi.Options) error {
	if a.Config.Services == "" {
		return nil
	}
	text, err := os.ReadFile(a.Config.Services)
	if err != nil {
		return fmt.Errorf("services: %w", err)
	}
	if options.Services, err = httpapi.ReadServices(text, os.LookupEnv); err != nil {
		return fmt.Errorf("services: %s: %w", a.Config.Services, err)
	}
	return nil
}

// masterKey is the one that was given, or the file's. A file is made only for a
// database that nothing is sealed in yet: any other needs the key it was made with.
func (a *App) masterKey(ctx context.Context, source *tenant.Source) ([]byte, error) {
	if a.Config.MasterKey != "" {
		return auth.ParseSecret(a.Config.MasterKey, auth.MasterKeySize)
	}
	path := filepath.Join(a.Config.Data, "master.key")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		var digest string
		if err := a.DB.View(ctx, func(tx *store.Tx) (err error) {
			digest, err = tx.Agreed("master_key")
			return err
		}); err != nil {
			return nil, err
		}
		if digest != "" {
			return nil, fmt.Errorf("%s is missing: restore it, or set TENANTRY_MASTER_KEY; all nodes on one database need the same", path)
		}
	}
	return auth.LoadSecret(path, auth.MasterKeySize, source)
}

// checkMasterKey refuses to start with another key than the one that seals what
// is stored: every key would seem wrong. The first to start settles which it is.
func (a *App) checkMasterKey(ctx context.Context) error {
	digest := a.Sealer.Digest("tenantry")
	return a.DB.Update(ctx, "", func(tx *store.Tx) error {
		agreed, err := tx.Agree("master_key", digest)
		if err == nil && agreed != digest {
			err = errors.New("the master key is not the one that this database was made with")
		}
		return err
	})
}

// MetricsURL is where the metrics are, "" when they are nowhere.
func (a *App) MetricsURL() string {
	if a.metrics == nil {
		return ""
	}
	return "http://" + a.metrics.listener.Addr().String() + "/metrics"
}

// Close stops the database, and what else Open began.
func (a *App) Close() error {
	if a.metrics != nil {
		a.metrics.listener.Close()
	}
	if a.switchesListener != nil {
		a.switchesListener.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), a.Config.DrainTime)
	defer cancel()
	a.stopTraces(ctx)
	if a.DB == nil {
		return nil
	}
	return a.DB.Close()
}

// stopTraces sends what is left of them; the second time it does nothing.
func (a *App) stopTraces(ctx context.Context) {
	if a.traces == nil {
		return
	}
	if err := a.traces.Shutdown(ctx); err != nil {
		a.log.Warn("the last traces were not sent", "error", err)
	}
}

// Serve answers on the listener until ctx ends, then lets the requests under way
// finish and the last traces go, for as long as Config.DrainTime. The listener is
// closed.
func (a *App) Serve(ctx context.Context, listener net.Listener) (err error) {
	if os.Getenv("GOGC") == "" {
		// Most of what lives is a few MiB of caches: collecting half as often costs
		// little memory and gives each request some 4 % of processor back.
		debug.SetGCPercent(200)
	}
	server := a.server(a.Handler)
	var config *tls.Config
	if a.Config.TLSCert != "" {
		certificate, err := tls.LoadX509KeyPair(a.Config.TLSCert, a.Config.TLSKey)
		if err != nil {
			return fmt.Errorf("certificate: %w", err)
		}
		config = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	}
	background, stop := context.WithCancel(context.Background())
	var messages sync.WaitGroup
	messages.Go(func() { a.messages.Run(background) })
	defer messages.Wait() // what is being handed over is written down
	defer stop()
	go a.Service.Prune(background)
	go a.Authenticator.KeepUses(background)
	if a.sender != nil {
		go a.Service.KeepMail(background, a.sender, a.log)
	}
	if a.webhook != nil {
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			a.webhook.Run(background)
		}()
		// After the last request, so that what it changed is sent, too, or left in order.
		defer func() {
			stop()
			<-sent
		}()
	}

	if a.metrics != nil {
		defer a.metrics.serve(a.log).Close()
	}
	failed := make(chan error, 2)
	serve := func(s *http.Server, l net.Listener) {
		if config != nil {
			l = tls.NewListener(l, config)
		}
		go func() { failed <- s.Serve(l) }()
	}
	serve(server, listener)
	servers := []*http.Server{server}
	if a.switches != nil {
		servers = append(servers, a.server(a.switches))
		serve(servers[1], a.switchesListener)
	}
	select {
	case err := <-failed:
		for _, s := range servers {
			s.Close()
		}
		return err
	case <-ctx.Done():
	}
	a.log.Info("stopping: letting requests finish", "at most", a.Config.DrainTime)
	drain, cancel := context.WithTimeout(context.Background(), a.Config.DrainTime)
	defer cancel()
	defer a.stopTraces(drain)
	// Each stops listening at once.
	ended := make(chan error, len(servers))
	for _, s := range servers {
		go func() { ended <- s.Shutdown(drain) }()
	}
	for range servers {
		if e := <-ended; e != nil {
			err = e
		}
	}
	if err != nil {
		for _, s := range servers {
			s.Close()
		}
		return fmt.Errorf("some requests did not finish in %s: %w", a.Config.DrainTime, err)
	}
	return nil
}

// server is one with our limits.
func (a *App) server(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		// No ReadTimeout or WriteTimeout: they would go on while an answer is made and
		// end a long one. httpapi sets deadlines for bodies and for answers.
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 64 << 10,
		ErrorLog:       slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
}

// portal puts the pages for people beside the API.
func (a *App) portal(server *httpapi.Server, observer httpapi.Observer) error {
	c := &a.Config
	options := portal.Options{
		URL: c.PortalURL, Mails: a.Mails, Address: server.Address, NewRequestID: server.NewRequestID, Allow: server.Allow, Status: httpapi.Status, Logger: a.log,
		Issuers: signon.New(signon.Options{Allowed: c.SSOAllow, Source: a.DB.Source(), Logger: a.log}),
	}
	if observer != nil {
		options.Observe = observer.Operation
	}
	pages, err := portal.New(a.DB, a.Service, a.Authenticator, a.Sealer, options)
	if err != nil {
		return fmt.Errorf("portal: %w", err)
	}
	a.Handler = beside(pages, server)
	return nil
}

// beside sends who looks for pages to the portal, and all else to the API, whose own
// sessions are below the same path.
func beside(pages, api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/portal/session":
		case strings.HasPrefix(r.URL.Path, portal.Prefix), r.URL.Path == "/portal",
			r.URL.Path == "/" && strings.Contains(r.Header.Get("Accept"), "text/html"):
			pages.ServeHTTP(w, r)
			return
		}
		api.ServeHTTP(w, r)
	})
}

// AdmissionURL is where the admission API is, when it has a listener of its own, else "".
func (a *App) AdmissionURL() string {
	if a.switchesListener == nil {
		return ""
	}
	return baseURL(a.Config, a.switchesListener) + "/admission/v1"
}

// NewLogger logs to w as the configuration says.
func NewLogger(c config.Config, w io.Writer) *slog.Logger {
	var level slog.Level
	level.UnmarshalText([]byte(strings.ToUpper(c.LogLevel))) // Check has seen it
	options := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
