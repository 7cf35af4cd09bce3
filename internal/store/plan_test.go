package store_test

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/directory"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// reads calls each exported method of Tx, in all the ways that have a statement
// of their own.
var reads = map[string]func(tx *store.Tx){
	"Now": func(tx *store.Tx) { tx.Now() },
	"Int": func(tx *store.Tx) {},

	"Account":        func(tx *store.Tx) { tx.Account("a") },
	"ManagedAccount": func(tx *store.Tx) { tx.ManagedAccount("m", "a") },
	"AccountsByNumber": func(tx *store.Tx) {
		tx.AccountsByNumber("m", []int64{1})
		tx.AccountsByNumber("m", []int64{1, 2})
		tx.AccountsByNumber("m", page)
	},
	"AccountsByChannels": func(tx *store.Tx) { tx.AccountsByChannels("m", 5, 7, 10) },
	"AccountNumbers": func(tx *store.Tx) {
		tx.AccountNumbers("m", "e", "")
		tx.AccountNumbers("m", "", "n")
		tx.AccountNumbers("m", "e", "n")
	},
	"EmailTaken": func(tx *store.Tx) { tx.EmailTaken("m", "e") },
	"AccountDirectory": func(tx *store.Tx) {
		// 1 of 2 accounts known, at a revision before the last: both statements run.
		tx.AccountDirectory("", 1, 0, func(directory.Entry) error { return nil })
	},
	"Manager":  func(tx *store.Tx) { tx.Manager("m") },
	"Managing": func(tx *store.Tx) { tx.Managing("m") },

	"UserByID":      func(tx *store.Tx) { tx.UserByID("u") },
	"User":          func(tx *store.Tx) { tx.User("a", "u", "id") },
	"UserByEmail":   func(tx *store.Tx) { tx.UserByEmail("e", ""); tx.UserByEmail("e", "a") },
	"UsersByNumber": func(tx *store.Tx) { tx.UsersByNumber("a", page) },
	"UserDirectory": func(tx *store.Tx) {
		tx.UserDirectory(rootID, 1, 0, func(directory.Entry) error { return nil })
	},
	"UsersAfter":        func(tx *store.Tx) { tx.UsersAfter("a", 0, 10, func(*tenant.User) error { return nil }) },
	"Members":           func(tx *store.Tx) { tx.Members("a", 0, 10, func(*store.Member) error { return nil }) },
	"Groups":            func(tx *store.Tx) { tx.Groups("a") },
	"Group":             func(tx *store.Tx) { tx.Group("a", "g", "id") },
	"GroupsOf":          func(tx *store.Tx) { tx.GroupsOf(&tenant.User{}) },
	"GroupPermissions":  func(tx *store.Tx) { tx.GroupPermissions("g") },
	"MembersOf":         func(tx *store.Tx) { tx.MembersOf("away", 0, 100) },
	"UsersWithEmail":    func(tx *store.Tx) { tx.UsersWithEmail("e", 5) },
	"Session":           func(tx *store.Tx) { tx.Session("s") },
	"SessionsOf":        func(tx *store.Tx) { tx.SessionsOf("a", "u") },
	"Tries":             func(tx *store.Tx) { tx.Tries("t") },
	"Invitations":       func(tx *store.Tx) { tx.Invitations("a") },
	"Invitation":        func(tx *store.Tx) { tx.Invitation("a", "i") },
	"InvitationByToken": func(tx *store.Tx) { tx.InvitationByToken("d") },
	"Reset":             func(tx *store.Tx) { tx.Reset("u") },
	"ResetByToken":      func(tx *store.Tx) { tx.ResetByToken("d") },
	"Factor":            func(tx *store.Tx) { tx.Factor("u") },
	"RecoveryCodes":     func(tx *store.Tx) { tx.RecoveryCodes("u") },
	"MailDue":           func(tx *store.Tx) { tx.MailDue() },
	"SignOn":            func(tx *store.Tx) { tx.SignOn("a") },
	"Identified":        func(tx *store.Tx) { tx.Identified("a", "i", "s") },
	"IdentityOf":        func(tx *store.Tx) { tx.IdentityOf("u") },
	"Key":               func(tx *store.Tx) { tx.Key("k") },
	"KeysOf":            func(tx *store.Tx) { tx.KeysOf("u") },
	"Agreed":            func(tx *store.Tx) { tx.Agreed("n") },
	"KeptAnswer":        func(tx *store.Tx) { tx.KeptAnswer("r") },
	"AuditRange": func(tx *store.Tx) {
		tx.AuditRange("a", time.Time{}, time.Time{})
		tx.AuditRange("a", time.Unix(1, 0), time.Unix(2, 0))
	},
	"AuditEntries": func(tx *store.Tx) { tx.AuditEntries("a", 1, 2) },

	"AuditNumbers": func(tx *store.Tx) {
		for _, f := range []store.AuditFilter{{}, {Event: "e"}, {UserID: "u"}, {ResourceID: "r"}, {Event: "e", UserID: "u"}, {UserID: "u", ResourceID: "r"}, {Event: "e", UserID: "u", ResourceID: "r"}} {
			tx.AuditNumbers("a", f, 1, 1<<40, 20)
		}
	},
	"AuditEntriesByNumber": func(tx *store.Tx) { tx.AuditEntriesByNumber("a", page) },

	"Connection":      func(tx *store.Tx) { tx.Connection(rootID, "c", "id") },
	"ConnectionByID":  func(tx *store.Tx) { tx.ConnectionByID("c") },
	"ConnectionCount": func(tx *store.Tx) { tx.ConnectionCount("a") },
	"ConnectionRows":  func(tx *store.Tx) { tx.ConnectionRows("a") },
	"Connections":     func(tx *store.Tx) { tx.Connections(rootID) },
	"Identity":        func(tx *store.Tx) { tx.Identity("tel:+15550100") },

	"ChannelsInUse":       func(tx *store.Tx) { tx.ChannelsInUse("a") },
	"ChannelsInUseOfPool": func(tx *store.Tx) { tx.ChannelsInUseOfPool("m") },
	"LeasesOf":            func(tx *store.Tx) { tx.LeasesOf("a", "", 10) },
	"LeasesOfCall":        func(tx *store.Tx) { tx.LeasesOfCall("call") },
	"LeasesOfSwitch":      func(tx *store.Tx) { tx.LeasesOfSwitch("s", "", "", 10) },

	"ScarcePools":     func(tx *store.Tx) { tx.ScarcePools(10) },
	"Overdrawn":       func(tx *store.Tx) { tx.Overdrawn(10) },
	"BlockedAccounts": func(tx *store.Tx) { tx.BlockedAccounts(10) },
	"NeverManagers":   func(tx *store.Tx) { tx.NeverManagers(1000, 10) },
	"LockedOut":       func(tx *store.Tx) { tx.LockedOut(10) },
	"MailTried":       func(tx *store.Tx) { tx.MailTried(10) },

	"Admit":         func(tx *store.Tx) { tx.Admit("a") },
	"Message":       func(tx *store.Tx) { tx.Message("a", "m1") },
	"AnyMessageDue": func(tx *store.Tx) { tx.AnyMessageDue() },

	"Delivery":      func(tx *store.Tx) { tx.Delivery("e") },
	"Deliveries":    func(tx *store.Tx) { tx.Deliveries("", "", 10); tx.Deliveries("waiting", "e", 10) },
	"WebhookSince":  func(tx *store.Tx) { tx.WebhookSince() },
	"WebhookState":  func(tx *store.Tx) { tx.WebhookState("") },
	"WebhookOldest": func(tx *store.Tx) { tx.WebhookOldest("") },

	// Those that write are called by everyChange.
	"Apply": nil, "Agree": nil, "KeepAnswer": nil, "TakeAnswer": nil, "Prune": nil, "StartSession": nil, "EndSession": nil,
	"EndSessionsOf": nil, "EndOperatorSessions": nil, "SessionUsed": nil, "KeyUsed": nil, "PutTries": nil, "TakeStep": nil, "TakeRecoveryCode": nil,
	"QueueMail": nil, "ClaimMail": nil, "DelayMail": nil, "ForgetMail": nil,
	"AddMessage": nil, "TakeDueMessages": nil, "SettleMessage": nil,
	"BeginWebhook": nil, "TakeTurn": nil, "TakeEvents": nil, "ClaimEvents": nil, "NoteDelivery": nil, "QueueNext": nil, "Retry": nil,
	"AcquireLease": nil, "ExtendLease": nil, "ShortenLease": nil, "ReleaseLease": nil, "ReleaseCall": nil,
}

