package main

import (
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"clinicgate/firmware/lab/netns"
)

// probeEvery is the time between two probes: 1000 a second.
const probeEvery = time.Millisecond

// A stream is probes sent from a workstation through the pair to a server, which
// sends each back.
type stream struct {
	conn *net.UDPConn
	stop chan struct{}
	done sync.WaitGroup

	mu   sync.Mutex
	sent []time.Time // by number
	back []bool
}

// echo makes a server return what it gets over UDP.
func echo(t testing.TB, s *netns.Space, addr string) {
	t.Helper()
	var conn *net.UDPConn
	err := s.Do(func() (err error) {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		for buf := make([]byte, 64); ; {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			conn.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
}

// probes starts a stream.
func probes(t testing.TB, from *netns.Space, to string) *stream {
	t.Helper()
	s := &stream{stop: make(chan struct{})}
	err := from.Do(func() (err error) {
		s.conn, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s.done.Go(s.send)
	s.done.Go(s.receive)
	t.Cleanup(s.end)
	return s
}

// send keeps time by the kernel's clock: a late probe is made up for.
func (s *stream) send() {
	runtime.LockOSThread() // never unlocked: the priority stays with the thread
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 30}, 0)
	var at unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &at)
	for n := uint64(0); ; n++ {
		select {
		case <-s.stop:
			return
		default:
		}
		at = unix.NsecToTimespec(at.Nano() + int64(probeEvery))
		for unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &at, nil) == unix.EINTR {
		}
		s.mu.Lock()
		s.sent, s.back = append(s.sent, time.Now()), append(s.back, false)
		s.mu.Unlock()
		s.conn.Write(binary.BigEndian.AppendUint64(nil, n)) // an error is a lost probe
	}
}

func (s *stream) receive() {
	for buf := make([]byte, 64); ; {
		n, err := s.conn.Read(buf)
		if n == 8 {
			s.mu.Lock()
			if i := binary.BigEndian.Uint64(buf); i < uint64(len(s.back)) {
				s.back[i] = true
			}
			s.mu.Unlock()
			continue
		}
		if err != nil {
			select {
			case <-s.stop:
				return
			case <-time.After(probeEvery): // ICMP said that the way is closed
			}
		}
	}
}

// end stops sending and waits for what is under way.
func (s *stream) end() {
	select {
	case <-s.stop:
		return
	default:
	}
	close(s.stop)
	time.Sleep(100 * time.Millisecond)
	s.conn.SetReadDeadline(time.Now())
	s.done.Wait()
	s.conn.Close()
}

// since is what became of the probes sent from a moment on: how many were lost and
// the longest time between two that came back with a loss in between. Those of the last tenth of a second
// may be under way.
func (s *stream) since(from time.Time) (lost int, hole time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first, _ := slices.BinarySearchFunc(s.sent, from, time.Time.Compare)
	last, _ := slices.BinarySearchFunc(s.sent, time.Now().Add(-100*time.Millisecond), time.Time.Compare)
	good := from
	for i := first; i < last; i++ {
		if !s.back[i] {
			lost++
			continue
		}
		if i > first && !s.back[i-1] { // without a loss it was only the sender that was late
			hole = max(hole, s.sent[i].Sub(good))
		}
		good = s.sent[i]
	}
	if last > first && !s.back[last-1] { // it has not ended yet
		hole = max(hole, s.sent[last-1].Sub(good))
	}
	return lost, hole
}

// Three lost in a row are a hole of four beats.
func TestStream(t *testing.T) {
	s := &stream{}
	start := time.Now().Add(-time.Second)
	for i := range 100 {
		s.sent = append(s.sent, start.Add(time.Duration(i)*probeEvery))
		s.back = append(s.back, i < 40 || i > 42)
	}
	if lost, hole := s.since(start); lost != 3 || hole != 4*probeEvery {
		t.Errorf("got %d lost, a hole of %v; want 3, 4ms", lost, hole)
	}
	if lost, hole := s.since(start.Add(50 * probeEvery)); lost != 0 || hole != 0 {
		t.Errorf("later: got %d lost, a hole of %v; want none", lost, hole)
	}
}
