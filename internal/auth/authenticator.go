package auth

import (
	"context"
	"crypto/subtle"
	"slices"
	"strings"
	"time"

	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// Credentials are what a request brought, as it stood in the headers.
type Credentials struct {
	// Authorization is "Bearer <V2 key>" or "Token <V1 token>".
	Authorization string
	// User and Token are the V1 headers x-api-user and x-api-token.
	User, Token string
}

// Authenticator turns credentials into an actor. It answers from memory; the
// store announces what it must forget before a change is confirmed.
type Authenticator struct {
	db       *store.DB
	sealer   *Sealer
	operator string
	// operatorID is whose sessions the operator's are, "" without a token.
	operatorID string
	switches   string
	keys       *store.Cache[*key]
	sessions   *store.Cache[*session]
	uses       uses
	accounts   *store.Cache[*account]
	users      *store.Cache[*user]
	groups     *store.Cache[*group]
}

// account is what authentication needs to know of one.
type account struct {
	tenant.Account
	manager bool
}

// user is kept with the ids of the groups, and group by its own id: what a group grants
// changes for all its members at once, without a word about any of them.
type user struct {
	tenant.User
	groups []string
}

type group struct{ permissions []string }

// NewAuthenticator makes one. The operator is who holds operatorToken; without
// a token there is no operator.
func NewAuthenticator(db *store.DB, sealer *Sealer, operatorToken string) *Authenticator {
	a := &Authenticator{
		db: db, sealer: sealer,
		keys:     store.NewCache[*key](db, 1<<17),
		sessions: store.NewCache[*session](db, 1<<16),
		accounts: store.NewCache[*account](db, 1<<17),
		users:    store.NewCache[*user](db, 1<<16),
		groups:   store.NewCache[*group](db, 1<<16),
	}
	if operatorToken != "" {
		a.operator, a.operatorID = sealer.Digest(operatorToken), sealer.OperatorID(operatorToken)
	}
	return a
}

// Operator is the operator's actor, or a refusal of kind Unauthenticated.
func (a *Authenticator) Operator(authorization string) (tenant.Actor, error) {
	token, ok := Bearer(authorization)
	if !ok || a.operator == "" || subtle.ConstantTimeCompare([]byte(a.sealer.Digest(token)), []byte(a.operator)) != 1 {
		return tenant.Actor{}, unauthenticated()
	}
	return tenant.Actor{Operator: true, CredentialID: "operator"}, nil
}

// AdmitSwitches lets whoever holds the token ask for decisions, beside the operator.
// It is called before anybody asks.
func (a *Authenticator) AdmitSwitches(token string) { a.switches = token }

// Switch refuses, with kind Unauthenticated, a token that is neither a switch's nor
// the operator's.
func (a *Authenticator) Switch(token string) error {
	// Compared as it is: a digest would cost more than the decision.
	if a.switches != "" && subtle.ConstantTimeCompare([]byte(token), []byte(a.switches)) == 1 {
		return nil
	}
	if a.operator != "" && token != "" && subtle.ConstantTimeCompare([]byte(a.sealer.Digest(token)), []byte(a.operator)) == 1 {
		return nil
	}
	return unauthenticated()
}

// Reading is how Holder asks the database for what is not in memory.
type Reading struct {
	// Gate runs the reading, or refuses it.
	Gate func(ctx context.Context, read func(context.Context) error) error
	// Age is how old that may be which is taken when the database cannot be reached.
	Age time.Duration
}

// Actor is who holds the credentials. It refuses with kind Unauthenticated for
// anything unknown, and with Inactive or Blocked for an account, or a user, that
// may not use services now.
func (a *Authenticator) Actor(ctx context.Context, c Credentials) (tenant.Actor, error) {
	key, own, managing, err := a.owner(ctx, c, Reading{})
	if err != nil {
		return tenant.Actor{}, err
	}
	// What stops the account is said before what stops the user.
	if err := own.Admit(managing); err != nil {
		return tenant.Actor{}, err
	}
	actor, err := a.actor(ctx, key, own, Reading{})
	if err != nil {
		return tenant.Actor{}, err
	}
	return actor, nil
}

// Holder is who holds the credentials, whatever the account's standing is: of that
// others judge. A user who may not act comes with the refusal that Actor has.
func (a *Authenticator) Holder(ctx context.Context, c Credentials, r Reading) (tenant.Actor, error) {
	key, own, _, err := a.owner(ctx, c, r)
	if err != nil {
		return tenant.Actor{}, err
	}
	return a.actor(ctx, key, own, r)
}

// owner is the account that the credentials are of, and its manager's, which is nil
// for a root account.
func (a *Authenticator) owner(ctx context.Context, c Credentials, r Reading) (*key, *account, *tenant.Account, error) {
	fail := func(err error) (*key, *account, *tenant.Account, error) { return nil, nil, nil, err }
	secret, kind := c.Token, tenant.KeyV1
	if c.Authorization != "" {
		var ok bool
		if secret, ok = Bearer(c.Authorization); ok {
			kind = tenant.KeyV2
		} else if secret, ok = cutScheme(c.Authorization, "Token"); !ok {
			return fail(unauthenticated())
		}
	}
	if secret == "" {
		return fail(unauthenticated())
	}
	digest := a.sealer.Digest(secret)
	key, err := a.key(ctx, digest, r)
	if err != nil {
		return fail(err)
	}
	if key.Kind != kind || subtle.ConstantTimeCompare([]byte(key.Digest), []byte(digest)) != 1 {
		return fail(unauthenticated())
	}
	if key.Name != "" { // the others never expire
		now := a.db.Source().Now()
		if key.Expired(now) {
			return fail(unauthenticated())
		}
		a.uses.ofKey(key, now)
	}
	own, managing, err := a.standing(ctx, key.AccountID, r)
	if err != nil {
		return fail(err)
	}
	if kind == tenant.KeyV1 && c.Authorization == "" && !namesAccount(c.User, &own.Account, managing) {
		return fail(unauthenticated())
	}
	return key, own, managing, nil
}

// standing is an account and its manager's, which is nil for a root account.
func (a *Authenticator) standing(ctx context.Context, id string, r Reading) (*account, *tenant.Account, error) {
	own, err := a.account(ctx, id, r)
	if err != nil || own.ManagerID == "" {
		return own, nil, err
	}
	managing, err := a.account(ctx, own.ManagerID, r)
	if err != nil {
		return nil, nil, err
	}
	return own, &managing.Account, nil
}

// actor is the user of a key.
func (a *Authenticator) actor(ctx context.Context, key *key, own *account, r Reading) (tenant.Actor, error) {
	actor := tenant.Actor{
		AccountID: own.ID, ManagerID: own.ManagerID, UserID: key.UserID, CredentialID: key.ID, Manager: own.manager,
	}
	if actor.Owner() {
		return actor, nil
	}
	u, err := a.user(ctx, key.UserID, r)
	if err != nil {
		return tenant.Actor{}, err
	}
	if actor.Permissions, err = a.permissions(ctx, u, r); err != nil {
		return tenant.Actor{}, err
	}
	return actor, AdmitUser(&u.User)
}

// AdmitUser refuses a user who may not act now, with kind Blocked or Inactive.
func AdmitUser(u *tenant.User) error {
	switch u.Status {
	case tenant.UserBlocked:
		return tenant.RefuseParameter(tenant.Blocked, "Authorization", "The user is blocked. Contact the operator.")
	case tenant.UserDisabled:
		return tenant.RefuseParameter(tenant.Inactive, "Authorization", "The user is disabled.")
	}
	return nil
}

// namesAccount: the V1 user is the manager's address by the contract's text, and
// the account's own by its example; both are taken.
func namesAccount(name string, own, managing *tenant.Account) bool {
	key := tenant.EmailKey(name)
	return key == tenant.EmailKey(own.Email) || managing != nil && key == tenant.EmailKey(managing.Email)
}

// What is looked up for every request is first looked for without Load, whose
// function would be made anew each time.

func (a *Authenticator) key(ctx context.Context, digest string, r Reading) (*key, error) {
	if kept, ok := a.keys.Get(digest); ok {
		return kept, nil
	}
	return load(ctx, a, a.keys, digest, r, func(tx *store.Tx) (*key, error) {
		row, err := tx.Key(digest)
		if err != nil || row == nil {
			return nil, err
		}
		return &key{Key: *row}, nil
	})
}

func (a *Authenticator) account(ctx context.Context, id string, r Reading) (*account, error) {
	if kept, ok := a.accounts.Get(id); ok {
		return kept, nil
	}
	return load(ctx, a, a.accounts, id, r, func(tx *store.Tx) (*account, error) {
		row, err := tx.Account(id)
		if err != nil || row == nil {
			return nil, err
		}
		manager, err := tx.Manager(id)
		return &account{*row, manager != nil && manager.Approved}, err
	})
}

func (a *Authenticator) user(ctx context.Context, id string, r Reading) (*user, error) {
	return load(ctx, a, a.users, id, r, func(tx *store.Tx) (*user, error) {
		row, err := tx.UserByID(id)
		if err != nil || row == nil {
			return nil, err
		}
		u := &user{User: *row}
		groups, err := tx.GroupsOf(row)
		for _, g := range groups {
			u.groups = append(u.groups, g.ID)
		}
		return u, err
	})
}

// permissions are what the groups of a user grant now. They may be shared: nobody alters
// them.
func (a *Authenticator) permissions(ctx context.Context, u *user, r Reading) (granted []string, err error) {
	for i, id := range u.groups {
		g, ok := a.groups.Get(id)
		if !ok {
			if g, err = load(ctx, a, a.groups, id, r, func(tx *store.Tx) (*group, error) {
				permissions, err := tx.GroupPermissions(id)
				return &group{slices.Clip(permissions)}, err
			}); err != nil {
				return nil, err
			}
		}
		if i == 0 {
			granted = g.permissions
		} else {
			granted = append(granted, g.permissions...)
		}
	}
	return granted, nil
}

// load is what the cache keeps, or the query finds; nothing found is a refusal, which
// no cache keeps.
func load[T any](ctx context.Context, a *Authenticator, cache *store.Cache[*T], id string, r Reading, query func(*store.Tx) (*T, error)) (*T, error) {
	v, err := cache.Load(id, func() (*T, error) {
		var value *T
		read := func(ctx context.Context) error {
			return a.db.View(ctx, func(tx *store.Tx) (err error) {
				value, err = query(tx)
				return err
			})
		}
		if r.Gate == nil {
			r.Gate = func(ctx context.Context, read func(context.Context) error) error { return read(ctx) }
		}
		if err := r.Gate(ctx, read); err != nil {
			return nil, err // read may go on writing to value
		}
		if value == nil {
			return nil, unauthenticated()
		}
		return value, nil
	})
	if tenant.IsKind(err, tenant.Unavailable) && a.db.Doubt() <= r.Age && r.Age > 0 {
		if last, ok := cache.Last(id); ok {
			return last, nil
		}
	}
	return v, err
}

func unauthenticated() error {
	return tenant.RefuseParameter(tenant.Unauthenticated, "Authorization", "")
}

// Bearer is the token of an Authorization header with the scheme "Bearer".
func Bearer(authorization string) (string, bool) { return cutScheme(authorization, "Bearer") }

// cutScheme takes the scheme, in any case, off an Authorization header.
func cutScheme(header, scheme string) (string, bool) {
	if len(header) <= len(scheme) || header[len(scheme)] != ' ' || !strings.EqualFold(header[:len(scheme)], scheme) {
		return "", false
	}
	return strings.TrimSpace(header[len(scheme):]), true
}
