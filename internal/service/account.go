package service

import (
	"context"
	"fmt"

	"github.com/tenantry/tenantry/internal/directory"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// Account is an account with what its full form shows.
type Account struct {
	tenant.Account
	// Managing is the manager's account, nil for a root account.
	Managing *tenant.Account
	// Manager is nil for an account that never was one.
	Manager *tenant.Manager
	// Key and Token are the owner's secrets, in clear; "" in lists.
	Key, Token string
	// LeftOff are the connections that EnableAccount was asked to switch on, and
	// that have problems.
	LeftOff []tenant.LeftOff
}

// APIUser is the user half of the V1 credentials: the manager's address.
func (a *Account) APIUser() string {
	if a.Managing != nil {
		return a.Managing.Email
	}
	return a.Email
}

// NewAccount asks for an account. Nil means that the caller did not say.
type NewAccount struct {
	BusinessName       string
	Email              *string
	Password           *string
	AllowCustomPricing bool
	RollupBilling      bool
	Balance            tenant.Balance

	// What follows is for seeds alone: "" means to be made.
	ID, Key, Token string
	// ChannelLimit, when not nil, replaces the default and must fit the pool.
	ChannelLimit *int64
}

// CreateManagedAccount makes an account under the actor's. answer encodes what
// was made; it is kept for the request coming again, and returned.
func (s *Service) CreateManagedAccount(ctx context.Context, actor tenant.Actor, in NewAccount, once Once, answer func(*Account) ([]byte, error)) ([]byte, error) {
	if err := MayManage(actor); err != nil {
		return nil, err
	}
	return s.createAccount(ctx, actor, actor.AccountID, in, once, answer)
}

// CreateRootAccount makes an account that nobody manages. The operator only.
func (s *Service) CreateRootAccount(ctx context.Context, actor tenant.Actor, in NewAccount, once Once, answer func(*Account) ([]byte, error)) ([]byte, error) {
	if err := mayOperate(actor); err != nil {
		return nil, err
	}
	return s.createAccount(ctx, actor, "", in, once, answer)
}

func (s *Service) createAccount(ctx context.Context, actor tenant.Actor, managerID string, in NewAccount, once Once, answer func(*Account) ([]byte, error)) ([]byte, error) {
	if err := tenant.CheckName("business_name", in.BusinessName); err != nil {
		return nil, err
	}
	if in.Email != nil {
		if err := tenant.CheckEmail("email", *in.Email); err != nil {
			return nil, err
		}
	}
	leave, err := s.underway.enter(ctx, once)
	if err != nil {
		return nil, err
	}
	defer leave()
	hash := ""
	if in.Password != nil {
		names := []string{in.BusinessName}
		if in.Email != nil {
			names = append(names, *in.Email)
		}
		if err := s.passwords.Check("password", *in.Password, names...); err != nil {
			return nil, err
		}
		if hash, err = s.passwords.Hash(ctx, actor.CredentialID, *in.Password); err != nil {
			return nil, err
		}
	}
	// What costs time is made before the turn to write.
	id := in.ID
	if id == "" {
		id = s.db.Source().NewID()
	}
	made := &Account{Key: in.Key, Token: in.Token}
	if made.Key == "" {
		made.Key = s.sealer.MintKey()
	}
	if made.Token == "" {
		made.Token = s.sealer.MintToken()
	}
	keys := []tenant.Key{
		s.sealer.NewKey(tenant.KeyV2, made.Key, id, id),
		s.sealer.NewKey(tenant.KeyV1, made.Token, id, id),
	}
	return s.once(ctx, managerID, once, func(tx *store.Tx) ([]byte, error) {
		account := tenant.Account{
			ID: id, ManagerID: managerID, OrganizationName: in.BusinessName,
			AllowCustomPricing: in.AllowCustomPricing, RollupBilling: in.RollupBilling, Balance: in.Balance,
			CreatedAt: tx.Now(), UpdatedAt: tx.Now(),
		}
		if account.Balance.Currency == "" {
			account.Balance.Currency = s.options.Currency
		}
		made.Managing = nil
		if managerID != "" {
			managing, manager, err := tx.Managing(managerID)
			if err != nil {
				return nil, err
			}
			if made.Managing = managing; manager == nil || !manager.Approved {
				return nil, tenant.RefuseParameter(tenant.Forbidden, "Authorization", "")
			}
			// The manager may have been stopped since it was let in.
			if err := made.Managing.Admit(nil); err != nil {
				return nil, err
			}
			account.ChannelLimit = min(s.options.DefaultChannels, manager.Free())
		}
		if in.ChannelLimit != nil {
			account.ChannelLimit = *in.ChannelLimit
		}
		switch {
		case in.Email != nil:
			account.Email = *in.Email
			taken, err := tx.EmailTaken(managerID, account.Email)
			if err != nil {
				return nil, err
			}
			if taken || made.Managing != nil && tenant.EmailKey(made.Managing.Email) == tenant.EmailKey(account.Email) {
				return nil, tenant.RefuseField(tenant.Duplicate, "email", "Another account has this email address.")
			}
		case made.Managing != nil:
			account.Email = tenant.GenerateEmail(made.Managing.Email, id)
		default:
			return nil, tenant.RefuseField(tenant.Missing, "email", "A root account needs an email address.")
		}
		owner := tenant.User{ID: id, AccountID: id, Email: account.Email, PasswordHash: hash, Status: tenant.UserEnabled, CreatedAt: tx.Now()}
		change, err := tenant.NewAccount(actor, account, owner, keys)
		if err != nil {
			return nil, err
		}
		if err := tx.Apply(change); err != nil {
			return nil, err
		}
		made.Account = *change.Accounts[0].After
		return answer(made)
	})
}

// ManagedAccount is one of the actor's accounts in full.
func (s *Service) ManagedAccount(ctx context.Context, actor tenant.Actor, id string) (account *Account, err error) {
	if err := MayManage(actor); err != nil {
		return nil, err
	}
	err = s.db.View(ctx, func(tx *store.Tx) error {
		row, err := tx.ManagedAccount(actor.AccountID, id)
		if err != nil {
			return err
		}
		account, err = s.full(tx, row)
		return err
	})
	return account, err
}

// AnyAccount is any account in full. The operator only.
func (s *Service) AnyAccount(ctx context.Context, id string) (account *Account, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error {
		row, err := s.anyAccount(tx, id)
		if err != nil {
			return err
		}
		account, err = s.full(tx, row)
		return err
	})
	return account, err
}

