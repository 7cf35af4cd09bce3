package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// pins are the CPUs of the two sides; "any" where they cannot be kept apart.
type pins struct{ server, load string }

// pin takes the first half of the CPUs for the servers and moves this process to
// the others.
func pin(ctx context.Context) pins {
	n := runtime.NumCPU()
	if n < 2 {
		return pins{"any", "any"}
	}
	p := pins{cpus(0, n/2-1), cpus(n/2, n-1)}
	if err := exec.CommandContext(ctx, "taskset", "-a", "-c", "-p", p.load, strconv.Itoa(os.Getpid())).Run(); err != nil {
		return pins{"any", "any"}
	}
	runtime.GOMAXPROCS(n - n/2)
	return p
}

func cpus(first, last int) string {
	if first == last {
		return strconv.Itoa(first)
	}
	return fmt.Sprintf("%d-%d", first, last)
}

// process is a child of this program in one of its roles.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	// addr is where it serves, debug where its profiles are.
	addr, debug string
	began       time.Time
	cluster     *cluster // its database server, nil for none
}

// launch starts a child and returns once it listens.
func (b *bench) launch(role string, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args = append([]string{"-role", role}, args...)
	if b.profile != "" {
		args = append(args, "-debug")
	}
	cmd := exec.Command(self, args...)
	if b.pins.server != "any" {
		cmd = exec.Command("taskset", append([]string{"-c", b.pins.server, self}, args...)...)
	}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, stdin: stdin, began: time.Now()}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	fields := strings.Fields(line)
	if err != nil || len(fields) != 2 {
		p.stop()
		return nil, fmt.Errorf("the %s did not start", role)
	}
	p.addr, p.debug = fields[0], strings.TrimPrefix(fields[1], "-")
	return p, nil
}

// serve launches a server on a database.
func (b *bench) serve(d *data, args ...string) (*process, error) {
	p, err := b.launch("server", append(d.args(), args...)...)
	if err == nil {
		p.cluster = d.cluster
	}
	return p, err
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends the child in good order, or, when that takes too long, at once.
func (p *process) stop() {
	p.stdin.Close() // which is what it waits for
	late := time.AfterFunc(30*time.Second, func() { p.cmd.Process.Kill() })
	defer late.Stop()
	p.cmd.Wait()
}

// profiled runs f while the child's CPU is profiled, if that is wanted.
func (b *bench) profiled(p *process, name string, f func() error) error {
	if b.profile == "" {
		return f()
	}
	done := make(chan error, 1)
	file, err := os.Create(filepath.Join(b.profile, strings.ReplaceAll(name, "/", "-")+".pprof"))
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := http.Get("http://" + p.debug + "/start"); err != nil {
		return err
	}
	err = f()
	go func() {
		answer, err := http.Get("http://" + p.debug + "/stop")
		if err == nil {
			_, err = io.Copy(file, answer.Body)
			answer.Body.Close()
		}
		done <- err
	}()
	if stopErr := <-done; err == nil {
		err = stopErr
	}
	return err
}

// heap is what a child with -debug keeps in memory after a collection, in bytes.
func (p *process) heap() (size int64, err error) {
	answer, err := http.Get("http://" + p.debug + "/heap")
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	_, err = fmt.Fscan(answer.Body, &size)
	return size, err
}
