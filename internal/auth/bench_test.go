package auth

import (
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// BenchmarkActor is what each request pays to be known, by the account's own key and
// by one with a name and an expiry.
func BenchmarkActor(b *testing.B) {
	db := dbtest.Open(b, dbtest.SQLite(b))
	sealer := newSealer(b, 1)
	a := NewAuthenticator(db, sealer, "")
	own, made := sealer.MintKey(), sealer.MintKey()
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
		return tx.Apply(change)
	}); err != nil {
		b.Fatal(err)
	}
	for name, key := range map[string]string{"own": own, "named": made} {
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
