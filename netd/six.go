package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"clinicgate/firmware/durable"
	"clinicgate/firmware/wire"
	"clinicgate/netd/advert"
	"clinicgate/netd/config"
	"clinicgate/netd/delegation"
	"clinicgate/netd/discovery"
	"clinicgate/netd/plan"
	"clinicgate/netd/probe"
	"clinicgate/netd/router"
	"clinicgate/netd/uplink"
)

// sixHands holds an uplink's IPv6: what its routers say, its prefix, and whether
// anything comes back by it. It belongs to the loop.
type sixHands struct {
	u       *uplinkHands
	cfg     config.SixUplink
	table   router.Table
	lease   *delegation.Lease
	why     string // what the DHCPv6 client said last
	since   time.Time
	heard   bool          // a router has said something
	asked   bool          // the DHCPv6 client has
	asking  chan struct{} // closed when it has ended
	conn    *discovery.Conn
	next    time.Time // of the next question to the routers
	pause   time.Duration
	machine *uplink.Machine // judges by probes; nil: no targets
	prober  *probe.Prober6
	round   uint64
	beat    time.Time    // of the next probe
	usable  bool         // at the last settle
	answer  time.Time    // when a probe's answer came last
	lost    time.Time    // when it stopped being usable; zero: nothing is left to forget
	told    plan.Six     // last logged
	before  netip.Prefix // the clinic's when this netd started
}

func newSixHands(u *uplinkHands, now time.Time) *sixHands {
	s := &sixHands{u: u, cfg: u.cfg.Six, asking: make(chan struct{}), since: now, why: "not asked yet"}
	if s.cfg.Method == config.SixAuto {
		s.before = delegation.Remembered(s.path(), now)
	}
	close(s.asking)
	if len(u.b.cfg.Six.Targets) > 0 && s.cfg.Method != config.SixOff {
		p := u.b.cfg.Probe
		s.machine = uplink.New(uplink.Config{Every: p.Every, Lost: p.Lost, Back: p.Back}, now)
	}
	return s
}

// Times of questions to routers (RFC 7559): soon, then ever more seldom.
const (
	firstPause  = 500 * time.Millisecond
	mostPause   = 2 * time.Minute
	sixPatience = time.Minute     // before a provider without IPv6 is worth a word
	sixStart    = 5 * time.Second // the longest that a netd takes to learn what the one before knew
)

// plug starts what runs while the link is up. What routers said before holds until
// it runs out: most cables go back where they came from.
func (s *sixHands) plug(ctx context.Context, now time.Time) {
	s.since = now
	if s.cfg.Method == config.SixAuto {
		s.next, s.pause = now, firstPause
		s.listen(ctx)
		s.ask(ctx)
	}
	if s.machine != nil {
		s.machine.Link(false, "no link", now) // what was seen was another's, maybe
		s.machine.Link(true, "", now)
		s.beat = now
		s.openProber(ctx)
	}
}

// unplug ends it; the context's end has ended the DHCPv6 client.
func (s *sixHands) unplug() {
	if s.conn != nil {
		s.conn.Close()
	}
	if s.prober != nil {
		s.prober.Close()
	}
	s.conn, s.prober = nil, nil
}

func (s *sixHands) listen(ctx context.Context) {
	b := s.u.b
	c, err := discovery.Ask(ctx, s.u.cfg.Port)
	if err != nil {
		b.env.Log.Error("uplink's routers can't be heard", "uplink", s.u.cfg.Name, "err", err)
		return
	}
	s.conn = c
	b.hands.Go(func() {
		err := c.Routers(func(from netip.Addr, a advert.Advert) {
			b.tell(ctx, func(now time.Time) {
				s.table.Hear(from, a, func(p netip.Prefix) bool { return config.Global(p.Addr()) && b.cfg.Clash(p) == nil }, now)
				s.heard = true
				if v := s.table.Look(now); v.Gateway.IsValid() {
					c.Trust(v.Gateway)
				}
			})
		})
		if err != nil {
			b.env.Log.Error("uplink's routers can't be heard", "uplink", s.u.cfg.Name, "err", err)
		}
	})
}

// ask starts the DHCPv6 client, after the one before has ended: they share a file.
func (s *sixHands) ask(ctx context.Context) {
	b := s.u.b
	before, done := s.asking, make(chan struct{})
	s.asking = done
	client := &delegation.Client{Dev: s.u.cfg.Port, Path: s.path(), Clash: b.cfg.Clash, Log: b.env.Log}
	b.hands.Go(func() {
		defer close(done)
		<-before
		client.Run(ctx, func(l *delegation.Lease, why string) {
			b.tell(ctx, func(time.Time) { s.lease, s.why, s.asked, b.news = l, why, true, true })
		})
	})
}

// path is where the prefix is remembered.
func (s *sixHands) path() string {
	return filepath.Join(s.u.b.env.State, "prefix-"+s.u.cfg.Name+".json")
}

