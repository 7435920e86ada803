package main

import (
	"context"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"clinicgate/firmware/daemon"
	"clinicgate/firmware/durable"
	"clinicgate/firmware/metric"
	"clinicgate/firmware/wire"
	"clinicgate/netd/apply"
	"clinicgate/netd/config"
	"clinicgate/netd/link"
	"clinicgate/netd/plan"
	"clinicgate/netd/report"
	"clinicgate/netd/uplink"
)

// A box is everything netd knows and holds. Its fields belong to the loop, except
// where noted.
type box struct {
	env     *daemon.Env
	cfg     config.Config
	kernel  *apply.Kernel
	volumes *volumes
	ports   []string // LAN first, then the uplinks', then the pair's
	wans    []string // the uplinks'
	links   map[string]link.State
	ups     []*uplinkHands
	tunnels []*tunnelHands
	offers  *offers
	zones   []*zoneHands // those that are told of IPv6
	wall    *wall
	walled  []netip.Prefix // the prefixes that the firewall knows
	riddle  [32]byte       // makes addresses
	active  int            // as plan.Active says
	started time.Time

	pairing

	safe     bool   // the firewall was put in force
	tried    bool   // ... or that was tried at least once
	shut     bool   // nobody reaches what only a firewall would deny them
	unsafe   string // what is wrong with it
	refused  string // by the kernel at the last apply
	settings []string
	applied  string // the plan in force, as text
	kept     bool   // ... and nothing was removed for it
	dirty    bool   // something may have changed below us: apply again
	ready    bool   // the supervisor has been told
	news     bool   // publish without waiting for the next second

	passed time.Time // the last step of time
	idled  time.Time // the last one that was taken though nothing had happened

	events chan func(now time.Time) // done by the loop
	hands  sync.WaitGroup           // goroutines that send events
	// For the control socket; both safe for concurrent use.
	shown   atomic.Pointer[shown]
	metrics metric.Set
}

// shown is what GET /state says.
type shown struct {
	Net  *wire.Net `json:"net"`
	Plan []string  `json:"plan"`
}

// step is how often time passes for the uplinks' machines; what happens in between
// is an event and waits for nothing.
const step = 10 * time.Millisecond

// lazy is how often the kernel and the tunnels are looked after when nothing happens.
const lazy = 50 * time.Millisecond

func newBox(env *daemon.Env, cfg config.Config) (*box, error) {
	if err := durable.MkdirAll(env.State, 0o700); err != nil {
		return nil, err
	}
	kernel, err := apply.Open()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	counted, err := openVolumes(filepath.Join(env.State, "volumes.json"))
	if err != nil {
		env.Log.Error("this month's volumes begin at zero", "err", err)
	}
	b := &box{
		volumes: counted,
		env:     env, cfg: cfg, kernel: kernel, ports: []string{cfg.LAN.Port}, active: -1, started: now,
		events: make(chan func(time.Time), 64),
	}
	for i, u := range cfg.Uplinks {
		b.ports = append(b.ports, u.Port)
		b.ups = append(b.ups, newUplinkHands(b, i, u, now))
	}
	b.wans = b.ports[1:]
	if cfg.HA != nil {
		b.ports = append(slices.Clip(b.ports), cfg.HA.Port)
	}
	for _, t := range cfg.Tunnels {
		b.tunnels = append(b.tunnels, newTunnelHands(b, t, now))
	}
	b.offers = newOffers(env, cfg)
	b.shut = walledBefore(env.Run)
	return b, b.newSix(now)
}

// close lets go of what would run on. The kernel keeps routes, addresses and
// rules, so that traffic flows while netd starts again; a tunnel's device goes
// with its session.
func (b *box) close() {
	for _, u := range b.ups {
		u.unplug()
	}
	for _, z := range b.zones {
		z.close()
	}
	for _, t := range b.tunnels {
		t.close()
	}
	if err := b.volumes.keep(time.Now(), true); err != nil {
		b.env.Log.Error("volumes", "err", err)
	}
	b.hands.Wait()
	b.kernel.Close()
}

// tell has the loop do f, unless ctx ends first.
func (b *box) tell(ctx context.Context, f func(now time.Time)) {
	select {
	case b.events <- f:
	case <-ctx.Done():
	}
}

// loop does the events one by one and lets time pass in between.
func (b *box) loop(ctx context.Context) error {
	tick := time.NewTicker(step)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case f := <-b.events:
			f(time.Now())
		case <-tick.C:
			if !b.pass(time.Now()) {
				continue
			}
		}
		now := time.Now()
		for _, u := range b.ups {
			u.machine.Tick(now)
		}
		b.settle(now)
		for _, u := range b.ups {
			u.probe(now)
			u.six.tick(now)
			u.sizing.ask(now)
			u.sizing.measure(now)
		}
	}
}

