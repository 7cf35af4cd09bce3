package cli

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// pace keeps a whole run within the server's rate limit: what one call is told,
// all obey.
type pace struct {
	// parallel is how many calls may be under way when an answer says how many are
	// left.
	parallel int

	mu      sync.Mutex
	next    time.Time     // nothing is sent before
	spacing time.Duration // between two calls
}

// wait waits for the turn to send.
func (p *pace) wait(ctx context.Context) error {
	for {
		p.mu.Lock()
		now := time.Now()
		pause := p.next.Sub(now)
		if pause <= 0 {
			if p.spacing > 0 {
				p.next = now.Add(p.spacing)
			}
			p.mu.Unlock()
			return ctx.Err()
		}
		p.mu.Unlock()
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// Bounds of what a server is believed.
const (
	longestPause   = time.Minute
	longestSpacing = 5 * time.Second
)

// heard learns from an answer.
func (p *pace) heard(status int, header http.Header) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if pause, asked := retryAfter(header, now); status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable && asked {
		if !asked {
			pause = time.Second
		}
		if at := now.Add(min(pause, longestPause)); at.After(p.next) {
			p.next = at
		}
	}
	limit, err1 := strconv.ParseInt(header.Get("X-Ratelimit-Limit"), 10, 64)
	remaining, err2 := strconv.ParseInt(header.Get("X-Ratelimit-Remaining"), 10, 64)
	reset, err3 := strconv.ParseFloat(header.Get("X-Ratelimit-Reset"), 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return
	}
	// While there is plenty, there is no need to wait. Near the end, calls are sent
	// as fast as the limit comes back: what is used up of it comes back until reset.
	p.spacing = 0
	if used := limit - remaining; remaining <= 2*int64(p.parallel) && used > 0 && reset > 0 && reset < 3600 {
		p.spacing = min(longestSpacing, time.Duration(reset*float64(time.Second)/float64(used)))
	}
}

// retryAfter is the pause that an answer asks for.
func retryAfter(header http.Header, now time.Time) (time.Duration, bool) {
	if ms, err := strconv.ParseFloat(header.Get("Retry-After-Ms"), 64); err == nil && ms >= 0 && ms < 1e9 {
		return time.Duration(ms * float64(time.Millisecond)), true
	}
	after := header.Get("Retry-After")
	if s, err := strconv.ParseFloat(after, 64); err == nil && s >= 0 && s < 1e6 {
		return time.Duration(s * float64(time.Second)), true
	}
	if at, err := http.ParseTime(after); err == nil {
		return max(0, at.Sub(now)), true
	}
	return 0, false
}

// watch is a transport whose answers the pace hears.
func (p *pace) watch(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		response, err := next.RoundTrip(request)
		if err == nil {
			p.heard(response.StatusCode, response.Header)
		}
		return response, err
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }
