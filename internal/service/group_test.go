package service_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// member makes a user with a password, in groups.
func (w *world) member(t fatal, accountID, email string, groups ...tenant.Group) (service.User, string) {
	t.Helper()
	in := service.NewUser{Email: email, Password: ptr(password)}
	for _, g := range groups {
		in.GroupIDs = append(in.GroupIDs, g.ID)
	}
	return w.user(t, accountID, in)
}

// TestOwnGroups: who manages groups hands on what is the own, and no more; and nobody
// else does, nor anybody another's.
func TestOwnGroups(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		id := p.child.ID
		leads, money := w.group(t, id, "Leads", "organization", "numbers"), w.group(t, id, "Money", "account")
		numbers, theirs := w.group(t, id, "Numbers", "numbers"), w.group(t, p.root.ID, "Theirs")
		lead, key := w.member(t, id, "lead@example.com", leads, money)
		// The operator takes the right to see money away again.
		if _, err := w.SetMember(w.ctx, operator, id, money.ID, lead.ID, false); err != nil {
			t.Fatal(err)
		}
		_, none := w.member(t, id, "none@example.com", numbers)
		actor, owner, nobody := w.actor(t, key), w.actor(t, p.child.Key), w.actor(t, none)

		type act func(tenant.Actor) error
		create := func(name string, permissions ...string) act {
			return func(a tenant.Actor) error { _, err := w.CreateOwnGroup(w.ctx, a, name, permissions); return err }
		}
		alter := func(g tenant.Group, name string, permissions ...string) act {
			return func(a tenant.Actor) error { _, err := w.AlterGroup(w.ctx, a, g.ID, name, permissions); return err }
		}
		remove := func(g tenant.Group) act { return func(a tenant.Actor) error { return w.RemoveGroup(w.ctx, a, g.ID) } }
		join := func(g tenant.Group, userID string) act {
			return func(a tenant.Actor) error { return w.JoinGroup(w.ctx, a, g.ID, userID) }
		}
		leave := func(g tenant.Group, userID string) act {
			return func(a tenant.Actor) error { return w.LeaveGroup(w.ctx, a, g.ID, userID) }
		}
		read := func(g tenant.Group) act {
			return func(a tenant.Actor) error {
				_, err := w.OwnGroup(w.ctx, a, g.ID)
				_, _, members := w.GroupMembers(w.ctx, a, g.ID, 0, 10)
				if kind(err) != kind(members) {
					return fmt.Errorf("the group: %v, its members: %v", err, members)
				}
				return err
			}
		}
		for _, test := range []struct {
			name  string
			act   act
			actor tenant.Actor
			want  tenant.Kind // -1 for none
		}{
			{"grant what is not the own", create("New", "numbers", "account"), actor, tenant.Forbidden},
			{"grant it later", alter(numbers, "Numbers", "numbers", "account"), actor, tenant.Forbidden},
			{"take away what is not the own", alter(money, "Money"), actor, tenant.Forbidden},
			{"rename what grants more", alter(money, "Other", "account"), actor, tenant.Forbidden},
			{"remove what grants more", remove(money), actor, tenant.Forbidden},
			{"join what grants more", join(money, lead.ID), actor, tenant.Forbidden},
			{"let another join it", join(money, p.user.ID), actor, tenant.Forbidden},
			{"no such permission", create("New", "root"), actor, tenant.NotEnumerated},
			{"no such permission later", alter(numbers, "Numbers", "root"), owner, tenant.NotEnumerated},
			{"no name", create("", "numbers"), actor, tenant.Missing},
			{"a name that is taken", create("Leads"), actor, tenant.Duplicate},
			{"one that is taken, later", alter(numbers, "Leads", "numbers"), actor, tenant.Duplicate},
			{"see another's", read(theirs), owner, tenant.NotFound},
			{"alter another's", alter(theirs, "Ours"), owner, tenant.NotFound},
			{"remove another's", remove(theirs), owner, tenant.NotFound},
			{"join another's", join(theirs, p.user.ID), owner, tenant.NotFound},
			{"let another's user join", join(numbers, p.root.ID), owner, tenant.NotFound},
			{"create without the permission", create("New"), nobody, tenant.Forbidden},
			{"see without it", read(numbers), nobody, tenant.Forbidden},
			{"alter without it", alter(numbers, "New", "numbers"), nobody, tenant.Forbidden},
			{"remove without it", remove(numbers), nobody, tenant.Forbidden},
			{"join without it", join(numbers, p.user.ID), nobody, tenant.Forbidden},
			{"leave without it", leave(numbers, p.user.ID), nobody, tenant.Forbidden},
			{"nobody at all", create("New"), tenant.Actor{}, tenant.Forbidden},

			{"see", read(money), actor, -1},
			{"create", create("New", "numbers", "organization"), actor, -1},
			{"alter", alter(numbers, "Digits", "numbers", "organization"), actor, -1},
			{"change nothing", alter(numbers, "Digits", "numbers", "organization"), actor, -1},
			{"join", join(numbers, p.user.ID), actor, -1},
			{"join again", join(numbers, p.user.ID), actor, -1},
			{"the owner lets join", join(money, p.user.ID), owner, -1},
			{"leave, whatever it grants", leave(money, p.user.ID), actor, -1},
			{"the owner alters what grants more", alter(money, "Cash", "account", "porting"), owner, -1},
			{"remove", remove(numbers), actor, -1},
		} {
			before := len(w.log(t, id))
			err := test.act(test.actor)
			if test.want >= 0 {
				if !is(err, test.want) || len(w.log(t, id)) != before {
					t.Errorf("%s: %v", test.name, err)
				}
			} else if err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
		}
		groups, err := w.OwnGroups(w.ctx, actor)
		var got []string
		for _, g := range groups {
			got = append(got, fmt.Sprint(g.Name, g.Permissions))
		}
		if want := []string{"Cash[account porting]", "Leads[organization numbers]", "New[numbers organization]"}; err != nil || !slices.Equal(got, want) {
			t.Errorf("the groups are %q, want %q: %v", got, want, err)
		}
		if _, err := w.OwnGroups(w.ctx, nobody); !is(err, tenant.Forbidden) {
			t.Errorf("the groups without the permission: %v", err)
		}
		events := w.log(t, id)
		for event, want := range map[string]int{"group.created": 4, "group.updated": 2, "group.removed": 1,
			"organization_user.group_joined": 2, "organization_user.group_left": 2} {
			if n := count(events, event); n != want {
				t.Errorf("%d entries %s, want %d", n, event, want)
			}
		}
		entries, _, err := w.SearchAuditOf(w.ctx, id, service.AuditSearch{AuditFilter: store.AuditFilter{Event: "group.updated"}}, 2)
		want := []tenant.FieldChange{{Field: "name", From: "Numbers", To: "Digits"}, {Field: "permissions", From: "numbers", To: "numbers,organization"}}
		if err != nil || len(entries) != 2 || !slices.Equal(entries[1].Changes, want) || entries[1].UserID != lead.ID {
			t.Errorf("the entry: %+v, %v", entries, err)
		}
	})
}

