package service

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// What stands here is for the operator only; httpapi lets nobody else call it.

func (s *Service) operate(ctx context.Context, actor tenant.Actor, id string, rule func(*store.Tx, tenant.Account) (tenant.Change, error)) (*Account, error) {
	if err := mayOperate(actor); err != nil {
		return nil, err
	}
	lane, err := s.lane(ctx, id)
	if err != nil {
		return nil, err
	}
	return s.alterAny(ctx, lane, func(tx *store.Tx) (*tenant.Account, error) { return s.anyAccount(tx, id) }, rule)
}

// mayOperate refuses, with kind Forbidden, whoever is not the operator.
func mayOperate(actor tenant.Actor) error {
	if !actor.Operator {
		return tenant.RefuseParameter(tenant.Forbidden, "Authorization", "")
	}
	return nil
}

// ApproveManager lets an account manage others; a nil pool stays as it is.
func (s *Service) ApproveManager(ctx context.Context, actor tenant.Actor, id string, pool *int64) (*Account, error) {
	return s.operate(ctx, actor, id, func(tx *store.Tx, a tenant.Account) (tenant.Change, error) {
		manager, err := tx.Manager(id)
		if err != nil {
			return tenant.Change{}, err
		}
		return tenant.ApproveManager(actor, a, manager, pool, tx.Now())
	})
}

// RevokeManager takes that right away.
func (s *Service) RevokeManager(ctx context.Context, actor tenant.Actor, id string) (*Account, error) {
	return s.operate(ctx, actor, id, func(tx *store.Tx, a tenant.Account) (tenant.Change, error) {
		manager, err := tx.Manager(id)
		if err != nil {
			return tenant.Change{}, err
		}
		return tenant.RevokeManager(actor, manager)
	})
}

// BlockAccount stops an account, and all it manages, for the operator.
func (s *Service) BlockAccount(ctx context.Context, actor tenant.Actor, id string) (*Account, error) {
	return s.operate(ctx, actor, id, func(tx *store.Tx, a tenant.Account) (tenant.Change, error) {
		return tenant.Block(actor, a, tx.Now())
	})
}

// UnblockAccount lifts what BlockAccount did and nothing else.
func (s *Service) UnblockAccount(ctx context.Context, actor tenant.Actor, id string) (*Account, error) {
	return s.operate(ctx, actor, id, func(tx *store.Tx, a tenant.Account) (tenant.Change, error) {
		return tenant.Unblock(actor, a, tx.Now())
	})
}

// CancelAccount ends an account for good; its connections go.
func (s *Service) CancelAccount(ctx context.Context, actor tenant.Actor, id string) (*Account, error) {
	return s.operate(ctx, actor, id, func(tx *store.Tx, a tenant.Account) (tenant.Change, error) {
		connections, err := tx.ConnectionRows(a.ID)
		if err != nil {
			return tenant.Change{}, err
		}
		return tenant.Cancel(actor, a, connections, tx.Now())
	})
}

// SetCredit sets balance and credit limit in minor units; nil stays as it is.
func (s *Service) SetCredit(ctx context.Context, actor tenant.Actor, id string, balance, creditLimit *int64) (*Account, error) {
	return s.operate(ctx, actor, id, func(tx *store.Tx, a tenant.Account) (tenant.Change, error) {
		return tenant.SetCredit(actor, a, balance, creditLimit, tx.Now())
	})
}

// NewUser asks for a sub-user.
type NewUser struct {
	Email       string
	Password    *string
	BypassesSSO bool
	GroupIDs    []string

	// What follows is for seeds alone: "" means to be made.
	ID, Key string
	Status  tenant.UserStatus
}

// CreateUser adds a sub-user to an organization; key is the user's V2 key.
func (s *Service) CreateUser(ctx context.Context, actor tenant.Actor, accountID string, in NewUser, once Once, answer func(user *User, key string) ([]byte, error)) ([]byte, error) {
	if err := tenant.CheckEmail("email", in.Email); err != nil {
		return nil, err
	}
	lane, err := s.lane(ctx, accountID)
	if err != nil {
		return nil, err
	}
	leave, err := s.underway.enter(ctx, once)
	if err != nil {
		return nil, err
	}
	defer leave()
	hash := ""
	if in.Password != nil {
		if err := s.passwords.Check("password", *in.Password, in.Email); err != nil {
			return nil, err
		}
		if hash, err = s.passwords.Hash(ctx, actor.CredentialID, *in.Password); err != nil {
			return nil, err
		}
	}
	if in.ID == "" {
		in.ID = s.db.Source().NewID()
	}
	if in.Key == "" {
		in.Key = s.sealer.MintKey()
	}
	if in.Status == "" {
		in.Status = tenant.UserEnabled
	}
	key := s.sealer.NewKey(tenant.KeyV2, in.Key, accountID, in.ID)
	return s.once(ctx, lane, once, func(tx *store.Tx) ([]byte, error) {
		account, err := s.anyAccount(tx, accountID)
		if err != nil {
			return nil, err
		}
		if account.Cancelled {
			return nil, tenant.Refuse(tenant.Conflict, "The account is cancelled.")
		}
		groups, err := groupsOf(tx, accountID, in.GroupIDs)
		if err != nil {
			return nil, err
		}
		user := tenant.User{
			ID: in.ID, AccountID: accountID, Email: in.Email, PasswordHash: hash, Status: in.Status,
			BypassesSSO: in.BypassesSSO, CreatedAt: tx.Now(),
		}
		change := tenant.NewUser(actor, user, key, groups)
		if err := tx.Apply(change); err != nil {
			return nil, err
		}
		return answer(&User{User: *change.Users[0].After, Groups: groups}, in.Key)
	})
}

