package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// keepMemory keeps this process's memory to itself: a PIN passes through here, so
// a crash must not write it to a disk, nor another process of our user read it.
func keepMemory() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid dumps and tracing: %w", err)
	}
	return nil
}
