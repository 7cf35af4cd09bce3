package service_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/dbtest"
	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/store"
	"github.com/tenantry/tenantry/internal/tenant"
)

// What the clients of one manager ask, and in which order it could have been done
// one after the other, is judged by porcupine. It is exponential in the clients
// of a history, so there are more managers instead of more clients.
const (
	historyClients  = 8
	historyManagers = 4
	historyAccounts = 12
)

// pool is a manager as its clients can see it.
type pool struct {
	size     int64
	made     int
	accounts [historyAccounts]share
}

// share is one account of it.
type share struct {
	limit               int64
	disabled, cancelled bool
}

func (p pool) allocated() (sum int64) {
	for _, a := range p.accounts {
		sum += a.limit
	}
	return sum
}

// asked is an operation.
type asked struct {
	what verb
	// account is counted from 0.
	account int
	// n is a number of channels; below 0, a create leaves it to the default.
	n int64
}

type verb string

const (
	look    verb = "look at the pool"
	resize  verb = "resize the pool"
	create  verb = "create"
	read    verb = "read"
	limit   verb = "limit"
	disable verb = "disable"
	enable  verb = "enable"
	cancel  verb = "cancel"
)

// got is how an operation ended.
type got struct {
	refused         tenant.Kind // 0 when it was done
	size, allocated int64
	number          int
	share           share
	// unknown: it was done, refused, or neither.
	unknown bool
}

// then is the only right answer to an operation, and what the pool is after it.
func (p pool) then(in asked) (pool, got) {
	switch in.what {
	case look:
		return p, got{size: p.size, allocated: p.allocated()}
	case resize:
		if in.n < p.allocated() {
			return p, got{refused: tenant.OutOfRange}
		}
		p.size = in.n
		return p, got{size: p.size, allocated: p.allocated()}
	case create:
		free, n := p.size-p.allocated(), in.n
		if n < 0 {
			n = min(defaultChannels, free)
		}
		if n > free {
			return p, got{refused: tenant.OutOfRange}
		}
		p.accounts[p.made] = share{limit: n}
		p.made++
		return p, got{number: p.made, share: p.accounts[p.made-1]}
	}
	before, a := p, &p.accounts[in.account] // p is a copy
	switch in.what {
	case read:
		return p, got{share: *a}
	case cancel:
		*a = share{disabled: a.disabled, cancelled: true}
		return p, got{share: *a}
	}
	if a.cancelled {
		return p, got{refused: tenant.Conflict}
	}
	switch in.what {
	case disable, enable:
		a.disabled = in.what == disable
	case limit:
		if a.limit = in.n; p.allocated() > p.size {
			return before, got{refused: tenant.OutOfRange}
		}
	}
	return p, got{share: *a}
}

// defaultChannels is what newWorld gives to a service.
const defaultChannels = 2

func model(size int64) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return pool{size: size} },
		Step: func(state, input, output any) (bool, any) {
			out := output.(got)
			after, right := state.(pool).then(input.(asked))
			return out.unknown || out == right, after
		},
		DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v: %+v", input, output) },
		DescribeState: func(state any) string {
			p := state.(pool)
			return fmt.Sprintf("%d of %d: %+v", p.allocated(), p.size, p.accounts[:p.made])
		},
	}
}

// history is all that the clients of one manager did.
type history struct {
	began time.Time
	size  int64 // of the pool at first

	mu         sync.Mutex
	operations []porcupine.Operation
	accounts   []numbered
	creates    int
}

type numbered struct {
	index int
	id    string
}

// desk is where one client asks: a manager on one node.
type desk struct {
	*world
	manager tenant.Actor
}

