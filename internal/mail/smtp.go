package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"slices"
	"strconv"
	"time"

	gomail "github.com/wneessen/go-mail"
)

// SMTP is a Sender that hands mails to a server.
type SMTP struct {
	from    string
	host    string
	options []gomail.Option
}

// SMTPOptions say how a server is reached.
type SMTPOptions struct {
	// URL is smtp://user:password@host:port, or smtps:// for TLS from the start. The
	// user may be missing, and so may the port: 587, or 465 for smtps.
	URL string
	// From is the sender's address, with or without a name before it.
	From string
	// StartTLS is "required", which "" means too, "opportunistic" or "off".
	StartTLS string
	// TLS is nil but for tests.
	TLS *tls.Config
}

// dialTime bounds how long each step with a server may take.
const dialTime = 20 * time.Second

// NewSMTP makes a sender. Its errors do not repeat the URL, in which there may be a
// password.
func NewSMTP(o SMTPOptions) (*SMTP, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Hostname() == "" || u.Scheme != "smtp" && u.Scheme != "smtps" || u.RawQuery != "" || u.Path != "" && u.Path != "/" {
		return nil, errors.New("smtp-url must be smtp://USER:PASSWORD@HOST:PORT or smtps://…")
	}
	if _, err := mail.ParseAddress(o.From); err != nil {
		return nil, fmt.Errorf("smtp-from must be an address such as Tenantry <tenantry@example.com>, not %q", o.From)
	}
	s := &SMTP{from: o.From, host: u.Hostname(), options: []gomail.Option{gomail.WithTimeout(dialTime), gomail.WithoutNoop()}}
	port := 587
	if u.Scheme == "smtps" {
		port = 465
		s.options = append(s.options, gomail.WithSSL())
	}
	if u.Port() != "" {
		if port, err = strconv.Atoi(u.Port()); err != nil {
			return nil, errors.New("smtp-url has a port that is no number")
		}
	}
	policy, known := map[string]gomail.TLSPolicy{
		"": gomail.TLSMandatory, "required": gomail.TLSMandatory, "opportunistic": gomail.TLSOpportunistic, "off": gomail.NoTLS,
	}[o.StartTLS]
	if !known {
		return nil, fmt.Errorf("smtp-starttls must be required, opportunistic or off, not %q", o.StartTLS)
	}
	s.options = append(s.options, gomail.WithPort(port), gomail.WithTLSPolicy(policy))
	if o.TLS != nil {
		s.options = append(s.options, gomail.WithTLSConfig(o.TLS))
	}
	if u.User != nil {
		password, _ := u.User.Password()
		// Without TLS only those ways are taken that do not show the password.
		s.options = append(s.options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(u.User.Username()), gomail.WithPassword(password))
	}
	_, err = gomail.NewClient(s.host, s.options...)
	return s, err
}

// compose is the mail as it is sent.
func (m Message) compose(from string) (*gomail.Msg, error) {
	if err := m.Check(); err != nil {
		return nil, err
	}
	msg := gomail.NewMsg()
	if err := msg.From(from); err != nil {
		return nil, err
	}
	if err := msg.To(m.To); err != nil {
		return nil, Permanent(err)
	}
	msg.Subject(m.Subject)
	msg.SetDate()
	msg.SetMessageID()
	// Answers by machines are of no use.
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	return msg, nil
}

// refusals are where a server says what it thinks of this mail, and not of us.
var refusals = []gomail.SendErrReason{gomail.ErrSMTPRcptTo, gomail.ErrSMTPData, gomail.ErrSMTPDataClose}

// Send hands the mail over. What the server will never take for this recipient is
// refused for good; what it does not take from us may be mended.
func (s *SMTP) Send(ctx context.Context, m Message) error {
	msg, err := m.compose(s.from)
	if err != nil {
		return err
	}
	client, err := gomail.NewClient(s.host, s.options...)
	if err != nil {
		return err
	}
	err = client.DialAndSendWithContext(ctx, msg)
	var failed *gomail.SendError
	switch {
	case err == nil || msg.IsDelivered():
		return nil // the server has it, whatever came after
	case errors.As(err, &failed) && failed.ErrorCode() >= 550 && slices.Contains(refusals, failed.Reason):
		return Permanent(err)
	}
	return err
}
