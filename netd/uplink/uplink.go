// Package uplink judges one internet provider from what is seen of it: the link,
// the address and which probes came back. It decides when the provider is left
// and when it is trusted again, and says why in words. It is pure: what happened
// and when are arguments, and there is no clock, socket or goroutine inside.
package uplink

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"clinicgate/firmware/wire"
)

// Config says how many probes decide.
type Config struct {
	Every time.Duration // between probes
	Lost  int           // so many in a row unanswered: down
	Back  int           // so many in a row answered: up again
}

// Status is the verdict. State is one of wire's uplink states.
type Status struct {
	State  string
	Reason string // one sentence, set when the state was entered
	Since  time.Time
	Failed bool          // down because probes were lost, not for want of the first answer
	Stall  bool          // left in haste: it may be back in a moment
	Portal string        // whose sign-in page answers; empty: none
	RTT    time.Duration // smoothed (RFC 6298's 1/8); 0 while unknown
	Last   time.Duration // the newest round trip as it was; 0 while unknown
	Loss   float64       // percent of the settled probes in the window
}

// Usable reports whether new flows may take an uplink in this state.
func Usable(state string) bool { return state == wire.UplinkUp || state == wire.UplinkDegraded }

// Bounds of the judgement that no site has needed to change.
const (
	window       = 20 // probes remembered
	enough       = 10 // settled probes before loss means anything
	degradedFrom = 20 // percent lost: degraded
	degradedTo   = 5  // percent lost: up again
	minPatience  = 100 * time.Millisecond
)

// A probe is one round: an echo to each target; the first answer answers it.
type probe struct {
	seq      uint64
	sent     time.Time
	answered bool
}

// Machine follows one uplink:
//
//	           link            address          answer
//	nolink ----------> noaddress ----> down ------------> up <---> degraded
//	   ^                                ^                  |   loss    |
//	   |                                +------------------+-----------+
//	   +--- link lost, from any state       Lost unanswered, or doubt
//
// A sign-in page makes it captive from any state with an address, and its end down.
// The first answer after the link or address came is enough; after a loss it
// takes Back answers in a row, so that a dying link does not flap.
type Machine struct {
	cfg     Config
	st      Status
	link    bool
	address bool
	failed  bool          // went down by loss since the address came
	stalled bool          // ... in haste
	probes  []probe       // oldest first, at most window
	spread  time.Duration // of round trips (RFC 6298's RTTVAR)
	doubt   doubt
	damp    damping

	patience time.Duration // least time before a doubt, as the line stalls
	patient  time.Time     // when that was learned
	portal   string        // whose sign-in page answers; empty: none
	names    string        // why names don't resolve; empty: they do, or nobody asked
}

// New returns a machine that has seen nothing yet.
func New(cfg Config, now time.Time) *Machine {
	return &Machine{cfg: cfg, st: Status{State: wire.UplinkNoLink, Reason: "not looked at yet", Since: now}}
}

// Status returns the verdict.
func (m *Machine) Status() Status {
	st := m.st
	st.Failed, st.Stall, st.Portal = m.failed, m.stalled, m.portal
	lost, settled := m.loss()
	if settled > 0 {
		st.Loss = float64(lost) * 100 / float64(settled)
	}
	return st
}

// Link tells whether the port has a carrier. why says why not.
func (m *Machine) Link(up bool, why string, now time.Time) {
	if up == m.link && up {
		return
	}
	m.link = up
	if Usable(m.st.State) {
		m.fell(now)
	}
	m.restart(now, why)
}

// Address tells whether the uplink has an address. why says why not. A new
// address is a new start: call it again with yes when the address changed.
func (m *Machine) Address(yes bool, why string, now time.Time) {
	m.address = yes
	m.restart(now, why)
}

// restart forgets the probes, which went another way, and enters the state that
// link and address allow.
func (m *Machine) restart(now time.Time, why string) {
	m.probes, m.failed, m.st.RTT, m.st.Last, m.spread = nil, false, 0, 0, 0
	m.portal, m.names = "", ""
	m.endStall()
	switch {
	case !m.link:
		if m.st.State != wire.UplinkNoLink || why != "" {
			m.enter(wire.UplinkNoLink, cmp.Or(why, "no carrier"), now)
		}
	case !m.address:
		m.enter(wire.UplinkNoAddress, cmp.Or(why, "waiting for an address"), now)
	default:
		m.enter(wire.UplinkDown, "waiting for the first answer to a probe", now)
	}
}

// enter keeps Since while only the words change.
func (m *Machine) enter(state, reason string, now time.Time) {
	if state != m.st.State {
		m.st.State, m.st.Since = state, now
	}
	m.st.Reason = reason
}

// Pace tells how often probes are sent from now on.
func (m *Machine) Pace(every time.Duration) { m.cfg.Every = every }

// Sent tells that round seq of probes left.
func (m *Machine) Sent(seq uint64, now time.Time) {
	m.probes = append(m.probes, probe{seq: seq, sent: now})
	if extra := len(m.probes) - window; extra > 0 {
		m.probes = append(m.probes[:0], m.probes[extra:]...)
	}
	m.Tick(now)
}

// Answered tells that the first answer to round seq arrived. An answer that is
// late still counts: a satellite is slow, not dead.
func (m *Machine) Answered(seq uint64, now time.Time) {
	for _, list := range [][]probe{m.probes, m.doubt.asked} {
		for i := range list {
			p := &list[i]
			if p.seq == seq && !p.answered {
				p.answered = true
				m.smooth(now.Sub(p.sent))
				if !p.sent.Before(m.doubt.since) {
					m.refute(now)
				}
			}
		}
	}
	m.Tick(now)
}

