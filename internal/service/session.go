package service

import (
	"cmp"
	"context"
	"crypto/subtle"
	"net/netip"
	"strings"
	"time"

	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// Session is a person who signed in, and the token, which is shown once.
type Session struct {
	store.Session
	Token   string
	User    User
	Account tenant.Account
}

// Where is where a request comes from, as its session's list tells.
type Where struct {
	// Address is the client's.
	Address   string
	UserAgent string
}

// SignIn asks for a session.
type SignIn struct {
	Email, Password string
	// OrganizationID chooses where the same address is known more than once: "" is the
	// oldest where it has a password. Links in mails name it. Nobody is told where else
	// an address is known, for whoever made a user need not own the address.
	OrganizationID string
	// Code is of the second factor, or a recovery code; "" when none was asked for yet.
	Code string
	// Kind is APISession, or PortalSession.
	Kind      store.SessionKind
	Where     Where
	RequestID string
}

// pendingTime is how long somebody who knows the password may take to find the code.
const pendingTime = 5 * time.Minute

// SignIn starts a session. While anything is wrong with address or password, the
// refusal, of kind Unauthenticated, is the same and one password is hashed; too many
// failures are refused with kind TooMany, whether anybody has the address or not.
// After a right password the refusal names what is in the way: the standing of
// account or user, or single sign-on.
//
// Where the user has a second factor and no code came, a portal's session is of kind
// PendingSession, for ConfirmSignIn; an API's is refused, and so is a wrong code.
func (s *Service) SignIn(ctx context.Context, in SignIn) (*Session, error) {
	var found *tenant.User
	err := s.db.View(ctx, func(tx *store.Tx) (err error) {
		found, err = tx.UserByEmail(in.Email, in.OrganizationID)
		return err
	})
	if err != nil {
		return nil, err
	}
	counted := s.triesOf(in.Email, in.Where)
	if err := counted.begin(ctx); err != nil {
		return nil, err
	}
	refused := tenant.RefuseField(tenant.Unauthenticated, "password", "")
	hash := ""
	if found != nil {
		hash = found.PasswordHash
	}
	if len(in.Password) > auth.MaxPassword {
		in.Password = ""
	}
	ok, err := s.passwords.Matches(ctx, in.Password, hash)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, cmp.Or(counted.failed(ctx, found), error(refused))
	}
	return s.enter(ctx, found, counted, in, func(tx *store.Tx, user *tenant.User) error {
		// The password may have changed since it matched.
		if user == nil || user.PasswordHash != found.PasswordHash {
			return refused
		}
		signOn, err := tx.SignOn(user.AccountID)
		if err != nil {
			return err
		}
		return signOn.AdmitPassword(user)
	})
}

