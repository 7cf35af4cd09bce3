package service_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

var office = service.Where{Address: "192.0.2.7", UserAgent: "browser"}

// TestOperatorSession: the operator token opens a session, which ends like any other
// and with the token that it was begun with.
func TestOperatorSession(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		enter := func() *service.Session {
			t.Helper()
			s, err := w.OperatorSignIn(w.ctx, "token", office, "request")
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		refused := func(what, token, detail string) {
			t.Helper()
			_, err := w.auth.OperatorSignedIn(w.ctx, token)
			if !is(err, tenant.Unauthenticated) || !strings.Contains(err.Error(), detail) {
				t.Errorf("%s: %v", what, err)
			}
		}
		s := enter()
		got, err := w.auth.OperatorSignedIn(w.ctx, s.Token)
		if err != nil || got.ID != s.ID || got.AccountID != store.OperatorAccount || got.Kind != store.PortalSession || got.Address != office.Address || got.UserAgent != "browser" {
			t.Fatalf("signed in: %+v, %v", got, err)
		}
		if _, err := auth.NewAuthenticator(w.db, w.sealer, "token").OperatorSignedIn(w.ctx, s.Token); err != nil {
			t.Errorf("on another node: %v", err)
		}
		for _, token := range []string{"other", ""} {
			if _, err := auth.NewAuthenticator(w.db, w.sealer, token).OperatorSignedIn(w.ctx, s.Token); !is(err, tenant.Unauthenticated) {
				t.Errorf("with the operator token %q: %v", token, err)
			}
		}
		if err := w.SignOut(w.ctx, *got); err != nil {
			t.Fatal(err)
		}
		refused("signed out", s.Token, "was ended")

		s = enter()
		w.clock.Move(auth.SessionIdle)
		if _, err := w.auth.OperatorSignedIn(w.ctx, s.Token); err != nil {
			t.Errorf("used in time: %v", err)
		}
		w.clock.Move(auth.SessionIdle + time.Minute)
		refused("idle", s.Token, "for a while")
		s = enter()
		w.clock.Move(12 * time.Hour)
		refused("old", s.Token, "has expired")

		p := w.people(t)
		user := w.portal(t, p.owner)
		one, two := enter(), enter()
		if err := w.EndOperatorSessions(w.ctx); err != nil {
			t.Fatal(err)
		}
		refused("one of all", one.Token, "was ended")
		refused("another of all", two.Token, "was ended")
		w.in(t, user.Token)
	})
}

// TestOperatorDoor: no session of the operator is a user's, nor the reverse, and none is
// a key.
func TestOperatorDoor(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		s, err := w.OperatorSignIn(w.ctx, "token", office, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.auth.SignedIn(w.ctx, s.Token); !is(err, tenant.Unauthenticated) {
			t.Errorf("the operator's session as a user's: %v", err)
		}
		if _, err := w.Session(w.ctx, s.Token); !is(err, tenant.Unauthenticated) {
			t.Errorf("the operator's session at the API: %v", err)
		}
		if _, err := w.auth.Actor(w.ctx, auth.Credentials{Authorization: "Bearer " + s.Token}); !is(err, tenant.Unauthenticated) {
			t.Errorf("the operator's session as a key: %v", err)
		}
		if _, err := w.auth.Operator("Bearer " + s.Token); !is(err, tenant.Unauthenticated) {
			t.Errorf("the operator's session as the operator token: %v", err)
		}
		api, err := w.signIn(p.owner, password, "")
		if err != nil {
			t.Fatal(err)
		}
		for what, token := range map[string]string{
			"a user's session": w.portal(t, p.owner).Token, "another user's session": w.portal(t, p.member).Token, "an API's session": api.Token,
			"a key": p.root.Key, "the operator token": "token", "nothing": "", "its digest": s.Digest,
		} {
			if _, err := w.auth.OperatorSignedIn(w.ctx, token); !is(err, tenant.Unauthenticated) {
				t.Errorf("%s at the operator's door: %v", what, err)
			}
		}
		if _, err := w.auth.OperatorSignedIn(w.ctx, s.Token); err != nil {
			t.Errorf("its own door: %v", err)
		}
	})
}

