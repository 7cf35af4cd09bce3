package directory

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// model is the directory as plainly as it can be said.
type model map[int64]Entry

func (m model) put(entries ...Entry) {
	for _, e := range entries {
		m[e.Number] = e
	}
}

func compareIn(order Order, a, b Key) int {
	if order == ByEmail {
		return cmp.Or(cmp.Compare(a.Email, b.Email), cmp.Compare(a.Number, b.Number))
	}
	return cmp.Compare(a.Number, b.Number)
}

// list returns all matches of a query in its order and direction.
func (m model) list(q Query) []Key {
	var keys []Key
	has := func(text, term string) bool { return strings.Contains(strings.ToLower(text), strings.ToLower(term)) }
	for _, e := range m {
		if q.Statuses&(1<<e.Status) != 0 && has(e.Email, q.EmailContains) && has(e.Name, q.NameContains) &&
			(has(e.Email, q.Contains) || has(e.Name, q.Contains)) && (q.Only == nil || slices.Contains(q.Only, e.Number)) {
			keys = append(keys, Key{strings.ToLower(e.Email), e.Number})
		}
	}
	slices.SortFunc(keys, func(a, b Key) int { return compareIn(q.Order, a, b) })
	if q.Descending {
		slices.Reverse(keys)
	}
	return keys
}

func pageOf(list []Key, skip, limit int) Page {
	list = list[min(max(skip, 0), len(list)):]
	p := Page{Rest: int64(len(list))}
	for _, k := range list[:min(max(limit, 0), len(list))] {
		p.Numbers = append(p.Numbers, k.Number)
		p.Last = k
	}
	return p
}

func (m model) from(q Query, skip, limit int) Page { return pageOf(m.list(q), skip, limit) }

func (m model) after(q Query, after Key, limit int) Page {
	list := m.list(q)
	skip := slices.IndexFunc(list, func(k Key) bool {
		c := compareIn(q.Order, k, after)
		return c > 0 && !q.Descending || c < 0 && q.Descending
	})
	if skip < 0 {
		skip = len(list)
	}
	return pageOf(list, skip, limit)
}

// Texts are made of few pieces, so that they collide, touch and contain one another.
var pieces = []string{"a", "b", "A", "ab", "ba", "@", ".", "é", "É", "İ", "\u212a", "\x00", "\xff", "\xc3", "com", "@ex", strings.Repeat("a", 40)}

func randomText(r *rand.Rand, most int) string {
	var b strings.Builder
	for range r.IntN(most + 1) {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	return b.String()
}

func randomEntry(r *rand.Rand, number int64) Entry {
	e := Entry{Number: number, Email: randomText(r, 6), Status: Status(r.IntN(8))}
	if number%3 != 0 {
		e.Name = randomText(r, 4)
	}
	return e
}

func drawRand(t *rapid.T) *rand.Rand {
	return rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
}

// drawTerm draws a piece of what there is, or something that is likely not there.
func drawTerm(t *rapid.T, label string) string {
	if rapid.IntRange(0, 2).Draw(t, label+" given") == 0 {
		return ""
	}
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 1, 3).Draw(t, label), "")
}

func drawQuery(t *rapid.T, highest int64) Query {
	q := Query{
		Statuses:      AllStatuses,
		Order:         rapid.SampledFrom([]Order{ByNumber, ByEmail}).Draw(t, "order"),
		Descending:    rapid.Bool().Draw(t, "descending"),
		EmailContains: drawTerm(t, "email term"),
		NameContains:  drawTerm(t, "name term"),
		Contains:      drawTerm(t, "term of either"),
	}
	if rapid.Bool().Draw(t, "by status") {
		q.Statuses = Statuses(rapid.Uint8().Draw(t, "statuses"))
	}
	switch rapid.IntRange(0, 5).Draw(t, "only") {
	case 0:
		q.Only = rapid.SliceOfN(rapid.Int64Range(-2, highest+700), 0, 20).Draw(t, "numbers")
		slices.Sort(q.Only)
	case 1: // more than few
		step := rapid.Int64Range(1, 3).Draw(t, "step")
		q.Only = []int64{}
		for n := int64(0); n < highest+600; n += step {
			q.Only = append(q.Only, n)
		}
	}
	return q
}

