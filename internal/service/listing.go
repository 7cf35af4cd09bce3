package service

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenantry/tenantry/internal/directory"
	"github.com/tenantry/tenantry/internal/store"
)

// Page asks for one page of a list.
type Page struct {
	// Number counts from 1.
	Number int64
	// Size is how many there are on a page.
	Size int64
	// Reader is whose pages these are: a credential.
	Reader string
	// Client tells apart readers with one credential: a connection.
	Client string
	// Retry says that the reader has asked for this page before.
	Retry bool

	query string
}

// Place tells where a page stands.
type Place struct {
	// Total is how many there are in the list as its reader sees it.
	Total int64
}

// listings keeps the directories of one kind, by owner, and the walks through
// them. A directory is never trusted to be up to date: each list first asks the
// database for the owner's counters and takes over what has changed since, so
// that it holds on any number of nodes and needs no notice.
type listings struct {
	db   *store.DB
	load loader
	most int64

	mu     sync.Mutex
	owners map[string]*listing
	total  int64 // bytes
}

// listingOverhead is what a listing takes beside its directory, in bytes.
const listingOverhead = 1024

type loader func(tx *store.Tx, owner string, rows, revision int64, entry func(directory.Entry) error) (int64, int64, error)

type listing struct {
	directory *directory.Directory
	used      atomic.Int64
	bytes     int64 // as counted in listings.total, under its lock

	mu             sync.Mutex // refreshing
	rows, revision int64

	walks walks
}

func newListings(db *store.DB, load loader, most int64) *listings {
	return &listings{db: db, load: load, most: most, owners: map[string]*listing{}}
}

func (l *listings) of(owner string) *listing {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.owners[owner]
	if list == nil {
		list = &listing{directory: directory.New()}
		l.owners[owner] = list
	}
	list.used.Store(l.db.Source().Now().UnixNano())
	return list
}

// shrink counts what a directory has grown by and, when all hold more than they
// may together, drops those that were not used for longest. The one in use stays.
func (l *listings) shrink(owner string, keep *listing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owners[owner] != keep {
		return // dropped meanwhile
	}
	bytes := keep.directory.Bytes() + listingOverhead
	l.total += bytes - keep.bytes
	keep.bytes = bytes
	if l.total <= l.most {
		return
	}
	type candidate struct {
		owner string
		list  *listing
	}
	var candidates []candidate
	for owner, list := range l.owners {
		if list != keep {
			candidates = append(candidates, candidate{owner, list})
		}
	}
	slices.SortFunc(candidates, func(a, b candidate) int { return cmp.Compare(a.list.used.Load(), b.list.used.Load()) })
	for _, c := range candidates {
		// A tenth is made free at once, so that the next list need not do it again.
		if l.total <= l.most-l.most/10 {
			return
		}
		l.total -= c.list.bytes
		delete(l.owners, c.owner)
	}
}

// refresh takes over what the database knows and the directory does not.
func (l *listings) refresh(ctx context.Context, owner string, list *listing) error {
	list.mu.Lock()
	defer list.mu.Unlock()
	var grew bool
	err := l.db.View(ctx, func(tx *store.Tx) error {
		batch := make([]directory.Entry, 0, 64)
		rows, revision, err := l.load(tx, owner, list.rows, list.revision, func(e directory.Entry) error {
			if batch = append(batch, e); len(batch) == 8192 {
				list.directory.Put(batch...)
				batch = batch[:0]
				return ctx.Err()
			}
			return nil
		})
		if err != nil {
			return err
		}
		grew = list.rows != rows
		list.directory.Put(batch...)
		list.rows, list.revision = rows, revision
		return nil
	})
	if err == nil && grew {
		defer l.shrink(owner, list)
	}
	return err
}

