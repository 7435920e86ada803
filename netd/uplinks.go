package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/netd/config"
	"clinicgate/netd/lease"
	"clinicgate/netd/link"
	"clinicgate/netd/plan"
	"clinicgate/netd/probe"
	"clinicgate/netd/tap"
	"clinicgate/netd/uplink"
	"clinicgate/netd/volume"
)

// uplinkHands holds what one uplink has open: its machine, its DHCP client and its
// prober. It belongs to the loop.
type uplinkHands struct {
	b       *box
	i       int
	cfg     config.Uplink
	machine *uplink.Machine
	told    uplink.Status // last logged
	six     *sixHands
	usable  bool // at the last settle
	doomed  bool // its connections wait to be forgotten

	address netip.Prefix // invalid: none
	gateway netip.Addr
	asked   bool         // the DHCP client has told something
	dns     []netip.Addr // that its server names

	index      int             // of the port while it is plugged in, 0: it is not
	plugged    context.Context // ends when it is unplugged
	stop       func()          // ends plugged
	stopAsking func()          // ends the DHCP client
	asking     chan struct{}   // closed when the DHCP client has ended
	again      time.Time       // when the server may be asked again
	prober     *probe.Prober
	sizing     *sizing  // nil: there is no tunnel
	tap        *tap.Tap // nil: there is none

	month   volume.Record
	counted link.State // at metered
	metered time.Time
	rx, tx  float64 // bits a second, lately
	share   int     // percent of new flows
	path    path
	named   []netip.Addr // resolvers, by the DHCP server
	round   uint64
	next    time.Time // of the next round
}

func newUplinkHands(b *box, i int, cfg config.Uplink, now time.Time) *uplinkHands {
	judge := uplink.Config{Every: b.cfg.Probe.Every, Lost: b.cfg.Probe.Lost, Back: b.cfg.Probe.Back}
	u := &uplinkHands{b: b, i: i, cfg: cfg, machine: uplink.New(judge, now), stop: func() {}, stopAsking: func() {}, asking: make(chan struct{})}
	close(u.asking)
	u.sizing = newSizing(u)
	u.six = newSixHands(u, now)
	u.month = b.volumes.all[cfg.Name]
	if cfg.Method == config.Static {
		u.address, u.gateway = cfg.Address, cfg.Gateway
		u.machine.Address(true, "", now)
	}
	return u
}

// follow takes in what is true of the port. A port that went and came back has
// another index, though no time without it may have been seen.
func (u *uplinkHands) follow(l link.State, now time.Time) {
	index := l.Index
	if l.Why() != "" {
		index = 0
	}
	if index != u.index {
		u.unplug()
		u.machine.Link(false, l.Why(), now)
	}
	if index == 0 {
		u.machine.Link(false, l.Why(), now)
		return
	}
	if u.index == 0 {
		u.plug(index, now)
	}
}

// plug starts what runs while the link is up. The address of before stays until
// the DHCP server says otherwise: most cables go back where they came from.
func (u *uplinkHands) plug(index int, now time.Time) {
	ctx, cancel := context.WithCancel(context.Background())
	u.index, u.plugged, u.stop = index, ctx, cancel
	u.machine.Link(true, "", now)
	u.next = now
	u.openProber(ctx)
	u.sizing.open(ctx)
	u.six.plug(ctx, now)
	u.openTap()
	u.ask(ctx)
}

// ask starts the DHCP client, after the one before has ended: they share a file.
func (u *uplinkHands) ask(ctx context.Context) {
	if u.cfg.Method != config.DHCP {
		return
	}
	u.stopAsking()
	ctx, u.stopAsking = context.WithCancel(ctx)
	before, done := u.asking, make(chan struct{})
	u.asking = done
	client := &lease.Client{Dev: u.cfg.Port, Path: u.b.leasePath(u.cfg.Name), Clash: u.clash, Log: u.b.env.Log}
	u.b.hands.Go(func() {
		defer close(done)
		<-before
		client.Run(ctx, func(l *lease.Lease, why string) {
			u.b.tell(ctx, func(now time.Time) {
				if ctx.Err() == nil {
					u.leased(l, why, now)
				}
			})
		})
	})
}