func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var (
			d       Directory
			m       = model{}
			highest int64
			keys    = []Key{{}, {"", -1 << 63}, {"\xff", 1<<63 - 1}} // positions, most of them seen at some time
		)
		put := func(entries ...Entry) {
			for _, e := range entries {
				if old, known := m[e.Number]; known && e.Number%7 == 0 {
					keys = append(keys, Key{strings.ToLower(old.Email), e.Number})
				}
				highest = max(highest, e.Number)
			}
			d.Put(entries...)
			m.put(entries...)
		}
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				r, n := drawRand(t), rapid.SampledFrom([]int{1, 1, 5, 70, 1500}).Draw(t, "n")
				var batch []Entry
				for i := range n {
					batch = append(batch, randomEntry(r, highest+1+int64(i)))
				}
				put(batch...)
			},
			"append one by one": func(t *rapid.T) {
				r := drawRand(t)
				for range rapid.IntRange(1, 300).Draw(t, "n") {
					put(randomEntry(r, highest+1))
				}
			},
			"change": func(t *rapid.T) {
				// Numbers repeat within the batch and leave gaps.
				r, n := drawRand(t), rapid.SampledFrom([]int{1, 1, 40, 500}).Draw(t, "n")
				var batch []Entry
				for range n {
					batch = append(batch, randomEntry(r, 1+r.Int64N(highest+50)))
				}
				put(batch...)
			},
			"change status": func(t *rapid.T) {
				r := drawRand(t)
				for range 20 {
					if e, known := m[1+r.Int64N(highest+1)]; known {
						e.Status = Status(r.IntN(8))
						put(e)
					}
				}
			},
			"gather at one place": func(t *rapid.T) {
				// Splits and empties chunks.
				r, email := drawRand(t), rapid.SampledFrom(pieces).Draw(t, "email")
				for range rapid.IntRange(1, 400).Draw(t, "n") {
					put(Entry{Number: 1 + r.Int64N(highest+1), Email: email})
				}
			},
			"leave a gap": func(t *rapid.T) {
				put(randomEntry(drawRand(t), highest+rapid.Int64Range(1, 1200).Draw(t, "gap")))
			},
			"query": func(t *rapid.T) {
				q := drawQuery(t, highest)
				limit := rapid.SampledFrom([]int{-1, 0, 1, 3, 25, 1 << 40}).Draw(t, "limit")
				if got, want := d.Count(q), int64(len(m.list(q))); got != want {
					t.Fatalf("Count(%+v) = %d, want %d", q, got, want)
				}
				skip := rapid.IntRange(-1, len(m)+1).Draw(t, "skip")
				if diff := gocmp.Diff(m.from(q, skip, limit), d.From(q, skip, limit)); diff != "" {
					t.Fatalf("From(%+v, %d, %d) (-want +got):\n%s", q, skip, limit, diff)
				}
				after := rapid.SampledFrom(keys).Draw(t, "after")
				page := d.After(q, after, limit)
				if diff := gocmp.Diff(m.after(q, after, limit), page); diff != "" {
					t.Fatalf("After(%+v, %+v, %d) (-want +got):\n%s", q, after, limit, diff)
				}
				if len(page.Numbers) > 0 {
					keys = append(keys, page.Last)
				}
			},
			"": func(t *rapid.T) {
				if d.Len() != len(m) {
					t.Fatalf("Len() = %d, want %d", d.Len(), len(m))
				}
				checkOrder(t, &d)
			},
		})
	})
}

// checkOrder checks that the order of the e-mails is in order and counted right.
func checkOrder(t interface{ Fatalf(string, ...any) }, d *Directory) {
	o := d.emails
	if o == nil {
		return
	}
	n := 0
	var last key
	for c, chunk := range o.chunks {
		if len(chunk) == 0 || countStatuses(chunk) != o.tally.stretches[c] {
			t.Fatalf("chunk %d: %d entries, counted %v", c, len(chunk), o.tally.stretches[c])
		}
		for _, e := range chunk {
			k := d.keyOf(int(e.index()))
			if n > 0 && last.compare(k) >= 0 {
				t.Fatalf("%v before %v", last, k)
			}
			n, last = n+1, k
		}
	}
	if n != d.len || o.tally.before(len(o.chunks), AllStatuses) != n {
		t.Fatalf("%d entries in order, want %d", n, d.len)
	}
}

