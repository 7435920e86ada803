package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"clinicgate/firmware/wire"

	"golang.org/x/sys/unix"
)

// TestRouting runs the real netd: which uplink flows take, and what becomes of them.
func TestRouting(t *testing.T) {
	needs(t)
	bin := programs(t)
	for _, c := range []struct {
		name string
		run  func(*testing.T, string)
	}{
		{"classes", classes},
		{"spread", spread},
		{"cap used up", capUsedUp},
		{"no better uplink", noBetter},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, bin) })
	}
}

// why asks netd's control socket.
func (w *world) why(query string) (a wire.FlowWay) {
	w.t.Helper()
	got := w.run(w.pc, "curl", "-s", "--unix-socket", filepath.Join(w.dir, "run/netd.sock"), "http://netd/why?"+query)
	if err := json.Unmarshal([]byte(got), &a); err != nil {
		w.t.Fatalf("why %s: %s", query, got)
	}
	return a
}

// open sends the first packets of a flow and leaves it open.
func (w *world) open(network, src, dst string, dscp int) net.Conn {
	w.t.Helper()
	var local net.Addr = &net.TCPAddr{IP: net.ParseIP(src)}
	if network == "udp4" {
		local = &net.UDPAddr{IP: net.ParseIP(src)}
	}
	d := net.Dialer{Timeout: ample, LocalAddr: local, Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TOS, dscp<<2) })
	}}
	var c net.Conn
	w.must(w.pc.Do(func() (err error) {
		c, err = d.DialContext(context.Background(), network, dst)
		return err
	}))
	w.t.Cleanup(func() { c.Close() })
	_, err := c.Write([]byte("x"))
	w.must(err)
	return c
}

// by says through which uplinks the kernel has sent the flows that match, by the
// address that their answers come back to.
func (w *world) by(match ...string) map[string]int {
	w.t.Helper()
	out := w.run(w.box, append([]string{"conntrack", "-L"}, match...)...)
	all := map[string]int{}
	for _, m := range regexp.MustCompile(`dst=(100\.64\.1|198\.51\.100)\.\d+ sport=\d+ dport=\d+`).FindAllStringSubmatch(out, -1) {
		all[map[string]string{"100.64.1": "isp-a", "198.51.100": "isp-b"}[m[1]]]++
	}
	return all
}

// classes: what `why` says is what the kernel does with real connections.
func classes(t *testing.T, bin string) {
	w := up(t, bin, func(site string) string {
		return site + `
[net.class.clinical]
match   = [{ to = "192.0.2.1", service = "tcp/7443" }]
uplinks = ["isp-b", "isp-a"]
[net.class.bulk]
match   = [{ from = "10.20.0.99" }, { service = "udp/7000-7100", dscp = 8 }]
uplinks = ["isp-b"]
strict  = true
`
	})
	w.must(w.pc.Addr("eth0", "10.20.0.99/24"))
	for _, port := range []string{"7443", "7444", "7050"} {
		w.echo(w.hub, "192.0.2.1:"+port)
	}
	check := func(src, proto, port string, dscp int, class, want string) {
		t.Helper()
		q := url.Values{"src": {src}, "dst": {"192.0.2.1"}, "proto": {proto}, "port": {port}, "dscp": {fmt.Sprint(dscp)}}
		a := w.why(q.Encode())
		if a.Class != class || len(a.Uplinks) != 1 || a.Uplinks[0].Name != want || !a.Agrees {
			t.Errorf("why %v: got %+v, want %s by %s", q, a, class, want)
		}
		w.open(proto+"4", src, "192.0.2.1:"+port, dscp)
		w.soon(fmt.Sprintf("%s %s/%s dscp %d by %s alone", src, proto, port, dscp, want), func() error {
			if got := w.by("-p", proto, "-s", src, "--dport", port); got[want] == 0 || len(got) != 1 {
				return fmt.Errorf("the kernel sent it by %v", got)
			}
			return nil
		})
		w.run(w.box, "conntrack", "-D", "-s", src)
	}
	check("10.20.0.50", "tcp", "7443", 0, "clinical", "isp-b")
	check("10.20.0.50", "tcp", "7444", 0, "office", "isp-a")
	check("10.20.0.99", "tcp", "7444", 0, "bulk", "isp-b")
	check("10.20.0.50", "udp", "7050", 8, "bulk", "isp-b")
	check("10.20.0.50", "udp", "7050", 10, "office", "isp-a")
	if a := w.why("src=10.20.0.50&dst=10.98.1.10"); a.Kind != wire.WayTunnel || !a.Agrees {
		t.Errorf("into the tunnel: %+v", a)
	}
	for _, q := range []string{"src=x&dst=192.0.2.1", "src=10.20.0.50&dst=192.0.2.1&port=7", "src=10.20.0.50&dst=192.0.2.1&dscp=64"} {
		if got := w.run(w.pc, "curl", "-s", "--unix-socket", filepath.Join(w.dir, "run/netd.sock"), "http://netd/why?"+q); !strings.Contains(got, ": got ") {
			t.Errorf("%s: got %q", q, got)
		}
	}
	// B goes: clinical takes A, bulk is refused at once, office notices nothing.
	w.run(w.ispB, "ip", "link", "set", "box", "down")
	w.await("B gone", func(n *wire.Net) bool { return n.Uplinks[1].State == wire.UplinkNoLink })
	check("10.20.0.50", "tcp", "7443", 0, "clinical", "isp-a")
	check("10.20.0.50", "tcp", "7444", 0, "office", "isp-a")
	if a := w.why("src=10.20.0.99&dst=192.0.2.1&proto=tcp&port=7444"); a.Kind != wire.WayRefused || !a.Agrees {
		t.Errorf("bulk without its uplink: %+v", a)
	}
}

