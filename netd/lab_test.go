package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/proc"
	"clinicgate/firmware/wire"
)

const allUp = "isp-a=up isp-b=up hub=up"

// TestLab runs the real netd, with no more rights than on the box, between two
// providers and a stock WireGuard hub.
func TestLab(t *testing.T) {
	needs(t)
	bin := programs(t)
	for _, c := range []struct {
		name string
		run  func(*testing.T, string)
	}{
		{"both up", bothUp},
		{"silent provider", silentProvider},
		{"silent provider, best", silentBest},
		{"one way only", oneWay},
		{"hub restarts", hubRestarts},
		{"firewall", firewallTruth},
		{"no link", noLink},
		{"no server after a restart", noServer},
		{"restart", restart},
		{"lying server", lyingServer},
		{"numbered anew", numberedAnew},
		{"tunnel without key", noKey},
		{"turns of a pair", turns},
		{"bad site file", badSite},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, bin) })
	}
}

// up starts everything and waits until all is up.
func up(t testing.TB, bin string, edit func(string) string) *world {
	t.Helper()
	w := newWorld(t)
	w.startISPA()
	w.startHub(bin)
	w.startNetd(bin, edit)
	w.await("all up", func(n *wire.Net) bool { return w.states(n) == allUp && n.Active == "isp-a" })
	return w
}

// bothUp: DHCP on one uplink, static on the other, NAT and tunnel.
func bothUp(t *testing.T, bin string) {
	w := up(t, bin, nil)
	n := w.await("no faults", func(n *wire.Net) bool { return len(n.Faults) == 0 && n.Uplinks[0].RTTMS > 0 })
	if n.Uplinks[0].Gateway != "100.64.1.1" || n.Uplinks[1].Address != "198.51.100.2/24" || n.Tunnels[0].Via == "" || n.Tunnels[0].RTTMS <= 0 || n.Tunnels[0].Handshake.IsZero() {
		t.Errorf("got %+v", n)
	}
	w.wait(w.pc, "ping", "-c", "1", "-W", "2", "192.0.2.1")
	w.wait(w.pc, "ping", "-c", "1", "-W", "2", "10.98.1.10")
	if got := w.run(w.pc, "curl", "-s", "--unix-socket", filepath.Join(w.dir, "run/netd.sock"), "http://netd/state"); !strings.Contains(got, `"route default via 100.64.1.1 dev wan1 table 254`) {
		t.Errorf("GET /state: %s", got)
	}
	if got := w.run(w.pc, "curl", "-s", "--unix-socket", filepath.Join(w.dir, "run/netd.sock"), "http://netd/metrics"); !strings.Contains(got, `netd_uplink_active{uplink="isp-a"} 1`) {
		t.Errorf("GET /metrics: %s", got)
	}
}

// silence makes provider A swallow every packet; carrier and addresses stay.
func (w *world) silence() {
	w.run(w.ispA, "nft", "add table ip dead; add chain ip dead in { type filter hook prerouting priority -400; policy drop; }")
}

func (w *world) revive() { w.run(w.ispA, "nft", "delete table ip dead") }

