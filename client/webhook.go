package client

import (
	"context"

	"github.com/tenantry/tenantry/api"
)

// Webhook has the public key that events are signed with (OperatorRetrieveWebhook).
func (o *Operator) Webhook(ctx context.Context) (*api.Webhook, error) {
	return object[api.Webhook](ctx, o.c, request{operation: "show webhook", method: "GET", path: "/webhook"})
}

// TestWebhook has an event webhook.test sent, once, and returns what came of it
// (OperatorTestWebhook).
func (o *Operator) TestWebhook(ctx context.Context) (*api.WebhookAttempt, error) {
	return object[api.WebhookAttempt](ctx, o.c, request{operation: "test webhook", method: "POST", path: "/webhook/actions/test"})
}

// WebhookDeliveryList chooses what a list has. "" and 0 choose nothing.
type WebhookDeliveryList struct {
	// Status is waiting, delivered, failed or skipped.
	Status    string
	EventType string
	// PageNumber counts from 1; PageSize is from 1 to 250.
	PageNumber, PageSize int64
}

// WebhookDeliveries is one page of what became of the newest events
// (OperatorListWebhookDeliveries).
func (o *Operator) WebhookDeliveries(ctx context.Context, params WebhookDeliveryList) (*Page[api.WebhookDelivery], error) {
	r := request{operation: "list webhook deliveries", method: "GET", path: "/webhook_deliveries", query: map[string][]string{}}
	set(r.query, "filter[status]", params.Status)
	set(r.query, "filter[event_type]", params.EventType)
	return page[api.WebhookDelivery](ctx, o.c, r, params.PageNumber, params.PageSize)
}

// RetryWebhookDelivery has an event sent again, now, whatever became of it
// (OperatorRetryWebhookDelivery).
func (o *Operator) RetryWebhookDelivery(ctx context.Context, id string) (*api.WebhookDelivery, error) {
	return object[api.WebhookDelivery](ctx, o.c, request{
		operation: "retry webhook delivery", method: "POST", path: pathID("/webhook_deliveries", id, "/actions/retry"),
	})
}
