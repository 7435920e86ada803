// Package bootslot makes the firmware start one slot or the other: by its own boot
// entries, with no boot manager between. Whatever step the power goes at, the next
// start finds a slot whose kernel image is whole.
//
// A trial is BootNext, which the firmware forgets before it loads anything; the
// committed slot is first in BootOrder; and the file that every firmware looks for
// when its memory is lost, EFI/BOOT/BOOTX64.EFI, is a copy of the committed one.
package bootslot

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"clinicgate/firmware/durable"
	"clinicgate/firmware/efi"
	"clinicgate/firmware/efivar"
	"clinicgate/firmware/release"
	"clinicgate/firmware/slot"
)

// numbers of our Boot#### entries.
var numbers = map[slot.Name]uint16{slot.A: 0x00ca, slot.B: 0x00cb}

// Rescue is the file a firmware without boot entries starts, below the ESP.
const Rescue = "EFI/BOOT/BOOTX64.EFI"

// File is a slot's unified kernel image, below the ESP.
func File(s slot.Name) string { return "EFI/clinicgate/" + string(s) + ".efi" }

// Firmware is a box's firmware and its system partition.
type Firmware struct {
	Vars efivar.Vars
	ESP  string        // where the partition is mounted, writable
	Part efi.Partition // which it is
}

// Settle makes the firmware start good from now on, and the other slot when good
// can't be loaded. It changes nothing that is so already: the memory wears.
func (f Firmware) Settle(good slot.Name) error {
	return run(f.settle(good))
}

func (f Firmware) settle(good slot.Name) []step {
	return []step{
		// Stop here: an entry that no order names is not started.
		func() error { return f.entry(good) },
		func() error { return f.entry(good.Other()) },
		func() error { return f.order(good) },
	}
}

// Install puts a kernel image into a slot that is not committed, and returns when
// it is there as its hash says.
func (f Firmware) Install(s slot.Name, image io.Reader, sum [sha256.Size]byte) error {
	return run(f.install(s, File(s), image, sum))
}

// Try makes the next start, and only that one, come from s.
func (f Firmware) Try(s slot.Name) error {
	return run([]step{
		func() error { return f.entry(s) },
		func() error { return f.Vars.Set("BootNext", efi.Global, efi.Order(numbers[s])) },
	})
}

// Commit makes s the slot that is started, also by a firmware that has forgotten
// everything.
func (f Firmware) Commit(s slot.Name) error {
	image, err := os.ReadFile(filepath.Join(f.ESP, File(s)))
	if err != nil {
		return fmt.Errorf("commit slot %s: %w", s, err)
	}
	// Stop between the two: s is started; the rescue file is the old slot's, whole.
	return run(append(f.settle(s), f.install(s, Rescue, bytes.NewReader(image), sha256.Sum256(image))...))
}

// step is one change that outlives a power cut.
type step func() error

func run(steps []step) error {
	for _, s := range steps {
		if err := s(); err != nil {
			return err
		}
	}
	return nil
}

// install replaces a file of the ESP:
//
//	write and sync NAME.new          stop here: a stray file, overwritten next time
//	read it back and compare         stop here: the same
//	rename it to NAME, sync folder   stop here: the old file or the new one
func (f Firmware) install(s slot.Name, name string, image io.Reader, sum [sha256.Size]byte) []step {
	path := filepath.Join(f.ESP, name)
	fresh := path + ".new"
	return []step{
		func() error { return durable.MkdirAll(filepath.Dir(path), 0o755) },
		func() error { return write(fresh, image) },
		func() error {
			got, err := hash(fresh)
			if err == nil && got != sum {
				err = fmt.Errorf("got SHA-256 %x, want %x", got, sum)
			}
			if err != nil {
				return fmt.Errorf("install slot %s: %w", s, errors.Join(err, os.Remove(fresh)))
			}
			return nil
		},
		func() error {
			if err := os.Rename(fresh, path); err != nil {
				return fmt.Errorf("install slot %s: %w", s, err)
			}
			return durable.SyncDir(filepath.Dir(path))
		},
	}
}

func write(path string, image io.Reader) error {
	out, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("install kernel image: %w", err)
	}
	n, err := io.Copy(out, io.LimitReader(image, release.MaxKernel+1))
	if err == nil && n > release.MaxKernel {
		err = fmt.Errorf("got more than %d bytes", release.MaxKernel)
	}
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("install kernel image: %w", errors.Join(err, os.Remove(path)))
	}
	return nil
}

func hash(path string) (sum [sha256.Size]byte, err error) {
	in, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer in.Close()
	h := sha256.New()
	if _, err := io.Copy(h, in); err != nil {
		return sum, err
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

// entry writes a slot's Boot#### variable, unless it is as it should be.
func (f Firmware) entry(s slot.Name) error {
	want, err := efi.Option{Description: "clinicgate " + string(s), Partition: f.Part, Path: "/" + File(s)}.Marshal()
	if err != nil {
		return fmt.Errorf("boot entry of slot %s: %w", s, err)
	}
	return f.set(fmt.Sprintf("Boot%04X", numbers[s]), want)
}

// order puts good first and the other slot second.
func (f Firmware) order(good slot.Name) error {
	now, err := f.Vars.Get("BootOrder", efi.Global)
	if err != nil && !errors.Is(err, efivar.ErrNone) {
		return err
	}
	want := efi.Promote(efi.Numbers(now), numbers[good], numbers[good.Other()])
	return f.set("BootOrder", efi.Order(want...))
}

func (f Firmware) set(name string, want []byte) error {
	got, err := f.Vars.Get(name, efi.Global)
	if err == nil && slices.Equal(got, want) {
		return nil
	}
	return f.Vars.Set(name, efi.Global, want)
}
