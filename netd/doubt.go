package main

import (
	"slices"
	"time"

	"clinicgate/netd/apply"
	"clinicgate/netd/config"
	"clinicgate/netd/plan"
	"clinicgate/netd/stir"
	"clinicgate/netd/tap"
)

// openTap begins to count what passes the uplink's port. Without it an uplink's
// silence is noticed by its steady probes alone.
func (u *uplinkHands) openTap() {
	t, err := tap.Open(u.index, plan.Unheard)
	if err != nil {
		u.b.env.Log.Error("uplink's packets can't be counted", "uplink", u.cfg.Name, "err", err)
		return
	}
	u.tap = t
}

// sense tells the machine what passed since the last step, and asks when it is in
// doubt. What came in together with what left may well be the answer to it. late
// means that this program was kept from running: what it did not see proves nothing.
func (u *uplinkHands) sense(now time.Time, late bool) {
	if u.tap == nil || u.prober == nil || !u.address.IsValid() || !u.b.safe {
		return
	}
	out, in, err := u.tap.Count()
	switch {
	case err != nil:
		u.b.env.Log.Debug("tap", "uplink", u.cfg.Name, "err", err)
	case in > 0:
		u.machine.Heard()
	default:
		u.machine.Said(out, now)
	}
	if late {
		u.machine.Asleep(now)
	}
	u.machine.Tick(now)
	if u.machine.Ask(now) {
		u.round++
		u.machine.Asked(u.round, now)
		u.send()
	}
}

// send sends the round, to one target after the other where bytes cost; what can't
// be sent counts as unanswered.
func (u *uplinkHands) send() {
	send := u.prober.Send
	if u.cfg.Metered {
		send = u.prober.SendOne
	}
	if err := send(u.round); err != nil {
		u.b.env.Log.Debug("probe", "uplink", u.cfg.Name, "err", err)
	}
}

// stir tells the clinic's computers that their connections are over.
func (b *box) stir(lost []apply.Connection) {
	var flows []stir.Flow
	for _, c := range lost {
		inside := func(z config.Zone) bool { return z.Address.Masked().Contains(c.From.Addr()) }
		if slices.ContainsFunc(b.cfg.Zones, inside) {
			flows = append(flows, stir.Flow{Client: c.From, Server: c.To})
		}
	}
	if n, err := stir.Send(flows); n > 0 || err != nil {
		b.env.Log.Info("computers told of lost connections", "count", n, "err", err)
	}
}