// ConfirmSignIn makes a portal's session of a pending one, with the code that it
// owes. The token is another.
func (s *Service) ConfirmSignIn(ctx context.Context, token, code string, where Where, requestID string) (*Session, error) {
	digest := s.sealer.Digest(token)
	refused := tenant.RefuseField(tenant.Unauthenticated, "code", "It took too long. Sign in again.")
	pending := func(tx *store.Tx) (*store.Session, error) {
		row, err := tx.Session(digest)
		if err == nil && (row == nil || row.Kind != store.PendingSession || !row.Open(tx.Now())) {
			err = refused
		}
		return row, err
	}
	var found *tenant.User
	err := s.db.View(ctx, func(tx *store.Tx) error {
		row, err := pending(tx)
		if err != nil {
			return err
		}
		if found, err = tx.UserByID(row.UserID); err == nil && found == nil {
			err = refused
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if code == "" {
		return nil, tenant.RefuseField(tenant.Missing, "code", "A code of the second factor is required.")
	}
	counted := s.triesOf(found.Email, where)
	if err := counted.begin(ctx); err != nil {
		return nil, err
	}
	in := SignIn{Code: code, Kind: store.PortalSession, Where: where, RequestID: requestID}
	return s.enter(ctx, found, counted, in, func(tx *store.Tx, user *tenant.User) error {
		if _, err := pending(tx); err != nil {
			return err
		}
		return tx.EndSession(digest, store.EndedByRenewal)
	})
}

// PendingSignIn is the session of somebody who owes a code, to be given up by SignOut;
// kind Unauthenticated for any other, and for one that is over.
func (s *Service) PendingSignIn(ctx context.Context, token string) (session *store.Session, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error {
		session, err = tx.Session(s.sealer.Digest(token))
		if err == nil && (session == nil || session.Kind != store.PendingSession || !session.Open(tx.Now())) {
			err = tenant.RefuseParameter(tenant.Unauthenticated, "Cookie", "")
		}
		return err
	})
	return session, err
}

// enter starts the session of a user whom check lets in, once the second factor is
// shown, and forgets the failures before.
func (s *Service) enter(ctx context.Context, found *tenant.User, counted *tries, in SignIn, check func(*store.Tx, *tenant.User) error) (*Session, error) {
	lane, err := s.lane(ctx, found.AccountID)
	if err != nil {
		return nil, err
	}
	var session *Session
	var wrong bool
	err = s.db.UpdateAll(ctx, append(counted.lanes(), lane), func(tx *store.Tx) error {
		session, wrong = nil, false
		user, err := tx.UserByID(found.ID)
		if err != nil {
			return err
		}
		if user == nil {
			return tenant.RefuseField(tenant.Unauthenticated, "password", "")
		}
		if wrong, err = s.owesCode(tx, user, in.Code); err != nil {
			return err
		}
		if wrong && in.Code != "" {
			return nil
		}
		if err := check(tx, user); err != nil {
			return err
		}
		account, err := s.admit(tx, user)
		if err != nil {
			return err
		}
		if wrong {
			if in.Kind != store.PortalSession {
				return tenant.RefuseField(tenant.Unauthenticated, "code", "A code of the second factor is needed.")
			}
			in := in
			in.Kind = store.PendingSession
			session, err = s.startSession(tx, user, account, in, pendingTime)
			return err
		}
		change := tenant.SignIn(*user, in.RequestID, tx.Now())
		if err := tx.Apply(change); err != nil {
			return err
		}
		if err := counted.forget(tx); err != nil {
			return err
		}
		session, err = s.startSession(tx, change.Users[0].After, account, in, s.options.SessionLife)
		return err
	})
	if err == nil && session == nil {
		return nil, cmp.Or(counted.failed(ctx, found), error(tenant.RefuseField(tenant.Unauthenticated, "code", "The code is wrong, or was used before.")))
	}
	return session, err
}

// owesCode reports whether the user has a second factor that the code does not
// prove. A code that does is used up.
func (s *Service) owesCode(tx *store.Tx, user *tenant.User, code string) (bool, error) {
	factor, err := tx.Factor(user.ID)
	if err != nil || factor == nil || !factor.Confirmed {
		return false, err
	}
	if code == "" {
		return true, nil
	}
	if digest := s.sealer.RecoveryDigest(user.ID, code); digest != "" {
		taken, err := tx.TakeRecoveryCode(user.ID, digest)
		if err != nil || !taken {
			return true, err
		}
		return false, tx.Apply(tenant.Note(user.Actor(nil, ""), tenant.RecoveryCodeUsed, *user))
	}
	step, ok, err := s.sealer.FactorStep(factor, code, tx.Now())
	if err != nil || !ok {
		return true, err
	}
	taken, err := tx.TakeStep(user.ID, step)
	return !taken, err
}

func (s *Service) startSession(tx *store.Tx, user *tenant.User, account *tenant.Account, in SignIn, life time.Duration) (*Session, error) {
	session := &Session{Token: s.sealer.MintToken() + s.sealer.MintToken(), User: User{User: *user}, Account: *account}
	session.Session = store.Session{
		ID: s.db.Source().NewID(), Digest: s.sealer.Digest(session.Token), Kind: in.Kind, AccountID: user.AccountID, UserID: user.ID,
		CreatedAt: tx.Now(), ExpiresAt: tx.Now().Add(life), UsedAt: tx.Now(),
		Address: shown(in.Where.Address), UserAgent: shown(in.Where.UserAgent),
	}
	return session, tx.StartSession(session.Session)
}

// shown is a text from a request as it is kept: of bounded length, and such that
// PostgreSQL takes it.
func shown(text string) string {
	const most = 255
	text = strings.ReplaceAll(strings.ToValidUTF8(text, ""), "\x00", "")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "")
	}
	return text
}

