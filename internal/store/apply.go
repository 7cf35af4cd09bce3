package store

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/tenantry/tenantry/internal/tenant"
)

// Apply writes a change: its rows, one audit entry and one event. It is the only
// way to write, so that nothing changes without a trace. An empty change writes
// nothing at all.
//
// It fills the numbers that new accounts and users are given, and refuses, with
// kind Duplicate or OutOfRange, what only the database can know.
func (tx *Tx) Apply(change tenant.Change) error {
	if change.Empty() {
		return nil
	}
	for _, d := range change.Managers {
		if err := tx.applyManager(d); err != nil {
			return fmt.Errorf("write the manager: %w", err)
		}
	}
	for _, d := range change.Accounts {
		if err := tx.applyAccount(d); err != nil {
			return fmt.Errorf("write the account: %w", err)
		}
	}
	for _, d := range change.Users {
		if err := tx.applyUser(d); err != nil {
			return fmt.Errorf("write the user: %w", err)
		}
	}
	for _, d := range change.Groups {
		if err := tx.applyGroup(d); err != nil {
			return fmt.Errorf("write the group: %w", err)
		}
	}
	for _, d := range change.Keys {
		if err := tx.applyKey(d); err != nil {
			return fmt.Errorf("write the key: %w", err)
		}
	}
	for _, m := range change.Memberships {
		if err := tx.applyMembership(change.AccountID, m); err != nil {
			return fmt.Errorf("write the membership: %w", err)
		}
	}
	if change.EndSessions {
		if _, err := tx.exec("DELETE FROM session WHERE account_id = $1", change.AccountID); err != nil {
			return fmt.Errorf("end the sessions: %w", err)
		}
	}
	return tx.record(change)
}

// changed notes an id for those who keep copies.
func (tx *Tx) changed(id string) { tx.ids = append(tx.ids, id) }

// record writes the audit entry and the event.
func (tx *Tx) record(change tenant.Change) error {
	fields, err := json.Marshal(change.Fields())
	if err != nil {
		return err
	}
	id := tx.source.NewID()
	madeBy := change.Actor.MadeBy(change.AccountID)
	if _, err := tx.exec(`INSERT INTO audit_entry (id, account_id, number, actor_user_id, credential_id, made_by,
		event, resource_type, resource_id, changes, request_id, created_at)
		SELECT $1, $2, COALESCE(MAX(number), 0) + 1, $3, $4, $5, $6, $7, $8, $9, $10, $11
		FROM audit_entry WHERE account_id = $2`,
		id, change.AccountID, change.Actor.UserID, change.Actor.CredentialID, madeBy, change.Event,
		change.ResourceType, change.ResourceID, string(fields), change.Actor.RequestID, micros(tx.now)); err != nil {
		return fmt.Errorf("write the audit entry: %w", err)
	}
	payload, err := json.Marshal(map[string]any{
		"resource_type": change.ResourceType, "resource_id": change.ResourceID,
		"organization_id": change.AccountID, "change_made_by": madeBy, "changes": json.RawMessage(fields),
	})
	if err != nil {
		return err
	}
	if _, err := tx.exec("INSERT INTO outbox (id, account_id, event, payload, created_at) VALUES ($1, $2, $3, $4, $5)",
		id, change.AccountID, change.Event, string(payload), micros(tx.now)); err != nil {
		return fmt.Errorf("write the event: %w", err)
	}
	return nil
}

// AuditEntry is one change as the log keeps it.
type AuditEntry struct {
	ID           string
	AccountID    string
	Number       int64
	UserID       string
	CredentialID string
	MadeBy       string
	Event        string
	ResourceType string
	ResourceID   string
	Changes      []tenant.FieldChange
	RequestID    string
	CreatedAt    time.Time
}

// AuditRange are the numbers of the first and the last of an account's entries
// made after the one time and before the other; a zero time bounds nothing. last
// is below first when there are none.
func (tx *Tx) AuditRange(accountID string, after, before time.Time) (first, last int64, err error) {
	// Numbers follow time, so that both bounds come from one probe of an index.
	if after.IsZero() {
		first, err = tx.count("SELECT COALESCE(MIN(number), 1) FROM audit_entry WHERE account_id = $1", accountID)
	} else {
		first, err = tx.count(`SELECT COALESCE((SELECT number FROM audit_entry WHERE account_id = $1 AND created_at > $2
			ORDER BY created_at, number LIMIT 1), 9223372036854775807)`, accountID, micros(after))
	}
	if err != nil {
		return 0, 0, err
	}
	if before.IsZero() {
		last, err = tx.count("SELECT COALESCE(MAX(number), 0) FROM audit_entry WHERE account_id = $1", accountID)
	} else {
		last, err = tx.count(`SELECT COALESCE((SELECT number FROM audit_entry WHERE account_id = $1 AND created_at < $2
			ORDER BY created_at DESC, number DESC LIMIT 1), 0)`, accountID, micros(before))
	}
	return first, last, err
}

// AuditEntries are an account's entries with numbers from first to last, in that
// order.
func (tx *Tx) AuditEntries(accountID string, first, last int64) ([]AuditEntry, error) {
	return all(tx, func(row scanner, e *AuditEntry) error {
		var changes []byte
		var created int64
		err := row.Scan(&e.ID, &e.AccountID, &e.Number, &e.UserID, &e.CredentialID, &e.MadeBy, &e.Event,
			&e.ResourceType, &e.ResourceID, &changes, &e.RequestID, &created)
		if err != nil {
			return err
		}
		e.CreatedAt = fromMicros(created)
		e.Changes = nil
		return json.Unmarshal(changes, &e.Changes)
	}, `SELECT id, account_id, number, actor_user_id, credential_id, made_by, event, resource_type, resource_id,
		changes, request_id, created_at FROM audit_entry
		WHERE account_id = $1 AND number >= $2 AND number <= $3 ORDER BY number`, accountID, first, last)
}