// smooth takes in one round trip. While the uplink is down the last one stands
// alone: what waited for a neighbour or a modem to wake says nothing about later.
func (m *Machine) smooth(rtt time.Duration) {
	m.st.Last = rtt
	if m.st.RTT == 0 || m.st.State == wire.UplinkDown {
		m.st.RTT, m.spread = rtt, rtt/2
		return
	}
	m.spread += ((rtt - m.st.RTT).Abs() - m.spread) / 4
	m.st.RTT += (rtt - m.st.RTT) / 8
}

// Tick lets time pass. Call it several times per probe interval.
func (m *Machine) Tick(now time.Time) {
	switch m.st.State {
	case wire.UplinkUp, wire.UplinkDegraded:
		m.judgeUsable(now)
	case wire.UplinkDown:
		m.judgeDown(now)
	}
}

func (m *Machine) judgeUsable(now time.Time) {
	if m.judgeDoubt(now) {
		return
	}
	if n := m.silent(now); n >= m.cfg.Lost {
		m.failed = true
		m.fell(now)
		m.probes = m.probes[len(m.probes)-n:] // what was answered before says nothing about coming back
		m.enter(wire.UplinkDown, fmt.Sprintf("%d probes in a row unanswered", n), now)
		return
	}
	if m.judgeNames(now) {
		return
	}
	m.damp.now(now)
	if now.Sub(m.patient) >= forgiveness {
		m.patience = 0
	}
	lost, settled := m.loss()
	if settled < enough || m.damp.held {
		return
	}
	percent := lost * 100 / settled
	switch {
	case m.st.State == wire.UplinkUp && percent >= degradedFrom:
		m.enter(wire.UplinkDegraded, fmt.Sprintf("%d of %d probes lost", lost, settled), now)
	case m.st.State == wire.UplinkDegraded && percent <= degradedTo:
		m.enter(wire.UplinkUp, fmt.Sprintf("%d of %d probes answered", settled-lost, settled), now)
	}
}

func (m *Machine) judgeDown(now time.Time) {
	if m.stalled && m.judgeStall(now) || m.st.State != wire.UplinkDown {
		return
	}
	n := m.inRow(now)
	switch {
	case !m.failed && n > 0:
		m.probes = m.probes[len(m.probes)-n:] // those of before it answered are not held against it
		m.back("first probe answered", now)
	case n >= m.cfg.Back:
		m.probes = m.probes[len(m.probes)-n:] // nor is the loss it came from
		m.failed = false
		m.back(fmt.Sprintf("%d probes in a row answered", n), now)
	case !m.failed && m.silent(now) >= m.cfg.Lost:
		m.enter(wire.UplinkDown, "no probe answered since the address came", now)
	}
}

// Portal tells whose sign-in page answers what is asked of the internet; "" when the
// internet answers itself.
func (m *Machine) Portal(host string, now time.Time) {
	if host == m.portal || !m.link || !m.address {
		return
	}
	m.portal = host
	if host != "" {
		m.probes, m.failed = nil, false
		m.endStall()
		m.enter(wire.UplinkCaptive, "a sign-in page of "+host+" answers instead of the internet", now)
		return
	}
	m.restart(now, "")
}

// Names tells why names don't resolve through the uplink; "" when they do.
func (m *Machine) Names(why string, now time.Time) {
	m.names = why
	m.Tick(now)
}

// judgeNames keeps an uplink degraded whose names don't resolve.
func (m *Machine) judgeNames(now time.Time) bool {
	const prefix = "names don't resolve: "
	told := strings.HasPrefix(m.st.Reason, prefix)
	switch {
	case m.names != "" && !told:
		m.enter(wire.UplinkDegraded, prefix+m.names, now)
	case m.names == "" && told:
		m.back("names resolve again", now)
	}
	return m.names != ""
}

// Missing reports whether the last probe whose answer is due has none.
func (m *Machine) Missing(now time.Time) bool { return m.silent(now) > 0 }

// silent counts the newest probes that are unanswered for longer than an answer
// takes on this uplink.
func (m *Machine) silent(now time.Time) int {
	patience := min(max(3*m.st.RTT, minPatience), m.giveUp())
	n := 0
	for i := len(m.probes) - 1; i >= 0 && !m.probes[i].answered; i-- {
		if now.Sub(m.probes[i].sent) >= patience {
			n++
		}
	}
	return n
}

// inRow counts the newest answered probes without a gap; those still on their
// way are passed over.
func (m *Machine) inRow(now time.Time) int {
	n := 0
	for i := len(m.probes) - 1; i >= 0; i-- {
		switch p := m.probes[i]; {
		case p.answered:
			n++
		case n > 0 || now.Sub(p.sent) >= m.giveUp():
			return n
		}
	}
	return n
}

// giveUp is when an answer is no longer expected.
func (m *Machine) giveUp() time.Duration { return time.Duration(m.cfg.Lost) * m.cfg.Every }

// loss counts lost among settled probes: answered ones, and unanswered ones that
// a later answer has overtaken or that are too many to be on their way.
func (m *Machine) loss() (lost, settled int) {
	overtaken := false
	for i := len(m.probes) - 1; i >= 0; i-- {
		switch {
		case m.probes[i].answered:
			settled++
			overtaken = true
		case overtaken || len(m.probes)-i > m.cfg.Lost:
			settled++
			lost++
		}
	}
	return lost, settled
}
