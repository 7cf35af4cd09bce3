package cli

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/client"
)

// Accounts is "tenantry accounts": the accounts that a manager has.
type Accounts struct {
	List    ListAccounts   `cmd:"" help:"List accounts."`
	Create  CreateAccount  `cmd:"" help:"Create an account, or one for each line of a file."`
	Get     GetAccount     `cmd:"" help:"Show one account in full."`
	Update  UpdateAccount  `cmd:"" help:"Change what may be changed of an account."`
	Disable DisableAccount `cmd:"" help:"Forbid an account, or many, to use services."`
	Enable  EnableAccount  `cmd:"" help:"Let an account use services again."`
}

// accountColumns are the properties that managed and operated accounts share.
func accountColumns[T any](a func(*T) *api.ManagedAccount) []column[T] {
	balance := func(value func(*api.AccountBalance) string) func(*T) string {
		return func(t *T) string {
			if b := a(t).Balance; b != nil {
				return value(b)
			}
			return ""
		}
	}
	return []column[T]{
		{wire: "id", head: "ID", shape: whole, value: func(t *T) string { return a(t).ID }},
		{wire: "email", head: "EMAIL", value: func(t *T) string { return a(t).Email }},
		{wire: "organization_name", head: "ORGANIZATION", value: func(t *T) string { return a(t).OrganizationName }},
		{wire: "status", head: "STATUS", shape: whole, value: func(t *T) string { return a(t).Status }, color: statusColor},
		{wire: "status_reasons", value: func(t *T) string { return strings.Join(a(t).StatusReasons, ", ") }},
		{wire: "balance", value: balance(func(b *api.AccountBalance) string { return b.Balance })},
		{wire: "credit_limit", value: balance(func(b *api.AccountBalance) string { return b.CreditLimit })},
		{wire: "available_credit", value: balance(func(b *api.AccountBalance) string { return b.AvailableCredit })},
		{wire: "currency", value: balance(func(b *api.AccountBalance) string { return b.Currency })},
		{wire: "manager_account_id", value: func(t *T) string { return a(t).ManagerAccountID }},
		{wire: "managed_account_allow_custom_pricing", label: "custom pricing", value: func(t *T) string { return strconv.FormatBool(a(t).AllowCustomPricing) }},
		{wire: "rollup_billing", value: func(t *T) string { return strconv.FormatBool(a(t).RollupBilling) }},
		{wire: "created_at", head: "CREATED", shape: spare, value: func(t *T) string { return a(t).CreatedAt }, table: func(t *T) string { return day(a(t).CreatedAt) }},
		{wire: "updated_at", value: func(t *T) string { return a(t).UpdatedAt }},
		{wire: "api_key", secret: true, value: func(t *T) string { return a(t).APIKey }},
		{wire: "api_user", value: func(t *T) string { return a(t).APIUser }},
		{wire: "api_token", secret: true, value: func(t *T) string { return a(t).APIToken }},
	}
}

var accountView = view[client.ManagedAccount]{
	id:      func(a *client.ManagedAccount) string { return a.ID },
	columns: accountColumns(func(a *client.ManagedAccount) *api.ManagedAccount { return &a.ManagedAccount }),
}

// AccountFilter chooses among accounts.
type AccountFilter struct {
	Email                string `group:"Filter" placeholder:"ADDRESS" help:"Only the account with exactly this e-mail."`
	EmailContains        string `group:"Filter" placeholder:"TEXT" help:"Only accounts with this in their e-mail, 3 characters or more."`
	Organization         string `group:"Filter" placeholder:"NAME" help:"Only accounts with exactly this organization name."`
	OrganizationContains string `group:"Filter" placeholder:"TEXT" help:"Only accounts with this in their organization name, 3 characters or more."`
	Status               string `group:"Filter" default:"" enum:",all,active,enabled,disabled,blocked,cancelled" placeholder:"STATUS" help:"Only accounts that are all, active, enabled, disabled, blocked or cancelled."`
}

func (f AccountFilter) list() client.ManagedAccountList {
	return client.ManagedAccountList{
		EmailEq: f.Email, EmailContains: f.EmailContains, OrganizationNameEq: f.Organization,
		OrganizationNameContains: f.OrganizationContains, Status: f.Status,
	}
}

// AccountOrder chooses the order of accounts and whether cancelled ones are there.
type AccountOrder struct {
	IncludeCancelled bool   `group:"Filter" help:"Cancelled accounts too."`
	Sort             string `group:"Paging" default:"" enum:",created_at,-created_at,email,-email" placeholder:"FIELD" help:"created_at, -created_at, email or -email; newest first without."`
}

// accountList is what the server is asked for.
func accountList(f AccountFilter, o AccountOrder, p Paged) (list client.ManagedAccountList, err error) {
	list = f.list()
	list.IncludeCancelled, list.Sort = o.IncludeCancelled, o.Sort
	list.PageNumber, list.PageSize, err = p.place()
	return list, err
}

