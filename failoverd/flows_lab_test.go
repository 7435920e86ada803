package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/proc"
	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"
)

const (
	outside = "192.0.2.1" // the pair's address towards the internet
	far     = "192.0.2.10:9000"
)

// A crossing is a clinic whose pair stands between workstations and a server, and
// hides the workstations behind the pair's outer address.
type crossing struct {
	*clinic
	wan    *netns.Space
	server *netns.Space
	desk2  *netns.Space
	a, b   *gateway
}

// A gateway is one box of the pair with its packet filter: open towards itself, as
// a filter is that lets a lost connection be reset, and strict for what passes.
type gateway struct {
	node
	x        *crossing
	name     string
	interval time.Duration // 0: 50 ms
	equal    bool          // nobody preempts, and both sides move together
}

func newCrossing(t testing.TB, copying bool) *crossing {
	x := layCrossing(t)
	x.a.configure(150, 2, 3, copying)
	x.b.configure(100, 3, 2, copying)
	x.a.start()
	x.a.are(wire.RoleMaster)
	x.b.start()
	x.b.are(wire.RoleBackup)
	return x
}

// layCrossing makes all but the pair's programs.
func layCrossing(t testing.TB) *crossing {
	c := newClinic(t)
	lab.Require(t, lab.Program("iptables", "conntrack"))
	x := &crossing{clinic: c, wan: c.space("wan"), server: c.space("server"), desk2: c.join("desk2", "10.20.0.51/24")}
	c.check(x.wan.Bridge("br0"),
		netns.Veth(x.server, "eth0", x.wan, "server"), x.server.Addr("eth0", "192.0.2.10/24"),
		c.desk.Route("default", shared), x.desk2.Route("default", shared))
	c.ip(x.wan, "link", "set", "dev", "server", "master", "br0")
	x.a, x.b = x.gateway("a", 2, 150), x.gateway("b", 3, 100)
	c.check(netns.Veth(x.a.space, "ha", x.b.space, "ha"), x.a.space.Addr("ha", "10.77.0.2/24"), x.b.space.Addr("ha", "10.77.0.3/24"))
	x.serve()
	return x
}

func (x *crossing) gateway(name string, host, priority int) *gateway {
	x.t.Helper()
	g := &gateway{node: node{c: x.clinic, space: x.join(name, fmt.Sprintf("10.20.0.%d/24", host)), dir: x.t.TempDir()}, x: x, name: name}
	for dir := g.dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		x.check(os.Chmod(dir, 0o755))
	}
	x.check(netns.Veth(g.space, "wan1", x.wan, name), g.space.Addr("wan1", fmt.Sprintf("192.0.2.%d/24", host)), g.space.Forward())
	x.ip(x.wan, "link", "set", "dev", name, "master", "br0")
	for _, rule := range []string{
		"-P FORWARD DROP",
		"-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
		"-A FORWARD -i lan -o wan1 -p tcp --syn -j ACCEPT",
		"-A FORWARD -i lan -o wan1 -p udp -j ACCEPT",
		"-t nat -A POSTROUTING -o wan1 -s 10.20.0.0/24 -j SNAT --to-source " + outside,
	} {
		_, err := proc.Run(context.Background(), g.space, append([]string{"iptables"}, strings.Fields(rule)...)...)
		x.check(err)
	}
	return g
}

var pairKey = base64.StdEncoding.EncodeToString([]byte("a key of the pair in a test only"))

func (g *gateway) configure(priority, own, other int, copying bool) {
	g.x.t.Helper()
	site := "[site]\nname = \"Lab\"\ncode = \"lab\"\n"
	for i, v := range []struct{ port, addr string }{{"lan", shared}, {"wan1", outside}} {
		site += fmt.Sprintf("[[pair.group]]\nname = %q\nvrid = %d\nport = %q\naddresses = [\"%s/24\"]\npriority = %d\ninterval = %q\n",
			v.port, 20+i, v.port, v.addr, priority, cmp.Or(g.interval, 50*time.Millisecond))
		if g.equal {
			site += "preempt = false\nsync = \"both\"\n"
		}
	}
	if copying {
		site += fmt.Sprintf("[pair.flows]\nlisten = \"10.77.0.%d:7789\"\npeer = \"10.77.0.%d:7789\"\n", own, other)
	}
	run := filepath.Join(g.dir, "run")
	g.x.check(os.WriteFile(filepath.Join(g.dir, "site.toml"), []byte(site), 0o644), os.Mkdir(run, 0o755), os.Chown(run, 202, 200),
		os.WriteFile(filepath.Join(g.dir, "ha.key"), []byte(pairKey+"\n"), 0o644))
}

func (g *gateway) state() *wire.Failover {
	f, err := wirefile.Read[wire.Failover](filepath.Join(g.dir, "run"), wire.FailoverFile)
	if err != nil {
		return &wire.Failover{}
	}
	return f
}

