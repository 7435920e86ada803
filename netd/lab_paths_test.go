package main

import (
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/wire"
	"clinicgate/netd/probe"
)

// TestPaths runs the real netd: what is measured and asked of an uplink.
func TestPaths(t *testing.T) {
	needs(t)
	bin := programs(t)
	for _, c := range []struct {
		name string
		run  func(*testing.T, string)
	}{
		{"STAMP", stampLab},
		{"sign-in page", signIn},
		{"names don't resolve", noNames},
		{"bytes that cost", metered},
		{"a technician's questions", questions},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, bin) })
	}
}

// asking adds keys to [net.probe].
func asking(keys string) func(string) string {
	return func(site string) string { return strings.Replace(site, "\ntargets = ", "\n"+keys+"\ntargets = ", 1) }
}

// stampLab: a fifth of what goes out by A is lost, and half of what comes in by B.
func stampLab(t *testing.T, bin string) {
	w := up(t, bin, asking(`stamp = "192.0.2.1"`))
	var conn *net.UDPConn
	w.must(w.hub.Do(func() (err error) {
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{Port: 862})
		return err
	}))
	t.Cleanup(func() { conn.Close() })
	go func() { _ = probe.Reflect(conn) }() // until the test ends
	w.await("measured", func(n *wire.Net) bool {
		return n.Uplinks[0].JitterOutMS > 0 && n.Uplinks[1].JitterInMS > 0
	})
	w.await("a good line", func(n *wire.Net) bool {
		return !slices.ContainsFunc(n.Uplinks, func(u wire.Uplink) bool { return u.LossOutPct != 0 || u.LossInPct != 0 })
	})
	w.run(w.ispA, "nft", "add table ip lossy; add chain ip lossy in { type filter hook prerouting priority -400; }; add rule ip lossy in iifname box udp dport 862 numgen inc mod 5 0 drop")
	w.run(w.ispB, "nft", "add table ip lossy; add chain ip lossy in { type filter hook prerouting priority -400; }; add rule ip lossy in iifname up udp sport 862 numgen inc mod 2 0 drop")
	w.await("loss by direction, and none in the other", func(n *wire.Net) bool {
		a, b := n.Uplinks[0], n.Uplinks[1]
		return a.LossOutPct > 5 && b.LossInPct > 15 && a.LossInPct == 0 && b.LossOutPct == 0
	})
}

// serve answers HTTP at addr in s.
func (w *world) serve(s *netns.Space, addr string, h http.HandlerFunc) {
	w.t.Helper()
	var l net.Listener
	w.must(s.Do(func() (err error) {
		l, err = net.Listen("tcp4", addr)
		return err
	}))
	srv := &http.Server{Handler: h}
	w.t.Cleanup(func() { srv.Close() })
	go func() { _ = srv.Serve(l) }() // until it is closed
}

// signIn: provider A answers every page with its own until someone has signed in.
// Pings pass all the while.
func signIn(t *testing.T, bin string) {
	w := newWorld(t)
	w.startISPA()
	w.serve(w.hub, "192.0.2.1:80", func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusNoContent) })
	w.serve(w.ispA, "100.64.1.1:80", func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, "http://login.isp-a.example/welcome", http.StatusFound)
	})
	w.run(w.ispA, "nft", "add table ip captive; add chain ip captive pre { type nat hook prerouting priority -100; }; add rule ip captive pre iifname box tcp dport 80 dnat to 100.64.1.1")
	w.startHub(bin)
	w.startNetd(bin, asking(`portal = "http://192.0.2.1/generate_204"`))
	n := w.await("captive", func(n *wire.Net) bool { return n.Uplinks[0].State == wire.UplinkCaptive && n.Active == "isp-b" })
	if u := n.Uplinks[0]; u.Portal != "login.isp-a.example" || !strings.Contains(u.Reason, "sign-in page of login.isp-a.example") || n.Uplinks[1].State != wire.UplinkUp {
		t.Errorf("got %+v", n.Uplinks)
	}
	n = w.await("alarm", func(n *wire.Net) bool { return fault(n, "uplink.captive") != nil })
	if f := fault(n, "uplink.captive"); !strings.Contains(f.Do, "sign in") {
		t.Errorf("fault: %+v", f)
	}
	w.run(w.ispA, "nft", "delete table ip captive")
	w.await("signed in", func(n *wire.Net) bool { return n.Uplinks[0].State == wire.UplinkUp && n.Active == "isp-a" })
}

// noNames: the resolver that provider A names does not answer; B's does.
func noNames(t *testing.T, bin string) {
	w := newWorld(t)
	w.startISPA("--dhcp-range=100.64.1.100,100.64.1.199,255.255.255.0,2m", "--dhcp-option=option:router,100.64.1.1", "--dhcp-option=option:dns-server,100.64.1.1")
	w.startHub(bin)
	w.startNetd(bin, asking(`portal = "http://portal.example/"`))
	n := w.await("names", func(n *wire.Net) bool {
		return n.Uplinks[0].State == wire.UplinkDegraded && strings.HasPrefix(n.Uplinks[0].Reason, "names don't resolve: ")
	})
	if !strings.HasSuffix(n.Uplinks[0].Reason, "100.64.1.1 does not answer") || n.Uplinks[1].State != wire.UplinkUp {
		t.Errorf("got %s", n.Uplinks[0].Reason)
	}
}

// metered: B costs by the byte and is idle: it is hardly asked, and at once more often
// when it comes into use.
func metered(t *testing.T, bin string) {
	w := up(t, bin, func(site string) string { return strings.Replace(site, "# metered = true", "metered = true", 1) })
	for _, isp := range []*netns.Space{w.ispA, w.ispB} {
		w.run(isp, "nft", "add table ip count; add chain ip count in { type filter hook prerouting priority -400; }; add rule ip count in iifname box ip length 44 icmp type echo-request counter")
	}
	asked := func(isp *netns.Space) int {
		out := w.run(isp, "nft", "list", "table", "ip", "count")
		m := regexp.MustCompile(`counter packets (\d+)`).FindStringSubmatch(out)
		if m == nil {
			t.Fatalf("no counter: %s", out)
		}
		n, err := strconv.Atoi(m[1])
		w.must(err)
		return n
	}
	a0, b0 := asked(w.ispA), asked(w.ispB)
	w.soon("ten probes of A", func() error {
		if n := asked(w.ispA) - a0; n < 10 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	a, b := asked(w.ispA)-a0, asked(w.ispB)-b0
	t.Logf("A was asked %d times, B %d", a, b)
	if b > a/3 {
		t.Errorf("A was asked %d times, B %d; want nearly none", a, b)
	}
	w.run(w.ispA, "ip", "link", "set", "box", "down")
	w.await("B in use", func(n *wire.Net) bool { return n.Active == "isp-b" })
	b = asked(w.ispB)
	for end := time.Now().Add(ample); asked(w.ispB) == b; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("B is in use and was not asked")
		}
	}
}
