package client

import (
	"context"
	"net/url"
	"strconv"

	"github.com/tenantry/tenantry/api"
)

// Operator is the operator's own API. Its client's base URL ends in /operator/v1
// and its key is the operator token. All refusals are *Error.
type Operator struct{ c *Client }

// NewOperator makes the operator's API of a client.
func NewOperator(c *Client) *Operator { return &Operator{c} }

func account(id string) string { return "/accounts/" + url.PathEscape(id) }

func post[T any](ctx context.Context, c *Client, path string, body any) (*T, error) {
	answer, err := do[api.Response[T]](ctx, c, "POST", path, nil, body)
	if err != nil {
		return nil, err
	}
	return &answer.Data, nil
}

// CreateAccount makes a root account.
func (o *Operator) CreateAccount(ctx context.Context, body api.CreateRootAccount) (*api.OperatorAccount, error) {
	return post[api.OperatorAccount](ctx, o.c, "/accounts", body)
}

// ListAccounts is one page of a manager's accounts, or of the root accounts for
// "". Query holds further parameters, by their names on the wire.
func (o *Operator) ListAccounts(ctx context.Context, managerID string, page int64, query url.Values) (*api.ListResponse[api.OperatorAccount], error) {
	q := pageQuery(page, query)
	if managerID != "" {
		q.Set("manager_account_id", managerID)
	}
	return do[api.ListResponse[api.OperatorAccount]](ctx, o.c, "GET", "/accounts", q, nil)
}

func pageQuery(page int64, query url.Values) url.Values {
	q := url.Values{}
	for name, values := range query {
		q[name] = values
	}
	q.Set("page[number]", strconv.FormatInt(max(page, 1), 10))
	return q
}

// Account is any account in full.
func (o *Operator) Account(ctx context.Context, id string) (*api.OperatorAccount, error) {
	answer, err := do[api.Response[api.OperatorAccount]](ctx, o.c, "GET", account(id), nil, nil)
	if err != nil {
		return nil, err
	}
	return &answer.Data, nil
}

// SetCredit sets balance and credit limit; what is nil stays.
func (o *Operator) SetCredit(ctx context.Context, id string, body api.UpdateCredit) (*api.OperatorAccount, error) {
	answer, err := do[api.Response[api.OperatorAccount]](ctx, o.c, "PATCH", account(id), nil, body)
	if err != nil {
		return nil, err
	}
	return &answer.Data, nil
}

// ApproveManager lets an account manage others, with a pool of so many outbound
// channels; nil leaves the pool as it is.
func (o *Operator) ApproveManager(ctx context.Context, id string, channelPool *int64) (*api.OperatorAccount, error) {
	return post[api.OperatorAccount](ctx, o.c, account(id)+"/actions/approve_manager", api.ApproveManager{ChannelPool: channelPool})
}

// RevokeManager takes the right to manage away; the managed accounts stay.
func (o *Operator) RevokeManager(ctx context.Context, id string) (*api.OperatorAccount, error) {
	return post[api.OperatorAccount](ctx, o.c, account(id)+"/actions/revoke_manager", nil)
}

// Block stops an account and all that it manages.
func (o *Operator) Block(ctx context.Context, id string) (*api.OperatorAccount, error) {
	return post[api.OperatorAccount](ctx, o.c, account(id)+"/actions/block", nil)
}

// Unblock lifts what Block did.
func (o *Operator) Unblock(ctx context.Context, id string) (*api.OperatorAccount, error) {
	return post[api.OperatorAccount](ctx, o.c, account(id)+"/actions/unblock", nil)
}

// Cancel ends an account for good.
func (o *Operator) Cancel(ctx context.Context, id string) (*api.OperatorAccount, error) {
	return post[api.OperatorAccount](ctx, o.c, account(id)+"/actions/cancel", nil)
}

// ListUsers is one page of an organization's users.
func (o *Operator) ListUsers(ctx context.Context, id string, page int64, query url.Values) (*api.ListResponse[api.OrganizationUser], error) {
	return do[api.ListResponse[api.OrganizationUser]](ctx, o.c, "GET", account(id)+"/users", pageQuery(page, query), nil)
}

// CreateUser adds a sub-user; the answer has the user's key, this once.
func (o *Operator) CreateUser(ctx context.Context, id string, body api.CreateOrganizationUser) (*api.CreatedUser, error) {
	return post[api.CreatedUser](ctx, o.c, account(id)+"/users", body)
}

// BlockUser keeps a user out.
func (o *Operator) BlockUser(ctx context.Context, id, userID string) (*api.OrganizationUser, error) {
	return post[api.OrganizationUser](ctx, o.c, account(id)+"/users/"+url.PathEscape(userID)+"/actions/block", nil)
}

// UnblockUser lifts what BlockUser did.
func (o *Operator) UnblockUser(ctx context.Context, id, userID string) (*api.OrganizationUser, error) {
	return post[api.OrganizationUser](ctx, o.c, account(id)+"/users/"+url.PathEscape(userID)+"/actions/unblock", nil)
}

// Groups are all groups of an organization.
func (o *Operator) Groups(ctx context.Context, id string) ([]api.Group, error) {
	answer, err := do[api.Response[[]api.Group]](ctx, o.c, "GET", account(id)+"/groups", nil, nil)
	if err != nil {
		return nil, err
	}
	return answer.Data, nil
}

// CreateGroup adds a group.
func (o *Operator) CreateGroup(ctx context.Context, id string, body api.CreateGroup) (*api.Group, error) {
	return post[api.Group](ctx, o.c, account(id)+"/groups", body)
}

// AddMember puts a user into a group.
func (o *Operator) AddMember(ctx context.Context, id, groupID, userID string) (*api.OrganizationUser, error) {
	return o.member(ctx, "PUT", id, groupID, userID)
}

// RemoveMember takes a user out of a group.
func (o *Operator) RemoveMember(ctx context.Context, id, groupID, userID string) (*api.OrganizationUser, error) {
	return o.member(ctx, "DELETE", id, groupID, userID)
}

func (o *Operator) member(ctx context.Context, method, id, groupID, userID string) (*api.OrganizationUser, error) {
	path := account(id) + "/groups/" + url.PathEscape(groupID) + "/users/" + url.PathEscape(userID)
	answer, err := do[api.Response[api.OrganizationUser]](ctx, o.c, method, path, nil, nil)
	if err != nil {
		return nil, err
	}
	return &answer.Data, nil
}

// AuditEvents is one page of an account's audit log, newest first.
func (o *Operator) AuditEvents(ctx context.Context, id string, page int64) (*api.ListResponse[api.AuditEvent], error) {
	return do[api.ListResponse[api.AuditEvent]](ctx, o.c, "GET", "/audit_events", pageQuery(page, url.Values{"account_id": {id}}), nil)
}
