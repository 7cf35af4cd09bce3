package service_test

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// The model: what the documents say, in as few lines as they take.

type modelAccount struct {
	id, email, name    string
	key, token         string
	manager            *modelAccount // nil for a root account
	disabled           bool
	blocked, cancelled bool
	pricing            bool
	limit              int64
	everManager        bool // what follows is a manager's
	approved           bool
	pool               int64
	accounts           []*modelAccount // in order of creation
	users              []*modelUser    // without the owner
	groups             []*modelGroup
	connections        []*modelConnection
	changes            int64 // in its audit log
}

type modelConnection struct {
	id, name, username, number, hold string
	active                           bool
}

type modelUser struct {
	id, email, key   string
	blocked, removed bool
	groups           []*modelGroup
}

type modelGroup struct {
	id, name    string
	permissions []string
}

func (a *modelAccount) GoString() string    { return a.email }
func (u *modelUser) GoString() string       { return u.email }
func (g *modelGroup) GoString() string      { return g.name }
func (c *modelConnection) GoString() string { return c.name }

// valid: it has a username, and nothing holds it.
func (c *modelConnection) valid() bool { return c.username != "" && c.hold == "" }

func (a *modelAccount) status() string {
	switch {
	case a.cancelled:
		return "cancelled"
	case a.blocked:
		return "blocked"
	case a.disabled:
		return "disabled"
	}
	return "enabled"
}

func (a *modelAccount) free() int64 {
	free := a.pool
	for _, child := range a.accounts {
		free -= child.limit
	}
	return free
}

// admission is what becomes of the owner's key.
func (a *modelAccount) admission() string {
	switch {
	case a.cancelled || a.manager != nil && a.manager.cancelled:
		return refusal(tenant.Unauthenticated)
	case a.blocked || a.manager != nil && a.manager.blocked:
		return refusal(tenant.Blocked)
	case a.disabled:
		return refusal(tenant.Inactive)
	}
	return ""
}

func (a *modelAccount) userAdmission(u *modelUser) string {
	switch {
	case u.removed:
		return refusal(tenant.Unauthenticated)
	case a.admission() != "":
		return a.admission()
	case u.blocked:
		return refusal(tenant.Blocked)
	}
	return ""
}

func (a *modelAccount) may(u *modelUser, permission string) bool {
	return slices.ContainsFunc(u.groups, func(g *modelGroup) bool { return slices.Contains(g.permissions, permission) })
}

// taken: an address is unique among the accounts that are not cancelled, and the
// manager, ignoring case.
func (a *modelAccount) taken(email string) bool {
	return strings.EqualFold(a.email, email) || slices.ContainsFunc(a.accounts, func(c *modelAccount) bool {
		return !c.cancelled && strings.EqualFold(c.email, email)
	})
}

func (a *modelAccount) list(f service.AccountFilter) (ids []string) {
	var found []*modelAccount
	for _, c := range a.accounts {
		status := f.Status == c.status() || f.Status == "all" || f.Status == "active" && !c.cancelled ||
			f.Status == "" && (f.Cancelled || !c.cancelled)
		contains := func(text, term string) bool { return strings.Contains(strings.ToLower(text), strings.ToLower(term)) }
		if status && (f.EmailEq == "" || f.EmailEq == c.email) && (f.NameEq == "" || f.NameEq == c.name) &&
			contains(c.email, f.EmailContains) && contains(c.name, f.NameContains) &&
			(contains(c.email, f.Contains) || contains(c.name, f.Contains)) {
			found = append(found, c)
		}
	}
	if f.ByEmail {
		slices.SortStableFunc(found, func(x, y *modelAccount) int {
			return cmp.Compare(strings.ToLower(x.email), strings.ToLower(y.email))
		})
	}
	if !f.Ascending {
		slices.Reverse(found)
	}
	for _, c := range found {
		ids = append(ids, c.id)
	}
	return ids
}

// machine does the same to the model and to the product.
type machine struct {
	*world
	address  string
	roots    []*modelAccount
	requests int
}

func (m *machine) want(t *rapid.T, what string, err error, want string) {
	t.Helper()
	if got := kind(err); got != want {
		t.Fatalf("%s: got %q (%v), want %q", what, got, err, want)
	}
}

