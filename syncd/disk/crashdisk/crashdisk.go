// Package crashdisk is a disk for tests: a folder in memory whose every step can
// fail, and that loses what was not synced when its power is cut. Its one
// guarantee: it is no kinder than a real disk that obeys fdatasync.
package crashdisk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"

	"clinicgate/syncd/disk"
)

var (
	// ErrPower is the error of every step after the power was cut.
	ErrPower = errors.New("power is off")
	// ErrIO is the error of a step that failed.
	ErrIO = errors.New("input/output error")
)

// Fault is what happens at the chosen step of a Disk.
type Fault int

// The faults.
const (
	None      Fault = iota
	Fail            // the step does nothing and says so
	FailDone        // the step is done and says that it failed
	CutBefore       // power goes before the step
	CutAfter        // power goes after the step, before its answer
)

// Faults lists them all but None.
func Faults() []Fault { return []Fault{Fail, FailDone, CutBefore, CutAfter} }

// String is for messages of tests.
func (f Fault) String() string {
	return [...]string{"no fault", "fail", "fail but done", "power cut before", "power cut after"}[f]
}

// A Disk is a folder in memory that loses what was not synced, in any order and
// torn at sectors, when its power is cut; and that, like Linux, forgets after a
// failed Sync that there was something to write. The exported fields are set
// before use.
type Disk struct {
	mu    sync.Mutex
	seen  map[string]*inode // what the running system sees
	disk  map[string]*inode // what a power cut leaves, before the luck of pending
	names []nameChange      // since the last Sync of the folder
	Room  int64             // bytes that Create may still set aside; negative: no bound

	At    int // the step at which Fault happens, from 1; 0: none
	Fault Fault
	step  int // taken
	off   bool
}

type nameChange struct {
	from, to string // from "": created; to "": removed
	node     *inode
}

type inode struct {
	seen    []byte // with all writes
	disk    []byte // with those that were synced
	pending []write
}

type write struct {
	off  int64
	data []byte
}

// New returns an empty folder.
func New() *Disk {
	return &Disk{seen: map[string]*inode{}, disk: map[string]*inode{}, Room: -1}
}

// Steps is how many were taken.
func (c *Disk) Steps() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.step
}

// Off reports whether the power is off.
func (c *Disk) Off() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.off
}

// Content is what the running system sees of a file: to look at, or to spoil.
func (c *Disk) Content(name string) []byte { return c.seen[name].seen }

// do runs one step, unless this is the one where something happens.
func (c *Disk) do(what func()) error {
	if c.off {
		return ErrPower
	}
	c.step++
	f := None
	if c.step == c.At {
		f = c.Fault
	}
	switch f {
	case Fail:
		return ErrIO
	case CutBefore:
		c.off = true
		return ErrPower
	}
	what()
	switch f {
	case FailDone:
		return ErrIO
	case CutAfter:
		c.off = true
		return ErrPower
	}
	return nil
}

// Reboot is what the disk holds after the power cut: of all that was not synced
// the dice decide, sector by sector, name by name.
func (c *Disk) Reboot(dice *rand.Rand) *Disk {
	n := New()
	n.disk = maps.Clone(c.disk)
	// A journal keeps the order of names: some first part of them is there.
	for _, ch := range c.names[:dice.IntN(len(c.names)+1)] {
		if ch.from != "" {
			delete(n.disk, ch.from)
		}
		if ch.to != "" {
			n.disk[ch.to] = ch.node
		}
	}
	for name, node := range n.disk {
		data := slices.Clone(node.disk)
		for _, w := range node.pending {
			luck := dice.IntN(3) // none, all, or torn
			for i := 0; i < len(w.data); {
				sector := 512 - int(w.off+int64(i))%512
				part := w.data[i:min(i+sector, len(w.data))]
				if luck == 1 || luck == 2 && dice.IntN(2) == 0 {
					copy(data[w.off+int64(i):], part)
				}
				i += len(part)
			}
		}
		n.disk[name] = &inode{seen: slices.Clone(data), disk: data}
	}
	n.seen = maps.Clone(n.disk)
	return n
}

// Restart is what the next process finds when only this one died: all of it.
func (c *Disk) Restart() *Disk {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &Disk{seen: c.seen, disk: c.disk, names: c.names, Room: c.Room}
}

// List names the files.
func (c *Disk) List() ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.seen)), nil
}

// Create makes a file of zeros.
func (c *Disk) Create(name string, size int64) (disk.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen[name] != nil {
		return nil, fs.ErrExist
	}
	if c.Room >= 0 && c.Room < size {
		return nil, syscall.ENOSPC
	}
	node := &inode{seen: make([]byte, size), disk: make([]byte, size)}
	err := c.do(func() {
		if c.Room >= 0 {
			c.Room -= size
		}
		c.seen[name] = node
		c.names = append(c.names, nameChange{"", name, node})
	})
	if err != nil {
		return nil, err
	}
	return &file{c, node}, nil
}

// Open opens a file.
func (c *Disk) Open(name string) (disk.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	node := c.seen[name]
	switch {
	case c.off:
		return nil, ErrPower
	case node == nil:
		return nil, fs.ErrNotExist
	}
	return &file{c, node}, nil
}

// Rename renames a file.
func (c *Disk) Rename(from, to string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	node := c.seen[from]
	if node == nil {
		return fs.ErrNotExist
	}
	return c.do(func() {
		delete(c.seen, from)
		c.seen[to] = node
		c.names = append(c.names, nameChange{from, to, node})
	})
}

// Remove removes a file.
func (c *Disk) Remove(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	node := c.seen[name]
	if node == nil {
		return fs.ErrNotExist
	}
	return c.do(func() {
		if c.Room >= 0 {
			c.Room += int64(len(node.seen))
		}
		delete(c.seen, name)
		c.names = append(c.names, nameChange{name, "", node})
	})
}

// Sync makes the names durable.
func (c *Disk) Sync() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.do(func() { c.disk, c.names = maps.Clone(c.seen), nil })
}

type file struct {
	c    *Disk
	node *inode
}

func (f *file) ReadAt(b []byte, off int64) (int, error) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if off >= int64(len(f.node.seen)) {
		return 0, io.EOF
	}
	n := copy(b, f.node.seen[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(b []byte, off int64) (int, error) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if off+int64(len(b)) > int64(len(f.node.seen)) {
		return 0, fmt.Errorf("write of %d bytes at %d beyond the end at %d", len(b), off, len(f.node.seen))
	}
	put := func() {
		copy(f.node.seen[off:], b)
		f.node.pending = append(f.node.pending, write{off, slices.Clone(b)})
	}
	before := f.c.off
	err := f.c.do(put)
	if errors.Is(err, ErrPower) && !before && f.c.Fault == CutBefore {
		put() // it was on its way: the dice decide
	}
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

func (f *file) Sync() error {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	err := f.c.do(func() {
		for _, w := range f.node.pending {
			copy(f.node.disk[w.off:], w.data)
		}
		f.node.pending = nil
	})
	if errors.Is(err, ErrIO) {
		f.node.pending = nil // marked clean, whether written or not
	}
	return err
}

func (f *file) Size() (int64, error) { return int64(len(f.node.seen)), nil }
func (f *file) Close() error         { return nil }
