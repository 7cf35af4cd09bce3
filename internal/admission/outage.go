package admission

import (
	"sync"
	"time"

	"github.com/tenantry/tenantry/internal/store"
)

// outage is what this node remembers so that calls may begin while the database
// cannot be reached: how many channels it last saw in use, and the calls that it
// let begin without a lease. An account's calls may then be as many as its limit, as
// far as this node knows; what other nodes do meanwhile it does not.
type outage struct {
	mu    sync.Mutex
	seen  map[string]int64                  // channels in use, by account
	alone map[string]map[string]store.Lease // by account and call
	calls int                               // in alone
}

// mostSeen bounds what is remembered; of calls without a lease, too.
const mostSeen = 1 << 16

// saw notes how many channels of an account are in use.
func (o *outage) saw(accountID string, inUse int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.seen == nil {
		o.seen = map[string]int64{}
	}
	if inUse == 0 {
		delete(o.seen, accountID)
		return
	}
	for other := range o.seen {
		if len(o.seen) < mostSeen {
			break
		}
		delete(o.seen, other)
	}
	o.seen[accountID] = inUse
}

// gaveBack notes that leases have ended.
func (o *outage) gaveBack(leases []store.Lease) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, l := range leases {
		if n, ok := o.seen[l.AccountID]; ok && l.Direction == Outbound {
			o.seen[l.AccountID] = max(0, n-l.Units)
		}
	}
}

// take lets a call begin without a lease, if the limit bears it as far as is known,
// and returns the channels in use.
func (o *outage) take(l store.Lease, limit int64, now time.Time) (inUse int64, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	inUse = o.seen[l.AccountID]
	for _, other := range o.alone[l.AccountID] {
		switch {
		case !other.ExpiresAt.After(now):
			o.remove(other)
		case other.Direction == Outbound:
			inUse += other.Units
		}
	}
	if _, held := o.alone[l.AccountID][l.CallID]; held {
		return inUse, true
	}
	if l.Direction == Outbound && inUse+l.Units > limit || o.calls >= mostSeen {
		return inUse, false
	}
	if o.alone == nil {
		o.alone = map[string]map[string]store.Lease{}
	}
	if o.alone[l.AccountID] == nil {
		o.alone[l.AccountID] = map[string]store.Lease{}
	}
	o.alone[l.AccountID][l.CallID] = l
	o.calls++
	if l.Direction == Outbound {
		inUse += l.Units
	}
	return inUse, true
}

// remove takes a call away; it must be there.
func (o *outage) remove(l store.Lease) {
	delete(o.alone[l.AccountID], l.CallID)
	if o.calls--; len(o.alone[l.AccountID]) == 0 {
		delete(o.alone, l.AccountID)
	}
}

// of are the calls of an account that began without a lease.
func (o *outage) of(accountID string, now time.Time) (alone []store.Lease) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, l := range o.alone[accountID] {
		if l.ExpiresAt.After(now) {
			alone = append(alone, l)
		} else {
			o.remove(l)
		}
	}
	return alone
}

// forget takes away calls that have a lease now, and reports whether any was there.
func (o *outage) forget(leases []store.Lease) (any bool) {
	if len(leases) == 0 {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, l := range leases {
		if _, ok := o.alone[l.AccountID][l.CallID]; ok {
			o.remove(l)
			any = true
		}
	}
	return any
}

// release takes away a call that is over, and returns of how many accounts it was.
func (o *outage) release(callID string) (n int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, calls := range o.alone {
		if l, ok := calls[callID]; ok {
			o.remove(l)
			n++
		}
	}
	return n
}

// reconcile takes away the calls of a switch that are not named, and returns the
// accounts of the others.
func (o *outage) reconcile(name string, named map[string]bool) (accounts []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, calls := range o.alone {
		live := false
		for _, l := range calls {
			switch {
			case l.Switch != name:
			case named[l.CallID]:
				live = true
			default:
				o.remove(l)
			}
		}
		if live {
			accounts = append(accounts, id)
		}
	}
	return accounts
}