func (m *machine) anyRoot(t *rapid.T) *modelAccount {
	return rapid.SampledFrom(m.roots).Draw(t, "root")
}

// any is an account, root or managed. Half of the time it is one of few, so that
// several things happen to the same.
func (m *machine) any(t *rapid.T) *modelAccount {
	all := slices.Clone(m.roots)
	few := rapid.Bool().Draw(t, "few")
	for _, r := range m.roots {
		if few {
			all = append(all, r.accounts[:min(1, len(r.accounts))]...)
		} else {
			all = append(all, r.accounts...)
		}
	}
	return rapid.SampledFrom(all).Draw(t, "account")
}

// asManager authenticates the root; when that is refused as it should, nil comes
// back.
func (m *machine) asManager(t *rapid.T, root *modelAccount) *tenant.Actor {
	actor, err := m.auth.Actor(m.ctx, auth.Credentials{Authorization: "Bearer " + root.key})
	m.want(t, "manager's key", err, root.admission())
	if err != nil {
		return nil
	}
	return &actor
}

func (m *machine) create(t *rapid.T) {
	root := m.anyRoot(t)
	actor := m.asManager(t, root)
	if actor == nil {
		return
	}
	in := service.NewAccount{BusinessName: rapid.SampledFrom([]string{"Acme", "ACME GmbH", "Größe", "x", " "}).Draw(t, "name")}
	want := ""
	switch {
	case !root.approved:
		want = refusal(tenant.Forbidden)
	case in.BusinessName == " ":
		want = refusal(tenant.Missing)
	}
	email := rapid.SampledFrom([]string{"", "a@example.com", "A@Example.com", "b@example.com", "ab+c@example.com", root.email, "not an address"}).Draw(t, "email")
	if email != "" {
		in.Email = &email
		switch {
		case want != "":
		case email == "not an address":
			want = refusal(tenant.BadEmail)
		case root.taken(email):
			want = refusal(tenant.Duplicate)
		}
	}
	// Each request has a body of its own, so that only a retry gets a kept answer.
	m.requests++
	once := service.Once{Request: root.id, Body: fmt.Append(nil, m.requests)}
	if rapid.Bool().Draw(t, "keyed") {
		once.Key = fmt.Sprint("key", m.requests)
	}
	made, err := m.world.create(*actor, in, once)
	m.want(t, "create", err, want)
	if err != nil {
		return
	}
	child := &modelAccount{
		id: made.ID, email: email, name: in.BusinessName, key: made.Key, token: made.Token, manager: root,
		limit: min(2, root.free()), changes: 1,
	}
	if email == "" {
		child.email = made.Email
	}
	root.accounts = append(root.accounts, child)
	m.compare(t, child, made)

	for try := range rapid.Int64Range(0, 2).Draw(t, "retries") {
		once.Try = try + 1
		again, err := m.world.create(*actor, in, once)
		m.want(t, "retried create", err, "")
		if again.ID != child.id {
			t.Fatalf("try %d made another account", try+1)
		}
	}
}

func (m *machine) compare(t *rapid.T, a *modelAccount, got *service.Account) {
	t.Helper()
	want := [...]any{a.id, a.email, a.name, a.key, a.token, a.status(), a.pricing, a.limit}
	have := [...]any{got.ID, got.Email, got.OrganizationName, got.Key, got.Token, string(got.Status()), got.AllowCustomPricing, got.ChannelLimit}
	if have != want {
		t.Fatalf("the account is\n%v, want\n%v", have, want)
	}
	if got.UpdatedAt.Before(got.CreatedAt) {
		t.Fatalf("updated before created")
	}
	if a.manager != nil && (got.Managing == nil || got.Managing.ID != a.manager.id || got.APIUser() != a.manager.email) {
		t.Fatalf("its manager is %v", got.Managing)
	}
}

