// Package trust decides what a box believes when its two heartbeats, the clinic's
// network and the cable between the boxes, do not say the same. The cable's word is
// authenticated and the network's is not; but only the network tells who serves the
// clinic. It guarantees: with the cable alive, nobody but the pair's other box can
// make this one yield, and of two boxes that can't hear each other on the network
// exactly one stays master, one that reaches the clinic's machines if there is one.
//
//	network  cable   what holds
//	heard    alive   an advertisement counts when the cable confirms it
//	heard    lost    an advertisement counts as in any VRRP, if it comes from where the
//	                 other box's came: its address, and its hardware address
//	silent   alive   the other box stays master while it reaches the clinic's machines
//	silent   lost    this box claims, if it reaches them or has never known any
package trust

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Cable is how the cable between the boxes is.
type Cable int

// States of the cable.
const (
	None Cable = iota // not configured: there is only VRRP
	Lost              // nothing heard lately
	Alive
)

// Other is what the other box last said over the cable about one group.
type Other struct {
	Master   bool
	Priority uint8
	Self     netip.Addr // where its advertisements come from
	Heard    time.Time  // a machine of the clinic, by our clock; zero: none
	MACs     [][6]byte  // that its confirmed advertisements came from
}

// Advert is an advertisement that passed every check of the RFC.
type Advert struct {
	From     netip.Addr
	Priority uint8
	MAC      [6]byte // the frame's
}

// resign is the priority of a router that steps down.
const resign = 0

// Refuse says why an advertisement is not believed, or not yet: the cable may be a
// moment behind. Empty: it counts.
func Refuse(c Cable, o Other, a Advert) string {
	switch {
	case c == Lost && o.Self.IsValid() && a.From != o.Self:
		return fmt.Sprintf("the other box was %v before the cable was lost", o.Self)
	case c == Lost && len(o.MACs) > 0 && !slices.Contains(o.MACs, a.MAC):
		return "the other box's came from another machine before the cable was lost"
	case c != Alive:
		return ""
	case a.Priority == resign && !o.Master && !o.Self.IsValid():
		return "" // it says both ways that it is gone
	case !o.Self.IsValid():
		return "the other box says over the cable that it takes no part"
	case a.From != o.Self:
		return fmt.Sprintf("the other box is %v", o.Self)
	case a.Priority == resign && o.Master:
		return "the other box says over the cable that it is still master"
	case a.Priority == resign:
		return ""
	case !o.Master:
		return "the other box says over the cable that it is not master"
	case a.Priority != o.Priority:
		return fmt.Sprintf("the other box says over the cable that it has priority %d", o.Priority)
	}
	return ""
}

// Box is what this box knows of itself at one moment.
type Box struct {
	Cable Cable
	Other Other
	Beat  time.Duration // between the other box's words
	Known int           // machines of the clinic that were heard lately
	Heard time.Time     // one of them, or the other box on the network
	// Doubt is since when the master's advertisements are missing; zero: they are not.
	Doubt time.Time
	// Alone: there is no pair, nobody to leave the addresses to.
	Alone bool
	// Better: the master is heard, and this box is to replace it.
	Better bool

	Priority uint8 // our own
	Self     netip.Addr
}

// fresh is how old a sign of life may be: known machines are asked every second.
const fresh = 2500 * time.Millisecond

// Bar says why this box must not become master though it hears none; empty: it may.
func Bar(now time.Time, b Box) string {
	since := now.Add(-fresh)
	if b.Doubt.After(since) {
		since = b.Doubt
	}
	switch {
	case b.Alone:
		return ""
	case b.Known > 0 && b.Heard.Before(since):
		return fmt.Sprintf("can't reach the clinic's network: of %s heard lately none answers", machines(b.Known))
	case b.Cable != Alive || !b.Other.Master || b.Better:
		return ""
	case b.Known == 0:
		return fmt.Sprintf("%v is master by the cable between the boxes; its advertisements don't arrive here", b.Other.Self)
	case !b.Other.Heard.Before(since):
		return fmt.Sprintf("%v is master by the cable between the boxes and reaches the clinic's machines; its advertisements don't arrive here", b.Other.Self)
	}
	return ""
}

// settle is how long two masters look around before one of them gives way; and at
// least until the other's word is one that it gave after it had heard of both: a box
// that was just relieved says so with its next beats, and those may be late.
const (
	settle      = 50 * time.Millisecond
	settleBeats = 3
)

// cutOff is how long a master asks in vain before it takes itself for cut off.
const cutOff = 3 * time.Second

// Cede says why this box, being master, must give way to the other one; empty: it
// stays. both is since when the two are masters; zero: they are not.
func Cede(now, both time.Time, b Box) string {
	switch {
	case b.Cable != Alive:
		return "" // nobody proved that somebody else serves
	case b.Other.Master && !both.IsZero() && now.Sub(both) >= max(settle, settleBeats*b.Beat):
		return b.rival(both)
	case b.Known > 0 && now.Sub(b.Heard) > cutOff && now.Sub(b.Other.Heard) < fresh:
		return fmt.Sprintf("can't reach the clinic's network, and %v does: of %s heard lately none answers here", b.Other.Self, machines(b.Known))
	}
	return ""
}

// rival decides between two masters.
func (b Box) rival(both time.Time) string {
	mine, theirs := b.Heard.After(both), b.Other.Heard.After(both)
	switch {
	case theirs && !mine:
		return fmt.Sprintf("%v is master too and reaches the clinic's machines; this box does not", b.Other.Self)
	case mine && !theirs:
		return ""
	case b.Other.Priority > b.Priority || b.Other.Priority == b.Priority && b.Self.Less(b.Other.Self):
		return fmt.Sprintf("%v is master too, by the cable between the boxes, with priority %d against %d", b.Other.Self, b.Other.Priority, b.Priority)
	}
	return ""
}

func machines(n int) string {
	if n == 1 {
		return "the 1 machine"
	}
	return fmt.Sprintf("%d machines", n)
}