// silentProvider: A dies without a word. What goes through the tunnel goes on, a
// TCP connection in it does not break, a plain one that can't survive is reset, new
// ones find the other way; when A is back, those that left by B stay there.
func silentProvider(t *testing.T, bin string) {
	w := up(t, bin, nil)
	w.echo(w.hub, "10.98.1.10:7000")
	w.echo(w.hub, "192.0.2.1:7001")
	inTunnel := w.talk(w.pc, "tcp4", "10.98.1.10:7000", 20*time.Millisecond)
	echoes := w.talk(w.pc, "udp4", "10.98.1.10:7000", 20*time.Millisecond)
	byA := w.talk(w.pc, "tcp4", "192.0.2.1:7001", 20*time.Millisecond)
	for _, k := range []*talk{inTunnel, echoes, byA} {
		k.settled(t)
	}
	idle, err := w.pc.DialContext(t.Context(), "tcp4", "192.0.2.1:7001")
	w.must(err)
	defer idle.Close()
	cut := time.Now()
	w.silence()
	w.await("A left", func(n *wire.Net) bool { return w.states(n) == "isp-a=down isp-b=up hub=up" && n.Active == "isp-b" })
	t.Logf("A was left %v after it died", time.Since(cut).Round(time.Millisecond))
	byB := w.talk(w.pc, "tcp4", "192.0.2.1:7001", 50*time.Millisecond)
	byB.settled(t)
	t.Logf("a new plain connection answered %v after A died", time.Since(cut).Round(time.Millisecond))
	if err := byA.ended(); err == nil || !strings.Contains(err.Error(), "reset") {
		t.Errorf("plain connection by A: %v, want a reset", err)
	}
	// One that only listens is told as well.
	w.must(idle.SetReadDeadline(time.Now().Add(ample)))
	if _, err := idle.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "reset") {
		t.Errorf("idle connection by A: %v, want a reset", err)
	} else {
		t.Logf("an idle connection was reset %v after A died", time.Since(cut).Round(time.Millisecond))
	}
	if got := w.run(w.box, "conntrack", "-L", "-p", "tcp"); strings.Contains(got, "dst=100.64.1.") {
		t.Errorf("connections of the dead uplink are still tracked:\n%s", got)
	}
	n := w.await("alarm", func(n *wire.Net) bool { return fault(n, "uplink.down") != nil })
	if f := fault(n, "uplink.down"); !strings.HasPrefix(f.What, "nothing comes back through wan1: ") || f.Do == "" {
		t.Errorf("fault: %+v", f)
	}
	w.revive()
	w.await("A back", func(n *wire.Net) bool { return n.Active == "isp-a" && len(n.Faults) == 0 })
	inTunnel.alive(t, "in the tunnel")
	byB.alive(t, "by B, after A is back")
	t.Logf("echoes in the tunnel: longest hole %v", echoes.hole().Round(time.Millisecond))
}

// policyBest is the example with a tunnel by one uplink at a time.
func policyBest(site string) string { return strings.Replace(site, `"redundant"`, `"best"`, 1) }

// silentBest: without copies a dead provider costs as long as it takes to notice.
func silentBest(t *testing.T, bin string) {
	w := up(t, bin, policyBest)
	w.echo(w.hub, "10.98.1.10:7000")
	inTunnel := w.talk(w.pc, "tcp4", "10.98.1.10:7000", 20*time.Millisecond)
	echoes := w.talk(w.pc, "udp4", "10.98.1.10:7000", 20*time.Millisecond)
	inTunnel.settled(t)
	echoes.settled(t)
	w.silence()
	w.await("A left", func(n *wire.Net) bool { return n.Active == "isp-b" && n.Tunnels[0].Via == "isp-b" })
	inTunnel.alive(t, "in the tunnel")
	echoes.alive(t, "of echoes in the tunnel")
	t.Logf("echoes in the tunnel: longest hole %v", echoes.hole().Round(time.Millisecond))
}

// oneWay: A still carries what we send to the hub, but nothing of the hub's back.
// Copies alone would leave the hub answering by A for ever.
func oneWay(t *testing.T, bin string) {
	w := up(t, bin, func(site string) string { return strings.Replace(site, `every   = "500ms"`, `every = "10s"`, 1) })
	w.echo(w.hub, "10.98.1.10:7000")
	w.slower(w.ispB) // so that A's copies come first
	echoes := w.talk(w.pc, "udp4", "10.98.1.10:7000", 20*time.Millisecond)
	echoes.settled(t)
	w.await("answers by A", func(n *wire.Net) bool { return n.Tunnels[0].Via == "isp-a" })
	w.run(w.ispA, "nft", "add table ip dead; add chain ip dead in { type filter hook prerouting priority -400; iifname up drop; }")
	w.await("answers by B", func(n *wire.Net) bool { return n.Tunnels[0].Via == "isp-b" })
	echoes.alive(t, "of echoes in the tunnel")
	n := w.await("state", func(*wire.Net) bool { return true })
	t.Logf("echoes in the tunnel: longest hole %v, and the probes say %s", echoes.hole().Round(time.Millisecond), w.states(n))
}

