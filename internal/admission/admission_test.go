package admission_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/admission"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/tenant"
)

// TestReasons: each thing that stops an account gives its own reason, in the order
// of what is worst, and lifting it gives none.
func TestReasons(t *testing.T) {
	t.Parallel()
	eachWorld(t, admission.Options{}, func(t *testing.T, w *world) {
		a := w.child(t, 5)
		c := w.connection(t, a.ID, tenant.Connection{
			Name: "trunk", Kind: tenant.KindCredentials,
			Usernames: []string{"Alice"}, Addresses: []string{"192.0.2.1", "2001:db8::1"}, Numbers: []string{"+15550100"},
		})
		other := w.child(t, 5)
		otherConnection := w.connection(t, other.ID, tenant.Connection{Name: "trunk", Kind: tenant.KindCredentials, Usernames: []string{"bob"}})
		call := func(edit func(*admission.Request)) admission.Request {
			r := admission.Request{Kind: admission.Call, AccountID: a.ID}
			if edit != nil {
				edit(&r)
			}
			return r
		}
		want := func(what string, r admission.Request, reason admission.Reason) *admission.Decision {
			t.Helper()
			d := w.decide(t, r)
			if d.Reason != reason || d.Allowed() != (reason == admission.Allowed) || d.Degraded {
				t.Errorf("%s: %+v is %+v, not %s", what, r, d, reason)
			}
			return d
		}
		for _, r := range []admission.Request{
			call(nil),
			{Kind: admission.Call, SIPUsername: "aLICE"},
			{Kind: admission.Call, SourceIP: "::ffff:192.0.2.1"},
			{Kind: admission.Call, SourceIP: "2001:DB8:0::1"},
			{Kind: admission.Call, Number: "+15550100", Direction: admission.Inbound},
			{Kind: admission.Call, ConnectionID: c.ID},
			{Kind: admission.Register, SIPUsername: "alice", SourceIP: "192.0.2.1", AccountID: a.ID, ConnectionID: c.ID},
			{Kind: admission.Message, Number: "+15550100"},
			{Kind: admission.API, AccountID: a.ID},
			{Kind: admission.Login, AccountID: a.ID},
		} {
			if d := want("fine", r, admission.Allowed); d.AccountID != a.ID {
				t.Errorf("%+v is of %q", r, d.AccountID)
			}
		}
		for _, x := range []struct {
			what string
			r    admission.Request
			want admission.Reason
		}{
			{"nobody's account", admission.Request{Kind: admission.Call, AccountID: "no such account"}, admission.UnknownAccount},
			{"nobody's connection", admission.Request{Kind: admission.Call, ConnectionID: a.ID}, admission.UnknownConnection},
			{"nobody's name", admission.Request{Kind: admission.Call, SIPUsername: "carol"}, admission.UnknownUsername},
			{"nobody's address", admission.Request{Kind: admission.Call, SourceIP: "192.0.2.2"}, admission.UnknownSource},
			{"no address", admission.Request{Kind: admission.Call, SourceIP: "alice\x00"}, admission.UnknownSource},
			{"nobody's number", admission.Request{Kind: admission.Call, Number: "+15550101"}, admission.UnknownNumber},
			{"a long number", admission.Request{Kind: admission.Call, Number: strings.Repeat("9", 1000)}, admission.UnknownNumber},
			{"another's connection", call(func(r *admission.Request) { r.ConnectionID = otherConnection.ID }), admission.UnknownConnection},
			{"another's name", call(func(r *admission.Request) { r.SIPUsername = "bob" }), admission.UnknownUsername},
			{"another's name beside an address", admission.Request{Kind: admission.Call, SIPUsername: "alice", SourceIP: "192.0.2.9"}, admission.UnknownSource},
			{"more than the limit", call(func(r *admission.Request) { r.Units = 6 }), admission.ChannelLimit},
			{"the same inbound", call(func(r *admission.Request) { r.Units, r.Direction = 6, admission.Inbound }), admission.Allowed},
		} {
			want(x.what, x.r, x.want)
		}

		// What comes into the world is known at once, though it was asked for before.
		dave := w.connection(t, other.ID, tenant.Connection{Name: "dave", Kind: tenant.KindCredentials, Usernames: []string{"carol"}})
		if d := want("somebody's name by now", admission.Request{Kind: admission.Call, SIPUsername: "carol"}, admission.Allowed); d.ConnectionID != dave.ID {
			t.Errorf("carol is of connection %q, not %q", d.ConnectionID, dave.ID)
		}
		if _, err := w.tenants.RemoveConnection(w.ctx, operator, other.ID, dave.ID); err != nil {
			t.Fatal(err)
		}
		want("nobody's name any more", admission.Request{Kind: admission.Call, SIPUsername: "carol"}, admission.UnknownUsername)

		trunk := call(func(r *admission.Request) { r.ConnectionID = c.ID })
		alter := func(active bool) {
			t.Helper()
			if _, err := w.tenants.AlterConnection(w.ctx, operator, a.ID, c.ID, func(c *tenant.Connection) { c.Active = active }); err != nil {
				t.Fatal(err)
			}
		}
		alter(false)
		want("connection off", trunk, admission.ConnectionDisabled)
		want("the name of a connection that is off", admission.Request{Kind: admission.Register, SIPUsername: "alice"}, admission.ConnectionDisabled)
		want("the account alone", call(nil), admission.Allowed)
		alter(true)
		want("connection on", trunk, admission.Allowed)

		broke := int64(-1)
		if _, err := w.tenants.SetCredit(w.ctx, operator, a.ID, &broke, nil); err != nil {
			t.Fatal(err)
		}
		want("no money", call(nil), admission.InsufficientFunds)
		want("no money for a message", admission.Request{Kind: admission.Message, AccountID: a.ID}, admission.InsufficientFunds)
		want("no money, but an API", admission.Request{Kind: admission.API, AccountID: a.ID}, admission.Allowed)
		credit := int64(1)
		if _, err := w.tenants.SetCredit(w.ctx, operator, a.ID, nil, &credit); err != nil {
			t.Fatal(err)
		}
		want("credit", call(nil), admission.Allowed)

		w.disable(t, a.ID)
		for _, kind := range admission.Kinds {
			want("disabled", admission.Request{Kind: kind, AccountID: a.ID}, admission.AccountDisabled)
		}
		want("disabled, inbound", admission.Request{Kind: admission.Call, Number: "+15550100", Direction: admission.Inbound}, admission.AccountDisabled)
		if _, err := w.tenants.BlockAccount(w.ctx, operator, w.root.ID); err != nil {
			t.Fatal(err)
		}
		want("manager blocked", call(nil), admission.AccountBlocked)
		want("manager blocked", admission.Request{Kind: admission.Call, AccountID: other.ID}, admission.AccountBlocked)
		if _, err := w.tenants.UnblockAccount(w.ctx, operator, w.root.ID); err != nil {
			t.Fatal(err)
		}
		want("disabled still", call(nil), admission.AccountDisabled)
		w.enable(t, a.ID)
		want("enabled", trunk, admission.Allowed)
		if _, err := w.tenants.CancelAccount(w.ctx, operator, a.ID); err != nil {
			t.Fatal(err)
		}
		want("cancelled", call(nil), admission.AccountCancelled)
	})
}

