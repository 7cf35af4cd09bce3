package pgtest

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// superuser owns all databases. Nobody is asked for a password.
const superuser = "tenantry"

// settings are those of every server; a server's own follow and win.
const settings = `
unix_socket_directories = '%[1]s'
listen_addresses = '127.0.0.1'
max_connections = 500
shared_buffers = 32MB
huge_pages = off
# Not in /dev/shm, where a server that was killed leaves it behind.
dynamic_shared_memory_type = mmap
min_wal_size = 32MB
max_wal_size = 256MB
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%%m [%%p] %%d '
`

// hasty saves what protects from a power cut alone. What a server has written
// lies in the kernel's memory, which outlives the server: kill -9 loses nothing.
// But it can cut a write short, so pages are still logged in full.
const hasty = "fsync = off"

// cluster is a data folder of PostgreSQL's and the server on it, if one runs.
type cluster struct {
	in       *installation
	folder   *folder
	port     int
	settings []string
	upstream *cluster // whom it follows when it is a standby

	server *exec.Cmd
	ended  chan struct{} // closed when server has ended
}

// newCluster makes one that has no files yet.
func newCluster(durable bool, extra []string) (*cluster, error) {
	in, err := installed()
	if err != nil {
		return nil, err
	}
	f, err := newFolder(durable)
	if err != nil {
		return nil, err
	}
	c := &cluster{in: in, folder: f, port: freePort()}
	c.settings = append(c.settings, fmt.Sprintf(settings, f.path))
	if !durable {
		c.settings = append(c.settings, hasty)
	}
	c.settings = append(c.settings, extra...)
	return c, nil
}

// freePort is one that nobody listens on. It lies below those that the kernel
// hands out, so nobody gets it by chance while the server is down.
func freePort() int {
	for {
		port := 20000 + rand.IntN(12000)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			l.Close()
			return port
		}
	}
}

// pristine is what initdb makes: once, for a copy takes a tenth of the time.
var pristine = sync.OnceValues(func() (*folder, error) {
	in, err := installed()
	if err != nil {
		return nil, err
	}
	f, err := newFolder(false)
	if err != nil {
		return nil, err
	}
	return f, in.run("initdb", "--pgdata="+filepath.Join(f.path, "data"), "--username="+superuser, "--auth=trust",
		"--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
})

// copyPristine fills the data folder as initdb would.
func (c *cluster) copyPristine() error {
	from, err := pristine()
	if err != nil {
		return err
	}
	// The folder may exist already, as a mount point.
	return c.in.run("cp", "-a", "-T", filepath.Join(from.path, "data"), c.data())
}

func (c *cluster) data() string { return filepath.Join(c.folder.path, "data") }
func (c *cluster) log() string  { return filepath.Join(c.folder.path, "log") }

func (c *cluster) addr() string { return fmt.Sprintf("127.0.0.1:%d", c.port) }

// url is the address of a database by way of the Unix socket.
func (c *cluster) url(database string) string {
	if database == "" {
		database = "postgres"
	}
	query := url.Values{"host": {c.folder.path}, "port": {strconv.Itoa(c.port)}}
	u := url.URL{Scheme: "postgres", User: url.User(superuser), Path: "/" + database, RawQuery: query.Encode()}
	return u.String()
}

func (c *cluster) running() bool {
	if c.server == nil {
		return false
	}
	select {
	case <-c.ended:
		return false
	default:
		return true
	}
}

// start starts the server and waits until it answers questions.
func (c *cluster) start() error {
	if c.running() {
		return nil
	}
	first := c.server == nil
	for {
		err := c.tryStart()
		if err == nil || !first || !strings.Contains(err.Error(), "Address already in use") {
			return err
		}
		// Somebody was quicker. Later the port stays, for it is in addresses.
		c.port = freePort()
	}
}

func (c *cluster) tryStart() error {
	lines := c.settings
	if c.upstream != nil {
		lines = append(slices.Clip(lines), fmt.Sprintf("primary_conninfo = 'host=%s port=%d user=%s application_name=standby'",
			c.upstream.folder.path, c.upstream.port, superuser))
	}
	if err := c.write("postgresql.conf", strings.Join(lines, "\n")+"\n"); err != nil {
		return err
	}
	log, err := os.OpenFile(c.log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	said, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	server := c.in.command("postgres", "-D", c.data(), "-p", strconv.Itoa(c.port))
	server.Stdout, server.Stderr = log, log
	if err := server.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		server.Wait()
		close(ended)
	}()
	c.server, c.ended = server, ended
	err = eventually("the server does not answer", func() (bool, error) {
		if !c.running() {
			return false, fmt.Errorf("it has ended: %s", c.tail(said))
		}
		// What a killed server left here names another process.
		lines := c.lockFile()
		return len(lines) > 7 && lines[0] == strconv.Itoa(server.Process.Pid) && lines[7] == "ready", nil
	})
	if err != nil {
		c.kill()
	}
	return err
}

// write makes a file in the data folder.
func (c *cluster) write(name, text string) error {
	path := filepath.Join(c.data(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	return giveAway(path)
}

// lockFile is what the server notes about itself, by line: process, data,
// start, port, socket, address, shared memory, state.
func (c *cluster) lockFile() []string {
	text, err := os.ReadFile(filepath.Join(c.data(), "postmaster.pid"))
	if err != nil {
		return nil
	}
	lines := strings.Split(string(text), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return lines
}

// tail is the log from an offset, or the end of that.
func (c *cluster) tail(offset int64) string {
	text, err := os.ReadFile(c.log())
	if err != nil || offset > int64(len(text)) {
		return fmt.Sprintf("no log: %v", err)
	}
	text = text[offset:]
	return string(text[max(0, len(text)-4000):])
}

// stop shuts the server down in order, without waiting for its clients.
func (c *cluster) stop() error {
	if !c.running() {
		return nil
	}
	// A frozen one would not hear of it.
	err := thawAll(c.server.Process)
	if err == nil {
		err = c.server.Process.Signal(syscall.SIGINT)
	}
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return eventually("the server does not end", func() (bool, error) { return !c.running(), nil })
}

// kill is kill -9 for all processes of the server. What they leave is removed:
// the next server would do that, but there may never be one.
func (c *cluster) kill() error {
	if !c.running() {
		return nil
	}
	if err := killAll(c.server.Process); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-c.ended
	if lines := c.lockFile(); len(lines) > 6 {
		// Its key and its number. Only its owner may remove it, so ipcrm does.
		if fields := strings.Fields(lines[6]); len(fields) == 2 {
			if err := c.in.run("ipcrm", "--shmem-id", fields[1]); err != nil && !errors.Is(err, exec.ErrNotFound) {
				return err
			}
		}
	}
	// A number in them that is by chance another process's keeps the next
	// server from starting.
	for _, left := range []string{
		filepath.Join(c.data(), "postmaster.pid"),
		filepath.Join(c.folder.path, fmt.Sprintf(".s.PGSQL.%d", c.port)),
		filepath.Join(c.folder.path, fmt.Sprintf(".s.PGSQL.%d.lock", c.port)),
	} {
		if err := os.Remove(left); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

// freeze stops all processes of the server.
func (c *cluster) freeze() error {
	if !c.running() {
		return errors.New("there is no server to freeze")
	}
	return freezeAll(c.server.Process)
}

// thaw lets them go on.
func (c *cluster) thaw() error {
	if !c.running() {
		return errors.New("there is no server to thaw")
	}
	return thawAll(c.server.Process)
}
