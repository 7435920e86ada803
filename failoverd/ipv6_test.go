package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"clinicgate/failoverd/announce"
	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/proc"
	"clinicgate/firmware/wire"
)

const (
	local6  = "fe80::20:1"
	shared6 = "2001:db8:20::1"
)

// node6 is a box of ours that shares IPv6 addresses.
func (c *clinic) node6(name, cidr string, priority int) *node {
	c.t.Helper()
	return c.nodeWith(name, cidr, fmt.Sprintf(`[[pair.group]]
name = "lan6"
vrid = 20
port = "lan"
addresses = ["%s/64", "%s/64"]
priority = %d
interval = "100ms"
`, local6, shared6, priority))
}

// desk6 gives the workstation an address of the IPv6 network.
func (c *clinic) desk6() {
	c.ip(c.desk, "addr", "add", "2001:db8:20::50/64", "dev", "lan", "nodad")
}

// owner6 is the hardware address that a workstation which asks gets for the shared
// address.
func (c *clinic) owner6() string {
	c.ip(c.desk, "neigh", "flush", "dev", "lan")
	proc.Run(context.Background(), c.desk, "ping", "-6", "-c1", "-W1", shared6)
	return c.knows6()
}

// knows6 is what the workstation believes without asking.
func (c *clinic) knows6() string {
	_, mac, _ := strings.Cut(c.ip(c.desk, "-6", "neigh", "show", shared6), "lladdr ")
	mac, _, _ = strings.Cut(mac, " ")
	return mac
}

func (c *clinic) has6(s *netns.Space) bool {
	out := c.ip(s, "-6", "-o", "addr", "show", "dev", "lan")
	return strings.Contains(out, local6+"/") && strings.Contains(out, shared6+"/")
}

// Two boxes of ours share IPv6 addresses; a workstation that never asks again
// follows the advertisements from one to the other; kill -9 leaves nothing.
func TestPairIPv6(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	c.desk6()
	a, b := c.node6("a", "10.20.0.2/24", 150), c.node6("b", "10.20.0.3/24", 100)
	a.is(wire.RoleMaster)
	c.eventually("b follows a", func() bool { return strings.Contains(b.group().Reason, " is master with priority 150") })
	if got, want := c.owner6(), c.mac(a.space); got != want || !c.has6(a.space) || c.has6(b.space) {
		t.Fatalf("owner %q, want a's %q; a has %v, b has %v", got, want, c.has6(a.space), c.has6(b.space))
	}
	if out := c.ip(a.space, "-6", "-o", "addr", "show", "dev", "lan"); strings.Count(out, "deprecated") != 2 || strings.Contains(out, "tentative") {
		t.Errorf("want both shared addresses deprecated, none tentative:\n%s", out)
	}
	a.guardPID()
	a.proc.Kill()
	c.eventually("the dead program's addresses are gone", func() bool { return !c.has6(a.space) })
	b.is(wire.RoleMaster)
	c.eventually("the workstation follows", func() bool { return c.knows6() == c.mac(b.space) })
	if f := b.file().Faults; len(f) != 0 {
		t.Errorf("faults: %+v", f)
	}
	a.start()
	a.is(wire.RoleMaster)
	c.eventually("the workstation comes back", func() bool { return c.knows6() == c.mac(a.space) })
	b.is(wire.RoleBackup)
	if c.has6(b.space) {
		t.Error("b kept the addresses as backup")
	}
}

// A machine somebody gave the gateway's IPv6 address by hand.
func TestAddressConflictIPv6(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	a := c.node6("a", "10.20.0.2/24", 100)
	a.is(wire.RoleMaster)
	time.Sleep(takeoverGrace)
	pc := c.join("pc", "10.20.0.60/24")
	var mac net.HardwareAddr
	c.check(pc.Do(func() error {
		lan, err := net.InterfaceByName("lan")
		if err != nil {
			return err
		}
		// The address must be on the port before it can be said to be there; ours
		// defends its own, so a machine that looks first would not get this far.
		if err := announce.Claim(lan.Index, "lan", []netip.Prefix{netip.MustParsePrefix(shared6 + "/64")}); err != nil {
			return err
		}
		n, err := announce.OpenNeighbor(lan.Index, "lan", lan.HardwareAddr)
		if err != nil {
			return err
		}
		defer n.Close()
		mac = lan.HardwareAddr
		return n.Say(netip.MustParseAddr(shared6))
	}))
	if f := a.fault(faultConflict); !strings.Contains(f.What, mac.String()) || f.Severity != wire.Alarm {
		t.Errorf("got %+v", f)
	}
}

// keepalived shares IPv6 addresses with ours, each as the better one.
func TestInteropKeepalivedIPv6(t *testing.T) {
	t.Parallel()
	list := local6 + "/64\n\t\t" + shared6 + "/64"
	t.Run("master", func(t *testing.T) {
		c := newClinic(t)
		c.desk6()
		k := c.keepalivedWith("10.20.0.2/24", 150, list)
		k.says("Entering MASTER STATE")
		a := c.node6("a", "10.20.0.3/24", 100)
		c.eventually("ours follows keepalived", func() bool {
			return strings.Contains(a.group().Reason, " is master with priority 150, this box has 100")
		})
		k.proc.Stop(5 * time.Second)
		if g := a.is(wire.RoleMaster); !strings.HasSuffix(g.Reason, " stepped down") {
			t.Errorf("reason %q", g.Reason)
		}
		c.eventually("a is the owner", func() bool { return c.owner6() == c.mac(a.space) })
		if f := a.file().Faults; len(f) != 0 {
			t.Errorf("faults: %+v", f)
		}
	})
	t.Run("backup", func(t *testing.T) {
		c := newClinic(t)
		c.desk6()
		a := c.node6("a", "10.20.0.2/24", 150)
		a.is(wire.RoleMaster)
		k := c.keepalivedWith("10.20.0.3/24", 100, list)
		k.says("Entering BACKUP STATE")
		time.Sleep(2 * time.Second)
		if out := k.output(); strings.Contains(out, "MASTER STATE") {
			t.Fatalf("keepalived did not accept our advertisements:\n%s", out)
		}
		a.proc.Stop(5 * time.Second)
		k.says("Entering MASTER STATE")
		c.eventually("k is the owner", func() bool { return c.owner6() == c.mac(k.space) })
	})
}
