package httpapi

import (
	"strings"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/tenant"
)

// retrievePrefix stands before the id of the account to retrieve.
const retrievePrefix = "/v2/managed_accounts/"

var accountRoutes = []Route{
	{"ListManagedAccounts", "GET /v2/managed_accounts", "managed_accounts", (*Server).listAccounts},
	{"CreateManagedAccount", "POST /v2/managed_accounts", "managed_accounts", (*Server).createAccount},
	{"ListAllocatableGlobalOutboundChannels", "GET /v2/managed_accounts/allocatable_global_outbound_channels", "managed_accounts", (*Server).allocatableChannels},
	{"RetrieveManagedAccount", "GET " + retrievePrefix + "{id}", "managed_accounts", (*Server).retrieveAccount},
	{"UpdateManagedAccount", "PATCH /v2/managed_accounts/{id}", "managed_accounts", (*Server).updateAccount},
	{"DisableManagedAccount", "POST /v2/managed_accounts/{id}/actions/disable", "managed_accounts", (*Server).disableAccount},
	{"EnableManagedAccount", "POST /v2/managed_accounts/{id}/actions/enable", "managed_accounts", (*Server).enableAccount},
	{"UpdateManagedAccountGlobalChannelLimit", "PATCH /v2/managed_accounts/{id}/update_global_channel_limit", "managed_accounts", (*Server).updateChannelLimit},
	{"GetUserBalance", "GET /v2/balance", "account", (*Server).balance},
}

func (s *Server) listAccounts(c *call) (any, error) {
	q := c.query()
	filter := accountFilter(q)
	page := q.page(c, 20)
	if err := q.done(); err != nil {
		return nil, err
	}
	accounts, place, err := s.service.ManagedAccounts(c.Context(), c.actor, filter, page)
	if err != nil {
		return nil, err
	}
	return listOf(accounts, wireListedAccount, page, place), nil
}

// accountFilter reads filter and sort. Absent, sort is newest first.
func accountFilter(q *query) service.AccountFilter {
	f := service.AccountFilter{
		EmailContains: q.contains("filter[email][contains]", 3),
		NameContains:  q.contains("filter[organization_name][contains]", 3),
		Status:        q.enum("filter[status][eq]", "all", "active", "enabled", "cancelled", "disabled", "blocked"),
		Cancelled:     q.flag("include_cancelled_accounts"),
	}
	f.EmailEq, _ = q.text("filter[email][eq]")
	f.NameEq, _ = q.text("filter[organization_name][eq]")
	sort, given := q.text("sort")
	field, descending := strings.CutPrefix(sort, "-")
	switch {
	case !given:
	case field == "email", field == "created_at":
		f.ByEmail, f.Ascending = field == "email", !descending
	default:
		q.refuse(tenant.BadSort, "sort", "Must be created_at, -created_at, email or -email.")
	}
	return f
}

func (s *Server) createAccount(c *call) (any, error) {
	var body api.CreateManagedAccount
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	once, err := c.once()
	if err != nil {
		return nil, err
	}
	answer, err := s.service.CreateManagedAccount(c.Context(), c.actor, service.NewAccount{
		BusinessName: body.BusinessName, Email: body.Email, Password: body.Password,
		AllowCustomPricing: is(body.AllowCustomPricing), RollupBilling: is(body.RollupBilling),
	}, once, func(a *service.Account) ([]byte, error) {
		return encode(api.Response[api.ManagedAccount]{Data: wireAccount(a)})
	})
	return encoded(answer), err
}

// retrieveAccount answers from memory while the account has not changed. Another
// manager's account is read from the database like one that does not exist, so
// that not even time tells them apart.
func (s *Server) retrieveAccount(c *call) (any, error) {
	if err := service.MayManage(c.actor); err != nil {
		return nil, err
	}
	id := c.id
	kept, known := s.replies.Get(id)
	if known && kept.managerID == c.actor.AccountID {
		return kept.body, nil
	}
	read := func() (reply, error) {
		account, err := s.service.ManagedAccount(c.Context(), c.actor, id)
		if err != nil {
			return reply{}, err
		}
		// A manager that was stopped since it was let in is told so: what the account
		// says of it would not be forgotten when it is started again.
		if err := account.Managing.Admit(nil); err != nil {
			return reply{}, err
		}
		body, err := encode(api.Response[api.ManagedAccount]{Data: wireAccount(account)})
		return reply{account.ManagerID, body}, err
	}
	if known {
		own, err := read()
		return encoded(own.body), err
	}
	own, err := s.replies.Load(id, read)
	if err == nil && own.managerID != c.actor.AccountID {
		// Its manager asked at the same moment.
		return nil, tenant.Missed("id")
	}
	return own.body, err
}

