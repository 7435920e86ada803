package reach

import (
	"net/netip"
	"reflect"
	"testing"
	"time"
)

var epoch = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

func host(n byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 20, 0, n}) }

func TestReach(t *testing.T) {
	var r Reach
	if r.Known() != 0 || !r.Last().IsZero() || len(r.Ask()) != 0 {
		t.Error("the zero value has heard somebody")
	}
	for n := byte(1); n <= 6; n++ {
		r.Heard(epoch.Add(time.Duration(n)*time.Second), host(n), false)
	}
	if got, want := r.Ask(), []netip.Addr{host(6), host(5), host(4), host(3)}; !reflect.DeepEqual(got, want) {
		t.Errorf("asks %v, want %v", got, want)
	}
	r.Heard(epoch.Add(7*time.Second), host(2), false)
	if got := r.Ask()[0]; got != host(2) || r.Known() != 6 {
		t.Errorf("first %v of %d", got, r.Known())
	}
	// The other box proves that the port works, and is not missed later.
	r.Heard(epoch.Add(8*time.Second), host(6), true)
	if r.Known() != 5 || r.Last() != epoch.Add(8*time.Second) {
		t.Errorf("%d known, last %v", r.Known(), r.Last())
	}
}

// Nobody is forgotten while nobody is heard; then the old ones are.
func TestForget(t *testing.T) {
	var r Reach
	r.Heard(epoch, host(1), false)
	r.Heard(epoch.Add(time.Minute), host(2), false)
	r.Heard(epoch.Add(24*time.Hour), host(9), true)
	if r.Known() != 2 {
		t.Errorf("%d known, want both", r.Known())
	}
	r.Heard(epoch.Add(24*time.Hour), host(3), false)
	if got := r.Ask(); len(got) != 1 || got[0] != host(3) {
		t.Errorf("known %v, want the new one alone", got)
	}
}

// A machine that pretends to be a thousand pushes out the oldest, and no more.
func TestBounded(t *testing.T) {
	var r Reach
	for n := range 1000 {
		r.Heard(epoch.Add(time.Duration(n)*time.Millisecond), netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), false)
	}
	if r.Known() != most || r.Ask()[0] != netip.AddrFrom4([4]byte{10, 0, 3, 231}) {
		t.Errorf("%d known, first %v", r.Known(), r.Ask()[0])
	}
}
