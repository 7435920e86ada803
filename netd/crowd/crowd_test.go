package crowd

import (
	"net/netip"
	"testing"
	"time"

	"clinicgate/netd/notice"
)

var start = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

func addr(port int) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("198.51.100.2"), uint16(port))
}

func TestPaths(t *testing.T) {
	tab := New([]notice.Key{{1}, {2}})
	a, b := tab.Claimed(notice.Key{1}.ID()), tab.Claimed(notice.Key{2}.ID())
	if a == nil || b == nil || tab.Claimed([8]byte{}) != nil {
		t.Fatal("boxes are not found by their keys")
	}
	tab.Noticed(a, addr(1), notice.Notice{All: true, Small: 200}, start)
	tab.Noticed(a, addr(2), notice.Notice{Small: 1}, start.Add(time.Second))
	a.Count(addr(1), 3, 300)
	if p := tab.Paths(a, start.Add(time.Second)); len(p) != 2 || !p[0].All || p[0].Small != 4 || p[0].Bytes != 300 || p[1].All {
		t.Errorf("got %+v", p)
	}
	if tab.At(addr(1)) != a || tab.At(addr(3)) != nil {
		t.Error("an address is not its box's")
	}
	if p := tab.Paths(a, start.Add(notice.Life)); len(p) != 1 || p[0].At != addr(2) || tab.At(addr(1)) != nil {
		t.Errorf("a silent path stays: %+v", p)
	}
	tab.Noticed(b, addr(2), notice.Notice{}, start.Add(2*time.Second))
	if p := tab.Paths(a, start.Add(2*time.Second)); len(p) != 0 || tab.At(addr(2)) != b {
		t.Errorf("one address is two boxes': %+v", p)
	}
}

// TestBound: a box that moves from port to port doesn't fill the memory.
func TestBound(t *testing.T) {
	tab := New([]notice.Key{{1}})
	b := tab.Claimed(notice.Key{1}.ID())
	for i := range 1000 {
		tab.Noticed(b, addr(1000+i), notice.Notice{}, start)
	}
	if len(tab.byAt) != maxPaths || len(tab.Paths(b, start)) != maxPaths || tab.At(addr(1999)) != b {
		t.Errorf("%d addresses, %d paths", len(tab.byAt), len(b.paths))
	}
}
