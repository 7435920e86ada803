package main

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"clinicgate/failoverd/beat"
	"clinicgate/failoverd/cable"
	"clinicgate/failoverd/reach"
	"clinicgate/failoverd/trust"
	"clinicgate/failoverd/vrrp"
)

// A side is one port's view of the clinic's machines, shared by the groups on it.
type side struct {
	mu    sync.Mutex
	reach reach.Reach
	asks  map[bool]func(netip.Addr) error // by family, true: IPv6; nil: nobody on this port can ask
	asked time.Time
	eager time.Time // until then the other box waits for a sign of life
}

// askGap is the least time between two rounds of asking.
const askGap = 5 * time.Millisecond

// heard notes a machine that spoke; true: somebody waits for that.
func (s *side) heard(now time.Time, addr netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reach.Heard(now, addr)
	return now.Before(s.eager)
}

// router notes another router's advertisement.
func (s *side) router(now time.Time, addr netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reach.Router(now, addr)
}

func (s *side) alone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reach.Alone()
}

// ask asks the machines heard last whether they are there.
func (s *side) ask(now time.Time) {
	s.mu.Lock()
	asks, list := maps.Clone(s.asks), s.reach.Ask()
	if asks == nil || now.Sub(s.asked) < askGap {
		s.mu.Unlock()
		return
	}
	s.asked = now
	s.mu.Unlock()
	for _, a := range list {
		if ask := asks[a.Is6()]; ask != nil {
			_ = ask(a) // a port that can't send is not answered either
		}
	}
}

// askNow asks because the other box wants to know.
func (s *side) askNow(now time.Time) {
	s.mu.Lock()
	s.eager = now.Add(trustWait)
	s.mu.Unlock()
	s.ask(now)
}

// idle asks when nobody spoke by himself for a while.
func (s *side) idle(now time.Time) {
	s.mu.Lock()
	quiet := now.Sub(s.reach.Last()) >= askEvery
	s.mu.Unlock()
	if quiet {
		s.ask(now)
	}
}

// askEvery is how often machines are asked on a quiet network.
const askEvery = time.Second

func (s *side) state() (known int, last time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reach.Known(), s.reach.Last()
}

func (s *side) by(six bool, ask func(netip.Addr) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asks == nil {
		s.asks = map[bool]func(netip.Addr) error{}
	}
	s.asks[six] = ask
}

// A witness is what a group knows beside the advertisements it hears: the clinic's
// machines, and the other box's word over the cable.
type witness struct {
	side  *side
	cable *cable.Cable // nil: there is none
	beats chan struct{}

	doubt  time.Time // since when the master is missed
	both   time.Time // since when both boxes are master
	macs   [][6]byte // of the other box, by its confirmed advertisements
	last   received  // advertisement that the cable has not confirmed; line nil: none
	lastAt time.Time

	mu   sync.Mutex
	said beat.Group
}

func newWitness(s *side, c *cable.Cable) *witness {
	return &witness{side: s, cable: c, beats: make(chan struct{}, 1)}
}

// poke has the group look at what the other box said.
func (w *witness) poke() {
	select {
	case w.beats <- struct{}{}:
	default:
	}
}

// say is what the cable tells the other box.
func (w *witness) say(now time.Time) beat.Group {
	w.mu.Lock()
	g := w.said
	w.mu.Unlock()
	g.Heard = beat.Never
	if _, last := w.side.state(); !last.IsZero() {
		g.Heard = now.Sub(last)
	}
	return g
}

// other is the other box's word about the group.
func (g *group) other(now time.Time) (trust.Cable, trust.Other, bool) {
	if g.witness.cable == nil {
		return trust.None, trust.Other{}, false
	}
	return g.witness.cable.Other(now, g.cfg.VRID, g.six())
}

func (g *group) six() bool { return g.cfg.Addresses[0].Addr().Is6() }

// tellCable updates what is said over the cable, at once when it changed.
func (g *group) tellCable(now time.Time) {
	w := g.witness
	if w.cable == nil {
		return
	}
	st := g.router.Status()
	say := beat.Group{VRID: g.cfg.VRID, Six: g.six(), Priority: g.router.Priority(), Asks: !w.doubt.IsZero() || !w.both.IsZero()}
	switch {
	case st.State == vrrp.Active && !g.router.Silent(now):
		say.Role = beat.Master
	case st.State != vrrp.Initialize:
		say.Role = beat.Backup
	}
	if g.line != nil && say.Role != beat.Init {
		say.Self = g.line.self
	}
	w.mu.Lock()
	changed := w.said != say
	w.said = say
	w.mu.Unlock()
	if changed {
		w.cable.Kick()
	}
}

