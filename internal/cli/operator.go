package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/client"
)

// Operator is "tenantry operator": what the operator of a Tenantry server does to
// accounts.
type Operator struct {
	CreateAccount    OperatorCreate   `cmd:"" help:"Make a root account and print its key."`
	Accounts         OperatorList     `cmd:"" help:"List root accounts, or those of a manager."`
	Account          OperatorGet      `cmd:"" help:"Show one account with its keys."`
	ApproveManager   ApproveManager   `cmd:"" help:"Let an account manage others, with a pool of channels."`
	RevokeManager    RevokeManager    `cmd:"" help:"Take the right to manage away."`
	Block            BlockAccount     `cmd:"" help:"Stop an account and all that it manages."`
	Unblock          UnblockAccount   `cmd:"" help:"Lift a block."`
	Cancel           CancelAccount    `cmd:"" help:"End an account for good."`
	SetCredit        SetCredit        `cmd:"" help:"Set the credit limit or the balance of an account."`
	Users            OperatorUsers    `cmd:"" help:"List the users of an organization."`
	CreateUser       CreateUser       `cmd:"" help:"Add a user to an organization and print the user's key."`
	BlockUser        BlockUser        `cmd:"" help:"Keep a user out."`
	UnblockUser      UnblockUser      `cmd:"" help:"Let a blocked user in again."`
	Groups           ListGroups       `cmd:"" help:"List the groups of an organization."`
	CreateGroup      CreateGroup      `cmd:"" help:"Add a group to an organization."`
	AddMember        AddMember        `cmd:"" help:"Put a user into a group."`
	RemoveMember     RemoveMember     `cmd:"" help:"Take a user out of a group."`
	Connections      ListConnections  `cmd:"" help:"List the connections of an account."`
	Connection       GetConnection    `cmd:"" help:"Show one connection."`
	CreateConnection CreateConnection `cmd:"" help:"Add a connection to an account."`
	UpdateConnection UpdateConnection `cmd:"" help:"Change a connection, switch it on or off, or hold it."`
	RemoveConnection RemoveConnection `cmd:"" help:"Take a connection away."`
	Check            CheckAdmission   `cmd:"" help:"Ask whether an account may do something now, as a switch does."`
	Leases           ListLeases       `cmd:"" help:"List the calls that hold channels."`
	FreeLease        FreeLease        `cmd:"" help:"Give back the channels that a call holds."`
	WebhookKey       WebhookKey       `cmd:"" help:"Show the key that receivers verify events with."`
	Webhooks         Webhooks         `cmd:"" help:"Look at events that go to the webhook, and send them again."`
	Audit            ListAuditEvents  `cmd:"" help:"Show the audit log of an account, newest first."`
}

// Help shows an example.
func (Operator) Help() string {
	return `Examples:
  tenantry operator create-account --email ops@example.com "Example Reseller"
  tenantry operator approve-manager ID --channel-pool 500
  tenantry operator block ID`
}

var operatedView = view[api.OperatorAccount]{
	id: func(a *api.OperatorAccount) string { return a.ID },
	columns: append(accountColumns(func(a *api.OperatorAccount) *api.ManagedAccount { return &a.ManagedAccount }),
		column[api.OperatorAccount]{wire: "manager", head: "MANAGER", shape: whole, value: func(a *api.OperatorAccount) string {
			switch m := a.Manager; {
			case m == nil:
				return ""
			case m.Approved:
				return "yes"
			default:
				return "revoked"
			}
		}},
		column[api.OperatorAccount]{wire: "channel_pool", value: managerCount(func(m *api.ManagerSettings) int64 { return m.ChannelPool })},
		column[api.OperatorAccount]{wire: "channels_allocated", value: managerCount(func(m *api.ManagerSettings) int64 { return m.ChannelsAllocated })},
		column[api.OperatorAccount]{wire: "accounts", value: managerCount(func(m *api.ManagerSettings) int64 { return m.Accounts })},
		column[api.OperatorAccount]{wire: "channel_limit", head: "CHANNELS", shape: spare, value: func(a *api.OperatorAccount) string { return strconv.FormatInt(a.ChannelLimit, 10) }},
	),
}

func managerCount(of func(*api.ManagerSettings) int64) func(*api.OperatorAccount) string {
	return func(a *api.OperatorAccount) string {
		if a.Manager == nil {
			return ""
		}
		return strconv.FormatInt(of(a.Manager), 10)
	}
}

