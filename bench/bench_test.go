package main

import (
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// TestShort runs the smoke test and looks whether every line came out. What the
// figures are depends on the machine and is not looked at.
func TestShort(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		short(t, t.TempDir(), "sqlite", everywhere...)
	})
	t.Run("postgres", func(t *testing.T) {
		short(t, postgresFolder(t), "postgres", append([]string{
			"cost/idle", "create/64/sync-2ms", "trips/(get-kept|get|list|contains|audit-page|create|create/64|channel-limit|disable|sign-in)",
			"nodes/(create/1|create/2|create/2-managers|get|get/beside-creates)",
		}, everywhere...)...)
	})
}

// everywhere are the lines that come out with each engine.
var everywhere = []string{
	"get/(hot|10k|all)", "list/(default|created_at|email|-email|enabled|all|with-cancelled)/(1|10|400)/(jump|walk)",
	"list/(disabled|name-eq)/1/(jump|walk)", "contains/(email|organization_name)/(none|rare|some|all|aaa|.co|e.c)",
	"create/(fdatasync|bare-insert|1|8|64|64/on-10k)", "report/(csv|json)(/resident)?", "start/(empty|10k|first-list)",
	"cost/(get-kept|get|list|contains|audit-page|sign-in)", "cost/(create|channel-limit|disable)/(1|64)", "size/account",
	"admission/(json|query|text|steady|half-load|memory)", "lease/(pairs|running-10|running-1k)", "gateway/(1k|64k)",
	"portal/(overview|accounts|accounts-last|accounts-email|accounts-search|account|channels|audit|export)",
	"portal/(users|users-last|users-search|user)",
}

func short(t *testing.T, folder, engine string, names ...string) {
	if testing.Short() {
		t.Skip("the benchmark takes a minute")
	}
	if runtime.GOOS != "linux" {
		t.Skip("the benchmark needs Linux")
	}
	program := filepath.Join(t.TempDir(), "bench")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	command := exec.Command(program, "-short", "-json", "-dir", folder, "-engine", engine)
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	var run struct{ Lines []Line }
	if err := json.Unmarshal(out, &run); err != nil {
		t.Fatal(err)
	}
	for _, line := range run.Lines {
		for _, v := range []float64{line.Figure, line.Baseline, line.Ratio} {
			none := line.Name == "trips/get-kept" // asks the database nothing
			if math.IsInf(v, 0) || math.IsNaN(v) || v < 0 || line.Figure == 0 && !none || line.Against != "" && v == 0 {
				t.Errorf("%s: %+v", line.Name, line)
				break
			}
		}
	}
	expected := 0
	for _, name := range names {
		for _, name := range spelled(name) {
			expected++
			found := 0
			for _, line := range run.Lines {
				if line.Name == name {
					found++
				}
			}
			if found != 1 {
				t.Errorf("%s came out %d times", name, found)
			}
		}
	}
	if len(run.Lines) != expected {
		t.Errorf("%d lines came out, not %d", len(run.Lines), expected)
	}
}

// postgresFolder is one that PostgreSQL can reach, whoever it runs as; without
// PostgreSQL the test is skipped.
func postgresFolder(t *testing.T) string {
	t.Helper()
	_, err := findPostgres()
	switch {
	case testing.Short():
		t.Skip("PostgreSQL is a program of its own")
	case err != nil && os.Getenv("TENANTRY_TEST_REQUIRE") == "all":
		t.Fatal(err)
	case err != nil:
		t.Skip(err)
	}
	folder := t.TempDir()
	if err := os.Chmod(filepath.Dir(folder), 0o711); err != nil {
		t.Fatal(err)
	}
	return folder
}