// are waits for both groups to have a role.
func (g *gateway) are(role string) {
	g.x.t.Helper()
	g.x.eventually(g.space.Name+" is "+role, func() bool {
		s := g.state()
		return len(s.Groups) == 2 && s.Groups[0].Role == role && s.Groups[1].Role == role
	})
}

// cut takes the box's power: program and cables at once.
func (g *gateway) cut() {
	for _, dev := range []string{"lan", "wan1", "ha"} {
		g.x.ip(g.space, "link", "set", "dev", dev, "down")
	}
	g.proc.Kill()
}

// boot is the box after its power came back: it remembers nothing.
func (g *gateway) boot() {
	g.x.t.Helper()
	_, err := proc.Run(context.Background(), g.space, "conntrack", "-F")
	g.x.check(err)
	for _, dev := range []string{"lan", "wan1", "ha"} {
		g.x.ip(g.space, "link", "set", "dev", dev, "up")
	}
	g.start()
}

// serve answers lines; to "push" it answers with a line every 20 ms for ever.
func (x *crossing) serve() {
	x.t.Helper()
	var l net.Listener
	x.check(x.server.Do(func() (err error) {
		l, err = net.Listen("tcp", far)
		return err
	}))
	x.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go answer(conn)
		}
	}()
}

func answer(conn net.Conn) {
	defer conn.Close()
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		for push := lines.Text() == "push"; push; time.Sleep(20 * time.Millisecond) {
			if _, err := fmt.Fprintln(conn, "tick"); err != nil {
				return
			}
		}
		fmt.Fprintf(conn, "%s from %v\n", lines.Text(), conn.RemoteAddr())
	}
}

// A talk is one workstation's connection.
type talk struct {
	name string
	net.Conn
	*bufio.Reader
	push bool
}

func (x *crossing) open(name string, from *netns.Space, port int, push bool) *talk {
	x.t.Helper()
	tk := &talk{name: name, push: push}
	x.check(from.Do(func() (err error) {
		d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{Port: port}}
		tk.Conn, err = d.Dial("tcp", far)
		return err
	}))
	x.t.Cleanup(func() { tk.Close() })
	tk.Reader = bufio.NewReader(tk.Conn)
	if push {
		fmt.Fprintln(tk, "push")
	}
	x.check(tk.works(patience))
	return tk
}

// works is nil when a line that was sent after now comes through.
func (tk *talk) works(within time.Duration) error {
	end := time.Now().Add(within)
	tk.SetDeadline(end)
	if !tk.push {
		word := fmt.Sprint("hello ", end.UnixNano())
		if _, err := fmt.Fprintln(tk, word); err != nil {
			return fmt.Errorf("%s: %w", tk.name, err)
		}
		line, err := tk.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, word+" from "+outside) {
			return fmt.Errorf("%s: got %q, %v", tk.name, line, err)
		}
		return nil
	}
	// What was on its way at the cut is read at once; ticks of 300 ms are new ones.
	for range 15 {
		if _, err := tk.ReadString('\n'); err != nil {
			return fmt.Errorf("%s: %w", tk.name, err)
		}
	}
	return nil
}

func (x *crossing) talks() []*talk {
	x.t.Helper()
	return []*talk{
		x.open("asked by the workstation", x.desk, 0, false),
		x.open("pushed by the server", x.desk, 0, true),
		x.open("source port 40000 of one", x.desk, 40000, false),
		x.open("source port 40000 of another", x.desk2, 40000, false),
	}
}

// Open connections survive the master's power cut, its return, and its second cut.
func TestFlowsSurvive(t *testing.T) {
	x := newCrossing(t, true)
	talks := x.talks()
	x.eventually("b holds all connections", func() bool { f := x.b.state().Flows; return f != nil && f.Held >= len(talks) })
	for _, step := range []struct {
		what string
		do   func()
	}{
		{"the master's power is cut", func() { x.a.cut(); x.b.are(wire.RoleMaster) }},
		{"it comes back and takes over", func() { x.a.boot(); x.a.are(wire.RoleMaster); x.b.are(wire.RoleBackup) }},
		{"it stops orderly", func() { x.a.proc.Stop(5 * time.Second); x.b.are(wire.RoleMaster) }},
	} {
		step.do()
		for _, tk := range talks {
			if err := tk.works(patience); err != nil {
				t.Errorf("%s: %v", step.what, err)
			}
		}
	}
	if t.Failed() {
		out, _ := proc.Run(context.Background(), x.b.space, "conntrack", "-L")
		t.Logf("b: %s", out)
	}
}

// Without the copy they break: otherwise the test above shows nothing.
func TestFlowsBreakWithoutCopy(t *testing.T) {
	x := newCrossing(t, false)
	talks := x.talks()
	x.a.cut()
	x.b.are(wire.RoleMaster)
	for _, tk := range talks {
		if err := tk.works(1500 * time.Millisecond); err == nil {
			t.Errorf("%s goes on without a copy", tk.name)
		}
	}
	x.check(x.open("a new one", x.desk, 0, false).works(patience))
}
