package tenant

// Action is something that a person of an organization may do.
type Action string

// What people do with each other and with what is theirs.
const (
	ViewUsers      Action = "view_users"
	InviteUsers    Action = "invite_users"
	ManageGroups   Action = "manage_groups"
	RemoveUsers    Action = "remove_users"
	ManageUserKeys Action = "manage_user_keys" // of others
	ResetFactor    Action = "reset_factor"     // of others
	ViewAudit      Action = "view_audit"
	ViewBalance    Action = "view_balance"
	// ViewConnections is to see the account's own; switches and phones are set up by
	// the operator.
	ViewConnections Action = "view_connections"
	ManageAccounts  Action = "manage_accounts"
	SignInAsOwner   Action = "sign_in_as"
	ManageSignOn    Action = "manage_sign_on"
)

// ownerOnly is no permission: no group grants it.
const ownerOnly = "owner"

// categories says which of Permissions each action needs.
var categories = map[Action]string{
	ViewUsers:       "organization",
	InviteUsers:     "organization",
	ManageGroups:    "organization",
	RemoveUsers:     "organization",
	ManageUserKeys:  "organization",
	ResetFactor:     ownerOnly,
	ViewAudit:       "account",
	ViewBalance:     "account",
	ViewConnections: "connections",
	ManageAccounts:  "managed_accounts",
	SignInAsOwner:   "managed_accounts",
	ManageSignOn:    ownerOnly,
}

// Category is the permission that the action needs, or "owner" for what no group
// grants. An action that is not known is the owner's.
func (a Action) Category() string {
	if category, known := categories[a]; known {
		return category
	}
	return ownerOnly
}

// Can reports whether the actor may do it: owners may do all, others what the union
// of their groups' permissions grants. What is the actor's own needs no permission.
func (a Actor) Can(action Action) bool { return a.May(action.Category()) }

// Allow refuses, with kind Forbidden, what the actor cannot do.
func (a Actor) Allow(action Action) error {
	if !a.Can(action) {
		return RefuseParameter(Forbidden, "Authorization", "")
	}
	return nil
}
