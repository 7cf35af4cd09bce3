package service_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/mail"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// mails sends what is queued and returns it, the newest first.
func (w *world) mails(t fatal) []mail.Kept {
	t.Helper()
	var memory mail.Memory
	for {
		n, err := w.SendMail(w.ctx, &memory, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatalf("send mail: %v", err)
		}
		if n == 0 {
			return memory.Mails()
		}
	}
}

var tokenLink = regexp.MustCompile(`https://portal\.example\.com/portal/[a-z-]+\?token=(\S+)`)

// token is the one in the link of the only mail.
func (w *world) token(t fatal, to string) string {
	t.Helper()
	mails := w.mails(t)
	if len(mails) != 1 || mails[0].To != to {
		t.Fatalf("mails: %+v, want one to %s", mails, to)
	}
	link := tokenLink.FindStringSubmatch(mails[0].Text)
	if link == nil {
		t.Fatalf("no link in %q", mails[0].Text)
	}
	token, err := url.QueryUnescape(link[1])
	if err != nil {
		t.Fatalf("%v", err)
	}
	return token
}

// TestPasswordReset: a link comes by mail, is good once and for an hour, and ends
// the sessions.
func TestPasswordReset(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		request := func(email string) {
			t.Helper()
			if err := w.RequestReset(w.ctx, email, "", service.Where{}); err != nil {
				t.Fatalf("request for %s: %v", email, err)
			}
		}
		request("nobody@example.com")
		if mails := w.mails(t); len(mails) != 0 {
			t.Fatalf("mails to nobody: %v", mails)
		}
		request(strings.ToUpper(p.member))
		first := w.token(t, p.member)
		request(p.member)
		if mails := w.mails(t); len(mails) != 0 {
			t.Errorf("a second mail at once: %v", mails)
		}
		w.clock.Move(tenant.SendGap)
		request(p.member)
		token := w.token(t, p.member)
		if _, err := w.CheckReset(w.ctx, first); !is(err, tenant.Unauthenticated) {
			t.Errorf("a link that was replaced: %v", err)
		}
		if user, err := w.CheckReset(w.ctx, token); err != nil || user.Email != p.member {
			t.Errorf("whose link: %v, %v", user, err)
		}
		session := w.portal(t, p.member)
		w.in(t, session.Token)
		for _, bad := range []string{"", "short", "password1", p.member, strings.Repeat("x", 300)} {
			if err := w.ResetPassword(w.ctx, token, bad, ""); err == nil || is(err, tenant.Unauthenticated) {
				t.Errorf("%q: %v", bad, err)
			}
		}
		const another = "Another!Horse8Battery"
		if err := w.ResetPassword(w.ctx, token, another, "request"); err != nil {
			t.Fatal(err)
		}
		if mails := w.mails(t); len(mails) != 1 || mails[0].To != p.member || strings.Contains(mails[0].Text, "token=") {
			t.Errorf("the notice: %v", mails)
		}
		if err := w.ResetPassword(w.ctx, token, another, ""); !is(err, tenant.Unauthenticated) {
			t.Errorf("a second time: %v", err)
		}
		if _, err := w.auth.SignedIn(w.ctx, session.Token); !is(err, tenant.Unauthenticated) || !strings.Contains(err.Error(), "password") {
			t.Errorf("the session before: %v", err)
		}
		if _, err := w.signIn(p.member, password, ""); !is(err, tenant.Unauthenticated) {
			t.Errorf("the old password: %v", err)
		}
		if _, err := w.signIn(p.member, another, ""); err != nil {
			t.Errorf("the new password: %v", err)
		}

		w.clock.Move(time.Hour)
		request(p.member)
		token = w.token(t, p.member)
		w.clock.Move(time.Hour)
		if err := w.ResetPassword(w.ctx, token, another+"!", ""); !is(err, tenant.Unauthenticated) {
			t.Errorf("after an hour: %v", err)
		}
		// Nobody who may not sign in gets a link, or can use one.
		request(p.owner)
		token = w.token(t, p.owner)
		if _, err := w.DisableAccount(w.ctx, p.manager, p.child.ID, ""); err != nil {
			t.Fatal(err)
		}
		if err := w.ResetPassword(w.ctx, token, another, ""); !is(err, tenant.Inactive) {
			t.Errorf("of a disabled account: %v", err)
		}
		request(p.member)
		if mails := w.mails(t); len(mails) != 0 {
			t.Errorf("mail to a disabled account: %v", mails)
		}
		log := w.log(t, p.child.ID)
		if count(log, "organization_user.password_reset") != 1 || count(log, "organization_user.password_reset_requested") != 4 {
			t.Errorf("the log: %v", log)
		}
	})
}

