package tenant

import "strings"

// Events are all that a Change may be.
var Events = []string{
	"account.blocked", "account.cancelled", "account.created", "account.credit_updated", "account.unblocked",
	"api_key.created", "api_key.revoked", "api_key.rotated",
	"calls.terminate",
	"connection.created", "connection.removed", "connection.updated",
	"group.created", "group.removed", "group.updated",
	"invitation.created", "invitation.revoked", "invitation.sent",
	"managed_account.channel_limit_updated", "managed_account.created", "managed_account.credentials_viewed",
	"managed_account.disabled", "managed_account.enabled", "managed_account.signed_in_as", "managed_account.updated",
	"manager.approved", "manager.revoked",
	"organization_user.blocked", "organization_user.created", "organization_user.group_joined", "organization_user.group_left",
	"organization_user.linked", "organization_user.locked", "organization_user.password_changed", "organization_user.password_reset",
	"organization_user.password_reset_requested", "organization_user.recovery_code_used", "organization_user.removed",
	"organization_user.second_factor_begun", "organization_user.second_factor_off", "organization_user.second_factor_on",
	"organization_user.second_factor_reset", "organization_user.session_ended", "organization_user.signed_in",
	"organization_user.signed_out_everywhere", "organization_user.unblocked", "organization_user.unlinked", "organization_user.updated",
	"single_sign_on.removed", "single_sign_on.updated",
}

// Diff is one row before and after: no Before is a new row, no After one that
// goes.
type Diff[T any] struct{ Before, After *T }

// Change is everything one use case alters. The store writes it with its audit
// entry and its event in one transaction, and writes what is a tenant's in no other
// way.
type Change struct {
	Actor Actor
	// Event is the audit entry's change_type and the webhook's event_type.
	Event string
	// AccountID is whose log and whose event it is.
	AccountID    string
	ResourceType string
	ResourceID   string

	Accounts    []Diff[Account]
	Managers    []Diff[Manager]
	Users       []Diff[User]
	Groups      []Diff[Group]
	Keys        []Diff[Key]
	Memberships []Membership
	Connections []Diff[Connection]
	// LeftOff are connections that were to be switched on, and could not be.
	LeftOff []LeftOff
	// HangUp are the calls that switches are asked to end.
	HangUp []Call
	// Invitations, Resets, Factors, SignOns and Identities are how people get in.
	Invitations []Diff[Invitation]
	Resets      []Diff[PasswordReset]
	Factors     []Diff[Factor]
	SignOns     []Diff[SignOn]
	Identities  []Diff[Identity]
	// EndSessions ends every session of the account's users, and of those who act as
	// its people elsewhere.
	EndSessions bool
	// Notes are facts for the audit log that stand in no row; not nil, there is something
	// to tell even when it is empty.
	Notes []FieldChange
}

// Call is a call on a switch; Switch is "" when the switch has not said its name.
type Call struct{ ID, Switch string }

// Empty reports whether there is nothing to write.
func (c *Change) Empty() bool {
	return len(c.Accounts)+len(c.Managers)+len(c.Users)+len(c.Groups)+len(c.Keys)+len(c.Memberships)+len(c.Connections)+len(c.HangUp)+
		len(c.Invitations)+len(c.Resets)+len(c.Factors)+len(c.SignOns)+len(c.Identities) == 0 && c.Notes == nil
}

// FieldChange is one field before and after, for the audit log. It never holds
// a secret.
type FieldChange struct {
	Field string `json:"field"`
	From  any    `json:"from"`
	To    any    `json:"to"`
}

// Fields lists what changed.
func (c *Change) Fields() []FieldChange {
	changes := []FieldChange{}
	for _, d := range c.Accounts {
		changes = append(changes, compare(d.Before, d.After, (*Account).fields)...)
	}
	for _, d := range c.Managers {
		changes = append(changes, compare(d.Before, d.After, (*Manager).fields)...)
	}
	// The owner of a new account says nothing that the account has not said.
	if len(c.Accounts) == 0 {
		for _, d := range c.Users {
			changes = append(changes, compare(d.Before, d.After, (*User).fields)...)
		}
	}
	for _, d := range c.Groups {
		changes = append(changes, compare(d.Before, d.After, (*Group).fields)...)
	}
	for _, m := range c.Memberships {
		if m.Member {
			changes = append(changes, FieldChange{"groups", nil, m.Group})
		} else {
			changes = append(changes, FieldChange{"groups", m.Group, nil})
		}
	}
	for _, d := range c.Connections {
		changes = append(changes, c.connectionFields(d)...)
	}
	for _, l := range c.LeftOff {
		changes = append(changes, FieldChange{"connections." + l.Connection.Name + ".left_off", nil, strings.Join(l.Problems, "; ")})
	}
	for _, call := range c.HangUp {
		changes = append(changes, FieldChange{"call_id", nil, call.ID})
		if call.Switch != "" {
			changes = append(changes, FieldChange{"switch", nil, call.Switch})
		}
	}
	for _, d := range c.Keys {
		changes = append(changes, compare(d.Before, d.After, (*Key).fields)...)
	}
	for _, d := range c.Invitations {
		changes = append(changes, compare(d.Before, d.After, (*Invitation).fields)...)
	}
	for _, d := range c.Factors {
		changes = append(changes, compare(d.Before, d.After, (*Factor).fields)...)
	}
	for _, d := range c.SignOns {
		changes = append(changes, compare(d.Before, d.After, (*SignOn).fields)...)
	}
	for _, d := range c.Identities {
		changes = append(changes, compare(d.Before, d.After, (*Identity).fields)...)
	}
	return append(changes, c.Notes...)
}

type field struct {
	name  string
	value any
}

func compare[T any](before, after *T, fields func(*T) []field) []FieldChange {
	var changes []FieldChange
	if after == nil {
		for _, f := range fields(before) {
			changes = append(changes, FieldChange{f.name, f.value, nil})
		}
		return changes
	}
	var old []field
	if before != nil {
		old = fields(before)
	}
	for i, f := range fields(after) {
		switch {
		case old == nil:
			changes = append(changes, FieldChange{f.name, nil, f.value})
		case old[i].value != f.value:
			changes = append(changes, FieldChange{f.name, old[i].value, f.value})
		}
	}
	return changes
}

func changeOf(actor Actor, event, accountID, resourceType, resourceID string) Change {
	return Change{Actor: actor, Event: event, AccountID: accountID, ResourceType: resourceType, ResourceID: resourceID}
}
