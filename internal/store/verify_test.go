package store_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// sound makes a database with something of everything: rootID, which manages two
// accounts with channels, has a group with user "v" in it, who has a session and is still
// in a group that has gone, a removed user "u", and connection "c"; and a session of the
// operator.
func sound(tx *store.Tx) error {
	if err := everyChange(tx); err != nil {
		return err
	}
	now, operator := tx.Now(), tenant.Actor{Operator: true}
	root, err := tx.Account(rootID)
	if err != nil {
		return err
	}
	changes := []func() (tenant.Change, error){
		func() (tenant.Change, error) { return tenant.Unblock(operator, *root, now) },
		func() (tenant.Change, error) {
			pool, manager := int64(10), (*tenant.Manager)(nil)
			if manager, err = tx.Manager(rootID); err != nil {
				return tenant.Change{}, err
			}
			return tenant.ApproveManager(operator, *root, manager, &pool, now)
		},
	}
	left := tenant.Group{ID: "left", AccountID: rootID, Name: "left"}
	changes = append(changes, func() (tenant.Change, error) { return tenant.NewGroup(operator, left) })
	for _, id := range []string{"child1", "child2"} {
		changes = append(changes, func() (tenant.Change, error) {
			account := tenant.Account{ID: id, ManagerID: rootID, Email: id + "@example.com", OrganizationName: id, ChannelLimit: 3, CreatedAt: now, UpdatedAt: now}
			owner := tenant.User{ID: id, AccountID: id, Email: account.Email, Status: tenant.UserEnabled, CreatedAt: now}
			return tenant.NewAccount(operator, account, owner, []tenant.Key{
				{ID: id + "v2", AccountID: id, UserID: id, Kind: tenant.KeyV2, Digest: id + "v2"},
				{ID: id + "v1", AccountID: id, UserID: id, Kind: tenant.KeyV1, Digest: id + "v1"},
			})
		})
	}
	changes = append(changes, func() (tenant.Change, error) {
		user := tenant.User{ID: "v", AccountID: rootID, Email: "v@example.com", Status: tenant.UserEnabled, CreatedAt: now}
		key := tenant.Key{ID: "vk", AccountID: rootID, UserID: "v", Kind: tenant.KeyV2, Digest: "vk"}
		return tenant.NewUser(operator, user, key, []tenant.Group{{ID: "g", Name: "g"}, left}), nil
	}, func() (tenant.Change, error) { return tenant.RemoveGroup(operator, left) })
	for _, make := range changes {
		change, err := make()
		if err != nil {
			return err
		}
		if err := tx.Apply(change); err != nil {
			return err
		}
	}
	if err := tx.StartSession(store.Session{Digest: "zs", AccountID: store.OperatorAccount, UserID: "o", Kind: store.PortalSession, ExpiresAt: now.Add(time.Hour)}); err != nil {
		return err
	}
	return tx.StartSession(store.Session{Digest: "vs", AccountID: rootID, UserID: "v", ExpiresAt: now.Add(time.Hour)})
}

