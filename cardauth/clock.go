package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// sinceBoot is the time since boot, sleep included: nobody can set it.
func sinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0 // no lease, then: the process's end is still noticed
	}
	return time.Duration(ts.Nano())
}