// TestTally has more than one group of stretches, which would take the model too long.
func TestTally(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tally tally
		var stretches [][8]uint16
		r := drawRand(t)
		for range rapid.IntRange(1, 4*groupSize).Draw(t, "stretches") {
			tally.append()
			stretches = append(stretches, [8]uint16{})
		}
		sparse := rapid.IntRange(1, 300).Draw(t, "entries") // so that whole groups are empty
		for range sparse {
			i, s := r.IntN(len(stretches)), Status(r.IntN(8))
			tally.add(i, s, 1)
			stretches[i][s]++
			if r.IntN(10) == 0 {
				i, by := r.IntN(len(stretches)), make([][8]uint16, r.IntN(3))
				if len(stretches)+len(by) == 1 {
					continue
				}
				for j := range by {
					by[j][r.IntN(8)] = uint16(r.IntN(5))
				}
				tally.splice(i, by...)
				stretches = slices.Replace(stretches, i, i+1, by...)
			}
		}
		of := Statuses(rapid.Uint8().Draw(t, "statuses"))
		rank := 0
		for i, counts := range stretches {
			if got := tally.before(i, of); got != rank {
				t.Fatalf("before(%d) = %d, want %d", i, got, rank)
			}
			n := 0
			for s, count := range counts {
				if of&(1<<s) != 0 {
					n += int(count)
				}
			}
			for j := range n {
				if got, skip := tally.find(rank+j, of); got != i || skip != j {
					t.Fatalf("find(%d) = %d, %d, want %d, %d", rank+j, got, skip, i, j)
				}
			}
			next := i
			for next < len(stretches) && sum(&stretches[next], of) == 0 {
				next++
			}
			if got := tally.next(i, of); got != next {
				t.Fatalf("next(%d) = %d, want %d", i, got, next)
			}
			rank += n
		}
		if got := tally.before(len(stretches), of); got != rank {
			t.Fatalf("total %d, want %d", got, rank)
		}
	})
}

func FuzzContains(f *testing.F) {
	f.Add("b@e", "ab@ex", "ab@ex.com", "", "B@EX")
	f.Add("aa", "a", "a", "aaa", "")
	f.Add("\x00", "a\x00", "\x00b", "\xff", "\xc3\xa9")
	f.Add(strings.Repeat("a", 64), strings.Repeat("a", 63), strings.Repeat("A", 65), "b", strings.Repeat("a", 640))
	f.Add("İ", "i̇", "I", "İİ", "\u212a")
	f.Add("\xc3", "é", "\xc3", "\xa9", "\ufffd")
	f.Fuzz(func(t *testing.T, term, a, b, c, e string) {
		var d Directory
		m := model{}
		put := func(entries ...Entry) {
			d.Put(entries...)
			m.put(entries...)
		}
		check := func() {
			for _, q := range []Query{
				{Statuses: AllStatuses, EmailContains: term},
				{Statuses: AllStatuses, NameContains: term, Order: ByEmail},
				{Statuses: AllStatuses, EmailContains: term, NameContains: term, Descending: true},
				{Statuses: AllStatuses, EmailContains: term, Only: []int64{1, 2, 4}},
			} {
				if diff := gocmp.Diff(m.from(q, 0, 100), d.From(q, 0, 100)); diff != "" {
					t.Fatalf("%+v (-want +got):\n%s", q, diff)
				}
			}
		}
		put(Entry{Number: 1, Email: a, Name: b}, Entry{Number: 2, Email: b, Name: c}, Entry{Number: 4, Email: c, Name: a + e})
		check()
		// From here on the searches are remembered.
		put(Entry{Number: 2, Email: e, Name: a}, Entry{Number: 3, Email: b + c, Name: e}, Entry{Number: 600, Email: a + b})
		check()
		var anew Directory
		anew.Put(slices.Collect(maps.Values(m))...)
		for number := range m {
			q := Query{Statuses: AllStatuses, EmailContains: term, Only: []int64{number}}
			if got, want := anew.Count(q), d.Count(q); got != want {
				t.Fatalf("number %d counts %d, want %d", number, got, want)
			}
		}
	})
}

