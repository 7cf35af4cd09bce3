package faultfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// open creates a file on the mount.
func open(t *testing.T, f *FS, name string, flags int) *os.File {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(f.Dir(), name), os.O_RDWR|os.O_CREATE|flags, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, file *os.File, s string, off int64) {
	t.Helper()
	if _, err := file.WriteAt([]byte(s), off); err != nil {
		t.Fatal(err)
	}
}

// cut returns what an image holds of a file.
func cut(t *testing.T, f *FS, seed uint64, name string) string {
	t.Helper()
	dir := f.Image(seed)
	defer os.RemoveAll(dir)
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func fill(c string, sectors int) string { return strings.Repeat(c, sectors*sectorSize) }

// pattern writes each sector as its first byte, "." for zeros; it fails on a torn sector.
func pattern(t *testing.T, data string) string {
	t.Helper()
	var b strings.Builder
	for i := 0; i < len(data); i += sectorSize {
		s := data[i:min(i+sectorSize, len(data))]
		if strings.Trim(s, s[:1]) != "" {
			t.Fatalf("sector %d is torn: %q", i/sectorSize, s)
		}
		b.WriteString(strings.ReplaceAll(s[:1], "\x00", "."))
	}
	return b.String()
}

func TestSectors(t *testing.T) {
	f := Mount(t, t.TempDir())
	file := open(t, f, "a", 0)
	put(t, file, fill("a", 8), 0)
	must(t, file.Sync())
	put(t, file, fill("b", 3), 2*sectorSize)
	put(t, file, fill("c", 4), 8*sectorSize)

	for seed, want := range map[uint64]string{
		1: "aaaaaaaac.c", 2: "aabbbaaacc.c", 3: "aabbbaaacccc", 4: "aaaaaaaa..c",
	} {
		if got := pattern(t, cut(t, f, seed, "a")); got != want {
			t.Errorf("seed %d: %s, want %s", seed, got, want)
		}
	}
	seen := map[string]bool{}
	for seed := range uint64(300) {
		got := pattern(t, cut(t, f, seed, "a"))
		if got[:2] != "aa" || got[5:8] != "aaa" {
			t.Errorf("seed %d: %s lost what was synced", seed, got)
		}
		if again := pattern(t, cut(t, f, seed, "a")); again != got {
			t.Errorf("seed %d: %s, then %s", seed, got, again)
		}
		seen[got] = true
	}
	for _, want := range []string{"aaaaaaaa", "aabbbaaacccc", "aaaaaaaa....", "aababaaac..c", "aabbbaaa"} {
		if !seen[want] {
			t.Errorf("%s is possible and was never seen in %d images", want, len(seen))
		}
	}
	t.Logf("300 seeds, %d different images", len(seen))

	must(t, file.Sync())
	for seed := range uint64(20) {
		if got := pattern(t, cut(t, f, seed, "a")); got != "aabbbaaacccc" {
			t.Errorf("seed %d: %s after the fsync", seed, got)
		}
	}
}

func TestSectorHoldsAnyContentSinceFsync(t *testing.T) {
	f := Mount(t, t.TempDir())
	file := open(t, f, "log", os.O_APPEND)
	for i, line := range []string{"one\n", "two\n", "three\n"} {
		if _, err := io.WriteString(file, line); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			must(t, file.Sync())
		}
	}
	seen := map[string]int{}
	for seed := range uint64(100) {
		seen[strings.TrimRight(cut(t, f, seed, "log"), "\x00")]++
	}
	if len(seen) != 3 || seen["one\n"] == 0 || seen["one\ntwo\n"] == 0 || seen["one\ntwo\nthree\n"] == 0 {
		t.Errorf("images: %v", seen)
	}
}

func TestTruncateIsDurable(t *testing.T) {
	f := Mount(t, t.TempDir())
	file := open(t, f, "a", 0)
	put(t, file, fill("a", 4), 0)
	must(t, file.Sync())
	put(t, file, fill("b", 4), 0)
	must(t, file.Truncate(700))
	for seed := range uint64(50) {
		got := cut(t, f, seed, "a")
		pattern(t, got)
		if len(got) != 700 {
			t.Errorf("seed %d: %d bytes, want 700", seed, len(got))
		}
	}
	must(t, file.Truncate(0))
	put(t, file, "x", 0)
	for seed := range uint64(50) {
		if got := cut(t, f, seed, "a"); got != "" && got != "x" && got != "\x00" {
			t.Errorf("seed %d: %q outlived the truncation", seed, got)
		}
	}
}

