package day

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"clinicgate/firmware/wire"
)

var start = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

func up(rtt float64) []wire.Uplink {
	return []wire.Uplink{{Name: "isp-a", State: wire.UplinkUp, RTTMS: rtt, LossPct: 1, UplinkUse: wire.UplinkUse{RxBPS: 2e6}}}
}

var down = []wire.Uplink{{Name: "isp-a", State: wire.UplinkDown, RTTMS: 9}}

func TestDay(t *testing.T) {
	var d Day
	d.Add(start, up(8))
	d.Add(start.Add(20*time.Second), up(12)) // the same minute: the worst counts
	d.Add(start.Add(time.Minute), down)
	d.Add(start.Add(4*time.Minute), up(5)) // two minutes nobody measured
	got := d.Line("isp-a", start.Add(5*time.Minute))
	want := []Point{{Works, 1, 120, 2000, 0}, {Service: Out}, {}, {}, {Works, 1, 50, 2000, 0}, {}}
	for i, w := range want {
		if g := got[Minutes-len(want)+i]; g != w {
			t.Errorf("minute %d: got %+v, want %+v", i, g, w)
		}
	}
	if got[0] != (Point{}) || len(got) != Minutes {
		t.Errorf("%d points, the first %+v", len(got), got[0])
	}
	if d.Line("isp-z", start) != nil {
		t.Error("a line nobody named has a day")
	}
}

// A clock that jumps costs points, never order.
func TestClock(t *testing.T) {
	var d Day
	d.Add(start, up(8))
	d.Add(start.Add(-30*time.Minute), up(9)) // set back: what was after is not so
	got := d.Line("isp-a", start)
	if got[Minutes-1] != (Point{}) || got[Minutes-31].RTT != 90 {
		t.Errorf("after the clock was set back: %+v, %+v", got[Minutes-1], got[Minutes-31])
	}
	d.Add(start.Add(100*time.Hour), up(7))
	got = d.Line("isp-a", start.Add(100*time.Hour))
	for i, p := range got[:Minutes-1] {
		if p != (Point{}) {
			t.Fatalf("point %d is from before: %+v", i, p)
		}
	}
	d.Add(start.Add(-1000*time.Hour), up(7))
	if got := d.Line("isp-a", start.Add(-1000*time.Hour)); got[Minutes-1].RTT != 70 || got[Minutes-2] != (Point{}) {
		t.Error("after the clock was set back by weeks")
	}
}

// Lines that are gone, and more lines than a box has ports for.
func TestBounds(t *testing.T) {
	var d Day
	for i := range 40 {
		d.Add(start, []wire.Uplink{{Name: string(rune('a' + i)), State: wire.UplinkUp}})
	}
	if len(d.lines) != maxLines {
		t.Errorf("%d lines are remembered", len(d.lines))
	}
	d.Add(start.Add(25*time.Hour), up(1))
	d.Add(start.Add(25*time.Hour), up(1))
	if len(d.lines) != 1 {
		t.Errorf("%d lines a day later, want the one that is there", len(d.lines))
	}
	d.Add(start, []wire.Uplink{{Name: "isp-a", State: "new", RTTMS: -5, LossPct: 1e9, UplinkUse: wire.UplinkUse{RxBPS: 1e300}}})
}

func TestKept(t *testing.T) {
	var d Day
	for m := range 2000 {
		d.Add(start.Add(time.Duration(m)*time.Minute), up(float64(m%50)))
	}
	now := start.Add(2000 * time.Minute)
	file := d.Append(nil)
	back, err := Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := d.Line("isp-a", now), back.Line("isp-a", now); !equal(a, b) {
		t.Error("another day comes back")
	}
	c := d.Clone()
	d.Add(now, down)
	if equal(c.Line("isp-a", now), d.Line("isp-a", now)) {
		t.Error("a clone goes on with its original")
	}
	// A power cut in the middle, a flipped bit: nothing is believed.
	for cut := 0; cut < len(file); cut += 97 {
		if _, err := Parse(file[:cut]); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		flipped := bytes.Clone(file)
		flipped[cut] ^= 4
		if _, err := Parse(flipped); !errors.Is(err, ErrDamaged) {
			t.Fatalf("flipped at %d: %v", cut, err)
		}
	}
}

func equal(a, b []Point) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return len(a) == len(b)
}

func FuzzParse(f *testing.F) {
	var d Day
	d.Add(start, up(8))
	f.Add(d.Append(nil))
	f.Add((&Day{}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Parse(b)
		if err != nil {
			return
		}
		if again, err := Parse(d.Append(nil)); err != nil || len(again.lines) != len(d.lines) {
			t.Errorf("kept again: %v", err)
		}
	})
}
