package guard

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

// longest bounds a hold, and the buffer for one.
const longest = 4096

// A watch is the guard process's memory: the holds and when they end.
type watch struct {
	release func(Hold) error
	log     io.Writer
	holds   map[string]Hold
	ends    map[string]time.Time
	rest    []byte // of an unfinished line
}

// Watch is the life of the guard process. It returns when the other end of the
// pipe is closed, after it has released what was held then. release takes the
// hold's addresses off; log is for people. Signals that end failoverd's process
// group don't end it: the closed pipe does.
func Watch(pipe int, release func(Hold) error, log io.Writer) int {
	signal.Ignore(unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	w := &watch{release: release, log: log, holds: map[string]Hold{}, ends: map[string]time.Time{}}
	buf := make([]byte, longest)
	for {
		// What waits in the pipe is read before a deadline counts: if this process
		// was not running, failoverd may have been all the same.
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pipe), Events: unix.POLLIN}}, w.wait(time.Now()))
		if err == nil && n == 0 {
			w.expire(time.Now())
			continue
		}
		if err == nil {
			n, err = unix.Read(pipe, buf)
		}
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil || n == 0:
			w.drop("failoverd is dead")
			return 0
		default:
			w.take(buf[:n], time.Now())
		}
	}
}

// wait is the poll's timeout in milliseconds, rounded up; -1: nothing is held.
func (w *watch) wait(now time.Time) int {
	ms := -1
	for _, end := range w.ends {
		left := max(0, int((end.Sub(now)+time.Millisecond-1)/time.Millisecond))
		if ms < 0 || left < ms {
			ms = left
		}
	}
	return ms
}

func (w *watch) expire(now time.Time) {
	for group, end := range w.ends {
		if !now.Before(end) {
			w.let(group, "failoverd stands still")
		}
	}
}

func (w *watch) drop(why string) {
	for group := range w.holds {
		w.let(group, why)
	}
}

func (w *watch) let(group, why string) {
	h := w.holds[group]
	delete(w.holds, group)
	delete(w.ends, group)
	if err := w.release(h); err != nil {
		fmt.Fprintf(w.log, "guard: %s: %v\n", why, err)
		return
	}
	fmt.Fprintf(w.log, "guard: %s: took %v off %s\n", why, h.Addresses, h.Device)
}

// take reads the lines in b.
func (w *watch) take(b []byte, now time.Time) {
	w.rest = append(w.rest, b...)
	for {
		line, rest, whole := bytes.Cut(w.rest, []byte("\n"))
		if !whole {
			break
		}
		w.rest = rest
		if err := w.obey(string(line), now); err != nil {
			fmt.Fprintf(w.log, "guard: %v\n", err)
		}
	}
	if len(w.rest) > longest { // not from failoverd
		w.rest = nil
	}
}

func (w *watch) obey(line string, now time.Time) error {
	var h Hold
	if _, err := fmt.Sscanf(line, "free %s", &h.Group); err == nil {
		delete(w.holds, h.Group)
		delete(w.ends, h.Group)
		return nil
	}
	var us int64
	var list string
	if _, err := fmt.Sscanf(line, "hold %s %d %s %d %s", &h.Group, &h.Index, &h.Device, &us, &list); err != nil {
		return fmt.Errorf("got %q, want a hold: %w", line, err)
	}
	for item := range bytes.SplitSeq([]byte(list), []byte(",")) {
		p, err := netip.ParsePrefix(string(item))
		if err != nil {
			return fmt.Errorf("got %q: %w", line, err)
		}
		h.Addresses = append(h.Addresses, p)
	}
	if us < 0 || us > int64(time.Hour/time.Microsecond) {
		return fmt.Errorf("got a hold of %d us, want up to an hour", us)
	}
	h.For = time.Duration(us) * time.Microsecond
	w.holds[h.Group], w.ends[h.Group] = h, now.Add(h.For)
	return nil
}
