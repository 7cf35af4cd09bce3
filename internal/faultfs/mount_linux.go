package faultfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Available returns why FUSE cannot be used here, nil if it can. It mounts once to find out.
func Available() error { return available() }

var available = sync.OnceValue(func() error {
	dev, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	dev.Close()
	dir, err := os.MkdirTemp("", "faultfs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	backing, mnt := filepath.Join(dir, "backing"), filepath.Join(dir, "mnt") // one over the other would wait for itself
	if err := errors.Join(os.Mkdir(backing, 0o700), os.Mkdir(mnt, 0o700)); err != nil {
		return err
	}
	root, err := fs.NewLoopbackRoot(backing)
	if err != nil {
		return err
	}
	probe, err := os.Create(filepath.Join(backing, "probe"))
	if err != nil {
		return err
	}
	defer probe.Close()
	server, err := serve(mnt, root)
	if err != nil {
		return fmt.Errorf("FUSE: %w", err)
	}
	defer unmount(mnt, server)
	id, errno := server.RegisterBackingFd(&fuse.BackingMap{Fd: int32(probe.Fd())})
	if errno != 0 {
		return fmt.Errorf("FUSE passthrough, without which SQLite's -shm may hang this process: %w", errno)
	}
	server.UnregisterBackingFd(id)
	return nil
})

func serve(dir string, root fs.InodeEmbedder) (*fuse.Server, error) {
	return fs.Mount(dir, root, &fs.Options{MountOptions: fuse.MountOptions{
		FsName:            "faultfs",
		Name:              "faultfs",
		DirectMount:       true, // fusermount is seldom installed
		AllowOther:        os.Geteuid() == 0,
		Options:           []string{"default_permissions"},
		DisableXAttrs:     true,
		MaxStackDepth:     2, // passthrough to a folder on overlayfs
		ExtraCapabilities: fuse.CAP_DIRECT_IO_ALLOW_MMAP,
	}})
}

// unmount never waits for files that are still open.
func unmount(dir string, server *fuse.Server) {
	if err := unix.Unmount(dir, 0); err == nil {
		server.Wait()
		return
	}
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		_ = server.Unmount() // mounted by fusermount, so not ours to unmount
	}
}

func (f *FS) mount() (func(), error) {
	root, err := fs.NewLoopbackRoot(f.backing)
	if err != nil {
		return nil, err
	}
	server, err := serve(f.dir, &node{root.(*fs.LoopbackNode), f})
	if err != nil {
		return nil, err
	}
	return func() { unmount(f.dir, server) }, nil
}

// keyOf agrees with the numbers LoopbackNode gives its inodes.
func keyOf(path string) (fileKey, error) {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_INO|unix.STATX_BTIME, &st)
	if err != nil {
		return fileKey{}, &os.PathError{Op: "statx", Path: path, Err: err}
	}
	k := fileKey{st.Ino, 1}
	if st.Btime.Sec != 0 || st.Btime.Nsec != 0 {
		k.born = uint64(st.Btime.Sec)*1e9 + uint64(st.Btime.Nsec)
	}
	return k, nil
}

func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	if err != nil && !errors.As(err, &errno) {
		return syscall.EIO
	}
	return errno
}

// node is a file or folder. What it does not define goes to the backing folder unseen.
type node struct {
	*fs.LoopbackNode
	fs *FS
}

func (n *node) WrapChild(_ context.Context, ops fs.InodeEmbedder) fs.InodeEmbedder {
	return &node{ops.(*fs.LoopbackNode), n.fs}
}

func (n *node) key() fileKey {
	a := n.StableAttr()
	return fileKey{a.Ino, a.Gen}
}

func (n *node) name() string { return n.Path(nil) }

func (n *node) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if isShm(n.name()) {
		return n.LoopbackNode.Open(ctx, flags)
	}
	h, err := n.open(filepath.Join(n.fs.backing, n.name()), flags)
	return h, fuse.FOPEN_DIRECT_IO, errnoOf(err)
}

func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	defer n.fs.hold()()
	child, plain, fuseFlags, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	if errno != 0 || isShm(name) {
		return child, plain, fuseFlags, errno
	}
	_ = plain.(fs.FileReleaser).Release(ctx)
	c := child.Operations().(*node)
	n.fs.truncated(c.key(), int64(out.Size)) // nothing is known of a new file, nor left of a truncated one
	h, err := c.open(filepath.Join(n.fs.backing, n.name(), name), flags)
	return child, h, fuse.FOPEN_DIRECT_IO, errnoOf(err)
}