// pass lets a step of time pass, after what waits to be known. It reports whether
// there may be something to do.
func (b *box) pass(now time.Time) bool {
	for range len(b.events) {
		f := <-b.events
		f(now)
	}
	late := !b.passed.IsZero() && now.Sub(b.passed) > 5*step
	b.passed = now
	changed := false
	for _, u := range b.ups {
		u.sense(now, late)
		st := u.machine.Status()
		changed = changed || st.State != u.told.State
	}
	if !changed && now.Sub(b.idled) < lazy {
		return false
	}
	b.idled = now
	return true
}

// lookAtLinks takes in what is true of the ports now.
func (b *box) lookAtLinks(now time.Time) {
	links, err := link.Read(b.ports)
	if err != nil {
		b.env.Log.Error("look at ports", "err", err)
		return
	}
	b.links = links
	for i, u := range b.ups {
		u.follow(links[u.cfg.Port], now)
		for _, t := range b.tunnels {
			t.refresh(i, links[u.cfg.Port].Index)
		}
	}
	for _, z := range b.zones {
		z.follow(links[z.cfg.Port])
	}
	b.settings = apply.Settings(b.wans)
	if b.cfg.HasSix() {
		b.settings = append(b.settings, apply.Settings6(b.wans)...)
	}
	b.dirty, b.news = true, true
}

// reapply is how often the kernel is compared with the plan though nothing seems
// to have changed: someone may have changed it.
const reapply = 10

// refresh runs once a second: counters, tunnels, and now and then the kernel.
func (b *box) refresh(now time.Time) {
	if links, err := link.Read(b.ports); err == nil {
		changed := func(p string) bool { return links[p].Index != b.links[p].Index || links[p].Why() != b.links[p].Why() }
		if slices.ContainsFunc(b.ports, changed) {
			b.lookAtLinks(now) // a notification was lost
		}
		b.links = links
	}
	if now.Unix()%reapply == 0 {
		b.dirty = true
	}
	for _, u := range b.ups {
		u.doubt(now)
		u.meter(b.links[u.cfg.Port], now)
		u.walk(now)
	}
	if err := b.volumes.keep(now, false); err != nil {
		b.env.Log.Error("volumes", "err", err)
	}
	for _, t := range b.tunnels {
		t.look(now)
	}
	b.news = true
}

// known is the plan's view of the uplinks. While there is no firewall there are
// none: a box must not be on the internet without one.
func (b *box) known() []plan.Uplink {
	all := make([]plan.Uplink, len(b.ups))
	for i, u := range b.ups {
		if b.safe {
			all[i] = plan.Uplink{State: u.machine.Status().State, Address: u.address, Gateway: u.gateway, Spent: u.spent(), Carries: u.sizing.size()}
		}
	}
	return all
}

// guarded is the part of the plan that a box as well guarded as this one may have:
// without any rules of ours it has no address. Ports take a while to come up, and
// may do so while the firewall is built.
func (b *box) guarded(k plan.Kernel) plan.Kernel {
	switch {
	case b.safe || b.shut:
		return k
	case b.tried:
		return plan.Kernel{}
	}
	return plan.Kernel{Links: k.Links}
}

// settle brings the kernel, the tunnels and the published state in line with what
// is known now. It does nothing when nothing changed.
func (b *box) settle(now time.Time) {
	if b.links == nil {
		return // nothing was looked at yet
	}
	ups := b.known()
	b.lookAtSix(ups, now)
	if active := plan.Active(b.cfg, ups, b.active); active != b.active {
		b.env.Log.Info("uplink in use", "uplink", b.name(active), "before", b.name(b.active))
		b.metrics.Counter("netd_switches_total", "Times that new flows were sent by another uplink.").Inc()
		b.active, b.news = active, true
	}
	for i, share := range b.percent() {
		b.ups[i].share = share
	}
	b.apply(b.guarded(plan.Make(b.cfg, ups, b.active)), b.starting(now))
	b.forget(ups)
	for _, z := range b.zones {
		z.tick(ups, now)
	}
	b.lookAtTurn(now)
	b.offers.follow(b)
	for _, t := range b.tunnels {
		t.follow(now)
	}
	for _, u := range b.ups {
		if st := u.machine.Status(); st.State != u.told.State || st.Reason != u.told.Reason {
			b.env.Log.Info("uplink", "uplink", u.cfg.Name, "state", st.State, "reason", st.Reason, "before", u.told.State)
			u.told, b.news = st, true
		}
	}
	if b.news {
		b.publish(now)
		b.news = false
	}
	if !b.ready && b.tried {
		b.ready = true
		b.env.Ready()
	}
}

