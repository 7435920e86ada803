package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/proc"
	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"
)

const shared = "10.20.0.1"

// A clinic is a switch with boxes and a workstation around it.
type clinic struct {
	t      testing.TB
	number int64 // of the clinic: tests run side by side
	sw     *netns.Space
	desk   *netns.Space
}

// clinics counts the clinics of this run.
var clinics atomic.Int64

func newClinic(t testing.TB) *clinic {
	lab.Require(t, lab.Root, lab.Program("setpriv", "ping", "ip"))
	c := &clinic{t: t, number: clinics.Add(1)}
	c.sw = c.space("sw")
	c.check(c.sw.Bridge("br0"))
	c.desk = c.join("desk", "10.20.0.50/24")
	return c
}

func (c *clinic) check(errs ...error) {
	c.t.Helper()
	for _, err := range errs {
		if err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c *clinic) space(name string) *netns.Space {
	c.t.Helper()
	s, err := netns.New(fmt.Sprintf("cg-fo%d-%d-%s", os.Getpid(), c.number, name))
	c.check(err)
	c.t.Cleanup(func() { s.Close() })
	return s
}

// join makes a machine on the switch; its port is called lan, the switch's end of
// the cable after the machine.
func (c *clinic) join(name, cidr string) *netns.Space {
	c.t.Helper()
	s := c.space(name)
	c.check(netns.Veth(s, "lan", c.sw, name), s.Addr("lan", cidr))
	c.ip(c.sw, "link", "set", "dev", name, "master", "br0")
	return s
}

func (c *clinic) ip(s *netns.Space, args ...string) string {
	c.t.Helper()
	out, err := proc.Run(context.Background(), s, append([]string{"ip"}, args...)...)
	c.check(err)
	return string(out)
}

// reachable pings the shared address once from the workstation.
func (c *clinic) reachable() bool { return c.ping(shared) }

func (c *clinic) ping(addr string) bool {
	_, err := proc.Run(context.Background(), c.desk, "ping", "-c1", "-W5", addr)
	return err == nil
}

// owner is the hardware address behind the shared address, as a workstation that
// just came asks for it.
func (c *clinic) owner() string {
	c.ip(c.desk, "neigh", "flush", "dev", "lan")
	c.reachable()
	_, mac, _ := strings.Cut(c.ip(c.desk, "neigh", "show", shared), "lladdr ")
	mac, _, _ = strings.Cut(mac, " ")
	return mac
}

func (c *clinic) mac(s *netns.Space) string {
	_, mac, _ := strings.Cut(c.ip(s, "-o", "link", "show", "lan"), "link/ether ")
	mac, _, _ = strings.Cut(mac, " ")
	return mac
}

// asProgram makes the test binary be failoverd. A program built beside the tests
// would not count for go test's cache: it would call changed code tested.
const asProgram = "FAILOVERD_TEST_AS_PROGRAM"

// program is a copy of this binary that every user may run.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "failoverd")
	if err != nil {
		return "", err
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "failoverd")
	return bin, errors.Join(os.WriteFile(bin, self, 0o755), os.Chmod(dir, 0o755))
})

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	// The labs mostly wait: more of them at a time than there are processors.
	flag.Parse()
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	code := m.Run()
	if bin, err := program(); err == nil {
		os.RemoveAll(filepath.Dir(bin))
	}
	os.Exit(code)
}

// A node is one box of ours: the real program, as its own user with its two
// capabilities and no more.
type node struct {
	c      *clinic
	space  *netns.Space
	dir    string
	proc   *proc.Proc
	urgent bool
	under  []string // a program that runs it as its child; empty: none
}

func (c *clinic) node(name, cidr string, priority int) *node {
	c.t.Helper()
	return c.nodeWith(name, cidr, fmt.Sprintf(`[[pair.group]]
name = "lan"
vrid = 20
port = "lan"
addresses = [%q]
priority = %d
interval = "100ms"
`, shared+"/24", priority))
}

// nodeWith makes a box with those groups.
func (c *clinic) nodeWith(name, cidr, groups string) *node {
	c.t.Helper()
	n := c.nodeIdle(name, cidr, groups)
	n.start()
	return n
}

// nodeIdle makes one that does not run yet.
func (c *clinic) nodeIdle(name, cidr, groups string) *node {
	c.t.Helper()
	n := &node{c: c, space: c.join(name, cidr), dir: c.t.TempDir(), urgent: true}
	for dir := n.dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		c.check(os.Chmod(dir, 0o755))
	}
	site := "[site]\nname = \"Lab\"\ncode = \"lab\"\n" + groups
	c.check(os.WriteFile(filepath.Join(n.dir, "site.toml"), []byte(site), 0o644))
	run := filepath.Join(n.dir, "run")
	c.check(os.Mkdir(run, 0o755), os.Chown(run, 202, 200))
	return n
}

