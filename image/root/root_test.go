package root

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestTree(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "root")
	if err := os.MkdirAll(filepath.Join(dir, "left/over"), 0o755); err != nil {
		t.Fatal(err)
	}
	tr, err := New(dir)
	if err != nil {
		t.Fatal(err)
	}
	src := t.TempDir()
	if err := os.MkdirAll(filepath.Join(src, "Contents/Linux"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(src, "Contents/Linux/libccid.so"), []byte("lib"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/libccid_Info.plist", filepath.Join(src, "Contents/Info.plist")); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		tr.CopyDir(src, "usr/lib/pcsc/drivers/ifd-ccid.bundle"),
		tr.Write("/lib/modules/a.ko", []byte("ko"), 0o600),
		tr.Link("xtables-nft-multi", "sbin/iptables"),
		tr.Copy(filepath.Join(src, "Contents/Linux/libccid.so"), "bin/prog", 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	// /lib and the others are links, so both names must lead to the file.
	for path, mode := range map[string]os.FileMode{
		"usr/lib/modules/a.ko": 0o600, "lib/modules/a.ko": 0o600, "bin/prog": 0o755,
		"usr/lib/pcsc/drivers/ifd-ccid.bundle/Contents/Linux/libccid.so": 0o640,
	} {
		if fi, err := os.Stat(filepath.Join(dir, path)); err != nil || fi.Mode().Perm() != mode {
			t.Errorf("%s: %v, want mode %v", path, err, mode)
		}
	}
	for path, want := range map[string]string{
		"usr/lib/pcsc/drivers/ifd-ccid.bundle/Contents/Info.plist": "/etc/libccid_Info.plist", "usr/sbin/iptables": "xtables-nft-multi", "var/run": "../run",
	} {
		if got, err := os.Readlink(filepath.Join(dir, path)); err != nil || got != want {
			t.Errorf("%s: link to %q, %v; want %q", path, got, err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "left")); err == nil {
		t.Error("an earlier tree shines through")
	}
	if err := tr.Copy("/no/such/file", "x", 0o644); err == nil {
		t.Error("a missing file went unnoticed")
	}
}

// Whoever builds under a strict umask gets the same folders, open to the services.
func TestFoldersWhateverTheUmask(t *testing.T) {
	dir := t.TempDir() + "/./root"
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	tr, err := New(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Write("etc/clinicgate/deep/file", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"", "usr/bin", "etc", "etc/clinicgate", "etc/clinicgate/deep"} {
		fi, err := os.Stat(filepath.Join(dir, path))
		if err != nil || fi.Mode().Perm() != 0o755 {
			t.Errorf("%s: got %v, %v, want 0755", path, fi.Mode(), err)
		}
	}
}
