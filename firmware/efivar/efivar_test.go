package efivar

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"clinicgate/firmware/efi"
)

func TestSetGetDelete(t *testing.T) {
	v := Vars{Dir: t.TempDir()}
	if _, err := v.Get("BootNext", efi.Global); !errors.Is(err, ErrNone) {
		t.Errorf("got %v, want ErrNone", err)
	}
	for _, want := range []string{"\xc1\x00", "\xc0\x00"} {
		if err := v.Set("BootNext", efi.Global, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if got, err := v.Get("BootNext", efi.Global); err != nil || string(got) != want {
			t.Errorf("got %x, %v, want %x", got, err, want)
		}
	}
	raw, err := os.ReadFile(filepath.Join(v.Dir, "BootNext-"+efi.Global))
	if err != nil || string(raw) != "\x07\x00\x00\x00\xc0\x00" {
		t.Errorf("the kernel would see %x, %v", raw, err)
	}
	for range 2 {
		if err := v.Delete("BootNext", efi.Global); err != nil {
			t.Error(err)
		}
	}
}

func TestBrokenVariables(t *testing.T) {
	v := Vars{Dir: t.TempDir()}
	if err := os.WriteFile(filepath.Join(v.Dir, "BootOrder-"+efi.Global), []byte{7, 0}, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := v.Get("BootOrder", efi.Global); err == nil {
		t.Errorf("a variable without attributes: %x", got)
	}
	if err := (Vars{Dir: filepath.Join(v.Dir, "none")}).Set("BootNext", efi.Global, nil); err == nil {
		t.Error("a box without firmware variables takes one")
	}
}
