package main

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/netd/config"
	"clinicgate/netd/hubs"
	"clinicgate/netd/plan"
	"clinicgate/netd/report"
	"clinicgate/netd/steer"
	"clinicgate/netd/tunnel"
	"clinicgate/netd/uplink"
)

// tunnelHands holds one tunnel. It belongs to the loop.
type tunnelHands struct {
	b       *box
	cfg     config.Tunnel
	tunnel  *tunnel.Tunnel // nil: not made yet
	broken  string         // why it could not be made
	retry   time.Time
	state   string
	reason  string
	since   time.Time
	last    []tunnel.Status // by hub
	hubs    *hubs.Machine
	looked  time.Time
	resting bool // it is not this box's turn
	steer   *steer.Machine
	pulse   *pulse // nil: nobody inside is asked
	rates   *steer.Rates
	sent    []uint64  // by each uplink, when the rates were learned last
	rate    []float64 // bytes per second by each uplink in the last second
	learnt  time.Time
	meter   meter
}

func newTunnelHands(b *box, cfg config.Tunnel, now time.Time) *tunnelHands {
	t := &tunnelHands{b: b, cfg: cfg, since: now, state: wire.TunnelDown, steer: steer.New(cfg.Policy, len(b.cfg.Uplinks))}
	t.hubs, t.last = hubs.New(len(cfg.Hubs), now), make([]tunnel.Status, len(cfg.Hubs))
	t.rates, t.sent, t.rate = steer.NewRates(len(b.cfg.Uplinks)), make([]uint64, len(b.cfg.Uplinks)), make([]float64, len(b.cfg.Uplinks))
	t.newPulse(now)
	return t
}

// hub is the one in use.
func (t *tunnelHands) hub() config.Hub { return t.cfg.Hubs[t.hubs.Current()] }

// session is the one with the hub in use.
func (t *tunnelHands) session() tunnel.Status { return t.last[t.hubs.Current()] }

// newPulse asks inside the hub in use, if its site file names somebody to ask.
func (t *tunnelHands) newPulse(now time.Time) {
	if t.pulse != nil {
		t.pulse.close()
		t.pulse = nil
	}
	if !t.hub().Probe.IsValid() {
		return
	}
	t.pulse = newPulse(t, now)
	if t.tunnel != nil {
		t.pulse.open(context.Background())
	}
}

// The times of a tunnel.
const (
	missingFrom = 2                      // percent of what a path carried: it was given too much
	remake      = 5 * time.Second        // between attempts to make it
	patience    = 2 * time.Second        // for a usable uplink, before another is tried
	lookOften   = 100 * time.Millisecond // while it is down; else once a second
)

// make makes the session; its device appears and the next apply sets it up.
func (t *tunnelHands) make(now time.Time) {
	t.retry = now.Add(remake)
	keys, err := t.keys()
	if err == nil {
		var paths []tunnel.Path
		for i, u := range t.b.cfg.Uplinks {
			paths = append(paths, tunnel.Path{Dev: u.Port, Mark: plan.Mark(i) | t.unheard() | plan.ClassMark(t.class())})
		}
		t.tunnel, err = tunnel.Open(t.cfg, keys, paths, t.b.env.Log)
	}
	t.b.news = true
	if err != nil {
		t.broken = words(err)
		return
	}
	t.broken, t.b.dirty = "", true
	for i, u := range t.b.cfg.Uplinks {
		t.refresh(i, t.b.links[u.Port].Index)
	}
	if t.pulse != nil {
		t.pulse.open(context.Background())
	}
}

// keys reads the tunnel's secrets.
func (t *tunnelHands) keys() (k tunnel.Keys, err error) {
	if k.Private, err = tunnel.ReadKey(t.b.secret(t.cfg.KeyFile)); err != nil {
		return k, err
	}
	k.Preshared = make([][32]byte, len(t.cfg.Hubs))
	for i, h := range t.cfg.Hubs {
		if h.PSKFile == "" {
			continue
		}
		if k.Preshared[i], err = tunnel.ReadKey(t.b.secret(h.PSKFile)); err != nil {
			return k, err
		}
	}
	return k, nil
}

