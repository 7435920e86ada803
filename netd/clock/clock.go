// Package clock decides whom of several time servers to believe and what to do
// about the box's clock. It believes a majority whose error bounds agree (RFC 5905
// §11.2.1), and it guarantees that a clock in use never goes back.
package clock

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Sample is what one exchange with a server told.
type Sample struct {
	Offset  time.Duration // of the server's clock from ours
	Delay   time.Duration // there and back
	Root    time.Duration // the server's own bound: root delay / 2 + root dispersion
	Stratum uint8         // of the server
	RefID   [4]byte       // the server's address
	At      time.Time
}

// Drift is how fast an undisciplined clock may go wrong: RFC 5905's PHI.
const Drift = 15e-6

// reading is what reading a clock costs.
const reading = time.Millisecond / 10

// Bound is how wrong the sample may be by now.
func (s Sample) Bound(now time.Time) time.Duration {
	return s.Root + s.Delay/2 + reading + time.Duration(float64(max(now.Sub(s.At), 0))*Drift)
}

// Limits of a sample worth having.
const (
	maxStratum = 15
	maxBound   = 1500 * time.Millisecond // RFC 5905's MAXDIST
	remembered = 8
)

// Source is one server. The zero value has not answered yet.
type Source struct {
	samples []Sample // latest last
	Reach   uint8    // of the last eight questions, a bit for each; the lowest is the last
	Why     string   // why its last answer was not taken
}

// Add takes in an answer; why says what is wrong with it, if something is.
func (s *Source) Add(x Sample, why string) {
	s.Reach <<= 1
	if why == "" && (x.Stratum < 1 || x.Stratum > maxStratum || x.Delay < 0 || x.Bound(x.At) > maxBound) {
		why = fmt.Sprintf("stratum %d, %v there and back, own error %v", x.Stratum, x.Delay, x.Root)
	}
	if s.Why = why; why != "" {
		return
	}
	s.Reach |= 1
	s.samples = append(s.samples, x)
	if len(s.samples) > remembered {
		s.samples = s.samples[1:]
	}
}

// Missed notes that there was no answer.
func (s *Source) Missed(why string) {
	s.Reach <<= 1
	s.Why = why
}

// Forget drops what was measured against a clock that has been set since.
func (s *Source) Forget() { s.samples = nil }

// Best is the sample with the smallest bound: a short way is a straight one.
func (s *Source) Best(now time.Time) (Sample, bool) {
	if s.Reach == 0 || len(s.samples) == 0 {
		return Sample{}, false
	}
	return slices.MinFunc(s.samples, func(a, b Sample) int { return cmp.Compare(a.Bound(now), b.Bound(now)) }), true
}

// Verdict is what the servers say together.
type Verdict struct {
	Heard   int // servers with a sample
	Agree   []int
	Offset  time.Duration
	Bound   time.Duration
	Stratum uint8
	RefID   [4]byte
}

// OK reports whether a majority agrees.
func (v Verdict) OK() bool { return len(v.Agree) > 0 }

// Judge finds the largest group of servers whose bounds have a point in common. It
// has to be a majority of those heard, and the one asked may be all there is.
func Judge(sources []*Source, now time.Time) Verdict {
	type edge struct {
		at   time.Duration
		open bool
	}
	var edges []edge
	best := map[int]Sample{}
	for i, s := range sources {
		if x, ok := s.Best(now); ok {
			best[i] = x
			edges = append(edges, edge{x.Offset - x.Bound(now), true}, edge{x.Offset + x.Bound(now), false})
		}
	}
	v := Verdict{Heard: len(best)}
	slices.SortFunc(edges, func(a, b edge) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(closing(a.open), closing(b.open)))
	})
	most, count := 0, 0
	var point time.Duration
	for _, e := range edges {
		if !e.open {
			count--
			continue
		}
		if count++; count > most {
			most, point = count, e.at
		}
	}
	if most*2 <= v.Heard {
		return v
	}
	for i := range sources {
		if x, ok := best[i]; ok && (x.Offset-point).Abs() <= x.Bound(now) {
			v.Agree = append(v.Agree, i)
		}
	}
	v.combine(best, now)
	return v
}

func closing(open bool) int {
	if open {
		return 0
	}
	return 1
}

// combine weighs those that agree by how sure they are (RFC 5905 §11.2.3). The
// surest gives its name.
func (v *Verdict) combine(best map[int]Sample, now time.Time) {
	surest := slices.MinFunc(v.Agree, func(a, b int) int { return cmp.Compare(best[a].Bound(now), best[b].Bound(now)) })
	x := best[surest]
	var sum, weights float64
	for _, i := range v.Agree {
		w := 1 / float64(best[i].Bound(now))
		sum += w * float64(best[i].Offset)
		weights += w
	}
	v.Offset = time.Duration(sum / weights)
	v.Bound = x.Bound(now) + (v.Offset - x.Offset).Abs()
	v.Stratum, v.RefID = x.Stratum+1, x.RefID
}

// Act is what to do about the clock.
type Act int

// What there is to do.
const (
	Wait  Act = iota // not sure yet
	Steer            // little by little, and learn its rate
	Slew             // slowly, all of it
	Step             // at once
	Leave            // too wrong to touch while somebody relies on it
)

// Limits of what is done to a clock in use.
const (
	steerMost   = 128 * time.Millisecond
	slewMost    = time.Minute        // back; at 500 ppm that takes 33 hours
	forwardMost = 1000 * time.Second // RFC 5905's PANICT
	sureAfter   = 3                  // verdicts in a row before a clock in use is stepped
)

// Discipline is the history of one clock. InUse says that it has been right since
// the box started: then it is never set back, and set forward only when it is
// certain.
type Discipline struct {
	InUse bool
	far   int // verdicts in a row that want a step
}

// Decide says what to do about a clock that is off by so much.
func (d *Discipline) Decide(offset time.Duration) Act {
	switch {
	case offset.Abs() <= steerMost:
		d.far, d.InUse = 0, true
		return Steer
	case !d.InUse:
		d.InUse = true
		return Step
	case offset < -slewMost || offset > forwardMost:
		return Leave
	case offset < 0:
		return Slew
	}
	if d.far++; d.far < sureAfter {
		return Wait
	}
	d.far = 0
	return Step
}