// slower gives what passes through a provider one more queue to wait in.
func (w *world) slower(s *netns.Space) {
	w.run(s, "tc", "qdisc", "add", "dev", "up", "root", "tbf", "rate", "20mbit", "burst", "2kb", "latency", "200ms")
}

// hubRestarts: a hub that lost all sessions is missed within seconds and called
// anew, not when WireGuard's own timers notice.
func hubRestarts(t *testing.T, bin string) {
	w := newWorld(t)
	w.startISPA()
	hub := w.startHub(bin)
	w.startNetd(bin, nil)
	w.await("all up", func(n *wire.Net) bool { return w.states(n) == allUp })
	hub.Kill()
	gone := time.Now()
	n := w.await("hub missed", func(n *wire.Net) bool { return n.Tunnels[0].State == wire.TunnelDown })
	t.Logf("a dead hub was missed after %v: %s", time.Since(gone).Round(time.Millisecond), n.Tunnels[0].Reason)
	w.startHub(bin)
	back := time.Now()
	w.await("hub back", func(n *wire.Net) bool { return n.Tunnels[0].State == wire.TunnelUp })
	t.Logf("it was back %v after its start", time.Since(back).Round(time.Millisecond))
}

// firewallTruth: real packets against what the site file says.
func firewallTruth(t *testing.T, bin string) {
	w := up(t, bin, func(site string) string { return strings.Replace(site, "wan = []", `wan = ["tcp/9999"]`, 1) })
	own := w.await("lease", func(n *wire.Net) bool { return n.Uplinks[0].Address != "" }).Uplinks[0].Address
	a, _, _ := strings.Cut(own, "/")
	for _, port := range []int{22, 80, 8443, 8444, 8883, 9999, 11112} {
		w.echo(w.box, fmt.Sprintf("0.0.0.0:%d", port))
	}
	w.echo(w.pc, "10.20.0.50:80")
	w.echo(w.hub, "192.0.2.1:80")
	w.echo(w.hub, "10.98.1.10:80")
	w.must(w.ispA.Route("10.20.0.0/24", a)) // a provider that tries
	for _, c := range []struct {
		who  string
		from *netns.Space
		to   string
		want bool
	}{
		{"LAN, opened", w.pc, "10.20.0.2:8443", true},
		{"LAN, opened", w.pc, "10.20.0.2:8444", true},
		{"LAN, opened", w.pc, "10.20.0.2:11112", true},
		{"LAN, not opened", w.pc, "10.20.0.2:22", false},
		{"LAN, opened outside only", w.pc, "10.20.0.2:9999", false},
		{"LAN to the internet", w.pc, "192.0.2.1:80", true},
		{"LAN into the tunnel", w.pc, "10.98.1.10:80", true},
		{"A, opened", w.ispA, a + ":9999", true},
		{"internet by A, opened", w.hub, a + ":9999", true},
		{"internet by B, opened, answered by B", w.hub, "198.51.100.2:9999", true},
		{"A, opened in the LAN only", w.ispA, a + ":8443", false},
		{"A, the LAN's address", w.ispA, "10.20.0.2:8443", false},
		{"A into the LAN", w.ispA, "10.20.0.50:80", false},
		{"B, not opened", w.hub, "198.51.100.2:22", false},
		{"hub into the box", w.hub, "10.99.0.2:8443", false},
	} {
		within := silence
		if c.want {
			within = answer
		}
		if err := reach(c.from, c.to, within); (err == nil) != c.want {
			t.Errorf("%s: %s: got %v, want %v", c.who, c.to, err, c.want)
		}
	}
	for to, from := range map[string]*netns.Space{a + ":9999": w.ispA, "198.51.100.2:8443": w.hub, "10.20.0.2:8443": w.pc} {
		if udp(from, to, silence) {
			t.Errorf("UDP to %s: answered, want only TCP there", to)
		}
	}
	if !udp(w.pc, "192.0.2.1:80", answer) {
		t.Error("UDP from the LAN to the internet: no answer")
	}
	w.scan(a)
	w.silentPings(a)
}

