package store

import "time"

// Answer is the first answer to a request, kept for the same request again.
type Answer struct {
	ID string
	// Request is a digest of who asked what; with an idempotency key, of that
	// instead of the body.
	Request string
	// Body is a digest of the request body.
	Body string
	// Sealed is the answer, encrypted.
	Sealed string
	// Try is which try of the request got it first: it is nobody else's at that
	// try.
	Try       int64
	ExpiresAt time.Time
}

// KeepAnswer stores the answer in the transaction that it tells of.
func (tx *Tx) KeepAnswer(a Answer) error {
	return tx.exec("INSERT INTO answer (id, request, body, sealed, replayed, expires_at) VALUES ($1, $2, $3, $4, $5, $6)",
		a.ID, a.Request, a.Body, a.Sealed, a.Try, micros(a.ExpiresAt))
}

// TakeAnswer is the newest kept answer to the request that was not yet given to
// this or a later try of it, or nil. Two equal requests that both lost their
// answers so get one each. What an earlier try got and lost comes first, so that
// no request takes two; then the newest, for an older one that no try has asked
// for most likely arrived.
func (tx *Tx) TakeAnswer(request string, try int64) (*Answer, error) {
	return one(tx, func(row scanner, a *Answer) error {
		return row.Scan(&a.ID, &a.Request, &a.Body, &a.Sealed)
	}, `UPDATE answer SET replayed = $2 WHERE request = $1 AND id = (SELECT id FROM answer
		WHERE request = $1 AND replayed < $2 AND expires_at > $3 ORDER BY replayed DESC, id DESC LIMIT 1)
		RETURNING id, request, body, sealed`, request, try, micros(tx.now))
}

// KeptAnswer is the kept answer to a request with an idempotency key, or nil.
func (tx *Tx) KeptAnswer(request string) (*Answer, error) {
	return one(tx, func(row scanner, a *Answer) error {
		return row.Scan(&a.ID, &a.Request, &a.Body, &a.Sealed)
	}, "SELECT id, request, body, sealed FROM answer WHERE request = $1 AND expires_at > $2 ORDER BY id LIMIT 1", request, micros(tx.now))
}

// keepOver is how long what people left behind stays, to tell them that it is over.
const keepOver = 24 * time.Hour

// Prune forgets at most limit answers, leases and messages whose time is over, as many
// sessions, invitations and the like a day later, the events from before keep, deliveries
// a little older than that, processes not seen since keep, and memberships of a group that
// has gone, and returns how many rows went.
func (tx *Tx) Prune(keep time.Time, limit int) (int64, error) {
	var total int64
	for _, query := range []string{
		"DELETE FROM answer WHERE (request, id) IN (SELECT request, id FROM answer WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
		// The time stands there twice: what was found out of date may be taken anew
		// before it is deleted, and then only the row itself tells.
		"DELETE FROM lease WHERE (account_id, call_id) IN (SELECT account_id, call_id FROM lease WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2) AND expires_at <= $1",
		"DELETE FROM message WHERE id IN (SELECT id FROM message WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
	} {
		n, err := tx.execCount(query, micros(tx.now), limit)
		if err != nil {
			return total, err
		}
		total += n
	}
	for _, query := range []string{
		"DELETE FROM session WHERE digest IN (SELECT digest FROM session WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
		"DELETE FROM sign_in_try WHERE subject IN (SELECT subject FROM sign_in_try WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2) AND expires_at <= $1",
		"DELETE FROM password_reset WHERE user_id IN (SELECT user_id FROM password_reset WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2) AND expires_at <= $1",
		"DELETE FROM invitation WHERE id IN (SELECT id FROM invitation WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2) AND expires_at <= $1",
		"DELETE FROM mail WHERE id IN (SELECT id FROM mail WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
	} {
		n, err := tx.execCount(query, micros(tx.now.Add(-keepOver)), limit)
		if err != nil {
			return total, err
		}
		total += n
	}
	// Event ids sort by time.
	n, err := tx.execCount("DELETE FROM outbox WHERE id IN (SELECT id FROM outbox ORDER BY id LIMIT $2) AND created_at < $1", micros(keep), limit)
	if err != nil {
		return total, err
	}
	deliveries, err := tx.execCount("DELETE FROM webhook_event WHERE id IN (SELECT id FROM webhook_event ORDER BY id LIMIT $2) AND created_at < $1", micros(keep.Add(-keepDeliveries)), limit)
	if err != nil {
		return total, err
	}
	nodes, err := tx.execCount("DELETE FROM node WHERE seen_at < $1", micros(keep))
	if err != nil {
		return total, err
	}
	members, err := tx.pruneMembers(limit)
	return total + n + deliveries + nodes + members, err
}

// pruneMembers takes at most limit users out of a group that has gone. Nobody joins it
// any more.
func (tx *Tx) pruneMembers(limit int) (int64, error) {
	type removed struct {
		id     string
		pruned int64
	}
	group, err := one(tx, func(row scanner, r *removed) error { return row.Scan(&r.id, &r.pruned) },
		"SELECT id, pruned FROM removed_group ORDER BY id LIMIT 1")
	if err != nil || group == nil {
		return 0, err
	}
	// From where the last time ended: what is deleted lies in PostgreSQL's way for a while.
	numbers, err := tx.MembersOf(group.id, group.pruned, limit)
	if err != nil {
		return 0, err
	}
	if len(numbers) == 0 {
		return tx.execCount("DELETE FROM removed_group WHERE id = $1", group.id)
	}
	last := numbers[len(numbers)-1]
	if err := tx.exec("UPDATE removed_group SET pruned = $2 WHERE id = $1", group.id, last); err != nil {
		return 0, err
	}
	return tx.execCount("DELETE FROM membership WHERE group_id = $1 AND user_number > $2 AND user_number <= $3", group.id, group.pruned, last)
}
