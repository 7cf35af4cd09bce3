package directory

import (
	"bytes"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
)

// maxMatches is how many searches a directory remembers.
const maxMatches = 8

// field is a text of an entry.
type field uint8

const (
	emailField field = iota
	nameField
)

// match is a contains search that is remembered: its answer as a bitmap, which
// Put keeps right. Walking the pages of a search so costs one scan.
type match struct {
	field field
	term  string
	done  chan struct{} // closed when the first scan is over

	used atomic.Int64 // when last, by the directory's clock
	pins atomic.Int32 // queries that are about to read it; it is not forgotten meanwhile

	// Guarded by the directory's lock.
	ready bool
	bits  []uint64 // as long as the blocks, once ready
	dirty []uint32 // entries changed during the scan
}

func (m *match) release() { m.pins.Add(-1) }

// grow makes room for so many blocks.
func (m *match) grow(blocks int) {
	if n := blocks*blockWords - len(m.bits); n > 0 {
		m.bits = append(m.bits, make([]uint64, n)...)
	}
}

// update takes note of an entry's new text.
func (m *match) update(i int, text string) {
	if !m.ready {
		m.dirty = append(m.dirty, uint32(i))
		return
	}
	m.set(i, strings.Contains(text, m.term))
}

func (m *match) set(i int, matches bool) {
	if matches {
		m.bits[i/64] |= 1 << (i % 64)
	} else {
		m.bits[i/64] &^= 1 << (i % 64)
	}
}

// search returns the entries whose field contains a lower-cased term that is not
// empty. The bitmap may be read under the lock until the caller releases it.
// However many ask for a term at once, it is scanned for once, without the lock.
func (d *Directory) search(f field, term string) *match {
	d.mu.RLock()
	m := d.remembered(f, term)
	d.mu.RUnlock()
	if m == nil {
		var columns []column
		var mine bool
		if m, columns, mine = d.startSearch(f, term); mine {
			d.finishSearch(m, scan(columns, []byte(term)))
		}
	}
	<-m.done
	return m
}

// startSearch returns the search for a term, pinned. If it is mine, the caller
// has to scan the columns and to finish it.
func (d *Directory) startSearch(f field, term string) (m *match, columns []column, mine bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m := d.remembered(f, term); m != nil {
		return m, nil, false
	}
	// The term may be part of a long request: keep no more than the term.
	m = &match{field: f, term: strings.Clone(term), done: make(chan struct{})}
	m.pins.Add(1)
	m.used.Store(d.clock.Add(1))
	d.forget(maxMatches - 1)
	d.matches = append(d.matches, m)
	return m, d.columns(f), true
}

// finishSearch makes what was found the answer, with what has changed since startSearch.
func (d *Directory) finishSearch(m *match, found []uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m.bits = found
	m.grow(len(d.blocks))
	for _, i := range m.dirty {
		text := d.blocks[i/blockSize].column(m.field).at(int(i % blockSize))
		m.set(int(i), contains(text, m.term))
	}
	m.dirty, m.ready = nil, true
	close(m.done)
}

// remembered returns the search for a term, pinned, or nil.
func (d *Directory) remembered(f field, term string) *match {
	for _, m := range d.matches {
		if m.field == f && m.term == term {
			m.pins.Add(1)
			m.used.Store(d.clock.Add(1))
			return m
		}
	}
	return nil
}

// forget drops the searches used longest ago until only so many are left, or
// all of those left are in use.
func (d *Directory) forget(left int) {
	for len(d.matches) > left {
		oldest := -1
		for i, m := range d.matches {
			if m.pins.Load() == 0 && (oldest < 0 || m.used.Load() < d.matches[oldest].used.Load()) {
				oldest = i
			}
		}
		if oldest < 0 {
			return
		}
		last := len(d.matches) - 1
		d.matches[oldest] = d.matches[last]
		d.matches[last] = nil
		d.matches = d.matches[:last]
	}
}

// columns returns a snapshot of one text of all entries.
func (d *Directory) columns(f field) []column {
	columns := make([]column, len(d.blocks))
	for i, b := range d.blocks {
		columns[i] = *b.column(f)
	}
	return columns
}

// scan returns the bitmap of the entries that contain a term.
func scan(columns []column, term []byte) []uint64 {
	const atOnce = 16
	found := make([]uint64, len(columns)*blockWords)
	var taken atomic.Int64
	work := func() {
		for {
			end := int(taken.Add(atOnce))
			for b := end - atOnce; b < min(end, len(columns)); b++ {
				columns[b].scan(term, found[b*blockWords:(b+1)*blockWords])
			}
			if end >= len(columns) {
				return
			}
		}
	}
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(columns)/atOnce) - 1 {
		workers.Go(work)
	}
	work()
	workers.Wait()
	return found
}

// scan sets the bits of the slots that contain a term.
func (c *column) scan(term []byte, found []uint64) {
	// bytes.Index is slow for more than 63 bytes; the beginning decides nearly always.
	head := term[:min(len(term), 32)]
	for slot, pos := 0, 0; ; slot++ {
		i := bytes.Index(c.text[pos:], head)
		if i < 0 {
			return
		}
		for int(c.ends[slot]) <= pos+i {
			slot++
		}
		// What reaches into the next slot is no match, and then nothing after it
		// in this slot is either. So whatever comes out, go on with the next slot.
		end := int(c.ends[slot])
		if pos+i+len(term) <= end && (len(head) == len(term) || bytes.Contains(c.text[pos+i:end], term)) {
			found[slot/64] |= 1 << (slot % 64)
		}
		pos = end
	}
}

// contains reports whether a text contains a term, which may be empty.
func contains(text []byte, term string) bool {
	return term == "" || bytes.Contains(text, []byte(term))
}
