package service

import (
	"context"

	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// NewSignOn says how an organization's people are to sign in elsewhere.
type NewSignOn struct {
	Issuer, ClientID string
	// Secret is the client secret; nil leaves it as it is.
	Secret   *string
	Domains  []string
	Required bool
}

// SignOn is how the people of the actor's organization sign in elsewhere, nil when
// they do not; the secret is sealed.
func (s *Service) SignOn(ctx context.Context, actor tenant.Actor) (found *tenant.SignOn, err error) {
	if err := maySignOn(actor); err != nil {
		return nil, err
	}
	err = s.db.View(ctx, func(tx *store.Tx) error {
		found, err = tx.SignOn(actor.AccountID)
		return err
	})
	if found != nil {
		found.Sealed = ""
	}
	return found, err
}

// maySignOn refuses all but the owner in person: who acts as the owner could open a
// way in that outlasts the session.
func maySignOn(actor tenant.Actor) error {
	if err := inPerson(actor); err != nil {
		return err
	}
	return actor.Allow(tenant.ManageSignOn)
}

// SetSignOn sets that. Only the owner may. Sessions that there are go on.
func (s *Service) SetSignOn(ctx context.Context, actor tenant.Actor, in NewSignOn) error {
	if err := maySignOn(actor); err != nil {
		return err
	}
	sealed := ""
	if in.Secret != nil {
		if *in.Secret == "" || len(*in.Secret) > 4096 {
			return tenant.RefuseField(tenant.OutOfRange, "client_secret", "Must have from 1 to 4096 bytes.")
		}
		sealed = s.sealer.Seal([]byte(*in.Secret), "single sign-on "+actor.AccountID)
	}
	return s.db.Update(ctx, laneOf(actor), func(tx *store.Tx) error {
		before, err := tx.SignOn(actor.AccountID)
		if err != nil {
			return err
		}
		after := tenant.SignOn{
			AccountID: actor.AccountID, Issuer: in.Issuer, ClientID: in.ClientID, Sealed: sealed,
			Domains: in.Domains, Required: in.Required, UpdatedAt: tx.Now(),
		}
		if sealed == "" {
			// Another issuer is not to be shown the secret of the last.
			if before == nil || before.Issuer != in.Issuer {
				return tenant.RefuseField(tenant.Missing, "client_secret", "The client secret is required.")
			}
			after.Sealed = before.Sealed
		}
		change, err := tenant.SetSignOn(actor, before, after)
		if err != nil {
			return err
		}
		return tx.Apply(change)
	})
}

// RemoveSignOn takes it away: everybody needs a password then. Only the owner may.
func (s *Service) RemoveSignOn(ctx context.Context, actor tenant.Actor) error {
	if err := maySignOn(actor); err != nil {
		return err
	}
	return s.db.Update(ctx, laneOf(actor), func(tx *store.Tx) error {
		before, err := tx.SignOn(actor.AccountID)
		if err != nil {
			return err
		}
		return tx.Apply(tenant.RemoveSignOn(actor, before))
	})
}

// SignOnOf is how the people of an organization sign in elsewhere, with the client
// secret in clear, for the portal to ask the issuer; nil when they do not.
func (s *Service) SignOnOf(ctx context.Context, accountID string) (found *tenant.SignOn, secret string, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error {
		found, err = tx.SignOn(accountID)
		return err
	})
	if err != nil || found == nil {
		return nil, "", err
	}
	clear, err := s.sealer.Open(found.Sealed, "single sign-on "+accountID)
	return found, string(clear), err
}

// Verified is what an ID token said whose signature, audience and nonce were checked.
type Verified struct {
	Issuer, Subject, Email string
	// EmailVerified is the claim email_verified.
	EmailVerified bool
}

