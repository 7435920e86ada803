package announce

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/proc"
)

// neighborOn opens a voice on the port lan of a machine.
func neighborOn(t *testing.T, s *netns.Space) (n *Neighbor) {
	t.Helper()
	must(t, s.Do(func() error {
		lan, err := net.InterfaceByName("lan")
		if err != nil {
			return err
		}
		n, err = OpenNeighbor(lan.Index, lan.Name, lan.HardwareAddr)
		return err
	}))
	t.Cleanup(func() { n.Close() })
	return n
}

func ip(t *testing.T, s *netns.Space, args ...string) string {
	t.Helper()
	out, err := proc.Run(context.Background(), s, append([]string{"ip"}, args...)...)
	must(t, err)
	return string(out)
}

// A machine is asked whether it is there, and is heard; what is on no device is
// answered for until it is not.
func TestAskAndAnswer6(t *testing.T) {
	lab.Require(t, lab.Program("ping", "ip"))
	a, b := cable(t)
	ip(t, a, "addr", "add", "fe80::2/64", "dev", "lan", "nodad")
	ip(t, b, "addr", "add", "fe80::50/64", "dev", "lan", "nodad")
	ip(t, b, "addr", "add", "2001:db8:20::50/64", "dev", "lan", "nodad")
	n := neighborOn(t, a)
	heard := make(chan netip.Addr, 64)
	go func() {
		for {
			addr, _, err := n.Hear()
			if err != nil {
				close(heard)
				return
			}
			select {
			case heard <- addr:
			default:
			}
		}
	}()
	desk := netip.MustParseAddr("fe80::50")
	eventually(t, "the workstation is heard", func() bool {
		must(t, n.Ask(netip.MustParseAddr("fe80::2"), desk))
		select {
		case addr := <-heard:
			return addr == desk
		case <-time.After(100 * time.Millisecond):
			return false
		}
	})
	known := func(addr string) bool {
		ip(t, b, "neigh", "flush", "dev", "lan")
		proc.Run(context.Background(), b, "ping", "-6", "-c1", "-W1", "-I", "lan", addr)
		return strings.Contains(ip(t, b, "-6", "neigh", "show", addr, "dev", "lan"), n.mac.String())
	}
	n.Answer([]netip.Addr{netip.MustParseAddr("fe80::20:1"), netip.MustParseAddr("2001:db8:20::1")})
	for _, addr := range []string{"fe80::20:1", "2001:db8:20::1"} {
		eventually(t, addr+" is answered for", func() bool { return known(addr) })
	}
	n.Answer(nil)
	if known("fe80::20:1") {
		t.Error("answered for though told not to")
	}
	n.Close()
	for range heard { // what was heard before; Close wakes the reader
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// Only what comes from this link and is whole is looked at (RFC 4861 §7.1).
func TestNeighborly(t *testing.T) {
	from, mac := netip.MustParseAddr("fe80::50"), net.HardwareAddr{2, 0, 0, 0, 0, 0x50}
	question := discovery(nsType, 0, addr6, nsOption, mac)
	good := packed(from, solicited(addr6), question)
	got, msg, ok := neighborly(append(bytes.Clone(good), 0, 0))
	if want, asks := asked(msg); !ok || got != from || !asks || want != addr6 {
		t.Fatalf("from %v for %v, %v", got, want, ok)
	}
	if addr, hw, ok := said(got, msg); !ok || addr != from || !bytes.Equal(hw, mac) {
		t.Errorf("the question says %v at %v, %v", addr, hw, ok)
	}
	if addr, _, ok := said(netip.IPv6Unspecified(), msg); ok {
		t.Errorf("who has no address claims %v", addr)
	}
	if addr, hw, ok := said(from, unsolicited(mac, addr6)); !ok || addr != addr6 || !bytes.Equal(hw, mac) {
		t.Errorf("the answer says %v at %v, %v", addr, hw, ok)
	}
	for name, spoil := range map[string]func([]byte) []byte{
		"through a router": func(b []byte) []byte { b[7] = 254; return b },
		"not ICMPv6":       func(b []byte) []byte { b[6] = 17; return b },
		"IPv4":             func(b []byte) []byte { b[0] = 0x45; return b },
		"broken":           func(b []byte) []byte { b[60] ^= 1; return b },
		"cut":              func(b []byte) []byte { return b[:50] },
		"too short":        func(b []byte) []byte { b[5] = 20; return b },
		"empty":            func([]byte) []byte { return nil },
	} {
		if _, _, ok := neighborly(spoil(bytes.Clone(good))); ok {
			t.Errorf("%s: taken", name)
		}
	}
}

func FuzzNeighborly(f *testing.F) {
	f.Add(packed(netip.MustParseAddr("fe80::50"), allNodes, unsolicited(mac6, addr6)))
	f.Add([]byte{0x60})
	f.Fuzz(func(t *testing.T, b []byte) {
		from, msg, ok := neighborly(b)
		if ok && (!from.Is6() || len(msg) < 24 || len(msg) > len(b)-header6) {
			t.Fatalf("%v sent %d bytes of %d", from, len(msg), len(b))
		}
		if ok {
			asked(msg)
			said(from, msg)
		}
	})
}
