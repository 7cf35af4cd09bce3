package app_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/config"
)

// open opens an app in a folder, and closes it again.
func open(t *testing.T, folder string, configure func(*config.Config), seed string) error {
	t.Helper()
	c, err := app.Defaults()
	if err != nil {
		t.Fatal(err)
	}
	c.Data = folder
	if configure != nil {
		configure(&c)
	}
	a, err := app.Open(t.Context(), c, app.Parts{})
	if err != nil {
		return err
	}
	defer a.Close()
	parsed, err := app.ParseSeed([]byte(seed))
	if err != nil {
		return err
	}
	_, err = a.Load(t.Context(), parsed)
	return err
}

// TestStart: an app makes its secrets once, and does without none that it had.
func TestStart(t *testing.T) { eachEngine(t, testStart) }

func testStart(t *testing.T, e engine) {
	folder, database := filepath.Join(t.TempDir(), "data"), e.database(t)
	onIt := func(c *config.Config) { c.Database = database }
	if err := open(t, folder, onIt, "accounts: [{business_name: A, email: a@example.com}]"); err != nil {
		t.Fatal(err)
	}
	files := []string{"master.key", "operator.token"}
	if e == sqlite {
		files = append(files, "tenantry.db")
	}
	for _, name := range files {
		if info, err := os.Stat(filepath.Join(folder, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	key := filepath.Join(folder, "master.key")
	if err := os.Rename(key, key+".away"); err != nil {
		t.Fatal(err)
	}
	if err := open(t, folder, onIt, ""); err == nil || !strings.Contains(err.Error(), "restore it") {
		t.Errorf("without its master key: %v", err)
	}
	if _, err := os.Stat(key); err == nil {
		t.Error("another master key was made")
	}
	if err := os.WriteFile(key, []byte(base64.StdEncoding.EncodeToString(make([]byte, auth.MasterKeySize))), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(t, folder, onIt, ""); err == nil || !strings.Contains(err.Error(), "is not the one") {
		t.Errorf("with another master key: %v", err)
	}
	if err := os.Rename(key+".away", key); err != nil {
		t.Fatal(err)
	}
	if err := open(t, folder, onIt, ""); err != nil {
		t.Errorf("with its own again: %v", err)
	}
}

// TestRefusedStart: what cannot work is refused, and says what to do; that is before
// there is a database, or in it alike.
func TestRefusedStart(t *testing.T) {
	for want, configure := range map[string]func(*config.Config){
		"listen must be":         func(c *config.Config) { c.Listen = "" },
		"operator-token":         func(c *config.Config) { c.OperatorToken = "short" },
		"rate-limit must be":     func(c *config.Config) { c.RateLimit = -7 },
		"drain-time must not be": func(c *config.Config) { c.DrainTime = -1 },
		"data must name":         func(c *config.Config) { c.Data = "" },
		"services: open":         func(c *config.Config) { c.Services = "none.yaml" },
		"start_test.go: line ":   func(c *config.Config) { c.Services = "start_test.go" },
	} {
		if err := open(t, t.TempDir(), configure, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	for want, seed := range map[string]string{
		"accounts[0].users[0]: id must be a UUID":  "accounts: [{business_name: A, email: a@example.com, users: [{id: x, email: u@example.com}]}]",
		"accounts[0].groups[0]: id must be a UUID": "accounts: [{business_name: A, email: a@example.com, groups: [{id: x, name: G}]}]",
		"field chanel_pool not found":              "accounts: [{business_name: A, email: a@example.com, manager: {chanel_pool: 1}}]",
		"accounts[0].connections[0]: id must be":   "accounts: [{business_name: A, email: a@example.com, connections: [{id: x, name: C, kind: address}]}]",
		"connections[1]: write the connection: ":   "accounts: [{business_name: A, email: a@example.com, connections: [{name: C, kind: address}, {name: C, kind: address}]}]",
		"managed_accounts needs manager":           "accounts: [{business_name: A, email: a@example.com, managed_accounts: [{business_name: B}]}]",
	} {
		if err := open(t, t.TempDir(), nil, seed); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}
