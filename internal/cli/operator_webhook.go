package cli

import (
	"context"
	"fmt"
	"strconv"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/client"
)

var webhookView = view[api.Webhook]{
	id: func(w *api.Webhook) string { return w.PublicKey },
	columns: []column[api.Webhook]{
		{wire: "public_key", value: func(w *api.Webhook) string { return w.PublicKey }},
		{wire: "enabled", value: func(w *api.Webhook) string {
			if w.Enabled {
				return "yes"
			}
			return "no: the server has no webhook-url"
		}},
	},
}

// WebhookKey is a command.
type WebhookKey struct{ OperatorReading }

// Help shows an example.
func (WebhookKey) Help() string {
	return `What receivers verify signatures with: the value of TELNYX_PUBLIC_KEY. Example:
  tenantry operator webhook-key -q`
}

// Run shows the key.
func (x *WebhookKey) Run(ctx context.Context, t *Terminal) error {
	s, err := x.open(t)
	if err != nil {
		return err
	}
	w, err := s.operator.Webhook(ctx)
	return finish(s, webhookView, w, err, false)
}

// Webhooks is "tenantry operator webhooks".
type Webhooks struct {
	List  ListDeliveries `cmd:"" help:"List what became of the newest events."`
	Retry RetryDelivery  `cmd:"" help:"Send an event again, now."`
	Test  TestWebhook    `cmd:"" help:"Send a test event, and say what came of it."`
}

var deliveryView = view[api.WebhookDelivery]{
	id: func(d *api.WebhookDelivery) string { return d.ID },
	columns: []column[api.WebhookDelivery]{
		{wire: "id", head: "EVENT", shape: whole, value: func(d *api.WebhookDelivery) string { return d.ID }},
		{wire: "occurred_at", head: "TIME", shape: spare, value: func(d *api.WebhookDelivery) string { return d.OccurredAt }},
		{wire: "event_type", head: "TYPE", shape: whole, value: func(d *api.WebhookDelivery) string { return d.EventType }},
		{wire: "account_id", value: func(d *api.WebhookDelivery) string { return d.AccountID }},
		{wire: "status", head: "STATUS", shape: whole, value: func(d *api.WebhookDelivery) string { return d.Status }, color: deliveryColor},
		{wire: "attempt_count", head: "ATTEMPTS", value: func(d *api.WebhookDelivery) string { return strconv.FormatInt(d.AttemptCount, 10) }},
		{wire: "error", head: "LAST ERROR", value: func(d *api.WebhookDelivery) string {
			if len(d.Attempts) == 0 {
				return ""
			}
			return d.Attempts[0].Error
		}},
	},
}

func deliveryColor(status string) string {
	switch status {
	case "delivered":
		return green
	case "failed":
		return red
	}
	return ""
}

// ListDeliveries is a command.
type ListDeliveries struct {
	Status string `group:"Filter" enum:",waiting,delivered,failed,skipped" default:"" placeholder:"STATUS" help:"Only those that are waiting, delivered, failed or skipped."`
	Type   string `group:"Filter" placeholder:"EVENT" help:"Only events of this type, such as calls.terminate."`
	Paged
	OperatorReading
}

// Help shows an example.
func (ListDeliveries) Help() string {
	return `The newest 1,000 that fit. Examples:
  tenantry operator webhooks list --status waiting
  tenantry operator webhooks list --type calls.terminate --all --json`
}

// Run lists deliveries.
func (x *ListDeliveries) Run(ctx context.Context, t *Terminal) error {
	number, size, err := x.place()
	if err != nil {
		return err
	}
	s, err := x.open(t)
	if err != nil {
		return err
	}
	first := func() (*client.Page[api.WebhookDelivery], error) {
		return s.operator.WebhookDeliveries(ctx, client.WebhookDeliveryList{Status: x.Status, EventType: x.Type, PageNumber: number, PageSize: size})
	}
	return show(s, x.Paged, deliveryView, first, every(ctx, first))
}

// RetryDelivery is a command.
type RetryDelivery struct {
	ID string `arg:"" help:"Event id, as webhooks list shows it."`
	OperatorChanging
}

// Validate refuses what can be no id before it becomes another address.
func (x *RetryDelivery) Validate() error { return checkID(x.ID) }

// Help shows an example.
func (RetryDelivery) Help() string {
	return `Also what was delivered, given up or skipped. Example:
  tenantry operator webhooks retry EVENT`
}

// Run has an event sent again.
func (x *RetryDelivery) Run(ctx context.Context, t *Terminal) error {
	s, err := x.open(t)
	if err != nil {
		return err
	}
	d, err := s.operator.RetryWebhookDelivery(ctx, x.ID)
	return finish(s, deliveryView, d, err, false)
}

var attemptView = view[api.WebhookAttempt]{
	id: func(a *api.WebhookAttempt) string { return a.URL },
	columns: []column[api.WebhookAttempt]{
		{wire: "url", value: func(a *api.WebhookAttempt) string { return a.URL }},
		{wire: "http_status", label: "HTTP status", value: func(a *api.WebhookAttempt) string { return strconv.FormatInt(a.HTTPStatus, 10) }},
		{wire: "error", value: func(a *api.WebhookAttempt) string { return a.Error }},
	},
}

// TestWebhook is a command.
type TestWebhook struct{ OperatorChanging }

// Help shows an example.
func (TestWebhook) Help() string {
	return `Sends an event webhook.test from the node that answers, once. The exit code is 0 when
it was accepted. Example:
  tenantry operator webhooks test`
}

// Run sends a test event.
func (x *TestWebhook) Run(ctx context.Context, t *Terminal) error {
	s, err := x.open(t)
	if err != nil {
		return err
	}
	a, err := s.operator.TestWebhook(ctx)
	if err := finish(s, attemptView, a, err, false); err != nil {
		return err
	}
	if a != nil && a.Error != "" {
		return fmt.Errorf("the test event was not accepted: %s", plain(a.Error))
	}
	return nil
}
