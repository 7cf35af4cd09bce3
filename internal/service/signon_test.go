package service_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

const issuer = "https://id.example.com"

func signOn(required bool) service.NewSignOn {
	return service.NewSignOn{Issuer: issuer, ClientID: "tenantry", Secret: ptr("s3cret"), Domains: []string{"Example.com"}, Required: required}
}

// TestSSO: a person is known by a verified address once, and by issuer and subject
// from then on.
func TestSSO(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		owner := w.in(t, w.portal(t, p.owner).Token).Actor
		w.user(t, p.child.ID, service.NewUser{Email: "other@example.com"})
		w.user(t, p.child.ID, service.NewUser{Email: "far@example.net"})
		in := func(v service.Verified) (*service.Session, error) {
			return w.SSOSignIn(w.ctx, p.child.ID, v, service.Where{}, "request")
		}
		good := service.Verified{Issuer: issuer, Subject: "1", Email: "User@Example.com", EmailVerified: true}
		if _, err := in(good); !is(err, tenant.Unauthenticated) {
			t.Errorf("before it is set: %v", err)
		}
		if err := w.SetSignOn(w.ctx, owner, signOn(false)); err != nil {
			t.Fatal(err)
		}
		for name, edit := range map[string]func(*service.Verified){
			"another issuer":      func(v *service.Verified) { v.Issuer = issuer + "/" },
			"no subject":          func(v *service.Verified) { v.Subject = "" },
			"address unverified":  func(v *service.Verified) { v.EmailVerified = false },
			"address of nobody":   func(v *service.Verified) { v.Email = "nobody@example.com" },
			"a domain not theirs": func(v *service.Verified) { v.Email = "far@example.net" },
			"two domains":         func(v *service.Verified) { v.Email = "user@example.com@example.net" },
			"no address":          func(v *service.Verified) { v.Email = "" },
		} {
			v := good
			edit(&v)
			if _, err := in(v); !is(err, tenant.Unauthenticated) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := w.SSOSignIn(w.ctx, p.root.ID, good, service.Where{}, ""); !is(err, tenant.Unauthenticated) {
			t.Errorf("to another organization: %v", err)
		}
		s, err := in(good)
		if err != nil {
			t.Fatal(err)
		}
		if got := w.in(t, s.Token); got.UserID != p.user.ID || got.User.LastSignInAt != w.clock.Now() {
			t.Errorf("signed in: %+v", got)
		}
		// Later the subject alone tells, and the address may be anybody's.
		for _, v := range []service.Verified{{Issuer: issuer, Subject: "1"}, {Issuer: issuer, Subject: "1", Email: "other@example.com", EmailVerified: true}} {
			if s, err := in(v); err != nil || s.UserID != p.user.ID {
				t.Errorf("again, as %+v: %v", v, err)
			}
		}
		if _, err := in(service.Verified{Issuer: issuer, Subject: "2", Email: p.member, EmailVerified: true}); !is(err, tenant.Conflict) {
			t.Errorf("the address taken over by another subject: %v", err)
		}
		if err := w.Unlink(w.ctx, owner, p.user.ID); err != nil {
			t.Fatal(err)
		}
		if s, err := in(service.Verified{Issuer: issuer, Subject: "2", Email: p.member, EmailVerified: true}); err != nil || s.UserID != p.user.ID {
			t.Errorf("untied: %v", err)
		}
		if _, err := w.BlockUser(w.ctx, operator, p.child.ID, p.user.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := in(service.Verified{Issuer: issuer, Subject: "2"}); !is(err, tenant.Blocked) {
			t.Errorf("blocked: %v", err)
		}
		if _, err := w.RemoveUser(w.ctx, owner, p.user.ID, once(), func(*service.User) ([]byte, error) { return nil, nil }); err != nil {
			t.Fatal(err)
		}
		if _, err := in(service.Verified{Issuer: issuer, Subject: "2"}); !is(err, tenant.Unauthenticated) {
			t.Errorf("removed: %v", err)
		}
		log := w.log(t, p.child.ID)
		if count(log, "single_sign_on.updated") != 1 || count(log, "organization_user.linked") != 2 || count(log, "organization_user.unlinked") != 1 {
			t.Errorf("the log: %v", log)
		}
	})
}

