package client

import (
	"context"
	"iter"
	"net/url"

	"github.com/tenantry/tenantry/api"
)

// ManagedAccounts are the accounts that a manager has: operations on
// /managed_accounts. Every method refuses with *Error.
type ManagedAccounts struct{ c *Client }

// ManagedAccount is an account as it came. In a list Balance, APIKey and APIToken
// are absent.
type ManagedAccount struct {
	api.ManagedAccount
	Fields
}

// MarshalJSON is the object as it came.
func (m ManagedAccount) MarshalJSON() ([]byte, error) { return m.marshal(m.ManagedAccount) }

// ManagedAccountCreate is what a new account is made of.
type ManagedAccountCreate = api.CreateManagedAccount

// ManagedAccountUpdate is what may be changed; nil stays as it is.
type ManagedAccountUpdate = api.UpdateManagedAccount

// GlobalChannelLimit is one account's share of the outbound channels.
type GlobalChannelLimit struct {
	api.GlobalChannelLimit
	Fields
}

// MarshalJSON is the object as it came.
func (g GlobalChannelLimit) MarshalJSON() ([]byte, error) { return g.marshal(g.GlobalChannelLimit) }

// AllocatableChannels is the manager's pool of outbound channels.
type AllocatableChannels struct {
	api.AllocatableChannels
	Fields
}

// MarshalJSON is the object as it came.
func (a AllocatableChannels) MarshalJSON() ([]byte, error) { return a.marshal(a.AllocatableChannels) }

// ManagedAccountList chooses what a list has. "" and 0 choose nothing.
type ManagedAccountList struct {
	// EmailContains and OrganizationNameContains look for a part of at least 3
	// characters, ignoring case.
	EmailContains, OrganizationNameContains string
	// EmailEq and OrganizationNameEq want it exactly.
	EmailEq, OrganizationNameEq string
	// Status is all, active, enabled, disabled, blocked or cancelled.
	Status string
	// IncludeCancelled lists cancelled accounts too.
	IncludeCancelled bool
	// Sort is created_at or email, with "-" in front for descending; "" is newest
	// first.
	Sort string
	// PageNumber counts from 1; PageSize is 1 to 250, 20 when 0.
	PageNumber, PageSize int64
}

func (p ManagedAccountList) query() url.Values {
	q := url.Values{}
	set(q, "filter[email][contains]", p.EmailContains)
	set(q, "filter[email][eq]", p.EmailEq)
	set(q, "filter[organization_name][contains]", p.OrganizationNameContains)
	set(q, "filter[organization_name][eq]", p.OrganizationNameEq)
	set(q, "filter[status][eq]", p.Status)
	set(q, "sort", p.Sort)
	if p.IncludeCancelled {
		q.Set("include_cancelled_accounts", "true")
	}
	return q
}

const accountsPath = "/managed_accounts"

// List is one page of accounts (ListManagedAccounts).
func (s *ManagedAccounts) List(ctx context.Context, params ManagedAccountList) (*Page[ManagedAccount], error) {
	r := request{operation: "list managed accounts", method: "GET", path: accountsPath, query: params.query()}
	return page[ManagedAccount](ctx, s.c, r, params.PageNumber, params.PageSize)
}

// All goes through every account from the page that params names on, fetching
// pages as they are needed. It ends after an error.
func (s *ManagedAccounts) All(ctx context.Context, params ManagedAccountList) iter.Seq2[*ManagedAccount, error] {
	return every(ctx, func() (*Page[ManagedAccount], error) { return s.List(ctx, params) })
}

// Create makes an account (CreateManagedAccount). The answer has its credentials.
func (s *ManagedAccounts) Create(ctx context.Context, body ManagedAccountCreate) (*ManagedAccount, error) {
	return object[ManagedAccount](ctx, s.c, request{operation: "create managed account", method: "POST", path: accountsPath, body: body})
}

// Retrieve is one account in full (RetrieveManagedAccount).
func (s *ManagedAccounts) Retrieve(ctx context.Context, id string) (*ManagedAccount, error) {
	return object[ManagedAccount](ctx, s.c, request{operation: "retrieve managed account", method: "GET", path: pathID(accountsPath, id)})
}

