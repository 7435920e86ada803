package pairclock

import (
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestCompare(t *testing.T) {
	got := Compare(noon, noon.Add(10*time.Minute), noon.Add(4*time.Millisecond))
	if want := (Measure{Ahead: 10*time.Minute - 2*time.Millisecond, Error: 2 * time.Millisecond}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestFollow(t *testing.T) {
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		m       Measure
		working bool
		step    time.Duration
		fault   string
	}{
		"same clock":             {Measure{0, ms}, false, 0, ""},
		"nearly":                 {Measure{1001 * ms, 2 * ms}, false, 0, ""},
		"behind by ten minutes":  {Measure{10 * time.Minute, ms}, false, 10 * time.Minute, ""},
		"so is the master":       {Measure{10 * time.Minute, ms}, true, 0, ""},
		"ahead":                  {Measure{-10 * time.Minute, ms}, false, 0, ""},
		"a slow answer":          {Measure{10 * time.Minute, 300 * ms}, false, 0, ""},
		"the clock jumped there": {Measure{10 * time.Minute, -ms}, false, 0, ""},
		"a battery is dead":      {Measure{9 * 365 * 24 * time.Hour, ms}, false, 0, "78840h0m0s ahead"},
	} {
		t.Run(name, func(t *testing.T) {
			step, fault := Follow(c.m, c.working)
			if step != c.step || !strings.Contains(fault, c.fault) || (fault == "") != (c.fault == "") {
				t.Errorf("got %v, %q; want %v, %q", step, fault, c.step, c.fault)
			}
		})
	}
}
