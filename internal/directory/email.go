package directory

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
	"sort"
)

const (
	chunkSize = 1024 // entries, at most
	chunkFill = 768  // entries of a chunk just built
)

// packed is an entry's index and, in the highest three bits, its status, which
// is here as well so that counting a chunk reads nothing but the chunk.
type packed uint32

func pack(index uint32, s Status) packed { return packed(uint32(s)<<29 | index) }
func (e packed) index() uint32           { return uint32(e) & (1<<29 - 1) }
func (e packed) status() Status          { return Status(e >> 29) }

// emailOrder is all entries in ascending order of e-mail, then number.
type emailOrder struct {
	d      *Directory
	chunks [][]packed // none is empty
	// bounds part the chunks: those before c are below bounds[c], the others
	// not. bounds[0] is not used. They are copies, so that finding the chunk
	// does not wait for memory all over the directory.
	bounds []key
	tally  tally // over chunks
}

func (o *emailOrder) bytes() int64 {
	// 24 and 40 for the two slices, some 40 for the text of the bound.
	return int64(len(o.chunks)) * (chunkSize*4 + 24 + 40 + 40 + tallyBytes)
}

// build fills an empty order with sorted entries.
func (o *emailOrder) build(sorted []uint32) {
	for part := range slices.Chunk(sorted, chunkFill) {
		chunk := make([]packed, 0, chunkSize)
		o.tally.append()
		for _, i := range part {
			s, _ := o.d.blocks[i/blockSize].status(int(i % blockSize))
			chunk = append(chunk, pack(i, s))
			o.tally.add(len(o.chunks), s, 1)
		}
		o.chunks = append(o.chunks, chunk)
		o.bounds = append(o.bounds, o.boundBefore(chunk[0]))
	}
}

func (o *emailOrder) boundBefore(e packed) key {
	k := o.d.keyOf(int(e.index()))
	return key{bytes.Clone(k.email), k.index}
}

// locate returns the chunk and the offset in it of the first entry that is not
// below k; if the chunk has none, the offset is its length. That is also where k
// belongs. Without any chunk both are 0.
func (o *emailOrder) locate(k key) (c, offset int) {
	if len(o.chunks) == 0 {
		return 0, 0
	}
	c = sort.Search(len(o.bounds)-1, func(i int) bool { return o.bounds[i+1].compare(k) > 0 })
	chunk := o.chunks[c]
	return c, sort.Search(len(chunk), func(i int) bool {
		return o.d.keyOf(int(chunk[i].index())).compare(k) >= 0
	})
}

// insert adds an entry that is not there.
func (o *emailOrder) insert(k key, s Status) {
	if len(o.chunks) == 0 {
		o.chunks = append(o.chunks, make([]packed, 0, chunkSize))
		o.bounds = append(o.bounds, key{})
		o.tally.append()
	}
	c, offset := o.locate(k)
	if len(o.chunks[c]) == chunkSize {
		o.split(c)
		c, offset = o.locate(k)
	}
	o.chunks[c] = slices.Insert(o.chunks[c], offset, pack(uint32(k.index), s))
	o.tally.add(c, s, 1)
}

func (o *emailOrder) split(c int) {
	low, high := o.chunks[c][:chunkSize/2], make([]packed, 0, chunkSize)
	high = append(high, o.chunks[c][chunkSize/2:]...)
	o.chunks = slices.Replace(o.chunks, c, c+1, low, high)
	o.bounds = slices.Insert(o.bounds, c+1, o.boundBefore(high[0]))
	o.tally.splice(c, countStatuses(low), countStatuses(high))
}

func countStatuses(chunk []packed) (n [8]uint16) {
	for _, e := range chunk {
		n[e.status()]++
	}
	return n
}

// remove takes an entry out, which is there with status s.
func (o *emailOrder) remove(k key, s Status) {
	c, offset := o.locate(k)
	o.chunks[c] = slices.Delete(o.chunks[c], offset, offset+1)
	o.tally.add(c, s, -1)
	if len(o.chunks[c]) == 0 {
		o.chunks = slices.Delete(o.chunks, c, c+1)
		o.bounds = slices.Delete(o.bounds, c, c+1)
		o.tally.splice(c)
	}
}

// restatus gives an entry, which is there with status old, another one.
func (o *emailOrder) restatus(k key, old, s Status) {
	c, offset := o.locate(k)
	o.chunks[c][offset] = pack(uint32(k.index), s)
	o.tally.add(c, old, -1)
	o.tally.add(c, s, 1)
}

