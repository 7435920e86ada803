package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whoever asks for a release gets one that only cloud ops can have signed.
func TestReleaseRefusesTestKeys(t *testing.T) {
	ours, theirs := filepath.Join(t.TempDir(), "test"), filepath.Join(t.TempDir(), "ops")
	for dir, name := range map[string]string{ours: "clinicgate " + testMark, theirs: "cloud ops"} {
		if err := makeSecureBootKeys(dir, name); err != nil {
			t.Fatal(err)
		}
	}
	mixed := t.TempDir()
	command(t, "cp", filepath.Join(theirs, "db.cer"), filepath.Join(ours, "db.pem"), mixed)
	for dir, want := range map[string]string{
		"": "a release needs -sign FOLDER", ours: "a release is not signed with a test key", theirs: "",
		mixed: "db.pem is not the RSA key of db.cer", t.TempDir(): "no such file",
	} {
		b := &builder{options: options{release: true, sign: dir}}
		_, cert, err := b.signer()
		if want == "" && (err != nil || cert.Subject.CommonName != "cloud ops db") {
			t.Errorf("cloud ops: got %v, %v", cert, err)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", dir, err, want)
		}
	}
	if fi, err := os.Stat(filepath.Join(theirs, "db.pem")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("private key: %v, %v", fi.Mode(), err)
	}
}
