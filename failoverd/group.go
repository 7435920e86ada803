package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"clinicgate/failoverd/advert"
	"clinicgate/failoverd/announce"
	"clinicgate/failoverd/cable"
	"clinicgate/failoverd/config"
	"clinicgate/failoverd/guard"
	"clinicgate/failoverd/vmac"
	"clinicgate/failoverd/vrrp"
	"clinicgate/firmware/daemon"
	"clinicgate/firmware/metric"
)

// A group is one virtual router with its hands: one goroutine owns it, readers
// hand it what they received.
type group struct {
	household

	cfg    config.Group
	index  int // in the report
	log    *slog.Logger
	faults *groupFaults
	router *vrrp.Router

	sent, received *metric.Counter
	refused        func(reason string) *metric.Counter

	looks  chan struct{} // the port may have changed
	seen   chan seen
	eye    eye
	inbox  chan received
	claims chan claim
	opened chan *passage
	orders chan func()

	line    *line     // nil while the port is unfit
	held    bool      // another group hinders this one
	passage *passage  // a claim on its way through the gate
	renew   time.Time // when the kernel's lease of the addresses is to be renewed; zero: none
	stand   stand
	form    []advert.Form // to send; both until another box was heard

	witness  *witness
	suspects suspects

	shown            vrrp.Status
	shownAt, unshown time.Time // unshown: when to look again; zero: all is shown
}

// A household is what all groups share.
type household struct {
	env     *daemon.Env
	rep     *report
	metrics *metric.Set
	guard   *guard.Guard
	gate    gate // nil: claims wait for nothing
	sync    *together
	sides   map[string]*side // by port
	cable   *cable.Cable     // nil: there is none
}

func newGroup(cfg config.Group, h household, index int) *group {
	env, m := h.env, h.metrics
	return &group{
		household: h, cfg: cfg, index: index,
		log:      env.Log.With("group", cfg.Name),
		faults:   newGroupFaults(env.Faults, cfg),
		router:   vrrp.New(vrrp.Config{Priority: cfg.Priority, Interval: cfg.Interval, Preempt: cfg.Preempt, Delay: cfg.Delay, Sole: h.cable != nil}, time.Now()),
		sent:     m.Counter(metricSent, "Advertisements sent.", "group", cfg.Name),
		received: m.Counter(metricReceived, "Advertisements of this group received from other boxes.", "group", cfg.Name),
		refused: func(reason string) *metric.Counter {
			return m.Counter(metricRefused, "Packets refused, by reason.", "group", cfg.Name, "reason", reason)
		},
		looks:  make(chan struct{}, 1),
		seen:   make(chan seen, 1),
		inbox:  make(chan received, 64),
		claims: make(chan claim, 16),
		opened: make(chan *passage),
		orders: make(chan func()),
		form:   forms(cfg),

		witness: newWitness(h.sides[cfg.Port], h.cable),
	}
}

// forms is in which forms a group speaks before it knows the other's: IPv6 has
// only one.
func forms(cfg config.Group) []advert.Form {
	if cfg.Addresses[0].Addr().Is6() {
		return []advert.Form{advert.RFC9568}
	}
	return []advert.Form{advert.RFC9568, advert.RFC5798}
}

// poke has the group look at its port again. It never blocks.
func (g *group) poke() {
	select {
	case g.looks <- struct{}{}:
	default:
	}
}

