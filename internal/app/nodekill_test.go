//go:build unix

package app_test

import (
	"bufio"
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/dbtest"
)

// drillProcess is "tenantry serve" on a database that others use, too.
func drillProcess(t *testing.T, name, database string) (*drillNode, *exec.Cmd) {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(path, "serve", "--listen", "127.0.0.1:0", "--rate-limit", "-1", "--log-format", "json")
	c.Env = append(os.Environ(), "TENANTRY_DATABASE="+database, "TENANTRY_MASTER_KEY="+drillMasterKey, "TENANTRY_OPERATOR_TOKEN="+drillOperator)
	stderr, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	lines := bufio.NewScanner(stderr)
	var said []string
	for lines.Scan() {
		var line struct{ URL string }
		said = append(said, lines.Text())
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.URL != "" {
			go io.Copy(io.Discard, stderr)
			return &drillNode{name: name, url: strings.TrimSuffix(line.URL, "/v2")}, c
		}
	}
	t.Fatalf("node %s did not start: %s", name, strings.Join(said, "\n"))
	return nil, nil
}

// TestNodeKills kills -9 one node again and again while it writes, once after it
// was frozen for a while, and another one goes on. Clients of the killed one ask
// the other.
func TestNodeKills(t *testing.T) {
	if testing.Short() {
		t.Skip("kills a server 20 times: not with -short")
	}
	t.Parallel()
	const kills = 20
	seed := drillSeed(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	database := dbtest.Postgres(t)
	stays := openDrillNode(t, "stays", database)
	book := newDrillBook(t, stays)
	var dies atomic.Pointer[drillNode]
	stop := book.drillLoad(seed, stays)
	defer stop()
	for kill := range kills {
		node, process := drillProcess(t, "dies", database)
		dies.Store(node)
		stopOthers := book.drillSwitching(seed+uint64(kill), 6, dies.Load, on(stays))
		defer stopOthers()
		// The moment is a number of confirmed writes, not a time.
		node.reset()
		if _, err := node.wait(time.Now()); err != nil {
			t.Fatal(err)
		}
		for target := book.writes() + rng.IntN(50); book.writes() < target; {
			time.Sleep(time.Millisecond)
		}
		if kill == kills/2 {
			process.Process.Signal(syscall.SIGSTOP)
			time.Sleep(7 * time.Second)
			process.Process.Signal(syscall.SIGCONT)
			time.Sleep(time.Second)
		}
		process.Process.Signal(syscall.SIGKILL)
		process.Wait()
		if kill%5 == 4 {
			// Retries reach the other one.
			time.Sleep(1500 * time.Millisecond)
		}
		stopOthers()
		if wrong := book.check(t.Context(), database); len(wrong) > 0 {
			t.Fatalf("after kill %d: %v", kill, wrong)
		}
	}
	stop()
	book.verify(t, "at the end", database, stays)
	longest := time.Duration(stays.longest.Load())
	if longest > 6*time.Second {
		t.Errorf("the other node confirmed nothing for %v", longest)
	}
	t.Logf("%d kills: %v; at most %v between two writes of the other node", kills, book, longest.Round(time.Millisecond))
}