func TestImageCopiesFolder(t *testing.T) {
	f := Mount(t, t.TempDir())
	must(t, os.MkdirAll(filepath.Join(f.Dir(), "d/e"), 0o700))
	must(t, os.WriteFile(filepath.Join(f.Dir(), "d/e/db-shm"), []byte("x"), 0o600))
	if n := f.Total().Ops(); n != 0 {
		t.Errorf("%d operations counted on -shm", n)
	}
	file := open(t, f, "d/tmp", syscall.O_SYNC)
	put(t, file, fill("k", 3), 0)
	must(t, os.Rename(file.Name(), filepath.Join(f.Dir(), "d/e/key")))
	must(t, os.Link(filepath.Join(f.Dir(), "d/e/key"), filepath.Join(f.Dir(), "twin")))
	must(t, os.Symlink("twin", filepath.Join(f.Dir(), "link")))
	dir := f.Image(1)
	for _, name := range []string{"d/e/key", "twin", "link"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(data) != fill("k", 3) {
			t.Errorf("%s: %d bytes, %v", name, len(data), err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "d/e/db-shm")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("-shm in the image: %v", err)
	}
}

func TestCountsAndCallbacks(t *testing.T) {
	f := Mount(t, t.TempDir())
	file := open(t, f, "a", 0)
	put(t, file, "before", 0)
	f.Mark()

	var ops []string
	var images []string
	f.OnOp(func(op Op) error {
		ops = append(ops, op.String())
		if op.N == 4 {
			return errors.New("refused")
		}
		return nil
	})
	for _, n := range []int64{1, 2, 3} {
		f.ImageAt(n, 0, func(dir string) { images = append(images, dir) })
	}
	put(t, file, "12345", 0)
	must(t, file.Sync())
	put(t, file, "67", 5)
	if _, err := file.WriteAt([]byte("x"), 0); !errors.Is(err, syscall.EIO) {
		t.Errorf("refused write: %v", err)
	}
	dir, err := os.Open(f.Dir())
	must(t, err)
	must(t, dir.Sync())
	must(t, dir.Close())
	f.OnOp(nil)
	put(t, file, "8", 7)

	want := "#1 write a [0:+5], #2 fsync a, #3 write a [5:+2], #4 write a [0:+1], #5 fsync "
	if got := strings.Join(ops, ", "); got != want {
		t.Errorf("operations %s\nwant %s", got, want)
	}
	if c := f.SinceMark(); c != (Counts{4, 2, 8}) || f.Total().Writes != 5 {
		t.Errorf("since mark %+v, total %+v", c, f.Total())
	}
	if len(images) != 3 {
		t.Fatalf("%d images", len(images))
	}
	if data, _ := os.ReadFile(filepath.Join(images[2], "a")); string(data) != "12345e" {
		t.Errorf("third image %q", data)
	}
}

// No way to change a file may go unseen.
func TestEveryWriteIsSeen(t *testing.T) {
	f := Mount(t, t.TempDir())
	const size = 1<<20 + 7
	big := bytes.Repeat([]byte("b"), size)
	must(t, os.WriteFile(filepath.Join(f.Dir(), "big"), big, 0o600))
	if got := f.SinceMark().Bytes; got != size {
		t.Errorf("big write: %d bytes seen", got)
	}
	f.Mark()
	src := open(t, f, "big", 0)
	dst := open(t, f, "copy", 0)
	if n, err := io.Copy(dst, src); n != size || err != nil { // copy_file_range
		t.Errorf("copied %d bytes, %v", n, err)
	}
	if got := f.SinceMark().Bytes; got != size {
		t.Errorf("copy: %d bytes seen", got)
	}
	shrunk := false
	for seed := range uint64(20) {
		shrunk = shrunk || strings.Contains(cut(t, f, seed, "copy"), "\x00")
	}
	if !shrunk {
		t.Error("no image lost a sector of the copy")
	}
	data, err := os.ReadFile(dst.Name())
	if err != nil || !bytes.Equal(data, big) {
		t.Errorf("read back %d bytes, %v", len(data), err)
	}
}

func TestFsyncError(t *testing.T) {
	f := Mount(t, t.TempDir())
	file := open(t, f, "a", 0)
	put(t, file, fill("a", 4), 0)
	must(t, file.Sync())
	put(t, file, fill("b", 2), 0)

	f.FailFsync(2, false)
	for i, want := range []error{nil, syscall.EIO, nil} {
		if i == 1 {
			put(t, file, fill("c", 2), 0)
		}
		if err := file.Sync(); !errors.Is(err, want) {
			t.Errorf("fsync %d: %v, want %v", i, err, want)
		}
	}
	seen := map[string]bool{}
	for seed := range uint64(50) {
		seen[pattern(t, cut(t, f, seed, "a"))] = true
	}
	if !seen["bbaa"] || !seen["ccaa"] {
		t.Errorf("an fsync that is only repeated must rescue nothing: %v", seen)
	}
	put(t, file, fill("d", 2), 0)
	must(t, file.Sync())
	for seed := range uint64(50) {
		if got := pattern(t, cut(t, f, seed, "a")); got != "ddaa" {
			t.Errorf("seed %d: %s, written and synced anew", seed, got)
		}
	}

	f.FailFsync(1, true)
	for range 3 {
		if err := file.Sync(); !errors.Is(err, syscall.EIO) {
			t.Errorf("lasting: %v", err)
		}
	}
	f.FailFsync(0, false)
	must(t, file.Sync())
}

func TestFullDisk(t *testing.T) {
	f := Mount(t, t.TempDir())
	file := open(t, f, "a", 0)
	f.FillDisk(700)
	_, err := file.WriteAt([]byte(fill("a", 2)), 0)
	info, e := file.Stat()
	must(t, e)
	if info.Size() != 700 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%d bytes, %v", info.Size(), err)
	}
	f.FillDisk(-1)
	put(t, file, fill("a", 2), 0)
	data, err := os.ReadFile(file.Name())
	if err != nil || !bytes.Equal(data, []byte(fill("a", 2))) {
		t.Errorf("after the disk has space: %d bytes, %v", len(data), err)
	}
}

