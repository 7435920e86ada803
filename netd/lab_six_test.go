package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/proc"
	"clinicgate/firmware/wire"
	"clinicgate/netd/advert"
	"clinicgate/netd/discovery"

	"golang.org/x/net/ipv6"
)

// The world with IPv6: both providers advertise themselves (dnsmasq) and delegate
// prefixes (Kea); the server in the internet is 2001:db8:1::1.
//
//	A: link 2001:db8:a::/64, prefixes of 2001:db8:a00::/40
//	B: link 2001:db8:b::/64, prefixes of 2001:db8:b00::/40
const server6 = "2001:db8:1::1"

// sixNets gives everybody IPv6 addresses and routes.
func (w *world) sixNets() {
	for _, s := range []*netns.Space{w.box, w.ispA, w.ispB, w.inet} {
		w.run(s, "sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding")
	}
	w.run(w.ispA, "sh", "-ec", "ip addr add 2001:db8:a::1/64 dev box nodad; ip addr add 2001:db8:a1::1/64 dev up nodad; ip -6 route add default via 2001:db8:a1::2")
	w.run(w.ispB, "sh", "-ec", "ip addr add 2001:db8:b::1/64 dev box nodad; ip addr add 2001:db8:b1::1/64 dev up nodad; ip -6 route add default via 2001:db8:b1::2")
	w.run(w.inet, "sh", "-ec", `ip addr add 2001:db8:a1::2/64 dev a nodad; ip addr add 2001:db8:b1::2/64 dev b nodad; ip addr add 2001:db8:1::fe/64 dev hub nodad
		ip -6 route add 2001:db8:a::/64 via 2001:db8:a1::1; ip -6 route add 2001:db8:a00::/40 via 2001:db8:a1::1
		ip -6 route add 2001:db8:b::/64 via 2001:db8:b1::1; ip -6 route add 2001:db8:b00::/40 via 2001:db8:b1::1`)
	w.run(w.hub, "sh", "-ec", "ip addr add "+server6+"/64 dev eth0 nodad; ip -6 route add default via 2001:db8:1::fe")
	w.run(w.ispA, "ip", "-6", "route", "add", "2001:db8:a00::/40", "via", w.linkLocal("wan1"), "dev", "box")
	w.run(w.ispB, "ip", "-6", "route", "add", "2001:db8:b00::/40", "via", w.linkLocal("wan2"), "dev", "box")
}

// advertise starts a provider's router advertisements.
func (w *world) advertise(s *netns.Space, name, prefix string) *proc.Proc {
	p := w.start(proc.Spec{Name: "ra-" + name, Space: s, Args: []string{
		"dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file", "--log-facility=-", "--log-dhcp",
		"--port=0", "--interface=box", "--bind-interfaces", "--enable-ra", "--ra-param=box,10,600", "--dhcp-range=" + prefix + ",ra-only",
	}})
	w.must(p.WaitLine(w.t.Context(), "router advertisement"))
	return p
}

// delegate starts a provider's DHCPv6 server.
func (w *world) delegate(s *netns.Space, name, link, pool string) *proc.Proc {
	dir := filepath.Join(w.dir, "kea-"+name)
	w.must(os.MkdirAll(dir, 0o755))
	conf := fmt.Sprintf(`{"Dhcp6": {
		"interfaces-config": {"interfaces": ["box"], "service-sockets-max-retries": 50, "service-sockets-retry-wait-time": 200}, "server-id": {"type": "LL", "persist": false},
		"control-socket": {"socket-type": "unix", "socket-name": %q}, "lease-database": {"type": "memfile", "persist": true, "name": %q},
		"preferred-lifetime": 600, "valid-lifetime": 1200, "renew-timer": 60, "rebind-timer": 120,
		"subnet6": [{"subnet": %q, "interface": "box", "pools": [{"pool": "%s100-%s1ff"}],
			"pd-pools": [{"prefix": %q, "prefix-len": 40, "delegated-len": 56}]}],
		"loggers": [{"name": "kea-dhcp6", "severity": "INFO", "output_options": [{"output": "stdout"}]}]}}`,
		filepath.Join(dir, "control"), filepath.Join(dir, "leases.csv"), link+"/64", link, link, pool)
	w.must(os.WriteFile(filepath.Join(dir, "kea.conf"), []byte(conf), 0o644))
	p := w.start(proc.Spec{Name: "kea-" + name, Space: s, Args: []string{"kea-dhcp6", "-c", filepath.Join(dir, "kea.conf")},
		Env: []string{"KEA_PIDFILE_DIR=" + dir, "KEA_LOCKFILE_DIR=" + dir}})
	w.must(p.WaitLine(w.t.Context(), "DHCP6_STARTED"))
	w.t.Cleanup(func() {
		if w.t.Failed() {
			w.t.Logf("Kea of %s:\n%s", name, p.Tail(20))
		}
	})
	return p
}

