package store_test

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/pgtest"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

var quiet = store.Options{Logger: slog.New(slog.DiscardHandler)}

// filled is a file with everything in it, n accounts more, and texts and numbers
// that a copy could stumble over.
func filled(t testing.TB, n int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tenantry.db")
	change(t, path, sound, func(tx *store.Tx) error { return manyAccounts(tx, "more", n) }, func(tx *store.Tx) error {
		for i, text := range []string{"", " ", "a", "B", "é", "Z", "\U0001F600", "\uffff", "\x01", "\t", "\n", `\`, `\N`, `\.`, `"'`, "$1", "NULL", "{}"} {
			at := time.UnixMicro([]int64{0, 1, -1, 1<<63 - 1, -1 << 63}[i%5])
			if err := tx.KeepAnswer(store.Answer{Request: text, ID: text, Body: strings.Repeat(text, 10_000), ExpiresAt: at}); err != nil {
				return err
			}
		}
		_, err := tx.Agree("master_key", "digest")
		return err
	})
	return path
}

// manyAccounts makes n managed accounts.
func manyAccounts(tx *store.Tx, name string, n int) error {
	for i := range n {
		id := name + strconv.Itoa(i)
		account := tenant.Account{ID: id, ManagerID: rootID, Email: id + "@example.com", OrganizationName: id, CreatedAt: tx.Now(), UpdatedAt: tx.Now()}
		owner := tenant.User{ID: id, AccountID: id, Email: account.Email, Status: tenant.UserEnabled, CreatedAt: tx.Now()}
		made, err := tenant.NewAccount(tenant.Actor{Operator: true}, account, owner, []tenant.Key{
			{ID: id + "v2", AccountID: id, UserID: id, Kind: tenant.KeyV2, Digest: id + "v2"},
			{ID: id + "v1", AccountID: id, UserID: id, Kind: tenant.KeyV1, Digest: id + "v1"},
		})
		if err != nil {
			return err
		}
		if err := tx.Apply(made); err != nil {
			return err
		}
	}
	return nil
}

