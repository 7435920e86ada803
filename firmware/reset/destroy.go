package reset

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"

	"clinicgate/firmware/durable"
)

// Sizes.
const (
	maxKey = 1 << 20 // of a file that is overwritten and looked for
	needle = 16      // bytes of it that must not be found again
	block  = 4096
)

// linux/fs.h and linux/fiemap.h.
const (
	fitrimIoctl  = 0xc0185879
	fiemapIoctl  = 0xc020660b
	fiemapSync   = 1
	fiemapHead   = 32
	extentLen    = 56
	maxExtents   = 64
	extentInline = 0x200 // the content is among the inodes, where it can't be found by extent
)

// An extent is where a part of a file lies on the disk, in bytes.
type extent struct{ at, length int64 }

// destroy overwrites a key where it lies, reads the disk back and removes its name. It
// returns how many blocks were read back, or why none could be.
func (d Data) destroy(path string) (blocks int, weak string, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return 0, "", err
	}
	if fi.Size() > maxKey {
		return 0, "", fmt.Errorf("got %d bytes, want a key of %d at most", fi.Size(), maxKey)
	}
	was := make([]byte, fi.Size())
	if _, err := f.ReadAt(was, 0); err != nil {
		return 0, "", err
	}
	defer clear(was)
	where, weak := d.extents(f)
	noise := make([]byte, len(was))
	rand.Read(noise) // never fails
	if _, err := f.WriteAt(noise, 0); err != nil {
		return 0, "", err
	}
	if err := f.Sync(); err != nil {
		return 0, "", err
	}
	for _, e := range where {
		n, err := d.gone(e, was)
		if err != nil {
			return 0, "", err
		}
		blocks += n
	}
	if err := os.Remove(path); err != nil {
		return 0, "", err
	}
	return blocks, weak, durable.SyncDir(filepath.Dir(path))
}

// gone reads an extent from the disk itself and fails if a part of the key is there.
func (d Data) gone(e extent, was []byte) (int, error) {
	fd, err := unix.Open(d.Device, unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("read the disk back: %w", err)
	}
	defer unix.Close(fd)
	buf, err := unix.Mmap(-1, 0, block, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS) // aligned, as O_DIRECT wants
	if err != nil {
		return 0, err
	}
	defer unix.Munmap(buf)
	blocks := 0
	for at := e.at / block * block; at < e.at+e.length; at += block {
		if _, err := unix.Pread(fd, buf, at); err != nil {
			return blocks, fmt.Errorf("read the disk back: %w", err)
		}
		blocks++
		// The file system's blocks may be smaller: what lies beside is another file's.
		part := buf[max(0, e.at-at):min(block, e.at+e.length-at)]
		for i := 0; i+needle <= len(was); i += needle {
			if bytes.Contains(part, was[i:i+needle]) {
				return blocks, errors.New("the key is still on the disk")
			}
		}
	}
	return blocks, nil
}

// extents asks the file system where a file lies; weak says why it can't be told.
func (d Data) extents(f *os.File) (all []extent, weak string) {
	if d.Device == "" {
		return nil, "the disk is not known"
	}
	b := make([]byte, fiemapHead+maxExtents*extentLen)
	binary.NativeEndian.PutUint64(b[8:], ^uint64(0)) // to the end
	binary.NativeEndian.PutUint32(b[16:], fiemapSync)
	binary.NativeEndian.PutUint32(b[24:], maxExtents)
	if _, _, no := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fiemapIoctl, uintptr(unsafe.Pointer(&b[0]))); no != 0 {
		return nil, "the file system does not say where files lie: " + no.Error()
	}
	for i := range int(binary.NativeEndian.Uint32(b[20:])) {
		e := b[fiemapHead+i*extentLen:]
		if binary.NativeEndian.Uint32(e[40:])&extentInline != 0 {
			return nil, "a key lies among the inodes"
		}
		all = append(all, extent{int64(binary.NativeEndian.Uint64(e[8:])), int64(binary.NativeEndian.Uint64(e[16:]))})
	}
	return all, ""
}

// fitrim has the file system discard what is free, all of it.
func fitrim(fd uintptr) error {
	var whole [24]byte // start, length, least
	binary.NativeEndian.PutUint64(whole[8:], ^uint64(0))
	if _, _, no := unix.Syscall(unix.SYS_IOCTL, fd, fitrimIoctl, uintptr(unsafe.Pointer(&whole[0]))); no != 0 {
		return no
	}
	return nil
}
