package announce

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
)

var (
	mac  = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	addr = netip.MustParseAddr("10.20.0.1")
)

func TestGratuitous(t *testing.T) {
	b := gratuitous(mac, addr)
	want := []byte("\x00\x01\x08\x00\x06\x04\x00\x01" + "\x02\x00\x00\x00\x00\x01" + "\x0a\x14\x00\x01" +
		"\x02\x00\x00\x00\x00\x01" + "\x0a\x14\x00\x01")
	if !bytes.Equal(b, want) {
		t.Errorf("got % x\nwant % x", b, want)
	}
	got, from, ok := sender(b)
	if !ok || got != addr || from.String() != mac.String() {
		t.Errorf("read back %v at %v, %v", got, from, ok)
	}
}

func TestSenderPassesOver(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"short":       func(b []byte) []byte { return b[:27] },
		"probe":       func(b []byte) []byte { copy(b[14:18], "\x00\x00\x00\x00"); return b },
		"token ring":  func(b []byte) []byte { b[1] = 6; return b },
		"IPv6":        func(b []byte) []byte { b[2], b[3] = 0x86, 0xdd; return b },
		"long length": func(b []byte) []byte { b[4] = 8; return b },
	} {
		if got, _, ok := sender(change(gratuitous(mac, addr))); ok {
			t.Errorf("%s: took it for %v", name, got)
		}
	}
}

func FuzzSender(f *testing.F) {
	f.Add(gratuitous(mac, addr))
	f.Add([]byte{0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, m, ok := sender(b); ok && (!a.Is4() || len(m) != 6) {
			t.Fatalf("%v at %v", a, m)
		}
	})
}
