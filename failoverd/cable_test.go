package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"clinicgate/failoverd/advert"
	"clinicgate/failoverd/packet"
	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/proc"
	"clinicgate/firmware/wire"
)

// A couple is two boxes with a cable between them, a the better one.
type couple struct {
	*clinic
	a, b *node
}

func newCouple(t *testing.T, interval string) *couple {
	t.Helper()
	return newCoupleUnder(t, interval)
}

// newCoupleUnder has b run as the child of another program.
func newCoupleUnder(t *testing.T, interval string, under ...string) *couple {
	t.Helper()
	lab.Require(t, lab.Program("iptables"))
	c := &couple{clinic: newClinic(t)}
	box := func(name string, own, other, priority int) *node {
		return c.nodeIdle(name, fmt.Sprintf("10.20.0.%d/24", own), fmt.Sprintf(`[[pair.group]]
name = "lan"
vrid = 20
port = "lan"
addresses = [%q]
priority = %d
interval = %q
[pair.flows]
listen = "10.77.0.%d:7789"
peer = "10.77.0.%d:7789"
`, shared+"/24", priority, interval, own, other))
	}
	c.a, c.b = box("a", 2, 3, 150), box("b", 3, 2, 100)
	c.b.under = under
	c.check(netns.Veth(c.a.space, "ha", c.b.space, "ha"), c.a.space.Addr("ha", "10.77.0.2/24"), c.b.space.Addr("ha", "10.77.0.3/24"))
	for _, n := range []*node{c.a, c.b} {
		c.check(os.WriteFile(filepath.Join(n.dir, "ha.key"), []byte(pairKey+"\n"), 0o644))
	}
	c.a.start()
	c.a.is(wire.RoleMaster)
	c.b.start()
	c.b.is(wire.RoleBackup)
	for _, n := range []*node{c.a, c.b} {
		c.eventually("the cable lives", func() bool { f := n.file(); return f.Cable != nil && f.Cable.Alive })
	}
	c.eventually("b follows a", func() bool { return strings.Contains(c.b.group().Reason, "10.20.0.2 is master") })
	// Both boxes have heard the workstation.
	c.ip(c.desk, "neigh", "flush", "dev", "lan")
	c.ping("10.20.0.2")
	return c
}

// apart takes a box's port off the switch: its link stays up and nothing goes
// through; back puts it on again.
func (c *couple) apart(box string) { c.ip(c.sw, "link", "set", "dev", box, "nomaster") }
func (c *couple) back(box string)  { c.ip(c.sw, "link", "set", "dev", box, "master", "br0") }

// mute keeps a box's advertisements from the network, and nothing else.
func (c *couple) mute(n *node, flag string) {
	_, err := proc.Run(context.Background(), n.space, "iptables", flag, "OUTPUT", "-p", "112", "-j", "DROP")
	c.check(err)
}

// The network is silent and the cable speaks: the box that reaches the clinic has
// the address, whichever it was before.
func TestCutOffMaster(t *testing.T) {
	t.Parallel()
	c := newCouple(t, "100ms")
	c.apart("a")
	c.b.is(wire.RoleMaster)
	a := c.a.is(wire.RoleBackup)
	if !strings.Contains(a.Reason, "clinic's") {
		t.Errorf("a's reason %q", a.Reason)
	}
	c.eventually("the workstation is served", func() bool { return c.owner() == c.mac(c.b.space) })
	time.Sleep(time.Second) // ten intervals: a must not claim again
	if g := c.a.group(); g.Role != wire.RoleBackup || c.a.has() {
		t.Errorf("a is %s (%s), has the address: %v", g.Role, g.Reason, c.a.has())
	}
	c.back("a")
	c.a.is(wire.RoleMaster)
	c.b.is(wire.RoleBackup)
}

// An orderly stop is believed at once: the cable says the same.
func TestStepsDownBothWays(t *testing.T) {
	t.Parallel()
	c := newCouple(t, "1s")
	c.a.proc.Stop(5 * time.Second)
	if g := c.b.is(wire.RoleMaster); g.Reason != "10.20.0.2 stepped down" {
		t.Errorf("reason %q", g.Reason)
	}
}