// scan looks for any sign of life on the box's address at A: every port must be
// silent, without a refusal, but the one that is open.
func (w *world) scan(a string) {
	var wg sync.WaitGroup
	for port := 1; port <= 400; port++ {
		wg.Go(func() {
			err := reach(w.ispA, fmt.Sprintf("%s:%d", a, port), silence)
			if !silent(err) {
				w.t.Errorf("scan from A: port %d: %v", port, err)
			}
		})
		if port%100 == 0 {
			wg.Wait()
		}
	}
}

// silentPings: the internet gets no echo, the LAN does, and IPv6 nobody.
func (w *world) silentPings(a string) {
	w.wait(w.pc, "ping", "-c", "1", "-W", "2", "10.20.0.2")
	for _, c := range []struct {
		from *netns.Space
		to   string
	}{{w.ispA, a}, {w.hub, "198.51.100.2"}, {w.pc, w.linkLocal("lan") + "%eth0"}, {w.ispA, w.linkLocal("wan1") + "%box"}} {
		ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
		out, err := proc.Run(ctx, c.from, "ping", "-c", "2", "-i", "0.2", "-W", "1", c.to)
		cancel()
		if err == nil || !strings.Contains(string(out), " 0 received") {
			w.t.Errorf("ping %s: %v: %s", c.to, err, out)
		}
	}
}

func (w *world) linkLocal(dev string) string {
	w.t.Helper()
	out := w.run(w.box, "ip", "-6", "-o", "addr", "show", "dev", dev, "scope", "link")
	six := regexp.MustCompile(`fe80::[0-9a-f:]+`).FindString(out)
	if six == "" {
		w.t.Fatalf("no link-local address: %s", out)
	}
	return six
}

// noLink: a port without a cable is said to be one; the cable back in heals it.
func noLink(t *testing.T, bin string) {
	w := up(t, bin, nil)
	w.run(w.ispA, "ip", "link", "set", "box", "down")
	w.await("A left at once", func(n *wire.Net) bool { return w.states(n) == "isp-a=nolink isp-b=up hub=up" && n.Active == "isp-b" })
	n := w.await("alarm", func(n *wire.Net) bool { return fault(n, "uplink.no-link") != nil })
	f := fault(n, "uplink.no-link")
	if f.Where != "port wan1" || f.What != "no carrier on wan1 (uplink isp-a)" || !strings.Contains(f.Do, "check the cable between wan1 and the modem of isp-a") {
		t.Errorf("fault: %+v", f)
	}
	w.wait(w.pc, "ping", "-c", "1", "-W", "2", "10.98.1.10")
	w.run(w.ispA, "ip", "link", "set", "box", "up")
	w.await("A back", func(n *wire.Net) bool { return n.Active == "isp-a" && len(n.Faults) == 0 })
	// The port itself goes, as a USB modem would, and comes back as another device.
	w.run(w.box, "ip", "link", "del", "wan1")
	w.await("port gone", func(n *wire.Net) bool { return n.Uplinks[0].Reason == "no such port" && n.Active == "isp-b" })
	w.must(netns.Veth(w.box, "wan1", w.ispA, "box"), w.ispA.Addr("box", "100.64.1.1/24"))
	w.startISPA()
	w.await("port back", func(n *wire.Net) bool { return n.Active == "isp-a" && w.states(n) == allUp })
	w.wait(w.pc, "ping", "-c", "1", "-W", "2", "10.98.1.10")
}

