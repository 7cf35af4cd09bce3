package store

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/tenantry/tenantry/internal/tenant"
)

// Apply writes a change: its rows, one audit entry and one event. Nothing that
// belongs to a tenant is written in any other way, so that nothing changes without
// a trace; sessions and kept answers come and go beside it. An empty change writes
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
		if err := tx.applyUser(d, len(change.Accounts) > 0); err != nil {
			return fmt.Errorf("write the user: %w", err)
		}
	}
	for _, d := range change.Groups {
		if err := tx.applyGroup(d); err != nil {
			return fmt.Errorf("write the group: %w", err)
		}
	}
	if err := tx.applyKeys(change.Keys); err != nil {
		return fmt.Errorf("write the keys: %w", err)
	}
	for _, m := range change.Memberships {
		if err := tx.applyMembership(change.AccountID, m); err != nil {
			return fmt.Errorf("write the membership: %w", err)
		}
	}
	for _, d := range change.Connections {
		if err := tx.applyConnection(d); err != nil {
			return fmt.Errorf("write the connection: %w", err)
		}
	}
	if len(change.HangUp) > 0 {
		tx.changed(change.AccountID) // no row is; but who sends events is to wake
	}
	if change.EndSessions {
		ends := []string{"account_id = $3"}
		// People of a managed account act for nobody else: there is one level only.
		if len(change.Accounts) == 0 || change.Accounts[0].After.ManagerID == "" {
			ends = append(ends, ofPersons)
		}
		for _, which := range ends {
			if err := tx.endSessions(which, EndedByStatus, change.AccountID); err != nil {
				return fmt.Errorf("end the sessions: %w", err)
			}
		}
	}
	if err := tx.applyPeople(change); err != nil {
		return err
	}
	return tx.record(change)
}

// changed notes an id for those who keep copies.
func (tx *Tx) changed(id string) { tx.ids = append(tx.ids, id) }

// record writes the audit entry and the event. An entry is never older than the
// one before it, even if the clock was set back: they are found by time.
func (tx *Tx) record(change tenant.Change) error {
	fields, err := json.Marshal(change.Fields())
	if err != nil {
		return err
	}
	id := tx.source.NewID()
	err = tx.exec(`INSERT INTO audit_entry (id, account_id, number, actor_user_id, credential_id, made_by,
		event, resource_type, resource_id, changes, request_id, created_at)
		SELECT $1, $2, COALESCE(last.number, 0) + 1, $3, $4, $5, $6, $7, $8, $9, $10,
			CASE WHEN last.created_at > $11 THEN last.created_at ELSE $11 END
		FROM (SELECT 1 AS row) one LEFT JOIN
			(SELECT number, created_at FROM audit_entry WHERE account_id = $2 ORDER BY number DESC LIMIT 1) last ON TRUE`,
		id, change.AccountID, change.Actor.Person(), change.Actor.CredentialID, change.Actor.MadeBy(change.AccountID),
		change.Event, change.ResourceType, change.ResourceID, string(fields), change.Actor.RequestID, micros(tx.now))
	if err != nil {
		return fmt.Errorf("write the audit entry: %w", err)
	}
	if err := tx.exec(`INSERT INTO outbox (id, account_id, number, created_at)
		SELECT $1, $2, number, $3 FROM audit_entry WHERE account_id = $2 ORDER BY number DESC LIMIT 1`,
		id, change.AccountID, micros(tx.now)); err != nil {
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
	// Not MAX(number): PostgreSQL may look for that in all of them.
	most, err := tx.count("SELECT number FROM audit_entry WHERE account_id = $1 ORDER BY number DESC LIMIT 1", accountID)
	if err != nil {
		return 0, 0, err
	}
	first, last = 1, most
	if !after.IsZero() {
		if first, err = tx.auditSearch(accountID, most, func(at int64) bool { return at > micros(after) }); err != nil {
			return 0, 0, err
		}
	}
	if !before.IsZero() {
		last, err = tx.auditSearch(accountID, most, func(at int64) bool { return at >= micros(before) })
		last--
	}
	return first, last, err
}

// auditSearch is the number of the first entry whose time holds, most+1 if none
// does. Numbers follow time, so that halving finds it.
func (tx *Tx) auditSearch(accountID string, most int64, holds func(at int64) bool) (int64, error) {
	low, high := int64(1), most+1
	for low < high {
		middle := low + (high-low)/2
		at, err := tx.count("SELECT created_at FROM audit_entry WHERE account_id = $1 AND number = $2", accountID, middle)
		if err != nil {
			return 0, err
		}
		if holds(at) {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low, nil
}

// AuditFilter says which entries are looked for; "" asks for nothing.
type AuditFilter struct {
	Event, UserID, ResourceID string
}

// AuditNumbers are the numbers of at most limit entries that match, from first to
// last, the newest first. Each filter has an index; with several, one is taken and the
// rest compared.
func (tx *Tx) AuditNumbers(accountID string, f AuditFilter, first, last int64, limit int) ([]int64, error) {
	query, args := "SELECT number FROM audit_entry WHERE account_id = $1 AND number >= $2 AND number <= $3", []any{accountID, first, last, limit}
	order := ""
	for _, filter := range []struct{ column, value string }{{"resource_id", f.ResourceID}, {"actor_user_id", f.UserID}, {"event", f.Event}} {
		if filter.value != "" {
			args = append(args, filter.value)
			query += fmt.Sprintf(" AND %s = $%d", filter.column, len(args))
			order = filter.column + " DESC, "
		}
	}
	return all(tx, func(row scanner, n *int64) error { return row.Scan(n) }, query+" ORDER BY "+order+"number DESC LIMIT $4", args...)
}

// AuditEntriesByNumber are an account's entries with those numbers, in that order.
func (tx *Tx) AuditEntriesByNumber(accountID string, numbers []int64) ([]AuditEntry, error) {
	return byNumber(tx, scanAuditEntry, func(e *AuditEntry) int64 { return e.Number },
		"SELECT "+auditColumns+" FROM audit_entry e WHERE (e.account_id, e.number) IN ", accountID, numbers)
}

const auditColumns = `id, account_id, number, actor_user_id, credential_id, made_by, event, resource_type, resource_id,
	changes, request_id, created_at`

func scanAuditEntry(row scanner, e *AuditEntry) error {
	var changes string
	var created int64
	err := row.Scan(&e.ID, &e.AccountID, &e.Number, &e.UserID, &e.CredentialID, &e.MadeBy, &e.Event,
		&e.ResourceType, &e.ResourceID, &changes, &e.RequestID, &created)
	if err != nil {
		return err
	}
	e.CreatedAt = fromMicros(created)
	e.Changes = nil
	return json.Unmarshal([]byte(changes), &e.Changes)
}

// AuditEntries are an account's entries with numbers from first to last, in that
// order.
func (tx *Tx) AuditEntries(accountID string, first, last int64) ([]AuditEntry, error) {
	return all(tx, scanAuditEntry, "SELECT "+auditColumns+` FROM audit_entry
		WHERE account_id = $1 AND number >= $2 AND number <= $3 ORDER BY number`, accountID, first, last)
}