// page is the numbers of a large page, which lie apart.
var page = func() (numbers []int64) {
	for n := range int64(250) {
		numbers = append(numbers, 1+37*n)
	}
	return numbers
}()

const rootID = "00000000-0000-7000-8000-000000000001"

// everyChange makes two root accounts and changes whatever can be changed.
func everyChange(tx *store.Tx) error {
	now := tx.Now()
	operator := tenant.Actor{Operator: true}
	for _, id := range []string{rootID, "00000000-0000-7000-8000-000000000002"} {
		account := tenant.Account{ID: id, Email: id + "@example.com", OrganizationName: id, CreatedAt: now, UpdatedAt: now}
		owner := tenant.User{ID: id, AccountID: id, Email: account.Email, Status: tenant.UserEnabled, CreatedAt: now}
		keys := []tenant.Key{
			{ID: id + "v2", AccountID: id, UserID: id, Kind: tenant.KeyV2, Digest: id + "v2"},
			{ID: id + "v1", AccountID: id, UserID: id, Kind: tenant.KeyV1, Digest: id + "v1"},
		}
		change, err := tenant.NewAccount(operator, account, owner, keys)
		if err != nil {
			return err
		}
		if err := tx.Apply(change); err != nil {
			return err
		}
	}
	root, err := tx.Account(rootID)
	if err != nil {
		return err
	}
	pool := int64(1)
	approved, err := tenant.ApproveManager(operator, *root, nil, &pool, now)
	if err != nil {
		return err
	}
	group := tenant.Group{ID: "g", AccountID: rootID, Name: "g"}
	gone := tenant.Group{ID: "gone", AccountID: rootID, Name: "gone"}
	grouped, err := tenant.NewGroup(operator, group)
	if err != nil {
		return err
	}
	user := tenant.User{ID: "u", AccountID: rootID, Email: "u@example.com", Status: tenant.UserEnabled, CreatedAt: now}
	created := tenant.NewUser(operator, user, tenant.Key{ID: "k", AccountID: rootID, UserID: "u", Kind: tenant.KeyV2, Digest: "k"}, []tenant.Group{group, gone})
	blocked, err := tenant.Block(operator, *root, now)
	if err != nil {
		return err
	}
	going, err := tenant.NewGroup(operator, gone)
	if err != nil {
		return err
	}
	altered, err := tenant.AlterGroup(operator, gone, "going", nil)
	if err != nil {
		return err
	}
	left, err := tenant.RemoveGroup(operator, gone)
	if err != nil {
		return err
	}
	for _, change := range []tenant.Change{approved, grouped, going, created, blocked, altered, left} {
		if err := tx.Apply(change); err != nil {
			return err
		}
	}
	user = *created.Users[0].After
	removed, err := tenant.RemoveUser(operator, user, []tenant.Group{group})
	if err != nil {
		return err
	}
	if err := tx.Apply(removed); err != nil {
		return err
	}
	if err := everyConnection(tx, *root); err != nil {
		return err
	}
	if err := everyLease(tx); err != nil {
		return err
	}
	if err := everyMessage(tx); err != nil {
		return err
	}
	if err := everyDelivery(tx); err != nil {
		return err
	}
	if err := tx.StartSession(store.Session{Digest: "s", AccountID: rootID, UserID: rootID}); err != nil {
		return err
	}
	if err := tx.KeepAnswer(store.Answer{ID: "every", Request: "r", ExpiresAt: now}); err != nil {
		return err
	}
	if _, err := tx.TakeAnswer("r", 1); err != nil {
		return err
	}
	for range 2 { // the member of a group that has gone, and then the group
		if _, err := tx.Prune(now, 1); err != nil {
			return err
		}
	}
	if _, err := tx.Agree("n", "v"); err != nil {
		return err
	}
	if err := tx.EndSession("s", store.EndedBySignOut); err != nil {
		return err
	}
	return everyPerson(tx, *root)
}