// noServer: the box restarts while the DHCP server is away: the lease is good still.
func noServer(t *testing.T, bin string) {
	w := newWorld(t)
	server := w.startISPA()
	w.startHub(bin)
	w.startNetd(bin, nil)
	before := w.await("all up", func(n *wire.Net) bool { return w.states(n) == allUp }).Uplinks[0].Address
	w.netd.Kill()
	server.Stop(time.Second)
	w.must(os.RemoveAll(filepath.Join(w.dir, "run")), os.Mkdir(filepath.Join(w.dir, "run"), 0o700), os.Chown(filepath.Join(w.dir, "run"), 201, 200))
	for _, dev := range []string{"wan1", "wan2", "lan"} {
		w.run(w.box, "ip", "addr", "flush", "dev", dev)
	}
	w.startNetd(bin, nil)
	n := w.await("up without a server", func(n *wire.Net) bool { return w.states(n) == allUp })
	if n.Uplinks[0].Address != before {
		t.Errorf("got %s, want the lease of before, %s", n.Uplinks[0].Address, before)
	}
}

// restart: netd is killed and starts again. Nothing in the kernel but the tunnel's
// device goes away or changes, and what others put there stays.
func restart(t *testing.T, bin string) {
	w := up(t, bin, nil)
	w.run(w.box, "sh", "-ec", "ip addr add 10.20.0.1/24 dev lan; ip route add 203.0.113.0/24 via 10.20.0.50; ip rule add from 10.20.0.9 lookup 99 priority 7150")
	listing := func() string {
		text := w.run(w.box, "sh", "-ec", "ip -4 -o addr; ip rule; ip -4 route show table all | sort; iptables-save | grep -v '^#'")
		text = regexp.MustCompile(`\[\d+:\d+\]|valid_lft.*|cg-\d+-|\d+: `).ReplaceAllString(text, "")
		return text
	}
	before := listing()
	w.netd.Kill()
	w.wait(w.pc, "ping", "-c", "1", "-W", "2", "192.0.2.1") // routes and filter work on
	w.must(os.Remove(filepath.Join(w.dir, "run/netd.json")))
	w.startNetd(bin, nil)
	w.await("all up again", func(n *wire.Net) bool { return w.states(n) == allUp && n.Active == "isp-a" })
	if after := listing(); after != before {
		t.Errorf("got:\n%s\nwant:\n%s", after, before)
	}
	if out, _ := w.netd.Output(); strings.Contains(string(out), `"change":"del`) || strings.Contains(string(out), `add addr 100.64`) {
		t.Errorf("the new netd changed what was right:\n%s", out)
	}
}

// lyingServer: a provider's DHCP server that hands out the clinic's own network
// gets its uplink refused and disturbs nothing.
func lyingServer(t *testing.T, bin string) {
	w := newWorld(t)
	w.must(w.ispA.Addr("box", "10.20.0.200/24"))
	w.startISPA("--dhcp-range=10.20.0.100,10.20.0.199,255.255.255.0,2m", "--dhcp-option=option:router,10.20.0.200")
	w.startHub(bin)
	w.startNetd(bin, nil)
	n := w.await("refused", func(n *wire.Net) bool {
		return strings.Contains(n.Uplinks[0].Reason, "overlaps 10.20.0.0/24, which is net.lan.address") && n.Active == "isp-b"
	})
	if n.Uplinks[0].State != wire.UplinkNoAddress {
		t.Errorf("got %+v", n.Uplinks[0])
	}
	w.wait(w.pc, "ping", "-c", "1", "-W", "2", "10.20.0.2")
	w.await("alarm", func(n *wire.Net) bool { return fault(n, "uplink.no-lease") != nil })
}

