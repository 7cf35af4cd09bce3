package service

import (
	"context"
	"fmt"

	"github.com/tenantry/tenantry/internal/mail"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// Invite asks somebody by mail to join the actor's organization, in the groups with
// those ids. The actor can hand on only what the actor may do.
func (s *Service) Invite(ctx context.Context, actor tenant.Actor, email string, groupIDs []string) (*tenant.Invitation, error) {
	if err := actor.Allow(tenant.InviteUsers); err != nil {
		return nil, err
	}
	if err := tenant.CheckEmail("email", email); err != nil {
		return nil, err
	}
	if s.options.PortalURL == "" {
		return nil, tenant.Refuse(tenant.Conflict, "No mail is sent here: nobody can be invited.")
	}
	token := s.sealer.MintToken() + s.sealer.MintToken()
	counted := s.invitationTries(actor)
	var made *tenant.Invitation
	defer s.posted()
	err := s.db.UpdateAll(ctx, append(counted.lanes(), laneOf(actor)), func(tx *store.Tx) error {
		account, err := s.anyAccount(tx, actor.AccountID)
		if err != nil {
			return err
		}
		if user, err := tx.UserByEmail(email, account.ID); err != nil {
			return err
		} else if user != nil {
			return tenant.RefuseField(tenant.Duplicate, "email", "Another user of the organization has this email address.")
		}
		invitation := tenant.Invitation{
			ID: s.db.Source().NewID(), AccountID: account.ID, Email: email, Digest: s.sealer.Digest(token), InvitedBy: actor.Person(),
			Sent: 1, SentAt: tx.Now(), CreatedAt: tx.Now(), ExpiresAt: tx.Now().Add(tenant.InvitationTime),
		}
		groups, err := groupsOf(tx, account.ID, groupIDs)
		if err != nil {
			return err
		}
		for _, group := range groups {
			invitation.GroupIDs = append(invitation.GroupIDs, group.ID)
		}
		all, err := tx.Invitations(account.ID)
		if err != nil {
			return err
		}
		open := 0
		var over []tenant.Diff[tenant.Invitation]
		for _, other := range all {
			if tx.Now().Before(other.ExpiresAt) {
				open++
			} else if tenant.EmailKey(other.Email) == tenant.EmailKey(email) {
				over = append(over, tenant.Diff[tenant.Invitation]{Before: &other})
			}
		}
		change, err := tenant.Invite(actor, invitation, groups, open)
		if err != nil {
			return err
		}
		change.Invitations = append(over, change.Invitations...)
		if err := counted.beginIn(tx); err != nil {
			return err
		}
		made = &invitation
		if err := tx.Apply(change); err != nil {
			return err
		}
		return s.mailInvitation(tx, account, &invitation, token)
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// invitationTries bounds how many mails an organization sends to strangers.
func (s *Service) invitationTries(actor tenant.Actor) *tries {
	return &tries{s: s, counted: []tenant.Tries{{Subject: s.sealer.Digest("invite " + actor.AccountID)}}, most: []int64{tenant.MaxInvitations}}
}

func (s *Service) mailInvitation(tx *store.Tx, account *tenant.Account, invitation *tenant.Invitation, token string) error {
	return s.queue(tx, letter{Message: mail.Message{To: invitation.Email, Subject: "You are invited to " + s.options.Product, Text: fmt.Sprintf(invitationText,
		account.OrganizationName, s.options.Product, s.link(InvitationPath, token))}})
}

// groupsOf are the organization's groups with those ids, each once; any other is
// refused.
func groupsOf(tx *store.Tx, accountID string, ids []string) ([]tenant.Group, error) {
	groups, seen := []tenant.Group{}, map[string]bool{}
	for i, id := range ids {
		group, err := tx.Group(accountID, id, "")
		if tenant.IsKind(err, tenant.NotFound) {
			err = tenant.RefuseField(tenant.Invalid, fmt.Sprintf("group_ids/%d", i), "The organization has no such group.")
		}
		if err != nil {
			return nil, err
		}
		if !seen[id] {
			groups = append(groups, *group)
		}
		seen[id] = true
	}
	return groups, nil
}

// Invitations are those of the actor's organization that wait for an answer, by
// address.
func (s *Service) Invitations(ctx context.Context, actor tenant.Actor) (open []tenant.Invitation, err error) {
	if err := actor.Allow(tenant.InviteUsers); err != nil {
		return nil, err
	}
	err = s.db.View(ctx, func(tx *store.Tx) error {
		all, err := tx.Invitations(actor.AccountID)
		for _, invitation := range all {
			if tx.Now().Before(invitation.ExpiresAt) {
				open = append(open, invitation)
			}
		}
		return err
	})
	return open, err
}

// ResendInvitation mails an invitation of the actor's organization again, with another
// link: the one before is good for nothing any more.
func (s *Service) ResendInvitation(ctx context.Context, actor tenant.Actor, id string) error {
	if err := actor.Allow(tenant.InviteUsers); err != nil {
		return err
	}
	token := s.sealer.MintToken() + s.sealer.MintToken()
	defer s.posted()
	return s.db.Update(ctx, laneOf(actor), func(tx *store.Tx) error {
		invitation, err := tx.Invitation(actor.AccountID, id)
		if err != nil {
			return err
		}
		account, err := s.anyAccount(tx, actor.AccountID)
		if err != nil {
			return err
		}
		change, err := tenant.Resend(actor, *invitation, s.sealer.Digest(token), tx.Now())
		if err != nil {
			return err
		}
		if err := tx.Apply(change); err != nil {
			return err
		}
		return s.mailInvitation(tx, account, invitation, token)
	})
}

// RevokeInvitation takes an invitation of the actor's organization back.
func (s *Service) RevokeInvitation(ctx context.Context, actor tenant.Actor, id string) error {
	if err := actor.Allow(tenant.InviteUsers); err != nil {
		return err
	}
	return s.db.Update(ctx, laneOf(actor), func(tx *store.Tx) error {
		invitation, err := tx.Invitation(actor.AccountID, id)
		if err != nil {
			return err
		}
		return tx.Apply(tenant.Uninvite(actor, *invitation))
	})
}

// Invited is an invitation as the one who holds its token sees it.
type Invited struct {
	tenant.Invitation
	Account tenant.Account
	// SignOn says that the organization's people sign in elsewhere: no password is
	// asked for.
	SignOn bool
}

// Invited is the invitation of a mailed token; kind Unauthenticated for one that is
// used, replaced, revoked or over.
func (s *Service) Invited(ctx context.Context, token string) (invited *Invited, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error {
		invited, err = s.invited(tx, token)
		return err
	})
	return invited, err
}

func (s *Service) invited(tx *store.Tx, token string) (*Invited, error) {
	row, err := tx.InvitationByToken(s.sealer.Digest(token))
	if err != nil {
		return nil, err
	}
	if row == nil {
		return nil, tenant.RefuseParameter(tenant.Unauthenticated, "token", "This invitation was answered or taken back, or its time is over.")
	}
	account, err := s.anyAccount(tx, row.AccountID)
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
	signOn, err := tx.SignOn(account.ID)
	return &Invited{Invitation: *row, Account: *account, SignOn: signOn != nil && signOn.Required}, err
}

// AcceptInvitation makes a user of who holds a mailed token, and signs the user in at
// the portal; where Invited.SignOn holds, it takes no password, and the session is nil.
func (s *Service) AcceptInvitation(ctx context.Context, token, password string, where Where, requestID string) (*Session, error) {
	invited, err := s.Invited(ctx, token)
	if err != nil {
		return nil, err
	}
	user := tenant.User{
		ID: s.db.Source().NewID(), AccountID: invited.AccountID, Email: invited.Email, Status: tenant.UserEnabled,
	}
	if !invited.SignOn {
		if user.PasswordHash, err = s.newPassword(ctx, &user, &invited.Account, password); err != nil {
			return nil, err
		}
	}
	lane, err := s.lane(ctx, invited.AccountID)
	if err != nil {
		return nil, err
	}
	var session *Session
	err = s.db.Update(ctx, lane, func(tx *store.Tx) error {
		session = nil
		now, err := s.invited(tx, token)
		if err != nil {
			return err
		}
		if now.SignOn != invited.SignOn {
			return tenant.Refuse(tenant.Conflict, "How the organization signs in has changed just now. Try again.")
		}
		var groups []tenant.Group
		for _, id := range now.GroupIDs {
			group, err := tx.Group(now.AccountID, id, "")
			if tenant.IsKind(err, tenant.NotFound) {
				continue // it has gone since
			} else if err != nil {
				return err
			}
			groups = append(groups, *group)
		}
		user := user
		user.CreatedAt = tx.Now()
		change := tenant.Accept(user, now.Invitation, groups, requestID)
		if err := tx.Apply(change); err != nil || now.SignOn {
			return err
		}
		in := tenant.SignIn(*change.Users[0].After, requestID, tx.Now())
		if err := tx.Apply(in); err != nil {
			return err
		}
		session, err = s.startSession(tx, in.Users[0].After, &now.Account, SignIn{Kind: store.PortalSession, Where: where}, s.options.SessionLife)
		return err
	})
	return session, err
}
