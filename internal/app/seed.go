package app

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/tenant"
)

// Seed is what a seed file holds: root accounts with all that hangs on them.
// Whatever is not given is made as the API would make it.
type Seed struct {
	Accounts []SeedAccount `yaml:"accounts"`
}

// SeedAccount is one account of a seed file.
type SeedAccount struct {
	ID           string  `yaml:"id"`
	BusinessName string  `yaml:"business_name"`
	Email        *string `yaml:"email"`
	Password     *string `yaml:"password"`
	APIKey       string  `yaml:"api_key"`
	APIToken     string  `yaml:"api_token"`
	// Balance and CreditLimit are decimal strings.
	Balance            string `yaml:"balance"`
	CreditLimit        string `yaml:"credit_limit"`
	AllowCustomPricing bool   `yaml:"managed_account_allow_custom_pricing"`
	RollupBilling      bool   `yaml:"rollup_billing"`
	// ChannelLimit is a number of channels out of the manager's pool.
	ChannelLimit *int64 `yaml:"channel_limit"`
	// Status is "", enabled, disabled, blocked or cancelled.
	Status string `yaml:"status"`
	// Manager, when given, approves the account as a manager.
	Manager *struct {
		// ChannelPool is a number of channels.
		ChannelPool int64 `yaml:"channel_pool"`
	} `yaml:"manager"`
	ManagedAccounts []SeedAccount    `yaml:"managed_accounts"`
	Groups          []SeedGroup      `yaml:"groups"`
	Users           []SeedUser       `yaml:"users"`
	Connections     []SeedConnection `yaml:"connections"`
}

// SeedGroup is one group of a seed file.
type SeedGroup struct {
	ID          string   `yaml:"id"`
	Name        string   `yaml:"name"`
	Permissions []string `yaml:"permissions"`
}

// SeedUser is one sub-user of a seed file. Groups are names.
type SeedUser struct {
	ID          string   `yaml:"id"`
	Email       string   `yaml:"email"`
	Password    *string  `yaml:"password"`
	APIKey      string   `yaml:"api_key"`
	UserStatus  string   `yaml:"user_status"`
	BypassesSSO bool     `yaml:"organization_user_bypasses_sso"`
	Groups      []string `yaml:"groups"`
}

// SeedConnection is one connection of a seed file.
type SeedConnection struct {
	ID   string `yaml:"id"`
	Name string `yaml:"name"`
	// Kind is credentials or address.
	Kind      string   `yaml:"kind"`
	Usernames []string `yaml:"usernames"`
	Addresses []string `yaml:"addresses"`
	Numbers   []string `yaml:"numbers"`
	// Active is true when it is not given.
	Active *bool  `yaml:"active"`
	Hold   string `yaml:"hold"`
}

// ParseSeed reads a seed file and refuses a name that it does not know.
func ParseSeed(text []byte) (*Seed, error) {
	var seed Seed
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&seed); err != nil && err != io.EOF {
		return nil, err
	}
	return &seed, nil
}

// Load makes what the seed asks for, through the same use cases as the API. It
// returns the accounts by the place in the seed, depth first.
func (a *App) Load(ctx context.Context, seed *Seed) ([]service.Account, error) {
	var made []service.Account
	for i := range seed.Accounts {
		if err := a.loadAccount(ctx, nil, &seed.Accounts[i], fmt.Sprintf("accounts[%d]", i), &made); err != nil {
			return made, err
		}
	}
	return made, nil
}