// admit refuses a person whose account, or who, may not use services now.
func (s *Service) admit(tx *store.Tx, user *tenant.User) (*tenant.Account, error) {
	account, err := tx.Account(user.AccountID)
	if err != nil {
		return nil, err
	}
	var managing *tenant.Account
	if account.ManagerID != "" {
		if managing, err = tx.Account(account.ManagerID); err != nil {
			return nil, err
		}
	}
	if err := account.Admit(managing); err != nil {
		return nil, err
	}
	return account, auth.AdmitUser(user)
}

// OperatorSignIn starts a portal session of the operator, for who has the operator
// token. Wrong ones are refused with kind Unauthenticated, and count with the failures
// of those who sign in from there. No account's audit log is told of it.
func (s *Service) OperatorSignIn(ctx context.Context, token string, where Where, _ string) (*Session, error) {
	counted := s.triesFrom(where)
	if err := counted.begin(ctx); err != nil {
		if tenant.IsKind(err, tenant.TooMany) {
			err = tenant.RefuseField(tenant.TooMany, "token", "Too many tries. Wait a little.")
		}
		return nil, err
	}
	id := s.sealer.OperatorID(token)
	if s.options.OperatorToken == "" || subtle.ConstantTimeCompare([]byte(id), []byte(s.sealer.OperatorID(s.options.OperatorToken))) != 1 {
		return nil, cmp.Or(counted.failed(ctx, nil), error(tenant.RefuseField(tenant.Unauthenticated, "token", "The operator token is wrong.")))
	}
	operator := tenant.User{ID: id, AccountID: store.OperatorAccount}
	var session *Session
	err := s.db.UpdateAll(ctx, append(counted.lanes(), store.OperatorAccount), func(tx *store.Tx) (err error) {
		if err := counted.forget(tx); err != nil {
			return err
		}
		session, err = s.startSession(tx, &operator, &tenant.Account{}, SignIn{Kind: store.PortalSession, Where: where}, s.options.SessionLife)
		return err
	})
	if err != nil {
		return nil, err
	}
	session.User = User{}
	return session, nil
}

// EndOperatorSessions ends all sessions of the operator, wherever they are.
func (s *Service) EndOperatorSessions(ctx context.Context) error {
	return s.db.Update(ctx, store.OperatorAccount, func(tx *store.Tx) error { return tx.EndOperatorSessions(store.EndedBySignOut) })
}

// Session is the API session of a token, while it lasts. Anything else is refused
// with kind Unauthenticated.
func (s *Service) Session(ctx context.Context, token string) (session *Session, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error {
		row, err := tx.Session(s.sealer.Digest(token))
		if err != nil {
			return err
		}
		refused := tenant.RefuseParameter(tenant.Unauthenticated, "Authorization", "")
		if row == nil || row.Kind != store.APISession || !row.Open(tx.Now()) {
			return refused
		}
		user, err := tx.UserByID(row.UserID)
		if err != nil {
			return err
		}
		if user == nil {
			return refused
		}
		account, err := s.admit(tx, user)
		if err != nil {
			return refused
		}
		session = &Session{Session: *row, User: User{User: *user}, Account: *account}
		return nil
	})
	return session, err
}

// SignOut ends a session.
func (s *Service) SignOut(ctx context.Context, session store.Session) error {
	lane, err := s.lane(ctx, session.AccountID)
	if err != nil {
		return err
	}
	return s.db.Update(ctx, lane, func(tx *store.Tx) error { return tx.EndSession(session.Digest, store.EndedBySignOut) })
}

