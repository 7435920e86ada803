package main

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/proc"
	"clinicgate/firmware/wire"
)

// frr is Debian's FRR 8.4 as the other box: zebra and vrrpd. It always uses the
// virtual hardware address, on a macvlan that its administrator makes, and knows
// RFC 5798's checksum only.
type frr struct {
	c           *clinic
	space       *netns.Space
	dir         string
	zebra, vrrp *proc.Proc
}

// frrMACs are the virtual hardware addresses of VRID 20 (RFC 9568 §7.3).
const (
	frrMAC  = "00:00:5e:00:01:14"
	frrMAC6 = "00:00:5e:00:02:14"
)

func (c *clinic) frr(cidr string, priority int) *frr {
	c.t.Helper()
	lab.Require(c.t, lab.Program("/usr/lib/frr/vrrpd", "/usr/lib/frr/zebra", "vtysh"))
	f := &frr{c: c, space: c.join("f", cidr), dir: c.t.TempDir()}
	owner, err := user.Lookup("frr") // its daemons give root up
	c.check(err)
	uid, err := strconv.Atoi(owner.Uid)
	c.check(err, os.Chown(f.dir, uid, -1))
	for dir := f.dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		c.check(os.Chmod(dir, 0o755))
	}
	// Else its port answers for the macvlan's address, in any state.
	c.check(f.space.Do(func() error { return os.WriteFile("/proc/sys/net/ipv4/conf/all/arp_ignore", []byte("1"), 0o644) }))
	f.macvlan("vrrp4-20", frrMAC, shared+"/24")
	f.macvlan("vrrp6-20", frrMAC6, local6+"/64", shared6+"/64")
	f.zebra = f.start("zebra", "")
	c.eventually("zebra listens", func() bool {
		_, err := os.Stat(filepath.Join(f.dir, "zserv.api"))
		return err == nil
	})
	f.vrrp = f.start("vrrpd", fmt.Sprintf(`interface lan
 vrrp 20 version 3
 vrrp 20 priority %d
 vrrp 20 advertisement-interval 100
 vrrp 20 ip %s
 vrrp 20 ipv6 %s
 vrrp 20 ipv6 %s
`, priority, shared, local6, shared6))
	return f
}

func (f *frr) macvlan(name, mac string, addresses ...string) {
	f.c.ip(f.space, "link", "add", name, "link", "lan", "type", "macvlan", "mode", "bridge")
	f.c.ip(f.space, "link", "set", "dev", name, "address", mac)
	for _, a := range addresses {
		args := []string{"addr", "add", a, "dev", name}
		if strings.Contains(a, ":") {
			args = append(args, "nodad") // the other box may have it now
		}
		f.c.ip(f.space, args...)
	}
	f.c.ip(f.space, "link", "set", "dev", name, "up")
}

func (f *frr) start(daemon, conf string) *proc.Proc {
	f.c.t.Helper()
	file := filepath.Join(f.dir, daemon+".conf")
	f.c.check(os.WriteFile(file, []byte(conf), 0o644))
	p, err := proc.Start(proc.Spec{
		Name: daemon, Space: f.space, Log: filepath.Join(f.dir, daemon+".log"),
		Args: append(urgently(),
			"/usr/lib/frr/"+daemon, "-f", file, "-i", filepath.Join(f.dir, daemon+".pid"),
			"-z", filepath.Join(f.dir, "zserv.api"), "--vty_socket", f.dir,
			"-P", "0", "--log", "stdout",
		),
	})
	f.c.check(err)
	f.c.t.Cleanup(func() {
		p.Stop(3 * time.Second)
		if f.c.t.Failed() {
			f.c.t.Logf("log of %s:\n%s", daemon, p.Tail(40))
		}
	})
	return p
}

// shows waits until `show vrrp` has that state for one family.
func (f *frr) shows(family, state string) {
	f.c.t.Helper()
	last := ""
	defer func() {
		if f.c.t.Failed() {
			f.c.t.Logf("show vrrp:\n%s", last)
		}
	}()
	f.c.eventually("FRR is "+state+" for "+family, func() bool {
		out, _ := proc.Run(context.Background(), f.space, "vtysh", "--vty_socket", f.dir, "-d", "vrrpd", "-c", "show vrrp")
		last = string(out)
		for line := range strings.Lines(last) {
			if strings.Contains(line, "Status ("+family+")") && strings.Contains(line, state) {
				return true
			}
		}
		return false
	})
}

