package httpapi

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/throttled/throttled/v2"
	"pgregory.net/rapid"
)

// oracleStore keeps the state of the other implementation of the same algorithm,
// under a clock of ours.
type oracleStore struct {
	mu     sync.Mutex
	now    func() time.Time
	values map[string]int64
}

func (s *oracleStore) GetWithTime(_ context.Context, key string) (int64, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.values[key]; ok {
		return v, s.now(), nil
	}
	return -1, s.now(), nil
}

func (s *oracleStore) SetIfNotExistsWithTTL(_ context.Context, key string, value int64, _ time.Duration) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.values[key]; ok {
		return false, nil
	}
	s.values[key] = value
	return true, nil
}

func (s *oracleStore) CompareAndSwapWithTTL(_ context.Context, key string, old, new int64, _ time.Duration) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.values[key]; !ok || v != old {
		return false, nil
	}
	s.values[key] = new
	return true, nil
}

var rates = rapid.SampledFrom([]float64{0.01, 0.2, 0.5, 1, 3, 5, 100, 1000})

// TestLimiterDecides as throttled's GCRA does, and its headers are true.
func TestLimiterDecides(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(1_800_000_000, 0)
		clock := func() time.Time { return now }
		rate, burst := rates.Draw(t, "rate"), rapid.IntRange(1, 20).Draw(t, "burst")
		l := newLimiter(clock, rate, burst, "", func(string) {})
		oracle, err := throttled.NewGCRARateLimiterCtx(&oracleStore{now: clock, values: map[string]int64{}},
			throttled.RateQuota{MaxRate: throttled.PerDuration(1, l.interval), MaxBurst: burst - 1})
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 100).Draw(t, "requests") {
			// From nothing to more than the whole burst takes to come back.
			now = now.Add(max(0, time.Duration(rapid.Int64Range(0, 3).Draw(t, "intervals"))*l.interval+
				time.Duration(rapid.Int64Range(-3, 3).Draw(t, "beside"))*(l.interval/1000)))
			key := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key")
			v := l.take(key)
			limited, state, err := oracle.RateLimitCtx(t.Context(), key, 1)
			if err != nil {
				t.Fatal(err)
			}
			if v.ok == limited {
				t.Fatalf("passed: %t, the oracle says %t", v.ok, !limited)
			}
			if v.limit != strconv.Itoa(state.Limit) || v.remaining != int64(state.Remaining) || v.reset != state.ResetAfter {
				t.Fatalf("%+v, the oracle says limit %d, remaining %d, reset after %s", v, state.Limit, state.Remaining, state.ResetAfter)
			}
			if !v.ok && v.retry != state.RetryAfter {
				t.Fatalf("retry after %s, the oracle says %s", v.retry, state.RetryAfter)
			}
		}
	})
}

// TestRetryAfter: whoever waits as long as the headers say, gets through.
func TestRetryAfter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(1_800_000_000, 0)
		// Slower ones make wait longer than the 30 s that are ever asked for.
		rate := rapid.Float64Range(1.0/29, 2000).Draw(t, "rate")
		l := newLimiter(func() time.Time { return now }, rate, rapid.IntRange(1, 5).Draw(t, "burst"), "", func(string) {})
		header := rapid.SampledFrom([]string{"Retry-After", "Retry-After-Ms", "X-Ratelimit-Reset"}).Draw(t, "header")
		for range 50 {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(l.interval)/2).Draw(t, "time")))
			v := l.take("a")
			if v.ok {
				continue
			}
			c := &call{header: http.Header{}}
			v.write(c)
			n, err := strconv.Atoi(c.header.Get(header))
			if err != nil || n < 1 {
				t.Fatalf("%s: %q", header, c.header.Get(header))
			}
			unit := time.Second
			if header == "Retry-After-Ms" {
				unit = time.Millisecond
			}
			now = now.Add(time.Duration(n) * unit)
			if v := l.take("a"); !v.ok {
				t.Fatalf("refused after waiting %s: %+v", time.Duration(n)*unit, v)
			}
		}
	})
}

