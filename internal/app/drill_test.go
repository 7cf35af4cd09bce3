package app_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/client"
	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/auth"
	"github.com/tenantry/tenantry/internal/faultfs"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// program builds the binary once for all tests of the package.
var program = sync.OnceValues(func() (string, error) {
	folder, err := os.MkdirTemp("", "tenantry-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(folder, "tenantry")
	out, err := exec.Command("go", "build", "-o", path, "github.com/tenantry/tenantry/cmd/tenantry").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := program(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// served is "tenantry serve" as a process of its own.
type served struct {
	cmd *exec.Cmd
	url string
}

// serve starts the program on a data folder and waits until it listens.
func serve(t *testing.T, data string, flags ...string) *served {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	flags = append([]string{"serve", "--data", data, "--listen", "127.0.0.1:0", "--rate-limit", "-1", "--log-format", "json"}, flags...)
	s := &served{cmd: exec.Command(path, flags...)}
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.cmd.Process.Kill(); s.cmd.Wait() })
	lines := bufio.NewScanner(stderr)
	var said []string
	for lines.Scan() {
		var line struct{ URL string }
		said = append(said, lines.Text())
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.URL != "" {
			s.url = strings.TrimSuffix(line.URL, "/v2")
			go io.Copy(io.Discard, stderr)
			return s
		}
	}
	t.Fatalf("the server did not start: %s", strings.Join(said, "\n"))
	return nil
}

func (s *served) operator(t *testing.T, data string) *client.Operator {
	t.Helper()
	token, err := os.ReadFile(filepath.Join(data, "operator.token"))
	if err != nil {
		t.Fatal(err)
	}
	return client.NewOperator(client.New(client.WithBaseURL(s.url+"/operator/v1"), client.WithKey(strings.TrimSpace(string(token))), client.WithRetries(0)))
}

// ledger is what a server has confirmed.
type ledger struct {
	mu       sync.Mutex
	accounts map[string]*entry
}

type entry struct {
	key      string
	disabled bool
	// open is true while a change is under way: it may or may not be there.
	open bool
}

func (l *ledger) snapshot() map[string]entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make(map[string]entry, len(l.accounts))
	for id, e := range l.accounts {
		all[id] = *e
	}
	return all
}

// load creates and disables accounts until ctx ends or the server goes away, and
// writes down what was confirmed.
func (l *ledger) load(ctx context.Context, url, key string, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	var mine []string
	for ctx.Err() == nil {
		if len(mine) > 0 && rng.IntN(3) == 0 {
			id := mine[rng.IntN(len(mine))]
			l.mu.Lock()
			e := l.accounts[id]
			e.open = true
			want := !e.disabled
			l.mu.Unlock()
			action := "enable"
			if want {
				action = "disable"
			}
			if _, err := call[api.ManagedAccount](ctx, "POST", url+"/v2/managed_accounts/"+id+"/actions/"+action, key, ""); err != nil {
				return
			}
			l.mu.Lock()
			e.disabled, e.open = want, false
			l.mu.Unlock()
			continue
		}
		account, err := call[api.ManagedAccount](ctx, "POST", url+"/v2/managed_accounts", key, `{"business_name":"Drill"}`)
		if err != nil {
			return
		}
		l.mu.Lock()
		l.accounts[account.ID] = &entry{key: account.APIKey}
		l.mu.Unlock()
		mine = append(mine, account.ID)
	}
}

// call sends one request, once.
func call[T any](ctx context.Context, method, url, key, body string) (*T, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+key)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != 200 {
		return nil, fmt.Errorf("%s: %s", response.Status, text)
	}
	var answer api.Response[T]
	return &answer.Data, json.Unmarshal(text, &answer)
}

// judge opens a data folder and tells what is missing or wrong in it.
func judge(data string, confirmed map[string]entry) error {
	ctx := context.Background()
	c, err := app.Defaults()
	if err != nil {
		return err
	}
	c.Data = data
	a, err := app.Open(ctx, c, app.Parts{})
	if err != nil {
		return fmt.Errorf("it does not open: %w", err)
	}
	defer a.Close()
	if err := a.DB.Verify(ctx); err != nil {
		return fmt.Errorf("it is inconsistent: %w", err)
	}
	check := auth.NewAuthenticator(a.DB, a.Sealer, "")
	return a.DB.View(ctx, func(tx *store.Tx) error {
		for id, e := range confirmed {
			row, err := tx.Account(id)
			if err != nil {
				return err
			}
			if row == nil {
				return fmt.Errorf("account %s was confirmed and is lost", id)
			}
			if !e.open && row.Disabled != e.disabled {
				return fmt.Errorf("account %s: confirmed disabled=%t is lost", id, e.disabled)
			}
			_, err = check.Actor(ctx, auth.Credentials{Authorization: "Bearer " + e.key})
			if row.Disabled && !tenant.IsKind(err, tenant.Inactive) || !row.Disabled && err != nil {
				return fmt.Errorf("account %s: its key answers %v", id, err)
			}
		}
		return nil
	})
}