// both is one box of ours with a group of each family under one VRID.
func (c *clinic) both(name, cidr string, priority int) *node {
	c.t.Helper()
	group := func(name, addresses string) string {
		return fmt.Sprintf("[[pair.group]]\nname = %q\nvrid = 20\nport = \"lan\"\naddresses = [%s]\npriority = %d\ninterval = \"100ms\"\n", name, addresses, priority)
	}
	return c.nodeWith(name, cidr, group("lan", fmt.Sprintf("%q", shared+"/24"))+group("lan6", fmt.Sprintf("%q, %q", local6+"/64", shared6+"/64")))
}

// are waits until both groups have the role.
func (n *node) are(role string) {
	n.c.t.Helper()
	n.c.eventually(n.space.Name+" is "+role+" for both families", func() bool {
		g := n.file().Groups
		return len(g) == 2 && g[0].Role == role && g[1].Role == role
	})
}

// FRR is the better one: we follow it, and take over when it goes.
func TestInteropFRRMaster(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	c.desk6()
	f := c.frr("10.20.0.2/24", 150)
	f.shows("v4", "Master")
	f.shows("v6", "Master")
	a := c.both("a", "10.20.0.3/24", 100)
	c.eventually("ours follows FRR", func() bool {
		g := a.file().Groups
		return len(g) == 2 && g[0].Reason == "10.20.0.2 is master with priority 150, this box has 100" &&
			strings.HasSuffix(g[1].Reason, " is master with priority 150, this box has 100")
	})
	time.Sleep(time.Second) // ten intervals: nobody moves
	a.are(wire.RoleBackup)
	c.eventually("FRR answers", func() bool { return c.owner() == frrMAC && c.owner6() == frrMAC6 })
	f.vrrp.Stop(5 * time.Second)
	a.are(wire.RoleMaster)
	c.ip(f.space, "link", "set", "dev", "vrrp4-20", "down") // vrrpd's end leaves them up
	c.ip(f.space, "link", "set", "dev", "vrrp6-20", "down")
	c.eventually("a is the owner", func() bool { return c.owner() == c.mac(a.space) })
	c.eventually("a is the owner", func() bool { return c.owner6() == c.mac(a.space) })
	if faults := a.file().Faults; len(faults) != 0 {
		t.Errorf("faults: %+v", faults)
	}
}

// Ours is the better one: FRR accepts what we send though it never spoke first,
// takes over when ours goes, and yields when ours returns.
func TestInteropFRRBackup(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	c.desk6()
	a := c.both("a", "10.20.0.2/24", 150)
	a.are(wire.RoleMaster)
	f := c.frr("10.20.0.3/24", 100)
	f.shows("v4", "Backup")
	f.shows("v6", "Backup")
	time.Sleep(2 * time.Second) // twenty intervals
	f.shows("v4", "Backup")
	f.shows("v6", "Backup")
	a.proc.Stop(5 * time.Second)
	f.shows("v4", "Master")
	f.shows("v6", "Master")
	c.eventually("FRR answers", func() bool { return c.owner() == frrMAC && c.owner6() == frrMAC6 })
	a.start()
	a.are(wire.RoleMaster)
	f.shows("v4", "Backup")
	f.shows("v6", "Backup")
	c.eventually("a is the owner", func() bool { return c.owner() == c.mac(a.space) })
}

// Both at the virtual hardware address, each as the better one, for both families.
func TestInteropFRRBothVirtual(t *testing.T) {
	for name, p := range map[string]struct{ theirs, ours int }{"they win": {150, 100}, "we win": {100, 150}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClinic(t)
			c.desk6()
			a := c.virtual("a", "10.20.0.3/24", p.ours)
			a.are(wire.RoleMaster)
			f := c.frr("10.20.0.2/24", p.theirs)
			state, ours := "Master", wire.RoleBackup
			if p.ours > p.theirs {
				state, ours = "Backup", wire.RoleMaster
			}
			f.shows("v4", state)
			f.shows("v6", state)
			a.are(ours)
			time.Sleep(time.Second) // ten intervals: nobody moves
			f.shows("v4", state)
			f.shows("v6", state)
			a.are(ours)
			c.at(frrMAC, frrMAC6)
			if p.ours > p.theirs {
				a.proc.Stop(5 * time.Second)
				f.shows("v4", "Master")
				f.shows("v6", "Master")
				c.at(frrMAC, frrMAC6)
				a.start()
			} else {
				f.vrrp.Stop(5 * time.Second)
				c.ip(f.space, "link", "set", "dev", "vrrp4-20", "down") // vrrpd's end leaves them up
				c.ip(f.space, "link", "set", "dev", "vrrp6-20", "down")
			}
			a.are(wire.RoleMaster)
			c.at(frrMAC, frrMAC6)
		})
	}
}
