package main

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"clinicgate/netd/config"
	"clinicgate/netd/probe"
	"clinicgate/netd/report"
	"clinicgate/netd/uplink"
)

// A pulse asks a host inside the tunnel for an echo, again and again. It proves
// the whole way there and back, which a session key does not, and it names the
// way anew to a hub that has something to send while we have not.
type pulse struct {
	t       *tunnelHands
	every   time.Duration
	machine *uplink.Machine
	prober  *probe.Prober
	stop    func()
	round   uint64
	next    time.Time // of the beat that is judged
	nudged  time.Time
	renewed time.Time

	heard   uint64    // datagrams, at counted
	counted time.Time // twice a second
	busy    bool      // more came in since than echoes
}

// The times of a pulse.
const (
	fastBeat    = 200 * time.Millisecond  // where each uplink carries a copy
	thriftyBeat = 2 * time.Second         // where bytes cost: 140 MB a month
	dead        = 1500 * time.Millisecond // of silence
	nudge       = 50 * time.Millisecond   // of silence in one direction while the other is busy
	countOver   = 500 * time.Millisecond
	busyFrom    = 15              // datagrams in countOver
	renewGap    = 2 * time.Second // between calls to a silent hub
)

func newPulse(t *tunnelHands, now time.Time) *pulse {
	p := &pulse{t: t, every: t.b.cfg.Probe.Every, stop: func() {}}
	if t.cfg.Policy == config.Redundant {
		p.every = min(p.every, fastBeat)
	}
	if slices.ContainsFunc(t.b.cfg.Uplinks, func(u config.Uplink) bool { return u.Metered }) {
		p.every = thriftyBeat
	}
	lost := max(3, int((dead+p.every-1)/p.every))
	p.machine = uplink.New(uplink.Config{Every: p.every, Lost: lost, Back: 1}, now)
	p.machine.Link(true, "", now)
	p.machine.Address(true, "", now)
	return p
}

// open starts listening on the tunnel's device.
func (p *pulse) open(ctx context.Context) {
	ctx, p.stop = context.WithCancel(ctx)
	log := p.t.b.env.Log.With("tunnel", p.t.cfg.Name)
	prober, err := probe.Open(ctx, p.t.cfg.Device, 0, []netip.Addr{p.t.hub().Probe})
	if err != nil {
		log.Error("tunnel can't be probed", "err", err)
		return
	}
	p.prober = prober
	p.t.b.hands.Go(func() {
		err := prober.Receive(func(round uint64) {
			p.t.b.tell(ctx, func(now time.Time) {
				p.machine.Answered(round, now)
				p.t.steer.Answered(p.machine.Status().RTT)
			})
		})
		if err != nil {
			log.Error("tunnel can't be probed", "err", err)
		}
	})
}

func (p *pulse) close() {
	p.stop()
	if p.prober != nil {
		p.prober.Close()
	}
}

// beat asks when it is time to, and calls the hub anew when it is silent: it may
// have been restarted and know nothing of our session.
func (p *pulse) beat(now time.Time) {
	p.machine.Tick(now)
	p.count(now)
	handshake := p.t.session().Handshake
	fresh := !handshake.IsZero() && now.Sub(handshake) < report.KeyLife
	if p.prober == nil || !fresh {
		return
	}
	switch {
	case !now.Before(p.next):
		p.next = now.Add(p.every)
		p.ask(now, true)
	case p.quiet(now) && now.Sub(p.nudged) >= nudge:
		p.ask(now, false)
	}
	st := p.machine.Status()
	if st.Failed && !uplink.Usable(st.State) && p.t.b.usable() && now.Sub(p.renewed) >= renewGap {
		p.renewed = now
		if err := p.t.tunnel.Call(p.t.hubs.Current()); err != nil {
			p.t.b.env.Log.Error("tunnel", "tunnel", p.t.cfg.Name, "err", err)
		}
	}
}

func (p *pulse) ask(now time.Time, judged bool) {
	p.round++
	p.nudged = now
	if judged {
		p.machine.Sent(p.round, now)
	}
	p.t.steer.Asked(now)
	if err := p.prober.Send(p.round); err != nil {
		p.t.b.env.Log.Debug("probe", "tunnel", p.t.cfg.Name, "err", err)
	}
}

// count notes twice a second whether the tunnel carries more than echoes.
func (p *pulse) count(now time.Time) {
	if now.Sub(p.counted) < countOver {
		return
	}
	n := p.t.tunnel.Received()
	p.busy, p.heard, p.counted = n-p.heard >= busyFrom, n, now
}

// quiet reports whether a busy tunnel has fallen silent in one direction.
func (p *pulse) quiet(now time.Time) bool {
	if !p.busy || p.t.cfg.Policy != config.Redundant {
		return false
	}
	last := time.Time{}
	for i := range p.t.b.ups {
		if at := p.t.tunnel.Heard(i); at.After(last) {
			last = at
		}
	}
	return now.Sub(last) >= nudge || now.Sub(p.t.tunnel.Sent()) >= nudge
}
