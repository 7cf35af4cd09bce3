package admission_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/tenantry/tenantry/internal/admission"
)

// leaseOp is one operation on the leases of one account.
type leaseOp struct {
	what  string // acquire, release, limit, disable or enable
	call  int
	limit int64
}

// leaseAnswer is what it came to: of acquire the reason and the channels in use, of
// release how many leases ended.
type leaseAnswer struct {
	reason admission.Reason
	n      int64
}

// leaseState is an account as one after another would leave it.
type leaseState struct {
	limit    int64
	disabled bool
	held     uint64 // a bit for each call
}

func (s leaseState) inUse() (n int64) {
	for held := s.held; held != 0; held &= held - 1 {
		n++
	}
	return n
}

var leaseModel = porcupine.Model{
	Init: func() any { return leaseState{limit: historyLimit} },
	Step: func(state, input, output any) (bool, any) {
		s, op, got := state.(leaseState), input.(leaseOp), output.(leaseAnswer)
		bit := uint64(1) << op.call
		switch op.what {
		case "acquire":
			switch {
			case got.reason == admission.AccountDisabled:
				// A node may not have heard yet that the account was enabled. The other way
				// round it must not be late.
				return true, s
			case s.disabled:
				return false, s
			case s.held&bit != 0:
				return got == leaseAnswer{admission.Allowed, s.inUse()}, s
			case s.inUse() >= s.limit:
				return got == leaseAnswer{admission.ChannelLimit, s.inUse()}, s
			}
			s.held |= bit
			return got == leaseAnswer{admission.Allowed, s.inUse()}, s
		case "release":
			var ended int64
			if s.held&bit != 0 {
				ended = 1
			}
			s.held &^= bit
			return got.n == ended, s
		case "limit":
			s.limit = op.limit
		default:
			s.disabled = op.what == "disable"
		}
		return true, s
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
}

const historyLimit = 3

// TestHistories: whatever 8 clients do at once to one account, on two nodes, comes
// out as if they had done it one after another.
func TestHistories(t *testing.T) {
	t.Parallel()
	const clients, each, calls = 8, 40, 7
	eachPair(t, func(t *testing.T, here, there *world) {
		for round := range 3 {
			a := here.child(t, historyLimit)
			began := time.Now()
			var mu sync.Mutex
			var history []porcupine.Operation
			var work sync.WaitGroup
			for client := range clients {
				w := []*world{here, there}[client%2]
				work.Go(func() {
					random := rand.New(rand.NewPCG(uint64(round), uint64(client)))
					for range each {
						op := leaseOp{what: "acquire", call: random.IntN(calls)}
						switch n := random.IntN(100); {
						case client == 0 && n < 20:
							op.what, op.limit = "limit", 1+random.Int64N(4)
						case client == 1 && n < 10:
							op.what = "disable"
						case client == 1 && n < 40:
							op.what = "enable"
						case n < 60:
							op.what = "release"
						}
						call := fmt.Sprintf("%d-%d", round, op.call)
						var got leaseAnswer
						var err error
						start := time.Since(began)
						switch op.what {
						case "acquire":
							d := w.acquire(t, a.ID, call)
							if got.reason = d.Reason; d.Lease != nil || d.Reason == admission.ChannelLimit {
								got.n = d.InUse
							}
						case "release":
							got.n, err = w.Release(w.ctx, call)
						case "limit":
							_, err = w.tenants.SetChannelLimit(w.ctx, w.actor, a.ID, &op.limit)
						case "disable":
							_, err = w.tenants.DisableAccount(w.ctx, w.actor, a.ID, "")
						case "enable":
							_, err = w.tenants.EnableAccount(w.ctx, w.actor, a.ID, false, "")
						}
						end := time.Since(began)
						if err != nil {
							t.Errorf("%+v: %v", op, err)
						}
						mu.Lock()
						history = append(history, porcupine.Operation{ClientId: client, Input: op, Output: got, Call: int64(start), Return: int64(end)})
						mu.Unlock()
					}
				})
			}
			work.Wait()
			if result := porcupine.CheckOperationsTimeout(leaseModel, history, time.Minute); result != porcupine.Ok {
				for _, op := range history {
					t.Logf("%d %6d-%6d µs %+v -> %+v", op.ClientId, op.Call/1000, op.Return/1000, op.Input, op.Output)
				}
				t.Fatalf("no order of the operations explains what they came to: %s", result)
			}
		}
	})
}
