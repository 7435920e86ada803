package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/proc"
	"clinicgate/firmware/wire"
)

// A walled world has zones of every kind, each on a port of its own with one
// computer in it, IPv6 by provider B, and one service open to anyone.
type walled struct {
	*world
	cart, guest, tech *netns.Space
	a                 string // the box's address at A
}

const zonesOfWalls = `
[[net.zone]]
name    = "devices"
kind    = "devices"
port    = "dev"
address = "10.20.30.2/24"
serves  = ["icmp", "tcp/8883", "tcp/11112"]

[[net.zone]]
name    = "guests"
kind    = "guests"
port    = "guest"
address = "10.20.40.2/24"

[[net.zone]]
name    = "technician"
kind    = "service"
port    = "svc"
address = "10.20.50.2/24"

[[net.tunnel]]`

func siteWalls(site string) string {
	return strings.NewReplacer(
		"wan = []", `wan = ["tcp/9999", "udp/9998"]`,
		"[net.lan]\n", "[net.lan]\nreaches = [\"devices\"]\n",
		"port    = \"wan2\"\n", "port    = \"wan2\"\nipv6 = \"static\"\nipv6_address = \"2001:db8:b::2/64\"\nipv6_gateway = \"2001:db8:b::1\"\nipv6_prefix = \"2001:db8:b00::/56\"\n",
		"\n[[net.tunnel]]", zonesOfWalls,
	).Replace(strings.NewReplacer("port    = \"wan2\"\nipv6 = \"auto\"\n", "port    = \"wan2\"\n").Replace(siteSix(site)))
}

func walls(t *testing.T, bin string) *walled {
	t.Helper()
	w := &walled{world: newWorld(t)}
	for name, s := range map[string]**netns.Space{"dev": &w.cart, "guest": &w.guest, "svc": &w.tech} {
		space, err := netns.New(fmt.Sprintf("netd-%d-%s", os.Getpid(), name))
		w.must(err)
		t.Cleanup(func() { space.Close() })
		*s = space
		w.must(netns.Veth(w.box, name, space, "eth0"))
	}
	for s, ip := range map[*netns.Space]string{w.cart: "10.20.30.60", w.guest: "10.20.40.70", w.tech: "10.20.50.80"} {
		w.must(s.Addr("eth0", ip+"/24"), s.Route("default", ip[:9]+"2"))
	}
	w.sixNets()
	w.startISPA()
	w.startHub(bin)
	w.startNetd(bin, siteWalls)
	n := w.await("all up", func(n *wire.Net) bool { return w.states(n) == allUp && n.Uplinks[1].IPv6.Usable })
	w.a, _, _ = strings.Cut(n.Uplinks[0].Address, "/")
	return w
}

