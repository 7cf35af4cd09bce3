// Package api is the wire contract: the JSON shapes that Tenantry sends and
// reads, the vendor's error codes and the OpenAPI document that describes them.
//
// It knows nothing of the domain behind it and imports the standard library
// alone, so that the client package may be built on it. The shapes are held to
// openapi.yaml by a test.
package api

import "time"

// TimeFormat is how every timestamp travels: ISO 8601, UTC, milliseconds, "Z".
const TimeFormat = "2006-01-02T15:04:05.000Z"

// Time writes t as TimeFormat.
func Time(t time.Time) string { return t.UTC().Format(TimeFormat) }

// ManagedAccount is the full account: the answer of create, retrieve, update,
// disable and enable. List items are the same object without Balance, APIKey
// and APIToken.
type ManagedAccount struct {
	// RecordType is always "managed_account".
	RecordType string `json:"record_type"`
	// ID is a UUID.
	ID    string `json:"id"`
	Email string `json:"email"`
	// APIKey is the account's V2 key in clear, for "Authorization: Bearer".
	APIKey string `json:"api_key,omitempty"`
	// APIUser is the manager's email, the user half of the V1 credentials.
	APIUser string `json:"api_user"`
	// APIToken is the token half of the V1 credentials.
	APIToken         string `json:"api_token,omitempty"`
	OrganizationName string `json:"organization_name"`
	ManagerAccountID string `json:"manager_account_id"`
	// Balance is absent when the account's billing is rolled up to its manager.
	Balance   *AccountBalance `json:"balance,omitempty"`
	CreatedAt string          `json:"created_at"`
	UpdatedAt string          `json:"updated_at"`

	AllowCustomPricing bool `json:"managed_account_allow_custom_pricing"`
	// RollupBilling is fixed at creation.
	RollupBilling bool `json:"rollup_billing"`

	// Status is an extension: enabled, disabled, blocked or cancelled.
	Status string `json:"status"`
	// StatusReasons is an extension: every cause that keeps the account from
	// using services, most severe first; empty when it is enabled.
	StatusReasons []string `json:"status_reasons"`
	// ConnectionsLeftOff is an extension: the connections that the enable action was
	// asked to switch on, and that stay off.
	ConnectionsLeftOff []ConnectionLeftOff `json:"connections_left_off,omitempty"`
}

// AccountBalance is the balance inside an account. Amounts are decimal strings
// with two digits in Currency (ISO 4217).
type AccountBalance struct {
	// RecordType is always "balance".
	RecordType      string `json:"record_type"`
	Balance         string `json:"balance"`
	CreditLimit     string `json:"credit_limit"`
	AvailableCredit string `json:"available_credit"`
	Currency        string `json:"currency"`
}

// Balance is the answer of GET /balance: AccountBalance and what is pending.
type Balance struct {
	// RecordType is always "balance".
	RecordType      string `json:"record_type"`
	Pending         string `json:"pending"`
	Balance         string `json:"balance"`
	CreditLimit     string `json:"credit_limit"`
	AvailableCredit string `json:"available_credit"`
	Currency        string `json:"currency"`
}

// CreateManagedAccount is the body of POST /managed_accounts.
type CreateManagedAccount struct {
	// BusinessName is required and becomes the organization's name.
	BusinessName string `json:"business_name"`
	// Email is generated from the manager's when absent.
	Email *string `json:"email,omitempty"`
	// Password lets the owner sign in; without it nobody can until a reset.
	Password           *string `json:"password,omitempty"`
	AllowCustomPricing *bool   `json:"managed_account_allow_custom_pricing,omitempty"`
	RollupBilling      *bool   `json:"rollup_billing,omitempty"`
}

// UpdateManagedAccount is the body of PATCH /managed_accounts/{id}.
type UpdateManagedAccount struct {
	AllowCustomPricing *bool `json:"managed_account_allow_custom_pricing,omitempty"`
}

// DisableManagedAccount is the body of the disable action, which is optional.
type DisableManagedAccount struct {
	// HangUpCalls is an extension: true asks the switches to end the calls that run.
	HangUpCalls *bool `json:"hangup_calls,omitempty"`
}

// EnableManagedAccount is the optional body of the enable action.
type EnableManagedAccount struct {
	ReenableAllConnections *bool `json:"reenable_all_connections,omitempty"`
}

// UpdateGlobalChannelLimit is the body of PATCH …/update_global_channel_limit.
type UpdateGlobalChannelLimit struct {
	// ChannelLimit is a number of channels; 0 forbids outbound calls.
	ChannelLimit *int64 `json:"channel_limit,omitempty"`
}

// GlobalChannelLimit is one account's share of the manager's outbound channels.
type GlobalChannelLimit struct {
	// RecordType is always "managed_account_global_outbound_settings".
	RecordType       string `json:"record_type"`
	ID               string `json:"id"`
	Email            string `json:"email"`
	ManagerAccountID string `json:"manager_account_id"`
	ChannelLimit     int64  `json:"channel_limit"`
}

// AllocatableChannels is the manager's pool of outbound channels.
type AllocatableChannels struct {
	// RecordType is always "allocatable_global_outbound_channels".
	RecordType string `json:"record_type"`
	// Allocatable is the size of the pool, in channels; 0 when the feature is off.
	Allocatable int64 `json:"allocatable_global_outbound_channels"`
	// Allocated is the sum of the accounts' limits, in channels.
	Allocated int64 `json:"total_global_channels_allocated"`
	// InUse is an extension: the channels that calls of the accounts hold now.
	InUse              int64 `json:"channels_in_use"`
	AllowCustomPricing bool  `json:"managed_account_allow_custom_pricing"`
}

// OrganizationUser is a person of an organization: its owner or a sub-user.
type OrganizationUser struct {
	ID string `json:"id"`
	// RecordType is "organization_owner" or "organization_sub_user".
	RecordType string `json:"record_type"`
	Email      string `json:"email"`
	// UserStatus is enabled, disabled or blocked.
	UserStatus  string `json:"user_status"`
	BypassesSSO bool   `json:"organization_user_bypasses_sso"`
	CreatedAt   string `json:"created_at"`
	// LastSignInAt is null for a user who never signed in.
	LastSignInAt *string `json:"last_sign_in_at"`
	// Groups is nil, and absent on the wire, unless it was asked for.
	Groups *[]GroupReference `json:"groups,omitempty"`
}

// GroupReference names a group.
type GroupReference struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Meta tells where a page stands in its list.
type Meta struct {
	TotalPages   int64 `json:"total_pages"`
	TotalResults int64 `json:"total_results"`
	// PageNumber is the page that was served, from 1.
	PageNumber int64 `json:"page_number"`
	PageSize   int64 `json:"page_size"`
}

// Response is the envelope of one object.
type Response[T any] struct {
	Data T `json:"data"`
}

// ListResponse is the envelope of a page. Data is never null.
type ListResponse[T any] struct {
	Data []T  `json:"data"`
	Meta Meta `json:"meta"`
}
