//go:build unix

package app_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/config"
)

// TestNode runs test/node, which is the vendor's SDK for Node, unmodified,
// against the program as it is shipped, with one engine after the other: some tests
// measure how long the SDK waits.
func TestNode(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Node, npm and half a minute")
	}
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			missing(t, "the SDK for Node", program, err)
		}
	}
	folder, err := filepath.Abs("../../test/node")
	if err != nil {
		t.Fatal(err)
	}
	installNode(t, "the SDK for Node", folder)
	binary, err := program()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.test.mjs"))
	if err != nil || len(files) < 6 {
		t.Fatalf("there are no tests in %s: %v", folder, err)
	}
	run := func(t *testing.T, files []string, info app.DevInfo) {
		t.Helper()
		runNode(t, folder, files,
			"TELNYX_BASE_URL="+info.BaseURL, "TELNYX_API_KEY="+info.ManagerKey,
			"TENANTRY_MANAGER_ID="+info.ManagerID, "TENANTRY_MANAGER_EMAIL="+info.ManagerEmail,
			"TENANTRY_ORGANIZATION_KEY="+info.OrganizationKey,
			"TENANTRY_OPERATOR_URL="+info.OperatorURL, "TENANTRY_OPERATOR_TOKEN="+info.OperatorToken,
			"TENANTRY_BINARY="+binary,
		)
	}
	t.Run("sqlite", func(t *testing.T) { run(t, files, startDev(t, binary)) })
	t.Run("postgres", func(t *testing.T) {
		// Rate limits are tested on servers that the test starts itself, which have
		// nothing to do with this one's database.
		files := slices.DeleteFunc(slices.Clone(files), func(file string) bool { return filepath.Base(file) == "limits.test.mjs" })
		run(t, files, startSeeded(t, postgres))
	})
}

// runNode runs files of tests with node, after flags of it if there are any, in a folder
// and with more in the environment.
func runNode(t *testing.T, folder string, files []string, env ...string) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute)
	defer stop()
	var out bytes.Buffer
	c := exec.CommandContext(ctx, "node", append([]string{"--test", "--test-reporter=spec"}, files...)...)
	c.Dir, c.Stdout, c.Stderr = folder, &out, &out
	c.Env = append(os.Environ(), env...)
	// The tests start servers too: none outlives the group.
	inGroup(c)
	err := c.Run()
	syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
	if err != nil {
		t.Errorf("node --test: %v\n%s", err, out.Bytes())
	} else if !bytes.Contains(out.Bytes(), []byte("ℹ fail 0")) {
		t.Errorf("no test of node's has run\n%s", out.Bytes())
	} else {
		t.Logf("%s", out.Bytes()) // which has figures
	}
}

// startSeeded runs "tenantry serve" on a database that has what "tenantry dev"
// begins with.
func startSeeded(t *testing.T, e engine) (info app.DevInfo) {
	t.Helper()
	text, err := os.ReadFile("dev.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s, data, database := newServer(), t.TempDir(), e.database(t)
	if err := s.open(data, text, func(c *config.Config) { c.Database = database }); err != nil {
		t.Fatal(err)
	}
	info = app.DevInfo{
		ManagerEmail: "manager@example.com", ManagerID: s.ids["manager@example.com"], ManagerKey: s.keys["manager@example.com"],
		OrganizationKey: s.keys["owner@example.com"], OperatorToken: s.app.OperatorToken,
	}
	if err := s.app.Close(); err != nil {
		t.Fatal(err)
	}
	server := serve(t, data, "--database", database)
	info.BaseURL, info.OperatorURL = server.url+"/v2", server.url+"/operator/v1"
	return info
}

// missing skips the test of what needs a program, or fails it where nothing may be
// skipped.
func missing(t *testing.T, what, program string, err error) {
	t.Helper()
	if os.Getenv("TENANTRY_TEST_REQUIRE") == "all" {
		t.Fatalf("%s is missing and TENANTRY_TEST_REQUIRE=all: %v", program, err)
	}
	t.Skipf("NOT TESTED with %s: %s is missing: %v", what, program, err)
}

// installNode runs npm ci unless what the lock file names is there.
func installNode(t *testing.T, what, folder string) {
	t.Helper()
	wanted, err := lockedPackages(filepath.Join(folder, "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := lockedPackages(filepath.Join(folder, "node_modules", ".package-lock.json"))
	delete(wanted, "") // the folder itself
	if err == nil && len(wanted) > 0 && maps.Equal(got, wanted) {
		return
	}
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
	defer stop()
	c := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	c.Dir = folder
	inGroup(c)
	if out, err := c.CombinedOutput(); err != nil {
		if os.Getenv("TENANTRY_TEST_REQUIRE") == "all" {
			t.Fatalf("npm ci: %v\n%s", err, out)
		}
		t.Skipf("NOT TESTED with %s: npm ci: %v\n%s", what, err, out)
	}
}

// lockedPackages is the integrity of each package in a lock file of npm's.
func lockedPackages(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var lock struct {
		Packages map[string]struct {
			Integrity string `json:"integrity"`
		} `json:"packages"`
	}
	if err := json.Unmarshal(text, &lock); err != nil {
		return nil, err
	}
	packages := map[string]string{}
	for name, p := range lock.Packages {
		packages[name] = p.Integrity
	}
	return packages, nil
}

// startDev runs "tenantry dev" until the test is over.
func startDev(t *testing.T, binary string) app.DevInfo {
	t.Helper()
	var log bytes.Buffer
	c := exec.Command(binary, "dev", "--json", "--listen", "127.0.0.1:0")
	c.Stderr = &log
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var info app.DevInfo
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &info)
	}
	t.Cleanup(func() {
		c.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(15*time.Second, func() { c.Process.Kill() })
		defer late.Stop()
		io.Copy(io.Discard, stdout)
		if err := c.Wait(); err != nil {
			t.Errorf("tenantry dev ended with: %v", err)
		}
		if log.Len() > 0 {
			t.Errorf("tenantry dev complained:\n%s", log.Bytes())
		}
	})
	if err != nil {
		t.Fatalf("tenantry dev printed %q: %v", line, err)
	}
	return info
}

// TestDevKeepsOff: the stand-in does not touch the database that the environment
// names for a server.
func TestDevKeepsOff(t *testing.T) {
	binary, err := program()
	if err != nil {
		t.Fatal(err)
	}
	database := filepath.Join(t.TempDir(), "real.db")
	t.Setenv("TENANTRY_DATABASE", "sqlite:"+database)
	if info := startDev(t, binary); info.ManagerKey == "" {
		t.Error("it has no manager")
	}
	if _, err := os.Stat(database); err == nil {
		t.Error("the accounts with keys that everybody knows are in the database of the environment")
	}
}

// inGroup starts a command as a process group of its own, which ends as a whole.
func inGroup(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.WaitDelay = 5 * time.Second
	c.Cancel = func() error {
		err := syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
}