// run is the group's life. Its end is graceful: the other box is told at once.
func (g *group) run(ctx context.Context) error {
	defer g.leave()
	g.look()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		// A timer that is set anew before it has fired never does: what is due is done
		// here, however fast packets come in.
		if g.wait(time.Now()) <= 0 {
			g.tick()
		}
		now := time.Now()
		g.convict(now)
		g.faults.expire(now)
		g.tellCable(now)
		g.show()
		timer.Reset(g.wait(time.Now()))
		select {
		case <-ctx.Done():
			g.step(vrrp.Stop{Reason: "failoverd stops"})
			g.tellCable(time.Now())
			g.rep.show(g.index, g.router.Status(), g.router.Priority())
			return nil
		case <-g.looks:
			g.look()
		case s := <-g.seen:
			g.judge(s)
		case r := <-g.inbox:
			g.take(r)
		case c := <-g.claims:
			g.conflict(c)
		case <-g.witness.beats:
			g.beaten(time.Now())
			g.reconsider()
		case p := <-g.opened:
			g.through(p)
		case f := <-g.orders:
			f()
		case <-timer.C:
			g.tick()
		}
	}
}

// wait is the time until something is due.
func (g *group) wait(now time.Time) time.Duration {
	return wait(g.router.Deadline(), g.unshown, g.renewal(), g.wantsWatch(), g.suspects.next(), g.mayBeFree(now))
}

// tick does what is due.
func (g *group) tick() {
	g.drain()
	now := time.Now()
	g.watch(now)
	g.step(vrrp.Tick{Bar: g.bar(now)})
	g.rejoin()
	g.reconsider()
	if at := g.renewal(); !at.IsZero() && !time.Now().Before(at) {
		g.look()
	}
}

// showGap is the least time between two looks at whether failoverd.json changed,
// unless the role did: advertisements may come much faster.
const showGap = 100 * time.Millisecond

func (g *group) show() {
	now, s := time.Now(), g.router.Status()
	g.sync.note(g, s.State)
	if s.State == g.shown.State && s.Reason == g.shown.Reason && now.Sub(g.shownAt) < showGap {
		g.unshown = g.shownAt.Add(showGap)
		return
	}
	g.rep.show(g.index, s, g.router.Priority())
	g.shown, g.shownAt, g.unshown = s, now, time.Time{}
}

// wait is the time until the first of the deadlines that are set.
func wait(deadlines ...time.Time) time.Duration {
	d := time.Hour
	for _, t := range deadlines {
		if !t.IsZero() {
			d = min(d, max(0, time.Until(t)))
		}
	}
	return d
}

// drain takes what was received before the timer fired and lay waiting: a box
// that slept must hear the other before it believes in its death. What comes in
// meanwhile is left.
func (g *group) drain() {
	for range len(g.inbox) {
		select {
		case r := <-g.inbox:
			g.take(r)
		default:
			return
		}
	}
}

// own claims at once, past the gate; false: the router is out of the game.
func (g *group) own() bool {
	err := g.claim()
	if err != nil {
		g.log.Warn("claim", "err", err)
		g.out(err.Error())
	}
	return err == nil
}

// out ends the group's part in the game until its port is fit again.
func (g *group) out(reason string) {
	g.step(vrrp.Stop{Reason: reason})
	g.leave()
}

func (g *group) unplug() {
	if g.line != nil {
		g.line.close()
		g.line = nil
	}
}

// leave unplugs, and nothing of the group stays on the box.
func (g *group) leave() {
	if g.line == nil {
		return
	}
	if s := g.line.seat; s.virtual() {
		if err := vmac.Remove(s.index); err != nil {
			g.log.Warn("leave port", "err", err)
		}
	}
	g.unplug()
}

// step moves the router and does what it says.
func (g *group) step(ev vrrp.Event) {
	before := g.router.Status().State
	defer func() {
		if _, timed := ev.(vrrp.Tick); timed && before != vrrp.Active && g.router.Status().State == vrrp.Active {
			g.sync.along(g)
		}
	}()
	for _, a := range g.router.Step(time.Now(), ev) {
		if !g.attempt(a) {
			return
		}
	}
}

// attempt does one action; false: the router is out of the game for it, because a
// master without the addresses is no master.
func (g *group) attempt(a vrrp.Action) bool {
	if a == vrrp.Claim {
		return g.enter() || g.own()
	}
	if err := g.do(a); err != nil {
		g.log.Warn(a.String(), "err", err)
	}
	return true
}