// do asks a node. id is the account's, and comes back for one that was created.
func (d desk) do(in asked, id string) (out got, made string, err error) {
	var account *service.Account
	var manager *tenant.Manager
	switch in.what {
	case look:
		manager, _, _, err = d.Channels(d.ctx, d.manager)
	case resize:
		if account, err = d.ApproveManager(d.ctx, operator, d.manager.AccountID, &in.n); err == nil {
			manager, account = account.Manager, nil
		}
	case create:
		wanted := service.NewAccount{BusinessName: "Child"}
		if in.n >= 0 {
			wanted.ChannelLimit = &in.n
		}
		account, err = d.create(d.manager, wanted, once())
		if err == nil {
			out.number, made = int(account.Number), account.ID
		}
	case read:
		account, err = d.ManagedAccount(d.ctx, d.manager, id)
	case limit:
		var row *tenant.Account
		if row, err = d.SetChannelLimit(d.ctx, d.manager, id, &in.n); err == nil {
			account = &service.Account{Account: *row}
		}
	case disable:
		account, err = d.DisableAccount(d.ctx, d.manager, id, "")
	case enable:
		account, err = d.EnableAccount(d.ctx, d.manager, id, false, "")
	case cancel:
		account, err = d.CancelAccount(d.ctx, operator, id)
	}
	switch {
	case err != nil:
		return got{}, "", err
	case manager != nil:
		out.size, out.allocated = manager.ChannelPool, manager.ChannelsAllocated
	default:
		out.share = share{account.ChannelLimit, account.Disabled, account.Cancelled}
	}
	return out, made, nil
}

// record does one operation and writes down when it was asked and answered, and
// what came of it.
func (h *history) record(t *testing.T, client int, in asked, id string, do func(in asked, id string) (got, string, error)) {
	operation := porcupine.Operation{ClientId: client, Input: in, Call: int64(time.Since(h.began))}
	out, made, err := do(in, id)
	operation.Return = int64(time.Since(h.began))
	switch {
	case err == nil:
	case is(err, tenant.OutOfRange):
		out.refused = tenant.OutOfRange
	case is(err, tenant.Conflict):
		out.refused = tenant.Conflict
	case is(err, tenant.Unavailable):
		if joined, ok := err.(interface{ Unwrap() []error }); ok && errors.As(joined.Unwrap()[1], new(*tenant.Error)) {
			t.Errorf("%+v: somebody else's refusal: %v", in, err)
		}
		if in.what == look || in.what == read {
			return // it says nothing
		}
		// It may still be done at any time: it stays open to the end.
		out, operation.Return = got{unknown: true}, math.MaxInt64
	default:
		t.Errorf("%+v: %v", in, err)
		return
	}
	operation.Output = out
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations = append(h.operations, operation)
	if made != "" {
		h.accounts = append(h.accounts, numbered{out.number - 1, made})
	}
}

// choose is a client's next operation.
func (h *history) choose(random *rand.Rand) (in asked, id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	account := h.accounts[random.IntN(len(h.accounts))]
	in = asked{account: account.index, n: random.Int64N(9)}
	switch n := random.IntN(100); {
	case n < 45:
		in.what = limit
	case n < 60:
		return asked{what: look}, ""
	case n < 75:
		in.what, in.n = read, 0
	case n < 82:
		return asked{what: resize, n: 4 + random.Int64N(16)}, ""
	case n < 92:
		in.what, in.n = disable, 0
		if n%2 == 0 {
			in.what = enable
		}
	case n < 94 && len(h.accounts) > 3:
		in.what, in.n = cancel, 0
	default:
		if h.creates == historyAccounts {
			return asked{what: look}, ""
		}
		h.creates++
		return asked{what: create, n: random.Int64N(5) - 1}, ""
	}
	return in, account.id
}

// begin makes a manager with a few accounts, whose making is recorded too.
func begin(t *testing.T, w *world, name string) (*history, tenant.Actor) {
	t.Helper()
	h := &history{began: time.Now(), size: 12}
	manager := w.actor(t, w.root(t, name+"@example.com", h.size).Key)
	for range 3 {
		h.creates++
		h.record(t, 0, asked{what: create, n: -1}, "", desk{w, manager}.do)
	}
	if len(h.accounts) != 3 {
		t.Fatal("the manager has no accounts to begin with")
	}
	return h, manager
}

// check is porcupine's verdict.
func (h *history) check() porcupine.CheckResult {
	return porcupine.CheckOperationsTimeout(model(h.size), h.operations, time.Minute)
}

// keep draws a history that was refused, and returns where.
func (h *history) keep(t *testing.T) string {
	folder, err := os.MkdirTemp("", "tenantry-history-")
	if err != nil {
		t.Error(err)
		return ""
	}
	path := filepath.Join(folder, "history.html")
	_, info := porcupine.CheckOperationsVerbose(model(h.size), h.operations, time.Minute)
	if err := porcupine.VisualizePath(model(h.size), info, path); err != nil {
		t.Error(err)
	}
	return path
}