// siteSix is the example with IPv6 by both providers and no second box.
func siteSix(site string) string {
	site = strings.Replace(site, "port   = \"wan1\"\n", "port   = \"wan1\"\nipv6 = \"auto\"\n", 1)
	site = strings.Replace(site, "port    = \"wan2\"\n", "port    = \"wan2\"\nipv6 = \"auto\"\n", 1)
	site = strings.Replace(site, "[[net.tunnel]]", "[net.ipv6]\nlocal = \"fd5a:1c3e:9b20::/48\"\ntargets = [\""+server6+"\"]\n\n[[net.tunnel]]", 1)
	from, to := strings.Index(site, "[[pair.group]]"), strings.Index(site, "# ---- cardauth")
	return site[:from] + site[to:]
}

// six is a world with IPv6 in which all is up.
func six(t *testing.T, bin string, edit func(string) string) (w *world, serverA, serverB *proc.Proc) {
	t.Helper()
	lab.Require(t, lab.Program("kea-dhcp6"))
	w = newWorld(t)
	w.sixNets()
	w.startISPA()
	w.advertise(w.ispA, "a", "2001:db8:a::")
	w.advertise(w.ispB, "b", "2001:db8:b::")
	serverA = w.delegate(w.ispA, "a", "2001:db8:a::", "2001:db8:a00::")
	serverB = w.delegate(w.ispB, "b", "2001:db8:b::", "2001:db8:b00::")
	w.startHub(bin)
	w.startNetd(bin, func(site string) string {
		if site = siteSix(site); edit != nil {
			site = edit(site)
		}
		return site
	})
	w.await("IPv6 by both", func(n *wire.Net) bool { return sixStates(n) == "usable 56 usable 56" && w.states(n) == allUp })
	return w, serverA, serverB
}

// sixStates is the state of IPv6 at each uplink and the length of its prefix.
func sixStates(n *wire.Net) string {
	var all []string
	for _, u := range n.Uplinks {
		word, length := "off", "none"
		if u.IPv6 != nil {
			word = map[bool]string{true: "usable", false: "dead"}[u.IPv6.Usable]
			if p, err := netip.ParsePrefix(u.IPv6.Prefix); err == nil {
				length = fmt.Sprint(p.Bits())
			}
		}
		all = append(all, word, length)
	}
	return strings.Join(all, " ")
}

// hostAddr waits until a computer of the clinic has an address in the prefix, in
// the given state: "" or "deprecated".
func (w *world) hostAddr(s *netns.Space, prefix, state string) string {
	w.t.Helper()
	form := regexp.MustCompile(`inet6 (` + prefix + `[0-9a-f:]*)/64 scope global (.*)`)
	var out string
	for deadline := time.Now().Add(ample); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		out = w.run(s, "ip", "-6", "addr", "show", "dev", "eth0")
		for _, m := range form.FindAllStringSubmatch(out, -1) {
			if !strings.Contains(m[2], "tentative") && strings.Contains(m[2], "deprecated") == (state != "") {
				return m[1]
			}
		}
	}
	w.t.Fatalf("no %s address in %s:\n%s", state, prefix, out)
	return ""
}

func (w *world) ping6(from *netns.Space, args ...string) error {
	ctx, cancel := context.WithTimeout(w.t.Context(), answer)
	defer cancel()
	_, err := proc.Run(ctx, from, append([]string{"ping", "-6", "-c", "1", "-W", "1"}, args...)...)
	return err
}

