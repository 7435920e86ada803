// Package allowance decides how much of the clinic's up-link uploads may take. It is
// pure. Its one guarantee: what is urgent is never slowed by it, and what is not never
// takes more of a line whose size is known than the site allows, nor money's worth of
// a metered one while a free one is expected back.
package allowance

import (
	"slices"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/syncd/lane"
)

// A Way is the up-link by which uploads leave.
type Way struct {
	Up      int64  // bit/s it carries; 0: unknown
	Dear    string // the uplink that costs by the byte or is a last resort; empty: none does
	Cheaper bool   // there is another uplink, which is not in use now
}

// WayOf reads what netd says; nil: nothing is known. Uploads leave through a tunnel,
// by the uplinks that it sends by, or by the one that is active.
func WayOf(n *wire.Net) (w Way) {
	if n == nil {
		return w
	}
	used, known := usedBy(n), true
	for _, u := range n.Uplinks {
		dear := u.Metered || u.Role == lastResort
		switch {
		case !used[u.Name]:
			w.Cheaper = w.Cheaper || !dear
			continue
		case dear:
			w.Dear = u.Name
		}
		known = known && u.LineUp > 0
		w.Up += u.LineUp
	}
	if !known {
		w.Up = 0
	}
	return w
}

// lastResort is the role netd gives an uplink whose month is used up, or that the
// site file says it of.
const lastResort = "last-resort"

// usedBy names the uplinks in use.
func usedBy(n *wire.Net) map[string]bool {
	used := map[string]bool{}
	for _, t := range n.Tunnels {
		if t.State != wire.TunnelUp {
			continue
		}
		for _, p := range t.Paths {
			if p.Sends == wire.PathAll || p.Sends == wire.PathShare {
				used[p.Uplink] = true
			}
		}
		if len(t.Paths) == 0 && t.Via != "" {
			used[t.Via] = true
		}
	}
	if len(used) == 0 && n.Active != "" {
		used[n.Active] = true
	}
	return used
}

// Policy is the site's. The zero value of each means its default.
type Policy struct {
	Bulk    int           // percent of the line that bulk uploads may take (80)
	Routine int           // percent that these and routine ones may take together (95)
	Wait    time.Duration // bulk waits so long for a cheaper uplink (24 h)
}

// WithDefaults fills in what is zero.
func (p Policy) WithDefaults() Policy {
	if p.Bulk == 0 {
		p.Bulk = 80
	}
	if p.Routine == 0 {
		p.Routine = 95
	}
	if p.Wait == 0 {
		p.Wait = 24 * time.Hour
	}
	return p
}

// Waits reports whether an upload accepted at a time must wait for a cheaper uplink.
func (p Policy) Waits(w Way, l lane.Lane, accepted, now time.Time) bool {
	return l == lane.Bulk && w.Dear != "" && w.Cheaper && now.Sub(accepted) < p.Wait
}

// rate is what uploads of a lane, and all below it, may take together, in bit/s; 0:
// anything.
func (p Policy) rate(w Way, l lane.Lane) int64 {
	switch l {
	case lane.Routine:
		return w.Up * int64(p.Routine) / 100
	case lane.Bulk:
		return w.Up * int64(p.Bulk) / 100
	}
	return 0
}

// A Meter holds lanes to their shares. The zero Meter has let nothing pass yet. Not
// safe for concurrent use.
type Meter struct {
	free [lane.Bulk + 1]time.Time // when what passed has left, by lane
}

// levels are the shares that an upload of the lane counts in: its own, and those of
// the lanes above it but stat.
func levels(l lane.Lane) []lane.Lane {
	return slices.DeleteFunc(lane.All(), func(of lane.Lane) bool { return of == lane.Stat || of > l })
}

// Pause is how long the lane's next piece must wait.
func (m *Meter) Pause(l lane.Lane, now time.Time) (pause time.Duration) {
	for _, of := range levels(l) {
		pause = max(pause, m.free[of].Sub(now))
	}
	return pause
}

// Passed counts a piece of n bytes that left now.
func (m *Meter) Passed(p Policy, w Way, l lane.Lane, n int, now time.Time) {
	for _, of := range levels(l) {
		rate := p.rate(w, of)
		if rate == 0 {
			m.free[of] = time.Time{}
			continue
		}
		from := m.free[of]
		if from.Before(now) {
			from = now // what was not used is lost: a burst would fill the line
		}
		m.free[of] = from.Add(time.Duration(int64(n) * 8 * int64(time.Second) / rate))
	}
}

// Reset forgets what passed: the line is another one.
func (m *Meter) Reset() { *m = Meter{} }