func (s *sixHands) openProber(ctx context.Context) {
	b := s.u.b
	p, err := probe.Open6(ctx, s.u.cfg.Port, plan.Mark(s.u.i), b.cfg.Six.Targets)
	if err != nil {
		b.env.Log.Error("uplink's IPv6 can't be probed", "uplink", s.u.cfg.Name, "err", err)
		return
	}
	s.prober = p
	machine := s.machine
	b.hands.Go(func() {
		err := p.Receive(func(round uint64) {
			b.tell(ctx, func(now time.Time) {
				machine.Answered(round, now)
				s.answer = now
			})
		})
		if err != nil {
			b.env.Log.Error("uplink's IPv6 can't be probed", "uplink", s.u.cfg.Name, "err", err)
		}
	})
}

// tick asks the routers when none is known, and the targets.
func (s *sixHands) tick(now time.Time) {
	if s.conn != nil && !now.Before(s.next) {
		s.next, s.pause = now.Add(s.pause), min(2*s.pause, mostPause)
		if !s.table.Look(now).Gateway.IsValid() || s.machine != nil && !uplink.Usable(s.machine.Status().State) {
			if err := s.conn.Solicit(); err != nil { // no address of the link's yet: again soon
				s.u.b.env.Log.Debug("solicit", "uplink", s.u.cfg.Name, "err", err)
			}
		}
	}
	if s.machine == nil {
		return
	}
	s.machine.Tick(now)
	if s.prober != nil && s.told.Gateway.IsValid() && s.u.b.safe && !now.Before(s.beat) {
		s.beat = now.Add(s.u.b.cfg.Probe.Every)
		s.round++
		s.machine.Sent(s.round, now)
		if err := s.prober.Send(s.round); err != nil {
			s.u.b.env.Log.Debug("probe", "uplink", s.u.cfg.Name, "err", err)
		}
	}
}

// starting reports whether what an earlier netd left must stay: routers and the
// server had no time yet to say it again.
func (s *sixHands) starting(now time.Time) bool {
	return now.Sub(s.u.b.started) < sixStart && s.cfg.Method == config.SixAuto && !(s.heard && s.asked) && (s.u.index != 0 || !s.u.b.tried)
}

// now is what is known. While there is no firewall it is nothing.
func (s *sixHands) now(now time.Time) plan.Six {
	var p plan.Six
	switch {
	case !s.u.b.safe:
	case s.cfg.Method == config.SixStatic:
		p = plan.Six{Addresses: []netip.Prefix{s.cfg.Address}, Gateway: s.cfg.Gateway, Prefix: s.cfg.Prefix}
	case s.cfg.Method == config.SixAuto:
		p = s.found(now)
	}
	p.Usable = p.Gateway.IsValid() && s.works()
	return p
}

func (s *sixHands) found(now time.Time) plan.Six {
	v := s.table.Look(now)
	p := plan.Six{Gateway: v.Gateway}
	for i, prefix := range v.Prefixes {
		own := netip.PrefixFrom(s.u.b.opaque(prefix, s.u.cfg.Port), 128)
		if v.OnLink[i] {
			own = netip.PrefixFrom(own.Addr(), prefix.Bits())
		}
		p.Addresses = append(p.Addresses, own)
	}
	if s.lease != nil {
		p.Prefix = s.lease.Prefix
		if s.lease.Address.IsValid() {
			p.Addresses = append(p.Addresses, netip.PrefixFrom(s.lease.Address, 128))
		}
	}
	return p
}

// works reports whether new flows may take the uplink: its probes say so, or with
// no targets for IPv6 those of IPv4, or with no IPv4 either the link.
func (s *sixHands) works() bool {
	if s.u.index == 0 {
		return false
	}
	four := s.u.machine.Status()
	if s.machine != nil {
		// A link that carries no IPv4 any more is most likely dead: it is asked at
		// once, and trusted when something has come back by it since.
		doubt := four.State == wire.UplinkDown && four.Failed && !s.answer.After(four.Since)
		return uplink.Usable(s.machine.Status().State) && !doubt
	}
	return uplink.Usable(four.State) || four.State == wire.UplinkNoAddress
}

// note tells the machine of a new way, and the log of any news.
func (s *sixHands) note(p plan.Six, now time.Time) {
	same := p.Gateway == s.told.Gateway && p.Prefix == s.told.Prefix && fmt.Sprint(p.Addresses) == fmt.Sprint(s.told.Addresses)
	if same && p.Usable == s.told.Usable {
		return
	}
	if p.Gateway != s.told.Gateway && s.machine != nil {
		s.machine.Address(p.Gateway.IsValid(), "no router advertises itself", now)
	}
	if s.told.Usable && !p.Usable {
		s.beat = now
	}
	s.u.b.env.Log.Info("IPv6", "uplink", s.u.cfg.Name, "gateway", p.Gateway, "addresses", p.Addresses, "prefix", p.Prefix, "usable", p.Usable)
	s.told, s.u.b.news = p, true
}