var errClosed = errors.New("the port is closed")

func (g *group) do(a vrrp.Action) error {
	if g.line == nil {
		return errClosed
	}
	switch a {
	case vrrp.Send:
		g.keep()
		return g.send(g.router.Priority())
	case vrrp.Resign:
		return g.send(advert.Resign)
	case vrrp.Release:
		g.callBack()
		g.renew = time.Time{}
		err := g.stand.move(g.vacate)
		g.tellGuard(g.guard.Free(g.cfg.Name))
		return err
	case vrrp.Announce:
		if g.passage != nil { // not ours to announce yet
			return nil
		}
		var failed []error
		for _, p := range g.cfg.Addresses {
			failed = append(failed, g.line.seat.voice.Say(p.Addr()))
		}
		return errors.Join(failed...)
	}
	return fmt.Errorf("internal error: action %d", a)
}

// claim puts the addresses on the port for a while: each renewal is a proof of
// life. Stop here, between the guard's hold and the address: nothing was claimed.
func (g *group) claim() error {
	if g.line == nil {
		return errClosed
	}
	g.keep()
	g.renew = time.Now().Add(announce.Renew)
	return g.stand.move(g.occupy)
}

// leastHold is the least time the guard gives this program to show itself: a busy
// machine must not lose the addresses to its own guard.
const leastHold = 100 * time.Millisecond

// keep tells the guard that this program is alive. The hold ends when the other
// box may take over.
func (g *group) keep() {
	g.tellGuard(g.guard.Keep(guard.Hold{
		Group: g.cfg.Name, Index: g.line.seat.index, Device: g.line.seat.device,
		For: max(leastHold, 3*g.cfg.Interval), Addresses: g.cfg.Addresses,
	}))
}

// tellGuard drops the error: the guard is being replaced, and the kernel's lease
// ends by itself.
func (g *group) tellGuard(err error) {
	if err != nil {
		g.log.Debug("guard", "err", err)
	}
}

// take is one packet or one refusal from the line.
func (g *group) take(r received) {
	switch {
	case r.line != g.line: // of a port that was closed meanwhile
		return
	case r.err != nil:
		g.refused(r.reason).Inc()
		g.faults.refused(r.err)
		return
	case r.msg.VRID != g.cfg.VRID: // another virtual router on the same network
		return
	case r.from == g.line.self: // another machine with our own address: not a peer
		g.refused("own address").Inc()
		g.faults.refused(fmt.Errorf("advertisement from %v, which is this box's own address", r.from))
		return
	}
	g.witness.side.router(time.Now(), r.from)
	if len(g.cfg.Peers) > 0 && !slices.Contains(g.cfg.Peers, r.from) {
		g.refused("stranger").Inc()
		g.faults.stranger(r.from, r.msg)
		return
	}
	if g.confirmed(time.Now(), r) {
		g.believe(r)
	}
}

// believe takes an advertisement for the other box's.
func (g *group) believe(r received) {
	g.received.Inc()
	g.form = []advert.Form{r.form}
	g.faults.differs(r.from, r.msg, g.hosts())
	g.step(vrrp.Heard{From: r.from, Priority: r.msg.Priority, Interval: r.msg.Interval})
	if g.router.Status().State == vrrp.Active && r.msg.Priority != advert.Resign {
		g.faults.rival(r.from)
	} else {
		g.faults.yielded()
	}
}

// convict names the machines whose advertisements the cable never confirmed.
func (g *group) convict(now time.Time) {
	for _, r := range g.suspects.rogues(now) {
		g.faults.rogue(r)
	}
}

// conflict is ARP from another machine that says it has one of the addresses. The
// other box may say so in the moment of a takeover.
func (g *group) conflict(c claim) {
	s := g.router.Status()
	if s.State == vrrp.Active && time.Since(s.Since) > takeoverGrace {
		g.faults.conflict(c)
	}
}