// spread: two shared uplinks take connections by their weights, and a connection
// stays with its uplink though the weights change their minds about the next.
func spread(t *testing.T, bin string) {
	w := up(t, bin, func(site string) string {
		site = strings.Replace(site, `method = "dhcp" `, "role = \"shared\"\nweight = 3\nmethod = \"dhcp\" ", 1)
		return strings.Replace(site, `method  = "static"`, "role = \"shared\"\nmethod = \"static\"", 1)
	})
	w.echo(w.hub, "192.0.2.1:7001")
	w.echo(w.hub, "192.0.2.1:7002")
	n := w.await("shares", func(n *wire.Net) bool { return n.Uplinks[0].Share == 75 && n.Uplinks[1].Share == 25 })
	if n.Active != "isp-a" {
		t.Errorf("active: %s", n.Active)
	}
	const flows = 300
	for range flows {
		w.open("udp4", "10.20.0.50", "192.0.2.1:7001", 0)
	}
	var got map[string]int
	w.soon("all flows seen", func() error {
		if got = w.by("-p", "udp", "--dport", "7001"); got["isp-a"]+got["isp-b"] < flows-5 {
			return fmt.Errorf("%v", got)
		}
		return nil
	})
	// 3 to 1 by a hash: 225 and 75, by chance off by 8 or so.
	// A connection or two may be missing in a listing of a table that changes.
	if sum := got["isp-a"] + got["isp-b"]; got["isp-a"] < 180 || got["isp-b"] < 40 || sum < flows-5 || sum > flows {
		t.Errorf("%d flows went by %v, want 3 to 1", flows, got)
	}
	t.Logf("%d flows went by %v", flows, got)
	a := w.why("src=10.20.0.50&dst=192.0.2.1&proto=udp&port=7001")
	if len(a.Uplinks) != 2 || a.Uplinks[0].Percent != 75 || !a.Agrees {
		t.Errorf("why: %+v", a)
	}
	var talks []*talk
	for range 12 {
		talks = append(talks, w.talk(w.pc, "tcp4", "192.0.2.1:7002", 50*time.Millisecond))
	}
	for _, k := range talks {
		k.settled(t)
	}
	before := w.by("-p", "tcp", "--dport", "7002")
	w.run(w.ispB, "ip", "link", "set", "box", "down")
	w.await("B gone", func(n *wire.Net) bool { return n.Uplinks[0].Share == 100 })
	w.run(w.ispB, "ip", "link", "set", "box", "up")
	w.await("B back", func(n *wire.Net) bool { return n.Uplinks[1].Share == 25 })
	alive := 0
	for _, k := range talks {
		if k.goesOn() == nil {
			alive++
		}
	}
	if alive != before["isp-a"] {
		t.Errorf("%d connections live on, want the %d of A", alive, before["isp-a"])
	}
}

