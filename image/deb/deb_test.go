package deb

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"clinicgate/firmware/lab"
)

const index = `Package: pcscd
Version: 1.9.9-2
Architecture: amd64
Depends: lsb-base,
 libc6 (>= 2.36)
Size: 90124
SHA256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef

Package: another
Version: 9
`

func TestParsePackage(t *testing.T) {
	got, err := parsePackage([]byte(index))
	want := Package{"pcscd", "1.9.9-2", "amd64", 90124, "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, lacks := range []string{"Package: pcscd\n", "Size: 90124\n", "SHA256: "} {
		if p, err := parsePackage([]byte(strings.Replace(index, lacks, "", 1))); err == nil {
			t.Errorf("without %q: got %+v", lacks, p)
		}
	}
}

func FuzzParsePackage(f *testing.F) {
	f.Add([]byte(index))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if p, err := parsePackage(text); err == nil && (p.Name == "" || len(p.SHA256) != 64) {
			t.Errorf("got %+v", p)
		}
	})
}

func TestLockSurvivesARoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock.json")
	l := Lock{Packages: []Package{{"libc6", "2.36-9+deb12u14", "amd64", 1, strings.Repeat("ab", 32)}}}
	if err := l.Write(path); err != nil {
		t.Fatal(err)
	}
	got, err := ReadLock(path)
	if err != nil || len(got.Packages) != 1 || got.Packages[0] != l.Packages[0] {
		t.Errorf("got %+v, %v", got, err)
	}
	for name, text := range map[string]string{"unknown key": `{"pakages":[]}`, "no hash": `{"packages":[{"name":"x","version":"1"}]}`, "half": `{"packages":[`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadLock(path); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// archive is Debian's own, through this machine's apt; the package is the smallest
// of the image.
func archive(t *testing.T, release bool) (*Archive, *strings.Builder, Package) {
	t.Helper()
	lab.Require(t, lab.Program("apt-get", "apt-cache", "dpkg-deb"))
	var said strings.Builder
	a := &Archive{Cache: t.TempDir(), Release: release, Say: func(f string, args ...any) { fmt.Fprintf(&said, f+"\n", args...) }}
	p, err := a.Current("libcom-err2")
	if err != nil {
		t.Fatal(err)
	}
	return a, &said, p
}

func TestFetch(t *testing.T) {
	a, said, p := archive(t, true)
	tree, got, err := a.Fetch(p)
	if err != nil || got != p {
		t.Fatalf("got %+v, %v", got, err)
	}
	if _, err := os.Stat(filepath.Join(tree, "usr/share/doc/libcom-err2/copyright")); err != nil {
		t.Error(err)
	}
	said.Reset()
	if again, _, err := a.Fetch(p); err != nil || again != tree || said.Len() > 0 {
		t.Errorf("second time: %q, %v, said %q; want it from the cache", again, err, said)
	}
}

// The archive keeps only its current versions, so a lock grows old.
func TestDroppedVersion(t *testing.T) {
	a, said, p := archive(t, true)
	old := p
	old.Version = "1.0-0ubuntu0"
	if _, _, err := a.Fetch(old); !errors.Is(err, ErrGone) || !strings.Contains(err.Error(), "make lock") {
		t.Errorf("a release build: got %v, want ErrGone naming make lock", err)
	}
	a.Release = false
	if _, got, err := a.Fetch(old); err != nil || got != p {
		t.Errorf("a development build: got %+v, %v; want the current version", got, err)
	}
	if want := "the archive has dropped 1.0-0ubuntu0, taking " + p.Version; !strings.Contains(said.String(), want) {
		t.Errorf("said %q, want %q", said, want)
	}
}

func TestWrongHash(t *testing.T) {
	a, _, p := archive(t, true)
	p.SHA256 = strings.Repeat("00", 32)
	if _, _, err := a.Fetch(p); err == nil || !strings.Contains(err.Error(), "want 000000000000") {
		t.Errorf("got %v, want both hashes", err)
	}
}
