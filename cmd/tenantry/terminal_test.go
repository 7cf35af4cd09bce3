package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/rivo/uniseg"
	"golang.org/x/term"
)

// screen is a program in a pseudo-terminal.
type screen struct {
	t       *testing.T
	command *exec.Cmd
	file    *os.File
	done    chan error

	mu  sync.Mutex
	out bytes.Buffer
}

// onScreen starts tenantry in a terminal of so many columns.
func onScreen(t *testing.T, columns uint16, environment []string, arguments ...string) *screen {
	t.Helper()
	s := &screen{t: t, command: exec.Command("tenantry", arguments...), done: make(chan error, 1)}
	s.command.Env = append(os.Environ(), append([]string{"TERM=xterm", "XDG_CONFIG_HOME=" + t.TempDir()}, environment...)...)
	var err error
	if s.file, err = pty.StartWithSize(s.command, &pty.Winsize{Rows: 40, Cols: columns}); err != nil {
		t.Skip("no pseudo-terminal here:", err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		buffer := make([]byte, 4096)
		for {
			n, err := s.file.Read(buffer)
			s.mu.Lock()
			s.out.Write(buffer[:n])
			s.mu.Unlock()
			if err != nil { // EIO when the program has gone
				return
			}
		}
	}()
	go func() {
		err := s.command.Wait()
		<-read
		s.done <- err
	}()
	t.Cleanup(func() {
		s.command.Process.Kill()
		s.file.Close()
	})
	return s
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.String()
}

// wait waits until the program says something.
func (s *screen) wait(text string) {
	s.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(s.text(), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("it does not say %q but:\n%s", text, s.text())
		}
	}
}

func (s *screen) typed(text string) {
	s.t.Helper()
	if _, err := s.file.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
}

// end waits for the program's end and returns what it said and its exit code.
func (s *screen) end() (string, int) {
	s.t.Helper()
	select {
	case <-s.done:
	case <-time.After(30 * time.Second):
		s.t.Fatalf("it does not end:\n%s", s.text())
	}
	return s.text(), s.command.ProcessState.ExitCode()
}

var escapes = regexp.MustCompile("\x1b\\[[0-9;]*[A-Za-z]")

// TestTerminal sits a person in front of a terminal: colours, tables that fit,
// questions, a progress bar.
func TestTerminal(t *testing.T) {
	t.Parallel()
	info, stop, err := dev()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	server := []string{"TELNYX_BASE_URL=" + info.BaseURL, "TELNYX_API_KEY=" + info.ManagerKey,
		"TENANTRY_OPERATOR_URL=" + info.OperatorURL, "TENANTRY_OPERATOR_TOKEN=" + info.OperatorToken}
	with := func(more ...string) []string { return append(more, server...) }

	t.Run("a table fits", func(t *testing.T) {
		for _, columns := range []uint16{200, 80, 60, 40, 20} {
			out, code := onScreen(t, columns, with(), "accounts", "list").end()
			if code != 0 || !strings.Contains(out, "\x1b[33mdisabled") && columns > 60 {
				t.Errorf("exit code %d, no colours in:\n%q", code, out)
			}
			for line := range strings.Lines(escapes.ReplaceAllString(out, "")) {
				if w := uniseg.StringWidth(strings.TrimRight(line, "\r\n")); w > int(columns) {
					t.Errorf("%d cells in %d columns: %s", w, columns, line)
				}
			}
			if whole := strings.Contains(out, "00000000-0000-7000-8000-000000000011"); columns >= 40 != whole {
				t.Errorf("ids are whole in %d columns: %t", columns, whole)
			}
		}
	})
	t.Run("no colours", func(t *testing.T) {
		for _, environment := range []string{"NO_COLOR=1", "TERM=dumb"} {
			if out, _ := onScreen(t, 80, with(environment), "accounts", "list").end(); strings.Contains(out, "\x1b[") {
				t.Errorf("%s: colours in %q", environment, out)
			}
		}
		if out, _ := onScreen(t, 80, with(), "accounts", "list", "--color", "never").end(); strings.Contains(out, "\x1b[") {
			t.Errorf("--color never: colours in %q", out)
		}
	})
	t.Run("a question", func(t *testing.T) {
		id := "00000000-0000-7000-8000-000000000012"
		s := onScreen(t, 200, with(), "operator", "cancel", id)
		s.wait("Type " + id + " to go on: ")
		s.typed("yes\n")
		if out, code := s.end(); code != 2 || !strings.Contains(out, "nothing was done") {
			t.Errorf("exit code %d: %q", code, out)
		}
		s = onScreen(t, 200, with(), "operator", "cancel", id)
		s.wait("to go on: ")
		s.typed(id + "\n")
		if out, code := s.end(); code != 0 || !strings.Contains(out, "cancelled") {
			t.Errorf("exit code %d: %q", code, out)
		}
	})
	t.Run("a secret is not shown", func(t *testing.T) {
		s := onScreen(t, 80, nil, "profile", "add", "dev", "--base-url", info.BaseURL)
		before, err := term.GetState(int(s.file.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		s.wait("API key: ")
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if now, err := term.GetState(int(s.file.Fd())); err == nil && !reflect.DeepEqual(now, before) {
				break // the echo is off
			}
		}
		s.typed("KEYsecret-secret-secret\n")
		if out, code := s.end(); code != 0 || strings.Contains(out, "KEYsecret-secret") || !strings.Contains(out, "KEYsec****") {
			t.Errorf("exit code %d: %q", code, out)
		}
	})
	t.Run("a progress bar", func(t *testing.T) {
		var rows strings.Builder
		rows.WriteString("business_name\n")
		const n = 2000
		for i := range n {
			fmt.Fprintf(&rows, "Customer %d\n", i)
		}
		file := filepath.Join(t.TempDir(), "customers.csv")
		if err := os.WriteFile(file, []byte(rows.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		s := onScreen(t, 100, with(), "accounts", "create", "--from", file)
		s.wait("rows/s")
		s.typed("\x03") // Ctrl-C
		out, code := s.end()
		if code != 7 || !strings.Contains(out, "interrupted: ") || !strings.Contains(out, "run the same command again to go on") {
			t.Errorf("exit code %d: %q", code, out)
		}
		out, code = onScreen(t, 100, with(), "accounts", "create", "--from", file).end()
		if code != 0 || !strings.Contains(out, "done already") || !strings.Contains(out, "\x1b[32m█") || !strings.Contains(out, "100%") {
			t.Errorf("exit code %d: %q", code, out)
		}
		for frame := range strings.SplitSeq(escapes.ReplaceAllString(out, ""), "\r") {
			if strings.Contains(frame, "%") && uniseg.StringWidth(strings.TrimRight(frame, "\n")) > 100 {
				t.Errorf("the bar is too long: %q", frame)
			}
		}
		s = onScreen(t, 100, with(), "accounts", "disable", "--filter-organization-contains", "Customer 199")
		s.wait("Type 11 to go on: ")
		s.typed("11\n")
		out, code = s.end()
		if code != 0 || !strings.Contains(out, "This disables 11 accounts") || !regexp.MustCompile(`disabled\S*\s+\S*11`).MatchString(out) {
			t.Errorf("exit code %d: %q", code, out)
		}
	})
}
