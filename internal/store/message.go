package store

import (
	"encoding/json"
	"time"

	"github.com/tenantry/tenantry/internal/tenant"
)

// Messages are written beside Apply, like leases: a row says itself who made it, and
// an audit entry and an event for each would be most of what is stored.

// MessageLane is the lane of what an account sends.
func MessageLane(accountID string) string { return "message " + accountID }

// DueLane is the lane of who takes the messages that are due.
const DueLane = "messages due"

const messageColumns = "id, account_id, user_id, credential_id, request_id, content, status, failure, reason, attempts, due_at, received_at, valid_until, sent_at, completed_at, expires_at"

func scanMessage(row scanner, m *tenant.Message) error {
	var content string
	var due, received, valid, sent, completed, expires int64
	err := row.Scan(&m.ID, &m.AccountID, &m.Sender, &m.CredentialID, &m.RequestID, &content, (*string)(&m.Status), (*string)(&m.Failure), &m.Reason, &m.Attempts,
		&due, &received, &valid, &sent, &completed, &expires)
	if err != nil {
		return err
	}
	m.DueAt, m.ReceivedAt, m.ValidUntil = fromMicros(due), fromMicros(received), fromMicros(valid)
	m.SentAt, m.CompletedAt, m.ExpiresAt = fromMicros(sent), fromMicros(completed), fromMicros(expires)
	m.MessageContent = tenant.MessageContent{} // the value is used for the next row too
	return json.Unmarshal([]byte(content), &m.MessageContent)
}

// AddMessage stores a new message.
func (tx *Tx) AddMessage(m *tenant.Message) error {
	content, err := json.Marshal(m.MessageContent)
	if err != nil {
		return err
	}
	return tx.exec("INSERT INTO message ("+messageColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
		m.ID, m.AccountID, m.Sender, m.CredentialID, m.RequestID, string(content), string(m.Status), string(m.Failure), m.Reason, m.Attempts,
		micros(m.DueAt), micros(m.ReceivedAt), micros(m.ValidUntil), micros(m.SentAt), micros(m.CompletedAt), micros(m.ExpiresAt))
}

// Message is one of an account's messages. It refuses with kind NotFound.
func (tx *Tx) Message(accountID, id string) (*tenant.Message, error) {
	m, err := one(tx, scanMessage, "SELECT "+messageColumns+" FROM message WHERE id = $1", id)
	if err == nil && (m == nil || m.AccountID != accountID) {
		return nil, tenant.Missed("id")
	}
	return m, err
}

// AnyMessageDue reports whether something is to be done about a message.
func (tx *Tx) AnyMessageDue() (bool, error) {
	due, err := tx.count("SELECT due_at FROM message WHERE due_at > 0 AND due_at <= $1 ORDER BY due_at LIMIT 1", micros(tx.now))
	return due > 0, err
}

// TakeDueMessages are at most limit messages that something is to be done about. They
// are the caller's until then, when they are due again unless they were settled. Call
// it in DueLane.
func (tx *Tx) TakeDueMessages(until time.Time, limit int) ([]tenant.Message, error) {
	// The time stands there twice: what was found due may be settled before it is taken.
	// In a sum, so that the index is not read for all that is due.
	return all(tx, scanMessage, `UPDATE message SET due_at = $2, attempts = attempts + 1
		WHERE id IN (SELECT id FROM message WHERE due_at > 0 AND due_at <= $1 ORDER BY due_at LIMIT $3) AND due_at + 0 BETWEEN 1 AND $1
		RETURNING `+messageColumns, micros(tx.now), micros(until), limit)
}

// SettleMessage writes what became of a message that the caller had until then. When
// somebody else has it by now nothing is written, and the answer is false.
func (tx *Tx) SettleMessage(m *tenant.Message, until time.Time) (bool, error) {
	n, err := tx.execCount(`UPDATE message SET status = $3, failure = $4, reason = $5, due_at = $6, sent_at = $7, completed_at = $8
		WHERE id = $1 AND due_at = $2`, m.ID, micros(until), string(m.Status), string(m.Failure), m.Reason,
		micros(m.DueAt), micros(m.SentAt), micros(m.CompletedAt))
	return n > 0, err
}
