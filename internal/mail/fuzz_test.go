package mail

import (
	"bytes"
	netmail "net/mail"
	"strings"
	"testing"
)

// FuzzMessage: what Check takes is one mail to one person, whatever is in it.
func FuzzMessage(f *testing.F) {
	for _, seed := range [][3]string{
		{"a@example.com", "Hello", "text"}, {"a@example.com", "x\r\nBcc: b@example.com", ""}, {"a@example.com,b@example.com", "x", ""},
		{"a@example.com", "=?utf-8?q?=0d=0aBcc:_b?=", "\r\n.\r\n"}, {"ä@example.com", "ä", "ä"}, {"a@b\u2028c", "\x85", "\x00"}, {"", "", ""},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, to, subject, text string) {
		m := Message{To: to, Subject: subject, Text: text}
		if m.Check() != nil {
			return
		}
		msg, err := m.compose("Tenantry <tenantry@example.com>")
		if err != nil {
			return // no address after all
		}
		var out bytes.Buffer
		if _, err := msg.WriteTo(&out); err != nil {
			return
		}
		parsed, err := netmail.ReadMessage(&out)
		if err != nil {
			t.Fatalf("%q: %v", m, err)
		}
		for name := range parsed.Header {
			switch name {
			case "Date", "Mime-Version", "Message-Id", "Subject", "User-Agent", "X-Mailer", "From", "To", "Auto-Submitted", "Content-Type", "Content-Transfer-Encoding":
			default:
				t.Errorf("%q: a header %s", m, name)
			}
		}
		recipients, err := msg.GetRecipients()
		if err != nil || len(recipients) != 1 || strings.ContainsAny(recipients[0], "\r\n ") {
			t.Errorf("%q: to %q, %v", m, recipients, err)
		}
	})
}
