package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/bootslot"
	"clinicgate/firmware/efi"
	"clinicgate/firmware/efivar"
	"clinicgate/firmware/slot"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const image2 = "release 2"

var sum2 = fmt.Sprintf("%x", sha256.Sum256([]byte(image2)))

// folders is a box started from slot a, whose firmware and system partition are
// folders, with release 2 brought to slot b.
func folders(t *testing.T) *slots {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	s := &slots{booted: slot.A, journal: at("slots.json"), images: at("update"), vars: efivar.Vars{Dir: at("vars")}}
	s.firmware = func(f func(bootslot.Firmware) error) error {
		return f(bootslot.Firmware{Vars: s.vars, ESP: at("esp"), Part: efi.Partition{GUID: strings.Repeat("0", 32)}})
	}
	for _, d := range []string{"update", "vars", "esp/EFI/clinicgate"} {
		if err := os.MkdirAll(at(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"esp/EFI/clinicgate/a.efi": "release 1", "update/b.efi": image2} {
		if err := os.WriteFile(at(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.start(noon); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *slots) next(t *testing.T) []uint16 {
	t.Helper()
	raw, err := s.vars.Get("BootNext", efi.Global)
	if err != nil && !errors.Is(err, efivar.ErrNone) {
		t.Fatal(err)
	}
	return efi.Numbers(raw)
}

func TestArm(t *testing.T) {
	s := folders(t)
	if err := s.arm("1.2", sum2, true, noon); err != nil {
		t.Fatal(err)
	}
	if got := s.next(t); len(got) != 1 || got[0] != 0xcb {
		t.Errorf("the firmware starts %x next, want cb", got)
	}
	if trial := s.published().Trial; trial == nil || trial.Version != "1.2" || trial.Running {
		t.Errorf("published %+v", trial)
	}
}

func TestArmRefuses(t *testing.T) {
	for _, c := range []struct{ version, sum, want string }{
		{"1.2\x1b[2J", sum2, "version: got"},
		{"../../etc", sum2, "version: got"},
		{"1.2", "cafe", "want 64 hexadecimal digits"},
		{"1.2", strings.Repeat("00", 32), "got SHA-256"},
	} {
		s := folders(t)
		if err := s.arm(c.version, c.sum, false, noon); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %q", c.version, err, c.want)
		}
		if s.state.Trial != nil || s.next(t) != nil {
			t.Errorf("%q: trial %+v, next start %x", c.version, s.state.Trial, s.next(t))
		}
	}
}

// A firmware that takes no BootNext makes no trial: the journal says what it said
// before, and the next release is not told to wait for a verdict.
func TestArmWithoutTheFirmware(t *testing.T) {
	s := folders(t)
	if err := os.Mkdir(filepath.Join(s.vars.Dir, "BootNext-"+efi.Global), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := s.arm("1.2", sum2, true, noon); err == nil || !strings.Contains(err.Error(), "BootNext") {
		t.Errorf("got %v", err)
	}
	again := &slots{journal: s.journal}
	if err := again.load(); err != nil || again.state.Trial != nil || again.state.Good != slot.A {
		t.Errorf("the journal says %+v, %v", again.state, err)
	}
}

// A start that changes nothing writes nothing.
func TestJournalIsWrittenWhenItChanges(t *testing.T) {
	s := folders(t)
	before, err := os.Stat(s.journal)
	if err != nil {
		t.Fatal(err)
	}
	next := &slots{booted: slot.A, journal: s.journal, images: s.images, vars: s.vars, firmware: s.firmware}
	if err := next.load(); err != nil {
		t.Fatal(err)
	}
	if _, err := next.start(noon); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(s.journal); err != nil || !os.SameFile(before, after) { // a write is a new file
		t.Errorf("the journal was written again, %v", err)
	}
	if next.published().Good != "a" {
		t.Errorf("published %+v", next.published())
	}
}

// What another program says goes to the console as words only.
func TestFailKeepsPlainWords(t *testing.T) {
	s := folders(t)
	if err := s.arm("1.2", sum2, true, noon); err != nil {
		t.Fatal(err)
	}
	s.booted = slot.B
	if err := s.fail("does\x1b[2J not\nwork"+strings.Repeat("!", 1000)+"\xff", true, noon); err != nil {
		t.Fatal(err)
	}
	why := s.state.Knows("1.2")
	if !strings.HasPrefix(why, "does [2J not work!!") || len(why) != maxWords {
		t.Errorf("got %q", why)
	}
}