// TestGroupsHoldAtOnce: what a group grants now is what its members may do, by key and
// session, and as another's owner.
func TestGroupsHoldAtOnce(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		owner := w.actor(t, p.root.Key)
		agents, more := w.group(t, p.root.ID, "Agents", "managed_accounts"), w.group(t, p.root.ID, "More", "porting")
		agent, key := w.member(t, p.root.ID, "agent@example.com", agents, more)
		own := w.portal(t, agent.Email)
		as, err := w.SignInAs(w.ctx, w.in(t, own.Token), p.child.ID, "they called", time.Hour, service.Where{}, "")
		if err != nil {
			t.Fatal(err)
		}
		may := func(what string, permissions ...string) {
			t.Helper()
			for who, actor := range map[string]tenant.Actor{"key": w.actor(t, key), "session": w.in(t, own.Token).Actor} {
				for _, p := range []string{"managed_accounts", "numbers", "porting"} {
					if actor.May(p) != slices.Contains(permissions, p) {
						t.Errorf("%s: by %s, may %s: %t", what, who, p, actor.May(p))
					}
				}
			}
			if _, err := w.auth.SignedIn(w.ctx, as.Token); (err == nil) != slices.Contains(permissions, "managed_accounts") {
				t.Errorf("%s: as the owner: %v", what, err)
			}
		}
		alter := func(g tenant.Group, permissions ...string) {
			t.Helper()
			if _, err := w.AlterGroup(w.ctx, owner, g.ID, g.Name, permissions); err != nil {
				t.Fatal(err)
			}
		}
		may("as made", "managed_accounts", "porting")
		alter(agents, "numbers")
		may("altered", "numbers", "porting")
		alter(agents, "managed_accounts", "numbers")
		may("altered back", "managed_accounts", "numbers", "porting")
		if err := w.RemoveGroup(w.ctx, owner, agents.ID); err != nil {
			t.Fatal(err)
		}
		may("removed", "porting")
		again := w.group(t, p.root.ID, agents.Name, "managed_accounts")
		may("another of that name", "porting")
		if err := w.JoinGroup(w.ctx, owner, again.ID, agent.ID); err != nil {
			t.Fatal(err)
		}
		may("joined", "managed_accounts", "porting")
		if err := w.LeaveGroup(w.ctx, owner, again.ID, agent.ID); err != nil {
			t.Fatal(err)
		}
		may("left", "porting")
	})
}

