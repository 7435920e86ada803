package main

import (
	"context"
	"slices"
	"time"

	"clinicgate/netd/pathmtu"
	"clinicgate/netd/plan"
	"clinicgate/netd/probe"
)

// How often the size of packets that an uplink carries is looked at again: 16 kB.
const (
	sizeEvery   = 30 * time.Second
	sizeMetered = time.Hour
)

// sizing finds how large a packet an uplink carries to the hub. It belongs to the
// loop.
type sizing struct {
	u      *uplinkHands
	search *pathmtu.Search
	sizer  *probe.Sizer // nil: there is none
	told   int
	gauge  gauge
}

// A gauge measures the queue of an uplink that a tunnel spreads over, by echoes of
// the hub among what is spread.
type gauge struct {
	sent  time.Time       // zero: no echo is under way
	ahead []time.Duration // by tunnel, what its books said then
	idle  time.Duration   // the shortest round trip, growing slowly
}

const (
	gaugeSize  = 64
	gaugeEvery = 100 * time.Millisecond
	gaugeLost  = time.Second
	busyRate   = 100_000 // bytes per second by one uplink, from which on it is worth it
)

// measure asks for an echo when one is due.
func (s *sizing) measure(now time.Time) {
	if s == nil || s.sizer == nil || now.Sub(s.gauge.sent) < gaugeEvery || !s.u.b.safe || s.u.cfg.Metered {
		return
	}
	if !s.gauge.sent.IsZero() && now.Sub(s.gauge.sent) < gaugeLost && s.gauge.ahead != nil {
		return // the last is still under way
	}
	s.gauge.ahead = nil
	for _, t := range s.u.b.tunnels {
		if ahead, ok := t.spreading(s.u.i); ok {
			s.gauge.ahead = append(s.gauge.ahead, ahead)
		} else {
			s.gauge.ahead = append(s.gauge.ahead, -1)
		}
	}
	if slices.Max(s.gauge.ahead) < 0 {
		s.gauge.ahead = nil
		return
	}
	s.gauge.sent = now
	if err := s.sizer.Send(gaugeSize); err != nil {
		s.u.b.env.Log.Debug("gauge", "uplink", s.u.cfg.Name, "err", err)
	}
}

// measured takes in the echo.
func (s *sizing) measured(now time.Time) {
	g := &s.gauge
	if g.ahead == nil {
		return
	}
	rtt := now.Sub(g.sent)
	if g.idle == 0 || rtt < g.idle {
		g.idle = rtt
	}
	for i, ahead := range g.ahead {
		if ahead >= 0 {
			s.u.b.tunnels[i].tunnel.Correct(s.u.i, rtt-g.idle-ahead)
		}
	}
	g.idle += (rtt - g.idle) / 256 // the way may have become longer
	g.ahead = nil
}

// newSizing returns nil when there is no tunnel to size.
func newSizing(u *uplinkHands) *sizing {
	if len(u.b.cfg.Tunnels) == 0 {
		return nil
	}
	every := sizeEvery
	if u.cfg.Metered {
		every = sizeMetered
	}
	return &sizing{u: u, search: pathmtu.New(every)}
}

func (s *sizing) open(ctx context.Context) {
	if s == nil {
		return
	}
	hub := s.u.b.cfg.Tunnels[0].Hubs[0].Endpoint.Addr()
	log := s.u.b.env.Log.With("uplink", s.u.cfg.Name)
	sizer, err := probe.OpenSizer(ctx, s.u.cfg.Port, plan.Mark(s.u.i), hub)
	if err != nil {
		log.Error("sizes can't be found", "err", err)
		return
	}
	s.sizer = sizer
	s.search.Restart()
	s.u.b.hands.Go(func() {
		err := sizer.Receive(func(size int) {
			s.u.b.tell(ctx, func(now time.Time) {
				if size == gaugeSize {
					s.measured(now)
				} else {
					s.search.Answered(size)
				}
			})
		})
		if err != nil {
			log.Error("sizes can't be found", "err", err)
		}
	})
}

func (s *sizing) close() {
	if s != nil && s.sizer != nil {
		s.sizer.Close()
		s.sizer = nil
	}
}

// size is the largest packet that is known to pass; 0: nothing is known.
func (s *sizing) size() int {
	if s == nil {
		return 0
	}
	return s.search.Size()
}

// ask sends a round when it is time for one.
func (s *sizing) ask(now time.Time) {
	if s == nil || s.sizer == nil || !s.u.address.IsValid() || !s.u.b.safe || !s.search.Due(now) {
		return
	}
	if size := s.search.Size(); size != s.told {
		s.u.b.env.Log.Info("packets to the hub", "uplink", s.u.cfg.Name, "largest", size, "before", s.told)
		s.told = size
	}
	for _, size := range pathmtu.Sizes() {
		if err := s.sizer.Send(size); err != nil {
			s.u.b.env.Log.Debug("size", "uplink", s.u.cfg.Name, "err", err)
			return
		}
	}
}