// everyPerson leaves user "p" with whatever a person may have, and mail "m".
func everyPerson(tx *store.Tx, root tenant.Account) error {
	now, later := tx.Now(), tx.Now().Add(time.Hour)
	operator := tenant.Actor{Operator: true}
	owner := tenant.Actor{AccountID: rootID, UserID: rootID}
	user := tenant.User{ID: "p", AccountID: rootID, Email: "p@example.com", Status: tenant.UserEnabled, CreatedAt: now}
	key := tenant.Key{ID: "pk", AccountID: rootID, UserID: "p", Kind: tenant.KeyV2, Digest: "pk"}
	more := tenant.Key{ID: "pm", AccountID: rootID, UserID: "p", Kind: tenant.KeyV2, Digest: "pm", Name: "more"}
	next := tenant.Key{ID: "pn", AccountID: rootID, UserID: "p", Kind: tenant.KeyV2, Digest: "pn"}
	factor := tenant.Factor{UserID: "p", AccountID: rootID, Sealed: "s", CreatedAt: now}
	invitation := tenant.Invitation{ID: "i", AccountID: rootID, Email: "i@example.com", Digest: "i", ExpiresAt: later}
	signOn := tenant.SignOn{AccountID: rootID, Issuer: "https://example.com", ClientID: "c", Domains: []string{"example.com"}}
	created := tenant.NewUser(operator, user, key, nil)
	if err := tx.Apply(created); err != nil {
		return err
	}
	user = *created.Users[0].After
	for _, rule := range []func() (tenant.Change, error){
		func() (tenant.Change, error) { return tenant.SetPassword(owner, "password", user, "hash"), nil },
		func() (tenant.Change, error) { return tenant.NewKey(owner, more, nil, now) },
		func() (tenant.Change, error) { return tenant.RotateKey(owner, more, next, nil, time.Hour, now) },
		func() (tenant.Change, error) { return tenant.RevokeKey(owner, more) },
		func() (tenant.Change, error) { return tenant.EnrolFactor(owner, user, nil, factor) },
		func() (tenant.Change, error) {
			return tenant.ConfirmFactor(owner, user, factor, 1, []string{"r1", "r2"})
		},
		func() (tenant.Change, error) { return tenant.Invite(owner, invitation, nil, 0) },
		func() (tenant.Change, error) { return tenant.Resend(operator, invitation, "i", now) },
		func() (tenant.Change, error) { return tenant.SetSignOn(owner, nil, signOn) },
		func() (tenant.Change, error) {
			return tenant.Link(user, tenant.Identity{AccountID: rootID, Issuer: "i", Subject: "s", UserID: "p"}, ""), nil
		},
		func() (tenant.Change, error) {
			return tenant.Unlink(owner, user, tenant.Identity{UserID: "other"}), nil
		},
		func() (tenant.Change, error) {
			return tenant.RequestReset(user, tenant.PasswordReset{UserID: "p", AccountID: rootID, Digest: "d", ExpiresAt: later}), nil
		},
	} {
		change, err := rule()
		if err != nil {
			return err
		}
		if err := tx.Apply(change); err != nil {
			return err
		}
	}
	if _, err := tx.TakeStep("p", 2); err != nil {
		return err
	}
	if _, err := tx.TakeRecoveryCode("p", "r1"); err != nil {
		return err
	}
	if _, err := tx.ClaimMail(1, later); err != nil {
		return err
	}
	for _, write := range []func() error{
		func() error { return tx.EndSessionsOf(rootID, "p", store.EndedByPassword) },
		func() error { return tx.EndOperatorSessions(store.EndedBySignOut) },
		func() error { return tx.SessionUsed("s", now) },
		func() error { return tx.KeyUsed("pn", now) },
		func() error { return tx.PutTries(tenant.Tries{Subject: "t", Since: now}) },
		func() error { return tx.QueueMail(store.Mail{ID: "m", DueAt: now, ExpiresAt: later}) },
		func() error { return tx.DelayMail("m", later) },
		func() error { return tx.ForgetMail("other") },
	} {
		if err := write(); err != nil {
			return err
		}
	}
	return nil
}

