package service_test

import (
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// TestEndsOnAllNodes: what ends on one node ends on the others, whatever they keep in
// memory; locks hold there, too.
func TestEndsOnAllNodes(t *testing.T) {
	t.Parallel()
	address := dbtest.Postgres(t)
	one := openWorld(t, address)
	two, err := newWorld(t.Context(), dbtest.Open(t, address, store.Options{Source: tenant.NewSource(one.clock.Now, nil)}), one.clock)
	if err != nil {
		t.Fatal(err)
	}
	p := one.people(t)
	s, other := one.portal(t, p.member), one.portal(t, p.owner)
	member := one.in(t, s.Token).Actor
	key, secret, err := one.CreateKey(one.ctx, member, "ci", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	// A node hears of a change within store.Staleness.
	soon := func(what string, ended func() bool) {
		t.Helper()
		for until := time.Now().Add(10 * store.Staleness); !ended(); time.Sleep(time.Millisecond) {
			if time.Now().After(until) {
				t.Fatalf("%s goes on on the other node", what)
			}
		}
	}
	session := func(token string) func() bool {
		return func() bool { _, err := two.auth.SignedIn(two.ctx, token); return is(err, tenant.Unauthenticated) }
	}
	for _, known := range []bool{session(s.Token)(), session(other.Token)(), !two.works(secret)} {
		if known {
			t.Fatal("the other node does not know what was made here")
		}
	}
	if err := one.RevokeKey(one.ctx, member, p.user.ID, key.ID); err != nil {
		t.Fatal(err)
	}
	soon("a revoked key", func() bool {
		_, err := two.auth.Actor(two.ctx, auth.Credentials{Authorization: "Bearer " + secret})
		return is(err, tenant.Unauthenticated)
	})
	if err := one.EndSessions(one.ctx, member); err != nil {
		t.Fatal(err)
	}
	soon("a session", session(s.Token))
	if _, err := one.DisableAccount(one.ctx, p.manager, p.child.ID, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := one.EnableAccount(one.ctx, p.manager, p.child.ID, false, ""); err != nil {
		t.Fatal(err)
	}
	soon("a session from before the account was disabled", session(other.Token))
	for i := range tenant.MaxTries {
		w := []*world{one, two}[i%2]
		if _, err := w.signIn(p.member, "wrong", ""); !is(err, tenant.Unauthenticated) {
			t.Fatalf("try %d: %v", i, err)
		}
	}
	for _, w := range []*world{one, two} {
		if _, err := w.signIn(p.member, password, ""); !is(err, tenant.TooMany) {
			t.Errorf("locked: %v", err)
		}
	}
}
