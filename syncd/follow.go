package main

import (
	"context"
	"errors"
	"syscall"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"
	"clinicgate/syncd/grant"
)

// followCard keeps the roster: who is logged in, and the keys of their tokens.
func (s *state) followCard(ctx context.Context) error {
	return wirefile.Follow(ctx, s.env.Run, wire.CardFile, s.setCard, func(err error) {
		s.env.Log.Error("cardauth's word can't be read; nobody is let in", "err", err)
		s.setCard(nil)
	})
}

func (s *state) setCard(c *wire.Card) {
	s.card.Store(c)
	s.checkCard(time.Now())
}

// aliveEvery is how soon a dead cardauth is noticed. Its tokens die by themselves
// within a minute; this makes it seconds.
const aliveEvery = 2 * time.Second

// checkCard takes what cardauth said as long as cardauth lives: a card that is
// pulled while it is dead would not be missed.
func (s *state) checkCard(time.Time) {
	c := s.card.Load()
	if c == nil || !alive(c.PID) {
		s.roster.Store(nil)
		s.env.Faults.Raise(wire.Fault{
			ID: faultCard, Severity: wire.Alarm, Where: "cardauth", What: "it says nothing about who is logged in, so no record is shown",
			Do: "wait a minute for its restart; if this stays, restart the box and call support",
		})
		return
	}
	r, err := grant.NewRoster(c)
	if err != nil {
		s.env.Log.Error("a key of cardauth's can't be used", "err", err)
	}
	s.roster.Store(r)
	s.env.Faults.Clear(faultCard, "cardauth")
}

// alive reports that there is a process of that number, ours or not.
func alive(pid int) bool {
	return pid > 0 && !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

// followNet tells the EHR's client which way out there is.
func (s *state) followNet(ctx context.Context) error {
	return wirefile.Follow(ctx, s.env.Run, wire.NetFile, func(n *wire.Net) {
		if n != nil && !alive(n.PID) {
			n = nil // what a dead netd said may be long wrong: try and see
		}
		if s.ehr.Follow(n) {
			s.deliver.Nudge()
		}
	}, func(err error) {
		s.env.Log.Error("netd's word can't be read", "err", err)
	})
}