// class is that of the tunnel's own datagrams in the queues of the uplinks: that of
// the flows that it is for, or else what its policy is good for.
func (t *tunnelHands) class() int {
	names := config.ClassNames()
	switch {
	case t.cfg.Class >= 0:
		return t.cfg.Class
	case t.cfg.Policy == config.Aggregate:
		return slices.Index(names[:], config.Bulk)
	}
	return slices.Index(names[:], config.Clinical)
}

// unheard marks what has copies by several uplinks: the hub answers by one of them,
// which says nothing against the others.
func (t *tunnelHands) unheard() uint32 {
	if t.cfg.Policy == config.Best {
		return 0
	}
	return plan.Unheard
}

func words(err error) string {
	if errors.Is(err, fs.ErrPermission) {
		return err.Error() + " (netd's user may not open it)"
	}
	return err.Error()
}

func (t *tunnelHands) close() {
	if t.pulse != nil {
		t.pulse.close()
	}
	if t.tunnel != nil {
		t.tunnel.Close()
	}
}

// refresh tells the session that the port of uplink i came or went.
func (t *tunnelHands) refresh(i, index int) {
	if t.tunnel == nil {
		return
	}
	if err := t.tunnel.Refresh(i, index); err != nil {
		t.b.env.Log.Error("tunnel can't use an uplink", "tunnel", t.cfg.Name, "uplink", t.b.name(i), "err", err)
	}
}

// follow makes the session if need be and sends it by the uplinks that its policy
// wants. A call to the hub that is lost costs five seconds, so the first waits
// until the uplink has proved itself, but not for ever: probe targets may be gone,
// the hub not.
func (t *tunnelHands) follow(now time.Time) {
	if t.tunnel == nil && !now.Before(t.retry) {
		t.make(now)
	}
	if t.rests(now) {
		return
	}
	if t.state == wire.TunnelDown && now.Sub(t.looked) >= lookOften {
		t.look(now)
	}
	if t.pulse != nil && t.tunnel != nil {
		t.pulse.beat(now)
	}
	t.judge(now)
	if t.tunnel == nil {
		return
	}
	if t.b.active < 0 {
		t.resume()
		return
	}
	t.chooseHub(now)
	st := t.b.ups[t.b.active].machine.Status()
	proven := t.b.usable()
	if !proven && now.Sub(st.Since) < patience {
		return
	}
	if err := t.tunnel.Use(t.steer.Way(t.b.active, t.uplinks(now), now), proven); err != nil {
		t.b.env.Log.Error("tunnel", "tunnel", t.cfg.Name, "err", err)
	}
	t.tunnel.Notify(now)
}

// resume calls the hub before anything is known of the uplinks. After a restart the
// kernel still has addresses, routes and the packet filter of the netd before, and
// the session is all that is missing; after a boot it has none, and no socket sends.
func (t *tunnelHands) resume() {
	if t.b.tried {
		return
	}
	var way steer.Way
	for i, u := range t.b.ups {
		if u.index != 0 && !u.cfg.Metered {
			way.All = append(way.All, i)
		}
	}
	if len(way.All) == 0 {
		return
	}
	if err := t.tunnel.Use(way, false); err != nil {
		t.b.env.Log.Error("tunnel", "tunnel", t.cfg.Name, "err", err)
	}
}

// chooseHub leaves a dead hub for another, and asks those that stand by how they are.
func (t *tunnelHands) chooseHub(now time.Time) {
	if len(t.cfg.Hubs) == 1 {
		return
	}
	known := make([]hubs.Hub, len(t.last))
	for i, st := range t.last {
		known[i].Handshake = st.Handshake
	}
	before := t.hubs.Current()
	if i := t.hubs.Choose(known, t.state == wire.TunnelUp, t.b.usable(), now); i != before {
		t.b.env.Log.Warn("hub", "tunnel", t.cfg.Name, "hub", t.cfg.Hubs[i].Endpoint, "before", t.cfg.Hubs[before].Endpoint)
		t.b.news = true
		if err := t.tunnel.Switch(i); err != nil {
			t.b.env.Log.Error("tunnel", "tunnel", t.cfg.Name, "err", err)
		}
		t.newPulse(now)
	}
	if i := t.hubs.Due(now); i >= 0 {
		if err := t.tunnel.Call(i); err != nil {
			t.b.env.Log.Error("tunnel", "tunnel", t.cfg.Name, "err", err)
		}
	}
}

