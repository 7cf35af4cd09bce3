package store

import (
	"strings"

	"github.com/tenantry/tenantry/internal/directory"
	"github.com/tenantry/tenantry/internal/tenant"
)

const userColumns = `u.id, u.account_id, u.number, u.email, u.password_hash, u.user_status, u.bypasses_sso,
	u.removed, u.last_sign_in_at, u.created_at`

func scanUser(row scanner, u *tenant.User) error {
	var signedIn, created int64
	err := row.Scan(&u.ID, &u.AccountID, &u.Number, &u.Email, &u.PasswordHash, &u.Status, &u.BypassesSSO,
		&u.Removed, &signedIn, &created)
	u.LastSignInAt, u.CreatedAt = fromMicros(signedIn), fromMicros(created)
	return err
}

// UserByID is the user with that id in whatever organization, or nil. A removed
// user is nil.
func (tx *Tx) UserByID(id string) (*tenant.User, error) {
	return one(tx, scanUser, "SELECT "+userColumns+" FROM organization_user u WHERE u.id = $1 AND u.removed = FALSE", id)
}

// User is the user with that id in the organization; somebody else's, and a
// removed one, is refused with kind NotFound.
func (tx *Tx) User(accountID, id, parameter string) (*tenant.User, error) {
	user, err := tx.UserByID(id)
	if err != nil {
		return nil, err
	}
	if user == nil || user.AccountID != accountID {
		return nil, tenant.Missed(parameter)
	}
	return user, nil
}

// UserByEmail is the user with that address in the organization or, with "", in
// the oldest where somebody has it and a password; nil when there is none.
func (tx *Tx) UserByEmail(email, accountID string) (*tenant.User, error) {
	const query = "SELECT " + userColumns + " FROM organization_user u WHERE u.email_key = $1 AND u.removed = FALSE"
	if accountID != "" {
		return one(tx, scanUser, query+" AND u.account_id = $2", tenant.EmailKey(email), accountID)
	}
	return one(tx, scanUser, query+" AND u.password_hash <> '' ORDER BY u.account_id LIMIT 1", tenant.EmailKey(email))
}

// UsersWithEmail are at most limit users with that address, in the oldest
// organizations that know it.
func (tx *Tx) UsersWithEmail(email string, limit int) ([]tenant.User, error) {
	return all(tx, scanUser, "SELECT "+userColumns+` FROM organization_user u WHERE u.email_key = $1 AND u.removed = FALSE
		ORDER BY u.account_id LIMIT $2`, tenant.EmailKey(email), limit)
}

// UsersByNumber are the organization's users with those numbers, in that order.
func (tx *Tx) UsersByNumber(accountID string, numbers []int64) ([]tenant.User, error) {
	return byNumber(tx, scanUser, func(u *tenant.User) int64 { return u.Number },
		"SELECT "+userColumns+" FROM organization_user u WHERE u.removed = FALSE AND (u.account_id, u.number) IN ",
		accountID, numbers)
}

// UserDirectory hands over what a list of the organization's users needs and a
// reader who knows the first users, as of revision, has not seen. Removed users
// have status 3.
func (tx *Tx) UserDirectory(accountID string, users, revision int64, entry func(directory.Entry) error) (int64, int64, error) {
	type counters struct{ users, revision int64 }
	now, err := one(tx, func(row scanner, c *counters) error { return row.Scan(&c.users, &c.revision) },
		"SELECT users, user_revision FROM account WHERE id = $1", accountID)
	if err != nil || now == nil {
		return users, revision, err
	}
	const columns = `SELECT number, email, CASE WHEN removed THEN 3 WHEN user_status = 'blocked' THEN 2
		WHEN user_status = 'disabled' THEN 1 ELSE 0 END FROM organization_user WHERE account_id = $1 AND `
	scan := func(row scanner, e *directory.Entry) error { return row.Scan(&e.Number, &e.Email, &e.Status) }
	each1 := func(e *directory.Entry) error { return entry(*e) }
	if now.users > users {
		if err := each(tx, scan, each1, columns+"number > $2 ORDER BY number", accountID, users); err != nil {
			return users, revision, err
		}
	}
	if now.revision > revision && users > 0 {
		if err := each(tx, scan, each1, columns+"revision > 0 AND revision > $2 AND number <= $3", accountID, revision, users); err != nil {
			return users, revision, err
		}
	}
	return now.users, now.revision, nil
}

