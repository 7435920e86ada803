package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"
	"clinicgate/syncd/allowance"
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
	if c != nil {
		s.guard(c.PID)
	}
	s.checkCard(time.Now())
}

// guard has the end of cardauth noticed when it happens, not when it is looked
// for: a killed one leaves its file behind, with sessions in it. Where that can't
// be asked for, checkCard and the lease remain.
func (s *state) guard(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.guarded == pid {
		return
	}
	s.guarded = pid
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		s.env.Log.Debug("watch cardauth's process", "err", err)
		return
	}
	go func() {
		defer unix.Close(fd)
		for {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if n > 0 || err != nil {
				break
			}
		}
		s.checkCard(time.Now())
	}()
}

// live is the roster while it holds.
func (s *state) live() *grant.Roster {
	r := s.roster.Load()
	if r == nil {
		return nil
	}
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil || !r.Holds(time.Duration(now.Nano())) {
		return nil
	}
	return r
}

// aliveEvery is how soon a dead cardauth is noticed. Its tokens die by themselves
// within a minute; this makes it seconds.
const aliveEvery = 2 * time.Second

// checkCard takes what cardauth said as long as cardauth lives: a card that is
// pulled while it is dead would not be missed.
func (s *state) checkCard(time.Time) {
	c := s.card.Load()
	if c == nil || !wirefile.Alive(c.PID) {
		s.roster.Store(nil)
		s.silent("it says nothing about who is logged in, so no record is shown")
		return
	}
	r, err := grant.NewRoster(c)
	if err != nil {
		s.env.Log.Error("a key of cardauth's can't be used", "err", err)
	}
	key, err := os.ReadFile(filepath.Join(s.env.Run, wire.PatientKeyFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.env.Log.Error("patients can't be told apart", "err", err)
	}
	s.roster.Store(r.Named(key))
	if s.live() == nil {
		s.silent("it hangs: what it said about who is logged in is out of date, so no record is shown")
		return
	}
	s.env.Faults.Clear(faultCard, "cardauth")
}

func (s *state) silent(what string) {
	s.env.Faults.Raise(wire.Fault{
		ID: faultCard, Severity: wire.Alarm, Where: "cardauth", What: what,
		Do: "wait a minute for its restart; if this stays, restart the box and call support",
	})
}

// followNet tells the EHR's client and deliveries which way out there is.
func (s *state) followNet(ctx context.Context) error {
	return wirefile.Follow(ctx, s.env.Run, wire.NetFile, func(n *wire.Net) {
		if n != nil && !wirefile.Alive(n.PID) {
			n = nil // what a dead netd said may be long wrong: try and see
		}
		s.deliver.Way(allowance.WayOf(n))
		if s.ehr.Follow(n) {
			s.deliver.Nudge()
			s.desk.Nudge()
		}
	}, func(err error) {
		s.env.Log.Error("netd's word can't be read", "err", err)
	})
}
