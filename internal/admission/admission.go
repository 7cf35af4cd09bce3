// Package admission answers a switch, a gateway or a proxy that asks whether an
// account may do something now. It answers from memory; what it knows is dropped by
// the commit that changes it. README.md says how fresh that is, and what happens
// when the database cannot be reached.
package admission

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"
	"unique"

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
	// Direction is Outbound or Inbound; "" means Outbound.
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
	// Limit and InUse are outbound channels: Limit is known of outbound calls, InUse
	// where one was acquired, or refused for want of channels.
	Limit, InUse int64
	// Degraded says that the database could not be asked, so that the Policy of the
	// kind decided.
	Degraded bool
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
	// Failure says by kind what happens when the database cannot be reached; a kind
	// that is not in it has its DefaultFailure.
	Failure map[string]Policy
	// MaxAge is how old what LastKnown goes by may be; 0 means 10 minutes.
	MaxAge time.Duration
	// Wait is how long a question waits for the database, and AcquireWait a call that
	// takes channels; 0 means 500 ms and 2 s.
	Wait, AcquireWait time.Duration
	// Pace says whether an account may have one more of a kind now; nil is no limit.
	Pace func(kind, accountID string) bool
}

// Service decides.
type Service struct {
	db          *store.DB
	options     Options
	accounts    *memory[account]
	connections *memory[tenant.Connection]
	identities  *memory[store.Identity]
	outage      outage

	began time.Time
	// away is when the database was last found out of reach, since began; 0 when it
	// answered.
	away atomic.Int64
	// asking bounds how many questions the database is asked at once, so that a flood
	// of unknown callers leaves it to others.
	asking chan struct{}
}

// mostKept is how many accounts, connections and identities are kept of each.
const mostKept = 1 << 20

// New makes a service.
func New(db *store.DB, o Options) *Service {
	o.LeaseLife = cmp.Or(o.LeaseLife, 2*time.Hour)
	o.Grace = cmp.Or(o.Grace, time.Minute)
	o.MaxAge = cmp.Or(o.MaxAge, 10*time.Minute)
	o.Wait = cmp.Or(o.Wait, 500*time.Millisecond)
	o.AcquireWait = cmp.Or(o.AcquireWait, 2*time.Second)
	s := &Service{db: db, options: o, began: time.Now(), asking: make(chan struct{}, 4)}
	s.accounts = newMemory(s, readAccount)
	s.connections = newMemory(s, (*store.Tx).ConnectionByID)
	s.identities = newMemory(s, (*store.Tx).Identity)
	return s
}

// Decide answers a request. Where nobody can know, the Policy of the kind does, and
// the decision is Degraded. The error is that of a request that makes no sense, or
// of a caller who has gone.
func (s *Service) Decide(ctx context.Context, r Request) (*Decision, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	d := &Decision{AccountID: r.AccountID, ConnectionID: r.ConnectionID}
	err := s.decide(ctx, &r, d)
	switch {
	case err == nil:
		return d, nil
	case ctx.Err() == nil && tenant.IsKind(err, tenant.Unavailable):
		return s.Unknown(r.Kind, d), nil
	default:
		return nil, err
	}
}

// Unknown turns d into the decision about what nothing is known of, because the
// database cannot be reached.
func (s *Service) Unknown(kind string, d *Decision) *Decision {
	d.Degraded, d.Lease = true, nil
	d.Reason = Unreachable
	if s.Policy(kind) == Open {
		d.Reason = Allowed
	}
	return d
}

func (s *Service) decide(ctx context.Context, r *Request, d *Decision) (err error) {
	age := s.Age(r.Kind)
	if d.Reason, err = s.identify(ctx, r, d, age); err != nil || d.Reason != Allowed {
		return err
	}
	own, managing, err := s.account(ctx, d, age)
	if err != nil {
		return err
	}
	if own == nil {
		d.Reason = UnknownAccount
		return nil
	}
	if d.Reason = standing(own, managing); d.Reason != Allowed {
		return nil
	}
	if d.ConnectionID != "" {
		connection, stale, err := s.connections.get(ctx, d.ConnectionID, age)
		if err != nil {
			return err
		}
		d.Degraded = d.Degraded || stale
		if d.Reason = usable(connection, d.AccountID); d.Reason != Allowed {
			return nil
		}
	}
	if r.Kind == Call || r.Kind == Message {
		if d.Reason = funds(own, managing); d.Reason != Allowed {
			return nil
		}
	}
	if r.Kind == Call && r.Direction == Outbound {
		if d.Limit = own.ChannelLimit; r.Units > d.Limit {
			d.Reason = ChannelLimit
			return nil
		}
	}
	if s.options.Pace != nil && !s.options.Pace(r.Kind, d.AccountID) {
		d.Reason = RateLimited
		return nil
	}
	if r.Acquire {
		return s.acquire(ctx, r, d, own)
	}
	return nil
}

