package disk

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab"
)

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

func TestDisk(t *testing.T) {
	lab.Require(t, lab.Program("sgdisk"))
	content := bytes.Repeat([]byte("root"), 100_000)
	parts := []Partition{{Name: "esp", Type: "ef00", MiB: 2}, {Name: "root-a", Type: "8304", MiB: 1, Image: write(t, "root", content)}}
	a, b := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	for _, path := range []string{a, b} {
		if err := Write(path, "qemu-x86_64", parts); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(read(t, a), read(t, b)) {
		t.Error("two disks of the same differ")
	}
	if got := read(t, a)[3<<20:][:len(content)]; !bytes.Equal(got, content) {
		t.Error("root-a does not begin at 3 MiB")
	}
	if out := run(t, "sgdisk", "-v", a); !strings.Contains(out, "No problems found") {
		t.Error(out)
	}
	if out := run(t, "sgdisk", "-i", "2", a); !strings.Contains(out, "Partition name: 'root-a'") || !strings.Contains(out, "Linux x86-64 root") {
		t.Error(out)
	}
	parts[1].Image = write(t, "large", make([]byte, 1<<20+1))
	if err := Write(a, "x", parts); err == nil || !strings.Contains(err.Error(), "partition root-a: got more than its 1 MiB") {
		t.Errorf("too large: got %v", err)
	}
}

func TestFAT(t *testing.T) {
	lab.Require(t, lab.Program("mkfs.vfat", "mcopy", "mmd"))
	src := write(t, "uki", []byte("kernel"))
	for _, mib := range []int{8, 40} {
		path := filepath.Join(t.TempDir(), "fat")
		if err := FAT(path, "ESP", mib, map[string]string{"EFI/BOOT/BOOTX64.EFI": src, "site.toml": src}); err != nil {
			t.Fatal(err)
		}
		if got := run(t, "mtype", "-i", path, "::/EFI/BOOT/BOOTX64.EFI"); got != "kernel" {
			t.Errorf("%d MiB: got %q", mib, got)
		}
	}
}

func TestFilesystems(t *testing.T) {
	lab.Require(t, lab.Program("mkfs.erofs", "mke2fs", "e2fsck"))
	tree := t.TempDir()
	if err := os.WriteFile(filepath.Join(tree, "init"), bytes.Repeat([]byte("x"), 1<<20), 0o755); err != nil {
		t.Fatal(err)
	}
	var made [2][]byte
	for i := range made {
		path := filepath.Join(t.TempDir(), "root")
		if err := EROFS(path, tree); err != nil {
			t.Fatal(err)
		}
		made[i] = read(t, path)
	}
	if !bytes.Equal(made[0], made[1]) {
		t.Error("two root filesystems of the same tree differ")
	}
	if len(made[0]) > 200<<10 {
		t.Errorf("1 MiB of the same byte takes %d bytes", len(made[0]))
	}
	data := filepath.Join(t.TempDir(), "data")
	if err := Ext4(data, "data", 64); err != nil {
		t.Fatal(err)
	}
	run(t, "e2fsck", "-fn", data)
}

// FAT and ext4 write the time into themselves, unless told not to.
func TestSameBytesLater(t *testing.T) {
	lab.Require(t, lab.Program("mkfs.vfat", "mcopy", "mmd", "mke2fs"))
	src := write(t, "uki", []byte("kernel"))
	var made [2][2][]byte
	for i := range made {
		if i > 0 {
			time.Sleep(2100 * time.Millisecond) // FAT counts in steps of two seconds
		}
		fat, data := filepath.Join(t.TempDir(), "fat"), filepath.Join(t.TempDir(), "data")
		if err := errors.Join(FAT(fat, "ESP", 40, map[string]string{"EFI/BOOT/BOOTX64.EFI": src}), Ext4(data, "data", 64)); err != nil {
			t.Fatal(err)
		}
		made[i] = [2][]byte{read(t, fat), read(t, data)}
	}
	for i, name := range []string{"system partition", "data partition"} {
		if !bytes.Equal(made[0][i], made[1][i]) {
			t.Errorf("the %s is another two seconds later", name)
		}
	}
}

func TestToolComplaintIsShown(t *testing.T) {
	if err := tool("mke2fs", "-t", "nosuch", "/dev/null"); err == nil || !strings.HasPrefix(err.Error(), "mke2fs: ") {
		t.Errorf("got %v", err)
	}
}
