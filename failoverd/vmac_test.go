package main

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"clinicgate/firmware/lab/proc"
	"clinicgate/firmware/wire"
)

// virtual is one box of ours with a group of each family at the virtual hardware
// addresses.
func (c *clinic) virtual(name, cidr string, priority int) *node {
	c.t.Helper()
	group := func(name, addresses string) string {
		return fmt.Sprintf("[[pair.group]]\nname = %q\nvrid = 20\nport = \"lan\"\naddresses = [%s]\npriority = %d\ninterval = \"100ms\"\nmac = \"virtual\"\n", name, addresses, priority)
	}
	return c.nodeWith(name, cidr, group("lan", fmt.Sprintf("%q", shared+"/24"))+group("lan6", fmt.Sprintf("%q, %q", local6+"/64", shared6+"/64")))
}

// at waits until both addresses are at the virtual hardware addresses, and nobody
// answers from another.
func (c *clinic) at(mac, mac6 string) {
	c.t.Helper()
	var got, got6 string
	ok := func() bool { got, got6 = c.owner(), c.owner6(); return got == mac && got6 == mac6 }
	for end := time.Now().Add(patience); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatalf("owners are %q and %q, want %s and %s", got, got6, mac, mac6)
		}
	}
}

// devices lists the virtual devices on a node.
func (n *node) devices() (found string) {
	for _, d := range []string{"vm-20-4", "vm-20-6"} {
		if strings.Contains(n.c.ip(n.space, "-o", "link", "show"), " "+d+"@") {
			found += d + " "
		}
	}
	return found
}

// Two boxes of ours: the workstation keeps the hardware address it knows through a
// takeover, and a killed or frozen box keeps none.
func TestVirtualMAC(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	c.desk6()
	a, b := c.virtual("a", "10.20.0.2/24", 150), c.virtual("b", "10.20.0.3/24", 100)
	a.are(wire.RoleMaster)
	b.are(wire.RoleBackup)
	c.at(frrMAC, frrMAC6)
	a.guardPID()
	c.check(a.proc.Signal(syscall.SIGKILL))
	<-a.proc.Done()
	c.eventually("the dead program's devices are gone", func() bool { return a.devices() == "" })
	b.are(wire.RoleMaster)
	// Asked without a flush: what the workstation knows still holds.
	c.eventually("it answers", c.reachable)
	c.at(frrMAC, frrMAC6)
	a.start()
	a.are(wire.RoleMaster)
	b.are(wire.RoleBackup)
	c.at(frrMAC, frrMAC6)
	// Frozen: the guard removes the devices; awake again they are made anew.
	a.guardPID()
	c.check(a.proc.Signal(syscall.SIGSTOP))
	c.eventually("the frozen program's devices are gone", func() bool { return a.devices() == "" })
	b.are(wire.RoleMaster)
	c.check(a.proc.Signal(syscall.SIGCONT))
	b.are(wire.RoleBackup)
	a.are(wire.RoleMaster)
	c.at(frrMAC, frrMAC6)
	// The port's own address stays at the port's own hardware address.
	c.ip(c.desk, "neigh", "flush", "dev", "lan")
	c.ping("10.20.0.2")
	if got := c.ip(c.desk, "neigh", "show", "10.20.0.2"); !strings.Contains(got, c.mac(a.space)) {
		t.Errorf("the own address: %s", got)
	}
	a.proc.Stop(5 * time.Second)
	if got := a.devices(); got != "" {
		t.Errorf("left after an orderly stop: %s", got)
	}
}

// What the adverts and announcements look like on the wire (RFC 9568 §7.2, §7.3).
func TestVirtualMACOnTheWire(t *testing.T) {
	t.Parallel()
	b := &bench{clinic: newClinic(t), frames: make(chan []byte, 4096)}
	b.desk6()
	b.sniff()
	b.box = b.virtual("a", benchSelf+"/24", 100)
	from := func(f []byte) string {
		return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", f[6], f[7], f[8], f[9], f[10], f[11])
	}
	if f := b.see(t, "gratuitous ARP", garp(shared)); from(f) != frrMAC || string(f[22:28]) != "\x00\x00\x5e\x00\x01\x14" {
		t.Errorf("gratuitous ARP from %s says %x", from(f), f[22:28])
	}
	b.box.are(wire.RoleMaster)
	time.Sleep(300 * time.Millisecond) // the first one goes out before the address is claimed
	b.forget()
	if f := b.see(t, "IPv4", ours4); from(f) != frrMAC {
		t.Errorf("advertisement from %s, want %s", from(f), frrMAC)
	}
	if f := b.see(t, "IPv6", ours6); from(f) != frrMAC6 {
		t.Errorf("advertisement from %s, want %s", from(f), frrMAC6)
	}
}

// A master that answers for nothing but ARP (accept = false): the address leads to
// it, and what is sent to the address itself is not taken in.
func TestAcceptMode(t *testing.T) {
	for _, mac := range []string{"port", "virtual"} {
		t.Run(mac, func(t *testing.T) {
			t.Parallel()
			c := newClinic(t)
			a := c.nodeWith("a", "10.20.0.2/24", fmt.Sprintf(`[[pair.group]]
name = "lan"
vrid = 20
port = "lan"
addresses = [%q]
interval = "100ms"
accept = false
mac = %q
`, shared+"/24", mac))
			a.is(wire.RoleMaster)
			want := c.mac(a.space)
			if mac == "virtual" {
				want = frrMAC
			}
			c.eventually("ARP is answered", func() bool { return c.owner() == want })
			if c.reachable() {
				t.Error("it took in what was sent to the address")
			}
			// Through it, all the same: to the box's own address on another side.
			c.ip(a.space, "addr", "add", "10.99.9.9/32", "dev", "lo")
			c.ip(c.desk, "route", "add", "10.99.9.9/32", "via", shared)
			c.eventually("it forwards", func() bool { return c.ping("10.99.9.9") })
			a.proc.Stop(5 * time.Second)
			if got := c.owner(); got != "" {
				t.Errorf("answered by %s after the end", got)
			}
		})
	}
}

// The same for IPv6: neighbour solicitations are answered, and the workstation's way
// leads through the box.
func TestAcceptMode6(t *testing.T) {
	for _, mac := range []string{"port", "virtual"} {
		t.Run(mac, func(t *testing.T) {
			t.Parallel()
			c := newClinic(t)
			c.desk6()
			a := c.nodeWith("a", "10.20.0.2/24", fmt.Sprintf(`[[pair.group]]
name = "lan6"
vrid = 20
port = "lan"
addresses = ["%s/64", "%s/64"]
interval = "100ms"
accept = false
mac = %q
`, local6, shared6, mac))
			a.is(wire.RoleMaster)
			want := c.mac(a.space)
			if mac == "virtual" {
				want = frrMAC6
			}
			c.eventually("solicitations are answered", func() bool { return c.owner6() == want })
			if c.has6(a.space) {
				t.Error("the addresses stand on the port")
			}
			c.ip(a.space, "addr", "add", "2001:db8:99::9/128", "dev", "lo", "nodad")
			c.ip(a.space, "route", "add", "2001:db8:20::50/128", "dev", "lan") // the way back
			c.ip(c.desk, "route", "add", "2001:db8:99::9/128", "via", local6, "dev", "lan")
			c.eventually("it forwards", func() bool {
				_, err := proc.Run(context.Background(), c.desk, "ping", "-6", "-c1", "-W5", "2001:db8:99::9")
				return err == nil
			})
			a.proc.Stop(5 * time.Second)
			c.eventually("nobody answers after the end", func() bool { return c.owner6() == "" })
		})
	}
}
