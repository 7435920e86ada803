package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"clinicgate/failoverd/beat"
	"clinicgate/failoverd/trust"
	"clinicgate/failoverd/vrrp"
)

// together holds the groups that move together: a box whose WAN port is dead must
// not keep the LAN's addresses, nor the other way round. A group takes part only
// while the ports of all groups with its sync name are fit. But the first of them,
// which is the clinic's, waits for no group that the other box can't serve either: a
// provider's dead modem must not take the gateway away.
type together struct {
	mu      sync.Mutex
	members map[string][]*group // by sync name
	unfit   map[*group]string   // why; a group that has not looked yet is unfit
	where   map[*group]place
}

func newTogether() *together {
	return &together{members: map[string][]*group{}, unfit: map[*group]string{}, where: map[*group]place{}}
}

// add is called for each group before any of them runs.
func (t *together) add(g *group) {
	if name := g.cfg.Sync; name != "" {
		t.members[name] = append(t.members[name], g)
		t.unfit[g] = "has not looked at its port yet"
	}
}

// tell notes how a group found its own port, empty: fit, and has the others look
// again if that changed.
func (t *together) tell(g *group, unfit string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if g.cfg.Sync == "" || t.unfit[g] == unfit {
		return
	}
	t.unfit[g] = unfit
	for _, m := range t.members[g.cfg.Sync] {
		if m != g {
			m.poke()
		}
	}
}

// hinders says which other group keeps this one out of the game, and why; empty:
// none does.
func (t *together) hinders(g *group) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.members[g.cfg.Sync]
	for _, m := range all {
		if why := t.unfit[m]; m != g && why != "" {
			if g == all[0] && m.nowhere(time.Now()) {
				continue
			}
			return fmt.Sprintf("moves together with group %s: %s", m.cfg.Name, why)
		}
	}
	return ""
}

// nowhere reports whether the other box does not take part in the group either, by
// its own word, or is itself not there. Without a cable nobody knows.
func (g *group) nowhere(now time.Time) bool {
	if g.witness == nil || g.witness.cable == nil {
		return false
	}
	state, _, _ := g.other(now)
	said, ok := g.witness.cable.Said(g.cfg.VRID, g.six())
	return state == trust.Lost || ok && said.Role == beat.Init
}

// reconsider has a group look again when what the other box says changed whether this
// one hinders it.
func (g *group) reconsider() {
	if g.cfg.Sync != "" && g.held != (g.sync.hinders(g) != "") {
		g.look()
	}
}

// mayBeFree is when a hindered group asks again: a box that dies says nothing.
func (g *group) mayBeFree(now time.Time) time.Time {
	if !g.held {
		return time.Time{}
	}
	return now.Add(alongTime)
}

// alongTime is how long a group may be busy with something else: then its own timer
// has fired.
const alongTime = 100 * time.Millisecond

// along has the groups that move with g follow it at once: it found the other box
// silent, and on their side the timer is about to say the same.
func (t *together) along(g *group) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range t.members[g.cfg.Sync] {
		if m != g {
			ctx, cancel := context.WithTimeout(context.Background(), alongTime)
			go m.order(ctx, func() {
				m.drain() // what waits was said before
				m.step(vrrp.Join{Reason: fmt.Sprintf("moves together with group %s", g.cfg.Name)})
			})
			context.AfterFunc(ctx, cancel)
		}
	}
}