// TestVerifyNames damages a sound database in every way that Verify looks for.
func TestVerifyNames(t *testing.T) {
	for _, test := range []struct{ damage, finding string }{
		{"UPDATE manager SET channels_allocated = 5 WHERE account_id <> ''", `handed out 5 channels, its accounts have 6`},
		{"UPDATE account SET channel_limit = 4 WHERE id = 'child1'", `handed out 6 channels, its accounts have 7`},
		{"UPDATE manager SET channel_pool = 5 WHERE account_id <> ''", `6 channels of a pool of 5`},
		{"UPDATE account SET credit_limit = -1 WHERE id = 'child1'", "account child1 has a limit below 0"},
		{"UPDATE manager SET accounts = 3 WHERE account_id <> ''", "counts 3 accounts, there are 2, numbered 1 to 2"},
		{"UPDATE account SET number = 3 WHERE id = 'child2'", "counts 2 accounts, there are 2, numbered 1 to 3"},
		{"UPDATE account SET number = 0 WHERE id = 'child1'", "counts 2 accounts, there are 2, numbered 0 to 2"},
		{"DELETE FROM account WHERE id = 'child2'", "counts 2 accounts, there are 1"},
		{"UPDATE account SET revision = 99 WHERE id = 'child2'", "account child2 has revision 99, its manager 0"},
		{"UPDATE account SET manager_id = 'nobody' WHERE id = 'child2'", `account child2 belongs to "nobody", which is no manager`},
		{"INSERT INTO manager (account_id, approved, channel_pool) VALUES ('nobody', TRUE, 0)", "manager nobody has no account"},
		{"UPDATE account SET users = 2 WHERE id = 'child1'", "account child1 counts 2 users, there are 1"},
		{"UPDATE organization_user SET number = 2 WHERE id = 'child1'", "account child1 counts 1 users, there are 1, numbered 2 to 2"},
		{"UPDATE organization_user SET revision = 9 WHERE id = 'child1'", "user child1 has revision 9, its account 0"},
		{"UPDATE organization_user SET email = 'x@example.com', email_key = 'x@example.com' WHERE id = 'child1'", "account child1 has no owner under its address"},
		{"DELETE FROM organization_user WHERE id = 'child1'", "account child1 has no owner"},
		{"UPDATE organization_user SET account_id = 'nobody' WHERE id = 'child1'", "user child1 has no account"},
		{"UPDATE organization_user SET email = 'left' WHERE id = 'u'", "user u is removed and still has a name"},
		{"UPDATE organization_user SET email_key = 'other' WHERE id = 'v'", "user v is found by another address"},
		{"UPDATE account SET email_key = 'other' WHERE id = 'child1'", "account child1 is found by another address"},
		{"DELETE FROM api_key WHERE id = 'child1v1'", "account child1 has no key of each kind"},
		{"UPDATE organization_group SET account_id = 'nobody' WHERE id = 'g'", "group g has no account"},
		{"DELETE FROM organization_group WHERE id = 'g'", "the membership of user v in group g has no owner"},
		{"DELETE FROM removed_group", "the membership of user v in group left has no owner"},
		{"INSERT INTO removed_group (id) VALUES ('g')", "group g is removed and still there"},
		{"UPDATE membership SET user_number = 9", "the membership of user v in group g has no owner"},
		{"UPDATE membership SET account_id = 'child1'", "the membership of user v in group g has no owner"},
		{"INSERT INTO membership (account_id, user_number, user_id, group_id) SELECT account_id, number, id, 'g' FROM organization_user WHERE id = 'u'", "the membership of user u in group g has no owner"},
		{"UPDATE api_key SET user_id = 'u' WHERE id = 'vk'", "key vk has no owner"},
		{"UPDATE api_key SET account_id = 'child1' WHERE id = 'vk'", "key vk has no owner"},
		{"UPDATE session SET user_id = 'u'", "a session of user u has no owner who may sign in"},
		{"UPDATE organization_user SET user_status = 'blocked' WHERE id = 'v'", "a session of user v has no owner who may sign in"},
		{"UPDATE account SET blocked = TRUE WHERE manager_id = ''", "a session of user v has no owner who may sign in"},
		{"UPDATE session SET person_account_id = 'child1', person_user_id = 'child1' WHERE digest = 'vs'", "a session as user v is of no person of its manager"},
		{"UPDATE session SET user_id = 'child1', account_id = 'child1', person_account_id = '" + rootID + "', person_user_id = 'u' WHERE digest = 'vs'", "a session as user child1 is of no person"},
		{"UPDATE password_reset SET user_id = 'u'", "the password reset of user u has no owner"},
		{"UPDATE second_factor SET account_id = 'child1'", "the second factor of user p has no owner"},
		{"UPDATE external_identity SET user_id = 'nobody'", "the identity elsewhere of user nobody has no owner"},
		{"UPDATE second_factor SET confirmed = FALSE", "a recovery code of user p is of no second factor"},
		{"UPDATE invitation SET account_id = 'nobody'", "invitation i has no account"},
		{"UPDATE single_sign_on SET account_id = 'nobody'", "single sign-on of nobody has no account"},
		{"UPDATE api_key SET name = 'named' WHERE id = 'child1v1'", "account child1 has no key of each kind"},
		{"UPDATE connection SET account_id = 'nobody'", "connection c has no account that may have it"},
		{"UPDATE account SET cancelled = TRUE WHERE id = '" + rootID + "'", "connection c has no account that may have it"},
		{"UPDATE account SET disabled = TRUE WHERE id = '" + rootID + "'", "connection c is on and may not be"},
		{"UPDATE connection SET hold = 'unpaid'", "connection c is on and may not be"},
		{"UPDATE connection SET kind = 'address'", "connection c is on and may not be"},
		{"DELETE FROM identity WHERE value = 'sip:alice'", "connection c is on and may not be"},
		{"UPDATE audit_entry SET event = 'other' WHERE resource_id = 'c'", "connection c has no audit entry of its creation"},
		{"DELETE FROM connection", "identity sip:alice has no owner"},
		{"UPDATE identity SET account_id = 'nobody'", "identity tel:+15550101 has no owner"},
		{"UPDATE lease SET account_id = 'nobody'", "the lease of call call has no account"},
		{"UPDATE message SET account_id = 'nobody'", "message waiting has no account"},
		{"UPDATE message SET due_at = 0", "message waiting is queued and nobody does anything about it"},
		{"UPDATE message SET status = 'delivered'", "message waiting is delivered and still to be looked after"},
		{"DELETE FROM audit_entry WHERE account_id = '" + rootID + "' AND number = 2", "entries, numbered 1 to"},
		{"UPDATE audit_entry SET account_id = 'nobody' WHERE account_id = 'child1'", "has no account"},
		{"UPDATE audit_entry SET event = 'other' WHERE account_id = 'child1'", "account child1 has no audit entry of its creation"},
		{"UPDATE audit_entry SET event = 'other' WHERE resource_id = 'v'", "user v has no audit entry of its creation"},
		{"DELETE FROM outbox WHERE account_id = 'child1'", "has no event"},
		{"UPDATE outbox SET number = 99 WHERE account_id = 'child1'", "has no audit entry"},
		{"UPDATE webhook_event SET number = 99 WHERE number = 1", "has no audit entry"},
		{"DELETE FROM webhook_event WHERE status = 'delivered' OR status = 'skipped'", "has no event"},
		{"DELETE FROM webhook_queue", "waits and is forgotten"},
		{"INSERT INTO outbox SELECT id, account_id, number, created_at FROM webhook_event", "is in the outbox and on its way"},
		{"DELETE FROM audit_entry WHERE account_id = 'child1'", "account child1 has no audit entry of its creation"},
	} {
		t.Run(test.damage, func(t *testing.T) {
			t.Parallel()
			dbtest.Each(t, func(t *testing.T, db *store.DB) {
				ctx := t.Context()
				if err := db.Update(ctx, "", sound); err != nil {
					t.Fatal(err)
				}
				if err := db.Verify(ctx); err != nil {
					t.Fatalf("it was not sound before: %v", err)
				}
				if err := db.Unchecked(ctx, true); err != nil {
					t.Fatal(err)
				}
				if err := db.Exec(ctx, test.damage); err != nil {
					t.Fatal(err)
				}
				err := db.Verify(ctx)
				if err == nil {
					t.Fatal("not found")
				}
				if !strings.Contains(err.Error(), test.finding) {
					t.Errorf("found:\n%v\nwant:\n%s", err, test.finding)
				}
				db.Close()
			})
		})
	}
}