// openNodes opens a database as the nodes of an installation do: two on
// PostgreSQL, one on SQLite.
func openNodes(t *testing.T, address string) (nodes []*world) {
	t.Helper()
	count := 1
	if isPostgres(address) {
		count = 2
	}
	for range count {
		db, err := store.Open(t.Context(), address, store.Options{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		w, err := newWorld(context.Background(), db, nil)
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, w)
	}
	return nodes
}

func isPostgres(address string) bool { return strings.HasPrefix(address, "postgres") }

// TestHistories: whatever the clients of a manager do at the same time, and on
// whichever node, there is an order in which the same answers come one after the
// other: no share is given twice, none refused that is there, and nobody reads
// what is no longer so. With PostgreSQL that holds too while connections are cut.
//
// TENANTRY_TEST_HISTORIES is how many to record on each engine, 20 by default.
func TestHistories(t *testing.T) {
	count := 20
	if testing.Short() {
		count = historyManagers
	}
	if text := os.Getenv("TENANTRY_TEST_HISTORIES"); text != "" {
		var err error
		if count, err = strconv.Atoi(text); err != nil {
			t.Fatalf("TENANTRY_TEST_HISTORIES: %v", err)
		}
	}
	dbtest.EachAddress(t, func(t *testing.T, address string) {
		nodes := openNodes(t, address)
		var operations, refused, unknown, checked, cut int
		for round := 0; checked < count; round++ {
			cutting := isPostgres(address) && round%2 == 1
			histories, cuts := recordRound(t, nodes, address, round, cutting)
			cut += cuts
			for i, h := range histories {
				if verdict := h.check(); verdict != porcupine.Ok {
					t.Errorf("history %d of round %d is %s; drawn at %s", i, round, verdict, h.keep(t))
				}
				for _, o := range h.operations {
					if out := o.Output.(got); out.unknown {
						unknown++
					} else if out.refused != 0 {
						refused++
					}
				}
				operations += len(h.operations)
				checked++
			}
			if t.Failed() {
				return
			}
		}
		if refused < operations/20 {
			t.Errorf("%d of %d operations were refused: it was no contest", refused, operations)
		}
		if err := nodes[0].db.Verify(t.Context()); err != nil {
			t.Error(err)
		}
		t.Logf("%d histories, %d nodes, %d operations, %d refused, %d of unknown outcome, %d connections cut",
			checked, len(nodes), operations, refused, unknown, cut)
	})
}

// recordRound records a history of several managers at once.
func recordRound(t *testing.T, nodes []*world, address string, round int, cutting bool) (histories []*history, cuts int) {
	t.Helper()
	var managers []tenant.Actor
	for i := range historyManagers {
		h, manager := begin(t, nodes[0], fmt.Sprintf("round-%d-%d", round, i))
		histories, managers = append(histories, h), append(managers, manager)
	}
	done := make(chan struct{}, 1<<16) // a token for each operation
	var clients, cutter sync.WaitGroup
	for i, h := range histories {
		for client := range historyClients {
			clients.Go(func() {
				random := rand.New(rand.NewPCG(uint64(round), uint64(i*historyClients+client)))
				at := desk{nodes[client%len(nodes)], managers[i]}
				for range 40 {
					in, id := h.choose(random)
					h.record(t, client, in, id, at.do)
					done <- struct{}{}
				}
			})
		}
	}
	if cutting {
		cutter.Go(func() { cuts = cutConnections(t, address, done) })
	}
	clients.Wait()
	close(done)
	cutter.Wait()
	return histories, cuts
}

// cutConnections ends the server's side of any connection, after every twentieth
// operation, until there are no more.
func cutConnections(t *testing.T, address string, done <-chan struct{}) (cuts int) {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer conn.Close(ctx)
	for n := 0; ; n++ {
		if _, more := <-done; !more {
			return cuts
		}
		if n%20 != 0 {
			continue
		}
		tag, err := conn.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' ORDER BY random() LIMIT 1) one`)
		if err != nil {
			t.Error(err)
			return cuts
		}
		cuts += int(tag.RowsAffected())
	}
}

// TestHistoriesFindFaults plants what must not be, and wants it found: else the
// verdict above would say nothing.
func TestHistoriesFindFaults(t *testing.T) {
	// Each fault answers one of two clients, which do nothing else.
	faults := map[string]func() func(desk, asked, string) (got, string, error){
		// The decision is made on what was read before the turn to write.
		"reads, then writes": func() func(desk, asked, string) (got, string, error) {
			meet := make(chan struct{})
			return func(d desk, in asked, id string) (got, string, error) {
				if in.what != limit {
					return d.do(in, id)
				}
				var account *tenant.Account
				var manager *tenant.Manager
				err := d.db.View(d.ctx, func(tx *store.Tx) (err error) {
					if account, err = tx.Account(id); err == nil {
						manager, err = tx.Manager(d.manager.AccountID)
					}
					return err
				})
				// Nobody writes before both have read.
				select {
				case meet <- struct{}{}:
				case <-meet:
				}
				if err != nil {
					return got{}, "", err
				}
				if in.n-account.ChannelLimit > manager.Free() {
					return got{}, "", tenant.Refuse(tenant.OutOfRange, "")
				}
				err = d.db.Update(d.ctx, d.manager.AccountID, func(tx *store.Tx) error {
					change, err := tenant.SetChannelLimit(d.manager, *account, in.n, tx.Now())
					if err != nil {
						return err
					}
					return tx.Apply(change)
				})
				if err != nil { // the last guard, in the database
					err = tenant.Refuse(tenant.OutOfRange, "")
				}
				return got{share: share{limit: in.n}}, "", err
			}
		},
		// What one look at the pool found, the next two find as well.
		"remembers": func() func(desk, asked, string) (got, string, error) {
			var mu sync.Mutex
			var kept got
			var looks int
			return func(d desk, in asked, id string) (got, string, error) {
				if in.what != look {
					return d.do(in, id)
				}
				mu.Lock()
				defer mu.Unlock()
				var err error
				if looks++; looks%3 == 1 {
					kept, _, err = d.do(in, id)
				}
				return kept, "", err
			}
		},
		// What the pool could bear is refused.
		"refuses": func() func(desk, asked, string) (got, string, error) {
			return func(d desk, in asked, id string) (got, string, error) {
				if in.what == limit && in.n == 0 {
					return got{}, "", tenant.Refuse(tenant.OutOfRange, "")
				}
				return d.do(in, id)
			}
		},
		// Some answers are lost, after it was done or before: that is no fault.
		"loses answers": func() func(desk, asked, string) (got, string, error) {
			var asks atomic.Int64
			return func(d desk, in asked, id string) (out got, made string, err error) {
				n := asks.Add(1)
				if n%8 != 0 || n%16 == 0 {
					out, made, err = d.do(in, id)
				}
				if n%8 == 0 {
					return got{}, "", tenant.Refuse(tenant.Unavailable, "")
				}
				return out, made, err
			}
		},
		// What was refused is done after all.
		"does what it refuses": func() func(desk, asked, string) (got, string, error) {
			return func(d desk, in asked, id string) (got, string, error) {
				out, made, err := d.do(in, id)
				if in.what == disable && err == nil {
					err = tenant.Refuse(tenant.Conflict, "")
				}
				return out, made, err
			}
		},
	}
	dbtest.EachAddress(t, func(t *testing.T, address string) {
		nodes := openNodes(t, address)
		for name, fault := range faults {
			h, manager := begin(t, nodes[0], strings.Map(letters, name))
			do := fault()
			var clients sync.WaitGroup
			for client := range 2 {
				clients.Go(func() {
					at := desk{nodes[client%len(nodes)], manager}
					random := rand.New(rand.NewPCG(5, uint64(client)))
					for n := range 40 {
						account := h.accounts[random.IntN(2)]
						in := asked{what: limit, account: account.index, n: random.Int64N(9)}
						switch n % 4 {
						case 1:
							in = asked{what: look}
						case 2:
							in = asked{what: disable, account: account.index}
						}
						h.record(t, client, in, account.id, func(in asked, id string) (got, string, error) { return do(at, in, id) })
					}
				})
			}
			clients.Wait()
			want := porcupine.Illegal
			if name == "loses answers" {
				want = porcupine.Ok
			}
			if verdict := h.check(); verdict != want {
				t.Errorf("%s: the history is %s, not %s", name, verdict, want)
			}
		}
	})
}

func letters(r rune) rune {
	if r < 'a' || r > 'z' {
		return '-'
	}
	return r
}