// wallTruth: who reaches whom at what, by real packets of both families.
func wallTruth(t *testing.T, bin string) {
	w := walls(t, bin)
	for _, port := range []int{22, 80, 443, 8443, 8883, 9999, 11112} {
		w.echo(w.box, fmt.Sprintf("[::]:%d", port))
	}
	for _, s := range []*netns.Space{w.pc, w.cart, w.guest, w.tech} {
		w.echo(s, "[::]:80")
	}
	w.echo(w.hub, "192.0.2.1:80")
	w.echo(w.hub, "["+server6+"]:80")
	w.echo(w.hub, "10.98.1.10:80")
	pc6 := w.hostAddr(w.pc, "2001:db8:b", "")
	cart6, guest6 := w.hostAddr(w.cart, "fd5a:1c3e:9b20:1:", ""), w.hostAddr(w.guest, "2001:db8:b", "")
	w.hostAddr(w.tech, "fd5a:1c3e:9b20:3:", "")
	w.must(w.ispA.Route("10.20.0.0/16", w.a)) // a provider that tries
	rows := []row{
		{"staff, opened", w.pc, "10.20.0.2:8443", true},
		{"staff, not opened", w.pc, "10.20.0.2:22", false},
		{"staff to the internet", w.pc, "192.0.2.1:80", true},
		{"staff into the tunnel", w.pc, "10.98.1.10:80", true},
		{"staff to devices", w.pc, "10.20.30.60:80", true},
		{"staff to guests", w.pc, "10.20.40.70:80", false},
		{"staff to the technician", w.pc, "10.20.50.80:80", false},
		{"device, a way in", w.cart, "10.20.30.2:8883", true},
		{"device, a way in, by the box's other address", w.cart, "10.20.0.2:11112", true},
		{"device, the records", w.cart, "10.20.30.2:8443", false},
		{"device, the records, by the box's other address", w.cart, "10.20.0.2:8443", false},
		{"device to the internet", w.cart, "192.0.2.1:80", false},
		{"device into the tunnel", w.cart, "10.98.1.10:80", false},
		{"device to staff", w.cart, "10.20.0.50:80", false},
		{"device to a guest", w.cart, "10.20.40.70:80", false},
		{"guest to the internet", w.guest, "192.0.2.1:80", true},
		{"guest into the tunnel", w.guest, "10.98.1.10:80", false},
		{"guest to staff", w.guest, "10.20.0.50:80", false},
		{"guest to a device", w.guest, "10.20.30.60:80", false},
		{"guest, the box", w.guest, "10.20.40.2:8443", false},
		{"guest, the box's page", w.guest, "10.20.40.2:443", false},
		{"technician, the box's page", w.tech, "10.20.50.2:443", true},
		{"technician, the records", w.tech, "10.20.50.2:8443", false},
		{"technician to the internet", w.tech, "192.0.2.1:80", false},
		{"technician to staff", w.tech, "10.20.0.50:80", false},
		{"A, opened", w.ispA, w.a + ":9999", true},
		{"internet by A, opened", w.hub, w.a + ":9999", true},
		{"internet by B, opened", w.hub, "198.51.100.2:9999", true},
		{"internet by B, not opened", w.hub, "198.51.100.2:443", false},
		{"A, the LAN's address", w.ispA, "10.20.0.2:8443", false},
		{"A into the LAN", w.ispA, "10.20.0.50:80", false},
		{"A into the devices", w.ispA, "10.20.30.60:80", false},

		{"staff, opened", w.pc, "[fd5a:1c3e:9b20::a14:2]:8443", true},
		{"staff, opened, the provider's address", w.pc, "[2001:db8:b00::a14:2]:8443", true},
		{"staff, not opened", w.pc, "[fd5a:1c3e:9b20::a14:2]:22", false},
		{"staff to the internet", w.pc, "[" + server6 + "]:80", true},
		{"staff to devices", w.pc, "[" + cart6 + "]:80", true},
		{"staff to guests", w.pc, "[" + guest6 + "]:80", false},
		{"device, a way in", w.cart, "[fd5a:1c3e:9b20:1::a14:1e02]:8883", true},
		{"device, the records", w.cart, "[fd5a:1c3e:9b20:1::a14:1e02]:8443", false},
		{"device to the internet", w.cart, "[" + server6 + "]:80", false},
		{"device to staff", w.cart, "[" + pc6 + "]:80", false},
		{"guest to the internet", w.guest, "[" + server6 + "]:80", true},
		{"guest to staff", w.guest, "[" + pc6 + "]:80", false},
		{"guest to a device", w.guest, "[" + cart6 + "]:80", false},
		{"guest, the box", w.guest, "[2001:db8:b00:2::a14:2802]:8443", false},
		{"technician, the box's page", w.tech, "[fd5a:1c3e:9b20:3::a14:3202]:443", true},
		{"technician to the internet", w.tech, "[" + server6 + "]:80", false},
		{"B, opened", w.ispB, "[2001:db8:b::2]:9999", true},
		{"internet, opened", w.hub, "[2001:db8:b::2]:9999", true},
		{"internet, not opened", w.hub, "[2001:db8:b::2]:443", false},
		{"internet, the box's address in the LAN", w.hub, "[2001:db8:b00::a14:2]:8443", false},
		{"internet into the LAN", w.hub, "[" + pc6 + "]:80", false},
		{"internet to a guest", w.hub, "[" + guest6 + "]:80", false},
	}
	w.table(rows)
	for _, r := range []row{
		{"staff, opened, of the link", w.pc, w.linkLocal("lan") + "%eth0", true},
		{"device, the records, of the link", w.cart, w.linkLocal("dev") + "%eth0", false},
		{"B, the records, of the link", w.ispB, w.linkLocal("wan2") + "%box", false},
	} {
		out := w.run(r.from, append([]string{"nmap", "-6", "-n", "-Pn", "-sS", "-p", "8443", "-oG", "-"}, append(tries(r.want), r.to)...)...)
		if strings.Contains(out, "8443/open/") != r.want || !r.want && !strings.Contains(out, "8443/filtered/") {
			t.Errorf("%s: %s: want %v:\n%s", r.who, r.to, r.want, out)
		}
	}
	w.resolves()
	w.spoof()
	w.crowds()
	w.scanAll()
}

