// Package directory is the in-memory index of one owner's children (the managed
// accounts of a manager, the users of an organization) from which every list is
// answered: which rows, in which order, how many. The rows stay in SQL; a
// directory yields their running numbers.
//
// Entries lie in blocks of 512 consecutive numbers. A block holds the
// lower-cased texts end to end, so that a contains search is one pass over
// contiguous bytes, and one bitmap per status, so that counting is popcount.
// The order of the e-mails is a list of chunks of entries. Over blocks and over
// chunks alike a tally counts the statuses, which makes any position of a list a
// short walk. A million entries with 30-byte e-mails and 20-byte names take some
// 70 MB. The costs named below are those of a million entries on one ordinary core.
package directory

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Status is one of eight; what it means is the caller's.
type Status uint8

// Statuses is a set: the bit 1<<Status for each member.
type Statuses uint8

// AllStatuses is the set that excludes nobody.
const AllStatuses Statuses = 0xff

// Limits of an Entry. They are far beyond what is sensible; they keep offsets
// within 32 bits.
const (
	MaxNumber = 1 << 29 // the highest running number
	MaxText   = 4 << 20 // the longest e-mail or name, in bytes, once lower-cased
)

// Entry is one child of the owner.
type Entry struct {
	// Number counts the owner's children in order of creation, from 1 to
	// MaxNumber. Numbers are dense; one not put yet matches nothing.
	Number int64
	// Email is kept lower-cased. Two entries may share one; Number breaks the tie.
	Email string
	// Name is the organization's, "" for a user; kept lower-cased.
	Name string
	// Status is 0 to 7.
	Status Status
}

// Order is the order of a list. Equal e-mails are ordered by number.
type Order uint8

// The orders.
const (
	ByNumber Order = iota // as created
	ByEmail               // by the bytes of the lower-cased e-mail
)

// Query says which entries a list has, and in which order. Its zero value
// matches nothing, as Statuses is empty.
type Query struct {
	Statuses   Statuses
	Order      Order
	Descending bool

	// EmailContains and NameContains look for a substring, ignoring case as
	// strings.ToLower does. "" matches every entry; both given, both must match.
	EmailContains string
	NameContains  string
	// Contains is the same for either of the two.
	Contains string

	// Only, unless nil, holds the only numbers that may match, ascending.
	// Empty, nothing matches; numbers that are not in the directory are skipped.
	Only []int64
}

// Key is a position in either order: that of an entry with this lower-cased
// e-mail and this number, whether or not there is one.
type Key struct {
	Email  string
	Number int64
}

// Page is a stretch of a list.
type Page struct {
	// Numbers are the running numbers in the order of the query, at most as
	// many as the limit; nil if there are none.
	Numbers []int64
	// Rest counts the matches from the page's first entry to the end of the
	// list, the page included.
	Rest int64
	// Last is where the page ends, for After. Zero if Numbers is empty.
	Last Key
}

// Directory is the index of one owner's children. The zero value is empty and
// ready; it must not be copied. All methods may be called at the same time.
type Directory struct {
	mu     sync.RWMutex
	blocks []*block // entry i, number i+1, is in blocks[i/blockSize]
	tally  tally    // over blocks
	len    int
	size   int64 // bytes of the blocks' own memory

	// emails is built when it is first asked for, and dropped when a Put is so
	// large that sorting anew is cheaper than inserting.
	emails  *emailOrder
	sorting *sorting // the building in progress, or nil

	matches []*match     // the contains searches remembered
	clock   atomic.Int64 // stamps their use
}

// New returns an empty directory.
func New() *Directory { return new(Directory) }

// Len returns how many entries there are.
func (d *Directory) Len() int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.len
}

// Bytes estimates the memory held, for a cache of directories. It costs well
// under a microsecond.
func (d *Directory) Bytes() int64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	n := int64(len(d.blocks))*(8+tallyBytes) + d.size
	if d.emails != nil {
		n += d.emails.bytes()
	}
	for _, m := range d.matches {
		n += int64(cap(m.bits))*8 + int64(cap(m.dirty))*4 + int64(len(m.term))
	}
	return n
}

// Put adds entries and replaces those whose number is known; of two with the
// same number the last counts. A batch becomes visible as a whole. It panics on
// a number, status or text out of range, before anything is changed.
//
// A new entry costs about 2 µs on its own and 0.3 µs in a batch of thousands; a
// changed text costs about 10 µs. A batch of more than a sixteenth of the directory
// leaves the order of the e-mails to be sorted by the next query that needs it,
// which takes about 0.2 s and blocks nobody but those queries.
func (d *Directory) Put(entries ...Entry) {
	edits := newEdits(entries)
	if len(edits) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.grow(edits[len(edits)-1].index/blockSize + 1)
	if d.isBulk(len(edits)) {
		d.emails = nil
	}
	for len(edits) > 0 {
		b := edits[0].index / blockSize
		n := 1
		for n < len(edits) && edits[n].index/blockSize == b {
			n++
		}
		d.putInBlock(b, edits[:n])
		edits = edits[n:]
	}
}

