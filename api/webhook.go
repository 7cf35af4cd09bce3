package api

// WebhookEvent is the body of a request to the operator's webhook.
type WebhookEvent struct {
	Data WebhookEventData `json:"data"`
	Meta WebhookEventMeta `json:"meta"`
}

// WebhookEventData is what happened. It is the same in each attempt.
type WebhookEventData struct {
	// RecordType is always "event".
	RecordType string `json:"record_type"`
	// EventType is what was done: the change_type of the audit log.
	EventType string `json:"event_type"`
	// ID is that of the audit event; of a repeated event it is the same.
	ID         string         `json:"id"`
	OccurredAt string         `json:"occurred_at"`
	Payload    WebhookPayload `json:"payload"`
}

// WebhookPayload says who did it, to what, and what changed. Where the audit log has
// the same, it has the same name there.
type WebhookPayload struct {
	// AccountID is whose event it is: the organization_id of the audit log.
	AccountID string `json:"account_id"`
	// ManagerAccountID is the account's manager, absent for a root account.
	ManagerAccountID string `json:"manager_account_id,omitempty"`
	// Sequence counts the events of the account, from 1.
	Sequence int64 `json:"sequence"`
	// UserID is absent when the operator made the change.
	UserID string `json:"user_id,omitempty"`
	// ChangeMadeBy is telnyx (the operator), account_manager, account_owner or
	// organization_member.
	ChangeMadeBy string `json:"change_made_by"`
	// RequestID is the x-request-id of the change's request.
	RequestID string `json:"request_id,omitempty"`
	// ResourceType is managed_account, organization_user, group or connection.
	ResourceType string        `json:"resource_type"`
	ResourceID   string        `json:"resource_id"`
	Changes      []AuditChange `json:"changes"`
	// Calls are the calls to end, in calls.terminate alone.
	Calls []WebhookCall `json:"calls,omitempty"`
}

// WebhookCall is a call that its switch is asked to end.
type WebhookCall struct {
	CallID string `json:"call_id"`
	// Switch is the name that the switch gave itself, absent when it gave none.
	Switch string `json:"switch,omitempty"`
}

// WebhookEventMeta is about the request.
type WebhookEventMeta struct {
	// Attempt counts the requests for this event, from 1.
	Attempt int64 `json:"attempt"`
	// DeliveredTo is the URL that was asked.
	DeliveredTo string `json:"delivered_to"`
}

// WebhookDelivery is what became of one event.
type WebhookDelivery struct {
	// ID is the event's.
	ID string `json:"id"`
	// RecordType is always "webhook_delivery".
	RecordType string `json:"record_type"`
	AccountID  string `json:"account_id"`
	EventType  string `json:"event_type"`
	// Status is waiting, delivered, failed (given up) or skipped (not wanted).
	Status string `json:"status"`
	// AttemptCount is how many requests there were in all.
	AttemptCount int64 `json:"attempt_count"`
	// Attempts are the last of them, newest first.
	Attempts   []WebhookAttempt `json:"attempts"`
	OccurredAt string           `json:"occurred_at"`
	// FinishedAt is absent while it waits.
	FinishedAt string `json:"finished_at,omitempty"`
}

// WebhookAttempt is one request to the webhook.
type WebhookAttempt struct {
	StartedAt  string `json:"started_at"`
	FinishedAt string `json:"finished_at"`
	// URL has scheme and host alone, for what follows may be secret.
	URL string `json:"url"`
	// HTTPStatus is what was answered, 0 when nothing was.
	HTTPStatus int64 `json:"http_status"`
	// Error is absent when the event was accepted.
	Error string `json:"error,omitempty"`
}

// Webhook is what a receiver has to know.
type Webhook struct {
	// RecordType is always "webhook".
	RecordType string `json:"record_type"`
	// PublicKey verifies the signatures: 32 bytes in base64, as TELNYX_PUBLIC_KEY.
	PublicKey string `json:"public_key"`
	// Enabled is whether the node that answers has a webhook-url.
	Enabled bool `json:"enabled"`
}
