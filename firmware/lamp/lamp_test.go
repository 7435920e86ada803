package lamp

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// The shapes, drawn at 50 ms a character: g and r for the lights, * for both.
func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern []Flash
		want    string
	}{
		{Pattern(Starting), "ggg   ggg            ggg   ggg            "},
		{Pattern(Good), "gggggggggggggggggggggggggggggggggggggggggg"},
		{Pattern(Backup), "gggggg      gggggg      gggggg      gggggg"},
		{Pattern(Updating), "gg  gg  gg  gg  gg  gg  gg  gg  gg  gg  gg"},
		{Pattern(Help), "rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr"},
		{Held(false, false), "rr                  rr                  rr"},
		{Held(true, false), "rr   rr             rr   rr             rr"},
		{Held(true, true), "******************************************"},
	} {
		var got strings.Builder
		for i := range len(c.want) {
			f, _ := At(c.pattern, time.Duration(i)*50*time.Millisecond)
			got.WriteByte(map[Flash]byte{{}: ' ', {Good: true}: 'g', {Bad: true}: 'r', {Good: true, Bad: true}: '*'}[Flash{Good: f.Good, Bad: f.Bad}])
		}
		if got.String() != c.want {
			t.Errorf("got  %q\nwant %q", got.String(), c.want)
		}
	}
}

// Whoever can't tell the colours tells the states: no two shapes in time are the
// same, but for the two steady ones, which are different lights.
func TestShapes(t *testing.T) {
	seen := map[string]State{}
	for _, s := range []State{Starting, Good, Backup, Updating, Help} {
		shape := ""
		for i := range 60 {
			f, _ := At(Pattern(s), time.Duration(i)*50*time.Millisecond)
			shape += fmt.Sprint(f.Good || f.Bad)
		}
		if s == Help {
			shape += "the other light"
		}
		if other, taken := seen[shape]; taken {
			t.Errorf("%s looks like %s", s, other)
		}
		seen[shape] = s
	}
}

// Walking from change to change shows the same as looking at any time.
func TestAtTellsTheNextChange(t *testing.T) {
	for _, s := range []State{Starting, Backup, Updating} {
		for at := time.Duration(0); at < 5*time.Second; {
			f, next := At(Pattern(s), at)
			if next <= 0 {
				t.Fatalf("%s at %v: next in %v", s, at, next)
			}
			if last, _ := At(Pattern(s), at+next-1); last != f {
				t.Fatalf("%s at %v: %v changes to %v before %v", s, at, f, last, next)
			}
			at += next
		}
	}
	if f, next := At(nil, time.Second); f != (Flash{}) || next != 0 {
		t.Errorf("no pattern: %v, %v", f, next)
	}
	if f, _ := At(Pattern(Backup), -time.Hour); !f.Good {
		t.Errorf("before the beginning: %v", f)
	}
}

func TestShow(t *testing.T) {
	for _, c := range []struct {
		own  Own
		said State
		ago  time.Duration
		want State
	}{
		{Own{}, "", 0, Starting},
		{Own{}, Good, 0, Starting},
		{Own{Ready: true}, Good, time.Second, Good},
		{Own{Ready: true}, Backup, Fresh, Backup},
		{Own{Ready: true}, Good, Fresh + 1, Help},
		{Own{Ready: true}, "", 0, Help},
		{Own{Ready: true}, "dance", 0, Help},
		{Own{Ready: true, Updating: true}, Help, 0, Updating},
		{Own{Trial: true}, Good, 0, Starting},
		{Own{Trial: true, Ready: true}, Good, 0, Updating},
	} {
		if got := Show(c.own, c.said, c.ago); got != c.want {
			t.Errorf("%+v, %q %v ago: %s, want %s", c.own, c.said, c.ago, got, c.want)
		}
	}
}