// TestWalk walks page by page while entries come and change. What matched all
// the time and stayed in its place is met exactly once, and nothing is met twice.
func TestWalk(t *testing.T) {
	const stable = 5000
	for _, order := range []Order{ByNumber, ByEmail} {
		for _, descending := range []bool{false, true} {
			for _, term := range []string{"", "x7"} {
				q := Query{Statuses: 0b0110, Order: order, Descending: descending, EmailContains: term}
				t.Run(fmt.Sprintf("%d %v %q", order, descending, term), func(t *testing.T) {
					t.Parallel()
					d := New()
					want := map[int64]bool{}
					// Every other number stays as it is; the rest changes all the time.
					for i := range int64(2 * stable) {
						e := Entry{Number: i + 1, Email: fmt.Sprintf("X%d@example.com", i*7919%10007), Status: Status(i % 4)}
						d.Put(e)
						if i%2 == 0 && q.Statuses&(1<<e.Status) != 0 && strings.HasPrefix(strings.ToLower(e.Email), term) {
							want[e.Number] = true
						}
					}
					stop := make(chan struct{})
					var writer sync.WaitGroup
					writer.Go(func() {
						r := rand.New(rand.NewPCG(1, 2))
						for next := int64(2*stable + 1); ; next++ {
							select {
							case <-stop:
								return
							default:
							}
							// What changes keeps its e-mail, as a walk may meet again what moves.
							i := 2*r.Int64N(stable) + 1
							d.Put(Entry{Number: i + 1, Email: fmt.Sprintf("X%d@example.com", i*7919%10007), Status: Status(r.IntN(8))})
							if next < 4*stable {
								d.Put(Entry{Number: next, Email: fmt.Sprintf("x%d@example.net", r.IntN(10000)), Status: Status(r.IntN(8))})
							}
							runtime.Gosched()
						}
					})
					met := map[int64]bool{}
					for p := d.From(q, 0, 50); len(p.Numbers) > 0; p = d.After(q, p.Last, 50) {
						for _, n := range p.Numbers {
							if met[n] {
								t.Errorf("met %d again", n)
							}
							met[n] = true
							delete(want, n)
						}
					}
					close(stop)
					writer.Wait()
					if len(want) > 0 {
						t.Errorf("%d entries not met", len(want))
					}
				})
			}
		}
	}
}

// TestConcurrentSearches asks for more terms at once than are remembered, and
// for orders that large Puts keep dropping.
func TestConcurrentSearches(t *testing.T) {
	d, m := New(), model{}
	r := rand.New(rand.NewPCG(3, 4))
	var wait sync.WaitGroup
	for g := range 6 {
		wait.Go(func() {
			for i := range 60 {
				term := fmt.Sprint((i + g) % 12)
				q := Query{Statuses: AllStatuses, Order: Order(i % 2), EmailContains: term, Descending: i%3 == 0}
				if p := d.From(q, 0, 10); int64(len(p.Numbers)) != min(p.Rest, 10) {
					t.Errorf("%d numbers of %d", len(p.Numbers), p.Rest)
				}
				d.Bytes()
			}
		})
	}
	for i := range int64(40) {
		var batch []Entry
		for n := range []int64{1, 500}[i%2] {
			batch = append(batch, Entry{Number: 1 + (i*300+n)%9000, Email: fmt.Sprintf("u%d@example.com", r.IntN(1e6))})
		}
		d.Put(batch...)
		m.put(batch...)
	}
	wait.Wait()
	for i := range 12 {
		q := Query{Statuses: AllStatuses, Order: ByEmail, EmailContains: fmt.Sprint(i)}
		if diff := gocmp.Diff(m.from(q, 0, 1e9), d.From(q, 0, 1e9), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("term %d (-want +got):\n%s", i, diff)
		}
	}
	if len(d.matches) > maxMatches {
		t.Errorf("%d searches are remembered", len(d.matches))
	}
	for _, m := range d.matches {
		if n := m.pins.Load(); n != 0 {
			t.Errorf("a search is still pinned %d times", n)
		}
	}
}

// TestChangesMeanwhile changes entries while a sort and a search are under way.
func TestChangesMeanwhile(t *testing.T) {
	for _, n := range []int{3, 3000} { // a few changes, and a load
		d, m := New(), model{}
		put := func(entries ...Entry) {
			d.Put(entries...)
			m.put(entries...)
		}
		put(makeEntries(2000)...)
		s, mine := d.startSort()
		if !mine {
			t.Fatal("already sorted")
		}
		if other, mine := d.startSort(); other != s || mine {
			t.Error("sorted twice at once")
		}
		search, columns, _ := d.startSearch(emailField, "1")
		if other, _, mine := d.startSearch(emailField, "1"); other != search || mine {
			t.Error("searched twice at once")
		}
		for i := range int64(n) {
			put(Entry{Number: i + 1, Email: fmt.Sprint("x", i)}, Entry{Number: i + 1, Email: fmt.Sprint("y", i), Status: 3}, Entry{Number: 2001 + i, Email: fmt.Sprint("Z", i)})
		}
		d.finishSort(s, sortedByEmail(s.columns, s.present))
		d.finishSearch(search, scan(columns, []byte("1")))
		for _, q := range []Query{{Statuses: AllStatuses, Order: ByEmail}, {Statuses: AllStatuses, EmailContains: "1"}} {
			if diff := gocmp.Diff(m.from(q, 0, 1e9), d.From(q, 0, 1e9)); diff != "" {
				t.Errorf("%d changes, %+v (-want +got):\n%s", n, q, diff)
			}
		}
	}
}

