package directory

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
)

const million = 1_000_000

var (
	firstNames = []string{"anna", "james", "maria", "peter", "alexa", "eve", "cecil", "oscar"}
	lastNames  = []string{"smith", "garcia", "muelle", "okafor", "nakamu", "larsso"}
)

// makeEntries makes entries with e-mails of some 30 bytes in no order and names
// of some 20. One in 16 e-mails is at quad.example, one in 64 entries has status 1.
func makeEntries(n int) []Entry {
	r := rand.New(rand.NewPCG(1, 1))
	entries := make([]Entry, n)
	for i := range entries {
		host := "example.com"
		if i%16 == 5 {
			host = "quad.exampl"
		}
		first, last := firstNames[r.IntN(len(firstNames))], lastNames[r.IntN(len(lastNames))]
		entries[i] = Entry{
			Number: int64(i + 1),
			Email:  fmt.Sprintf("%s.%s%07d@%s", first, last, r.IntN(1e7), host),
			Name:   fmt.Sprintf("Company %05d %s Ltd", r.IntN(1e5), last),
		}
		if i%64 == 7 {
			entries[i].Status = 1
		}
	}
	return entries
}

var (
	millionEntries = sync.OnceValue(func() []Entry { return makeEntries(million) })
	millionStored  = sync.OnceValue(func() *Directory { return load(millionEntries(), 10_000) })
)

// load puts entries in batches and sorts them.
func load(entries []Entry, batch int) *Directory {
	d := New()
	for b := range slices.Chunk(entries, batch) {
		d.Put(b...)
	}
	d.From(Query{Statuses: AllStatuses, Order: ByEmail}, 0, 1)
	return d
}

func BenchmarkLoad(b *testing.B) {
	entries := millionEntries()
	for _, batch := range []int{1000, 10_000, million} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			var d *Directory
			for b.Loop() {
				d = load(entries, batch)
			}
			b.ReportMetric(float64(d.Bytes())/million, "bytes/entry")
		})
	}
}

func BenchmarkSort(b *testing.B) {
	d := millionStored()
	for b.Loop() {
		sortedByEmail(d.columns(emailField), d.present())
	}
}

func BenchmarkPut(b *testing.B) {
	d := load(millionEntries(), million)
	r := rand.New(rand.NewPCG(2, 2))
	number := int64(million)
	randomEmail := func(r *rand.Rand) string {
		return fmt.Sprintf("%s.%s%07d@example.com", firstNames[r.IntN(len(firstNames))], lastNames[r.IntN(len(lastNames))], r.IntN(1e7))
	}
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			number++
			d.Put(Entry{Number: number, Email: randomEmail(r), Name: "company 12345 smith ltd"})
		}
	})
	b.Run("status", func(b *testing.B) {
		for b.Loop() {
			e := millionEntries()[r.IntN(million)]
			e.Status = Status(r.IntN(4))
			d.Put(e)
		}
	})
	b.Run("email", func(b *testing.B) {
		for b.Loop() {
			e := millionEntries()[r.IntN(million)]
			e.Email = randomEmail(r)
			d.Put(e)
		}
	})
	for i := range maxMatches {
		d.Count(Query{Statuses: AllStatuses, EmailContains: fmt.Sprint(i)})
	}
	b.Run("new, searches remembered", func(b *testing.B) {
		for b.Loop() {
			number++
			d.Put(Entry{Number: number, Email: randomEmail(r), Name: "company 12345 smith ltd"})
		}
	})
}

func BenchmarkPage(b *testing.B) {
	d := millionStored()
	for _, order := range []Order{ByNumber, ByEmail} {
		for _, descending := range []bool{false, true} {
			for _, statuses := range []Statuses{AllStatuses, 1, 2, 4} { // all, most, 1.6%, none
				q := Query{Statuses: statuses, Order: order, Descending: descending}
				n := int(d.Count(q))
				for name, skip := range map[string]int{"first": 0, "middle": n / 2, "last": n - 25} {
					b.Run(fmt.Sprintf("%s/desc=%v/statuses=%#x/%s", [...]string{"number", "email"}[order], descending, statuses, name), func(b *testing.B) {
						key := d.From(q, skip, 1).Last
						b.Run("from", func(b *testing.B) {
							for b.Loop() {
								d.From(q, skip, 25)
							}
						})
						b.Run("after", func(b *testing.B) {
							for b.Loop() {
								d.After(q, key, 25)
							}
						})
					})
				}
			}
		}
	}
}

var terms = map[string]string{
	"none":    "#",
	"rare":    "eve.smith00012",
	"6%":      "quad",
	"all":     "exampl",
	"all@":    "@",
	"a":       "a",
	"aaa":     "aaa",
	"com":     "com",
	"@ex":     "@ex",
	".co":     ".co",
	"e.c":     "e.c",
	"almost":  "examplf",
	"200":     strings.Repeat("a", 200),
	"200 me":  strings.Repeat("me", 100),
	"64":      strings.Repeat("example.com", 6)[:64],
	"0.0":     "0.0",
	"e.cq":    "e.cq",
	"digit 0": "0",
}

// BenchmarkScan is a search for the first time, without a page.
func BenchmarkScan(b *testing.B) {
	d := millionStored()
	columns := d.columns(emailField)
	for name, term := range terms {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				scan(columns, []byte(term))
			}
		})
	}
}

// BenchmarkSearch is a page of a search that is remembered, and once the first page of one that is not.
func BenchmarkSearch(b *testing.B) {
	d := millionStored()
	for _, term := range []string{"eve.smith00012", "quad", "exampl"} {
		for _, order := range []Order{ByNumber, ByEmail} {
			for _, statuses := range []Statuses{AllStatuses, 2} {
				q := Query{Statuses: statuses, Order: order, EmailContains: term}
				n := int(d.Count(q))
				for name, skip := range map[string]int{"first": 0, "middle": n / 2, "last": n - 25} {
					b.Run(fmt.Sprintf("%s/%s/statuses=%#x/%s", term, [...]string{"number", "email"}[order], statuses, name), func(b *testing.B) {
						key := d.From(q, skip, 1).Last
						b.Run("from", func(b *testing.B) {
							for b.Loop() {
								d.From(q, skip, 25)
							}
						})
						b.Run("after", func(b *testing.B) {
							for b.Loop() {
								d.After(q, key, 25)
							}
						})
					})
				}
			}
		}
	}
	b.Run("both fields/unknown", func(b *testing.B) {
		n := 0
		for b.Loop() {
			n++
			d.From(Query{Statuses: AllStatuses, EmailContains: fmt.Sprintf("smith%d", n), NameContains: fmt.Sprintf("%d", n)}, 0, 25)
		}
	})
}

func BenchmarkOnly(b *testing.B) {
	d := millionStored()
	for _, n := range []int{1, few, 100_000} {
		var only []int64
		for i := range n {
			only = append(only, int64(1+i*(million/n)))
		}
		for _, order := range []Order{ByNumber, ByEmail} {
			b.Run(fmt.Sprintf("%d/%s", n, [...]string{"number", "email"}[order]), func(b *testing.B) {
				for b.Loop() {
					d.From(Query{Statuses: AllStatuses, Order: order, Only: only}, 0, 25)
				}
			})
		}
	}
}