// alter changes an account as its manager, or as another one, who does not see
// it.
func (m *machine) alter(t *rapid.T, what string, act func(tenant.Actor, string) (*service.Account, error), refused func(*modelAccount) string, change func(*modelAccount) bool) {
	target := m.any(t)
	root := target.manager
	if root == nil || rapid.IntRange(0, 4).Draw(t, "somebody else") == 0 {
		root = m.anyRoot(t)
	}
	actor := m.asManager(t, root)
	if actor == nil {
		return
	}
	want := ""
	switch {
	case !root.approved:
		want = refusal(tenant.Forbidden)
	case target.manager != root:
		want = refusal(tenant.NotFound)
	default:
		want = refused(target)
	}
	got, err := act(*actor, target.id)
	m.want(t, what, err, want)
	if err == nil {
		if change(target) {
			target.changes++
		}
		m.compare(t, target, got)
	}
}

// final is what a cancelled account answers to what asks for a change.
func final(a *modelAccount, asks bool) string {
	if a.cancelled && asks {
		return refusal(tenant.Conflict)
	}
	return ""
}

func set[T comparable](field *T, to T) bool {
	changed := *field != to
	*field = to
	return changed
}

func (m *machine) update(t *rapid.T) {
	allow := rapid.SampledFrom([]*bool{nil, ptr(true), ptr(false)}).Draw(t, "allow")
	m.alter(t, "update", func(actor tenant.Actor, id string) (*service.Account, error) {
		return m.UpdateManagedAccount(m.ctx, actor, id, allow)
	}, func(a *modelAccount) string { return final(a, allow != nil) },
		func(a *modelAccount) bool { return allow != nil && set(&a.pricing, *allow) })
}

func (m *machine) disable(t *rapid.T) {
	m.alter(t, "disable", func(actor tenant.Actor, id string) (*service.Account, error) {
		return m.DisableAccount(m.ctx, actor, id, "")
	}, func(a *modelAccount) string { return final(a, true) }, func(a *modelAccount) bool {
		changed := set(&a.disabled, true)
		for _, c := range a.connections {
			if changed {
				c.active = false
			}
		}
		return changed
	})
}

func (m *machine) enable(t *rapid.T) {
	reenable := rapid.Bool().Draw(t, "reenable")
	var left []string
	m.alter(t, "enable", func(actor tenant.Actor, id string) (*service.Account, error) {
		account, err := m.EnableAccount(m.ctx, actor, id, reenable, "")
		if err == nil {
			for _, l := range account.LeftOff {
				left = append(left, l.Connection.Name)
			}
		}
		return account, err
	}, func(a *modelAccount) string { return final(a, true) }, func(a *modelAccount) bool {
		changed := set(&a.disabled, false)
		var want []string
		for _, c := range a.connections {
			switch {
			case !reenable:
			case c.valid():
				changed = set(&c.active, true) || changed
			default:
				want = append(want, c.name)
			}
		}
		if !slices.Equal(left, sorted(want)) {
			t.Fatalf("left off are %q, want %q", left, want)
		}
		return changed
	})
}

func (m *machine) setLimit(t *rapid.T) {
	limit := rapid.Int64Range(-1, 12).Draw(t, "limit")
	m.alter(t, "set the limit", func(actor tenant.Actor, id string) (*service.Account, error) {
		if _, err := m.SetChannelLimit(m.ctx, actor, id, &limit); err != nil {
			return nil, err
		}
		return m.ManagedAccount(m.ctx, actor, id)
	}, func(a *modelAccount) string {
		switch {
		case limit < 0:
			return refusal(tenant.OutOfRange)
		case a.cancelled:
			return final(a, true)
		case limit-a.limit > a.manager.free() && limit != a.limit:
			return refusal(tenant.OutOfRange)
		}
		return ""
	}, func(a *modelAccount) bool { return set(&a.limit, limit) })
}