// OperatorCreate is a command.
type OperatorCreate struct {
	BusinessName string  `arg:"" help:"Name of the organization."`
	Email        string  `required:"" placeholder:"ADDRESS" help:"Address of the owner."`
	Password     *string `env:"TENANTRY_PASSWORD" placeholder:"PASSWORD" help:"Password of the owner; better not typed here."`
	CreditLimit  *string `placeholder:"AMOUNT" help:"Credit limit, such as 100.00."`
	Balance      *string `placeholder:"AMOUNT" help:"Balance, such as 100.00."`
	OperatorChanging
}

// Help shows an example.
func (OperatorCreate) Help() string {
	return `Example:
  tenantry operator create-account --email ops@example.com "Example Reseller"`
}

// Run makes a root account.
func (x *OperatorCreate) Run(ctx context.Context, t *Terminal) error {
	s, err := x.open(t)
	if err != nil {
		return err
	}
	a, err := s.operator.CreateAccount(ctx, api.CreateRootAccount{
		BusinessName: x.BusinessName, Email: x.Email, Password: x.Password, CreditLimit: x.CreditLimit, Balance: x.Balance,
	})
	return finish(s, operatedView, a, err, true)
}

// OperatorList is a command.
type OperatorList struct {
	Manager string `group:"Filter" placeholder:"ID" help:"List the accounts of this manager."`
	AccountFilter
	AccountOrder
	Paged
	OperatorReading
}

// Help shows an example.
func (OperatorList) Help() string {
	return `Examples:
  tenantry operator accounts
  tenantry operator accounts --manager ID --status blocked --all`
}

// Run lists accounts.
func (x *OperatorList) Run(ctx context.Context, t *Terminal) error {
	list, err := accountList(x.AccountFilter, x.AccountOrder, x.Paged)
	if err != nil {
		return err
	}
	s, err := x.open(t)
	if err != nil {
		return err
	}
	first := func() (*client.Page[api.OperatorAccount], error) {
		return s.operator.ListAccounts(ctx, client.OperatorAccountList{ManagerAccountID: x.Manager, ManagedAccountList: list})
	}
	return show(s, x.Paged, operatedView, first, every(ctx, first))
}

// OperatorGet is a command.
type OperatorGet struct {
	OnAccount
	Revealing
	OperatorReading
}

// Help shows an example.
func (OperatorGet) Help() string {
	return `Example:
  tenantry operator account ID --reveal`
}

// Run shows an account.
func (x *OperatorGet) Run(ctx context.Context, t *Terminal) error {
	s, err := x.open(t)
	if err != nil {
		return err
	}
	a, err := s.operator.Account(ctx, x.ID)
	return finish(s, operatedView, a, err, x.Reveal)
}

// operatedAccount is an account and what is done to it.
type operatedAccount struct {
	OnAccount
	Revealing
	OperatorChanging
}

func (x *operatedAccount) do(t *Terminal, call func(*client.Operator) (*api.OperatorAccount, error)) error {
	s, err := x.open(t)
	if err != nil {
		return err
	}
	a, err := call(s.operator)
	return finish(s, operatedView, a, err, x.Reveal)
}

// ApproveManager is a command.
type ApproveManager struct {
	ChannelPool *int64 `placeholder:"N" help:"Outbound channels to hand out in all; without, the pool stays as it is."`
	operatedAccount
}

// Help shows an example.
func (ApproveManager) Help() string {
	return `Example:
  tenantry operator approve-manager ID --channel-pool 500`
}

// Run approves a manager.
func (x *ApproveManager) Run(ctx context.Context, t *Terminal) error {
	return x.do(t, func(o *client.Operator) (*api.OperatorAccount, error) {
		return o.ApproveManager(ctx, x.ID, x.ChannelPool)
	})
}

// RevokeManager is a command.
type RevokeManager struct{ operatedAccount }

// Help shows an example.
func (RevokeManager) Help() string {
	return `The managed accounts stay. Example:
  tenantry operator revoke-manager ID`
}

// Run revokes a manager.
func (x *RevokeManager) Run(ctx context.Context, t *Terminal) error {
	return x.do(t, func(o *client.Operator) (*api.OperatorAccount, error) { return o.RevokeManager(ctx, x.ID) })
}

// BlockAccount is a command.
type BlockAccount struct{ operatedAccount }

// Help shows an example.
func (BlockAccount) Help() string {
	return `Example:
  tenantry operator block ID`
}