// RenewSession gives a portal session another token, as is due when what it may do
// has changed. It ends when it would have.
func (s *Service) RenewSession(ctx context.Context, in *auth.SignedIn) (token string, err error) {
	token = s.sealer.MintToken() + s.sealer.MintToken()
	err = s.db.Update(ctx, laneOf(in.Actor), func(tx *store.Tx) error {
		row, err := tx.Session(in.Digest)
		if err != nil {
			return err
		}
		if row == nil || row.Kind != store.PortalSession || !row.Open(tx.Now()) {
			return tenant.RefuseParameter(tenant.Unauthenticated, "Cookie", "")
		}
		return s.renew(tx, *row, token)
	})
	return token, err
}

func (s *Service) renew(tx *store.Tx, session store.Session, token string) error {
	if err := tx.EndSession(session.Digest, store.EndedByRenewal); err != nil {
		return err
	}
	session.ID, session.Digest, session.UsedAt = s.db.Source().NewID(), s.sealer.Digest(token), tx.Now()
	return tx.StartSession(session)
}

// Sessions are the actor's own that last, of either kind, the oldest first, without
// what finds them.
func (s *Service) Sessions(ctx context.Context, actor tenant.Actor) (sessions []store.Session, err error) {
	if err := inPerson(actor); err != nil {
		return nil, err
	}
	err = s.db.View(ctx, func(tx *store.Tx) error {
		all, err := tx.SessionsOf(actor.AccountID, actor.UserID)
		for _, session := range all {
			session.Digest = ""
			if session.Kind != store.PendingSession {
				sessions = append(sessions, session)
			}
		}
		return err
	})
	return sessions, err
}

// EndSession ends one of the actor's own sessions, by its id.
func (s *Service) EndSession(ctx context.Context, actor tenant.Actor, id string) error {
	return s.endOwn(ctx, actor, func(tx *store.Tx, user *tenant.User) error {
		sessions, err := tx.SessionsOf(user.AccountID, user.ID)
		if err != nil {
			return err
		}
		for _, session := range sessions {
			if session.ID == id && id != "" {
				if err := tx.EndSession(session.Digest, store.EndedBySignOut); err != nil {
					return err
				}
				return tx.Apply(tenant.Note(actor, tenant.SessionEnded, *user, tenant.FieldChange{Field: "session_id", From: id}))
			}
		}
		return tenant.Missed("session_id")
	})
}

// EndSessions ends all of the actor's sessions, this one too, wherever they are.
func (s *Service) EndSessions(ctx context.Context, actor tenant.Actor) error {
	return s.endOwn(ctx, actor, func(tx *store.Tx, user *tenant.User) error {
		if err := tx.EndSessionsOf(user.AccountID, user.ID, store.EndedBySignOut); err != nil {
			return err
		}
		return tx.Apply(tenant.Note(actor, tenant.SignedOutEverywhere, *user))
	})
}

func (s *Service) endOwn(ctx context.Context, actor tenant.Actor, end func(*store.Tx, *tenant.User) error) error {
	if err := inPerson(actor); err != nil {
		return err
	}
	return s.db.Update(ctx, laneOf(actor), func(tx *store.Tx) error {
		user, err := tx.User(actor.AccountID, actor.UserID, "user_id")
		if err != nil {
			return err
		}
		return end(tx, user)
	})
}

// inPerson refuses, with kind Forbidden, whoever acts for somebody else: passwords,
// second factors and sessions are a person's own.
func inPerson(actor tenant.Actor) error {
	if actor.AccountID == "" || actor.UserID == "" || actor.PersonUserID != "" {
		return tenant.RefuseParameter(tenant.Forbidden, "Authorization", "")
	}
	return nil
}

// tries counts one try to sign in, for an address of mail and from one of the net.
type tries struct {
	s       *Service
	counted []tenant.Tries // of the mail's first
	most    []int64
	// nobody: they are for no address of mail.
	nobody bool
}

