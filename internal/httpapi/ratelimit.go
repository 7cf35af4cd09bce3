package httpapi

import (
	"hash/maphash"
	"math"
	"strconv"
	"sync"
	"time"
)

// limiter is the generic cell rate algorithm: one time per key, no timers. A
// nil limiter lets everything pass.
type limiter struct {
	now      func() time.Time
	interval time.Duration // between two requests at the average rate
	burst    int64
	limit    string // burst, as the header has it
	seed     maphash.Seed
	shards   [32]limiterShard
}

type limiterShard struct {
	mu sync.Mutex
	// full holds, by key, when the key will have all its burst again.
	full map[string]time.Time
	_    [64]byte
}

// newLimiter allows burst requests at once and rate a second on average; a rate
// below 0 is no limit.
func newLimiter(now func() time.Time, rate float64, burst int) *limiter {
	if rate < 0 {
		return nil
	}
	l := &limiter{now: now, interval: time.Duration(float64(time.Second) / rate), burst: int64(max(burst, 1)), limit: strconv.Itoa(max(burst, 1)), seed: maphash.MakeSeed()}
	for i := range l.shards {
		l.shards[i].full = map[string]time.Time{}
	}
	return l
}

// verdict says whether a request may pass and what the headers tell of it.
type verdict struct {
	limited   bool
	ok        bool
	limit     string // as the header has it
	remaining int64
	// reset is until all of the burst is there again, retry until the next request
	// may pass.
	reset, retry time.Duration
}

func (l *limiter) take(key string) verdict {
	if l == nil {
		return verdict{ok: true}
	}
	now := l.now()
	shard := &l.shards[maphash.String(l.seed, key)%uint64(len(l.shards))]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	window := time.Duration(l.burst) * l.interval
	full, known := shard.full[key]
	if full.Before(now) {
		full = now
	}
	// A clock that was set back must not lock anybody out for longer than a burst.
	if limit := now.Add(window); full.After(limit) {
		full = limit
	}
	v := verdict{limited: true, limit: l.limit}
	next := full.Add(l.interval)
	if wait := next.Sub(now) - window; wait > 0 {
		v.reset, v.retry = full.Sub(now), wait
		shard.full[key] = full
		return v
	}
	if !known {
		shard.sweep(now)
	}
	shard.full[key] = next
	v.ok = true
	v.reset = next.Sub(now)
	v.remaining = int64((window - v.reset) / l.interval)
	return v
}

// sweep forgets the keys that have all their burst, when there are many keys.
func (s *limiterShard) sweep(now time.Time) {
	if len(s.full) < 4096 || len(s.full)&(len(s.full)-1) != 0 {
		return
	}
	for key, full := range s.full {
		if full.Before(now) {
			delete(s.full, key)
		}
	}
}

// write puts the verdict into the answer's headers.
func (v verdict) write(c *call) {
	if !v.limited {
		return
	}
	c.put("X-Ratelimit-Limit", v.limit)
	c.put("X-Ratelimit-Remaining", strconv.FormatInt(v.remaining, 10))
	c.put("X-Ratelimit-Reset", strconv.FormatInt(int64(math.Ceil(v.reset.Seconds())), 10))
	if !v.ok {
		// Some SDKs sleep however long they are told: at most 30 s, in whole seconds.
		seconds := min(30, max(1, int64(math.Ceil(v.retry.Seconds()))))
		c.put("Retry-After", strconv.FormatInt(seconds, 10))
		c.put("Retry-After-Ms", strconv.FormatInt(min(30_000, max(1, v.retry.Milliseconds()+1)), 10))
	}
}
