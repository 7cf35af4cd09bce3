package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// copiedTables are those that a loader fills, and the columns.
var copiedTables = []struct{ name, columns string }{
	{"account", `id, manager_id, number, revision, email, email_key, organization_name, allow_custom_pricing, rollup_billing,
		disabled, blocked, cancelled, balance, pending, credit_limit, currency, channel_limit, users, user_revision, created_at, updated_at`},
	{"organization_user", `id, account_id, number, revision, email, email_key, password_hash, user_status, bypasses_sso, removed,
		last_sign_in_at, created_at`},
	{"api_key", "id, account_id, user_id, kind, digest, sealed, created_at"},
	{"audit_entry", `id, account_id, number, actor_user_id, credential_id, made_by, event, resource_type, resource_id, changes,
		request_id, created_at`},
	{"membership", "account_id, user_number, user_id, group_id"},
}

// mostVerified is up to how many rows a loaded database is verified.
const mostVerified = 20_000

// loader writes what store.Tx.Apply would have written, without indexes and by
// COPY. TestLoad holds one against the other.
type loader struct {
	*builder
	tables map[string]*table
	// What Apply keeps in rows that are not new: managers, and the users and entries
	// of root accounts, by account.
	counters map[string]*counter
	// The row under way is written when nothing changes it any more.
	account  *tenant.Account
	user     *tenant.User
	accounts counter // of account
	revision int64   // of account or user
}

// counter counts what an account has.
type counter struct {
	managed, revision, channels  int64
	users, userRevision, entries int64
}

