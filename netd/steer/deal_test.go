package steer

import (
	"testing"
	"time"

	"clinicgate/netd/config"
)

// TestAggregate: what costs nothing is shared, by the rates that are known.
func TestAggregate(t *testing.T) {
	ups := up(3)
	ups[1].Metered = true
	for i := range ups {
		ups[i].Share = Share{Uplink: i, Rate: float64(i+1) * 1e6}
	}
	way := New(config.Aggregate, 3).Way(0, ups, start)
	if len(way.Shares) != 2 || way.Shares[0] != ups[0].Share || way.Shares[1] != ups[2].Share {
		t.Errorf("got %+v", way)
	}
	ups[0].Usable = false
	if way := New(config.Aggregate, 3).Way(2, ups, start); len(way.Shares) != 0 || text(way) != "{[2] []}" {
		t.Errorf("one left: got %+v", way)
	}
}

// TestDealProportion: busy uplinks get bytes in proportion to their rates, whatever
// their true rates are, and an idle tunnel uses the quickest.
func TestDealProportion(t *testing.T) {
	shares := []Share{{0, 3e6, 30 * time.Millisecond}, {2, 1e6, 5 * time.Millisecond}}
	for _, load := range []float64{4e6, 40e6} { // as fast as they are, and ten times that
		var d Dealer
		got, now := map[int]int{}, start
		for range 20000 {
			got[d.Deal(1400, shares, now)]++
			now = now.Add(time.Duration(1400 / load * 1e9))
		}
		if share := float64(got[0]) / 20000; share < 0.7 || share > 0.8 {
			t.Errorf("at %.0f bytes a second: %.2f by the first, want 0.75", load, share)
		}
	}
	var d Dealer
	for i := range 100 {
		if u := d.Deal(100, shares, at(i*100)); u != 2 {
			t.Fatalf("idle: by %d, want the quickest", u)
		}
	}
}

// TestDealOrder: with true rates and delays datagrams arrive nearly in order.
func TestDealOrder(t *testing.T) {
	shares := []Share{{0, 2e6, 40 * time.Millisecond}, {1, 1e6, 10 * time.Millisecond}}
	var d Dealer
	line, last, worst, now := map[int]time.Time{}, time.Time{}, time.Duration(0), start
	for i := range 10000 {
		u := d.Deal(1400, shares, now)
		s := shares[u]
		line[u] = later(now, line[u]).Add(s.takes(1400))
		arrives := line[u].Add(s.Delay)
		if i > 100 {
			worst = max(worst, last.Sub(arrives))
		}
		last = later(last, arrives)
		now = now.Add(482759 * time.Nanosecond) // 2.9 MB/s
	}
	if worst > 5*time.Millisecond {
		t.Errorf("a datagram arrived %v after a later one, though 30 ms lie between the uplinks", worst)
	}
}

// TestCorrect: with rates that are a twentieth wrong one queue grows at the other's
// cost, unless the books are corrected now and then.
func TestCorrect(t *testing.T) {
	shares := []Share{{Uplink: 0, Rate: 5.25e6}, {Uplink: 1, Rate: 4.75e6}} // both are 5e6
	worst := map[bool]time.Duration{}
	for _, correct := range []bool{false, true} {
		var d Dealer
		line, now := [2]time.Time{start, start}, start
		for i := range 40000 {
			u := d.Deal(1400, shares, now)
			line[u] = later(now, line[u]).Add(280 * time.Microsecond)
			if correct && i%700 == 699 { // every 100 ms
				for u := range line {
					d.Correct(u, max(0, line[u].Sub(now))-d.Ahead(u, now), now)
				}
			}
			if i > 5000 {
				worst[correct] = max(worst[correct], line[0].Sub(line[1]).Abs())
			}
			now = now.Add(143 * time.Microsecond) // 9.8 MB/s
		}
	}
	if worst[true] > 15*time.Millisecond || worst[true] > worst[false]/4 {
		t.Errorf("queues differ by %v with corrections, %v without", worst[true], worst[false])
	}
	if n := Hand(shares); n != 1 {
		t.Errorf("a hand of %d at 5 MB/s, want 1", n)
	}
	if n := Hand([]Share{{Rate: 125e6}}); n != mostInHand {
		t.Errorf("a hand of %d at a gigabit, want %d", n, mostInHand)
	}
}

// TestRates: two lines of 6 and 2 Mbit/s with queues are learned from what probes
// see in them, and nothing is learned from an idle tunnel.
func TestRates(t *testing.T) {
	lines := []struct{ speed, queue float64 }{{750_000, 0}, {250_000, 0}}
	r := NewRates(3)
	passed := 0.0
	for sec := range 300 {
		sum := r.Bytes(0) + r.Bytes(2)
		seconds := map[int]Second{}
		for i := range lines {
			l := &lines[i]
			sent := 950_000 * r.Bytes(2*i) / sum // nearly what both carry
			l.queue += sent
			through := min(l.queue, l.speed)
			lost := l.queue-through > l.speed/2 // half a second of buffer
			l.queue = min(l.queue-through, l.speed/2)
			seconds[2*i] = Second{sent, 20*time.Millisecond + time.Duration(l.queue/l.speed*1e9), lost}
			if sec >= 100 {
				passed += through / 200
			}
		}
		r.Learn(seconds)
	}
	if passed < 0.97*950_000 {
		t.Errorf("%.0f bytes a second came through, want nearly 950000; rates %.0f and %.0f", passed, r.Bytes(0), r.Bytes(2))
	}
	if r.Bytes(1) != firstRate {
		t.Errorf("the rate of an uplink not in use was changed to %v", r.Bytes(1))
	}
	idle := NewRates(2)
	idle.Learn(map[int]Second{0: {100, time.Millisecond, true}, 1: {100, time.Millisecond, false}})
	if idle.Bytes(0) != firstRate {
		t.Errorf("an idle uplink's rate was changed to %v", idle.Bytes(0))
	}
}
