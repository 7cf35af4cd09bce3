package directory

import "math/bits"

const (
	blockSize  = 512 // entries
	blockWords = blockSize / 64
	blockBytes = 640 // of a block without its texts
)

// block holds the entries of blockSize consecutive numbers. An entry's place
// within it is its slot.
type block struct {
	email, name column
	has         [8][blockWords]uint64 // for each status, the slots that have it
}

// emptyBlock stands for every block that has no entry yet. It is never changed.
var emptyBlock block

// status returns the status of a slot, and whether there is an entry at all.
func (b *block) status(slot int) (Status, bool) {
	for s := range b.has {
		if b.has[s][slot/64]>>(slot%64)&1 != 0 {
			return Status(s), true
		}
	}
	return 0, false
}

func (b *block) column(f field) *column {
	if f == nameField {
		return &b.name
	}
	return &b.email
}

func (b *block) mark(slot int, s Status)  { b.has[s][slot/64] |= 1 << (slot % 64) }
func (b *block) clear(slot int, s Status) { b.has[s][slot/64] &^= 1 << (slot % 64) }

// word returns which of the 64 slots from 64*w on have a status in the set.
func (b *block) word(w int, of Statuses) uint64 {
	var x uint64
	for ; of != 0; of &= of - 1 {
		x |= b.has[bits.TrailingZeros8(uint8(of))][w]
	}
	return x
}

// column is the texts of a block, end to end.
//
// What a column once held stays as it is: set appends behind it or makes it
// anew. So a copy of a column is a snapshot that can be read without a lock.
type column struct {
	text []byte
	ends []uint32 // where in text each slot ends; slots beyond are empty
}

func (c *column) at(slot int) []byte {
	if slot >= len(c.ends) {
		return nil
	}
	return c.text[c.start(slot):c.ends[slot]]
}

func (c *column) start(slot int) uint32 {
	if slot == 0 {
		return 0
	}
	return c.ends[slot-1]
}

func (c *column) bytes() int64 { return int64(cap(c.text)) + 4*int64(cap(c.ends)) }

// slotText is a text for a slot.
type slotText struct {
	slot int
	text string
}

// set gives slots new texts. They are ascending.
func (c *column) set(texts []slotText) {
	if len(texts) == 0 {
		return
	}
	if texts[0].slot < len(c.ends) {
		old := *c
		size, slots := len(old.text), max(len(old.ends), texts[len(texts)-1].slot+1)
		for _, t := range texts {
			size += len(t.text)
		}
		*c = column{make([]byte, 0, size), make([]uint32, 0, slots)}
		for _, t := range texts {
			c.appendRun(&old, t.slot)
			c.append(t)
			c.pad(t.slot + 1) // or the run would bring back what an empty text replaces
		}
		c.appendRun(&old, len(old.ends))
	} else {
		for _, t := range texts {
			c.append(t)
		}
	}
	// A block that is full will not grow any more: give back what append kept
	// in reserve.
	if len(c.ends) == blockSize && cap(c.text)-len(c.text) > len(c.text)/16 {
		c.text = append(make([]byte, 0, len(c.text)), c.text...)
	}
}

// append adds a text behind all others. Slots left out become empty; an empty
// text needs no room.
func (c *column) append(t slotText) {
	if t.text == "" {
		return
	}
	c.pad(t.slot)
	c.text = append(c.text, t.text...)
	c.ends = append(c.ends, uint32(len(c.text)))
}

// pad makes the slots before a slot that have no end yet empty.
func (c *column) pad(slot int) {
	for len(c.ends) < slot {
		c.ends = append(c.ends, uint32(len(c.text)))
	}
}

// appendRun copies the slots of old from the first that c does not have up to,
// and not including, a slot.
func (c *column) appendRun(old *column, to int) {
	from := len(c.ends)
	to = min(to, len(old.ends))
	if from >= to {
		return
	}
	shift := uint32(len(c.text)) - old.start(from)
	c.text = append(c.text, old.text[old.start(from):old.ends[to-1]]...)
	for _, end := range old.ends[from:to] {
		c.ends = append(c.ends, end+shift)
	}
}
