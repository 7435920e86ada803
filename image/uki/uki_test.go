package uki

import (
	"bytes"
	"debug/pe"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"clinicgate/firmware/lab"
)

// stub is systemd's, from the Debian package.
const stub = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"

func load(t *testing.T) []byte {
	t.Helper()
	lab.Require(t, func() error { _, err := os.Stat(stub); return err })
	data, err := os.ReadFile(stub)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

var parts = []Section{
	{".osrel", []byte("ID=clinicgate\n")},
	{".cmdline", []byte("quiet panic=5")},
	{".initrd", bytes.Repeat([]byte("initrd"), 5000)},
	{".linux", bytes.Repeat([]byte("kernel!"), 70001)},
}

func TestAppend(t *testing.T) {
	old := load(t)
	image, err := Append(old, parts...)
	if err != nil {
		t.Fatal(err)
	}
	f, err := pe.NewFile(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		s := f.Section(p.Name)
		if s == nil {
			t.Fatalf("no section %s", p.Name)
		}
		if got, err := s.Data(); err != nil || !bytes.Equal(got[:s.VirtualSize], p.Data) {
			t.Errorf("%s: %d bytes, %v; want %d", p.Name, s.VirtualSize, err, len(p.Data))
		}
	}
	overlaps(t, f)
	if again, _ := Append(old, parts...); !bytes.Equal(image, again) {
		t.Error("two images of the same differ")
	}
}

// overlaps checks that no section lies on another, in the file or in memory, and
// that all are inside the image's stated size.
func overlaps(t *testing.T, f *pe.File) {
	t.Helper()
	size := f.OptionalHeader.(*pe.OptionalHeader64).SizeOfImage
	for i, a := range f.Sections {
		if a.VirtualAddress+a.VirtualSize > size {
			t.Errorf("%s ends behind the image", a.Name)
		}
		for _, b := range f.Sections[:i] {
			if a.VirtualAddress < b.VirtualAddress+b.VirtualSize && b.VirtualAddress < a.VirtualAddress+a.VirtualSize {
				t.Errorf("%s and %s overlap in memory", a.Name, b.Name)
			}
			if a.Size > 0 && b.Size > 0 && a.Offset < b.Offset+b.Size && b.Offset < a.Offset+a.Size {
				t.Errorf("%s and %s overlap in the file", a.Name, b.Name)
			}
		}
	}
}

// binutils finds the same sections with the same content.
func TestObjdumpAgrees(t *testing.T) {
	lab.Require(t, lab.Program("objcopy"))
	image, err := Append(load(t), parts...)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "x.efi")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		out := filepath.Join(dir, "section")
		if msg, err := exec.Command("objcopy", "--dump-section", p.Name+"="+out, path, filepath.Join(dir, "copy")).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, msg)
		}
		if got, err := os.ReadFile(out); err != nil || !bytes.Equal(bytes.TrimRight(got, "\x00"), p.Data) {
			t.Errorf("%s: objcopy finds %d bytes, %v; want %d", p.Name, len(got), err, len(p.Data))
		}
	}
}

func TestRefusals(t *testing.T) {
	if _, err := Append([]byte("MZ no PE"), parts...); err == nil {
		t.Error("junk was taken for a stub")
	}
	if _, err := Append(load(t), Section{".ninechars", nil}); err == nil || !strings.Contains(err.Error(), "8 bytes") {
		t.Errorf("long name: got %v", err)
	}
	if _, err := Append(load(t), make([]Section, 200)...); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("200 sections: got %v", err)
	}
}