// SSOSignIn starts a portal session for who has signed in at the organization's issuer.
// The first time, the user is found by an address that is verified and of the issuer's
// domains, and is tied to issuer and subject; afterwards by those alone, whatever the
// address is then. Somebody unknown is refused with kind Unauthenticated. No code of a
// second factor is asked for: that is the issuer's matter.
func (s *Service) SSOSignIn(ctx context.Context, accountID string, v Verified, where Where, requestID string) (*Session, error) {
	refused := tenant.RefuseParameter(tenant.Unauthenticated, "id_token", "Nobody of this organization is known by that. Ask for an invitation.")
	if v.Issuer == "" || tenant.CheckName("subject", v.Subject) != nil {
		return nil, refused
	}
	lane, err := s.lane(ctx, accountID)
	if err != nil {
		return nil, err
	}
	var session *Session
	err = s.db.Update(ctx, lane, func(tx *store.Tx) error {
		signOn, err := tx.SignOn(accountID)
		if err != nil {
			return err
		}
		if signOn == nil || signOn.Issuer != v.Issuer {
			return refused
		}
		id, err := tx.Identified(accountID, v.Issuer, v.Subject)
		if err != nil {
			return err
		}
		var user *tenant.User
		if id != "" {
			if user, err = tx.User(accountID, id, "id"); err != nil {
				return err
			}
		} else if user, err = s.firstSignOn(tx, signOn, v, requestID); err != nil {
			return err
		}
		if user == nil {
			return refused
		}
		account, err := s.admit(tx, user)
		if err != nil {
			return err
		}
		change := tenant.SignIn(*user, requestID, tx.Now())
		if err := tx.Apply(change); err != nil {
			return err
		}
		session, err = s.startSession(tx, change.Users[0].After, account, SignIn{Kind: store.PortalSession, Where: where}, s.options.SessionLife)
		return err
	})
	if err != nil {
		return nil, err
	}
	return session, nil
}

// firstSignOn ties a user to who that is elsewhere; nil when nobody is.
func (s *Service) firstSignOn(tx *store.Tx, signOn *tenant.SignOn, v Verified, requestID string) (*tenant.User, error) {
	if !v.EmailVerified || !signOn.Trusts(v.Email) {
		return nil, nil
	}
	user, err := tx.UserByEmail(v.Email, signOn.AccountID)
	if err != nil || user == nil {
		return nil, err
	}
	// The address may be another person's by now: who has an identity keeps it.
	linked, err := tx.IdentityOf(user.ID)
	if err != nil {
		return nil, err
	}
	// Of an issuer that the organization has left, it counts no more.
	if linked != nil && linked.Issuer == v.Issuer {
		return nil, tenant.RefuseParameter(tenant.Conflict, "id_token", "This user signs in as somebody else there. Ask the owner of the organization.")
	}
	if _, err := s.admit(tx, user); err != nil {
		return nil, err
	}
	if linked != nil {
		if err := tx.Apply(tenant.Unlink(user.Actor(nil, requestID), *user, *linked)); err != nil {
			return nil, err
		}
	}
	return user, tx.Apply(tenant.Link(*user, tenant.Identity{
		AccountID: user.AccountID, Issuer: v.Issuer, Subject: v.Subject, UserID: user.ID, CreatedAt: tx.Now(),
	}, requestID))
}

// Unlink forgets who a user of the actor's organization is elsewhere: the next sign-in
// there goes by address. Only the owner may.
func (s *Service) Unlink(ctx context.Context, actor tenant.Actor, userID string) error {
	if err := maySignOn(actor); err != nil {
		return err
	}
	return s.db.Update(ctx, laneOf(actor), func(tx *store.Tx) error {
		user, err := tx.User(actor.AccountID, userID, "user_id")
		if err != nil {
			return err
		}
		linked, err := tx.IdentityOf(user.ID)
		if err != nil || linked == nil {
			return err
		}
		return tx.Apply(tenant.Unlink(actor, *user, *linked))
	})
}

// SetBypassesSSO decides whether a user may sign in with a password although single
// sign-on is required. Only the owner may.
func (s *Service) SetBypassesSSO(ctx context.Context, actor tenant.Actor, userID string, bypasses bool) error {
	if err := maySignOn(actor); err != nil {
		return err
	}
	return s.db.Update(ctx, laneOf(actor), func(tx *store.Tx) error {
		user, err := tx.User(actor.AccountID, userID, "user_id")
		if err != nil {
			return err
		}
		return tx.Apply(tenant.SetBypassesSSO(actor, *user, bypasses))
	})
}
