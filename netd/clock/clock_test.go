package clock

import (
	"fmt"
	"testing"
	"time"
)

var now = time.Unix(1.7e9, 0)

const ms = time.Millisecond

// servers makes a source for each offset, with a bound of 10 ms and a little.
func servers(offsets ...time.Duration) (all []*Source) {
	for _, o := range offsets {
		s := &Source{}
		s.Add(Sample{Offset: o, Delay: 10 * ms, Root: 5 * ms, Stratum: 2, At: now}, "")
		all = append(all, s)
	}
	return all
}

func TestJudge(t *testing.T) {
	for name, c := range map[string]struct {
		offsets []time.Duration
		agree   string
		offset  time.Duration
	}{
		"one is believed":            {[]time.Duration{5 * ms}, "[0]", 5 * ms},
		"two that agree":             {[]time.Duration{5 * ms, 7 * ms}, "[0 1]", 6 * ms},
		"two that don't":             {[]time.Duration{0, time.Hour}, "[]", 0},
		"a liar among three":         {[]time.Duration{time.Hour, ms, 3 * ms}, "[1 2]", 2 * ms},
		"two liars with two stories": {[]time.Duration{time.Hour, -time.Hour, 0, 2 * ms, 4 * ms}, "[2 3 4]", 2 * ms},
		"half are liars":             {[]time.Duration{time.Hour, time.Hour, 0, 0}, "[]", 0},
		"nobody":                     {nil, "[]", 0},
	} {
		v := Judge(servers(c.offsets...), now)
		if got := fmt.Sprint(v.Agree); got != c.agree || (v.Offset-c.offset).Abs() > time.Microsecond || v.OK() != (c.agree != "[]") {
			t.Errorf("%s: got %+v", name, v)
		}
		if v.OK() && (v.Stratum != 3 || v.Bound < 10*ms) {
			t.Errorf("%s: got %+v", name, v)
		}
	}
}

func TestSource(t *testing.T) {
	s := &Source{}
	if _, ok := s.Best(now); ok {
		t.Error("a sample from nowhere")
	}
	s.Add(Sample{Offset: 1, Delay: 100 * ms, Stratum: 1, At: now}, "")
	s.Add(Sample{Offset: 2, Delay: 10 * ms, Stratum: 1, At: now}, "")
	s.Add(Sample{Offset: 3, Delay: 300 * ms, Stratum: 1, At: now}, "")
	if x, ok := s.Best(now); !ok || x.Offset != 2 {
		t.Errorf("got %+v, want that of the shortest way", x)
	}
	if x, _ := s.Best(now.Add(24 * time.Hour)); x.Bound(now.Add(24*time.Hour)) < time.Second {
		t.Errorf("a day old, and sure to %v", x.Bound(now.Add(24*time.Hour)))
	}
	for why, x := range map[string]Sample{
		"unsynchronised": {Stratum: 0, At: now}, "far from a clock": {Stratum: 16, At: now},
		"slow": {Stratum: 1, Delay: 4 * time.Second, At: now}, "vague": {Stratum: 1, Root: 2 * time.Second, At: now}, "from the future": {Stratum: 1, Delay: -1, At: now},
	} {
		s := &Source{}
		if s.Add(x, ""); s.Why == "" || s.Reach != 0 {
			t.Errorf("%s: taken", why)
		}
	}
	for range 8 {
		s.Missed("silence")
	}
	if _, ok := s.Best(now); ok {
		t.Error("a server that is gone is still believed")
	}
}

func TestDecide(t *testing.T) {
	type step struct {
		offset time.Duration
		want   Act
	}
	for name, steps := range map[string][]step{
		"at boot":               {{-20 * 365 * 24 * time.Hour, Step}, {-time.Second, Slew}},
		"right at boot":         {{20 * ms, Steer}, {-20 * ms, Steer}},
		"back a little":         {{0, Steer}, {-30 * time.Second, Slew}},
		"back a lot":            {{0, Steer}, {-time.Hour, Leave}},
		"forward, when certain": {{0, Steer}, {time.Second, Wait}, {time.Second, Wait}, {time.Second, Step}},
		"forward, a moment":     {{0, Steer}, {time.Second, Wait}, {time.Second, Wait}, {0, Steer}, {time.Second, Wait}},
		"forward a lot":         {{0, Steer}, {time.Hour, Leave}, {time.Hour, Leave}, {time.Hour, Leave}, {time.Hour, Leave}},
	} {
		d := Discipline{}
		for i, s := range steps {
			if got := d.Decide(s.offset); got != s.want {
				t.Errorf("%s, step %d: got %v, want %v", name, i, got, s.want)
			}
		}
	}
}
