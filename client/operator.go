package client

import (
	"context"
	"net/url"
	"strconv"

	"github.com/tenantry/tenantry/api"
)

// Operator is Tenantry's own API for whoever runs a server. Its client's base URL
// ends in /operator/v1 and its key is the operator token. Every method refuses
// with *Error.
type Operator struct{ c *Client }

// NewOperator makes the operator's API of a client.
func NewOperator(c *Client) *Operator { return &Operator{c} }

// OperatorAccountList chooses what a list has. "" and 0 choose nothing.
type OperatorAccountList struct {
	ManagedAccountList
	// ManagerAccountID lists that manager's accounts; "" lists the root accounts.
	ManagerAccountID string
}

func (o *Operator) account(ctx context.Context, operation, method, id, rest string, body any) (*api.OperatorAccount, error) {
	return object[api.OperatorAccount](ctx, o.c, request{operation: operation, method: method, path: pathID("/accounts", id, rest), body: body})
}

func (o *Operator) user(ctx context.Context, operation, method, id, rest string) (*api.OrganizationUser, error) {
	return object[api.OrganizationUser](ctx, o.c, request{operation: operation, method: method, path: pathID("/accounts", id, rest)})
}

// CreateAccount makes a root account (OperatorCreateAccount).
func (o *Operator) CreateAccount(ctx context.Context, body api.CreateRootAccount) (*api.OperatorAccount, error) {
	return object[api.OperatorAccount](ctx, o.c, request{operation: "create account", method: "POST", path: "/accounts", body: body})
}

// ListAccounts is one page of accounts, without their secrets
// (OperatorListAccounts).
func (o *Operator) ListAccounts(ctx context.Context, params OperatorAccountList) (*Page[api.OperatorAccount], error) {
	q := params.query()
	set(q, "manager_account_id", params.ManagerAccountID)
	r := request{operation: "list accounts", method: "GET", path: "/accounts", query: q}
	return page[api.OperatorAccount](ctx, o.c, r, params.PageNumber, params.PageSize)
}

// Account is any account in full (OperatorRetrieveAccount).
func (o *Operator) Account(ctx context.Context, id string) (*api.OperatorAccount, error) {
	return o.account(ctx, "retrieve account", "GET", id, "", nil)
}

// SetCredit sets balance and credit limit; what is nil stays
// (OperatorUpdateCredit).
func (o *Operator) SetCredit(ctx context.Context, id string, body api.UpdateCredit) (*api.OperatorAccount, error) {
	return o.account(ctx, "set credit", "PATCH", id, "", body)
}

// ApproveManager lets an account manage others, with a pool of so many outbound
// channels; nil leaves the pool as it is (OperatorApproveManager).
func (o *Operator) ApproveManager(ctx context.Context, id string, channelPool *int64) (*api.OperatorAccount, error) {
	return o.account(ctx, "approve manager", "POST", id, "/actions/approve_manager", api.ApproveManager{ChannelPool: channelPool})
}

// RevokeManager takes the right to manage away; the managed accounts stay
// (OperatorRevokeManager).
func (o *Operator) RevokeManager(ctx context.Context, id string) (*api.OperatorAccount, error) {
	return o.account(ctx, "revoke manager", "POST", id, "/actions/revoke_manager", nil)
}

// Block stops an account and all that it manages (OperatorBlockAccount).
func (o *Operator) Block(ctx context.Context, id string) (*api.OperatorAccount, error) {
	return o.account(ctx, "block account", "POST", id, "/actions/block", nil)
}

// Unblock lifts what Block did (OperatorUnblockAccount).
func (o *Operator) Unblock(ctx context.Context, id string) (*api.OperatorAccount, error) {
	return o.account(ctx, "unblock account", "POST", id, "/actions/unblock", nil)
}

// Cancel ends an account for good (OperatorCancelAccount).
func (o *Operator) Cancel(ctx context.Context, id string) (*api.OperatorAccount, error) {
	return o.account(ctx, "cancel account", "POST", id, "/actions/cancel", nil)
}

// ListUsers is one page of an organization's users (OperatorListUsers).
func (o *Operator) ListUsers(ctx context.Context, id string, params OrganizationUserList) (*Page[api.OrganizationUser], error) {
	r := request{operation: "list users", method: "GET", path: pathID("/accounts", id, "/users"), query: params.query()}
	return page[api.OrganizationUser](ctx, o.c, r, params.PageNumber, params.PageSize)
}

// CreateUser adds a sub-user; the answer has the user's key, this once
// (OperatorCreateUser).
func (o *Operator) CreateUser(ctx context.Context, id string, body api.CreateOrganizationUser) (*api.CreatedUser, error) {
	return object[api.CreatedUser](ctx, o.c, request{operation: "create user", method: "POST", path: pathID("/accounts", id, "/users"), body: body})
}

// BlockUser keeps a user out (OperatorBlockUser).
func (o *Operator) BlockUser(ctx context.Context, id, userID string) (*api.OrganizationUser, error) {
	return o.user(ctx, "block user", "POST", id, pathID("/users", userID, "/actions/block"))
}

// UnblockUser lifts what BlockUser did (OperatorUnblockUser).
func (o *Operator) UnblockUser(ctx context.Context, id, userID string) (*api.OrganizationUser, error) {
	return o.user(ctx, "unblock user", "POST", id, pathID("/users", userID, "/actions/unblock"))
}

