package store

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tenantry/tenantry/internal/tenant"
)

// WebhookLane is the lane of everything that concerns deliveries.
const WebhookLane = "webhook"

// The statuses of a Delivery.
const (
	// DeliveryWaiting is to be tried, now or again.
	DeliveryWaiting = "waiting"
	// DeliveryDelivered was accepted by the receiver.
	DeliveryDelivered = "delivered"
	// DeliveryFailed was given up.
	DeliveryFailed = "failed"
	// DeliverySkipped is of a kind that the receiver is not to have.
	DeliverySkipped = "skipped"
)

// DeliveryStatuses are all of them.
var DeliveryStatuses = []string{DeliveryWaiting, DeliveryDelivered, DeliveryFailed, DeliverySkipped}

// Delivery is an event on its way to the webhook.
type Delivery struct {
	// ID is the event's, and the audit entry's.
	ID        string
	AccountID string
	EventType string
	Status    string
	// Attempts is how many requests were sent in all.
	Attempts int64
	// Log has the last of them, oldest first.
	Log        []Attempt
	CreatedAt  time.Time
	FinishedAt time.Time // zero while it waits
}

// Attempt is one request to the webhook.
type Attempt struct {
	StartedAt  time.Time `json:"started_at"`
	FinishedAt time.Time `json:"finished_at"`
	// URL is where it went, without anything that may be secret.
	URL string `json:"url"`
	// Status is what was answered, 0 when nothing was.
	Status int `json:"status"`
	// Error says what went wrong, "" for nothing.
	Error string `json:"error"`
}

// Due is an event whose turn it is, with what it says.
type Due struct {
	AuditEntry
	// ManagerID is the account's manager, "" for a root account.
	ManagerID string
	// Attempts is how many requests were sent already.
	Attempts int64
	// Tries is how many rounds of them failed.
	Tries int64
}

// WebhookSince is the id after which events are for the webhook: what happened
// before there was one, it is not told. "" when there never was one.
func (tx *Tx) WebhookSince() (string, error) { return tx.Agreed("webhook_since") }

// BeginWebhook is WebhookSince, and has events be for the webhook from now on when
// there never was one.
func (tx *Tx) BeginWebhook() (string, error) {
	return tx.Agree("webhook_since", tenant.FirstID(tx.now))
}

// WebhookState is what there is to do for the webhook.
type WebhookState struct {
	// Outbox is whether there are events in the outbox.
	Outbox bool
	// DueAt is when the first event is due; zero when none waits.
	DueAt time.Time
	// Node is who delivers until EndsAt.
	Node   string
	EndsAt time.Time
}

// WebhookState looks what there is to do. It is cheap.
func (tx *Tx) WebhookState(since string) (WebhookState, error) {
	state, err := one(tx, func(row scanner, s *WebhookState) error {
		var outbox, due, ends int64
		err := row.Scan(&outbox, &due, &s.Node, &ends)
		s.Outbox, s.DueAt, s.EndsAt = outbox == 1, fromMicros(due), fromMicros(ends)
		return err
	}, `SELECT CASE WHEN EXISTS (SELECT 1 FROM outbox WHERE id > $1) THEN 1 ELSE 0 END,
		COALESCE((SELECT due_at FROM webhook_queue ORDER BY due_at, account_id LIMIT 1), 0),
		COALESCE((SELECT node FROM webhook_turn WHERE name = 'turn'), ''),
		COALESCE((SELECT ends_at FROM webhook_turn WHERE name = 'turn'), 0)`, since)
	if err != nil || state == nil {
		return WebhookState{}, err
	}
	return *state, nil
}

// WebhookOldest is when the oldest event was made that has yet to be delivered; zero
// when there is none.
func (tx *Tx) WebhookOldest(since string) (time.Time, error) {
	var oldest int64
	for _, query := range []string{
		"SELECT created_at FROM outbox WHERE id > $1 ORDER BY id LIMIT 1",
		"SELECT created_at FROM webhook_event WHERE status = 'waiting' AND id > $1 ORDER BY id LIMIT 1",
	} {
		at, err := tx.count(query, since)
		if err != nil {
			return time.Time{}, err
		}
		if oldest == 0 || at > 0 && at < oldest {
			oldest = at
		}
		since = ""
	}
	return fromMicros(oldest), nil
}

// TakeTurn has the node deliver until then, unless it is another's turn: then it is
// false. It is nobody else's with seize. The zero time gives the turn back.
func (tx *Tx) TakeTurn(node string, until time.Time, seize bool) (bool, error) {
	now := micros(tx.now)
	if seize {
		now = 1<<63 - 1
	}
	n, err := tx.execCount(`INSERT INTO webhook_turn (name, node, ends_at) VALUES ('turn', $1, $2)
		ON CONFLICT (name) DO UPDATE SET node = excluded.node, ends_at = excluded.ends_at
		WHERE webhook_turn.node = excluded.node OR webhook_turn.ends_at <= $3`, node, micros(until), now)
	return n == 1, err
}

