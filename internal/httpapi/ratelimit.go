package httpapi

import (
	"hash/maphash"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"
)

// limiter is the generic cell rate algorithm: one time per key, no timers. A
// nil limiter lets everything pass.
//
// Nodes on one database tell each other what they let pass, a sixteenth of the
// burst at a time. So all of them together keep to the average rate; what they let
// pass above it, before they have heard of each other, is less than a burst for
// each node.
type limiter struct {
	name     string
	tell     func(text string)
	now      func() time.Time
	interval time.Duration // between two requests at the average rate
	burst    int64
	limit    string // burst, as the header has it
	seed     maphash.Seed
	shards   [32]limiterShard
}

type limiterShard struct {
	mu   sync.Mutex
	keys map[string]allowance
	_    [64]byte
}

// allowance is what one key may still ask.
type allowance struct {
	// full is when the key will have all its burst again.
	full time.Time
	// untold is how many requests the other nodes have not been told of.
	untold int64
	// shared: other nodes let some pass, so that it may owe two bursts, and not one.
	shared bool
}

// newLimiter allows burst requests at once and rate a second on average; a rate
// below 0 is no limit. name is the limiter's on all nodes, and tell reaches the
// others.
func newLimiter(now func() time.Time, rate float64, burst int, name string, tell func(text string)) *limiter {
	if rate < 0 {
		return nil
	}
	l := &limiter{name: name, tell: tell, now: now, interval: time.Duration(float64(time.Second) / rate), burst: int64(max(burst, 1)), limit: strconv.Itoa(max(burst, 1)), seed: maphash.MakeSeed()}
	for i := range l.shards {
		l.shards[i].keys = map[string]allowance{}
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
	shard := l.shard(key)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	window := time.Duration(l.burst) * l.interval
	a, known := shard.keys[key]
	full := l.bounded(a, now)
	v := verdict{limited: true, limit: l.limit}
	next := full.Add(l.interval)
	if wait := next.Sub(now) - window; wait > 0 {
		v.reset, v.retry = full.Sub(now), wait
		a.full = full
		shard.keys[key] = a
		return v
	}
	if !known {
		shard.sweep(now)
	}
	if a.untold++; a.untold >= max(1, l.burst/16) && isPlain(key) {
		l.tell(l.name + " " + strconv.FormatInt(a.untold, 10) + " " + key)
		a.untold = 0
	}
	a.full = next
	shard.keys[key] = a
	v.ok = true
	v.reset = next.Sub(now)
	v.remaining = int64((window - v.reset) / l.interval)
	return v
}

// isPlain reports whether a key can be told to others: an address that nobody has
// need not be.
func isPlain(key string) bool {
	return len(key) <= 254 && !strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' })
}

func (l *limiter) shard(key string) *limiterShard {
	return &l.shards[maphash.String(l.seed, key)%uint64(len(l.shards))]
}

// bounded is when a key will have all its burst again, if that can be: a clock that
// was set back must not lock anybody out for longer.
func (l *limiter) bounded(a allowance, now time.Time) time.Time {
	if a.full.Before(now) {
		return now
	}
	most := time.Duration(l.burst) * l.interval
	if a.shared {
		most *= 2
	}
	if limit := now.Add(most); a.full.After(limit) {
		return limit
	}
	return a.full
}

// hear counts what another node let pass, if the text is of this limiter.
func (l *limiter) hear(text string) {
	if l == nil {
		return
	}
	rest, mine := strings.CutPrefix(text, l.name+" ")
	if !mine {
		return
	}
	count, key, _ := strings.Cut(rest, " ")
	n, err := strconv.ParseInt(count, 10, 64)
	if err != nil || n < 1 || n > l.burst {
		return
	}
	now := l.now()
	shard := l.shard(key)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	a, known := shard.keys[key]
	if !known {
		shard.sweep(now)
	}
	a.shared = true
	a.full = l.bounded(a, now).Add(time.Duration(n) * l.interval)
	shard.keys[key] = a
}

// sweep forgets the keys that have all their burst, when there are many keys.
func (s *limiterShard) sweep(now time.Time) {
	if len(s.keys) < 4096 || len(s.keys)&(len(s.keys)-1) != 0 {
		return
	}
	for key, a := range s.keys {
		if a.full.Before(now) {
			delete(s.keys, key)
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