// soon repeats what may take the network a moment.
func (w *world) soon(what string, f func() error) time.Duration {
	w.t.Helper()
	began := time.Now()
	for {
		err := f()
		if err == nil {
			return time.Since(began)
		}
		if time.Since(began) > ample {
			w.t.Fatalf("%s: not within %v: %v", what, ample, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// silenceSix makes a provider swallow every packet of both families.
func (w *world) silenceSix(s *netns.Space) {
	w.run(s, "nft", "add table inet dead; add chain inet dead in { type filter hook prerouting priority -400; policy drop; }")
}

// sixFailover: the clinic has a prefix of each provider; each is left by its own
// provider, unchanged. A provider that dies takes nobody with it: its prefix is
// deprecated, and what still uses it goes by the other with another address.
func sixFailover(t *testing.T, bin string) {
	w, serverA, _ := six(t, bin, nil)
	a, b, ula := w.hostAddr(w.pc, "2001:db8:a", ""), w.hostAddr(w.pc, "2001:db8:b", ""), w.hostAddr(w.pc, "fd5a:1c3e:9b20:", "")
	w.run(w.hub, "nft", "add table ip6 seen; add set ip6 seen sources { type ipv6_addr; flags dynamic; }; add chain ip6 seen in { type filter hook input priority 0; }; add rule ip6 seen in icmpv6 type echo-request add @sources { ip6 saddr }")
	for _, from := range []string{a, b, ula} {
		w.soon("ping from "+from, func() error { return w.ping6(w.pc, "-I", from, server6) })
	}
	seen := w.run(w.hub, "nft", "list", "set", "ip6", "seen", "sources")
	if !strings.Contains(seen, a) || !strings.Contains(seen, b) || strings.Contains(seen, "fd5a") {
		t.Errorf("sources that the server has seen: %s, want %s and %s as they are and no other of the clinic's", seen, a, b)
	}
	if got := w.run(w.box, "sh", "-ec", "ip -6 route show table all proto ra; ip -6 route show default"); strings.Contains(got, "proto ra") || !strings.Contains(got, "dev wan1 proto 71") {
		t.Errorf("routes:\n%s", got)
	}
	cut := time.Now()
	w.silenceSix(w.ispA)
	w.await("A left", func(n *wire.Net) bool { return sixStates(n) == "dead 56 usable 56" })
	t.Logf("A's IPv6 was left %v after it died", time.Since(cut).Round(time.Millisecond))
	w.soon("a new connection from A's prefix", func() error { return w.ping6(w.pc, "-I", a, server6) })
	w.hostAddr(w.pc, "2001:db8:a", "deprecated")
	t.Logf("A's prefix was deprecated %v after it died", time.Since(cut).Round(time.Millisecond))
	w.soon("a connection as hosts make it", func() error { return w.ping6(w.pc, server6) })
	w.run(w.ispA, "nft", "delete table inet dead")
	w.await("A back", func(n *wire.Net) bool {
		return sixStates(n) == "usable 56 usable 56" && w.states(n) == allUp && n.Active == "isp-a"
	})
	w.hostAddr(w.pc, "2001:db8:a", "")
	restartSix(w, bin, serverA)
}

// restartSix: netd is killed while A's server is away, and starts again: the prefix
// is the same, and nothing that was right has changed.
func restartSix(w *world, bin string, serverA *proc.Proc) {
	listing := func() string {
		text := w.run(w.box, "sh", "-ec", "ip -6 -o addr show scope global; ip -6 rule; ip -6 route show table all proto 71 | sort; ip6tables-save | grep -v '^#'")
		return regexp.MustCompile(`\[\d+:\d+\]|valid_lft.*|cg-\d+-|\d+: `).ReplaceAllString(text, "")
	}
	before := listing()
	w.netd.Kill()
	serverA.Stop(5 * time.Second)
	w.must(os.Remove(filepath.Join(w.dir, "run/netd.json")))
	w.soon("a ping while netd is away", func() error { return w.ping6(w.pc, server6) })
	w.startNetd(bin, siteSix)
	w.await("all up again", func(n *wire.Net) bool { return sixStates(n) == "usable 56 usable 56" })
	w.soon("all as before", func() error {
		if after := listing(); after != before {
			return fmt.Errorf("%s", differ(before, after))
		}
		return nil
	})
	if out, _ := w.netd.Output(); strings.Contains(string(out), `"change":"del`) {
		w.t.Errorf("the new netd took away what was right:\n%s", out)
	}
}

// differ are the lines of one text that the other lacks.
func differ(before, after string) string {
	var out strings.Builder
	for line := range strings.Lines(before) {
		if !strings.Contains(after, line) {
			out.WriteString("- " + line)
		}
	}
	for line := range strings.Lines(after) {
		if !strings.Contains(before, line) {
			out.WriteString("+ " + line)
		}
	}
	return out.String() + fmt.Sprintf("%d lines before, %d after", strings.Count(before, "\n"), strings.Count(after, "\n"))
}

// sixLiar: provider B claims everything there is to claim and floods its link. What
// goes by A does not change, and netd stays small.
func sixLiar(t *testing.T, bin string) {
	w, _, serverB := six(t, bin, nil)
	routes := func() string {
		return w.run(w.box, "sh", "-ec", "ip -6 route show default; ip -6 route show table 7100")
	}
	before, small := routes(), w.rss()
	var liar *discovery.Conn
	w.must(w.ispB.Do(func() (err error) {
		liar, err = discovery.Answer(t.Context(), "box")
		return err
	}))
	defer liar.Close()
	serverB.Stop(5 * time.Second) // its port is the liar's now
	babble := w.babbler()
	claim := func(p string) advert.Prefix {
		return advert.Prefix{Prefix: netip.MustParsePrefix(p), OnLink: true, Auto: true, Preferred: time.Hour, Valid: time.Hour}
	}
	lies := advert.Advert{Lifetime: time.Hour, Prefer: 1, Prefixes: []advert.Prefix{claim("2001:db8:a::/64"), claim("fd5a:1c3e:9b20::/64"), claim("fe80::/64")}}
	sent, babbled := 0, 0
	for stop := time.Now().Add(3 * time.Second); time.Now().Before(stop); sent++ {
		a := lies
		if sent%4 > 0 {
			a.Prefixes = []advert.Prefix{claim(fmt.Sprintf("2001:db8:%x:%x::/64", 0x2000+sent>>16, sent&0xffff))}
		}
		w.must(liar.Advertise(a, netip.Addr{}))
		babbled += babble(sent)
	}
	t.Logf("%d advertisements in 3 s, and %d pieces of nonsense", sent, babbled)
	if babbled < sent {
		t.Error("too little nonsense to prove anything")
	}
	time.Sleep(300 * time.Millisecond)
	if after := routes(); after != before {
		t.Errorf("routes:\n%s\nwant:\n%s", after, before)
	}
	own := w.run(w.box, "ip", "-6", "-o", "addr", "show", "dev", "wan2", "scope", "global")
	if n := strings.Count(own, "\n"); n > 6 || strings.Contains(own, "fd5a") {
		t.Errorf("addresses on wan2:\n%s", own)
	}
	// What is not yet collected on a busy machine is in it.
	if grown := w.rss() - small; grown > 64<<20 {
		t.Errorf("netd grew by %d MB", grown>>20)
	}
	w.soon("a ping after the flood", func() error { return w.ping6(w.pc, server6) })
	// Beyond the link nobody is heard at all.
	if n := w.await("still up", func(n *wire.Net) bool { return n.Uplinks[0].IPv6.Usable }); n.Uplinks[0].IPv6.Gateway == n.Uplinks[1].IPv6.Gateway {
		t.Errorf("got %+v", n.Uplinks)
	}
}

// babbler sends the box from provider B what no router and no DHCPv6 server would:
// messages cut short, options that run over, numbers drawn at random, of all lengths.
func (w *world) babbler() func(n int) (sent int) {
	var routers, servers net.PacketConn
	w.must(w.ispB.Do(func() (err error) {
		if routers, err = net.ListenPacket("ip6:ipv6-icmp", "::"); err != nil {
			return err
		}
		p := ipv6.NewPacketConn(routers)
		link, err := net.InterfaceByName("box")
		if err != nil {
			return err
		}
		if err := errors.Join(p.SetMulticastHopLimit(255), p.SetHopLimit(255), p.SetMulticastInterface(link)); err != nil {
			return err
		}
		servers, err = net.ListenPacket("udp6", "[::]:547")
		return err
	}))
	w.t.Cleanup(func() { routers.Close(); servers.Close() })
	box := net.ParseIP(w.linkLocal("wan2"))
	dice := rand.New(rand.NewPCG(1, 2))
	return func(n int) (sent int) {
		b := make([]byte, 4+dice.IntN(1200))
		for i := range b {
			b[i] = byte(dice.Uint32())
		}
		b[0], b[1] = 134, 0 // a router advertisement
		if len(b) > 20 && n%2 == 0 {
			copy(b[16:], []byte{[]byte{3, 5, 25, 31}[n/2%4], byte(n % 7)}) // a known option of a wrong length
		}
		// A queue may be full.
		if _, err := routers.WriteTo(b, &net.IPAddr{IP: net.ParseIP("ff02::1"), Zone: "box"}); err == nil {
			sent++
		}
		b[0] = []byte{2, 7, 10, 13}[n%4] // advertise, reply, reconfigure, relay
		if _, err := servers.WriteTo(b, &net.UDPAddr{IP: box, Port: 546, Zone: "box"}); err == nil {
			sent++
		}
		return sent
	}
}

// rss is netd's memory in bytes.
func (w *world) rss() int {
	w.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", w.netd.PID()))
	w.must(err)
	var size, resident int
	_, err = fmt.Sscan(string(text), &size, &resident)
	w.must(err)
	return resident * os.Getpagesize()
}

// sixAlone: a provider without IPv6 is said to have none, and its IPv4 works on.
func sixAlone(t *testing.T, bin string) {
	w := newWorld(t)
	w.sixNets()
	w.startISPA()
	w.advertise(w.ispB, "b", "2001:db8:b::")
	w.startHub(bin)
	resolv := w.listenForNames()
	w.startNetd(bin, siteSix)
	n := w.await("IPv6 by B without a prefix", func(n *wire.Net) bool {
		return sixStates(n) == "dead none usable none" && w.states(n) == allUp && strings.Contains(n.Uplinks[1].IPv6.Reason, "no DHCPv6 server answers")
	})
	if n.Uplinks[0].IPv6.Reason != "no router advertises itself" {
		t.Errorf("got %+v", n.Uplinks[0].IPv6)
	}
	// The clinic's own prefix goes out with the box's address.
	ula := w.hostAddr(w.pc, "fd5a:1c3e:9b20:", "")
	w.soon("ping from the clinic's own prefix", func() error { return w.ping6(w.pc, "-I", ula, server6) })
	if got := w.run(w.pc, "ip", "-6", "route", "show", "default"); !strings.Contains(got, "via "+w.linkLocal("lan")) {
		t.Errorf("the computer's way out: %s", got)
	}
	w.soon("a name server from the advertisement", func() error {
		if got, err := os.ReadFile(resolv); err != nil || !strings.Contains(string(got), "nameserver fd5a:1c3e:9b20::a14:2\n") {
			return fmt.Errorf("%s, %v", got, err)
		}
		return nil
	})
	for _, how := range []string{"+notcp", "+tcp"} {
		w.soon("a name by IPv6 "+how, func() error {
			got, err := proc.Run(w.t.Context(), w.pc, "dig", "@fd5a:1c3e:9b20::a14:2", how, "+tries=1", "+short", "gateway.internal")
			if err != nil || string(got) != "10.20.0.2\n" {
				return fmt.Errorf("%s, %v", got, err)
			}
			return nil
		})
	}
}

// listenForNames starts a program of another house at the computer in the LAN, which
// learns name servers from router advertisements. It returns the file it keeps.
func (w *world) listenForNames() string {
	resolv := filepath.Join(w.dir, "resolv.conf")
	w.start(proc.Spec{Name: "rdnssd", Space: w.pc, Args: []string{"rdnssd", "--foreground", "--user", "root", "--merge-hook", "/bin/true",
		"--resolv-file", resolv, "--pidfile", filepath.Join(w.dir, "rdnssd.pid")}})
	return resolv
}

// TestLabSix runs the real netd between two providers with IPv6.
func TestLabSix(t *testing.T) {
	needs(t)
	lab.Require(t, lab.Program("rdnssd", "dig"))
	bin := programs(t)
	for _, c := range []struct {
		name string
		run  func(*testing.T, string)
	}{
		{"failover", sixFailover},
		{"liar", sixLiar},
		{"no prefix", sixAlone},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, bin) })
	}
}
