package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"clinicgate/firmware/durable"
	"clinicgate/firmware/wire"
	"clinicgate/netd/beacon"
	"clinicgate/netd/config"
	"clinicgate/netd/discovery"
	"clinicgate/netd/link"
	"clinicgate/netd/plan"
)

// zoneHands tells the hosts of one zone of their IPv6 prefixes. It belongs to the
// loop.
type zoneHands struct {
	b      *box
	cfg    config.Zone
	beacon *beacon.Beacon
	index  int // of the port while it is plugged in, 0: it is not
	conn   *discovery.Conn
	stop   func()
	stored []beacon.Told
	saved  time.Time
	alone  time.Time // when a host was last answered by itself
}

func newZoneHands(b *box, cfg config.Zone, now time.Time) *zoneHands {
	z := &zoneHands{b: b, cfg: cfg, stop: func() {}}
	told, err := z.load()
	if err != nil {
		b.env.Log.Warn("what hosts were told", "zone", cfg.Name, "err", err)
	}
	z.beacon = beacon.New(told, now)
	return z
}

// follow takes in what is true of the port.
func (z *zoneHands) follow(l link.State) {
	index := l.Index
	if l.Why() != "" {
		index = 0
	}
	if index == z.index {
		return
	}
	z.close()
	z.index = index
	if index == 0 {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	c, err := discovery.Answer(ctx, z.cfg.Port)
	if err != nil {
		cancel()
		z.index = 0 // again when links are looked at
		z.b.env.Log.Error("hosts can't be told of IPv6", "zone", z.cfg.Name, "err", err)
		return
	}
	z.conn, z.stop = c, cancel
	z.b.hands.Go(func() {
		err := c.Hosts(func(from netip.Addr) { z.b.tell(ctx, func(now time.Time) { z.asked(from, now) }) })
		if err != nil {
			z.b.env.Log.Error("hosts can't be heard", "zone", z.cfg.Name, "err", err)
		}
	})
}

func (z *zoneHands) close() {
	z.stop()
	if z.conn != nil {
		z.conn.Close()
	}
	z.conn, z.stop, z.index = nil, func() {}, 0
}

// aloneGap is the least time between answers to single hosts.
const aloneGap = 100 * time.Millisecond

// asked answers a host that asks: itself at once, if it has an address, and all
// others a little later.
func (z *zoneHands) asked(from netip.Addr, now time.Time) {
	if z.conn == nil || z.silent() {
		return
	}
	z.beacon.Asked(now)
	if from.IsLinkLocalUnicast() && now.Sub(z.alone) >= aloneGap {
		z.alone = now
		z.send(from, now)
	}
}

func (z *zoneHands) send(to netip.Addr, now time.Time) {
	if err := z.conn.Advertise(z.beacon.Now(now), to); err != nil {
		z.b.env.Log.Debug("advertise", "zone", z.cfg.Name, "err", err)
	}
}

// silent reports whether the pair's other box speaks to the zone. Of a pair's zone
// nobody speaks until failoverd has said who.
func (z *zoneHands) silent() bool {
	if len(z.cfg.Virtual) == 0 {
		return false
	}
	f := z.b.failover
	return f == nil || !slices.ContainsFunc(f.Groups, func(g wire.Group) bool { return g.Port == z.cfg.Port && g.Role == wire.RoleMaster })
}

// mixes reports whether hosts here have to do with those of another zone, for which
// the box is the way too.
func (z *zoneHands) mixes() bool {
	return len(z.cfg.Reaches) > 0 || slices.ContainsFunc(z.b.cfg.Zones, func(o config.Zone) bool { return slices.Contains(o.Reaches, z.cfg.Name) })
}

// tick brings what hosts are told in line with what is known, and tells them when
// it is time. A prefix is told of when the firewall knows it.
func (z *zoneHands) tick(ups []plan.Uplink, now time.Time) {
	s := beacon.State{Silent: z.silent(), Way: z.mixes()}
	add := func(p netip.Prefix, good bool) {
		if sub := plan.Subnet(z.cfg, p); sub.IsValid() {
			s.Prefixes = append(s.Prefixes, beacon.Prefix{Prefix: sub, Good: good})
			if good && z.b.cfg.DNS != nil {
				s.DNS = append(s.DNS, plan.Own6(z.cfg, p).Addr())
			}
		}
	}
	add(z.b.cfg.Six.Local, true)
	for i, u := range ups {
		if i < len(z.b.walled) && z.b.walled[i] == u.Six.Prefix {
			add(u.Six.Prefix, u.Six.Usable)
		}
		s.Way = s.Way || z.cfg.Internet() && u.Six.Usable
	}
	if z.b.cfg.Six.Local.IsValid() && len(s.DNS) > 1 {
		s.DNS = s.DNS[:1] // the address that never changes is enough
	}
	z.beacon.Set(s, now)
	if z.conn == nil {
		return
	}
	if a, due := z.beacon.Due(now); due {
		if err := z.save(now); err != nil {
			z.b.env.Log.Error("what hosts are told", "zone", z.cfg.Name, "err", err)
		}
		if err := z.conn.Advertise(a, netip.Addr{}); err != nil {
			z.b.env.Log.Debug("advertise", "zone", z.cfg.Name, "err", err)
		}
	}
}

// again is how often what hosts were told is written though it is the same: they
// may keep it for longer.
const again = 10 * time.Minute

// save stores what is about to be told, before it is. Stop before it returns: hosts
// keep an address until its time is over, and nobody told them of a new one.
func (z *zoneHands) save(now time.Time) error {
	told := z.beacon.Told()
	same := slices.EqualFunc(told, z.stored, func(a, b beacon.Told) bool { return a.Prefix == b.Prefix })
	if same && now.Sub(z.saved) < again {
		return nil
	}
	data, err := json.Marshal(told)
	if err != nil {
		return err
	}
	z.stored, z.saved = told, now
	return durable.WriteFile(z.path(), append(data, '\n'), 0o600)
}

func (z *zoneHands) load() ([]beacon.Told, error) {
	data, err := os.ReadFile(z.path())
	if os.IsNotExist(err) {
		return nil, nil
	}
	var told []beacon.Told
	if err == nil {
		err = json.Unmarshal(data, &told)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", z.path(), err)
	}
	return told, nil
}

func (z *zoneHands) path() string {
	return filepath.Join(z.b.env.State, "told-"+z.cfg.Name+".json")
}
