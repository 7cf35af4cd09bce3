package store

import (
	"github.com/tenantry/tenantry/internal/tenant"
)

// ScarcePools are at most limit approved managers who have handed out more than nine
// tenths of their channels, those with the fewest left first.
func (tx *Tx) ScarcePools(limit int) ([]tenant.Manager, error) {
	return all(tx, scanManager, `SELECT account_id, approved, channel_pool, channels_allocated, accounts, revision FROM manager
		WHERE approved = TRUE AND channel_pool > 0 AND channels_allocated * 10 > channel_pool * 9
		ORDER BY channel_pool - channels_allocated, account_id LIMIT $1`, limit)
}

// Overdrawn are at most limit accounts that have spent more than balance and credit
// limit, the worst first.
func (tx *Tx) Overdrawn(limit int) ([]tenant.Account, error) {
	return all(tx, scanAccount, "SELECT "+accountColumns+` FROM account a
		WHERE a.balance + a.credit_limit < 0 AND a.rollup_billing = FALSE AND a.cancelled = FALSE
		ORDER BY a.balance + a.credit_limit, a.id LIMIT $1`, limit)
}

// BlockedAccounts are at most limit accounts that the operator blocked and did not
// cancel, those that changed last first.
func (tx *Tx) BlockedAccounts(limit int) ([]tenant.Account, error) {
	return all(tx, scanAccount, "SELECT "+accountColumns+` FROM account a WHERE a.blocked = TRUE AND a.cancelled = FALSE
		ORDER BY a.updated_at DESC, a.id DESC LIMIT $1`, limit)
}

// NeverManagers are those of the newest root accounts that are not cancelled and never
// were managers, the newest first, at most limit of them.
func (tx *Tx) NeverManagers(newest, limit int) ([]tenant.Account, error) {
	// Asked for row by row: joined, PostgreSQL may read all managers instead.
	return all(tx, scanAccount, "SELECT "+accountColumns+` FROM account a
		WHERE a.manager_id = '' AND a.number > (SELECT accounts FROM manager WHERE account_id = '') - $1 AND a.cancelled = FALSE
			AND COALESCE((SELECT m.accounts FROM manager m WHERE m.account_id = a.id), -1) < 0
		ORDER BY a.number DESC LIMIT $2`, newest, limit)
}

// LockedOut counts those who may not try to sign in now, up to most.
func (tx *Tx) LockedOut(most int) (int64, error) {
	return tx.count("SELECT COUNT(*) FROM (SELECT 1 FROM sign_in_try WHERE locked_until > 0 AND locked_until > $1 LIMIT $2) locked", micros(tx.now), most)
}

// MailTried counts the mails that were taken up and are still there, up to most.
func (tx *Tx) MailTried(most int) (int64, error) {
	return tx.count("SELECT COUNT(*) FROM (SELECT 1 FROM mail WHERE tries > 0 AND expires_at > $1 LIMIT $2) tried", micros(tx.now), most)
}
