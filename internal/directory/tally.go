package directory

import "slices"

const (
	groupSize  = 64
	tallyBytes = 17 // per stretch
)

// tally counts the statuses in each of a row of stretches (blocks, or chunks of
// the e-mail order). Groups of stretches are counted too, so that walking a
// million entries takes some dozens of steps.
type tally struct {
	stretches [][8]uint16
	groups    [][8]uint32 // of groupSize stretches each
}

// append adds an empty stretch.
func (t *tally) append() {
	if len(t.stretches)%groupSize == 0 {
		t.groups = append(t.groups, [8]uint32{})
	}
	t.stretches = append(t.stretches, [8]uint16{})
}

// add changes the count of one status in stretch i by n.
func (t *tally) add(i int, s Status, n int) {
	t.stretches[i][s] += uint16(n)
	t.groups[i/groupSize][s] += uint32(n)
}

// splice replaces stretch i by others, possibly none. All groups are counted
// anew, which takes microseconds but is needed once in hundreds of changes.
func (t *tally) splice(i int, by ...[8]uint16) {
	t.stretches = slices.Replace(t.stretches, i, i+1, by...)
	t.groups = t.groups[:0]
	for first := 0; first < len(t.stretches); first += groupSize {
		var group [8]uint32
		for _, counts := range t.stretches[first:min(first+groupSize, len(t.stretches))] {
			for s, n := range counts {
				group[s] += uint32(n)
			}
		}
		t.groups = append(t.groups, group)
	}
}

// before counts the entries in the stretches before i.
func (t *tally) before(i int, of Statuses) int {
	n := 0
	for g := range i / groupSize {
		n += sum(&t.groups[g], of)
	}
	for j := i - i%groupSize; j < i; j++ {
		n += sum(&t.stretches[j], of)
	}
	return n
}

// find returns the stretch that holds the entry with rank r, counted from 0, and
// how many entries of the stretch come before it. There must be such an entry.
func (t *tally) find(r int, of Statuses) (stretch, skip int) {
	g := 0
	for ; ; g++ {
		n := sum(&t.groups[g], of)
		if r < n {
			break
		}
		r -= n
	}
	for i := g * groupSize; ; i++ {
		n := sum(&t.stretches[i], of)
		if r < n {
			return i, r
		}
		r -= n
	}
}

// next returns the first stretch from i on that holds any entry of the set, or
// the number of stretches.
func (t *tally) next(i int, of Statuses) int {
	for i < len(t.stretches) {
		if i%groupSize == 0 && sum(&t.groups[i/groupSize], of) == 0 {
			i += groupSize
			continue
		}
		if sum(&t.stretches[i], of) != 0 {
			return i
		}
		i++
	}
	return len(t.stretches)
}
