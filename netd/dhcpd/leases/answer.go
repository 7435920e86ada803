package leases

import (
	"fmt"
	"net/netip"
	"time"

	"clinicgate/netd/config"
)

// Kind is what a device asks for (RFC 2131 §3.1).
type Kind int

// The kinds of questions.
const (
	Discover Kind = iota
	Request
	Decline
	Release
	Inform
)

// Question is a device's message, its fields already checked for form.
type Question struct {
	Kind   Kind
	ID     string // client identifier in hex, or "01" and the MAC
	MAC    config.MAC
	Name   string     // what it calls itself, printable
	Wanted netip.Addr // option 50; invalid: absent
	Has    netip.Addr // ciaddr; invalid: none
	Server netip.Addr // option 54; invalid: absent
}

// Do is what the caller has to do.
type Do int

// What there is to do.
const (
	Nothing Do = iota
	Probe      // ask whether anybody uses Address, then call Probed
	Offer
	Ack  // store Lease first, if there is one
	Nak  // refuse, so that the device starts anew
	Keep // store Lease, answer nothing
)

// Reply is the decision on a question.
type Reply struct {
	Do      Do
	Address netip.Addr
	Time    time.Duration
	Lease   *Lease
	Why     string // for the log; of refusals, and of some silence
}

func nothing(format string, args ...any) Reply { return Reply{Why: fmt.Sprintf(format, args...)} }

func nak(format string, args ...any) Reply { return Reply{Do: Nak, Why: fmt.Sprintf(format, args...)} }

// Ask decides on a question. A box that does not answer learns from what devices
// tell the other one.
func (t *Table) Ask(q Question, now time.Time) Reply {
	if !t.answers {
		t.overhear(q, now)
		return Reply{}
	}
	switch q.Kind {
	case Discover:
		return t.discover(q, now)
	case Request:
		return t.request(q, now)
	case Decline:
		return t.decline(q, now)
	case Release:
		return t.release(q, now)
	case Inform:
		if !t.net.Own.Contains(q.Has) {
			return nothing("asks for settings from %v, which is not in %v", q.Has, t.net.Own.Masked())
		}
		return Reply{Do: Ack, Address: q.Has}
	}
	return Reply{}
}

// discover offers at once what the device has already, and asks around first
// before it gives anything anew (RFC 2131 §3.1, step 2).
func (t *Table) discover(q Question, now time.Time) Reply {
	a, ok := t.choose(q, now)
	if !ok {
		t.trouble.exhausted = now
		return nothing("no address is free")
	}
	if e := t.byAddr[a]; e != nil && e.ID == q.ID && now.Before(e.until) && !e.Over {
		return t.offer(q, a, now)
	}
	return Reply{Do: Probe, Address: a}
}

// Probed goes on with a Discover after its address was asked for: busy says that
// somebody uses it.
func (t *Table) Probed(q Question, a netip.Addr, busy bool, now time.Time) Reply {
	if !t.answers || !t.may(q.ID, q.MAC, a, now) && t.spoken(a, now) {
		return Reply{} // another was faster; the device asks again
	}
	if !busy {
		return t.offer(q, a, now)
	}
	t.occupied(a, now)
	return t.discover(q, now)
}

// spoken reports whether an address is somebody's who has more right to it than
// who is offered it as the last one left.
func (t *Table) spoken(a netip.Addr, now time.Time) bool {
	e := t.byAddr[a]
	return e != nil && (e.state != offered || now.Sub(e.until.Add(-offerTime)) < shortOffer)
}

func (t *Table) offer(q Question, a netip.Addr, now time.Time) Reply {
	time, e := t.time(q, a, now), t.byAddr[a]
	if e == nil || e.ID != q.ID || e.state != leased || !now.Before(e.until) {
		t.put(Lease{Address: a, ID: q.ID, MAC: q.MAC, Name: q.Name, Time: time}, offered, now.Add(offerTime))
	}
	return Reply{Do: Offer, Address: a, Time: time}
}

// time is how long a device may have an address.
func (t *Table) time(q Question, a netip.Addr, now time.Time) time.Duration {
	_, reserved := t.reserved[a]
	e := t.byAddr[a]
	known := e != nil && e.ID == q.ID && e.state == leased && (e.Time > newTime || now.Sub(e.Given) >= newTime/2)
	if reserved || known {
		return t.net.Lease
	}
	return min(newTime, t.net.Lease)
}

