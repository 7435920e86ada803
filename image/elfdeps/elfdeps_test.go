package elfdeps

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"clinicgate/firmware/lab"
)

// pcscd as installed here, judged by the names ldd would print.
func TestClosure(t *testing.T) {
	const pcscd = "/usr/sbin/pcscd"
	lab.Require(t, lab.Program("pcscd"), func() error { _, err := os.Stat(pcscd); return err })
	libs, err := Closure([]string{"/"}, Dirs("x86_64-linux-gnu"), []string{pcscd})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range libs {
		names = append(names, filepath.Base(l))
	}
	for _, want := range []string{"libc.so.6", "libsystemd.so.0", "libudev.so.1", "liblzma.so.5"} { // the last one through libsystemd
		if !slices.Contains(names, want) {
			t.Errorf("no %s in %v", want, names)
		}
	}
	if !slices.IsSorted(libs) {
		t.Errorf("not sorted: %v", libs)
	}
	if _, err := Closure([]string{t.TempDir()}, Dirs("x86_64-linux-gnu"), []string{pcscd}); err == nil || !strings.Contains(err.Error(), "which no package of the image has") {
		t.Errorf("empty root: got %v", err)
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"a/prog": "\x7fELF...", "module.ko": "\x7fELF...", "script": "#!/bin/sh", "tiny": "\x7fE", "empty": ""} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("a/prog", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	got, err := Files(dir)
	if want := []string{filepath.Join(dir, "a/prog")}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}
