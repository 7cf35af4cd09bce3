package cli

import (
	"context"
	"strings"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/client"
)

var operatedUserView = view[api.OrganizationUser]{
	id:      func(u *api.OrganizationUser) string { return u.ID },
	columns: userColumns(func(u *api.OrganizationUser) *api.OrganizationUser { return u }),
}

var createdUserView = view[api.CreatedUser]{
	id: func(u *api.CreatedUser) string { return u.ID },
	columns: append(userColumns(func(u *api.CreatedUser) *api.OrganizationUser { return &u.OrganizationUser }),
		column[api.CreatedUser]{wire: "api_key", secret: true, value: func(u *api.CreatedUser) string { return u.APIKey }}),
}

var groupView = view[api.Group]{
	id: func(g *api.Group) string { return g.ID },
	columns: []column[api.Group]{
		{wire: "id", head: "ID", shape: whole, value: func(g *api.Group) string { return g.ID }},
		{wire: "name", head: "NAME", value: func(g *api.Group) string { return g.Name }},
		{wire: "permissions", head: "PERMISSIONS", value: func(g *api.Group) string { return strings.Join(g.Permissions, ", ") }},
		{wire: "created_at", value: func(g *api.Group) string { return g.CreatedAt }},
	},
}

// OperatorUsers is a command.
type OperatorUsers struct {
	OnAccount
	UserFilter
	Paged
	OperatorReading
}

// Help shows an example.
func (OperatorUsers) Help() string {
	return `Example:
  tenantry operator users ID --status blocked`
}

// Run lists users.
func (x *OperatorUsers) Run(ctx context.Context, t *Terminal) error {
	list, err := userList(x.UserFilter, x.Paged)
	if err != nil {
		return err
	}
	s, err := x.open(t)
	if err != nil {
		return err
	}
	first := func() (*client.Page[api.OrganizationUser], error) { return s.operator.ListUsers(ctx, x.ID, list) }
	return show(s, x.Paged, operatedUserView, first, every(ctx, first))
}

// CreateUser is a command.
type CreateUser struct {
	OnAccount
	Email       string   `required:"" placeholder:"ADDRESS" help:"Address of the user."`
	Password    *string  `env:"TENANTRY_PASSWORD" placeholder:"PASSWORD" help:"Password of the user; better not typed here."`
	BypassesSSO bool     `name:"bypasses-sso" help:"The user may sign in with a password where single sign-on is set up."`
	Group       []string `placeholder:"ID" help:"Group to join; may be repeated."`
	OperatorChanging
}

// Help shows an example.
func (CreateUser) Help() string {
	return `The user's key is shown this once. Example:
  tenantry operator create-user ID --email user@example.com --group GROUP`
}

// Run adds a user.
func (x *CreateUser) Run(ctx context.Context, t *Terminal) error {
	s, err := x.open(t)
	if err != nil {
		return err
	}
	u, err := s.operator.CreateUser(ctx, x.ID, api.CreateOrganizationUser{
		Email: x.Email, Password: x.Password, BypassesSSO: &x.BypassesSSO, GroupIDs: x.Group,
	})
	return finish(s, createdUserView, u, err, true)
}

// operatedUser is a user of an account and what is done to it.
type operatedUser struct {
	OnAccount
	UserID string `arg:"" help:"User id."`
	OperatorChanging
}

func (x *operatedUser) do(t *Terminal, call func(*client.Operator) (*api.OrganizationUser, error)) error {
	s, err := x.open(t)
	if err != nil {
		return err
	}
	u, err := call(s.operator)
	return finish(s, operatedUserView, u, err, false)
}

// BlockUser is a command.
type BlockUser struct{ operatedUser }

// Help shows an example.
func (BlockUser) Help() string {
	return `Example:
  tenantry operator block-user ID USER`
}

// Run blocks a user.
func (x *BlockUser) Run(ctx context.Context, t *Terminal) error {
	return x.do(t, func(o *client.Operator) (*api.OrganizationUser, error) { return o.BlockUser(ctx, x.ID, x.UserID) })
}

// UnblockUser is a command.
type UnblockUser struct{ operatedUser }

// Help shows an example.
func (UnblockUser) Help() string {
	return `Example:
  tenantry operator unblock-user ID USER`
}

// Run unblocks a user.
func (x *UnblockUser) Run(ctx context.Context, t *Terminal) error {
	return x.do(t, func(o *client.Operator) (*api.OrganizationUser, error) { return o.UnblockUser(ctx, x.ID, x.UserID) })
}

// ListGroups is a command.
type ListGroups struct {
	OnAccount
	OperatorReading
}

// Help shows an example.
func (ListGroups) Help() string {
	return `Example:
  tenantry operator groups ID`
}

// Run lists groups.
func (x *ListGroups) Run(ctx context.Context, t *Terminal) error {
	s, err := x.open(t)
	if err != nil {
		return err
	}
	groups, err := s.operator.Groups(ctx, x.ID)
	if err != nil {
		return err
	}
	if x.JSON {
		return encode(t.Out, groups)
	}
	return showItems(t, x.Output, groupView, eachOf(groups))
}

// CreateGroup is a command.
type CreateGroup struct {
	OnAccount
	Name       string   `arg:"" help:"Name of the group."`
	Permission []string `placeholder:"NAME" help:"What members may do, such as organization or managed_accounts; may be repeated."`
	OperatorChanging
}

// Help shows an example.
func (CreateGroup) Help() string {
	return `Example:
  tenantry operator create-group ID Support --permission organization --permission managed_accounts`
}

// Run adds a group.
func (x *CreateGroup) Run(ctx context.Context, t *Terminal) error {
	s, err := x.open(t)
	if err != nil {
		return err
	}
	g, err := s.operator.CreateGroup(ctx, x.ID, api.CreateGroup{Name: x.Name, Permissions: x.Permission})
	return finish(s, groupView, g, err, false)
}

// operatedMember is a membership and what is done to it.
type operatedMember struct {
	OnAccount
	GroupID string `arg:"" help:"Group id."`
	UserID  string `arg:"" help:"User id."`
	OperatorChanging
}

func (x *operatedMember) do(t *Terminal, call func(*client.Operator) (*api.OrganizationUser, error)) error {
	s, err := x.open(t)
	if err != nil {
		return err
	}
	u, err := call(s.operator)
	return finish(s, operatedUserView, u, err, false)
}

// AddMember is a command.
type AddMember struct{ operatedMember }

// Help shows an example.
func (AddMember) Help() string {
	return `Example:
  tenantry operator add-member ID GROUP USER`
}

// Run puts a user into a group.
func (x *AddMember) Run(ctx context.Context, t *Terminal) error {
	return x.do(t, func(o *client.Operator) (*api.OrganizationUser, error) {
		return o.AddMember(ctx, x.ID, x.GroupID, x.UserID)
	})
}

// RemoveMember is a command.
type RemoveMember struct{ operatedMember }

// Help shows an example.
func (RemoveMember) Help() string {
	return `Example:
  tenantry operator remove-member ID GROUP USER`
}

// Run takes a user out of a group.
func (x *RemoveMember) Run(ctx context.Context, t *Terminal) error {
	return x.do(t, func(o *client.Operator) (*api.OrganizationUser, error) {
		return o.RemoveMember(ctx, x.ID, x.GroupID, x.UserID)
	})
}
