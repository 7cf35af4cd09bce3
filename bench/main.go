// Command bench measures a Tenantry server: real processes on real ports, each
// figure beside a baseline that was measured in the same run.
//
//	go run ./bench                 everything, on 1,000,000 accounts and users
//	go run ./bench -only '^get/'   some of it
//	go run ./bench -short          a smoke test of less than a minute
//	go run ./bench -engine postgres               the same on PostgreSQL
//	go run ./bench -engine postgres -managers 10  and among ten times as many accounts
//
// The databases are built once, which takes minutes, and kept in the folder of
// -dir. No figure fails the program: whoever reads the table judges. The clock on
// the wall is distorted by whatever else runs on the machine; the CPU time of the
// server itself, and the ratio to a baseline, much less so.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	accounts, users, managers int
	engine                    string
	time                      time.Duration
	dir, profile              string
	json, short               bool
	only                      *regexp.Regexp
}

// bench is one run.
type bench struct {
	options
	// folder is for databases that are written; it goes with the run.
	folder string
	pins   pins
	out    io.Writer
	lines  []*Line
	// cluster is the server with -engine postgres.
	cluster *cluster
	copies  int
}

func main() { os.Exit(run()) }

func run() int {
	// What configures the operator's server is not for the one that is measured.
	for _, setting := range os.Environ() {
		if name, _, _ := strings.Cut(setting, "="); strings.HasPrefix(name, "TENANTRY_") {
			os.Unsetenv(name)
		}
	}
	var o options
	var r role
	only := ""
	flag.IntVar(&o.accounts, "accounts", 1_000_000, "managed accounts of a manager")
	flag.IntVar(&o.managers, "managers", 1, "managers with so many accounts each; the first is measured, the others make the database larger")
	flag.StringVar(&o.engine, "engine", "sqlite", "where the data is: sqlite or postgres, a server of the bench's own")
	flag.IntVar(&o.users, "users", 1_000_000, "users of the one organization")
	flag.DurationVar(&o.time, "time", 5*time.Second, "how long a line is measured, about")
	flag.StringVar(&only, "only", "", "measure only the lines that match this regular expression")
	flag.BoolVar(&o.json, "json", false, "print JSON instead of the table")
	flag.StringVar(&o.dir, "dir", "", "folder for the databases (default: tenantry-bench in the user's cache folder; root's with postgres: in /var/cache)")
	flag.BoolVar(&o.short, "short", false, "smoke test: 10,000 rows, half a second a line")
	flag.StringVar(&o.profile, "profile", "", "folder for CPU profiles of get, create, list and report")
	r.flags(flag.CommandLine)
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "bench: what is %q?\n", flag.Arg(0))
		return 2
	}
	err := func() (err error) {
		if r.name != "" {
			return r.run()
		}
		if o.only, err = regexp.Compile(only); err != nil {
			return err
		}
		if o.short {
			o.accounts, o.users, o.time = 10_000, 10_000, 500*time.Millisecond
		}
		return measure(o)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

// measure runs every group of lines and prints them.
func measure(o options) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if o.accounts < 1000 || o.users < 1000 {
		return errors.New("-accounts and -users must be 1000 at least")
	}
	switch {
	case o.engine != "sqlite" && o.engine != "postgres":
		return fmt.Errorf("-engine must be sqlite or postgres, not %q", o.engine)
	case o.managers < 1 || o.managers > 1 && o.engine != "postgres":
		return errors.New("-managers must be 1 at least, and needs -engine postgres to be more")
	}
	if o.dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return err
		}
		// PostgreSQL does not run as root, and must get there all the same.
		if o.engine == "postgres" && os.Geteuid() == 0 {
			cache = "/var/cache"
		}
		o.dir = filepath.Join(cache, "tenantry-bench")
	}
	if err := os.MkdirAll(o.dir, 0o711); err != nil {
		return err
	}
	if o.profile != "" {
		if err := os.MkdirAll(o.profile, 0o700); err != nil {
			return err
		}
	}
	b := &bench{options: o, out: os.Stdout}
	if o.json {
		b.out = io.Discard
	}
	if b.folder, err = os.MkdirTemp(o.dir, "run-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.folder)
	b.pins = pin(ctx)
	if o.engine == "postgres" {
		if b.cluster, err = b.openCluster(ctx); err != nil {
			return err
		}
		defer b.closeCluster()
	}

	b.printHead()
	for _, group := range []struct {
		name string
		run  func(*bench, context.Context) error
	}{
		{"get", (*bench).get}, {"admission", (*bench).admission}, {"lease", (*bench).leases}, {"gateway", (*bench).gateway}, {"list", (*bench).list}, {"contains", (*bench).contains}, {"portal", (*bench).portal},
		{"create", (*bench).create}, {"report", (*bench).report}, {"start", (*bench).start},
		{"cost", (*bench).cost}, {"trips", (*bench).trips}, {"nodes", (*bench).nodes}, {"size", (*bench).size},
	} {
		if err := group.run(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", group.name, err)
		}
	}
	if len(b.lines) == 0 {
		return errors.New("-only matches no line")
	}
	if o.json {
		return b.printJSON(os.Stdout)
	}
	return nil
}

// wanted are those of the names that -only matches.
func (b *bench) wanted(names ...string) bool {
	for _, name := range names {
		if b.only.MatchString(name) {
			return true
		}
	}
	return false
}

// millions writes a size as a name has it: 10k, 1M.
func millions(n int) string {
	switch {
	case n >= 1_000_000 && n%1_000_000 == 0:
		return fmt.Sprintf("%dM", n/1_000_000)
	case n >= 1000 && n%1000 == 0:
		return fmt.Sprintf("%dk", n/1000)
	default:
		return fmt.Sprint(n)
	}
}

// machine says where the figures come from.
func (b *bench) machine() string {
	text := fmt.Sprintf("%s %s/%s, server on CPU %s, load on CPU %s", runtime.Version(), runtime.GOOS, runtime.GOARCH, b.pins.server, b.pins.load)
	if b.cluster != nil {
		text += fmt.Sprintf(", PostgreSQL %s there, too, shared_buffers %s", b.cluster.version, b.cluster.buffers)
	}
	return text
}