func (a *App) loadAccount(ctx context.Context, manager *tenant.Actor, seed *SeedAccount, place string, made *[]service.Account) error {
	fail := func(err error) error { return fmt.Errorf("%s: %w", place, err) }
	operator := tenant.Actor{Operator: true, CredentialID: "seed"}
	in := service.NewAccount{
		ID: seed.ID, Key: seed.APIKey, Token: seed.APIToken, BusinessName: seed.BusinessName, Email: seed.Email,
		Password: seed.Password, AllowCustomPricing: seed.AllowCustomPricing, RollupBilling: seed.RollupBilling,
		ChannelLimit: seed.ChannelLimit,
	}
	if err := checkSeedID(seed.ID); err != nil {
		return fail(err)
	}
	var err error
	if seed.Balance != "" {
		if in.Balance.Amount, err = tenant.ParseMoney("balance", seed.Balance); err != nil {
			return fail(err)
		}
	}
	if seed.CreditLimit != "" {
		if in.Balance.CreditLimit, err = tenant.ParseMoney("credit_limit", seed.CreditLimit); err != nil {
			return fail(err)
		}
	}
	var account service.Account
	keep := func(a *service.Account) ([]byte, error) { account = *a; return nil, nil }
	once := service.Once{Request: "seed " + place}
	if manager == nil {
		_, err = a.Service.CreateRootAccount(ctx, operator, in, once, keep)
	} else {
		_, err = a.Service.CreateManagedAccount(ctx, *manager, in, once, keep)
	}
	if err != nil {
		return fail(err)
	}
	*made = append(*made, account)
	groups := map[string]string{}
	for i, g := range seed.Groups {
		if err := checkSeedID(g.ID); err != nil {
			return fmt.Errorf("%s.groups[%d]: %w", place, i, err)
		}
		_, err := a.Service.CreateGroup(ctx, operator, account.ID, g.ID, g.Name, g.Permissions, once, func(g *tenant.Group) ([]byte, error) {
			groups[g.Name] = g.ID
			return nil, nil
		})
		if err != nil {
			return fmt.Errorf("%s.groups[%d]: %w", place, i, err)
		}
	}
	for i, u := range seed.Users {
		if err := a.loadUser(ctx, operator, account.ID, u, groups); err != nil {
			return fmt.Errorf("%s.users[%d]: %w", place, i, err)
		}
	}
	for i, c := range seed.Connections {
		if err := a.loadConnection(ctx, operator, account.ID, c); err != nil {
			return fmt.Errorf("%s.connections[%d]: %w", place, i, err)
		}
	}
	if seed.Manager != nil {
		if _, err := a.Service.ApproveManager(ctx, operator, account.ID, &seed.Manager.ChannelPool); err != nil {
			return fail(err)
		}
	} else if len(seed.ManagedAccounts) > 0 {
		return fail(fmt.Errorf("managed_accounts needs manager"))
	}
	own := tenant.Actor{AccountID: account.ID, UserID: account.ID, CredentialID: "seed", Manager: true}
	for i := range seed.ManagedAccounts {
		if err := a.loadAccount(ctx, &own, &seed.ManagedAccounts[i], fmt.Sprintf("%s.managed_accounts[%d]", place, i), made); err != nil {
			return err
		}
	}
	switch seed.Status {
	case "", "enabled":
	case "disabled":
		if manager == nil {
			return fail(fmt.Errorf("a root account has no manager to disable it: use blocked"))
		}
		_, err = a.Service.DisableAccount(ctx, *manager, account.ID, "")
	case "blocked":
		_, err = a.Service.BlockAccount(ctx, operator, account.ID)
	case "cancelled":
		_, err = a.Service.CancelAccount(ctx, operator, account.ID)
	default:
		err = fmt.Errorf("status must be enabled, disabled, blocked or cancelled")
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

func checkSeedID(id string) error {
	if id != "" && !tenant.IsUUID(id) {
		return fmt.Errorf("id must be a UUID in lower case, not %q", id)
	}
	return nil
}

func (a *App) loadUser(ctx context.Context, operator tenant.Actor, accountID string, u SeedUser, groups map[string]string) error {
	in := service.NewUser{
		ID: u.ID, Key: u.APIKey, Email: u.Email, Password: u.Password, BypassesSSO: u.BypassesSSO, Status: tenant.UserStatus(u.UserStatus),
	}
	if err := checkSeedID(u.ID); err != nil {
		return err
	}
	if !slices.Contains([]string{"", "enabled", "disabled", "blocked"}, u.UserStatus) {
		return fmt.Errorf("user_status must be enabled, disabled or blocked")
	}
	for _, name := range u.Groups {
		id, ok := groups[name]
		if !ok {
			return fmt.Errorf("the organization has no group %q", name)
		}
		in.GroupIDs = append(in.GroupIDs, id)
	}
	_, err := a.Service.CreateUser(ctx, operator, accountID, in, service.Once{Request: "seed"}, func(*service.User, string) ([]byte, error) { return nil, nil })
	return err
}

func (a *App) loadConnection(ctx context.Context, operator tenant.Actor, accountID string, c SeedConnection) error {
	if err := checkSeedID(c.ID); err != nil {
		return err
	}
	in := tenant.Connection{
		ID: c.ID, Name: c.Name, Kind: c.Kind, Active: c.Active == nil || *c.Active, Hold: c.Hold,
		Usernames: c.Usernames, Addresses: c.Addresses, Numbers: c.Numbers,
	}
	_, err := a.Service.CreateConnection(ctx, operator, accountID, in, service.Once{Request: "seed"}, func(*tenant.Connection) ([]byte, error) { return nil, nil })
	return err
}
