package main

import (
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"clinicgate/board"
)

// watchdog resets the box when PID 1's main loop stops feeding it. Its driver is
// loaded with nowayout: once open, only feeding keeps the box up, whatever
// happens to this process.
type watchdog struct {
	f     *os.File
	name  string // driver, or "none: REASON"
	fired bool   // it caused this boot
}

func openWatchdog(b board.Watchdog) (*watchdog, error) {
	if b.Driver == "" {
		return &watchdog{name: "none: " + b.Why}, nil
	}
	f, err := os.OpenFile("/dev/watchdog0", os.O_WRONLY, 0)
	if err != nil {
		return &watchdog{name: "none: " + err.Error()}, fmt.Errorf("open watchdog: %w", err)
	}
	w := &watchdog{f: f, name: b.Driver}
	if status, err := unix.IoctlGetInt(int(f.Fd()), unix.WDIOC_GETBOOTSTATUS); err == nil {
		w.fired = status&unix.WDIOF_CARDRESET != 0
	}
	limit := int32(b.Limit)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.WDIOC_SETTIMEOUT, uintptr(unsafe.Pointer(&limit))); errno != 0 {
		return w, fmt.Errorf("set watchdog to %d s: %w", b.Limit, errno)
	}
	if id, err := os.ReadFile("/sys/class/watchdog/watchdog0/identity"); err == nil && !strings.Contains(strings.ToLower(string(id)), strings.ToLower(b.Driver[:5])) {
		return w, fmt.Errorf("watchdog is %q, want %s", strings.TrimSpace(string(id)), b.Driver)
	}
	return w, nil
}

// feed gives the watchdog one more limit's worth of time.
func (w *watchdog) feed() error {
	if w.f == nil {
		return nil
	}
	_, err := w.f.Write([]byte{0}) // anything but 'V', which would ask to stop it
	return err
}