// isBulk reports whether so many changes had better be sorted than inserted.
func (d *Directory) isBulk(changes int) bool { return changes > 64+d.len/16 }

// edit is an entry on its way into the directory.
type edit struct {
	index       int
	email, name string // lower-cased
	status      Status
	// What the edit changes, once known. A new entry has moved, too.
	moved, renamed bool
}

// newEdits checks and lower-cases entries and puts them in order, so that each
// block is touched once.
func newEdits(entries []Entry) []edit {
	edits := make([]edit, len(entries))
	for i, e := range entries {
		if e.Number < 1 || e.Number > MaxNumber || e.Status > 7 {
			panic(fmt.Sprintf("directory: number %d or status %d out of range", e.Number, e.Status))
		}
		edits[i] = edit{index: int(e.Number - 1), email: strings.ToLower(e.Email), name: strings.ToLower(e.Name), status: e.Status}
		if len(edits[i].email) > MaxText || len(edits[i].name) > MaxText {
			panic(fmt.Sprintf("directory: text of number %d is too long", e.Number))
		}
	}
	byIndex := func(a, b edit) int { return a.index - b.index }
	if !slices.IsSortedFunc(edits, byIndex) {
		slices.SortStableFunc(edits, byIndex)
	}
	last := edits[:0]
	for i, e := range edits {
		if i+1 == len(edits) || edits[i+1].index != e.index {
			last = append(last, e)
		}
	}
	return last
}

// grow makes room for n blocks.
func (d *Directory) grow(n int) {
	for len(d.blocks) < n {
		d.blocks = append(d.blocks, &emptyBlock)
		d.tally.append()
	}
	for _, m := range d.matches {
		if m.ready {
			m.grow(n)
		}
	}
}

// putInBlock applies edits, all of them for block b.
func (d *Directory) putInBlock(b int, edits []edit) {
	blk := d.blocks[b]
	if blk == &emptyBlock {
		blk = new(block)
		d.blocks[b] = blk
		d.size += blockBytes
	}
	// Entries leave their place among the e-mails while their old text is
	// there to find it by.
	var emails, names []slotText
	for i := range edits {
		e := &edits[i]
		slot := e.index % blockSize
		old, known := blk.status(slot)
		e.moved = !known || string(blk.email.at(slot)) != e.email
		e.renamed = !known || string(blk.name.at(slot)) != e.name
		if e.moved {
			emails = append(emails, slotText{slot, e.email})
		}
		if e.renamed {
			names = append(names, slotText{slot, e.name})
		}
		if known && d.emails != nil {
			if e.moved {
				d.emails.remove(d.keyOf(e.index), old)
			} else if old != e.status {
				d.emails.restatus(d.keyOf(e.index), old, e.status)
			}
		}
	}
	d.size -= blk.email.bytes() + blk.name.bytes()
	blk.email.set(emails)
	blk.name.set(names)
	d.size += blk.email.bytes() + blk.name.bytes()

	for _, e := range edits {
		slot := e.index % blockSize
		if old, known := blk.status(slot); known {
			blk.clear(slot, old)
			d.tally.add(b, old, -1)
		} else {
			d.len++
		}
		blk.mark(slot, e.status)
		d.tally.add(b, e.status, 1)
		if e.moved {
			if d.emails != nil {
				d.emails.insert(d.keyOf(e.index), e.status)
			}
			if d.sorting != nil {
				d.sorting.dirty = append(d.sorting.dirty, uint32(e.index))
			}
		}
		for _, m := range d.matches {
			if m.field == emailField && e.moved {
				m.update(e.index, e.email)
			}
			if m.field == nameField && e.renamed {
				m.update(e.index, e.name)
			}
		}
	}
}

// email returns the lower-cased e-mail of entry i. It is the directory's own memory.
func (d *Directory) email(i uint32) []byte {
	return d.blocks[i/blockSize].email.at(int(i % blockSize))
}

func (d *Directory) keyOf(i int) key { return key{d.email(uint32(i)), int64(i)} }

// From returns the page that begins after skip matches. A negative skip or limit
// counts as 0.
//
// Without contains and Only it costs a few microseconds at any position. The
// first search for a term reads all texts, some 10 ms; it is remembered, and
// then a page costs up to 0.4 ms by number and up to 3 ms by e-mail. With a
// short Only the cost is that of looking at its entries.
func (d *Directory) From(q Query, skip, limit int) Page {
	var p Page
	d.read(q, func(r ranking) { p = d.page(r, q.Descending, r.total(), skip, limit) })
	return p
}