// ListAccounts is a command.
type ListAccounts struct {
	AccountFilter
	AccountOrder
	Paged
	Reading
}

// Help shows an example.
func (ListAccounts) Help() string {
	return `Examples:
  tenantry accounts list
  tenantry accounts list --status disabled --sort -created_at
  tenantry accounts list --email-contains @example.com --all --csv > accounts.csv`
}

// Run lists accounts.
func (x *ListAccounts) Run(ctx context.Context, t *Terminal) error {
	list, err := accountList(x.AccountFilter, x.AccountOrder, x.Paged)
	if err != nil {
		return err
	}
	s, err := x.open(t)
	if err != nil {
		return err
	}
	return show(s, x.Paged, accountView,
		func() (*client.Page[client.ManagedAccount], error) { return s.ManagedAccounts.List(ctx, list) },
		s.ManagedAccounts.All(ctx, list))
}

// Revealing shows secrets to people.
type Revealing struct {
	Reveal bool `group:"Output" help:"Show keys in full; JSON has them anyway."`
}

// OnAccount is the argument of commands that do something to one account.
type OnAccount struct {
	ID string `arg:"" help:"Account id."`
}

// Validate refuses what can be no id before it becomes another address.
func (x *OnAccount) Validate() error { return checkID(x.ID) }

func checkID(id string) error {
	if strings.Trim(id, ".") == "" {
		return errors.New("give an id; it cannot be empty or dots")
	}
	return nil
}

// GetAccount is a command.
type GetAccount struct {
	OnAccount
	Revealing
	Reading
}

// Help shows an example.
func (GetAccount) Help() string {
	return `Examples:
  tenantry accounts get 0190c9e2-7d3b-7f64-9d4a-6a1c2f3e4d5b
  tenantry accounts get ID --json | jq -r .api_key`
}

// Run shows an account.
func (x *GetAccount) Run(ctx context.Context, t *Terminal) error {
	s, err := x.open(t)
	if err != nil {
		return err
	}
	a, err := s.ManagedAccounts.Retrieve(ctx, x.ID)
	return finish(s, accountView, a, err, x.Reveal)
}

// CreateAccount is a command.
type CreateAccount struct {
	BusinessName       string  `arg:"" optional:"" help:"Name of the organization."`
	Email              *string `placeholder:"ADDRESS" help:"E-mail of the account; the server makes one up without."`
	Password           *string `env:"TENANTRY_PASSWORD" placeholder:"PASSWORD" help:"Password of the owner; better not typed here."`
	AllowCustomPricing *bool   `help:"The account may have prices of its own."`
	RollupBilling      *bool   `help:"The manager pays; cannot be changed later."`
	IfNotExists        bool    `help:"When an account has the e-mail already, take that one."`
	BulkFlags
	Changing
}

// Help shows an example.
func (CreateAccount) Help() string {
	return `The answer has the account's key. A file has a line for each account, and for header
some of these columns, of which business_name alone is needed:
  business_name,email,password,
  managed_account_allow_custom_pricing,rollup_billing
Run it again after an interruption: it does only what is left, and nothing twice.
Examples:
  tenantry accounts create "Larry's Cat Food Inc" --email larry@example.com
  tenantry accounts create "Larry's Cat Food Inc" --email larry@example.com --if-not-exists -q
  tenantry accounts create --from customers.csv --dry-run
  tenantry accounts create --from customers.csv --parallel 16`
}

// Run creates an account, or many.
func (x *CreateAccount) Run(ctx context.Context, t *Terminal) error {
	if x.From != "" {
		if x.BusinessName != "" || x.Email != nil || x.AllowCustomPricing != nil || x.RollupBilling != nil {
			return usagef("--from says everything about the accounts: leave the name and the other flags away")
		}
		return x.bulk(ctx, t)
	}
	if x.BusinessName == "" {
		return usagef("an account needs a business name, or --from a file")
	}
	if x.IfNotExists && x.Email == nil {
		return usagef("--if-not-exists looks for the e-mail: give --email too")
	}
	s, err := x.open(t)
	if err != nil {
		return err
	}
	if x.IfNotExists {
		there, err := accountByEmail(ctx, s, *x.Email, false)
		if err != nil || there != nil {
			return x.taken(ctx, s, there, err)
		}
	}
	a, err := s.ManagedAccounts.Create(ctx, client.ManagedAccountCreate{
		BusinessName: x.BusinessName, Email: x.Email, Password: x.Password,
		AllowCustomPricing: x.AllowCustomPricing, RollupBilling: x.RollupBilling,
	})
	if x.IfNotExists && isDuplicate(err) {
		// Somebody was faster, or wrote the address in other letters.
		if there, err := accountByEmail(ctx, s, *x.Email, true); err != nil || there != nil {
			return x.taken(ctx, s, there, err)
		}
	}
	return finish(s, accountView, a, err, true)
}

