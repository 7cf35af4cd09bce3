package service_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// TestHostileTexts: whatever text comes in, it is refused or taken, and no fault of
// the server's.
func TestHostileTexts(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		in := w.in(t, w.portal(t, p.owner).Token)
		agent := w.in(t, w.rootPortal(t, p.root))
		if err := w.SetSignOn(w.ctx, in.Actor, signOn(false)); err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"\x00", "\xff", "a\x00b", "'; --", strings.Repeat("x", 100_000), "\u202e", "%", "null"} {
			where := service.Where{Address: text, UserAgent: text}
			first := func(_ any, err error) error { return err }
			for name, err := range map[string]error{
				"sign in":      first(w.SignIn(w.ctx, service.SignIn{Email: text, Password: text, Code: text, Where: where})),
				"organization": first(w.SignIn(w.ctx, service.SignIn{Email: "x@example.com", Password: text, OrganizationID: text, Where: where})),
				"signed in":    first(w.auth.SignedIn(w.ctx, text)),
				"session":      first(w.Session(w.ctx, text)),
				"confirm":      first(w.ConfirmSignIn(w.ctx, text, text, where, text)),
				"end":          w.EndSession(w.ctx, in.Actor, text),
				"reset":        w.RequestReset(w.ctx, p.member, text, where),
				"reset of":     w.RequestReset(w.ctx, text, "", where),
				"check reset":  first(w.CheckReset(w.ctx, text)),
				"set password": w.ResetPassword(w.ctx, text, text, text),
				"change":       first(w.ChangePassword(w.ctx, in, text, text)),
				"invite":       first(w.Invite(w.ctx, in.Actor, text, nil)),
				"group":        first(w.Invite(w.ctx, in.Actor, "new@example.com", []string{text})),
				"resend":       w.ResendInvitation(w.ctx, in.Actor, text),
				"revoke":       w.RevokeInvitation(w.ctx, in.Actor, text),
				"accept":       first(w.AcceptInvitation(w.ctx, text, text, where, text)),
				"code":         first(w.ConfirmFactor(w.ctx, in.Actor, text)),
				"remove code":  w.RemoveFactor(w.ctx, in.Actor, text),
				"reset code":   w.ResetFactor(w.ctx, in.Actor, text),
				"keys":         first(w.Keys(w.ctx, in.Actor, text)),
				"key":          func() error { _, _, err := w.CreateKey(w.ctx, in.Actor, text, time.Time{}); return err }(),
				"rotate":       func() error { _, _, err := w.RotateKey(w.ctx, in.Actor, text, 0); return err }(),
				"revoke key":   w.RevokeKey(w.ctx, in.Actor, p.child.ID, text),
				"audit": func() error {
					_, _, err := w.SearchAudit(w.ctx, in.Actor, service.AuditSearch{AuditFilter: store.AuditFilter{Event: text, UserID: text, ResourceID: text}}, 5)
					return err
				}(),
				"sign in as": first(w.SignInAs(w.ctx, agent, text, text, time.Hour, where, text)),
				"reason":     first(w.SignInAs(w.ctx, agent, p.child.ID, text, time.Hour, where, "")),
				"issuer":     w.SetSignOn(w.ctx, in.Actor, service.NewSignOn{Issuer: text, ClientID: text, Secret: &text, Domains: []string{text}}),
				"client":     w.SetSignOn(w.ctx, in.Actor, service.NewSignOn{Issuer: issuer, ClientID: text, Secret: &text, Domains: []string{"example.com"}}),
				"sso":        first(w.SSOSignIn(w.ctx, p.child.ID, service.Verified{Issuer: issuer, Subject: text, Email: p.member, EmailVerified: true}, where, "")),
				"sso email":  first(w.SSOSignIn(w.ctx, p.child.ID, service.Verified{Issuer: issuer, Subject: "s", Email: text, EmailVerified: true}, where, "")),
				"sso of":     first(w.SSOSignIn(w.ctx, text, service.Verified{Issuer: issuer, Subject: "s", Email: p.member, EmailVerified: true}, where, "")),
				"unlink":     w.Unlink(w.ctx, in.Actor, text),
				"bypass":     w.SetBypassesSSO(w.ctx, in.Actor, text, true),
			} {
				var refused *tenant.Error
				if err != nil && (!errors.As(err, &refused) || refused.Kind == tenant.Unavailable) {
					t.Errorf("%s %.20q: %.200v", name, text, err)
				}
			}
			w.mails(t)
			w.clock.Move(tenant.TryTime)
			in = w.in(t, w.portal(t, p.owner).Token)
		}
	})
}