func (u *uplinkHands) openProber(ctx context.Context) {
	p, err := probe.Open(ctx, u.cfg.Port, plan.Mark(u.i)|plan.ClassMark(0), u.b.cfg.Probe.Targets)
	if err != nil {
		u.b.env.Log.Error("uplink can't be probed", "uplink", u.cfg.Name, "err", err)
		return
	}
	u.prober = p
	u.b.hands.Go(func() {
		err := p.Receive(func(round uint64) {
			u.b.tell(ctx, func(now time.Time) { u.machine.Answered(round, now) })
		})
		if err != nil {
			u.b.env.Log.Error("uplink can't be probed", "uplink", u.cfg.Name, "err", err)
		}
	})
}

// unplug ends what runs while the link is up.
func (u *uplinkHands) unplug() {
	u.stop()
	if u.prober != nil {
		u.prober.Close()
	}
	u.sizing.close()
	u.closePath()
	u.six.unplug()
	if u.tap != nil {
		u.tap.Close()
		u.tap = nil
	}
	u.index, u.stop, u.prober = 0, func() {}, nil
}

// An uplink that is silent for so long asks its DHCP server whether the address is
// still right, and again so often: a provider may have numbered anew, or someone
// put another modem behind a switch, and nothing else would tell before the lease
// is half over.
const (
	doubtAfter = 15 * time.Second
	doubtEvery = time.Minute
)

func (u *uplinkHands) doubt(now time.Time) {
	st := u.machine.Status()
	if u.index == 0 || st.State != wire.UplinkDown || now.Sub(st.Since) < doubtAfter || now.Before(u.again) {
		return
	}
	u.again = now.Add(doubtEvery)
	u.ask(u.plugged)
}

// clash is called by the DHCP client's goroutine.
func (u *uplinkHands) clash(p netip.Prefix) error { return u.b.cfg.ClashAt(u.i, p) }

// taken names the uplink that has the lease's address, or that has the lease's gateway
// for its own address: with it this uplink would get packets that are the other's.
func (b *box) taken(u *uplinkHands, l *lease.Lease) string {
	for _, o := range b.ups {
		own := o.address.Addr()
		if o != u && own.IsValid() && (own == l.Address.Addr() || own == l.Gateway) {
			return o.cfg.Name
		}
	}
	return ""
}

// leased takes in what the DHCP client says. A renewed lease changes nothing.
func (u *uplinkHands) leased(l *lease.Lease, why string, now time.Time) {
	u.asked, u.dns = true, nil
	if l != nil {
		u.dns = l.DNS
	}
	if l == nil {
		u.address, u.gateway = netip.Prefix{}, netip.Addr{}
		u.machine.Address(false, why, now)
		return
	}
	if l.Address == u.address && l.Gateway == u.gateway {
		return
	}
	if other := u.b.taken(u, l); other != "" {
		why := fmt.Sprintf("the DHCP server offers %s by %s, which is uplink %s's", l.Address.Addr(), l.Gateway, other)
		u.address, u.gateway = netip.Prefix{}, netip.Addr{}
		u.machine.Address(false, why, now)
		return
	}
	u.b.env.Log.Info("lease", "uplink", u.cfg.Name, "address", l.Address, "gateway", l.Gateway, "why", why)
	u.address, u.gateway, u.named = l.Address, l.Gateway, l.DNS
	u.machine.Address(true, why, now)
}

// probe sends a round when it is time for one. It runs after settle, so that the
// way out is there.
func (u *uplinkHands) probe(now time.Time) {
	if u.next.Sub(now) > u.pace() { // it has come into use
		u.next = now
	}
	if u.prober == nil || !u.address.IsValid() || !u.b.safe || now.Before(u.next) {
		return
	}
	every := u.pace()
	u.machine.Pace(every)
	u.next = u.next.Add(every)
	if u.next.Before(now) { // we were asleep: don't make up for it
		u.next = now.Add(every)
	}
	u.round++
	u.machine.Sent(u.round, now)
	u.send()
}

func lines(text string) []string { return strings.Split(strings.TrimSpace(text), "\n") }