// operate does what only the operator may, to any account.
func (m *machine) operate(t *rapid.T) {
	a := m.any(t)
	var want string
	var changed bool
	var got *service.Account
	var err error
	what := rapid.SampledFrom([]string{"block", "unblock", "unblock", "cancel", "approve", "approve", "revoke"}).Draw(t, "operation")
	switch what {
	case "block":
		want = final(a, true)
		got, err = m.BlockAccount(m.ctx, operator, a.id)
		changed = err == nil && set(&a.blocked, true)
	case "unblock":
		want = final(a, true)
		got, err = m.UnblockAccount(m.ctx, operator, a.id)
		changed = err == nil && set(&a.blocked, false)
	case "cancel":
		// The roots live longer, or little would happen in most sequences.
		if a.manager == nil && rapid.IntRange(0, 9).Draw(t, "spare the root") > 0 {
			return
		}
		got, err = m.CancelAccount(m.ctx, operator, a.id)
		changed = set(&a.cancelled, true)
		a.limit, a.connections = 0, nil
	case "approve":
		pool := rapid.SampledFrom([]*int64{nil, ptr[int64](-1), ptr[int64](3), ptr[int64](8), ptr[int64](20)}).Draw(t, "pool")
		switch {
		case a.cancelled || a.manager != nil:
			want = refusal(tenant.Conflict)
		case pool != nil && (*pool < 0 || *pool < a.pool-a.free()):
			want = refusal(tenant.OutOfRange)
		}
		got, err = m.ApproveManager(m.ctx, operator, a.id, pool)
		if err == nil {
			changed = set(&a.approved, true)
			if pool != nil {
				changed = set(&a.pool, *pool) || changed
			}
		}
	case "revoke":
		got, err = m.RevokeManager(m.ctx, operator, a.id)
		changed = set(&a.approved, false)
	}
	m.want(t, what, err, want)
	if changed {
		a.changes++
	}
	if err == nil {
		m.compare(t, a, got)
	}
}

// people does something to the users and groups of an account.
func (m *machine) people(t *rapid.T) {
	a := m.any(t)
	switch what := rapid.SampledFrom([]string{"user", "user", "group", "join", "leave", "block", "unblock", "remove", "alter group", "remove group"}).Draw(t, "what"); what {
	case "user":
		email := rapid.SampledFrom([]string{"u@example.com", "U@example.com", "v@example.com", "w@example.com", a.email}).Draw(t, "email")
		in := service.NewUser{Email: email}
		u := &modelUser{email: email}
		if len(a.groups) > 0 && rapid.Bool().Draw(t, "grouped") {
			// A group that is named twice counts once.
			u.groups = []*modelGroup{rapid.SampledFrom(a.groups).Draw(t, "group")}
			in.GroupIDs = []string{u.groups[0].id, u.groups[0].id}[:rapid.IntRange(1, 2).Draw(t, "times")]
		}
		want := ""
		switch {
		case a.cancelled:
			want = refusal(tenant.Conflict)
		case strings.EqualFold(email, a.email) || slices.ContainsFunc(a.users, func(o *modelUser) bool { return !o.removed && strings.EqualFold(o.email, email) }):
			want = refusal(tenant.Duplicate)
		}
		_, err := m.CreateUser(m.ctx, operator, a.id, in, once(), func(made *service.User, key string) ([]byte, error) {
			u.id, u.key = made.ID, key
			return nil, nil
		})
		m.want(t, "create a user", err, want)
		if err == nil {
			a.users = append(a.users, u)
			a.changes++
		}
	case "group":
		name := rapid.SampledFrom([]string{"Engineering", "Sales", "=cmd"}).Draw(t, "name")
		g := &modelGroup{name: name, permissions: rapid.SampledFrom([][]string{nil, {"organization"}, {"account", "managed_accounts"}, {"root"}}).Draw(t, "permissions")}
		want := ""
		switch {
		case slices.Contains(g.permissions, "root"):
			want = refusal(tenant.NotEnumerated)
		case slices.ContainsFunc(a.groups, func(o *modelGroup) bool { return o.name == name }):
			want = refusal(tenant.Duplicate)
		}
		_, err := m.CreateGroup(m.ctx, operator, a.id, "", name, g.permissions, once(), func(made *tenant.Group) ([]byte, error) {
			g.id = made.ID
			return nil, nil
		})
		m.want(t, "create a group", err, want)
		if err == nil {
			a.groups = append(a.groups, g)
			a.changes++
		}
	case "alter group", "remove group":
		owner, denied := m.auth.Actor(m.ctx, auth.Credentials{Authorization: "Bearer " + a.key})
		m.want(t, "owner's key", denied, a.admission())
		if denied != nil || len(a.groups) == 0 {
			return
		}
		m.changeGroup(t, a, owner, what == "remove group")
	default:
		if len(a.users) == 0 {
			return
		}
		u := rapid.SampledFrom(a.users).Draw(t, "user")
		want, changed := "", false
		if u.removed {
			want = refusal(tenant.NotFound)
		}
		var err error
		switch what {
		case "join", "leave":
			if len(a.groups) == 0 {
				return
			}
			g := rapid.SampledFrom(a.groups).Draw(t, "group")
			_, err = m.SetMember(m.ctx, operator, a.id, g.id, u.id, what == "join")
			if in := slices.Contains(u.groups, g); err == nil && in != (what == "join") {
				changed = true
				if in {
					u.groups = slices.DeleteFunc(u.groups, func(o *modelGroup) bool { return o == g })
				} else {
					u.groups = append(u.groups, g)
				}
			}
		case "block":
			_, err = m.BlockUser(m.ctx, operator, a.id, u.id)
			changed = err == nil && set(&u.blocked, true)
		case "unblock":
			_, err = m.UnblockUser(m.ctx, operator, a.id, u.id)
			changed = err == nil && set(&u.blocked, false)
		case "remove":
			owner, denied := m.auth.Actor(m.ctx, auth.Credentials{Authorization: "Bearer " + a.key})
			m.want(t, "owner's key", denied, a.admission())
			if denied != nil {
				return
			}
			_, err = m.RemoveUser(m.ctx, owner, u.id, once(), func(*service.User) ([]byte, error) { return nil, nil })
			changed = err == nil && set(&u.removed, true)
			u.groups = nil
		}
		m.want(t, what+" a user", err, want)
		if changed {
			a.changes++
		}
	}
}