// TestLoad holds a database that was loaded past the product against one that the
// product wrote, row by row.
func TestLoad(t *testing.T) {
	folder := postgresFolder(t)
	const rows = 2000
	lite := &bench{options: options{dir: t.TempDir(), managers: 1}, folder: t.TempDir()}
	loaded := &bench{options: options{dir: folder, managers: 1}, folder: t.TempDir(), pins: pins{"any", "any"}}
	// The folder of a run becomes that of the database, so they share a disk.
	lite.folder, loaded.folder = filepath.Join(lite.dir, "run"), filepath.Join(loaded.dir, "run")
	for _, b := range []*bench{lite, loaded} {
		if err := os.Mkdir(b.folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cluster, err := loaded.openCluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.stop()
	loaded.cluster = cluster
	for _, kind := range []string{"accounts", "users"} {
		var texts [2][]string
		for i, b := range []*bench{lite, loaded} {
			prepared := b.accountsData
			if kind == "users" {
				prepared = b.usersData
			}
			d, err := prepared(t.Context(), rows)
			if err != nil {
				t.Fatal(err)
			}
			texts[i] = dump(t, d)
		}
		if len(texts[0]) < 4*rows {
			t.Errorf("%s: only %d rows were looked at", kind, len(texts[0]))
		}
		for i, text := range texts[0] {
			if i >= len(texts[1]) || texts[1][i] != text {
				t.Fatalf("%s: of %d rows and %d, row %d is\n%s\nand\n%s", kind, len(texts[0]), len(texts[1]), i, text, texts[1][min(i, len(texts[1])-1)])
			}
		}
		if len(texts[0]) != len(texts[1]) {
			t.Errorf("%s: %d rows and %d", kind, len(texts[0]), len(texts[1]))
		}
	}
	// With several managers it is sound, which the loader looks at, and as large.
	loaded.managers = 3
	d, err := loaded.accountsData(t.Context(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]int64{"SELECT COUNT(*) FROM account": 3003, "SELECT MIN(accounts) FROM manager WHERE account_id <> ''": 1000} {
		if n, err := cluster.number(t.Context(), d.name, query); err != nil || n != want {
			t.Errorf("%s: %d, not %d: %v", query, n, want, err)
		}
	}
}

// dump is what is the same each time a database is built.
func dump(t *testing.T, d *data) (all []string) {
	t.Helper()
	db, err := d.open()
	if err != nil {
		t.Fatal(err)
	}
	defer db.close()
	truth := func(column string) string { return "CASE WHEN " + column + " THEN 1 ELSE 0 END" }
	made := " AND account_id <> ?1"
	if strings.Contains(d.folder, "users") {
		made = ""
	}
	for _, query := range []string{
		`SELECT concat_ws(' ', 'account', id, manager_id, number, revision, email, email_key, organization_name, ` + truth("allow_custom_pricing") + ", " +
			truth("rollup_billing") + ", " + truth("disabled") + ", " + truth("blocked") + ", " + truth("cancelled") + `, balance, pending, credit_limit,
			currency, channel_limit, users, user_revision, created_at, updated_at) FROM account ORDER BY manager_id, number`,
		"SELECT concat_ws(' ', 'manager', account_id, " + truth("approved") + ", channel_pool, channels_allocated, accounts, revision) FROM manager ORDER BY account_id",
		"SELECT concat_ws(' ', 'user', id, account_id, number, revision, email, email_key, password_hash, user_status, " + truth("bypasses_sso") + ", " +
			truth("removed") + ", last_sign_in_at, created_at) FROM organization_user ORDER BY account_id, number",
		"SELECT concat_ws(' ', 'key', account_id, user_id, kind, length(digest), length(sealed), created_at) FROM api_key ORDER BY user_id, kind",
		"SELECT concat_ws(' ', 'members of', account_id, user_number, user_id, COUNT(*)) FROM membership GROUP BY account_id, user_number, user_id ORDER BY user_number",
		// SQLite's were written by the thousand, at one time.
		`SELECT concat_ws(' ', 'entry', account_id, number, actor_user_id, credential_id, made_by, event, resource_type,
			CASE WHEN event = 'group.created' THEN '' ELSE resource_id END, changes,
			request_id, length(id)) FROM audit_entry WHERE ?1 <> ''` + made + " ORDER BY account_id, number",
		"SELECT concat_ws(' ', 'answers', COUNT(*)) FROM answer",
		"SELECT concat_ws(' ', 'events', COUNT(*)) FROM outbox",
	} {
		var args []any
		if strings.Contains(query, "?1") {
			args = []any{d.Account}
		}
		err := db.each(t.Context(), func(rows rows) error {
			var text string
			err := rows.Scan(&text)
			all = append(all, strings.ReplaceAll(text, d.Account, "ROOT"))
			return err
		}, query, args...)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
	}
	return all
}

var choice = regexp.MustCompile(`\(([^()]*)\)(\??)`)

// spelled are the names that a pattern of choices stands for.
func spelled(pattern string) (names []string) {
	at := choice.FindStringSubmatchIndex(pattern)
	if at == nil {
		return []string{pattern}
	}
	options := regexp.MustCompile(`\|`).Split(pattern[at[2]:at[3]], -1)
	if at[4] < at[5] {
		options = append(options, "")
	}
	for _, option := range options {
		names = append(names, spelled(pattern[:at[0]]+option+pattern[at[1]:])...)
	}
	return names
}
