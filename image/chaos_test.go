package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"clinicgate/board"
	"clinicgate/firmware/lab/qemu"
	"clinicgate/firmware/slot"
	"clinicgate/firmware/verity"
)

// cut is a moment of an update at which the power goes. It has come when the box
// has said or fetched something since its start.
type cut struct {
	name          string
	said, fetched string // regular expressions
}

var cuts = []cut{
	{name: "the depot is asked", fetched: `metadata/timestamp\.json`},
	{name: "the first blocks come", fetched: `root\.img`},
	{name: "blocks are written", fetched: `(?s)root\.img.*root\.img.*root\.img`},
	{name: "the kernel image comes", fetched: `[ab]\.efi\.img`},
	{name: "the trial is armed", said: `is started on trial`},
	{name: "the firmware starts the trial", said: `(?s)is started on trial.*BdsDxe: starting`},
	{name: "the trial's init is up", said: `(?s)is started on trial.*clinicgate: release`},
	{name: "the trial runs", said: `is on trial`},
	{name: "the trial's services are ready", said: `(?s)is on trial.*clinicgate: ready`},
	{name: "the release is kept", said: `is kept: its release proved itself`},
}

// over ends the wait for a moment that does not come in this life.
var over = regexp.MustCompile(`is kept: its release proved itself|; back on [ab]`)

// later is how long behind such a moment the power goes at most: long enough to
// reach the next one here and there.
const later = 4 * time.Second

// chaos is a box whose power goes again and again while it is updated.
type chaos struct {
	*field
	version int
	canary  []byte
	mu      sync.Mutex
	fetched strings.Builder // since the last start
}

// BenchmarkChaosUpdate cuts the power CHAOS times (5): at every named moment of an
// update first, then at random ones. Each time the box must start again from a
// whole slot, with its data as they were; at the end it takes one more release.
func BenchmarkChaosUpdate(b *testing.B) {
	times := 5
	if text := os.Getenv("CHAOS"); text != "" {
		var err error
		if times, err = strconv.Atoi(text); err != nil || times < 1 {
			b.Fatalf("CHAOS: got %q, want a number", text)
		}
	}
	c := &chaos{}
	c.field = newField(b, c.note)
	c.canary = bytes.Repeat([]byte("what a clinic keeps\n"), 5000)
	c.plant()
	order := slices.Clone(cuts)
	if times < len(order) { // a short run takes some of them
		rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	}
	starts := map[string]int{}
	for n := range times {
		at, delay := cuts[rand.IntN(len(cuts))], time.Duration(rand.Int64N(int64(later)))
		if n < len(order) {
			at, delay = order[n], 0
		}
		vm, slot := c.boot()
		starts[slot]++
		came := c.await(vm, at)
		time.Sleep(delay)
		vm.Kill()
		b.Logf("%d of %d: %v after %q (came: %v), from slot %s", n+1, times, delay.Round(time.Millisecond), at.name, came, slot)
		c.check()
	}
	c.next()
	vm, _ := c.boot()
	expect(b, vm, fmt.Sprintf(`clinicgate: release 0\.1\.%d is on trial`, c.version))
	expect(b, vm, `is kept: its release proved itself`)
	vm.Kill()
	c.check()
	b.Logf("starts by slot: %v; releases tried: %d", starts, c.version)
	b.ReportMetric(float64(times), "cuts")
	b.ReportMetric(0, "ns/op")
}

func (c *chaos) note(path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintln(&c.fetched, path)
}

// plant puts a file among the box's data that must outlive everything.
func (c *chaos) plant() {
	t := c.t
	command(t, "cp", "--sparse=always", c.files.Disk, c.cfg.Disk())
	file := filepath.Join(t.TempDir(), "canary")
	if err := os.WriteFile(file, c.canary, 0o600); err != nil {
		t.Fatal(err)
	}
	command(t, "debugfs", "-w", "-R", "write "+file+" canary", dataAt(c.cfg))
	c.next()
}

// next rolls out a release the box has not seen.
func (c *chaos) next() {
	c.version++
	c.release(fmt.Sprintf("0.1.%d", c.version), false) // much to fetch: time to be cut
}

// boot puts the power on and waits until the box runs from one of its slots.
func (c *chaos) boot() (vm *qemu.VM, slot string) {
	c.mu.Lock()
	c.fetched.Reset()
	c.mu.Unlock()
	vm = start(c.t, c.cfg)
	return vm, expect(c.t, vm, `clinicgate: release \S+, board qemu-x86_64, slot ([ab])`)[1]
}

// await waits for a moment and reports whether it came.
func (c *chaos) await(vm *qemu.VM, at cut) bool {
	said, fetched := regexp.MustCompile(at.said), regexp.MustCompile(at.fetched)
	for end := time.Now().Add(2 * bootLimit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		text := vm.Transcript()
		c.mu.Lock()
		asked := c.fetched.String()
		c.mu.Unlock()
		if said.MatchString(text) && fetched.MatchString(asked) {
			return true
		}
		if over.MatchString(text) {
			return false
		}
	}
	c.t.Fatalf("neither %q nor an end of the update within %v\n%s", at.name, 2*bootLimit, vm.Transcript())
	return false
}

// check looks at what a power cut has left: sound data, and a committed slot whose
// kernel image and root filesystem belong together, whole. If the box has taken or
// refused the release, there is another.
func (c *chaos) check() {
	t := c.t
	data := dataPartition(t, c.cfg)
	if out := journal(t, data); strings.Contains(out, "INCONSISTENCY") {
		t.Errorf("the power cut did damage:\n%s", out)
	}
	command(t, "e2fsck", "-fn", data)
	file := filepath.Join(t.TempDir(), "canary")
	command(t, "debugfs", "-R", "dump /canary "+file, data)
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, c.canary) {
		t.Errorf("the data have changed: %d bytes, %v", len(got), err)
	}
	state := readJournal(t, c.cfg)
	c.sound(state.Good)
	latest := fmt.Sprintf("0.1.%d", c.version)
	if state.Trial == nil && (state.Version == latest || state.Knows(latest) != "") {
		t.Logf("the journal says: %s", state.Last)
		c.next()
	}
}

// sound compares a slot's root filesystem with the hash its kernel image names.
func (c *chaos) sound(s slot.Name) {
	t := c.t
	image := filepath.Join(t.TempDir(), "kernel.efi")
	command(t, "mcopy", "-n", "-i", c.cfg.Disk()+"@@1M", "::/EFI/clinicgate/"+string(s)+".efi", image)
	text, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`clinicgate\.slot=` + string(s) + ` clinicgate\.verity=([0-9a-f]{64}:[0-9]+)`).FindSubmatch(text)
	if named == nil {
		t.Fatalf("the kernel image of slot %s names no root hash", s)
	}
	tree, err := verity.Parse(string(named[1]))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(c.cfg.Disk())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	hw := board.QEMUx86_64.Disk
	at := int64(1+hw.ESP) << 20
	if s == slot.B {
		at += int64(hw.Root) << 20
	}
	if err := tree.Check(io.NewSectionReader(f, at, int64(hw.Root)<<20)); err != nil {
		t.Errorf("slot %s: %v", s, err)
	}
}
