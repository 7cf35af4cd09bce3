package service

import (
	"context"
	"time"

	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// SignInAs starts a portal session in which who is signed in acts as the owner of one
// of their accounts, for a reason and for a time from 15 minutes to 8 hours. The audit
// log of the account names the person in whatever is done there. It ends, too, as soon
// as the person may not manage the account any more.
//
// It is for who may manage accounts, in person: nobody goes on from such a session to
// another.
func (s *Service) SignInAs(ctx context.Context, in *auth.SignedIn, accountID, reason string, life time.Duration, where Where, requestID string) (*Session, error) {
	if err := inPerson(in.Actor); err != nil {
		return nil, err
	}
	if err := MayManage(in.Actor); err != nil {
		return nil, err
	}
	actor := in.Actor
	actor.RequestID = requestID
	var session *Session
	err := s.db.Update(ctx, laneOf(actor), func(tx *store.Tx) error {
		// All of this may have ended since the actor was let in.
		person, err := tx.User(actor.AccountID, actor.UserID, "user_id")
		if err != nil {
			return err
		}
		if _, err := s.admit(tx, person); err != nil {
			return err
		}
		groups, err := tx.GroupsOf(person)
		if err != nil {
			return err
		}
		manager, err := tx.Manager(actor.AccountID)
		if err != nil {
			return err
		}
		now := person.Actor(groups, requestID)
		now.Manager = manager != nil && manager.Approved
		if err := MayManage(now); err != nil {
			return err
		}
		account, err := tx.ManagedAccount(actor.AccountID, accountID)
		if err != nil {
			return err
		}
		if err := account.Admit(nil); err != nil {
			return err
		}
		owner, err := tx.User(account.ID, account.ID, "id")
		if err != nil {
			return err
		}
		session = &Session{Token: s.sealer.MintToken() + s.sealer.MintToken(), User: User{User: *owner}, Account: *account}
		session.Session = store.Session{
			ID: s.db.Source().NewID(), Digest: s.sealer.Digest(session.Token), Kind: store.PortalSession,
			AccountID: account.ID, UserID: owner.ID, CreatedAt: tx.Now(), ExpiresAt: tx.Now().Add(life), UsedAt: tx.Now(),
			Address: shown(where.Address), UserAgent: shown(where.UserAgent),
			PersonAccountID: person.AccountID, PersonUserID: person.ID, Reason: reason,
		}
		changes, err := tenant.SignInAs(actor, *account, session.ID, reason, life, tx.Now())
		if err != nil {
			return err
		}
		for _, change := range changes {
			if err := tx.Apply(change); err != nil {
				return err
			}
		}
		return tx.StartSession(session.Session)
	})
	if err != nil {
		return nil, err
	}
	return session, nil
}
