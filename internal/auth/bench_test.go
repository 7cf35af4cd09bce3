package auth

import (
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// BenchmarkActor is what each request pays to be known, by the account's own key, by one
// with a name and an expiry, and by those of users in one group and in two.
func BenchmarkActor(b *testing.B) {
	db := dbtest.Open(b, dbtest.SQLite(b))
	sealer := newSealer(b, 1)
	a := NewAuthenticator(db, sealer, "")
	own, made, member, both := sealer.MintKey(), sealer.MintKey(), sealer.MintKey(), sealer.MintKey()
	if err := db.Update(b.Context(), "", func(tx *store.Tx) error {
		account := tenant.Account{ID: "a", Email: "a@example.com", OrganizationName: "A", CreatedAt: tx.Now(), UpdatedAt: tx.Now()}
		owner := tenant.User{ID: "a", AccountID: "a", Email: "a@example.com", Status: tenant.UserEnabled, CreatedAt: tx.Now()}
		named := sealer.NewUserKey(made, "ci", "a", "a")
		named.ExpiresAt = tx.Now().Add(24 * time.Hour)
		change, err := tenant.NewAccount(tenant.Actor{Operator: true}, account, owner, []tenant.Key{
			sealer.NewKey(tenant.KeyV2, own, "a", "a"), sealer.NewKey(tenant.KeyV1, "token", "a", "a"), named,
		})
		if err != nil {
			return err
		}
		if err := tx.Apply(change); err != nil {
			return err
		}
		var groups []tenant.Group
		for _, id := range []string{"g", "h"} {
			group := tenant.Group{ID: id, AccountID: "a", Name: id, Permissions: []string{"organization", "account"}}
			if change, err = tenant.NewGroup(tenant.Actor{Operator: true}, group); err != nil {
				return err
			}
			if err := tx.Apply(change); err != nil {
				return err
			}
			groups = append(groups, group)
			user := tenant.User{ID: "in " + id, AccountID: "a", Email: id + "@example.com", Status: tenant.UserEnabled, CreatedAt: tx.Now()}
			secret := map[string]string{"g": member, "h": both}[id]
			if err := tx.Apply(tenant.NewUser(tenant.Actor{Operator: true}, user, sealer.NewKey(tenant.KeyV2, secret, "a", user.ID), groups)); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	for name, key := range map[string]string{"own": own, "named": made, "member": member, "member of two": both} {
		b.Run(name, func(b *testing.B) {
			c := Credentials{Authorization: "Bearer " + key}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := a.Actor(b.Context(), c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
