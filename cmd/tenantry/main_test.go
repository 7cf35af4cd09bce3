package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/client"
	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/pgtest"
)

// The command line is tested by the scripts in testdata, each against a server of
// its own, which is SQLite's unless it is said; those in testdata/postgres have a
// database besides. In a script, tenantry
// is this program, and besides the usual commands of testscript there are
//
//	exits CODE command...   the command ends with exactly this code
//	acquire CALL...         channels are taken for calls of Larry's, on the switch fs1
//	dev [flags...]          another fresh server takes the place of the first
//	sql STATEMENT           changes the database POSTGRES
func TestMain(m *testing.M) {
	// The race detector would sleep for a second at the end of each process.
	os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	testscript.Main(m, map[string]func(){"tenantry": main})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	runScripts(t, testscript.Params{Dir: "testdata"}, nil, startDev)
}

// TestScriptsServedByPostgres runs those that change something, against a server on
// PostgreSQL. The others are about the program alone.
func TestScriptsServedByPostgres(t *testing.T) {
	t.Parallel()
	var files []string
	databases := make(chan string, 10)
	for _, name := range []string{"accounts", "bulk-create", "bulk-disable", "channels", "dry-run", "lists", "messages", "operator", "users"} {
		files = append(files, filepath.Join("testdata", name+".txtar"))
		databases <- dbtest.Postgres(t) // which skips this test, not a script, where there is none
	}
	runScripts(t, testscript.Params{Files: files}, nil, func(setenv func(name, value string), later func(func()), _ ...string) error {
		info, stop, err := serveDev(t, <-databases)
		if err == nil {
			later(stop)
			tell(setenv, info)
		}
		return err
	})
}

// TestScriptsWithPostgres runs those for which POSTGRES is the address of an empty
// database.
func TestScriptsWithPostgres(t *testing.T) {
	t.Parallel()
	database := pgtest.URL(t)
	runScripts(t, testscript.Params{Dir: "testdata/postgres"}, []string{"POSTGRES=" + database}, startDev)
}

// starter starts a server and tells the script where it is.
type starter func(setenv func(name, value string), later func(func()), flags ...string) error

func runScripts(t *testing.T, p testscript.Params, environment []string, start starter) {
	p.RequireExplicitExec, p.RequireUniqueNames = true, true
	p.Setup = func(env *testscript.Env) error {
		env.Vars = append(env.Vars, environment...)
		env.Setenv("GORACE", os.Getenv("GORACE"))
		env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
		env.Setenv("LARRY", "00000000-0000-7000-8000-000000000011")
		env.Setenv("NOBODY", "00000000-0000-7000-8000-000000000099")
		return start(env.Setenv, env.Defer)
	}
	p.Cmds = map[string]func(*testscript.TestScript, bool, []string){
		"exits": func(ts *testscript.TestScript, neg bool, args []string) {
			want, err := strconv.Atoi(args[0])
			ts.Check(err)
			got := 0
			var exit *exec.ExitError
			if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
				got = exit.ExitCode()
			} else {
				ts.Check(err)
			}
			if (got == want) == neg {
				ts.Fatalf("the exit code is %d", got)
			}
		},
		"acquire": func(ts *testscript.TestScript, neg bool, calls []string) {
			operator := client.NewOperator(client.New(client.WithBaseURL(ts.Getenv("TENANTRY_OPERATOR_URL")), client.WithKey(ts.Getenv("TENANTRY_OPERATOR_TOKEN"))))
			for _, call := range calls {
				d, err := operator.CheckAdmission(t.Context(), api.AdmissionCheck{
					Kind: "call", AccountID: ts.Getenv("LARRY"), CallID: call, Acquire: new(true), Switch: "fs1",
				})
				ts.Check(err)
				if d.Lease == nil {
					ts.Fatalf("%s: %s", call, d.Reason)
				}
			}
		},
		"dev": func(ts *testscript.TestScript, neg bool, args []string) {
			ts.Check(startDev(ts.Setenv, ts.Defer, args...))
		},
		"sql": func(ts *testscript.TestScript, neg bool, args []string) {
			conn, err := pgx.Connect(t.Context(), ts.Getenv("POSTGRES"))
			ts.Check(err)
			_, err = conn.Exec(t.Context(), args[0])
			ts.Check(errors.Join(err, conn.Close(t.Context())))
		},
	}
	testscript.Run(t, p)
}

// startDev is a starter of "tenantry dev".
func startDev(setenv func(name, value string), later func(func()), flags ...string) error {
	info, stop, err := dev(flags...)
	if err == nil {
		later(stop)
		tell(setenv, info)
	}
	return err
}

func tell(setenv func(name, value string), info app.DevInfo) {
	setenv("TELNYX_BASE_URL", info.BaseURL)
	setenv("TELNYX_API_KEY", info.ManagerKey)
	setenv("MANAGER", info.ManagerID)
	setenv("ORGANIZATION_KEY", info.OrganizationKey)
	setenv("TENANTRY_OPERATOR_URL", info.OperatorURL)
	setenv("TENANTRY_OPERATOR_TOKEN", info.OperatorToken)
}