// everyConnection leaves connection "c" on, with user name "alice".
func everyConnection(tx *store.Tx, root tenant.Account) error {
	operator := tenant.Actor{Operator: true}
	kept := tenant.Connection{ID: "c", Name: "c", Kind: tenant.KindCredentials, Active: true, Usernames: []string{"alice"}, Numbers: []string{"+15550100"}}
	created, err := tenant.NewConnection(operator, root, kept)
	if err != nil {
		return err
	}
	kept = *created.Connections[0].After
	altered, err := tenant.AlterConnection(operator, root, kept, func(c *tenant.Connection) { c.Numbers = []string{"+15550101"} }, tx.Now())
	if err != nil {
		return err
	}
	removed, err := tenant.NewConnection(operator, root, tenant.Connection{ID: "d", Name: "d", Kind: tenant.KindAddress})
	if err != nil {
		return err
	}
	for _, change := range []tenant.Change{created, altered, removed, tenant.RemoveConnection(operator, *removed.Connections[0].After)} {
		if err := tx.Apply(change); err != nil {
			return err
		}
	}
	return nil
}

// everyMessage leaves a message "waiting" that is due in an hour.
func everyMessage(tx *store.Tx) error {
	now, later := tx.Now(), tx.Now().Add(time.Hour)
	for _, id := range []string{"waiting", "sent"} {
		m := tenant.Message{
			ID: id, AccountID: rootID, Status: tenant.MessageQueued, DueAt: now, ReceivedAt: now, ValidUntil: later, ExpiresAt: later,
			MessageContent: tenant.MessageContent{To: "+18445550001", Text: "Hello", Type: "SMS", Parts: 1},
		}
		if err := tx.AddMessage(&m); err != nil {
			return err
		}
	}
	taken, err := tx.TakeDueMessages(later, 10)
	if err != nil {
		return err
	}
	for i := range taken {
		m := &taken[i]
		if m.ID == "sent" {
			m.Status, m.DueAt, m.SentAt = tenant.MessageSent, time.Time{}, now
		}
		if _, err := tx.SettleMessage(m, later); err != nil {
			return err
		}
	}
	return nil
}

// everyLease leaves a lease of call "call".
func everyLease(tx *store.Tx) error {
	later := tx.Now().Add(time.Hour)
	for _, call := range []string{"call", "released", "given back"} {
		l, _, err := tx.AcquireLease(store.Lease{
			ID: call, AccountID: rootID, CallID: call, Direction: "outbound", Units: 1, Switch: "s", ExpiresAt: later,
		}, 10)
		if err == nil {
			err = tx.ExtendLease(l, later.Add(time.Hour))
		}
		if err == nil {
			err = tx.ShortenLease(l, later)
		}
		if err == nil && call == "given back" {
			err = tx.ReleaseLease(l)
		}
		if err != nil {
			return err
		}
	}
	if _, _, err := tx.AcquireLease(store.Lease{ID: "again", AccountID: rootID, CallID: "call", Direction: "outbound", Units: 1, ExpiresAt: later}, 10); err != nil {
		return err
	}
	_, err := tx.ReleaseCall("released")
	return err
}

// everyDelivery has one event delivered, and others wait, skipped or in the outbox.
func everyDelivery(tx *store.Tx) error {
	if _, err := tx.BeginWebhook(); err != nil {
		return err
	}
	const since = "" // what everyChange did before is wanted, too
	if _, err := tx.TakeTurn("node", tx.Now().Add(time.Minute), true); err != nil {
		return err
	}
	for _, prefixes := range [][]string{{"account.created", "group"}, nil} {
		if _, err := tx.TakeEvents(since, prefixes, 3); err != nil {
			return err
		}
	}
	due, err := tx.ClaimEvents(since, 2, tx.Now().Add(time.Minute))
	for len(due) == 0 && err == nil { // those of one microsecond come in any order, and wait for each other
		if _, err = tx.TakeEvents(since, nil, 3); err == nil {
			due, err = tx.ClaimEvents(since, 2, tx.Now().Add(time.Minute))
		}
	}
	if err != nil {
		return err
	}
	for i, status := range []string{store.DeliveryDelivered, store.DeliveryWaiting}[:len(due)] {
		attempts := []store.Attempt{{StartedAt: tx.Now(), FinishedAt: tx.Now(), URL: "http://127.0.0.1", Status: 500, Error: "e"}}
		if err := tx.NoteDelivery(&due[i], attempts, status); err != nil {
			return err
		}
		if err := tx.QueueNext(due[i].AccountID, status, tx.Now(), 1); err != nil {
			return err
		}
	}
	_, err = tx.Retry(due[0].ID)
	return err
}

// mayScan are the statements that may read a whole table, and why.
var mayScan = map[string]string{
	"DELETE FROM outbox WHERE id IN (SELECT id FROM outbox ORDER BY id LIMIT":               "reads as many as it may delete, in the order of the key",
	"DELETE FROM webhook_event WHERE id IN (SELECT id FROM webhook_event ORDER BY id LIMIT": "the same",
	"SELECT due_at FROM webhook_queue ORDER BY due_at, account_id LIMIT 1":                  "the first of the index",
	"SELECT id, pruned FROM removed_group ORDER BY id LIMIT 1":                              "the first of the key",
	"FROM account a WHERE a.balance + a.credit_limit < 0":                                   "as many as are shown, of an index that has no others",
	"FROM account a WHERE a.blocked = TRUE":                                                 "the same",
}