// UsersAfter are at most limit of the organization's users whose numbers are
// above after, in order of number, with what the report shows of them.
//
// A row comes as one text: each column costs the driver several locks, and this
// is the one query that reads millions of rows.
func (tx *Tx) UsersAfter(accountID string, after int64, limit int, fn func(*tenant.User) error) error {
	user := tenant.User{AccountID: accountID}
	return each(tx, scanText, func(row *string) error {
		f := packedFields{*row}
		user.Number, user.ID = f.number(), f.text()
		user.Status = tenant.UserStatus(f.text())
		user.BypassesSSO = f.number() == 1
		user.LastSignInAt, user.CreatedAt = fromMicros(f.number()), fromMicros(f.number())
		user.Email = f.rest
		return fn(&user)
	}, `SELECT concat_ws(' ', u.number, u.id, u.user_status, CASE WHEN u.bypasses_sso THEN 1 ELSE 0 END,
		u.last_sign_in_at, u.created_at, u.email) FROM organization_user u
		WHERE u.account_id = $1 AND u.number > $2 AND u.removed = FALSE ORDER BY u.number LIMIT $3`, accountID, after, limit)
}

// Member is one membership as the report reads it.
type Member struct {
	UserNumber int64
	GroupID    string
}

// Members are the memberships of the organization's users with numbers above
// after and up to last, in order of number. They come as one text, for the same
// reason as those of UsersAfter.
func (tx *Tx) Members(accountID string, after, last int64, fn func(*Member) error) error {
	var m Member
	return each(tx, scanText, func(all *string) error {
		for f := (packedFields{*all}); len(f.rest) > 0; {
			m.UserNumber, m.GroupID = f.number(), f.text()
			if err := fn(&m); err != nil {
				return err
			}
		}
		return nil
	}, `SELECT COALESCE(string_agg(concat_ws(' ', chunk.user_number, chunk.group_id), ' '), '') FROM (SELECT user_number, group_id
		FROM membership WHERE account_id = $1 AND user_number > $2 AND user_number <= $3 ORDER BY user_number) chunk`, accountID, after, last)
}

func scanText(row scanner, text *string) error { return row.Scan(text) }

// packedFields are fields with one space between them.
type packedFields struct{ rest string }

func (f *packedFields) text() string {
	field, rest, _ := strings.Cut(f.rest, " ")
	f.rest = rest
	return field
}

func (f *packedFields) number() (n int64) {
	text := f.text()
	for i := range len(text) {
		n = n*10 + int64(text[i]-'0')
	}
	return n
}

