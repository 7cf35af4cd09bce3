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

// NewGroup is the Change that adds a group.
func NewGroup(actor Actor, group Group) (Change, error) {
	if err := CheckName("name", group.Name); err != nil {
		return Change{}, err
	}
	for _, permission := range group.Permissions {
		if !slices.Contains(Permissions, permission) {
			return Change{}, RefuseField(NotEnumerated, "permissions", "A permission is one of "+strings.Join(Permissions, ", ")+".")
		}
	}
	change := changeOf(actor, "group.created", group.AccountID, "group", group.ID)
	change.Groups = []Diff[Group]{{After: &group}}
	return change, nil
}

// Join adds a user to a group; Leave takes the user out. Both are empty when
// nothing would change.
func Join(actor Actor, user User, group Group, groups []Group) Change {
	return member(actor, "organization_user.group_joined", user, group, groups, true)
}

// Leave is the reverse of Join.
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
