// Package watch tells when a file has been replaced, created or removed. It
// watches the folder, so that a file replaced by rename is never lost sight of.
package watch

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

const mask = unix.IN_MOVED_TO | unix.IN_CLOSE_WRITE | unix.IN_DELETE | unix.IN_MOVED_FROM

// File calls changed once at the start and again after each change of the file at
// path, from one goroutine: changed must not block for long, and changes that
// arrive meanwhile are folded into one call. It returns when ctx ends (nil) or
// the folder can't be watched. The folder must exist, the file need not.
func File(ctx context.Context, path string, changed func()) error {
	dir, base := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch %s: inotify: %w", path, err)
	}
	events := os.NewFile(uintptr(fd), "inotify") // non-blocking, so Close wakes Read
	defer events.Close()
	if _, err := unix.InotifyAddWatch(fd, dir, mask); err != nil {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	stop := context.AfterFunc(ctx, func() { events.Close() })
	defer stop()

	changed()
	buf := make([]byte, 16<<10)
	for {
		n, err := events.Read(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("watch %s: %w", path, err)
		}
		if names(buf[:n], base) {
			changed()
		}
	}
}

// names reports whether any event in buf is about the file base. An overflowed
// queue counts: what was lost may have been ours.
func names(buf []byte, base string) bool {
	for len(buf) >= unix.SizeofInotifyEvent {
		ev := (*unix.InotifyEvent)(unsafe.Pointer(&buf[0]))
		end := unix.SizeofInotifyEvent + int(ev.Len)
		if end > len(buf) {
			return false
		}
		name := strings.TrimRight(string(buf[unix.SizeofInotifyEvent:end]), "\x00")
		if name == base || ev.Mask&unix.IN_Q_OVERFLOW != 0 {
			return true
		}
		buf = buf[end:]
	}
	return false
}