// applyUser writes a user; the first one of an account that is new in the same
// change is counted already.
func (tx *Tx) applyUser(d tenant.Diff[tenant.User], first bool) error {
	u := d.After
	tx.changed(u.ID)
	if d.Before == nil {
		u.Number = 1
		if !first {
			var err error
			if u.Number, err = tx.count("UPDATE account SET users = users + 1 WHERE id = $1 RETURNING users", u.AccountID); err != nil {
				return err
			}
		}
		err := tx.exec(`INSERT INTO organization_user (id, account_id, number, email, email_key, password_hash,
			user_status, bypasses_sso, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			u.ID, u.AccountID, u.Number, u.Email, tenant.EmailKey(u.Email), u.PasswordHash, string(u.Status),
			u.BypassesSSO, micros(u.CreatedAt))
		if isDuplicate(err, "email_key") {
			return tenant.RefuseField(tenant.Duplicate, "email", "Another user of the organization has this email address.")
		}
		return err
	}
	revision, err := tx.count("UPDATE account SET user_revision = user_revision + 1 WHERE id = $1 RETURNING user_revision", u.AccountID)
	if err != nil {
		return err
	}
	err = tx.exec(`UPDATE organization_user SET revision = $2, email = $3, email_key = $4, password_hash = $5,
		user_status = $6, bypasses_sso = $7, removed = $8, last_sign_in_at = $9 WHERE id = $1`,
		u.ID, revision, u.Email, tenant.EmailKey(u.Email), u.PasswordHash, string(u.Status), u.BypassesSSO,
		u.Removed, micros(u.LastSignInAt))
	if err != nil {
		return err
	}
	stopped := u.Removed || u.Status != tenant.UserEnabled
	if changed := u.PasswordHash != d.Before.PasswordHash; stopped || changed {
		why := EndedByPassword
		if stopped {
			why = EndedByStatus
		}
		if err := tx.EndSessionsOf(u.AccountID, u.ID, why); err != nil {
			return err
		}
		if err := tx.exec("DELETE FROM password_reset WHERE user_id = $1", u.ID); err != nil {
			return err
		}
	}
	if !u.Removed {
		return nil
	}
	for _, query := range []string{
		"DELETE FROM second_factor WHERE user_id = $1", "DELETE FROM recovery_code WHERE user_id = $1",
		"DELETE FROM external_identity WHERE user_id = $1",
	} {
		if err := tx.exec(query, u.ID); err != nil {
			return err
		}
	}
	digests, err := all(tx, func(row scanner, s *string) error { return row.Scan(s) },
		"DELETE FROM api_key WHERE user_id = $1 RETURNING digest", u.ID)
	tx.ids = append(tx.ids, digests...)
	return err
}

func scanGroup(row scanner, g *tenant.Group) error {
	var permissions string
	var created int64
	err := row.Scan(&g.ID, &g.AccountID, &g.Name, &permissions, &created)
	g.Permissions = strings.Fields(permissions)
	g.CreatedAt = fromMicros(created)
	return err
}

const groupColumns = "g.id, g.account_id, g.name, g.permissions, g.created_at"

// Groups are all groups of an organization, by name; there are at most
// tenant.MaxGroups.
func (tx *Tx) Groups(accountID string) ([]tenant.Group, error) {
	return all(tx, scanGroup, "SELECT "+groupColumns+" FROM organization_group g WHERE g.account_id = $1 ORDER BY g.name", accountID)
}

// Group is the organization's group with that id; anything else is refused with
// kind NotFound.
func (tx *Tx) Group(accountID, id, parameter string) (*tenant.Group, error) {
	group, err := one(tx, scanGroup, "SELECT "+groupColumns+" FROM organization_group g WHERE g.id = $1 AND g.account_id = $2", id, accountID)
	if err == nil && group == nil {
		return nil, tenant.Missed(parameter)
	}
	return group, err
}

// GroupsOf are the groups that a user is in, by name.
func (tx *Tx) GroupsOf(user *tenant.User) ([]tenant.Group, error) {
	return all(tx, scanGroup, "SELECT "+groupColumns+` FROM membership m JOIN organization_group g ON g.id = m.group_id
		WHERE m.account_id = $1 AND m.user_number = $2 ORDER BY g.name`, user.AccountID, user.Number)
}

// GroupPermissions are what a group grants, nothing for one that has gone.
func (tx *Tx) GroupPermissions(id string) ([]string, error) {
	text, err := one(tx, scanText, "SELECT permissions FROM organization_group WHERE id = $1", id)
	if err != nil || text == nil {
		return nil, err
	}
	return strings.Fields(*text), nil
}

// MembersOf are the numbers of at most limit users who are in a group, above after, in
// order.
func (tx *Tx) MembersOf(groupID string, after int64, limit int) ([]int64, error) {
	return all(tx, func(row scanner, n *int64) error { return row.Scan(n) },
		"SELECT user_number FROM membership WHERE group_id = $1 AND user_number > $2 ORDER BY user_number LIMIT $3", groupID, after, limit)
}

func (tx *Tx) applyGroup(d tenant.Diff[tenant.Group]) error {
	g := d.After
	if g == nil {
		// Nobody needs to hear who was in it: what users may do is kept by group.
		tx.changed(d.Before.ID)
		if err := tx.exec("DELETE FROM organization_group WHERE id = $1", d.Before.ID); err != nil {
			return err
		}
		return tx.exec("INSERT INTO removed_group (id) VALUES ($1)", d.Before.ID)
	}
	tx.changed(g.ID)
	var err error
	if d.Before == nil {
		err = tx.exec(`INSERT INTO organization_group (id, account_id, name, permissions, created_at)
			VALUES ($1, $2, $3, $4, $5)`, g.ID, g.AccountID, g.Name, strings.Join(g.Permissions, " "), micros(g.CreatedAt))
	} else {
		err = tx.exec("UPDATE organization_group SET name = $2, permissions = $3 WHERE id = $1", g.ID, g.Name, strings.Join(g.Permissions, " "))
	}
	if isDuplicate(err, "name") {
		return tenant.RefuseField(tenant.Duplicate, "name", "Another group of the organization has this name.")
	}
	return err
}

func (tx *Tx) applyMembership(accountID string, m tenant.Membership) error {
	tx.changed(m.UserID)
	if !m.Member {
		err := tx.exec(`DELETE FROM membership WHERE account_id = $1 AND group_id = $3
			AND user_number = (SELECT number FROM organization_user WHERE id = $2)`, accountID, m.UserID, m.GroupID)
		return err
	}
	err := tx.exec(`INSERT INTO membership (account_id, user_number, user_id, group_id)
		SELECT $1, number, id, $3 FROM organization_user WHERE id = $2`, accountID, m.UserID, m.GroupID)
	return err
}
