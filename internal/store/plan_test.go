package store_test

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

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
		tx.AccountsByNumber("m", make([]int64, 250))
	},
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
	"UsersByNumber": func(tx *store.Tx) { tx.UsersByNumber("a", []int64{1, 2}) },
	"UserDirectory": func(tx *store.Tx) {
		tx.UserDirectory(rootID, 1, 0, func(directory.Entry) error { return nil })
	},
	"UsersAfter": func(tx *store.Tx) { tx.UsersAfter("a", 0, 10, func(*tenant.User) error { return nil }) },
	"Members":    func(tx *store.Tx) { tx.Members("a", 0, 10, func(*store.Member) error { return nil }) },
	"Groups":     func(tx *store.Tx) { tx.Groups("a") },
	"Group":      func(tx *store.Tx) { tx.Group("a", "g", "id") },
	"GroupsOf":   func(tx *store.Tx) { tx.GroupsOf(&tenant.User{}) },
	"Session":    func(tx *store.Tx) { tx.Session("s") },
	"Key":        func(tx *store.Tx) { tx.Key("k") },
	"KeysOf":     func(tx *store.Tx) { tx.KeysOf("u") },
	"Agreed":     func(tx *store.Tx) { tx.Agreed("n") },
	"KeptAnswer": func(tx *store.Tx) { tx.KeptAnswer("r") },
	"AuditRange": func(tx *store.Tx) {
		tx.AuditRange("a", time.Time{}, time.Time{})
		tx.AuditRange("a", time.Unix(1, 0), time.Unix(2, 0))
	},
	"AuditEntries": func(tx *store.Tx) { tx.AuditEntries("a", 1, 2) },

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

	// Those that write are called by everyChange.
	"Apply": nil, "Agree": nil, "KeepAnswer": nil, "TakeAnswer": nil, "Prune": nil, "StartSession": nil, "EndSession": nil,
	"AcquireLease": nil, "ExtendLease": nil, "ShortenLease": nil, "ReleaseLease": nil, "ReleaseCall": nil,
}

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
	grouped, err := tenant.NewGroup(operator, group)
	if err != nil {
		return err
	}
	user := tenant.User{ID: "u", AccountID: rootID, Email: "u@example.com", Status: tenant.UserEnabled, CreatedAt: now}
	created := tenant.NewUser(operator, user, tenant.Key{ID: "k", AccountID: rootID, UserID: "u", Kind: tenant.KeyV2, Digest: "k"}, []tenant.Group{group})
	blocked, err := tenant.Block(operator, *root, now)
	if err != nil {
		return err
	}
	for _, change := range []tenant.Change{approved, grouped, created, blocked} {
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
	if err := tx.StartSession(store.Session{Digest: "s", AccountID: rootID, UserID: rootID}); err != nil {
		return err
	}
	if err := tx.KeepAnswer(store.Answer{ID: "every", Request: "r", ExpiresAt: now}); err != nil {
		return err
	}
	if _, err := tx.TakeAnswer("r", 1); err != nil {
		return err
	}
	if _, err := tx.Prune(now, 1); err != nil {
		return err
	}
	if _, err := tx.Agree("n", "v"); err != nil {
		return err
	}
	return tx.EndSession("s")
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

// mayScan are the statements that may read a whole table, and why.
var mayScan = map[string]string{
	"DELETE FROM outbox WHERE id IN (SELECT id FROM outbox ORDER BY id LIMIT": "reads as many as it may delete, in the order of the key",
}

// readsOwner are the statements that may read all of one owner, and why.
var readsOwner = map[string]string{
	"FROM account WHERE manager_id = $1 AND number > $2 ORDER BY number":           "what a directory has not seen",
	"FROM organization_user WHERE account_id = $1 AND number > $2 ORDER BY number": "what a directory has not seen",
	"FROM organization_group g WHERE g.account_id = $1 ORDER BY g.name":            "at most tenant.MaxGroups rows",
	"FROM connection WHERE account_id = $1 ORDER BY name":                          "at most tenant.MaxConnections rows",
	"SELECT COUNT(*) FROM connection WHERE account_id = $1":                        "at most tenant.MaxConnections rows",
	"FROM connection c JOIN identity i ON i.connection_id = c.id":                  "all that is of them",
	"FROM audit_entry WHERE account_id = $1":                                       "the first or last of the index",
	"FROM audit_entry WHERE account_id = $2":                                       "the last of the index",
	"DELETE FROM session WHERE account_id = $1":                                    "ends them all",
}

// TestPlans holds every statement to an index: one that reads a whole table, or
// all the rows of one owner, must be known to.
func TestPlans(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *store.DB) {
		if err := db.Update(t.Context(), "", everyChange); err != nil {
			t.Fatal(err)
		}
		methods := reflect.TypeFor[*store.Tx]()
		for i := range methods.NumMethod() {
			if _, known := reads[methods.Method(i).Name]; !known {
				t.Errorf("Tx.%s has no call here: its statements are not looked at", methods.Method(i).Name)
			}
		}
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
		plans, err := db.Plans(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(plans) < 50 {
			t.Errorf("only %d statements were looked at", len(plans))
		}
		big := []string{"account", "a", "organization_user", "u", "membership", "m", "api_key", "audit_entry", "answer", "session", "outbox", "connection", "c", "identity", "i", "lease"}
		for query, plan := range plans {
			for step := range strings.SplitSeq(plan, "; ") {
				table, scan := strings.CutPrefix(step, "SCAN ")
				table, _, _ = strings.Cut(table, " ")
				if scan && slices.Contains(big, table) && !excused(mayScan, query) {
					t.Errorf("a whole table is read: %s\n\t%s", step, query)
				}
				if strings.Contains(step, "sqlite_autoindex_manager_1") {
					continue
				}
				for _, owner := range []string{"(manager_id=?)", "(account_id=?)", "(manager_id=? AND number<?)", "(account_id=? AND number<?)"} {
					if strings.Contains(step, owner) && !excused(readsOwner, query) {
						t.Errorf("all rows of an owner are read: %s\n\t%s", plan, query)
					}
				}
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
	}, store.Options{Readers: 1})
}

func excused(list map[string]string, query string) bool {
	for excuse := range list {
		if strings.Contains(query, excuse) {
			return true
		}
	}
	return false
}
