package archive

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"clinicgate/firmware/lab"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// packed is a folder's archive and who may read it.
func packed(t *testing.T) ([]byte, *age.X25519Identity) {
	t.Helper()
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "targets"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "targets/root.img"), bytes.Repeat([]byte("block"), 100_000), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "bom.json"), []byte("{}"), 0o644))
	who, err := age.GenerateX25519Identity()
	must(t, err)
	var out bytes.Buffer
	must(t, Write(&out, dir, []string{"bom.json", "targets/root.img"}, []age.Recipient{who.Recipient()}))
	return out.Bytes(), who
}

func TestThereAndBack(t *testing.T) {
	sealed, who := packed(t)
	if bytes.Contains(sealed, []byte("blockblock")) {
		t.Error("the archive can be read by anyone")
	}
	to := filepath.Join(t.TempDir(), "out")
	must(t, Read(bytes.NewReader(sealed), to, who))
	if got, err := os.ReadFile(filepath.Join(to, "targets/root.img")); err != nil || len(got) != 500_000 {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	if err := Read(bytes.NewReader(sealed), to, who); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("over another: got %v", err)
	}
}

// Cut off, altered or for somebody else: nothing is taken out.
func TestDamage(t *testing.T) {
	sealed, who := packed(t)
	stranger, err := age.GenerateX25519Identity()
	must(t, err)
	altered := bytes.Clone(sealed)
	altered[len(altered)-100_000] ^= 1
	for name, c := range map[string]struct {
		sealed []byte
		who    age.Identity
	}{
		"cut": {sealed[:len(sealed)-1], who}, "cut at a chunk": {sealed[:len(sealed)-len(sealed)%65552], who},
		"altered": {altered, who}, "a stranger": {sealed, stranger}, "no archive": {[]byte("{}"), who},
	} {
		to := filepath.Join(t.TempDir(), "out")
		if err := Read(bytes.NewReader(c.sealed), to, c.who); err == nil {
			t.Errorf("%s: taken out", name)
		}
		if _, err := os.Stat(to); err == nil {
			t.Errorf("%s: left something", name)
		}
	}
}

// The age program reads what we write.
func TestAgeReadsIt(t *testing.T) {
	lab.Require(t, lab.Program("age", "tar"))
	sealed, who := packed(t)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "key"), []byte(who.String()+"\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "sealed"), sealed, 0o600))
	out, err := exec.Command("sh", "-c", "age -d -i "+dir+"/key "+dir+"/sealed | tar -t").CombinedOutput()
	if want := "bom.json\ntargets/root.img\n"; err != nil || string(out) != want {
		t.Errorf("got %q, %v, want %q", out, err, want)
	}
}
