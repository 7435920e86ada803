// Package vrrp is one VRRPv3 virtual router's mind (RFC 9568 §6): events and the
// time go in, actions come out. It owns no timer, socket or address; its caller
// steps it when an event happens or Deadline has come, and does what it says in
// the order it says it. For any sequence of events, of two routers that hear each
// other at most one stays Active.
//
//	             start, priority 255
//	Initialize ────────────────────────► Active
//	    │  ▲                              ▲  │
//	start  stop                  timer    │  │ a better advertisement
//	    ▼  │                              │  ▼
//	    Backup ◄──────────────────────── Backup
package vrrp

import (
	"fmt"
	"net/netip"
	"time"
)

// State is a state of §6.3.
type State int

// The states.
const (
	Initialize State = iota
	Backup
	Active
)

func (s State) String() string { return [...]string{"initialize", "backup", "active"}[s] }

// Config is what a person decides about a router.
type Config struct {
	Priority uint8         // 1 to 254, or 255: it owns the addresses
	Interval time.Duration // between our advertisements
	Preempt  bool          // replace an Active router of lower priority
	Delay    time.Duration // after a start, before it does
	// Sole: nobody but this router would follow the Active one, as in a pair. Then a
	// silent one is replaced without the time that puts several in their order.
	Sole bool
}

// An Event is what happened: Start, Stop, Heard, Tick, or one of a handover.
type Event interface{ event() }

// Start is §6.4.1: the port is usable and its own address is Self. On a started
// router it only changes Self.
type Start struct{ Self netip.Addr }

// Stop takes the router out of the game; Reason says why, for people.
type Stop struct{ Reason string }

// Heard is an advertisement of our virtual router that passed every check.
type Heard struct {
	From     netip.Addr
	Priority uint8
	Interval time.Duration
}

// Tick says that the deadline may have come. A tick before it changes nothing.
type Tick struct {
	Bar string // why this box must not become Active now, for people; empty: it may
}

// Rank gives the router another priority, from 1 to 254. An owner keeps its own.
type Rank struct{ Priority uint8 }

// Cede tells an Active router that another one is in its place by right, though it
// was not heard: Reason says why, for people.
type Cede struct{ Reason string }

func (Start) event() {}
func (Stop) event()  {}
func (Heard) event() {}
func (Tick) event()  {}
func (Rank) event()  {}
func (Cede) event()  {}

// An Action is something the caller does.
type Action int

// The actions.
const (
	Send     Action = iota // send an advertisement with our priority
	Resign                 // send one with priority 0
	Claim                  // put the addresses on the port
	Announce               // send gratuitous ARP for each address
	Release                // take the addresses off the port
)

func (a Action) String() string {
	return [...]string{"send", "resign", "claim", "announce", "release"}[a]
}

// Status is what there is to show of a router.
type Status struct {
	State    State
	Reason   string // why this state, one clause
	Since    time.Time
	Peer     netip.Addr // last other router heard; invalid: none
	PeerSeen time.Time
}

// Router is one virtual router on one port. Make it with New.
type Router struct {
	cfg     Config
	self    netip.Addr
	started time.Time
	status  Status

	deadline time.Time     // Active: next advertisement; Backup: Active_Down_Timer
	heard    time.Duration // interval of the Active router we follow
	because  string        // what the down timer will mean when it fires
	excused  int           // late ticks forgiven in a row
	follows  bool          // an Active router was heard since the start
	aside    bool          // takes part with the lowest priority
	taking   time.Time     // until when the old Active router may still speak

	sent      time.Time   // last advertisement
	announced time.Time   // last gratuitous ARP
	again     []time.Time // repeats that are due
}

// New returns a router in Initialize.
func New(cfg Config, now time.Time) *Router {
	return &Router{cfg: cfg, status: Status{Reason: "not started", Since: now}}
}

// Status returns what there is to show.
func (r *Router) Status() Status { return r.status }

// Deadline returns when Step wants a Tick; the zero time means never.
func (r *Router) Deadline() time.Time {
	if r.status.State == Active && len(r.again) > 0 && r.again[0].Before(r.deadline) {
		return r.again[0]
	}
	return r.deadline
}

// Doubt returns when the Active router's advertisements count as missing, half way to
// the deadline: time to ask elsewhere whether it lives. The zero time: they don't.
func (r *Router) Doubt() time.Time {
	if r.status.State != Backup {
		return time.Time{}
	}
	return r.deadline.Add(-3 * r.heard / 2)
}

// Better reports whether a Backup router hears an Active one that it is to replace.
func (r *Router) Better(now time.Time) bool {
	return r.status.State == Backup && now.Sub(r.status.PeerSeen) < 3*r.heard
}