// TestOperatorSignIn: wrong tokens are refused and counted with all that fails from
// there; right ones are not.
func TestOperatorSignIn(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		try := func(token string, where service.Where) error {
			_, err := w.OperatorSignIn(w.ctx, token, where, "")
			return err
		}
		for _, token := range []string{"", "x", "tokentoken", w.sealer.OperatorID("token"), w.sealer.Digest("token")} {
			var refused *tenant.Error
			if err := try(token, service.Where{Address: "192.0.2.9"}); !errors.As(err, &refused) || refused.Kind != tenant.Unauthenticated || refused.Pointer != "/token" {
				t.Errorf("%q: %v", token, err)
			}
		}
		for range tenant.MaxTriesFrom + 5 {
			if err := try("token", office); err != nil {
				t.Fatalf("the right one, often: %v", err)
			}
		}
		for i := range tenant.MaxTriesFrom {
			if err := try("wrong", office); !is(err, tenant.Unauthenticated) {
				t.Fatalf("try %d: %v", i, err)
			}
		}
		var refused *tenant.Error
		if err := try("token", office); !errors.As(err, &refused) || refused.Kind != tenant.TooMany || refused.Pointer != "/token" {
			t.Errorf("locked: %v", err)
		}
		if _, err := w.SignIn(w.ctx, service.SignIn{Email: p.owner, Password: password, Where: office}); !is(err, tenant.TooMany) {
			t.Errorf("a user from there: %v", err)
		}
		if err := try("token", service.Where{Address: "192.0.2.8"}); err != nil {
			t.Errorf("from elsewhere: %v", err)
		}
		w.clock.Move(6 * time.Minute)
		if err := try("token", office); err != nil {
			t.Errorf("later: %v", err)
		}
	})
}

// TestNoOperator: where there is no operator token, none is right.
func TestNoOperator(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		none := service.New(w.db, w.sealer, auth.NewPasswords(0), service.Options{})
		for _, token := range []string{"", "token"} {
			if _, err := none.OperatorSignIn(w.ctx, token, office, ""); !is(err, tenant.Unauthenticated) {
				t.Errorf("%q where there is no operator: %v", token, err)
			}
		}
	})
}

// TestAttention: what the operator should look at is there, in its order, and nothing
// that looks like it.
func TestAttention(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		look := func() *service.Attention {
			t.Helper()
			a, err := w.Attention(w.ctx)
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		if a := look(); len(a.Pools.Rows)+len(a.Overdrawn.Rows)+len(a.Blocked.Rows)+len(a.Unapproved.Rows)+len(a.Failed.Rows) != 0 || a.LockedOut.N+a.Unsent.N != 0 ||
			a.Pools.More || a.Overdrawn.More || a.Blocked.More || a.Unapproved.More || a.Failed.More || a.LockedOut.More || a.Unsent.More {
			t.Errorf("of nothing: %+v", a)
		}
		manager := func(name string, pool, used int64) service.Account {
			t.Helper()
			root := w.root(t, name+"@example.com", pool)
			w.child(t, w.actor(t, root.Key), func(in *service.NewAccount) { in.ChannelLimit = &used })
			return root
		}
		roomy, nearly := manager("roomy", 100, 90), manager("nearly", 100, 91)
		full, cancelled := manager("full", 10, 10), manager("cancelled", 10, 10)
		revoked, _ := manager("revoked", 10, 10), manager("none", 0, 0)
		must := func(_ *service.Account, err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(w.CancelAccount(w.ctx, operator, cancelled.ID))
		must(w.RevokeManager(w.ctx, operator, revoked.ID))

		actor := w.actor(t, roomy.Key)
		credit := func(id string, balance, limit int64) {
			t.Helper()
			must(w.SetCredit(w.ctx, operator, id, &balance, &limit))
		}
		zero := ptr(int64(0))
		account := func(balance, limit int64) service.Account {
			t.Helper()
			a := w.child(t, actor, func(in *service.NewAccount) { in.ChannelLimit = zero })
			credit(a.ID, balance, limit)
			return a
		}
		account(-5, 5)
		bad, worse, over := account(-6, 5), account(-7, 1), account(-100, 0)
		must(w.CancelAccount(w.ctx, operator, over.ID))
		w.child(t, actor, func(in *service.NewAccount) {
			in.ChannelLimit, in.RollupBilling, in.Balance.Amount = zero, true, -5
		})

		first := account(0, 0)
		must(w.BlockAccount(w.ctx, operator, first.ID))
		w.clock.Move(time.Minute)
		must(w.BlockAccount(w.ctx, operator, revoked.ID))
		w.clock.Move(time.Minute)
		lifted, ended := account(0, 0), account(0, 0)
		for _, a := range []service.Account{lifted, ended} {
			must(w.BlockAccount(w.ctx, operator, a.ID))
		}
		must(w.UnblockAccount(w.ctx, operator, lifted.ID))
		must(w.CancelAccount(w.ctx, operator, ended.ID))

		wait := func(name string) (id string) {
			t.Helper()
			if _, err := w.CreateRootAccount(w.ctx, operator, service.NewAccount{BusinessName: name, Email: ptr(name + "@example.com")}, once(),
				func(a *service.Account) ([]byte, error) { id = a.ID; return nil, nil }); err != nil {
				t.Fatal(err)
			}
			return id
		}
		early, late, gone := wait("early"), wait("late"), wait("gone")
		must(w.CancelAccount(w.ctx, operator, gone))

		for range tenant.MaxTries {
			if _, err := w.signIn("nobody@example.com", "wrong", ""); !is(err, tenant.Unauthenticated) {
				t.Fatal(err)
			}
		}
		if _, err := w.Invite(w.ctx, actor, "new@example.com", nil); err != nil {
			t.Fatal(err)
		}

		var failed string
		if err := w.db.Update(w.ctx, store.WebhookLane, func(tx *store.Tx) error {
			if _, err := tx.TakeEvents("", nil, 1000); err != nil {
				return err
			}
			due, err := tx.ClaimEvents("", 1, tx.Now())
			if err != nil || len(due) != 1 {
				return errors.Join(errors.New("not one is due"), err)
			}
			failed = due[0].ID
			return tx.NoteDelivery(&due[0], []store.Attempt{{Status: 500}}, store.DeliveryFailed)
		}); err != nil {
			t.Fatal(err)
		}

		names := func(accounts []tenant.Account) (list []string) {
			for _, a := range accounts {
				list = append(list, a.ID)
			}
			return list
		}
		a := look()
		if got, want := ids(a.Pools.Rows), []string{full.ID, nearly.ID}; !slices.Equal(got, want) || a.Pools.More {
			t.Errorf("pools: %q, want %q", got, want)
		} else if m := a.Pools.Rows[1].Manager; m.ChannelPool != 100 || m.ChannelsAllocated != 91 {
			t.Errorf("the pool: %+v", m)
		}
		if got, want := names(a.Overdrawn.Rows), []string{worse.ID, bad.ID}; !slices.Equal(got, want) || a.Overdrawn.More {
			t.Errorf("overdrawn: %q, want %q", got, want)
		}
		if got, want := names(a.Blocked.Rows), []string{revoked.ID, first.ID}; !slices.Equal(got, want) || a.Blocked.More {
			t.Errorf("blocked: %q, want %q", got, want)
		}
		if got, want := names(a.Unapproved.Rows), []string{late, early}; !slices.Equal(got, want) || a.Unapproved.More {
			t.Errorf("unapproved: %q, want %q", got, want)
		}
		if len(a.Failed.Rows) != 1 || a.Failed.Rows[0].ID != failed || a.Failed.More {
			t.Errorf("failed: %+v, want %s", a.Failed, failed)
		}
		if a.LockedOut.N != 1 || a.Unsent.N != 0 {
			t.Errorf("locked out %+v, unsent %+v", a.LockedOut, a.Unsent)
		}
		w.clock.Move(6 * time.Minute)
		if a := look(); a.LockedOut.N != 0 {
			t.Errorf("the lock is over: %+v", a.LockedOut)
		}
	})
}

