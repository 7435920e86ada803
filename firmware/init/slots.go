package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"clinicgate/firmware/blockdev"
	"clinicgate/firmware/bootslot"
	"clinicgate/firmware/durable"
	"clinicgate/firmware/efi"
	"clinicgate/firmware/efivar"
	"clinicgate/firmware/module"
	"clinicgate/firmware/release"
	"clinicgate/firmware/slot"
	"clinicgate/firmware/wire"
)

const (
	efiVars     = "/sys/firmware/efi/efivars"
	espDir      = "/run/esp"
	slotJournal = "/data/init/slots.json"
	// imageDir is where the update leaves a kernel image, named as in the ESP.
	imageDir = "/data/update"
	// trialLimit is how long a release on trial may take to be found well; then it
	// has failed, whatever the reason. A hang is the watchdog's.
	trialLimit = 10 * time.Minute
	// maxWords is how many letters of a reason are kept.
	maxWords = 300
)

// slots is PID 1's part of an update: the only one that may write the system
// partition and the firmware's memory, and the one that ends a trial without end.
type slots struct {
	booted  slot.Name
	find    blockdev.Finder
	vars    efivar.Vars
	journal string

	part blockdev.Entry // the system partition the firmware loaded us from
	why  string         // why there are no updates; empty: there are

	images string // where the update leaves a kernel image
	kept   []byte // the journal as it is on disk
	// firmware calls f with the system partition mounted.
	firmware func(f func(bootslot.Firmware) error) error

	// mu is held while a step writes, which takes seconds on cheap flash. The main
	// loop never waits for it: it feeds the watchdog.
	mu    sync.Mutex
	state slot.State
	shown atomic.Pointer[slot.State]
}

// openSlots learns how the box was started and what is on trial. Without a
// firmware that tells, or without the journal, nothing is ever written.
func openSlots(booted string, find blockdev.Finder, data bool) (*slots, error) {
	s := &slots{booted: slot.Name(booted), find: find, vars: efivar.Vars{Dir: efiVars}, journal: slotJournal, images: imageDir}
	s.firmware = s.mounted
	if _, err := os.Stat(filepath.Dir(efiVars)); err != nil {
		s.why = "the kernel was loaded without UEFI firmware"
		return s, nil
	}
	if !data {
		s.why = "the data partition can't be used"
		return s, nil
	}
	if err := module.LoadList("/", uefiModules); err != nil {
		s.why = err.Error()
		return s, err
	}
	if err := mountAll([]mount{{efiVars, "efivarfs", safe, ""}}); err != nil {
		s.why = err.Error()
		return s, err
	}
	raw, err := s.vars.Get("LoaderDevicePartUUID", efi.Loader)
	if err == nil {
		s.part, err = find.GUID(efi.String(raw))
	}
	if err != nil {
		s.why = "the system partition that was started from is unknown"
		return s, fmt.Errorf("find the system partition: %w", err)
	}
	return s, s.load()
}

// secureBoot says whether the firmware checked what it started (UEFI 2.10, section
// 3.3).
func (s *slots) secureBoot() string {
	if s.part.Name == "" {
		return ""
	}
	if v, err := s.vars.Get("SecureBoot", efi.Global); err == nil && len(v) == 1 && v[0] == 1 {
		return "on"
	}
	return "off"
}

// load reads the journal. One that can't be read is as good as none: the slot
// that runs is the one to keep.
func (s *slots) load() error {
	text, err := os.ReadFile(s.journal)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(text, &s.state)
	}
	if err != nil {
		s.state = slot.State{}
		return fmt.Errorf("read slot journal: %w", err)
	}
	s.kept = text
	return nil
}

// save makes a new state durable before anything else follows from it. What is on
// disk already is not written again: most starts change nothing, and flash wears.
func (s *slots) save(next slot.State) error {
	text, err := json.Marshal(next)
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if !bytes.Equal(text, s.kept) {
		s.kept = nil // what a failed write leaves is unknown
		if err := durable.WriteFile(s.journal, text, 0o600); err != nil {
			return err
		}
		s.kept = text
	}
	s.state = next
	s.shown.Store(&next)
	return nil
}

// start judges this start and does what follows. again: the box is to restart.
//
//	journal          stop here: counted as a start that was not made; the next one judges
//	firmware         stop here: the next start is as the journal says, or from the good slot
func (s *slots) start(now time.Time) (again bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why != "" {
		return false, nil
	}
	next, step := s.state.Boot(s.booted, now)
	if err := s.save(next); err != nil {
		return false, err
	}
	return step == slot.TryAgain, s.firmware(func(f bootslot.Firmware) error {
		if step == slot.TryAgain {
			return f.Try(next.Trial.Slot)
		}
		// Also during a trial: a commit that was cut short has put the trial first.
		return errors.Join(f.Settle(next.Good), s.lend(f))
	})
}

