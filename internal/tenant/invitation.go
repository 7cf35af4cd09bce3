package tenant

import (
	"fmt"
	"strings"
	"time"
)

const (
	// MaxInvitations is how many an organization may have open, as with the vendor.
	MaxInvitations = 10
	// MaxSent is how often one may be sent, and SendGap how long that is apart.
	MaxSent = 6
	SendGap = 5 * time.Minute
	// InvitationTime is how long one may be accepted after it was sent.
	InvitationTime = 7 * 24 * time.Hour
	// ResetTime is how long a link to a new password is good.
	ResetTime = time.Hour
)

// Invitation waits for somebody to join an organization.
type Invitation struct {
	ID        string
	AccountID string
	Email     string
	GroupIDs  []string
	// Digest finds the invitation: a keyed hash of the token that was mailed.
	Digest string
	// InvitedBy is a user's id.
	InvitedBy string
	// Sent counts the mails, the last of which went at SentAt.
	Sent      int64
	SentAt    time.Time
	CreatedAt time.Time
	ExpiresAt time.Time
}

func (i *Invitation) fields() []field {
	return []field{{"invitation.email", i.Email}, {"invitation.group_ids", strings.Join(i.GroupIDs, ",")}, {"invitation.sent", i.Sent}}
}

// Invite asks somebody into an organization. Only the actor's own permissions can be
// handed on: a group that grants more is refused with kind Forbidden.
func Invite(actor Actor, invitation Invitation, groups []Group, open int) (Change, error) {
	if err := CheckEmail("email", invitation.Email); err != nil {
		return Change{}, err
	}
	if open >= MaxInvitations {
		return Change{}, Refuse(TooMany, fmt.Sprintf("At most %d invitations may be open.", MaxInvitations))
	}
	for i, group := range groups {
		if err := mayGrant(actor, fmt.Sprintf("group_ids/%d", i), group); err != nil {
			return Change{}, err
		}
	}
	change := changeOf(actor, "invitation.created", invitation.AccountID, "invitation", invitation.ID)
	change.Invitations = []Diff[Invitation]{{After: &invitation}}
	return change, nil
}

// Resend is the Change that sends an invitation again, with another token.
func Resend(actor Actor, before Invitation, digest string, now time.Time) (Change, error) {
	if before.Sent >= MaxSent || now.Sub(before.SentAt) < SendGap {
		return Change{}, Refuse(TooMany, fmt.Sprintf("An invitation is sent %d times at most, %d minutes apart.", MaxSent, int(SendGap.Minutes())))
	}
	after := before
	after.Digest, after.Sent, after.SentAt, after.ExpiresAt = digest, before.Sent+1, now, now.Add(InvitationTime)
	change := changeOf(actor, "invitation.sent", before.AccountID, "invitation", before.ID)
	change.Invitations = []Diff[Invitation]{{Before: &before, After: &after}}
	return change, nil
}

// Uninvite takes an invitation back.
func Uninvite(actor Actor, invitation Invitation) Change {
	change := changeOf(actor, "invitation.revoked", invitation.AccountID, "invitation", invitation.ID)
	change.Invitations = []Diff[Invitation]{{Before: &invitation}}
	return change
}

// Accept is the Change that makes a user of an invitation. groups are those of the
// invitation that there still are. The user is the actor.
func Accept(user User, invitation Invitation, groups []Group, requestID string) Change {
	// The event is that of every new user: those who count users need know one only.
	change := changeOf(user.Actor(nil, requestID), "organization_user.created", user.AccountID, "organization_user", user.ID)
	change.Users = []Diff[User]{{After: &user}}
	change.Invitations = []Diff[Invitation]{{Before: &invitation}}
	for _, group := range groups {
		change.Memberships = append(change.Memberships, Membership{UserID: user.ID, GroupID: group.ID, Group: group.Name, Member: true})
	}
	return change
}

// PasswordReset is a link to a new password. A user has one at most.
type PasswordReset struct {
	UserID    string
	AccountID string
	// Digest finds it: a keyed hash of the token that was mailed.
	Digest    string
	CreatedAt time.Time
	ExpiresAt time.Time
}

// RequestReset is the Change that mails a link to a new password. Whoever asked for
// it is not known.
func RequestReset(user User, reset PasswordReset) Change {
	change := Note(Actor{AccountID: user.AccountID}, "organization_user.password_reset_requested", user)
	change.Resets = []Diff[PasswordReset]{{After: &reset}}
	return change
}
