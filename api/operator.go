package api

// The operator's own API lives under /operator/v1. Nothing of it is the
// vendor's: it does by request what the vendor does by hand.

// OperatorAccount is an account as the operator sees it, root or managed.
type OperatorAccount struct {
	ManagedAccount
	// Manager is absent for an account that was never approved as a manager.
	Manager *ManagerSettings `json:"manager,omitempty"`
	// ChannelLimit is a number of outbound channels.
	ChannelLimit int64 `json:"channel_limit"`
}

// ManagerSettings says whether an account may manage others, and how much.
type ManagerSettings struct {
	Approved bool `json:"approved"`
	// ChannelPool is the number of outbound channels it may hand out.
	ChannelPool int64 `json:"channel_pool"`
	// ChannelsAllocated is how many of them it has handed out.
	ChannelsAllocated int64 `json:"channels_allocated"`
	// Accounts counts the accounts ever created under the manager.
	Accounts int64 `json:"accounts"`
}

// CreateRootAccount is the body of POST /operator/v1/accounts.
type CreateRootAccount struct {
	BusinessName string  `json:"business_name"`
	Email        string  `json:"email"`
	Password     *string `json:"password,omitempty"`
	// CreditLimit is a decimal string.
	CreditLimit *string `json:"credit_limit,omitempty"`
	// Balance is a decimal string.
	Balance *string `json:"balance,omitempty"`
}

// UpdateCredit is the body of PATCH /operator/v1/accounts/{id}.
type UpdateCredit struct {
	// CreditLimit is a decimal string, 0.00 or more.
	CreditLimit *string `json:"credit_limit,omitempty"`
	// Balance is a decimal string and may be negative.
	Balance *string `json:"balance,omitempty"`
}

// ApproveManager is the body of the approve_manager action.
type ApproveManager struct {
	// ChannelPool is a number of channels, 0 or more; absent leaves it as it is.
	ChannelPool *int64 `json:"channel_pool,omitempty"`
}

// CreateOrganizationUser is the body of POST /operator/v1/accounts/{id}/users.
type CreateOrganizationUser struct {
	Email       string   `json:"email"`
	Password    *string  `json:"password,omitempty"`
	BypassesSSO *bool    `json:"organization_user_bypasses_sso,omitempty"`
	GroupIDs    []string `json:"group_ids,omitempty"`
}

// CreatedUser is the answer to it: the user and the key that acts as the user.
type CreatedUser struct {
	OrganizationUser
	// APIKey is shown this once.
	APIKey string `json:"api_key"`
}

// CreateGroup is the body of POST /operator/v1/accounts/{id}/groups.
type CreateGroup struct {
	Name string `json:"name"`
	// Permissions are categories such as "managed_accounts" and "organization".
	Permissions []string `json:"permissions,omitempty"`
}

// Group is a named set of permissions that users share.
type Group struct {
	ID          string   `json:"id"`
	RecordType  string   `json:"record_type"`
	Name        string   `json:"name"`
	Permissions []string `json:"permissions"`
	CreatedAt   string   `json:"created_at"`
}

// AuditEvent is one entry of the audit log, in the vendor's shape.
type AuditEvent struct {
	ID string `json:"id"`
	// RecordType is always "audit_event".
	RecordType string `json:"record_type"`
	// UserID is absent when the operator made the change.
	UserID         string `json:"user_id,omitempty"`
	OrganizationID string `json:"organization_id"`
	ResourceID     string `json:"resource_id"`
	// AlternateResourceID is null when the resource has no second identifier.
	AlternateResourceID *string `json:"alternate_resource_id"`
	// ChangeMadeBy is telnyx (the operator), account_manager, account_owner or
	// organization_member.
	ChangeMadeBy string `json:"change_made_by"`
	// ChangeType is what was done, such as "managed_account.disabled".
	ChangeType string        `json:"change_type"`
	Changes    []AuditChange `json:"changes"`
	// RequestID is an extension: the x-request-id of the change's request.
	RequestID string `json:"request_id,omitempty"`
	CreatedAt string `json:"created_at"`
}

// AuditChange is one field before and after. Secrets never appear.
type AuditChange struct {
	Field string `json:"field"`
	From  any    `json:"from"`
	To    any    `json:"to"`
}