// capUsedUp: what passed counts over restarts, and near the cap an uplink takes new
// flows no more.
func capUsedUp(t *testing.T, bin string) {
	edit := func(site string) string {
		return strings.Replace(site, `method = "dhcp" `, "cap = \"10MB\"\nprice = 4.0\nmethod = \"dhcp\" ", 1)
	}
	w := up(t, bin, edit)
	w.echo(w.hub, "192.0.2.1:7001")
	w.consume("192.0.2.1:7001", 4_500_000)
	n := w.await("9 MB counted", func(n *wire.Net) bool { return n.Uplinks[0].Month != nil && n.Uplinks[0].Month.Bytes > 9e6 })
	if f := fault(n, "uplink.cap"); f == nil || f.Severity != wire.Warning {
		t.Errorf("faults at 90 %%: %+v", n.Faults)
	}
	if n.Active != "isp-a" || n.Uplinks[0].Month.Cost < 0.03 {
		t.Errorf("at 90 %%: active %s, %+v", n.Active, n.Uplinks[0].Month)
	}
	w.netd.Stop(5 * time.Second)
	w.must(os.Remove(filepath.Join(w.dir, "run/netd.json")))
	w.startNetd(bin, edit)
	w.await("counted still", func(n *wire.Net) bool { return w.states(n) == allUp && n.Uplinks[0].Month.Bytes > 9e6 })
	w.consume("192.0.2.1:7001", 500_000)
	n = w.await("A is a last resort", func(n *wire.Net) bool { return n.Active == "isp-b" })
	if f := fault(n, "uplink.cap"); f == nil || f.Severity != wire.Alarm || !strings.Contains(f.What, "it is a last resort until 20") {
		t.Errorf("faults at 100 %%: %+v", n.Faults)
	}
	if n.Uplinks[0].Role != "last-resort" || n.Uplinks[0].State != wire.UplinkUp {
		t.Errorf("got %+v", n.Uplinks[0])
	}
	w.run(w.ispB, "ip", "link", "set", "box", "down")
	w.await("A all the same", func(n *wire.Net) bool { return n.Active == "isp-a" })
}

// consume sends so many bytes there, and they come back.
func (w *world) consume(addr string, bytes int) {
	w.t.Helper()
	c, err := w.pc.DialContext(w.t.Context(), "tcp4", addr)
	w.must(err)
	defer c.Close()
	go func() { _, _ = c.Write(make([]byte, bytes)) }() // what is missing is missed below
	buf := make([]byte, 64<<10)
	w.must(c.SetReadDeadline(time.Now().Add(ample)))
	for got := 0; got < bytes; {
		n, err := c.Read(buf)
		w.must(err)
		got += n
	}
}

// noBetter: the only uplink falls silent. Its connections are left alone, and go on
// when it is back.
func noBetter(t *testing.T, bin string) {
	w := up(t, bin, nil)
	w.run(w.ispB, "ip", "link", "set", "box", "down")
	w.await("B gone", func(n *wire.Net) bool { return n.Uplinks[1].State == wire.UplinkNoLink })
	w.echo(w.hub, "192.0.2.1:7001")
	k := w.talk(w.pc, "tcp4", "192.0.2.1:7001", 50*time.Millisecond)
	k.settled(t)
	w.silence()
	n := w.await("nothing works", func(n *wire.Net) bool { return n.Active == "" })
	if n.Uplinks[0].State != wire.UplinkDown || n.Tunnels[0].State != wire.TunnelDown {
		t.Errorf("got %s", w.states(n))
	}
	time.Sleep(1500 * time.Millisecond)
	if got := w.by("-p", "tcp", "--dport", "7001"); got["isp-a"] != 1 {
		t.Errorf("the connection was forgotten: %v", got)
	}
	w.revive()
	w.await("A back", func(n *wire.Net) bool { return n.Active == "isp-a" })
	k.alive(t, "by A, which is back")
}