// changeGroup alters a group of the owner's, or removes it; what it leaves behind may be
// pruned at any time.
func (m *machine) changeGroup(t *rapid.T, a *modelAccount, owner tenant.Actor, remove bool) {
	g := rapid.SampledFrom(a.groups).Draw(t, "group")
	if !remove {
		name := rapid.SampledFrom([]string{"Engineering", "Sales", "Support"}).Draw(t, "name")
		permissions := rapid.SampledFrom([][]string{nil, {"organization"}, {"account", "managed_accounts"}}).Draw(t, "permissions")
		want := ""
		if slices.ContainsFunc(a.groups, func(o *modelGroup) bool { return o != g && o.name == name }) {
			want = refusal(tenant.Duplicate)
		}
		got, err := m.AlterGroup(m.ctx, owner, g.id, name, permissions)
		m.want(t, "alter a group", err, want)
		if err != nil {
			return
		}
		if got.ID != g.id || got.Name != name || !slices.Equal(got.Permissions, permissions) {
			t.Fatalf("the group is %+v", got)
		}
		if g.name != name || !slices.Equal(g.permissions, permissions) {
			a.changes++
		}
		g.name, g.permissions = name, permissions
		return
	}
	m.want(t, "remove a group", m.RemoveGroup(m.ctx, owner, g.id), "")
	a.changes++
	a.groups = slices.DeleteFunc(a.groups, func(o *modelGroup) bool { return o == g })
	for _, u := range a.users {
		u.groups = slices.DeleteFunc(u.groups, func(o *modelGroup) bool { return o == g })
	}
	if rapid.Bool().Draw(t, "prune") {
		err := m.db.Update(m.ctx, "prune", func(tx *store.Tx) error {
			_, err := tx.Prune(tx.Now().Add(-store.KeepEvents), 1)
			return err
		})
		m.want(t, "prune", err, "")
	}
}

// used reports whether another connection, of whatever account, has one of the two.
func (m *machine) used(but *modelConnection, username, number string) bool {
	has := func(c *modelConnection) bool {
		return c != but && (username != "" && strings.EqualFold(c.username, username) || number != "" && c.number == number)
	}
	return slices.ContainsFunc(m.roots, func(r *modelAccount) bool {
		return slices.ContainsFunc(append(slices.Clone(r.accounts), r), func(a *modelAccount) bool { return slices.ContainsFunc(a.connections, has) })
	})
}

