package packet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"clinicgate/failoverd/advert"
	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
)

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func space(t *testing.T, name string) *netns.Space {
	t.Helper()
	s, err := netns.New(fmt.Sprintf("cg-pk%d-%s", os.Getpid(), name))
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func openOn(t *testing.T, s *netns.Space, port, self string) (c *Conn) {
	t.Helper()
	must(t, s.Do(func() error {
		ifi, err := net.InterfaceByName(port)
		if err != nil {
			return err
		}
		c, err = Open(ifi.Index, port, netip.MustParseAddr(self), false)
		return err
	}))
	t.Cleanup(func() { c.Close() })
	return c
}

// Two machines: what one sends the other receives, from the address it was told
// to send from though a shared one is there first; a packet for the group with
// another TTL is named foreign; the other port of the same machine hears nothing.
func TestConn(t *testing.T) {
	lab.Require(t, lab.Root)
	a, b := space(t, "a"), space(t, "b")
	must(t,
		netns.Veth(a, "lan", b, "lan"), netns.Veth(a, "svc", b, "svc"),
		a.Addr("lan", "10.20.0.1/24"), a.Addr("lan", "10.20.0.2/24"), a.Addr("svc", "10.21.0.2/24"),
		b.Addr("lan", "10.20.0.3/24"), b.Addr("svc", "10.21.0.3/24"),
	)
	sender, receiver, elsewhere := openOn(t, a, "lan", "10.20.0.2"), openOn(t, b, "lan", "10.20.0.3"), openOn(t, b, "svc", "10.21.0.3")
	must(t, a.Do(func() error { return stray(64) }), sender.Send(Group4, []byte("hello")))
	if p, err := receiver.Receive(); !errors.Is(err, ErrForeign) || p.From != netip.MustParseAddr("10.20.0.1") {
		t.Errorf("with TTL 64: from %v, %v", p.From, err)
	}
	p, err := receiver.Receive()
	if err != nil || string(p.Msg) != "hello" || p.From != netip.MustParseAddr("10.20.0.2") || p.To != Group4 {
		t.Errorf("got %q from %v to %v, %v", p.Msg, p.From, p.To, err)
	}
	if got := net.HardwareAddr(p.MAC[:]); got.String() != mac(t, a) {
		t.Errorf("from %v, want %s", got, mac(t, a))
	}
	// Nothing for the other port, nothing of our own: both wait until closed.
	for name, c := range map[string]*Conn{"other port": elsewhere, "sender": sender} {
		woken := make(chan error, 1)
		go func() {
			_, err := c.Receive()
			woken <- err
		}()
		select {
		case err := <-woken:
			t.Fatalf("%s received something: %v", name, err)
		case <-time.After(100 * time.Millisecond):
		}
		c.Close()
		if err := <-woken; err == nil || errors.Is(err, ErrForeign) {
			t.Errorf("%s after close: %v", name, err)
		}
	}
}

// stray sends to the group through lan with any TTL, from whatever address the
// kernel likes.
func stray(ttl int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, advert.Protocol)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return errors.Join(
		unix.BindToDevice(fd, "lan"),
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, ttl),
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0),
		unix.Sendto(fd, []byte("stray"), 0, &unix.SockaddrInet4{Addr: Group4.As4()}),
	)
}

func TestOpenWithoutPort(t *testing.T) {
	lab.Require(t, lab.Root)
	s := space(t, "none")
	err := s.Do(func() error {
		_, err := Open(77, "lan", netip.MustParseAddr("10.20.0.2"), false)
		return err
	})
	if !errors.Is(err, unix.ENODEV) {
		t.Errorf("got %v, want no such device", err)
	}
}

func mac(t *testing.T, s *netns.Space) (mac string) {
	must(t, s.Do(func() error {
		lan, err := net.InterfaceByName("lan")
		if err == nil {
			mac = lan.HardwareAddr.String()
		}
		return err
	}))
	return mac
}

// To one peer: what went to the group is foreign then, and the other way round.
func TestUnicast(t *testing.T) {
	lab.Require(t, lab.Root)
	a, b := space(t, "ua"), space(t, "ub")
	must(t, netns.Veth(a, "lan", b, "lan"), a.Addr("lan", "10.20.0.2/24"), b.Addr("lan", "10.20.0.3/24"))
	var alone, all *Conn
	self := netip.MustParseAddr("10.20.0.3")
	sender := openOn(t, a, "lan", "10.20.0.2")
	must(t, b.Do(func() error {
		lan, err := net.InterfaceByName("lan")
		if err != nil {
			return err
		}
		alone, err = Open(lan.Index, "lan", self, true)
		return err
	}))
	defer alone.Close()
	all = openOn(t, b, "lan", "10.20.0.3")
	must(t, sender.Send(Group4, []byte("group")), sender.Send(self, []byte("one")))
	for _, c := range []struct {
		*Conn
		order [2]bool // good
	}{{alone, [2]bool{false, true}}, {all, [2]bool{true, false}}} {
		for i, good := range c.order {
			if p, err := c.Receive(); (err == nil) != good || !good && !errors.Is(err, ErrForeign) {
				t.Errorf("packet %d to %v: %v", i, p.To, err)
			}
		}
	}
}
