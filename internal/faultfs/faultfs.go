// Package faultfs breaks disks under tests. It mounts a FUSE file system over a plain folder and passes everything
// through, while it counts writes and fsyncs, fails or slows them on request, and can show at any instant what a
// power cut would leave behind.
//
// The process under test needs no change and may be this one or any other: it opens its files below [FS.Dir].
// The package needs Linux 6.9, /dev/fuse and the right to mount; [Available] says what is missing.
//
// # The power cut
//
// For each file every 512-byte sector written since the file's last fsync is remembered with its earlier contents.
// [FS.Image] copies the folder and lets each such sector survive or fall back, by a seeded coin whose weight is drawn
// once per file. A sector written more than once may fall back to any of its contents since that fsync. A file that
// grew keeps its new length (lost sectors read as zeros) or ends at the last thing that survived. SQLite's "-shm" is
// never in an image. After a failed fsync the kernel calls the pages clean, so what they held stays at risk until it
// is written and synced anew: a second fsync alone rescues nothing.
//
// Limits of the model: creating, renaming, removing and truncating are durable at once and in order; there is no
// image in which a rename was lost. Sectors are whole: none is torn inside its 512 bytes.
//
// # Traps
//
// Files named *-shm are handed to the kernel (FUSE passthrough): they are neither counted nor broken, and a page
// fault on them needs no answer from this process. Any other file on the mount must not be mapped into memory by the
// process that serves it: a page fault holds its goroutine while the garbage collector stops the world, and then
// nobody answers. For the same reason exec.Cmd.Dir must not lie on the mount. The folder below must be left alone
// while it is mounted. The race detector cannot see through the kernel: share state with callbacks under a lock.
package faultfs

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Kind is the kind of a numbered operation.
type Kind int

// The operations that are numbered.
const (
	Write Kind = iota + 1
	Fsync      // of a file (fsync, fdatasync, O_SYNC) or of a directory
)

// String returns "write" or "fsync".
func (k Kind) String() string {
	switch k {
	case Write:
		return "write"
	case Fsync:
		return "fsync"
	}
	return fmt.Sprintf("Kind(%d)", int(k))
}

// Op is one numbered operation, about to happen.
type Op struct {
	N    int64  // from 1, since the last Mark or else since Mount
	Kind Kind   // Write or Fsync
	Path string // relative to the mount; of a removed file, a name that cannot exist
	Off  int64  // where a Write begins
	Len  int    // bytes of a Write; the kernel splits what exceeds 128 KiB
}

// String returns the operation for a log line.
func (o Op) String() string {
	if o.Kind == Write {
		return fmt.Sprintf("#%d write %s [%d:+%d]", o.N, o.Path, o.Off, o.Len)
	}
	return fmt.Sprintf("#%d %v %s", o.N, o.Kind, o.Path)
}

// Counts are numbers of operations asked for, failed ones included, and the bytes that were written.
type Counts struct{ Writes, Fsyncs, Bytes int64 }

// Ops returns how many numbered operations there were.
func (c Counts) Ops() int64 { return c.Writes + c.Fsyncs }

// FS is a mounted file system. Its methods may be called at any time from any goroutine, callbacks included.
type FS struct {
	t       testing.TB
	backing string
	dir     string
	images  string

	opMu sync.Mutex // held while an operation is numbered, offered to callbacks and applied; taken before mu

	mu       sync.Mutex // held while contents change and while an image is taken
	dirty    map[fileKey]*unsynced
	total    Counts
	marked   Counts
	hook     func(Op) error
	arms     map[int64][]func() // by total number of the operation
	failAt   int64              // the total number of the fsync that fails, 0 for none
	failOn   bool               // and all after it
	space    int64              // bytes that may still be written, negative for no limit
	slowness time.Duration
}

// Mount serves the folder backing at a fresh directory until the test ends; busy files do not keep it. Where FUSE is
// not available it skips the test, or fails it if the environment has TENANTRY_TEST_REQUIRE=all.
func Mount(t testing.TB, backing string) *FS {
	t.Helper()
	if err := Available(); err != nil {
		unavailable(t, err)
	}
	f := &FS{
		t: t, backing: backing, dir: t.TempDir(), images: t.TempDir(),
		dirty: map[fileKey]*unsynced{}, arms: map[int64][]func(){}, space: -1,
	}
	if rel, err := filepath.Rel(backing, f.dir); err != nil || filepath.IsLocal(rel) {
		t.Fatalf("faultfs: %s must be absolute and not hold the mount point %s", backing, f.dir)
	}
	unmount, err := f.mount()
	if err != nil {
		t.Fatalf("faultfs: mount: %v", err)
	}
	t.Cleanup(func() {
		f.Heal()
		f.OnOp(nil)
		unmount()
	})
	return f
}

func unavailable(t testing.TB, err error) {
	t.Helper()
	if os.Getenv("TENANTRY_TEST_REQUIRE") == "all" {
		t.Fatalf("faultfs: NOT RUN although TENANTRY_TEST_REQUIRE=all: %v", err)
		return
	}
	t.Skipf("faultfs: NOT RUN, no disk was broken: %v", err)
}