// TestResetUnlocks: who reads the mail gets in, whoever else has failed meanwhile; but
// nobody is mailed without end.
func TestResetUnlocks(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		for range 6 {
			w.signIn(p.member, "wrong", "")
		}
		if err := w.RequestReset(w.ctx, p.member, p.child.ID, service.Where{}); err != nil {
			t.Fatal(err)
		}
		if err := w.ResetPassword(w.ctx, w.token(t, p.member), password+"!", ""); err != nil {
			t.Fatal(err)
		}
		if _, err := w.signIn(p.member, password+"!", ""); err != nil {
			t.Errorf("after the reset: %v", err)
		}
		for _, email := range []string{"nobody@example.com", "root@example.com"} {
			for i := 1; ; i++ {
				if err := w.RequestReset(w.ctx, email, "", service.Where{}); err != nil {
					if !is(err, tenant.TooMany) || i != tenant.MaxTries+1 {
						t.Errorf("request %d for %s: %v", i, email, err)
					}
					break
				}
			}
		}
	})
}

func TestChangePassword(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		one, two := w.portal(t, p.member), w.portal(t, p.member)
		in := w.in(t, one.Token)
		const another = "Another!Horse8Battery"
		if _, err := w.ChangePassword(w.ctx, in, "wrong", another); !is(err, tenant.Unauthenticated) {
			t.Errorf("with a wrong password: %v", err)
		}
		if _, err := w.ChangePassword(w.ctx, in, password, "short"); !is(err, tenant.OutOfRange) {
			t.Errorf("to a short one: %v", err)
		}
		token, err := w.ChangePassword(w.ctx, in, password, another)
		if err != nil {
			t.Fatal(err)
		}
		if got := w.in(t, token); got.UserID != p.user.ID || got.ExpiresAt != one.ExpiresAt {
			t.Errorf("the session that goes on: %+v", got)
		}
		for _, s := range []*service.Session{one, two} {
			if _, err := w.auth.SignedIn(w.ctx, s.Token); !is(err, tenant.Unauthenticated) {
				t.Errorf("a session before: %v", err)
			}
		}
		if _, err := w.ChangePassword(w.ctx, in, another, password); !is(err, tenant.Unauthenticated) {
			t.Errorf("from a session that has ended: %v", err)
		}
		if n := count(w.log(t, p.child.ID), "organization_user.password_changed"); n != 1 {
			t.Errorf("%d changes in the log", n)
		}
	})
}