// The boxes' clocks began at other times: ten days lie between what each calls now.
// Nothing that one says depends on it.
func TestAnotherClock(t *testing.T) {
	t.Parallel()
	lab.Require(t, lab.Program("unshare"))
	c := newCoupleUnder(t, "100ms", "unshare", "-T", "--fork", "--monotonic", "864000", "--boottime", "864000")
	since := c.a.group().Since
	c.mute(c.a, "-A") // the cable alone says how long ago what was heard
	c.mute(c.b, "-A")
	c.b.fault(faultBarred)
	if g := c.a.group(); g.Role != wire.RoleMaster || g.Since != since || c.b.has() {
		t.Errorf("it moved: %s", g.Reason)
	}
	c.mute(c.a, "-D")
	c.mute(c.b, "-D")
	c.eventually("b follows a again", func() bool { return strings.Contains(c.b.group().Reason, "10.20.0.2 is master") })
	c.apart("a")
	c.b.is(wire.RoleMaster)
	c.a.is(wire.RoleBackup)
	c.back("a")
	c.a.is(wire.RoleMaster)
	c.b.is(wire.RoleBackup)
	c.a.proc.Kill()
	c.b.is(wire.RoleMaster)
}

// Only the boxes don't hear each other: nothing moves, the backup says why, and takes
// over all the same when the master dies.
func TestMutedMaster(t *testing.T) {
	t.Parallel()
	c := newCouple(t, "100ms")
	since := c.a.group().Since
	c.mute(c.a, "-A")
	c.mute(c.b, "-A")
	if f := c.b.fault(faultBarred); !strings.Contains(f.What, "10.20.0.2 is master by the cable") || !strings.Contains(f.Do, "multicast") {
		t.Errorf("got %+v", f)
	}
	time.Sleep(time.Second)
	if g := c.a.group(); g.Role != wire.RoleMaster || g.Since != since || c.b.has() {
		t.Errorf("it moved: %s", g.Reason)
	}
	c.a.proc.Kill()
	c.b.is(wire.RoleMaster)
	c.mute(c.b, "-D")
	c.mute(c.a, "-D")
	c.a.start()
	c.a.is(wire.RoleMaster)
	c.b.is(wire.RoleBackup)
	c.eventually("the fault ends", func() bool { return len(c.b.file().Faults) == 0 })
}

// The cable is lost: VRRP alone decides, and the fault says so.
func TestCableLost(t *testing.T) {
	t.Parallel()
	c := newCouple(t, "100ms")
	c.ip(c.a.space, "link", "set", "dev", "ha", "down")
	if f := c.b.fault(faultCable); !strings.Contains(f.What, "clinic's network only") {
		t.Errorf("got %+v", f)
	}
	// Not even then is a machine believed that speaks in the master's name from elsewhere.
	mallory, since := c.join("m", "10.20.0.66/24"), c.b.group().Since
	m := advert.Message{VRID: 20, Interval: time.Second, Addresses: []netip.Addr{netip.MustParseAddr(shared)}}
	msg, err := m.Append(nil, advert.RFC5798, boxA, packet.Group4)
	c.check(err, forge(mallory, boxA, 255, 20, 20*time.Millisecond, msg))
	if f := c.b.fault(faultRogue); !strings.Contains(f.What, c.mac(mallory)) || !strings.Contains(f.What, "from another machine") {
		t.Errorf("got %+v", f)
	}
	if a, b := c.a.group(), c.b.group(); a.Role != wire.RoleMaster || b.Role != wire.RoleBackup || b.Since != since {
		t.Errorf("it moved: %s, %s", a.Reason, b.Reason)
	}
	c.a.proc.Kill()
	c.b.is(wire.RoleMaster)
	c.a.start()
	c.a.is(wire.RoleMaster)
	c.b.is(wire.RoleBackup)
}

// Both are lost for a backup: it reaches nobody, and must not claim.
func TestCutOffBackup(t *testing.T) {
	t.Parallel()
	c := newCouple(t, "100ms")
	c.ip(c.b.space, "link", "set", "dev", "ha", "down")
	c.eventually("the cable is lost", func() bool { f := c.b.file(); return f.Cable != nil && !f.Cable.Alive })
	c.apart("b")
	if f := c.b.fault(faultBarred); !strings.Contains(f.What, "can't reach the clinic's network") {
		t.Errorf("got %+v", f)
	}
	time.Sleep(time.Second)
	if g := c.b.group(); g.Role != wire.RoleBackup || c.b.has() || c.a.group().Role != wire.RoleMaster {
		t.Errorf("b is %s: %s", g.Role, g.Reason)
	}
	// The master dies meanwhile: as soon as b is back it is master.
	c.a.proc.Kill()
	c.ip(c.sw, "link", "set", "dev", "a", "down")
	c.back("b")
	c.ping("10.20.0.3")
	c.b.is(wire.RoleMaster)
}