// connect does something to the connections of an account.
func (m *machine) connect(t *rapid.T) {
	a := m.any(t)
	username := rapid.SampledFrom([]string{"", "alice", "Alice", "bob"}).Draw(t, "username")
	number := rapid.SampledFrom([]string{"", "", "+441", "+442", "0044"}).Draw(t, "number")
	hold := rapid.SampledFrom([]string{"", "", "unpaid"}).Draw(t, "hold")
	active := rapid.Bool().Draw(t, "active")
	list := func(value string) []string { return strings.Fields(value) }
	if len(a.connections) == 0 || rapid.IntRange(0, 2).Draw(t, "another") == 0 {
		c := &modelConnection{name: rapid.SampledFrom([]string{"Office", "Branch", "Trunk"}).Draw(t, "name"), username: strings.ToLower(username), number: number, hold: hold}
		c.active = active && c.valid() && !a.disabled
		want := ""
		switch {
		case a.cancelled:
			want = refusal(tenant.Conflict)
		case number == "0044":
			want = refusal(tenant.BadNumber)
		case m.used(nil, username, number) || slices.ContainsFunc(a.connections, func(o *modelConnection) bool { return o.name == c.name }):
			want = refusal(tenant.Duplicate)
		}
		made, err := m.connection(a.id, tenant.Connection{
			Name: c.name, Kind: tenant.KindCredentials, Active: active, Hold: hold, Usernames: list(username), Numbers: list(number),
		}, once())
		m.want(t, "create a connection", err, want)
		if err == nil {
			c.id = made.ID
			a.connections = append(a.connections, c)
			a.changes++
		}
		return
	}
	at := rapid.IntRange(0, len(a.connections)-1).Draw(t, "connection")
	c := a.connections[at]
	if rapid.IntRange(0, 4).Draw(t, "remove") == 0 {
		_, err := m.RemoveConnection(m.ctx, operator, a.id, c.id)
		m.want(t, "remove a connection", err, "")
		a.connections = slices.Delete(a.connections, at, at+1)
		a.changes++
		return
	}
	after := *c
	after.username, after.number, after.hold, after.active = username, number, hold, active
	want, stopped := "", !after.valid() || a.disabled
	switch {
	case number == "0044":
		want = refusal(tenant.BadNumber)
	case active && stopped && !c.active:
		want = refusal(tenant.Conflict)
	case m.used(c, username, number):
		want = refusal(tenant.Duplicate)
	}
	after.active = active && !stopped
	_, err := m.AlterConnection(m.ctx, operator, a.id, c.id, func(c *tenant.Connection) {
		c.Usernames, c.Numbers, c.Hold, c.Active = list(username), list(number), hold, active
	})
	m.want(t, "alter a connection", err, want)
	if after.username = strings.ToLower(after.username); err == nil && set(c, after) {
		a.changes++
	}
}

// keys authenticates with every key there ever was.
func (m *machine) keys(t *rapid.T) {
	owners := slices.Clone(m.roots)
	for _, r := range m.roots {
		owners = append(owners, r.accounts...)
	}
	for _, a := range owners {
		for _, c := range []auth.Credentials{
			{Authorization: "Bearer " + a.key}, {Authorization: "bearer  " + a.key}, {Authorization: "Token " + a.token},
			{User: strings.ToUpper(a.email), Token: a.token},
		} {
			actor, err := m.auth.Actor(m.ctx, c)
			m.want(t, "key of "+a.status(), err, a.admission())
			if err == nil && (actor.AccountID != a.id || !actor.Owner() || actor.Manager != a.approved) {
				t.Fatalf("the key of %s, approved %t, is of %+v", a.id, a.approved, actor)
			}
		}
		for _, c := range []auth.Credentials{{Authorization: "Token " + a.key}, {Authorization: "Bearer " + a.token}, {User: "x@example.com", Token: a.token}} {
			_, err := m.auth.Actor(m.ctx, c)
			m.want(t, "wrong kind of key", err, refusal(tenant.Unauthenticated))
		}
		for _, u := range a.users {
			actor, err := m.auth.Actor(m.ctx, auth.Credentials{Authorization: "Bearer " + u.key})
			m.want(t, "user's key", err, a.userAdmission(u))
			for _, permission := range []string{"organization", "account", "managed_accounts", "messaging"} {
				if err == nil && (actor.UserID != u.id || actor.Owner() || actor.May(permission) != a.may(u, permission)) {
					t.Fatalf("user %s may %s: %t", u.id, permission, actor.May(permission))
				}
			}
		}
	}
}

