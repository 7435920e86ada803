package cpio

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"clinicgate/firmware/lab"
)

func archive(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := New(&b)
	w.Char("dev/console", 0o600, 5, 1)
	w.File("etc/deep/er/name", 0o640, []byte("four"))
	w.File("init", 0o755, []byte("odd"))
	w.Dir("dev")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// GNU cpio reads what the kernel reads.
func TestGNUCpioReadsIt(t *testing.T) {
	lab.Require(t, lab.Program("cpio"), lab.Root)
	dir := t.TempDir()
	cmd := exec.Command("cpio", "-i", "-d", "--quiet")
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(archive(t))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, want := range map[string]string{"etc/deep/er/name": "four", "init": "odd"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	if fi, err := os.Stat(filepath.Join(dir, "init")); err != nil || fi.Mode().Perm() != 0o755 {
		t.Errorf("init: %v, %v", fi.Mode(), err)
	}
	if fi, err := os.Stat(filepath.Join(dir, "dev/console")); err != nil || fi.Mode()&os.ModeCharDevice == 0 {
		t.Errorf("dev/console: %v, %v", fi, err)
	}
}

func TestSameBytes(t *testing.T) {
	a := archive(t)
	if !bytes.Equal(a, archive(t)) {
		t.Error("two archives of the same differ")
	}
	if n := strings.Count(string(a), "dev\x00"); n != 1 {
		t.Errorf("folder dev is in it %d times", n)
	}
}

type full struct{ left int }

func (f *full) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errors.New("disk full")
	}
	return len(p), nil
}

func TestErrorIsKept(t *testing.T) {
	w := New(&full{300})
	w.File("a", 0o644, make([]byte, 1000))
	w.File("b", 0o644, nil)
	if err := w.Close(); err == nil || err.Error() != "disk full" {
		t.Errorf("got %v", err)
	}
}
