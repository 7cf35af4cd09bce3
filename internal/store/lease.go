package store

import (
	"time"
)

// Lease is a channel, or several, that a call has taken. It ends when the switch
// releases it, or at ExpiresAt. One that has ended never comes back: its channels
// may be another call's by then.
type Lease struct {
	ID        string
	AccountID string
	// ManagerID is whose pool the channels are of, "" for a root account.
	ManagerID    string
	ConnectionID string
	// CallID is the switch's name for the call; with the account it is the lease's key.
	CallID string
	// Direction is "inbound" or "outbound"; outbound ones count against the limit.
	Direction  string
	Units      int64
	Switch     string
	AcquiredAt time.Time
	ExpiresAt  time.Time
}

const leaseColumns = "id, account_id, manager_id, connection_id, call_id, direction, units, switch_name, acquired_at, expires_at"

const selectLease = "SELECT " + leaseColumns + " FROM lease WHERE "

func scanLease(row scanner, l *Lease) error {
	var acquired, expires int64
	err := row.Scan(&l.ID, &l.AccountID, &l.ManagerID, &l.ConnectionID, &l.CallID, &l.Direction, &l.Units, &l.Switch, &acquired, &expires)
	l.AcquiredAt, l.ExpiresAt = fromMicros(acquired), fromMicros(expires)
	return err
}

// LeaseLane is the lane of what takes channels of an account, or makes a lease last
// longer. Giving back, or ending sooner, needs none.
func LeaseLane(accountID string) string { return "lease " + accountID }

// ChannelsInUse is how many outbound channels the account's calls hold now.
func (tx *Tx) ChannelsInUse(accountID string) (int64, error) {
	return tx.count("SELECT CAST(COALESCE(SUM(units), 0) AS BIGINT) FROM lease WHERE account_id = $1 AND direction = 'outbound' AND expires_at > $2",
		accountID, micros(tx.now))
}

// ChannelsInUseOfPool is how many the calls of all a manager's accounts hold now.
func (tx *Tx) ChannelsInUseOfPool(managerID string) (int64, error) {
	return tx.count("SELECT CAST(COALESCE(SUM(units), 0) AS BIGINT) FROM lease WHERE manager_id = $1 AND direction = 'outbound' AND expires_at > $2",
		managerID, micros(tx.now))
}

// AcquireLease takes channels for a call, or renews what the call holds already;
// it returns the lease and the channels in use with it. When an outbound call would
// pass the limit nothing is taken and the lease is nil. Call it in the account's
// LeaseLane.
func (tx *Tx) AcquireLease(l Lease, limit int64) (*Lease, int64, error) {
	held, err := one(tx, scanLease, selectLease+"account_id = $1 AND call_id = $2", l.AccountID, l.CallID)
	if err != nil {
		return nil, 0, err
	}
	used, err := tx.ChannelsInUse(l.AccountID)
	if err != nil {
		return nil, 0, err
	}
	if held != nil && held.ExpiresAt.After(tx.now) {
		held.ExpiresAt, held.Switch = l.ExpiresAt, l.Switch
		return held, used, tx.exec("UPDATE lease SET expires_at = $3, switch_name = $4 WHERE account_id = $1 AND call_id = $2",
			l.AccountID, l.CallID, micros(l.ExpiresAt), l.Switch)
	}
	if l.Direction == "outbound" {
		if used+l.Units > limit {
			return nil, used, nil
		}
		used += l.Units
	}
	l.AcquiredAt = tx.now
	err = tx.exec(`INSERT INTO lease (account_id, call_id, id, manager_id, connection_id, direction, units, switch_name, acquired_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		ON CONFLICT (account_id, call_id) DO UPDATE SET id = excluded.id, manager_id = excluded.manager_id,
			connection_id = excluded.connection_id, direction = excluded.direction, units = excluded.units,
			switch_name = excluded.switch_name, acquired_at = excluded.acquired_at, expires_at = excluded.expires_at`,
		l.AccountID, l.CallID, l.ID, l.ManagerID, l.ConnectionID, l.Direction, l.Units, l.Switch, micros(l.AcquiredAt), micros(l.ExpiresAt))
	return &l, used, err
}

// LeasesOf are at most limit of an account's leases that have not ended, by call id
// after after.
func (tx *Tx) LeasesOf(accountID, after string, limit int) ([]Lease, error) {
	return all(tx, scanLease, selectLease+"account_id = $1 AND call_id > $2 AND expires_at > $3 ORDER BY call_id LIMIT $4",
		accountID, after, micros(tx.now), limit)
}

// LeasesOfCall are those of one call that have not ended, whichever accounts took
// them.
func (tx *Tx) LeasesOfCall(callID string) ([]Lease, error) {
	return all(tx, scanLease, selectLease+"call_id = $1 AND expires_at > $2 ORDER BY account_id", callID, micros(tx.now))
}

// LeasesOfSwitch are at most limit of a switch's leases that have not ended, by
// call id and then account after those given.
func (tx *Tx) LeasesOfSwitch(name, afterCall, afterAccount string, limit int) ([]Lease, error) {
	return all(tx, scanLease, selectLease+"switch_name = $1 AND (call_id, account_id) > ($2, $3) AND expires_at > $4 ORDER BY call_id, account_id LIMIT $5",
		name, afterCall, afterAccount, micros(tx.now), limit)
}

// ReleaseCall gives back what a call holds, in whatever accounts; a call that
// holds nothing is no fault. It returns the leases that ended.
func (tx *Tx) ReleaseCall(callID string) ([]Lease, error) {
	leases, err := all(tx, scanLease, "DELETE FROM lease WHERE call_id = $1 RETURNING "+leaseColumns, callID)
	ended := leases[:0]
	for _, l := range leases {
		if l.ExpiresAt.After(tx.now) {
			ended = append(ended, l)
		}
	}
	return ended, err
}

// ReleaseLease gives one lease back as it is: not one that the call has renewed, or
// taken anew, since.
func (tx *Tx) ReleaseLease(l *Lease) error {
	return tx.exec("DELETE FROM lease WHERE account_id = $1 AND call_id = $2 AND id = $3 AND expires_at = $4",
		l.AccountID, l.CallID, l.ID, micros(l.ExpiresAt))
}

// ExtendLease makes a lease that has not ended last until then. Call it in the
// LeaseLane of the account.
func (tx *Tx) ExtendLease(l *Lease, until time.Time) error {
	return tx.exec("UPDATE lease SET expires_at = $4 WHERE account_id = $1 AND call_id = $2 AND id = $3 AND expires_at > $5 AND expires_at < $4",
		l.AccountID, l.CallID, l.ID, micros(until), micros(tx.now))
}

// ShortenLease makes a lease end then, if it would last longer.
func (tx *Tx) ShortenLease(l *Lease, until time.Time) error {
	return tx.exec("UPDATE lease SET expires_at = $4 WHERE account_id = $1 AND call_id = $2 AND id = $3 AND expires_at > $4",
		l.AccountID, l.CallID, l.ID, micros(until))
}