// TestVerifyLetsEventsGo: what is older than KeepEvents needs no event any more.
func TestVerifyLetsEventsGo(t *testing.T) {
	dbtest.EachAddress(t, func(t *testing.T, address string) {
		now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
		clock := tenant.NewSource(func() time.Time { return now }, nil)
		db := dbtest.Open(t, address, store.Options{Source: clock}) // which verifies again
		if err := db.Update(t.Context(), "", sound); err != nil {
			t.Fatal(err)
		}
		now = now.Add(store.KeepEvents + time.Second)
		var gone int64
		if err := db.Update(t.Context(), "", func(tx *store.Tx) (err error) {
			gone, err = tx.Prune(tx.Now().Add(-store.KeepEvents), 100)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if gone < 10 {
			t.Errorf("only %d rows went", gone)
		}
	})
}

func TestVerifyNamesAllAtOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		if err := db.Update(ctx, "", sound); err != nil {
			t.Fatal(err)
		}
		for _, damage := range []string{
			"UPDATE account SET users = 7 WHERE id = 'child1'", "DELETE FROM api_key WHERE id = 'child2v1'",
			"DELETE FROM outbox",
		} {
			if err := db.Exec(ctx, damage); err != nil {
				t.Fatal(err)
			}
		}
		err := db.Verify(ctx)
		found := err.(interface{ Unwrap() []error }).Unwrap()
		if len(found) < 12 {
			t.Errorf("%d findings, want one for each event and two more:\n%v", len(found), err)
		}
		db.Close()
	})
}
