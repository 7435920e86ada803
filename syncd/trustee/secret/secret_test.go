package secret

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"clinicgate/firmware/lab/swtpm"
)

func sum(t *testing.T, s *Secret) [32]byte {
	t.Helper()
	got, err := s.Sum([]byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, "")
	if err != nil || !strings.HasPrefix(s.State(), "software") {
		t.Fatalf("got %v, %v", s, err)
	}
	again, err := Open(dir, "")
	if err != nil || sum(t, again) != sum(t, s) {
		t.Errorf("another key after a restart, %v", err)
	}
	other, err := Open(t.TempDir(), "")
	if err != nil || sum(t, other) == sum(t, s) {
		t.Errorf("two third parties with one key, %v", err)
	}
	if _, err := Open(dir, "/dev/tpmrm0"); err == nil || !strings.Contains(err.Error(), keyFile) {
		t.Errorf("the way it is kept changed: %v", err)
	}
	path := filepath.Join(dir, keyFile)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bent := bytes.Clone(good)
	bent[len(tag)+3] ^= 1
	for name, text := range map[string][]byte{"bent": bent, "cut": good[:40], "empty": {}, "long": bytes.Repeat(good, 3)} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, ""); err == nil {
			t.Errorf("%s: used", name)
		}
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, ""); err == nil {
		t.Error("a key that others can read was used")
	}
}

// In a TPM the key is of that TPM and that salt.
func TestInTPM(t *testing.T) {
	state, salt := t.TempDir(), bytes.Repeat([]byte{7}, 32)
	device := swtpm.Start(t, state)
	s, err := inTPM(device, salt)
	if err != nil || s.State() != "tpm" {
		t.Fatalf("got %v, %v", s, err)
	}
	if again, err := inTPM(device, salt); err != nil || sum(t, again) != sum(t, s) {
		t.Errorf("another key the second time, %v", err)
	}
	if other, err := inTPM(swtpm.Start(t, t.TempDir()), salt); err != nil || sum(t, other) == sum(t, s) {
		t.Errorf("another TPM has the same key, %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(format(make([]byte, 32)))
	f.Add(tag + " 00 00\n")
	f.Fuzz(func(t *testing.T, text string) {
		if key, err := parse(text); err == nil && format(key) != text {
			t.Fatalf("%q reads back as %q", text, format(key))
		}
	})
}
