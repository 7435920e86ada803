package progress

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

func TestOutlivesStops(t *testing.T) {
	path := filepath.Join(t.TempDir(), "progress.json")
	f := Open(path)
	for _, put := range [][2]string{{"a", "1"}, {"b", "1"}, {"a", "2"}} {
		if err := f.Put(put[0], put[1]); err != nil {
			t.Fatal(err)
		}
	}
	again := Open(path)
	for key, want := range map[string]string{"a": "2", "b": "1", "c": ""} {
		if got := again.Get(key); got != want {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
}

// The oldest goes, not one that was put again meanwhile.
func TestBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "progress.json")
	f := Open(path)
	for i := range most { // each Put is a sync
		f.all = append(f.all, note{strconv.Itoa(i), "x"})
	}
	for _, key := range []string{"0", "new"} {
		if err := f.Put(key, "y"); err != nil {
			t.Fatal(err)
		}
	}
	again := Open(path)
	if len(again.all) != most || again.Get("0") != "y" || again.Get("new") != "y" || again.Get("1") != "" {
		t.Errorf("%d remembered; 0 %q, 1 %q", len(again.all), again.Get("0"), again.Get("1"))
	}
}

func TestDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "progress.json")
	if err := os.WriteFile(path, []byte(`[{"key":"a","at":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if Open(path).Get("a") != "" {
		t.Error("half a file was believed")
	}
	// A file that can't be replaced keeps what it says.
	f := Open(filepath.Join(path, "below"))
	if f.Put("a", "1") == nil || f.Get("a") != "" {
		t.Error("what was not written is told")
	}
}