// readsOwner are the statements that may read all of one owner, and why.
var readsOwner = map[string]string{
	"FROM account WHERE manager_id = $1 AND number > $2 ORDER BY number":           "what a directory has not seen",
	"FROM organization_user WHERE account_id = $1 AND number > $2 ORDER BY number": "what a directory has not seen",
	"FROM organization_group g WHERE g.account_id = $1 ORDER BY g.name":            "at most tenant.MaxGroups rows",
	"FROM organization_group g WHERE g.id = $1 AND g.account_id = $2":              "the same, should PostgreSQL prefer that index",
	"FROM audit_entry WHERE account_id = $1 ORDER BY number DESC LIMIT 1":          "the last of the index",
	"FROM audit_entry WHERE account_id = $2 ORDER BY number DESC LIMIT 1":          "the last of the index",
	"FROM connection WHERE account_id = $1 ORDER BY name":                          "at most tenant.MaxConnections rows",
	"ORDER BY a.channel_limit DESC, a.number DESC LIMIT":                           "as many as are shown, from a place of the index on",
	"SELECT COUNT(*) FROM connection WHERE account_id = $1":                        "at most tenant.MaxConnections rows",
	"FROM connection c JOIN identity i ON i.connection_id = c.id":                  "all that is of them",
	"WHERE account_id = $3 AND ended = '' RETURNING digest":                        "ends them all",
	"FROM single_sign_on WHERE account_id = $1":                                    "there is one",
	"FROM invitation WHERE account_id = $1 ORDER BY email_key":                     "at most a few",
	"FROM webhook_event f WHERE f.account_id = due.account_id":                     "the first of the index; and one row an account",
	"DELETE FROM webhook_queue WHERE account_id = $1":                              "one row an account, and whether there is any",
	"UPDATE webhook_queue SET due_at = $2":                                         "one row an account",
}

// growing are the tables that have no bound, and the names that queries give them.
var growing = []string{
	"account", "a", "organization_user", "u", "organization_group", "g", "membership", "m", "api_key", "audit_entry", "answer", "session", "outbox",
	"sign_in_try", "password_reset", "invitation", "second_factor", "recovery_code", "mail", "single_sign_on", "external_identity",
	"connection", "c", "identity", "i", "lease", "message", "webhook_event", "w", "f", "webhook_queue", "q", "o", "p",
	"removed_group",
}

