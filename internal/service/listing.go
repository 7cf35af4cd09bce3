package service

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"

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
	exact *exact // nil for none
}

// exact is a filter that an index of the database answers: the numbers of the
// rows that match.
type exact struct {
	key  string
	read func(tx *store.Tx) ([]int64, error)
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
	matches        map[string]matches // of exact filters, by key

	walks walks
}

// matches are what an exact filter found in a state of the directory.
type matches struct {
	rows, revision int64
	numbers        []int64
}

const (
	// mostMatches bounds the exact filters that a listing remembers, and
	// longestMatches the numbers of each.
	mostMatches    = 4
	longestMatches = 1 << 21
)

// match is what an exact filter finds. It is remembered while nothing changes, so
// that the pages of one search cost a search once.
func (l *listings) match(ctx context.Context, list *listing, filter *exact) ([]int64, error) {
	list.mu.Lock()
	state := matches{rows: list.rows, revision: list.revision}
	kept, ok := list.matches[filter.key]
	list.mu.Unlock()
	if ok && kept.rows == state.rows && kept.revision == state.revision {
		return kept.numbers, nil
	}
	err := l.db.View(ctx, func(tx *store.Tx) (err error) {
		state.numbers, err = filter.read(tx)
		return err
	})
	if err != nil || len(state.numbers) > longestMatches {
		return state.numbers, err
	}
	list.mu.Lock()
	defer list.mu.Unlock()
	if list.matches == nil || len(list.matches) >= mostMatches {
		list.matches = map[string]matches{}
	}
	list.matches[filter.key] = state
	return state.numbers, nil
}

func newListings(db *store.DB, load loader, most int64) *listings {
	l := &listings{db: db, load: load, most: most, owners: map[string]*listing{}}
	db.TakenBack(l.forget)
	return l
}

// forget drops all directories: what they took over may be gone, and its numbers
// given to others.
func (l *listings) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.owners)
	l.total = 0
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

// prune forgets the walks whose time is over.
func (l *listings) prune() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, list := range l.owners {
		list.walks.prune(l.db.Source().Now())
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
	if p.exact != nil {
		var err error
		if q.Only, err = l.match(ctx, list, p.exact); err != nil {
			return nil, Place{}, err
		}
	}
	walk, at := list.walks.find(p, l.db.Source().Now())
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
	list.walks.served(p, walk, at, found, l.db.Source().Now())
	return found.Numbers, Place{Total: total}, nil
}
