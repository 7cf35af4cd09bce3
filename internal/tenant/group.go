package tenant

import (
	"slices"
	"strings"
	"time"
)

// MaxGroups is how many groups an organization may have.
const MaxGroups = 1000

// Permissions are the categories a group may grant, as the vendor's portal
// names them.
var Permissions = []string{
	"account", "acl", "connections", "managed_accounts", "messaging", "networking",
	"numbers", "organization", "outbound", "porting", "recordings", "reporting", "wireless",
}

// Group is a named set of permissions that sub-users share.
type Group struct {
	ID          string
	AccountID   string
	Name        string
	Permissions []string
	CreatedAt   time.Time
}

func (g *Group) fields() []field {
	return []field{{"name", g.Name}, {"permissions", strings.Join(g.Permissions, ",")}}
}

// Membership puts a user into a group, or takes the user out of it.
type Membership struct {
	UserID  string
	GroupID string
	// Group is the name, for the audit log.
	Group string
	// Member is true to join and false to leave.
	Member bool
}

// NewGroup is the Change that adds a group. One that grants more than the actor may do
// is refused with kind Forbidden, here and below: nobody hands on what they have not.
// The operator may do all.
func NewGroup(actor Actor, group Group) (Change, error) {
	if err := checkGroup(actor, group); err != nil {
		return Change{}, err
	}
	change := changeOf(actor, "group.created", group.AccountID, "group", group.ID)
	change.Groups = []Diff[Group]{{After: &group}}
	return change, nil
}

// AlterGroup gives a group another name and other permissions. The actor must hold
// those it grants now, too. It is empty when nothing would change.
func AlterGroup(actor Actor, before Group, name string, permissions []string) (Change, error) {
	if err := mayGrant(actor, "permissions", before); err != nil {
		return Change{}, err
	}
	after := before
	after.Name, after.Permissions = name, permissions
	if err := checkGroup(actor, after); err != nil {
		return Change{}, err
	}
	if after.Name == before.Name && slices.Equal(after.Permissions, before.Permissions) {
		return Change{}, nil
	}
	change := changeOf(actor, "group.updated", before.AccountID, "group", before.ID)
	change.Groups = []Diff[Group]{{Before: &before, After: &after}}
	return change, nil
}

// RemoveGroup takes a group away, and out of it whoever is in it.
func RemoveGroup(actor Actor, group Group) (Change, error) {
	if err := mayGrant(actor, "", group); err != nil {
		return Change{}, err
	}
	change := changeOf(actor, "group.removed", group.AccountID, "group", group.ID)
	change.Groups = []Diff[Group]{{Before: &group}}
	return change, nil
}

func checkGroup(actor Actor, group Group) error {
	if err := CheckName("name", group.Name); err != nil {
		return err
	}
	for i, permission := range group.Permissions {
		if !slices.Contains(Permissions, permission) {
			return RefuseField(NotEnumerated, "permissions", "A permission is one of "+strings.Join(Permissions, ", ")+".")
		}
		if slices.Contains(group.Permissions[:i], permission) {
			return RefuseField(Invalid, "permissions", "Each permission is named once.")
		}
	}
	return mayGrant(actor, "permissions", group)
}

// mayGrant refuses, with kind Forbidden, a group that grants what the actor may not do.
func mayGrant(actor Actor, field string, group Group) error {
	if !actor.Operator && slices.ContainsFunc(group.Permissions, func(p string) bool { return !actor.May(p) }) {
		return RefuseField(Forbidden, field, "The group grants what you may not do yourself.")
	}
	return nil
}

// Join adds a user to a group. It is empty when nothing would change.
func Join(actor Actor, user User, group Group, groups []Group) (Change, error) {
	if err := mayGrant(actor, "", group); err != nil {
		return Change{}, err
	}
	return member(actor, "organization_user.group_joined", user, group, groups, true), nil
}

// Leave takes a user out of a group, whatever it grants. It is empty when nothing would
// change.
func Leave(actor Actor, user User, group Group, groups []Group) Change {
	return member(actor, "organization_user.group_left", user, group, groups, false)
}

func member(actor Actor, event string, user User, group Group, groups []Group, join bool) Change {
	in := slices.ContainsFunc(groups, func(g Group) bool { return g.ID == group.ID })
	if in == join {
		return Change{}
	}
	change := changeOf(actor, event, user.AccountID, "organization_user", user.ID)
	change.Memberships = []Membership{{UserID: user.ID, GroupID: group.ID, Group: group.Name, Member: join}}
	return change
}
