package floor

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"clinicgate/firmware/lab/swtpm"
	"clinicgate/firmware/tpm"
)

var morning = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

func open(t *testing.T, path string, c Clock) *Floor {
	t.Helper()
	f, err := Open(path, c)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func raise(t *testing.T, f *Floor, to time.Time) {
	t.Helper()
	if err := f.Raise(to); err != nil {
		t.Fatal(err)
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "floor.json")
	f := open(t, path, nil)
	if !f.Get().IsZero() || f.By() != "file" {
		t.Errorf("a new one: %v by %s", f.Get(), f.By())
	}
	raise(t, f, morning)
	raise(t, f, morning.Add(-time.Hour))
	if got := open(t, path, nil).Get(); !got.Equal(morning) {
		t.Errorf("after a stop: %v", got)
	}
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err := Open(path, nil); err == nil || f == nil {
		t.Error("a damaged file went unnoticed, or nothing is left")
	}
}

// The TPM holds the floor when the disk is put back to yesterday.
func TestAttackDiskPutBack(t *testing.T) {
	dir := t.TempDir()
	chip := &tpm.Clock{Device: swtpm.Start(t, dir)}
	path := filepath.Join(dir, "floor.json")
	f := open(t, path, chip)
	if !f.Get().IsZero() || f.By() != "tpm" {
		t.Errorf("a new TPM: %v by %s", f.Get(), f.By())
	}
	raise(t, f, morning)
	yesterday, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raise(t, f, morning.Add(24*time.Hour))
	if err := os.WriteFile(path, yesterday, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := open(t, path, chip).Get(); got.Before(morning.Add(24 * time.Hour)) {
		t.Errorf("the floor came down to %v", got)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got := open(t, path, chip).Get(); got.Before(morning.Add(24 * time.Hour)) {
		t.Errorf("without a file the floor is %v", got)
	}
	// Nobody can set it back, by whatever command.
	if err := chip.Advance(morning); err != nil {
		t.Errorf("back is no error: %v", err)
	}
	if at, err := chip.Read(); err != nil || at.Before(morning.Add(24*time.Hour)) {
		t.Errorf("the TPM says %v, %v", at, err)
	}
}

type silent struct{}

func (silent) Write(b []byte) (int, error) { return len(b), nil }
func (silent) Read(b []byte) (int, error) {
	return copy(b, []byte{0x80, 1, 0, 0, 0, 10, 0, 0, 1, 1}), nil
}

// A TPM that does not work leaves the file.
func TestBrokenTPM(t *testing.T) {
	path := filepath.Join(t.TempDir(), "floor.json")
	f, err := Open(path, &tpm.Clock{Device: silent{}})
	if err == nil || f == nil || f.By() != "file" {
		t.Fatalf("got %+v, %v", f, err)
	}
	raise(t, f, morning)
	if got := open(t, path, nil).Get(); !got.Equal(morning) {
		t.Error(got)
	}
}