// usable reports whether any uplink is.
func (b *box) usable() bool {
	return slices.ContainsFunc(b.ups, func(u *uplinkHands) bool { return uplink.Usable(u.machine.Status().State) })
}

func (b *box) name(i int) string {
	if i < 0 {
		return ""
	}
	return b.cfg.Uplinks[i].Name
}

// startTime is the longest that a netd may take to learn what the one before knew.
const startTime = 10 * time.Second

// starting reports whether what an earlier netd left in the kernel must stay: until
// the firewall is in force and every DHCP server had its say.
func (b *box) starting(now time.Time) bool {
	asking := func(u *uplinkHands) bool { return u.cfg.Method == config.DHCP && u.index != 0 && !u.asked }
	six := func(u *uplinkHands) bool { return u.six.starting(now) }
	return !b.tried || b.safe && now.Sub(b.started) < startTime && (slices.ContainsFunc(b.ups, asking) || slices.ContainsFunc(b.ups, six))
}

func (b *box) apply(want plan.Kernel, keep bool) {
	text := want.String()
	if text == b.applied && keep == b.kept && !b.dirty {
		return
	}
	do := b.kernel.Apply
	if keep {
		do = b.kernel.Add
	}
	res, err := do(want)
	for _, c := range res.Changes {
		b.env.Log.Debug("kernel", "change", c)
	}
	refused := ""
	if err != nil {
		refused = err.Error()
	}
	b.news = b.news || refused != b.refused
	b.applied, b.kept, b.dirty, b.refused = text, keep, false, refused
}

// forget drops the connections of uplinks that stopped being usable, once there is
// another to take them. Without another they stay: the uplink may come back.
func (b *box) forget(ups []plan.Uplink) {
	for i, u := range b.ups {
		usable := uplink.Usable(ups[i].State)
		if usable == u.usable {
			u.doomed = u.doomed && !usable
		} else {
			u.usable, u.doomed = usable, !usable
		}
		other := slices.ContainsFunc(ups, func(p plan.Uplink) bool { return uplink.Usable(p.State) })
		stall := u.machine.Status().Stall // it may be back in a moment, and they with it
		if !u.doomed || !other || stall || !u.address.IsValid() {
			continue
		}
		n, tcp, err := b.kernel.Forget(plan.Mark(i), plan.Addr{Dev: u.cfg.Port, Prefix: u.address})
		u.doomed = false
		b.env.Log.Info("connections of a dead uplink forgotten", "uplink", u.cfg.Name, "count", n, "err", err)
		b.stir(tcp)
	}
}

// publish states the faults and the wire file.
func (b *box) publish(now time.Time) {
	s := b.snapshot(now)
	faults := s.Faults(now)
	for _, id := range report.IDs() {
		b.env.Faults.Keep(id, faults[id]...)
	}
	n := s.Net()
	b.offers.tell(n)
	if err := b.env.Publish(wire.NetFile, n); err != nil {
		b.env.Log.Error("publish", "err", err)
	}
	measure(&b.metrics, n)
	b.shown.Store(&shown{Net: n, Plan: lines(b.applied)})
}

func (b *box) snapshot(now time.Time) report.Snapshot {
	lan := b.links[b.cfg.LAN.Port]
	s := report.Snapshot{
		LAN:    wire.LAN{Port: b.cfg.LAN.Port, Carrier: lan.Carrier, Address: b.cfg.LAN.Address.String()},
		LANWhy: lan.Why(), Active: b.active, Firewall: b.unsafe, Kernel: b.refused, Settings: b.settings, Started: b.started,
	}
	for _, z := range b.cfg.Zones[1:] {
		l := b.links[z.Port]
		if why := l.Why(); z.Kind != config.KindService || l.Index == 0 { // a technician's is empty most days
			s.Zones = append(s.Zones, report.Zone{Name: z.Name, Port: z.Port, Why: why})
		}
	}
	for _, u := range b.ups {
		l := b.links[u.cfg.Port]
		s.Uplinks = append(s.Uplinks, report.Uplink{
			Config: u.cfg, Status: u.machine.Status(), Address: u.address, Gateway: u.gateway, Rx: l.Rx, Tx: l.Tx,
			IPv6: u.six.wire(), Without: u.six.without(now),
			Use: report.Use{Share: u.share, Path: u.measured(now), Month: u.month, Rx: u.rx, Tx: u.tx},
		})
	}
	for _, t := range b.tunnels {
		s.Tunnels = append(s.Tunnels, t.known())
	}
	return s
}

// leasePath is where an uplink's lease is remembered.
func (b *box) leasePath(name string) string {
	return filepath.Join(b.env.State, "lease-"+name+".json")
}

// secret is the path of a key file.
func (b *box) secret(name string) string { return filepath.Join(b.env.Secrets, name) }
