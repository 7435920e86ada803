// Package turn decides whether a box may restart into a release now: not while
// someone works with a record, not with a stat item still here, not outside the
// clinic's hours for it, and not before it is this box's turn in its ring.
package turn

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"clinicgate/firmware/release"
	"clinicgate/firmware/wire"
)

// Window is a daily span of the clinic's local time in which the box may restart.
// One that ends before it begins goes over midnight.
type Window struct {
	From, To time.Duration // since midnight
}

// Facts are what the box knows of itself. A nil file could not be read.
type Facts struct {
	Code    string // of the clinic
	Release string // that runs
	Init    *wire.Init
	Sync    *wire.Sync
	Card    *wire.Card
	Pair    *wire.Failover
	Windows []Window // none: at any time
	Now     time.Time
}

// Wanted says why a release is not even fetched; "" when it is wanted.
func (f Facts) Wanted(r release.Release, ring release.Ring) string {
	switch {
	case f.Init == nil || f.Init.Slots == nil:
		return "init does not say what the box can start from"
	case f.Init.Slots.NoUpdates != "":
		return "this box can't be updated: " + f.Init.Slots.NoUpdates
	case f.Init.Slots.Trial != nil:
		return "release " + f.Init.Slots.Trial.Version + " is on trial"
	case r.Version == f.Release:
		return "release " + r.Version + " runs"
	case ring.Halted != "":
		return "the rollout of " + r.Version + " is halted: " + ring.Halted
	case Share(f.Code, r.Version) >= ring.Percent:
		return fmt.Sprintf("release %s goes to %d %% of the ring, this box comes later", r.Version, ring.Percent)
	}
	for _, refused := range f.Init.Slots.Refused {
		if refused.Version == r.Version {
			return "release " + r.Version + " failed here: it " + refused.Why
		}
	}
	return ""
}

// Restart says why the box can't restart now; "" when it can. What can't be read
// counts against it: a program that hangs may be in the middle of something.
func (f Facts) Restart() string {
	switch {
	case !f.inWindow():
		return "outside the hours for updates"
	case f.Card == nil:
		return "cardauth does not say who works here"
	case len(f.Card.Sessions) > 0:
		return fmt.Sprintf("%d cards are in use", len(f.Card.Sessions))
	case f.Sync == nil:
		return "syncd does not say what is to be sent"
	}
	for _, l := range f.Sync.Lanes {
		if l.Name == "stat" && l.Waiting > 0 {
			return fmt.Sprintf("%d urgent items are not sent yet", l.Waiting)
		}
	}
	return f.pair()
}

// pair keeps a master with a living backup from restarting: the other box goes
// first, or takes over by a handover.
func (f Facts) pair() string {
	if f.Pair == nil {
		return ""
	}
	for _, g := range f.Pair.Groups {
		if g.Role == wire.RoleMaster && g.Peer != "" && f.Now.Sub(g.PeerSeen) < time.Minute {
			return "this box is master: the other is updated first, then hands over"
		}
	}
	return ""
}

func (f Facts) inWindow() bool {
	if len(f.Windows) == 0 {
		return true
	}
	y, m, d := f.Now.Date()
	at := f.Now.Sub(time.Date(y, m, d, 0, 0, 0, 0, f.Now.Location()))
	for _, w := range f.Windows {
		if w.From <= w.To && at >= w.From && at < w.To || w.From > w.To && (at >= w.From || at < w.To) {
			return true
		}
	}
	return false
}

// Share is a box's place in a ring for one release, 0 to 99. It differs from
// release to release, so that not always the same clinics go first.
func Share(code, version string) int {
	sum := sha256.Sum256([]byte(code + "\x00" + version))
	return int(binary.BigEndian.Uint64(sum[:]) % 100)
}
