package service

import (
	"context"

	"github.com/tenantry/tenantry/internal/tenant"
)

// exportPage is how many accounts an export reads at a time.
const exportPage = 250

// EachManagedAccount calls fn with every account of the actor's that the filter has,
// in its order. Memory does not grow with them. Of those that are made or change
// meanwhile each comes once at most.
func (s *Service) EachManagedAccount(ctx context.Context, actor tenant.Actor, f AccountFilter, fn func(*Account) error) error {
	if err := MayManage(actor); err != nil {
		return err
	}
	leave, err := s.reports.enter(actor.CredentialID)
	if err != nil {
		return err
	}
	defer leave()
	reader := "export " + s.db.Source().NewID() // a walk of its own, that no other reader moves
	for number := int64(1); ; number++ {
		accounts, _, err := s.listAccounts(ctx, actor.AccountID, f, Page{Number: number, Size: exportPage, Reader: reader})
		if err != nil {
			return err
		}
		for i := range accounts {
			if err := fn(&accounts[i]); err != nil {
				return err
			}
		}
		if len(accounts) < exportPage {
			return nil
		}
	}
}
