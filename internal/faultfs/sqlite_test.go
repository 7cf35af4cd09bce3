package faultfs

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"modernc.org/sqlite"
)

// With FAULTFS_CHILD set the test binary is the second process: it adds rows to that database and prints each
// confirmed id, until it has added FAULTFS_ROWS or cannot.
func TestMain(m *testing.M) {
	path := os.Getenv("FAULTFS_CHILD")
	if path == "" {
		os.Exit(m.Run())
	}
	var rows int
	fmt.Sscan(os.Getenv("FAULTFS_ROWS"), &rows)
	db, err := connect(path, "FULL")
	for i := 0; i < rows && err == nil; i++ {
		var id int64
		if id, err = add(db); err == nil {
			fmt.Println(id)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func child(path string, rows int) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "FAULTFS_CHILD="+path, fmt.Sprint("FAULTFS_ROWS=", rows))
	return cmd
}

// connect opens the database; checkpoints come often, to be cut too.
func connect(path, synchronous string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)"+
		"&_pragma=wal_autocheckpoint(40)&_pragma=synchronous("+synchronous+")")
	if err != nil {
		return nil, err
	}
	_, err = db.Exec(`
		BEGIN IMMEDIATE;
		CREATE TABLE IF NOT EXISTS row (id INTEGER PRIMARY KEY, body TEXT NOT NULL);
		CREATE TABLE IF NOT EXISTS counter (one INTEGER PRIMARY KEY CHECK (one = 1), n INTEGER NOT NULL);
		INSERT OR IGNORE INTO counter VALUES (1, 0);
		COMMIT`)
	if err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// add confirms one row and its count in one transaction.
func add(db *sql.DB) (id int64, err error) {
	tx, err := db.Begin()
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	if err := tx.QueryRow("UPDATE counter SET n = n + 1 RETURNING n").Scan(&id); err != nil {
		return 0, err
	}
	if _, err := tx.Exec("INSERT INTO row VALUES (?, ?)", id, strings.Repeat("x", 600)); err != nil {
		return 0, err
	}
	return id, tx.Commit()
}

var (
	errLost    = errors.New("confirmed rows lost")
	errCorrupt = errors.New("corrupt")
)

// verify judges the database in dir, in which the rows up to confirmed must be.
func verify(dir string, confirmed int64) error {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "db"))
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	var check string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&check); err != nil || check != "ok" {
		return fmt.Errorf("%w: %s %v", errCorrupt, check, err)
	}
	var rows, last, counter int64
	if err := db.QueryRow("SELECT count(*) FROM sqlite_schema").Scan(&rows); err == nil && rows == 0 {
		return fmt.Errorf("%w: even the tables", errLost)
	}
	err = db.QueryRow("SELECT count(*), coalesce(max(id), 0), (SELECT n FROM counter) FROM row").Scan(&rows, &last, &counter)
	if err != nil || rows != last || rows != counter {
		return fmt.Errorf("%w: %d rows, last %d, counter %d, %v", errCorrupt, rows, last, counter, err)
	}
	if rows < confirmed {
		return fmt.Errorf("%w: %d rows, %d confirmed", errLost, rows, confirmed)
	}
	return nil
}

// cuts takes n images while a writer runs, half of them at a random moment, half inside a random operation.
func cuts(t *testing.T, synchronous string, n int) (lost, corrupt int) {
	start := time.Now()
	f := Mount(t, t.TempDir())
	db, err := connect(filepath.Join(f.Dir(), "db"), synchronous)
	must(t, err)
	defer db.Close()

	var confirmed atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	writer.Go(func() {
		for ctx.Err() == nil {
			id, err := add(db)
			if err != nil {
				t.Errorf("write: %v", err)
				return
			}
			confirmed.Store(id)
		}
	})
	defer writer.Wait()
	defer stop()

	rng := rand.New(rand.NewPCG(1, 2))
	for seed := range uint64(n) {
		var dir string
		var floor int64
		if at := int64(rng.IntN(40)); seed%2 == 0 {
			time.Sleep(time.Duration(rng.IntN(10_000)) * time.Microsecond)
			floor = confirmed.Load()
			dir = f.Image(seed)
		} else {
			done := make(chan struct{})
			f.ImageAt(1+at, seed, func(d string) {
				dir, floor = d, confirmed.Load()
				close(done)
			})
			select {
			case <-done:
			case <-time.After(10 * time.Second):
				t.Fatal("the writer stands still")
			}
		}
		err := verify(dir, floor)
		if err != nil && (synchronous == "FULL" || lost+corrupt == 0) { // of the others one example will do
			t.Logf("synchronous=%s, seed %d: %v", synchronous, seed, err)
		}
		switch {
		case errors.Is(err, errLost):
			lost++
		case err != nil:
			corrupt++
		}
		os.RemoveAll(dir)
	}
	t.Logf("synchronous=%s: %d cuts, %d lost confirmed rows, %d corrupt; %d rows, %d writes, %d fsyncs, %.1f s",
		synchronous, n, lost, corrupt, confirmed.Load(), f.Total().Writes, f.Total().Fsyncs, time.Since(start).Seconds())
	return lost, corrupt
}

func TestPowerCut(t *testing.T) {
	if lost, corrupt := cuts(t, "FULL", 100); lost+corrupt > 0 {
		t.Errorf("FULL: %d cuts lost confirmed rows, %d left it corrupt", lost, corrupt)
	}
	// The same judge must be able to fail, or the line above says nothing.
	if lost, corrupt := cuts(t, "NORMAL", 40); lost == 0 || corrupt > 0 {
		t.Errorf("NORMAL: %d cuts lost confirmed rows, want some; %d left it corrupt, want none", lost, corrupt)
	}
	if _, corrupt := cuts(t, "OFF", 40); corrupt == 0 {
		t.Error("OFF: no cut left it corrupt")
	}
}