// request is the device's answer to an offer, or its wish to keep what it has
// (RFC 2131 §4.3.2).
func (t *Table) request(q Question, now time.Time) Reply {
	a := q.Wanted
	if q.Has.IsValid() {
		a = q.Has // renewing or rebinding
	}
	switch {
	case q.Server.IsValid() && q.Server != t.net.Gateway:
		t.chosen(q, now)
		return nothing("chose the server %v", q.Server)
	case !t.net.Own.Contains(a):
		return nak("wants %v, which is not in %v", a, t.net.Own.Masked())
	case q.Server.IsValid() && !t.offeredTo(q, a, now):
		return nak("accepts %v, which was not offered to it", a)
	case !t.may(q.ID, q.MAC, a, now):
		return nak("wants %v, which it can't have", a)
	}
	// A reserved address goes to its device as soon as it asks again.
	if r, ok := t.byMAC[q.MAC]; ok && r.Address != a && t.may(q.ID, q.MAC, r.Address, now) {
		return nak("has %v, and %v is reserved for it", a, r.Address)
	}
	l := Lease{Address: a, ID: q.ID, MAC: q.MAC, Name: q.Name, Given: now, Time: t.time(q, a, now)}
	t.put(l, leased, l.Expiry()).sure = l.Expiry()
	return Reply{Do: Ack, Address: a, Time: l.Time, Lease: &l}
}

func (t *Table) offeredTo(q Question, a netip.Addr, now time.Time) bool {
	e := t.byAddr[a]
	return e != nil && e.ID == q.ID && e.state != foreign && now.Before(e.until)
}

// chosen notes that a device took another server's offer: ours is free again, and
// there is a server in the LAN that should not be.
func (t *Table) chosen(q Question, now time.Time) {
	if e := t.byID[q.ID]; e != nil && e.state == offered {
		t.drop(e)
	}
	if t.net.Own.Contains(q.Server) {
		t.trouble.server, t.trouble.seen = q.Server, now
	}
}

// decline: the device found out that somebody uses the address. Only the one that
// has it may say so.
func (t *Table) decline(q Question, now time.Time) Reply {
	e := t.byID[q.ID]
	if e == nil || e.Address != q.Wanted {
		return nothing("declines %v, which it does not have", q.Wanted)
	}
	l := e.Lease
	l.Over = true
	t.occupied(q.Wanted, now)
	return Reply{Do: Keep, Lease: &l, Why: fmt.Sprintf("says that somebody else uses %v", q.Wanted)}
}

// occupied sets an address aside that somebody uses without a lease. No more than
// a quarter of the pool is set aside at a time: who answers for every address must
// not take them all.
func (t *Table) occupied(a netip.Addr, now time.Time) {
	r, reserved := t.reserved[a]
	if reserved {
		t.trouble.note(r, now)
	}
	if e := t.byAddr[a]; e != nil {
		t.drop(e)
	}
	var first *entry
	n, size := 0, int(t.size())
	for _, e := range t.byAddr {
		if _, apart := t.reserved[e.Address]; e.state == foreign && !apart {
			n++
			if first == nil || e.until.Before(first.until) || e.until.Equal(first.until) && e.Address.Less(first.Address) {
				first = e
			}
		}
	}
	if n >= max(size/4, 1) && !reserved {
		t.drop(first)
	}
	t.byAddr[a] = &entry{Lease: Lease{Address: a}, state: foreign, until: now.Add(foreignTime)}
}

func (t *Table) size() uint32 {
	a, b := t.net.First.As4(), t.net.Last.As4()
	n := uint32(0)
	for i := range a {
		n = n<<8 + uint32(b[i]) - uint32(a[i])
	}
	return n + 1
}

// release: the device is done with the address. It gets the same one when it comes
// back before another needs it.
func (t *Table) release(q Question, now time.Time) Reply {
	e := t.byID[q.ID]
	if e == nil || e.Address != q.Has || e.state != leased {
		return nothing("gives back %v, which it does not have", q.Has)
	}
	e.until, e.Over = now, true
	l := e.Lease
	return Reply{Do: Keep, Lease: &l}
}

// overhear learns which address a device got from the other box.
func (t *Table) overhear(q Question, now time.Time) {
	a := q.Wanted
	if q.Has.IsValid() {
		a = q.Has
	}
	if q.Kind != Request || q.Server.IsValid() && q.Server != t.net.Gateway || !t.may(q.ID, q.MAC, a, now) {
		return
	}
	l := Lease{Address: a, ID: q.ID, MAC: q.MAC, Name: q.Name, Given: now, Time: t.net.Lease}
	t.put(l, leased, l.Expiry())
}