// Dir returns the mount point.
func (f *FS) Dir() string { return f.dir }

// Total returns the counts since Mount.
func (f *FS) Total() Counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.total
}

// Mark makes the next operation number 1.
func (f *FS) Mark() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.marked = f.total
}

// SinceMark returns the counts since the last Mark, or else since Mount.
func (f *FS) SinceMark() Counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, m := f.total, f.marked
	return Counts{t.Writes - m.Writes, t.Fsyncs - m.Fsyncs, t.Bytes - m.Bytes}
}

// OnOp calls fn before each numbered operation, one at a time; nil ends it. An error makes the operation fail with it
// (EIO unless it holds a syscall.Errno) and leaves the disk as it was. While fn runs nothing else changes the disk.
//
// fn may kill -9 the process whose operation it is, but must not wait for its end, for the kernel keeps it until fn
// has returned. It must not touch the mount, nor call t.FailNow, t.Fatal or t.Skip.
func (f *FS) OnOp(fn func(Op) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = fn
}

// ImageAt takes Image(seed) inside the n-th numbered operation from now, before it has any effect, and gives it to fn
// before anything else changes the disk: what was confirmed by the time fn looks must be in the image. The rules
// of OnOp hold for fn; it is called before the function of OnOp.
func (f *FS) ImageAt(n int64, seed uint64, fn func(dir string)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := f.total.Ops() + n
	f.arms[at] = append(f.arms[at], func() { fn(f.Image(seed)) })
}

// FailFsync makes the n-th fsync from now fail with EIO, and all after it if lasting; n = 0 ends it.
func (f *FS) FailFsync(n int64, lasting bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failAt, f.failOn = 0, lasting
	if n > 0 {
		f.failAt = f.total.Fsyncs + n
	}
}

// FillDisk lets n more bytes be written, the last write cut short, and fails all further ones with ENOSPC, also those
// that would not make a file longer; a negative n ends it.
func (f *FS) FillDisk(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.space = n
}

// SlowFsync makes each fsync that begins from now on wait for d before it takes effect; 0 ends it. Writes to the same
// file wait with it, for the kernel holds them back; reads and other files do not.
func (f *FS) SlowFsync(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slowness = d
}

// Heal ends what FailFsync, FillDisk and SlowFsync began.
func (f *FS) Heal() {
	f.FailFsync(0, false)
	f.FillDisk(-1)
	f.SlowFsync(0)
}

// hold keeps everything else from changing the disk until the function it returns is called.
func (f *FS) hold() (release func()) {
	f.opMu.Lock()
	f.mu.Lock()
	return func() {
		f.mu.Unlock()
		f.opMu.Unlock()
	}
}

// begin numbers op and offers it to the callbacks. The caller holds opMu, so that numbers and effects have one order.
func (f *FS) begin(op Op) error {
	f.mu.Lock()
	switch op.Kind {
	case Write:
		f.total.Writes++
	case Fsync:
		f.total.Fsyncs++
	}
	at := f.total.Ops()
	op.N = at - f.marked.Ops()
	arms, hook := f.arms[at], f.hook
	delete(f.arms, at)
	f.mu.Unlock()
	for _, arm := range arms {
		arm()
	}
	if hook != nil {
		return hook(op)
	}
	return nil
}

// write applies a write of data at off to file and returns how many bytes there was space for.
func (f *FS) write(k fileKey, path string, file *os.File, data []byte, off int64) (int, error) {
	f.opMu.Lock()
	defer f.opMu.Unlock()
	if err := f.begin(Op{Kind: Write, Path: path, Off: off, Len: len(data)}); err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.space == 0 && len(data) > 0 {
		return 0, syscall.ENOSPC
	}
	if f.space > 0 {
		data = data[:min(int64(len(data)), f.space)]
	}
	if err := f.remember(k, file, off, len(data)); err != nil {
		return 0, err
	}
	n, err := file.WriteAt(data, off)
	if f.space > 0 {
		f.space -= int64(n)
	}
	f.total.Bytes += int64(n)
	return n, err
}

// fsync makes durable what was written to the file. It does not trouble the real disk. The kernel lets nobody write
// to a file while its fsync is on the way.
func (f *FS) fsync(k fileKey, path string, size func() int64) error {
	slow, err := f.beginFsync(path)
	time.Sleep(slow)
	defer f.hold()() // no effect while an image is with its callback
	if err != nil {
		f.abandon(k)
		return err
	}
	f.settle(k, size())
	return nil
}

func (f *FS) beginFsync(path string) (slow time.Duration, err error) {
	f.opMu.Lock()
	defer f.opMu.Unlock()
	err = f.begin(Op{Kind: Fsync, Path: path})
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.total.Fsyncs
	if f.failAt > 0 && (n == f.failAt || f.failOn && n > f.failAt) {
		err = syscall.EIO
	}
	return f.slowness, err
}
