package main

import (
	"context"
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
			s.u.b.tell(ctx, func(time.Time) { s.search.Answered(size) })
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
