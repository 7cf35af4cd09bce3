package service

import (
	"slices"
	"sync"
	"time"

	"github.com/tenantry/tenantry/internal/directory"
)

// A walk is one reader going from page to page. A page number alone names a
// place that moves as accounts are created and change; the walk remembers where
// the last page ended, so that the next one goes on right there: nothing that
// existed at the start is skipped or comes twice. Whoever jumps to a page that
// is not the next one gets it by counting.
type walk struct {
	client        string // the connection that the last page went over
	page          int64  // the page served last
	ended         bool   // that page was not full
	before, after position
	used          time.Time
}

// position is a place in a list: after key, with served entries before it.
type position struct {
	known  bool
	key    directory.Key
	served int64
}

// walks are the walks through one owner's list.
type walks struct {
	mu   sync.Mutex
	byID map[walkID][]*walk
	n    int
	// shared is when a reader was last seen to use several connections for one
	// walk: then a connection says nothing of whose walk it is.
	shared map[string]time.Time
}

type walkID struct {
	reader, query string
	size          int64
}

const (
	walkLife = 10 * time.Minute
	// freshWalk is how long a connection speaks for a walk.
	freshWalk = 5 * time.Second
	// mostWalks bounds the walks through one owner's list, walksAtOnce those of one
	// reader with one query.
	mostWalks   = 10_000
	walksAtOnce = 16
)

// find is where page p begins, and the walk that it belongs to, if any.
func (w *walks) find(p Page, now time.Time) (*walk, position) {
	if p.Number == 1 {
		return nil, position{}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch found := w.match(p, now); {
	case found != nil && found.page == p.Number:
		return found, found.before
	case found != nil:
		return found, found.after
	case p.Number > 1<<40:
		return nil, position{served: 1 << 48} // past any end
	}
	return nil, position{served: (p.Number - 1) * p.Size}
}

// match is the walk that page p continues; a retry, or else who continues none,
// may repeat the last page of one. Of several it is the one used last: who walks
// once at a time has always used that one last, over however many connections.
// Two who walk at once with one credential are told apart by their connections,
// unless the reader is known to change those within a walk.
func (w *walks) match(p Page, now time.Time) *walk {
	var continued, repeated, own *walk
	sticky := now.Sub(w.shared[p.Reader]) > walkLife
	for _, x := range w.byID[walkID{p.Reader, p.query, p.Size}] {
		next := x.page == p.Number-1 && !x.ended
		switch {
		case now.Sub(x.used) > walkLife || !next && x.page != p.Number:
			continue
		case next:
			continued = later(continued, x)
		default:
			repeated = later(repeated, x)
		}
		if sticky && (next || p.Retry) && x.client == p.Client && now.Sub(x.used) < freshWalk {
			own = later(own, x)
		}
	}
	switch {
	case own != nil:
		return own
	case repeated != nil && (p.Retry || continued == nil):
		return later(continued, repeated)
	}
	return continued
}

// later is the one of two that was used later, or the one that there is.
func later(a, b *walk) *walk {
	if a == nil || !b.used.Before(a.used) {
		return b
	}
	return a
}

// served remembers where the page ended. A walk that somebody else took a step
// with meanwhile stays his.
func (w *walks) served(p Page, mine *walk, at position, found directory.Page, now time.Time) {
	end := at
	if n := len(found.Numbers); n > 0 {
		end = position{known: true, key: found.Last, served: at.served + int64(n)}
	} else if !at.known {
		return
	}
	ended := int64(len(found.Numbers)) < p.Size
	w.mu.Lock()
	defer w.mu.Unlock()
	if mine != nil && (at == mine.after || at == mine.before) {
		w.moved(mine, p, now)
		mine.page, mine.ended, mine.before, mine.after, mine.used, mine.client = p.Number, ended, at, end, now, p.Client
		return
	}
	if ended && p.Number == 1 {
		return // all there is: nothing goes on from here
	}
	if w.byID == nil || w.n >= mostWalks {
		w.forget(now)
	}
	id := walkID{p.Reader, p.query, p.Size}
	list := w.byID[id]
	if len(list) >= walksAtOnce {
		least := spare(list)
		list = slices.Delete(list, least, least+1)
		w.n--
	}
	w.byID[id] = append(list, &walk{client: p.Client, page: p.Number, ended: ended, before: at, after: end, used: now})
	w.n++
}

// moved notes that the reader changes connections within a walk. It may have had
// to, because one broke; then its walks are told apart less well for a while.
func (w *walks) moved(mine *walk, p Page, now time.Time) {
	if mine.client == p.Client || p.Retry {
		return
	}
	if w.shared == nil || len(w.shared) >= mostWalks {
		w.shared = map[string]time.Time{}
	}
	w.shared[p.Reader] = now
}

// spare is the walk that is missed least: of those that have ended or looked at
// one page and went no further, else of all, the one used longest ago.
func spare(list []*walk) int {
	idle := func(x *walk) bool { return x.ended || !x.before.known }
	least := 0
	for i, x := range list {
		y := list[least]
		if idle(x) == idle(y) && x.used.Before(y.used) || idle(x) && !idle(y) {
			least = i
		}
	}
	return least
}

// prune drops the walks whose time is over.
func (w *walks) prune(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drop(now)
}

func (w *walks) drop(now time.Time) {
	for id, list := range w.byID {
		fresh := slices.DeleteFunc(list, func(x *walk) bool { return now.Sub(x.used) > walkLife })
		w.n -= len(list) - len(fresh)
		if w.byID[id] = fresh; len(fresh) == 0 {
			delete(w.byID, id)
		}
	}
	for reader, at := range w.shared {
		if now.Sub(at) > walkLife {
			delete(w.shared, reader)
		}
	}
}

// forget makes room: it drops the walks whose time is over, or all when none is.
func (w *walks) forget(now time.Time) {
	before := w.n
	if w.drop(now); w.n == before {
		w.byID, w.n = map[walkID][]*walk{}, 0
	}
}
