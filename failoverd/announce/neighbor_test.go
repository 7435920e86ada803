package announce

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
)

var (
	mac6  = net.HardwareAddr{0, 0, 0x5e, 0, 2, 20}
	addr6 = netip.MustParseAddr("fe80::20:1")
)

// The message by RFC 4861 §4.4 and RFC 9568 §8.2.2: router and override set,
// solicited not, and our hardware address in the option.
func TestUnsolicited(t *testing.T) {
	b := unsolicited(mac6, addr6)
	want := "\x88\x00\x00\x00\xa0\x00\x00\x00" + string(addr6.AsSlice()) + "\x02\x01" + string(mac6)
	if string(b) != want {
		t.Errorf("got  % x\nwant % x", b, want)
	}
	addr, mac, ok := target(b)
	if !ok || addr != addr6 || !bytes.Equal(mac, mac6) {
		t.Errorf("read back: %v %v %v", addr, mac, ok)
	}
}

func TestTargetRefuses(t *testing.T) {
	good := unsolicited(mac6, addr6)
	for name, change := range map[string]func([]byte) []byte{
		"cut":            func(b []byte) []byte { return b[:31] },
		"solicitation":   func(b []byte) []byte { b[0] = 135; return b },
		"no option":      func(b []byte) []byte { b[24] = 1; return b },
		"endless option": func(b []byte) []byte { b[25] = 0; return b },
		"option too big": func(b []byte) []byte { b[25] = 2; return b },
	} {
		if addr, mac, ok := target(change(bytes.Clone(good))); ok {
			t.Errorf("%s: got %v at %v", name, addr, mac)
		}
	}
	behind := append(append(bytes.Clone(good[:24]), 14, 1, 0, 0, 0, 0, 0, 0), good[24:]...)
	if _, mac, ok := target(behind); !ok || !bytes.Equal(mac, mac6) {
		t.Errorf("behind another option: %v %v", mac, ok)
	}
}

func FuzzTarget(f *testing.F) {
	f.Add(unsolicited(mac6, addr6))
	f.Add(make([]byte, 40))
	f.Fuzz(func(t *testing.T, b []byte) {
		if addr, mac, ok := target(b); ok && (!addr.Is6() || len(mac) != 6) {
			t.Fatalf("got %v at %v", addr, mac)
		}
	})
}
