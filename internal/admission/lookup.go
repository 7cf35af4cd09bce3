package admission

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// Policy is what decides while the database cannot be reached.
type Policy string

// The policies. What is known for certain is never passed over: an account that was
// disabled here is refused under each of them.
const (
	// Closed refuses.
	Closed Policy = "closed"
	// LastKnown goes by what was known last, for as long as Options.MaxAge; what
	// nothing is known of is refused.
	LastKnown Policy = "last-known"
	// Open goes by what was known last, however old; what nothing is known of is
	// allowed.
	Open Policy = "open"
)

// Policies are all of them.
var Policies = []Policy{Closed, LastKnown, Open}

// DefaultFailure is the policy of each kind unless the operator has it otherwise.
func DefaultFailure(kind string) Policy {
	if slices.Contains([]string{Call, Message, Register}, kind) {
		return LastKnown
	}
	return Closed
}

// ReadFailure reads the policies of kinds, as in "call=closed,api=open".
func ReadFailure(text string) (map[string]Policy, error) {
	failure := map[string]Policy{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		kind, policy, _ := strings.Cut(part, "=")
		if !slices.Contains(Kinds, kind) || !slices.Contains(Policies, Policy(policy)) {
			return nil, fmt.Errorf("%q is not one of %s with = and one of %v", part, strings.Join(Kinds, ", "), Policies)
		}
		failure[kind] = Policy(policy)
	}
	return failure, nil
}

// ReadRates reads how many of each kind one account may have a second on average, such
// as "call=5,message=0.5"; a kind that is not there has no limit.
func ReadRates(text string) (map[string]float64, error) {
	rates := map[string]float64{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		kind, number, _ := strings.Cut(part, "=")
		rate, err := strconv.ParseFloat(number, 64)
		if !slices.Contains(Kinds, kind) || err != nil || !(rate >= 0.001 && rate <= 1e6) {
			return nil, fmt.Errorf("%q is not one of %s with = and a number from 0.001 to 1000000", part, strings.Join(Kinds, ", "))
		}
		rates[kind] = rate
	}
	return rates, nil
}

// Policy is the one of a kind.
func (s *Service) Policy(kind string) Policy {
	if p, ok := s.options.Failure[kind]; ok {
		return p
	}
	return DefaultFailure(kind)
}

// Age is how old what decides about a kind may be when the database cannot be
// reached; 0 means that nothing old will do.
func (s *Service) Age(kind string) time.Duration {
	switch s.Policy(kind) {
	case Open:
		return math.MaxInt64
	case LastKnown:
		return s.options.MaxAge
	default:
		return 0
	}
}

// memory keeps what was read of one kind of things, by id, and which ids are nobody's.
type memory[V any] struct {
	service *Service
	known   *store.Cache[*V]
	// unknown is apart, so that a flood of what does not exist drives out nothing
	// that does.
	unknown *store.Cache[struct{}]
	read    func(*store.Tx, string) (*V, error)
}

func newMemory[V any](s *Service, read func(*store.Tx, string) (*V, error)) *memory[V] {
	return &memory[V]{s, store.NewCache[*V](s.db, mostKept), store.NewCache[struct{}](s.db, mostKept/16), read}
}

// get is what has the id, nil if nothing has. When the database cannot be reached
// it is what was known at most age ago, which is stale, or a refusal of kind
// Unavailable.
func (m *memory[V]) get(ctx context.Context, id string, age time.Duration) (v *V, stale bool, err error) {
	if v, ok := m.known.Get(id); ok {
		return v, false, nil
	}
	if _, ok := m.unknown.Get(id); ok || len(id) > MaxName {
		return nil, false, nil
	}
	if v, err = m.ask(ctx, id); !tenant.IsKind(err, tenant.Unavailable) {
		return v, false, err
	}
	if m.service.db.Doubt() <= age && age > 0 {
		if v, ok := m.known.Last(id); ok {
			return v, true, nil
		}
		if _, ok := m.unknown.Last(id); ok {
			return nil, true, nil
		}
	}
	return nil, true, err
}

