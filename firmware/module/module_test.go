package module

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestListSurvivesARoundTrip(t *testing.T) {
	list := []Entry{{"/lib/modules/6.1/a.ko", ""}, {"/lib/modules/6.1/i6300esb.ko", "nowayout=1 heartbeat=30"}}
	text := Format(list)
	if want := "/lib/modules/6.1/a.ko\n/lib/modules/6.1/i6300esb.ko nowayout=1 heartbeat=30\n"; text != want {
		t.Errorf("got %q, want %q", text, want)
	}
	if got := Parse("\n" + text + "\n"); !slices.Equal(got, list) {
		t.Errorf("got %v, want %v", got, list)
	}
}

// One bad module must not keep the others from loading; here none can load, so
// each has its line.
func TestEveryModuleIsTried(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "junk.ko"), []byte("not a module"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "list"), []byte("missing.ko\njunk.ko x=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := LoadList(root, "list")
	if err == nil || !strings.Contains(err.Error(), "missing.ko") || !strings.Contains(err.Error(), "junk.ko") {
		t.Errorf("got %v, want both named", err)
	}
	if err := LoadList(root, "no-list"); err == nil {
		t.Error("a missing list went unnoticed")
	}
}
