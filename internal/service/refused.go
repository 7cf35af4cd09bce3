package service

import (
	"strconv"
	"sync"
	"time"
)

// refused knows the requests that were turned away before anything was done, so
// that their retry, which looks like one whose answer was lost, does not get the
// answer of an equal request.
type refused struct {
	mu    sync.Mutex
	until map[string]time.Time // by request and the try that comes next
}

// mostRefused bounds what is remembered.
const mostRefused = 10_000

func refusedKey(request string, try int64) string { return request + strconv.FormatInt(try, 10) }

// mark remembers that nothing came of a request so far: this try was turned away,
// and so were those before it.
func (r *refused) mark(request string, try int64, now time.Time, life time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if key := refusedKey(request, try); try > 0 {
		if now.After(r.until[key]) {
			return
		}
		delete(r.until, key)
	}
	if len(r.until) >= mostRefused {
		for key, until := range r.until {
			if now.After(until) {
				delete(r.until, key)
			}
		}
	}
	if r.until == nil {
		r.until = map[string]time.Time{}
	}
	if len(r.until) < mostRefused {
		r.until[refusedKey(request, try+1)] = now.Add(life)
	}
}

// fresh reports whether this try is the first that was not turned away.
func (r *refused) fresh(request string, try int64, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !now.After(r.until[refusedKey(request, try)])
}

// done forgets a request that something came of.
func (r *refused) done(request string, try int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.until, refusedKey(request, try))
}

// Refused says that a request was turned away before anything was done.
func (s *Service) Refused(o Once) {
	if o.Key == "" {
		request, _ := s.digests(o)
		s.refused.mark(request, o.Try, s.db.Source().Now(), s.options.KeepAnswers)
	}
}

// digests are of the request, by which its answer is kept, and of its body.
func (s *Service) digests(o Once) (request, body string) {
	body = s.sealer.Digest(string(o.Body))
	if o.Key != "" {
		return s.sealer.Digest(o.Request + "\x00key\x00" + o.Key), body
	}
	return s.sealer.Digest(o.Request + "\x00body\x00" + body), body
}