// TestEveryoneMoves fills, splits and empties chunks one entry at a time.
func TestEveryoneMoves(t *testing.T) {
	d, m := New(), model{}
	put := func(e Entry) {
		d.Put(e)
		m.put(e)
	}
	q := Query{Statuses: AllStatuses, Order: ByEmail}
	d.After(q, Key{Email: "a"}, 1) // from here on entries are inserted in order
	for _, prefix := range []string{"m", "a", "z"} {
		for i := range int64(3000) {
			put(Entry{Number: i + 1, Email: fmt.Sprintf("%s%d@example.com", prefix, i), Status: Status(i % 8)})
			if i%500 == 0 {
				checkOrder(t, d)
			}
		}
		if diff := gocmp.Diff(m.from(q, 0, 3000), d.From(q, 0, 3000)); diff != "" {
			t.Fatalf("after %q (-want +got):\n%s", prefix, diff)
		}
	}
	if n := len(d.emails.chunks); n > 8 {
		t.Errorf("%d chunks are left", n)
	}
}

// TestAnyArrival loads the same entries in ways that must not matter.
func TestAnyArrival(t *testing.T) {
	entries := makeEntries(3000)
	shuffled := slices.Clone(entries)
	rand.New(rand.NewPCG(5, 6)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	backwards := slices.Clone(entries)
	slices.Reverse(backwards)

	q := Query{Statuses: AllStatuses, Order: ByEmail}
	all := New()
	all.Put(entries...)
	want := all.From(q, 0, 3000)
	for name, list := range map[string][]Entry{"shuffled": shuffled, "backwards": backwards} {
		for _, size := range []int{1, 100} {
			d := New()
			if size == 1 {
				d.From(q, 0, 1) // from here on entries are inserted in order
			}
			for batch := range slices.Chunk(list, size) {
				d.Put(batch...)
			}
			if diff := gocmp.Diff(want, d.From(q, 0, 3000)); diff != "" {
				t.Errorf("%s in batches of %d (-want +got):\n%s", name, size, diff)
			}
		}
	}
}

func TestPutPanics(t *testing.T) {
	for name, e := range map[string]Entry{
		"number 0": {Number: 0}, "number too high": {Number: MaxNumber + 1}, "status 8": {Number: 1, Status: 8},
		"long": {Number: 1, Name: strings.Repeat("n", MaxText+1)},
	} {
		t.Run(name, func(t *testing.T) {
			d := New()
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
				if d.Len() != 0 || len(d.blocks) != 0 {
					t.Error("the directory was changed")
				}
			}()
			d.Put(Entry{Number: 2}, e)
		})
	}
}

func TestLongTexts(t *testing.T) {
	d := New()
	long := strings.Repeat("ab", MaxText/2)
	d.Put(Entry{Number: 1, Email: long}, Entry{Number: 2, Email: "x"}, Entry{Number: 3, Email: long})
	d.Put(Entry{Number: 2, Email: long[1:]})
	for term, want := range map[string]int64{long: 2, long[1:]: 3, long + "a": 0, strings.Repeat("ba", 100): 3, strings.Repeat("b", 100): 0} {
		if got := d.Count(Query{Statuses: 1, EmailContains: term}); got != want {
			t.Errorf("%d bytes: %d, want %d", len(term), got, want)
		}
	}
}

// TestBytes compares the estimate with the heap.
func TestBytes(t *testing.T) {
	const n = 200_000
	entries := makeEntries(n)
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	d := New()
	for batch := range slices.Chunk(entries, 1000) {
		d.Put(batch...)
	}
	d.From(Query{Statuses: AllStatuses, Order: ByEmail, EmailContains: "com"}, 0, 1)
	held := heap() - before
	t.Logf("%d bytes an entry, estimated %d", held/n, d.Bytes()/n)
	if held > 80*n {
		t.Errorf("an entry takes %d bytes", held/n)
	}
	if got := d.Bytes(); got < held*9/10 || got > held*11/10 {
		t.Errorf("Bytes() = %d, but %d are held", got, held)
	}
	runtime.KeepAlive(entries)
	runtime.KeepAlive(d)
}