func (s *Service) anyAccount(tx *store.Tx, id string) (*tenant.Account, error) {
	row, err := tx.Account(id)
	if err == nil && row == nil {
		err = tenant.Missed("id")
	}
	return row, err
}

// full adds what the full form shows: the manager and the secrets.
func (s *Service) full(tx *store.Tx, row *tenant.Account) (*Account, error) {
	account := &Account{Account: *row}
	var err error
	if row.ManagerID != "" {
		if account.Managing, err = tx.Account(row.ManagerID); err != nil {
			return nil, err
		}
	} else if account.Manager, err = tx.Manager(row.ID); err != nil {
		return nil, err
	}
	keys, err := tx.KeysOf(row.ID)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if key.Name != "" {
			continue // shown once, to who made it
		}
		secret, err := s.sealer.Reveal(&key)
		if err != nil {
			return nil, fmt.Errorf("account %s: %w", row.ID, err)
		}
		switch {
		case key.Kind == tenant.KeyV2 && account.Key == "":
			account.Key = secret
		case key.Kind == tenant.KeyV1 && account.Token == "":
			account.Token = secret
		}
	}
	return account, nil
}

// alter changes one of the actor's accounts by a rule and returns it in full.
func (s *Service) alter(ctx context.Context, actor tenant.Actor, id string, rule func(*store.Tx, tenant.Account) (tenant.Change, error)) (account *Account, err error) {
	if err := MayManage(actor); err != nil {
		return nil, err
	}
	return s.alterAny(ctx, laneOf(actor), func(tx *store.Tx) (*tenant.Account, error) { return tx.ManagedAccount(actor.AccountID, id) }, rule)
}

func (s *Service) alterAny(ctx context.Context, lane string, find func(*store.Tx) (*tenant.Account, error), rule func(*store.Tx, tenant.Account) (tenant.Change, error)) (account *Account, err error) {
	err = s.db.Update(ctx, lane, func(tx *store.Tx) error {
		row, err := find(tx)
		if err != nil {
			return err
		}
		change, err := rule(tx, *row)
		if err != nil {
			return err
		}
		if err := tx.Apply(change); err != nil {
			return err
		}
		if len(change.Accounts) > 0 {
			row = change.Accounts[0].After
		}
		account, err = s.full(tx, row)
		return err
	})
	return account, err
}

// UpdateManagedAccount changes what may change; nil leaves it as it is.
func (s *Service) UpdateManagedAccount(ctx context.Context, actor tenant.Actor, id string, allowCustomPricing *bool) (*Account, error) {
	if allowCustomPricing == nil {
		return s.ManagedAccount(ctx, actor, id)
	}
	return s.alter(ctx, actor, id, func(tx *store.Tx, a tenant.Account) (tenant.Change, error) {
		return tenant.SetCustomPricing(actor, a, *allowCustomPricing, tx.Now())
	})
}

