package main

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"clinicgate/failoverd/announce"
	"clinicgate/failoverd/config"
	"clinicgate/failoverd/port"
	"clinicgate/failoverd/vrrp"
)

// Asking the kernel about a port waits for whoever changes one of the kernel's ports
// just then, and that may take a tenth of a second: the group must advertise
// meanwhile. So its questions are asked, and its lease is renewed, beside it.

// An eye is how far a group is with looking at its port.
type eye struct {
	open  bool // a look is under way
	again bool // something has changed since it began
}

// seen is what a look found.
type seen struct {
	port port.Port
	err  error
	line *line
	turn uint64    // of the stand when it began
	seat port.Port // where the addresses should stand: the port, or the virtual one
	gone bool      // the virtual one is not there any more

	renewed bool // the lease
}

// look has the port looked at; judge gets what was found.
func (g *group) look() {
	if g.eye.open {
		g.eye.again = true
		return
	}
	g.eye = eye{open: true}
	s := seen{line: g.line, turn: g.stand.turn.Load()}
	due := g.line != nil && g.router.Status().State == vrrp.Active && g.passage == nil && !g.renew.IsZero() && !time.Now().Before(g.renew)
	go func() {
		s.look(g.cfg.Port)
		if due && s.err == nil && !s.gone && !s.seat.Missing(g.standing(s.line)) {
			s.renewed, s.err = g.stand.stay(s.turn, func() error { return s.line.seat.hold(g.standing(s.line)) })
		}
		g.seen <- s // has room: one look at a time
	}()
}

func (s *seen) look(name string) {
	if s.port, s.err = port.Look(name, announce.Ours); s.err != nil || s.line == nil {
		return
	}
	s.seat = s.port
	if s.line.seat.virtual() {
		s.gone = s.line.seat.gone()
		s.seat, s.err = port.Look(s.line.seat.device, announce.Ours)
	}
}

// renewal is when the lease is to be renewed; the zero time: never, or it is being.
func (g *group) renewal() time.Time {
	if g.eye.open {
		return time.Time{}
	}
	return g.renew
}

// judge takes the router in or out of the game, as the port is.
func (g *group) judge(s seen) {
	again := g.eye.again
	g.eye = eye{}
	if again {
		defer g.look()
	}
	if s.err != nil {
		g.log.Error("look at port", "err", s.err)
		if g.router.Status().State == vrrp.Active {
			g.renew = time.Now().Add(announce.Renew)
		}
		return
	}
	why := g.sync.hinders(g)
	g.held = why != ""
	self, fault := s.port.Fit(g.cfg.Addresses, g.cfg.Priority == config.Owner)
	g.faults.port(fault)
	if fault != nil {
		g.sync.tell(g, fault.What)
		g.out(fault.What)
		return
	}
	g.sync.tell(g, "")
	if g.held {
		g.out(why)
		return
	}
	if l := g.line; l == nil || l.deaf.Load() || l.index != s.port.Index || l.self != self || l == s.line && s.gone {
		l, err := plug(s.port, self, g)
		if err != nil {
			g.log.Error("open port", "err", err)
			g.out(err.Error())
			return
		}
		g.unplug()
		g.line = l
	}
	voice := g.line.voice
	g.witness.side.by(self.Is6(), func(addr netip.Addr) error { return voice.Ask(self, addr) })
	g.step(vrrp.Start{Self: self})
	g.restore(s)
}

// restore keeps a master's addresses on the port. They may have been taken off by
// somebody, or by the guard while this program stood still: then what the other
// box said meanwhile counts first.
func (g *group) restore(s seen) {
	if g.router.Status().State != vrrp.Active || g.passage != nil {
		return
	}
	if s.line != g.line || s.turn != g.stand.turn.Load() { // what was seen is the past
		g.look()
		return
	}
	if !s.seat.Missing(g.standing(g.line)) {
		if s.renewed {
			g.keep()
			g.renew = time.Now().Add(announce.Renew)
		}
		return
	}
	g.drain()
	if g.router.Status().State == vrrp.Active {
		g.log.Warn("the addresses were taken off the port, putting them back")
		if g.own() {
			g.attempt(vrrp.Announce)
		}
	}
}

// A stand is the right to the addresses' place: what is done to it beside the group
// must not undo what the group has done since.
type stand struct {
	turn atomic.Uint64 // changes each time the group puts the addresses there or takes them off
	mu   sync.Mutex    // held while the kernel works
}

// move is what the group does. It waits for a renewal that is under way.
func (s *stand) move(do func() error) error {
	s.turn.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	return do()
}

// stay does what renews, unless the group has moved since that turn.
func (s *stand) stay(turn uint64, do func() error) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.turn.Load() != turn {
		return false, nil
	}
	err := do()
	return err == nil, err
}