// TestClockSetBack: nobody is locked out for longer than a burst takes.
func TestClockSetBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(1_800_000_000, 0)
		rate, burst := rates.Draw(t, "rate"), rapid.IntRange(1, 10).Draw(t, "burst")
		l := newLimiter(func() time.Time { return now }, rate, burst, "", func(string) {})
		for range rapid.IntRange(0, 30).Draw(t, "before") {
			l.take("a")
		}
		now = now.Add(-time.Duration(rapid.Int64Range(0, int64(10*365*24*time.Hour)).Draw(t, "back")))
		v := l.take("a")
		window := time.Duration(burst) * l.interval
		if v.retry > window || v.reset > window {
			t.Fatalf("locked out: %+v", v)
		}
		if !v.ok {
			now = now.Add(v.retry)
			if v = l.take("a"); !v.ok {
				t.Fatalf("refused after the wait: %+v", v)
			}
		}
		now = now.Add(window)
		for i := range burst {
			if !l.take("a").ok {
				t.Fatalf("request %d of a burst is refused", i+1)
			}
		}
	})
}

// TestLimiterForgets: keys that have all their burst again take no memory for long.
func TestLimiterForgets(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	l := newLimiter(func() time.Time { return now }, 10, 10, "", func(string) {})
	for i := range 2_000_000 {
		now = now.Add(time.Millisecond)
		l.take(strconv.Itoa(i))
	}
	kept := 0
	for i := range l.shards {
		kept += len(l.shards[i].keys)
	}
	if most := len(l.shards) * 8192; kept > most {
		t.Errorf("%d keys are kept, want at most %d", kept, most)
	}
	var none *limiter
	if v := none.take("a"); !v.ok || v.limited {
		t.Errorf("no limit: %+v", v)
	}
	if newLimiter(nil, -1, 1, "", nil) != nil {
		t.Error("a rate below 0 is no limit")
	}
}

// TestLimitAcrossNodes: nodes that hear of each other a quarter of a second late
// let pass together what one would, but for less than a burst each; and none of
// them starves.
func TestLimitAcrossNodes(t *testing.T) {
	const (
		rate, burst = 100, 160
		nodes       = 4
		step        = time.Millisecond
		late        = 250 * time.Millisecond
		seconds     = 60
	)
	type told struct {
		from int
		at   time.Time
		text string
	}
	for name, asks := range map[string][nodes]int{ // requests in each millisecond
		"all ask":          {1, 1, 1, 1},
		"one asks more":    {5, 1, 1, 1},
		"one asks":         {1, 0, 0, 0},
		"half ask":         {1, 1, 0, 0},
		"all ask far more": {9, 9, 9, 9},
	} {
		start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		now := start
		var wire []told
		var limiters [nodes]*limiter
		for i := range limiters {
			limiters[i] = newLimiter(func() time.Time { return now }, rate, burst, "keys", func(text string) {
				wire = append(wire, told{i, now, text})
			})
		}
		total, asking := 0, 0
		var passed [nodes]int
		for ; now.Before(start.Add(seconds * time.Second)); now = now.Add(step) {
			for len(wire) > 0 && now.Sub(wire[0].at) >= late {
				for i, l := range limiters {
					if i != wire[0].from {
						l.hear(wire[0].text)
					}
				}
				wire = wire[1:]
			}
			for i, n := range asks {
				for range n {
					if limiters[i].take("key").ok {
						passed[i]++
						total++
					}
				}
			}
		}
		for _, n := range asks {
			asking += min(n, 1)
		}
		if want := burst + rate*seconds; total < want*95/100 || total > want+(asking-1)*burst {
			t.Errorf("%s: %d passed, want %d and at most a burst of %d more for each further node: %v", name, total, want, burst, passed)
		}
		for i, n := range asks {
			if n > 0 && passed[i] < total/asking/4 {
				t.Errorf("%s: node %d let pass %d of %d: it starves", name, i, passed[i], total)
			}
		}
		t.Logf("%s: %d passed of %d by the rate, %v by node", name, total, burst+rate*seconds, passed)
	}
}