// chrt gives an urgent node the place before other programs that init gives it.
func (n *node) chrt() []string {
	if !n.urgent {
		return nil
	}
	return urgently()
}

// urgently starts a program before others: what another machine does at once must not
// wait here for the tests of other packages.
func urgently() []string { return []string{"chrt", "--fifo", "10"} }

func (n *node) start() {
	n.c.t.Helper()
	bin, err := program()
	n.c.check(err)
	const caps = "-all,+net_admin,+net_raw"
	n.proc, err = proc.Start(proc.Spec{
		Name: "failoverd", Space: n.space, Log: filepath.Join(n.dir, "log"), Env: []string{asProgram + "=1"},
		Args: append(slices.Concat(n.under, n.chrt()), []string{
			"setpriv", "--reuid=202", "--regid=200", "--clear-groups", "--no-new-privs",
			"--inh-caps=" + caps, "--bounding-set=" + caps, "--ambient-caps=" + caps,
			bin, "-site", filepath.Join(n.dir, "site.toml"), "-run", filepath.Join(n.dir, "run"),
			"-state", n.dir, "-secrets", n.dir,
		}...),
	})
	n.c.check(err)
	n.c.t.Cleanup(func() {
		if len(n.under) > 0 { // it would outlive what runs it
			for _, pid := range n.children() {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		n.proc.Kill()
		if n.c.t.Failed() {
			n.c.t.Logf("log of %s:\n%s", n.space.Name, n.proc.Tail(40))
		}
	})
}

func (n *node) file() wire.Failover {
	f, err := wirefile.Read[wire.Failover](filepath.Join(n.dir, "run"), wire.FailoverFile)
	if err != nil || len(f.Groups) == 0 {
		return wire.Failover{Groups: []wire.Group{{}}}
	}
	return *f
}

func (n *node) group() wire.Group { return n.file().Groups[0] }

// is waits for a role and returns the group.
func (n *node) is(role string) wire.Group {
	n.c.t.Helper()
	n.c.eventually(n.space.Name+" is "+role, func() bool { return n.group().Role == role })
	return n.group()
}

// fault waits for a fault and returns it.
func (n *node) fault(id string) (found wire.Fault) {
	n.c.t.Helper()
	n.c.eventually(n.space.Name+" has fault "+id, func() bool {
		for _, f := range n.file().Faults {
			if f.ID == id {
				found = f
				return true
			}
		}
		return false
	})
	return found
}

// has reports whether the shared address is on the node's port.
func (n *node) has() bool {
	return strings.Contains(n.c.ip(n.space, "-4", "-o", "addr", "show", "dev", "lan"), " "+shared+"/")
}

// patience is how long anything may take that must happen: the machine may be busy.
const patience = time.Minute

func (c *clinic) eventually(what string, ok func() bool) {
	c.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	c.t.Fatalf("never happened: %s", what)
}

// The life of a single box: master, killed, back, asked to stop.
func TestAlone(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	a := c.node("a", "10.20.0.2/24", 100)
	if g := a.is(wire.RoleMaster); !strings.HasPrefix(g.Reason, "no other box heard for 361 ms") {
		t.Errorf("reason %q", g.Reason)
	}
	c.eventually("a is the owner", func() bool { return c.owner() == c.mac(a.space) })
	// Killed with its guard, and back at once: the next run takes off what is left.
	// The kernel's lease ends soon, too: on a busy machine before we are there.
	c.eventually("a killed run left its address", func() bool {
		a.is(wire.RoleMaster)
		c.check(os.Remove(filepath.Join(a.dir, "run", wire.FailoverFile)))
		a.killGuard()
		a.proc.Kill()
		left := a.has()
		a.start()
		a.is(wire.RoleMaster)
		return left && strings.Contains(a.proc.Tail(100), "took off an address that a killed run left")
	})
	c.eventually("it answers after the second start", c.reachable)
	a.proc.Stop(5 * time.Second)
	if a.has() {
		t.Error("the address stayed after an orderly stop")
	}
}

// Two boxes: the higher priority wins, an orderly stop and a power cut hand over.
func TestPair(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	a, b := c.node("a", "10.20.0.2/24", 150), c.node("b", "10.20.0.3/24", 100)
	a.is(wire.RoleMaster)
	c.eventually("b follows a", func() bool { return strings.Contains(b.group().Reason, "10.20.0.2 is master") })
	c.eventually("a is the owner", func() bool { return c.owner() == c.mac(a.space) })
	if b.has() {
		t.Fatal("b has the address")
	}
	a.proc.Stop(5 * time.Second)
	if g := b.is(wire.RoleMaster); g.Reason != "10.20.0.2 stepped down" || g.Peer != "10.20.0.2" {
		t.Errorf("got %+v", g)
	}
	a.start()
	if g := a.is(wire.RoleMaster); g.Reason != "priority 150 beats 100 of 10.20.0.3" {
		t.Errorf("reason %q", g.Reason)
	}
	b.is(wire.RoleBackup)
	if b.has() {
		t.Error("b kept the address as backup")
	}
	// Power cut: program and cable at once.
	c.ip(c.sw, "link", "set", "dev", "a", "down")
	a.proc.Kill()
	if g := b.is(wire.RoleMaster); !strings.HasPrefix(g.Reason, "10.20.0.2 fell silent for") {
		t.Errorf("reason %q", g.Reason)
	}
	c.eventually("b is the owner", func() bool { return c.owner() == c.mac(b.space) })
}

// A box without a link must not hold the address: it could not serve it, and the
// other box would.
func TestNoLink(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	a := c.node("a", "10.20.0.2/24", 100)
	a.is(wire.RoleMaster)
	c.ip(c.sw, "link", "set", "dev", "a", "down")
	if g := a.is(wire.RoleInit); g.Reason != "no link on lan" || a.has() {
		t.Errorf("got %+v, has the address: %v", g, a.has())
	}
	if f := a.fault("pair.no-link"); !strings.Contains(f.Do, "cable") {
		t.Errorf("got %+v", f)
	}
	c.ip(c.sw, "link", "set", "dev", "a", "up")
	a.is(wire.RoleMaster)
	c.eventually("the fault ends", func() bool { return len(a.file().Faults) == 0 })
	c.eventually("it answers after the link came back", c.reachable)
}

// netd may be late with the port's own address, or change it.
func TestOwnAddress(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	a := c.node("a", "10.9.0.2/24", 100)
	if f := a.fault("pair.no-address"); !strings.Contains(f.What, "only [10.9.0.2/24]") {
		t.Errorf("got %+v", f)
	}
	c.ip(a.space, "addr", "add", "10.20.0.2/24", "dev", "lan")
	a.is(wire.RoleMaster)
	// The kernel takes secondary addresses of a network with their first one.
	c.ip(a.space, "addr", "flush", "dev", "lan")
	a.is(wire.RoleInit)
	c.ip(a.space, "addr", "add", "10.20.0.7/24", "dev", "lan")
	a.is(wire.RoleMaster)
	// Somebody takes the shared address off.
	c.ip(a.space, "addr", "del", shared+"/32", "dev", "lan")
	c.eventually("the address is put back", a.has)
}

// A machine somebody gave the gateway's address by hand.
func TestAddressConflict(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	a := c.node("a", "10.20.0.2/24", 100)
	a.is(wire.RoleMaster)
	time.Sleep(takeoverGrace)
	pc := c.join("pc", shared+"/24")
	c.eventually("the conflict is noticed", func() bool {
		proc.Run(context.Background(), pc, "ip", "neigh", "flush", "dev", "lan")
		proc.Run(context.Background(), pc, "ping", "-c1", "-W1", "10.20.0.50")
		return len(a.file().Faults) > 0
	})
	if f := a.fault("pair.address-conflict"); !strings.Contains(f.What, c.mac(pc)) || f.Severity != wire.Alarm {
		t.Errorf("got %+v", f)
	}
}

// A port that vanishes and comes back with another index.
func TestPortReplaced(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	a := c.node("a", "10.20.0.2/24", 100)
	a.is(wire.RoleMaster)
	c.ip(c.sw, "link", "del", "dev", "a")
	if g := a.is(wire.RoleInit); g.Reason != "there is no port lan" {
		t.Errorf("got %+v", g)
	}
	c.check(netns.Veth(a.space, "lan", c.sw, "a"), a.space.Addr("lan", "10.20.0.2/24"))
	c.ip(c.sw, "link", "set", "dev", "a", "master", "br0")
	a.is(wire.RoleMaster)
	c.eventually("it answers", c.reachable)
}

// A frozen program is not a dead one to itself: what waited is heard first.
func TestFrozenBackup(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	a, b := c.node("a", "10.20.0.2/24", 150), c.node("b", "10.20.0.3/24", 100)
	a.is(wire.RoleMaster)
	b.is(wire.RoleBackup)
	since := b.group().Since
	for range 3 {
		c.check(b.proc.Signal(syscall.SIGSTOP))
		time.Sleep(700 * time.Millisecond)
		c.check(b.proc.Signal(syscall.SIGCONT))
		time.Sleep(300 * time.Millisecond)
	}
	if g := b.group(); g.Role != wire.RoleBackup || g.Since != since {
		t.Errorf("b became %s: %s", g.Role, g.Reason)
	}
}