// box is what this box knows at this moment, for judging.
func (g *group) box(now time.Time) trust.Box {
	b := trust.Box{Doubt: g.witness.doubt, Priority: g.router.Priority()}
	b.Cable, b.Other, _ = g.other(now)
	if g.cable != nil {
		b.Beat = g.cable.Every()
	}
	b.Known, b.Heard = g.witness.side.state()
	b.Alone = b.Cable == trust.None && len(g.cfg.Peers) == 0 && g.witness.side.alone()
	if g.line != nil {
		b.Self = g.line.self
	}
	return b
}

// neighbor is a sign of life from the clinic's network. Called by the readers.
func (g *group) neighbor(addr netip.Addr) {
	if slices.Contains(g.cfg.Peers, addr) {
		g.witness.side.router(time.Now(), addr)
		return
	}
	if g.witness.side.heard(time.Now(), addr) && g.witness.cable != nil {
		g.witness.cable.Kick()
	}
}

// watch compares the two heartbeats: it notices that the master is missed, and gives
// way where the other box serves by right.
func (g *group) watch(now time.Time) {
	w := g.witness
	state, other, asks := g.other(now)
	if asks {
		w.side.askNow(now)
	}
	at := g.router.Doubt()
	switch {
	case at.IsZero() || now.Before(at):
		w.doubt = time.Time{}
		g.faults.barred("")
	case w.doubt.IsZero():
		w.doubt = now
		w.side.ask(now)
	}
	active := g.router.Status().State == vrrp.Active && !g.router.Silent(now)
	switch {
	case !active || state != trust.Alive || !other.Master:
		w.both = time.Time{}
	case w.both.IsZero():
		w.both = now
		w.side.ask(now)
	}
	if active {
		if why := trust.Cede(now, w.both, g.box(now)); why != "" {
			w.both = time.Time{}
			g.log.Warn("giving way", "why", why)
			g.step(vrrp.Cede{Reason: why})
		}
	}
}

// wantsWatch is when watch is next needed without an event; the zero time: never.
func (g *group) wantsWatch() time.Time {
	at := g.router.Doubt()
	if !g.witness.doubt.IsZero() {
		at = time.Time{}
	}
	if !g.witness.both.IsZero() {
		at = g.witness.both.Add(trustWait)
		if g.cable != nil {
			at = g.witness.both.Add(max(trustWait, 4*g.cable.Every()))
		}
	}
	return at
}

// trustWait is how long the other box's word may be behind its advertisement, and how
// long a question of it is urgent.
const trustWait = 100 * time.Millisecond

// barredAfter is how long the master must be missed for it to be a fault.
const barredAfter = time.Second

// bar is why the group must not claim, should its timer have fired.
func (g *group) bar(now time.Time) string {
	if g.router.Status().State != vrrp.Backup || now.Before(g.router.Deadline()) {
		return ""
	}
	b := g.box(now)
	if g.router.Better(now) {
		b.Better, b.Doubt = true, time.Time{}
	}
	why := trust.Bar(now, b)
	if why != "" {
		g.witness.side.ask(now)
	}
	if why == "" || now.Sub(g.witness.doubt) > barredAfter {
		g.faults.barred(why) // a busy machine's hiccup is no alarm
	}
	return why
}

// confirmed reports whether an advertisement counts. One that the cable does not
// confirm yet is kept until the next beat.
func (g *group) confirmed(now time.Time, r received) bool {
	state, other, _ := g.other(now)
	other.MACs = g.witness.macs
	advert := trust.Advert{From: r.from, Priority: r.msg.Priority}
	copy(advert.MAC[:], r.mac)
	why := trust.Refuse(state, other, advert)
	if why == "" && state == trust.Alive {
		g.witness.place(advert.MAC)
	}
	if why == "" {
		g.suspects.clear(r)
		return true
	}
	g.refused("unconfirmed").Inc()
	g.suspects.note(now, r, why)
	g.witness.last, g.witness.lastAt = r, now
	return false
}

// mostPlaces is how many hardware addresses the other box may have: its ports', and the
// virtual ones.
const mostPlaces = 4

// place remembers where the other box's advertisements come from.
func (w *witness) place(mac [6]byte) {
	if slices.Contains(w.macs, mac) {
		return
	}
	if len(w.macs) == mostPlaces {
		w.macs = slices.Delete(w.macs, 0, 1)
	}
	w.macs = append(w.macs, mac)
}

// beaten is a new word of the other box: what it did not confirm before it may now.
func (g *group) beaten(now time.Time) {
	if r := g.witness.last; r.line != nil && r.line == g.line {
		g.witness.last = received{}
		if now.Sub(g.witness.lastAt) < trustWait && g.confirmed(now, r) {
			g.believe(r)
		}
	}
	g.watch(now)
}
