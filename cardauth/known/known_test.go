package known

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func open(t *testing.T, path string) *Book {
	t.Helper()
	b, err := Open(path, all)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func all(string) bool { return true }

// A key stays whose it was first, over a restart; a renewed certificate of the same
// person, and another key of that person, are fine.
func TestKeysStay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.seen")
	b := open(t, path)
	for range 2 {
		for _, key := range [][32]byte{{1}, {2}} {
			if err := b.Check(key, "Practitioner/1"); err != nil {
				t.Error(err)
			}
			if err := b.Remember(key, "Practitioner/1"); err != nil {
				t.Error(err)
			}
		}
		for _, err := range []error{b.Check([32]byte{1}, "Practitioner/2"), b.Remember([32]byte{2}, "patient:1")} {
			if !errors.Is(err, ErrOther) {
				t.Errorf("another person's key: %v", err)
			}
		}
		b = open(t, path)
	}
	if data, err := os.ReadFile(path); err != nil || strings.Count(string(data), "\n") != 2 {
		t.Errorf("%v: %q", err, data)
	}
}

// Stopped after any byte of a line, the book has what was whole, and the next key
// is not lost with the half one.
func TestCutAnywhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.seen")
	b := open(t, path)
	for i := range 2 {
		if err := b.Remember([32]byte{byte(i)}, "Practitioner/1"); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	line := len(whole) / 2
	for cut := line; cut < len(whole); cut++ {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		b := open(t, path)
		if b.Check([32]byte{0}, "x") == nil || b.Check([32]byte{1}, "x") != nil {
			t.Fatalf("cut at %d: known %v", cut, b.who)
		}
		if err := b.Remember([32]byte{9}, "Practitioner/9"); err != nil {
			t.Fatal(err)
		}
		b, err := Open(path, all)
		if b.Check([32]byte{9}, "x") == nil || b.Check([32]byte{0}, "x") == nil {
			t.Fatalf("cut at %d, then another: known %v, %v", cut, b.who, err)
		}
	}
}

// A damaged line is said, and the others count.
func TestDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.seen")
	good := strings.Repeat("01", 32) + " Practitioner/1\n"
	if err := os.WriteFile(path, []byte("nonsense\n"+good), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := Open(path, all)
	if err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("got %v", err)
	}
	var key [32]byte
	for i := range key {
		key[i] = 1
	}
	if b.Check(key, "Practitioner/2") == nil {
		t.Error("the good line does not count")
	}
	if b, _ := Open(path, func(string) bool { return false }); len(b.who) != 0 {
		t.Errorf("known %v, want nobody's", b.who)
	}
}

// What can't be kept is said, and known for as long as the program runs.
func TestBadDisk(t *testing.T) {
	b := open(t, filepath.Join(t.TempDir(), "no", "such", "folder"))
	if err := b.Remember([32]byte{1}, "Practitioner/1"); err == nil {
		t.Error("nothing was kept and nothing said")
	}
	if !errors.Is(b.Check([32]byte{1}, "Practitioner/2"), ErrOther) {
		t.Error("forgotten at once")
	}
	for _, subject := range []string{"", "a\nb", strings.Repeat("x", maxSubject+1)} {
		if b.Remember([32]byte{2}, subject) == nil {
			t.Errorf("%q was taken", subject)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(strings.Repeat("01", 32) + " Practitioner/1\n")
	f.Add("x\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		b := &Book{counts: all, who: map[[32]byte]string{}}
		_ = b.read(strings.NewReader(text))
		if len(b.who) > strings.Count(text, "\n") {
			t.Fatal("more keys than lines")
		}
	})
}
