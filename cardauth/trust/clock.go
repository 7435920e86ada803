package trust

import "time"

// A Clock tells the time that certificates are judged at, from a system clock that
// anybody at the console can set: never before a floor that was reached already.
type Clock struct {
	Floor    time.Time // reached once
	Evidence time.Time // the latest time that somebody trusted has signed
}

// Bounds of doubt.
const (
	maxBack  = 5 * time.Minute     // a clock may be set back by so much without a word
	maxAway  = 30 * 24 * time.Hour // the floor goes beyond the evidence by so much at most
	Interval = time.Hour           // between two times the floor is raised
)

// Now is the time to judge at, and whether the system clock is suspect: it says
// less than is known to have passed.
func (c Clock) Now(system time.Time) (now time.Time, suspect bool) {
	floor := c.Floor
	if c.Evidence.After(floor) {
		floor = c.Evidence
	}
	if system.Before(floor.Add(-maxBack)) {
		return floor, true
	}
	return system, false
}

// Raise is the floor that a system clock gives. A clock set years ahead must not
// carry the floor along, which never comes down: so far and no farther.
func (c Clock) Raise(system time.Time) time.Time {
	if most := c.Evidence.Add(maxAway); system.After(most) {
		system = most
	}
	if system.After(c.Floor) {
		return system
	}
	return c.Floor
}
