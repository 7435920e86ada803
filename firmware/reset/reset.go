// Package reset makes a box as good as new. It destroys the keys before anything else
// and reads the disk back to prove it; once begun, every start goes on with it until
// it is done.
package reset

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"clinicgate/firmware/durable"
)

// Order is a reset that somebody confirmed.
type Order struct {
	At   time.Time `json:"at"`
	By   string    `json:"by"`
	Left int       `json:"left"` // undelivered uploads that he knew of
	// Destroyed is set when the keys are gone: what remains is rubbish.
	Destroyed *Proof `json:"destroyed,omitempty"`
}

// Proof says how the keys were destroyed.
type Proof struct {
	At     time.Time `json:"at"`
	Files  int       `json:"files"`
	Blocks int       `json:"blocks"` // read back from the disk itself, past the kernel's memory
	Weak   string    `json:"weak,omitempty"`
}

// Data is the data partition.
type Data struct {
	Root   string // where it is mounted
	Device string // its block device; empty: it can't be read back
	// Keep are files, below Root, that are no clinic's: which slot is good.
	Keep []string
}

const (
	maxOrder = 4 << 10
	maxFiles = 10_000
)

func (d Data) order() string { return filepath.Join(d.Root, "init/reset.json") }

// Done is where the proof stays afterwards.
func (d Data) Done() string { return filepath.Join(d.Root, "init/reset-done.json") }

// Ordered returns the reset that is to be carried out, nil when there is none.
func (d Data) Ordered() (*Order, error) {
	o, err := durable.ReadJSON[Order](d.order(), maxOrder)
	if err != nil { // it is there: somebody did confirm
		return &Order{By: "an order that can't be read"}, nil
	}
	return o, nil
}

// Give makes an order durable. Nothing is destroyed yet: that is the next start's.
func (d Data) Give(o Order) error { return durable.WriteJSON(d.order(), o, 0o600) }

// Cancel takes an order back that was not begun.
func (d Data) Cancel() error {
	if err := durable.Remove(d.order()); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(d.order()))
}

// Carry does what was ordered, and does nothing without an order. Nobody else may use
// the partition. In order:
//
//	overwrite each key, read it back, remove it   stop here: the next start does it again with those that are left
//	note the proof in the order                   stop here: the next start removes the rest
//	remove everything else                        stop here: likewise
//	keep the proof, remove the order              stop here: done, or the next start finds nothing to remove
func (d Data) Carry(now time.Time) (*Order, error) {
	o, err := d.Ordered()
	if err != nil || o == nil {
		return nil, err
	}
	if o.Destroyed == nil {
		p, err := d.destroyKeys()
		if err != nil {
			return nil, err
		}
		p.At = now.UTC().Truncate(time.Second)
		o.Destroyed = &p
		if err := d.Give(*o); err != nil {
			return nil, err
		}
	}
	if err := d.empty(); err != nil {
		return nil, err
	}
	trim(d.Root)
	if err := durable.WriteJSON(d.Done(), o, 0o600); err != nil {
		return nil, err
	}
	return o, d.Cancel()
}

// destroyKeys goes on past a file it can't destroy, and says so at the end: the other
// keys must not survive for one bad block.
func (d Data) destroyKeys() (p Proof, err error) {
	var all []error
	secrets := filepath.Join(d.Root, "secrets")
	walk := filepath.WalkDir(secrets, func(path string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			all = append(all, err)
			return nil
		case !e.Type().IsRegular():
			return nil
		case p.Files >= maxFiles:
			return fmt.Errorf("more than %d keys", maxFiles)
		}
		n, weak, err := d.destroy(path)
		if err != nil {
			all = append(all, fmt.Errorf("destroy key %s: %w", filepath.Base(path), err))
			return nil
		}
		p.Files++
		p.Blocks += n
		if weak != "" {
			p.Weak = weak
		}
		return nil
	})
	return p, errors.Join(append(all, walk)...)
}

// empty removes all but the order, what is kept, and the file system's own folder.
func (d Data) empty() error {
	kept := append(slices.Clone(d.Keep), "init/reset.json", "lost+found")
	var all []error
	var clear func(dir string)
	clear = func(dir string) {
		entries, err := os.ReadDir(filepath.Join(d.Root, dir))
		if err != nil {
			all = append(all, err)
			return
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			below := func(k string) bool { return filepath.Dir(k) == path }
			switch {
			case slices.Contains(kept, path):
			case slices.ContainsFunc(kept, below):
				clear(path)
			default:
				all = append(all, os.RemoveAll(filepath.Join(d.Root, path)))
			}
		}
		all = append(all, durable.SyncDir(filepath.Join(d.Root, dir)))
	}
	clear(".")
	return errors.Join(all...)
}

// trim tells the disk that what was removed is rubbish. Many can't be told; what lies
// there is sealed with keys that are gone.
func trim(dir string) {
	d, err := os.Open(dir)
	if err != nil {
		return
	}
	defer d.Close()
	_ = fitrim(d.Fd())
}
