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

// lanGroup is one group of a lab box.
func lanGroup(priority int, interval, more string) string {
	return fmt.Sprintf("[[pair.group]]\nname = \"lan\"\nvrid = 20\nport = \"lan\"\naddresses = [%q]\npriority = %d\ninterval = %q\n%s\n",
		shared+"/24", priority, interval, more)
}

// A suspended machine: the program and its guard stand still as master. Awake again
// it gives the addresses up before it says a word, says why, and comes back as any
// better box does.
func TestSuspendedMaster(t *testing.T) {
	t.Parallel()
	b := &bench{clinic: newClinic(t), frames: make(chan []byte, 4096)}
	b.sniff()
	x, y := b.clinic.node("a", benchSelf+"/24", 150), b.clinic.node("b", "10.20.0.3/24", 100)
	x.is(wire.RoleMaster)
	y.is(wire.RoleBackup)
	guard := x.guardPID()
	b.check(syscall.Kill(guard, syscall.SIGSTOP), x.proc.Signal(syscall.SIGSTOP))
	y.is(wire.RoleMaster)
	time.Sleep(2 * time.Second)
	b.forget()
	woken := time.Now()
	b.check(syscall.Kill(guard, syscall.SIGCONT), x.proc.Signal(syscall.SIGCONT))
	b.check(x.proc.WaitLine(context.Background(), "this box was not running for"))
	b.see(t, "an advertisement of the box that slept", ours4)
	if after := time.Since(woken); after < 200*time.Millisecond {
		t.Errorf("it spoke %v after it woke up, want it to listen first", after)
	}
	x.is(wire.RoleMaster)
	y.is(wire.RoleBackup)
	b.eventually("one owner", func() bool { return b.owner() == b.mac(x.space) && !y.has() })
}

// A port that is renamed and comes back under its name.
func TestPortRenamed(t *testing.T) {
	t.Parallel()
	for _, mac := range []string{"port", "virtual"} {
		t.Run(mac, func(t *testing.T) {
			c := newClinic(t)
			a := c.nodeWith("a", "10.20.0.2/24", lanGroup(100, "100ms", fmt.Sprintf("mac = %q", mac)))
			a.is(wire.RoleMaster)
			c.ip(a.space, "link", "set", "dev", "lan", "down")
			c.ip(a.space, "link", "set", "dev", "lan", "name", "renamed")
			c.ip(a.space, "link", "set", "dev", "renamed", "up")
			if g := a.is(wire.RoleInit); g.Reason != "there is no port lan" && g.Reason != "no link on lan" {
				t.Errorf("reason %q", g.Reason)
			}
			c.eventually("it says what is missing", func() bool { return a.group().Reason == "there is no port lan" })
			if out := c.ip(a.space, "-4", "addr", "show"); strings.Contains(out, " "+shared+"/") {
				t.Errorf("the address stayed:\n%s", out)
			}
			c.ip(a.space, "link", "set", "dev", "renamed", "down")
			c.ip(a.space, "link", "set", "dev", "renamed", "name", "lan")
			c.ip(a.space, "link", "set", "dev", "lan", "up")
			a.is(wire.RoleMaster)
			c.eventually("it answers", c.reachable)
		})
	}
}

// A switch port that flaps: the other box takes over once and keeps the addresses
// until the better one has been well for its delay.
func TestFlappingPort(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	a := c.nodeWith("a", "10.20.0.2/24", lanGroup(150, "50ms", `preempt_delay = "5s"`))
	a.is(wire.RoleMaster)
	b := c.nodeWith("b", "10.20.0.3/24", lanGroup(100, "50ms", ""))
	b.is(wire.RoleBackup)
	c.ip(c.sw, "link", "set", "dev", "a", "down")
	since := b.is(wire.RoleMaster).Since
	for range 8 {
		c.ip(c.sw, "link", "set", "dev", "a", "up")
		time.Sleep(200 * time.Millisecond)
		c.ip(c.sw, "link", "set", "dev", "a", "down")
		time.Sleep(100 * time.Millisecond)
	}
	if g := b.group(); g.Role != wire.RoleMaster || g.Since != since {
		t.Errorf("b moved with the flapping port: %s %s", g.Role, g.Reason)
	}
	c.ip(c.sw, "link", "set", "dev", "a", "up")
	c.eventually("a says what it waits for", func() bool { return strings.Contains(a.group().Reason, "waits until 5.0 s after its start") })
	a.is(wire.RoleMaster)
	b.is(wire.RoleBackup)
}

