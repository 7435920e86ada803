// Package slot decides what becomes of the two slots that a box can start from:
// a release on trial either proves itself or the box is back on the slot that
// worked, whenever the power goes. It knows no disk and no clock.
//
// Only a release on trial has its starts counted. Mains that come and go cost a
// committed slot nothing, and there is always one to start.
package slot

import (
	"fmt"
	"slices"
	"time"
)

// Name of a slot.
type Name string

const (
	A Name = "a"
	B Name = "b"
)

// Other is the slot that n is not.
func (n Name) Other() Name {
	if n == A {
		return B
	}
	return A
}

// Starts is how often a release on trial may be started without a verdict: a
// power cut during the trial says nothing about the release.
const Starts = 3

// maxRefused bounds the memory for releases that failed.
const maxRefused = 8

// State is the journal of the box's slots: what is known across restarts.
type State struct {
	Good    Name      `json:"good"`            // committed; started when nothing else is said
	Version string    `json:"version"`         // of the release in it
	Trial   *Trial    `json:"trial,omitempty"` // under way
	Refused []Refused `json:"refused,omitempty"`
	Last    string    `json:"last,omitempty"` // how the last trial ended, in words
}

// Trial is a release in the other slot that has not proven itself.
type Trial struct {
	Slot    Name      `json:"slot"`
	Version string    `json:"version"`
	Starts  int       `json:"starts"` // asked for so far; noted before the firmware is told
	Since   time.Time `json:"since"`
	Tunnel  bool      `json:"tunnel"` // the tunnel was up before: the release must bring it up, too
}

// Refused is a release that failed here; it is not taken again.
type Refused struct {
	Version string    `json:"version"`
	Why     string    `json:"why"`
	When    time.Time `json:"when"`
}

// Step is what the box does next.
type Step string

const (
	Work     Step = "work"      // go on; nothing is on trial
	Prove    Step = "prove"     // this start is the trial: find out whether all is well
	TryAgain Step = "try-again" // arm the other slot once more and restart
)

// Boot judges a start from slot booted.
func (s State) Boot(booted Name, now time.Time) (State, Step) {
	t := s.Trial
	switch {
	case s.Good == "": // the first start of a new box
		s.Good = booted
		return s, Work
	case t == nil:
		return s, Work
	case t.Slot == booted:
		return s, Prove
	case t.Starts < Starts:
		again := *t
		again.Starts++
		s.Trial = &again
		return s, TryAgain
	}
	return s.refuse(fmt.Sprintf("was started %d times and did not come up", t.Starts), now), Work
}

// Arm begins the trial of a release that lies in the slot not booted, checked and
// complete. tunnel says whether the cloud can be reached now.
func (s State) Arm(booted Name, version string, tunnel bool, now time.Time) (State, error) {
	if s.Trial != nil {
		return s, fmt.Errorf("release %s is on trial: wait for its verdict", s.Trial.Version)
	}
	if why := s.Knows(version); why != "" {
		return s, fmt.Errorf("release %s failed here before: %s", version, why)
	}
	if booted != s.Good {
		return s, fmt.Errorf("slot %s was started instead of the committed %s: repair that first, it is what would be overwritten", booted, s.Good)
	}
	s.Trial = &Trial{Slot: booted.Other(), Version: version, Starts: 1, Since: now, Tunnel: tunnel}
	return s, nil
}

// Commit makes the release on trial the one that is started from now on.
func (s State) Commit(booted Name) (State, error) {
	if s.Trial == nil || s.Trial.Slot != booted {
		return s, fmt.Errorf("slot %s is not on trial", booted)
	}
	s.Good, s.Version = booted, s.Trial.Version
	s.Last = fmt.Sprintf("release %s proved itself", s.Version)
	s.Trial = nil
	return s, nil
}

// Fail ends the trial. A release to blame is remembered and not taken again; one
// that was let down by the world, such as dead links, may come back later.
func (s State) Fail(why string, blame bool, now time.Time) State {
	if s.Trial == nil {
		return s
	}
	if blame {
		return s.refuse(why, now)
	}
	s.Last = fmt.Sprintf("release %s %s; it may be tried again", s.Trial.Version, why)
	s.Trial = nil
	return s
}

func (s State) refuse(why string, now time.Time) State {
	s.Last = fmt.Sprintf("release %s %s; back on %s", s.Trial.Version, why, s.Good)
	s.Refused = append(slices.Clone(s.Refused), Refused{s.Trial.Version, why, now})
	if n := len(s.Refused) - maxRefused; n > 0 {
		s.Refused = s.Refused[n:]
	}
	s.Trial = nil
	return s
}

// Knows returns why a version is not taken, or "" if nothing speaks against it.
func (s State) Knows(version string) string {
	i := slices.IndexFunc(s.Refused, func(r Refused) bool { return r.Version == version })
	if i < 0 {
		return ""
	}
	return s.Refused[i].Why
}