// numberedAnew: the provider changes its network and tells nobody. netd asks the
// server again instead of waiting for the lease to grow old.
func numberedAnew(t *testing.T, bin string) {
	w := newWorld(t)
	server := w.startISPA()
	w.startHub(bin)
	w.startNetd(bin, nil)
	w.await("all up", func(n *wire.Net) bool { return w.states(n) == allUp && n.Active == "isp-a" })
	server.Stop(time.Second)
	w.run(w.ispA, "ip", "addr", "replace", "100.64.7.1/24", "dev", "box")
	w.run(w.ispA, "ip", "addr", "del", "100.64.1.1/24", "dev", "box")
	w.must(os.Remove(filepath.Join(w.dir, "leases")), w.inet.Route("100.64.7.0/24", "10.0.1.1"))
	w.startISPA("--dhcp-range=100.64.7.100,100.64.7.199,255.255.255.0,2m", "--dhcp-option=option:router,100.64.7.1")
	w.await("A left", func(n *wire.Net) bool { return n.Active == "isp-b" })
	n := w.await("A back", func(n *wire.Net) bool { return n.Active == "isp-a" })
	if !strings.HasPrefix(n.Uplinks[0].Address, "100.64.7.") || n.Uplinks[0].Gateway != "100.64.7.1" {
		t.Errorf("got %+v", n.Uplinks[0])
	}
	if got := w.run(w.box, "ip", "-4", "addr", "show", "dev", "wan1"); strings.Contains(got, "100.64.1.") {
		t.Errorf("the old address stays:\n%s", got)
	}
}

// noKey: without its key the tunnel is refused with a reason, and nothing meant for
// it leaves in clear; the key put in place heals it without a restart.
func noKey(t *testing.T, bin string) {
	w := newWorld(t)
	w.startISPA()
	w.startHub(bin)
	key := filepath.Join(w.dir, "secrets/hub.key")
	w.must(os.Rename(key, key+".away"))
	w.startNetd(bin, nil)
	n := w.await("uplinks up", func(n *wire.Net) bool { return w.states(n) == "isp-a=up isp-b=up hub=down" })
	if f := fault(n, "tunnel.broken"); f == nil || !strings.Contains(f.What, "read tunnel key: open ") || !strings.Contains(f.Do, "secrets/netd/hub.key") {
		t.Errorf("faults: %+v", n.Faults)
	}
	if err := reach(w.pc, "10.98.1.10:80", answer); err == nil || !strings.Contains(err.Error(), "no route to host") && !strings.Contains(err.Error(), "unreachable") {
		t.Errorf("packet for the tunnel: %v", err)
	}
	w.must(os.Rename(key+".away", key))
	w.await("tunnel up", func(n *wire.Net) bool { return w.states(n) == allUp })
}

// badSite: a site file that can't be used is a fault with file and line; netd
// stays up and takes the mended one.
func badSite(t *testing.T, bin string) {
	w := newWorld(t)
	w.startISPA()
	w.startHub(bin)
	w.startNetd(bin, func(site string) string { return strings.Replace(site, `port    = "wan2"`, `port = "wan1"`, 1) })
	n := w.await("fault", func(n *wire.Net) bool { return len(n.Faults) > 0 })
	if f := n.Faults[0]; f.ID != "site.unusable" || !regexp.MustCompile(`^site\.toml:\d+: net\.uplink\[1\]\.port: port "wan1" is already used`).MatchString(f.What) {
		t.Errorf("fault: %+v", f)
	}
	text, err := os.ReadFile(filepath.Join(w.dir, "site/site.toml"))
	w.must(err)
	w.must(os.WriteFile(filepath.Join(w.dir, "site/site.toml"), []byte(strings.Replace(string(text), `port = "wan1"`, `port = "wan2"`, 1)), 0o644))
	w.await("mended", func(n *wire.Net) bool { return w.states(n) == allUp && len(n.Faults) == 0 })
}
