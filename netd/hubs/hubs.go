// Package hubs decides which of a tunnel's hubs carries its traffic: the first in
// the site file's order that lives. It is pure.
//
// Sessions with the other hubs are kept warm, so leaving a dead hub costs no
// handshake, only the time to be sure. Going back has no hurry: the better hub must
// have answered for a while, and for longer each time it fails again soon.
package hubs

import "time"

// How hubs are judged.
const (
	patience    = 500 * time.Millisecond // of a silence that the echoes inside have proven already
	chance      = 2 * time.Second        // for a hub just switched to, before the next one is tried
	askBetter   = 5 * time.Second        // between calls to a hub that is preferred to the one in use
	askOther    = 30 * time.Second       // ... to one that stands by
	firstHold   = 30 * time.Second       // that a better hub must have lived before it is gone back to
	longestHold = 10 * time.Minute
	relapse     = 5 * time.Minute // a hub that fails so soon after the return is held off longer
)

// Hub is what is known of one hub.
type Hub struct {
	Handshake time.Time // the last with it; zero: none
}

// Machine follows one tunnel's hubs.
type Machine struct {
	hubs    []state
	current int
	since   time.Time // when current was switched to
	quiet   time.Time // since when current is silent; zero: it is not
	hold    time.Duration
	back    time.Time // when a better hub was gone back to
}

type state struct {
	asked    time.Time // last call
	answered bool
	lives    time.Time // since when every call was answered; zero: it is not known to live
}

// New returns a machine for so many hubs, at least one.
func New(n int, now time.Time) *Machine {
	return &Machine{hubs: make([]state, n), since: now, hold: firstHold}
}

// Current is the hub in use.
func (m *Machine) Current() int { return m.current }

// Choose returns the hub to use from now on. alive says that the one in use answers,
// able that an uplink is usable, so that silence is the hub's and not the clinic's.
func (m *Machine) Choose(hubs []Hub, alive, able bool, now time.Time) int {
	m.look(hubs, able, now)
	switch {
	case alive:
		m.quiet = time.Time{}
		for i := range m.current {
			if lives := m.hubs[i].lives; !lives.IsZero() && now.Sub(lives) >= m.hold {
				m.back = now
				m.use(i, now)
				break
			}
		}
	case !able:
		m.quiet = time.Time{}
	case m.quiet.IsZero():
		m.quiet = now
	case now.Sub(m.quiet) >= patience && now.Sub(m.since) >= chance && len(m.hubs) > 1:
		m.leave(now)
	}
	return m.current
}

// look notes which of the other hubs answer their calls.
func (m *Machine) look(hubs []Hub, able bool, now time.Time) {
	for i := range m.hubs {
		h := &m.hubs[i]
		switch fresh := hubs[i].Handshake; {
		case i == m.current || !able:
			h.lives = time.Time{}
		case !h.asked.IsZero() && !fresh.Before(h.asked):
			h.answered = true
			if h.lives.IsZero() {
				h.lives = fresh
			}
		}
	}
}

// leave goes to the first of the others that is known to live, or else to the next.
func (m *Machine) leave(now time.Time) {
	if !m.back.IsZero() && now.Sub(m.back) < relapse {
		m.hold = min(2*m.hold, longestHold)
	} else {
		m.hold = firstHold
	}
	m.hubs[m.current].lives = time.Time{}
	for i, h := range m.hubs {
		if i != m.current && !h.lives.IsZero() {
			m.use(i, now)
			return
		}
	}
	m.use((m.current+1)%len(m.hubs), now)
}

func (m *Machine) use(i int, now time.Time) {
	m.current, m.since, m.quiet = i, now, time.Time{}
}

func (m *Machine) every(i int) time.Duration {
	if i < m.current {
		return askBetter
	}
	return askOther
}

// Due returns the hub that is to be called now, to see whether it lives; -1: none.
// A call is a handshake of 240 bytes. A hub that did not answer the last one by now
// is not known to live.
func (m *Machine) Due(now time.Time) int {
	for i := range m.hubs {
		h := &m.hubs[i]
		if i == m.current || now.Sub(h.asked) < m.every(i) {
			continue
		}
		if !h.answered {
			h.lives = time.Time{}
		}
		h.asked, h.answered = now, false
		return i
	}
	return -1
}
