package volume

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func date(text string) time.Time {
	at, err := time.Parse(time.DateTime, text)
	if err != nil {
		panic(err)
	}
	return at
}

func TestMonth(t *testing.T) {
	for _, c := range []struct {
		day        int
		now        string
		begin, end string
	}{
		{1, "2026-11-22 08:00:00", "2026-11-01 00:00:00", "2026-12-01 00:00:00"},
		{22, "2026-11-22 00:00:00", "2026-11-22 00:00:00", "2026-12-22 00:00:00"},
		{23, "2026-11-22 08:00:00", "2026-10-23 00:00:00", "2026-11-23 00:00:00"},
		{28, "2026-01-03 08:00:00", "2025-12-28 00:00:00", "2026-01-28 00:00:00"},
		{28, "2026-03-01 08:00:00", "2026-02-28 00:00:00", "2026-03-28 00:00:00"},
	} {
		if got := Begin(c.day, date(c.now)); got != date(c.begin) || End(got) != date(c.end) {
			t.Errorf("%s, from the %d: got %s to %s", c.now, c.day, got, End(got))
		}
	}
}

// TestLife takes one uplink through restarts, another modem, months and bad clocks.
func TestLife(t *testing.T) {
	var r Record
	for _, s := range []struct {
		what    string
		counter uint64
		index   int
		boot    string
		now     string
		bytes   uint64
	}{
		{"first look", 1000, 3, "a", "2026-11-22 08:00:00", 1000},
		{"a little later", 1500, 3, "a", "2026-11-22 08:00:01", 1500},
		{"netd was away for an hour", 9000, 3, "a", "2026-11-22 09:00:00", 9000},
		{"the modem was plugged in anew", 200, 9, "a", "2026-11-22 10:00:00", 9200},
		{"the driver was reloaded", 50, 9, "a", "2026-11-22 10:30:00", 9250},
		{"the box was rebooted, its clock unset", 100, 9, "b", "1970-01-01 00:00:10", 9350},
		{"the clock is set", 300, 9, "b", "2026-11-22 11:00:00", 9550},
		{"the clock is a month back", 400, 9, "b", "2026-10-22 11:00:00", 9650},
		{"the month ends", 500, 9, "b", "2026-12-15 00:00:00", 100},
		{"a year off", 600, 9, "b", "2027-12-16 00:00:00", 100},
	} {
		r = r.Count(s.counter, s.index, s.boot, 15, date(s.now))
		if r.Bytes != s.bytes {
			t.Errorf("%s: got %d bytes, want %d", s.what, r.Bytes, s.bytes)
		}
	}
	fresh := Record{}.Count(700, 1, "a", 1, date("1970-01-01 00:00:10")).Count(800, 1, "a", 1, date("2026-11-22 08:00:00"))
	if fresh.Bytes != 800 || fresh.Since != date("2026-11-01 00:00:00") {
		t.Errorf("counted before the clock was ever set: %+v", fresh)
	}
}

func TestCap(t *testing.T) {
	for _, c := range []struct {
		bytes       uint64
		cap         int64
		near, spent bool
	}{{0, 0, false, false}, {1 << 60, 0, false, false}, {79, 100, false, false}, {80, 100, true, false}, {94, 100, true, false}, {95, 100, true, true}, {200, 100, true, true}} {
		if Near(c.bytes, c.cap) != c.near || Spent(c.bytes, c.cap) != c.spent {
			t.Errorf("%d of %d: near %v, spent %v", c.bytes, c.cap, Near(c.bytes, c.cap), Spent(c.bytes, c.cap))
		}
	}
	if got := Cost(2_500_000_000, 4); got != 10 {
		t.Errorf("cost: %v", got)
	}
}

// TestNothingTwice: however often the counter is looked at, within a month the sum
// is what passed.
func TestNothingTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r Record
		var counter, passed uint64
		now, index := date("2026-11-02 00:00:00"), 1
		for range rapid.IntRange(1, 50).Draw(t, "looks") {
			if rapid.IntRange(0, 9).Draw(t, "event") == 0 {
				counter, index = 0, index+1
			}
			more := rapid.Uint64Range(0, 1e6).Draw(t, "bytes")
			counter, passed = counter+more, passed+more
			now = now.Add(time.Duration(rapid.IntRange(0, 3600).Draw(t, "seconds")) * time.Second)
			r = r.Count(counter, index, "a", 1, now)
		}
		if r.Bytes != passed {
			t.Fatalf("got %d, want %d", r.Bytes, passed)
		}
	})
}
