package httpapi

import (
	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/tenant"
)

const operatorPrefix = "/operator/v1"

var operatorRoutes = []Route{
	{"OperatorListAccounts", "GET " + operatorPrefix + "/accounts", "operator", (*Server).operatorListAccounts},
	{"OperatorCreateAccount", "POST " + operatorPrefix + "/accounts", "operator", (*Server).operatorCreateAccount},
	{"OperatorRetrieveAccount", "GET " + operatorPrefix + "/accounts/{id}", "operator", (*Server).operatorRetrieveAccount},
	{"OperatorUpdateCredit", "PATCH " + operatorPrefix + "/accounts/{id}", "operator", (*Server).operatorUpdateCredit},
	{"OperatorApproveManager", "POST " + operatorPrefix + "/accounts/{id}/actions/approve_manager", "operator", (*Server).operatorApproveManager},
	{"OperatorRevokeManager", "POST " + operatorPrefix + "/accounts/{id}/actions/revoke_manager", "operator", (*Server).operatorRevokeManager},
	{"OperatorBlockAccount", "POST " + operatorPrefix + "/accounts/{id}/actions/block", "operator", (*Server).operatorBlockAccount},
	{"OperatorUnblockAccount", "POST " + operatorPrefix + "/accounts/{id}/actions/unblock", "operator", (*Server).operatorUnblockAccount},
	{"OperatorCancelAccount", "POST " + operatorPrefix + "/accounts/{id}/actions/cancel", "operator", (*Server).operatorCancelAccount},
	{"OperatorListUsers", "GET " + operatorPrefix + "/accounts/{id}/users", "operator", (*Server).operatorListUsers},
	{"OperatorCreateUser", "POST " + operatorPrefix + "/accounts/{id}/users", "operator", (*Server).operatorCreateUser},
	{"OperatorBlockUser", "POST " + operatorPrefix + "/accounts/{id}/users/{user_id}/actions/block", "operator", (*Server).operatorBlockUser},
	{"OperatorUnblockUser", "POST " + operatorPrefix + "/accounts/{id}/users/{user_id}/actions/unblock", "operator", (*Server).operatorUnblockUser},
	{"OperatorListGroups", "GET " + operatorPrefix + "/accounts/{id}/groups", "operator", (*Server).operatorListGroups},
	{"OperatorCreateGroup", "POST " + operatorPrefix + "/accounts/{id}/groups", "operator", (*Server).operatorCreateGroup},
	{"OperatorAddMember", "PUT " + operatorPrefix + "/accounts/{id}/groups/{group_id}/users/{user_id}", "operator", (*Server).operatorAddMember},
	{"OperatorRemoveMember", "DELETE " + operatorPrefix + "/accounts/{id}/groups/{group_id}/users/{user_id}", "operator", (*Server).operatorRemoveMember},
	{"OperatorListAuditEvents", "GET " + operatorPrefix + "/audit_events", "operator", (*Server).operatorListAudit},
}

func (s *Server) operatorListAccounts(c *call) (any, error) {
	q := c.query()
	filter := accountFilter(q)
	page := q.page(c, 20)
	managerID, _ := q.text("manager_account_id")
	if err := q.done(); err != nil {
		return nil, err
	}
	if managerID != "" {
		if _, err := s.service.AnyAccount(c.Context(), managerID); err != nil {
			return nil, tenant.RefuseParameter(tenant.NotFound, "manager_account_id", "")
		}
	}
	accounts, place, err := s.service.AccountsOf(c.Context(), managerID, filter, page)
	if err != nil {
		return nil, err
	}
	return listOf(accounts, func(a *service.Account) api.OperatorAccount {
		wire := wireOperatorAccount(a)
		wire.APIKey, wire.APIToken = "", ""
		return wire
	}, page, place), nil
}

func (s *Server) operatorCreateAccount(c *call) (any, error) {
	var body api.CreateRootAccount
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	once, err := c.once()
	if err != nil {
		return nil, err
	}
	balance, creditLimit, err := credit(body.Balance, body.CreditLimit)
	if err != nil {
		return nil, err
	}
	in := service.NewAccount{BusinessName: body.BusinessName, Password: body.Password}
	if body.Email != "" {
		in.Email = &body.Email
	}
	if balance != nil {
		in.Balance.Amount = *balance
	}
	if creditLimit != nil {
		in.Balance.CreditLimit = *creditLimit
	}
	answer, err := s.service.CreateRootAccount(c.Context(), c.actor, in, once, func(a *service.Account) ([]byte, error) {
		return encode(api.Response[api.OperatorAccount]{Data: wireOperatorAccount(a)})
	})
	return encoded(answer), err
}

func (s *Server) operatorRetrieveAccount(c *call) (any, error) {
	return operatorAnswer(s.service.AnyAccount(c.Context(), c.id))
}

func (s *Server) operatorUpdateCredit(c *call) (any, error) {
	var body api.UpdateCredit
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	balance, creditLimit, err := credit(body.Balance, body.CreditLimit)
	if err != nil {
		return nil, err
	}
	return operatorAnswer(s.service.SetCredit(c.Context(), c.actor, c.id, balance, creditLimit))
}