// TestInvitation: somebody is invited into groups, accepts, and may what they grant.
func TestInvitation(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		owner := w.in(t, w.portal(t, p.owner).Token).Actor
		group := w.group(t, p.child.ID, "Admins", "organization")
		money := w.group(t, p.child.ID, "Money", "account")
		invitation, err := w.Invite(w.ctx, owner, "new@example.com", []string{group.ID, group.ID})
		if err != nil {
			t.Fatal(err)
		}
		first := w.token(t, "new@example.com")
		if err := w.ResendInvitation(w.ctx, owner, invitation.ID); !is(err, tenant.TooMany) {
			t.Errorf("sent again at once: %v", err)
		}
		w.clock.Move(tenant.SendGap)
		if err := w.ResendInvitation(w.ctx, owner, invitation.ID); err != nil {
			t.Fatal(err)
		}
		token := w.token(t, "new@example.com")
		if _, err := w.AcceptInvitation(w.ctx, first, password, service.Where{}, ""); !is(err, tenant.Unauthenticated) {
			t.Errorf("by the first link: %v", err)
		}
		if open, err := w.Invitations(w.ctx, owner); err != nil || len(open) != 1 || open[0].Sent != 2 {
			t.Errorf("open: %+v, %v", open, err)
		}
		if invited, err := w.Invited(w.ctx, token); err != nil || invited.Account.OrganizationName != "Child" || invited.SignOn {
			t.Errorf("the invitation: %+v, %v", invited, err)
		}
		if _, err := w.AcceptInvitation(w.ctx, token, "short", service.Where{}, ""); !is(err, tenant.OutOfRange) {
			t.Errorf("with a short password: %v", err)
		}
		session, err := w.AcceptInvitation(w.ctx, token, password, service.Where{}, "request")
		if err != nil {
			t.Fatal(err)
		}
		made := w.in(t, session.Token)
		if !made.Actor.Can(tenant.InviteUsers) || made.Actor.Can(tenant.ViewBalance) || made.Actor.Can(tenant.ManageSignOn) || made.User.Email != "new@example.com" {
			t.Errorf("the new user: %+v", made.Actor)
		}
		if _, err := w.AcceptInvitation(w.ctx, token, password, service.Where{}, ""); !is(err, tenant.Unauthenticated) {
			t.Errorf("a second time: %v", err)
		}
		if _, err := w.signIn("new@example.com", password, ""); err != nil {
			t.Errorf("sign-in: %v", err)
		}

		// Who was invited hands on what they have, and no more.
		if _, err := w.Invite(w.ctx, made.Actor, "more@example.com", []string{money.ID}); !is(err, tenant.Forbidden) {
			t.Errorf("into a group that grants more: %v", err)
		}
		next, err := w.Invite(w.ctx, made.Actor, "more@example.com", []string{group.ID})
		if err != nil {
			t.Fatal(err)
		}
		token = w.token(t, "more@example.com")
		if err := w.RevokeInvitation(w.ctx, owner, next.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Invited(w.ctx, token); !is(err, tenant.Unauthenticated) {
			t.Errorf("taken back: %v", err)
		}
		next, err = w.Invite(w.ctx, owner, "More@example.com", nil)
		if err != nil {
			t.Fatal(err)
		}
		w.mails(t)
		w.clock.Move(tenant.InvitationTime)
		owner = w.in(t, w.portal(t, p.owner).Token).Actor
		if open, err := w.Invitations(w.ctx, owner); err != nil || len(open) != 0 {
			t.Errorf("after a week: %v, %v", open, err)
		}
		again, err := w.Invite(w.ctx, owner, "more@example.com", nil)
		if err != nil || again.ID == next.ID {
			t.Errorf("invited again: %v", err)
		}
		token = w.token(t, "more@example.com")
		if _, err := w.BlockAccount(w.ctx, operator, p.child.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := w.AcceptInvitation(w.ctx, token, password, service.Where{}, ""); !is(err, tenant.Blocked) {
			t.Errorf("into a blocked organization: %v", err)
		}
		log := w.log(t, p.child.ID)
		for event, n := range map[string]int{"invitation.created": 4, "invitation.sent": 1, "invitation.revoked": 1, "organization_user.created": 2} {
			if count(log, event) != n {
				t.Errorf("%s: %d, want %d in %v", event, count(log, event), n, log)
			}
		}
	})
}

