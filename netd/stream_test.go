package main

import (
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"clinicgate/firmware/lab/netns"

	"golang.org/x/sys/unix"
)

// A stream is a datagram every two milliseconds to an echo, each with a number,
// and what became of each.
type stream struct {
	mu   sync.Mutex
	sent []time.Time
	over []time.Time // when the far end first had it; zero: never
	back []time.Time // when its echo was first here
}

const pace = 2 * time.Millisecond // 500 a second

// stream runs until the test ends. The far end listens at addr in to.
func (w *world) stream(from, to *netns.Space, addr string) *stream {
	w.t.Helper()
	s := &stream{}
	var far net.PacketConn
	w.must(to.Do(func() (err error) {
		far, err = net.ListenPacket("udp4", addr)
		return err
	}))
	near, err := from.DialContext(w.t.Context(), "udp4", addr)
	w.must(err)
	roomy(w.t, far)
	roomy(w.t, near)
	stop := make(chan struct{})
	w.t.Cleanup(func() { close(stop); far.Close(); near.Close() })
	go func() {
		buf := make([]byte, 64)
		for {
			n, peer, err := far.ReadFrom(buf)
			if err != nil {
				return
			}
			s.note(buf[:n], func(i uint32) *time.Time { return &s.over[i] })
			_, _ = far.WriteTo(buf[:n], peer) // a caller that is gone
		}
	}()
	go func() {
		buf := make([]byte, 64)
		for {
			n, err := near.Read(buf)
			select {
			case <-stop:
				return
			default:
			}
			if err == nil {
				s.note(buf[:n], func(i uint32) *time.Time { return &s.back[i] })
			}
		}
	}()
	go func() {
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				_, _ = near.Write(s.next()) // what can't be sent is lost
			}
		}
	}()
	return s
}

// roomy has a socket keep what comes while a busy machine does not let its reader run.
func roomy(t testing.TB, c any) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
	}), err)
	if err != nil {
		t.Fatal(err)
	}
}

func (s *stream) next() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := binary.BigEndian.AppendUint32(nil, uint32(len(s.sent)))
	s.sent, s.over, s.back = append(s.sent, time.Now()), append(s.over, time.Time{}), append(s.back, time.Time{})
	return b
}

func (s *stream) note(b []byte, of func(uint32) *time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(b) != 4 {
		return
	}
	if i := binary.BigEndian.Uint32(b); int(i) < len(s.sent) {
		if at := of(i); at.IsZero() {
			*at = time.Now()
		}
	}
}

// A verdict is what a stream suffered since a moment.
type verdict struct {
	over, back time.Duration // the longest hole on the way there, and there and back
	lost       float64       // percent of the echoes
	lostOver   float64       // percent of those sent
	n          int
}

// since judges what was sent from one moment until a second ago. A hole is the time
// from the sending of the first datagram that is lost to that of the next that is
// not: what a busy machine was late to send is no hole.
func (s *stream) since(from time.Time) verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	until := time.Now().Add(-time.Second)
	var v verdict
	var over, back hole
	for i, at := range s.sent {
		if at.Before(from) || at.After(until) {
			continue
		}
		v.n++
		if over.see(at, !s.over[i].IsZero()) {
			v.lostOver++
		}
		if back.see(at, !s.back[i].IsZero()) {
			v.lost++
		}
	}
	v.over, v.back = over.end(until), back.end(until)
	if v.n > 0 {
		v.lost, v.lostOver = v.lost*100/float64(v.n), v.lostOver*100/float64(v.n)
	}
	return v
}

// A hole is the longest so far, and the one that is open.
type hole struct {
	longest time.Duration
	since   time.Time // zero: none is open
}

// see takes in one datagram and reports whether it was lost.
func (h *hole) see(at time.Time, arrived bool) bool {
	switch {
	case arrived && !h.since.IsZero():
		h.end(at)
		h.since = time.Time{}
	case !arrived && h.since.IsZero():
		h.since = at
	}
	return !arrived
}

// end closes an open hole and returns the longest.
func (h *hole) end(at time.Time) time.Duration {
	if !h.since.IsZero() {
		h.longest = max(h.longest, at.Sub(h.since))
	}
	return h.longest
}