// RevealCredentials is one of the actor's accounts in full, for somebody who is to see
// its key and token: the account's audit log tells who did.
func (s *Service) RevealCredentials(ctx context.Context, actor tenant.Actor, id string) (*Account, error) {
	return s.alter(ctx, actor, id, func(_ *store.Tx, a tenant.Account) (tenant.Change, error) {
		return tenant.CredentialsViewed(actor, a), nil
	})
}

// DisableAccount stops one of the actor's accounts: its keys, its users' keys
// and their sessions end with the same commit, and its connections are off. reason is
// for the audit log, "" for none.
func (s *Service) DisableAccount(ctx context.Context, actor tenant.Actor, id, reason string) (*Account, error) {
	return s.alter(ctx, actor, id, func(tx *store.Tx, a tenant.Account) (tenant.Change, error) {
		return disable(tx, actor, a, reason)
	})
}

func disable(tx *store.Tx, actor tenant.Actor, a tenant.Account, reason string) (tenant.Change, error) {
	connections, err := tx.ConnectionRows(a.ID)
	if err != nil {
		return tenant.Change{}, err
	}
	return tenant.Disable(actor, a, connections, reason, tx.Now())
}

// hangUpChunk is how many calls one event names.
const hangUpChunk = 1000

// DisableAndHangUp is DisableAccount, and asks the switches in the same commit to end
// the calls that run: in the lane of the account's leases, so that no call begins
// unseen beside it. Asked for again it names those that run still.
func (s *Service) DisableAndHangUp(ctx context.Context, actor tenant.Actor, id, reason string) (account *Account, err error) {
	if err := MayManage(actor); err != nil {
		return nil, err
	}
	err = s.db.UpdateAll(ctx, []string{laneOf(actor), store.LeaseLane(id)}, func(tx *store.Tx) error {
		row, err := tx.ManagedAccount(actor.AccountID, id)
		if err != nil {
			return err
		}
		change, err := disable(tx, actor, *row, reason)
		if err != nil {
			return err
		}
		if err := tx.Apply(change); err != nil {
			return err
		}
		if len(change.Accounts) > 0 {
			row = change.Accounts[0].After
		}
		for after, more := "", true; more; {
			leases, err := tx.LeasesOf(id, after, hangUpChunk)
			if err != nil {
				return err
			}
			var calls []tenant.Call
			for _, l := range leases {
				calls = append(calls, tenant.Call{ID: l.CallID, Switch: l.Switch})
				after = l.CallID
			}
			if err := tx.Apply(tenant.HangUp(actor, *row, calls)); err != nil {
				return err
			}
			more = len(leases) == hangUpChunk
		}
		account, err = s.full(tx, row)
		return err
	})
	return account, err
}

// EnableAccount lifts what DisableAccount did, never what the operator did. With
// reenable the account's connections are switched on again; those that cannot be
// are in LeftOff. reason is for the audit log, "" for none.
func (s *Service) EnableAccount(ctx context.Context, actor tenant.Actor, id string, reenable bool, reason string) (*Account, error) {
	var left []tenant.LeftOff
	account, err := s.alter(ctx, actor, id, func(tx *store.Tx, a tenant.Account) (tenant.Change, error) {
		var connections []tenant.Connection
		if reenable {
			var err error
			if connections, err = tx.Connections(a.ID); err != nil {
				return tenant.Change{}, err
			}
		}
		change, err := tenant.Enable(actor, a, connections, reenable, reason, tx.Now())
		left = change.LeftOff
		return change, err
	})
	if account != nil {
		account.LeftOff = left
	}
	return account, err
}

// SetChannelLimit gives one of the actor's accounts another share of the pool.
func (s *Service) SetChannelLimit(ctx context.Context, actor tenant.Actor, id string, limit *int64) (*tenant.Account, error) {
	account, err := s.alter(ctx, actor, id, func(tx *store.Tx, a tenant.Account) (tenant.Change, error) {
		if limit == nil {
			return tenant.Change{}, tenant.RefuseField(tenant.Missing, "channel_limit", "A number of channels is required.")
		}
		if err := tenant.CheckChannels("channel_limit", *limit); err != nil {
			return tenant.Change{}, err
		}
		return tenant.SetChannelLimit(actor, a, *limit, tx.Now())
	})
	if err != nil {
		return nil, err
	}
	return &account.Account, nil
}

