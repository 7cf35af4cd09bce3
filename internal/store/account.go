package store

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tenantry/tenantry/internal/directory"
	"github.com/tenantry/tenantry/internal/tenant"
)

const accountColumns = `a.id, a.manager_id, a.number, a.email, a.organization_name, a.allow_custom_pricing,
	a.rollup_billing, a.disabled, a.blocked, a.cancelled, a.balance, a.pending, a.credit_limit, a.currency,
	a.channel_limit, a.created_at, a.updated_at`

func scanAccount(row scanner, a *tenant.Account) error {
	var created, updated int64
	err := row.Scan(&a.ID, &a.ManagerID, &a.Number, &a.Email, &a.OrganizationName, &a.AllowCustomPricing,
		&a.RollupBilling, &a.Disabled, &a.Blocked, &a.Cancelled, &a.Balance.Amount, &a.Balance.Pending,
		&a.Balance.CreditLimit, &a.Balance.Currency, &a.ChannelLimit, &created, &updated)
	a.CreatedAt, a.UpdatedAt = fromMicros(created), fromMicros(updated)
	return err
}

// Account is the account with that id whoever manages it, or nil.
func (tx *Tx) Account(id string) (*tenant.Account, error) {
	return one(tx, scanAccount, "SELECT "+accountColumns+" FROM account a WHERE a.id = $1", id)
}

// Admit says whether an account may use services at all: nil, or what
// tenant.Account.Admit refuses; an account that there is not is refused like one that
// is cancelled.
func (tx *Tx) Admit(id string) error {
	own, err := tx.Account(id)
	if err != nil {
		return err
	}
	if own == nil {
		return tenant.RefuseParameter(tenant.Unauthenticated, "Authorization", "")
	}
	var managing *tenant.Account
	if own.ManagerID != "" {
		if managing, err = tx.Account(own.ManagerID); err != nil {
			return err
		}
	}
	return own.Admit(managing)
}

// ManagedAccount is the account with that id if the manager has it. Somebody
// else's is refused with kind NotFound like one that does not exist.
func (tx *Tx) ManagedAccount(managerID, id string) (*tenant.Account, error) {
	account, err := tx.Account(id)
	if err != nil {
		return nil, err
	}
	if account == nil || account.ManagerID != managerID {
		return nil, tenant.Missed("id")
	}
	return account, nil
}

// AccountsByNumber are the manager's accounts with those numbers, in the order
// of numbers. Numbers without a row are left out.
func (tx *Tx) AccountsByNumber(managerID string, numbers []int64) ([]tenant.Account, error) {
	return byNumber(tx, scanAccount, func(a *tenant.Account) int64 { return a.Number },
		"SELECT "+accountColumns+" FROM account a WHERE (a.manager_id, a.number) IN ", managerID, numbers)
}

// AccountsByChannels are the manager's accounts, those with the most channels first,
// at most limit of them from after those with that channel limit and number.
func (tx *Tx) AccountsByChannels(managerID string, channelLimit, number int64, limit int) ([]tenant.Account, error) {
	return all(tx, scanAccount, "SELECT "+accountColumns+` FROM account a WHERE a.manager_id = $1 AND (a.channel_limit, a.number) < ($2, $3)
		ORDER BY a.channel_limit DESC, a.number DESC LIMIT $4`, managerID, channelLimit, number, limit)
}

// AccountNumbers are the numbers of the manager's accounts with exactly that
// email, or that organization name; "" is not asked for. Ascending.
func (tx *Tx) AccountNumbers(managerID, email, name string) ([]int64, error) {
	scan := func(row scanner, n *int64) error { return row.Scan(n) }
	const where = "SELECT number FROM account WHERE manager_id = $1 AND "
	switch {
	case email != "" && name != "":
		return all(tx, scan, where+"email_key = $2 AND email = $3 AND organization_name = $4 ORDER BY number",
			managerID, tenant.EmailKey(email), email, name)
	case email != "":
		// In two halves, for each has an index of its own; asked for the order too,
		// SQLite would take the index of numbers.
		numbers, err := all(tx, scan, where+"email_key = $2 AND email = $3 AND cancelled = FALSE UNION ALL "+
			where+"email_key = $2 AND email = $3 AND cancelled = TRUE", managerID, tenant.EmailKey(email), email)
		slices.Sort(numbers)
		return numbers, err
	default:
		return all(tx, scan, where+"organization_name = $2 ORDER BY number", managerID, name)
	}
}

