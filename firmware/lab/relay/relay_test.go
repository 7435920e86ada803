package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/proc"
)

// memEnd is an end whose other side is the test.
type memEnd struct {
	in, out chan []byte
	once    sync.Once
	closed  chan struct{}
}

func newMemEnd() *memEnd {
	return &memEnd{in: make(chan []byte, 100), out: make(chan []byte, 100), closed: make(chan struct{})}
}

func (m *memEnd) ReadFrame(buf []byte) (int, error) {
	select {
	case f := <-m.in:
		return copy(buf, f), nil
	case <-m.closed:
		return 0, io.EOF
	}
}

func (m *memEnd) WriteFrame(f []byte) error { m.out <- bytes.Clone(f); return nil }

func (m *memEnd) Close() error { m.once.Do(func() { close(m.closed) }); return nil }

// got is the frame that has arrived by now, or none.
func (m *memEnd) got() string {
	select {
	case f := <-m.out:
		return string(f)
	default:
		return "none"
	}
}

func TestLinkDelaysAndCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newMemEnd(), newMemEnd()
		link := New(a, b, 1)
		defer link.Close()
		step := func(d time.Duration) { time.Sleep(d); synctest.Wait() }
		check := func(what string, end *memEnd, want string) {
			t.Helper()
			if got := end.got(); got != want {
				t.Errorf("%s: got %s, want %s", what, got, want)
			}
		}

		link.SetAB(Faults{Delay: 20 * ms})
		a.in <- []byte("slow")
		b.in <- []byte("quick")
		step(10 * ms)
		check("A to B, too early", b, "none")
		check("B to A is not delayed", a, "quick")
		step(10 * ms)
		check("A to B, in time", b, "slow")

		a.in <- []byte("under way")
		step(10 * ms)
		link.Cut()
		step(20 * ms)
		check("cut while under way", b, "none")
		b.in <- []byte("lost")
		step(ms)
		check("cut the other way", a, "none")

		link.Restore()
		a.in <- []byte("well again")
		step(ms)
		check("restored", b, "well again")

		ab, ba := link.Counts()
		if ab != (Counts{Passed: 2, Dropped: 1}) || ba != (Counts{Passed: 1, Dropped: 1}) {
			t.Errorf("counts %+v, %+v", ab, ba)
		}
		if err := link.Carrier(false); !errors.Is(err, ErrNoCarrier) {
			t.Errorf("carrier: got %v, want %v", err, ErrNoCarrier)
		}
	})
}

// cable is two namespaces joined by a link of TAP devices.
func cable(t *testing.T) (a, b *netns.Space, link *Link) {
	t.Helper()
	lab.Require(t, lab.Root, lab.Program("ping"))
	var spaces [2]*netns.Space
	var ends [2]End
	for i := range spaces {
		s, err := netns.New(fmt.Sprintf("cg-relt%d-%d", os.Getpid(), i))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		end, err := TAP(s, "eth0")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Addr("eth0", fmt.Sprintf("10.4.0.%d/24", i+1)); err != nil {
			t.Fatal(err)
		}
		spaces[i], ends[i] = s, end
	}
	link = New(ends[0], ends[1], 1)
	t.Cleanup(func() { link.Close() })
	return spaces[0], spaces[1], link
}

func ping(s *netns.Space) error {
	_, err := proc.Run(context.Background(), s, "ping", "-c1", "-W1", "10.4.0.2")
	return err
}

func TestTAPLinkCutAndRestored(t *testing.T) {
	a, _, link := cable(t)
	if err := ping(a); err != nil {
		t.Fatal(err)
	}
	link.Cut()
	if ping(a) == nil {
		t.Error("answered through a cut link")
	}
	link.Restore()
	if err := ping(a); err != nil {
		t.Error(err)
	}
}

func TestTAPCarrier(t *testing.T) {
	a, _, link := cable(t)
	// The kernel tells of carriers up to a second late.
	wait := func(want bool) {
		t.Helper()
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * ms) {
			var running bool
			err := a.Do(func() error {
				nic, err := net.InterfaceByName("eth0")
				if err == nil {
					running = nic.Flags&net.FlagRunning != 0
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if running == want {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("running %v, want %v", running, want)
			}
		}
	}
	wait(true)
	if err := link.Carrier(false); err != nil {
		t.Fatal(err)
	}
	wait(false)
	if err := link.Carrier(true); err != nil {
		t.Fatal(err)
	}
	wait(true)
	if err := ping(a); err != nil {
		t.Error(err)
	}
}

func TestDgramSurvivesTheMachine(t *testing.T) {
	dir := t.TempDir()
	ours, theirs := filepath.Join(dir, "ours"), filepath.Join(dir, "theirs")
	end, err := Dgram(ours, theirs)
	if err != nil {
		t.Fatal(err)
	}
	far := newMemEnd()
	link := New(end, far, 1)
	defer link.Close()
	far.in <- []byte("nobody there yet")
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(ms) {
		if _, ba := link.Counts(); ba.Dropped == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a frame for nobody is not counted as lost")
		}
	}
	for boot := range 2 {
		machine, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: theirs, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := machine.WriteToUnix([]byte("hello"), &net.UnixAddr{Name: ours, Net: "unixgram"}); err != nil {
			t.Fatal(err)
		}
		if got := string(<-far.out); got != "hello" {
			t.Errorf("boot %d: got %q from the machine", boot, got)
		}
		far.in <- []byte("welcome")
		machine.SetReadDeadline(time.Now().Add(5 * time.Second))
		var buf [64]byte
		n, err := machine.Read(buf[:])
		if err != nil || string(buf[:n]) != "welcome" {
			t.Errorf("boot %d: the machine got %q, %v", boot, buf[:n], err)
		}
		machine.Close()
		os.Remove(theirs)
	}
}

func TestJackTakesANewDevice(t *testing.T) {
	jack, far := NewJack(), newMemEnd()
	link := New(jack, far, 1)
	defer link.Close()
	for boot := range 3 {
		device := newMemEnd()
		jack.Plug(device)
		device.in <- []byte("hello")
		if got := string(<-far.out); got != "hello" {
			t.Errorf("boot %d: got %q", boot, got)
		}
		far.in <- []byte("welcome")
		if got := string(<-device.out); got != "welcome" {
			t.Errorf("boot %d: the device got %q", boot, got)
		}
		jack.Unplug()
		if err := jack.WriteFrame([]byte("nobody")); err == nil {
			t.Error("an empty jack took a frame")
		}
	}
}