// newSix makes what IPv6 needs, if the clinic has it.
func (b *box) newSix(now time.Time) (err error) {
	b.wall = newWall(b.ups)
	for _, z := range b.cfg.Zones[1:] {
		b.ports = append(slices.Clip(b.ports), z.Port)
	}
	if !b.cfg.HasSix() {
		return nil
	}
	for _, z := range b.cfg.Zones {
		b.zones = append(b.zones, newZoneHands(b, z, now))
	}
	b.riddle, err = riddle(filepath.Join(b.env.State, "addresses.key"))
	return err
}

// wire is what others are told of it; nil: it is switched off.
func (s *sixHands) wire() *wire.UplinkIPv6 {
	if s.cfg.Method == config.SixOff {
		return nil
	}
	w := &wire.UplinkIPv6{Usable: s.told.Usable, Reason: s.reason()}
	for _, a := range s.told.Addresses {
		w.Addresses = append(w.Addresses, a.String())
	}
	if s.told.Gateway.IsValid() {
		w.Gateway = s.told.Gateway.String()
	}
	if s.told.Prefix.IsValid() {
		w.Prefix = s.told.Prefix.String()
	}
	return w
}

func (s *sixHands) reason() string {
	switch {
	case s.u.index == 0:
		return "no link"
	case !s.told.Gateway.IsValid():
		return "no router advertises itself"
	case s.machine != nil && !s.told.Usable:
		return s.machine.Status().Reason
	case !s.told.Usable:
		return "IPv4 does not work either"
	case !s.told.Prefix.IsValid() && s.cfg.Method == config.SixAuto:
		return "works, without a prefix for the clinic: " + s.why
	}
	return "works"
}

// without reports whether the provider gives no IPv6, or no prefix, and has had the
// time to.
func (s *sixHands) without(now time.Time) bool {
	lacks := !s.told.Gateway.IsValid() || !s.told.Prefix.IsValid()
	return s.cfg.Method == config.SixAuto && s.u.index != 0 && lacks && now.Sub(s.since) >= sixPatience
}

// lookAtSix fills in what is known of the uplinks' IPv6, and has the firewall and
// the connections follow. A prefix that overlaps that of an uplink before it is not
// believed: one provider gives away what is another's.
func (b *box) lookAtSix(ups []plan.Uplink, now time.Time) {
	if !b.cfg.HasSix() {
		return
	}
	prefixes := make([]netip.Prefix, len(ups))
	for i, u := range b.ups {
		p := u.six.now(now)
		for _, before := range prefixes[:i] {
			if p.Prefix.IsValid() && before.IsValid() && before.Overlaps(p.Prefix) {
				p.Prefix = netip.Prefix{}
			}
		}
		u.six.note(p, now)
		ups[i].Six, prefixes[i] = p, p.Prefix
		if !p.Prefix.IsValid() && u.six.starting(now) {
			prefixes[i] = u.six.before // connections go on meanwhile
		}
	}
	b.wall.want(prefixes)
	for i := range b.ups {
		b.forgetSix(i, ups, now)
	}
}

// grace is for an uplink that is dead for a moment only.
const grace = time.Second

// forgetSix drops the connections of an uplink that stopped being usable, once
// there is another to take them: they are reset rather than left hanging.
func (b *box) forgetSix(i int, ups []plan.Uplink, now time.Time) {
	s, usable := b.ups[i].six, ups[i].Six.Usable
	switch {
	case usable:
		s.lost = time.Time{}
	case s.usable:
		s.lost = now
	}
	s.usable = usable
	other := slices.ContainsFunc(ups, func(u plan.Uplink) bool { return u.Six.Usable })
	if s.lost.IsZero() || !other || now.Sub(s.lost) < grace {
		return
	}
	n, err := b.kernel.ForgetMarked(plan.Mark(i))
	s.lost = time.Time{}
	b.env.Log.Info("IPv6 connections of a dead uplink forgotten", "uplink", b.name(i), "count", n, "err", err)
}

// opaque is the box's address in a network that hosts choose theirs in: the same
// as long as the box has its secret, and a riddle to others (RFC 7217).
func (b *box) opaque(p netip.Prefix, port string) netip.Addr {
	sum := sha256.Sum256(fmt.Appendf(b.riddle[:], "%s %s", p, port))
	a := p.Addr().As16()
	copy(a[8:], sum[:8])
	return netip.AddrFrom16(a)
}

// riddle reads the secret, made when the box first starts. Stop before it is on
// disk: the next start makes another, and nothing was in use.
func riddle(path string) (key [32]byte, err error) {
	b, err := os.ReadFile(path)
	if err == nil && len(b) == len(key) {
		return [32]byte(b), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return key, fmt.Errorf("read secret of addresses: %w", err)
	}
	rand.Read(key[:]) // never fails
	return key, durable.WriteFile(path, key[:], 0o600)
}
