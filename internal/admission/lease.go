package admission

import (
	"context"
	"maps"
	"slices"

	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// acquire takes the channels in one transaction, in which everything is looked at
// again: what it is there is what holds, on whichever node. Without the database the
// outage decides.
func (s *Service) acquire(ctx context.Context, r *Request, d *Decision, own *account) error {
	lease := store.Lease{
		ID: s.db.Source().NewID(), AccountID: d.AccountID, ManagerID: own.ManagerID, ConnectionID: d.ConnectionID,
		CallID: r.CallID, Direction: r.Direction, Units: r.Units, Switch: r.Switch,
	}
	if !s.mayAsk() {
		return s.acquireAlone(r, d, lease)
	}
	got, err := within(ctx, s.options.AcquireWait, func(got Decision, err error) { s.tooLate(&lease, got, err) },
		func(ctx context.Context) (Decision, error) { return s.acquireStored(ctx, *d, lease) })
	s.answered(err)
	switch {
	case err == nil:
		*d = got
		s.outage.saw(d.AccountID, d.InUse)
		return nil
	case ctx.Err() == nil && tenant.IsKind(err, tenant.Unavailable):
		return s.acquireAlone(r, d, lease)
	default:
		return err
	}
}

func (s *Service) acquireStored(ctx context.Context, d Decision, lease store.Lease) (Decision, error) {
	var adopted []store.Lease
	alone := s.outage.of(d.AccountID, s.db.Source().Now())
	err := s.db.UpdateAll(ctx, lanes(d.AccountID, append(alone, lease)), func(tx *store.Tx) error {
		own, err := readAccount(tx, d.AccountID)
		if err != nil {
			return err
		}
		var managing *account
		if own != nil && own.ManagerID != "" {
			if managing, err = readAccount(tx, own.ManagerID); err != nil {
				return err
			}
		}
		d.Lease, d.InUse = nil, 0
		if own == nil {
			d.Reason = UnknownAccount
			return nil
		}
		if d.Reason = standing(own, managing); d.Reason != Allowed {
			return nil
		}
		if d.ConnectionID != "" {
			connection, err := tx.ConnectionByID(d.ConnectionID)
			if err != nil {
				return err
			}
			if d.Reason = usable(connection, d.AccountID); d.Reason != Allowed {
				return nil
			}
		}
		if d.Reason = funds(own, managing); d.Reason != Allowed {
			return nil
		}
		if adopted, err = adopt(tx, alone, own.ChannelLimit); err != nil {
			return err
		}
		if lease.Direction == Outbound {
			d.Limit = own.ChannelLimit
		}
		lease.ExpiresAt = tx.Now().Add(s.options.LeaseLife)
		d.Lease, d.InUse, err = tx.AcquireLease(lease, own.ChannelLimit)
		if err == nil && d.Lease == nil {
			d.Reason = ChannelLimit
		}
		return err
	})
	if err == nil {
		s.outage.forget(adopted)
	}
	return d, err
}

// callLane is the lane of what gives a call channels, or takes them back, in whatever
// account: a release sees all that was acquired before its answer.
func callLane(callID string) string { return "call " + callID }

// lanes are those in which calls of an account take channels.
func lanes(accountID string, calls []store.Lease) []string {
	lanes := []string{store.LeaseLane(accountID)}
	for _, l := range calls {
		lanes = append(lanes, callLane(l.CallID))
	}
	return lanes
}

// adopt takes channels for calls that began while nobody could, as far as the limit
// goes.
func adopt(tx *store.Tx, alone []store.Lease, limit int64) (adopted []store.Lease, err error) {
	for _, l := range alone {
		held, _, err := tx.AcquireLease(l, limit)
		if err != nil {
			return nil, err
		}
		if held != nil {
			adopted = append(adopted, l)
		}
	}
	return adopted, nil
}

// acquireAlone decides without the database. Whether the call holds anything there
// is not known.
func (s *Service) acquireAlone(r *Request, d *Decision, lease store.Lease) error {
	age := s.Age(r.Kind)
	if age == 0 || s.db.Doubt() > age {
		return errAway
	}
	d.Degraded, d.Lease = true, nil
	now := s.db.Source().Now()
	lease.AcquiredAt, lease.ExpiresAt = now, now.Add(s.options.LeaseLife)
	var ok bool
	if d.InUse, ok = s.outage.take(lease, d.Limit, now); !ok {
		d.Reason = ChannelLimit
	}
	return nil
}

// tooLate hears of what an acquire came to when nobody waits for it any more. A call
// that was refused meanwhile gives back what it took.
func (s *Service) tooLate(asked *store.Lease, got Decision, err error) {
	if err != nil || got.Lease == nil {
		return
	}
	if s.outage.forget([]store.Lease{*asked}) || got.Lease.ID != asked.ID {
		return // it was let go on, or held that before
	}
	s.db.Update(context.Background(), store.LeaseLane(asked.AccountID), func(tx *store.Tx) error {
		return tx.ReleaseLease(got.Lease)
	})
}

// Release gives back what a call holds and returns how many leases ended: 0 for a
// call that holds nothing, or no longer.
func (s *Service) Release(ctx context.Context, callID string) (ended int64, err error) {
	alone := s.outage.release(callID)
	var leases []store.Lease
	err = s.db.Update(ctx, callLane(callID), func(tx *store.Tx) (err error) {
		leases, err = tx.ReleaseCall(callID)
		return err
	})
	if err != nil {
		return 0, err
	}
	s.outage.gaveBack(leases)
	return alone + int64(len(leases)), nil
}

// reconcileChunk is how many leases one transaction changes.
const reconcileChunk = 200

// Reconciled is what became of the leases of a switch.
type Reconciled struct {
	// Live are those whose calls were named, Ending those that end after the grace,
	// or sooner.
	Live, Ending int64
}

// Reconcile says which calls live on a switch. They go on holding their channels;
// what the others hold is free after the grace, so that a call that began while the
// list was made has time to be named by the next. A lease that has ended does not
// come back.
func (s *Service) Reconcile(ctx context.Context, name string, callIDs []string) (done Reconciled, err error) {
	named := make(map[string]bool, len(callIDs))
	for _, id := range callIDs {
		named[id] = true
	}
	err = s.reconcileAlone(ctx, name, named)
	for afterCall, afterAccount, more := "", "", true; more && err == nil; {
		var longer, shorter []store.Lease
		err = s.db.View(ctx, func(tx *store.Tx) error {
			leases, err := tx.LeasesOfSwitch(name, afterCall, afterAccount, reconcileChunk)
			for _, l := range leases {
				switch left := l.ExpiresAt.Sub(tx.Now()); {
				case !named[l.CallID]:
					done.Ending++
					if left > s.options.Grace {
						shorter = append(shorter, l)
					}
				default:
					// A row is written once in a while, and not for each list.
					if done.Live++; left < s.options.LeaseLife/4*3 {
						longer = append(longer, l)
					}
				}
				afterCall, afterAccount = l.CallID, l.AccountID
			}
			more = len(leases) == reconcileChunk
			return err
		})
		if err == nil {
			err = s.prolong(ctx, name, longer, shorter)
		}
	}
	return done, err
}

// prolong makes some leases last longer, and others end soon.
func (s *Service) prolong(ctx context.Context, name string, longer, shorter []store.Lease) error {
	if len(longer)+len(shorter) == 0 {
		return nil
	}
	own := map[string]bool{"switch " + name: true}
	for _, l := range longer {
		own[store.LeaseLane(l.AccountID)] = true
	}
	return s.db.UpdateAll(ctx, slices.Collect(maps.Keys(own)), func(tx *store.Tx) error {
		for i := range longer {
			if err := tx.ExtendLease(&longer[i], tx.Now().Add(s.options.LeaseLife)); err != nil {
				return err
			}
		}
		for i := range shorter {
			if err := tx.ShortenLease(&shorter[i], tx.Now().Add(s.options.Grace)); err != nil {
				return err
			}
		}
		return nil
	})
}

// reconcileAlone forgets the calls of an outage that are over, and has the others
// take their channels.
func (s *Service) reconcileAlone(ctx context.Context, name string, named map[string]bool) error {
	accounts := s.outage.reconcile(name, named)
	for _, id := range accounts {
		alone := s.outage.of(id, s.db.Source().Now())
		var adopted []store.Lease
		err := s.db.UpdateAll(ctx, lanes(id, alone), func(tx *store.Tx) error {
			own, err := tx.Account(id)
			if err != nil || own == nil {
				return err
			}
			adopted, err = adopt(tx, alone, own.ChannelLimit)
			return err
		})
		if err != nil {
			return err
		}
		s.outage.forget(adopted)
	}
	return nil
}

// LeaseFilter says which leases a list has: those of an account, of a call or of a
// switch. Exactly one is given.
type LeaseFilter struct{ AccountID, CallID, Switch string }

// mostListed is how many leases one list has.
const mostListed = 1000

// Leases are those that have not ended, by call id after after, at most limit of
// them; 0 means as many as there may be. More says that there are more.
func (s *Service) Leases(ctx context.Context, f LeaseFilter, after string, limit int) (leases []store.Lease, more bool, err error) {
	if limit <= 0 || limit > mostListed {
		limit = mostListed
	}
	err = s.db.View(ctx, func(tx *store.Tx) error {
		switch {
		case f.AccountID != "" && f.CallID == "" && f.Switch == "":
			leases, err = tx.LeasesOf(f.AccountID, after, limit+1)
		case f.CallID != "" && f.AccountID == "" && f.Switch == "":
			leases, err = tx.LeasesOfCall(f.CallID)
		case f.Switch != "" && f.AccountID == "" && f.CallID == "":
			leases, err = tx.LeasesOfSwitch(f.Switch, after, "\U0010ffff", limit+1)
		default:
			err = tenant.RefuseParameter(tenant.Missing, "account_id", "Say whose leases: of which account_id, call_id or switch.")
		}
		return err
	})
	if len(leases) > limit {
		leases, more = leases[:limit], true
	}
	return leases, more, err
}
