package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// cluster is a PostgreSQL server of the bench's own. Its files stay between runs,
// the server ends with the run.
type cluster struct {
	bin, folder, version string
	port                 int
	buffers              string
	cpus                 string // "any" or a list
	digest               string // of the product's schema, once known
	server               *exec.Cmd
	ended                chan struct{}
}

// durable is what the server has for the measuring: every promise kept, and a
// size that suits some gigabytes of data.
var durable = []string{"fsync=on", "synchronous_commit=on", "full_page_writes=on", "wal_level=replica",
	"checkpoint_timeout=15min", "max_wal_size=4GB", "autovacuum=on"}

// loading is what it has while the databases are built, after which they are
// synced as a whole.
var loading = []string{"fsync=off", "full_page_writes=off", "wal_level=minimal", "max_wal_senders=0", "synchronous_commit=off",
	"checkpoint_timeout=1h", "max_wal_size=8GB", "maintenance_work_mem=512MB", "max_parallel_maintenance_workers=1", "autovacuum=off"}

// openCluster finds PostgreSQL, makes the data folder the first time and starts
// the server.
func (b *bench) openCluster(ctx context.Context) (*cluster, error) {
	bin, err := findPostgres()
	if err != nil {
		return nil, err
	}
	version, err := exec.CommandContext(ctx, filepath.Join(bin, "postgres"), "--version").Output()
	if err != nil {
		return nil, err
	}
	_, number, _ := strings.Cut(strings.TrimSpace(string(version)), ") ")
	number, _, _ = strings.Cut(number, " ")
	major, _, _ := strings.Cut(number, ".")
	c := &cluster{bin: bin, folder: filepath.Join(b.dir, "postgres-"+major), version: number, buffers: "128MB", cpus: b.pins.load}
	if b.accounts*b.managers >= 1_000_000 || b.users >= 1_000_000 {
		c.buffers = "1GB"
	}
	if _, err := os.Stat(c.data()); errors.Is(err, fs.ErrNotExist) {
		if err := c.initialize(); err != nil {
			return nil, err
		}
	}
	return c, c.start(durable, c.cpus)
}

// closeCluster drops what was copied and stops the server.
func (b *bench) closeCluster() {
	for i := range b.copies {
		b.cluster.do(context.Background(), "postgres", "DROP DATABASE IF EXISTS "+copyName(i+1)+" WITH (FORCE)")
	}
	b.cluster.stop()
}

// schemaName is the database whose schema is looked at.
const schemaName = "bench_schema"

func copyName(i int) string { return fmt.Sprintf("bench_copy_%d", i) }

// findPostgres is the folder of the newest PostgreSQL's programs.
func findPostgres() (string, error) {
	folders, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	if len(folders) > 0 {
		major := func(folder string) int { n, _ := strconv.Atoi(filepath.Base(filepath.Dir(folder))); return n }
		return slices.MaxFunc(folders, func(a, b string) int { return major(a) - major(b) }), nil
	}
	program, err := exec.LookPath("postgres")
	if err != nil {
		return "", errors.New("PostgreSQL is neither in /usr/lib/postgresql nor on the PATH (Debian: apt-get install postgresql)")
	}
	return filepath.Dir(program), nil
}

func (c *cluster) data() string { return filepath.Join(c.folder, "data") }
func (c *cluster) log() string  { return filepath.Join(c.folder, "log") }

