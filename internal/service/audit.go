package service

import (
	"context"
	"time"

	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// AuditSearch says which entries of an audit log are looked for; what is zero asks for
// nothing.
type AuditSearch struct {
	store.AuditFilter
	After, Before time.Time
	// From is the number to begin at and go down from, 0 for the newest.
	From int64
}

// SearchAudit is a page of the log of the actor's account, of at most size entries,
// the newest first, and the number that the next page is From, 0 when there is none.
func (s *Service) SearchAudit(ctx context.Context, actor tenant.Actor, search AuditSearch, size int) ([]store.AuditEntry, int64, error) {
	if err := actor.Allow(tenant.ViewAudit); err != nil {
		return nil, 0, err
	}
	return s.SearchAuditOf(ctx, actor.AccountID, search, size)
}

// SearchAuditOf is the same for any account. The operator only.
func (s *Service) SearchAuditOf(ctx context.Context, accountID string, search AuditSearch, size int) (entries []store.AuditEntry, next int64, err error) {
	if size < 1 {
		return nil, 0, tenant.RefuseParameter(tenant.OutOfRange, "page[size]", "Must be at least 1.")
	}
	err = s.db.View(ctx, func(tx *store.Tx) error {
		first, last, err := tx.AuditRange(accountID, search.After, search.Before)
		if err != nil {
			return err
		}
		if search.From > 0 {
			last = min(last, search.From)
		}
		if first > last {
			return nil
		}
		numbers, err := tx.AuditNumbers(accountID, search.AuditFilter, first, last, size+1)
		if err != nil {
			return err
		}
		if len(numbers) > size {
			next, numbers = numbers[size], numbers[:size]
		}
		entries, err = tx.AuditEntriesByNumber(accountID, numbers)
		return err
	})
	return entries, next, err
}

// ManagedAudit is the same for one of the actor's accounts: a manager, who can sign in
// there, sees what became of it.
func (s *Service) ManagedAudit(ctx context.Context, actor tenant.Actor, id string, search AuditSearch, size int) ([]store.AuditEntry, int64, error) {
	if err := MayManage(actor); err != nil {
		return nil, 0, err
	}
	if err := s.db.View(ctx, func(tx *store.Tx) error {
		_, err := tx.ManagedAccount(actor.AccountID, id)
		return err
	}); err != nil {
		return nil, 0, err
	}
	return s.SearchAuditOf(ctx, id, search, size)
}

// EmailsOf are the addresses of users of the actor's organization, by id, for who may
// see the audit log; ids of others, and of those who were removed, are not in it.
func (s *Service) EmailsOf(ctx context.Context, actor tenant.Actor, ids []string) (emails map[string]string, err error) {
	if err := actor.Allow(tenant.ViewAudit); err != nil {
		return nil, err
	}
	emails = map[string]string{}
	err = s.db.View(ctx, func(tx *store.Tx) error {
		for _, id := range ids {
			if _, known := emails[id]; known || id == "" {
				continue
			}
			user, err := tx.UserByID(id)
			if err != nil {
				return err
			}
			emails[id] = ""
			if user != nil && user.AccountID == actor.AccountID {
				emails[id] = user.Email
			}
		}
		return nil
	})
	return emails, err
}