// After returns the page that begins with the first match strictly after a
// position, in the order and direction of the query. By number only the number
// of the position counts. A walk by After meets no entry twice and leaves out
// none that matches throughout, whatever is put meanwhile; but an entry whose
// e-mail changes moves in the order of the e-mails, and may be met at both places
// or at neither. The cost is that of From, twice that in the worst case.
func (d *Directory) After(q Query, after Key, limit int) Page {
	k := key{[]byte(after.Email), max(after.Number, 0) - 1}
	var p Page
	d.read(q, func(r ranking) {
		total := r.total()
		skip := r.before(k, true)
		if q.Descending {
			skip = total - r.before(k, false)
		}
		p = d.page(r, q.Descending, total, skip, limit)
	})
	return p
}

// Count returns how many entries match; order and direction are ignored. It
// costs what From by number does.
func (d *Directory) Count(q Query) int64 {
	q.Order = ByNumber
	var n int
	d.read(q, func(r ranking) { n = r.total() })
	return int64(n)
}

// page cuts a page out of a ranking.
func (d *Directory) page(r ranking, descending bool, total, skip, limit int) Page {
	rest := max(total-max(skip, 0), 0)
	n := min(max(limit, 0), rest)
	page := Page{Rest: int64(rest)}
	if n == 0 {
		return page
	}
	first := total - rest
	if descending {
		first = rest - n
	}
	found := r.slice(first, n)
	if descending {
		slices.Reverse(found)
	}
	page.Numbers = make([]int64, n)
	for i, index := range found {
		page.Numbers[i] = int64(index) + 1
	}
	page.Last = Key{Email: string(d.email(found[n-1])), Number: page.Numbers[n-1]}
	return page
}

// read calls f with the matches of q while nothing changes.
func (d *Directory) read(q Query, f func(ranking)) {
	email, name, either := strings.ToLower(q.EmailContains), strings.ToLower(q.NameContains), strings.ToLower(q.Contains)
	if q.Only != nil && len(q.Only) <= few {
		d.mu.RLock()
		defer d.mu.RUnlock()
		f(newListed(d, q.Order, d.choose(q, email, name, either)))
		return
	}
	var searches []*match
	if email != "" {
		m := d.search(emailField, email)
		defer m.release()
		searches = append(searches, m)
	}
	if name != "" {
		m := d.search(nameField, name)
		defer m.release()
		searches = append(searches, m)
	}
	var halves []*match
	if either != "" {
		for _, f := range []field{emailField, nameField} {
			m := d.search(f, either)
			defer m.release()
			halves = append(halves, m)
		}
	}
	if q.Order == ByEmail {
		d.rlockSorted()
	} else {
		d.mu.RLock()
	}
	defer d.mu.RUnlock()

	set := d.combine(searches, halves, q.Only)
	r := numbered{d, q.Statuses, set}
	if q.Order == ByNumber {
		f(r)
		return
	}
	if set != nil {
		if n := r.total(); n <= few {
			f(newListed(d, ByEmail, r.slice(0, n)))
			return
		}
	}
	f(emailed{d, q.Statuses, set})
}

// choose returns the entries among q.Only that match, ascending.
func (d *Directory) choose(q Query, email, name, either string) []uint32 {
	var found []uint32
	for n, number := range q.Only {
		if number < 1 || number > int64(len(d.blocks))*blockSize || n > 0 && number == q.Only[n-1] {
			continue
		}
		i := uint32(number - 1)
		blk, slot := d.blocks[i/blockSize], int(i%blockSize)
		status, known := blk.status(slot)
		if known && q.Statuses&(1<<status) != 0 && contains(blk.email.at(slot), email) && contains(blk.name.at(slot), name) &&
			(contains(blk.email.at(slot), either) || contains(blk.name.at(slot), either)) {
			found = append(found, i)
		}
	}
	return found
}

// combine returns the bitmap of the entries in all of the searches, in any of the
// halves and in only, or nil if that excludes nobody. It has the length of the blocks;
// the caller does not change it.
func (d *Directory) combine(searches, halves []*match, only []int64) []uint64 {
	var set []uint64
	own := false // is set, so that it may be changed
	and := func(bits []uint64) {
		switch {
		case set == nil:
			set = bits
		case !own:
			both := make([]uint64, len(set))
			for w := range both {
				both[w] = set[w] & bits[w]
			}
			set, own = both, true
		default:
			for w := range set {
				set[w] &= bits[w]
			}
		}
	}
	if only != nil {
		set, own = make([]uint64, len(d.blocks)*blockWords), true
		for _, number := range only {
			if i := number - 1; i >= 0 && i < int64(len(set))*64 {
				set[i/64] |= 1 << (i % 64)
			}
		}
	}
	for _, m := range searches {
		and(m.bits)
	}
	if halves != nil {
		any := make([]uint64, len(d.blocks)*blockWords)
		for _, m := range halves {
			for w := range any {
				any[w] |= m.bits[w]
			}
		}
		and(any)
	}
	return set
}

// sum adds up the counts of the statuses in a set.
func sum[T uint16 | uint32](counts *[8]T, of Statuses) int {
	n := 0
	for ; of != 0; of &= of - 1 {
		n += int(counts[bits.TrailingZeros8(uint8(of))])
	}
	return n
}