// initialize makes the data folder, in another place first: half of one would be
// taken for whole by the next run.
func (c *cluster) initialize() error {
	unfinished := filepath.Join(c.folder, "unfinished")
	if err := os.MkdirAll(c.folder, 0o711); err != nil {
		return err
	}
	if err := os.RemoveAll(unfinished); err != nil {
		return err
	}
	if err := giveAway(c.folder); err != nil {
		return err
	}
	// C.UTF-8, for that is what the product compares its texts by anyway.
	init := exec.Command(filepath.Join(c.bin, "initdb"), "--pgdata="+unfinished, "--username=tenantry", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8")
	init.Dir, init.SysProcAttr = "/", asOwner()
	if out, err := init.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return os.Rename(unfinished, c.data())
}

// start starts the server on those CPUs and waits until it takes connections.
func (c *cluster) start(settings []string, cpus string) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	c.port = port
	log, err := os.OpenFile(c.log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	from, err := log.Seek(0, 2)
	if err != nil {
		return err
	}
	args := []string{filepath.Join(c.bin, "postgres"), "-D", c.data(), "-p", strconv.Itoa(c.port), "-c", "listen_addresses=127.0.0.1",
		"-c", "unix_socket_directories=", "-c", "max_connections=200", "-c", "shared_buffers=" + c.buffers, "-c", "effective_cache_size=8GB",
		"-c", "timezone=UTC", "-c", "log_timezone=UTC", "-c", "log_min_messages=fatal"}
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	if cpus != "any" {
		args = append([]string{"taskset", "-c", cpus}, args...)
	}
	server := exec.Command(args[0], args[1:]...)
	server.Dir, server.SysProcAttr = "/", asOwner()
	server.Stdout, server.Stderr = log, log
	endWithParent(server.SysProcAttr)
	ended, started := make(chan struct{}), make(chan error)
	go func() {
		// The kernel watches the thread that starts the server, which so has to stay.
		runtime.LockOSThread()
		err := server.Start()
		started <- err
		if err == nil {
			server.Wait()
		}
		close(ended)
	}()
	if err := <-started; err != nil {
		return err
	}
	c.server, c.ended = server, ended
	for until := time.Now().Add(5 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		text, _ := os.ReadFile(filepath.Join(c.data(), "postmaster.pid"))
		lines := strings.Split(string(text), "\n")
		if len(lines) > 7 && lines[0] == strconv.Itoa(server.Process.Pid) && strings.TrimSpace(lines[7]) == "ready" {
			return nil
		}
		select {
		case <-ended:
		default:
			if time.Now().Before(until) {
				continue
			}
			c.stop()
		}
		text, _ = os.ReadFile(c.log())
		return fmt.Errorf("PostgreSQL did not start:\n%s", text[min(int(from), len(text)):])
	}
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// stop ends the server in good order, without waiting for its clients.
func (c *cluster) stop() {
	if c.server == nil {
		return
	}
	c.server.Process.Signal(syscall.SIGINT)
	<-c.ended
	c.server = nil
}

// loaded runs f while the server has the settings for building, and brings what
// was built to the disk.
func (c *cluster) loaded(f func() error) error {
	c.stop()
	all := c.cpus
	if all != "any" {
		all = cpus(0, runtime.NumCPU()-1)
	}
	if err := c.start(loading, all); err != nil {
		return err
	}
	err := f()
	c.stop()
	syncAll()
	if startErr := c.start(durable, c.cpus); err == nil {
		err = startErr
	}
	return err
}

// forget removes the databases that were built under a name that begins so.
func (c *cluster) forget(ctx context.Context, prefix string) error {
	folders, err := filepath.Glob(filepath.Join(c.folder, prefix+"*"))
	if err != nil {
		return err
	}
	for _, folder := range folders {
		if err := os.RemoveAll(folder); err != nil {
			return err
		}
		name := strings.ReplaceAll(filepath.Base(folder), "-", "_")
		if err := c.do(ctx, "postgres", "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			return err
		}
	}
	return nil
}

// url is the address of a database; by TCP, as from another machine.
func (c *cluster) url(database string) string {
	u := url.URL{Scheme: "postgres", User: url.User("tenantry"), Host: fmt.Sprintf("127.0.0.1:%d", c.port), Path: "/" + database, RawQuery: "sslmode=disable"}
	return u.String()
}

// do runs statements as the administrator, each by itself.
func (c *cluster) do(ctx context.Context, database string, statements ...string) error {
	conn, err := pgx.Connect(ctx, c.url(database))
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// number asks for one.
func (c *cluster) number(ctx context.Context, database, query string, args ...any) (n int64, err error) {
	conn, err := pgx.Connect(ctx, c.url(database))
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.Background())
	return n, conn.QueryRow(ctx, query, args...).Scan(&n)
}

// cpuTime is the CPU time that all processes of the server have used, those that
// have ended included.
func (c *cluster) cpuTime() (time.Duration, error) {
	pid := c.server.Process.Pid
	total, err := childrenTime(pid)
	if err != nil {
		return 0, err
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0, err
	}
	for _, field := range append(strings.Fields(string(text)), strconv.Itoa(pid)) {
		child, err := strconv.Atoi(field)
		if err != nil {
			return 0, err
		}
		if took, err := cpuTime(child); err == nil { // one that has just ended is counted the next time
			total += took
		}
	}
	return total, nil
}