// Update changes an account (UpdateManagedAccount).
func (s *ManagedAccounts) Update(ctx context.Context, id string, body ManagedAccountUpdate) (*ManagedAccount, error) {
	return object[ManagedAccount](ctx, s.c, request{operation: "update managed account", method: "PATCH", path: pathID(accountsPath, id), body: body})
}

// Disable forbids an account to use services (DisableManagedAccount). Calls under
// way go on. Disabling twice does no harm.
func (s *ManagedAccounts) Disable(ctx context.Context, id string) (*ManagedAccount, error) {
	return object[ManagedAccount](ctx, s.c, request{operation: "disable managed account", method: "POST", path: pathID(accountsPath, id, "/actions/disable")})
}

// DisableAndHangUp is Disable, and has the calls that hold channels named in an event
// calls.terminate, for switches to end them (DisableManagedAccount).
// It is an extension.
func (s *ManagedAccounts) DisableAndHangUp(ctx context.Context, id string) (*ManagedAccount, error) {
	return object[ManagedAccount](ctx, s.c, request{
		operation: "disable managed account", method: "POST", path: pathID(accountsPath, id, "/actions/disable"),
		body: api.DisableManagedAccount{HangUpCalls: new(true)},
	})
}

// Enable lets an account use services again (EnableManagedAccount), and with
// reenableAllConnections switches on its connections too; those that cannot be are in
// ConnectionsLeftOff.
func (s *ManagedAccounts) Enable(ctx context.Context, id string, reenableAllConnections bool) (*ManagedAccount, error) {
	body := api.EnableManagedAccount{}
	if reenableAllConnections {
		body.ReenableAllConnections = &reenableAllConnections
	}
	return object[ManagedAccount](ctx, s.c, request{operation: "enable managed account", method: "POST", path: pathID(accountsPath, id, "/actions/enable"), body: body})
}

// UpdateGlobalChannelLimit gives an account so many of the manager's outbound
// channels (UpdateManagedAccountGlobalChannelLimit); 0 forbids outbound calls.
func (s *ManagedAccounts) UpdateGlobalChannelLimit(ctx context.Context, id string, channels int64) (*GlobalChannelLimit, error) {
	return object[GlobalChannelLimit](ctx, s.c, request{
		operation: "update global channel limit", method: "PATCH", path: pathID(accountsPath, id, "/update_global_channel_limit"),
		body: api.UpdateGlobalChannelLimit{ChannelLimit: &channels},
	})
}

// AllocatableGlobalOutboundChannels is the pool of channels and what is handed out
// of it (ListAllocatableGlobalOutboundChannels).
func (s *ManagedAccounts) AllocatableGlobalOutboundChannels(ctx context.Context) (*AllocatableChannels, error) {
	return object[AllocatableChannels](ctx, s.c, request{
		operation: "retrieve allocatable channels", method: "GET", path: accountsPath + "/allocatable_global_outbound_channels",
	})
}

// Balances is the money of the key's own account: GET /balance.
type Balances struct{ c *Client }

// Balance is money as decimal strings in Currency, ISO 4217.
type Balance struct {
	api.Balance
	Fields
}

// MarshalJSON is the object as it came.
func (b Balance) MarshalJSON() ([]byte, error) { return b.marshal(b.Balance) }

// Retrieve is the balance (GetUserBalance).
func (s *Balances) Retrieve(ctx context.Context) (*Balance, error) {
	return object[Balance](ctx, s.c, request{operation: "retrieve balance", method: "GET", path: "/balance"})
}

// ChannelUse is how many of its channels the calls of an account hold now
// (GetChannelUse). It is an extension.
func (s *ManagedAccounts) ChannelUse(ctx context.Context, id string) (*api.ChannelUse, error) {
	return object[api.ChannelUse](ctx, s.c, request{operation: "show channel use", method: "GET", path: pathID(accountsPath, id, "/channel_use")})
}
