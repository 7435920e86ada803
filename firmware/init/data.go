package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"clinicgate/firmware/blockdev"
	"clinicgate/firmware/durable"
	"clinicgate/firmware/module"
	"clinicgate/firmware/stick"
)

// mountData checks and mounts the data partition. With an error /data is the
// root filesystem's empty folder, where nothing can be written: the programs say
// so, and nothing is acknowledged that a power cut would take.
func mountData(find blockdev.Finder) error {
	dev, err := blockdev.Wait(context.Background(), 10*time.Second, func() (string, error) { return find.Partition("data") })
	if err != nil {
		return fmt.Errorf("find data partition: %w", err)
	}
	checked := checkData(dev)
	// commit=: what is not synced explicitly is on disk this many seconds later.
	if err := unix.Mount(dev, "/data", "ext4", safe|unix.MS_NOATIME, "errors=remount-ro,commit=5"); err != nil {
		return errors.Join(checked, fmt.Errorf("mount data partition %s: %w", dev, err))
	}
	return checked
}

// checkData lets e2fsck mend what it can by itself. A clean filesystem costs it
// one look at the superblock.
func checkData(dev string) error {
	out, err := exec.Command("/usr/sbin/e2fsck", "-p", dev).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() < 4 { // 1, 2: mended
		say("data partition mended: %.200s", out)
		return nil
	}
	if err != nil {
		return fmt.Errorf("check data partition: %w: %.200s", err, out)
	}
	return nil
}

// makeFolders makes what the programs expect to find, durably on the data
// partition.
func makeFolders(folders []folder) error {
	var all []error
	for _, f := range folders {
		if err := durable.MkdirAll(f.path, f.mode.Perm()); err != nil {
			all = append(all, err)
			continue
		}
		if err := f.ensure(); err != nil {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

// stickLimit is how long a stick may take to appear on a box without a site.
const stickLimit = 4 * time.Second

// importSite takes the site from a stick, if the box has none. Only then are USB
// disks and FAT filesystems looked at at all.
func importSite(find blockdev.Finder) error {
	if stick.Imported("/data") {
		return nil
	}
	say("no site yet, looking for a stick labelled %s", stick.Label)
	if err := module.LoadList("/", stickModules); err != nil {
		say("%v", err)
	}
	dev, err := blockdev.Wait(context.Background(), stickLimit, func() (string, error) { return find.FAT(stick.Label) })
	if err != nil {
		return err
	}
	const at = "/run/stick"
	if err := os.MkdirAll(at, 0o700); err != nil {
		return err
	}
	if err := unix.Mount(dev, at, "vfat", safe|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("mount stick %s: %w", dev, err)
	}
	defer unix.Unmount(at, 0)
	owners := stick.Owners{Site: stick.Owner{UID: 0, GID: gidClinicgate}, Programs: map[string]stick.Owner{}}
	for _, name := range daemons {
		owners.Programs[name] = stick.Owner{UID: users[name], GID: users[name]}
	}
	if err := stick.Import(at, "/data", owners); err != nil {
		return err
	}
	say("site imported from the stick; keep the stick locked away, it holds keys")
	return nil
}
