package service

import (
	"context"
	"time"

	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// Keys are the V2 keys of a user of the actor's organization, in the order of their
// making, also those that have expired; without what would show or find them. Of
// others than the actor they are for who may ManageUserKeys.
func (s *Service) Keys(ctx context.Context, actor tenant.Actor, userID string) (keys []tenant.Key, err error) {
	if err := mayKeys(actor, userID); err != nil {
		return nil, err
	}
	err = s.db.View(ctx, func(tx *store.Tx) error {
		user, err := tx.User(actor.AccountID, userID, "user_id")
		if err != nil {
			return err
		}
		all, err := tx.KeysOf(user.ID)
		for _, key := range all {
			if key.Kind == tenant.KeyV2 {
				key.Digest, key.Sealed = "", ""
				keys = append(keys, key)
			}
		}
		return err
	})
	return keys, err
}

// CreateKey gives the actor one more key, with the actor's own permissions, and
// returns its secret, which nobody can read again. A zero expiry is never.
func (s *Service) CreateKey(ctx context.Context, actor tenant.Actor, name string, expires time.Time) (*tenant.Key, string, error) {
	return s.newKey(ctx, actor, func(tx *store.Tx, key tenant.Key, keys []tenant.Key) (tenant.Change, error) {
		key.Name, key.ExpiresAt = name, expires.UTC().Truncate(time.Microsecond)
		return tenant.NewKey(actor, key, keys, tx.Now())
	})
}

// RotateKey replaces one of the actor's keys by another of the same name and returns
// its secret. The old one goes on for overlap, 0 for not at all.
func (s *Service) RotateKey(ctx context.Context, actor tenant.Actor, id string, overlap time.Duration) (*tenant.Key, string, error) {
	return s.newKey(ctx, actor, func(tx *store.Tx, key tenant.Key, keys []tenant.Key) (tenant.Change, error) {
		for _, old := range keys {
			if old.ID == id && old.Kind == tenant.KeyV2 {
				return tenant.RotateKey(actor, old, key, keys, overlap, tx.Now())
			}
		}
		return tenant.Change{}, tenant.Missed("key_id")
	})
}

func (s *Service) newKey(ctx context.Context, actor tenant.Actor, rule func(*store.Tx, tenant.Key, []tenant.Key) (tenant.Change, error)) (*tenant.Key, string, error) {
	if err := mayKeys(actor, actor.UserID); err != nil {
		return nil, "", err
	}
	secret := s.sealer.MintKey()
	row := s.sealer.NewUserKey(secret, "", actor.AccountID, actor.UserID)
	var made *tenant.Key
	err := s.db.Update(ctx, laneOf(actor), func(tx *store.Tx) error {
		user, err := tx.User(actor.AccountID, actor.UserID, "user_id")
		if err != nil {
			return err
		}
		// Both may have been stopped since the actor was let in.
		if _, err := s.admit(tx, user); err != nil {
			return err
		}
		keys, err := tx.KeysOf(user.ID)
		if err != nil {
			return err
		}
		row.CreatedAt = tx.Now()
		change, err := rule(tx, row, keys)
		if err != nil {
			return err
		}
		made = change.Keys[len(change.Keys)-1].After
		return tx.Apply(change)
	})
	if err != nil {
		return nil, "", err
	}
	shown := *made
	shown.Digest = ""
	return &shown, secret, nil
}

// RevokeKey ends a key of a user of the actor's organization at once, on all nodes.
// Of others than the actor that is for who may ManageUserKeys, and of the owner for
// nobody else.
func (s *Service) RevokeKey(ctx context.Context, actor tenant.Actor, userID, id string) error {
	if err := mayKeys(actor, userID); err != nil {
		return err
	}
	return s.db.Update(ctx, laneOf(actor), func(tx *store.Tx) error {
		user, err := tx.User(actor.AccountID, userID, "user_id")
		if err != nil {
			return err
		}
		keys, err := tx.KeysOf(user.ID)
		if err != nil {
			return err
		}
		for _, key := range keys {
			if key.ID != id || key.Kind != tenant.KeyV2 {
				continue
			}
			change, err := tenant.RevokeKey(actor, key)
			if err != nil {
				return err
			}
			return tx.Apply(change)
		}
		return tenant.Missed("key_id")
	})
}

// mayKeys refuses whom the user's keys are nothing to.
func mayKeys(actor tenant.Actor, userID string) error {
	switch {
	case actor.AccountID == "" || actor.UserID == "":
	case userID == actor.UserID:
		return nil
	case userID != actor.AccountID:
		return actor.Allow(tenant.ManageUserKeys)
	}
	return tenant.RefuseParameter(tenant.Forbidden, "Authorization", "")
}
