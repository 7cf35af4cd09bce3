package httpapi

import (
	"slices"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

const deliveryPath = operatorPrefix + "/webhook_deliveries"

var webhookRoutes = []Route{
	{"OperatorRetrieveWebhook", "GET " + operatorPrefix + "/webhook", "operator", (*Server).operatorRetrieveWebhook},
	{"OperatorTestWebhook", "POST " + operatorPrefix + "/webhook/actions/test", "operator", (*Server).operatorTestWebhook},
	{"OperatorListWebhookDeliveries", "GET " + deliveryPath, "operator", (*Server).operatorListDeliveries},
	{"OperatorRetryWebhookDelivery", "POST " + deliveryPath + "/{id}/actions/retry", "operator", (*Server).operatorRetryDelivery},
}

func (s *Server) operatorRetrieveWebhook(c *call) (any, error) {
	return api.Response[api.Webhook]{Data: api.Webhook{
		RecordType: "webhook", PublicKey: s.webhookKey, Enabled: s.testWebhook != nil,
	}}, nil
}

func (s *Server) operatorTestWebhook(c *call) (any, error) {
	if s.testWebhook == nil {
		return nil, tenant.Refuse(tenant.Conflict, "This node has no webhook-url.")
	}
	attempt := s.testWebhook()
	return api.Response[api.WebhookAttempt]{Data: wireAttempt(&attempt)}, nil
}

func (s *Server) operatorListDeliveries(c *call) (any, error) {
	q := c.query()
	status := q.enum("filter[status]", store.DeliveryStatuses...)
	eventType := q.enum("filter[event_type]", tenant.Events...)
	page := q.page(c, 20)
	if err := q.done(); err != nil {
		return nil, err
	}
	deliveries, place, err := s.service.Deliveries(c.Context(), status, eventType, page)
	if err != nil {
		return nil, err
	}
	return listOf(deliveries, wireDelivery, page, place), nil
}

func (s *Server) operatorRetryDelivery(c *call) (any, error) {
	delivery, err := s.service.RetryDelivery(c.Context(), c.id)
	if err != nil {
		return nil, err
	}
	return api.Response[api.WebhookDelivery]{Data: wireDelivery(delivery)}, nil
}

func wireDelivery(d *store.Delivery) api.WebhookDelivery {
	wire := api.WebhookDelivery{
		ID: d.ID, RecordType: "webhook_delivery", AccountID: d.AccountID, EventType: d.EventType, Status: d.Status,
		AttemptCount: d.Attempts, Attempts: make([]api.WebhookAttempt, 0, len(d.Log)), OccurredAt: api.Time(d.CreatedAt),
	}
	if !d.FinishedAt.IsZero() {
		wire.FinishedAt = api.Time(d.FinishedAt)
	}
	for _, attempt := range slices.Backward(d.Log) {
		wire.Attempts = append(wire.Attempts, wireAttempt(&attempt))
	}
	return wire
}

func wireAttempt(a *store.Attempt) api.WebhookAttempt {
	return api.WebhookAttempt{
		StartedAt: api.Time(a.StartedAt), FinishedAt: api.Time(a.FinishedAt), URL: a.URL, HTTPStatus: int64(a.Status), Error: a.Error,
	}
}