// TestSSORequired: then a password is of no use but to the owner and to those who
// bypass it, in whatever way it comes.
func TestSSORequired(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		owner := w.in(t, w.portal(t, p.owner).Token).Actor
		if err := w.SetSignOn(w.ctx, owner, signOn(true)); err != nil {
			t.Fatal(err)
		}
		try := func(email, password string, kind store.SessionKind) error {
			_, err := w.SignIn(w.ctx, service.SignIn{Email: email, Password: password, Kind: kind})
			return err
		}
		for _, kind := range []store.SessionKind{store.APISession, store.PortalSession} {
			if err := try(p.member, password, kind); !is(err, tenant.Forbidden) || !strings.Contains(err.Error(), "single sign-on") {
				t.Errorf("%s: %v", kind, err)
			}
			if err := try(p.member, "wrong", kind); !is(err, tenant.Unauthenticated) {
				t.Errorf("%s, with a wrong password: %v", kind, err)
			}
			if err := try(p.owner, password, kind); err != nil {
				t.Errorf("%s, the owner: %v", kind, err)
			}
		}
		w.RequestReset(w.ctx, p.member, "", service.Where{})
		if mails := w.mails(t); len(mails) != 0 {
			t.Errorf("a link to a password of no use: %v", mails)
		}
		if _, err := w.Invite(w.ctx, owner, "new@example.com", nil); err != nil {
			t.Fatal(err)
		}
		token := w.token(t, "new@example.com")
		if invited, err := w.Invited(w.ctx, token); err != nil || !invited.SignOn {
			t.Errorf("the invitation: %v", err)
		}
		if s, err := w.AcceptInvitation(w.ctx, token, "", service.Where{}, ""); s != nil || err != nil {
			t.Errorf("accepted: %v, %v", s, err)
		}
		if s, err := w.SSOSignIn(w.ctx, p.child.ID, service.Verified{Issuer: issuer, Subject: "n", Email: "new@example.com", EmailVerified: true}, service.Where{}, ""); err != nil || s.User.Email != "new@example.com" {
			t.Errorf("the invited: %v", err)
		}
		if err := w.SetBypassesSSO(w.ctx, owner, p.user.ID, true); err != nil {
			t.Fatal(err)
		}
		w.clock.Move(tenant.TryTime)
		if err := try(p.member, password, store.PortalSession); err != nil {
			t.Errorf("one who bypasses it: %v", err)
		}
		if err := w.SetBypassesSSO(w.ctx, owner, p.user.ID, false); err != nil {
			t.Fatal(err)
		}
		if err := w.RemoveSignOn(w.ctx, owner); err != nil {
			t.Fatal(err)
		}
		w.clock.Move(tenant.TryTime)
		if err := try(p.member, password, store.PortalSession); err != nil {
			t.Errorf("when it was taken away: %v", err)
		}
	})
}

func TestSSOSettings(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		owner := w.in(t, w.portal(t, p.owner).Token).Actor
		admins := w.group(t, p.child.ID, "All", tenant.Permissions...)
		admin, _ := w.user(t, p.child.ID, service.NewUser{Email: "admin@example.com", Password: ptr(password), GroupIDs: []string{admins.ID}})
		all := w.in(t, w.portal(t, admin.Email).Token).Actor
		as, err := w.SignInAs(w.ctx, w.in(t, w.rootPortal(t, p.root)), p.child.ID, "r", time.Hour, service.Where{}, "")
		if err != nil {
			t.Fatal(err)
		}
		for name, actor := range map[string]tenant.Actor{"with all permissions": all, "a manager's person": w.in(t, as.Token).Actor} {
			if err := w.SetSignOn(w.ctx, actor, signOn(false)); !is(err, tenant.Forbidden) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for name, test := range map[string]struct {
			edit func(*service.NewSignOn)
			want tenant.Kind
		}{
			"no secret":        {func(n *service.NewSignOn) { n.Secret = nil }, tenant.Missing},
			"an empty secret":  {func(n *service.NewSignOn) { n.Secret = ptr("") }, tenant.OutOfRange},
			"no client":        {func(n *service.NewSignOn) { n.ClientID = "" }, tenant.Missing},
			"no issuer":        {func(n *service.NewSignOn) { n.Issuer = "" }, tenant.Invalid},
			"an http issuer":   {func(n *service.NewSignOn) { n.Issuer = "http://id.example.com" }, tenant.Invalid},
			"a query":          {func(n *service.NewSignOn) { n.Issuer += "?a" }, tenant.Invalid},
			"no domains":       {func(n *service.NewSignOn) { n.Domains = nil }, tenant.Missing},
			"an odd domain":    {func(n *service.NewSignOn) { n.Domains = []string{"a b"} }, tenant.Invalid},
			"another's domain": {func(n *service.NewSignOn) { n.Domains = []string{"x@example.com"} }, tenant.Invalid},
		} {
			in := signOn(false)
			test.edit(&in)
			if err := w.SetSignOn(w.ctx, owner, in); !is(err, test.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := w.SetSignOn(w.ctx, owner, signOn(false)); err != nil {
			t.Fatal(err)
		}
		keep := signOn(true)
		keep.Secret = nil
		if err := w.SetSignOn(w.ctx, owner, keep); err != nil {
			t.Errorf("with the secret that there is: %v", err)
		}
		keep.Issuer = "https://evil.example.com"
		if err := w.SetSignOn(w.ctx, owner, keep); !is(err, tenant.Missing) {
			t.Errorf("the secret for another issuer: %v", err)
		}
		shown, err := w.SignOn(w.ctx, owner)
		if err != nil || shown.Sealed != "" || !shown.Required || shown.Domains[0] != "example.com" {
			t.Errorf("shown: %+v, %v", shown, err)
		}
		if _, secret, err := w.SignOnOf(w.ctx, p.child.ID); err != nil || secret != "s3cret" {
			t.Errorf("the secret: %q, %v", secret, err)
		}
		entries, _, err := w.SearchAuditOf(w.ctx, p.child.ID, service.AuditSearch{}, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			for _, c := range e.Changes {
				if text, _ := c.To.(string); strings.Contains(text, "s3cret") {
					t.Errorf("the secret is in the log: %+v", e)
				}
			}
		}
	})
}

// rootPortal is a portal session of the owner of a manager's account, which is made
// without a password.
func (w *world) rootPortal(t fatal, root service.Account) string {
	t.Helper()
	if err := w.RequestReset(w.ctx, root.Email, root.ID, service.Where{}); err != nil {
		t.Fatalf("%v", err)
	}
	if err := w.ResetPassword(w.ctx, w.token(t, root.Email), password, ""); err != nil {
		t.Fatalf("%v", err)
	}
	w.mails(t)
	return w.portal(t, root.Email).Token
}