// credit reads the two amounts, where they are given.
func credit(balance, creditLimit *string) (b, l *int64, err error) {
	for _, amount := range []struct {
		text  *string
		field string
		into  **int64
	}{{balance, "balance", &b}, {creditLimit, "credit_limit", &l}} {
		if amount.text == nil {
			continue
		}
		minor, err := tenant.ParseMoney(amount.field, *amount.text)
		if err != nil {
			return nil, nil, err
		}
		*amount.into = &minor
	}
	if l != nil && *l < 0 {
		return nil, nil, tenant.RefuseField(tenant.OutOfRange, "credit_limit", "Must be 0.00 or more.")
	}
	return b, l, nil
}

func (s *Server) operatorApproveManager(c *call) (any, error) {
	var body api.ApproveManager
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	return operatorAnswer(s.service.ApproveManager(c.Context(), c.actor, c.id, body.ChannelPool))
}

func (s *Server) operatorRevokeManager(c *call) (any, error) {
	return operatorAnswer(s.service.RevokeManager(c.Context(), c.actor, c.id))
}

func (s *Server) operatorBlockAccount(c *call) (any, error) {
	return operatorAnswer(s.service.BlockAccount(c.Context(), c.actor, c.id))
}

func (s *Server) operatorUnblockAccount(c *call) (any, error) {
	return operatorAnswer(s.service.UnblockAccount(c.Context(), c.actor, c.id))
}

func (s *Server) operatorCancelAccount(c *call) (any, error) {
	return operatorAnswer(s.service.CancelAccount(c.Context(), c.actor, c.id))
}

func (s *Server) operatorListUsers(c *call) (any, error) {
	q := c.query()
	filter := userFilter(q)
	page := q.page(c, mostPerPage)
	if err := q.done(); err != nil {
		return nil, err
	}
	users, place, err := s.service.UsersOf(c.Context(), c.id, filter, page)
	if err != nil {
		return nil, err
	}
	return listOf(users, wireUser, page, place), nil
}

func (s *Server) operatorCreateUser(c *call) (any, error) {
	var body api.CreateOrganizationUser
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	once, err := c.once()
	if err != nil {
		return nil, err
	}
	in := service.NewUser{Email: body.Email, Password: body.Password, BypassesSSO: is(body.BypassesSSO), GroupIDs: body.GroupIDs}
	answer, err := s.service.CreateUser(c.Context(), c.actor, c.id, in, once, func(u *service.User, key string) ([]byte, error) {
		return encode(api.Response[api.CreatedUser]{Data: api.CreatedUser{OrganizationUser: wireUser(u), APIKey: key}})
	})
	return encoded(answer), err
}

func (s *Server) operatorBlockUser(c *call) (any, error) {
	return userAnswer(s.service.BlockUser(c.Context(), c.actor, c.id, c.PathValue("user_id")))
}

func (s *Server) operatorUnblockUser(c *call) (any, error) {
	return userAnswer(s.service.UnblockUser(c.Context(), c.actor, c.id, c.PathValue("user_id")))
}

func (s *Server) operatorListGroups(c *call) (any, error) {
	groups, err := s.service.Groups(c.Context(), c.id)
	if err != nil {
		return nil, err
	}
	wire := make([]api.Group, len(groups))
	for i := range groups {
		wire[i] = wireGroup(&groups[i])
	}
	return api.Response[[]api.Group]{Data: wire}, nil
}

func (s *Server) operatorCreateGroup(c *call) (any, error) {
	var body api.CreateGroup
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	once, err := c.once()
	if err != nil {
		return nil, err
	}
	answer, err := s.service.CreateGroup(c.Context(), c.actor, c.id, "", body.Name, body.Permissions, once, func(g *tenant.Group) ([]byte, error) {
		return encode(api.Response[api.Group]{Data: wireGroup(g)})
	})
	return encoded(answer), err
}

func (s *Server) operatorAddMember(c *call) (any, error) {
	return userAnswer(s.service.SetMember(c.Context(), c.actor, c.id, c.PathValue("group_id"), c.PathValue("user_id"), true))
}

func (s *Server) operatorRemoveMember(c *call) (any, error) {
	return userAnswer(s.service.SetMember(c.Context(), c.actor, c.id, c.PathValue("group_id"), c.PathValue("user_id"), false))
}

func (s *Server) operatorListAudit(c *call) (any, error) {
	q := c.query()
	filter := auditFilter(q)
	page := q.page(c, 20)
	accountID, given := q.text("account_id")
	if !given {
		q.refuse(tenant.Missing, "account_id", "An account id is required.")
	}
	if err := q.done(); err != nil {
		return nil, err
	}
	entries, place, err := s.service.AuditLogOf(c.Context(), accountID, filter, page)
	if err != nil {
		return nil, err
	}
	return listOf(entries, wireAudit, page, place), nil
}

func operatorAnswer(a *service.Account, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return api.Response[api.OperatorAccount]{Data: wireOperatorAccount(a)}, nil
}

func wireOperatorAccount(a *service.Account) api.OperatorAccount {
	wire := api.OperatorAccount{ManagedAccount: wireAccount(a), ChannelLimit: a.ChannelLimit}
	if m := a.Manager; m != nil {
		wire.Manager = &api.ManagerSettings{
			Approved: m.Approved, ChannelPool: m.ChannelPool, ChannelsAllocated: m.ChannelsAllocated, Accounts: m.Accounts,
		}
	}
	return wire
}

func wireGroup(g *tenant.Group) api.Group {
	return api.Group{ID: g.ID, RecordType: "group", Name: g.Name, Permissions: listed(g.Permissions), CreatedAt: api.Time(g.CreatedAt)}
}
