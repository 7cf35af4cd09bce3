package httpapi

import (
	"time"
	"unicode/utf8"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/internal/admission"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/tenant"
)

var messageRoutes = []Route{
	{"SendMessage", "POST /v2/messages", "messaging", (*Server).sendMessage},
	{"RetrieveMessage", "GET /v2/messages/{id}", "messaging", (*Server).retrieveMessage},
}

// sendMessage answers with a message that is recorded: whatever becomes of it now, it is
// not lost. Only what the carrier refuses at once is refused here, too.
func (s *Server) sendMessage(c *call) (any, error) {
	if err := service.MayMessage(c.actor); err != nil {
		return nil, err
	}
	content, sendAt, err := c.message()
	if err != nil {
		return nil, err
	}
	once, err := c.once()
	if err != nil {
		return nil, err
	}
	d, err := s.admission.Decide(c.Context(), admission.Request{Kind: admission.Message, AccountID: c.actor.AccountID})
	if err != nil {
		return nil, err
	}
	if !d.Allowed() {
		return nil, &denied{*s.reasons[d.Reason]}
	}
	m, fresh, err := s.service.SendMessage(c.Context(), c.actor, content, sendAt, once)
	if err != nil {
		return nil, err
	}
	if fresh {
		s.messages.HandOver(c.Context(), m)
	}
	if m.Failure == tenant.FailureRejected {
		return nil, tenant.Refuse(tenant.Rejected, m.Reason)
	}
	return api.Response[api.Message]{Data: wireMessage(m)}, nil
}

// message reads what is to be sent, and when.
func (c *call) message() (content tenant.MessageContent, sendAt time.Time, err error) {
	var body api.SendMessage
	if err := c.decode(&body); err != nil {
		return content, sendAt, err
	}
	content.To = body.To
	for _, f := range [...]struct{ into, text *string }{
		{&content.From, body.From}, {&content.ProfileID, body.MessagingProfileID}, {&content.Text, body.Text}, {&content.Subject, body.Subject},
		{&content.Type, body.Type}, {&content.Encoding, body.Encoding},
		{&content.WebhookURL, body.WebhookURL}, {&content.WebhookFailoverURL, body.WebhookFailoverURL},
	} {
		give(f.into, f.text)
	}
	give(&content.MediaURLs, body.MediaURLs)
	if body.SendAt != nil {
		if sendAt, err = time.Parse(time.RFC3339, *body.SendAt); err != nil {
			return content, sendAt, tenant.RefuseField(tenant.Invalid, "send_at", "Must be a time in ISO 8601, such as 2026-01-03T00:00:00Z.")
		}
	}
	return content, sendAt, nil
}

func (s *Server) retrieveMessage(c *call) (any, error) {
	m, err := s.service.Message(c.Context(), c.actor, c.id)
	if err != nil {
		return nil, err
	}
	return api.Response[api.Message]{Data: wireMessage(m)}, nil
}

func wireMessage(m *tenant.Message) api.Message {
	wire := api.Message{
		RecordType: "message", Direction: "outbound", ID: m.ID, Type: m.Type, MessagingProfileID: m.ProfileID, OrganizationID: m.AccountID,
		From: api.MessageSender{PhoneNumber: m.From},
		To:   []api.MessageRecipient{{PhoneNumber: m.To, Status: string(m.Status)}}, CC: []api.MessageRecipient{},
		Text: m.Text, NumChars: int64(utf8.RuneCountInString(m.Text)), Subject: given(m.Subject), Media: []api.MessageMedia{},
		WebhookURL: given(m.WebhookURL), WebhookFailoverURL: given(m.WebhookFailoverURL),
		Encoding: map[string]string{"gsm7": "GSM-7", "ucs2": "UCS-2"}[m.Encoding], Parts: int64(m.Parts), Tags: []string{},
		ReceivedAt: api.Time(m.ReceivedAt), SentAt: moment(m.SentAt), CompletedAt: moment(m.CompletedAt), ValidUntil: moment(m.ValidUntil),
		Errors: []api.Error{},
	}
	for _, media := range m.MediaURLs {
		wire.Media = append(wire.Media, api.MessageMedia{URL: media})
	}
	if m.Failure != "" {
		f := failures[m.Failure]
		if m.Reason != "" {
			f.Detail = m.Reason
		}
		f.Meta = &api.ErrorMeta{URL: errorPages + f.Code}
		wire.Errors = append(wire.Errors, f)
	}
	return wire
}

// failures are how what became of a message looks in its errors.
var failures = map[tenant.MessageFailure]api.Error{
	tenant.FailureRejected:      {Code: api.CodeRejected, Title: "Rejected by destination", Detail: "The carrier did not take the message."},
	tenant.FailureStopped:       {Code: api.CodeAccountInactive, Title: "Account inactive", Detail: "The account was stopped before the message was sent."},
	tenant.FailureUndeliverable: {Code: api.CodeUndeliverable, Title: "Undeliverable", Detail: "The carrier could not deliver the message."},
	tenant.FailureNoAnswer:      {Code: api.CodeUnreachable, Title: "Recipient server unavailable", Detail: "The carrier did not say in time whether it took the message. It is not sent again."},
	tenant.FailureExpired:       {Code: api.CodeExpired, Title: "Message expired in queue", Detail: "No carrier could be reached while the message was valid."},
}

// given is nil for "".
func given(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// moment is a time that may not have come yet.
func moment(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	text := api.Time(t)
	return &text
}
