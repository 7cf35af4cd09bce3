package tenant

import "time"

// UserStatus says whether a person may sign in.
type UserStatus string

// The statuses of an organization user.
const (
	UserEnabled  UserStatus = "enabled"
	UserDisabled UserStatus = "disabled" // by the organization
	UserBlocked  UserStatus = "blocked"  // by the operator
)

// User is a person of an organization: its owner, whose id is the account's, or
// a sub-user.
type User struct {
	ID        string
	AccountID string
	// Number counts the users of one organization in order of creation, from 1.
	Number int64
	Email  string
	// PasswordHash is a PHC string, "" when nobody can sign in with a password.
	PasswordHash string
	Status       UserStatus
	BypassesSSO  bool
	// Removed users keep a row without a name, so that numbers stay dense.
	Removed bool
	// LastSignInAt is zero for a user who never signed in.
	LastSignInAt time.Time
	CreatedAt    time.Time
}

// Owner reports whether the user owns the organization.
func (u *User) Owner() bool { return u.ID == u.AccountID }

func (u *User) fields() []field {
	return []field{
		{"email", u.Email},
		{"user_status", string(u.Status)},
		{"organization_user_bypasses_sso", u.BypassesSSO},
		{"removed", u.Removed},
		{"password_set", u.PasswordHash != ""},
	}
}

// NewUser is the Change that adds a sub-user with a key and memberships.
func NewUser(actor Actor, user User, key Key, groups []Group) Change {
	change := changeOf(actor, "organization_user.created", user.AccountID, "organization_user", user.ID)
	change.Users = []Diff[User]{{After: &user}}
	change.Keys = []Diff[Key]{{After: &key}}
	for _, group := range groups {
		change.Memberships = append(change.Memberships, Membership{UserID: user.ID, GroupID: group.ID, Group: group.Name, Member: true})
	}
	return change
}

// RemoveUser takes a sub-user out of the organization: memberships, keys and
// sessions go with it. The owner is refused with kind Invalid, the actor's own
// removal with kind Forbidden.
func RemoveUser(actor Actor, user User, groups []Group) (Change, error) {
	if user.Owner() {
		return Change{}, Refuse(Invalid, "The owner of the organization cannot be removed.")
	}
	if user.ID == actor.UserID {
		return Change{}, Refuse(Forbidden, "You cannot remove yourself from the organization.")
	}
	// The row that stays says nothing of the person.
	after := User{ID: user.ID, AccountID: user.AccountID, Number: user.Number, Status: UserDisabled, Removed: true, CreatedAt: user.CreatedAt}
	change := changeOf(actor, "organization_user.removed", user.AccountID, "organization_user", user.ID)
	change.Users = []Diff[User]{{Before: &user, After: &after}}
	for _, group := range groups {
		change.Memberships = append(change.Memberships, Membership{UserID: user.ID, GroupID: group.ID, Group: group.Name})
	}
	return change, nil
}

// BlockUser keeps a sub-user from signing in and using keys. Blocking twice is an
// empty change. The owner is refused with kind Invalid: the account itself is what
// to block.
func BlockUser(actor Actor, user User) (Change, error) {
	if user.Owner() {
		return Change{}, Refuse(Invalid, "The owner cannot be blocked alone: block the account.")
	}
	return userStatus(actor, "organization_user.blocked", user, UserBlocked), nil
}

// UnblockUser lifts what BlockUser did; a user who is disabled stays so.
func UnblockUser(actor Actor, user User) (Change, error) {
	if user.Status != UserBlocked {
		return Change{}, nil
	}
	return userStatus(actor, "organization_user.unblocked", user, UserEnabled), nil
}

func userStatus(actor Actor, event string, user User, status UserStatus) Change {
	if user.Status == status {
		return Change{}
	}
	after := user
	after.Status = status
	change := changeOf(actor, event, user.AccountID, "organization_user", user.ID)
	change.Users = []Diff[User]{{Before: &user, After: &after}}
	return change
}

// Actor is the user as who acts, with what the groups grant.
func (u *User) Actor(groups []Group, requestID string) Actor {
	actor := Actor{AccountID: u.AccountID, UserID: u.ID, RequestID: requestID}
	for _, group := range groups {
		actor.Permissions = append(actor.Permissions, group.Permissions...)
	}
	return actor
}

// SetPassword gives a user another password, which ends the user's sessions. event
// says how it came to that.
func SetPassword(actor Actor, event string, user User, hash string) Change {
	after := user
	after.PasswordHash = hash
	change := changeOf(actor, event, user.AccountID, "organization_user", user.ID)
	change.Users = []Diff[User]{{Before: &user, After: &after}}
	// That there is one may be nothing new, and then no field would tell.
	change.Notes = []FieldChange{{"password", nil, "changed"}}
	return change
}

// Events of users that more than one rule, or none, tells.
const (
	Locked              = "organization_user.locked"
	PasswordChanged     = "organization_user.password_changed"
	PasswordWasReset    = "organization_user.password_reset"
	RecoveryCodeUsed    = "organization_user.recovery_code_used"
	FactorOff           = "organization_user.second_factor_off"
	FactorReset         = "organization_user.second_factor_reset"
	SessionEnded        = "organization_user.session_ended"
	SignedOutEverywhere = "organization_user.signed_out_everywhere"
)

// Note is a Change of a user that no row of the tenant's shows: for the audit log.
func Note(actor Actor, event string, user User, notes ...FieldChange) Change {
	change := changeOf(actor, event, user.AccountID, "organization_user", user.ID)
	change.Notes = append([]FieldChange{}, notes...)
	return change
}

// SignIn records that a person signed in.
func SignIn(user User, requestID string, now time.Time) Change {
	actor := user.Actor(nil, requestID)
	after := user
	after.LastSignInAt = later(user.LastSignInAt, now)
	change := changeOf(actor, "organization_user.signed_in", user.AccountID, "organization_user", user.ID)
	change.Users = []Diff[User]{{Before: &user, After: &after}}
	return change
}
