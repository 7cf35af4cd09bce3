package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/tenantry/tenantry/internal/config"
)

// ServeCommand is "tenantry serve".
type ServeCommand struct {
	config.Config
	File kong.ConfigFlag `name:"config" env:"TENANTRY_CONFIG" placeholder:"FILE" help:"Read settings from a YAML file."`
}

// Help shows an example.
func (ServeCommand) Help() string {
	return `Examples:
  tenantry serve
  tenantry serve --listen :8077 --data /var/lib/tenantry
  TENANTRY_RATE_LIMIT=-1 tenantry serve --config /etc/tenantry.yaml`
}

// Run serves until the process is told to stop.
func (s *ServeCommand) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal stops at once
	logger := NewLogger(s.Config, os.Stderr)
	slog.SetDefault(logger)
	a, err := Open(ctx, s.Config, Parts{Logger: logger})
	if err != nil {
		return err
	}
	defer a.Close()
	listener, err := net.Listen("tcp", s.Listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", s.Listen, err)
	}
	about := []any{"url", baseURL(s.Config, listener) + "/v2", "operator", baseURL(s.Config, listener) + "/operator/v1", "data", s.Data}
	if url := a.AdmissionURL(); url != "" {
		about = append(about, "admission", url)
	}
	if url := a.MetricsURL(); url != "" {
		about = append(about, "metrics", url)
	}
	logger.Info("tenantry serves", about...)
	if err := a.Serve(ctx, listener); err != nil {
		return err
	}
	return a.Close()
}

func baseURL(c config.Config, listener net.Listener) string {
	scheme := "http"
	if c.TLSCert != "" {
		scheme = "https"
	}
	host, port, _ := net.SplitHostPort(listener.Addr().String())
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// Defaults is the configuration of who configures nothing but the environment.
func Defaults() (config.Config, error) {
	var s ServeCommand
	parser, err := kong.New(&s)
	if err == nil {
		_, err = parser.Parse(nil)
	}
	return s.Config, err
}