func TestInvitationRefusals(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		owner := w.in(t, w.portal(t, p.owner).Token).Actor
		member := w.in(t, w.portal(t, p.member).Token).Actor
		foreign := w.group(t, p.root.ID, "Foreign")
		theirs, err := w.Invite(w.ctx, w.actor(t, p.root.Key), "theirs@example.com", nil)
		if err != nil {
			t.Fatal(err)
		}
		invite := func(actor tenant.Actor, email string, groups ...string) error {
			_, err := w.Invite(w.ctx, actor, email, groups)
			return err
		}
		list := func(actor tenant.Actor) error {
			_, err := w.Invitations(w.ctx, actor)
			return err
		}
		for _, test := range []struct {
			name string
			got  error
			want tenant.Kind
		}{
			{"without the permission", invite(member, "a@example.com"), tenant.Forbidden},
			{"listed without it", list(member), tenant.Forbidden},
			{"a user there is", invite(owner, strings.ToUpper(p.member)), tenant.Duplicate},
			{"no address", invite(owner, "a@example.com\r\nBcc: b@example.com"), tenant.BadEmail},
			{"a stranger's group", invite(owner, "a@example.com", foreign.ID), tenant.Invalid},
			{"a stranger's invitation sent", w.ResendInvitation(w.ctx, owner, theirs.ID), tenant.NotFound},
			{"a stranger's invitation revoked", w.RevokeInvitation(w.ctx, owner, theirs.ID), tenant.NotFound},
			{"none", w.RevokeInvitation(w.ctx, owner, "none"), tenant.NotFound},
		} {
			if !is(test.got, test.want) {
				t.Errorf("%s: %v, want %s", test.name, test.got, refusal(test.want))
			}
		}
		for i := range tenant.MaxInvitations {
			if err := invite(owner, fmt.Sprintf("a%d@example.com", i)); err != nil {
				t.Fatalf("invitation %d: %v", i, err)
			}
			if i == 0 {
				if err := invite(owner, "A0@example.com"); !is(err, tenant.Duplicate) {
					t.Errorf("invited twice: %v", err)
				}
			}
		}
		if err := invite(owner, "last@example.com"); !is(err, tenant.TooMany) {
			t.Errorf("one more than may be open: %v", err)
		}
	})
}

// failing is a sender that fails so often.
type failing struct {
	mail.Memory
	errors []error
}

func (f *failing) Send(ctx context.Context, m mail.Message) error {
	if len(f.errors) > 0 {
		err := f.errors[0]
		f.errors = f.errors[1:]
		return err
	}
	return f.Memory.Send(ctx, m)
}

// TestMailIsNotLost: what could not be sent is sent later, by whoever is there then,
// and what cannot be sent does not keep the rest from it.
func TestMailIsNotLost(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		owner := w.in(t, w.portal(t, p.owner).Token).Actor
		var logged strings.Builder
		log := slog.New(slog.NewTextHandler(&logged, nil))
		if _, err := w.Invite(w.ctx, owner, "secret@example.com", nil); err != nil {
			t.Fatal(err)
		}
		later := errors.New("not now")
		sender := &failing{errors: []error{later, later, later}}
		gaps := []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute}
		for _, gap := range gaps {
			if n, err := w.SendMail(w.ctx, sender, log); n != 1 || err != nil {
				t.Fatalf("taken up: %d, %v", n, err)
			}
			w.clock.Move(gap - time.Second)
			if n, _ := w.SendMail(w.ctx, sender, log); n != 0 {
				t.Fatalf("%s after that: taken up again", gap-time.Second)
			}
			w.clock.Move(time.Second)
		}
		if n, err := w.SendMail(w.ctx, sender, log); n != 1 || err != nil || len(sender.Mails()) != 1 {
			t.Errorf("in the end: %d, %v, %v", n, err, sender.Mails())
		}
		// Whoever has taken one up and died leaves it to the others.
		if _, err := w.Invite(w.ctx, owner, "b@example.com", nil); err != nil {
			t.Fatal(err)
		}
		if err := w.db.Update(w.ctx, store.MailLane, func(tx *store.Tx) error {
			claimed, err := tx.ClaimMail(10, tx.Now().Add(2*time.Minute))
			if err == nil && (len(claimed) != 1 || strings.Contains(claimed[0].Sealed, "b@example.com")) {
				t.Errorf("claimed: %+v", claimed)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if mails := w.mails(t); len(mails) != 0 {
			t.Errorf("taken up by two: %v", mails)
		}
		w.clock.Move(2 * time.Minute)
		if mails := w.mails(t); len(mails) != 1 {
			t.Errorf("left behind: %v", mails)
		}
		if _, err := w.Invite(w.ctx, owner, "c@example.com", nil); err != nil {
			t.Fatal(err)
		}
		sender.errors = []error{mail.Permanent(errors.New("no such mailbox"))}
		w.SendMail(w.ctx, sender, log)
		w.clock.Move(2 * time.Hour)
		if mails := w.mails(t); len(mails) != 0 {
			t.Errorf("what cannot be sent: %v", mails)
		}
		if text := logged.String(); !strings.Contains(text, "no such mailbox") || strings.Contains(text, "token=") || strings.Contains(text, "secret@") {
			t.Errorf("the log: %s", text)
		}
	})
}
