package service_test

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

const password = "Correct!Horse7Battery"

func (w *world) signIn(email, password, organizationID string) (*service.Session, error) {
	return w.SignIn(w.ctx, service.SignIn{Email: email, Password: password, OrganizationID: organizationID})
}

func (w *world) prune(t fatal) (n int64) {
	t.Helper()
	if err := w.db.Update(w.ctx, "", func(tx *store.Tx) (err error) {
		n, err = tx.Prune(tx.Now().Add(-store.KeepEvents), 100)
		return err
	}); err != nil {
		t.Fatalf("prune: %v", err)
	}
	return n
}

// TestSessionsEnd: what stops an account or a person ends the sessions in the same
// commit, and nobody else's.
func TestSessionsEnd(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		root := w.root(t, "root@example.com", 10)
		manager := w.actor(t, root.Key)
		email := "child@example.com"
		child := w.child(t, manager, func(in *service.NewAccount) { in.Email, in.Password = &email, ptr(password) })
		owner := w.actor(t, child.Key)
		user, _ := w.user(t, child.ID, service.NewUser{Email: "user@example.com", Password: ptr(password)})
		gone, _ := w.user(t, child.ID, service.NewUser{Email: "gone@example.com", Password: ptr(password)})

		var tokens map[string]string
		begin := func() {
			t.Helper()
			tokens = map[string]string{}
			for _, email := range []string{"child@example.com", "user@example.com"} {
				s, err := w.signIn(email, password, "")
				if err != nil {
					t.Fatalf("%s: %v", email, err)
				}
				if s.User.LastSignInAt != w.clock.Now() {
					t.Errorf("%s signed in at %s", email, s.User.LastSignInAt)
				}
				tokens[email] = s.Token
			}
		}
		alive := func(email string, want bool) {
			t.Helper()
			_, err := w.Session(w.ctx, tokens[email])
			if (err == nil) != want || err != nil && !is(err, tenant.Unauthenticated) {
				t.Errorf("session of %s: %v, want it alive: %t", email, err, want)
			}
		}
		account := func(fn func() (*service.Account, error)) {
			t.Helper()
			if _, err := fn(); err != nil {
				t.Fatal(err)
			}
		}
		begin()
		alive("child@example.com", true)

		account(func() (*service.Account, error) { return w.DisableAccount(w.ctx, manager, child.ID, "") })
		account(func() (*service.Account, error) { return w.EnableAccount(w.ctx, manager, child.ID, false, "") })
		alive("child@example.com", false)
		alive("user@example.com", false)

		begin()
		account(func() (*service.Account, error) { return w.BlockAccount(w.ctx, operator, child.ID) })
		if _, err := w.signIn(email, password, ""); !is(err, tenant.Blocked) {
			t.Errorf("sign-in to a blocked account: %v", err)
		}
		account(func() (*service.Account, error) { return w.UnblockAccount(w.ctx, operator, child.ID) })
		alive("child@example.com", false)
		alive("user@example.com", false)

		begin()
		if _, err := w.BlockUser(w.ctx, operator, child.ID, user.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := w.signIn("user@example.com", password, ""); !is(err, tenant.Blocked) {
			t.Errorf("sign-in of a blocked user: %v", err)
		}
		if _, err := w.UnblockUser(w.ctx, operator, child.ID, user.ID); err != nil {
			t.Fatal(err)
		}
		alive("child@example.com", true)
		alive("user@example.com", false)

		// A manager that is blocked stops its accounts too, while it lasts.
		begin()
		account(func() (*service.Account, error) { return w.BlockAccount(w.ctx, operator, root.ID) })
		alive("child@example.com", false)
		account(func() (*service.Account, error) { return w.UnblockAccount(w.ctx, operator, root.ID) })

		begin()
		if _, err := w.RemoveUser(w.ctx, owner, user.ID, once(), func(*service.User) ([]byte, error) { return nil, nil }); err != nil {
			t.Fatal(err)
		}
		alive("child@example.com", true)
		alive("user@example.com", false)
		if _, err := w.signIn("user@example.com", password, ""); !is(err, tenant.Unauthenticated) {
			t.Errorf("sign-in of a removed user: %v", err)
		}

		s, err := w.Session(w.ctx, tokens[email])
		if err != nil || s.User.ID != child.ID {
			t.Fatalf("session: %v", err)
		}
		if err := w.SignOut(w.ctx, s.Session); err != nil {
			t.Errorf("sign-out: %v", err)
		}
		alive(email, false)

		one, err := w.signIn(email, password, child.ID)
		if err != nil {
			t.Fatal(err)
		}
		two, err := w.signIn("CHILD@example.com", password, "")
		if err != nil || one.Token == two.Token {
			t.Fatalf("second sign-in: %v", err)
		}
		tokens[email] = one.Token
		w.clock.Move(12*time.Hour - time.Second)
		alive(email, true)
		w.clock.Move(2 * time.Second)
		alive(email, false)
		if _, err := w.signIn(email, password, root.ID); !is(err, tenant.Unauthenticated) {
			t.Errorf("sign-in to another organization: %v", err)
		}

		tokens[gone.Email] = ""
		three, err := w.signIn(gone.Email, password, "")
		if err != nil {
			t.Fatal(err)
		}
		tokens[gone.Email] = three.Token
		account(func() (*service.Account, error) { return w.CancelAccount(w.ctx, operator, child.ID) })
		alive(gone.Email, false)
		if _, err := w.signIn(email, password, ""); !is(err, tenant.Unauthenticated) {
			t.Errorf("sign-in to a cancelled account: %v", err)
		}
	})
}

// TestSignInWork: a wrong address costs as much hashing as a wrong password. Each
// hash takes 19 MiB, which tells how many there were, if nothing else runs: the
// engines take turns.
func TestSignInWork(t *testing.T) {
	dbtest.InTurn(t, func(t *testing.T, address func(testing.TB) string) {
		w := openWorld(t, address(t))
		root := w.root(t, "root@example.com", 10)
		w.user(t, root.ID, service.NewUser{Email: "with@example.com", Password: ptr(password)})
		w.user(t, root.ID, service.NewUser{Email: "without@example.com"})
		for _, try := range []struct{ name, email, password string }{
			{"right", "with@example.com", password},
			{"wrong password", "with@example.com", "wrong"},
			{"no password set", "without@example.com", "wrong"},
			{"unknown address", "nobody@example.com", "wrong"},
			{"no address at all", "nobody", "wrong"},
			{"endless password", "with@example.com", strings.Repeat("x", 10_000)},
			{"unknown, endless password", "nobody@example.com", strings.Repeat("x", 10_000)},
		} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := w.signIn(try.email, try.password, "")
			runtime.ReadMemStats(&after)
			if try.name == "right" {
				if err != nil {
					t.Error(err)
				}
			} else if !is(err, tenant.Unauthenticated) || err.Error() != refusedSignIn {
				t.Errorf("%s: %v", try.name, err)
			}
			if hashes := float64(after.TotalAlloc-before.TotalAlloc) / (19 << 20); hashes < 1 || hashes > 1.3 {
				t.Errorf("%s: %.2f hashes, want 1", try.name, hashes)
			}
		}
	})
}

const refusedSignIn = "Could not understand the provided credentials."
