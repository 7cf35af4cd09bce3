package cli

import (
	"context"
	"io"
	"strconv"
	"strings"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/client"
)

// Users is "tenantry users": the people of the key's own organization.
type Users struct {
	List   ListUsers   `cmd:"" help:"List users."`
	Get    GetUser     `cmd:"" help:"Show one user."`
	Remove RemoveUser  `cmd:"" help:"Take a user out of the organization."`
	Report UsersReport `cmd:"" help:"List all users with their groups."`
}

func userColumns[T any](u func(*T) *api.OrganizationUser) []column[T] {
	return []column[T]{
		{wire: "id", head: "ID", shape: whole, value: func(t *T) string { return u(t).ID }},
		{wire: "email", head: "EMAIL", value: func(t *T) string { return u(t).Email }},
		{wire: "user_status", head: "STATUS", shape: whole, value: func(t *T) string { return u(t).UserStatus }, color: statusColor},
		{wire: "record_type", head: "ROLE", shape: spare, value: func(t *T) string { return u(t).RecordType }, table: func(t *T) string {
			role, _ := strings.CutPrefix(u(t).RecordType, "organization_")
			return strings.ReplaceAll(role, "_", "-")
		}},
		{wire: "groups", head: "GROUPS", value: func(t *T) string {
			var names []string
			if groups := u(t).Groups; groups != nil {
				for _, g := range *groups {
					names = append(names, g.Name)
				}
			}
			return strings.Join(names, ", ")
		}},
		{wire: "organization_user_bypasses_sso", label: "bypasses sso", value: func(t *T) string { return strconv.FormatBool(u(t).BypassesSSO) }},
		{wire: "created_at", value: func(t *T) string { return u(t).CreatedAt }},
		{wire: "last_sign_in_at", value: func(t *T) string {
			if at := u(t).LastSignInAt; at != nil {
				return *at
			}
			return ""
		}},
	}
}

var userView = view[client.OrganizationUser]{
	id:      func(u *client.OrganizationUser) string { return u.ID },
	columns: userColumns(func(u *client.OrganizationUser) *api.OrganizationUser { return &u.OrganizationUser }),
}

// UserFilter chooses among users.
type UserFilter struct {
	EmailContains string `group:"Filter" placeholder:"TEXT" help:"Only users with this in their e-mail."`
	Status        string `group:"Filter" default:"" enum:",enabled,disabled,blocked" placeholder:"STATUS" help:"Only users that are enabled, disabled or blocked."`
	Groups        bool   `group:"Filter" negatable:"" default:"true" help:"Show the users' groups."`
}

// userList is what the server is asked for.
func userList(f UserFilter, p Paged) (list client.OrganizationUserList, err error) {
	list = client.OrganizationUserList{Email: f.EmailContains, UserStatus: f.Status, IncludeGroups: f.Groups}
	list.PageNumber, list.PageSize, err = p.place()
	return list, err
}

// ListUsers is a command.
type ListUsers struct {
	UserFilter
	Paged
	Reading
}

// Help shows an example.
func (ListUsers) Help() string {
	return `Examples:
  tenantry users list
  tenantry users list --status blocked --all -q`
}

// Run lists users.
func (x *ListUsers) Run(ctx context.Context, t *Terminal) error {
	list, err := userList(x.UserFilter, x.Paged)
	if err != nil {
		return err
	}
	s, err := x.open(t)
	if err != nil {
		return err
	}
	return show(s, x.Paged, userView,
		func() (*client.Page[client.OrganizationUser], error) { return s.OrganizationUsers.List(ctx, list) },
		s.OrganizationUsers.All(ctx, list))
}

// OnUser is the argument of commands about one user.
type OnUser struct {
	ID string `arg:"" help:"User id."`
}

// Validate refuses what can be no id before it becomes another address.
func (x *OnUser) Validate() error { return checkID(x.ID) }

// GetUser is a command.
type GetUser struct {
	OnUser
	Reading
}

// Help shows an example.
func (GetUser) Help() string {
	return `Example:
  tenantry users get ID`
}

// Run shows a user.
func (x *GetUser) Run(ctx context.Context, t *Terminal) error {
	s, err := x.open(t)
	if err != nil {
		return err
	}
	u, err := s.OrganizationUsers.Retrieve(ctx, x.ID, true)
	return finish(s, userView, u, err, false)
}

// RemoveUser is a command.
type RemoveUser struct {
	OnUser
	Yes bool `help:"Do it without asking."`
	Changing
}

// Help shows an example.
func (RemoveUser) Help() string {
	return `The user's keys and sessions end. Examples:
  tenantry users remove ID
  tenantry users remove ID --yes`
}

// Run removes a user.
func (x *RemoveUser) Run(ctx context.Context, t *Terminal) error {
	s, err := x.open(t)
	if err != nil {
		return err
	}
	if err := t.confirm(x.Yes || x.DryRun, "Removing user "+x.ID+" cannot be undone", x.ID); err != nil {
		return err
	}
	u, err := s.OrganizationUsers.Remove(ctx, x.ID)
	return finish(s, userView, u, err, false)
}

var reportView = view[client.GroupsReportRow]{
	id: func(r *client.GroupsReportRow) string { return r.ID },
	columns: []column[client.GroupsReportRow]{
		{wire: "id", head: "ID", shape: whole, value: func(r *client.GroupsReportRow) string { return r.ID }},
		{wire: "email", head: "EMAIL", value: func(r *client.GroupsReportRow) string { return r.Email }},
		{wire: "user_status", head: "STATUS", shape: whole, value: func(r *client.GroupsReportRow) string { return r.UserStatus }, color: statusColor},
		{wire: "groups", head: "GROUPS", value: func(r *client.GroupsReportRow) string { return r.Groups }},
		{wire: "last_sign_in_at", head: "LAST SIGN-IN", shape: spare, value: func(r *client.GroupsReportRow) string { return r.LastSignInAt }, table: func(r *client.GroupsReportRow) string { return day(r.LastSignInAt) }},
	},
}

// UsersReport is a command.
type UsersReport struct{ Reading }

// Help shows an example.
func (UsersReport) Help() string {
	return `CSV comes as the server makes it, and row by row. Examples:
  tenantry users report
  tenantry users report --csv > users.csv`
}

// Run prints the report.
func (x *UsersReport) Run(ctx context.Context, t *Terminal) error {
	s, err := x.open(t)
	if err != nil {
		return err
	}
	switch {
	case x.JSON:
		users, err := s.OrganizationUsers.GroupsReport(ctx)
		if err != nil {
			return err
		}
		return encode(t.Out, users)
	case x.CSV:
		report, err := s.OrganizationUsers.GroupsReportCSV(ctx)
		if err != nil {
			return err
		}
		defer report.Close()
		if _, err := io.Copy(t.Out, report); err != nil {
			return err
		}
		_, err = io.WriteString(t.Out, "\n") // the report ends without one
		return err
	}
	return showItems(t, x.Output, reportView, func(yield func(*client.GroupsReportRow, error) bool) {
		for row, err := range s.OrganizationUsers.GroupsReportRows(ctx) {
			if !yield(&row, err) {
				return
			}
		}
	})
}
