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
	if r.Known() != 0 || !r.Alone() || !r.Last().IsZero() || len(r.Ask()) != 0 {
		t.Error("the zero value has heard somebody")
	}
	for n := byte(1); n <= 6; n++ {
		r.Heard(epoch.Add(time.Duration(n)*time.Second), host(n))
	}
	if got, want := r.Ask(), []netip.Addr{host(6), host(5), host(4), host(3)}; !reflect.DeepEqual(got, want) {
		t.Errorf("asks %v, want %v", got, want)
	}
	r.Heard(epoch.Add(7*time.Second), host(2))
	if got := r.Ask()[0]; got != host(2) || r.Known() != 6 {
		t.Errorf("first %v of %d", got, r.Known())
	}
	// The other box proves that the port works, and is not missed later.
	r.Router(epoch.Add(8*time.Second), host(6))
	if r.Known() != 5 || r.Last() != epoch.Add(8*time.Second) || r.Alone() {
		t.Errorf("%d known, last %v", r.Known(), r.Last())
	}
	// What else it says does not make it a machine again; it is asked all the same.
	r.Heard(epoch.Add(9*time.Second), host(6))
	if got := r.Ask(); r.Known() != 5 || got[len(got)-1] != host(6) {
		t.Errorf("%d known, asks %v", r.Known(), got)
	}
}

// Nobody is forgotten while nobody is heard; then the old ones are.
func TestForget(t *testing.T) {
	var r Reach
	r.Heard(epoch, host(1))
	r.Heard(epoch.Add(time.Minute), host(2))
	r.Router(epoch.Add(24*time.Hour), host(9))
	if r.Known() != 2 {
		t.Errorf("%d known, want both", r.Known())
	}
	r.Heard(epoch.Add(24*time.Hour), host(3))
	if got := r.Ask(); len(got) != 2 || got[0] != host(3) || r.Known() != 1 {
		t.Errorf("known %v, want the new one alone", got)
	}
}

// A machine that pretends to be a thousand pushes out the oldest, and no more.
func TestBounded(t *testing.T) {
	var r Reach
	for n := range 1000 {
		r.Heard(epoch.Add(time.Duration(n)*time.Millisecond), netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}))
	}
	if r.Known() != most || r.Ask()[0] != netip.AddrFrom4([4]byte{10, 0, 3, 231}) {
		t.Errorf("%d known, first %v", r.Known(), r.Ask()[0])
	}
}