// resolves: the clinic asks the box for names in both families, nobody else does.
func (w *walled) resolves() {
	var wg sync.WaitGroup
	for _, r := range []row{
		{"staff", w.pc, "10.20.0.2", true},
		{"device", w.cart, "10.20.30.2", true},
		{"guest", w.guest, "10.20.40.2", true},
		{"technician", w.tech, "10.20.50.2", true},
		{"A", w.ispA, w.a, false},
		{"internet", w.hub, "198.51.100.2", false},
		{"staff", w.pc, "fd5a:1c3e:9b20::a14:2", true},
		{"staff, the provider's address", w.pc, "2001:db8:b00::a14:2", true},
		{"staff, of the link", w.pc, w.linkLocal("lan") + "%eth0", true},
		{"device", w.cart, "fd5a:1c3e:9b20:1::a14:1e02", true},
		{"guest", w.guest, "2001:db8:b00:2::a14:2802", true},
		{"technician", w.tech, "fd5a:1c3e:9b20:3::a14:3202", true},
		{"B", w.ispB, "2001:db8:b::2", false},
		{"B, the box's address in the LAN", w.ispB, "2001:db8:b00::a14:2", false},
		{"B, of the link", w.ispB, w.linkLocal("wan2") + "%box", false},
		{"internet", w.hub, "2001:db8:b::2", false},
	} {
		for _, how := range []string{"+notcp", "+tcp"} {
			wg.Go(func() {
				limit := []string{"+tries=1", "+timeout=1"}
				if r.want {
					limit = []string{"+tries=4", "+timeout=5"}
				}
				ctx, cancel := context.WithTimeout(w.t.Context(), ample)
				defer cancel()
				out, err := proc.Run(ctx, r.from, append([]string{"dig", "@" + r.to, how, "+short", "gateway.internal"}, limit...)...)
				if got := err == nil && strings.HasPrefix(string(out), "10.20."); got != r.want {
					w.t.Errorf("%s asks %s %s: got %q, %v, want an answer: %v", r.who, r.to, how, out, err, r.want)
				}
			})
		}
	}
	wg.Wait()
}

// tries is how often nmap asks, and how long it waits for an answer: longer where one
// must come.
func tries(answered bool) []string {
	if answered {
		return []string{"--max-retries", "9", "--max-rtt-timeout", "3s"}
	}
	return []string{"--max-retries", "1", "--max-rtt-timeout", "300ms"}
}

// A row of the truth table.
type row struct {
	who  string
	from *netns.Space
	to   string
	want bool
}

// table tries the rows, many at a time: most are tests of patience.
func (w *walled) table(rows []row) {
	var wg sync.WaitGroup
	room := make(chan struct{}, 16)
	for _, r := range rows {
		wg.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			within := silence
			if r.want {
				within = answer
			}
			if err := reach(r.from, r.to, within); (err == nil) != r.want {
				w.t.Errorf("%s: %s: got %v, want %v", r.who, r.to, err, r.want)
			}
		})
	}
	wg.Wait()
	w.t.Logf("%d rows", len(rows))
}

// spoof sends what lies about where it comes from: the box remembers nothing of it.
func (w *walled) spoof() {
	for _, c := range []struct {
		from     *netns.Space
		dev, own string
		to       string
	}{
		{w.ispA, "box", "10.20.0.77", w.a},
		{w.ispA, "box", "10.98.1.77", w.a},
		{w.ispA, "box", "127.0.0.77", w.a},
		{w.pc, "eth0", "10.20.30.77", "10.20.0.2"},
		{w.guest, "eth0", "10.20.0.78", "192.0.2.1"},
		{w.guest, "eth0", "192.0.2.77", "10.20.40.2"},
		{w.ispB, "box", "2001:db8:b00::77", "2001:db8:b::2"},
		{w.ispB, "box", "fd5a:1c3e:9b20::77", "2001:db8:b::2"},
		{w.guest, "eth0", "fd5a:1c3e:9b20::78", "2001:db8:b00:2::a14:2802"},
	} {
		flag := "-4"
		if strings.Contains(c.own, ":") {
			flag = "-6"
		}
		ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
		// That nmap hears nothing is as it should be.
		_, _ = proc.Run(ctx, c.from, "nmap", flag, "-n", "-Pn", "--disable-arp-ping", "-e", c.dev, "-S", c.own, "-sU", "-p", "9998", "--max-retries", "0", "--host-timeout", "1s", c.to)
		_, err := proc.Run(ctx, w.box, "sh", "-c", "conntrack -L -f ipv"+flag[1:]+" 2>/dev/null | grep -F 'src="+c.own+" '")
		cancel()
		if err == nil {
			w.t.Errorf("the box remembers %s of %s/%s", c.own, c.from.Name, c.dev)
		}
	}
}