// TestRollup: an account whose billing is rolled up spends its manager's money.
func TestRollup(t *testing.T) {
	t.Parallel()
	eachWorld(t, admission.Options{}, func(t *testing.T, w *world) {
		a := w.child(t, 5, func(in *service.NewAccount) { in.RollupBilling = true })
		call := admission.Request{Kind: admission.Call, AccountID: a.ID}
		for _, x := range []struct {
			balance int64
			want    admission.Reason
		}{{-1, admission.InsufficientFunds}, {0, admission.Allowed}} {
			if _, err := w.tenants.SetCredit(w.ctx, operator, w.root.ID, &x.balance, nil); err != nil {
				t.Fatal(err)
			}
			if d := w.decide(t, call); d.Reason != x.want {
				t.Errorf("with %d: %s, not %s", x.balance, d.Reason, x.want)
			}
		}
	})
}

// TestRefusedRequests: what cannot be asked is refused, with the field named.
func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	eachWorld(t, admission.Options{}, func(t *testing.T, w *world) {
		long := strings.Repeat("x", 256)
		for _, x := range []struct {
			r       admission.Request
			pointer string
		}{
			{admission.Request{}, "/kind"},
			{admission.Request{Kind: "fax", AccountID: "a"}, "/kind"},
			{admission.Request{Kind: admission.Call}, "/account_id"},
			{admission.Request{Kind: admission.Call, AccountID: "a", Direction: "up"}, "/direction"},
			{admission.Request{Kind: admission.Call, AccountID: "a", Units: -1}, "/units"},
			{admission.Request{Kind: admission.Call, AccountID: "a", Units: 1001}, "/units"},
			{admission.Request{Kind: admission.Call, AccountID: "a", Acquire: true}, "/call_id"},
			{admission.Request{Kind: admission.Message, AccountID: "a", Acquire: true, CallID: "c"}, "/acquire"},
			{admission.Request{Kind: admission.Call, AccountID: "a", Acquire: true, CallID: long}, "/call_id"},
			{admission.Request{Kind: admission.Call, AccountID: "a", CallID: "c\xff"}, "/call_id"},
			{admission.Request{Kind: admission.Call, AccountID: "a", CallID: "c\x00"}, "/call_id"},
			{admission.Request{Kind: admission.Call, AccountID: "a", CallID: "c", Switch: "s\n"}, "/switch"},
		} {
			var refusal *tenant.Error
			_, err := w.Decide(w.ctx, x.r)
			if e, ok := err.(*tenant.Error); ok {
				refusal = e
			}
			if refusal == nil || refusal.Pointer != x.pointer {
				t.Errorf("%+v: %+v, not a refusal of %s", x.r, err, x.pointer)
			}
		}
	})
}

