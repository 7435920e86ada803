package blockdev

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"clinicgate/firmware/lab"
)

// Boot sectors made by mkfs.vfat, which nobody here wrote, in all three sizes.
func TestFATLabel(t *testing.T) {
	lab.Require(t, lab.Program("mkfs.vfat"))
	for _, size := range []string{"12", "16", "32"} {
		path := filepath.Join(t.TempDir(), "fat")
		if err := os.WriteFile(path, make([]byte, 64<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{"-F", size, "-n", "CGSITE", path}
		if size == "12" {
			args = append([]string{"-s", "64"}, args...)
		}
		if out, err := exec.Command("mkfs.vfat", args...).CombinedOutput(); err != nil {
			t.Fatalf("FAT%s: %v\n%s", size, err, out)
		}
		if got, ok := readFATLabel(path); !ok || got != "CGSITE" {
			t.Errorf("FAT%s: got %q, %v", size, got, ok)
		}
	}
}

func TestNoFAT(t *testing.T) {
	for name, sector := range map[string][]byte{"empty": nil, "zeros": make([]byte, 512), "short": make([]byte, 511)} {
		if got, ok := FATLabel(sector); ok {
			t.Errorf("%s: got label %q", name, got)
		}
	}
}

func FuzzFATLabel(f *testing.F) {
	sector := make([]byte, 512)
	copy(sector[54:], "FAT16")
	copy(sector[43:], "CGSITE     ")
	sector[38], sector[510], sector[511] = 0x29, 0x55, 0xaa
	f.Add(sector)
	f.Add(sector[:100])
	f.Fuzz(func(t *testing.T, sector []byte) {
		if label, ok := FATLabel(sector); ok && len(label) > 11 {
			t.Errorf("label %q is longer than 11 bytes", label)
		}
	})
}

// system is a /sys and /dev with one disk of two partitions.
func system(t *testing.T) Finder {
	t.Helper()
	dir := t.TempDir()
	for name, uevent := range map[string]string{
		"vda":  "MAJOR=254\nDEVNAME=vda\nDEVTYPE=disk\n",
		"vda1": "DEVNAME=vda1\nPARTN=1\nPARTNAME=esp\n",
		"vda2": "DEVNAME=vda2\nPARTN=2\nPARTNAME=root-a\n",
		"vda3": "DEVNAME=vda3\nPARTN=3\nPARTNAME=root-ab\n",
	} {
		block := filepath.Join(dir, "sys/class/block", name)
		if err := os.MkdirAll(block, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(block, "uevent"), []byte(uevent), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Finder{Sys: filepath.Join(dir, "sys"), Dev: filepath.Join(dir, "dev")}
}

func TestPartition(t *testing.T) {
	f := system(t)
	if got, err := f.Partition("root-a"); err != nil || got != filepath.Join(f.Dev, "vda2") {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := f.Partition("root"); err == nil {
		t.Errorf("a part of a name found %q", got)
	}
	if got, err := f.FAT("CGSITE"); err == nil {
		t.Errorf("without device nodes: found %q", got)
	}
}

func TestWait(t *testing.T) {
	n := 0
	got, err := Wait(t.Context(), 5*time.Second, func() (string, error) {
		if n++; n < 3 {
			return "", errors.New("not yet")
		}
		return "/dev/vda2", nil
	})
	if err != nil || got != "/dev/vda2" {
		t.Errorf("got %q, %v", got, err)
	}
	never := func() (string, error) { return "", errors.New("no partition") }
	if _, err := Wait(t.Context(), 10*time.Millisecond, never); err == nil {
		t.Error("a limit that passed went unnoticed")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Wait(ctx, time.Hour, never); err == nil {
		t.Error("an ended context went unnoticed")
	}
}
