package portal

import (
	"net/http"
	"net/url"

	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

const (
	operatorPath         = Prefix + "operator"
	operatorAccountsPath = Prefix + "operator/accounts"
)

var operatorRoutes = []Route{
	{"operator overview", "GET " + operatorPath, Operator, (*Portal).attention},
	{"end operator sessions", "POST " + operatorPath + "/end-all", Operator, (*Portal).endOperatorSessions},
	{"operator accounts", "GET " + operatorAccountsPath, Operator, (*Portal).operatorAccounts},
	{"operator new account", "GET " + operatorAccountsPath + "/new", Operator, (*Portal).newRootAccount},
	{"operator create account", "POST " + operatorAccountsPath + "/new", Operator, (*Portal).createRootAccount},
	{"operator account", "GET " + operatorAccountsPath + "/{id}", Operator, (*Portal).operatorAccount},
	{"approve manager", "POST " + operatorAccountsPath + "/{id}/approve", Operator, (*Portal).approve},
	{"revoke manager", "POST " + operatorAccountsPath + "/{id}/revoke", Operator, (*Portal).revokeManager},
	{"block account", "POST " + operatorAccountsPath + "/{id}/block", Operator, (*Portal).block},
	{"unblock account", "POST " + operatorAccountsPath + "/{id}/unblock", Operator, (*Portal).unblock},
	{"cancel account", "POST " + operatorAccountsPath + "/{id}/cancel", Operator, (*Portal).cancel},
	{"set credit", "POST " + operatorAccountsPath + "/{id}/credit", Operator, (*Portal).setCredit},
	{"operator managed accounts", "GET " + operatorAccountsPath + "/{id}/accounts", Operator, (*Portal).operatorManaged},
	{"operator users", "GET " + operatorAccountsPath + "/{id}/users", Operator, (*Portal).operatorUsers},
	{"block user", "POST " + operatorAccountsPath + "/{id}/users/{user_id}/block", Operator, (*Portal).blockUser},
	{"unblock user", "POST " + operatorAccountsPath + "/{id}/users/{user_id}/unblock", Operator, (*Portal).unblockUser},
	{"operator resets second factor", "POST " + operatorAccountsPath + "/{id}/users/{user_id}/reset-second-factor", Operator, (*Portal).operatorResetFactor},
	{"operator audit log", "GET " + operatorAccountsPath + "/{id}/audit", Operator, (*Portal).operatorAudit},
}

func operatorAccountPath(id string) string { return operatorAccountsPath + "/" + url.PathEscape(id) }

func (p *Portal) attention(v *visit) (any, error) {
	found, err := p.service.Attention(v.Context())
	if err != nil {
		return nil, err
	}
	return page{template: "operator", title: "What needs attention", data: found}, nil
}

func (p *Portal) endOperatorSessions(v *visit) (any, error) {
	if err := p.service.EndOperatorSessions(v.Context()); err != nil {
		return nil, err
	}
	p.log.Info("all sessions of the operator at the portal were ended", "request_id", v.requestID, "address", p.options.Address(v.Request))
	forget(v.w, operatorCookie)
	return redirect{to: operatorSignInPath, notice: "All sessions of the operator have ended."}, nil
}

// anyAccount is any account without its secrets: they are the tenant's, not the
// operator's.
func (p *Portal) anyAccount(v *visit, id string) (*service.Account, error) {
	account, err := p.service.AnyAccount(v.Context(), id)
	if account != nil {
		account.Key, account.Token = "", ""
	}
	return account, err
}

type operatorList struct {
	accountList
	// Manager is whose accounts these are; nil for root accounts.
	Manager *service.Account
}

func (p *Portal) operatorAccounts(v *visit) (any, error) {
	l := listOf(v, accountStatuses, accountSorts)
	if tenant.IsUUID(l.Query) {
		if _, err := p.anyAccount(v, l.Query); err == nil {
			return redirect{to: operatorAccountPath(l.Query)}, nil
		}
	}
	return p.showOperatorAccounts(v, l, nil)
}

func (p *Portal) operatorManaged(v *visit) (any, error) {
	manager, err := p.anyAccount(v, v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return p.showOperatorAccounts(v, listOf(v, accountStatuses, accountSorts), manager)
}

func (p *Portal) showOperatorAccounts(v *visit, l *list, manager *service.Account) (any, error) {
	managerID, title := "", "Accounts"
	if manager != nil {
		managerID, title = manager.ID, "Accounts of "+manager.OrganizationName
	}
	accounts, place, err := p.service.AccountsOf(v.Context(), managerID, accountFilter(l), l.page(v))
	if err != nil {
		return nil, err
	}
	l.Total = place.Total
	if to, is := l.beyond(); is {
		return to, nil
	}
	return page{template: "operator-accounts", title: title, data: operatorList{
		accountList{list: l, Statuses: accountStatuses, Accounts: accounts, Path: operatorAccountsPath}, manager,
	}}, nil
}

func (p *Portal) newRootAccount(*visit) (any, error) {
	return page{template: "operator-account-new", title: "New account"}, nil
}

func (p *Portal) createRootAccount(v *visit) (any, error) {
	in := service.NewAccount{BusinessName: v.text("business_name")}
	if email := v.text("email"); email != "" {
		in.Email = &email
	}
	if password := v.PostForm.Get("password"); password != "" {
		in.Password = &password
	}
	var made *service.Account
	if _, err := p.service.CreateRootAccount(v.Context(), v.actor, in, p.once(v), func(a *service.Account) ([]byte, error) {
		made = a
		return []byte(a.ID), nil
	}); err != nil {
		return p.again(v, err, (*Portal).newRootAccount)
	}
	return redirect{to: operatorAccountPath(made.ID), notice: made.OrganizationName + " is created."}, nil
}

type operatorAccountPage struct {
	*service.Account
	Causes      []string
	Use         service.ChannelUse
	Connections service.Some[tenant.Connection]
	// PoolInUse is what the calls of a manager's accounts hold now.
	PoolInUse int64
}

func (p *Portal) operatorAccount(v *visit) (any, error) {
	account, err := p.anyAccount(v, v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	a := operatorAccountPage{Account: account, Causes: account.Causes(account.Managing)}
	if a.Use, err = p.service.AnyChannelUse(v.Context(), account.ID); err != nil {
		return nil, err
	}
	if a.Connections, err = p.service.FirstConnections(v.Context(), account.ID); err != nil {
		return nil, err
	}
	return page{template: "operator-account", title: account.OrganizationName, data: a}, nil
}

// changeAccount is the answer to what the operator did to an account.
func (p *Portal) changeAccount(v *visit, err error, done string) (any, error) {
	if err != nil {
		return p.again(v, err, (*Portal).operatorAccount)
	}
	return redirect{to: operatorAccountPath(v.PathValue("id")), notice: done}, nil
}

func (p *Portal) approve(v *visit) (any, error) {
	pool, err := v.number("channel_pool")
	if err == nil {
		_, err = p.service.ApproveManager(v.Context(), v.actor, v.PathValue("id"), &pool)
	}
	return p.changeAccount(v, err, "The account is an approved manager with a pool of "+count(pool)+" channels.")
}

func (p *Portal) revokeManager(v *visit) (any, error) {
	_, err := p.service.RevokeManager(v.Context(), v.actor, v.PathValue("id"))
	return p.changeAccount(v, err, "The account may not manage others any more. Those it has stay as they are.")
}

func (p *Portal) block(v *visit) (any, error) {
	_, err := p.service.BlockAccount(v.Context(), v.actor, v.PathValue("id"))
	return p.changeAccount(v, err, "The account is blocked, and all that it manages.")
}

func (p *Portal) unblock(v *visit) (any, error) {
	_, err := p.service.UnblockAccount(v.Context(), v.actor, v.PathValue("id"))
	return p.changeAccount(v, err, "The account is blocked no longer.")
}

// cancel is for good: the name has to be typed.
func (p *Portal) cancel(v *visit) (any, error) {
	account, err := p.anyAccount(v, v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if v.text("confirm") != account.Email {
		return p.again(v, tenant.RefuseField(tenant.Invalid, "confirm", "Type the account's email address to cancel it."), (*Portal).operatorAccount)
	}
	_, err = p.service.CancelAccount(v.Context(), v.actor, account.ID)
	return p.changeAccount(v, err, "The account is cancelled.")
}

func (p *Portal) setCredit(v *visit) (any, error) {
	balance, err := tenant.ParseMoney("balance", v.text("balance"))
	var limit int64
	if err == nil {
		limit, err = tenant.ParseMoney("credit_limit", v.text("credit_limit"))
	}
	if err == nil && limit < 0 {
		err = tenant.RefuseField(tenant.OutOfRange, "credit_limit", "Must be 0.00 or more.")
	}
	if err == nil {
		_, err = p.service.SetCredit(v.Context(), v.actor, v.PathValue("id"), &balance, &limit)
	}
	return p.changeAccount(v, err, "Balance and credit limit are set.")
}

type operatorUserList struct {
	userList
	Account *service.Account
}

func (p *Portal) operatorUsers(v *visit) (any, error) {
	account, err := p.anyAccount(v, v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	l := listOf(v, userStatuses, nil)
	l.path = operatorAccountPath(account.ID) + "/users" // also where a change is answered
	users, place, err := p.service.UsersOf(v.Context(), account.ID, service.UserFilter{EmailContains: l.Query, Status: l.Status, Groups: true}, l.page(v))
	if err != nil {
		return nil, err
	}
	l.Total = place.Total
	if to, is := l.beyond(); is && v.Method == http.MethodGet {
		return to, nil
	}
	return page{template: "operator-users", title: "Users of " + account.OrganizationName, data: operatorUserList{userList{list: l, Statuses: userStatuses, Users: users}, account}}, nil
}

// changeUserOf is the answer to what the operator did to a user.
func (p *Portal) changeUserOf(v *visit, err error, done string) (any, error) {
	if err != nil {
		return p.again(v, err, (*Portal).operatorUsers)
	}
	return redirect{to: operatorAccountPath(v.PathValue("id")) + "/users", notice: done}, nil
}

func (p *Portal) blockUser(v *visit) (any, error) {
	_, err := p.service.BlockUser(v.Context(), v.actor, v.PathValue("id"), v.PathValue("user_id"))
	return p.changeUserOf(v, err, "The user is blocked.")
}

func (p *Portal) unblockUser(v *visit) (any, error) {
	_, err := p.service.UnblockUser(v.Context(), v.actor, v.PathValue("id"), v.PathValue("user_id"))
	return p.changeUserOf(v, err, "The user is blocked no longer.")
}

func (p *Portal) operatorResetFactor(v *visit) (any, error) {
	err := p.service.ResetFactorOf(v.Context(), v.actor, v.PathValue("id"), v.PathValue("user_id"))
	return p.changeUserOf(v, err, "The user's second factor is off.")
}

func (p *Portal) operatorAudit(v *visit) (any, error) {
	account, err := p.anyAccount(v, v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return p.showAudit(v, "Audit log of "+account.OrganizationName, operatorAccountPath(account.ID), func(search service.AuditSearch) ([]store.AuditEntry, int64, error) {
		return p.service.SearchAuditOf(v.Context(), account.ID, search, pageSize)
	})
}
