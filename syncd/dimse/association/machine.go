// Package association decides what happens on a DICOM association of which we are
// the acceptor (PS3.8 §9.2). It is pure: PDUs, ends and the time come in, actions
// come out; nothing here reads, writes, waits or looks at a clock. Its guarantee:
// after every input the association is in a state of table 9-10 with a deadline,
// so no peer can hold one open by silence.
//
// Sta3 and Sta8, where the standard waits for our own user, don't show: that
// answer is given in the same step. The requestor's states come with a sender.
package association

import (
	"fmt"
	"slices"
	"time"

	"clinicgate/syncd/dimse/pdu"
)

// State is where an association stands; the names say what it waits for.
//
//	Request ──RQ, accepted──► Data ──release, abort──► Close ──► Over
//	   └──────RQ, rejected; anything else──────────────┘
type State int

// The states, with their names in PS3.8 table 9-10.
const (
	Over    State = iota // Sta1: no connection
	Request              // Sta2: connected, waits for an A-ASSOCIATE-RQ
	Data                 // Sta6: associated
	Close                // Sta13: waits for the peer to close the connection
)

var stateNames = [...]string{"over", "request", "data", "close"}

func (s State) String() string { return stateNames[s] }

// An Action is something the caller does for the machine, in the order given.
type Action interface{ fmt.Stringer }

// Send is the action of writing a PDU to the peer.
type Send struct{ PDU pdu.PDU }

// Deliver hands received fragments to the message layer.
type Deliver struct{ Data *pdu.Data }

// End tells the message layer, once per connection, that nothing more will come:
// a message it has begun will never be complete.
type End struct{ Reason string }

// Released is the Reason of an End in good order.
const Released = "released"

// Disconnect is the action of closing the connection; it is always the last.
type Disconnect struct{}

func (a Send) String() string     { return "send " + a.PDU.String() }
func (a Deliver) String() string  { return "deliver " + a.Data.String() }
func (a End) String() string      { return "end: " + a.Reason }
func (Disconnect) String() string { return "disconnect" }

// Timing bounds how long a peer may be silent.
type Timing struct {
	ARTIM time.Duration // for a request after connecting, and for closing after the end
	Idle  time.Duration // between two PDUs of an association, the second being whole
}

// Machine is one association. Not safe for concurrent use.
type Machine struct {
	policy   Policy
	timing   Timing
	state    State
	deadline time.Time
	agreed   *Agreed
}

// New starts the machine of a connection just accepted (Sta2, AE-5).
func New(p Policy, t Timing, now time.Time) *Machine {
	return &Machine{policy: p, timing: t, state: Request, deadline: now.Add(t.ARTIM)}
}

// State tells where the association stands.
func (m *Machine) State() State { return m.state }

// Deadline is when Expire is due unless something comes first.
func (m *Machine) Deadline() time.Time { return m.deadline }

// Agreed is what was negotiated; nil before the association was accepted.
func (m *Machine) Agreed() *Agreed { return m.agreed }

// Receive takes a PDU of the peer. Contexts and order of fragments inside a
// message are the message layer's to judge, which context IDs exist is ours.
func (m *Machine) Receive(now time.Time, p pdu.PDU) []Action {
	if _, ok := p.(*pdu.Abort); ok && m.state != Over {
		return m.over("the peer aborted: " + p.String()) // AA-2, AA-3
	}
	switch m.state {
	case Request:
		if rq, ok := p.(*pdu.AssociateRQ); ok {
			return m.request(now, rq)
		}
		return m.abort(now, pdu.AbortUser, pdu.AbortNotSpecified, "no association, got "+p.String()) // AA-1
	case Data:
		return m.data(now, p)
	case Close:
		if _, ok := p.(*pdu.AssociateRQ); ok {
			return m.abort(now, pdu.AbortProvider, pdu.AbortUnexpected, "request after the end") // AA-7
		}
	}
	return nil // AA-6
}