// TestGroupsHoldOnAllNodes: they do so on another node, which was told of the group alone.
func TestGroupsHoldOnAllNodes(t *testing.T) {
	t.Parallel()
	address := dbtest.Postgres(t)
	one := openWorld(t, address)
	two, err := newWorld(t.Context(), dbtest.Open(t, address, store.Options{Source: tenant.NewSource(one.clock.Now, nil)}), one.clock)
	if err != nil {
		t.Fatal(err)
	}
	p := one.people(t)
	owner := one.actor(t, p.child.Key)
	group := one.group(t, p.child.ID, "Staff", "numbers")
	_, key := one.member(t, p.child.ID, "staff@example.com", group)
	soon := func(what, permission string, want bool) {
		t.Helper()
		for until := time.Now().Add(10 * store.Staleness); two.actor(t, key).May(permission) != want; time.Sleep(time.Millisecond) {
			if time.Now().After(until) {
				t.Fatalf("%s: on the other node, may %s: %t", what, permission, !want)
			}
		}
	}
	soon("made", "numbers", true)
	if _, err := one.AlterGroup(one.ctx, owner, group.ID, group.Name, []string{"porting"}); err != nil {
		t.Fatal(err)
	}
	soon("altered", "porting", true)
	soon("altered", "numbers", false)
	if err := one.RemoveGroup(one.ctx, owner, group.ID); err != nil {
		t.Fatal(err)
	}
	soon("removed", "porting", false)
}

// TestGroupThatHasGone: its members are in it no more wherever anybody looks, and what
// it leaves behind goes a few rows at a time, also that of users who were removed.
func TestGroupThatHasGone(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		owner := w.actor(t, p.child.Key)
		gone, kept := w.group(t, p.child.ID, "A", "numbers"), w.group(t, p.child.ID, "B", "numbers")
		var users []service.User
		for i := range 7 {
			user, _ := w.member(t, p.child.ID, fmt.Sprintf("user%d@example.com", i), gone, kept)
			users = append(users, user)
		}
		if err := w.RemoveGroup(w.ctx, owner, gone.ID); err != nil {
			t.Fatal(err)
		}
		look := func() {
			t.Helper()
			in := 0
			if err := w.GroupsReport(w.ctx, owner, func(u *service.User) error {
				for _, g := range u.Groups {
					if in++; g.ID != kept.ID || g.Name != "B" {
						return fmt.Errorf("%s is in %+v", u.Email, g)
					}
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
			members, next, err := w.GroupMembers(w.ctx, owner, kept.ID, 0, 100)
			if err != nil || next != 0 || len(members) != in {
				t.Errorf("%d members, the report has %d: %v", len(members), in, err)
			}
			if user, err := w.User(w.ctx, owner, users[0].ID, true); err != nil || len(user.Groups) != 1 {
				t.Errorf("user: %+v, %v", user, err)
			}
		}
		look()
		if _, _, err := w.GroupMembers(w.ctx, owner, gone.ID, 0, 10); !is(err, tenant.NotFound) {
			t.Errorf("its members: %v", err)
		}
		if err := w.JoinGroup(w.ctx, owner, gone.ID, p.user.ID); !is(err, tenant.NotFound) {
			t.Errorf("join it: %v", err)
		}
		if err := w.RemoveGroup(w.ctx, owner, gone.ID); !is(err, tenant.NotFound) {
			t.Errorf("remove it again: %v", err)
		}
		if _, err := w.RemoveUser(w.ctx, owner, users[3].ID, once(), func(*service.User) ([]byte, error) { return nil, nil }); err != nil {
			t.Fatal(err)
		}
		var rounds []int64
		for n := int64(1); n > 0; {
			if err := w.db.Update(w.ctx, "prune", func(tx *store.Tx) (err error) {
				n, err = tx.Prune(tx.Now().Add(-store.KeepEvents), 3)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			rounds = append(rounds, n)
			look()
		}
		if want := []int64{3, 3, 1, 1, 0}; !slices.Equal(rounds, want) {
			t.Errorf("rows went: %v, want %v", rounds, want)
		}
	})
}

// TestGroupMembers: the pages of a group's members, of any size, have each member once,
// though others leave meanwhile.
func TestGroupMembers(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		owner := w.actor(t, p.child.Key)
		group, other := w.group(t, p.child.ID, "A"), w.group(t, p.child.ID, "B")
		var want []string
		for i := range 12 {
			in := group
			if i%3 == 1 {
				in = other
			}
			user, _ := w.member(t, p.child.ID, fmt.Sprintf("user%d@example.com", i), in)
			if in.ID == group.ID {
				want = append(want, user.ID)
			}
		}
		pages := func(limit int, between func()) (got []string) {
			t.Helper()
			for after := int64(0); ; between() {
				users, next, err := w.GroupMembers(w.ctx, owner, group.ID, after, limit)
				if err != nil || len(users) > limit || next != 0 && next <= after {
					t.Fatalf("after %d by %d: %d users, next %d, %v", after, limit, len(users), next, err)
				}
				for _, u := range users {
					got = append(got, u.ID)
				}
				if after = next; next == 0 {
					return got
				}
			}
		}
		for limit := 1; limit <= len(want)+1; limit++ {
			if got := pages(limit, func() {}); !slices.Equal(got, want) {
				t.Errorf("by %d: %v, want %v", limit, got, want)
			}
		}
		left := 0
		if got := pages(1, func() { // who was seen last leaves
			if err := w.LeaveGroup(w.ctx, owner, group.ID, want[left]); err != nil {
				t.Fatal(err)
			}
			left++
		}); !slices.Equal(got, want) {
			t.Errorf("while they leave: %v, want %v", got, want)
		}
		if _, _, err := w.GroupMembers(w.ctx, owner, group.ID, 0, 0); !is(err, tenant.OutOfRange) {
			t.Errorf("no limit: %v", err)
		}
	})
}

// TestInvitedToGroupThatHasGone: who was invited joins the groups that there still are.
func TestInvitedToGroupThatHasGone(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		owner := w.actor(t, p.child.Key)
		gone, kept := w.group(t, p.child.ID, "A", "numbers"), w.group(t, p.child.ID, "B", "porting")
		if _, err := w.Invite(w.ctx, owner, "new@example.com", []string{gone.ID, kept.ID}); err != nil {
			t.Fatal(err)
		}
		token := w.token(t, "new@example.com")
		if err := w.RemoveGroup(w.ctx, owner, gone.ID); err != nil {
			t.Fatal(err)
		}
		s, err := w.AcceptInvitation(w.ctx, token, password, service.Where{}, "")
		if err != nil {
			t.Fatal(err)
		}
		if actor := w.in(t, s.Token).Actor; actor.May("numbers") || !actor.May("porting") {
			t.Errorf("who was invited: %+v", actor)
		}
	})
}

