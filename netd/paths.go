package main

import (
	"context"
	"net/netip"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/netd/plan"
	"clinicgate/netd/probe"
	"clinicgate/netd/stamp"
	"clinicgate/netd/uplink"
)

// How often an uplink is asked. Where bytes cost: 46 MB a month in use and 8 MB idle
// for echoes, 6 MB for STAMP, 1 MB for the page; doubts come on top, but only where
// people's packets pass.
const (
	meteredInUse = 5 * time.Second
	meteredIdle  = 30 * time.Second

	stampEvery        = time.Second
	stampEveryMetered = time.Minute
	stampFresh        = 5 // so many packets unanswered: what was measured is the past

	pageEvery        = 5 * time.Minute
	pageEveryMetered = time.Hour
	pageAgain        = time.Minute     // when nobody answered
	pageCaptive      = 5 * time.Second // until someone has signed in
	pageFirst        = time.Second     // after there is an address
)

// A path is what is measured and asked of an uplink beside echoes. It belongs to the
// loop.
type path struct {
	session *probe.Session // nil: there is none
	from    netip.Prefix   // the uplink's address when it was opened
	next    time.Time      // of the STAMP packets

	page    time.Time // when it is asked next
	asking  bool
	address netip.Prefix // the page was asked with it
}

// openPath keeps a STAMP session from the uplink's address, if the site has a
// reflector. It waits until the uplink works: the kernel gives a socket its address
// when it is connected, and only then is there a way for sure.
func (u *uplinkHands) openPath(ctx context.Context) {
	to := u.b.cfg.Probe.Stamp
	if u.path.session != nil && u.path.from != u.address {
		u.path.session.Close()
		u.path.session = nil
	}
	if u.path.session != nil || !to.IsValid() || !uplink.Usable(u.machine.Status().State) {
		return
	}
	s, err := probe.OpenSession(ctx, u.cfg.Port, plan.Mark(u.i)|plan.ClassMark(0)|plan.Unheard, to)
	if err != nil {
		u.b.env.Log.Debug("no STAMP session", "uplink", u.cfg.Name, "err", err)
		return
	}
	u.path.session, u.path.from = s, u.address
	u.b.hands.Go(func() {
		if err := s.Receive(); err != nil {
			u.b.env.Log.Error("uplink can't be measured", "uplink", u.cfg.Name, "err", err)
		}
	})
}

func (u *uplinkHands) closePath() {
	if u.path.session != nil {
		u.path.session.Close()
	}
	u.path = path{}
}

// walk is done once a second while the uplink has an address.
func (u *uplinkHands) walk(now time.Time) {
	if u.index == 0 || !u.address.IsValid() || !u.b.safe {
		return
	}
	u.openPath(u.plugged)
	if s := u.path.session; s != nil && !now.Before(u.path.next) {
		u.path.next = now.Add(u.rarely(stampEvery, stampEveryMetered) - time.Second/2) // called once a second
		if err := s.Send(); err != nil {
			u.b.env.Log.Debug("STAMP", "uplink", u.cfg.Name, "err", err)
		}
	}
	u.visit(now)
}

func (u *uplinkHands) rarely(free, metered time.Duration) time.Duration {
	if u.cfg.Metered {
		return metered
	}
	return free
}

// measured is what STAMP says, unless that is the past.
func (u *uplinkHands) measured(now time.Time) stamp.Result {
	if u.path.session == nil {
		return stamp.Result{}
	}
	r := u.path.session.Result()
	if now.Sub(r.Heard) > stampFresh*u.rarely(stampEvery, stampEveryMetered) {
		return stamp.Result{}
	}
	return r
}

// visit asks the page when it is time to.
func (u *uplinkHands) visit(now time.Time) {
	url := u.b.cfg.Probe.Portal
	if url == "" || u.path.asking {
		return
	}
	if u.path.address != u.address {
		u.path.address, u.path.page = u.address, now.Add(pageFirst)
	}
	if now.Before(u.path.page) {
		return
	}
	u.path.asking = true
	p := probe.Portal{Dev: u.cfg.Port, Mark: plan.Mark(u.i), URL: url, Resolvers: u.resolvers()}
	ctx, address := u.plugged, u.address
	u.b.hands.Go(func() {
		f := p.Ask(ctx)
		u.b.tell(ctx, func(now time.Time) {
			if ctx.Err() == nil && u.address == address {
				u.visited(f, now)
			}
			u.path.asking = false
		})
	})
}

// resolvers are whom the uplink's provider names, or else the site.
func (u *uplinkHands) resolvers() []netip.Addr {
	if len(u.named) > 0 || u.b.cfg.DNS == nil {
		return u.named
	}
	return u.b.cfg.DNS.Upstream
}

// visited takes in what the page's answer shows.
func (u *uplinkHands) visited(f probe.Finding, now time.Time) {
	next := pageAgain
	switch {
	case f.Clear:
		u.machine.Portal("", now)
		u.machine.Names("", now)
		next = u.rarely(pageEvery, pageEveryMetered)
	case f.Host != "":
		u.machine.Portal(f.Host, now)
		next = pageCaptive
	case f.Names != "" && uplink.Usable(u.machine.Status().State):
		u.machine.Names(f.Names, now)
	}
	u.path.page = now.Add(next)
}

// pace is how often the uplink is asked for an echo.
func (u *uplinkHands) pace() time.Duration {
	every := u.b.cfg.Probe.Every
	switch {
	case !u.cfg.Metered:
		return every
	case u.share > 0 || u.machine.Status().State != wire.UplinkUp:
		return max(every, meteredInUse)
	}
	return max(every, meteredIdle)
}
