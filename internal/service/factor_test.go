package service_test

import (
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// authenticator is somebody's telephone.
type authenticator struct {
	w      *world
	secret string
}

func (a authenticator) code(t fatal, after time.Duration) string {
	t.Helper()
	code, err := totp.GenerateCode(a.secret, a.w.clock.Now().Add(after))
	if err != nil {
		t.Fatalf("code: %v", err)
	}
	return code
}

// enrol gives a user a second factor. The clock moves past its first code.
func (w *world) enrol(t fatal, actor tenant.Actor) (authenticator, []string) {
	t.Helper()
	text, err := w.EnrolFactor(w.ctx, actor)
	if err != nil {
		t.Fatalf("enrol: %v", err)
	}
	link, err := url.Parse(text)
	if err != nil || link.Scheme != "otpauth" || link.Host != "totp" || !strings.HasPrefix(link.Path, "/Tenantry:") {
		t.Fatalf("url: %s, %v", text, err)
	}
	a := authenticator{w, link.Query().Get("secret")}
	recovery, err := w.ConfirmFactor(w.ctx, actor, a.code(t, 0))
	if err != nil || len(recovery) != tenant.RecoveryCodes {
		t.Fatalf("confirm: %d codes, %v", len(recovery), err)
	}
	w.clock.Move(30 * time.Second)
	return a, recovery
}

// TestFactor: with a second factor, a password is half of it; each code is good once.
func TestFactor(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		actor := w.in(t, w.portal(t, p.member).Token).Actor
		if _, err := w.EnrolFactor(w.ctx, actor); err != nil {
			t.Fatal(err)
		}
		if s := w.portal(t, p.member); s.Kind != store.PortalSession {
			t.Errorf("before it is confirmed, a session is %s", s.Kind)
		}
		if _, err := w.ConfirmFactor(w.ctx, actor, "000000"); !is(err, tenant.Invalid) {
			t.Errorf("confirmed by any code: %v", err)
		}
		phone, recovery := w.enrol(t, actor)
		if _, err := w.EnrolFactor(w.ctx, actor); !is(err, tenant.Conflict) {
			t.Errorf("a second one: %v", err)
		}

		pending := w.portal(t, p.member)
		if pending.Kind != store.PendingSession {
			t.Fatalf("a session is %s", pending.Kind)
		}
		if _, err := w.auth.SignedIn(w.ctx, pending.Token); !is(err, tenant.Unauthenticated) {
			t.Errorf("at the portal with a password alone: %v", err)
		}
		if _, err := w.Session(w.ctx, pending.Token); !is(err, tenant.Unauthenticated) {
			t.Errorf("at the API with a password alone: %v", err)
		}
		confirm := func(token, code string) (*service.Session, error) {
			return w.ConfirmSignIn(w.ctx, token, code, service.Where{}, "")
		}
		code := phone.code(t, 0)
		session, err := confirm(pending.Token, code)
		if err != nil || session.Token == pending.Token {
			t.Fatalf("confirmed: %v", err)
		}
		if in := w.in(t, session.Token); in.User.LastSignInAt != w.clock.Now() {
			t.Errorf("signed in at %s", in.User.LastSignInAt)
		}
		if _, err := confirm(pending.Token, phone.code(t, 30*time.Second)); !is(err, tenant.Unauthenticated) {
			t.Errorf("the pending session again: %v", err)
		}
		// A code is good once, wherever; the next one, of a clock that is ahead, too.
		if _, err := confirm(w.portal(t, p.member).Token, code); !is(err, tenant.Unauthenticated) {
			t.Errorf("a code again: %v", err)
		}
		if _, err := confirm(w.portal(t, p.member).Token, phone.code(t, 30*time.Second)); err != nil {
			t.Errorf("the next code: %v", err)
		}
		if _, err := confirm(w.portal(t, p.member).Token, phone.code(t, 0)); !is(err, tenant.Unauthenticated) {
			t.Errorf("one from before: %v", err)
		}
		if _, err := confirm(w.portal(t, p.member).Token, phone.code(t, 90*time.Second)); !is(err, tenant.Unauthenticated) {
			t.Errorf("one from too far ahead: %v", err)
		}
		w.clock.Move(tenant.TryTime)
		if _, err := w.signIn(p.member, password, ""); !is(err, tenant.Unauthenticated) || !strings.Contains(err.Error(), "second factor") {
			t.Errorf("the API without a code: %v", err)
		}
		if _, err := w.SignIn(w.ctx, service.SignIn{Email: p.member, Password: password, Code: phone.code(t, 0)}); err != nil {
			t.Errorf("the API with a code: %v", err)
		}

		late := w.portal(t, p.member)
		w.clock.Move(5 * time.Minute)
		if _, err := confirm(late.Token, phone.code(t, 0)); !is(err, tenant.Unauthenticated) {
			t.Errorf("after five minutes: %v", err)
		}
		if _, err := confirm(w.portal(t, p.member).Token, strings.ToUpper(strings.ReplaceAll(recovery[0], "-", " "))); err != nil {
			t.Errorf("a recovery code: %v", err)
		}
		if _, err := confirm(w.portal(t, p.member).Token, recovery[0]); !is(err, tenant.Unauthenticated) {
			t.Errorf("a recovery code again: %v", err)
		}
		if on, left, err := w.Factor(w.ctx, actor); !on || left != tenant.RecoveryCodes-1 || err != nil {
			t.Errorf("the factor: %t, %d, %v", on, left, err)
		}
		if err := w.RemoveFactor(w.ctx, actor, "123"); !is(err, tenant.Unauthenticated) {
			t.Errorf("switched off without a code: %v", err)
		}
		if err := w.RemoveFactor(w.ctx, actor, recovery[1]); err != nil {
			t.Fatal(err)
		}
		if s := w.portal(t, p.member); s.Kind != store.PortalSession {
			t.Errorf("switched off, a session is %s", s.Kind)
		}
		log := w.log(t, p.child.ID)
		for _, event := range []string{"second_factor_on", "second_factor_off", "recovery_code_used"} {
			if count(log, "organization_user."+event) == 0 {
				t.Errorf("%s is not in the log: %v", event, log)
			}
		}
	})
}

