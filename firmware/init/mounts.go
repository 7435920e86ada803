package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mount is one filesystem without a disk.
type mount struct {
	dir, kind string
	flags     uintptr
	options   string
}

const safe = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// earlyMounts are made in the initrd and moved along.
var earlyMounts = []mount{
	{"/proc", "proc", safe, ""},
	{"/sys", "sysfs", safe, ""},
	{"/dev", "devtmpfs", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=755"},
}

// lateMounts are made in the root filesystem.
var lateMounts = []mount{
	{"/run", "tmpfs", safe, "mode=755,size=32m"},
	{"/tmp", "tmpfs", safe, "mode=1777,size=32m"},
	{"/sys/fs/cgroup", "cgroup2", safe, ""},
}

func mountAll(mounts []mount) error {
	for _, m := range mounts {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
		err := unix.Mount(m.kind, m.dir, m.kind, m.flags, m.options)
		if err != nil && !errors.Is(err, unix.EBUSY) { // the kernel mounts some by itself
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	return nil
}

// folder is one that init makes, in memory or on the data partition.
type folder struct {
	path     string
	mode     os.FileMode
	uid, gid int
}

// runFolders lie in memory.
var runFolders = []folder{
	// Every program puts its own files here; the sticky bit keeps the others from
	// them, the set-group bit gives them to the group.
	{"/run/clinicgate", os.ModeSticky | os.ModeSetgid | 0o775, 0, gidClinicgate},
	{"/run/notify", 0o711, 0, 0},
	{"/run/pcscd", 0o750, uidPcscd, uidCardauth}, // whoever is in it can talk to cards
}

// dataFolders lie on the data partition.
func dataFolders() []folder {
	all := []folder{
		{"/data/site", 0o750, 0, gidClinicgate},
		{"/data/secrets", 0o711, 0, 0},
		{"/data/log", 0o750, 0, gidClinicgate},
		{"/data/init", 0o700, 0, 0},
	}
	for _, name := range daemons {
		uid := users[name]
		all = append(all,
			folder{"/data/" + name, 0o700, uid, uid},
			folder{"/data/secrets/" + name, 0o700, uid, uid})
	}
	return all
}

// ensure gives f its owner and mode; the folder exists. The root filesystem can't
// be trusted to remember either across releases, so both are set at each boot.
func (f folder) ensure() error {
	if err := os.Chown(f.path, f.uid, f.gid); err != nil {
		return fmt.Errorf("make %s: %w", f.path, err)
	}
	if err := os.Chmod(f.path, f.mode); err != nil {
		return fmt.Errorf("make %s: %w", f.path, err)
	}
	return nil
}

// deviceNodes that a service may open; devtmpfs gives them to root alone.
func deviceNodes(console string) []folder {
	return []folder{
		{"/dev/net/tun", 0o660, 0, uidNetd},
		{"/dev/" + console, 0o620, uidConsole, uidConsole},
	}
}

// tpmNode is the TPM through the kernel's resource manager; not every board has one.
// Services use its clock, the key of the tokens, and that of what is stored (awaitTPM).
const tpmNode = "/dev/tpmrm0"