func (s *Server) updateAccount(c *call) (any, error) {
	var body api.UpdateManagedAccount
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	return accountAnswer(s.service.UpdateManagedAccount(c.Context(), c.actor, c.id, body.AllowCustomPricing))
}

func (s *Server) disableAccount(c *call) (any, error) {
	var body api.DisableManagedAccount
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if is(body.HangUpCalls) {
		return accountAnswer(s.service.DisableAndHangUp(c.Context(), c.actor, c.id, ""))
	}
	return accountAnswer(s.service.DisableAccount(c.Context(), c.actor, c.id, ""))
}

func (s *Server) enableAccount(c *call) (any, error) {
	var body api.EnableManagedAccount
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	return accountAnswer(s.service.EnableAccount(c.Context(), c.actor, c.id, is(body.ReenableAllConnections), ""))
}

func (s *Server) updateChannelLimit(c *call) (any, error) {
	var body api.UpdateGlobalChannelLimit
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	account, err := s.service.SetChannelLimit(c.Context(), c.actor, c.id, body.ChannelLimit)
	if err != nil {
		return nil, err
	}
	return api.Response[api.GlobalChannelLimit]{Data: api.GlobalChannelLimit{
		RecordType: "managed_account_global_outbound_settings", ID: account.ID, Email: account.Email,
		ManagerAccountID: account.ManagerID, ChannelLimit: account.ChannelLimit,
	}}, nil
}

func (s *Server) allocatableChannels(c *call) (any, error) {
	manager, account, inUse, err := s.service.Channels(c.Context(), c.actor)
	if err != nil {
		return nil, err
	}
	return api.Response[api.AllocatableChannels]{Data: api.AllocatableChannels{
		RecordType: "allocatable_global_outbound_channels", Allocatable: manager.ChannelPool,
		Allocated: manager.ChannelsAllocated, InUse: inUse, AllowCustomPricing: account.AllowCustomPricing,
	}}, nil
}

func (s *Server) balance(c *call) (any, error) {
	b, err := s.service.Balance(c.Context(), c.actor)
	if err != nil {
		return nil, err
	}
	return api.Response[api.Balance]{Data: api.Balance{
		RecordType: "balance", Pending: tenant.FormatMoney(b.Pending), Balance: tenant.FormatMoney(b.Amount),
		CreditLimit: tenant.FormatMoney(b.CreditLimit), AvailableCredit: tenant.FormatMoney(b.Available()), Currency: b.Currency,
	}}, nil
}

func accountAnswer(a *service.Account, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return api.Response[api.ManagedAccount]{Data: wireAccount(a)}, nil
}

// wireAccount is the full form: with balance, key and token.
func wireAccount(a *service.Account) api.ManagedAccount {
	wire := wireListedAccount(a)
	wire.APIKey, wire.APIToken = a.Key, a.Token
	for _, l := range a.LeftOff {
		wire.ConnectionsLeftOff = append(wire.ConnectionsLeftOff, api.ConnectionLeftOff{ID: l.Connection.ID, Name: l.Connection.Name, Problems: l.Problems})
	}
	if !a.RollupBilling {
		wire.Balance = &api.AccountBalance{
			RecordType: "balance", Balance: tenant.FormatMoney(a.Balance.Amount),
			CreditLimit:     tenant.FormatMoney(a.Balance.CreditLimit),
			AvailableCredit: tenant.FormatMoney(a.Balance.Available()), Currency: a.Balance.Currency,
		}
	}
	return wire
}

func wireListedAccount(a *service.Account) api.ManagedAccount {
	return api.ManagedAccount{
		RecordType: "managed_account", ID: a.ID, Email: a.Email, APIUser: a.APIUser(),
		OrganizationName: a.OrganizationName, ManagerAccountID: a.ManagerID,
		CreatedAt: api.Time(a.CreatedAt), UpdatedAt: api.Time(a.UpdatedAt),
		AllowCustomPricing: a.AllowCustomPricing, RollupBilling: a.RollupBilling,
		Status: string(a.Status()), StatusReasons: a.Causes(a.Managing),
	}
}

// listOf is the envelope of a page.
func listOf[T, W any](rows []T, wire func(*T) W, page service.Page, place service.Place) api.ListResponse[W] {
	list := api.ListResponse[W]{Data: make([]W, len(rows)), Meta: api.Meta{
		TotalPages: (place.Total + page.Size - 1) / page.Size, TotalResults: place.Total,
		PageNumber: page.Number, PageSize: page.Size,
	}}
	for i := range rows {
		list.Data[i] = wire(&rows[i])
	}
	return list
}

// is turns an absent boolean into false.
func is(b *bool) bool { return b != nil && *b }
