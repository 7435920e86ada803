// Package uevent hears what the kernel says about devices that come and go.
package uevent

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Event is one announcement: ACTION, DEVPATH, SUBSYSTEM and what else the device
// has to say.
type Event map[string]string

// Parse reads a kernel uevent: "action@devpath", then KEY=VALUE, each ended by a
// zero byte. What udev daemons send ("libudev…") is no kernel uevent.
func Parse(message []byte) (Event, bool) {
	head, rest, ok := strings.Cut(string(message), "\x00")
	action, devpath, at := strings.Cut(head, "@")
	if !ok || !at || action == "" || devpath == "" {
		return nil, false
	}
	e := Event{}
	for field := range strings.SplitSeq(rest, "\x00") {
		if k, v, ok := strings.Cut(field, "="); ok {
			e[k] = v
		}
	}
	e["ACTION"], e["DEVPATH"] = action, devpath
	return e, true
}

// Listener hears the kernel's announcements from when it was opened: what comes
// before Run waits in its queue.
type Listener struct{ fd int }

// Open begins to listen.
func Open() (*Listener, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("listen for device events: %w", err)
	}
	const kernelGroup = 1
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: kernelGroup})
	if err == nil { // a blocking read with a time limit, so that the end of a context is seen
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 500_000})
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listen for device events: %w", err)
	}
	return &Listener{fd}, nil
}

// Run calls heard for each event of the kernel until ctx ends, then closes the
// Listener. Events that came too fast to be kept are replaced by one nil: look for
// yourself.
func (l *Listener) Run(ctx context.Context, heard func(Event)) error {
	defer unix.Close(l.fd)
	buf := make([]byte, 16<<10)
	for ctx.Err() == nil {
		n, from, err := unix.Recvfrom(l.fd, buf, 0)
		switch {
		case err == unix.EAGAIN || err == unix.EINTR:
			continue
		case err == unix.ENOBUFS:
			heard(nil)
			continue
		case err != nil:
			return fmt.Errorf("listen for device events: %w", err)
		}
		if nl, ok := from.(*unix.SockaddrNetlink); !ok || nl.Pid != 0 {
			continue // not from the kernel
		}
		if e, ok := Parse(buf[:n]); ok {
			heard(e)
		}
	}
	return nil
}