// lists walks through a list in any order, filter and size of page.
func (m *machine) lists(t *rapid.T) {
	root := m.anyRoot(t)
	email := rapid.SampledFrom([]string{"", "", "", "a@example.com", "A@Example.com", "none@example.com"}).Draw(t, "email eq")
	f := service.AccountFilter{
		EmailEq: email, EmailContains: rapid.SampledFrom([]string{"", "", "EXAMPLE", "+managed-", "zzz"}).Draw(t, "email contains"),
		NameEq:       rapid.SampledFrom([]string{"", "", "", "Acme"}).Draw(t, "name eq"),
		NameContains: rapid.SampledFrom([]string{"", "", "acme", "GRÖSSE", "größe"}).Draw(t, "name contains"),
		Contains:     rapid.SampledFrom([]string{"", "", "acme", "example", "zzz"}).Draw(t, "contains"),
		Status:       rapid.SampledFrom([]string{"", "", "all", "active", "enabled", "disabled", "blocked", "cancelled"}).Draw(t, "status"),
		Cancelled:    rapid.Bool().Draw(t, "cancelled"), ByEmail: rapid.Bool().Draw(t, "by email"), Ascending: rapid.Bool().Draw(t, "ascending"),
	}
	want := root.list(f)
	size := rapid.Int64Range(1, 5).Draw(t, "size")
	m.requests++
	var got []string
	for number := int64(1); ; number++ {
		page, place, err := m.AccountsOf(m.ctx, root.id, f, service.Page{Number: number, Size: size, Reader: fmt.Sprint(m.requests)})
		m.want(t, "list", err, "")
		if place.Total != int64(len(want)) {
			t.Fatalf("page %d of %+v counts %d, want %d", number, f, place.Total, len(want))
		}
		got = append(got, ids(page)...)
		if number*size >= place.Total {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("list %+v by %d:\n%q\nwant\n%q", f, size, got, want)
	}
}

func (m *machine) listUsers(t *rapid.T) {
	a := m.any(t)
	f := service.UserFilter{
		EmailContains: rapid.SampledFrom([]string{"", "", "U@", "example"}).Draw(t, "email"),
		Status:        rapid.SampledFrom([]string{"", "enabled", "blocked", "disabled"}).Draw(t, "status"), Groups: true,
	}
	var want []string
	add := func(id, email, status string, groups []*modelGroup) {
		if strings.Contains(strings.ToLower(email), strings.ToLower(f.EmailContains)) && (f.Status == "" || f.Status == status) {
			var names []string
			for _, g := range groups {
				names = append(names, g.name)
			}
			want = append(want, fmt.Sprint(id, email, status, sorted(names)))
		}
	}
	add(a.id, a.email, "enabled", nil)
	for _, u := range a.users {
		if status := map[bool]string{false: "enabled", true: "blocked"}[u.blocked]; !u.removed {
			add(u.id, u.email, status, u.groups)
		}
	}
	size := rapid.Int64Range(1, 4).Draw(t, "size")
	m.requests++
	var got []string
	for number := int64(1); ; number++ {
		page, place, err := m.UsersOf(m.ctx, a.id, f, service.Page{Number: number, Size: size, Reader: fmt.Sprint(m.requests)})
		m.want(t, "list users", err, "")
		for _, u := range page {
			var names []string
			for _, g := range u.Groups {
				names = append(names, g.Name)
			}
			got = append(got, fmt.Sprint(u.ID, u.Email, string(u.Status), names))
		}
		if number*size >= place.Total {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("users %+v by %d:\n%q\nwant\n%q", f, size, got, want)
	}
}

// retrieve looks at one account, from the operator's and the manager's side.
func (m *machine) retrieve(t *rapid.T) {
	a := m.any(t)
	got, err := m.AnyAccount(m.ctx, a.id)
	m.want(t, "retrieve", err, "")
	m.compare(t, a, got)
	if a.manager == nil && a.everManager {
		if mgr := got.Manager; mgr.Approved != a.approved || mgr.ChannelPool != a.pool || mgr.Free() != a.free() || mgr.Accounts != int64(len(a.accounts)) {
			t.Fatalf("manager %+v, want pool %d and %d free", *mgr, a.pool, a.free())
		}
	}
	connections, err := m.Connections(m.ctx, a.id)
	m.want(t, "list connections", err, "")
	var have, want []string
	for _, c := range connections {
		have = append(have, fmt.Sprint(c.Name, c.ID, c.Usernames, c.Numbers, c.Hold, c.Active))
	}
	for _, c := range a.connections {
		want = append(want, fmt.Sprint(c.name, c.id, strings.Fields(c.username), strings.Fields(c.number), c.hold, c.active))
	}
	if !slices.Equal(have, sorted(want)) {
		t.Fatalf("connections are\n%q, want\n%q", have, want)
	}
	_, place, err := m.AuditLogOf(m.ctx, a.id, service.AuditFilter{}, service.Page{Number: 1, Size: 1})
	if err != nil || place.Total != a.changes {
		t.Fatalf("the audit log has %d entries, want %d: %v", place.Total, a.changes, err)
	}
}

// restart closes the database and opens it again: nothing is remembered but what
// was stored.
func (m *machine) restart(t *rapid.T) {
	if rapid.IntRange(0, 2).Draw(t, "spare it") > 0 { // it takes long, with PostgreSQL
		return
	}
	if err := m.db.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	m.open(t, m.clock)
}

// open makes the world over what is at the address.
func (m *machine) open(t *rapid.T, clock *clock) {
	db, err := store.Open(t.Context(), m.address, store.Options{
		Source: tenant.NewSource(clock.Now, nil), Readers: 2, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { db.Close() })
	if m.world, err = newWorld(t.Context(), db, clock); err != nil {
		t.Fatal(err)
	}
}

// oneRun is a test whose databases are gone at the end of a run of rapid's, of
// which there may be hundreds.
type oneRun struct {
	testing.TB
	run *rapid.T
}

func (r oneRun) Cleanup(fn func()) { r.run.Cleanup(fn) }

// TestMachine does random things in random order and compares every answer with
// the model's; at the end the database must be sound.
func TestMachine(t *testing.T) {
	dbtest.InTurn(t, func(t *testing.T, address func(testing.TB) string) {
		t.Parallel()
		testMachine(t, func(run *rapid.T) string { return address(oneRun{t, run}) })
	})
}

func testMachine(t *testing.T, address func(*rapid.T) string) {
	steps, restarts := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		clock := newClock()
		m := &machine{address: address(t)}
		m.open(t, clock)
		for i, pool := range []int64{10, 3} {
			a := m.root(t, fmt.Sprintf("root%d@example.com", i), pool)
			m.roots = append(m.roots, &modelAccount{
				id: a.ID, email: a.Email, name: a.OrganizationName, key: a.Key, token: a.Token,
				everManager: true, approved: true, pool: pool, changes: 2,
			})
		}
		t.Repeat(map[string]func(*rapid.T){
			"create": m.create, "create another": m.create,
			"update": m.update, "disable": m.disable, "enable": m.enable, "set limit": m.setLimit,
			"operate": m.operate, "people": m.people, "more people": m.people, "connect": m.connect, "connect another": m.connect,
			"keys": m.keys, "list": m.lists, "list users": m.listUsers, "retrieve": m.retrieve,
			"wait": func(t *rapid.T) { clock.Move(time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "time"))) },
			"restart": func(t *rapid.T) {
				before := m.db
				if m.restart(t); m.db != before {
					restarts++
				}
			},
			"": func(*rapid.T) { steps++ },
		})
		m.keys(t)
		if err := m.db.Verify(t.Context()); err != nil {
			t.Fatalf("not sound: %v", err)
		}
	})
	t.Logf("%d steps, %d restarts", steps, restarts)
}
