package cli

import (
	"context"
	"strconv"
	"strings"

	"github.com/tenantry/tenantry/client"
)

// Messages is "tenantry messages": what the key's own account sends.
type Messages struct {
	Send SendMessage `cmd:"" help:"Send a message."`
	Get  GetMessage  `cmd:"" help:"Show a message and how far it has come."`
}

var messageView = view[client.Message]{
	id: func(m *client.Message) string { return m.ID },
	columns: []column[client.Message]{
		{wire: "id", value: func(m *client.Message) string { return m.ID }},
		{wire: "status", color: messageColor, value: func(m *client.Message) string {
			if len(m.To) == 0 {
				return ""
			}
			return m.To[0].Status
		}},
		{wire: "type", value: func(m *client.Message) string { return m.Type }},
		{wire: "from", value: func(m *client.Message) string { return m.From.PhoneNumber }},
		{wire: "to", value: func(m *client.Message) string {
			var numbers []string
			for _, to := range m.To {
				numbers = append(numbers, to.PhoneNumber)
			}
			return strings.Join(numbers, ", ")
		}},
		{wire: "text", value: func(m *client.Message) string { return m.Text }},
		{wire: "encoding", value: func(m *client.Message) string { return m.Encoding }},
		{wire: "parts", value: func(m *client.Message) string { return strconv.FormatInt(m.Parts, 10) }},
		{wire: "received_at", value: func(m *client.Message) string { return m.ReceivedAt }},
		{wire: "sent_at", value: func(m *client.Message) string { return orNone(m.SentAt) }},
		{wire: "completed_at", value: func(m *client.Message) string { return orNone(m.CompletedAt) }},
		{wire: "errors", value: func(m *client.Message) string {
			var said []string
			for _, e := range m.Errors {
				said = append(said, e.Code+" "+e.Detail)
			}
			return strings.Join(said, "; ")
		}},
	},
}

func orNone(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

func messageColor(status string) string {
	switch status {
	case "sent", "delivered":
		return green
	case "queued", "sending", "delivery_unconfirmed":
		return yellow
	}
	return red
}

// SendMessage is a command.
type SendMessage struct {
	To        string   `group:"Message" required:"" placeholder:"NUMBER" help:"Number to send to, +E.164."`
	From      string   `group:"Message" placeholder:"NUMBER" help:"Number, +E.164, or name of at most 11 letters and digits to send from."`
	ProfileID string   `group:"Message" placeholder:"ID" help:"Messaging profile; the server then chooses where --from is missing."`
	Text      string   `group:"Message" placeholder:"TEXT" help:"What to say."`
	Subject   string   `group:"Message" placeholder:"TEXT" help:"Subject of an MMS."`
	MediaURL  []string `group:"Message" name:"media-url" sep:"none" placeholder:"URL" help:"What an MMS shows; may be repeated."`
	SendAt    string   `group:"Message" placeholder:"TIME" help:"When to send it, such as 2026-01-03T00:00:00Z; now without."`
	Encoding  string   `group:"Message" default:"" enum:",auto,gsm7,ucs2" placeholder:"NAME" help:"auto, gsm7 or ucs2."`
	Changing
}

// Help shows an example.
func (SendMessage) Help() string {
	return `Examples:
  tenantry messages send --to +18445550001 --from +18005550101 --text 'Hello, World!'
  tenantry messages send --to +18445550001 --from Example --media-url https://example.com/cat.png --dry-run`
}

// Run sends a message.
func (x *SendMessage) Run(ctx context.Context, t *Terminal) error {
	s, err := x.open(t)
	if err != nil {
		return err
	}
	body := client.MessageSend{To: x.To}
	for _, f := range [...]struct {
		into **string
		text string
	}{
		{&body.From, x.From}, {&body.MessagingProfileID, x.ProfileID}, {&body.Text, x.Text}, {&body.Subject, x.Subject},
		{&body.SendAt, x.SendAt}, {&body.Encoding, x.Encoding},
	} {
		if f.text != "" {
			*f.into = &f.text
		}
	}
	if len(x.MediaURL) > 0 {
		body.MediaURLs = &x.MediaURL
	}
	m, err := s.Messages.Send(ctx, body)
	return finish(s, messageView, m, err, false)
}

// GetMessage is a command.
type GetMessage struct {
	ID string `arg:"" help:"Message id."`
	Reading
}

// Help shows an example.
func (GetMessage) Help() string {
	return `Example:
  tenantry messages get ID`
}

// Run shows a message.
func (x *GetMessage) Run(ctx context.Context, t *Terminal) error {
	s, err := x.open(t)
	if err != nil {
		return err
	}
	m, err := s.Messages.Retrieve(ctx, x.ID)
	return finish(s, messageView, m, err, false)
}
