package announce

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
)

var shared = []netip.Prefix{netip.MustParsePrefix("10.20.0.1/24"), netip.MustParsePrefix("10.20.0.9/24")}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// cable makes two namespaces with a cable between their ports, both called lan.
func cable(t *testing.T) (a, b *netns.Space) {
	t.Helper()
	lab.Require(t, lab.Root)
	var spaces []*netns.Space
	for _, name := range []string{"a", "b"} {
		s, err := netns.New(fmt.Sprintf("cg-an%d-%s", os.Getpid(), name))
		must(t, err)
		t.Cleanup(func() { s.Close() })
		spaces = append(spaces, s)
	}
	a, b = spaces[0], spaces[1]
	must(t, netns.Veth(a, "lan", b, "lan"))
	return a, b
}

// addresses lists what is on lan, with labels; and its index.
func addresses(t *testing.T, s *netns.Space) (found []string, index int) {
	t.Helper()
	must(t, s.Do(func() error {
		link, err := netlink.LinkByName("lan")
		if err != nil {
			return err
		}
		index = link.Attrs().Index
		all, err := netlink.AddrList(link, netlink.FAMILY_V4)
		for _, a := range all {
			found = append(found, fmt.Sprintf("%v %s", a.IPNet, a.Label))
		}
		return err
	}))
	return found, index
}

// Each step may come twice, from a run that was stopped in between; addresses of
// others stay.
func TestClaimReleaseSweep(t *testing.T) {
	a, _ := cable(t)
	must(t, a.Addr("lan", "10.20.0.2/24"))
	before, index := addresses(t, a)
	do := func(f func() error) {
		t.Helper()
		must(t, a.Do(f))
	}
	claim := func() error { return Claim(index, "lan", shared) }
	release := func() error { return Release(index, "lan", shared) }
	do(claim)
	do(claim)
	got, _ := addresses(t, a)
	if want := append(slices.Clone(before), "10.20.0.1/32 lan:pair", "10.20.0.9/32 lan:pair"); !slices.Equal(got, want) {
		t.Fatalf("after claim: %q, want %q", got, want)
	}
	do(release)
	do(release)
	if got, _ := addresses(t, a); !slices.Equal(got, before) {
		t.Fatalf("after release: %q, want %q", got, before)
	}
	do(claim)
	var swept []string
	do(func() (err error) {
		swept, err = Sweep()
		return err
	})
	if want := []string{"10.20.0.1 (lan:pair)", "10.20.0.9 (lan:pair)"}; !slices.Equal(swept, want) {
		t.Errorf("swept %q, want %q", swept, want)
	}
	if got, _ := addresses(t, a); !slices.Equal(got, before) {
		t.Errorf("after sweep: %q, want %q", got, before)
	}
}

// The port may be gone when its addresses are to be taken off; putting them on a
// port that is gone is an error.
func TestPortGone(t *testing.T) {
	a, _ := cable(t)
	_, index := addresses(t, a)
	must(t, a.Do(func() error { return netlink.LinkDel(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}) }))
	must(t, a.Do(func() error { return Release(index, "lan", shared) }))
	if err := a.Do(func() error { return Claim(index, "lan", shared) }); err == nil {
		t.Error("put an address on a port that is gone")
	}
}

// What one machine says the other hears, and believes: its neighbour table has the
// new hardware address.
func TestSayAndHear(t *testing.T) {
	a, b := cable(t)
	must(t, a.Addr("lan", "10.20.0.2/24"), b.Addr("lan", "10.20.0.50/24"))
	open := func(s *netns.Space) (arp *ARP) {
		must(t, s.Do(func() error {
			ifi, err := net.InterfaceByName("lan")
			if err != nil {
				return err
			}
			arp, err = OpenARP(ifi.Index, ifi.HardwareAddr)
			return err
		}))
		t.Cleanup(func() { arp.Close() })
		return arp
	}
	speaker, listener := open(a), open(b)
	heard := make(chan string, 1)
	go func() {
		addr, mac, err := listener.Hear()
		heard <- fmt.Sprintf("%v %v %v", addr, mac, err)
	}()
	// Whoever knew the address at another machine learns the new one.
	old := &netlink.Neigh{IP: net.IPv4(10, 20, 0, 1), HardwareAddr: net.HardwareAddr{2, 9, 9, 9, 9, 9}, State: netlink.NUD_STALE}
	must(t, b.Do(func() error {
		ifi, err := net.InterfaceByName("lan")
		if err != nil {
			return err
		}
		old.LinkIndex = ifi.Index
		return netlink.NeighSet(old)
	}))
	must(t, speaker.Say(netip.MustParseAddr("10.20.0.1")))
	select {
	case got := <-heard:
		if want := fmt.Sprintf("10.20.0.1 %v <nil>", speaker.mac); got != want {
			t.Errorf("heard %q, want %q", got, want)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("heard nothing")
	}
	must(t, b.Do(func() error {
		all, err := netlink.NeighList(old.LinkIndex, netlink.FAMILY_V4)
		for _, n := range all {
			if n.IP.Equal(old.IP) && n.HardwareAddr.String() != speaker.mac.String() {
				t.Errorf("the neighbour table has %v, want %v", n.HardwareAddr, speaker.mac)
			}
		}
		return err
	}))
	// Close wakes a reader.
	listener.Close()
	if _, _, err := listener.Hear(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after close: %v", err)
	}
}