// manyRows fill PostgreSQL with 20,000 accounts, as many users, and what belongs to
// them: the manager m has half of all accounts and the organization a half of all
// users, while the others have few; a has 1,000 calls.
var manyRows = []string{
	`INSERT INTO manager (account_id, approved, channel_pool) SELECT 'm' || n, TRUE, 100 FROM generate_series(1, 500) n UNION ALL SELECT 'm', TRUE, 0`,
	`INSERT INTO account (id, manager_id, number, revision, email, email_key, organization_name, allow_custom_pricing, rollup_billing, cancelled, currency, users, created_at, updated_at)
		SELECT CASE n WHEN 1 THEN 'a' ELSE 'a' || n END, CASE WHEN n <= 10000 THEN 'm' ELSE 'm' || (n - 10001) / 20 + 1 END,
			CASE WHEN n <= 10000 THEN n ELSE (n - 10001) % 20 + 1 END, CASE WHEN n % 10 = 0 THEN n / 10 ELSE 0 END, 'e' || n, 'e' || n,
			'n' || n, FALSE, FALSE, n % 50 = 0, 'USD', CASE n WHEN 1 THEN 10000 ELSE 1 END, n, n FROM generate_series(1, 20000) n`,
	`INSERT INTO organization_user (id, account_id, number, revision, email, email_key, user_status, created_at)
		SELECT 'user' || n, CASE WHEN n <= 10000 THEN 'a' ELSE 'a' || n END, CASE WHEN n <= 10000 THEN n ELSE 1 END,
			CASE WHEN n % 10 = 0 THEN n / 10 ELSE 0 END, 'e' || n, 'e' || n, 'enabled', n FROM generate_series(1, 20000) n`,
	`INSERT INTO organization_group (id, account_id, name, permissions, created_at)
		SELECT 'g' || n, CASE WHEN n <= 500 THEN 'a' ELSE 'a' || n END, 'n' || n, '', n FROM generate_series(1, 10000) n`,
	`INSERT INTO membership (account_id, user_number, user_id, group_id)
		SELECT account_id, number, id, 'g' || number % 500 + 1 FROM organization_user WHERE id LIKE 'user%'`,
	`INSERT INTO membership (account_id, user_number, user_id, group_id) SELECT account_id, number, id, 'away' FROM organization_user WHERE account_id = 'a'`,
	`INSERT INTO removed_group (id) SELECT 'away' UNION ALL SELECT 'away' || n FROM generate_series(1, 10000) n`,
	`INSERT INTO account (id, manager_id, number, email, email_key, organization_name, allow_custom_pricing, rollup_billing, currency, users, created_at, updated_at)
		SELECT 'r' || n, '', n, 'e' || n, 'e' || n, 'n' || n, FALSE, FALSE, 'USD', 1, n, n FROM generate_series(3, 1500) n`,
	`UPDATE manager SET accounts = 1500 WHERE account_id = ''`,
	`INSERT INTO manager (account_id, approved, channel_pool, channels_allocated) SELECT 'r' || n, TRUE, 100, n % 101 FROM generate_series(3, 1400) n`,
	`UPDATE account SET blocked = TRUE WHERE number % 4 = 0`,
	`UPDATE account SET balance = -number WHERE number % 4 = 1`,
	`INSERT INTO api_key (digest, id, account_id, user_id, kind, sealed, created_at)
		SELECT kind || id, id, account_id, id, kind, '', created_at FROM organization_user CROSS JOIN (VALUES ('v1'), ('v2')) k (kind) WHERE id LIKE 'user%'`,
	`INSERT INTO session (digest, account_id, user_id, created_at, expires_at) SELECT id, account_id, id, created_at, created_at FROM organization_user WHERE id LIKE 'user%'`,
	`INSERT INTO sign_in_try (subject, tries, since, locks, locked_until, expires_at) SELECT 't' || n, 1, n, 0, CASE n % 2 WHEN 0 THEN 0 ELSE n END, n FROM generate_series(1, 20000) n`,
	`INSERT INTO password_reset (user_id, account_id, digest, created_at, expires_at) SELECT id, account_id, 'd' || id, 1, created_at FROM organization_user WHERE id LIKE 'user%'`,
	`INSERT INTO second_factor (user_id, account_id, sealed, confirmed, last_step, created_at) SELECT id, account_id, '', TRUE, 0, 1 FROM organization_user WHERE id LIKE 'user%'`,
	`INSERT INTO recovery_code (user_id, digest) SELECT id, 'r' || n FROM organization_user CROSS JOIN generate_series(1, 3) n WHERE id LIKE 'user%'`,
	`INSERT INTO external_identity (account_id, issuer, subject, user_id, created_at) SELECT account_id, 'i', id, id, 1 FROM organization_user WHERE id LIKE 'user%'`,
	`INSERT INTO single_sign_on (account_id, issuer, client_id, sealed, domains, required, updated_at) SELECT id, 'i', 'c', '', 'd', TRUE, 1 FROM account WHERE id LIKE 'a%'`,
	`INSERT INTO invitation (id, account_id, email, email_key, group_ids, digest, invited_by, sent, sent_at, created_at, expires_at)
		SELECT 'i' || n, 'a' || n % 10000, 'e' || n, 'e' || n, '', 'd' || n, '', 1, n, n, n FROM generate_series(1, 20000) n`,
	`INSERT INTO mail (id, sealed, tries, due_at, expires_at) SELECT 'm' || n, '', n % 3, n, CASE WHEN n % 2 = 0 THEN n ELSE 1::BIGINT << 60 END FROM generate_series(1, 20000) n`,
	`INSERT INTO answer (request, id, body, sealed, expires_at) SELECT 'r' || n / 2, 'n' || n, '', '', n FROM generate_series(1, 20000) n`,
	`INSERT INTO audit_entry (account_id, number, id, actor_user_id, credential_id, made_by, event, resource_type, resource_id, changes, request_id, created_at)
		SELECT account_id, number, 'e' || id, '', '', '', 'e', 'r', id, '[]', '', created_at FROM organization_user WHERE id LIKE 'user%'`,
	`INSERT INTO outbox (id, account_id, number, created_at) SELECT id, account_id, number, created_at FROM audit_entry WHERE event = 'e'`,
	`INSERT INTO connection (id, account_id, name, kind, active, hold, created_at, updated_at)
		SELECT 'c' || n, CASE WHEN n <= 500 THEN 'a' ELSE 'a' || n END, 'n' || n, 'address', TRUE, '', n, n FROM generate_series(1, 10000) n`,
	`INSERT INTO identity (value, account_id, connection_id) SELECT 'ip:' || c.id || i, account_id, c.id FROM connection c CROSS JOIN generate_series(1, 2) i WHERE c.hold = '' AND c.name LIKE 'n%'`,
	`INSERT INTO lease (account_id, call_id, id, manager_id, connection_id, direction, units, switch_name, acquired_at, expires_at)
		SELECT CASE WHEN n <= 1000 THEN 'a' ELSE 'a' || n END, 'call' || n, 'l' || n, CASE WHEN n <= 1000 THEN 'm' ELSE 'm' || n % 500 + 1 END, 'c1', 'outbound', 1,
			's' || n % 5, n, CASE WHEN n <= 15000 THEN 1::BIGINT << 60 ELSE n END FROM generate_series(1, 20000) n`,
	`INSERT INTO message (id, account_id, user_id, credential_id, request_id, content, status, failure, reason, attempts, due_at, received_at, valid_until, sent_at, completed_at, expires_at)
		SELECT 'm' || n, 'a', 'a', 'k', 'r', '{}', CASE WHEN n <= 5000 THEN 'queued' ELSE 'sent' END, '', '', 1, CASE WHEN n <= 5000 THEN n ELSE 0 END, n, n, n, n, n FROM generate_series(1, 20000) n`,
	`INSERT INTO webhook_event (id, account_id, number, event_type, status, created_at)
		SELECT 'w' || id, account_id, number, event, CASE number % 3 WHEN 0 THEN 'waiting' WHEN 1 THEN 'delivered' ELSE 'failed' END, created_at FROM audit_entry WHERE event = 'e'`,
	`INSERT INTO webhook_event (id, account_id, number, event_type, status, created_at)
		SELECT 'x' || n, 'a' || n, 0, 'e', 'waiting', n FROM generate_series(2, 10000) n`,
	`INSERT INTO webhook_queue (account_id, due_at) SELECT DISTINCT account_id, CAST(LENGTH(account_id) AS BIGINT) FROM webhook_event WHERE status = 'waiting' ON CONFLICT DO NOTHING`,
}

// openFull opens a database for statements to be looked at: with PostgreSQL it has
// manyRows, and the planner knows of them.
func openFull(t *testing.T, address string) *store.DB {
	t.Helper()
	db := openPlans(t, address)
	if db.IsPostgres() {
		fill(t, address, "ANALYZE")
	}
	return db
}

func openPlans(t *testing.T, address string) *store.DB {
	t.Helper()
	db := dbtest.Open(t, address, store.Options{Readers: 1})
	t.Cleanup(func() { db.Close() }) // what fills it is not sound
	if err := db.Update(t.Context(), "", everyChange); err != nil {
		t.Fatal(err)
	}
	return db
}

// fill makes manyRows.
func fill(t *testing.T, address string, then ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, query := range slices.Concat(manyRows, then) {
		if _, err := conn.Exec(t.Context(), query); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
	}
}

