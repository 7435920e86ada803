package stir

import (
	"encoding/hex"
	"net/netip"
	"testing"

	"clinicgate/firmware/lab"
)

// TestSegment holds the packet byte by byte; both sums are over the whole and 0 then.
func TestSegment(t *testing.T) {
	f := Flow{Client: netip.MustParseAddrPort("10.20.0.50:40000"), Server: netip.MustParseAddrPort("192.0.2.1:443")}
	b := segment(f, 0x01020304, 0x05060708)
	const want = "4500002800000000" + "4006" + "ae89" + "c0000201" + "0a140032" + "01bb9c40" + "01020304" + "05060708" + "50100000" + "357e" + "0000"
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if checksum(b[:ipLen], 0) != 0 || checksum(b[ipLen:], sum(b[12:20])+6+tcpLen) != 0 {
		t.Error("a sum is wrong")
	}
}

// TestUnknown: who is not in the neighbour table is passed over.
func TestUnknown(t *testing.T) {
	lab.Require(t, lab.Root)
	n, err := Send([]Flow{{Client: netip.MustParseAddrPort("192.0.2.200:1"), Server: netip.MustParseAddrPort("192.0.2.1:443")}})
	if n != 0 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
}
