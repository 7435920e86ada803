// Package pairclock judges the clocks of a pair. A hub refuses a call whose time is
// not later than that of the call before, so a box must not take the tunnel over
// with a clock that is behind the other one's. It guarantees that a clock is only
// ever set forward, never on the box that works, and never far on one box's word.
package pairclock

import (
	"fmt"
	"time"
)

// A Measure is how far the other box's clock is ahead, and how wrong that may be.
type Measure struct {
	Ahead, Error time.Duration
}

// Compare makes a measure of one question and its answer: asked and heard are by
// this box's clock, said is what the other box's showed in between.
func Compare(asked, said, heard time.Time) Measure {
	took := heard.Sub(asked)
	return Measure{Ahead: said.Sub(asked.Add(took / 2)), Error: took / 2}
}

// Bounds of what is followed.
const (
	// near is close enough: a call waits that long at most.
	near = time.Second
	// vague is an answer that took too long to say anything.
	vague = 250 * time.Millisecond
	// far is more than a clock without power drifts: then a person decides which of
	// the two is right.
	far = 24 * time.Hour
)

// Follow returns by how much to set this box's clock forward, or why it stays wrong.
func Follow(m Measure, working bool) (step time.Duration, fault string) {
	switch {
	case m.Error < 0 || m.Error > vague || m.Ahead-m.Error < near:
		return 0, "" // as good, or ahead: then the other box follows this one
	case working:
		return 0, "" // sessions and caches stand on it; it follows when it has handed over
	case m.Ahead > far:
		return 0, fmt.Sprintf("the other box's clock is %s ahead of this one's, too far to follow", m.Ahead.Round(time.Hour))
	}
	return m.Ahead, ""
}
