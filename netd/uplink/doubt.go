package uplink

import (
	"fmt"
	"time"

	"clinicgate/firmware/wire"
)

// Steady probes are seldom, so that they cost little; an uplink that dies would be
// noticed only after several of them. But people notice at once, and their packets
// are probes as well: when something leaves by an uplink and nothing at all comes
// back for longer than an answer takes, it is doubted, and asked a few times in
// quick succession. Only when that is unanswered too is it left.
//
// Being left in haste costs little: new flows go elsewhere. The connections through
// it are given up a second later, as a radio link may stall for that long.

// Bounds of doubt.
const (
	burst      = 4 // quick probes that must all be unanswered
	quickGap   = 10 * time.Millisecond
	minQuiet   = 40 * time.Millisecond
	maxQuiet   = time.Second
	unknownRTT = 200 * time.Millisecond

	// A doubt that a quick probe refuted, while nothing else came back, was about
	// something that nobody answers, such as a log sent by UDP. It is asked about
	// more and more seldom: a line with nothing else on it carries two probes a minute
	// more than otherwise. Where traffic comes and goes it is at most four a second.
	firstHold   = 250 * time.Millisecond
	longestHold = 30 * time.Second

	stall     = time.Second // as long as that may be all that is wrong
	stallGap  = 100 * time.Millisecond
	stallBack = 3 // so many in a row answered: it was a stall

	// A line that stalls is not doubted as soon the next time.
	maxPatience = 320 * time.Millisecond
	forgiveness = 5 * time.Minute // without a stall: it is again
)

// doubt is what speaks against an uplink that is thought to work.
type doubt struct {
	said  int       // packets that left since the last that came in
	since time.Time // the first of them
	asked []probe   // quick probes about it, and those of the stall it became
	hold  time.Duration
	next  time.Time // no doubt before
}

// Said tells that n packets of others than the probes left.
func (m *Machine) Said(n int, now time.Time) {
	if n > 0 && m.doubt.said == 0 {
		m.doubt.since = now
	}
	m.doubt.said += n
}

// Heard tells that something came in that is no answer to a probe.
func (m *Machine) Heard() {
	m.doubt.said, m.doubt.hold = 0, 0
	if !m.stalled {
		m.doubt.asked = nil
	}
}

// Asleep tells that this program was not running for a while: silence proves nothing.
func (m *Machine) Asleep(now time.Time) {
	if m.doubt.said > 0 {
		m.doubt.since = now
	}
	if !m.stalled {
		m.doubt.asked = nil
	}
}

// Ask reports whether a quick probe is due now. The caller sends it and says so.
func (m *Machine) Ask(now time.Time) bool {
	d := &m.doubt
	var last time.Time
	if n := len(d.asked); n > 0 {
		last = d.asked[n-1].sent
	}
	switch {
	case m.stalled:
		return now.Sub(last) >= stallGap
	case !Usable(m.st.State) || d.said == 0 || len(d.asked) == burst || len(d.asked) == 0 && now.Before(d.next):
		return false
	}
	return now.Sub(d.since) >= m.quiet() && now.Sub(last) >= quickGap
}

// Asked tells that quick probe seq left.
func (m *Machine) Asked(seq uint64, now time.Time) {
	m.doubt.asked = append(m.doubt.asked, probe{seq: seq, sent: now})
	if len(m.doubt.asked) == 1 && !m.stalled {
		m.doubt.next = now.Add(firstHold)
	}
}

// quiet is how long nothing may come back before that is strange.
func (m *Machine) quiet() time.Duration {
	rtt := m.st.RTT
	if rtt == 0 {
		rtt = unknownRTT
	}
	return min(max(rtt+4*m.spread, minQuiet, m.patience), maxQuiet)
}

// refute ends a doubt: a probe came back.
func (m *Machine) refute(now time.Time) {
	d := &m.doubt
	if m.stalled || d.said == 0 {
		return
	}
	if len(d.asked) > 0 {
		d.hold = min(max(2*d.hold, firstHold), longestHold)
		d.next = now.Add(d.hold)
	}
	d.said, d.asked = 0, nil
}

// judgeDoubt leaves the uplink when its quick probes are all overdue.
func (m *Machine) judgeDoubt(now time.Time) bool {
	d := &m.doubt
	if len(d.asked) < burst || now.Sub(d.asked[burst-1].sent) < m.quiet() {
		return false
	}
	m.stalled, m.failed = true, true
	m.enter(wire.UplinkDown, fmt.Sprintf("silent for %d ms: %d packets and %d quick probes unanswered",
		now.Sub(d.since).Milliseconds(), d.said, burst), now)
	return true
}

// judgeStall follows an uplink that was left in haste, until it is known whether it
// only stalled. It reports whether that is still open.
func (m *Machine) judgeStall(now time.Time) bool {
	answered := 0
	for i := len(m.doubt.asked) - 1; i >= burst && m.doubt.asked[i].answered; i-- {
		answered++
	}
	switch lasted := now.Sub(m.st.Since); {
	case answered >= stallBack:
		m.probes, m.failed = nil, false
		m.endStall()
		m.patience, m.patient = min(max(2*m.patience, 2*minQuiet), maxPatience), now
		m.punish(penaltyStall, now)
		m.back(fmt.Sprintf("it had stalled for %d ms", lasted.Milliseconds()), now)
	case lasted >= stall:
		m.probes = nil
		m.endStall()
		m.fell(now)
	default:
		return true
	}
	return false
}

func (m *Machine) endStall() { m.stalled, m.doubt = false, doubt{} }
