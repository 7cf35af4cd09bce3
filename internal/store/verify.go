package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tenantry/tenantry/internal/tenant"
)

// KeepEvents is how long an event stays in the outbox, and is tried to be delivered.
const KeepEvents = 7 * 24 * time.Hour

// keepDeliveries is how much longer a delivery is kept, so that it can be seen what
// became of it.
const keepDeliveries = 24 * time.Hour

// mostFindings is how many violations of one rule Verify names.
const mostFindings = 100

// Verify walks the whole database and says what is wrong with it: nil when it is
// sound, else one error for each violation, joined. It asks the engine to check
// its own file first, and then that
//
//   - the channels of a manager's accounts add up to what the manager has handed
//     out, which is within the pool, and no limit is below 0;
//   - accounts of a manager, users of an organization and entries of an audit log
//     are numbered from 1 without a gap, as the counters have it;
//   - each account has its owner, under its own address, and the owner's keys;
//   - no user, group, membership, key, session or entry is without its owner, and
//     nothing of a removed user is left;
//   - nobody who may not use services has a session, or acts in one;
//   - no way in is without its owner: a password reset, a second factor with its
//     recovery codes, an invitation, single sign-on, an identity elsewhere;
//   - no connection, identity, lease or message is without its owner, a connection
//     that is on may be, a cancelled account has none, and no message is left lying;
//   - each account and user has the entry of its creation, and each entry younger
//     than KeepEvents its event, in the outbox or on its way to the webhook;
//   - no event that waits for the webhook is forgotten.
//
// Of each rule at most 100 violations are named. Verify reads one snapshot, so
// that it may run while the server writes, and changes nothing. It takes time in
// proportion to the database, and keeps the write-ahead log from shrinking
// meanwhile.
func (db *DB) Verify(ctx context.Context) error {
	var found []error
	err := db.view(ctx, true, func(tx *Tx) error {
		note := func(finding *string) error {
			found = append(found, errors.New(*finding))
			return ctx.Err()
		}
		if err := db.engine.findings(tx, note); err != nil {
			return fmt.Errorf("check the database itself: %w", err)
		}
		scan := func(row scanner, s *string) error { return row.Scan(s) }
		for _, query := range soundness {
			if err := each(tx, scan, note, query+fmt.Sprintf(" LIMIT %d", mostFindings)); err != nil {
				return err
			}
		}
		if err := each(tx, scan, note, unsent+fmt.Sprintf(" LIMIT %d", mostFindings), micros(tx.now.Add(-KeepEvents))); err != nil {
			return err
		}
		return verifyKeys(tx, note)
	})
	return errors.Join(append(found, err)...)
}

