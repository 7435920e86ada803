package main

import (
	"encoding/binary"
	"net"
	"sync"
	"time"

	"clinicgate/firmware/lab/netns"
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
	over, back time.Duration // the longest time in which nothing sent got there, or came back
	lost       float64       // percent of the echoes
	lostOver   float64       // percent of those sent
	n          int
}

// since judges what was sent from one moment until a second ago. A hole is the time
// between the sending of the last datagram before it that arrived and the first
// after it, so that this machine's own lateness counts little.
func (s *stream) since(from time.Time) verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	until := time.Now().Add(-time.Second)
	var v verdict
	lastOver, lastBack := from, from
	for i, at := range s.sent {
		if at.Before(from) || at.After(until) {
			continue
		}
		v.n++
		if s.over[i].IsZero() {
			v.lostOver++
		} else {
			v.over, lastOver = max(v.over, at.Sub(lastOver)), at
		}
		if s.back[i].IsZero() {
			v.lost++
		} else {
			v.back, lastBack = max(v.back, at.Sub(lastBack)), at
		}
	}
	v.over, v.back = max(v.over, until.Sub(lastOver)), max(v.back, until.Sub(lastBack))
	if v.n > 0 {
		v.lost, v.lostOver = v.lost*100/float64(v.n), v.lostOver*100/float64(v.n)
	}
	return v
}
