package upstream

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

var (
	now  = time.Unix(1.7e9, 0)
	nine = netip.MustParseAddr("9.9.9.9")
	inA  = netip.MustParseAddr("100.64.1.1")
	inB  = netip.MustParseAddr("198.51.100.1")
	hub  = netip.MustParseAddr("10.98.0.53")
)

func near(a netip.Addr) bool { return a == hub }

func ways(a, b bool) []Way {
	return []Way{{Name: "a", Usable: a, Servers: []netip.Addr{inA, hub}}, {Name: "b", Usable: b, Servers: []netip.Addr{inB}}}
}

func TestList(t *testing.T) {
	for _, c := range []struct {
		a, b   bool
		active int
		want   string
	}{
		{true, true, 0, "[{9.9.9.9 0} {9.9.9.9 1} {10.98.0.53 -1} {100.64.1.1 0} {198.51.100.1 1}]"},
		{true, true, 1, "[{9.9.9.9 1} {9.9.9.9 0} {10.98.0.53 -1} {198.51.100.1 1} {100.64.1.1 0}]"},
		{false, true, 1, "[{9.9.9.9 1} {10.98.0.53 -1} {198.51.100.1 1}]"},
		{false, false, -1, "[{10.98.0.53 -1}]"},
	} {
		if got := fmt.Sprint(List([]netip.Addr{nine, hub}, near, ways(c.a, c.b), c.active)); got != c.want {
			t.Errorf("%v %v %d: got %s, want %s", c.a, c.b, c.active, got, c.want)
		}
	}
}

func TestOrder(t *testing.T) {
	r := New()
	one, two, three := Server{nine, 0}, Server{inA, 0}, Server{inB, 1}
	list := []Server{one, two, three}
	want := func(what string, at time.Time, order ...Server) {
		t.Helper()
		if got := r.Order(list, at); fmt.Sprint(got) != fmt.Sprint(order) {
			t.Errorf("%s: got %v, want %v", what, got, order)
		}
	}
	want("at first, the second by another way", now, one, three, two)
	r.Failed(one, now)
	want("the first rests", now.Add(time.Second), two, three, one)
	want("and is asked again", now.Add(3*time.Second), one, three, two)
	r.Failed(one, now)
	r.Failed(three, now)
	want("who failed more often comes later", now.Add(time.Second), two, three, one)
	r.Answered(one, 20*time.Millisecond)
	want("an answer makes all good", now.Add(time.Second), one, two, three)
	if got := r.RTT(one); got != 20*time.Millisecond {
		t.Errorf("RTT %v", got)
	}
	for range 100 {
		r.Failed(two, now)
	}
	want("nobody rests for ever", now.Add(61*time.Second), one, three, two)
	r.Keep([]Server{one})
	if len(r.all) != 1 {
		t.Errorf("%d records kept", len(r.all))
	}
}
