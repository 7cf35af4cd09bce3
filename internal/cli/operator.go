// Package cli has the commands that talk to a server, as values over the client
// package.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/client"
)

// Operator is "tenantry operator": what the operator does to accounts.
type Operator struct {
	URL   string `name:"url" default:"http://127.0.0.1:8077/operator/v1" env:"TENANTRY_OPERATOR_URL" help:"Address of the operator API."`
	Token string `env:"TENANTRY_OPERATOR_TOKEN" help:"Operator token; default: the file operator.token in the data folder."`
	Data  string `default:"tenantry-data" env:"TENANTRY_DATA" type:"path" help:"The server's data folder, when it is on this machine."`
	JSON  bool   `name:"json" help:"Print the answer as JSON."`

	CreateAccount  CreateAccount  `cmd:"" help:"Make a root account and print its key."`
	Accounts       Accounts       `cmd:"" help:"List root accounts, or those of a manager."`
	Account        Account        `cmd:"" help:"Show one account with its keys."`
	ApproveManager ApproveManager `cmd:"" help:"Let an account manage others, with a pool of channels."`
	RevokeManager  RevokeManager  `cmd:"" help:"Take the right to manage away."`
	Block          Block          `cmd:"" help:"Stop an account and all that it manages."`
	Unblock        Unblock        `cmd:"" help:"Lift a block."`
	Cancel         Cancel         `cmd:"" help:"End an account for good."`
	SetCredit      SetCredit      `cmd:"" help:"Set the credit limit or the balance of an account."`
	Users          Users          `cmd:"" help:"List the users of an organization."`
	CreateUser     CreateUser     `cmd:"" help:"Add a user to an organization and print the user's key."`
	BlockUser      BlockUser      `cmd:"" help:"Keep a user out."`
	UnblockUser    UnblockUser    `cmd:"" help:"Let a blocked user in again."`
	Groups         Groups         `cmd:"" help:"List the groups of an organization."`
	CreateGroup    CreateGroup    `cmd:"" help:"Add a group to an organization."`
	AddMember      AddMember      `cmd:"" help:"Put a user into a group."`
	RemoveMember   RemoveMember   `cmd:"" help:"Take a user out of a group."`
	Audit          Audit          `cmd:"" help:"Show the audit log of an account, newest first."`

	// Out is where answers are printed; nil means standard output.
	Out io.Writer `kong:"-"`
}

// Help shows an example.
func (Operator) Help() string {
	return `Examples:
  tenantry operator create-account --email ops@example.com "Example Reseller"
  tenantry operator approve-manager ID --channel-pool 500
  tenantry operator block ID`
}

func (o *Operator) api() (*client.Operator, error) {
	token := o.Token
	if token == "" {
		text, err := os.ReadFile(filepath.Join(o.Data, "operator.token"))
		if err != nil {
			return nil, errors.New("no operator token: set --token or TENANTRY_OPERATOR_TOKEN, or name the server's data folder with --data")
		}
		token = strings.TrimSpace(string(text))
	}
	return client.NewOperator(client.New(client.WithBaseURL(o.URL), client.WithKey(token))), nil
}

// show prints an answer: as JSON, or as what people want to read.
func show[T any](o *Operator, answer T, err error, people func(w io.Writer, answer T)) error {
	if err != nil {
		return err
	}
	out := o.Out
	if out == nil {
		out = os.Stdout
	}
	if o.JSON {
		e := json.NewEncoder(out)
		e.SetEscapeHTML(false)
		return e.Encode(answer)
	}
	table := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	people(table, answer)
	return table.Flush()
}

// plain keeps control characters of names off the terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

func showAccount(w io.Writer, a *api.OperatorAccount) {
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, plain(value))
		}
	}
	row("id", a.ID)
	row("organization", a.OrganizationName)
	row("email", a.Email)
	row("status", strings.TrimSpace(a.Status+" "+strings.Join(a.StatusReasons, ", ")))
	row("manager account", a.ManagerAccountID)
	if m := a.Manager; m != nil {
		approved := "revoked"
		if m.Approved {
			approved = "approved"
		}
		row("manager", fmt.Sprintf("%s, %d of %d channels allocated, %d accounts", approved, m.ChannelsAllocated, m.ChannelPool, m.Accounts))
	}
	if b := a.Balance; b != nil {
		row("balance", fmt.Sprintf("%s %s, credit limit %s", b.Balance, b.Currency, b.CreditLimit))
	}
	row("channel limit", fmt.Sprint(a.ChannelLimit))
	row("api key", a.APIKey)
	row("api user", a.APIUser)
	row("api token", a.APIToken)
}

