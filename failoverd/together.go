package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"clinicgate/failoverd/vrrp"
)

// together holds the groups that move together: a box whose WAN port is dead must
// not keep the LAN's addresses, nor the other way round. A group takes part only
// while the ports of all groups with its sync name are fit.
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
	for _, m := range t.members[g.cfg.Sync] {
		if why := t.unfit[m]; m != g && why != "" {
			return fmt.Sprintf("moves together with group %s: %s", m.cfg.Name, why)
		}
	}
	return ""
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