// BlockUser keeps a sub-user out.
func (s *Service) BlockUser(ctx context.Context, actor tenant.Actor, accountID, id string) (*User, error) {
	return s.alterUser(ctx, actor, accountID, id, tenant.BlockUser)
}

// UnblockUser lifts what BlockUser did.
func (s *Service) UnblockUser(ctx context.Context, actor tenant.Actor, accountID, id string) (*User, error) {
	return s.alterUser(ctx, actor, accountID, id, tenant.UnblockUser)
}

func (s *Service) alterUser(ctx context.Context, actor tenant.Actor, accountID, id string, rule func(tenant.Actor, tenant.User) (tenant.Change, error)) (user *User, err error) {
	if err := mayOperate(actor); err != nil {
		return nil, err
	}
	lane, err := s.lane(ctx, accountID)
	if err != nil {
		return nil, err
	}
	err = s.db.Update(ctx, lane, func(tx *store.Tx) error {
		row, err := tx.User(accountID, id, "user_id")
		if err != nil {
			return err
		}
		change, err := rule(actor, *row)
		if err != nil {
			return err
		}
		if !change.Empty() {
			row = change.Users[0].After
		}
		user = &User{User: *row}
		return tx.Apply(change)
	})
	return user, err
}

// Groups are all groups of an organization, by name.
func (s *Service) Groups(ctx context.Context, accountID string) (groups []tenant.Group, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error {
		if _, err := s.anyAccount(tx, accountID); err != nil {
			return err
		}
		groups, err = tx.Groups(accountID)
		return err
	})
	return groups, err
}

// CreateGroup adds a group to an organization. id is for seeds, "" otherwise.
func (s *Service) CreateGroup(ctx context.Context, actor tenant.Actor, accountID, id, name string, permissions []string, once Once, answer func(*tenant.Group) ([]byte, error)) ([]byte, error) {
	lane, err := s.lane(ctx, accountID)
	if err != nil {
		return nil, err
	}
	return s.once(ctx, lane, once, func(tx *store.Tx) ([]byte, error) {
		if _, err := s.anyAccount(tx, accountID); err != nil {
			return nil, err
		}
		group, err := s.addGroup(tx, actor, tenant.Group{ID: id, AccountID: accountID, Name: name, Permissions: permissions})
		if err != nil {
			return nil, err
		}
		return answer(group)
	})
}

// addGroup makes a group, and its id where it has none.
func (s *Service) addGroup(tx *store.Tx, actor tenant.Actor, group tenant.Group) (*tenant.Group, error) {
	groups, err := tx.Groups(group.AccountID)
	if err != nil {
		return nil, err
	}
	if len(groups) >= tenant.MaxGroups {
		return nil, tenant.Refuse(tenant.Conflict, fmt.Sprintf("An organization may have at most %d groups.", tenant.MaxGroups))
	}
	if group.ID == "" {
		group.ID = s.db.Source().NewID()
	}
	group.CreatedAt = tx.Now()
	change, err := tenant.NewGroup(actor, group)
	if err != nil {
		return nil, err
	}
	return &group, tx.Apply(change)
}

// SetMember puts a user into a group, or takes the user out of it.
func (s *Service) SetMember(ctx context.Context, actor tenant.Actor, accountID, groupID, userID string, member bool) (user *User, err error) {
	lane, err := s.lane(ctx, accountID)
	if err != nil {
		return nil, err
	}
	err = s.db.Update(ctx, lane, func(tx *store.Tx) error {
		row, err := setMember(tx, actor, accountID, groupID, userID, member)
		if err != nil {
			return err
		}
		user = &User{User: *row}
		user.Groups, err = tx.GroupsOf(row)
		return err
	})
	return user, err
}

func setMember(tx *store.Tx, actor tenant.Actor, accountID, groupID, userID string, member bool) (*tenant.User, error) {
	group, err := tx.Group(accountID, groupID, "group_id")
	if err != nil {
		return nil, err
	}
	user, err := tx.User(accountID, userID, "user_id")
	if err != nil {
		return nil, err
	}
	groups, err := tx.GroupsOf(user)
	if err != nil {
		return nil, err
	}
	if !member {
		return user, tx.Apply(tenant.Leave(actor, *user, *group, groups))
	}
	change, err := tenant.Join(actor, *user, *group, groups)
	if err != nil {
		return nil, err
	}
	return user, tx.Apply(change)
}

// AuditFilter bounds a list of the audit log by time; a zero time bounds
// nothing.
type AuditFilter struct {
	After, Before time.Time
	Ascending     bool
}

// AuditLog is a page of the log of the actor's account.
func (s *Service) AuditLog(ctx context.Context, actor tenant.Actor, f AuditFilter, page Page) ([]store.AuditEntry, Place, error) {
	if err := may(actor, "account"); err != nil {
		return nil, Place{}, err
	}
	return s.AuditLogOf(ctx, actor.AccountID, f, page)
}

// AuditLogOf is the same for any account. The operator only.
func (s *Service) AuditLogOf(ctx context.Context, accountID string, f AuditFilter, page Page) (entries []store.AuditEntry, place Place, err error) {
	err = s.db.View(ctx, func(tx *store.Tx) error {
		first, last, err := tx.AuditRange(accountID, f.After, f.Before)
		if err != nil || first > last {
			return err
		}
		place.Total = last - first + 1
		if page.Number > 1<<40 || (page.Number-1)*page.Size >= place.Total {
			return nil
		}
		skip := (page.Number - 1) * page.Size
		if f.Ascending {
			entries, err = tx.AuditEntries(accountID, first+skip, min(last, first+skip+page.Size-1))
			return err
		}
		entries, err = tx.AuditEntries(accountID, max(first, last-skip-page.Size+1), last-skip)
		slices.Reverse(entries)
		return err
	})
	return entries, place, err
}
