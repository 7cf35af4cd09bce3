package service_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// portal signs in at the portal.
func (w *world) portal(t fatal, email string) *service.Session {
	t.Helper()
	s, err := w.SignIn(w.ctx, service.SignIn{Email: email, Password: password, Kind: store.PortalSession, Where: service.Where{Address: "192.0.2.1", UserAgent: "browser"}})
	if err != nil {
		t.Fatalf("sign in %s: %v", email, err)
	}
	return s
}

// in is who holds a portal session.
func (w *world) in(t fatal, token string) *auth.SignedIn {
	t.Helper()
	in, err := w.auth.SignedIn(w.ctx, token)
	if err != nil {
		t.Fatalf("signed in: %v", err)
	}
	return in
}

// people are a manager with channels and its account, with users who have passwords.
type people struct {
	root, child   service.Account
	manager       tenant.Actor // by key
	owner, member string       // their addresses
	user          service.User // the member
}

func (w *world) people(t fatal) people {
	t.Helper()
	p := people{owner: "child@example.com", member: "user@example.com"}
	p.root = w.root(t, "root@example.com", 10)
	p.manager = w.actor(t, p.root.Key)
	p.child = w.child(t, p.manager, func(in *service.NewAccount) { in.Email, in.Password = &p.owner, ptr(password) })
	p.user, _ = w.user(t, p.child.ID, service.NewUser{Email: p.member, Password: ptr(password)})
	return p
}

// log are the events of an account's audit log, the newest first.
func (w *world) log(t fatal, accountID string) (events []string) {
	t.Helper()
	entries, _, err := w.AuditLogOf(w.ctx, accountID, service.AuditFilter{}, service.Page{Number: 1, Size: 100})
	if err != nil {
		t.Fatalf("audit log: %v", err)
	}
	for _, e := range entries {
		events = append(events, e.Event)
	}
	return events
}

func count(events []string, event string) (n int) {
	for _, e := range events {
		if e == event {
			n++
		}
	}
	return n
}

// TestDoors: no session is good for what another kind is for, nor a key.
func TestDoors(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		api, err := w.signIn(p.owner, password, "")
		if err != nil {
			t.Fatal(err)
		}
		portal := w.portal(t, p.owner)
		if _, err := w.auth.SignedIn(w.ctx, api.Token); !is(err, tenant.Unauthenticated) {
			t.Errorf("the API's session at the portal: %v", err)
		}
		if _, err := w.Session(w.ctx, portal.Token); !is(err, tenant.Unauthenticated) {
			t.Errorf("the portal's session at the API: %v", err)
		}
		for _, authorization := range []string{"Bearer " + portal.Token, "Token " + portal.Token, "Bearer " + api.Token} {
			if _, err := w.auth.Actor(w.ctx, auth.Credentials{Authorization: authorization}); !is(err, tenant.Unauthenticated) {
				t.Errorf("a session as a key: %v", err)
			}
		}
		for _, token := range []string{"", p.child.Key, portal.Digest, portal.Token + "x"} {
			if _, err := w.auth.SignedIn(w.ctx, token); !is(err, tenant.Unauthenticated) {
				t.Errorf("%q at the portal: %v", token, err)
			}
		}
		in := w.in(t, portal.Token)
		if !in.Actor.Owner() || in.User.Email != p.owner || in.Account.ID != p.child.ID || in.Person != nil || in.User.LastSignInAt != w.clock.Now() {
			t.Errorf("signed in: %+v", in)
		}
	})
}

