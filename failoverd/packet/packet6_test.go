package packet

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"clinicgate/failoverd/advert"
	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
)

// Two machines over IPv6: hop limit 255 and a link-local source, or foreign.
func TestConn6(t *testing.T) {
	lab.Require(t, lab.Root)
	a, b := space(t, "a"), space(t, "b")
	must(t, netns.Veth(a, "lan", b, "lan"), a.Addr("lan", "fe80::2/64"), b.Addr("lan", "fe80::3/64"), a.Addr("lan", "2001:db8::2/64"))
	sender, receiver := openOn(t, a, "lan", "fe80::2"), openOn(t, b, "lan", "fe80::3")
	// An address is no source until the kernel has looked for another holder of it.
	must(t,
		settled(func() error { return a.Do(func() error { return stray6(64, "fe80::2") }) }),
		settled(func() error { return a.Do(func() error { return stray6(255, "2001:db8::2") }) }),
		settled(func() error { return sender.Send(Group6, []byte("hello")) }),
	)
	for _, what := range []string{"hop limit 64", "global source"} {
		if p, err := receiver.Receive(); !errors.Is(err, ErrForeign) || !p.From.Is6() {
			t.Errorf("%s: from %v, %v", what, p.From, err)
		}
	}
	p, err := receiver.Receive()
	if err != nil || string(p.Msg) != "hello" || p.From != netip.MustParseAddr("fe80::2") {
		t.Errorf("got %q from %v, %v", p.Msg, p.From, err)
	}
	woken := make(chan error, 1)
	go func() {
		_, err := receiver.Receive()
		woken <- err
	}()
	time.Sleep(20 * time.Millisecond)
	receiver.Close()
	if err := <-woken; err == nil || errors.Is(err, ErrForeign) {
		t.Errorf("after close: %v", err)
	}
}

// settled repeats a send that the kernel refuses for its source address.
func settled(send func() error) error {
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if err := send(); !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EADDRNOTAVAIL) || time.Now().After(end) {
			return err
		}
	}
}

func stray6(hops int, self string) error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, advert.Protocol)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.BindToDevice(fd, "lan"); err != nil {
		return err
	}
	info := unix.PktInfo6(&unix.Inet6Pktinfo{Addr: netip.MustParseAddr(self).As16()})
	return errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, hops),
		unix.Sendmsg(fd, []byte("stray"), info, &unix.SockaddrInet6{Addr: Group6.As16()}, 0),
	)
}
