// Package turn says whether it is this box's turn to run the site's tunnels: a pair
// has one identity at the hub, and two boxes that both used it would take it from
// each other with every packet. It guarantees that a box of a pair which is not
// known to be master says no, and that a call that the hub would refuse for its time
// (WireGuard's TAI64N must grow, whitepaper §5.1) is held back or told about.
package turn

import (
	"fmt"
	"time"

	"clinicgate/firmware/wire"
)

// Known is what there is to judge by.
type Known struct {
	Pair  bool           // the site has [pair]
	Cable bool           // ... and a cable to another box, so there is one
	Said  *wire.Failover // failoverd's last word; nil: none yet
	Lives bool           // the failoverd that said it
	Own   time.Time      // of this box's last call; zero: none
}

// Turn is the verdict; its zero value: it is this box's turn.
type Turn struct {
	Rest bool
	Late bool   // this box's clock is behind the pair's last call
	Why  string // of Rest or Late
}

// Judge says whose turn it is.
func Judge(k Known, now time.Time) Turn {
	switch {
	case !k.Pair:
		return Turn{}
	case k.Said == nil || k.Said.Tunnel == nil:
		if !k.Cable { // nobody says that there is another box, and failoverd speaks early
			return Turn{}
		}
		return Turn{Rest: true, Why: "failoverd has not said yet whether this box is master"}
	case k.Cable && !k.Lives:
		return Turn{Rest: true, Why: "failoverd is dead: the other box may be master"}
	case !k.Said.Tunnel.Run:
		return Turn{Rest: true, Why: "the other box runs it"}
	}
	// A floor that is no later than our own last call is that call: the session it made
	// is ours.
	if floor := k.Said.Tunnel.Floor; floor.After(k.Own) && !stamp(now).After(stamp(floor)) {
		behind := floor.Sub(now)
		return Turn{Rest: behind < worthWaiting, Late: true, Why: fmt.Sprintf(
			"this box's clock is %s behind the time of the pair's last call: the hub does not listen", behind.Round(time.Second))}
	}
	return Turn{}
}

// worthWaiting is how long a call is held back for the clock to come up to the last
// one's time: a refused call costs the hub's five seconds. Further behind, calls go
// out all the same: a hub that was restarted listens, and any other one loses nothing.
const worthWaiting = 2 * time.Second

// grain is what wireguard-go and the kernel leave of a handshake's time: the lower
// 24 bits of the nanoseconds are cut off.
const grain = 1 << 24

// stamp is the time as a handshake carries it.
func stamp(t time.Time) time.Time {
	return time.Unix(t.Unix(), int64(t.Nanosecond())&^(grain-1))
}