// Channels is the actor's pool, the actor's account, and how many channels of the
// pool are in use.
func (s *Service) Channels(ctx context.Context, actor tenant.Actor) (manager *tenant.Manager, account *tenant.Account, inUse int64, err error) {
	if err := MayManage(actor); err != nil {
		return nil, nil, 0, err
	}
	err = s.db.View(ctx, func(tx *store.Tx) error {
		if account, err = tx.Account(actor.AccountID); err != nil {
			return err
		}
		if manager, err = tx.Manager(actor.AccountID); err != nil {
			return err
		}
		inUse, err = tx.ChannelsInUseOfPool(actor.AccountID)
		return err
	})
	return manager, account, inUse, err
}

// Balance is the money the actor's account spends: its own, or its manager's
// when billing is rolled up.
func (s *Service) Balance(ctx context.Context, actor tenant.Actor) (balance tenant.Balance, err error) {
	if err := may(actor, "account"); err != nil {
		return balance, err
	}
	err = s.db.View(ctx, func(tx *store.Tx) error {
		account, err := tx.Account(actor.AccountID)
		if err == nil && account.RollupBilling {
			account, err = tx.Account(account.ManagerID)
		}
		if err == nil {
			balance = account.Balance
		}
		return err
	})
	return balance, err
}

// AccountFilter says which accounts a list has; "" asks for nothing.
type AccountFilter struct {
	EmailEq, EmailContains string
	NameEq, NameContains   string
	// Contains is in the address, or in the organization's name.
	Contains string
	// Status is "" or one of all, active, enabled, disabled, blocked, cancelled.
	Status string
	// Cancelled includes cancelled accounts when Status is "".
	Cancelled bool
	ByEmail   bool
	Ascending bool
}

// The statuses of an account in a directory.
const (
	enabled directory.Statuses = 1 << iota
	disabled
	blocked
	gone // cancelled or removed
)

var accountStatuses = map[string]directory.Statuses{
	"all":       enabled | disabled | blocked | gone,
	"active":    enabled | disabled | blocked,
	"enabled":   enabled,
	"disabled":  disabled,
	"blocked":   blocked,
	"cancelled": gone,
}

// ManagedAccounts is a page of the actor's accounts. Key and Token are "".
func (s *Service) ManagedAccounts(ctx context.Context, actor tenant.Actor, f AccountFilter, page Page) ([]Account, Place, error) {
	if err := MayManage(actor); err != nil {
		return nil, Place{}, err
	}
	return s.listAccounts(ctx, actor.AccountID, f, page)
}

// AccountsOf is a page of a manager's accounts, of the root accounts for "". The
// operator only.
func (s *Service) AccountsOf(ctx context.Context, managerID string, f AccountFilter, page Page) ([]Account, Place, error) {
	return s.listAccounts(ctx, managerID, f, page)
}

func (s *Service) listAccounts(ctx context.Context, managerID string, f AccountFilter, page Page) ([]Account, Place, error) {
	status := f.Status
	switch {
	case status == "" && f.Cancelled:
		status = "all"
	case status == "":
		status = "active"
	}
	q := directory.Query{
		Statuses: accountStatuses[status], Descending: !f.Ascending,
		EmailContains: f.EmailContains, NameContains: f.NameContains, Contains: f.Contains,
	}
	if f.ByEmail {
		q.Order = directory.ByEmail
	}
	page.query = fmt.Sprintf("%#v", f) // with quotes: no two filters read alike
	if f.EmailEq != "" || f.NameEq != "" {
		page.exact = &exact{
			key:  fmt.Sprintf("%q %q", f.EmailEq, f.NameEq),
			read: func(tx *store.Tx) ([]int64, error) { return tx.AccountNumbers(managerID, f.EmailEq, f.NameEq) },
		}
	}
	numbers, place, err := s.accounts.page(ctx, managerID, q, page)
	if err != nil {
		return nil, Place{}, err
	}
	accounts := make([]Account, 0, len(numbers))
	err = s.db.View(ctx, func(tx *store.Tx) error {
		var managing *tenant.Account
		if managerID != "" {
			if managing, err = tx.Account(managerID); err != nil {
				return err
			}
		}
		rows, err := tx.AccountsByNumber(managerID, numbers)
		for _, row := range rows {
			account := Account{Account: row, Managing: managing}
			if managerID == "" {
				if account.Manager, err = tx.Manager(row.ID); err != nil {
					return err
				}
			}
			accounts = append(accounts, account)
		}
		return err
	})
	return accounts, place, err
}