// Run blocks an account.
func (x *BlockAccount) Run(ctx context.Context, t *Terminal) error {
	return x.do(t, func(o *client.Operator) (*api.OperatorAccount, error) { return o.Block(ctx, x.ID) })
}

// UnblockAccount is a command.
type UnblockAccount struct{ operatedAccount }

// Help shows an example.
func (UnblockAccount) Help() string {
	return `Example:
  tenantry operator unblock ID`
}

// Run unblocks an account.
func (x *UnblockAccount) Run(ctx context.Context, t *Terminal) error {
	return x.do(t, func(o *client.Operator) (*api.OperatorAccount, error) { return o.Unblock(ctx, x.ID) })
}

// CancelAccount is a command.
type CancelAccount struct {
	Yes bool `help:"Do it without asking."`
	operatedAccount
}

// Help shows an example.
func (CancelAccount) Help() string {
	return `Its keys end, and so do those of all that it manages. Examples:
  tenantry operator cancel ID
  tenantry operator cancel ID --yes`
}

// Run cancels an account.
func (x *CancelAccount) Run(ctx context.Context, t *Terminal) error {
	if err := t.confirm(x.Yes || x.DryRun, "Cancelling account "+x.ID+" cannot be undone", x.ID); err != nil {
		return err
	}
	return x.do(t, func(o *client.Operator) (*api.OperatorAccount, error) { return o.Cancel(ctx, x.ID) })
}

// SetCredit is a command.
type SetCredit struct {
	CreditLimit *string `placeholder:"AMOUNT" help:"New credit limit, such as 100.00."`
	Balance     *string `placeholder:"AMOUNT" help:"New balance, such as 100.00."`
	operatedAccount
}

// Help shows an example.
func (SetCredit) Help() string {
	return `Example:
  tenantry operator set-credit ID --credit-limit 100.00`
}

// Run sets credit.
func (x *SetCredit) Run(ctx context.Context, t *Terminal) error {
	if x.CreditLimit == nil && x.Balance == nil {
		return usagef("nothing to set: give --credit-limit or --balance")
	}
	return x.do(t, func(o *client.Operator) (*api.OperatorAccount, error) {
		return o.SetCredit(ctx, x.ID, api.UpdateCredit{CreditLimit: x.CreditLimit, Balance: x.Balance})
	})
}

var auditView = view[api.AuditEvent]{
	id: func(e *api.AuditEvent) string { return e.ID },
	columns: []column[api.AuditEvent]{
		{wire: "id", value: func(e *api.AuditEvent) string { return e.ID }},
		{wire: "created_at", head: "TIME", shape: whole, value: func(e *api.AuditEvent) string { return e.CreatedAt }},
		{wire: "change_made_by", head: "MADE BY", shape: spare, value: func(e *api.AuditEvent) string { return e.ChangeMadeBy }},
		{wire: "change_type", head: "CHANGE", shape: whole, value: func(e *api.AuditEvent) string { return e.ChangeType }},
		{wire: "resource_id", value: func(e *api.AuditEvent) string { return e.ResourceID }},
		{wire: "changes", head: "FIELDS", value: func(e *api.AuditEvent) string {
			var fields []string
			for _, f := range e.Changes {
				fields = append(fields, fmt.Sprintf("%s: %v → %v", f.Field, value(f.From), value(f.To)))
			}
			return strings.Join(fields, "; ")
		}},
		{wire: "request_id", value: func(e *api.AuditEvent) string { return e.RequestID }},
	},
}

// value writes an absent value as nothing that could be one.
func value(v any) any {
	if v == nil {
		return "-"
	}
	return v
}

// ListAuditEvents is a command.
type ListAuditEvents struct {
	OnAccount
	Paged
	OperatorReading
}

// Help shows an example.
func (ListAuditEvents) Help() string {
	return `Example:
  tenantry operator audit ID --all --json`
}

// Run lists changes.
func (x *ListAuditEvents) Run(ctx context.Context, t *Terminal) error {
	number, size, err := x.place()
	if err != nil {
		return err
	}
	s, err := x.open(t)
	if err != nil {
		return err
	}
	first := func() (*client.Page[api.AuditEvent], error) {
		return s.operator.AuditEvents(ctx, x.ID, client.AuditEventList{PageNumber: number, PageSize: size})
	}
	return show(s, x.Paged, auditView, first, every(ctx, first))
}