// TestPortalSessionsEnd: the change that stops somebody ends the sessions with its
// commit, also those in memory, and says why.
func TestPortalSessionsEnd(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		type stop struct {
			name       string
			stop, lift func() error
			owner      bool // whether the owner's session ends, too
			while      tenant.Kind
			after      string
		}
		account := func(_ *service.Account, err error) error { return err }
		user := func(_ *service.User, err error) error { return err }
		stops := []stop{
			{"account disabled", func() error { return account(w.DisableAccount(w.ctx, p.manager, p.child.ID, "")) },
				func() error { return account(w.EnableAccount(w.ctx, p.manager, p.child.ID, false, "")) }, true, tenant.Inactive, "ended"},
			{"account blocked", func() error { return account(w.BlockAccount(w.ctx, operator, p.child.ID)) },
				func() error { return account(w.UnblockAccount(w.ctx, operator, p.child.ID)) }, true, tenant.Blocked, "ended"},
			{"manager blocked", func() error { return account(w.BlockAccount(w.ctx, operator, p.root.ID)) },
				func() error { return account(w.UnblockAccount(w.ctx, operator, p.root.ID)) }, true, tenant.Blocked, ""},
			{"user blocked", func() error { return user(w.BlockUser(w.ctx, operator, p.child.ID, p.user.ID)) },
				func() error { return user(w.UnblockUser(w.ctx, operator, p.child.ID, p.user.ID)) }, false, tenant.Blocked, "ended"},
		}
		for _, stop := range stops {
			owner, member := w.portal(t, p.owner), w.portal(t, p.member)
			w.in(t, owner.Token)
			w.in(t, member.Token)
			if err := stop.stop(); err != nil {
				t.Fatal(err)
			}
			if _, err := w.auth.SignedIn(w.ctx, member.Token); !is(err, stop.while) {
				t.Errorf("%s: %v", stop.name, err)
			}
			if _, err := w.auth.SignedIn(w.ctx, owner.Token); (err == nil) == stop.owner {
				t.Errorf("%s: the owner's: %v", stop.name, err)
			}
			_, err := w.SignIn(w.ctx, service.SignIn{Email: p.member, Password: password, Kind: store.PortalSession})
			if !is(err, stop.while) {
				t.Errorf("%s: sign-in: %v", stop.name, err)
			}
			if _, err := w.SignIn(w.ctx, service.SignIn{Email: p.member, Password: "wrong", Kind: store.PortalSession}); !is(err, tenant.Unauthenticated) || err.Error() != refusedSignIn {
				t.Errorf("%s: with a wrong password: %v", stop.name, err)
			}
			if err := stop.lift(); err != nil {
				t.Fatal(err)
			}
			_, err = w.auth.SignedIn(w.ctx, member.Token)
			if stop.after == "" && err != nil || stop.after != "" && (!is(err, tenant.Unauthenticated) || !strings.Contains(err.Error(), stop.after)) {
				t.Errorf("%s: lifted: %v", stop.name, err)
			}
			w.clock.Move(tenant.TryTime)
		}
	})
}

// TestSessionTimes: a session lasts while it is used, and not for ever.
func TestSessionTimes(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		s := w.portal(t, p.owner)
		other := auth.NewAuthenticator(w.db, w.sealer, "") // as on another node
		for range 28 {
			w.clock.Move(25 * time.Minute)
			w.in(t, s.Token)
			if err := w.auth.NoteUses(w.ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := other.SignedIn(w.ctx, s.Token); err != nil {
				t.Fatalf("on the other node: %v", err)
			}
		}
		list, err := w.Sessions(w.ctx, w.in(t, s.Token).Actor)
		if err != nil || len(list) != 1 || list[0].UsedAt != w.clock.Now() || list[0].Address != "192.0.2.1" || list[0].UserAgent != "browser" {
			t.Errorf("the list: %+v, %v", list, err)
		}
		other.SignedIn(w.ctx, s.Token)
		w.clock.Move(15 * time.Minute)
		if _, err := w.auth.SignedIn(w.ctx, s.Token); err != nil {
			t.Errorf("before its time: %v", err)
		}
		w.clock.Move(10 * time.Minute)
		if _, err := w.auth.SignedIn(w.ctx, s.Token); !is(err, tenant.Unauthenticated) || !strings.Contains(err.Error(), "expired") {
			t.Errorf("after 12 hours: %v", err)
		}

		idle := w.portal(t, p.owner)
		w.in(t, idle.Token)
		w.clock.Move(auth.SessionIdle + time.Second)
		for range 2 {
			if _, err := w.auth.SignedIn(w.ctx, idle.Token); !is(err, tenant.Unauthenticated) || !strings.Contains(err.Error(), "a while") {
				t.Errorf("after half an hour: %v", err)
			}
		}
		// What is over goes a day later.
		w.clock.Move(36 * time.Hour)
		w.prune(t)
		if _, err := auth.NewAuthenticator(w.db, w.sealer, "").SignedIn(w.ctx, idle.Token); err == nil || err.Error() != refusedSignIn {
			t.Errorf("after a day: %v", err)
		}
	})
}

