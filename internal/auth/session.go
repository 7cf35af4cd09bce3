package auth

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// key and session are what is kept of each, with when this process has seen it used
// last, in microseconds.
type key struct {
	tenant.Key
	seen atomic.Int64
}

type session struct {
	store.Session
	seen atomic.Int64
}

// SessionIdle is how long a portal session lasts that nobody uses.
const SessionIdle = 30 * time.Minute

// SignedIn is who holds a portal session.
type SignedIn struct {
	store.Session
	Actor   tenant.Actor
	User    tenant.User
	Account tenant.Account
	// Person is who has signed in as User, nil for User in person.
	Person *tenant.User
}

// SignedIn is who holds the token of a portal session. What it refuses with kind
// Unauthenticated, Inactive or Blocked may be shown: who has the token was signed in.
// The token of an API session is unknown here, as this one is there.
func (a *Authenticator) SignedIn(ctx context.Context, token string) (*SignedIn, error) {
	digest := a.sealer.Digest(token)
	s, err := a.session(ctx, digest)
	if err != nil {
		return nil, err
	}
	if s.AccountID == store.OperatorAccount {
		return nil, unauthenticated()
	}
	own, managing, err := a.standing(ctx, s.AccountID, Reading{})
	if err != nil {
		return nil, err
	}
	// The cause is said even of a session that it has ended.
	if err := own.Admit(managing); err != nil {
		return nil, err
	}
	user, err := a.user(ctx, s.UserID, Reading{})
	if err != nil {
		return nil, err
	}
	if err := AdmitUser(&user.User); err != nil {
		return nil, err
	}
	if err := a.lasts(ctx, s); err != nil {
		return nil, err
	}
	permissions, err := a.permissions(ctx, user, Reading{})
	if err != nil {
		return nil, err
	}
	in := &SignedIn{Session: s.Session, User: user.User, Account: own.Account}
	in.Actor = tenant.Actor{
		AccountID: own.ID, ManagerID: own.ManagerID, UserID: s.UserID, CredentialID: s.ID, Manager: own.manager,
		Permissions: slices.Clone(permissions), PersonAccountID: s.PersonAccountID, PersonUserID: s.PersonUserID,
	}
	if s.PersonUserID == "" {
		return in, nil
	}
	in.Person, err = a.person(ctx, s, own)
	return in, err
}

// OperatorSignedIn is the session of the operator that the token is of. It refuses as
// SignedIn does, also a session that was begun with another operator token, and any of
// a user's.
func (a *Authenticator) OperatorSignedIn(ctx context.Context, sessionToken string) (*store.Session, error) {
	s, err := a.session(ctx, a.sealer.Digest(sessionToken))
	if err != nil {
		return nil, err
	}
	if s.AccountID != store.OperatorAccount {
		return nil, unauthenticated()
	}
	if a.operatorID == "" || s.UserID != a.operatorID {
		return nil, over("The session was ended. Sign in again.")
	}
	if err := a.lasts(ctx, s); err != nil {
		return nil, err
	}
	session := s.Session
	return &session, nil
}

// person is who acts as the owner of a managed account: still somebody who may.
func (a *Authenticator) person(ctx context.Context, s *session, own *account) (*tenant.User, error) {
	manager, _, err := a.standing(ctx, s.PersonAccountID, Reading{})
	if err != nil {
		return nil, err
	}
	if err := manager.Admit(nil); err != nil {
		return nil, err
	}
	person, err := a.user(ctx, s.PersonUserID, Reading{})
	if err != nil {
		return nil, err
	}
	if err := AdmitUser(&person.User); err != nil {
		return nil, err
	}
	permissions, err := a.permissions(ctx, person, Reading{})
	if err != nil {
		return nil, err
	}
	may := tenant.Actor{AccountID: manager.ID, UserID: person.ID, Permissions: permissions}
	if own.ManagerID != manager.ID || !manager.manager || !may.Can(tenant.SignInAsOwner) {
		return nil, over("You may not act for this account any more.")
	}
	return &person.User, nil
}