func TestSlowFsync(t *testing.T) {
	f := Mount(t, t.TempDir())
	file, other := open(t, f, "a", 0), open(t, f, "b", 0)
	put(t, file, fill("a", 1), 0)
	f.SlowFsync(300 * time.Millisecond)
	begun, done := make(chan struct{}), make(chan error)
	f.OnOp(func(op Op) error {
		if op.Kind == Fsync {
			close(begun)
		}
		return nil
	})
	start := time.Now()
	go func() { done <- file.Sync() }()
	<-begun
	put(t, other, "x", 0)
	if _, err := file.ReadAt(make([]byte, 1), 0); err != nil {
		t.Error(err)
	}
	if d := time.Since(start); d > 250*time.Millisecond {
		t.Errorf("waited %v for another's fsync", d)
	}
	seen := map[string]bool{}
	for seed := range uint64(50) {
		seen[cut(t, f, seed, "a")] = true
	}
	if !seen[""] || !seen[fill("a", 1)] {
		t.Errorf("at risk until the fsync returns: %d different images", len(seen))
	}
	must(t, <-done)
	if d := time.Since(start); d < 300*time.Millisecond {
		t.Errorf("fsync took %v", d)
	}
}

func TestBusyUnmount(t *testing.T) {
	var file *os.File
	t.Run("mounted", func(t *testing.T) {
		f := Mount(t, t.TempDir())
		var err error
		file, err = os.Create(filepath.Join(f.Dir(), "busy"))
		must(t, err)
	})
	if file == nil {
		t.Skip("not mounted")
	}
	must(t, file.Close())
}

type fakeT struct {
	testing.TB
	said string
}

func (*fakeT) Helper()                     {}
func (f *fakeT) Fatalf(s string, a ...any) { f.said = "FAIL " + fmt.Sprintf(s, a...) }
func (f *fakeT) Skipf(s string, a ...any)  { f.said = "SKIP " + fmt.Sprintf(s, a...) }

func TestUnavailable(t *testing.T) {
	for require, want := range map[string]string{"": "SKIP", "all": "FAIL"} {
		t.Setenv("TENANTRY_TEST_REQUIRE", require)
		var f fakeT
		unavailable(&f, errors.New("no device"))
		if !strings.HasPrefix(f.said, want) || !strings.HasSuffix(f.said, "no device") {
			t.Errorf("%q: %s", require, f.said)
		}
	}
	if err := Available(); runtime.GOOS != "linux" && err == nil {
		t.Error("available on " + runtime.GOOS)
	}
}
