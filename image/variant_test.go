package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// change is what makes a variant of a build.
type change struct {
	root   func(t testing.TB, root string) // edits a copy of the root filesystem's tree
	kernel func(cmdline string) string     // edits the kernel's command line, to the same length
	tight  bool                            // packed as a build is
}

// variant is a release made of the one built: seconds instead of a build. Its root
// hash is its own, in the command line within its kernel images.
func variant(t testing.TB, from built, version string, c change) built {
	t.Helper()
	out := filepath.Join(t.TempDir(), version)
	to := filesIn(out)
	root := filepath.Join(out, "root")
	if err := os.MkdirAll(out, 0o755); err != nil {
		t.Fatal(err)
	}
	command(t, "cp", "-a", filepath.Join(filepath.Dir(from.Root), "work", "root"), root)
	rewrite(t, filepath.Join(root, "etc/os-release"), func(text []byte) []byte {
		return regexp.MustCompile(`(?m)^VERSION_ID=.*$`).ReplaceAll(text, []byte("VERSION_ID="+version))
	})
	if c.root != nil {
		c.root(t, root)
	}
	packed(t, to.Root, root, c.tight)
	if err := os.RemoveAll(root); err != nil {
		t.Fatal(err)
	}
	image, err := appendTree(to.Root)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range documents {
		command(t, "cp", filepath.Join(filepath.Dir(from.Root), name), out)
	}
	was, err := os.ReadFile(from.Cmdline)
	if err != nil {
		t.Fatal(err)
	}
	for slot, path := range to.UKI {
		old := strings.Replace(strings.TrimSpace(string(was)), "clinicgate.slot=a", "clinicgate.slot="+slot, 1)
		line := regexp.MustCompile(`(clinicgate\.verity=)\S+`).ReplaceAllString(old, "${1}"+image.String())
		if c.kernel != nil {
			line = c.kernel(line)
		}
		if len(line) != len(old) { // a section's length stands in the headers
			t.Fatalf("command line of %d bytes for one of %d:\n%s\n%s", len(line), len(old), line, old)
		}
		command(t, "cp", from.UKI[slot], path)
		rewrite(t, path, func(uki []byte) []byte {
			if n := bytes.Count(uki, []byte(old)); n != 1 {
				t.Fatalf("kernel image %s: got the command line %d times, want once", from.UKI[slot], n)
			}
			return bytes.Replace(uki, []byte(old), []byte(line), 1)
		})
		if slot == "a" {
			if err := os.WriteFile(to.Cmdline, []byte(line+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return to
}

// rewrite edits a file's bytes.
func rewrite(t testing.TB, path string, edit func([]byte) []byte) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, edit(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