func (s *Service) triesOf(email string, where Where) *tries {
	t := &tries{s: s, counted: []tenant.Tries{{Subject: s.sealer.Digest("try for " + tenant.EmailKey(email))}}, most: []int64{tenant.MaxTries}}
	if where.Address != "" {
		from := s.triesFrom(where)
		t.counted, t.most = append(t.counted, from.counted...), append(t.most, from.most...)
	}
	return t
}

// triesFrom counts for where they come from alone.
func (s *Service) triesFrom(where Where) *tries {
	from := tenant.Tries{Subject: s.sealer.Digest("try from " + network(where.Address))}
	return &tries{s: s, counted: []tenant.Tries{from}, most: []int64{tenant.MaxTriesFrom}, nobody: true}
}

// network is what one customer has: of IPv6, 64 bits.
func network(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	if ip = ip.Unmap(); ip.Is6() {
		prefix, _ := ip.WithZone("").Prefix(64)
		return prefix.String()
	}
	return ip.String()
}

func (t *tries) lanes() (lanes []string) {
	for _, one := range t.counted {
		lanes = append(lanes, store.TryLane(one.Subject))
	}
	return lanes
}

// begin counts the try, or refuses it.
func (t *tries) begin(ctx context.Context) error {
	return t.s.db.UpdateAll(ctx, t.lanes(), t.beginIn)
}

// beginAnd counts the try with what it does in the same transaction.
func (t *tries) beginAnd(ctx context.Context, do func(*store.Tx) error) error {
	return t.s.db.UpdateAll(ctx, t.lanes(), func(tx *store.Tx) error {
		if err := t.beginIn(tx); err != nil {
			return err
		}
		return do(tx)
	})
}

func (t *tries) beginIn(tx *store.Tx) error {
	var begun []tenant.Tries
	for i := range t.counted {
		one, err := tx.Tries(t.counted[i].Subject)
		if err != nil {
			return err
		}
		if one, err = one.Begin(t.most[i], tx.Now()); err != nil {
			return err
		}
		begun = append(begun, one)
	}
	for i, one := range begun {
		t.counted[i] = one
		if err := tx.PutTries(one); err != nil {
			return err
		}
	}
	return nil
}

// failed locks, when this was the last try that may fail. user is nil for nobody.
func (t *tries) failed(ctx context.Context, user *tenant.User) error {
	last := false
	for i, one := range t.counted {
		last = last || one.Count >= t.most[i]
	}
	if !last {
		return nil
	}
	lanes := t.lanes()
	if user != nil {
		lane, err := t.s.lane(ctx, user.AccountID)
		if err != nil {
			return err
		}
		lanes = append(lanes, lane)
	}
	return t.s.db.UpdateAll(ctx, lanes, func(tx *store.Tx) error {
		for i := range t.counted {
			one, err := tx.Tries(t.counted[i].Subject)
			if err != nil {
				return err
			}
			one, locked := one.Failed(t.most[i], tx.Now())
			if !locked {
				continue
			}
			if err := tx.PutTries(one); err != nil {
				return err
			}
			if i > 0 || user == nil {
				continue
			}
			if err := tx.Apply(tenant.Note(tenant.Actor{AccountID: user.AccountID}, tenant.Locked, *user,
				tenant.FieldChange{Field: "locked_until", To: one.LockedUntil.Format(time.RFC3339)})); err != nil {
				return err
			}
		}
		return nil
	})
}

// forget begins anew for the address of mail, and takes this one try back from where
// it came.
func (t *tries) forget(tx *store.Tx) error {
	for i := range t.counted {
		one, err := tx.Tries(t.counted[i].Subject)
		if err != nil {
			return err
		}
		if i == 0 && !t.nobody {
			one = tenant.Tries{Subject: one.Subject, Since: one.Since}
		} else {
			one.Count = max(0, one.Count-1)
		}
		if err := tx.PutTries(one); err != nil {
			return err
		}
	}
	return nil
}
