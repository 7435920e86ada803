package main

import (
	"net"
	"net/netip"
	"time"
)

// Suspects are machines whose advertisements the cable has not confirmed: after a
// moment each is a rogue.
type suspects struct{ list map[suspectKey]suspect }

// A suspectKey tells one kind of advertisement from another: the other box's own,
// which are confirmed, must not clear a forger who uses its addresses.
type suspectKey struct {
	mac      [6]byte
	from     netip.Addr
	priority uint8
}

type suspect struct {
	first time.Time
	why   string
}

const (
	// mostSuspects bounds the memory that a flood from many addresses fills.
	mostSuspects = 16
	// convict is how long the cable may take to confirm: many beats.
	convict = 300 * time.Millisecond
)

func keyOf(r received) suspectKey {
	k := suspectKey{from: r.from, priority: r.msg.Priority}
	copy(k.mac[:], r.mac)
	return k
}

func (s *suspects) note(now time.Time, r received, why string) {
	if s.list == nil {
		s.list = map[suspectKey]suspect{}
	}
	k := keyOf(r)
	if _, old := s.list[k]; !old && len(s.list) < mostSuspects {
		s.list[k] = suspect{now, why}
	}
}

func (s *suspects) clear(r received) { delete(s.list, keyOf(r)) }

// A rogue is a machine that plays at being the gateway.
type rogue struct {
	mac      net.HardwareAddr
	from     netip.Addr
	priority uint8
	why      string
}

// rogues returns and forgets those that had their time.
func (s *suspects) rogues(now time.Time) (all []rogue) {
	for k, v := range s.list {
		if now.Sub(v.first) >= convict {
			all = append(all, rogue{net.HardwareAddr(k.mac[:]), k.from, k.priority, v.why})
			delete(s.list, k)
		}
	}
	return all
}

// next is when rogues is to be asked; the zero time: never.
func (s *suspects) next() (at time.Time) {
	for _, v := range s.list {
		if due := v.first.Add(convict); at.IsZero() || due.Before(at) {
			at = due
		}
	}
	return at
}