// page is the numbers of one page.
func (l *listings) page(ctx context.Context, owner string, q directory.Query, p Page) ([]int64, Place, error) {
	list := l.of(owner)
	if err := l.refresh(ctx, owner, list); err != nil {
		return nil, Place{}, err
	}
	at := list.walks.find(p, l.db.Source().Now())
	var found directory.Page
	if at.known {
		found = list.directory.After(q, at.key, int(p.Size))
	} else {
		found = list.directory.From(q, int(at.served), int(p.Size))
	}
	total := at.served + found.Rest
	if found.Rest == 0 && !at.known && at.served > 0 {
		total = list.directory.Count(q)
	}
	list.walks.served(p, at, found, l.db.Source().Now())
	return found.Numbers, Place{Total: total}, nil
}

// A walk is one reader going from page to page. A page number alone names a
// place that moves as accounts are created and change; the walk remembers where
// the last page ended, so that the next one goes on right there: nothing that
// existed at the start is skipped or comes twice. Whoever jumps to a page that
// is not the next one gets it by counting.
type walk struct {
	client        string
	page          int64 // the page served last
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
}

type walkID struct {
	reader, query string
	size          int64
}

const (
	walkLife = 10 * time.Minute
	// mostWalks bounds the walks through one owner's list, walksAtOnce those of one
	// reader with one query.
	mostWalks   = 10_000
	walksAtOnce = 16
)

// find is where page p begins.
func (w *walks) find(p Page, now time.Time) position {
	if p.Number == 1 {
		return position{}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if walk, at := w.match(p, now); walk != nil {
		return at
	}
	if p.Number > 1<<40 {
		return position{served: 1 << 48} // past any end
	}
	return position{served: (p.Number - 1) * p.Size}
}

// match is the walk that page p continues, or repeats: of those that fit, the
// client's own before others', then the one to continue, or to repeat for a
// retry, then the one used last.
func (w *walks) match(p Page, now time.Time) (best *walk, at position) {
	rank := 0
	for _, walk := range w.byID[walkID{p.Reader, p.query, p.Size}] {
		if now.Sub(walk.used) > walkLife {
			continue
		}
		fits := 1
		var begins position
		switch walk.page {
		case p.Number - 1:
			begins = walk.after
		case p.Number:
			begins = walk.before
		default:
			continue
		}
		if p.Retry == (walk.page == p.Number) {
			fits++
		}
		if walk.client == p.Client {
			fits += 2
		}
		if fits > rank || fits == rank && !walk.used.Before(best.used) {
			best, at, rank = walk, begins, fits
		}
	}
	return best, at
}

// served remembers where the page ended.
func (w *walks) served(p Page, at position, found directory.Page, now time.Time) {
	end := at
	if n := len(found.Numbers); n > 0 {
		end = position{known: true, key: found.Last, served: at.served + int64(n)}
	} else if !at.known {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.Number > 1 {
		if walk, _ := w.match(p, now); walk != nil {
			walk.page, walk.before, walk.after, walk.used, walk.client = p.Number, at, end, now, p.Client
			return
		}
	}
	if int64(len(found.Numbers)) < p.Size {
		return // the last page: nothing goes on from here
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
	w.byID[id] = append(list, &walk{client: p.Client, page: p.Number, before: at, after: end, used: now})
	w.n++
}

// spare is the walk that is missed least: of those who looked at one page and
// went no further, else of all, the one used longest ago.
func spare(list []*walk) int {
	least := 0
	for i, x := range list {
		y := list[least]
		if x.before.known == y.before.known && x.used.Before(y.used) || !x.before.known && y.before.known {
			least = i
		}
	}
	return least
}

// forget drops the walks whose time is over, or all when none is.
func (w *walks) forget(now time.Time) {
	before := w.n
	for id, list := range w.byID {
		fresh := slices.DeleteFunc(list, func(x *walk) bool { return now.Sub(x.used) > walkLife })
		w.n -= len(list) - len(fresh)
		if w.byID[id] = fresh; len(fresh) == 0 {
			delete(w.byID, id)
		}
	}
	if w.n == before {
		w.byID, w.n = map[walkID][]*walk{}, 0
	}
}
