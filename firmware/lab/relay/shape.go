package relay

import (
	"math/rand/v2"
	"time"
)

// Faults is what a direction of a link does to frames. The zero value is a good
// link.
type Faults struct {
	Cut    bool          // frames vanish; both ends keep their carrier
	Delay  time.Duration // added to every frame
	Jitter time.Duration // up to this much more, evenly spread; frames stay in order
	Loss   float64       // share of frames that vanish, 0 to 1
	Rate   int64         // bits per second; 0: as fast as the machine can
	Queue  time.Duration // a frame that would wait longer for its turn is dropped; 0: 200 ms
}

// defaultQueue is what a home router's buffer holds at its line rate, roughly.
const defaultQueue = 200 * time.Millisecond

// A Shaper decides the fate of each frame of one direction. Equal seeds, faults
// and frames give equal fates.
type Shaper struct {
	faults Faults
	rng    *rand.Rand
	idle   time.Time // when the line has sent all it was given
	last   time.Time // when the last frame arrives
}

// NewShaper returns a good link with its own dice.
func NewShaper(seed uint64) *Shaper {
	return &Shaper{rng: rand.New(rand.NewPCG(seed, seed))}
}

// Set changes the faults for frames from now on; those under way still arrive.
func (s *Shaper) Set(f Faults) { s.faults = f }

// Next returns when a frame of size bytes entering at now arrives at the far end;
// false: it never does.
func (s *Shaper) Next(now time.Time, size int) (time.Time, bool) {
	f := s.faults
	// The dice are thrown for every frame, so that one fault doesn't change
	// what another does.
	lost, jitter := s.rng.Float64() < f.Loss, s.rng.Float64()
	if f.Cut || lost {
		return time.Time{}, false
	}
	at := now
	if f.Rate > 0 {
		begin := later(now, s.idle)
		queue := f.Queue
		if queue == 0 {
			queue = defaultQueue
		}
		if begin.Sub(now) > queue {
			return time.Time{}, false
		}
		s.idle = begin.Add(time.Duration(int64(size) * 8 * int64(time.Second) / f.Rate))
		at = s.idle
	}
	at = at.Add(f.Delay + time.Duration(jitter*float64(f.Jitter)))
	s.last = later(at, s.last)
	return s.last, true
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
