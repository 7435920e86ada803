package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/failoverd/config"
	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/wire"
)

// The rule without ports: who hinders whom, and who is asked to look again.
func TestTogether(t *testing.T) {
	with := newTogether()
	member := func(name, sync string) *group {
		g := &group{cfg: config.Group{Name: name, Sync: sync}, looks: make(chan struct{}, 1)}
		with.add(g)
		return g
	}
	lan, wan, svc := member("lan", "clinic"), member("wan", "clinic"), member("svc", "")
	poked := func(g *group) bool {
		select {
		case <-g.looks:
			return true
		default:
			return false
		}
	}
	if with.hinders(lan) == "" || with.hinders(svc) != "" {
		t.Error("a group that has not looked yet must hinder its own, and nobody else")
	}
	with.tell(lan, "")
	with.tell(wan, "")
	if with.hinders(lan) != "" || with.hinders(wan) != "" || !poked(lan) || !poked(wan) {
		t.Error("all are fit, and each was to look again")
	}
	with.tell(wan, "no link on wan1")
	if got := with.hinders(lan); got != "moves together with group wan: no link on wan1" || with.hinders(wan) != "" {
		t.Errorf("lan is hindered by %q, wan by %q", got, with.hinders(wan))
	}
	if !poked(lan) || poked(wan) || poked(svc) {
		t.Error("lan alone was to look again")
	}
	with.tell(wan, "no link on wan1")
	if poked(lan) {
		t.Error("nothing changed")
	}
}

// Two boxes with a LAN and a WAN side: pull one cable of the master and both sides
// move; put it back and both return.
func TestSidesMoveTogether(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	c.check(c.sw.Bridge("br1"))
	box := func(name string, host, priority int) *node {
		group := "[[pair.group]]\nname = %q\nvrid = %d\nport = %q\naddresses = [%q]\npriority = %d\ninterval = \"100ms\"\nsync = \"clinic\"\n"
		n := c.nodeWith(name, fmt.Sprintf("10.20.0.%d/24", host),
			fmt.Sprintf(group, "lan", 20, "lan", shared+"/24", priority)+fmt.Sprintf(group, "wan", 21, "wan1", "10.30.0.1/24", priority))
		c.check(netns.Veth(n.space, "wan1", c.sw, name+"-wan"), n.space.Addr("wan1", fmt.Sprintf("10.30.0.%d/24", host)))
		c.ip(c.sw, "link", "set", "dev", name+"-wan", "master", "br1")
		return n
	}
	a := box("a", 2, 150)
	a.are(wire.RoleMaster)
	b := box("b", 3, 100)
	b.are(wire.RoleBackup)
	for _, side := range []struct {
		cable string
		out   int // the group that is out for the other's sake
		why   string
	}{{"a-wan", 0, "moves together with group wan: no link on wan1"}, {"a", 1, "moves together with group lan: no link on lan"}} {
		c.ip(c.sw, "link", "set", "dev", side.cable, "down")
		b.are(wire.RoleMaster)
		a.are(wire.RoleInit)
		if got := a.file().Groups[side.out].Reason; got != side.why {
			t.Errorf("%s pulled: reason %q, want %q", side.cable, got, side.why)
		}
		if a.has() || strings.Contains(c.ip(a.space, "addr"), "10.30.0.1/") {
			t.Errorf("%s pulled: a kept an address", side.cable)
		}
		c.ip(c.sw, "link", "set", "dev", side.cable, "up")
		a.are(wire.RoleMaster)
		b.are(wire.RoleBackup)
	}
}

// A provider's line is dead at both boxes, or at the only one that has power: the
// clinic keeps its gateway. Where one box has the line, it has the gateway too.
func TestDeadProvider(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	c.check(c.sw.Bridge("br1"))
	box := func(name string, own, other, priority int) *node {
		group := "[[pair.group]]\nname = %q\nvrid = %d\nport = %q\naddresses = [%q]\npriority = %d\ninterval = \"100ms\"\nsync = \"clinic\"\n"
		n := c.nodeIdle(name, fmt.Sprintf("10.20.0.%d/24", own),
			fmt.Sprintf(group, "lan", 20, "lan", shared+"/24", priority)+fmt.Sprintf(group, "wan", 21, "wan1", "10.30.0.1/24", priority)+
				fmt.Sprintf("[pair.flows]\nlisten = \"10.77.0.%d:7789\"\npeer = \"10.77.0.%d:7789\"\n", own, other))
		c.check(os.WriteFile(filepath.Join(n.dir, "ha.key"), []byte(pairKey+"\n"), 0o644))
		c.check(netns.Veth(n.space, "wan1", c.sw, name+"-wan"), n.space.Addr("wan1", fmt.Sprintf("10.30.0.%d/24", own)))
		c.ip(c.sw, "link", "set", "dev", name+"-wan", "master", "br1")
		return n
	}
	a, b := box("a", 2, 3, 150), box("b", 3, 2, 100)
	c.check(netns.Veth(a.space, "ha", b.space, "ha"), a.space.Addr("ha", "10.77.0.2/24"), b.space.Addr("ha", "10.77.0.3/24"))
	a.start()
	a.are(wire.RoleMaster)
	b.start()
	b.are(wire.RoleBackup)
	lan := func(n *node, role string) {
		t.Helper()
		c.eventually(n.space.Name+"'s lan is "+role, func() bool { f := n.file(); return len(f.Groups) == 2 && f.Groups[0].Role == role })
	}
	c.ip(c.sw, "link", "set", "dev", "b-wan", "down")
	b.reasoned(c, 1, "no link on wan1")
	since := a.file().Groups[0].Since
	c.ip(c.sw, "link", "set", "dev", "a-wan", "down")
	a.reasoned(c, 1, "no link on wan1")
	lan(b, wire.RoleBackup)
	lan(a, wire.RoleMaster)
	time.Sleep(500 * time.Millisecond)
	if f := a.file(); f.Groups[0].Role != wire.RoleMaster || !a.has() {
		t.Errorf("no line anywhere: a is %s, %s (before since %v)", f.Groups[0].Role, f.Groups[0].Reason, since)
	}
	c.ip(c.sw, "link", "set", "dev", "b-wan", "up")
	b.are(wire.RoleMaster)
	lan(a, wire.RoleInit)
	b.proc.Kill()
	c.ip(b.space, "link", "set", "dev", "ha", "down")
	lan(a, wire.RoleMaster)
	c.eventually("the clinic has a gateway", c.reachable)
}

func (n *node) reasoned(c *clinic, group int, why string) {
	c.t.Helper()
	c.eventually(n.space.Name+": "+why, func() bool { f := n.file(); return len(f.Groups) > group && f.Groups[group].Reason == why })
}
