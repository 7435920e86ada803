package tuf

import (
	"os"
	"path/filepath"
	"testing"
)

// A power cut while the depot is asked leaves a folder; the next time it goes.
func TestLeftoversGo(t *testing.T) {
	o := newOps(t)
	left := filepath.Join(o.box.Dir, "asking-1234")
	must(t, os.Mkdir(left, 0o700))
	must(t, os.WriteFile(filepath.Join(left, "snapshot.json"), []byte("{"), 0o600))
	if got, err := o.asks(); err != nil || got != "1.0" {
		t.Fatalf("got %q, %v", got, err)
	}
	files, err := os.ReadDir(o.box.Dir)
	must(t, err)
	if len(files) != 1 || files[0].Name() != "believed.json" {
		t.Errorf("left behind: %v", files)
	}
}
