package store

import (
	"time"

	"github.com/tenantry/tenantry/internal/tenant"
)

// SessionKind says which door a session opens.
type SessionKind string

// The kinds of sessions. None is good for what another is for.
const (
	APISession    SessionKind = "api"
	PortalSession SessionKind = "portal"
	// PendingSession still owes the code of the second factor.
	PendingSession SessionKind = "pending"
)

// OperatorAccount stands for an account in the portal sessions of the operator; no
// account has that id. The user of such a session is whoever holds the operator token,
// named by auth.Sealer.OperatorID.
const OperatorAccount = "operator"

// Why a session ended before its time.
const (
	EndedBySignOut  = "signed_out"
	EndedByStatus   = "stopped" // the account or the user
	EndedByPassword = "password_changed"
	EndedByRenewal  = "renewed"
)

// Session is a person who signed in.
type Session struct {
	ID string
	// Digest finds the session: a keyed hash of its token.
	Digest    string
	Kind      SessionKind
	AccountID string
	UserID    string
	CreatedAt time.Time
	ExpiresAt time.Time
	// UsedAt is to a minute or two.
	UsedAt             time.Time
	Address, UserAgent string
	// PersonAccountID and PersonUserID are who signed in as UserID, and Reason is why;
	// "" for a session of the user's own.
	PersonAccountID, PersonUserID, Reason string
	// Ended is "" or why it ended before its time.
	Ended string
}

const sessionColumns = `SELECT id, digest, kind, account_id, user_id, created_at, expires_at, used_at, address, user_agent,
	person_account_id, person_user_id, reason, ended FROM session WHERE `

func scanSession(row scanner, s *Session) error {
	var created, expires, used int64
	err := row.Scan(&s.ID, &s.Digest, &s.Kind, &s.AccountID, &s.UserID, &created, &expires, &used, &s.Address, &s.UserAgent,
		&s.PersonAccountID, &s.PersonUserID, &s.Reason, &s.Ended)
	s.CreatedAt, s.ExpiresAt, s.UsedAt = fromMicros(created), fromMicros(expires), fromMicros(used)
	return err
}

// Session is the session with that digest, or nil. It may have ended, and its time
// may be over: ask Open.
func (tx *Tx) Session(digest string) (*Session, error) {
	return one(tx, scanSession, sessionColumns+"digest = $1", digest)
}

// Open reports whether the session lasts.
func (s *Session) Open(now time.Time) bool { return s.Ended == "" && now.Before(s.ExpiresAt) }

// SessionsOf are a user's sessions that last, the oldest first, among them those of
// whoever signed in as the user.
func (tx *Tx) SessionsOf(accountID, userID string) ([]Session, error) {
	return all(tx, scanSession, sessionColumns+"account_id = $1 AND user_id = $2 AND ended = '' AND expires_at > $3 ORDER BY created_at, id",
		accountID, userID, micros(tx.now))
}

// StartSession stores a session. Who signed in is a Change of its own.
func (tx *Tx) StartSession(s Session) error {
	if s.Kind == "" {
		s.Kind = APISession
	}
	return tx.exec(`INSERT INTO session (id, digest, kind, account_id, user_id, created_at, expires_at, used_at, address, user_agent,
		person_account_id, person_user_id, reason) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
		s.ID, s.Digest, string(s.Kind), s.AccountID, s.UserID, micros(s.CreatedAt), micros(s.ExpiresAt), micros(s.UsedAt),
		s.Address, s.UserAgent, s.PersonAccountID, s.PersonUserID, s.Reason)
}

// EndSession ends one session.
func (tx *Tx) EndSession(digest, why string) error { return tx.endSessions("digest = $3", why, digest) }

// EndSessionsOf ends all sessions of a user, and those in which the user acts as
// somebody else's owner.
func (tx *Tx) EndSessionsOf(accountID, userID, why string) error {
	if err := tx.endSessions("account_id = $3 AND user_id = $4", why, accountID, userID); err != nil {
		return err
	}
	return tx.endSessions(ofPersons+" AND person_user_id = $4", why, accountID, userID)
}

// EndOperatorSessions ends all sessions of the operator.
func (tx *Tx) EndOperatorSessions(why string) error {
	return tx.endSessions("account_id = $3", why, OperatorAccount)
}

// ofPersons are the sessions of an account's people as others' owners. That the id is
// not ” is said for the index.
const ofPersons = "person_account_id <> '' AND person_account_id = $3"

// endSessions leaves the rows, to tell why, and takes their time away. Their digests
// are announced.
func (tx *Tx) endSessions(which, why string, args ...any) error {
	digests, err := all(tx, scanText, `UPDATE session SET ended = $1, expires_at = CASE WHEN expires_at < $2 THEN expires_at ELSE $2 END
		WHERE `+which+" AND ended = '' RETURNING digest", append([]any{why, micros(tx.now)}, args...)...)
	tx.ids = append(tx.ids, digests...)
	return err
}

// SessionUsed notes when a session was used. It is nobody's change, and nothing is
// announced.
func (tx *Tx) SessionUsed(digest string, at time.Time) error {
	return tx.exec("UPDATE session SET used_at = $2 WHERE digest = $1 AND used_at < $2", digest, micros(at))
}

// Tries are the tries to sign in that were counted of a subject; none are zero.
func (tx *Tx) Tries(subject string) (tenant.Tries, error) {
	found, err := one(tx, func(row scanner, t *tenant.Tries) error {
		var since, until int64
		err := row.Scan(&t.Count, &since, &t.Locks, &until)
		t.Since, t.LockedUntil = fromMicros(since), fromMicros(until)
		return err
	}, "SELECT tries, since, locks, locked_until FROM sign_in_try WHERE subject = $1", subject)
	if err != nil || found == nil {
		return tenant.Tries{Subject: subject}, err
	}
	found.Subject = subject
	return *found, nil
}

// TryLane is the lane of what counts the tries of a subject.
func TryLane(subject string) string { return "try " + subject }

// PutTries stores what was counted. Call it in the subject's TryLane.
func (tx *Tx) PutTries(t tenant.Tries) error {
	return tx.exec(`INSERT INTO sign_in_try (subject, tries, since, locks, locked_until, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (subject) DO UPDATE SET tries = excluded.tries, since = excluded.since, locks = excluded.locks,
			locked_until = excluded.locked_until, expires_at = excluded.expires_at`,
		t.Subject, t.Count, micros(t.Since), t.Locks, micros(t.LockedUntil), micros(t.Kept()))
}
