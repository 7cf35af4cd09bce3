package service_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/tenant"
)

// TestSignInAs: a manager's person acts as an account's owner, under the own name,
// for as long as the person may.
func TestSignInAs(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		group := w.group(t, p.root.ID, "Agents", "managed_accounts")
		agent, _ := w.user(t, p.root.ID, service.NewUser{Email: "agent@example.com", Password: ptr(password), GroupIDs: []string{group.ID}})
		as := func(life time.Duration) (string, string) {
			t.Helper()
			own := w.portal(t, agent.Email)
			s, err := w.SignInAs(w.ctx, w.in(t, own.Token), p.child.ID, "they called", life, service.Where{}, "request")
			if err != nil {
				t.Fatalf("sign in as: %v", err)
			}
			return own.Token, s.Token
		}
		own, token := as(time.Hour)
		in := w.in(t, token)
		if in.User.ID != p.child.ID || in.Person == nil || in.Person.ID != agent.ID || in.Reason != "they called" || !in.Actor.Owner() {
			t.Fatalf("signed in as: %+v", in)
		}
		w.in(t, own) // goes on beside it
		if _, _, err := w.CreateKey(w.ctx, in.Actor, "for them", time.Time{}); err != nil {
			t.Fatal(err)
		}
		entries, _, err := w.SearchAuditOf(w.ctx, p.child.ID, service.AuditSearch{}, 2)
		if err != nil {
			t.Fatal(err)
		}
		for i, event := range []string{"api_key.created", "managed_account.signed_in_as"} {
			e := entries[i]
			if e.Event != event || e.UserID != agent.ID || e.MadeBy != "account_manager" {
				t.Errorf("the account's log: %+v", e)
			}
		}
		if entries[1].Changes[0].To != "they called" || entries[1].RequestID != "request" {
			t.Errorf("the reason: %+v", entries[1])
		}
		if n := count(w.log(t, p.root.ID), "managed_account.signed_in_as"); n != 1 {
			t.Errorf("%d entries in the manager's log", n)
		}
		// What is a person's own stays so.
		for name, err := range map[string]error{
			"password":         func() error { _, err := w.ChangePassword(w.ctx, in, password, password+"!"); return err }(),
			"second factor":    func() error { _, err := w.EnrolFactor(w.ctx, in.Actor); return err }(),
			"another's factor": w.ResetFactor(w.ctx, in.Actor, p.user.ID),
			"sessions":         func() error { _, err := w.Sessions(w.ctx, in.Actor); return err }(),
			"another": func() error {
				_, err := w.SignInAs(w.ctx, in, p.child.ID, "on", time.Hour, service.Where{}, "")
				return err
			}(),
		} {
			if !is(err, tenant.Forbidden) {
				t.Errorf("%s: %v", name, err)
			}
		}
		// The owner sees who is there, and can end it.
		w.clock.Move(time.Second)
		owner := w.in(t, w.portal(t, p.owner).Token).Actor
		sessions, err := w.Sessions(w.ctx, owner)
		if err != nil || len(sessions) != 2 || sessions[0].PersonUserID != agent.ID {
			t.Fatalf("the owner's sessions: %+v, %v", sessions, err)
		}
		if err := w.EndSession(w.ctx, owner, sessions[0].ID); err != nil {
			t.Fatal(err)
		}
		gone := func(name, token string) {
			t.Helper()
			if _, err := w.auth.SignedIn(w.ctx, token); err == nil {
				t.Errorf("%s: it goes on", name)
			}
		}
		gone("ended by the owner", token)

		_, token = as(15 * time.Minute)
		w.in(t, token)
		w.clock.Move(15 * time.Minute)
		gone("the time is over", token)

		for _, stop := range []struct {
			name       string
			stop, lift func() error
			forGood    bool
		}{
			{"the person is blocked", func() error { _, err := w.BlockUser(w.ctx, operator, p.root.ID, agent.ID); return err },
				func() error { _, err := w.UnblockUser(w.ctx, operator, p.root.ID, agent.ID); return err }, true},
			{"the manager is blocked", func() error { _, err := w.BlockAccount(w.ctx, operator, p.root.ID); return err },
				func() error { _, err := w.UnblockAccount(w.ctx, operator, p.root.ID); return err }, true},
			{"the manager is none any more", func() error { _, err := w.RevokeManager(w.ctx, operator, p.root.ID); return err },
				func() error { _, err := w.ApproveManager(w.ctx, operator, p.root.ID, nil); return err }, true},
			{"the account is disabled", func() error { _, err := w.DisableAccount(w.ctx, p.manager, p.child.ID, ""); return err },
				func() error { _, err := w.EnableAccount(w.ctx, p.manager, p.child.ID, false, ""); return err }, true},
			{"the person leaves the group", func() error {
				_, err := w.SetMember(w.ctx, operator, p.root.ID, group.ID, agent.ID, false)
				return err
			}, func() error {
				_, err := w.SetMember(w.ctx, operator, p.root.ID, group.ID, agent.ID, true)
				return err
			}, false},
		} {
			_, token := as(time.Hour)
			w.in(t, token)
			if err := stop.stop(); err != nil {
				t.Fatal(err)
			}
			gone(stop.name, token)
			if err := stop.lift(); err != nil {
				t.Fatal(err)
			}
			if stop.forGood {
				gone(stop.name+", and is not", token)
			}
		}
	})
}

func TestSignInAsRefusals(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		rival := w.root(t, "rival@example.com", 1)
		theirs := w.child(t, w.actor(t, rival.Key), nil)
		w.user(t, p.root.ID, service.NewUser{Email: "clerk@example.com", Password: ptr(password)})
		group := w.group(t, p.root.ID, "Agents", "managed_accounts")
		w.user(t, p.root.ID, service.NewUser{Email: "agent@example.com", Password: ptr(password), GroupIDs: []string{group.ID}})
		try := func(email, id, reason string, life time.Duration) error {
			_, err := w.SignInAs(w.ctx, w.in(t, w.portal(t, email).Token), id, reason, life, service.Where{}, "")
			return err
		}
		for _, test := range []struct {
			name string
			got  error
			want tenant.Kind
		}{
			{"without the permission", try("clerk@example.com", p.child.ID, "r", time.Hour), tenant.Forbidden},
			{"no manager", try(p.owner, p.child.ID, "r", time.Hour), tenant.Forbidden},
			{"the manager's own account", try("agent@example.com", p.root.ID, "r", time.Hour), tenant.NotFound},
			{"another manager's", try("agent@example.com", theirs.ID, "r", time.Hour), tenant.NotFound},
			{"none", try("agent@example.com", "none", "r", time.Hour), tenant.NotFound},
			{"no reason", try("agent@example.com", p.child.ID, "", time.Hour), tenant.Missing},
			{"an endless reason", try("agent@example.com", p.child.ID, strings.Repeat("x", 256), time.Hour), tenant.OutOfRange},
			{"too short", try("agent@example.com", p.child.ID, "r", time.Minute), tenant.OutOfRange},
			{"too long", try("agent@example.com", p.child.ID, "r", 9*time.Hour), tenant.OutOfRange},
		} {
			if !is(test.got, test.want) {
				t.Errorf("%s: %v, want %s", test.name, test.got, refusal(test.want))
			}
		}
		if _, err := w.DisableAccount(w.ctx, p.manager, p.child.ID, ""); err != nil {
			t.Fatal(err)
		}
		if err := try("agent@example.com", p.child.ID, "r", time.Hour); !is(err, tenant.Inactive) {
			t.Errorf("a disabled account: %v", err)
		}
	})
}
