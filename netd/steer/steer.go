// Package steer decides by which uplinks a tunnel's datagrams leave. It is pure.
//
// The hub is a stock WireGuard: it answers to where the first copy of the last
// datagram came from. So a copy by every uplink makes the hub's answers leave a
// dead uplink with the next datagram, undetected. What copies can't cure is an
// uplink that still carries our datagrams there but none back: its copies go on
// coming first and call the answers into the void. Such an uplink is recognised by
// the silence of a hub that was asked, and gets no datagrams for a while.
package steer

import (
	"slices"
	"time"

	"clinicgate/netd/config"
)

// SmallSize is how large a datagram may be, in bytes, of which a copy goes by
// metered uplinks: a vital sign or an order, not an image.
const SmallSize = 512

// Way says by which uplinks a tunnel's datagrams leave, by index.
type Way struct {
	All   []int // a copy by each, the preferred first
	Small []int // and of small datagrams by each of these as well

	Shares []Share // where there are some, each datagram is dealt to one of these instead
}

// Equal reports whether both lead by the same uplinks, in whatever shares.
func (w Way) Equal(o Way) bool { return slices.Equal(w.All, o.All) && slices.Equal(w.Small, o.Small) }

// Uplink is what is known of one uplink.
type Uplink struct {
	Usable  bool
	Metered bool
	Loss    float64   // percent of the probes through it
	Share   Share     // what it can take of what is dealt out
	Heard   time.Time // when the hub was last heard through it; zero: never
}

// How silence is judged.
const (
	minPatience = 60 * time.Millisecond // for an answer of the hub
	maxPatience = time.Second           // ... however slow it was
	misses      = 2                     // so many questions must be unanswered
	firstHold   = 2 * time.Second       // of an uplink that was shunned; doubles
	longestHold = 2 * time.Minute
	forgiven    = time.Minute // without silence: the next hold is the first again
)

// Machine follows one tunnel.
type Machine struct {
	policy string
	asked  []time.Time // unanswered questions, oldest first
	rtt    time.Duration
	shun   []shun
	way    Way
	thrice bool // small datagrams go so often by each of way.All
}

// shun keeps an uplink out until a time, and remembers for how long it was.
type shun struct {
	until time.Time
	hold  time.Duration
}

// New returns a machine for a tunnel with one of config's policies.
func New(policy string, uplinks int) *Machine {
	return &Machine{policy: policy, shun: make([]shun, uplinks)}
}

// Asked tells that the hub was asked for an echo.
func (m *Machine) Asked(now time.Time) {
	if len(m.asked) == 16 { // the newest say nothing that the oldest don't
		return
	}
	m.asked = append(m.asked, now)
}

// Answered tells that an echo came back, and how long the tunnel takes.
func (m *Machine) Answered(rtt time.Duration) { m.asked, m.rtt = nil, rtt }

// Way returns the way to take from now on. active is the uplink that the box
// prefers, -1 when there is none; it is taken even when no uplink is usable.
func (m *Machine) Way(active int, ups []Uplink, now time.Time) Way {
	m.judge(ups, now)
	var way Way
	for _, i := range order(active, ups) {
		switch {
		case now.Before(m.shun[i].until):
		case len(way.All) == 0:
			way.All = append(way.All, i)
		case m.policy == config.Best, m.policy == config.Aggregate && ups[i].Metered:
		case ups[i].Metered:
			way.Small = append(way.Small, i)
		default:
			way.All = append(way.All, i)
		}
	}
	if m.thrice = m.policy == config.Redundant && m.lossy(way.All, ups); m.thrice {
		way.Small = append(append(way.Small, way.All...), way.All...)
	}
	if len(way.All) == 0 && active >= 0 {
		way.All = []int{active}
	}
	if m.policy == config.Aggregate && len(way.All) > 1 {
		for _, i := range way.All {
			way.Shares = append(way.Shares, ups[i].Share)
		}
	}
	if !way.Equal(m.way) {
		m.asked = nil // what was asked by another way
	}
	m.way = way
	return way
}

// Where all uplinks lose so much, in percent, small datagrams go thrice by each: of
// a million by two that lose a tenth one is missing, not ten thousand. It takes a
// good deal less to end it than to begin it.
const (
	lossyFrom = 4 // one of twenty-four
	lossyTo   = 1
)

func (m *Machine) lossy(all []int, ups []Uplink) bool {
	limit := float64(lossyFrom)
	if m.thrice {
		limit = lossyTo
	}
	return len(all) > 0 && !slices.ContainsFunc(all, func(i int) bool { return ups[i].Loss < limit })
}

// order lists the usable uplinks, the active one first.
func order(active int, ups []Uplink) []int {
	var all []int
	for i, u := range ups {
		if u.Usable && i != active {
			all = append(all, i)
		}
	}
	if active >= 0 && ups[active].Usable {
		all = slices.Insert(all, 0, active)
	}
	return all
}

// judge shuns the uplink that the hub answered by last when it fell silent, if
// there is another to try. Should that be silent as well, the shunned ones are
// tried again: perhaps the hub is to blame and not the uplinks.
func (m *Machine) judge(ups []Uplink, now time.Time) {
	if !m.silent(ups, now) {
		return
	}
	m.asked = nil
	others := 0
	last := -1
	for i, u := range ups {
		if !u.Usable || now.Before(m.shun[i].until) {
			continue
		}
		others++
		if last < 0 || u.Heard.After(ups[last].Heard) {
			last = i
		}
	}
	if others < 2 {
		for i := range m.shun {
			m.shun[i].until = time.Time{}
		}
		return
	}
	s := &m.shun[last]
	if s.hold == 0 || now.Sub(s.until) > forgiven {
		s.hold = firstHold
	} else {
		s.hold = min(2*s.hold, longestHold)
	}
	s.until = now.Add(s.hold)
}

// silent reports whether enough questions are unanswered for longer than an answer
// takes, and nothing else was heard of the hub since the first of them.
func (m *Machine) silent(ups []Uplink, now time.Time) bool {
	if len(m.asked) < misses || now.Sub(m.asked[misses-1]) < min(max(3*m.rtt, minPatience), maxPatience) {
		return false
	}
	return !slices.ContainsFunc(ups, func(u Uplink) bool { return u.Heard.After(m.asked[0]) })
}
