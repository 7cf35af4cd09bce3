package tenant

import (
	"fmt"
	"time"
)

// MaxChannels bounds every number of channels.
const MaxChannels = 1 << 40

// Manager is what makes an account a manager of others.
type Manager struct {
	AccountID string
	Approved  bool
	// ChannelPool is how many outbound channels may be handed out in all.
	ChannelPool int64
	// ChannelsAllocated is the sum of the managed accounts' limits. It is kept
	// by the store and never exceeds ChannelPool.
	ChannelsAllocated int64
	// Accounts counts the accounts ever created under the manager.
	Accounts int64
	// Revision grows with every change that a list of the accounts shows.
	Revision int64
}

// Free is how many channels can still be handed out.
func (m *Manager) Free() int64 { return m.ChannelPool - m.ChannelsAllocated }

func (m *Manager) fields() []field {
	return []field{{"manager.approved", m.Approved}, {"manager.channel_pool", m.ChannelPool}}
}

// ApproveManager lets an account manage others, with a pool of channels; nil
// leaves the pool as it is. A pool below what is handed out is refused.
func ApproveManager(actor Actor, account Account, before *Manager, pool *int64, now time.Time) (Change, error) {
	if account.Cancelled {
		return Change{}, Refuse(Conflict, "The account is cancelled.")
	}
	if account.ManagerID != "" {
		return Change{}, Refuse(Conflict, "A managed account cannot manage accounts itself: there is one level only.")
	}
	after := Manager{AccountID: account.ID}
	if before != nil {
		after = *before
	}
	after.Approved = true
	if pool != nil {
		if err := CheckChannels("channel_pool", *pool); err != nil {
			return Change{}, err
		}
		if *pool < after.ChannelsAllocated {
			return Change{}, RefuseField(OutOfRange, "channel_pool",
				fmt.Sprintf("%d channels are handed out already: the pool cannot be smaller.", after.ChannelsAllocated))
		}
		after.ChannelPool = *pool
	}
	return managerChange(actor, "manager.approved", before, after), nil
}

// RevokeManager takes the right to manage away. The managed accounts stay.
func RevokeManager(actor Actor, before *Manager) (Change, error) {
	if before == nil {
		return Change{}, nil
	}
	after := *before
	after.Approved = false
	return managerChange(actor, "manager.revoked", before, after), nil
}

func managerChange(actor Actor, event string, before *Manager, after Manager) Change {
	if before != nil && *before == after {
		return Change{}
	}
	change := changeOf(actor, event, after.AccountID, "managed_account", after.AccountID)
	change.Managers = []Diff[Manager]{{Before: before, After: &after}}
	return change
}

// CheckChannels refuses a number of channels below 0 or absurdly large.
func CheckChannels(field string, n int64) error {
	if n < 0 || n > MaxChannels {
		return RefuseField(OutOfRange, field, fmt.Sprintf("Must be a whole number of channels from 0 to %d.", int64(MaxChannels)))
	}
	return nil
}
