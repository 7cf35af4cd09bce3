// Package admission answers a switch, a gateway or a proxy that asks whether an
// account may do something now. It answers from memory; what it knows is dropped by
// the commit that changes it. README.md says how fresh that is, and what happens
// when it cannot be asked.
package admission

import (
	"context"
	"time"

	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// The kinds of what may be asked.
const (
	Call     = "call"
	Message  = "message"
	API      = "api"
	Login    = "login"
	Register = "register"
)

// Kinds are all of them.
var Kinds = []string{Call, Message, API, Login, Register}

// The directions, as the account sees them.
const (
	Outbound = "outbound"
	Inbound  = "inbound"
)

// Request asks for a decision. Of the identities at least one is given; all that
// are must be of one account.
type Request struct {
	Kind string
	// Direction is Outbound or Inbound.
	Direction string

	// AccountID is the account's own id, or that of the credentials.
	AccountID    string
	ConnectionID string
	// SIPUsername, SourceIP and Number are what a switch sees of a call. Of an
	// outbound call Number is the caller, of an inbound one the callee.
	SIPUsername, SourceIP, Number string

	// CallID is the switch's name for the call.
	CallID string
	// Units is how many channels the call takes; 0 means 1.
	Units int64
	// Acquire takes them.
	Acquire bool
	// Switch is the name of the asking switch, for reconciling.
	Switch string
}

// Decision is the answer.
type Decision struct {
	// Reason is Allowed or why not.
	Reason       Reason
	AccountID    string
	ConnectionID string
	// Lease is what the call holds, nil for none.
	Lease *store.Lease
	// Limit and InUse are channels, known where a call was acquired or refused for
	// want of one.
	Limit, InUse int64
}

// Allowed reports whether it may be done.
func (d *Decision) Allowed() bool { return d.Reason == Allowed }

// Options are the operator's choices. The zero value has the documented defaults.
type Options struct {
	// LeaseLife is how long a call holds its channels unless the switch says that it
	// still lives; 0 means 2 hours.
	LeaseLife time.Duration
	// Grace is how long a call goes on holding them that the switch does not name
	// among those that live; 0 means a minute.
	Grace time.Duration
}

// Service decides.
type Service struct {
	db          *store.DB
	options     Options
	accounts    *store.Cache[*account]
	connections *store.Cache[*tenant.Connection]
	identities  *store.Cache[*store.Identity]
}

// account is what a decision needs to know of one.
type account struct {
	tenant.Account
	manager *tenant.Account
}

// New makes a service.
func New(db *store.DB, o Options) *Service {
	if o.LeaseLife == 0 {
		o.LeaseLife = 2 * time.Hour
	}
	if o.Grace == 0 {
		o.Grace = time.Minute
	}
	return &Service{
		db: db, options: o,
		accounts:    store.NewCache[*account](db, 1<<20),
		connections: store.NewCache[*tenant.Connection](db, 1<<20),
		identities:  store.NewCache[*store.Identity](db, 1<<20),
	}
}

// Decide answers a request. The error, of kind Unavailable, means that nobody
// knows; a request that makes no sense is refused.
func (s *Service) Decide(ctx context.Context, r Request) (*Decision, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	d := &Decision{AccountID: r.AccountID, ConnectionID: r.ConnectionID}
	var err error
	if d.Reason, err = s.identify(ctx, &r, d); err != nil || d.Reason != Allowed {
		return d, err
	}
	own, payer, err := s.account(ctx, d.AccountID)
	if err != nil {
		return nil, err
	}
	if own == nil {
		d.Reason = UnknownAccount
		return d, nil
	}
	if d.Reason = standing(own); d.Reason != Allowed {
		return d, nil
	}
	if d.ConnectionID != "" {
		connection, err := s.connection(ctx, d.ConnectionID)
		if err != nil {
			return nil, err
		}
		if connection == nil || connection.AccountID != d.AccountID {
			d.Reason = UnknownConnection
			return d, nil
		}
		if !connection.Active {
			d.Reason = ConnectionDisabled
			return d, nil
		}
	}
	if (r.Kind == Call || r.Kind == Message) && payer.Balance.Amount+payer.Balance.CreditLimit < 0 {
		d.Reason = InsufficientFunds
		return d, nil
	}
	if r.Kind != Call || r.Direction != Outbound && !r.Acquire {
		return d, nil
	}
	if d.Limit = own.ChannelLimit; r.Direction == Outbound && r.Units > d.Limit {
		d.Reason = ChannelLimit
		return d, nil
	}
	if !r.Acquire {
		return d, nil
	}
	return d, s.acquire(ctx, &r, d)
}

// check refuses what cannot be asked.
func (r *Request) check() error {
	known := false
	for _, kind := range Kinds {
		known = known || kind == r.Kind
	}
	switch {
	case !known:
		return tenant.RefuseField(tenant.NotEnumerated, "kind", "Must be call, message, api, login or register.")
	case r.Direction == "":
		r.Direction = Outbound
	case r.Direction != Outbound && r.Direction != Inbound:
		return tenant.RefuseField(tenant.NotEnumerated, "direction", "Must be outbound or inbound.")
	}
	if r.AccountID == "" && r.ConnectionID == "" && r.SIPUsername == "" && r.SourceIP == "" && r.Number == "" {
		return tenant.RefuseField(tenant.Missing, "account_id", "Say who asks: an API key, an account, a connection, a SIP username, a source address or a number.")
	}
	if r.Units == 0 {
		r.Units = 1
	}
	if r.Units < 1 || r.Units > 1000 {
		return tenant.RefuseField(tenant.OutOfRange, "units", "Must be from 1 to 1000.")
	}
	if r.Acquire {
		switch {
		case r.Kind != Call:
			return tenant.RefuseField(tenant.Invalid, "acquire", "Only calls take channels.")
		case r.CallID == "":
			return tenant.RefuseField(tenant.Missing, "call_id", "A call that takes a channel needs an id.")
		case len(r.CallID) > MaxCallID || len(r.Switch) > MaxCallID:
			return tenant.RefuseField(tenant.OutOfRange, "call_id", "Names of calls and switches may have at most 255 bytes.")
		}
	}
	return nil
}

// MaxCallID is the longest name of a call or a switch, in bytes.
const MaxCallID = 255

// identify finds whose request it is. All that is said of it must agree.
func (s *Service) identify(ctx context.Context, r *Request, d *Decision) (Reason, error) {
	agree := func(accountID, connectionID string) bool {
		if d.AccountID == "" {
			d.AccountID = accountID
		}
		if d.ConnectionID == "" {
			d.ConnectionID = connectionID
		}
		return d.AccountID == accountID && (connectionID == "" || d.ConnectionID == connectionID)
	}
	if r.ConnectionID != "" {
		connection, err := s.connection(ctx, r.ConnectionID)
		if err != nil {
			return "", err
		}
		if connection == nil || !agree(connection.AccountID, connection.ID) {
			return UnknownConnection, nil
		}
	}
	for _, asked := range []struct {
		given   bool
		value   string
		unknown Reason
	}{
		{r.SIPUsername != "", tenant.SIPIdentity(r.SIPUsername), UnknownUsername},
		{r.SourceIP != "", tenant.AddressIdentity(r.SourceIP), UnknownSource},
		{r.Number != "", tenant.NumberIdentity(r.Number), UnknownNumber},
	} {
		if !asked.given {
			continue
		}
		identity, err := s.identity(ctx, asked.value)
		if err != nil {
			return "", err
		}
		if identity == nil || !agree(identity.AccountID, identity.ConnectionID) {
			return asked.unknown, nil
		}
	}
	return Allowed, nil
}

// standing is what the account's causes allow.
func standing(a *account) Reason {
	if a.Cancelled || a.manager != nil && a.manager.Cancelled {
		return AccountCancelled
	}
	if a.Blocked || a.manager != nil && a.manager.Blocked {
		return AccountBlocked
	}
	if a.Disabled {
		return AccountDisabled
	}
	return Allowed
}

// account is the account and whose money it spends; both are nil for one that does
// not exist.
func (s *Service) account(ctx context.Context, id string) (own *account, payer *tenant.Account, err error) {
	own, ok := s.accounts.Get(id)
	if !ok {
		own, err = s.accounts.Load(id, func() (*account, error) {
			return find(ctx, s.db, func(tx *store.Tx) (*account, error) {
				row, err := tx.Account(id)
				if err != nil || row == nil {
					return nil, err
				}
				return &account{Account: *row}, nil
			})
		})
		if err != nil || own == nil {
			return nil, nil, known(err)
		}
	}
	if own.ManagerID == "" {
		return own, &own.Account, nil
	}
	managing, _, err := s.account(ctx, own.ManagerID)
	if err != nil || managing == nil {
		return nil, nil, err
	}
	own = &account{Account: own.Account, manager: &managing.Account}
	if own.RollupBilling {
		return own, own.manager, nil
	}
	return own, &own.Account, nil
}

func (s *Service) connection(ctx context.Context, id string) (*tenant.Connection, error) {
	if c, ok := s.connections.Get(id); ok {
		return c, nil
	}
	c, err := s.connections.Load(id, func() (*tenant.Connection, error) {
		return find(ctx, s.db, func(tx *store.Tx) (*tenant.Connection, error) { return tx.ConnectionByID(id) })
	})
	return c, known(err)
}

func (s *Service) identity(ctx context.Context, value string) (*store.Identity, error) {
	if i, ok := s.identities.Get(value); ok {
		return i, nil
	}
	i, err := s.identities.Load(value, func() (*store.Identity, error) {
		return find(ctx, s.db, func(tx *store.Tx) (*store.Identity, error) { return tx.Identity(value) })
	})
	return i, known(err)
}

// find runs one query. Nothing found is a refusal, which no cache keeps.
func find[T any](ctx context.Context, db *store.DB, query func(*store.Tx) (*T, error)) (value *T, err error) {
	err = db.View(ctx, func(tx *store.Tx) error {
		value, err = query(tx)
		return err
	})
	if err == nil && value == nil {
		err = tenant.Missed("id")
	}
	return value, err
}

// known takes away the refusal of what does not exist.
func known(err error) error {
	if tenant.IsKind(err, tenant.NotFound) {
		return nil
	}
	return err
}

// acquire takes the channels in one transaction, in which account and connection
// are looked at again: what they are there is what holds.
func (s *Service) acquire(ctx context.Context, r *Request, d *Decision) error {
	return s.db.Update(ctx, store.LeaseLane(d.AccountID), func(tx *store.Tx) error {
		row, err := tx.Account(d.AccountID)
		if err != nil {
			return err
		}
		own := &account{Account: *row}
		if row.ManagerID != "" {
			if own.manager, err = tx.Account(row.ManagerID); err != nil {
				return err
			}
		}
		d.Lease, d.InUse, d.Limit = nil, 0, own.ChannelLimit
		if d.Reason = standing(own); d.Reason != Allowed {
			return nil
		}
		d.Lease, d.InUse, err = tx.AcquireLease(store.Lease{
			ID: s.db.Source().NewID(), AccountID: d.AccountID, ConnectionID: d.ConnectionID, CallID: r.CallID,
			Direction: r.Direction, Units: r.Units, Switch: r.Switch, ExpiresAt: tx.Now().Add(s.options.LeaseLife),
		}, own.ChannelLimit)
		if err == nil && d.Lease == nil {
			d.Reason = ChannelLimit
		}
		return err
	})
}

// Release gives back what a call holds and returns how many leases ended: 0 for a
// call that holds nothing, or no longer.
func (s *Service) Release(ctx context.Context, callID string) (ended int64, err error) {
	err = s.db.Update(ctx, "release "+callID, func(tx *store.Tx) (err error) {
		ended, err = tx.ReleaseCall(callID)
		return err
	})
	return ended, err
}

// reconcileChunk is how many leases one transaction looks at.
const reconcileChunk = 1000

// Reconcile says which calls live on a switch. They go on holding their channels;
// what the others hold is free after the grace, so that a call that began while the
// list was made has time to be named. It returns how many leases live and how many
// are going to end.
func (s *Service) Reconcile(ctx context.Context, name string, callIDs []string) (live, ending int64, err error) {
	named := make(map[string]bool, len(callIDs))
	for _, id := range callIDs {
		named[id] = true
	}
	for after, done := "", false; !done; {
		var last string
		var alive, going int64
		err := s.db.Update(ctx, "switch "+name, func(tx *store.Tx) error {
			alive, going = 0, 0
			leases, err := tx.LeasesOfSwitch(name, after, reconcileChunk)
			if err != nil {
				return err
			}
			done = len(leases) < reconcileChunk
			for i := range leases {
				l := &leases[i]
				last = l.CallID
				until := tx.Now().Add(s.options.LeaseLife)
				if !named[l.CallID] {
					going++
					if until = tx.Now().Add(s.options.Grace); !until.Before(l.ExpiresAt) {
						continue // it ends before that
					}
				} else {
					alive++
				}
				if err := tx.ExtendLease(l, until); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return live, ending, err
		}
		after, live, ending = last, live+alive, ending+going
	}
	return live, ending, nil
}
