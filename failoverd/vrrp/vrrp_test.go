package vrrp

import (
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var peers = []netip.Addr{netip.MustParseAddr("10.20.0.1"), netip.MustParseAddr("10.20.0.3"), netip.MustParseAddr("10.20.0.2")}

// Whatever happens in whatever order: the addresses are on the port exactly while
// the router is Active, and it never waits without a deadline or with one in
// Initialize.
func TestAddressesFollowState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := epoch
		r := New(Config{
			Priority: rapid.Uint8Range(1, 255).Draw(t, "priority"),
			Interval: time.Duration(rapid.IntRange(1, 4095).Draw(t, "interval")) * 10 * time.Millisecond,
			Preempt:  rapid.Bool().Draw(t, "preempt"),
			Delay:    time.Duration(rapid.IntRange(0, 10).Draw(t, "delay")) * time.Second,
		}, now)
		owns := false
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(3*time.Second)).Draw(t, "pass")))
			for _, a := range r.Step(now, event(t)) {
				switch {
				case a == Claim && owns, a == Release && !owns:
					t.Fatalf("%v while owns is %v", a, owns)
				case a == Announce && !owns:
					t.Fatal("announces addresses it does not have")
				}
				owns = (owns || a == Claim) && a != Release
			}
			s := r.Status()
			if owns != (s.State == Active) {
				t.Fatalf("%v, owns %v", s.State, owns)
			}
			if r.Deadline().IsZero() != (s.State == Initialize) {
				t.Fatalf("%v with deadline %v", s.State, r.Deadline())
			}
			if s.Reason == "" || s.Since.After(now) {
				t.Fatalf("unexplained: %+v", s)
			}
		}
	})
}

func event(t *rapid.T) Event {
	switch rapid.IntRange(0, 5).Draw(t, "event") {
	case 0:
		return Start{Self: peers[2]}
	case 1:
		return Stop{Reason: "test"}
	case 2, 3:
		return Heard{
			From:     rapid.SampledFrom(peers).Draw(t, "from"),
			Priority: rapid.Uint8().Draw(t, "their priority"),
			Interval: time.Duration(rapid.IntRange(1, 4095).Draw(t, "their interval")) * 10 * time.Millisecond,
		}
	default:
		return Tick{}
	}
}

// Two boxes on a sound wire: whatever they went through before, one of them has
// the addresses soon after.
func TestTwoBoxesSettle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{now: epoch}
		for i, name := range []string{"a", "b"} {
			cfg := Config{
				Priority: rapid.Uint8Range(1, 254).Draw(t, "priority "+name),
				Interval: time.Second,
				Preempt:  rapid.Bool().Draw(t, "preempt "+name),
				Delay:    time.Duration(rapid.IntRange(0, 5).Draw(t, "delay "+name)) * time.Second,
			}
			w.boxes = append(w.boxes, &box{Router: New(cfg, epoch), cfg: cfg, name: name, self: peers[i]})
		}
		for range rapid.IntRange(0, 20).Draw(t, "events") {
			b := rapid.SampledFrom(w.boxes).Draw(t, "box")
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				w.step(b, Start{Self: b.self})
			case 1:
				w.step(b, Stop{Reason: "test"})
			case 2:
				w.cut = !w.cut
			}
			w.run(time.Duration(rapid.IntRange(0, 5000).Draw(t, "ms")) * time.Millisecond)
		}
		w.cut = false
		for _, b := range w.boxes {
			w.step(b, Start{Self: b.self})
		}
		w.run(10 * time.Second)
		if w.boxes[0].owns == w.boxes[1].owns {
			t.Fatalf("a owns %v, b owns %v\n%s", w.boxes[0].owns, w.boxes[1].owns, w.out.String())
		}
	})
}

// Every deadline and age is measured on the monotonic clock: a jump of the wall
// clock moves none.
func TestClockJump(t *testing.T) {
	now := time.Now()
	r := New(Config{Priority: 100, Interval: time.Second, Preempt: true}, now)
	monotonic := func(what string, at time.Time) {
		t.Helper()
		if at == at.Round(0) { // which strips the monotonic reading
			t.Errorf("%s is on the wall clock: %v", what, at)
		}
	}
	r.Step(now, Start{Self: netip.MustParseAddr("10.20.0.2")})
	monotonic("the down timer", r.Deadline())
	monotonic("the doubt", r.Doubt())
	r.Step(time.Now(), Heard{netip.MustParseAddr("10.20.0.3"), 150, time.Second})
	monotonic("the down timer that was reset", r.Deadline())
	monotonic("when the other box was heard", r.Status().PeerSeen)
	r.Step(r.Deadline(), Tick{})
	if r.Status().State != Active {
		t.Fatal("not active")
	}
	monotonic("the next advertisement", r.Deadline())
}