// TakeEvents moves at most limit events that came after since from the outbox to
// those that wait, and returns how many. Events whose type has none of the prefixes
// are skipped; none given, all are wanted. A prefix is a whole name, or ends where a
// dot is.
func (tx *Tx) TakeEvents(since string, prefixes []string, limit int) (int64, error) {
	// What lies between first and last may grow while this is done, for events are not
	// committed in the order of their ids. What comes late waits for the next time.
	type window struct {
		first, last string
		count       int64
	}
	w, err := one(tx, func(row scanner, w *window) error { return row.Scan(&w.first, &w.last, &w.count) },
		"SELECT COALESCE(MIN(id), ''), COALESCE(MAX(id), ''), COUNT(*) FROM (SELECT id FROM outbox WHERE id > $1 ORDER BY id LIMIT $2) ahead", since, limit)
	if err != nil || w == nil || w.count == 0 {
		return 0, err
	}
	wanted, args := "TRUE", []any{w.first, w.last}
	if len(prefixes) > 0 {
		var either []string
		for _, prefix := range prefixes {
			args = append(args, prefix+".")
			either = append(either, fmt.Sprintf("SUBSTR(a.event || '.', 1, LENGTH($%d)) = $%d", len(args), len(args)))
		}
		wanted = strings.Join(either, " OR ")
	}
	if err := tx.exec(`INSERT INTO webhook_event (id, account_id, number, event_type, status, created_at)
		SELECT o.id, o.account_id, o.number, a.event, CASE WHEN `+wanted+` THEN 'waiting' ELSE 'skipped' END, o.created_at
		FROM outbox o JOIN audit_entry a ON a.account_id = o.account_id AND a.number = o.number
		WHERE o.id >= $1 AND o.id <= $2 ON CONFLICT (id) DO NOTHING`, args...); err != nil {
		return 0, err
	}
	// Others that lie there have their accounts queued already. The status is asked for
	// so that no index of what waits is used: that may be much.
	if err := tx.exec(`INSERT INTO webhook_queue (account_id, due_at)
		SELECT DISTINCT account_id, CAST($3 AS BIGINT) FROM webhook_event
		WHERE id >= $1 AND id <= $2 AND status || '' = 'waiting' ON CONFLICT (account_id) DO NOTHING`,
		w.first, w.last, micros(tx.now)); err != nil {
		return 0, err
	}
	return w.count, tx.exec(`DELETE FROM outbox WHERE id >= $1 AND id <= $2
		AND EXISTS (SELECT 1 FROM webhook_event w WHERE w.id = outbox.id)`, w.first, w.last)
}

// ClaimEvents are the first events of at most limit accounts for which they are due;
// they are not due again until then.
func (tx *Tx) ClaimEvents(since string, limit int, until time.Time) ([]Due, error) {
	type row struct {
		Due
		account string
		head    string
		late    int64
	}
	rows, err := all(tx, func(s scanner, r *row) error {
		var changes string
		var created int64
		err := s.Scan(&r.account, &r.Tries, &r.head, &r.Attempts, &r.late, &r.ManagerID, &r.Number, &r.UserID, &r.CredentialID,
			&r.MadeBy, &r.Event, &r.ResourceType, &r.ResourceID, &changes, &r.RequestID, &created)
		if err != nil {
			return err
		}
		r.ID, r.AccountID, r.CreatedAt, r.Changes = r.head, r.account, fromMicros(created), nil
		return json.Unmarshal([]byte(changes), &r.Changes)
		// An event of an account may have been committed before the one that precedes
		// it by id: while that is in the outbox, this one waits. 'late' says so.
	}, `SELECT due.account_id, due.tries, COALESCE(w.id, ''), COALESCE(w.attempts, 0),
			CASE WHEN EXISTS (SELECT 1 FROM audit_entry p JOIN outbox o ON o.id = p.id
				WHERE p.account_id = w.account_id AND p.number = w.number - 1 AND o.id > $2) THEN 1 ELSE 0 END,
			COALESCE(c.manager_id, ''), COALESCE(a.number, 0), COALESCE(a.actor_user_id, ''), COALESCE(a.credential_id, ''),
			COALESCE(a.made_by, ''), COALESCE(a.event, ''), COALESCE(a.resource_type, ''), COALESCE(a.resource_id, ''),
			COALESCE(a.changes, '[]'), COALESCE(a.request_id, ''), COALESCE(a.created_at, 0)
		FROM (SELECT account_id, due_at, tries FROM webhook_queue WHERE due_at <= $1 ORDER BY due_at, account_id LIMIT $3) due
		LEFT JOIN webhook_event w ON w.account_id = due.account_id AND w.status = 'waiting' AND w.number =
			(SELECT f.number FROM webhook_event f WHERE f.account_id = due.account_id AND f.status = 'waiting' ORDER BY f.number LIMIT 1)
		LEFT JOIN audit_entry a ON a.account_id = w.account_id AND a.number = w.number
		LEFT JOIN account c ON c.id = due.account_id
		ORDER BY due.due_at, due.account_id`, micros(tx.now), since, limit)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	var due []Due
	for _, r := range rows {
		switch {
		case r.head == "": // nothing waits any more
			if err := tx.leaveQueue(r.account); err != nil {
				return nil, err
			}
		case r.late == 0:
			due = append(due, r.Due)
			if err := tx.exec("UPDATE webhook_queue SET due_at = $2 WHERE account_id = $1", r.account, micros(until)); err != nil {
				return nil, err
			}
		}
	}
	return due, nil
}