// uplinks is what the steering knows of them.
func (t *tunnelHands) uplinks(now time.Time) []steer.Uplink {
	all := make([]steer.Uplink, len(t.b.ups))
	t.learn(now)
	for i, u := range t.b.ups {
		st := u.machine.Status()
		all[i] = steer.Uplink{
			Usable:  uplink.Usable(st.State) && u.address.IsValid(),
			Metered: u.cfg.Metered, Loss: max(st.Loss, t.tunnel.Lane(i).Lost), Heard: t.tunnel.Heard(i),
			Share: steer.Share{Uplink: i, Rate: t.rates.Bytes(i), Delay: st.RTT / 2},
		}
	}
	return all
}

// spreading reports whether the tunnel spreads a good deal over uplink i, and what
// its books say of it.
func (t *tunnelHands) spreading(i int) (ahead time.Duration, ok bool) {
	if t.cfg.Policy != config.Aggregate || t.tunnel == nil || t.rate[i] < busyRate {
		return 0, false
	}
	return t.tunnel.Ahead(i), true
}

// learn takes in once a second what each uplink carried, and what became of the
// probes that went along with it.
func (t *tunnelHands) learn(now time.Time) {
	took := now.Sub(t.learnt)
	if t.cfg.Policy != config.Aggregate || took < time.Second {
		return
	}
	seconds := map[int]steer.Second{}
	for i, u := range t.b.ups {
		n, st := t.tunnel.Carried(i), u.machine.Status()
		if !t.learnt.IsZero() && uplink.Usable(st.State) && !u.cfg.Metered {
			seconds[i] = steer.Second{Sent: float64(n-t.sent[i]) / took.Seconds(), RTT: st.Last, Lost: u.machine.Missing(now)}
			if lane := t.tunnel.Lane(i); now.Sub(lane.Answered) < time.Second { // the tunnel's own datagrams tell
				seconds[i] = steer.Second{Sent: seconds[i].Sent, RTT: lane.RTT, Lost: lane.Missing > missingFrom}
			}
		}
		t.rate[i] = float64(n-t.sent[i]) / took.Seconds()
		t.sent[i] = n
	}
	t.rates.Learn(seconds)
	t.learnt = now
}

// look asks the session how it is.
func (t *tunnelHands) look(now time.Time) {
	t.looked = now
	if t.tunnel != nil {
		st, err := t.tunnel.Status()
		if err != nil {
			t.b.env.Log.Error("tunnel", "tunnel", t.cfg.Name, "err", err)
			return
		}
		t.last = st
		t.meter.read(t.tunnel, len(t.b.ups), now)
	}
}

// judge says at once when the tunnel can't work or works again: others wait for it.
func (t *tunnelHands) judge(now time.Time) {
	state, reason := report.Judge(t.known(), t.b.usable(), now)
	if state != t.state {
		t.b.env.Log.Info("tunnel", "tunnel", t.cfg.Name, "state", state, "reason", reason)
		t.state, t.since = state, now
	}
	t.b.news = t.b.news || reason != t.reason
	t.reason = reason
}

func (t *tunnelHands) known() report.Tunnel {
	k := report.Tunnel{
		Turn:   t.b.turn,
		Config: t.cfg, Hub: t.hubs.Current(), Broken: t.broken, Since: t.since, State: t.state, Reason: t.reason, Via: t.via(),
		Handshake: t.session().Handshake, Endpoint: t.session().Endpoint, Rx: t.session().Rx, Tx: t.session().Tx,
	}
	if t.tunnel != nil {
		k.Called, k.MTU = t.tunnel.Called(), plan.TunnelMTU(t.b.cfg, t.cfg, t.b.known())
		k.Paths = t.paths(time.Now())
		for _, st := range t.last {
			k.Hubs = append(k.Hubs, st.Handshake)
			k.Accepted += st.Rx
		}
	}
	if t.pulse != nil {
		k.Live = t.pulse.machine.Status()
	}
	return k
}

// via names the uplink by which the hub was heard last.
func (t *tunnelHands) via() string {
	best, latest := -1, time.Time{}
	for i := range t.b.ups {
		if t.tunnel == nil {
			break
		}
		if at := t.tunnel.Heard(i); at.After(latest) {
			best, latest = i, at
		}
	}
	return t.b.name(best)
}