// sorting is the building of an email order, which goes on without the lock.
type sorting struct {
	columns []column // snapshots of
	present []uint64 // what is sorted
	done    chan struct{}
	dirty   []uint32 // entries that came or moved meanwhile; may repeat
}

// rlockSorted takes the read lock at a moment when the order of the e-mails is there.
func (d *Directory) rlockSorted() {
	d.mu.RLock()
	for d.emails == nil {
		d.mu.RUnlock()
		if s, mine := d.startSort(); mine {
			d.finishSort(s, sortedByEmail(s.columns, s.present))
		} else if s != nil {
			<-s.done
		}
		d.mu.RLock()
	}
}

// startSort begins the building of the order of the e-mails. It is the caller's
// to finish if mine; otherwise another caller is at it, or there is nothing to do
// and s is nil.
func (d *Directory) startSort() (s *sorting, mine bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sorting != nil || d.emails != nil {
		return d.sorting, false
	}
	d.sorting = &sorting{columns: d.columns(emailField), present: d.present(), done: make(chan struct{})}
	return d.sorting, true
}

// finishSort puts the order in place, with what has changed since startSort.
func (d *Directory) finishSort(s *sorting, sorted []uint32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sorting = nil
	close(s.done)
	if d.isBulk(len(s.dirty)) {
		// A load goes on at the same time. Sort what is there and be done.
		sorted, s.dirty = sortedByEmail(d.columns(emailField), d.present()), nil
	}
	slices.Sort(s.dirty)
	s.dirty = slices.Compact(s.dirty)
	if len(s.dirty) > 0 {
		sorted = slices.DeleteFunc(sorted, func(i uint32) bool {
			_, dirty := slices.BinarySearch(s.dirty, i)
			return dirty
		})
	}
	d.emails = &emailOrder{d: d}
	d.emails.build(sorted)
	for _, i := range s.dirty {
		status, _ := d.blocks[i/blockSize].status(int(i % blockSize))
		d.emails.insert(d.keyOf(int(i)), status)
	}
}

// present returns the bitmap of the entries there are.
func (d *Directory) present() []uint64 {
	set := make([]uint64, 0, len(d.blocks)*blockWords)
	for _, b := range d.blocks {
		for w := range blockWords {
			set = append(set, b.word(w, AllStatuses))
		}
	}
	return set
}

// sortItem is an entry and eight bytes of its e-mail, which decide nearly all
// comparisons without a look at the e-mail itself.
type sortItem struct {
	bytes uint64
	index uint32
}

// sortedByEmail returns the entries that are present in order of e-mail, then number.
func sortedByEmail(columns []column, present []uint64) []uint32 {
	n := 0
	for _, x := range present {
		n += bits.OnesCount64(x)
	}
	items := make([]sortItem, 0, n)
	for w, x := range present {
		for ; x != 0; x &= x - 1 {
			items = append(items, sortItem{index: uint32(w*64 + bits.TrailingZeros64(x))})
		}
	}
	sortItems(columns, items, 0)
	sorted := make([]uint32, n)
	for i, item := range items {
		sorted[i] = item.index
	}
	return sorted
}

// sortItems sorts items whose e-mails are known to agree in the first depth bytes.
func sortItems(columns []column, items []sortItem, depth int) {
	email := func(i uint32) []byte { return columns[i/blockSize].at(int(i % blockSize)) }
	if len(items) < 32 || depth > 64 {
		slices.SortFunc(items, func(a, b sortItem) int {
			ka, kb := key{email(a.index), int64(a.index)}, key{email(b.index), int64(b.index)}
			return ka.compare(kb)
		})
		return
	}
	for i := range items {
		items[i].bytes = bytesAt(email(items[i].index), depth)
	}
	slices.SortFunc(items, func(a, b sortItem) int { return cmp.Compare(a.bytes, b.bytes) })
	for len(items) > 0 {
		n := 1
		for n < len(items) && items[n].bytes == items[0].bytes {
			n++
		}
		if n > 1 {
			sortItems(columns, items[:n], depth+8)
		}
		items = items[n:]
	}
}

// bytesAt returns the eight bytes from depth on as a number that compares as
// they do, with zeros behind the end.
func bytesAt(text []byte, depth int) uint64 {
	text = text[min(depth, len(text)):]
	if len(text) >= 8 {
		return binary.BigEndian.Uint64(text)
	}
	var padded [8]byte
	copy(padded[:], text)
	return binary.BigEndian.Uint64(padded[:])
}
