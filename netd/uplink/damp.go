package uplink

import (
	"fmt"
	"math"
	"time"

	"clinicgate/firmware/wire"
)

// An uplink that comes and goes is worse than one that is slow: each time it takes
// connections along. As RFC 2439 does with routes, each failure adds to a penalty
// that decays with time. Above a limit the uplink is degraded when it is back, so
// that any other is preferred, and never worse: it may be all there is.
const (
	penaltyEach  = 1000
	penaltyStall = 250
	penaltyLimit = 2500 // three failures within about a minute
	penaltyReuse = 800
	penaltyMost  = 4000 // so that nothing is held for longer than 2.3 half-lives
	halfLife     = time.Minute
)

// damping is the penalty at a time.
type damping struct {
	penalty float64
	at      time.Time
	fails   int // since the penalty was last forgotten
	held    bool
}

// now decays the penalty.
func (d *damping) now(now time.Time) float64 {
	if passed := now.Sub(d.at); passed > 0 {
		d.penalty *= math.Exp2(-passed.Seconds() / halfLife.Seconds())
		d.at = now
	}
	if d.penalty < penaltyReuse {
		d.held = false
		if d.penalty < penaltyReuse/2 {
			d.fails = 0
		}
	}
	return d.penalty
}

// fell adds a failure of an uplink that was usable.
func (m *Machine) fell(now time.Time) { m.punish(penaltyEach, now) }

func (m *Machine) punish(penalty float64, now time.Time) {
	d := &m.damp
	d.penalty = min(d.now(now)+penalty, penaltyMost)
	d.at, d.fails = now, d.fails+1
	d.held = d.held || d.penalty > penaltyLimit
}

// back makes the uplink usable again.
func (m *Machine) back(why string, now time.Time) {
	if penalty := m.damp.now(now); m.damp.held {
		rest := time.Duration(math.Log2(penalty/penaltyReuse) * float64(halfLife)).Round(time.Second)
		m.enter(wire.UplinkDegraded, fmt.Sprintf("failed %d times lately, not relied on for another %v", m.damp.fails, rest), now)
		return
	}
	m.enter(wire.UplinkUp, why, now)
}