// EmailTaken reports whether an account of the manager's that is not cancelled
// has the address.
func (tx *Tx) EmailTaken(managerID, email string) (bool, error) {
	n, err := tx.count("SELECT COUNT(*) FROM account WHERE manager_id = $1 AND email_key = $2 AND cancelled = FALSE",
		managerID, tenant.EmailKey(email))
	return n > 0, err
}

// AccountDirectory hands over what a list of the manager's accounts needs and a
// reader who knows the first accounts, as of revision, has not seen.
func (tx *Tx) AccountDirectory(managerID string, accounts, revision int64, entry func(directory.Entry) error) (int64, int64, error) {
	manager, err := tx.manager(managerID)
	if err != nil || manager == nil {
		return accounts, revision, err
	}
	const columns = `SELECT number, email, organization_name, CASE WHEN cancelled THEN 3 WHEN blocked THEN 2
		WHEN disabled THEN 1 ELSE 0 END FROM account WHERE manager_id = $1 AND `
	scan := func(row scanner, e *directory.Entry) error { return row.Scan(&e.Number, &e.Email, &e.Name, &e.Status) }
	each1 := func(e *directory.Entry) error { return entry(*e) }
	if manager.Accounts > accounts {
		if err := each(tx, scan, each1, columns+"number > $2 ORDER BY number", managerID, accounts); err != nil {
			return accounts, revision, err
		}
	}
	if manager.Revision > revision && accounts > 0 {
		if err := each(tx, scan, each1, columns+"revision > 0 AND revision > $2 AND number <= $3", managerID, revision, accounts); err != nil {
			return accounts, revision, err
		}
	}
	return manager.Accounts, manager.Revision, nil
}

func scanManager(row scanner, m *tenant.Manager) error {
	return row.Scan(&m.AccountID, &m.Approved, &m.ChannelPool, &m.ChannelsAllocated, &m.Accounts, &m.Revision)
}

// Manager is the manager's row, or nil for an account that never was one.
func (tx *Tx) Manager(accountID string) (*tenant.Manager, error) {
	if accountID == "" {
		return nil, nil
	}
	return tx.manager(accountID)
}

func (tx *Tx) manager(accountID string) (*tenant.Manager, error) {
	return one(tx, scanManager, `SELECT account_id, approved, channel_pool, channels_allocated, accounts, revision
		FROM manager WHERE account_id = $1`, accountID)
}

// Managing is a manager's account with its row as a manager, in one query; both
// are nil for an account that does not exist or never was one.
func (tx *Tx) Managing(id string) (*tenant.Account, *tenant.Manager, error) {
	type both struct {
		account tenant.Account
		manager tenant.Manager
	}
	found, err := one(tx, func(row scanner, b *both) error {
		m := &b.manager
		return scanAccount(prefixed{row, []any{&m.AccountID, &m.Approved, &m.ChannelPool, &m.ChannelsAllocated, &m.Accounts, &m.Revision}}, &b.account)
	}, `SELECT manager.account_id, approved, channel_pool, channels_allocated, accounts, manager.revision, `+accountColumns+`
		FROM account a JOIN manager ON manager.account_id = a.id WHERE a.id = $1`, id)
	if err != nil || found == nil {
		return nil, nil, err
	}
	return &found.account, &found.manager, nil
}

// prefixed is a row that begins with columns for somebody else.
type prefixed struct {
	scanner
	first []any
}

func (p prefixed) Scan(dest ...any) error { return p.scanner.Scan(append(p.first, dest...)...) }

// tally moves the manager's counters: the next account's number or, for a change
// to an account, the next revision. The pool is guarded here and by a CHECK.
func (tx *Tx) tally(managerID string, accounts, revisions, channels int64) (*tenant.Manager, error) {
	manager, err := one(tx, scanManager, `UPDATE manager SET accounts = accounts + $2, revision = revision + $3,
		channels_allocated = channels_allocated + $4
		WHERE account_id = $1 AND channels_allocated + $4 <= channel_pool
		RETURNING account_id, approved, channel_pool, channels_allocated, accounts, revision`,
		managerID, accounts, revisions, channels)
	if err != nil || manager != nil {
		return manager, err
	}
	before, err := tx.manager(managerID)
	if err != nil {
		return nil, err
	}
	if before == nil {
		return nil, tenant.Refuse(tenant.Forbidden, "The account is not a manager.")
	}
	return nil, tenant.RefuseField(tenant.OutOfRange, "channel_limit",
		fmt.Sprintf("The pool has %d channels left to hand out.", before.Free()))
}

