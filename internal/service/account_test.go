package service_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// notes are what an account's newest entry of an event tells of a field, and whether
// there is such an entry.
func (w *world) notes(t fatal, accountID, event, field string) (notes []any, found bool) {
	t.Helper()
	entries, _, err := w.SearchAuditOf(w.ctx, accountID, service.AuditSearch{AuditFilter: store.AuditFilter{Event: event}}, 1)
	if err != nil {
		t.Fatalf("the log: %v", err)
	}
	if len(entries) == 0 {
		return nil, false
	}
	for _, change := range entries[0].Changes {
		if change.Field == field {
			notes = append(notes, change.To)
		}
	}
	return notes, true
}

// TestReasons: why an account is disabled or enabled stands in its log, once, and only
// where something happened.
func TestReasons(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		const off, on = "managed_account.disabled", "managed_account.enabled"
		connection := tenant.Connection{Name: "Office", Kind: tenant.KindCredentials, Active: true, Usernames: []string{"alice"}}
		if _, err := w.CreateConnection(w.ctx, operator, p.child.ID, connection, once(), func(*tenant.Connection) ([]byte, error) { return nil, nil }); err != nil {
			t.Fatal(err)
		}
		act := map[string]func(reason string) error{
			"disable": func(reason string) error {
				_, err := w.DisableAccount(w.ctx, p.manager, p.child.ID, reason)
				return err
			},
			"hang up": func(reason string) error {
				_, err := w.DisableAndHangUp(w.ctx, p.manager, p.child.ID, reason)
				return err
			},
			"enable": func(reason string) error {
				_, err := w.EnableAccount(w.ctx, p.manager, p.child.ID, false, reason)
				return err
			},
			"reenable": func(reason string) error {
				_, err := w.EnableAccount(w.ctx, p.manager, p.child.ID, true, reason)
				return err
			},
		}
		for _, step := range []struct {
			act, reason, event string
			changes            bool
		}{
			{"disable", "they do not pay", off, true},
			{"disable", "they still do not", off, false},
			{"hang up", "nor now", off, false},
			{"enable", "they paid", on, true},
			{"enable", "again", on, false},
			{"reenable", "the phones, too", on, true}, // the connection alone
			{"reenable", "again", on, false},
			{"hang up", "stolen", off, true},
			{"reenable", "", on, true},
			{"disable", "", off, true},
		} {
			before := len(w.log(t, p.child.ID))
			if err := act[step.act](step.reason); err != nil {
				t.Fatalf("%s, %q: %v", step.act, step.reason, err)
			}
			var want []any
			if step.reason != "" {
				want = []any{step.reason}
			}
			if changed := len(w.log(t, p.child.ID)) > before; changed != step.changes {
				t.Errorf("%s, %q: an entry: %t", step.act, step.reason, changed)
			} else if got, _ := w.notes(t, p.child.ID, step.event, "reason"); changed && !slices.Equal(got, want) {
				t.Errorf("%s: the reason is %q, want %q", step.act, got, want)
			}
		}
		for name, act := range act {
			for reason, want := range map[string]tenant.Kind{" ": tenant.Missing, strings.Repeat("x", tenant.MaxName+1): tenant.OutOfRange, "a\nb": tenant.Invalid} {
				if err := act(reason); !is(err, want) {
					t.Errorf("%s, %.10q: %v", name, reason, err)
				}
			}
		}
	})
}

// TestRevealCredentials: a manager sees key and token of an account, and its log tells
// who did; nobody else sees them, and then it tells nothing.
func TestRevealCredentials(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		other := w.actor(t, w.root(t, "other@example.com", 1).Key)
		agents, nothing := w.group(t, p.root.ID, "Agents", "managed_accounts"), w.group(t, p.root.ID, "Others", "account")
		agent, key := w.member(t, p.root.ID, "agent@example.com", agents)
		_, none := w.member(t, p.root.ID, "none@example.com", nothing)
		const event = "managed_account.credentials_viewed"
		for what, test := range map[string]struct {
			actor tenant.Actor
			id    string
			want  tenant.Kind
		}{
			"another's":              {other, p.child.ID, tenant.NotFound},
			"the own":                {p.manager, p.root.ID, tenant.NotFound},
			"no manager":             {w.actor(t, p.child.Key), p.child.ID, tenant.Forbidden},
			"without the permission": {w.actor(t, none), p.child.ID, tenant.Forbidden},
		} {
			if _, err := w.RevealCredentials(w.ctx, test.actor, test.id); !is(err, test.want) {
				t.Errorf("%s: %v", what, err)
			}
			if _, err := w.ManagedConnections(w.ctx, test.actor, test.id); !is(err, test.want) {
				t.Errorf("connections, %s: %v", what, err)
			}
		}
		if _, found := w.notes(t, p.child.ID, event, ""); found {
			t.Error("the log tells of what nobody has seen")
		}
		if _, err := w.ManagedAccount(w.ctx, p.manager, p.child.ID); err != nil || count(w.log(t, p.child.ID), event) != 0 {
			t.Errorf("what the API shows is in the log: %v", err)
		}
		seen, err := w.RevealCredentials(w.ctx, w.actor(t, key), p.child.ID)
		if err != nil || seen.Key != p.child.Key || seen.Token != p.child.Token || seen.Managing == nil {
			t.Fatalf("revealed: %+v, %v", seen, err)
		}
		entries, _, err := w.SearchAuditOf(w.ctx, p.child.ID, service.AuditSearch{}, 1)
		if err != nil || entries[0].Event != event || entries[0].UserID != agent.ID || entries[0].MadeBy != "account_manager" || len(entries[0].Changes) != 0 {
			t.Errorf("the entry: %+v, %v", entries, err)
		}
	})
}

// TestManagedConnections: a manager sees the connections of an account.
func TestManagedConnections(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		for _, name := range []string{"Office", "Branch"} {
			connection := tenant.Connection{Name: name, Kind: tenant.KindCredentials, Usernames: []string{strings.ToLower(name)}}
			if _, err := w.CreateConnection(w.ctx, operator, p.child.ID, connection, once(), func(*tenant.Connection) ([]byte, error) { return nil, nil }); err != nil {
				t.Fatal(err)
			}
		}
		got, err := w.ManagedConnections(w.ctx, p.manager, p.child.ID)
		if err != nil || got.More || len(got.Rows) != 2 || got.Rows[0].Name != "Branch" || got.Rows[1].Usernames[0] != "office" {
			t.Errorf("connections: %+v, %v", got, err)
		}
	})
}
