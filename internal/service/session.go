package service

import (
	"cmp"
	"context"

	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// Session is a person who signed in, and the token, which is shown once.
type Session struct {
	store.Session
	Token string
	User  User
}

// SignIn starts a session for who has that address and password in the given
// organization or, with "", in the oldest that knows the address. Whatever is
// wrong, the refusal is the same and one password is hashed.
func (s *Service) SignIn(ctx context.Context, email, password, organizationID, requestID string) (*Session, error) {
	var found *tenant.User
	err := s.db.View(ctx, func(tx *store.Tx) (err error) {
		found, err = tx.UserByEmail(email, organizationID)
		return err
	})
	if err != nil {
		return nil, err
	}
	refused := tenant.RefuseField(tenant.Unauthenticated, "password", "")
	hash := ""
	if found != nil {
		hash = found.PasswordHash
	}
	if len(password) > auth.MaxPassword {
		password = ""
	}
	if ok, err := s.passwords.Matches(ctx, password, hash); err != nil || !ok {
		return nil, cmp.Or(err, error(refused))
	}
	lane, err := s.lane(ctx, found.AccountID)
	if err != nil {
		return nil, err
	}
	session := &Session{Token: s.sealer.MintToken() + s.sealer.MintToken()}
	err = s.db.Update(ctx, lane, func(tx *store.Tx) error {
		user, err := tx.UserByID(found.ID)
		if err != nil {
			return err
		}
		// The password may have changed, or the account stopped, since it matched.
		if user == nil || user.PasswordHash != found.PasswordHash {
			return refused
		}
		if err := s.admit(tx, user); err != nil {
			return err
		}
		change := tenant.SignIn(*user, requestID, tx.Now())
		if err := tx.Apply(change); err != nil {
			return err
		}
		session.User = User{User: *change.Users[0].After}
		session.Session = store.Session{
			Digest: s.sealer.Digest(session.Token), AccountID: user.AccountID, UserID: user.ID,
			CreatedAt: tx.Now(), ExpiresAt: tx.Now().Add(s.options.SessionLife),
		}
		return tx.StartSession(session.Session)
	})
	if err != nil {
		return nil, err
	}
	return session, nil
}

// admit refuses a person whose account, or who, may not use services now.
func (s *Service) admit(tx *store.Tx, user *tenant.User) error {
	if err := tx.Admit(user.AccountID); err != nil {
		return err
	}
	return auth.AdmitUser(user)
}

// Session is the session of a token, while it lasts. Anything else is refused
// with kind Unauthenticated.
func (s *Service) Session(ctx context.Context, token string) (session *Session, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error {
		session, err = s.session(tx, token)
		return err
	})
	return session, err
}

func (s *Service) session(tx *store.Tx, token string) (*Session, error) {
	row, err := tx.Session(s.sealer.Digest(token))
	if err != nil {
		return nil, err
	}
	refused := tenant.RefuseParameter(tenant.Unauthenticated, "Authorization", "")
	if row == nil {
		return nil, refused
	}
	user, err := tx.UserByID(row.UserID)
	if err != nil {
		return nil, err
	}
	if user == nil || s.admit(tx, user) != nil {
		return nil, refused
	}
	return &Session{Session: *row, User: User{User: *user}}, nil
}

// SignOut ends a session.
func (s *Service) SignOut(ctx context.Context, session *Session) error {
	return s.db.Update(ctx, session.AccountID, func(tx *store.Tx) error { return tx.EndSession(session.Digest) })
}