func (tx *Tx) applyAccount(d tenant.Diff[tenant.Account]) error {
	a := d.After
	tx.changed(a.ID)
	if d.Before == nil {
		manager, err := tx.tally(a.ManagerID, 1, 0, a.ChannelLimit)
		if err != nil {
			return err
		}
		a.Number = manager.Accounts
		err = tx.exec(`INSERT INTO account (id, manager_id, number, email, email_key, organization_name,
			allow_custom_pricing, rollup_billing, balance, pending, credit_limit, currency, channel_limit,
			users, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 1, $14, $15)`,
			a.ID, a.ManagerID, a.Number, a.Email, tenant.EmailKey(a.Email), a.OrganizationName,
			a.AllowCustomPricing, a.RollupBilling, a.Balance.Amount, a.Balance.Pending, a.Balance.CreditLimit,
			a.Balance.Currency, a.ChannelLimit, micros(a.CreatedAt), micros(a.UpdatedAt))
		if isDuplicate(err, "email_key") {
			return tenant.RefuseField(tenant.Duplicate, "email", "Another account has this email address.")
		}
		return err
	}
	manager, err := tx.tally(a.ManagerID, 0, 1, a.ChannelLimit-d.Before.ChannelLimit)
	if err != nil {
		return err
	}
	err = tx.exec(`UPDATE account SET revision = $2, email = $3, email_key = $4, organization_name = $5,
		allow_custom_pricing = $6, disabled = $7, blocked = $8, cancelled = $9, balance = $10, pending = $11,
		credit_limit = $12, channel_limit = $13, updated_at = $14 WHERE id = $1`,
		a.ID, manager.Revision, a.Email, tenant.EmailKey(a.Email), a.OrganizationName,
		a.AllowCustomPricing, a.Disabled, a.Blocked, a.Cancelled, a.Balance.Amount, a.Balance.Pending,
		a.Balance.CreditLimit, a.ChannelLimit, micros(a.UpdatedAt))
	return err
}

func (tx *Tx) applyManager(d tenant.Diff[tenant.Manager]) error {
	tx.changed(d.After.AccountID)
	err := tx.exec(`INSERT INTO manager (account_id, approved, channel_pool) VALUES ($1, $2, $3)
		ON CONFLICT (account_id) DO UPDATE SET approved = excluded.approved, channel_pool = excluded.channel_pool`,
		d.After.AccountID, d.After.Approved, d.After.ChannelPool)
	if err != nil || d.After.Approved {
		return err
	}
	return tx.endSessions(ofPersons, EndedByStatus, d.After.AccountID)
}

// byNumber reads the rows with those numbers and puts them into that order. Owner
// and number stand in the list together, so that each row is looked up by both:
// with the owner apart, PostgreSQL may read all that it has, if owners have few
// rows on average, whatever this one has.
func byNumber[T any](tx *Tx, scan func(scanner, *T) error, number func(*T) int64, query, owner string, numbers []int64) ([]T, error) {
	if len(numbers) == 0 {
		return []T{}, nil
	}
	// A few lengths only, so that the statements can be kept: the last number is
	// repeated to fill up.
	length := 1
	for length < len(numbers) {
		length *= 4
	}
	var list strings.Builder
	list.WriteString("(VALUES (CAST($1 AS TEXT), CAST($2 AS BIGINT))")
	args := make([]any, 0, length+1)
	args = append(args, owner)
	for i := range length {
		args = append(args, numbers[min(i, len(numbers)-1)])
		if i > 0 {
			fmt.Fprintf(&list, ", ($1, $%d)", i+2)
		}
	}
	list.WriteString(")")
	place := make(map[int64]int, len(numbers))
	for i, n := range numbers {
		place[n] = i
	}
	found := make([]*T, len(numbers))
	err := each(tx, scan, func(v *T) error {
		row := *v
		found[place[number(&row)]] = &row
		return nil
	}, query+list.String(), args...)
	rows := make([]T, 0, len(numbers))
	for _, row := range found {
		if row != nil {
			rows = append(rows, *row)
		}
	}
	return rows, err
}
