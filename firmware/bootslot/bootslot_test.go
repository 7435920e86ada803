package bootslot

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"clinicgate/firmware/efi"
	"clinicgate/firmware/efivar"
	"clinicgate/firmware/slot"
)

var esp = efi.Partition{Number: 1, Start: 2048, Size: 196608, GUID: "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"}

// box is a firmware's memory and a system partition, as folders.
func box(t *testing.T) Firmware {
	t.Helper()
	f := Firmware{Vars: efivar.Vars{Dir: t.TempDir()}, ESP: t.TempDir(), Part: esp}
	must(t, f.Install(slot.A, strings.NewReader("release 1"), sum("release 1")))
	must(t, f.Commit(slot.A))
	return f
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func sum(s string) [32]byte { return sha256.Sum256([]byte(s)) }

// powerOn does what UEFI 2.10 section 3.1 says: BootNext once, then the order,
// then the file at the well-known place. It returns what it starts.
func powerOn(t *testing.T, f Firmware) string {
	t.Helper()
	var tries []uint16
	if next, err := f.Vars.Get("BootNext", efi.Global); err == nil {
		must(t, f.Vars.Delete("BootNext", efi.Global))
		tries = efi.Numbers(next)
	}
	if order, err := f.Vars.Get("BootOrder", efi.Global); err == nil {
		tries = append(tries, efi.Numbers(order)...)
	}
	paths := []string{}
	for _, n := range tries {
		raw, err := f.Vars.Get(fmt.Sprintf("Boot%04X", n), efi.Global)
		if err != nil {
			continue
		}
		o, err := efi.Unmarshal(raw)
		must(t, err)
		paths = append(paths, o.Path)
	}
	for _, p := range append(paths, Rescue) {
		if text, err := os.ReadFile(filepath.Join(f.ESP, p)); err == nil && strings.HasPrefix(string(text), "release ") {
			return string(text) // what does not begin so is refused, like a wrong signature
		}
	}
	t.Fatal("the firmware finds nothing to start")
	return ""
}

func TestTrialAndCommit(t *testing.T) {
	f := box(t)
	must(t, f.Install(slot.B, strings.NewReader("release 2"), sum("release 2")))
	starts := []string{powerOn(t, f)}
	must(t, f.Try(slot.B))
	starts = append(starts, powerOn(t, f), powerOn(t, f))
	must(t, f.Commit(slot.B))
	starts = append(starts, powerOn(t, f))
	if want := []string{"release 1", "release 2", "release 1", "release 2"}; !slices.Equal(starts, want) {
		t.Errorf("starts %q, want %q", starts, want)
	}
	f.Vars = efivar.Vars{Dir: t.TempDir()} // a dead battery, a firmware update
	if got := powerOn(t, f); got != "release 2" {
		t.Errorf("a firmware that has forgotten everything starts %q", got)
	}
}

// Stop after every step of every operation: the next start is from a whole slot,
// and from the committed one unless the operation was to change that.
func TestPowerCutAtEachStep(t *testing.T) {
	for _, op := range []struct {
		name  string
		steps func(Firmware) []step
		may   []string // what may be started after a cut
	}{
		{"settle", func(f Firmware) []step { return f.settle(slot.A) }, []string{"release 1"}},
		{"install", func(f Firmware) []step {
			return f.install(slot.B, File(slot.B), strings.NewReader("release 3"), sum("release 3"))
		}, []string{"release 1"}},
		{"commit", func(f Firmware) []step {
			return append(f.settle(slot.B), f.install(slot.B, Rescue, strings.NewReader("release 2"), sum("release 2"))...)
		}, []string{"release 1", "release 2"}},
	} {
		for cut := 0; ; cut++ {
			f := box(t)
			must(t, f.Install(slot.B, strings.NewReader("release 2"), sum("release 2")))
			steps := op.steps(f)
			if cut > len(steps) {
				break
			}
			must(t, run(steps[:cut]))
			if got := powerOn(t, f); !slices.Contains(op.may, got) {
				t.Errorf("%s, cut after step %d: starts %q, want one of %q", op.name, cut, got, op.may)
			}
			f.Vars = efivar.Vars{Dir: t.TempDir()}
			powerOn(t, f)             // fails when there is nothing
			must(t, run(op.steps(f))) // the operation can be done again from the start
		}
	}
}

// A kernel image that is not what was announced never gets its name.
func TestDamagedImage(t *testing.T) {
	f := box(t)
	must(t, f.Install(slot.B, strings.NewReader("release 2"), sum("release 2")))
	if err := f.Install(slot.B, strings.NewReader("garbage"), sum("release 3")); err == nil || !strings.Contains(err.Error(), "got SHA-256") {
		t.Errorf("got %v", err)
	}
	must(t, f.Try(slot.B))
	if got := powerOn(t, f); got != "release 2" {
		t.Errorf("starts %q", got)
	}
	if left, _ := filepath.Glob(filepath.Join(f.ESP, "EFI/clinicgate/*.new")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// The firmware's memory wears: what is right is not written again.
func TestSettleWritesOnce(t *testing.T) {
	f := box(t)
	order := filepath.Join(f.Vars.Dir, "BootOrder-"+efi.Global)
	must(t, os.Chmod(order, 0o400))
	before, err := os.Stat(order)
	must(t, err)
	must(t, f.Settle(slot.A))
	after, err := os.Stat(order)
	must(t, err)
	if !before.ModTime().Equal(after.ModTime()) {
		t.Error("BootOrder was written again")
	}
}

func TestForeignEntriesStay(t *testing.T) {
	f := box(t)
	must(t, f.Vars.Set("BootOrder", efi.Global, efi.Order(0x00ca, 0, 1)))
	must(t, f.Settle(slot.B))
	got, err := f.Vars.Get("BootOrder", efi.Global)
	must(t, err)
	if want := []uint16{0x00cb, 0x00ca, 0, 1}; !slices.Equal(efi.Numbers(got), want) {
		t.Errorf("order %x, want %x", efi.Numbers(got), want)
	}
}