// soundness are queries that find nothing in a sound database. Each row is a
// sentence.
var soundness = []string{
	`SELECT 'manager "' || m.account_id || '" has handed out ' || m.channels_allocated || ' channels, its accounts have ' || COALESCE(a.channels, 0)
		FROM manager m LEFT JOIN (SELECT manager_id, SUM(channel_limit) AS channels FROM account GROUP BY manager_id) a ON a.manager_id = m.account_id
		WHERE m.channels_allocated <> COALESCE(a.channels, 0)`,
	`SELECT 'manager "' || account_id || '" has handed out ' || channels_allocated || ' channels of a pool of ' || channel_pool
		FROM manager WHERE channels_allocated > channel_pool OR channels_allocated < 0`,
	`SELECT 'manager "' || m.account_id || '" counts ' || m.accounts || ' accounts, there are ' || COALESCE(a.total, 0) || ', numbered '
			|| COALESCE(a.first, 1) || ' to ' || COALESCE(a.last, 0)
		FROM manager m LEFT JOIN (SELECT manager_id, COUNT(*) AS total, MIN(number) AS first, MAX(number) AS last FROM account GROUP BY manager_id) a
			ON a.manager_id = m.account_id
		WHERE m.accounts <> COALESCE(a.total, 0) OR m.accounts <> COALESCE(a.last, 0) OR COALESCE(a.first, 1) <> 1`,
	`SELECT 'account ' || id || ' has a limit below 0' FROM account WHERE channel_limit < 0 OR credit_limit < 0`,
	`SELECT 'account ' || a.id || ' has revision ' || a.revision || ', its manager ' || m.revision
		FROM account a JOIN manager m ON m.account_id = a.manager_id WHERE a.revision > m.revision`,
	`SELECT 'account ' || a.id || ' belongs to "' || a.manager_id || '", which is no manager'
		FROM account a LEFT JOIN manager m ON m.account_id = a.manager_id WHERE m.account_id IS NULL`,
	`SELECT 'manager ' || m.account_id || ' has no account'
		FROM manager m LEFT JOIN account a ON a.id = m.account_id WHERE m.account_id <> '' AND a.id IS NULL`,
	`SELECT 'account ' || a.id || ' counts ' || a.users || ' users, there are ' || COALESCE(u.total, 0) || ', numbered '
			|| COALESCE(u.first, 1) || ' to ' || COALESCE(u.last, 0)
		FROM account a LEFT JOIN (SELECT account_id, COUNT(*) AS total, MIN(number) AS first, MAX(number) AS last, MAX(revision) AS revision
			FROM organization_user GROUP BY account_id) u ON u.account_id = a.id
		WHERE a.users <> COALESCE(u.total, 0) OR a.users <> COALESCE(u.last, 0) OR COALESCE(u.first, 1) <> 1`,
	`SELECT 'user ' || u.id || ' has revision ' || u.revision || ', its account ' || a.user_revision
		FROM organization_user u JOIN account a ON a.id = u.account_id WHERE u.revision > a.user_revision`,
	`SELECT 'account ' || a.id || ' has no owner under its address'
		FROM account a LEFT JOIN organization_user u ON u.id = a.id
		WHERE u.id IS NULL OR u.account_id <> a.id OR u.removed OR u.email <> a.email`,
	`SELECT 'account ' || a.id || ' has no key of each kind'
		FROM account a LEFT JOIN (SELECT user_id, COUNT(DISTINCT kind) AS kinds FROM api_key WHERE name = '' GROUP BY user_id) k ON k.user_id = a.id
		WHERE COALESCE(k.kinds, 0) < 2`,
	`SELECT 'user ' || u.id || ' has no account' FROM organization_user u LEFT JOIN account a ON a.id = u.account_id WHERE a.id IS NULL`,
	`SELECT 'user ' || id || ' is removed and still has a name' FROM organization_user WHERE removed AND (email <> '' OR password_hash <> '')`,
	`SELECT 'group ' || g.id || ' has no account' FROM organization_group g LEFT JOIN account a ON a.id = g.account_id WHERE a.id IS NULL`,
	`SELECT 'the membership of user ' || m.user_id || ' in group ' || m.group_id || ' has no owner'
		FROM membership m LEFT JOIN organization_user u ON u.id = m.user_id LEFT JOIN organization_group g ON g.id = m.group_id
		WHERE (u.id IS NULL OR g.id IS NULL OR u.removed OR u.number <> m.user_number
			OR u.account_id <> m.account_id OR g.account_id <> m.account_id) AND NOT EXISTS (SELECT 1 FROM removed_group r WHERE r.id = m.group_id)`,
	`SELECT 'group ' || g.id || ' is removed and still there' FROM removed_group r JOIN organization_group g ON g.id = r.id`,
	`SELECT 'key ' || k.id || ' has no owner'
		FROM api_key k LEFT JOIN organization_user u ON u.id = k.user_id WHERE u.id IS NULL OR u.removed OR u.account_id <> k.account_id`,
	`SELECT 'a session of user ' || s.user_id || ' has no owner who may sign in'
		FROM session s LEFT JOIN organization_user u ON u.id = s.user_id LEFT JOIN account a ON a.id = s.account_id
		WHERE s.ended = '' AND s.account_id <> 'operator' AND (u.id IS NULL OR a.id IS NULL OR u.removed OR u.user_status <> 'enabled' OR u.account_id <> s.account_id
			OR a.disabled OR a.blocked OR a.cancelled)`,
	`SELECT 'a session as user ' || s.user_id || ' is of no person of its manager'
		FROM session s LEFT JOIN organization_user u ON u.id = s.person_user_id LEFT JOIN account a ON a.id = s.account_id
			LEFT JOIN account m ON m.id = s.person_account_id
		WHERE s.person_account_id <> '' AND s.ended = '' AND (u.id IS NULL OR m.id IS NULL OR a.id IS NULL OR u.removed OR u.user_status <> 'enabled'
			OR u.account_id <> m.id OR a.manager_id <> m.id OR m.disabled OR m.blocked OR m.cancelled)`,
	`SELECT 'the ' || p.what || ' of user ' || p.user_id || ' has no owner'
		FROM (SELECT 'password reset' AS what, user_id, account_id FROM password_reset UNION ALL SELECT 'second factor', user_id, account_id FROM second_factor
			UNION ALL SELECT 'identity elsewhere', user_id, account_id FROM external_identity) p
			LEFT JOIN organization_user u ON u.id = p.user_id WHERE u.id IS NULL OR u.removed OR u.account_id <> p.account_id`,
	`SELECT 'a recovery code of user ' || c.user_id || ' is of no second factor'
		FROM recovery_code c LEFT JOIN second_factor f ON f.user_id = c.user_id WHERE f.user_id IS NULL OR NOT f.confirmed`,
	`SELECT 'invitation ' || i.id || ' has no account' FROM invitation i LEFT JOIN account a ON a.id = i.account_id WHERE a.id IS NULL`,
	`SELECT 'single sign-on of ' || s.account_id || ' has no account' FROM single_sign_on s LEFT JOIN account a ON a.id = s.account_id WHERE a.id IS NULL`,
	`SELECT 'connection ' || c.id || ' has no account that may have it'
		FROM connection c LEFT JOIN account a ON a.id = c.account_id WHERE a.id IS NULL OR a.cancelled`,
	`SELECT 'connection ' || c.id || ' is on and may not be'
		FROM connection c JOIN account a ON a.id = c.account_id
		WHERE c.active AND (a.disabled OR c.hold <> '' OR NOT EXISTS (SELECT 1 FROM identity i
			WHERE i.connection_id = c.id AND i.value LIKE CASE c.kind WHEN 'address' THEN 'ip:%' ELSE 'sip:%' END))`,
	`SELECT 'connection ' || c.id || ' has no audit entry of its creation'
		FROM connection c LEFT JOIN (SELECT DISTINCT account_id, resource_id FROM audit_entry WHERE event = 'connection.created') e
			ON e.account_id = c.account_id AND e.resource_id = c.id
		WHERE e.resource_id IS NULL`,
	`SELECT 'identity ' || i.value || ' has no owner'
		FROM identity i LEFT JOIN connection c ON c.id = i.connection_id WHERE c.id IS NULL OR c.account_id <> i.account_id`,
	`SELECT 'the lease of call ' || l.call_id || ' has no account'
		FROM lease l LEFT JOIN account a ON a.id = l.account_id WHERE a.id IS NULL`,
	`SELECT 'message ' || m.id || ' has no account'
		FROM message m LEFT JOIN account a ON a.id = m.account_id WHERE a.id IS NULL`,
	`SELECT 'message ' || id || ' is ' || status || CASE due_at WHEN 0 THEN ' and nobody does anything about it' ELSE ' and still to be looked after' END
		FROM message WHERE due_at > 0 AND status NOT IN ('queued', 'sent') OR status = 'queued' AND due_at = 0`,
	`SELECT 'audit log of ' || account_id || ' has ' || COUNT(*) || ' entries, numbered ' || MIN(number) || ' to ' || MAX(number)
		FROM audit_entry GROUP BY account_id HAVING COUNT(*) <> MAX(number) OR MIN(number) <> 1`,
	`SELECT 'audit entry ' || e.id || ' has no account' FROM audit_entry e LEFT JOIN account a ON a.id = e.account_id WHERE a.id IS NULL`,
	`SELECT 'account ' || a.id || ' has no audit entry of its creation'
		FROM account a LEFT JOIN audit_entry e ON e.account_id = a.id AND e.number = 1
		WHERE e.id IS NULL OR e.resource_id <> a.id OR e.event NOT IN ('account.created', 'managed_account.created')`,
	// Joined by the user alone: by the account, too, PostgreSQL may choose to compare
	// each user of an organization with each of its entries.
	`SELECT 'user ' || u.id || ' has no audit entry of its creation'
		FROM organization_user u LEFT JOIN (SELECT account_id, resource_id FROM audit_entry WHERE event = 'organization_user.created') e
			ON e.resource_id = u.id
		WHERE u.id <> u.account_id AND (e.resource_id IS NULL OR e.account_id <> u.account_id)`,
	`SELECT 'event ' || o.id || ' has no audit entry'
		FROM outbox o LEFT JOIN audit_entry e ON e.id = o.id AND e.account_id = o.account_id AND e.number = o.number WHERE e.id IS NULL`,
	`SELECT 'event ' || w.id || ' has no audit entry'
		FROM webhook_event w LEFT JOIN audit_entry e ON e.id = w.id AND e.account_id = w.account_id AND e.number = w.number WHERE e.id IS NULL`,
	`SELECT 'event ' || w.id || ' is in the outbox and on its way' FROM outbox o JOIN webhook_event w ON w.id = o.id`,
	`SELECT 'event ' || w.id || ' waits and is forgotten'
		FROM webhook_event w LEFT JOIN webhook_queue q ON q.account_id = w.account_id WHERE w.status = 'waiting' AND q.account_id IS NULL`,
}

const unsent = `SELECT 'audit entry ' || e.id || ' has no event'
	FROM audit_entry e LEFT JOIN outbox o ON o.id = e.id LEFT JOIN webhook_event w ON w.id = e.id
	WHERE e.created_at >= $1 AND o.id IS NULL AND w.id IS NULL`

// verifyKeys checks the form in which addresses are compared: lower-casing is
// not the same in SQL.
func verifyKeys(tx *Tx, note func(*string) error) error {
	type row struct{ what, id, email, key string }
	return each(tx, func(s scanner, r *row) error { return s.Scan(&r.what, &r.id, &r.email, &r.key) }, func(r *row) error {
		if tenant.EmailKey(r.email) == r.key {
			return nil
		}
		finding := fmt.Sprintf("%s %s is found by another address than its own", r.what, r.id)
		return note(&finding)
	}, `SELECT 'account', id, email, email_key FROM account UNION ALL SELECT 'user', id, email, email_key FROM organization_user`)
}
