package store

import (
	"time"
)

// Lease is a channel, or several, that a call has taken. It ends when the switch
// releases it, or at ExpiresAt.
type Lease struct {
	ID           string
	AccountID    string
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

const leaseColumns = "SELECT id, account_id, connection_id, call_id, direction, units, switch_name, acquired_at, expires_at FROM lease WHERE "

func scanLease(row scanner, l *Lease) error {
	var acquired, expires int64
	err := row.Scan(&l.ID, &l.AccountID, &l.ConnectionID, &l.CallID, &l.Direction, &l.Units, &l.Switch, &acquired, &expires)
	l.AcquiredAt, l.ExpiresAt = fromMicros(acquired), fromMicros(expires)
	return err
}

// LeaseLane is the lane of all that concerns the leases of an account.
func LeaseLane(accountID string) string { return "lease " + accountID }

// ChannelsInUse is how many outbound channels the account's calls hold now.
func (tx *Tx) ChannelsInUse(accountID string) (int64, error) {
	return tx.count("SELECT COALESCE(SUM(units), 0) FROM lease WHERE account_id = $1 AND direction = 'outbound' AND expires_at > $2",
		accountID, micros(tx.now))
}

// AcquireLease takes channels for a call, or renews what the call holds already;
// it returns the lease and the channels in use with it. When an outbound call would
// pass the limit nothing is taken and the lease is nil. Call it in the account's
// LeaseLane.
func (tx *Tx) AcquireLease(l Lease, limit int64) (*Lease, int64, error) {
	held, err := one(tx, scanLease, leaseColumns+"account_id = $1 AND call_id = $2", l.AccountID, l.CallID)
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
	err = tx.exec(`INSERT INTO lease (account_id, call_id, id, connection_id, direction, units, switch_name, acquired_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (account_id, call_id) DO UPDATE SET id = excluded.id, connection_id = excluded.connection_id,
			direction = excluded.direction, units = excluded.units, switch_name = excluded.switch_name,
			acquired_at = excluded.acquired_at, expires_at = excluded.expires_at`,
		l.AccountID, l.CallID, l.ID, l.ConnectionID, l.Direction, l.Units, l.Switch, micros(l.AcquiredAt), micros(l.ExpiresAt))
	return &l, used, err
}

// LeasesOf are at most limit of an account's leases that have not ended, by call id
// after after.
func (tx *Tx) LeasesOf(accountID, after string, limit int) ([]Lease, error) {
	return all(tx, scanLease, leaseColumns+"account_id = $1 AND call_id > $2 AND expires_at > $3 ORDER BY call_id LIMIT $4",
		accountID, after, micros(tx.now), limit)
}

// LeasesOfCall are those of one call that have not ended, whichever accounts took
// them.
func (tx *Tx) LeasesOfCall(callID string) ([]Lease, error) {
	return all(tx, scanLease, leaseColumns+"call_id = $1 AND expires_at > $2 ORDER BY account_id", callID, micros(tx.now))
}

// LeasesOfSwitch are at most limit of a switch's leases that have not ended, by
// call id after after.
func (tx *Tx) LeasesOfSwitch(name, after string, limit int) ([]Lease, error) {
	return all(tx, scanLease, leaseColumns+"switch_name = $1 AND call_id > $2 AND expires_at > $3 ORDER BY call_id LIMIT $4",
		name, after, micros(tx.now), limit)
}

// ReleaseCall gives back what a call holds, in whatever accounts; a call that
// holds nothing is no fault. It returns how many leases ended.
func (tx *Tx) ReleaseCall(callID string) (int64, error) {
	return tx.execCount("DELETE FROM lease WHERE call_id = $1", callID)
}

// ExtendLease moves the end of a lease.
func (tx *Tx) ExtendLease(l *Lease, until time.Time) error {
	return tx.exec("UPDATE lease SET expires_at = $3 WHERE account_id = $1 AND call_id = $2", l.AccountID, l.CallID, micros(until))
}