// forge sends messages as if they came from src, n of them.
func forge(s *netns.Space, src netip.Addr, hops, n int, every time.Duration, msg []byte) error {
	return s.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := errors.Join(unix.BindToDevice(fd, "lan"), unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, hops)); err != nil {
			return err
		}
		from, to := src.As4(), packet.Group4.As4()
		b := append([]byte{0x45, 0xc0, 0, byte(20 + len(msg)), 0, 0, 0, 0, byte(hops), advert.Protocol, 0, 0}, from[:]...)
		b = append(append(b, to[:]...), msg...) // the kernel puts the checksum in
		for next := time.Now(); n > 0; n-- {
			if err := unix.Sendto(fd, b, 0, &unix.SockaddrInet4{Addr: to}); err != nil {
				return err
			}
			next = next.Add(every)
			time.Sleep(time.Until(next))
		}
		return nil
	})
}

// An attack is what a machine on the clinic's network sends in the pair's name.
type attack struct {
	name     string
	from     netip.Addr
	priority uint8
	hops, n  int
	every    time.Duration
	fault    string // that names it; empty: nobody notices
}

var attacker, boxA, boxB = netip.MustParseAddr("10.20.0.66"), netip.MustParseAddr("10.20.0.2"), netip.MustParseAddr("10.20.0.3")

// suffer has a machine on the clinic's network play at being the gateway: nothing
// moves, it is named, and afterwards the pair still does what it is for.
func (c *couple) suffer(t *testing.T, attacks []attack) {
	mallory := c.join("m", "10.20.0.66/24")
	a, b := c.a.group(), c.b.group()
	for _, try := range attacks {
		t.Run(try.name, func(t *testing.T) {
			m := advert.Message{VRID: 20, Priority: try.priority, Interval: time.Second, Addresses: []netip.Addr{netip.MustParseAddr(shared)}}
			msg, err := m.Append(nil, advert.RFC5798, try.from, packet.Group4)
			c.check(err, forge(mallory, try.from, try.hops, try.n, try.every, msg))
			if try.fault == faultRogue {
				c.eventually("the rogue is named", func() bool { return c.named(c.mac(mallory), try) })
			} else if try.fault != "" {
				c.a.fault(try.fault)
			}
			if g := c.a.group(); g.Role != wire.RoleMaster || g.Since != a.Since {
				t.Errorf("the master moved: %s", g.Reason)
			}
			if g := c.b.group(); g.Role != wire.RoleBackup || g.Since != b.Since {
				t.Errorf("the backup moved: %s", g.Reason)
			}
		})
	}
	if got, want := c.owner(), c.mac(c.a.space); got != want {
		t.Errorf("%s is at %s, want a's %s", shared, got, want)
	}
	c.a.proc.Kill()
	c.b.is(wire.RoleMaster)
}

// named reports whether a box names the machine as the one that does this.
func (c *couple) named(mac string, try attack) bool {
	return slices.ContainsFunc(append(c.a.file().Faults, c.b.file().Faults...), func(f wire.Fault) bool {
		return f.ID == faultRogue && strings.Contains(f.What, mac) && strings.Contains(f.What, fmt.Sprintf("%v (", try.from)) &&
			strings.Contains(f.What, fmt.Sprintf("priority %d", try.priority))
	})
}

// A machine on the clinic's network plays at being the gateway, in every way it can
// without touching the cable. The boxes advertise each second: what an attacker sends
// is judged by the same rules, and a busy machine has its time.
func TestRogue(t *testing.T) {
	t.Parallel()
	newCouple(t, "1s").suffer(t, []attack{
		{"255 of its own", attacker, 255, 255, 20, 20 * time.Millisecond, faultRogue},
		{"255 in the backup's name", boxB, 255, 255, 20, 20 * time.Millisecond, faultRogue},
		{"255 in the master's name, to the backup", boxA, 255, 255, 20, 20 * time.Millisecond, faultRogue},
		{"the backup's own priority in its name", boxB, 100, 255, 20, 20 * time.Millisecond, faultRogue},
		{"the master steps down", boxA, 0, 255, 100, 10 * time.Millisecond, faultRogue},
		{"the backup steps down", boxB, 0, 255, 100, 10 * time.Millisecond, ""},
		{"another way than from the link", boxB, 255, 64, 20, 20 * time.Millisecond, faultBadAdvert},
	})
}

// The same as fast as it can. Not beside other tests: they would wait for it.
func TestRogueFlood(t *testing.T) {
	newCouple(t, "1s").suffer(t, []attack{
		{"10,000 a second", boxB, 255, 255, 20000, 100 * time.Microsecond, faultRogue},
		{"10,000 resignations a second", boxA, 0, 255, 20000, 100 * time.Microsecond, faultRogue},
	})
}
