package directory

import (
	"bytes"
	"cmp"
	"math/bits"
	"slices"
	"sort"
)

// few is up to how many entries are put in order by themselves, rather than
// picked from the order of all.
const few = 512

// ranking is the matches of a query in ascending order, ranked from 0.
type ranking interface {
	// total counts the matches.
	total() int
	// before counts the matches before a position, or, with at, those at it too.
	before(k key, at bool) int
	// slice returns the n matches from a rank on. There must be as many, and at
	// least one.
	slice(first, n int) []uint32
}

// key is a position in either order. Its index, the number less 1, may be one
// that no entry has.
type key struct {
	email []byte
	index int64
}

// compare orders by e-mail, then by number.
func (k key) compare(o key) int {
	if c := bytes.Compare(k.email, o.email); c != 0 {
		return c
	}
	return cmp.Compare(k.index, o.index)
}

// numbered is the entries of a status and, unless set is nil, of a set, in the
// order of their numbers.
type numbered struct {
	d   *Directory
	of  Statuses
	set []uint64
}

func (r numbered) word(b, w int) uint64 {
	x := r.d.blocks[b].word(w, r.of)
	if r.set != nil {
		x &= r.set[b*blockWords+w]
	}
	return x
}

// inBlocks counts the matches in the blocks before b.
func (r numbered) inBlocks(b int) int {
	if r.set == nil {
		return r.d.tally.before(b, r.of)
	}
	n := 0
	for i := range b {
		for w, x := range r.set[i*blockWords : (i+1)*blockWords] {
			if x != 0 {
				n += bits.OnesCount64(x & r.d.blocks[i].word(w, r.of))
			}
		}
	}
	return n
}

func (r numbered) total() int { return r.inBlocks(len(r.d.blocks)) }

func (r numbered) before(k key, at bool) int {
	end := k.index // the first entry that does not count
	if at && end < MaxNumber {
		end++
	}
	if end <= 0 {
		return 0
	}
	if end >= int64(len(r.d.blocks))*blockSize {
		return r.total()
	}
	b, slot := int(end/blockSize), int(end%blockSize)
	n := r.inBlocks(b)
	for w := range slot / 64 {
		n += bits.OnesCount64(r.word(b, w))
	}
	return n + bits.OnesCount64(r.word(b, slot/64)&(1<<(slot%64)-1))
}

func (r numbered) slice(first, n int) []uint32 {
	b := 0
	if r.set == nil {
		b, first = r.d.tally.find(first, r.of)
	}
	found := make([]uint32, 0, n)
	for ; len(found) < n; b = r.d.tally.next(b+1, r.of) {
		for w := range blockWords {
			x := r.word(b, w)
			if c := bits.OnesCount64(x); c <= first {
				first -= c
				continue
			}
			for ; x != 0 && len(found) < n; x &= x - 1 {
				if first > 0 {
					first--
					continue
				}
				found = append(found, uint32(b*blockSize+w*64+bits.TrailingZeros64(x)))
			}
		}
	}
	return found
}

// emailed is the same in the order of the e-mails.
type emailed struct {
	d   *Directory
	of  Statuses
	set []uint64
}

// match returns 1 if e is a match, or 0.
func (r emailed) match(e packed) int {
	m := int(r.of >> e.status() & 1)
	if r.set != nil {
		i := e.index()
		m &= int(r.set[i/64] >> (i % 64))
	}
	return m
}

func (r emailed) total() int {
	if r.set != nil {
		return numbered(r).total()
	}
	return r.d.emails.tally.before(len(r.d.emails.chunks), r.of)
}

func (r emailed) before(k key, at bool) int {
	if at && k.index < MaxNumber {
		k.index++
	}
	c, offset := r.d.emails.locate(k)
	n := 0
	if r.set == nil {
		n = r.d.emails.tally.before(c, r.of)
	} else {
		for _, chunk := range r.d.emails.chunks[:c] {
			for _, e := range chunk {
				n += r.match(e)
			}
		}
	}
	if c < len(r.d.emails.chunks) {
		for _, e := range r.d.emails.chunks[c][:offset] {
			n += r.match(e)
		}
	}
	return n
}

func (r emailed) slice(first, n int) []uint32 {
	order, c := r.d.emails, 0
	if r.set == nil {
		c, first = order.tally.find(first, r.of)
	}
	found := make([]uint32, 0, n)
	for ; len(found) < n; c = order.tally.next(c+1, r.of) {
		chunk := order.chunks[c]
		if first > 0 {
			// Counting alone is several times faster than a look at each.
			count := 0
			for _, e := range chunk {
				count += r.match(e)
			}
			if count <= first {
				first -= count
				continue
			}
		}
		for _, e := range chunk {
			if r.match(e) == 0 {
				continue
			}
			if first > 0 {
				first--
				continue
			}
			if len(found) == n {
				break
			}
			found = append(found, e.index())
		}
	}
	return found
}

// listed is a few entries that are known one by one.
type listed struct {
	d       *Directory
	entries []uint32
	compare func(a, b key) int
}

// newListed puts entries, given by number, in order.
func newListed(d *Directory, order Order, entries []uint32) listed {
	r := listed{d, entries, func(a, b key) int { return cmp.Compare(a.index, b.index) }}
	if order == ByEmail {
		r.compare = key.compare
		slices.SortFunc(entries, func(a, b uint32) int { return d.keyOf(int(a)).compare(d.keyOf(int(b))) })
	}
	return r
}

func (r listed) total() int { return len(r.entries) }

func (r listed) before(k key, at bool) int {
	return sort.Search(len(r.entries), func(i int) bool {
		c := r.compare(r.d.keyOf(int(r.entries[i])), k)
		return c > 0 || c == 0 && !at
	})
}

func (r listed) slice(first, n int) []uint32 { return slices.Clone(r.entries[first : first+n]) }
