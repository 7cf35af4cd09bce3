package mail

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http/httptest"
	netmail "net/mail"
	"strings"
	"sync"
	"testing"
)

// server is an SMTP server that takes mails, as RFC 5321 has it.
type server struct {
	address string
	tls     *tls.Config
	trusted *tls.Config // for clients
	// reply changes the answer to a command, by its first word; "" after DATA's dot.
	reply map[string]string
	// noTLS hides STARTTLS; implicit begins with TLS.
	noTLS, implicit bool
	// breaks ends the connection after a mail was taken.
	breaks bool

	mu    sync.Mutex
	mails []received
}

type received struct {
	from, to, data, user, password string
	secret                         bool // it came by TLS
}

func newServer(t *testing.T, edit func(*server)) *server {
	t.Helper()
	web := httptest.NewTLSServer(nil) // for its certificate, of example.com
	t.Cleanup(web.Close)
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	s := &server{
		tls: &tls.Config{Certificates: web.TLS.Certificates}, reply: map[string]string{},
		trusted: &tls.Config{RootCAs: roots, ServerName: "example.com"},
	}
	if edit != nil {
		edit(s)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().String()
	if s.implicit {
		listener = tls.NewListener(listener, s.tls)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go s.serve(conn)
		}
	}()
	return s
}

func (s *server) serve(conn net.Conn) {
	defer func() { conn.Close() }()
	r := bufio.NewReader(conn)
	m := received{secret: s.implicit}
	answer := func(text string) { io.WriteString(conn, text+"\r\n") }
	answer("220 mx.example.com")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, rest, _ := strings.Cut(line, " ")
		verb = strings.ToUpper(verb)
		if text := s.reply[verb]; text != "" {
			answer(text)
			continue
		}
		switch verb {
		case "EHLO":
			if s.noTLS || m.secret {
				answer("250-mx.example.com\r\n250 AUTH PLAIN")
			} else {
				answer("250-mx.example.com\r\n250-AUTH PLAIN\r\n250 STARTTLS")
			}
		case "STARTTLS":
			answer("220 go on")
			secure := tls.Server(conn, s.tls)
			if secure.Handshake() != nil {
				return
			}
			conn, r, m = secure, bufio.NewReader(secure), received{secret: true}
		case "AUTH":
			text, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(rest, "PLAIN "))
			parts := strings.Split(string(text), "\x00")
			m.user, m.password = parts[1], parts[2]
			answer("235 welcome")
		case "MAIL":
			m.from = rest
			answer("250 ok")
		case "RCPT":
			m.to += rest
			answer("250 ok")
		case "DATA":
			answer("354 go on")
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				m.data += line
			}
			if text := s.reply["."]; text != "" {
				answer(text)
				continue
			}
			s.mu.Lock()
			s.mails = append(s.mails, m)
			s.mu.Unlock()
			answer("250 taken")
			if s.breaks {
				return
			}
		case "QUIT":
			answer("221 bye")
			return
		default:
			answer("250 ok")
		}
	}
}

func (s *server) sender(t *testing.T, scheme, startTLS string) *SMTP {
	t.Helper()
	sender, err := NewSMTP(SMTPOptions{
		URL: scheme + "://tenantry:s%40crit@" + s.address, From: "Tenantry <tenantry@example.com>", StartTLS: startTLS, TLS: s.trusted,
	})
	if err != nil {
		t.Fatal(err)
	}
	return sender
}

var hello = Message{To: "user@example.com", Subject: "Grüße, 日本", Text: "A line\n\nhttps://example.com/x?token=" + strings.Repeat("abc", 30) + "\n.\nafter a dot, ä\n"}

// TestSMTP: the mail arrives as it was written, by TLS, whichever way that begins.
func TestSMTP(t *testing.T) {
	for _, test := range []struct {
		name, scheme, startTLS string
		implicit               bool
	}{
		{"starttls", "smtp", "", false}, {"starttls if there is", "smtp", "opportunistic", false}, {"tls from the start", "smtps", "required", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, func(s *server) { s.implicit = test.implicit })
			if err := s.sender(t, test.scheme, test.startTLS).Send(t.Context(), hello); err != nil {
				t.Fatal(err)
			}
			if len(s.mails) != 1 {
				t.Fatalf("%d mails", len(s.mails))
			}
			m := s.mails[0]
			if !m.secret || m.user != "tenantry" || m.password != "s@crit" || m.from != "FROM:<tenantry@example.com>" || m.to != "TO:<user@example.com>" {
				t.Errorf("the envelope: %+v", m)
			}
			parsed, err := netmail.ReadMessage(strings.NewReader(m.data))
			if err != nil {
				t.Fatal(err)
			}
			subject, _ := new(mime.WordDecoder).DecodeHeader(parsed.Header.Get("Subject"))
			if subject != hello.Subject || parsed.Header.Get("To") != "<user@example.com>" || parsed.Header.Get("Auto-Submitted") != "auto-generated" ||
				parsed.Header.Get("Message-Id") == "" || parsed.Header.Get("Date") == "" {
				t.Errorf("the header: %v", parsed.Header)
			}
			text, err := io.ReadAll(quotedprintable.NewReader(parsed.Body))
			// The server has the dots of lines that begin with one twice.
			if got := strings.ReplaceAll(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n..\n", "\n.\n"); err != nil || strings.TrimSpace(got) != strings.TrimSpace(hello.Text) {
				t.Errorf("the text: %q, %v", got, err)
			}
		})
	}
}