// TestFactorGuesses: codes cannot be tried without end, with the password known; nor
// is one taken twice by two who show it at the same time.
func TestFactorGuesses(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		phone, _ := w.enrol(t, w.in(t, w.portal(t, p.member).Token).Actor)
		first, second := w.portal(t, p.member), w.portal(t, p.member)
		code := phone.code(t, 0)
		var taken atomic.Int64
		var all sync.WaitGroup
		for _, s := range []*service.Session{first, second} {
			all.Go(func() {
				if _, err := w.ConfirmSignIn(w.ctx, s.Token, code, service.Where{}, ""); err == nil {
					taken.Add(1)
				}
			})
		}
		all.Wait()
		if taken.Load() != 1 {
			t.Errorf("a code was taken %d times", taken.Load())
		}
		w.clock.Move(tenant.TryTime)
		guesses := 0
		for range 10 {
			s, err := w.SignIn(w.ctx, service.SignIn{Email: p.member, Password: password, Kind: store.PortalSession})
			if err != nil {
				continue
			}
			for range 10 {
				if _, err := w.ConfirmSignIn(w.ctx, s.Token, "000000", service.Where{}, ""); !is(err, tenant.TooMany) {
					guesses++
				}
			}
		}
		if guesses >= tenant.MaxTries {
			t.Errorf("%d guesses", guesses)
		}
		if n := count(w.log(t, p.child.ID), "organization_user.locked"); n != 1 {
			t.Errorf("%d locks in the log", n)
		}
	})
}

func TestFactorReset(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		owner, member := w.in(t, w.portal(t, p.owner).Token).Actor, w.in(t, w.portal(t, p.member).Token).Actor
		w.enrol(t, owner)
		w.enrol(t, member)
		for name, err := range map[string]error{
			"by a member": w.ResetFactor(w.ctx, member, p.child.ID),
			"one's own":   w.ResetFactor(w.ctx, owner, p.child.ID),
		} {
			if !is(err, tenant.Forbidden) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := w.ResetFactor(w.ctx, owner, p.root.ID); !is(err, tenant.NotFound) {
			t.Errorf("a stranger's: %v", err)
		}
		if err := w.ResetFactor(w.ctx, owner, p.user.ID); err != nil {
			t.Fatal(err)
		}
		if err := w.ResetFactorOf(w.ctx, operator, p.child.ID, p.child.ID); err != nil {
			t.Fatal(err)
		}
		if w.portal(t, p.member).Kind != store.PortalSession || w.portal(t, p.owner).Kind != store.PortalSession {
			t.Error("a factor that was reset is still asked for")
		}
		if n := count(w.log(t, p.child.ID), "organization_user.second_factor_reset"); n != 2 {
			t.Errorf("%d resets in the log", n)
		}
	})
}
