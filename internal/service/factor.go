package service

import (
	"cmp"
	"context"

	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// Factor says whether the actor has a second factor, and how many recovery codes are
// left.
func (s *Service) Factor(ctx context.Context, actor tenant.Actor) (on bool, recovery int64, err error) {
	if err := inPerson(actor); err != nil {
		return false, 0, err
	}
	err = s.db.View(ctx, func(tx *store.Tx) error {
		factor, err := tx.Factor(actor.UserID)
		if err != nil || factor == nil || !factor.Confirmed {
			return err
		}
		on = true
		recovery, err = tx.RecoveryCodes(actor.UserID)
		return err
	})
	return on, recovery, err
}

// EnrolFactor begins with a second factor of the actor's: the URL is for an
// authenticator, and is not shown again. It counts once ConfirmFactor was called.
func (s *Service) EnrolFactor(ctx context.Context, actor tenant.Actor) (url string, err error) {
	err = s.ownFactor(ctx, actor, nil, func(tx *store.Tx, user *tenant.User, before *tenant.Factor) (tenant.Change, error) {
		after := tenant.Factor{UserID: user.ID, AccountID: user.AccountID, CreatedAt: tx.Now()}
		var err error
		if after.Sealed, url, err = s.sealer.MintFactor(user.ID, s.options.Product, user.Email); err != nil {
			return tenant.Change{}, err
		}
		return tenant.EnrolFactor(actor, *user, before, after)
	})
	return url, err
}

// ConfirmFactor switches the second factor on, for a code of it. The recovery codes
// are shown once. The session is to be renewed then.
func (s *Service) ConfirmFactor(ctx context.Context, actor tenant.Actor, code string) (recovery []string, err error) {
	err = s.ownFactor(ctx, actor, nil, func(tx *store.Tx, user *tenant.User, before *tenant.Factor) (tenant.Change, error) {
		if before == nil {
			return tenant.Change{}, tenant.Refuse(tenant.Conflict, "There is no second factor to confirm.")
		}
		step, ok, err := s.sealer.FactorStep(before, code, tx.Now())
		if err != nil {
			return tenant.Change{}, err
		}
		if !ok {
			return tenant.Change{}, tenant.RefuseField(tenant.Invalid, "code", "The code is wrong. Is the clock of your device right?")
		}
		codes, digests := s.sealer.MintRecovery(user.ID)
		recovery = codes
		return tenant.ConfirmFactor(actor, *user, *before, step, digests)
	})
	return recovery, err
}

// RemoveFactor switches the actor's second factor off, for a code of it or a recovery
// code. Wrong ones count like those at sign-in.
func (s *Service) RemoveFactor(ctx context.Context, actor tenant.Actor, code string) error {
	if err := inPerson(actor); err != nil {
		return err
	}
	if code == "" {
		return tenant.RefuseField(tenant.Missing, "code", "A code of the second factor is required.")
	}
	var found *tenant.User
	if err := s.db.View(ctx, func(tx *store.Tx) (err error) {
		found, err = tx.User(actor.AccountID, actor.UserID, "user_id")
		return err
	}); err != nil {
		return err
	}
	counted := s.triesOf(found.Email, Where{})
	if err := counted.begin(ctx); err != nil {
		return err
	}
	wrong := false
	err := s.ownFactor(ctx, actor, counted, func(tx *store.Tx, user *tenant.User, before *tenant.Factor) (tenant.Change, error) {
		if before == nil || !before.Confirmed {
			return tenant.Change{}, tenant.Refuse(tenant.Conflict, "There is no second factor to switch off.")
		}
		var err error
		if wrong, err = s.owesCode(tx, user, code); err != nil || wrong {
			return tenant.Change{}, err
		}
		if err := counted.forget(tx); err != nil {
			return tenant.Change{}, err
		}
		return tenant.RemoveFactor(actor, tenant.FactorOff, *user, *before), nil
	})
	if err == nil && wrong {
		return cmp.Or(counted.failed(ctx, found), error(tenant.RefuseField(tenant.Unauthenticated, "code", "The code is wrong, or was used before.")))
	}
	return err
}

func (s *Service) ownFactor(ctx context.Context, actor tenant.Actor, counted *tries, rule func(*store.Tx, *tenant.User, *tenant.Factor) (tenant.Change, error)) error {
	if err := inPerson(actor); err != nil {
		return err
	}
	lanes := []string{laneOf(actor)}
	if counted != nil {
		lanes = append(lanes, counted.lanes()...)
	}
	return s.db.UpdateAll(ctx, lanes, func(tx *store.Tx) error {
		user, err := tx.User(actor.AccountID, actor.UserID, "user_id")
		if err != nil {
			return err
		}
		before, err := tx.Factor(user.ID)
		if err != nil {
			return err
		}
		change, err := rule(tx, user, before)
		if err != nil {
			return err
		}
		return tx.Apply(change)
	})
}

// ResetFactor takes the second factor of another user of the actor's organization
// away, who has lost it. Only the owner in person may.
func (s *Service) ResetFactor(ctx context.Context, actor tenant.Actor, userID string) error {
	if err := inPerson(actor); err != nil {
		return err
	}
	if err := actor.Allow(tenant.ResetFactor); err != nil {
		return err
	}
	if userID == actor.UserID {
		return tenant.Refuse(tenant.Forbidden, "Your own second factor is switched off with a code.")
	}
	return s.resetFactor(ctx, actor, actor.AccountID, userID)
}

// ResetFactorOf is the same for any organization, the owner's too. The operator only.
func (s *Service) ResetFactorOf(ctx context.Context, actor tenant.Actor, accountID, userID string) error {
	if err := mayOperate(actor); err != nil {
		return err
	}
	return s.resetFactor(ctx, actor, accountID, userID)
}

func (s *Service) resetFactor(ctx context.Context, actor tenant.Actor, accountID, userID string) error {
	lane, err := s.lane(ctx, accountID)
	if err != nil {
		return err
	}
	return s.db.Update(ctx, lane, func(tx *store.Tx) error {
		user, err := tx.User(accountID, userID, "user_id")
		if err != nil {
			return err
		}
		before, err := tx.Factor(user.ID)
		if err != nil || before == nil {
			return err
		}
		return tx.Apply(tenant.RemoveFactor(actor, tenant.FactorReset, *user, *before))
	})
}
