package portal

import (
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/tenant"
)

var homeRoutes = []Route{
	{"overview", "GET " + Prefix + "{$}", SignedIn, (*Portal).home},
}

type overview struct {
	// Accounts are numbers by status; nil for who manages none.
	Accounts *accountNumbers
	// Pool is nil for who manages none.
	Pool *pool
	// Balance is nil for who may not see it.
	Balance *tenant.Balance
	Rollup  bool
	// Factor says that a second factor is on; it is not asked for who acts for another.
	Factor bool
	Users  int64
	// May are the permissions of a sub-user; Limited says that it is one.
	May     []string
	Limited bool
	// Recent are the newest entries of the audit log, for who may see it.
	Recent []entry
}

type accountNumbers struct{ Total, Enabled, Disabled, Blocked int64 }

// pool is a manager's channels.
type pool struct {
	Size, Allocated, InUse int64
}

// Free is how many can still be handed out.
func (p pool) Free() int64 { return p.Size - p.Allocated }

func (p *Portal) home(v *visit) (any, error) {
	ctx := v.Context()
	o := overview{Rollup: v.in.Account.RollupBilling, Limited: !v.actor.Owner()}
	if o.Limited {
		o.May = handOn(v.actor)
	}
	if Managers.allows(v.actor) {
		var err error
		if o.Accounts, err = p.countAccounts(v); err != nil {
			return nil, err
		}
		if o.Pool, err = p.pool(v); err != nil {
			return nil, err
		}
	}
	if v.actor.Can(tenant.ViewBalance) {
		balance, err := p.service.Balance(ctx, v.actor)
		if err != nil {
			return nil, err
		}
		o.Balance = &balance
	}
	if v.actor.Can(tenant.ViewUsers) {
		_, place, err := p.service.Users(ctx, v.actor, service.UserFilter{}, service.Page{Number: 1, Size: 1})
		if err != nil {
			return nil, err
		}
		o.Users = place.Total
	}
	if v.actor.Can(tenant.ViewAudit) {
		entries, _, err := p.service.SearchAudit(ctx, v.actor, service.AuditSearch{}, 8)
		if err == nil {
			o.Recent, err = p.told(v, entries)
		}
		if err != nil {
			return nil, err
		}
	}
	if InPerson.allows(v.actor) {
		var err error
		if o.Factor, _, err = p.service.Factor(ctx, v.actor); err != nil {
			return nil, err
		}
	}
	return page{template: "home", title: "Overview", data: o}, nil
}

func (p *Portal) countAccounts(v *visit) (*accountNumbers, error) {
	n := &accountNumbers{}
	for status, into := range map[string]*int64{
		"all": &n.Total, "enabled": &n.Enabled, "disabled": &n.Disabled, "blocked": &n.Blocked,
	} {
		_, place, err := p.service.ManagedAccounts(v.Context(), v.actor, service.AccountFilter{Status: status}, service.Page{Number: 1, Size: 1})
		if err != nil {
			return nil, err
		}
		*into = place.Total
	}
	return n, nil
}

func (p *Portal) pool(v *visit) (*pool, error) {
	manager, _, inUse, err := p.service.Channels(v.Context(), v.actor)
	if err != nil {
		return nil, err
	}
	return &pool{manager.ChannelPool, manager.ChannelsAllocated, inUse}, nil
}
