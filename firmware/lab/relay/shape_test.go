package relay

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

const ms = time.Millisecond

func TestShaperFates(t *testing.T) {
	type frame struct {
		in   time.Duration // after noon
		size int
		out  time.Duration // -1: vanishes
	}
	tests := []struct {
		name   string
		faults Faults
		frames []frame
	}{
		{"good link", Faults{}, []frame{{0, 1500, 0}, {ms, 60, ms}}},
		{"cut", Faults{Cut: true}, []frame{{0, 60, -1}, {ms, 60, -1}}},
		{"delay", Faults{Delay: 30 * ms}, []frame{{0, 60, 30 * ms}, {ms, 60, 31 * ms}}},
		{"all lost", Faults{Loss: 1}, []frame{{0, 60, -1}}},
		// 1000 bytes at 1 Mbit/s take 8 ms on the line; the second waits its turn.
		{"rate", Faults{Rate: 1e6}, []frame{{0, 1000, 8 * ms}, {ms, 1000, 16 * ms}, {50 * ms, 1000, 58 * ms}}},
		{"rate with delay", Faults{Rate: 1e6, Delay: 10 * ms}, []frame{{0, 1000, 18 * ms}, {0, 1000, 26 * ms}}},
		{"full queue", Faults{Rate: 1e6, Queue: 10 * ms}, []frame{{0, 1000, 8 * ms}, {0, 1000, 16 * ms}, {0, 1000, -1}, {9 * ms, 1000, 24 * ms}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := NewShaper(1)
			s.Set(tt.faults)
			for i, f := range tt.frames {
				at, ok := s.Next(noon.Add(f.in), f.size)
				if ok != (f.out >= 0) || ok && !at.Equal(noon.Add(f.out)) {
					t.Errorf("frame %d: got %v %v, want %v", i, at.Sub(noon), ok, f.out)
				}
			}
		})
	}
}

func TestShaperKeepsOrderAndRepeats(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		faults := Faults{
			Delay:  time.Duration(rapid.IntRange(0, 100).Draw(t, "delay")) * ms,
			Jitter: time.Duration(rapid.IntRange(0, 100).Draw(t, "jitter")) * ms,
			Loss:   rapid.Float64Range(0, 1).Draw(t, "loss"),
			Rate:   rapid.Int64Range(0, 1e7).Draw(t, "rate"),
		}
		one, two := NewShaper(seed), NewShaper(seed)
		one.Set(faults)
		two.Set(faults)
		now, last := noon, noon
		for range 100 {
			now = now.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "gap")) * ms)
			size := rapid.IntRange(60, 1514).Draw(t, "size")
			at, ok := one.Next(now, size)
			again, okAgain := two.Next(now, size)
			if ok != okAgain || !at.Equal(again) {
				t.Fatal("equal seeds, different fates")
			}
			if !ok {
				continue
			}
			if at.Before(now.Add(faults.Delay)) || at.Before(last) {
				t.Fatalf("arrives %v after %v, last one %v", at, now, last)
			}
			last = at
		}
	})
}

func TestShaperLosesItsShare(t *testing.T) {
	s := NewShaper(7)
	s.Set(Faults{Loss: 0.1})
	lost := 0
	for range 10000 {
		if _, ok := s.Next(noon, 60); !ok {
			lost++
		}
	}
	if lost < 900 || lost > 1100 {
		t.Errorf("lost %d of 10000, want about 1000", lost)
	}
}

func TestOneFaultDoesNotMoveAnothersDice(t *testing.T) {
	fates := func(f Faults) (out []bool) {
		s := NewShaper(3)
		s.Set(f)
		for range 1000 {
			_, ok := s.Next(noon, 60)
			out = append(out, ok)
		}
		return out
	}
	plain, jittery := fates(Faults{Loss: 0.3}), fates(Faults{Loss: 0.3, Jitter: ms})
	for i := range plain {
		if plain[i] != jittery[i] {
			t.Fatalf("frame %d: jitter changed who is lost", i)
		}
	}
}