// TestOwnSessions: a person sees and ends the own sessions, and nobody else's.
func TestOwnSessions(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		one, two, member := w.portal(t, p.owner), w.portal(t, p.owner), w.portal(t, p.member)
		actor := w.in(t, one.Token).Actor
		if err := w.EndSession(w.ctx, actor, member.ID); !is(err, tenant.NotFound) {
			t.Errorf("another's session: %v", err)
		}
		if err := w.EndSession(w.ctx, actor, ""); !is(err, tenant.NotFound) {
			t.Errorf("no session: %v", err)
		}
		w.in(t, two.Token)
		if err := w.EndSession(w.ctx, actor, two.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := w.auth.SignedIn(w.ctx, two.Token); !is(err, tenant.Unauthenticated) {
			t.Errorf("it was ended: %v", err)
		}
		renewed, err := w.RenewSession(w.ctx, w.in(t, one.Token))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.auth.SignedIn(w.ctx, one.Token); !is(err, tenant.Unauthenticated) {
			t.Errorf("it was renewed: %v", err)
		}
		if in := w.in(t, renewed); in.ExpiresAt != one.ExpiresAt {
			t.Errorf("renewed, it lasts until %s", in.ExpiresAt)
		}
		if err := w.EndSessions(w.ctx, actor); err != nil {
			t.Fatal(err)
		}
		if _, err := w.auth.SignedIn(w.ctx, renewed); !is(err, tenant.Unauthenticated) {
			t.Errorf("after signing out everywhere: %v", err)
		}
		if list, err := w.Sessions(w.ctx, actor); err != nil || len(list) != 0 {
			t.Errorf("the list: %v, %v", list, err)
		}
		w.in(t, member.Token)
		log := w.log(t, p.child.ID)
		if count(log, "organization_user.session_ended") != 1 || count(log, "organization_user.signed_out_everywhere") != 1 {
			t.Errorf("the log: %v", log)
		}
	})
}

// TestLock: who fails too often waits, longer each time, whether the address is known
// or not; how many try at the same time makes no difference.
func TestLock(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		try := func(email, password string) error {
			_, err := w.SignIn(w.ctx, service.SignIn{Email: email, Password: password, Kind: store.PortalSession})
			return err
		}
		var story [2][]string
		for i, email := range []string{p.member, "nobody@example.com"} {
			tell := func(err error) { story[i] = append(story[i], fmt.Sprint(err)) }
			for range 7 {
				tell(try(email, "wrong"))
			}
			w.clock.Move(4 * time.Minute)
			tell(try(strings.ToUpper(email), "wrong"))
			w.clock.Move(2 * time.Minute)
			for range 6 {
				tell(try(email, "wrong"))
			}
			w.clock.Move(6 * time.Minute)
			tell(try(email, "wrong")) // the second time is twice as long
			w.clock.Move(5 * time.Minute)
			tell(try(email, "wrong"))
		}
		if !slices.Equal(story[0], story[1]) {
			t.Errorf("the answers tell who is known:\n%q\n%q", story[0], story[1])
		}
		many := 0
		for _, answer := range story[0] {
			if strings.HasPrefix(answer, "Too many") {
				many++
			}
		}
		if many != 5 || !strings.HasPrefix(story[0][5], "Too many") || strings.HasPrefix(story[0][8], "Too many") {
			t.Errorf("%q", story[0])
		}
		if n := count(w.log(t, p.child.ID), "organization_user.locked"); n != 2 {
			t.Errorf("%d locks in the log", n)
		}
		if err := try(p.member, password); err != nil {
			t.Errorf("the lock is over: %v", err)
		}
		if err := try(p.owner, password); err != nil {
			t.Errorf("somebody else: %v", err)
		}

		// A locked one does not get in with the right password either.
		for range 5 {
			try(p.owner, "wrong")
		}
		if err := try(p.owner, password); !is(err, tenant.TooMany) {
			t.Errorf("locked, with the right password: %v", err)
		}
	})
}

func TestLockRace(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		var all sync.WaitGroup
		var hashed atomic.Int64
		for range 20 {
			all.Go(func() {
				_, err := w.SignIn(w.ctx, service.SignIn{Email: p.member, Password: "wrong"})
				var refused *tenant.Error
				if !errors.As(err, &refused) || refused.Kind == tenant.Unauthenticated {
					hashed.Add(1)
				}
			})
		}
		all.Wait()
		if n := hashed.Load(); n != tenant.MaxTries {
			t.Errorf("%d tries at once, want %d", n, tenant.MaxTries)
		}
		if n := count(w.log(t, p.child.ID), "organization_user.locked"); n != 1 {
			t.Errorf("%d locks in the log", n)
		}
	})
}

// TestLockFrom: one address does not try all the people, and who signs in from it
// does not count.
func TestLockFrom(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		try := func(email, password, address string) error {
			_, err := w.SignIn(w.ctx, service.SignIn{Email: email, Password: password, Where: service.Where{Address: address}})
			return err
		}
		for range 3 {
			if err := try(p.member, password, "2001:db8::1"); err != nil {
				t.Fatal(err)
			}
		}
		for i := range tenant.MaxTriesFrom {
			if err := try(fmt.Sprintf("u%d@example.com", i), "wrong", fmt.Sprintf("2001:db8::%x", i)); !is(err, tenant.Unauthenticated) {
				t.Fatalf("try %d: %v", i, err)
			}
		}
		if err := try(p.member, password, "2001:db8::ffff"); !is(err, tenant.TooMany) {
			t.Errorf("one more from there: %v", err)
		}
		if err := try(p.member, password, "2001:db8:0:1::1"); err != nil {
			t.Errorf("from elsewhere: %v", err)
		}
	})
}