// TestSMTPFaults: a refusal for good is told from one that may pass, and nothing goes
// in the clear.
func TestSMTPFaults(t *testing.T) {
	for _, test := range []struct {
		name      string
		edit      func(*server)
		permanent bool
	}{
		{"no such mailbox", func(s *server) { s.reply["RCPT"] = "550 no such mailbox" }, true},
		{"greylisted", func(s *server) { s.reply["RCPT"] = "451 later" }, false},
		{"mailbox full", func(s *server) { s.reply["RCPT"] = "452 full" }, false},
		{"a server that does not know us", func(s *server) { s.reply["AUTH"] = "535 who are you" }, false},
		{"a sender that it does not take", func(s *server) { s.reply["MAIL"] = "550 not you" }, false},
		{"busy", func(s *server) { s.reply["EHLO"], s.reply["HELO"] = "421 busy", "421 busy" }, false},
		{"what it says", func(s *server) { s.reply["."] = "554 looks like spam" }, true},
		{"not now", func(s *server) { s.reply["."] = "451 disk full" }, false},
		{"no TLS", func(s *server) { s.noTLS = true }, false},
		{"a certificate that nobody knows", func(s *server) { s.trusted.RootCAs = x509.NewCertPool() }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, test.edit)
			err := s.sender(t, "smtp", "").Send(t.Context(), hello)
			if err == nil || IsPermanent(err) != test.permanent {
				t.Errorf("%v, want it permanent: %t", err, test.permanent)
			}
			if err != nil && strings.Contains(err.Error(), "s@crit") {
				t.Errorf("the error has the password in it: %v", err)
			}
			if len(s.mails) > 0 {
				t.Errorf("it was taken: %+v", s.mails)
			}
		})
	}
	s := newServer(t, func(s *server) { s.breaks = true })
	if err := s.sender(t, "smtp", "").Send(t.Context(), hello); err != nil || len(s.mails) != 1 {
		t.Errorf("taken, and then gone: %v, %d mails", err, len(s.mails))
	}
	s = newServer(t, func(s *server) { s.noTLS = true })
	s.sender(t, "smtp", "opportunistic").Send(t.Context(), hello)
	for _, m := range s.mails {
		if m.password != "" {
			t.Error("the password went in the clear")
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := s.sender(t, "smtp", "").Send(ctx, hello); err == nil || IsPermanent(err) {
		t.Errorf("stopped: %v", err)
	}
}

// TestNoInjection: nothing in a message begins another header or another recipient.
func TestNoInjection(t *testing.T) {
	s := newServer(t, nil)
	sender := s.sender(t, "smtp", "")
	for _, m := range []Message{
		{To: "a@example.com\r\nRCPT TO:<b@example.com>", Subject: "s"}, {To: "a@example.com, b@example.com", Subject: "s"},
		{To: "<a@example.com>", Subject: "s"}, {To: "a@example.com b@example.com", Subject: "s"}, {To: "", Subject: "s"},
		{To: "a@example.com", Subject: "s\r\nBcc: b@example.com"}, {To: "a@example.com", Subject: "s\nX: y"}, {To: "a@example.com", Subject: ""},
		{To: "a@example.com", Subject: "s\x00"}, {To: "nobody", Subject: "s"},
	} {
		for name, sender := range map[string]Sender{"smtp": sender, "memory": &Memory{}} {
			if err := sender.Send(t.Context(), m); name == "smtp" && !IsPermanent(err) || name == "memory" && !IsPermanent(err) && m.To != "nobody" {
				t.Errorf("%s: %q: %v", name, m, err)
			}
		}
	}
	if len(s.mails) > 0 {
		t.Errorf("sent: %+v", s.mails)
	}
	hostile := Message{To: "a@example.com", Subject: "=?utf-8?q?x=0d=0aBcc:_b@example.com?=", Text: "\r\n.\r\nMAIL FROM:<x@example.com>\r\nBcc: b@example.com\r\n"}
	if err := sender.Send(t.Context(), hostile); err != nil || len(s.mails) != 1 {
		t.Fatalf("%v, %d mails", err, len(s.mails))
	}
	parsed, err := netmail.ReadMessage(strings.NewReader(s.mails[0].data))
	if err != nil || parsed.Header.Get("Bcc") != "" || strings.Contains(s.mails[0].to, "b@") {
		t.Errorf("%v, %+v", err, s.mails[0])
	}
}

func TestSMTPSettings(t *testing.T) {
	for _, o := range []SMTPOptions{
		{URL: "", From: "a@example.com"}, {URL: "http://mx", From: "a@example.com"}, {URL: "smtp://", From: "a@example.com"},
		{URL: "smtp://u:hidden@mx:port", From: "a@example.com"}, {URL: "smtp://mx:70000", From: "a@example.com"},
		{URL: "smtp://u:hidden@mx/path", From: "a@example.com"}, {URL: "smtp://mx", From: ""}, {URL: "smtp://mx", From: "nobody"},
		{URL: "smtp://u:hidden@mx", From: "a@example.com", StartTLS: "maybe"},
	} {
		if _, err := NewSMTP(o); err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if _, err := NewSMTP(SMTPOptions{URL: "smtps://mx", From: "a@example.com"}); err != nil {
		t.Error(err)
	}
}

func TestMemory(t *testing.T) {
	var k Memory
	for i := range 150 {
		if err := k.Send(t.Context(), Message{To: "a@example.com", Subject: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if mails := k.Mails(); len(mails) != 100 || mails[0].Subject != "149" || mails[99].Subject != "50" {
		t.Errorf("%d mails", len(mails))
	}
	if IsPermanent(errors.New("x")) || !IsPermanent(fmt.Errorf("wrapped: %w", Permanent(errors.New("x")))) {
		t.Error("a permanent error is not told")
	}
}
