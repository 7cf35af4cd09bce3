package cli

import (
	"bufio"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/rivo/uniseg"
)

// measured is how many rows a table looks at before it settles its widths and
// prints the first.
const measured = 250

// gap is between two columns.
const gap = "  "

// showTable prints a table that fits the terminal; where the output is none it is
// as wide as it gets.
func showTable[T any](t *Terminal, out *bufio.Writer, v view[T], items iter.Seq2[*T, error]) error {
	var columns []column[T]
	for _, c := range v.columns {
		if c.head != "" {
			columns = append(columns, c)
		}
	}
	heads := make([]string, len(columns))
	shapes := make([]shape, len(columns))
	for i, c := range columns {
		heads[i], shapes[i] = c.head, c.shape
	}
	var widths []int
	print := func(cells []string, color func(i int, value string) string) {
		writeRow(out, cells, widths, func(i int, value, shown string) string { return t.paint(t.Out, color(i, value), shown) })
	}
	byValue := func(i int, value string) string {
		if columns[i].color == nil {
			return ""
		}
		return columns[i].color(value)
	}
	var waiting [][]string
	begin := func() {
		widths = fit(append([][]string{heads}, waiting...), shapes, width(t.Out))
		print(heads, func(int, string) string { return bold })
		for _, cells := range waiting {
			print(cells, byValue)
		}
		waiting = nil
		out.Flush()
	}
	for item, err := range items {
		if err != nil {
			if widths == nil && len(waiting) > 0 {
				begin()
			}
			return err
		}
		cells := make([]string, len(columns))
		for i, c := range columns {
			value := c.value
			if c.table != nil {
				value = c.table
			}
			cells[i] = plain(value(item))
		}
		if widths != nil {
			print(cells, byValue)
			continue
		}
		if waiting = append(waiting, cells); len(waiting) == measured {
			begin()
		}
	}
	if widths == nil {
		begin()
	}
	return nil
}

// narrowest is as far as a column is cut while another can go instead; a spare one
// goes while all others have twice as much.
const narrowest = 10

// fit gives each column a width so that a line has at most limit cells, 0 for no
// limit; -1 leaves a column out. What can be cut is cut a bit; then columns go,
// from the right: the spare ones, those that can be cut, the others. The first
// stays.
func fit(rows [][]string, shapes []shape, limit int) []int {
	natural := make([]int, len(shapes))
	for _, row := range rows {
		for i, value := range row {
			natural[i] = max(natural[i], uniseg.StringWidth(value))
		}
	}
	if limit == 0 {
		return natural
	}
	leave := map[int]bool{}
	widths := slices.Clone(natural)
	for _, next := range []shape{spare, cut, whole} {
		for column := len(shapes) - 1; column >= 0; column-- {
			least := narrowest
			if next == spare {
				least *= 2
			}
			for i := range widths {
				if widths[i] = natural[i]; leave[i] {
					widths[i] = -1
				}
			}
			shrink(widths, limit, least, func(i int) bool { return shapes[i] == cut })
			if total(widths) <= limit {
				return widths
			}
			if shapes[column] == next && column > 0 {
				leave[column] = true
			}
		}
	}
	shrink(widths, limit, 1, func(int) bool { return true })
	return widths
}

// shrink takes from the widest of the columns that may, down to least, until the
// line fits.
func shrink(widths []int, limit, least int, may func(int) bool) {
	for total(widths) > limit {
		widest := -1
		for i, w := range widths {
			if may(i) && w > least && (widest < 0 || w > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		widths[widest]--
	}
}

func total(widths []int) int {
	sum := -len(gap)
	for _, w := range widths {
		if w >= 0 {
			sum += w + len(gap)
		}
	}
	return sum
}

func writeRow(out io.StringWriter, cells []string, widths []int, paint func(i int, value, shown string) string) {
	last := len(widths) - 1
	for last > 0 && (widths[last] < 0 || cells[last] == "") {
		last--
	}
	for i, value := range cells[:last+1] {
		if widths[i] < 0 {
			continue
		}
		shown := clip(value, widths[i])
		out.WriteString(paint(i, value, shown))
		if i < last {
			out.WriteString(strings.Repeat(" ", max(0, widths[i]-uniseg.StringWidth(shown))) + gap)
		}
	}
	out.WriteString("\n")
}

// clip shortens text to so many cells, with … at the end.
func clip(text string, cells int) string {
	if uniseg.StringWidth(text) <= cells {
		return text
	}
	var out strings.Builder
	used, state := 0, -1
	for rest := text; rest != ""; {
		var cluster string
		var w int
		cluster, rest, w, state = uniseg.FirstGraphemeClusterInString(rest, state)
		if used+w > cells-1 {
			break
		}
		out.WriteString(cluster)
		used += w
	}
	return out.String() + "…"
}
