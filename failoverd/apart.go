package main

import (
	"time"

	"clinicgate/failoverd/vrrp"
)

// grace is how long groups that move together may be with different boxes: a
// takeover is under way.
const grace = 500 * time.Millisecond

// note keeps in mind where a group is, and since when.
func (t *together) note(g *group, s vrrp.State) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if was, known := t.where[g]; !known || was.state != s {
		t.where[g] = place{s, time.Now()}
	}
}

// A place is a group's state since a moment.
type place struct {
	state vrrp.State
	since time.Time
}

// apart reports whether g's addresses are here though those of the first group that
// moves with it have been with the other box for a while. The clinic's packets would
// come in by one box and their answers by the other.
func (t *together) apart(g *group) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.members[g.cfg.Sync]
	if len(all) < 2 || all[0] == g {
		return false
	}
	long := grace + 4*g.cfg.Interval
	first, own := t.where[all[0]], t.where[g]
	return own.state == vrrp.Active && first.state == vrrp.Backup && time.Since(own.since) > long && time.Since(first.since) > long
}

// rejoin gives the addresses to the box that has those of the first group.
func (g *group) rejoin() {
	if g.sync.apart(g) {
		g.log.Warn("the groups that move together are apart", "giving", g.cfg.Name)
		g.step(vrrp.Yield{Reason: "goes where the first group of " + g.cfg.Sync + " is", Stay: true})
	}
}
