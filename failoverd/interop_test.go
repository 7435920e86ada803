package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/proc"
	"clinicgate/firmware/wire"
)

// A peer is Debian's keepalived 2.2.7 as the other box. It knows RFC 5798's
// checksum only and drops what has the newer one.
type peer struct {
	c     *clinic
	space *netns.Space
	proc  *proc.Proc
}

func (c *clinic) keepalived(cidr string, priority int) *peer {
	c.t.Helper()
	return c.keepalivedWith(cidr, priority, shared+"/24")
}

// keepalivedWith is keepalived with that in virtual_ipaddress, and more settings.
func (c *clinic) keepalivedWith(cidr string, priority int, addresses string, more ...string) *peer {
	c.t.Helper()
	lab.Require(c.t, lab.Program("keepalived"))
	return c.keepalivedIn(c.join("k", cidr), priority, addresses, more...)
}

// keepalivedAgain starts another keepalived where one was.
func (c *clinic) keepalivedAgain(was *peer, priority int, more ...string) *peer {
	c.t.Helper()
	return c.keepalivedIn(was.space, priority, shared+"/24", more...)
}

func (c *clinic) keepalivedIn(space *netns.Space, priority int, addresses string, more ...string) *peer {
	c.t.Helper()
	p := &peer{c: c, space: space}
	dir := c.t.TempDir()
	conf := filepath.Join(dir, "keepalived.conf")
	c.check(os.WriteFile(conf, fmt.Appendf(nil, `global_defs {
	vrrp_version 3
}
vrrp_instance lan {
	interface lan
	virtual_router_id 20
	priority %d
	advert_int 0.1
	virtual_ipaddress {
		%s
	}
	%s
}
`, priority, addresses, strings.Join(more, "\n\t")), 0o600))
	var err error
	p.proc, err = proc.Start(proc.Spec{
		Name: "keepalived", Space: p.space, Log: filepath.Join(dir, "log"),
		Args: append(urgently(),
			"keepalived", "--dont-fork", "--log-console", "--vrrp", "--use-file", conf,
			"--pid", filepath.Join(dir, "pid"), "--vrrp_pid", filepath.Join(dir, "vrrp.pid"),
		),
	})
	c.check(err)
	c.t.Cleanup(func() {
		p.proc.Stop(3 * time.Second)
		if c.t.Failed() {
			c.t.Logf("log of keepalived:\n%s", p.proc.Tail(40))
		}
	})
	return p
}

func (p *peer) says(text string) {
	p.c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p.c.check(p.proc.WaitLine(ctx, text))
}

func (p *peer) output() string {
	out, err := p.proc.Output()
	p.c.check(err)
	return string(out)
}

// keepalived is the better one: we follow it, take over when it goes, and yield
// when it comes back.
func TestInteropKeepalivedMaster(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	k := c.keepalived("10.20.0.2/24", 150)
	k.says("Entering MASTER STATE")
	a := c.node("a", "10.20.0.3/24", 100)
	c.eventually("ours follows keepalived", func() bool {
		return a.group().Reason == "10.20.0.2 is master with priority 150, this box has 100"
	})
	time.Sleep(time.Second) // ten intervals: nobody moves
	if g := a.group(); g.Role != wire.RoleBackup {
		t.Fatalf("ours is %s: %s", g.Role, g.Reason)
	}
	c.eventually("keepalived is the owner", func() bool { return c.owner() == c.mac(k.space) })
	k.proc.Stop(5 * time.Second)
	if g := a.is(wire.RoleMaster); g.Reason != "10.20.0.2 stepped down" {
		t.Errorf("reason %q", g.Reason)
	}
	c.eventually("a is the owner", func() bool { return c.owner() == c.mac(a.space) })
	if f := a.file().Faults; len(f) != 0 {
		t.Errorf("faults: %+v", f)
	}
}

// keepalived with a virtual hardware address, as the better one: a workstation
// goes from the virtual address to ours and back.
func TestInteropKeepalivedVirtualMAC(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	k := c.keepalivedWith("10.20.0.2/24", 150, shared+"/24", "use_vmac")
	k.says("Entering MASTER STATE")
	a := c.node("a", "10.20.0.3/24", 100)
	c.eventually("ours follows keepalived", func() bool {
		return a.group().Reason == "10.20.0.2 is master with priority 150, this box has 100"
	})
	c.eventually("keepalived answers", func() bool { return c.owner() == frrMAC })
	k.proc.Stop(5 * time.Second)
	a.is(wire.RoleMaster)
	c.eventually("a is the owner", func() bool { return c.owner() == c.mac(a.space) })
	c.keepalivedAgain(k, 150, "use_vmac")
	a.is(wire.RoleBackup)
	c.eventually("keepalived answers again", func() bool { return c.owner() == frrMAC })
	if f := a.file().Faults; len(f) != 0 {
		t.Errorf("faults: %+v", f)
	}
}

// Ours is the better one: keepalived accepts what we send though it never spoke
// first, takes over when ours dies, and yields when ours returns.
func TestInteropKeepalivedBackup(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	a := c.node("a", "10.20.0.2/24", 150)
	a.is(wire.RoleMaster)
	k := c.keepalived("10.20.0.3/24", 100)
	k.says("Entering BACKUP STATE")
	time.Sleep(2 * time.Second) // twenty intervals
	if out := k.output(); strings.Contains(out, "MASTER STATE") {
		t.Fatalf("keepalived did not accept our advertisements:\n%s", out)
	}
	c.ip(c.sw, "link", "set", "dev", "a", "down")
	k.says("Entering MASTER STATE")
	c.eventually("k is the owner", func() bool { return c.owner() == c.mac(k.space) })
	a.is(wire.RoleInit)
	c.ip(c.sw, "link", "set", "dev", "a", "up")
	a.is(wire.RoleMaster)
	c.eventually("keepalived yields", func() bool { return strings.Count(k.output(), "Entering BACKUP STATE") == 2 })
	c.eventually("a is the owner", func() bool { return c.owner() == c.mac(a.space) })
}

// Both at the virtual hardware address, each as the better one: the workstation
// never learns another.
func TestInteropKeepalivedBothVirtual(t *testing.T) {
	for name, p := range map[string]struct{ theirs, ours int }{"they win": {150, 100}, "we win": {100, 150}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClinic(t)
			c.desk6()
			a := c.virtual("a", "10.20.0.3/24", p.ours)
			a.are(wire.RoleMaster)
			k := c.keepalivedWith("10.20.0.2/24", p.theirs, shared+"/24", "use_vmac")
			if p.theirs > p.ours {
				k.says("Entering MASTER STATE")
				c.eventually("ours follows keepalived", func() bool {
					return a.group().Reason == "10.20.0.2 is master with priority 150, this box has 100"
				})
				c.eventually("it answers", func() bool { return c.owner() == frrMAC })
				k.proc.Stop(5 * time.Second)
				a.is(wire.RoleMaster)
			} else {
				k.says("Entering BACKUP STATE")
				time.Sleep(2 * time.Second) // twenty intervals
				if out := k.output(); strings.Contains(out, "MASTER STATE") {
					t.Fatalf("keepalived did not accept our advertisements:\n%s", out)
				}
				a.proc.Stop(5 * time.Second)
				k.says("Entering MASTER STATE")
				c.eventually("it answers", func() bool { return c.owner() == frrMAC })
				a.start()
				a.is(wire.RoleMaster)
				c.eventually("keepalived yields", func() bool { return strings.Count(k.output(), "Entering BACKUP STATE") == 2 })
			}
			c.at(frrMAC, frrMAC6)
		})
	}
}