// crowds: one source gets no more than its share, and a technician is served all
// the same.
func (w *walled) crowds() {
	// Forty at once and ten a second are; what is dropped is tried again after a second
	// and after three.
	const many = 500
	var served atomic.Int32
	var all sync.WaitGroup
	for range many {
		all.Go(func() {
			if reach(w.hub, "198.51.100.2:9999", 4*time.Second) == nil {
				served.Add(1)
			}
		})
	}
	all.Wait()
	if n := served.Load(); n == 0 || n > many/2 {
		w.t.Errorf("of %d connections at once, %d were served, want some but not all", many, n)
	}
	flood, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	for _, s := range []*netns.Space{w.tech, w.pc, w.ispA} {
		target := map[*netns.Space]string{w.tech: "10.20.50.2", w.pc: "10.20.0.2", w.ispA: w.a}[s]
		go func() {
			_, _ = proc.Run(flood, s, "nmap", "-n", "-Pn", "-sS", "-p-", "--min-rate", "3000", "--max-retries", "0", target)
		}()
	}
	time.Sleep(500 * time.Millisecond)
	if err := reach(w.tech, "10.20.50.2:443", answer); err != nil {
		w.t.Errorf("the technician in a flood: %v", err)
	}
	if err := reach(w.guest, "192.0.2.1:80", answer); err != nil {
		w.t.Errorf("a guest in a flood: %v", err)
	}
}

// scanAll looks at every TCP port of the box from both providers, in both families,
// and at some of UDP, with what scanners send. Nothing may show but what is open.
func (w *walled) scanAll() {
	var wg sync.WaitGroup
	for _, c := range []struct {
		name string
		from *netns.Space
		args string
		want string
	}{
		{"IPv4 at A", w.ispA, "-sS -p- --min-rate 9000 " + w.a, "9999/open"},
		{"IPv6 at B", w.ispB, "-6 -sS -p- --min-rate 9000 2001:db8:b::2", "9999/open"},
		{"IPv4 at A, FIN", w.ispA, "-sF -p 1-1200,8000-9000 --min-rate 4000 " + w.a, ""},
		{"IPv4 at A, null", w.ispA, "-sN -p 1-1200,8000-9000 --min-rate 4000 " + w.a, ""},
		{"IPv4 at A, ACK", w.ispA, "-sA -p 1-1200,8000-9000 --min-rate 4000 " + w.a, ""},
		{"IPv6 at B, ACK", w.ispB, "-6 -sA -p 1-1200,8000-9000 --min-rate 4000 2001:db8:b::2", ""},
		{"IPv4 at A, UDP", w.ispA, "-sU -p 1-1000,1900,4500,5353,51820 --min-rate 4000 " + w.a, ""},
		{"IPv6 at B, UDP", w.ispB, "-6 -sU -p 1-1000,1900,4500,5353,51820 --min-rate 4000 2001:db8:b::2", ""},
	} {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(w.t.Context(), ample)
			defer cancel()
			args := append([]string{"nmap", "-n", "-Pn", "--max-retries", "0", "--max-rtt-timeout", "100ms", "-oG", "-"}, strings.Fields(c.args)...)
			out, err := proc.Run(ctx, c.from, args...)
			if err != nil {
				w.t.Errorf("scan, %s: %v", c.name, err)
			}
			found := regexp.MustCompile(`\d+/(open|closed|unfiltered)/`).FindAllString(string(out), -1)
			// A scan as fast as this may miss the one that is open: a row of the table finds it.
			if got := strings.TrimSuffix(strings.Join(found, " "), "/"); got != c.want && got != "" || !strings.Contains(string(out), "Host: ") {
				w.t.Errorf("scan, %s: found %q, want %q:\n%s", c.name, got, c.want, out)
			}
		})
	}
	wg.Wait()
}

// TestLabWalls runs the real netd with a zone of every kind.
func TestLabWalls(t *testing.T) {
	needs(t)
	lab.Require(t, lab.Program("nmap", "dig"))
	wallTruth(t, programs(t))
}
