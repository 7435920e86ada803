package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"clinicgate/firmware/lab"
)

// The image is made once more in another folder, at another time, from the same
// programs, and every file is the same. `make repro` compiles twice, too.
func TestSameImageElsewhere(t *testing.T) {
	lab.Require(t, lab.Program("mkfs.erofs", "sgdisk", "mcopy", "mkfs.vfat", "mke2fs", "cmp"))
	files := requireBoot(t)
	work := filepath.Join(filepath.Dir(files.Disk), "work")
	release, err := os.ReadFile(filepath.Join(work, "root/etc/os-release"))
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^VERSION_ID=(.*)$`).FindSubmatch(release)
	root := filepath.Join(t.TempDir(), "root.json")
	command(t, "cp", filepath.Join(work, "root/etc/clinicgate/root.json"), root)
	b, err := prepare(options{
		board: "qemu-x86_64", version: string(version[1]), out: filepath.Join(t.TempDir(), "a folder of another name"),
		root: root, say: func(string, ...any) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	command(t, "cp", "-r", filepath.Join(work, "bin"), b.work)
	for _, step := range []func() error{b.fetch, b.makeInitrd, b.makeRoot, b.makeUKI, b.makeDisk} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	for _, pair := range [][2]string{
		{files.Initrd, b.files.Initrd}, {files.Cmdline, b.files.Cmdline}, {files.Root, b.files.Root},
		{files.UKI["a"], b.files.UKI["a"]}, {files.UKI["b"], b.files.UKI["b"]},
	} {
		was, err := os.ReadFile(pair[0])
		if err != nil {
			t.Fatal(err)
		}
		is, err := os.ReadFile(pair[1])
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(was, is) {
			t.Errorf("%s: %d bytes, made again %d others", filepath.Base(pair[0]), len(was), len(is))
		}
	}
	command(t, "cmp", files.Disk, b.files.Disk)
}
