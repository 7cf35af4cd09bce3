package service

import (
	"context"

	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

const (
	// MostAttention is how many rows each part of Attention has at most.
	MostAttention = 50
	// MostCounted is how far Attention counts.
	MostCounted = 1000
	// newestRoots is how many of the newest root accounts are looked at for those that
	// wait to be managers.
	newestRoots = 1000
	// mostPools is how many scarce pools are looked at, for some are of accounts that
	// were cancelled.
	mostPools = 10 * MostAttention
)

// Some are the first rows of a list, and whether there are more.
type Some[T any] struct {
	Rows []T
	More bool
}

// Count is how many there are: at least N when there are More.
type Count struct {
	N    int64
	More bool
}

// Attention is what the operator should look at. Each part has at most MostAttention
// rows, or counts to MostCounted; Key and Token of accounts are "".
type Attention struct {
	// Pools are approved managers who have handed out more than nine tenths of their
	// channels, or all, those with the fewest left first.
	Pools Some[Account]
	// Overdrawn are accounts whose balance and credit limit together are below 0, the
	// worst first: neither cancelled ones nor those whose billing is rolled up.
	Overdrawn Some[tenant.Account]
	// Blocked are accounts that the operator blocked and did not cancel, those that
	// changed last first.
	Blocked Some[tenant.Account]
	// Unapproved are root accounts that never were managers, the newest first, among
	// the newest thousand root accounts. They may wait for approval.
	Unapproved Some[tenant.Account]
	// Failed are deliveries to the webhook that were given up, the newest first.
	Failed Some[store.Delivery]
	// LockedOut are addresses, of mail or of the net, that may not try to sign in now.
	LockedOut Count
	// Unsent are mails that were tried and wait for the next try, or are just being sent.
	Unsent Count
}

// Attention looks for all that. The operator only.
func (s *Service) Attention(ctx context.Context) (*Attention, error) {
	var a *Attention
	err := s.db.View(ctx, func(tx *store.Tx) (err error) {
		a = &Attention{}
		if a.Pools, err = scarcePools(tx); err != nil {
			return err
		}
		if a.Overdrawn, err = some(tx.Overdrawn(MostAttention + 1)); err != nil {
			return err
		}
		if a.Blocked, err = some(tx.BlockedAccounts(MostAttention + 1)); err != nil {
			return err
		}
		if a.Unapproved, err = some(tx.NeverManagers(newestRoots, MostAttention+1)); err != nil {
			return err
		}
		if a.Failed, err = some(tx.Deliveries(store.DeliveryFailed, "", MostAttention+1)); err != nil {
			return err
		}
		if a.LockedOut, err = counted(tx.LockedOut(MostCounted + 1)); err != nil {
			return err
		}
		a.Unsent, err = counted(tx.MailTried(MostCounted + 1))
		return err
	})
	return a, err
}

func scarcePools(tx *store.Tx) (Some[Account], error) {
	managers, err := tx.ScarcePools(mostPools)
	if err != nil {
		return Some[Account]{}, err
	}
	pools := []Account{}
	for _, manager := range managers {
		account, err := tx.Account(manager.AccountID)
		if err != nil {
			return Some[Account]{}, err
		}
		if account != nil && !account.Cancelled {
			pools = append(pools, Account{Account: *account, Manager: &manager})
		}
		if len(pools) > MostAttention {
			break
		}
	}
	found, err := some(pools, nil)
	found.More = found.More || len(managers) == mostPools
	return found, err
}

func some[T any](rows []T, err error) (Some[T], error) {
	return Some[T]{rows[:min(MostAttention, len(rows))], len(rows) > MostAttention}, err
}

func counted(n int64, err error) (Count, error) {
	return Count{min(n, MostCounted), n > MostCounted}, err
}