// TestAttentionIsBounded: of many it shows some, and says that there are more.
func TestAttentionIsBounded(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		root := w.root(t, "root@example.com", 10)
		actor := w.actor(t, root.Key)
		for i := range service.MostAttention + 1 {
			a := w.child(t, actor, func(in *service.NewAccount) { in.ChannelLimit = ptr(int64(0)) })
			if _, err := w.SetCredit(w.ctx, operator, a.ID, ptr(int64(-1-i)), nil); err != nil {
				t.Fatal(err)
			}
			if _, err := w.BlockAccount(w.ctx, operator, a.ID); err != nil {
				t.Fatal(err)
			}
			if _, err := w.CreateRootAccount(w.ctx, operator, service.NewAccount{BusinessName: "Root", Email: ptr(fmt.Sprintf("root%d@example.com", i))}, once(),
				func(*service.Account) ([]byte, error) { return nil, nil }); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.db.Update(w.ctx, store.MailLane, func(tx *store.Tx) error {
			for i := range service.MostCounted + 1 {
				if err := tx.QueueMail(store.Mail{ID: fmt.Sprint("m", i), DueAt: tx.Now(), ExpiresAt: tx.Now().Add(time.Hour)}); err != nil {
					return err
				}
			}
			_, err := tx.ClaimMail(2*service.MostCounted, tx.Now().Add(time.Minute))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		a, err := w.Attention(w.ctx)
		if err != nil {
			t.Fatal(err)
		}
		for what, part := range map[string]service.Some[tenant.Account]{"overdrawn": a.Overdrawn, "blocked": a.Blocked, "unapproved": a.Unapproved} {
			if len(part.Rows) != service.MostAttention || !part.More {
				t.Errorf("%s: %d, more %t", what, len(part.Rows), part.More)
			}
		}
		if first := a.Overdrawn.Rows[0].Balance.Amount; first != -1-service.MostAttention {
			t.Errorf("the worst has %d", first)
		}
		if a.Unsent != (service.Count{N: service.MostCounted, More: true}) {
			t.Errorf("mails: %+v", a.Unsent)
		}
		w.clock.Move(time.Hour)
		if a, err = w.Attention(w.ctx); err != nil || a.Unsent.N != 0 {
			t.Errorf("mails whose time is over: %+v, %v", a, err)
		}
	})
}
