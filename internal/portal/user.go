package portal

import (
	"io"
	"net/url"

	"github.com/tenantry/tenantry/internal/csvfile"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/tenant"
)

const usersPath = Prefix + "users"

var userRoutes = []Route{
	{"users", "GET " + usersPath, Need(tenant.ViewUsers), (*Portal).users},
	{"groups report", "GET " + usersPath + ".csv", Need(tenant.ViewUsers), (*Portal).groupsReport},
	{"user", "GET " + usersPath + "/{id}", Need(tenant.ViewUsers), (*Portal).user},
	{"remove user", "POST " + usersPath + "/{id}/remove", Need(tenant.RemoveUsers), (*Portal).removeUser},
	{"join group", "POST " + usersPath + "/{id}/join", Need(tenant.ManageGroups), (*Portal).joinGroup},
	{"leave group", "POST " + usersPath + "/{id}/leave", Need(tenant.ManageGroups), (*Portal).leaveGroup},
	{"revoke key of user", "POST " + usersPath + "/{id}/keys/{key_id}/revoke", Need(tenant.ManageUserKeys), (*Portal).revokeUserKey},
	{"reset second factor", "POST " + usersPath + "/{id}/reset-second-factor", Need(tenant.ResetFactor), (*Portal).resetFactor},
	{"bypass single sign-on", "POST " + usersPath + "/{id}/bypass", Need(tenant.ManageSignOn), (*Portal).bypass},
	{"unlink user", "POST " + usersPath + "/{id}/unlink", Need(tenant.ManageSignOn), (*Portal).unlink},
}

func userPath(id string) string { return usersPath + "/" + url.PathEscape(id) }

var userStatuses = []string{"enabled", "disabled", "blocked"}

type userList struct {
	*list
	Statuses []string
	Users    []service.User
}

func (p *Portal) users(v *visit) (any, error) {
	l := listOf(v, userStatuses, nil)
	users, place, err := p.service.Users(v.Context(), v.actor, service.UserFilter{EmailContains: l.Query, Status: l.Status, Groups: true}, l.page(v))
	if err != nil {
		return nil, err
	}
	l.Total = place.Total
	if to, is := l.beyond(); is {
		return to, nil
	}
	return page{template: "users", title: "Users", data: userList{l, userStatuses, users}}, nil
}

func (p *Portal) groupsReport(v *visit) (any, error) {
	return download{"users_groups_report.csv", "text/csv; charset=utf-8", func(w io.Writer) error {
		io.WriteString(w, csvfile.UsersHeader)
		var report csvfile.Users
		return p.service.GroupsReport(v.Context(), v.actor, func(u *service.User) error {
			_, err := w.Write(report.Row(u))
			return err
		})
	}}, nil
}

type userPage struct {
	*service.User
	// In are the first of the user's groups, and More how many more there are.
	In   []tenant.Group
	More int
	// Others are groups that the visitor can put the user in.
	Others []tenant.Group
	Keys   []tenant.Key
	// Self says that the visitor is the user.
	Self bool
}

func (p *Portal) user(v *visit) (any, error) {
	user, err := p.service.User(v.Context(), v.actor, v.PathValue("id"), true)
	if err != nil {
		return nil, err
	}
	shown := min(len(user.Groups), pageSize)
	u := userPage{User: user, In: user.Groups[:shown], More: len(user.Groups) - shown, Self: user.ID == v.actor.UserID}
	groups, err := p.service.OwnGroups(v.Context(), v.actor)
	if err != nil {
		return nil, err
	}
	in := map[string]bool{}
	for _, g := range user.Groups {
		in[g.ID] = true
	}
	for _, g := range groups {
		if !in[g.ID] && mayHandOn(v.actor, &g) && len(u.Others) < mostChoices {
			u.Others = append(u.Others, g)
		}
	}
	if !user.Owner() && v.actor.Can(tenant.ManageUserKeys) {
		if u.Keys, err = p.service.Keys(v.Context(), v.actor, user.ID); err != nil {
			return nil, err
		}
	}
	return page{template: "user", title: user.Email, data: u}, nil
}

func (p *Portal) removeUser(v *visit) (any, error) {
	email := ""
	if _, err := p.service.RemoveUser(v.Context(), v.actor, v.PathValue("id"), p.once(v), func(u *service.User) ([]byte, error) {
		email = u.Email
		return []byte(u.ID), nil
	}); err != nil {
		return p.again(v, err, (*Portal).user)
	}
	return redirect{to: usersPath, notice: email + " is removed: keys and sessions have ended."}, nil
}

func (p *Portal) joinGroup(v *visit) (any, error) {
	return p.changeUser(v, p.service.JoinGroup(v.Context(), v.actor, v.text("group_id"), v.PathValue("id")), "The user is in the group.")
}

func (p *Portal) leaveGroup(v *visit) (any, error) {
	return p.changeUser(v, p.service.LeaveGroup(v.Context(), v.actor, v.text("group_id"), v.PathValue("id")), "The user is in the group no more.")
}

func (p *Portal) revokeUserKey(v *visit) (any, error) {
	return p.changeUser(v, p.service.RevokeKey(v.Context(), v.actor, v.PathValue("id"), v.PathValue("key_id")), "The key is good no more.")
}

func (p *Portal) resetFactor(v *visit) (any, error) {
	return p.changeUser(v, p.service.ResetFactor(v.Context(), v.actor, v.PathValue("id")), "The second factor is off: the password alone signs the user in.")
}

func (p *Portal) bypass(v *visit) (any, error) {
	text := "The user has to use single sign-on where it is required."
	if v.checked("bypasses") {
		text = "The user may use a password although single sign-on is required."
	}
	return p.changeUser(v, p.service.SetBypassesSSO(v.Context(), v.actor, v.PathValue("id"), v.checked("bypasses")), text)
}

func (p *Portal) unlink(v *visit) (any, error) {
	return p.changeUser(v, p.service.Unlink(v.Context(), v.actor, v.PathValue("id")), "The next single sign-on finds the user by address.")
}

// changeUser is the answer to a change of a user, from the user's page or a group's.
func (p *Portal) changeUser(v *visit, err error, done string) (any, error) {
	if err != nil {
		return p.again(v, err, (*Portal).user)
	}
	to := userPath(v.PathValue("id"))
	if group := v.text("from_group"); tenant.IsUUID(group) {
		to = groupPath(group)
	}
	return redirect{to: to, notice: done}, nil
}