// request answers an A-ASSOCIATE-RQ (AE-6, then AE-7 or AE-8).
func (m *Machine) request(now time.Time, rq *pdu.AssociateRQ) []Action {
	agreed, ac, rj := Negotiate(m.policy, rq)
	if rj != nil {
		m.state, m.deadline = Close, now.Add(m.timing.ARTIM)
		return []Action{End{"rejected: " + explain(rj, rq)}, Send{rj}}
	}
	m.agreed = agreed
	m.state, m.deadline = Data, now.Add(m.timing.Idle)
	return []Action{Send{ac}}
}

func (m *Machine) data(now time.Time, p pdu.PDU) []Action {
	switch p := p.(type) {
	case *pdu.Data: // DT-2
		for _, v := range p.PDVs {
			if _, ok := m.agreed.Contexts[v.Context]; !ok {
				why := fmt.Sprintf("data in context %d, which was not accepted", v.Context)
				return m.abort(now, pdu.AbortProvider, pdu.AbortParameter, why)
			}
		}
		if progress(p) {
			m.deadline = now.Add(m.timing.Idle)
		}
		return []Action{Deliver{p}}
	case *pdu.ReleaseRQ: // AR-2, AR-4
		m.state, m.deadline = Close, now.Add(m.timing.ARTIM)
		return []Action{End{Released}, Send{&pdu.ReleaseRP{}}}
	}
	return m.abort(now, pdu.AbortProvider, pdu.AbortUnexpected, "unexpected "+p.String()) // AA-8
}

// progress tells whether data brings a message forward. Empty fragments are legal
// and any number may come; they must not keep an association open.
func progress(d *pdu.Data) bool {
	return slices.ContainsFunc(d.PDVs, func(v pdu.PDV) bool { return v.Last || len(v.Value) > 0 })
}

// Invalid takes the news that the peer sent what is no PDU (event 19); reason is
// one of the pdu.Abort… reasons.
func (m *Machine) Invalid(now time.Time, reason byte, what string) []Action {
	switch m.state {
	case Over:
		return nil
	case Request:
		return m.abort(now, pdu.AbortUser, pdu.AbortNotSpecified, what) // AA-1
	}
	return m.abort(now, pdu.AbortProvider, reason, what) // AA-7, AA-8
}

// Abort ends the association for a reason of our own (event 15).
func (m *Machine) Abort(now time.Time, why string) []Action {
	if m.state == Over || m.state == Close {
		return nil
	}
	return m.abort(now, pdu.AbortUser, pdu.AbortNotSpecified, why)
}

// Worked takes the news that our own work on a message took so long: time that the
// peer spent waiting is not its silence.
func (m *Machine) Worked(took time.Duration) {
	if m.state == Data {
		m.deadline = m.deadline.Add(took)
	}
}

// Closed takes the news that the connection is gone (event 17).
func (m *Machine) Closed() []Action {
	if m.state == Over {
		return nil
	}
	return m.over("the connection closed") // AA-4, AA-5, AR-5
}

// Expire takes the news that the time is now; before the deadline it does nothing.
func (m *Machine) Expire(now time.Time) []Action {
	switch {
	case m.state == Over || now.Before(m.deadline):
		return nil
	case m.state == Data:
		return m.abort(now, pdu.AbortUser, pdu.AbortNotSpecified, fmt.Sprintf("no progress within %v", m.timing.Idle))
	}
	return m.over(fmt.Sprintf("ARTIM expired after %v", m.timing.ARTIM)) // AA-2
}

// abort sends an A-ABORT and gives the peer until the ARTIM to close. A second
// abort doesn't give it more time.
func (m *Machine) abort(now time.Time, source, reason byte, why string) []Action {
	send := Send{&pdu.Abort{Source: source, Reason: reason}}
	if m.state == Close {
		return []Action{send}
	}
	m.state, m.deadline = Close, now.Add(m.timing.ARTIM)
	return []Action{End{why}, send}
}

func (m *Machine) over(why string) []Action {
	was := m.state
	m.state = Over
	if was == Close {
		return []Action{Disconnect{}}
	}
	return []Action{End{why}, Disconnect{}}
}
