package segment

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
)

var (
	errPower = errors.New("power is off")
	errIO    = errors.New("input/output error")
)

// What happens at the chosen step of a crashFS.
type fault int

const (
	noFault   fault = iota
	fail            // the step does nothing and says so
	failDone        // the step is done and says that it failed
	cutBefore       // power goes before the step
	cutAfter        // power goes after the step, before its answer
	numFaults
)

func (f fault) String() string {
	return [...]string{"no fault", "fail", "fail but done", "power cut before", "power cut after"}[f]
}

// crashFS is a folder in memory that loses what was not synced, in any order and
// torn at sectors, when its power is cut; and that, like Linux, forgets after a
// failed Sync that there was something to write.
type crashFS struct {
	mu    sync.Mutex
	seen  map[string]*inode // what the running system sees
	disk  map[string]*inode // what a power cut leaves, before the luck of pending
	names []nameChange      // since the last Sync of the folder
	room  int64             // bytes that Create may still set aside; negative: no bound

	step, at int // steps taken; the step that is faulted
	fault    fault
	off      bool
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

func newCrashFS() *crashFS {
	return &crashFS{seen: map[string]*inode{}, disk: map[string]*inode{}, room: -1}
}

// do runs one step, unless this is the one where something happens.
func (c *crashFS) do(what func()) error {
	if c.off {
		return errPower
	}
	c.step++
	f := noFault
	if c.step == c.at {
		f = c.fault
	}
	switch f {
	case fail:
		return errIO
	case cutBefore:
		c.off = true
		return errPower
	}
	what()
	switch f {
	case failDone:
		return errIO
	case cutAfter:
		c.off = true
		return errPower
	}
	return nil
}

// reboot is what the disk holds after the power cut: of all that was not synced
// the dice decide, sector by sector, name by name.
func (c *crashFS) reboot(dice *rand.Rand) *crashFS {
	n := newCrashFS()
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

// restart is what the next process finds when only this one died: all of it.
func (c *crashFS) restart() *crashFS {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &crashFS{seen: c.seen, disk: c.disk, names: c.names, room: c.room}
}

func (c *crashFS) List() ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.seen)), nil
}

func (c *crashFS) Create(name string, size int64) (File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen[name] != nil {
		return nil, fs.ErrExist
	}
	if c.room >= 0 && c.room < size {
		return nil, syscall.ENOSPC
	}
	node := &inode{seen: make([]byte, size), disk: make([]byte, size)}
	err := c.do(func() {
		if c.room >= 0 {
			c.room -= size
		}
		c.seen[name] = node
		c.names = append(c.names, nameChange{"", name, node})
	})
	if err != nil {
		return nil, err
	}
	return &crashFile{c, node}, nil
}

func (c *crashFS) Open(name string) (File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	node := c.seen[name]
	switch {
	case c.off:
		return nil, errPower
	case node == nil:
		return nil, fs.ErrNotExist
	}
	return &crashFile{c, node}, nil
}

func (c *crashFS) Rename(from, to string) error {
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

func (c *crashFS) Remove(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	node := c.seen[name]
	if node == nil {
		return fs.ErrNotExist
	}
	return c.do(func() {
		if c.room >= 0 {
			c.room += int64(len(node.seen))
		}
		delete(c.seen, name)
		c.names = append(c.names, nameChange{name, "", node})
	})
}

func (c *crashFS) Sync() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.do(func() { c.disk, c.names = maps.Clone(c.seen), nil })
}

type crashFile struct {
	c    *crashFS
	node *inode
}

func (f *crashFile) ReadAt(b []byte, off int64) (int, error) {
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

func (f *crashFile) WriteAt(b []byte, off int64) (int, error) {
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
	if errors.Is(err, errPower) && !before && f.c.fault == cutBefore {
		put() // it was on its way: the dice decide
	}
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

func (f *crashFile) Sync() error {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	err := f.c.do(func() {
		for _, w := range f.node.pending {
			copy(f.node.disk[w.off:], w.data)
		}
		f.node.pending = nil
	})
	if errors.Is(err, errIO) {
		f.node.pending = nil // marked clean, whether written or not
	}
	return err
}

func (f *crashFile) Size() (int64, error) { return int64(len(f.node.seen)), nil }
func (f *crashFile) Close() error         { return nil }