// serveDev serves what "tenantry dev" begins with from a database, until stop is
// called.
func serveDev(t *testing.T, database string) (info app.DevInfo, stop func(), err error) {
	c, err := app.Defaults()
	if err != nil {
		return info, nil, err
	}
	c.Data, c.Database, c.RateLimit = t.TempDir(), database, -1
	text, err := os.ReadFile("../../internal/app/dev.yaml")
	if err != nil {
		return info, nil, err
	}
	seed, err := app.ParseSeed(text)
	if err != nil {
		return info, nil, err
	}
	a, err := app.Open(t.Context(), c, app.Parts{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return info, nil, err
	}
	made, err := a.Load(t.Context(), seed)
	if err != nil {
		return info, nil, errors.Join(err, a.Close())
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return info, nil, errors.Join(err, a.Close())
	}
	ctx, end := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- a.Serve(ctx, listener) }()
	base := "http://" + listener.Addr().String()
	info = app.DevInfo{BaseURL: base + "/v2", OperatorURL: base + "/operator/v1", OperatorToken: a.OperatorToken}
	for _, account := range made {
		switch account.Email {
		case "manager@example.com":
			info.ManagerKey, info.ManagerID, info.ManagerEmail = account.Key, account.ID, account.Email
		case "owner@example.com":
			info.OrganizationKey = account.Key
		}
	}
	return info, func() {
		end()
		if err := errors.Join(<-served, a.Close()); err != nil {
			t.Error(err)
		}
	}, nil
}

// dev runs "tenantry dev" until stop is called.
func dev(flags ...string) (info app.DevInfo, stop func(), err error) {
	command := exec.Command("tenantry", append([]string{"dev", "--json", "--listen", "127.0.0.1:0"}, flags...)...)
	command.Stderr = os.Stderr
	out, err := command.StdoutPipe()
	if err != nil {
		return info, nil, err
	}
	if err := command.Start(); err != nil {
		return info, nil, err
	}
	stop = func() {
		command.Process.Signal(os.Interrupt)
		command.Wait()
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &info)
	}
	if err != nil {
		stop()
		return info, nil, fmt.Errorf("tenantry dev: %w", err)
	}
	go io.Copy(io.Discard, out)
	return info, stop, nil
}

// leaves are all commands that can be run, as they are typed.
func leaves(t *testing.T) map[string]*kong.Node {
	t.Helper()
	parser, err := kong.New(&program{}, kong.Name("tenantry"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*kong.Node{}
	for _, leaf := range parser.Model.Leaves(true) {
		found[strings.Join(strings.Fields(leaf.Path()), " ")] = leaf
	}
	if len(found) < 40 {
		t.Fatalf("there are %d commands only", len(found))
	}
	return found
}

func TestEveryCommandHasAnExample(t *testing.T) {
	t.Parallel()
	for name, leaf := range leaves(t) {
		if leaf.Help == "" || !strings.Contains(leaf.Detail, "\n  tenantry "+commandOf(leaf)) {
			t.Errorf("the help of %q has no example", name)
		}
	}
}

// TestEveryCommandIsTestedAndDocumented looks for each command in the scripts and
// in docs/cli.md.
func TestEveryCommandIsTestedAndDocumented(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(scripts) < 10 {
		t.Fatal(scripts, err)
	}
	var all strings.Builder
	for _, script := range scripts {
		text, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	page, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, leaf := range leaves(t) {
		name := commandOf(leaf)
		if !strings.Contains(all.String(), "tenantry "+name) && name != "serve" && name != "dev" {
			t.Errorf("no script runs tenantry %s", name)
		}
		if !strings.Contains(string(page), name) {
			t.Errorf("docs/cli.md does not have %s", name)
		}
	}
}

// commandOf is the words of a command without its arguments.
func commandOf(leaf *kong.Node) string {
	var words []string
	for node := leaf; node.Parent != nil; node = node.Parent {
		words = append([]string{node.Name}, words...)
	}
	return strings.Join(words, " ")
}

// TestInterrupted stops a command in the middle of a call.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	command := exec.Command("tenantry", "balance", "--base-url", "http://127.0.0.1:1/v2", "--key", "KEY", "--retries", "1000")
	var said strings.Builder
	command.Stderr = &said
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(400 * time.Millisecond)
	command.Process.Signal(os.Interrupt)
	command.Wait()
	if code := command.ProcessState.ExitCode(); code != 1 || said.String() != "tenantry: interrupted\n" {
		t.Errorf("exit code %d, said %q", code, said.String())
	}
}

// TestKilled kills a bulk run in the middle, and runs it again.
func TestKilled(t *testing.T) {
	t.Parallel()
	info, stop, err := dev()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	const n = 1000
	file := filepath.Join(t.TempDir(), "customers.csv")
	if err := os.WriteFile(file, []byte("business_name\n"+strings.Repeat("The Same Name\n", n)), 0o600); err != nil {
		t.Fatal(err)
	}
	bulk := func() *exec.Cmd {
		command := exec.Command("tenantry", "accounts", "create", "--from", file, "--parallel", "16", "--json")
		command.Env = append(os.Environ(), "XDG_CONFIG_HOME="+t.TempDir(), "TELNYX_BASE_URL="+info.BaseURL, "TELNYX_API_KEY="+info.ManagerKey)
		return command
	}
	results := filepath.Join(filepath.Dir(file), "customers.result.csv")
	for kills := 1; kills <= 2; kills++ {
		first := bulk()
		if err := first.Start(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if text, _ := os.ReadFile(results); strings.Count(string(text), ",created,") >= kills*n/4 {
				break
			}
		}
		first.Process.Kill()
		if err := first.Wait(); err == nil {
			t.Fatal("it was done before it could be killed")
		}
	}
	out, err := bulk().Output()
	if err != nil || !strings.HasPrefix(string(out), `{"rows":1000,"outcomes":{"created":1000},"left":0,`) {
		t.Fatalf("%s %v", out, err)
	}
	c := client.New(client.WithBaseURL(info.BaseURL), client.WithKey(info.ManagerKey))
	page, err := c.ManagedAccounts.List(t.Context(), client.ManagedAccountList{OrganizationNameEq: "The Same Name", PageSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	if page.Meta.TotalResults != n {
		t.Errorf("%d accounts were made of %d rows", page.Meta.TotalResults, n)
	}
}