// newManager makes a manager on a fresh server and returns its key.
func newManager(t *testing.T, operator *client.Operator) string {
	t.Helper()
	account, err := operator.CreateAccount(t.Context(), api.CreateRootAccount{BusinessName: "Drill", Email: "drill@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	pool := int64(1 << 30)
	if _, err := operator.ApproveManager(t.Context(), account.ID, &pool); err != nil {
		t.Fatal(err)
	}
	return account.APIKey
}

// TestPowerCuts cuts the power 200 times while a server takes writes from eight
// clients: whatever was confirmed by then must be in what the disk has. SQLite
// alone: PostgreSQL's disk is not ours.
func TestPowerCuts(t *testing.T) {
	if testing.Short() {
		t.Skip("cuts the power 200 times: not with -short")
	}
	const rounds, cuts = 4, 50
	var judged, confirmed atomic.Int64
	for round := range rounds {
		fs := faultfs.Mount(t, t.TempDir())
		data := filepath.Join(fs.Dir(), "data")
		server := serve(t, data)
		key := newManager(t, server.operator(t, data))
		l := &ledger{accounts: map[string]*entry{}}
		ctx, stop := context.WithCancel(t.Context())
		var clients sync.WaitGroup
		for i := range 8 {
			clients.Go(func() { l.load(ctx, server.url, key, uint64(round*8+i)) })
		}
		type image struct {
			dir       string
			seed      uint64
			confirmed map[string]entry
		}
		images := make(chan image, cuts)
		rng := rand.New(rand.NewPCG(uint64(round), 2))
		var arm func(left int)
		arm = func(left int) {
			seed := uint64(round*cuts + left)
			fs.ImageAt(1+rng.Int64N(40), seed, func(dir string) {
				images <- image{dir, seed, l.snapshot()}
				if left > 1 {
					arm(left - 1)
				} else {
					close(images)
				}
			})
		}
		arm(cuts)
		for image := range images {
			if err := judge(filepath.Join(image.dir, "data"), image.confirmed); err != nil {
				t.Errorf("round %d, seed %d: %v", round, image.seed, err)
			}
			judged.Add(1)
			confirmed.Add(int64(len(image.confirmed)))
			os.RemoveAll(image.dir)
		}
		stop()
		clients.Wait()
		server.cmd.Process.Kill()
		server.cmd.Wait()
	}
	if judged.Load() != rounds*cuts || confirmed.Load() == 0 {
		t.Fatalf("only %d cuts with %d confirmed accounts", judged.Load(), confirmed.Load())
	}
	t.Logf("%d power cuts, %d confirmed accounts looked for, 0 lost unless said above", judged.Load(), confirmed.Load())
}

// TestKills kills -9 a server under load, again and again on one database. SQLite's
// is the process's own; nodes on PostgreSQL are killed by drills of their own.
func TestKills(t *testing.T) {
	if testing.Short() {
		t.Skip("kills a server 20 times: not with -short")
	}
	data := filepath.Join(t.TempDir(), "data")
	l := &ledger{accounts: map[string]*entry{}}
	key := ""
	rng := rand.New(rand.NewPCG(7, 7))
	for kill := range 20 {
		server := serve(t, data)
		if key == "" {
			key = newManager(t, server.operator(t, data))
		}
		var clients sync.WaitGroup
		before := len(l.snapshot())
		for i := range 8 {
			clients.Go(func() { l.load(t.Context(), server.url, key, uint64(kill*8+i)) })
		}
		// The moment is a number of confirmed writes, not a time.
		for target := before + 1 + rng.IntN(200); len(l.snapshot()) < target; {
			time.Sleep(time.Millisecond)
		}
		server.cmd.Process.Signal(syscall.SIGKILL)
		clients.Wait()
		server.cmd.Wait()
		if err := judge(data, l.snapshot()); err != nil {
			t.Fatalf("after kill %d: %v", kill, err)
		}
	}
	t.Logf("20 kills, %d accounts confirmed, 0 lost", len(l.accounts))
}
