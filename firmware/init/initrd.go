package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"clinicgate/firmware/blockdev"
	"clinicgate/firmware/mapper"
	"clinicgate/firmware/module"
	"clinicgate/firmware/verity"
)

// Order lists that the image build writes.
const (
	initrdModules = "/etc/modules.initrd"
	systemModules = "/etc/modules.system"
	stickModules  = "/etc/modules.stick"
	uefiModules   = "/etc/modules.uefi"
)

// diskLimit is how long the boot disk may take to appear; cheap flash behind USB
// needs seconds.
const diskLimit = 30 * time.Second

// initrd finds the root filesystem and becomes its init. It returns only when it
// can't.
func initrd() error {
	if err := mountAll(earlyMounts); err != nil {
		return err
	}
	cmd, err := readCmdline()
	if err != nil {
		return err
	}
	if err := module.LoadList("/", initrdModules); err != nil {
		say("%v", err) // the disk may be there without it
	}
	find := blockdev.Finder{Sys: "/sys", Dev: "/dev"}
	dev, err := blockdev.Wait(context.Background(), diskLimit, func() (string, error) { return find.Partition("root-" + cmd.slot) })
	if err != nil {
		return fmt.Errorf("find root filesystem: %w", err)
	}
	if dev, err = verified(dev, cmd.root); err != nil {
		return err
	}
	if err := os.MkdirAll("/newroot", 0o755); err != nil {
		return err
	}
	if err := unix.Mount(dev, "/newroot", "erofs", unix.MS_RDONLY|unix.MS_NODEV, ""); err != nil {
		return fmt.Errorf("mount root filesystem %s: %w", dev, err)
	}
	return switchRoot("/newroot", "/sbin/init")
}

// verifiedNode is the root filesystem's device behind dm-verity, the first that is
// made.
const verifiedNode = "/dev/dm-0"

// verified puts dm-verity in front of a partition: from here on a block that is
// not what the command line's root hash covers is never run, it restarts the box.
func verified(dev string, root verity.Image) (string, error) {
	number, err := mapper.Number(dev)
	if err != nil {
		return "", err
	}
	return mapper.Create(mapper.Device{Name: "root", ReadOnly: true, Targets: []mapper.Target{
		{Kind: "verity", Bytes: root.Blocks * verity.Block, Params: root.Table(number)},
	}})
}

// switchRoot makes dir the root of everything and runs program from it as this
// process. The initrd's files are removed first, for they hold memory.
func switchRoot(dir, program string) error {
	for _, m := range earlyMounts {
		if err := unix.Mount(m.dir, filepath.Join(dir, m.dir), "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s: %w", m.dir, err)
		}
	}
	for _, old := range []string{"/init", "/lib", "/etc"} {
		if err := os.RemoveAll(old); err != nil {
			return fmt.Errorf("empty initrd: %w", err)
		}
	}
	if err := unix.Chdir(dir); err != nil {
		return fmt.Errorf("switch root: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("switch root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("switch root: %w", err)
	}
	err := unix.Exec(program, []string{program}, []string{"PATH=/usr/sbin:/usr/bin"})
	return fmt.Errorf("run %s: %w", program, err)
}
