package faultfs

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	sectorSize = 512
	maxPast    = 8 // contents remembered for a sector: the durable one and the latest
)

// fileKey names a file whatever its path. The birth time tells it from an earlier file with the same number.
type fileKey struct{ ino, born uint64 }

// unsynced is what a power cut may take from one file.
type unsynced struct {
	size    int64 // that is durable
	sectors map[int64]*sector
}

type sector struct {
	past [][]byte // before each write since the last fsync, oldest first, shorter where the file ended; [0] is durable
	lost bool     // an fsync failed: only a new write can make it durable
}

// remember keeps what the n bytes at off are about to replace. The caller holds mu.
func (f *FS) remember(k fileKey, file *os.File, off int64, n int) error {
	if n == 0 {
		return nil
	}
	d := f.dirty[k]
	if d == nil {
		info, err := file.Stat()
		if err != nil {
			return err
		}
		d = &unsynced{size: info.Size(), sectors: map[int64]*sector{}}
		f.dirty[k] = d
	}
	first := off - off%sectorSize
	old := make([]byte, off+int64(n)-first+sectorSize-1)
	old = old[:len(old)-len(old)%sectorSize]
	have, err := file.ReadAt(old, first)
	if err != nil && err != io.EOF {
		return err
	}
	for i := 0; i < len(old); i += sectorSize {
		at := first + int64(i)
		s := d.sectors[at]
		if s == nil {
			s = &sector{}
			d.sectors[at] = s
		}
		s.lost = false
		s.past = append(s.past, old[min(i, have):min(i+sectorSize, have)])
		if len(s.past) > maxPast {
			s.past = slices.Delete(s.past, 1, 2)
		}
	}
	return nil
}

// settle makes durable what was written to a file of that size. The caller holds mu.
func (f *FS) settle(k fileKey, size int64) {
	d := f.dirty[k]
	if d == nil {
		return
	}
	d.size = size
	maps.DeleteFunc(d.sectors, func(_ int64, s *sector) bool { return !s.lost })
	if len(d.sectors) == 0 {
		delete(f.dirty, k)
	}
}

// abandon puts what was written beyond the reach of a later fsync. The caller holds mu.
func (f *FS) abandon(k fileKey) {
	if d := f.dirty[k]; d != nil {
		for _, s := range d.sectors {
			s.lost = true
		}
	}
}

// truncated forgets what lies behind size. The caller holds mu.
func (f *FS) truncated(k fileKey, size int64) {
	d := f.dirty[k]
	if d == nil {
		return
	}
	d.size = size
	for at, s := range d.sectors {
		if at >= size {
			delete(d.sectors, at)
			continue
		}
		for i, v := range s.past {
			s.past[i] = v[:min(int64(len(v)), size-at)]
		}
	}
	if len(d.sectors) == 0 {
		delete(f.dirty, k)
	}
}

// Image returns a new folder that holds what a power cut at this instant might leave; the same instant and seed give
// the same image. No write happens meanwhile. It lives as long as the test, unless removed before. If the folder
// cannot be copied the test fails and the image is not complete.
//
// To judge an image from another goroutine than ImageAt's, note what is confirmed before the call.
func (f *FS) Image(seed uint64) (dir string) {
	dir, err := os.MkdirTemp(f.images, fmt.Sprintf("seed-%d-", seed))
	if err == nil {
		err = f.image(dir, rand.New(rand.NewPCG(seed, 0)))
	}
	if err != nil {
		f.t.Errorf("faultfs: image: %v", err)
	}
	return dir
}

func (f *FS) image(dir string, rng *rand.Rand) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	links := map[fileKey]string{}
	return filepath.WalkDir(f.backing, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(f.backing, path)
		if err != nil || rel == "." {
			return err
		}
		to := filepath.Join(dir, rel)
		info, err := e.Info()
		if err != nil {
			return err
		}
		switch {
		case e.IsDir():
			return os.Mkdir(to, info.Mode().Perm()|0o700)
		case e.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(target, to)
		case !e.Type().IsRegular(), isShm(path):
			return nil
		}
		k, err := keyOf(path)
		if err != nil {
			return err
		}
		if first := links[k]; first != "" {
			return os.Link(first, to)
		}
		links[k] = to
		return copyCut(path, to, info, f.dirty[k], rng)
	})
}

// copyCut copies a file without what the coin takes from it. A nil d takes nothing.
func copyCut(from, to string, info fs.FileInfo, d *unsynced, rng *rand.Rand) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	defer func() {
		if e := dst.Close(); err == nil {
			err = e
		}
	}()
	size, err := io.Copy(dst, src)
	if err != nil || d == nil {
		return err
	}
	survive, end := rng.Float64(), d.size
	for _, at := range slices.Sorted(maps.Keys(d.sectors)) {
		if rng.Float64() < survive {
			end = max(end, at+sectorSize)
			continue
		}
		past := d.sectors[at].past
		old := past[rng.IntN(len(past))]
		if len(old) > 0 {
			end = max(end, at+int64(len(old)))
		}
		var buf [sectorSize]byte
		copy(buf[:], old)
		if _, err := dst.WriteAt(buf[:], at); err != nil {
			return err
		}
	}
	if rng.IntN(2) == 0 {
		end = size
	}
	return dst.Truncate(min(end, size))
}

func isShm(path string) bool { return strings.HasSuffix(path, "-shm") }
