package tenant

import (
	"cmp"
	"slices"
)

// Actor is who asks: the operator, the owner of an account or one of its
// sub-users. The zero value may do nothing.
type Actor struct {
	Operator bool
	// AccountID is the account that the credentials belong to.
	AccountID string
	// ManagerID is that account's manager, "" for a root account.
	ManagerID string
	// UserID is the person; the owner's is the account's own id.
	UserID string
	// CredentialID is the key that was used, or the session.
	CredentialID string
	// Manager says that the operator approved the account as a manager.
	Manager bool
	// Permissions are what a sub-user's groups grant; an owner needs none.
	Permissions []string
	// PersonAccountID and PersonUserID are who really acts, when a manager's person has
	// signed in as the owner; "" otherwise.
	PersonAccountID, PersonUserID string
	// RequestID is the x-request-id under which this is done.
	RequestID string
}

// Owner reports whether the actor is the owner of its account.
func (a Actor) Owner() bool { return a.AccountID != "" && a.UserID == a.AccountID }

// May reports whether the actor holds a permission: owners hold all.
func (a Actor) May(permission string) bool {
	return a.Owner() || a.AccountID != "" && slices.Contains(a.Permissions, permission)
}

// Person is the user at the keyboard, for the audit log.
func (a Actor) Person() string { return cmp.Or(a.PersonUserID, a.UserID) }

// MadeBy names the actor in the audit log of an account, in the vendor's words;
// the operator stands where the vendor itself would.
func (a Actor) MadeBy(accountID string) string {
	switch {
	case a.Operator:
		return "telnyx"
	case a.AccountID != accountID, a.PersonUserID != "":
		return "account_manager"
	case a.Owner():
		return "account_owner"
	default:
		return "organization_member"
	}
}