// TestMostGroups: there are only so many groups, whoever makes them.
func TestMostGroups(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		owner := w.actor(t, p.child.Key)
		if err := w.db.Update(w.ctx, p.root.ID, func(tx *store.Tx) error {
			for i := range tenant.MaxGroups {
				change, err := tenant.NewGroup(owner, tenant.Group{ID: fmt.Sprint("g", i), AccountID: p.child.ID, Name: fmt.Sprint(i)})
				if err := errors.Join(err, tx.Apply(change)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.CreateOwnGroup(w.ctx, owner, "one more", nil); !is(err, tenant.Conflict) {
			t.Errorf("one more: %v", err)
		}
		if err := w.RemoveGroup(w.ctx, owner, "g7"); err != nil {
			t.Fatal(err)
		}
		if _, err := w.CreateOwnGroup(w.ctx, owner, "one more", nil); err != nil {
			t.Errorf("for one that went: %v", err)
		}
	})
}

// TestPermissionsAddUp: who is in several groups may do what each of them grants, and
// nobody else may, also from memory.
func TestPermissionsAddUp(t *testing.T) {
	eachWorld(t, func(t *testing.T, w *world) {
		p := w.people(t)
		var groups []tenant.Group
		for i, permission := range tenant.Permissions {
			groups = append(groups, w.group(t, p.child.ID, fmt.Sprint(i), permission))
		}
		_, all := w.member(t, p.child.ID, "all@example.com", groups...)
		_, few := w.member(t, p.child.ID, "few@example.com", groups[:2]...)
		for range 2 { // from the database, and from memory
			for key, want := range map[string]int{all: len(groups), few: 2} {
				actor, err := w.auth.Actor(w.ctx, auth.Credentials{Authorization: "Bearer " + key})
				if err != nil || len(actor.Permissions) != want {
					t.Errorf("may %q: %v", actor.Permissions, err)
				}
			}
		}
	})
}