var (
	errNobody = errors.New("nothing has the id")
	errFound  = errors.New("something has the id")
	errAway   = tenant.Refuse(tenant.Unavailable, "The database cannot be reached.")
	errCrowd  = tenant.Refuse(tenant.Unavailable, "Too much is asked about what is not known here.")
)

// ask reads from the database.
func (m *memory[V]) ask(ctx context.Context, id string) (*V, error) {
	var v *V
	id = strings.Clone(id) // what is kept must not keep the request that it is part of
	err := m.service.Gate(ctx, func(ctx context.Context) (err error) {
		// The cache of what is nobody's is asked to read, too, so that it hears of what
		// is announced meanwhile.
		_, err = m.unknown.Load(id, func() (struct{}, error) {
			v, err = m.known.Load(id, func() (*V, error) { return m.find(ctx, id) })
			switch {
			case err == nil:
				err = errFound
			case err == errNobody:
				err = nil
			}
			return struct{}{}, err
		})
		if err == errFound {
			err = nil
		}
		return err
	})
	if err != nil {
		return nil, err // the reading may go on writing to v
	}
	return v, nil
}

// Gate runs a reading of what a decision needs, unless the database did not answer
// just now, and bounds how many there are at once and how long they take: else it
// refuses with kind Unavailable, and the reading may go on.
func (s *Service) Gate(ctx context.Context, read func(context.Context) error) error {
	if !s.mayAsk() {
		return errAway
	}
	if err := s.turn(ctx); err != nil {
		return err
	}
	_, err := within(ctx, s.options.Wait, nil, func(ctx context.Context) (struct{}, error) {
		defer func() { <-s.asking }()
		return struct{}{}, read(ctx)
	})
	s.answered(err)
	return err
}

func (m *memory[V]) find(ctx context.Context, id string) (v *V, err error) {
	err = m.service.db.View(ctx, func(tx *store.Tx) error {
		v, err = m.read(tx, id)
		return err
	})
	if err == nil && v == nil {
		err = errNobody
	}
	return v, err
}

// turn waits until the database is not asked too much already.
func (s *Service) turn(ctx context.Context) error {
	select {
	case s.asking <- struct{}{}:
		return nil
	default:
	}
	ctx, stop := context.WithTimeoutCause(ctx, s.options.Wait, errCrowd)
	defer stop()
	select {
	case s.asking <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// awayPause is how long nobody asks a database that did not answer; then one does.
const awayPause = time.Second

func (s *Service) mayAsk() bool {
	away := s.away.Load()
	if away == 0 {
		return true
	}
	now := int64(time.Since(s.began))
	return now-away > int64(awayPause) && s.away.CompareAndSwap(away, now)
}

func (s *Service) answered(err error) {
	if tenant.IsKind(err, tenant.Unavailable) {
		s.away.Store(int64(time.Since(s.began)))
	} else if err == nil && s.away.Load() != 0 {
		s.away.Store(0)
	}
}

// within waits for fn no longer than wait, and then refuses with kind Unavailable.
// What fn comes to after that goes to abandoned, which may be nil.
func within[V any](ctx context.Context, wait time.Duration, abandoned func(V, error), fn func(context.Context) (V, error)) (V, error) {
	ctx, stop := context.WithTimeoutCause(ctx, wait, errAway)
	type result struct {
		v   V
		err error
	}
	var over atomic.Bool
	done := make(chan result, 1)
	go func() {
		defer stop()
		v, err := fn(ctx)
		if over.CompareAndSwap(false, true) {
			done <- result{v, err}
		} else if abandoned != nil {
			abandoned(v, err)
		}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		if over.CompareAndSwap(false, true) {
			var none V
			return none, context.Cause(ctx)
		}
		r := <-done
		return r.v, r.err
	}
}
