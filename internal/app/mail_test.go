package app_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/config"
	"github.com/tenantry/tenantry/internal/service"
)

// mailbox is an SMTP server that takes whatever comes, once it is up.
func mailbox(t *testing.T, listener net.Listener, mails chan<- string) {
	t.Helper()
	t.Cleanup(func() { listener.Close() })
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			r := bufio.NewReader(conn)
			answer := "220 mx\r\n"
			for data := (*strings.Builder)(nil); ; {
				io.WriteString(conn, answer)
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				switch {
				case data != nil && line == ".\r\n":
					mails <- data.String()
					data, answer = nil, "250 taken\r\n"
				case data != nil:
					data.WriteString(line)
					answer = ""
				case strings.HasPrefix(line, "DATA"):
					data, answer = &strings.Builder{}, "354 go on\r\n"
				case strings.HasPrefix(line, "QUIT"):
					answer = "221 bye\r\n"
				default:
					answer = "250 mx\r\n"
				}
			}
		}()
	}
}

// TestMail: a mail that was asked for is sent, also by a process that was started
// after the one that was asked has ended.
func TestMail(t *testing.T) { eachEngine(t, testMail) }

func testMail(t *testing.T, e engine) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := app.Defaults()
	if err != nil {
		t.Fatal(err)
	}
	c.Data, c.Database = t.TempDir(), e.database(t)
	c.SMTPURL, c.SMTPFrom, c.SMTPStartTLS, c.PortalURL = "smtp://"+listener.Addr().String(), "Tenantry <tenantry@example.com>", "off", "https://portal.example.com"
	ask := func(a *app.App) {
		t.Helper()
		if err := a.Service.RequestReset(t.Context(), "a@example.com", "", service.Where{}); err != nil {
			t.Fatal(err)
		}
	}
	first, err := app.Open(t.Context(), c, app.Parts{})
	if err != nil {
		t.Fatal(err)
	}
	seed, err := app.ParseSeed([]byte("accounts: [{business_name: A, email: a@example.com}]"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Load(t.Context(), seed); err != nil {
		t.Fatal(err)
	}
	ask(first)
	if err := first.Close(); err != nil { // which never came to send it
		t.Fatal(err)
	}
	mails := make(chan string, 10)
	go mailbox(t, listener, mails)
	serving(t, c, func(*app.App) {
		select {
		case text := <-mails:
			if !strings.Contains(text, "To: <a@example.com>") || !strings.Contains(text, "https://portal.example.com/portal/reset-password?token=3D") {
				t.Errorf("the mail: %s", text)
			}
		case <-time.After(30 * time.Second):
			t.Error("no mail has come")
		}
	})
}

// serving serves while fn runs.
func serving(t *testing.T, c config.Config, fn func(*app.App)) {
	t.Helper()
	a, err := app.Open(t.Context(), c, app.Parts{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Serve(ctx, listener) }()
	fn(a)
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestMailSettings: what cannot send mail does not start, and does not tell the
// password.
func TestMailSettings(t *testing.T) {
	for _, configure := range []func(*config.Config){
		func(c *config.Config) { c.SMTPURL = "mx.example.com" }, func(c *config.Config) { c.SMTPFrom = "nobody" },
		func(c *config.Config) { c.SMTPFrom = "" }, func(c *config.Config) { c.PortalURL = "" },
	} {
		err := open(t, t.TempDir(), func(c *config.Config) {
			c.SMTPURL, c.SMTPFrom, c.PortalURL = "smtp://u:hidden@mx.example.com", "a@example.com", "https://portal.example.com"
			configure(c)
		}, "")
		if err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%v", err)
		}
	}
}
