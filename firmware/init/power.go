package main

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"clinicgate/firmware/durable"
)

// end brings the disks to rest and the machine to its end. The services have
// stopped. It returns only if the kernel refuses.
//
//	mark the end as orderly   stop here: next boot says so, though unmounting failed; e2fsck sees it
//	unmount, sync             stop here: as clean as it gets
//	reset or power off
func (b *box) end(how ending) error {
	if b.data {
		if err := durable.WriteFile(endedFile, []byte(string(how)+"\n"), 0o600); err != nil {
			say("%v", err)
		}
	}
	b.log.Info("end", "how", string(how), "up_s", int(uptime().Seconds()))
	b.book.Close()
	if err := unix.Kill(-1, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) { // strays of any kind
		say("end: %v", err)
	}
	if err := settle(b.data); err != nil {
		say("end: %v", err)
	}
	say("%s", map[ending]string{powerOff: "power off", reboot: "restart"}[how])
	b.beat()
	cmd := unix.LINUX_REBOOT_CMD_POWER_OFF
	if how == reboot {
		cmd = unix.LINUX_REBOOT_CMD_RESTART
	}
	return fmt.Errorf("%s: %w", how, unix.Reboot(cmd))
}

// settle unmounts the data partition, or failing that makes it read-only.
func settle(data bool) error {
	unix.Sync()
	if !data {
		return nil
	}
	var err error
	for range 40 { // what was killed takes a moment to let go
		if err = unix.Unmount("/data", 0); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	if again := unix.Mount("", "/data", "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); again != nil {
		return fmt.Errorf("unmount /data: %w; make it read-only: %w", err, again)
	}
	return nil
}
