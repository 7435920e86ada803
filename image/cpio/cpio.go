// Package cpio writes initramfs archives in the "newc" format (Linux,
// Documentation/driver-api/early-userspace/buffer-format.rst). The same entries
// give the same bytes: times and owners are zero.
package cpio

import (
	"fmt"
	"io"
	"path"
)

// File types, as in st_mode.
const (
	typeDir  = 0o040000
	typeFile = 0o100000
	typeChar = 0o020000
)

// Writer writes one archive. Folders above an entry are made as needed.
type Writer struct {
	w     io.Writer
	n     int64
	inode int
	dirs  map[string]bool
	err   error
}

// New returns a Writer to w.
func New(w io.Writer) *Writer { return &Writer{w: w, dirs: map[string]bool{".": true, "/": true}} }

// File adds a regular file.
func (w *Writer) File(name string, perm uint32, data []byte) {
	w.parents(name)
	w.entry(name, typeFile|perm, 0, 0, data)
}

// Char adds a character device.
func (w *Writer) Char(name string, perm, major, minor uint32) {
	w.parents(name)
	w.entry(name, typeChar|perm, major, minor, nil)
}

// Dir adds a folder.
func (w *Writer) Dir(name string) {
	name = path.Clean(name)
	if w.dirs[name] {
		return
	}
	w.parents(name)
	w.dirs[name] = true
	w.entry(name, typeDir|0o755, 0, 0, nil)
}

func (w *Writer) parents(name string) { w.Dir(path.Dir(name)) }

// Close ends the archive and returns the first error of all.
func (w *Writer) Close() error {
	w.entry("TRAILER!!!", 0, 0, 0, nil)
	return w.err
}

func (w *Writer) entry(name string, mode, major, minor uint32, data []byte) {
	w.inode++
	w.write(fmt.Appendf(nil, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		w.inode, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name)+1, 0))
	w.write(append([]byte(name), 0))
	w.pad()
	w.write(data)
	w.pad()
}

// pad fills up to a multiple of four, as after each name and each file.
func (w *Writer) pad() { w.write(make([]byte, (4-w.n%4)%4)) }

func (w *Writer) write(p []byte) {
	if w.err != nil {
		return
	}
	var n int
	n, w.err = w.w.Write(p)
	w.n += int64(n)
}