// open returns a handle that also reads, for the old contents.
func (n *node) open(path string, flags uint32) (fs.FileHandle, error) {
	mode := os.O_RDONLY
	if flags&syscall.O_ACCMODE != syscall.O_RDONLY {
		mode = os.O_RDWR
	}
	file, err := os.OpenFile(path, mode|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	lf := fs.NewLoopbackFileFromOS(file)
	return &handle{
		FileReader: lf, FileLseeker: lf, FileGetattrer: lf, FileSetattrer: lf, FileStatxer: lf, FileFlusher: lf, FileReleaser: lf,
		file: file, n: n, sync: flags&(syscall.O_SYNC|syscall.O_DSYNC) != 0,
	}, nil
}

// Tmpfile is refused: programs fall back to Create.
func (n *node) Tmpfile(context.Context, uint32, uint32, *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	return nil, nil, 0, syscall.EOPNOTSUPP
}

// CopyFileRange is refused: the kernel falls back to writes.
func (n *node) CopyFileRange(context.Context, fs.FileHandle, uint64, *fs.Inode, fs.FileHandle, uint64, uint64, uint64) (uint32, syscall.Errno) {
	return 0, syscall.EOPNOTSUPP
}

func (n *node) Setattr(ctx context.Context, h fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	defer n.fs.hold()()
	errno := n.LoopbackNode.Setattr(ctx, h, in, out)
	if size, ok := in.GetSize(); ok && errno == 0 {
		n.fs.truncated(n.key(), int64(size))
	}
	return errno
}

// Directory entries change under the locks, so that an image shows one instant and stays true for its callback.

func (n *node) Unlink(ctx context.Context, name string) syscall.Errno {
	defer n.fs.hold()()
	return n.LoopbackNode.Unlink(ctx, name)
}

func (n *node) Rmdir(ctx context.Context, name string) syscall.Errno {
	defer n.fs.hold()()
	return n.LoopbackNode.Rmdir(ctx, name)
}

func (n *node) Rename(ctx context.Context, name string, to fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	defer n.fs.hold()()
	return n.LoopbackNode.Rename(ctx, name, to, newName, flags)
}

func (n *node) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	defer n.fs.hold()()
	return n.LoopbackNode.Link(ctx, target, name, out)
}

func (n *node) Symlink(ctx context.Context, target, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	defer n.fs.hold()()
	return n.LoopbackNode.Symlink(ctx, target, name, out)
}

func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	defer n.fs.hold()()
	return n.LoopbackNode.Mkdir(ctx, name, mode, out)
}

func (n *node) OpendirHandle(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	ds, errno := fs.NewLoopbackDirStream(filepath.Join(n.fs.backing, n.name()))
	if errno != 0 {
		return nil, 0, errno
	}
	return &dirHandle{ds, ds.(fs.FileReaddirenter), ds.(fs.FileSeekdirer), ds.(fs.FileReleasedirer), n}, 0, 0
}

type dirHandle struct {
	fs.DirStream
	fs.FileReaddirenter
	fs.FileSeekdirer
	fs.FileReleasedirer
	n *node
}

func (d *dirHandle) Fsyncdir(context.Context, uint32) syscall.Errno {
	return errnoOf(d.n.fs.fsync(d.n.key(), d.n.name(), func() int64 { return 0 }))
}

// handle is an open file, except of *-shm. It lists what passes through: with the whole LoopbackFile embedded, a
// write in several pieces (Writev), a fallocate, an ioctl or the kernel itself (PassthroughFd) would change the file
// unseen. What is missing is refused with an error upon which libraries fall back to writes.
type handle struct {
	fs.FileReader
	fs.FileLseeker
	fs.FileGetattrer
	fs.FileSetattrer
	fs.FileStatxer
	fs.FileFlusher
	fs.FileReleaser
	file *os.File
	n    *node
	sync bool // each write is an fsync too
}

func (h *handle) Writev(ctx context.Context, data [][]byte, off int64) (uint32, syscall.Errno) {
	return h.Write(ctx, bytes.Join(data, nil), off)
}

func (h *handle) Write(ctx context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	n, err := h.n.fs.write(h.n.key(), h.n.name(), h.file, data, off)
	if err == nil && h.sync {
		return uint32(n), h.Fsync(ctx, 0)
	}
	return uint32(n), errnoOf(err)
}

func (h *handle) Fsync(context.Context, uint32) syscall.Errno {
	return errnoOf(h.n.fs.fsync(h.n.key(), h.n.name(), func() int64 {
		info, err := h.file.Stat()
		if err != nil {
			return 0
		}
		return info.Size()
	}))
}
