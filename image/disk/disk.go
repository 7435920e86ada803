// Package disk makes the files a box boots from: the EFI system partition, the
// root and data filesystems, and a disk with all of them. The same inputs give the
// same bytes, on any day.
package disk

import (
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const mebi = 1 << 20

// epoch is when everything is made, in seconds: FAT knows no day before 1 January
// 1980.
const epoch = "315532800"

// Partition is one part of a disk.
type Partition struct {
	Name  string
	Type  string // sgdisk's code
	MiB   int
	Image string // file with its content; empty: zeros
}

// Write makes the disk at path: a GPT with the partitions one after the other
// from 1 MiB on. Zeros are holes in the file.
func Write(path, name string, parts []Partition) error {
	total := 2 // the table at either end
	for _, p := range parts {
		total += p.MiB
	}
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("make disk: %w", err)
	}
	defer f.Close()
	if err := f.Truncate(int64(total) * mebi); err != nil {
		return fmt.Errorf("make disk: %w", err)
	}
	args := []string{"-U", guid(name), "-a", "2048"}
	at := 1
	for i, p := range parts {
		n := i + 1
		args = append(args,
			"-n", fmt.Sprintf("%d:%d:+%dM", n, at*2048, p.MiB), "-t", fmt.Sprintf("%d:%s", n, p.Type),
			"-c", fmt.Sprintf("%d:%s", n, p.Name), "-u", fmt.Sprintf("%d:%s", n, guid(name+"/"+p.Name)))
		if err := place(f, p, int64(at)*mebi); err != nil {
			return fmt.Errorf("make disk: partition %s: %w", p.Name, err)
		}
		at += p.MiB
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("make disk: %w", err)
	}
	return tool("sgdisk", append(args, path)...)
}

// place copies a partition's image, without its zeros.
func place(disk *os.File, p Partition, at int64) error {
	if p.Image == "" {
		return nil
	}
	src, err := os.Open(p.Image)
	if err != nil {
		return err
	}
	defer src.Close()
	buf := make([]byte, 64<<10)
	for off := int64(0); ; {
		n, err := io.ReadFull(src, buf)
		if off+int64(n) > int64(p.MiB)*mebi {
			return fmt.Errorf("got more than its %d MiB", p.MiB)
		}
		if n > 0 && !zero(buf[:n]) {
			if _, err := disk.WriteAt(buf[:n], at+off); err != nil {
				return err
			}
		}
		off += int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func zero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// guid derives a partition's or disk's identity from its name.
func guid(name string) string {
	h := sha256.Sum256([]byte("clinicgate " + name))
	h[6] = h[6]&0x0f | 0x80 // RFC 9562, version 8, variant 10
	h[8] = h[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[0:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

// EROFS makes a read-only filesystem of the folder tree, all of it owned by root.
func EROFS(path, tree string) error {
	return tool("mkfs.erofs", "--quiet", "-zlz4hc,12", "-C65536", "-T0", "-U00000000-0000-0000-0000-000000000000", "--all-root", path, tree)
}

// Ext4 makes an empty data filesystem.
func Ext4(path, label string, mib int) error {
	if err := sized(path, mib); err != nil {
		return err
	}
	return tool("mke2fs", "-q", "-F", "-t", "ext4", "-L", label, "-m", "1", "-U", guid(label), "-E", "lazy_itable_init=1,hash_seed="+guid(label+"/hash"), path)
}

// FAT makes a FAT32 filesystem of mib MiB with the files, by their path in it.
func FAT(path, label string, mib int, files map[string]string) error {
	if err := sized(path, mib); err != nil {
		return err
	}
	args := []string{"--invariant", "-n", label, "-i", fmt.Sprintf("%x", sha256.Sum256([]byte(label)))[:8]}
	if mib >= 33 {
		args = append(args, "-F", "32", "-s", "1")
	}
	if err := tool("mkfs.vfat", append(args, path)...); err != nil {
		return err
	}
	made := map[string]bool{".": true}
	for _, to := range sorted(files) {
		if err := folders(path, filepath.Dir(to), made); err != nil {
			return err
		}
		if err := tool("mcopy", "-i", path, files[to], "::/"+to); err != nil {
			return err
		}
	}
	return nil
}

func folders(image, dir string, made map[string]bool) error {
	if made[dir] {
		return nil
	}
	if err := folders(image, filepath.Dir(dir), made); err != nil {
		return err
	}
	made[dir] = true
	return tool("mmd", "-i", image, "::/"+dir)
}

func sized(path string, mib int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Truncate(int64(mib) * mebi)
}

// tool runs a program that makes filesystems; they live in sbin, which is not in
// everyone's PATH.
func tool(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	if cmd.Err != nil {
		for _, dir := range []string{"/usr/sbin", "/sbin"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				cmd = exec.Command(filepath.Join(dir, name), args...)
			}
		}
	}
	cmd.Env = append(os.Environ(), "MTOOLS_SKIP_CHECK=1", "SOURCE_DATE_EPOCH="+epoch, "E2FSPROGS_FAKE_TIME="+epoch, "LC_ALL=C.UTF-8")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %.300s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func sorted(files map[string]string) []string { return slices.Sorted(maps.Keys(files)) }