// Somebody else's router with our VRID and other addresses, and another interval: it
// is obeyed as the RFC has it, and both boxes say so.
func TestDuplicateVRID(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	a := c.nodeWith("a", "10.20.0.2/24", lanGroup(100, "100ms", ""))
	a.is(wire.RoleMaster)
	x := c.nodeWith("x", "10.20.0.9/24", strings.Replace(lanGroup(200, "300ms", ""), shared, "10.20.0.8", 1))
	x.is(wire.RoleMaster)
	if g := a.is(wire.RoleBackup); !strings.Contains(g.Reason, "10.20.0.9 is master with priority 200") {
		t.Errorf("reason %q", g.Reason)
	}
	if f := a.fault(faultForeign); f.Severity != wire.Alarm || !strings.Contains(f.What, "10.20.0.9 advertises [10.20.0.8] under our VRID 20, this box [10.20.0.1]") {
		t.Errorf("got %+v", f)
	}
	if f := a.fault(faultInterval); !strings.Contains(f.What, "every 300ms, this box every 100ms") {
		t.Errorf("got %+v", f)
	}
	since := a.group().Since
	time.Sleep(time.Second) // ten intervals of ours, three of its
	if g := a.group(); g.Role != wire.RoleBackup || g.Since != since {
		t.Errorf("it did not take over the interval: %s", g.Reason)
	}
	x.proc.Kill()
	a.is(wire.RoleMaster)
}

// The same, where the other box's address is known: it is not obeyed.
func TestDuplicateVRIDStranger(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	a := c.nodeWith("a", "10.20.0.2/24", lanGroup(100, "100ms", `peers = ["10.20.0.3"]`))
	a.is(wire.RoleMaster)
	x := c.nodeWith("x", "10.20.0.9/24", lanGroup(200, "100ms", ""))
	x.is(wire.RoleMaster)
	if f := a.fault(faultStranger); !strings.Contains(f.What, "10.20.0.9") || !strings.Contains(f.What, "priority 200") {
		t.Errorf("got %+v", f)
	}
	if g := a.group(); g.Role != wire.RoleMaster {
		t.Errorf("it yielded: %s", g.Reason)
	}
}

// Owner: master at once, under its own address, and it does not move.
func TestOwner(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	b := c.nodeWith("b", "10.20.0.3/24", lanGroup(254, "100ms", ""))
	b.is(wire.RoleMaster)
	a := c.nodeWith("a", shared+"/24", lanGroup(255, "100ms", ""))
	if g := a.is(wire.RoleMaster); g.Reason != "this box owns the addresses" || g.Priority != 255 {
		t.Errorf("got %+v", g)
	}
	if g := b.is(wire.RoleBackup); g.Reason != "10.20.0.1 is master with priority 255, this box has 254" {
		t.Errorf("reason %q", g.Reason)
	}
	c.eventually("the owner answers", func() bool { return c.owner() == c.mac(a.space) })
	c.ip(c.sw, "link", "set", "dev", "a", "down")
	b.is(wire.RoleMaster)
	c.ip(c.sw, "link", "set", "dev", "a", "up")
	a.is(wire.RoleMaster)
	b.is(wire.RoleBackup)
}

// Ten milliseconds: the least interval works, with and without the cable's word, and
// an idle pair stands still.
func TestTenMilliseconds(t *testing.T) {
	t.Parallel()
	c := newCouple(t, "10ms")
	since := c.a.group().Since
	time.Sleep(2 * time.Second) // 200 intervals
	if g := c.a.group(); g.Role != wire.RoleMaster || g.Since != since {
		t.Logf("on this machine it moved: %s", g.Reason) // no verdict: the machine may be busy
	}
	c.a.is(wire.RoleMaster)
	c.check(c.a.proc.Signal(syscall.SIGKILL))
	c.b.is(wire.RoleMaster)
	if out, err := proc.Run(context.Background(), c.desk, "ping", "-c1", "-W1", shared); err != nil {
		t.Errorf("not served: %s", out)
	}
}
