package cli

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/term"
)

// Terminal is where commands read and write. It need not be one: then there are
// no colours, nothing is cut to fit, and nobody is asked.
type Terminal struct {
	In       io.Reader
	Out, Err io.Writer

	json  bool   // errors as JSON
	color string // auto, always, never; "" is auto
}

// Standard is the process's own terminal.
func Standard() *Terminal { return &Terminal{In: os.Stdin, Out: os.Stdout, Err: os.Stderr} }

func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// width is how many cells a line of w has, 0 for no limit.
func width(w io.Writer) int {
	file, ok := w.(*os.File)
	if !ok || !isTerminal(file) {
		return 0
	}
	columns, _, err := term.GetSize(int(file.Fd()))
	if err != nil || columns <= 0 {
		return 80
	}
	return columns
}

// Colours, as terminals know them.
const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
	faint  = "2"
)

// colors reports whether w is to have colours: --color decides, or else whether it
// is a terminal and NO_COLOR is not set.
func (t *Terminal) colors(w io.Writer) bool {
	switch t.color {
	case "always":
		return true
	case "never":
		return false
	}
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(w)
}

// paint colours text for w, if w is to have colours.
func (t *Terminal) paint(w io.Writer, color, text string) string {
	if color == "" || text == "" || !t.colors(w) {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

// note tells people something that is no result.
func (t *Terminal) note(format string, values ...any) {
	fmt.Fprintf(t.Err, format+"\n", values...)
}

// confirm asks to type a word before something that cannot be undone. Where nobody
// can be asked it is refused.
func (t *Terminal) confirm(yes bool, what, word string) error {
	if yes {
		return nil
	}
	if !isTerminal(t.In) {
		return usagef("%s: give --yes to do it without being asked", what)
	}
	fmt.Fprintf(t.Err, "%s. Type %s to go on: ", t.paint(t.Err, yellow, what), plain(word))
	typed, err := bufio.NewReader(t.In).ReadString('\n')
	if err != nil && typed == "" {
		fmt.Fprintln(t.Err)
	}
	if strings.TrimSpace(typed) != word {
		return usagef("nothing was done")
	}
	return nil
}

// secret asks for something that is not shown while it is typed, or reads the
// first line where nobody can be asked.
func (t *Terminal) secret(prompt string) (string, error) {
	if file, ok := t.In.(*os.File); ok && isTerminal(file) {
		fmt.Fprint(t.Err, prompt)
		typed, err := term.ReadPassword(int(file.Fd()))
		fmt.Fprintln(t.Err)
		return strings.TrimSpace(string(typed)), err
	}
	line, err := bufio.NewReader(t.In).ReadString('\n')
	if err == io.EOF {
		err = nil
	}
	return strings.TrimSpace(line), err
}

// plain writes what others chose, names for instance, so that it cannot steer a
// terminal: control characters and what nobody sees are escaped.
func plain(s string) string {
	if strings.IndexFunc(s, hidden) < 0 {
		return s
	}
	var out strings.Builder
	for _, r := range s {
		if hidden(r) {
			quoted := strconv.QuoteRune(r)
			out.WriteString(quoted[1 : len(quoted)-1])
			continue
		}
		out.WriteRune(r)
	}
	return out.String()
}

func hidden(r rune) bool { return !unicode.IsPrint(r) }