// TestPace: more of a kind than the account may have are refused, and nothing else is.
func TestPace(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[string]int{}
	pace := func(kind, accountID string) bool {
		mu.Lock()
		defer mu.Unlock()
		seen[kind+accountID]++
		return seen[kind+accountID] <= 2
	}
	eachWorld(t, admission.Options{Pace: pace}, func(t *testing.T, w *world) {
		a := w.child(t, 5)
		var got []string
		for i := range 3 {
			got = append(got, string(w.acquire(t, a.ID, fmt.Sprint(i)).Reason))
		}
		for _, kind := range []string{admission.Message, admission.API, admission.Login, admission.Register} {
			for range 3 {
				got = append(got, string(w.decide(t, admission.Request{Kind: kind, AccountID: a.ID}).Reason))
			}
		}
		if want := strings.Repeat("allowed allowed rate_limited ", 5); strings.Join(got, " ")+" " != want {
			t.Errorf("%s, not %s", got, want)
		}
		if n := w.inUse(t, a.ID); n != 2 {
			t.Errorf("%d channels in use", n)
		}
	})
}

// TestDisableAtOnce: what was decided from memory a moment ago is decided anew as
// soon as a disable is confirmed on the same node.
func TestDisableAtOnce(t *testing.T) {
	t.Parallel()
	eachWorld(t, admission.Options{}, func(t *testing.T, w *world) {
		a := w.child(t, 5)
		call := admission.Request{Kind: admission.Call, AccountID: a.ID}
		var longest time.Duration
		for range 50 {
			if d := w.decide(t, call); !d.Allowed() {
				t.Fatalf("enabled: %+v", d)
			}
			w.disable(t, a.ID)
			began := time.Now()
			if d := w.decide(t, call); d.Reason != admission.AccountDisabled {
				t.Fatalf("disabled: %+v", d)
			}
			longest = max(longest, time.Since(began))
			w.enable(t, a.ID)
		}
		t.Logf("the first answer after a disable took %s at most", longest)
	})
}

// TestOtherNode: a disable is in force on another node within store.Staleness, and
// with the next call that takes a channel at once.
func TestOtherNode(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, here, there *world) {
		a := here.child(t, 5)
		call := admission.Request{Kind: admission.Call, AccountID: a.ID}
		for n := range 5 {
			if d := there.decide(t, call); !d.Allowed() {
				t.Fatalf("enabled: %+v", d)
			}
			here.disable(t, a.ID)
			if d := there.acquire(t, a.ID, fmt.Sprint(n)); d.Reason != admission.AccountDisabled {
				t.Fatalf("a call of a disabled account on the other node: %+v", d)
			}
			began := time.Now()
			for there.decide(t, call).Allowed() {
				if time.Since(began) > 2*time.Second {
					t.Fatal("the other node has not heard of it")
				}
				time.Sleep(time.Millisecond)
			}
			here.enable(t, a.ID)
			for !there.decide(t, call).Allowed() {
				time.Sleep(time.Millisecond)
			}
		}
	})
}
