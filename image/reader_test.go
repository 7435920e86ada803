package main

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"clinicgate/firmware/lab"
)

// A reader that listens on the network would let anybody on it put a card in: vpcd
// does, on every address. What is in the image as built drives USB readers and
// nothing else.
func TestAttackVirtualReader(t *testing.T) {
	lab.Require(t, lab.Root, lab.Program("fsck.erofs", "mkfs.erofs", "dpkg-deb", "apt-get"))
	if testing.Short() {
		t.Skip("builds the image")
	}
	files, err := imageOnce()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), "root")
	if out, err := exec.Command("fsck.erofs", "--extract="+root, files.Root).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	drivers, err := fs.Glob(os.DirFS(root), "usr/lib/pcsc/drivers/*")
	if err != nil || !slices.Equal(drivers, []string{"usr/lib/pcsc/drivers/ifd-ccid.bundle"}) {
		t.Errorf("drivers of readers %v, %v; want that of USB readers alone", drivers, err)
	}
	if conf, _ := fs.Glob(os.DirFS(root), "etc/reader.conf*/*"); len(conf) > 0 {
		t.Errorf("readers that are not found by themselves: %v", conf)
	}
	seen := 0
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		seen++
		if strings.Contains(strings.ToLower(e.Name()), "vpcd") {
			t.Errorf("%s is in the image", strings.TrimPrefix(path, root))
		}
		for _, word := range []string{"libifdvpcd", "vpcd_", "vsmartcard", "Virtual PCD"} {
			if bytes.Contains(data, []byte(word)) {
				t.Errorf("%s: %q is in it", strings.TrimPrefix(path, root), word)
			}
		}
		return err
	})
	if err != nil || seen < 100 {
		t.Errorf("looked at %d files, %v", seen, err)
	}
}