func showUser(w io.Writer, u *api.OrganizationUser) {
	showUsers(w, []api.OrganizationUser{*u})
}

func showUsers(w io.Writer, users []api.OrganizationUser) {
	fmt.Fprintln(w, "ID\tEMAIL\tSTATUS\tRECORD TYPE\tGROUPS")
	for _, u := range users {
		var names []string
		if u.Groups != nil {
			for _, g := range *u.Groups {
				names = append(names, plain(g.Name))
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", u.ID, plain(u.Email), u.UserStatus, u.RecordType, strings.Join(names, ", "))
	}
}

// CreateAccount is a command.
type CreateAccount struct {
	BusinessName string  `arg:"" help:"Name of the organization."`
	Email        string  `required:"" help:"Address of the owner."`
	Password     *string `env:"TENANTRY_PASSWORD" help:"Password of the owner; better by TENANTRY_PASSWORD."`
	CreditLimit  *string `help:"Credit limit, such as 100.00."`
	Balance      *string `help:"Balance, such as 100.00."`
}

// Run calls the server.
func (x *CreateAccount) Run(ctx context.Context, o *Operator) error {
	c, err := o.api()
	if err != nil {
		return err
	}
	a, err := c.CreateAccount(ctx, api.CreateRootAccount{
		BusinessName: x.BusinessName, Email: x.Email, Password: x.Password, CreditLimit: x.CreditLimit, Balance: x.Balance,
	})
	return show(o, a, err, showAccount)
}

// Paged chooses a page of a list.
type Paged struct {
	Page int64 `default:"1" help:"Page to show."`
	Size int64 `default:"50" help:"How many a page has, 1 to 250."`
}

func (p Paged) foot(w io.Writer, m api.Meta) {
	fmt.Fprintf(w, "\npage %d of %d, %d in all\n", m.PageNumber, m.TotalPages, m.TotalResults)
}

// Accounts is a command.
type Accounts struct {
	Paged
	Manager   string `placeholder:"ID" help:"List the accounts of this manager."`
	Status    string `default:"" enum:",all,active,enabled,disabled,blocked,cancelled" placeholder:"STATUS" help:"Only accounts with this status."`
	EmailLike string `placeholder:"TEXT" help:"Only accounts whose email contains this, 3 characters or more."`
}

// Run calls the server.
func (x *Accounts) Run(ctx context.Context, o *Operator) error {
	c, err := o.api()
	if err != nil {
		return err
	}
	list, err := c.ListAccounts(ctx, client.OperatorAccountList{
		ManagerAccountID: x.Manager,
		ManagedAccountList: client.ManagedAccountList{
			Status: x.Status, EmailContains: x.EmailLike, PageNumber: x.Page, PageSize: x.Size,
		},
	})
	return show(o, list, err, func(w io.Writer, list *client.Page[api.OperatorAccount]) {
		fmt.Fprintln(w, "ID\tEMAIL\tORGANIZATION\tSTATUS\tMANAGER\tCHANNELS")
		for _, a := range list.Data {
			manager := ""
			if a.Manager != nil && a.Manager.Approved {
				manager = "yes"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\n", a.ID, plain(a.Email), plain(a.OrganizationName), a.Status, manager, a.ChannelLimit)
		}
		x.foot(w, list.Meta)
	})
}

// onAccount is the argument of commands that do something to one account.
type onAccount struct {
	ID string `arg:"" help:"Account id."`
}

func (x *onAccount) do(ctx context.Context, o *Operator, call func(*client.Operator, context.Context, string) (*api.OperatorAccount, error)) error {
	c, err := o.api()
	if err != nil {
		return err
	}
	a, err := call(c, ctx, x.ID)
	return show(o, a, err, showAccount)
}

// Account is a command.
type Account struct{ onAccount }

// Run calls the server.
func (x *Account) Run(ctx context.Context, o *Operator) error {
	return x.do(ctx, o, (*client.Operator).Account)
}

// ApproveManager is a command.
type ApproveManager struct {
	onAccount
	ChannelPool *int64 `help:"Outbound channels to hand out in all; without, the pool stays as it is."`
}

// Run calls the server.
func (x *ApproveManager) Run(ctx context.Context, o *Operator) error {
	return x.do(ctx, o, func(c *client.Operator, ctx context.Context, id string) (*api.OperatorAccount, error) {
		return c.ApproveManager(ctx, id, x.ChannelPool)
	})
}

// RevokeManager is a command.
type RevokeManager struct{ onAccount }

// Run calls the server.
func (x *RevokeManager) Run(ctx context.Context, o *Operator) error {
	return x.do(ctx, o, (*client.Operator).RevokeManager)
}

// Block is a command.
type Block struct{ onAccount }

// Run calls the server.
func (x *Block) Run(ctx context.Context, o *Operator) error {
	return x.do(ctx, o, (*client.Operator).Block)
}

// Unblock is a command.
type Unblock struct{ onAccount }

// Run calls the server.
func (x *Unblock) Run(ctx context.Context, o *Operator) error {
	return x.do(ctx, o, (*client.Operator).Unblock)
}

// Cancel is a command.
type Cancel struct {
	onAccount
	Yes bool `help:"Do it without asking."`
}

// Run calls the server.
func (x *Cancel) Run(ctx context.Context, o *Operator) error {
	if !x.Yes {
		fmt.Fprintf(os.Stderr, "Cancelling %s cannot be undone. Type the id again to go on: ", plain(x.ID))
		var typed string
		fmt.Fscanln(os.Stdin, &typed)
		if typed != x.ID {
			return errors.New("nothing was cancelled (use --yes in scripts)")
		}
	}
	return x.do(ctx, o, (*client.Operator).Cancel)
}

// SetCredit is a command.
type SetCredit struct {
	onAccount
	CreditLimit *string `help:"New credit limit, such as 100.00."`
	Balance     *string `help:"New balance, such as 100.00."`
}

// Run calls the server.
func (x *SetCredit) Run(ctx context.Context, o *Operator) error {
	if x.CreditLimit == nil && x.Balance == nil {
		return errors.New("nothing to set: give --credit-limit or --balance")
	}
	return x.do(ctx, o, func(c *client.Operator, ctx context.Context, id string) (*api.OperatorAccount, error) {
		return c.SetCredit(ctx, id, api.UpdateCredit{CreditLimit: x.CreditLimit, Balance: x.Balance})
	})
}

// Users is a command.
type Users struct {
	onAccount
	Paged
}

// Run calls the server.
func (x *Users) Run(ctx context.Context, o *Operator) error {
	c, err := o.api()
	if err != nil {
		return err
	}
	list, err := c.ListUsers(ctx, x.ID, client.OrganizationUserList{IncludeGroups: true, PageNumber: x.Page, PageSize: x.Size})
	return show(o, list, err, func(w io.Writer, list *client.Page[api.OrganizationUser]) {
		showUsers(w, list.Data)
		x.foot(w, list.Meta)
	})
}

// CreateUser is a command.
type CreateUser struct {
	onAccount
	Email       string   `required:"" help:"Address of the user."`
	Password    *string  `env:"TENANTRY_PASSWORD" help:"Password of the user; better by TENANTRY_PASSWORD."`
	BypassesSSO bool     `name:"bypasses-sso" help:"The user may sign in with a password where single sign-on is set up."`
	Group       []string `placeholder:"ID" help:"Group to join; may be repeated."`
}

// Run calls the server.
func (x *CreateUser) Run(ctx context.Context, o *Operator) error {
	c, err := o.api()
	if err != nil {
		return err
	}
	u, err := c.CreateUser(ctx, x.ID, api.CreateOrganizationUser{
		Email: x.Email, Password: x.Password, BypassesSSO: &x.BypassesSSO, GroupIDs: x.Group,
	})
	return show(o, u, err, func(w io.Writer, u *api.CreatedUser) {
		showUser(w, &u.OrganizationUser)
		fmt.Fprintf(w, "\nThe user's key, shown this once: %s\n", u.APIKey)
	})
}

// onUser is the arguments of commands that do something to one user.
type onUser struct {
	onAccount
	UserID string `arg:"" help:"User id."`
}

// BlockUser is a command.
type BlockUser struct{ onUser }

// Run calls the server.
func (x *BlockUser) Run(ctx context.Context, o *Operator) error {
	c, err := o.api()
	if err != nil {
		return err
	}
	u, err := c.BlockUser(ctx, x.ID, x.UserID)
	return show(o, u, err, showUser)
}

// UnblockUser is a command.
type UnblockUser struct{ onUser }

// Run calls the server.
func (x *UnblockUser) Run(ctx context.Context, o *Operator) error {
	c, err := o.api()
	if err != nil {
		return err
	}
	u, err := c.UnblockUser(ctx, x.ID, x.UserID)
	return show(o, u, err, showUser)
}

// Groups is a command.
type Groups struct{ onAccount }

// Run calls the server.
func (x *Groups) Run(ctx context.Context, o *Operator) error {
	c, err := o.api()
	if err != nil {
		return err
	}
	groups, err := c.Groups(ctx, x.ID)
	return show(o, groups, err, showGroups)
}

func showGroups(w io.Writer, groups []api.Group) {
	fmt.Fprintln(w, "ID\tNAME\tPERMISSIONS")
	for _, g := range groups {
		fmt.Fprintf(w, "%s\t%s\t%s\n", g.ID, plain(g.Name), strings.Join(g.Permissions, ", "))
	}
}

// CreateGroup is a command.
type CreateGroup struct {
	onAccount
	Name       string   `arg:"" help:"Name of the group."`
	Permission []string `placeholder:"NAME" help:"What members may do, such as organization or managed_accounts; may be repeated."`
}

// Run calls the server.
func (x *CreateGroup) Run(ctx context.Context, o *Operator) error {
	c, err := o.api()
	if err != nil {
		return err
	}
	g, err := c.CreateGroup(ctx, x.ID, api.CreateGroup{Name: x.Name, Permissions: x.Permission})
	return show(o, g, err, func(w io.Writer, g *api.Group) { showGroups(w, []api.Group{*g}) })
}

// onMember is the arguments of commands about one membership.
type onMember struct {
	onAccount
	GroupID string `arg:"" help:"Group id."`
	UserID  string `arg:"" help:"User id."`
}

// AddMember is a command.
type AddMember struct{ onMember }

// Run calls the server.
func (x *AddMember) Run(ctx context.Context, o *Operator) error {
	c, err := o.api()
	if err != nil {
		return err
	}
	u, err := c.AddMember(ctx, x.ID, x.GroupID, x.UserID)
	return show(o, u, err, showUser)
}

// RemoveMember is a command.
type RemoveMember struct{ onMember }

// Run calls the server.
func (x *RemoveMember) Run(ctx context.Context, o *Operator) error {
	c, err := o.api()
	if err != nil {
		return err
	}
	u, err := c.RemoveMember(ctx, x.ID, x.GroupID, x.UserID)
	return show(o, u, err, showUser)
}

// Audit is a command.
type Audit struct {
	onAccount
	Page int64 `default:"1" help:"Page to show."`
}

// Run calls the server.
func (x *Audit) Run(ctx context.Context, o *Operator) error {
	c, err := o.api()
	if err != nil {
		return err
	}
	list, err := c.AuditEvents(ctx, x.ID, client.AuditEventList{PageNumber: x.Page})
	return show(o, list, err, func(w io.Writer, list *client.Page[api.AuditEvent]) {
		fmt.Fprintln(w, "TIME\tMADE BY\tCHANGE\tFIELDS")
		for _, e := range list.Data {
			var fields []string
			for _, f := range e.Changes {
				fields = append(fields, fmt.Sprintf("%s: %v → %v", f.Field, f.From, f.To))
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", e.CreatedAt, e.ChangeMadeBy, e.ChangeType, plain(strings.Join(fields, "; ")))
		}
		Paged{}.foot(w, list.Meta)
	})
}
