package portal

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/tenant"
)

const groupsPath = Prefix + "groups"

var groupRoutes = []Route{
	{"groups", "GET " + groupsPath, Need(tenant.ViewUsers), (*Portal).groups},
	{"create group", "POST " + groupsPath, Need(tenant.ManageGroups), (*Portal).createGroup},
	{"group", "GET " + groupsPath + "/{id}", Need(tenant.ViewUsers), (*Portal).group},
	{"change group", "POST " + groupsPath + "/{id}", Need(tenant.ManageGroups), (*Portal).changeGroup},
	{"add member", "POST " + groupsPath + "/{id}/members", Need(tenant.ManageGroups), (*Portal).addMember},
	{"remove group", "POST " + groupsPath + "/{id}/remove", Need(tenant.ManageGroups), (*Portal).removeGroup},
}

func groupPath(id string) string { return groupsPath + "/" + url.PathEscape(id) }

type groupList struct {
	*list
	Groups []tenant.Group
	// Permissions are those that the visitor may hand on.
	Permissions []string
}

// handOn are the permissions that the actor may give to others.
func handOn(actor tenant.Actor) (permissions []string) {
	for _, permission := range tenant.Permissions {
		if actor.May(permission) {
			permissions = append(permissions, permission)
		}
	}
	return permissions
}

// mayHandOn reports whether the group grants nothing that the actor may not do.
func mayHandOn(actor tenant.Actor, group *tenant.Group) bool {
	return !slices.ContainsFunc(group.Permissions, func(p string) bool { return !actor.May(p) })
}

func (p *Portal) groups(v *visit) (any, error) {
	groups, err := p.service.OwnGroups(v.Context(), v.actor)
	if err != nil {
		return nil, err
	}
	l := listOf(v, nil, nil)
	l.path = groupsPath // also where a group was refused
	l.Total = int64(len(groups))
	first := min((l.Page-1)*l.Size, l.Total)
	return page{template: "groups", title: "Groups", data: groupList{l, groups[first:min(first+l.Size, l.Total)], handOn(v.actor)}}, nil
}

func (p *Portal) createGroup(v *visit) (any, error) {
	group, err := p.service.CreateOwnGroup(v.Context(), v.actor, v.text("name"), v.PostForm["permissions"])
	if err != nil {
		return p.again(v, err, (*Portal).groups)
	}
	return redirect{to: groupPath(group.ID), notice: "The group " + group.Name + " is made."}, nil
}

type groupPage struct {
	*tenant.Group
	Permissions []string
	// Mine says that the group grants nothing that the visitor may not do.
	Mine    bool
	Members []tenant.User
	// Next is where the next page of members begins, 0 for none.
	Next int64
}

func (p *Portal) group(v *visit) (any, error) {
	group, err := p.service.OwnGroup(v.Context(), v.actor, v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	g := groupPage{Group: group, Permissions: handOn(v.actor), Mine: mayHandOn(v.actor, group)}
	after, _ := strconv.ParseInt(v.query("after"), 10, 64)
	if g.Members, g.Next, err = p.service.GroupMembers(v.Context(), v.actor, group.ID, max(after, 0), pageSize); err != nil {
		return nil, err
	}
	return page{template: "group", title: group.Name, data: g}, nil
}

func (p *Portal) changeGroup(v *visit) (any, error) {
	group, err := p.service.AlterGroup(v.Context(), v.actor, v.PathValue("id"), v.text("name"), v.PostForm["permissions"])
	if err != nil {
		return p.again(v, err, (*Portal).group)
	}
	return redirect{to: groupPath(group.ID), notice: "The group is changed, and what its members may do with it."}, nil
}

// addMember takes the address of a user.
func (p *Portal) addMember(v *visit) (any, error) {
	email := v.text("email")
	users, _, err := p.service.Users(v.Context(), v.actor, service.UserFilter{EmailContains: email}, service.Page{Number: 1, Size: 250})
	if err != nil {
		return nil, err
	}
	for i := range users {
		if !strings.EqualFold(users[i].Email, email) {
			continue
		}
		if err := p.service.JoinGroup(v.Context(), v.actor, v.PathValue("id"), users[i].ID); err != nil {
			return p.again(v, err, (*Portal).group)
		}
		return redirect{to: groupPath(v.PathValue("id")), notice: users[i].Email + " is in the group."}, nil
	}
	return p.again(v, tenant.RefuseField(tenant.Invalid, "email", "No user of the organization has this address."), (*Portal).group)
}

func (p *Portal) removeGroup(v *visit) (any, error) {
	if err := p.service.RemoveGroup(v.Context(), v.actor, v.PathValue("id")); err != nil {
		return p.again(v, err, (*Portal).group)
	}
	return redirect{to: groupsPath, notice: "The group is removed, and nobody is in it any more."}, nil
}