// prepareAll runs every statement in a session of its kind, so that Plans sees it.
func prepareAll(t *testing.T, db *store.DB) {
	t.Helper()
	for _, run := range []func(func(*store.Tx) error) error{
		func(fn func(*store.Tx) error) error { return db.View(t.Context(), fn) },
		func(fn func(*store.Tx) error) error { return db.Update(t.Context(), "", fn) },
	} {
		if err := run(func(tx *store.Tx) error {
			for _, call := range reads {
				if call != nil {
					call(tx)
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPlans holds every statement to an index: one that reads a whole table, or
// all the rows of one owner, must be known to. PostgreSQL's plans depend on what is
// in the tables, so that there it is much.
func TestPlans(t *testing.T) {
	methods := reflect.TypeFor[*store.Tx]()
	for i := range methods.NumMethod() {
		if _, known := reads[methods.Method(i).Name]; !known {
			t.Errorf("Tx.%s has no call here: its statements are not looked at", methods.Method(i).Name)
		}
	}
	dbtest.EachAddress(t, func(t *testing.T, address string) {
		db := openFull(t, address)
		prepareAll(t, db)
		plans, err := db.Plans(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(plans) < 50 {
			t.Errorf("only %d statements were looked at", len(plans))
		}
		look := faultFinder(t, db)
		for query, plan := range plans {
			for _, fault := range look(query, plan) {
				t.Errorf("%s\n\t%s\n%s", fault, query, plan)
			}
		}
		if t.Failed() {
			return
		}
		for _, list := range []map[string]string{mayScan, readsOwner} {
			for excuse := range list {
				if !slices.ContainsFunc(slices.Collect(maps.Keys(plans)), func(q string) bool { return strings.Contains(q, excuse) }) {
					t.Errorf("no statement needs this excuse any more: %s", excuse)
				}
			}
		}
	})
}

// TestRowsRead counts what PostgreSQL reads of the growing tables: no statement takes
// more of them than it needs. From its sixth run on, one may have another plan,
// which is kept, whatever becomes of the tables.
func TestRowsRead(t *testing.T) {
	t.Run("planner knows", func(t *testing.T) {
		t.Parallel()
		countRows(t, openFull(t, dbtest.Postgres(t)))
	})
	t.Run("planner knows nothing", func(t *testing.T) {
		t.Parallel()
		address := dbtest.Postgres(t)
		db := openPlans(t, address)
		fill(t, address)
		countRows(t, db)
	})
	t.Run("tables were small", func(t *testing.T) {
		t.Parallel()
		address := dbtest.Postgres(t)
		db := openPlans(t, address)
		for range 8 {
			prepareAll(t, db)
		}
		fill(t, address)
		countRows(t, db)
	})
}

func countRows(t *testing.T, db *store.DB) {
	const runs, most = 8, 2000
	calls := map[string]func(tx *store.Tx) error{
		// A user of the largest organization comes and goes.
		"Apply": func(tx *store.Tx) error {
			operator, id := tenant.Actor{Operator: true}, tx.Now().String()
			group := tenant.Group{ID: "g1", AccountID: "a", Name: "n1"}
			created := tenant.NewUser(operator, tenant.User{ID: id, AccountID: "a", Email: id, Status: tenant.UserEnabled, CreatedAt: tx.Now()},
				tenant.Key{ID: id, AccountID: "a", UserID: id, Kind: tenant.KeyV2, Digest: id}, []tenant.Group{group})
			if err := tx.Apply(created); err != nil {
				return err
			}
			removed, err := tenant.RemoveUser(operator, *created.Users[0].After, []tenant.Group{group})
			if err != nil {
				return err
			}
			return tx.Apply(removed)
		},
		"Prune": func(tx *store.Tx) error {
			n, err := tx.Prune(tx.Now(), 80) // of each table
			if n < 300 {
				t.Errorf("Prune: %d rows", n)
			}
			return err
		},
		"TakeDueMessages": func(tx *store.Tx) error {
			taken, err := tx.TakeDueMessages(tx.Now(), 100)
			if err == nil && len(taken) != 100 {
				err = fmt.Errorf("%d messages were due", len(taken))
			}
			return err
		},
		"TakeEvents": func(tx *store.Tx) error {
			n, err := tx.TakeEvents("", []string{"account"}, 100)
			if n != 100 {
				t.Errorf("TakeEvents: %d rows", n)
			}
			return err
		},
		"ClaimEvents": func(tx *store.Tx) error {
			due, err := tx.ClaimEvents("", 8, tx.Now())
			if len(due) == 0 {
				t.Error("ClaimEvents: none")
			}
			return err
		},
		"TakeAnswer": func(tx *store.Tx) error {
			_, err := tx.TakeAnswer("r1", 1)
			return err
		},
	}
	for name, call := range reads {
		if call != nil {
			calls[name] = func(tx *store.Tx) error { call(tx); return nil }
		}
	}
	tables := strings.Join(growing, "', '")
	rows := func(tx *store.Tx, column string) (int64, error) {
		return tx.Int("SELECT CAST(COALESCE(SUM(" + column + "), 0) AS BIGINT) FROM pg_stat_xact_user_tables WHERE relname IN ('" + tables + "')")
	}
	all := int64(0)
	for name, call := range calls {
		for run := range runs {
			var before, scanned, beforeFound, found int64
			if err := db.Update(t.Context(), "", func(tx *store.Tx) (err error) {
				for _, step := range []func() error{
					func() error { before, err = rows(tx, "seq_tup_read"); return err },
					func() error { beforeFound, err = rows(tx, "idx_tup_fetch"); return err },
					func() error { return call(tx) },
					func() error { scanned, err = rows(tx, "seq_tup_read"); return err },
					func() error { found, err = rows(tx, "idx_tup_fetch"); return err },
				} {
					if err := step(); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			scanned, found = scanned-before, found-beforeFound
			if scanned > 0 || found > most {
				t.Errorf("%s: run %d reads %d rows by scanning and %d by indexes", name, run+1, scanned, found)
			}
			all += found
		}
	}
	if all == 0 {
		t.Error("nothing was counted")
	}
}

// TestPlansBite plants statements that TestPlans would have to find, and takes an
// index away that one of them needs.
func TestPlansBite(t *testing.T) {
	const table, owner = "a whole table is read: ", "all rows of an owner are read: "
	planted := []struct {
		query string
		args  []any
		want  string
	}{
		{"SELECT COUNT(*) FROM account WHERE email = $1", []any{"e"}, table},
		{"SELECT COUNT(*) FROM outbox WHERE created_at >= $1", []any{1}, table},
		{"SELECT COUNT(*) FROM api_key WHERE kind = $1", []any{"v1"}, table}, // or the whole of an index
		{"SELECT COUNT(*) FROM membership m JOIN session ON session.user_id = m.user_id WHERE m.group_id = $1", []any{"g"}, table},
		{"SELECT COUNT(*) FROM audit_entry WHERE account_id = $1 AND made_by = $2", []any{"a", ""}, owner},
		{"SELECT COUNT(*) FROM organization_user u WHERE u.account_id = $1 AND u.number < $2", []any{"a", 1}, owner},
		{"SELECT COUNT(*) FROM account WHERE manager_id = $1 AND number > $2", []any{"m", 1}, owner}, // its index is gone
	}
	dbtest.EachAddress(t, func(t *testing.T, address string) {
		db := openFull(t, address)
		if err := db.Exec(t.Context(), "DROP INDEX IF EXISTS account_number"); err != nil {
			t.Fatal(err)
		}
		if err := db.View(t.Context(), func(tx *store.Tx) error {
			for _, p := range planted {
				if _, err := tx.Int(p.query, p.args...); err != nil {
					return fmt.Errorf("%s: %w", p.query, err)
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		plans, err := db.Plans(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		look := faultFinder(t, db)
		for _, p := range planted {
			found := look(p.query, plans[p.query])
			if !slices.ContainsFunc(found, func(fault string) bool { return strings.HasPrefix(fault, p.want) }) {
				t.Errorf("not found: %s\n%s\n%q", p.query, plans[p.query], found)
			}
		}
	})
}

// faultFinder finds what is wrong with a plan and not excused.
func faultFinder(t *testing.T, db *store.DB) func(query, plan string) []string {
	t.Helper()
	if !db.IsPostgres() {
		return sqliteFaults
	}
	indexes, err := db.Indexes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return func(query, plan string) []string { return postgresFaults(query, plan, indexes) }
}

func sqliteFaults(query, plan string) (faults []string) {
	for step := range strings.SplitSeq(plan, "; ") {
		table, scan := strings.CutPrefix(step, "SCAN ")
		table, _, _ = strings.Cut(table, " ")
		if scan && slices.Contains(growing, table) && !excused(mayScan, query) {
			faults = append(faults, "a whole table is read: "+step)
		}
		if strings.Contains(step, "sqlite_autoindex_manager_1") {
			continue
		}
		for _, owner := range []string{"(manager_id=?)", "(account_id=?)", "(manager_id=? AND number<?)", "(account_id=? AND number<?)"} {
			if strings.Contains(step, owner) && !excused(readsOwner, query) {
				faults = append(faults, "all rows of an owner are read: "+step)
			}
		}
	}
	return faults
}

var (
	// scanStep is a step that reads a table, or an index of it for a bitmap.
	scanStep = regexp.MustCompile(`^(?:-> +)?(?:Parallel )?(Seq Scan|Index Scan|Index Only Scan|Bitmap Index Scan)(?: Backward)?(?: using (\w+))? on (\w+)`)
	// condition is a column that the index is asked for, and how it is compared.
	condition = regexp.MustCompile(`\((\w+) (=|<|<=|>|>=|IS) `)
)

func postgresFaults(query, plan string, indexes map[string]store.Index) (faults []string) {
	lines := strings.Split(plan, "\n")
	for i, line := range lines {
		line = strings.TrimSpace(line)
		step := scanStep.FindStringSubmatch(line)
		if step == nil {
			continue
		}
		table, index := step[3], indexes[step[2]]
		if step[1] == "Bitmap Index Scan" {
			index = indexes[table]
			table = index.Table
		}
		if !slices.Contains(growing, table) {
			continue
		}
		asked, _ := strings.CutPrefix(strings.TrimSpace(append(lines, "")[i+1]), "Index Cond: ")
		compared := map[string]string{}
		for _, c := range condition.FindAllStringSubmatch(asked, -1) {
			compared[c[1]] += c[2]
		}
		// What is read is bounded by the first columns of the index, each compared for
		// equality, and the one after them.
		var bounds []string
		for _, column := range index.Columns {
			how := compared[column]
			// Numbers begin with 1 and are never missing.
			if how == "" || column == "number" && strings.Trim(how, "IS<=") == "" && how != "=" {
				break
			}
			if bounds = append(bounds, column); how != "=" {
				break
			}
		}
		switch owner := len(bounds) == 1 && (bounds[0] == "manager_id" || bounds[0] == "account_id"); {
		case len(bounds) == 0 && !excused(mayScan, query):
			faults = append(faults, "a whole table is read: "+line)
		case owner && !excused(readsOwner, query):
			faults = append(faults, "all rows of an owner are read: "+line+" "+asked)
		}
	}
	return faults
}

func excused(list map[string]string, query string) bool {
	for excuse := range list {
		if strings.Contains(query, excuse) {
			return true
		}
	}
	return false
}
