package vrrp

import (
	"fmt"
	"time"
)

// A handover moves the addresses without a moment in which nobody has them, which
// VRRP alone can't: the new Active router claims them first (Take), and only when
// it has said so by another way does the old one let go (Yield).

// Take has a Backup router claim the addresses though another one is Active, which
// knows and is about to Yield. It says nothing on the wire until that has happened.
type Take struct{ Reason string }

// Yield has an Active router let go for one that took over already, and stand
// aside from then on.
type Yield struct {
	Reason string
	Stay   bool // don't stand aside
}

// Aside has a router stand aside, or no longer: it takes part with the lowest
// priority, so that it is Active only when nobody else is.
type Aside struct{ On bool }

func (Take) event()  {}
func (Yield) event() {}
func (Aside) event() {}

// lowest is the priority of a router that stands aside.
const lowest = 1

// takeTime is how long a router that took over waits for the old one to yield.
// After that the usual rules hold, and the better one is Active.
const takeTime = time.Second

// Priority is what the router is worth now, and what it advertises.
func (r *Router) Priority() uint8 {
	if r.aside {
		return lowest
	}
	return r.cfg.Priority
}

// Silent reports whether the router took over and does not say so yet.
func (r *Router) Silent(now time.Time) bool { return now.Before(r.taking) }

// take claims before it speaks: one advertisement of lower priority, and the old
// Active router would assert itself.
func (r *Router) take(now time.Time, reason string) []Action {
	if r.status.State != Backup {
		return nil
	}
	r.aside = false
	r.activate(now, reason)
	r.taking = now.Add(takeTime)
	r.deadline = r.taking
	return []Action{Claim, Announce}
}

// ignores reports whether an advertisement is one of the old Active router that has
// not yielded yet. Its resignation ends the wait.
func (r *Router) ignores(now time.Time, a Heard) bool {
	if a.Priority == resign || !now.Before(r.taking) {
		r.taking = time.Time{}
		return false
	}
	return true
}

func (r *Router) yield(now time.Time, reason string, stay bool) []Action {
	r.aside = r.aside || !stay
	if r.status.State != Active {
		return nil
	}
	r.again = nil
	r.heard = r.cfg.Interval
	r.wait(now, r.down())
	r.because = fmt.Sprintf("no other box heard for %s", seconds(r.down()))
	r.become(now, Backup, reason)
	return []Action{Resign, Release}
}