// taken shows the account that has the e-mail already.
func (x *CreateAccount) taken(ctx context.Context, s *session, there *client.ManagedAccount, err error) error {
	if err != nil {
		return err
	}
	full, err := s.ManagedAccounts.Retrieve(ctx, there.ID)
	if err != nil {
		return err
	}
	s.t.note("An account with the e-mail %s is there already: nothing was created.", plain(full.Email))
	return showOne(s.t, s.out, accountView, full, false)
}

func isDuplicate(err error) bool {
	var refused *client.Error
	return errors.As(err, &refused) && refused.Code() == api.CodeDuplicate
}

// accountByEmail is the account with an e-mail, nil when there is none. With fold
// it ignores case.
func accountByEmail(ctx context.Context, s *session, email string, fold bool) (*client.ManagedAccount, error) {
	list := client.ManagedAccountList{EmailEq: email}
	if fold {
		list = client.ManagedAccountList{EmailContains: email, PageSize: 250}
	}
	for a, err := range s.ManagedAccounts.All(ctx, list) {
		if err != nil {
			return nil, err
		}
		if strings.EqualFold(a.Email, email) {
			return a, nil
		}
	}
	return nil, nil
}

// UpdateAccount is a command.
type UpdateAccount struct {
	OnAccount
	AllowCustomPricing *bool `negatable:"" help:"Whether the account may have prices of its own."`
	Revealing
	Changing
}

// Help shows an example.
func (UpdateAccount) Help() string {
	return `Examples:
  tenantry accounts update ID --allow-custom-pricing
  tenantry accounts update ID --no-allow-custom-pricing`
}

// Run changes an account.
func (x *UpdateAccount) Run(ctx context.Context, t *Terminal) error {
	if x.AllowCustomPricing == nil {
		return usagef("nothing to change: give --allow-custom-pricing or --no-allow-custom-pricing")
	}
	s, err := x.open(t)
	if err != nil {
		return err
	}
	a, err := s.ManagedAccounts.Update(ctx, x.ID, client.ManagedAccountUpdate{AllowCustomPricing: x.AllowCustomPricing})
	return finish(s, accountView, a, err, x.Reveal)
}

// DisableAccount is a command.
type DisableAccount struct {
	ID     string        `arg:"" optional:"" help:"Account id."`
	Filter AccountFilter `embed:"" prefix:"filter-"`
	Yes    bool          `help:"Do many without asking."`
	BulkFlags
	Revealing
	Changing
}

// Help shows an example.
func (DisableAccount) Help() string {
	return `Calls under way go on; nothing new begins. A file has the header id and a line for
each account. Many are disabled only after a question, or with --yes. Examples:
  tenantry accounts disable ID
  tenantry accounts disable --from leavers.csv
  tenantry accounts disable --filter-email-contains @example.com --dry-run`
}

// Run disables an account, or many.
func (x *DisableAccount) Run(ctx context.Context, t *Terminal) error {
	filtered := x.Filter != AccountFilter{}
	switch ways := count(x.ID != "", x.From != "", filtered); {
	case ways > 1:
		return usagef("an account id, --from and --filter-… do not go together: give one of them")
	case ways == 0:
		return usagef("which account? Give its id, --from a file, or --filter-…")
	case x.ID == "":
		return x.bulk(ctx, t)
	}
	s, err := x.open(t)
	if err != nil {
		return err
	}
	a, err := s.ManagedAccounts.Disable(ctx, x.ID)
	return finish(s, accountView, a, err, x.Reveal)
}

func count(conditions ...bool) (n int) {
	for _, c := range conditions {
		if c {
			n++
		}
	}
	return n
}

// EnableAccount is a command.
type EnableAccount struct {
	OnAccount
	ReenableAllConnections bool `help:"Switch on its connections too, all that have no problems."`
	Revealing
	Changing
}

// Help shows an example.
func (EnableAccount) Help() string {
	return `What the operator blocked stays blocked. Connections stay off unless asked for. Example:
  tenantry accounts enable ID --reenable-all-connections`
}

// Run enables an account.
func (x *EnableAccount) Run(ctx context.Context, t *Terminal) error {
	s, err := x.open(t)
	if err != nil {
		return err
	}
	a, err := s.ManagedAccounts.Enable(ctx, x.ID, x.ReenableAllConnections)
	if err == nil {
		noteLeftOff(t, a)
	}
	if err == nil && a.Status != "" && a.Status != "enabled" {
		t.note("The account is %s still: %s.", plain(a.Status), plain(cmp.Or(strings.Join(a.StatusReasons, ", "), "the server does not say why")))
	}
	return finish(s, accountView, a, err, x.Reveal)
}