// load fills a database that has its root accounts and groups.
func (b *builder) load(ctx context.Context, first, n int, add func(apply func(tenant.Change) error, i int) error) error {
	l := &loader{builder: b, tables: map[string]*table{}, counters: map[string]*counter{}}
	conn, err := pgx.Connect(ctx, b.cluster.url(b.name))
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	if err := l.count(ctx, conn); err != nil {
		return err
	}
	rest, err := dropIndexes(ctx, conn)
	if err != nil {
		return err
	}
	var wait sync.WaitGroup
	for _, t := range copiedTables {
		r, w := io.Pipe()
		to := &table{Writer: bufio.NewWriterSize(w, 1<<18), pipe: w}
		l.tables[t.name] = to
		wait.Go(func() {
			to.err = copyTable(ctx, b.cluster.url(b.name), t.name, t.columns, r)
			r.CloseWithError(cmp.Or(to.err, io.ErrClosedPipe)) // so that nobody writes to it any more
		})
	}
	for i := first; i < n && err == nil; i++ {
		if err = add(l.apply, i); err == nil {
			err = l.flush()
		}
		if i%1000 == 0 {
			b.progress.set(i)
		}
	}
	for _, t := range l.tables {
		if err == nil {
			err = t.Flush()
		}
		t.pipe.CloseWithError(err) // nil is the end of the file
	}
	wait.Wait()
	for _, t := range l.tables {
		err = cmp.Or(t.err, err)
	}
	if err != nil {
		return err
	}
	for id, c := range l.counters {
		rest = append(rest,
			fmt.Sprintf("UPDATE manager SET accounts = %d, revision = %d, channels_allocated = %d WHERE account_id = '%s'", c.managed, c.revision, c.channels, id),
			fmt.Sprintf("UPDATE account SET users = %d, user_revision = %d WHERE id = '%s'", c.users, c.userRevision, id))
	}
	if n > 0 { // an empty one is like that of a new installation, which knows nothing yet
		rest = append(rest, "VACUUM (FREEZE, ANALYZE)")
	}
	for _, statement := range append(rest, "CHECKPOINT") {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	if n > mostVerified {
		return nil
	}
	db, err := store.Open(ctx, b.cluster.url(b.name), store.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	return errors.Join(db.Verify(ctx), db.Close())
}

// count reads the counters of what is there already.
func (l *loader) count(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, `SELECT a.id, COALESCE(m.accounts, 0), COALESCE(m.revision, 0), COALESCE(m.channels_allocated, 0), a.users, a.user_revision,
		(SELECT COUNT(*) FROM audit_entry e WHERE e.account_id = a.id) FROM account a LEFT JOIN manager m ON m.account_id = a.id`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		c := &counter{}
		if err := rows.Scan(&id, &c.managed, &c.revision, &c.channels, &c.users, &c.userRevision, &c.entries); err != nil {
			return err
		}
		l.counters[id] = c
	}
	return rows.Err()
}

// dropIndexes drops the indexes of the tables and returns what makes them again.
func dropIndexes(ctx context.Context, conn *pgx.Conn) (statements []string, err error) {
	var names []string
	for _, t := range copiedTables {
		names = append(names, t.name)
	}
	rows, err := conn.Query(ctx, `SELECT c.relname, t.relname, pg_get_indexdef(i.indexrelid), COALESCE(pg_get_constraintdef(k.oid), '')
		FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
		LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid WHERE t.relname = ANY($1)`, names)
	if err != nil {
		return nil, err
	}
	var drops []string
	for rows.Next() {
		var index, table, made, constraint string
		if err := rows.Scan(&index, &table, &made, &constraint); err != nil {
			return nil, err
		}
		if constraint == "" {
			drops, statements = append(drops, "DROP INDEX "+index), append(statements, made)
			continue
		}
		drops = append(drops, fmt.Sprintf("ALTER TABLE %s DROP CONSTRAINT %s", table, index))
		statements = append(statements, fmt.Sprintf("ALTER TABLE %s ADD CONSTRAINT %s %s", table, index, constraint))
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	for _, drop := range drops {
		if _, err := conn.Exec(ctx, drop); err != nil {
			return nil, err
		}
	}
	return statements, nil
}

// table is where rows go.
type table struct {
	*bufio.Writer
	pipe *io.PipeWriter
	row  []byte
	err  error // of the reading end
}

// copyTable reads rows into a table. It begins with an empty one in the same
// transaction, so that nothing has to be logged; the few rows that were there are
// put back.
func copyTable(ctx context.Context, address, name, columns string, from io.Reader) error {
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	for _, statement := range []string{
		"BEGIN", "CREATE TEMP TABLE kept AS TABLE " + name, "TRUNCATE " + name, "INSERT INTO " + name + " SELECT * FROM kept",
	} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	if _, err := conn.PgConn().CopyFrom(ctx, from, fmt.Sprintf("COPY %s (%s) FROM STDIN (FREEZE)", name, columns)); err != nil {
		return fmt.Errorf("copy %s: %w", name, err)
	}
	_, err = conn.Exec(ctx, "COMMIT")
	return err
}

// escapes are those of COPY's text format.
var escapes = strings.NewReplacer(`\`, `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`)

// write writes a row of texts, numbers and truths.
func (t *table) write(values ...any) error {
	t.row = t.row[:0]
	for i, value := range values {
		if i > 0 {
			t.row = append(t.row, '\t')
		}
		switch v := value.(type) {
		case string:
			t.row = append(t.row, escapes.Replace(v)...)
		case int64:
			t.row = strconv.AppendInt(t.row, v, 10)
		case bool:
			t.row = strconv.AppendBool(t.row, v)
		default:
			return fmt.Errorf("a column cannot be %T", value)
		}
	}
	t.row = append(t.row, '\n')
	_, err := t.Write(t.row)
	return err
}

// apply does what store.Tx.Apply does.
func (l *loader) apply(change tenant.Change) error {
	for _, d := range change.Accounts {
		a, m := d.After, l.counters[d.After.ManagerID]
		if d.Before == nil {
			m.managed++
			a.Number = m.managed
			m.channels += a.ChannelLimit
			l.accounts, l.revision = counter{users: 1}, 0
		} else {
			m.revision++
			m.channels += a.ChannelLimit - d.Before.ChannelLimit
			l.revision = m.revision
		}
		l.account = a
	}
	own := l.counters[change.AccountID]
	if own == nil {
		own = &l.accounts // of the account under way
	}
	for _, d := range change.Users {
		u := d.After
		switch {
		case d.Before != nil:
			own.userRevision++
			l.revision = own.userRevision
		case l.account != nil:
			u.Number = 1
		default:
			own.users++
			u.Number, l.revision = own.users, 0
		}
		l.user = u
	}
	for _, d := range change.Keys {
		k := d.After
		if err := l.tables["api_key"].write(k.ID, k.AccountID, k.UserID, string(k.Kind), k.Digest, k.Sealed, k.CreatedAt.UnixMicro()); err != nil {
			return err
		}
	}
	for _, m := range change.Memberships {
		if err := l.tables["membership"].write(change.AccountID, l.user.Number, m.UserID, m.GroupID); err != nil {
			return err
		}
	}
	own.entries++
	fields, err := json.Marshal(change.Fields())
	if err != nil {
		return err
	}
	actor := change.Actor
	return l.tables["audit_entry"].write(l.DB.Source().NewID(), change.AccountID, own.entries, actor.UserID, actor.CredentialID,
		actor.MadeBy(change.AccountID), change.Event, change.ResourceType, change.ResourceID, string(fields), actor.RequestID, l.clock.Load())
}

// flush writes the account and the user under way.
func (l *loader) flush() error {
	if a := l.account; a != nil {
		err := l.tables["account"].write(a.ID, a.ManagerID, a.Number, l.revision, a.Email, tenant.EmailKey(a.Email), a.OrganizationName,
			a.AllowCustomPricing, a.RollupBilling, a.Disabled, a.Blocked, a.Cancelled, a.Balance.Amount, a.Balance.Pending, a.Balance.CreditLimit,
			a.Balance.Currency, a.ChannelLimit, l.accounts.users, l.accounts.userRevision, a.CreatedAt.UnixMicro(), a.UpdatedAt.UnixMicro())
		if err != nil {
			return err
		}
		l.account, l.revision = nil, 0
	}
	u := l.user
	l.user = nil
	if u == nil {
		return nil
	}
	signedIn := int64(0)
	if !u.LastSignInAt.IsZero() {
		signedIn = u.LastSignInAt.UnixMicro()
	}
	return l.tables["organization_user"].write(u.ID, u.AccountID, u.Number, l.revision, u.Email, tenant.EmailKey(u.Email), u.PasswordHash,
		string(u.Status), u.BypassesSSO, u.Removed, signedIn, u.CreatedAt.UnixMicro())
}