// Step moves the router and returns what to do. now must not go backwards; a
// time with a monotonic reading does not.
func (r *Router) Step(now time.Time, ev Event) []Action {
	if woken := r.wake(now); woken != nil {
		return append(woken, r.step(now, ev)...)
	}
	return r.step(now, ev)
}

func (r *Router) step(now time.Time, ev Event) []Action {
	switch ev := ev.(type) {
	case Start:
		return r.start(now, ev.Self)
	case Stop:
		return r.stop(now, ev.Reason)
	case Heard:
		if r.status.State == Initialize || ev.From == r.self {
			return nil
		}
		r.status.Peer, r.status.PeerSeen = ev.From, now
		if r.status.State == Backup {
			return r.heardInBackup(now, ev)
		}
		if r.ignores(now, ev) {
			return nil
		}
		return r.heardInActive(now, ev)
	case Tick:
		return r.tick(now, ev.Bar)
	case Rank:
		return r.rank(now, ev.Priority)
	case Cede:
		return r.cede(now, ev.Reason)
	case Join:
		return r.join(now, ev.Reason)
	case Take:
		return r.take(now, ev.Reason)
	case Yield:
		return r.yield(now, ev.Reason, ev.Stay)
	case Aside:
		r.aside = ev.On
		return nil
	default:
		return nil
	}
}

// start is §6.4.1.
func (r *Router) start(now time.Time, self netip.Addr) []Action {
	r.self = self
	if r.status.State != Initialize {
		return nil
	}
	r.started, r.follows = now, false
	if r.cfg.Priority == owner {
		return r.activate(now, "this box owns the addresses")
	}
	r.heard = r.cfg.Interval
	r.wait(now, r.down())
	r.because = fmt.Sprintf("no other box heard for %s", seconds(r.down()))
	r.become(now, Backup, fmt.Sprintf("listens for another box for %s", seconds(r.down())))
	return nil
}

func (r *Router) stop(now time.Time, reason string) []Action {
	was := r.status.State
	r.deadline, r.again = time.Time{}, nil
	r.become(now, Initialize, reason)
	if was == Active {
		return []Action{Resign, Release}
	}
	return nil
}

// rank tells the others at once: a box that has become worse is replaced the sooner.
func (r *Router) rank(now time.Time, priority uint8) []Action {
	if priority == r.cfg.Priority || priority == resign || priority == owner || r.cfg.Priority == owner {
		return nil
	}
	r.cfg.Priority = priority
	if r.status.State != Active || now.Sub(r.sent) < answerGap {
		return nil
	}
	r.sent = now
	return []Action{Send}
}

// cede is not §6.4.3: the other router proved by another way that it serves.
func (r *Router) cede(now time.Time, reason string) []Action {
	if r.status.State != Active {
		return nil
	}
	return r.listen(now, reason)
}

// listen gives the addresses up and begins anew.
func (r *Router) listen(now time.Time, reason string) []Action {
	r.again, r.started, r.heard, r.follows = nil, now, r.cfg.Interval, false
	r.wait(now, r.down())
	r.because = fmt.Sprintf("no other box heard for %s", seconds(r.down()))
	r.become(now, Backup, reason)
	return []Action{Release}
}

// asleep is how much longer than the other box waits an Active router may be silent
// before it takes itself for replaced.
const asleep = time.Second

// wake has an Active router that was not running for long (a suspended machine) give
// the addresses up before it says a word: the other box has them by now.
func (r *Router) wake(now time.Time) []Action {
	late := now.Sub(r.deadline)
	if r.status.State != Active || late <= r.down()+asleep || r.cfg.Priority == owner {
		return nil
	}
	return r.listen(now, fmt.Sprintf("this box was not running for %s, listens for another one first", seconds(late)))
}

func (r *Router) tick(now time.Time, bar string) []Action {
	if next := r.Deadline(); next.IsZero() || now.Before(next) {
		return nil
	}
	if r.status.State == Backup {
		return r.downTimer(now, bar)
	}
	var do []Action
	if !now.Before(r.deadline) {
		r.wait(now, r.cfg.Interval)
		r.sent = now
		do = append(do, Send)
	}
	due := 0
	for due < len(r.again) && !now.Before(r.again[due]) {
		due++
	}
	if due > 0 {
		r.again, r.announced = r.again[due:], now
		do = append(do, Announce)
	}
	return do
}

// become notes a state and its reason; Since moves with the state only.
func (r *Router) become(now time.Time, s State, reason string) {
	if r.status.State != s {
		r.status.State, r.status.Since = s, now
	}
	r.status.Reason = reason
}

func (r *Router) wait(now time.Time, d time.Duration) { r.deadline = now.Add(d) }