// check refuses what cannot be asked, and fills in what was left out.
func (r *Request) check() error {
	r.Direction = cmp.Or(r.Direction, Outbound)
	r.Units = cmp.Or(r.Units, 1)
	switch {
	case !slices.Contains(Kinds, r.Kind):
		return tenant.RefuseField(tenant.NotEnumerated, "kind", "Must be one of "+strings.Join(Kinds, ", ")+".")
	case r.Direction != Outbound && r.Direction != Inbound:
		return tenant.RefuseField(tenant.NotEnumerated, "direction", "Must be outbound or inbound.")
	case r.AccountID == "" && r.ConnectionID == "" && r.SIPUsername == "" && r.SourceIP == "" && r.Number == "":
		return tenant.RefuseField(tenant.Missing, "account_id", "Say who asks: an API key, an account, a connection, a SIP username, a source address or a number.")
	case r.Units < 1 || r.Units > maxUnits:
		return tenant.RefuseField(tenant.OutOfRange, "units", fmt.Sprintf("Must be from 1 to %d.", maxUnits))
	case r.Acquire && r.Kind != Call:
		return tenant.RefuseField(tenant.Invalid, "acquire", "Only calls take channels.")
	case r.Acquire && r.CallID == "":
		return tenant.RefuseField(tenant.Missing, "call_id", "A call that takes channels needs an id.")
	}
	if err := CheckName("call_id", r.CallID); err != nil {
		return err
	}
	return CheckName("switch", r.Switch)
}

// maxUnits is how many channels one call may take.
const maxUnits = 1000

// MaxName is the longest name of a call or a switch, in bytes.
const MaxName = 255

// CheckName refuses what cannot be the name of a call or a switch.
func CheckName(field, name string) error {
	if len(name) > MaxName {
		return tenant.RefuseField(tenant.OutOfRange, field, fmt.Sprintf("May have at most %d bytes.", MaxName))
	}
	if !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return tenant.RefuseField(tenant.BadEncoding, field, "Must be UTF-8 without control characters.")
	}
	return nil
}

// identify finds whose request it is. All that is said of it must agree.
func (s *Service) identify(ctx context.Context, r *Request, d *Decision, age time.Duration) (Reason, error) {
	agree := func(accountID, connectionID string) bool {
		d.AccountID = cmp.Or(d.AccountID, accountID)
		d.ConnectionID = cmp.Or(d.ConnectionID, connectionID)
		return d.AccountID == accountID && (connectionID == "" || d.ConnectionID == connectionID)
	}
	if r.ConnectionID != "" {
		connection, stale, err := s.connections.get(ctx, r.ConnectionID, age)
		if err != nil {
			return "", err
		}
		d.Degraded = d.Degraded || stale
		if connection == nil || !agree(connection.AccountID, connection.ID) {
			return UnknownConnection, nil
		}
	}
	for _, asked := range [...]struct {
		given   string
		value   func(string) string
		unknown Reason
	}{
		{r.SIPUsername, tenant.SIPIdentity, UnknownUsername},
		{r.SourceIP, tenant.AddressIdentity, UnknownSource},
		{r.Number, tenant.NumberIdentity, UnknownNumber},
	} {
		if asked.given == "" {
			continue
		}
		identity, stale, err := s.identities.get(ctx, asked.value(asked.given), age)
		if err != nil {
			return "", err
		}
		d.Degraded = d.Degraded || stale
		if identity == nil || !agree(identity.AccountID, identity.ConnectionID) {
			return asked.unknown, nil
		}
	}
	return Allowed, nil
}

// account is what a decision rests on, and no more: there may be a million of them in
// memory.
type account struct {
	ManagerID                                   string
	Cancelled, Blocked, Disabled, RollupBilling bool
	// Funds are the balance and the credit limit together.
	Funds, ChannelLimit int64
}

// readAccount is nil for an account that does not exist.
func readAccount(tx *store.Tx, id string) (*account, error) {
	a, err := tx.Account(id)
	if err != nil || a == nil {
		return nil, err
	}
	return &account{
		ManagerID: unique.Make(a.ManagerID).Value(), // one text for all of a manager's
		Cancelled: a.Cancelled, Blocked: a.Blocked, Disabled: a.Disabled, RollupBilling: a.RollupBilling,
		Funds: a.Balance.Amount + a.Balance.CreditLimit, ChannelLimit: a.ChannelLimit,
	}, nil
}

// account is the decision's account and its manager's, which is nil for a root
// account; both are nil for one that does not exist.
func (s *Service) account(ctx context.Context, d *Decision, age time.Duration) (own, managing *account, err error) {
	own, stale, err := s.accounts.get(ctx, d.AccountID, age)
	d.Degraded = d.Degraded || stale
	if err != nil || own == nil || own.ManagerID == "" {
		return own, nil, err
	}
	managing, stale, err = s.accounts.get(ctx, own.ManagerID, age)
	d.Degraded = d.Degraded || stale
	if err != nil || managing == nil {
		return nil, nil, err
	}
	return own, managing, nil
}

// standing is what the causes of the account and its manager allow.
func standing(own, managing *account) Reason {
	switch {
	case own.Cancelled, managing != nil && managing.Cancelled:
		return AccountCancelled
	case own.Blocked, managing != nil && managing.Blocked:
		return AccountBlocked
	case own.Disabled:
		return AccountDisabled
	}
	return Allowed
}

// usable is what the connection, which may be nil, allows to the account.
func usable(connection *tenant.Connection, accountID string) Reason {
	switch {
	case connection == nil || connection.AccountID != accountID:
		return UnknownConnection
	case !connection.Active:
		return ConnectionDisabled
	}
	return Allowed
}

// funds is what the money allows that the account spends: its own, or its manager's.
func funds(own, managing *account) Reason {
	payer := own
	if own.RollupBilling && managing != nil {
		payer = managing
	}
	if payer.Funds < 0 {
		return InsufficientFunds
	}
	return Allowed
}
