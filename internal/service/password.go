package service

import (
	"cmp"
	"context"
	"fmt"

	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/mail"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// RequestReset asks for a link to a new password, by mail; organizationID is "" for
// every organization that knows the address, the oldest five at most. Whether anybody
// has the address is found out later, so that neither answer nor time tells. Too many
// requests, for an address of mail or from one of the net, are refused with kind
// TooMany.
func (s *Service) RequestReset(ctx context.Context, email, organizationID string, where Where) error {
	if err := tenant.CheckEmail("email", email); err != nil {
		return err
	}
	counted := s.triesOf(email, where)
	for i := range counted.counted {
		counted.counted[i].Subject = s.sealer.Digest("reset " + counted.counted[i].Subject)
	}
	defer s.posted()
	return counted.beginAnd(ctx, func(tx *store.Tx) error {
		return s.queue(tx, letter{Message: mail.Message{To: email}, Reset: true, Organization: organizationID})
	})
}

// CheckReset is whose password a mailed token would set; kind Unauthenticated for one
// that is used, replaced or over.
func (s *Service) CheckReset(ctx context.Context, token string) (user *tenant.User, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error {
		user, err = s.resetUser(tx, token)
		return err
	})
	return user, err
}

func (s *Service) resetUser(tx *store.Tx, token string) (*tenant.User, error) {
	refused := tenant.RefuseParameter(tenant.Unauthenticated, "token", "This link was used already, or its time is over. Ask for another.")
	reset, err := tx.ResetByToken(s.sealer.Digest(token))
	if err != nil {
		return nil, err
	}
	if reset == nil {
		return nil, refused
	}
	user, err := tx.UserByID(reset.UserID)
	if err == nil && user == nil {
		err = refused
	}
	return user, err
}

// ResetPassword sets a new password with a mailed token, which is used up. All
// sessions of the user end. A second factor is still asked for at sign-in.
func (s *Service) ResetPassword(ctx context.Context, token, password, requestID string) error {
	var user *tenant.User
	var account *tenant.Account
	if err := s.db.View(ctx, func(tx *store.Tx) (err error) {
		if user, err = s.resetUser(tx, token); err == nil {
			account, err = s.admit(tx, user)
		}
		return err
	}); err != nil {
		return err
	}
	hash, err := s.newPassword(ctx, user, account, password)
	if err != nil {
		return err
	}
	// Who reads the mail is not the one who failed to sign in.
	counted := s.triesOf(user.Email, Where{})
	lane, err := s.lane(ctx, user.AccountID)
	if err != nil {
		return err
	}
	defer s.posted()
	return s.db.UpdateAll(ctx, append(counted.lanes(), lane), func(tx *store.Tx) error {
		user, err := s.resetUser(tx, token)
		if err != nil {
			return err
		}
		if err := s.setPassword(tx, user.Actor(nil, requestID), tenant.PasswordWasReset, user, hash); err != nil {
			return err
		}
		return counted.forget(tx)
	})
}

// ChangePassword gives who is signed in another password, for the old one. All the
// user's sessions end; the token is of the one that goes on.
func (s *Service) ChangePassword(ctx context.Context, in *auth.SignedIn, old, password string) (token string, err error) {
	if err := inPerson(in.Actor); err != nil {
		return "", err
	}
	if old == "" {
		return "", tenant.RefuseField(tenant.Missing, "old_password", "The old password is required.")
	}
	counted := s.triesOf(in.User.Email, Where{})
	if err := counted.begin(ctx); err != nil {
		return "", err
	}
	if len(old) > auth.MaxPassword {
		old = "" // no shorter one is to match
	}
	var user *tenant.User
	if err := s.db.View(ctx, func(tx *store.Tx) (err error) {
		user, err = tx.User(in.AccountID, in.UserID, "user_id")
		return err
	}); err != nil {
		return "", err
	}
	ok, err := s.passwords.Matches(ctx, old, user.PasswordHash)
	if err != nil {
		return "", err
	}
	if !ok {
		return "", cmp.Or(counted.failed(ctx, user), error(tenant.RefuseField(tenant.Unauthenticated, "old_password", "The old password is wrong.")))
	}
	hash, err := s.newPassword(ctx, user, &in.Account, password)
	if err != nil {
		return "", err
	}
	before := user.PasswordHash
	token = s.sealer.MintToken() + s.sealer.MintToken()
	defer s.posted()
	err = s.db.UpdateAll(ctx, append(counted.lanes(), laneOf(in.Actor)), func(tx *store.Tx) error {
		user, err := tx.User(in.AccountID, in.UserID, "user_id")
		if err != nil {
			return err
		}
		session, err := tx.Session(in.Digest)
		if err != nil {
			return err
		}
		if user.PasswordHash != before || session == nil || !session.Open(tx.Now()) {
			return tenant.RefuseParameter(tenant.Unauthenticated, "Cookie", "The session was ended. Sign in again.")
		}
		if err := s.setPassword(tx, in.Actor, tenant.PasswordChanged, user, hash); err != nil {
			return err
		}
		if err := counted.forget(tx); err != nil {
			return err
		}
		return s.renew(tx, *session, token)
	})
	return token, err
}

// newPassword is the hash of a password that may be the user's.
func (s *Service) newPassword(ctx context.Context, user *tenant.User, account *tenant.Account, password string) (string, error) {
	if err := s.passwords.Check("password", password, user.Email, account.OrganizationName); err != nil {
		return "", err
	}
	return s.passwords.Hash(ctx, user.ID, password)
}

// setPassword applies it and tells the user by mail.
func (s *Service) setPassword(tx *store.Tx, actor tenant.Actor, event string, user *tenant.User, hash string) error {
	account, err := s.admit(tx, user)
	if err != nil {
		return err
	}
	if err := tx.Apply(tenant.SetPassword(actor, event, *user, hash)); err != nil {
		return err
	}
	return s.queue(tx, letter{Message: mail.Message{To: user.Email, Subject: "Your password was changed", Text: fmt.Sprintf(changedText,
		user.Email, account.OrganizationName, s.options.Product, s.options.PortalURL+ForgotPath)}})
}