// lasts refuses a session that is over, and notes that one was used that is not.
func (a *Authenticator) lasts(ctx context.Context, s *session) error {
	now := a.db.Source().Now()
	switch {
	case s.Ended == store.EndedByPassword:
		return over("The password was changed. Sign in again.")
	case s.Ended != "":
		return over("The session was ended. Sign in again.")
	case !now.Before(s.ExpiresAt):
		return over("The session has expired. Sign in again.")
	}
	if now.Sub(s.used()) > SessionIdle {
		// It may have been used on another node.
		var row *store.Session
		if err := a.db.View(ctx, func(tx *store.Tx) (err error) {
			row, err = tx.Session(s.Digest)
			return err
		}); err != nil {
			return err
		}
		if row == nil || now.Sub(row.UsedAt) > SessionIdle {
			return over("Nobody has used the session for a while. Sign in again.")
		}
	}
	a.uses.ofSession(s, now)
	return nil
}

func (s *session) used() time.Time {
	if seen := s.seen.Load(); seen > s.UsedAt.UnixMicro() {
		return time.UnixMicro(seen)
	}
	return s.UsedAt
}

func over(detail string) error {
	return tenant.RefuseParameter(tenant.Unauthenticated, "Cookie", detail)
}

// session is the portal session with that digest, over or not.
func (a *Authenticator) session(ctx context.Context, digest string) (*session, error) {
	if kept, ok := a.sessions.Get(digest); ok {
		return kept, nil
	}
	return load(ctx, a, a.sessions, digest, Reading{}, func(tx *store.Tx) (*session, error) {
		row, err := tx.Session(digest)
		if err != nil || row == nil || row.Kind != store.PortalSession {
			return nil, err
		}
		return &session{Session: *row}, nil
	})
}

// uses gathers when keys and sessions were used, to be written now and then.
type uses struct {
	mu       sync.Mutex
	keys     map[string]time.Time // by digest
	sessions map[string]time.Time
}

const (
	keyUse     = time.Hour
	sessionUse = time.Minute
	// mostUses bounds each map: a use that is not noted is noted an hour later.
	mostUses = 1 << 16
)

func (u *uses) ofKey(k *key, now time.Time) {
	if due(&k.seen, now, keyUse) {
		u.note(&u.keys, k.Digest, now)
	}
}

func (u *uses) ofSession(s *session, now time.Time) {
	if due(&s.seen, now, sessionUse) {
		u.note(&u.sessions, s.Digest, now)
	}
}

// due reports whether nobody has seen it used for so long, to one caller.
func due(seen *atomic.Int64, now time.Time, gap time.Duration) bool {
	last := seen.Load()
	return now.UnixMicro()-last >= gap.Microseconds() && seen.CompareAndSwap(last, now.UnixMicro())
}

func (u *uses) note(uses *map[string]time.Time, digest string, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if *uses == nil {
		*uses = map[string]time.Time{}
	}
	if len(*uses) < mostUses {
		(*uses)[digest] = now
	}
}

// useChunk is how many uses are written in one transaction.
const useChunk = 256

// NoteUses writes what was used since the last time, and forgets what cannot be
// written: it is only told to people.
func (a *Authenticator) NoteUses(ctx context.Context) error {
	u := &a.uses
	u.mu.Lock()
	keys, sessions := u.keys, u.sessions
	u.keys, u.sessions = nil, nil
	u.mu.Unlock()
	if err := a.writeUses(ctx, keys, (*store.Tx).KeyUsed); err != nil {
		return err
	}
	return a.writeUses(ctx, sessions, (*store.Tx).SessionUsed)
}

func (a *Authenticator) writeUses(ctx context.Context, uses map[string]time.Time, write func(*store.Tx, string, time.Time) error) error {
	digests := make([]string, 0, len(uses))
	for digest := range uses {
		digests = append(digests, digest)
	}
	slices.SortFunc(digests, strings.Compare) // all nodes take the rows in one order
	for chunk := range slices.Chunk(digests, useChunk) {
		if err := a.db.Update(ctx, "uses", func(tx *store.Tx) error {
			for _, digest := range chunk {
				if err := write(tx, digest, uses[digest]); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// KeepUses calls NoteUses each minute until ctx ends.
func (a *Authenticator) KeepUses(ctx context.Context) {
	ticker := time.NewTicker(sessionUse)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			a.NoteUses(ctx)
		}
	}
}
