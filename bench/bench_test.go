package main

import (
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"testing"
)

// TestShort runs the smoke test and looks whether every line came out. What the
// figures are depends on the machine and is not looked at.
func TestShort(t *testing.T) {
	if testing.Short() {
		t.Skip("the benchmark takes half a minute")
	}
	if runtime.GOOS != "linux" {
		t.Skip("the benchmark needs Linux")
	}
	program := filepath.Join(t.TempDir(), "bench")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	command := exec.Command(program, "-short", "-json", "-dir", t.TempDir())
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	var run struct{ Lines []Line }
	if err := json.Unmarshal(out, &run); err != nil {
		t.Fatal(err)
	}
	for _, line := range run.Lines {
		for _, v := range []float64{line.Figure, line.Baseline, line.Ratio} {
			if math.IsInf(v, 0) || math.IsNaN(v) || v < 0 || line.Figure == 0 || line.Against != "" && v == 0 {
				t.Errorf("%s: %+v", line.Name, line)
				break
			}
		}
	}
	for _, name := range []string{
		"get/(hot|10k|all)", "list/(default|created_at|email|-email|enabled|all|with-cancelled)/(1|10|400)/(jump|walk)",
		"list/(disabled|name-eq)/1/(jump|walk)", "contains/(email|organization_name)/(none|rare|some|all|aaa|.co|e.c)",
		"create/(fdatasync|bare-insert|1|8|64|64/on-10k)", "report/(csv|json)(/resident)?", "start/(empty|10k|first-list)",
	} {
		for _, name := range spelled(name) {
			found := 0
			for _, line := range run.Lines {
				if line.Name == name {
					found++
				}
			}
			if found != 1 {
				t.Errorf("%s came out %d times", name, found)
			}
		}
	}
}

var choice = regexp.MustCompile(`\(([^()]*)\)(\??)`)

// spelled are the names that a pattern of choices stands for.
func spelled(pattern string) (names []string) {
	at := choice.FindStringSubmatchIndex(pattern)
	if at == nil {
		return []string{pattern}
	}
	options := regexp.MustCompile(`\|`).Split(pattern[at[2]:at[3]], -1)
	if at[4] < at[5] {
		options = append(options, "")
	}
	for _, option := range options {
		names = append(names, spelled(pattern[:at[0]]+option+pattern[at[1]:])...)
	}
	return names
}