// leaveQueue ends an account's waiting, if nothing of it waits.
func (tx *Tx) leaveQueue(accountID string) error {
	return tx.exec(`DELETE FROM webhook_queue WHERE account_id = $1
		AND NOT EXISTS (SELECT 1 FROM webhook_event WHERE account_id = $1 AND status = 'waiting')`, accountID)
}

// NoteDelivery notes what came of an event: the attempts that were made, and the
// status that it has with them.
func (tx *Tx) NoteDelivery(due *Due, attempts []Attempt, status string) error {
	if len(attempts) == 0 {
		return nil
	}
	log, err := json.Marshal(attempts)
	if err != nil {
		return err
	}
	finished := int64(0)
	if status != DeliveryWaiting {
		finished = micros(tx.now)
	}
	return tx.exec("UPDATE webhook_event SET status = $2, attempts = $3, log = $4, finished_at = $5 WHERE id = $1 AND status = 'waiting'",
		due.ID, status, due.Attempts+int64(len(attempts)), string(log), finished)
}

// QueueNext ends the claim of an account, whose event has that status now. One that
// waits is due next, after so many rounds that failed; any other gives way to the
// account's next event.
func (tx *Tx) QueueNext(accountID, status string, next time.Time, tries int64) error {
	if status != DeliveryWaiting {
		next, tries = tx.now, 0
	}
	if err := tx.exec("UPDATE webhook_queue SET due_at = $2, tries = $3 WHERE account_id = $1", accountID, micros(next), tries); err != nil {
		return err
	}
	if status == DeliveryWaiting {
		return nil
	}
	return tx.leaveQueue(accountID)
}

// Retry has a delivery be due now, whatever became of it, and returns it; an id that
// none has is refused as not found.
func (tx *Tx) Retry(id string) (*Delivery, error) {
	d, err := tx.Delivery(id)
	if err != nil {
		return nil, err
	}
	if d == nil {
		return nil, tenant.Missed("id")
	}
	d.Status, d.FinishedAt = DeliveryWaiting, time.Time{}
	if err := tx.exec("UPDATE webhook_event SET status = 'waiting', finished_at = 0 WHERE id = $1", id); err != nil {
		return nil, err
	}
	return d, tx.exec(`INSERT INTO webhook_queue (account_id, due_at) VALUES ($1, $2)
		ON CONFLICT (account_id) DO UPDATE SET due_at = excluded.due_at, tries = 0`, d.AccountID, micros(tx.now))
}

const selectDelivery = "SELECT id, account_id, event_type, status, attempts, log, created_at, finished_at FROM webhook_event WHERE "

func scanDelivery(row scanner, d *Delivery) error {
	var log string
	var created, finished int64
	if err := row.Scan(&d.ID, &d.AccountID, &d.EventType, &d.Status, &d.Attempts, &log, &created, &finished); err != nil {
		return err
	}
	d.CreatedAt, d.FinishedAt, d.Log = fromMicros(created), fromMicros(finished), nil
	if log == "" {
		return nil
	}
	return json.Unmarshal([]byte(log), &d.Log)
}

// Delivery is one delivery, or nil.
func (tx *Tx) Delivery(id string) (*Delivery, error) {
	return one(tx, scanDelivery, selectDelivery+"id = $1", id)
}

// Deliveries are the newest deliveries, at most limit of them, newest first: of one
// status and one type, or of any for "".
func (tx *Tx) Deliveries(status, eventType string, limit int) ([]Delivery, error) {
	statuses := DeliveryStatuses
	if status != "" {
		statuses = []string{status}
	}
	var found []Delivery
	for _, status := range statuses {
		where, args := "status = $1 ORDER BY id DESC LIMIT $2", []any{status, limit}
		if eventType != "" {
			where, args = "event_type = $3 AND "+where, append(args, eventType)
		}
		some, err := all(tx, scanDelivery, selectDelivery+where, args...)
		if err != nil {
			return nil, err
		}
		found = append(found, some...)
	}
	slices.SortFunc(found, func(a, b Delivery) int { return -cmp.Compare(a.ID, b.ID) })
	return found[:min(limit, len(found))], nil
}