// change opens a database, runs the functions in transactions of their own, and
// closes it.
func change(t testing.TB, address string, fns ...func(*store.Tx) error) {
	t.Helper()
	db, err := store.Open(context.Background(), address, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, fn := range fns {
		if err := db.Update(context.Background(), "", fn); err != nil {
			t.Fatal(err)
		}
	}
}

// tampered runs statements that the store would not.
func tampered(t testing.TB, address string, statements ...string) {
	t.Helper()
	db := opened(t, address)
	defer db.Close()
	for _, statement := range statements {
		if _, err := db.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// opened is a database without any of this package's ideas about it.
func opened(t testing.TB, address string) *sql.DB {
	t.Helper()
	driver := "sqlite"
	if strings.HasPrefix(address, "postgres") {
		driver = "pgx"
	}
	db, err := sql.Open(driver, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// contents are the rows of each table, as texts.
func contents(t testing.TB, address string) map[string][]string {
	t.Helper()
	db := opened(t, address)
	defer db.Close()
	list := "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
	if strings.HasPrefix(address, "postgres") {
		list = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
	}
	found := map[string][]string{}
	for _, table := range texts(t, db, list) {
		if table != "goose_db_version" && table != "node" {
			found[table] = texts(t, db, "SELECT * FROM "+table)
		}
	}
	return found
}

// texts are the rows that a query finds, sorted.
func texts(t testing.TB, db *sql.DB, query string) []string {
	t.Helper()
	rows, err := db.Query(query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	found := []string{}
	for rows.Next() {
		values := make([]any, len(columns))
		for i := range values {
			values[i] = new(any)
		}
		if err := rows.Scan(values...); err != nil {
			t.Fatal(err)
		}
		if len(columns) == 1 {
			found = append(found, fmt.Sprint(*values[0].(*any)))
			continue
		}
		row := ""
		for i, name := range columns {
			value := *values[i].(*any)
			if b, ok := value.(bool); ok { // SQLite has no such type
				value = map[bool]int64{false: 0, true: 1}[b]
			}
			row += fmt.Sprintf("%s=%T:%q ", name, value, fmt.Sprint(value))
		}
		found = append(found, row)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return found
}

// wantCopied holds a finished copy against its source.
func wantCopied(t *testing.T, from, to string) {
	t.Helper()
	source, target := contents(t, from), contents(t, to)
	if len(source) < 11 || !slices.Equal(slices.Sorted(maps.Keys(source)), slices.Sorted(maps.Keys(target))) {
		t.Errorf("the source has the tables %v, the target %v", slices.Sorted(maps.Keys(source)), slices.Sorted(maps.Keys(target)))
	}
	for table, rows := range source {
		if len(rows) == 0 {
			t.Errorf("the source has no rows in %s, so that nothing is tested", table)
		}
		if !slices.Equal(rows, target[table]) {
			t.Errorf("%s differs:\n%.2000q\nwant\n%.2000q", table, target[table], rows)
		}
	}
	const indexes = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'"
	if got, want := texts(t, opened(t, to), indexes), texts(t, opened(t, dbtest.Postgres(t)), indexes); !slices.Equal(got, want) {
		t.Errorf("there are the indexes\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if unknown := texts(t, opened(t, to), "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND reltuples < 0 AND relname NOT IN ('goose_db_version', 'node')"); len(unknown) > 0 {
		t.Errorf("nobody has looked at the size of %v", unknown)
	}
	db, err := store.Open(t.Context(), to, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Verify(t.Context()); err != nil {
		t.Errorf("the copy is not sound:\n%v", err)
	}
	if err := db.Update(t.Context(), "", func(tx *store.Tx) error { return manyAccounts(tx, "later", 3) }); err != nil {
		t.Errorf("the copy cannot be written: %v", err)
	}
}

// wantUnserved wants a half copy to be refused by the server.
func wantUnserved(t *testing.T, to string) {
	t.Helper()
	db, err := store.Open(t.Context(), to, quiet)
	if err == nil {
		db.Close()
		t.Fatal("a half copy was opened")
	}
	if !strings.Contains(err.Error(), "unfinished copy of tenantry.db") || !strings.Contains(err.Error(), "tenantry copy") {
		t.Errorf("the refusal does not say why, and what to do: %v", err)
	}
}

func TestCopy(t *testing.T) {
	t.Parallel()
	from := filled(t, 100)
	before, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	for name, fresh := range map[string]func(testing.TB) string{"empty": pgtest.URL, "migrated": dbtest.Postgres} {
		t.Run(name, func(t *testing.T) {
			to := fresh(t)
			copied, err := store.Copy(t.Context(), from, to, store.CopyOptions{Batch: 7})
			if err != nil {
				t.Fatal(err)
			}
			if copied.Resumed {
				t.Error("it says that it went on with another")
			}
			sums := map[string]bool{}
			for _, table := range copied.Tables {
				if n := len(contents(t, from)[table.Name]); int64(n) != table.Rows {
					t.Errorf("%s: counted %d rows of %d", table.Name, table.Rows, n)
				}
				sums[table.SHA256] = true
			}
			if len(copied.Tables) < 11 || len(sums) != len(copied.Tables) {
				t.Errorf("%d tables have %d checksums", len(copied.Tables), len(sums))
			}
			wantCopied(t, from, to)

			there := contents(t, to)
			if _, err := store.Copy(t.Context(), from, to, store.CopyOptions{Restart: true}); err == nil || !strings.Contains(err.Error(), "not empty: there are rows in its table account") {
				t.Errorf("copied a second time: %v", err)
			}
			if !maps.EqualFunc(there, contents(t, to), slices.Equal[[]string]) {
				t.Error("the refused copy has changed something")
			}
		})
	}
	if after, err := os.ReadFile(from); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the source was changed, or is gone: %v", err)
	}
	change(t, from, func(tx *store.Tx) error { return manyAccounts(tx, "later", 1) })
}

// interrupted ends a copy after n transactions, or with the step of that name,
// unless it is done before.
func interrupted(t *testing.T, from, to string, n int, step string) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	now := ""
	_, err := store.Copy(ctx, "sqlite:"+from, to, store.CopyOptions{
		Batch: 7,
		Step: func(doing string, _ int64) {
			if now = doing; doing == step {
				cancel()
			}
		},
		Rows: func(int) {
			if n--; now == "copying" && n == 0 {
				cancel()
			}
		},
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Fatalf("not interrupted but: %v", err)
	}
	return err
}

// TestCopyInterruptedEverywhere interrupts it after each single transaction, and in
// each step.
func TestCopyInterruptedEverywhere(t *testing.T) {
	t.Parallel()
	from, to := filled(t, 20), pgtest.URL(t)
	runs := 0
	for ; interrupted(t, from, to, 1, "making the indexes") != nil; runs++ {
		if runs%10 == 0 {
			wantUnserved(t, to)
		}
		if runs > 100 {
			break
		}
		have := texts(t, opened(t, to), "SELECT SUM(n) FROM (SELECT COUNT(*) AS n FROM account UNION ALL SELECT COUNT(*) FROM api_key) a")
		if runs == 15 && have[0] == "0" {
			t.Error("there is no progress")
		}
		if index := texts(t, opened(t, to), "SELECT COUNT(*) FROM pg_indexes WHERE schemaname = 'public' AND indexname = 'account_email'"); index[0] != "0" {
			t.Error("an index is kept up meanwhile")
		}
		if done := texts(t, opened(t, to), "SELECT value::json->>'rows' FROM installation WHERE name = 'copy'"); runs > 20 && done[0] == strconv.Itoa(total(t, from)) {
			break
		}
	}
	if runs < 25 || runs > 100 {
		t.Errorf("it took %d runs", runs)
	}
	if interrupted(t, from, to, -1, "comparing") == nil {
		t.Error("it was not interrupted before the comparison")
	}
	wantUnserved(t, to)
	copied, err := store.Copy(t.Context(), from, to, store.CopyOptions{})
	if err != nil || !copied.Resumed {
		t.Fatalf("went on: %t, %v", copied.Resumed, err)
	}
	wantCopied(t, from, to)
}

// TestCopyInterruptedAnyTime interrupts it in the middle of whatever it does.
func TestCopyInterruptedAnyTime(t *testing.T) {
	t.Parallel()
	from, to := filled(t, 300), pgtest.URL(t)
	for runs := range 100 {
		limit := rand.N(time.Duration(1+runs) * 10 * time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		_, err := store.Copy(ctx, from, to, store.CopyOptions{Batch: 300})
		cancel()
		if err == nil {
			t.Logf("done in run %d", runs)
			break
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("run %d, interrupted after %v: %v", runs, limit, err)
		}
	}
	wantCopied(t, from, to)
}

func total(t testing.TB, address string) (n int) {
	for _, rows := range contents(t, address) {
		n += len(rows)
	}
	return n
}

// TestCopyKilled kills the process that copies, at any moment, until one comes
// through.
func TestCopyKilled(t *testing.T) {
	t.Parallel()
	if from := os.Getenv("TENANTRY_TEST_COPY"); from != "" {
		_, err := store.Copy(t.Context(), from, os.Getenv("TENANTRY_TEST_COPY_TO"), store.CopyOptions{
			Batch: 13, Rows: func(n int) { fmt.Println("copied", n) },
		})
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	from, to := filled(t, 1000), pgtest.URL(t)
	batches := total(t, from) / 13
	for kills := 0; ; kills++ {
		child := exec.Command(os.Args[0], "-test.run=^TestCopyKilled$")
		child.Env = append(os.Environ(), "TENANTRY_TEST_COPY="+from, "TENANTRY_TEST_COPY_TO="+to)
		said := ""
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := rand.IntN(batches / 8); n > 0 && lines.Scan(); n-- {
		}
		time.Sleep(rand.N(5 * time.Millisecond))
		if kills < 8 {
			child.Process.Kill()
		}
		for lines.Scan() {
			said += lines.Text() + "\n"
		}
		if err := child.Wait(); err == nil {
			if kills < 3 {
				t.Errorf("it was killed %d times only", kills)
			}
			break
		} else if kills >= 8 {
			t.Fatalf("%v\n%s", err, said)
		}
	}
	wantCopied(t, from, to)
}

// TestCopyTwiceAtOnce: of two copies to one database, one is refused.
func TestCopyTwiceAtOnce(t *testing.T) {
	t.Parallel()
	from, to := filled(t, 20), pgtest.URL(t)
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	files := []string{from, filepath.Join(t.TempDir(), "tenantry.db")}
	if err := os.WriteFile(files[1], text, 0o600); err != nil {
		t.Fatal(err)
	}
	var errs [2]error
	var both sync.WaitGroup
	for i := range files {
		both.Go(func() { _, errs[i] = store.Copy(t.Context(), files[i], to, store.CopyOptions{Batch: 10}) })
	}
	both.Wait()
	if (errs[0] == nil) == (errs[1] == nil) || !strings.Contains(errors.Join(errs[:]...).Error(), "not empty") {
		t.Errorf("one: %v, the other: %v", errs[0], errs[1])
	}
	wantCopied(t, from, to)
}

// TestCopyRefuses: what cannot be copied, or not there, is refused, and nothing is
// touched.
func TestCopyRefuses(t *testing.T) {
	t.Parallel()
	damaged := func(statement string) func(t *testing.T, from, to string) {
		return func(t *testing.T, from, to string) { tampered(t, from, statement) }
	}
	for name, test := range map[string]struct {
		prepare func(t *testing.T, from, to string)
		want    string
	}{
		"running server": {func(t *testing.T, from, to string) {
			db, err := store.Open(t.Context(), from, quiet)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { db.Close() })
		}, "tenantry.db is in use by another process: stop the server first"},
		"no source": {func(t *testing.T, from, to string) { os.Remove(from) }, "no such file"},
		"no database": {func(t *testing.T, from, to string) {
			os.WriteFile(from, []byte("This is no database, only a text that somebody put there."), 0o600)
		}, "tenantry.db: read the schema version: file is not a database"},
		"other database":     {func(t *testing.T, from, to string) { os.Truncate(from, 0) }, "tenantry.db is no database of this program"},
		"old schema":         {damaged("DELETE FROM goose_db_version WHERE version_id > 1"), "run tenantry migrate"},
		"newer schema":       {damaged("INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)"), "use a newer program"},
		"other columns":      {damaged("ALTER TABLE account ADD COLUMN colour TEXT"), "in the table account"},
		"other tables":       {damaged("CREATE TABLE colour (id TEXT PRIMARY KEY)"), "do not have the same tables"},
		"other types":        {damaged("CREATE TABLE colour (id TEXT PRIMARY KEY, shade REAL)"), "the column shade of the table colour has the type real"},
		"rows in the target": {func(t *testing.T, from, to string) { change(t, to, everyChange) }, "the target is not empty: there are rows in its table account"},
		"served target": {func(t *testing.T, from, to string) {
			change(t, to, func(tx *store.Tx) error {
				_, err := tx.Agree("master_key", "other")
				return err
			})
		}, "there are rows in its table installation"},
		"target of others": {func(t *testing.T, from, to string) {
			tampered(t, to, "CREATE TABLE colour (id TEXT PRIMARY KEY)")
		}, "there is a table colour in it, which is not of this program"},
		"copy of others": {func(t *testing.T, from, to string) { interrupted(t, filled(t, 3), to, 4, "") },
			"an unfinished copy of another source, tenantry.db, or of this one before it changed: --restart"},
		"copy from before": {func(t *testing.T, from, to string) {
			interrupted(t, from, to, 4, "")
			change(t, from, func(tx *store.Tx) error { return manyAccounts(tx, "later", 1) })
		}, "or of this one before it changed: --restart"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from, to := filled(t, 1), pgtest.URL(t)
			test.prepare(t, from, to)
			before := contents(t, to)
			_, err := store.Copy(t.Context(), from, to, store.CopyOptions{})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if strings.Contains(name, "other ") { // the schema is made before it is compared
				return
			}
			if after := contents(t, to); !maps.EqualFunc(before, after, slices.Equal[[]string]) {
				t.Errorf("it held %v, and now %v", before, after)
			}
		})
	}
	for _, way := range [][2]string{{"postgres://there", "sqlite:file"}, {"postgres://here", "postgres://there"}, {"sqlite:file", "sqlite:other"}} {
		if _, err := store.Copy(t.Context(), way[0], way[1], store.CopyOptions{}); err == nil || !strings.Contains(err.Error(), "from a file of SQLite to PostgreSQL") {
			t.Errorf("from %s to %s: %v", way[0], way[1], err)
		}
	}
}

// TestCopyNamesWhatCannotBeStored: what only SQLite takes is named; once it is
// changed, the copy goes on.
func TestCopyNamesWhatCannotBeStored(t *testing.T) {
	t.Parallel()
	for damage, want := range map[string]string{
		"UPDATE account SET organization_name = 'a' || char(0) || 'b' WHERE id = 'child2'":                                                                                      `copy the table account: organization_name of the row id="child2" has a NUL character`,
		"UPDATE account SET organization_name = CAST(x'61ff' AS TEXT) WHERE id = 'child2'":                                                                                      `organization_name of the row id="child2" has a NUL character in it or is not UTF-8`,
		"UPDATE account SET organization_name = x'6162' WHERE id = 'child2'":                                                                                                    `organization_name of the row id="child2" is no text`,
		"UPDATE account SET blocked = 2 WHERE id = 'child2'":                                                                                                                    `blocked of the row id="child2" is no boolean`,
		"UPDATE audit_entry SET created_at = 'now' WHERE account_id = 'child2'":                                                                                                 `created_at of the row account_id="child2", number=1 is no bigint`,
		"UPDATE audit_entry SET changes = CAST(x'ff' AS TEXT) WHERE account_id = 'child2'":                                                                                      `changes of the row account_id="child2", number=1 has`,
		"UPDATE membership SET group_id = CAST(x'ff' AS TEXT) WHERE group_id = 'g'":                                                                                             `group_id="\xff"`,
		"INSERT INTO api_key (digest, id, account_id, user_id, kind, sealed, created_at) SELECT upper(digest), id, account_id, user_id, kind, sealed, 1.5 FROM api_key LIMIT 1": "created_at of the row digest=",
	} {
		t.Run(damage, func(t *testing.T) {
			t.Parallel()
			from, to := filled(t, 1), pgtest.URL(t)
			text, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			tampered(t, from, damage)
			if _, err := store.Copy(t.Context(), from, to, store.CopyOptions{Batch: 2}); err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("got %v, want %s", err, want)
			}
			if strings.HasPrefix(damage, "INSERT") || strings.Contains(damage, "membership") {
				return // then it is another source
			}
			if err := errors.Join(os.Remove(from+"-wal"), os.Remove(from+"-shm"), os.WriteFile(from, text, 0o600)); err != nil {
				t.Fatal(err)
			}
			if copied, err := store.Copy(t.Context(), from, to, store.CopyOptions{}); err != nil || !copied.Resumed {
				t.Fatalf("went on: %t, %v", copied.Resumed, err)
			}
			wantCopied(t, from, to)
		})
	}
}

// TestCopyFindsDamage changes the target behind the back of a copy that is
// interrupted.
func TestCopyFindsDamage(t *testing.T) {
	t.Parallel()
	for damage, want := range map[string]string{
		"UPDATE account SET organization_name = 'other' WHERE id = 'child2'":             `compare the table account: the copy differs from its source: the row id="child2" is another`,
		"UPDATE account SET blocked = NOT blocked WHERE id = 'child2'":                   `the row id="child2" is another`,
		"UPDATE audit_entry SET created_at = created_at + 1 WHERE account_id = 'child1'": `compare the table audit_entry: the copy differs from its source: the row account_id="child1", number=1 is another`,
		"UPDATE installation SET value = 'other' WHERE name = 'master_key'":              `the row name="master_key" is another`,
		"DELETE FROM account WHERE id = 'child1'":                                        `where the source has the row id="child1", it has id="child2"`,
		"DELETE FROM session": `compare the table session: the copy differs from its source: it ends before the row digest="vs"`,
		"INSERT INTO manager VALUES ('zz', TRUE, 0, 0, 0, 0)":        `it has the row account_id="zz" behind the last of the source`,
		"INSERT INTO organization_group VALUES ('a', '', '', '', 0)": `where the source has the row id="g", it has id="a"`,
	} {
		t.Run(damage, func(t *testing.T) {
			t.Parallel()
			from, to := filled(t, 1), pgtest.URL(t)
			if interrupted(t, from, to, -1, "comparing") == nil {
				t.Fatal("it was not interrupted")
			}
			tampered(t, to, damage)
			_, err := store.Copy(t.Context(), from, to, store.CopyOptions{})
			if !errors.Is(err, store.ErrCopyDiffers) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--restart") {
				t.Errorf("got  %v\nwant %s", err, want)
			}
			wantUnserved(t, to)
			if copied, err := store.Copy(t.Context(), from, to, store.CopyOptions{Restart: true}); err != nil || copied.Resumed {
				t.Fatalf("begun anew: %t, %v", !copied.Resumed, err)
			}
			wantCopied(t, from, to)
		})
	}
}

// TestCopyLosesItsMark: when somebody takes the mark away meanwhile, nothing more
// is written.
func TestCopyLosesItsMark(t *testing.T) {
	t.Parallel()
	from, to := filled(t, 20), pgtest.URL(t)
	n := 0
	_, err := store.Copy(t.Context(), from, to, store.CopyOptions{Batch: 7, Rows: func(int) {
		if n++; n == 3 {
			tampered(t, to, "DELETE FROM installation")
		}
	}})
	if err == nil || !strings.Contains(err.Error(), "somebody else has changed it") {
		t.Errorf("got %v", err)
	}
}

// TestCopyBeginsAnew empties an unfinished copy of whatever stage and source.
func TestCopyBeginsAnew(t *testing.T) {
	t.Parallel()
	from, other, to := filled(t, 20), filled(t, 3), pgtest.URL(t)
	for _, run := range []struct {
		n    int
		step string
	}{{1, ""}, {9, ""}, {-1, "making the indexes"}, {-1, "comparing"}} {
		ctx, cancel := context.WithCancel(t.Context())
		n := run.n
		_, err := store.Copy(ctx, other, to, store.CopyOptions{Restart: true, Batch: 7,
			Step: func(doing string, _ int64) {
				if doing == run.step {
					cancel()
				}
			},
			Rows: func(int) {
				if n--; n == 0 {
					cancel()
				}
			},
		})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("%v: %v", run, err)
		}
	}
	if _, err := store.Copy(t.Context(), from, to, store.CopyOptions{}); err == nil || !strings.Contains(err.Error(), "--restart") {
		t.Errorf("got %v", err)
	}
	if _, err := store.Copy(t.Context(), from, to, store.CopyOptions{Restart: true}); err != nil {
		t.Fatal(err)
	}
	wantCopied(t, from, to)
}
