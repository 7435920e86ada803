// Package disk is a folder of files that are made at their full size and written
// in place, as a log uses it. Its one guarantee: what Sync returned nil for is
// there after a power cut, as far as the device tells the truth; and one process
// at a time has the folder.
package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"clinicgate/firmware/durable"
)

// An FS is one folder. Tests use one that fails and loses power: package
// crashdisk.
type FS interface {
	// List names the files.
	List() ([]string, error)
	// Create makes a file that must not exist and sets size bytes aside for it;
	// it fails with ENOSPC, leaving nothing, when there is no room.
	Create(name string, size int64) (File, error)
	// Open opens a file for reading and writing.
	Open(name string) (File, error)
	Rename(from, to string) error
	Remove(name string) error
	// Sync makes the names durable: all that was created, renamed and removed.
	Sync() error
}

// A File is open for reading and writing.
type File interface {
	io.ReaderAt
	io.WriterAt
	// Sync makes the content durable (fdatasync). After an error nothing is known
	// of any write since the last Sync that returned nil.
	Sync() error
	// Size is the file's length.
	Size() (int64, error)
	Close() error
}

// A Dir is a folder of the real disk.
type Dir struct {
	dir      string
	keepFree int64
	lock     *os.File
}

// Open makes the folder if need be and takes its lock. Create leaves keepFree
// bytes of the file system to others.
func Open(dir string, keepFree int64) (*Dir, error) {
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("%s: another process has it open: %w", dir, err)
	}
	return &Dir{dir: dir, keepFree: keepFree, lock: lock}, nil
}

func (d *Dir) path(name string) string { return filepath.Join(d.dir, name) }

// List names the files, all but the lock.
func (d *Dir) List() ([]string, error) {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() && strings.Contains(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Create makes a file with room for size bytes set aside.
func (d *Dir) Create(name string, size int64) (File, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(d.dir, &st); err != nil {
		return nil, err
	}
	if free := int64(st.Bavail) * st.Bsize; free-size < d.keepFree {
		return nil, fmt.Errorf("%d bytes free, want %d and %d to spare: %w", free, size, d.keepFree, unix.ENOSPC)
	}
	f, err := os.OpenFile(d.path(name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = f.Truncate(size) // writing it full follows and finds out
	}
	if err != nil {
		f.Close()
		os.Remove(d.path(name))
		return nil, err
	}
	return file{f}, nil
}

// Open opens a file.
func (d *Dir) Open(name string) (File, error) {
	f, err := os.OpenFile(d.path(name), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

// Rename renames a file.
func (d *Dir) Rename(from, to string) error { return os.Rename(d.path(from), d.path(to)) }

// Remove removes a file.
func (d *Dir) Remove(name string) error { return os.Remove(d.path(name)) }

// Sync makes the names durable.
func (d *Dir) Sync() error { return durable.SyncDir(d.dir) }

// Close gives up the lock.
func (d *Dir) Close() error { return d.lock.Close() }

// Capacity is the size of the file system that the folder is on; 0 if it can't be
// told.
func (d *Dir) Capacity() int64 {
	var st unix.Statfs_t
	if err := unix.Statfs(d.dir, &st); err != nil {
		return 0
	}
	return int64(st.Blocks) * st.Bsize
}

type file struct{ *os.File }

// Sync is fdatasync: the file never changes its length or place, so that times
// are all that fsync would write besides.
func (f file) Sync() error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err != unix.EINTR {
			return err
		}
	}
}

func (f file) Size() (int64, error) {
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}