// Every commit point of a small workload, by counting.
func TestPowerCutAtEachOperation(t *testing.T) {
	f := Mount(t, t.TempDir())
	db, err := connect(filepath.Join(f.Dir(), "db"), "FULL")
	must(t, err)
	defer db.Close()
	var confirmed atomic.Int64
	type image struct {
		dir   string
		floor int64
	}
	var images []image // under the one callback at a time
	const n = 60
	done := make(chan struct{})
	for i := range int64(n) {
		f.ImageAt(i+1, uint64(i), func(dir string) {
			if images = append(images, image{dir, confirmed.Load()}); len(images) == n {
				close(done)
			}
		})
	}
	for f.SinceMark().Ops() < n+100 {
		id, err := add(db)
		must(t, err)
		confirmed.Store(id)
	}
	<-done
	for i, im := range images {
		if err := verify(im.dir, im.floor); err != nil {
			t.Errorf("cut at operation %d: %v", i+1, err)
		}
	}
}

func TestSQLiteConnectionsAndProcesses(t *testing.T) {
	f := Mount(t, t.TempDir())
	path := filepath.Join(f.Dir(), "db")
	db, err := connect(path, "FULL")
	must(t, err)
	defer db.Close()

	const writers, each = 4, 15
	var all sync.WaitGroup
	for range writers {
		all.Go(func() { // each has a connection of its own
			for range each {
				if _, err := add(db); err != nil {
					t.Errorf("write: %v", err)
				}
			}
		})
	}
	for range 2 {
		all.Go(func() {
			out, err := child(path, each).CombinedOutput()
			if n := strings.Count(string(out), "\n"); err != nil || n != each {
				t.Errorf("second process: %v, %d lines: %s", err, n, out)
			}
		})
	}
	for range 50 {
		var rows, counter int64
		err := db.QueryRow("SELECT count(*), (SELECT n FROM counter) FROM row").Scan(&rows, &counter)
		if err != nil || rows != counter {
			t.Errorf("read: %d rows, counter %d, %v", rows, counter, err)
		}
	}
	all.Wait()
	must(t, db.Close())
	must(t, verify(f.Dir(), (writers+2)*each))
}

func TestKillAtOperation(t *testing.T) {
	for _, n := range []int64{1, 2, 7, 18, 19, 20, 21, 40} {
		f := Mount(t, t.TempDir())
		cmd := child(filepath.Join(f.Dir(), "db"), 1_000_000)
		out, err := cmd.StdoutPipe()
		must(t, err)
		started := make(chan struct{}) // which also tells the race detector
		var killed atomic.Bool
		var at atomic.Pointer[Op]
		f.OnOp(func(op Op) error {
			if op.N == n && killed.CompareAndSwap(false, true) {
				<-started
				at.Store(&op)
				return errors.Join(cmd.Process.Kill(), errors.New("killed"))
			}
			return nil
		})
		must(t, cmd.Start())
		close(started)
		var confirmed int64
		for lines := bufio.NewScanner(out); lines.Scan(); {
			fmt.Sscan(lines.Text(), &confirmed)
		}
		_ = cmd.Wait()
		f.OnOp(nil)
		if !killed.Load() {
			t.Fatalf("operation %d was never reached", n)
		}
		db, err := connect(filepath.Join(f.Dir(), "db"), "FULL") // as a restart would, for the tables may be missing
		must(t, err)
		must(t, db.Close())
		if err := verify(f.Dir(), confirmed); err != nil {
			t.Errorf("killed at %v: %v", at.Load(), err)
		}
		t.Logf("killed at %v, %d confirmed", at.Load(), confirmed)
	}
}

func code(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return -1
}

func TestSQLiteSeesFsyncError(t *testing.T) {
	f := Mount(t, t.TempDir())
	db, err := connect(filepath.Join(f.Dir(), "db"), "FULL")
	must(t, err)
	defer db.Close()
	_, err = add(db)
	must(t, err)
	f.FailFsync(1, true)
	if _, err := add(db); code(err) != 1034 { // SQLITE_IOERR_FSYNC
		t.Errorf("commit with a failing fsync: %v", err)
	}
	f.Heal()
	id, err := add(db)
	if err != nil || id != 2 {
		t.Errorf("after it: id %d, %v", id, err)
	}
	for seed := range uint64(20) {
		if err := verify(f.Image(seed), id); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
}

func TestSQLiteSeesFullDisk(t *testing.T) {
	f := Mount(t, t.TempDir())
	db, err := connect(filepath.Join(f.Dir(), "db"), "FULL")
	must(t, err)
	defer db.Close()
	f.FillDisk(100_000)
	var confirmed int64
	for err == nil {
		var id int64
		if id, err = add(db); err == nil {
			confirmed = id
		}
	}
	if code(err) != 13 || confirmed == 0 { // SQLITE_FULL
		t.Errorf("%d confirmed, then %v", confirmed, err)
	}
	if _, err := add(db); code(err) != 13 {
		t.Errorf("and again: %v", err)
	}
	var rows int64
	if err := db.QueryRow("SELECT count(*) FROM row").Scan(&rows); err != nil || rows != confirmed {
		t.Errorf("read on a full disk: %d of %d rows, %v", rows, confirmed, err)
	}
	f.Heal()
	id, err := add(db)
	if err != nil || id != confirmed+1 {
		t.Errorf("with space again: id %d after %d, %v", id, confirmed, err)
	}
	must(t, verify(f.Dir(), id))
}