// lend gives the update a copy of the running kernel image, most of whose blocks
// the next one has, too. The system partition itself stays shut.
func (s *slots) lend(f bootslot.Firmware) error {
	copied := filepath.Join(s.images, string(s.booted)+".efi")
	image, err := os.ReadFile(filepath.Join(f.ESP, bootslot.File(s.booted)))
	if err != nil {
		return fmt.Errorf("lend kernel image: %w", err)
	}
	if have, err := os.ReadFile(copied); err == nil && bytes.Equal(have, image) {
		return nil
	}
	return durable.WriteFile(copied, image, 0o644)
}

// grant gives the update the slot that does not run, to write, and the one that
// runs, to read.
func (s *slots) grant() error {
	if s.why != "" {
		return nil
	}
	other, err := s.find.Partition("root-" + string(s.booted.Other()))
	if err != nil {
		return err
	}
	return errors.Join(folder{other, 0o600, uidUpdate, uidUpdate}.ensure(), folder{verifiedNode, 0o640, 0, uidUpdate}.ensure())
}

// arm prepares the trial of a release that the update has put into the other slot.
func (s *slots) arm(version, sum string, tunnel bool, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why != "" {
		return errors.New(s.why)
	}
	if err := release.Name("version", version); err != nil { // it goes to the console and into the journal
		return err
	}
	raw, err := hex.DecodeString(sum)
	if err != nil || len(raw) != sha256.Size {
		return fmt.Errorf("sha256: got %.80q, want 64 hexadecimal digits", sum)
	}
	next, err := s.state.Arm(s.booted, version, tunnel, now)
	if err != nil {
		return err
	}
	other := s.booted.Other()
	image, err := os.Open(filepath.Join(s.images, string(other)+".efi"))
	if err != nil {
		return fmt.Errorf("kernel image: %w", err)
	}
	defer image.Close()
	// Stop before the journal: the image is there, nobody starts it. Stop behind it:
	// the good slot starts, finds a trial that was never made, and tries again.
	return s.firmware(func(f bootslot.Firmware) error {
		if err := f.Install(other, image, [sha256.Size]byte(raw)); err != nil {
			return err
		}
		before := s.state
		if err := s.save(next); err != nil {
			return err
		}
		if err := f.Try(other); err != nil { // no trial: the firmware does not know of it
			return errors.Join(err, s.save(before))
		}
		return nil
	})
}

// commit keeps the release on trial for good. The firmware is told first: a stop
// between leaves a trial that is found well once more.
func (s *slots) commit() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next, err := s.state.Commit(s.booted)
	if err != nil {
		return err
	}
	if err := s.firmware(func(f bootslot.Firmware) error { return f.Commit(s.booted) }); err != nil {
		return err
	}
	return s.save(next)
}

// fail ends the trial; the box is to restart, into the slot that worked.
func (s *slots) fail(why string, blame bool, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.onTrial() {
		return fmt.Errorf("slot %s is not on trial", s.booted)
	}
	return s.save(s.state.Fail(plain(why), blame, now))
}

// plain makes words of another program fit for the console and the journal.
func plain(words string) string {
	printable := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(words, "?"))
	if letters := []rune(printable); len(letters) > maxWords {
		return string(letters[:maxWords])
	}
	return printable
}

func (s *slots) onTrial() bool { return s.state.Trial != nil && s.state.Trial.Slot == s.booted }

// mounted calls f with the system partition mounted. It is mounted only for as
// long as something is written: FAT has no journal. Each step syncs what it writes.
func (s *slots) mounted(f func(bootslot.Firmware) error) (err error) {
	if err := os.MkdirAll(espDir, 0o700); err != nil {
		return err
	}
	if err := unix.Mount(s.part.Name, espDir, "vfat", safe, ""); err != nil {
		return fmt.Errorf("mount system partition: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Unmount(espDir, 0)) }()
	return f(bootslot.Firmware{Vars: s.vars, ESP: espDir, Part: efi.Partition{
		Number: uint32(s.part.Number), Start: s.part.Start, Size: s.part.Size, GUID: s.part.GUID,
	}})
}

// published is what others see of it.
func (s *slots) published() *wire.Slots {
	w := &wire.Slots{NoUpdates: s.why}
	state := s.shown.Load()
	if state == nil {
		return w
	}
	w.Good, w.Last = string(state.Good), state.Last
	if t := state.Trial; t != nil {
		w.Trial = &wire.Trial{Slot: string(t.Slot), Version: t.Version, Starts: t.Starts, Tunnel: t.Tunnel, Running: t.Slot == s.booted}
	}
	for _, r := range state.Refused {
		w.Refused = append(w.Refused, wire.RefusedRelease{Version: r.Version, Why: r.Why, When: r.When})
	}
	return w
}