// Groups are all groups of an organization (OperatorListGroups).
func (o *Operator) Groups(ctx context.Context, id string) ([]api.Group, error) {
	groups, err := object[[]api.Group](ctx, o.c, request{operation: "list groups", method: "GET", path: pathID("/accounts", id, "/groups")})
	if err != nil {
		return nil, err
	}
	return *groups, nil
}

// CreateGroup adds a group (OperatorCreateGroup).
func (o *Operator) CreateGroup(ctx context.Context, id string, body api.CreateGroup) (*api.Group, error) {
	return object[api.Group](ctx, o.c, request{operation: "create group", method: "POST", path: pathID("/accounts", id, "/groups"), body: body})
}

// AddMember puts a user into a group (OperatorAddMember).
func (o *Operator) AddMember(ctx context.Context, id, groupID, userID string) (*api.OrganizationUser, error) {
	return o.user(ctx, "add member", "PUT", id, pathID("/groups", groupID, pathID("/users", userID)))
}

// RemoveMember takes a user out of a group (OperatorRemoveMember).
func (o *Operator) RemoveMember(ctx context.Context, id, groupID, userID string) (*api.OrganizationUser, error) {
	return o.user(ctx, "remove member", "DELETE", id, pathID("/groups", groupID, pathID("/users", userID)))
}

func (o *Operator) connection(ctx context.Context, operation, method, id, connectionID string, body any) (*api.Connection, error) {
	path := pathID("/accounts", id, pathID("/connections", connectionID))
	return object[api.Connection](ctx, o.c, request{operation: operation, method: method, path: path, body: body})
}

// Connections are all connections of an account, by name
// (OperatorListConnections).
func (o *Operator) Connections(ctx context.Context, id string) ([]api.Connection, error) {
	connections, err := object[[]api.Connection](ctx, o.c, request{operation: "list connections", method: "GET", path: pathID("/accounts", id, "/connections")})
	if err != nil {
		return nil, err
	}
	return *connections, nil
}

// CreateConnection adds a connection to an account. It is on, unless the body or a
// problem says otherwise (OperatorCreateConnection).
func (o *Operator) CreateConnection(ctx context.Context, id string, body api.CreateConnection) (*api.Connection, error) {
	return object[api.Connection](ctx, o.c, request{operation: "create connection", method: "POST", path: pathID("/accounts", id, "/connections"), body: body})
}

// Connection is one connection of an account (OperatorRetrieveConnection).
func (o *Operator) Connection(ctx context.Context, id, connectionID string) (*api.Connection, error) {
	return o.connection(ctx, "retrieve connection", "GET", id, connectionID, nil)
}

// UpdateConnection changes a connection; what is nil stays
// (OperatorUpdateConnection).
func (o *Operator) UpdateConnection(ctx context.Context, id, connectionID string, body api.UpdateConnection) (*api.Connection, error) {
	return o.connection(ctx, "update connection", "PATCH", id, connectionID, body)
}

// RemoveConnection takes a connection away and returns it as it was; its usernames,
// addresses and numbers are free (OperatorRemoveConnection).
func (o *Operator) RemoveConnection(ctx context.Context, id, connectionID string) (*api.Connection, error) {
	return o.connection(ctx, "remove connection", "DELETE", id, connectionID, nil)
}

// AuditEvents is one page of an account's log (OperatorListAuditEvents).
func (o *Operator) AuditEvents(ctx context.Context, id string, params AuditEventList) (*Page[api.AuditEvent], error) {
	q := params.query()
	q.Set("account_id", id)
	r := request{operation: "list audit events", method: "GET", path: "/audit_events", query: q}
	return page[api.AuditEvent](ctx, o.c, r, params.PageNumber, params.PageSize)
}

// CheckAdmission asks for a decision as a switch does (OperatorCheckAdmission).
func (o *Operator) CheckAdmission(ctx context.Context, body api.AdmissionCheck) (*api.Admission, error) {
	return object[api.Admission](ctx, o.c, request{operation: "check admission", method: "POST", path: "/admission/check", body: body})
}

// ChannelUse is how many channels the calls of any account hold now
// (OperatorGetChannelUse).
func (o *Operator) ChannelUse(ctx context.Context, id string) (*api.ChannelUse, error) {
	return object[api.ChannelUse](ctx, o.c, request{operation: "show channel use", method: "GET", path: pathID("/accounts", id, "/channel_use")})
}

// ReleaseLeases gives back what a call holds (OperatorReleaseLeases).
func (o *Operator) ReleaseLeases(ctx context.Context, callID string) (*api.Released, error) {
	return object[api.Released](ctx, o.c, request{operation: "release leases", method: "POST", path: pathID("/leases", callID, "/release")})
}

// LeaseList says which leases a list has: those of an account, of a call or of a
// switch. Exactly one of the three is given.
type LeaseList struct {
	AccountID, CallID, Switch string
	// After is a call id after which the list begins, Limit how many it has at most;
	// "" and 0 choose nothing.
	After string
	Limit int64
}

// ListLeases lists what calls hold (OperatorListLeases).
func (o *Operator) ListLeases(ctx context.Context, params LeaseList) (*api.LeaseList, error) {
	q := url.Values{}
	set(q, "account_id", params.AccountID)
	set(q, "call_id", params.CallID)
	set(q, "switch", params.Switch)
	set(q, "after", params.After)
	if params.Limit > 0 {
		q.Set("limit", strconv.FormatInt(params.Limit, 10))
	}
	list, err := call[api.LeaseList](ctx, o.c, request{operation: "list leases", method: "GET", path: "/leases", query: q})
	if err != nil {
		return nil, err
	}
	return list, nil
}
