package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"clinicgate/firmware/lab/figures"
	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/proc"
	"clinicgate/firmware/wire"
)

// mwan3 is the peer of BenchmarkWAN: mwan3's tracker at its defaults, switching the
// default route and between two stock WireGuard tunnels, one by each provider.
const mwan3 = "mwan3's tracker at its defaults"

// wanRuns is how often each scenario is played with netd. The peer plays each once:
// it takes two minutes to notice a silent death.
const wanRuns = 5

// BenchmarkWAN measures what the clinic notices of a provider's death. It writes
// build/bench/wan.json; run it with -benchtime 1x -timeout 30m.
func BenchmarkWAN(b *testing.B) {
	needs(b)
	bin := programs(b)
	series := map[string][]float64{}
	play := func(name string, start func(*world, string), scene func(*world) map[string]float64) {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b)
			w.startISPA()
			start(w, bin)
			for metric, value := range scene(w) {
				series[name+metric] = append(series[name+metric], value)
			}
		})
	}
	for range wanRuns {
		play("netd", (*world).startBox, silentScene(3*time.Second))
	}
	for range 3 {
		play("netd", (*world).startBox, linkDownScene)
		play("netd", (*world).startBox, loss30Scene)
		play("netd", (*world).startBox, flapScene)
		play("netd", (*world).startBox, lossScene)
		play("fan", (*world).startBoxFan, lossScene)
		play("fan", (*world).startBoxFan, silentScene(3*time.Second))
		play("single", (*world).startSingle, lossScene)
	}
	play("mwan3", (*world).startMwan3, silentScene(150*time.Second))
	play("mwan3", (*world).startMwan3, linkDownScene)
	play("mwan3", (*world).startMwan3, loss30Scene)
	play("mwan3", (*world).startMwan3, flapScene)
	var all []figures.Figure
	add := func(name, metric, unit, ours, peer, theirs string) {
		all = append(all, figures.Of(name, unit, series[ours+metric]).Beside(peer, series[theirs+metric]...))
	}
	for _, scene := range []string{"silent", "linkdown", "loss30", "flap"} {
		add("wan."+scene+".tunnel_hole_ms", scene+".tunnel_hole_ms", "ms", "netd", mwan3, "mwan3")
		add("wan."+scene+".tcp_broken", scene+".tcp_broken", "of 50", "netd", mwan3, "mwan3")
	}
	add("wan.silent.tunnel_up_hole_ms", "silent.tunnel_up_hole_ms", "ms", "netd", mwan3, "mwan3")
	add("wan.silent.plain_hole_ms", "silent.plain_hole_ms", "ms", "netd", mwan3, "mwan3")
	add("wan.linkdown.plain_hole_ms", "linkdown.plain_hole_ms", "ms", "netd", mwan3, "mwan3")
	add("wan.loss30.lost_pct", "loss30.lost_pct", "%", "netd", mwan3, "mwan3")
	add("wan.fan.silent.tunnel_hole_ms", "silent.tunnel_hole_ms", "ms", "fan", mwan3, "mwan3")
	// To the hub there are copies in any case; back only where a fan stands before it.
	add("wan.loss10.lost_up_pct", "loss10.lost_up_pct", "%", "netd", "single link", "single")
	add("wan.loss10.lost_pct", "loss10.lost_pct", "%", "netd", "single link", "single")
	add("wan.fan.loss10.lost_pct", "loss10.lost_pct", "%", "fan", "single link", "single")
	figures.Write(b, "wan", all)
}

// startBox starts netd with the example's site file: a redundant tunnel, and two
// steady probes a second.
func (w *world) startBox(bin string) {
	w.startHub(bin)
	w.startNetd(bin, nil)
	w.await("all up", func(n *wire.Net) bool { return w.states(n) == allUp && n.Active == "isp-a" })
}

// startBoxFan is the same with a fan before the stock hub.
func (w *world) startBoxFan(bin string) {
	w.startFan(bin)
	w.startNetd(bin, withFan)
	w.await("all up", func(n *wire.Net) bool { return w.states(n) == allUp && n.Active == "isp-a" })
}

// startSingle makes the box a stock wireguard-go by provider A.
func (w *world) startSingle(bin string) {
	w.startStock(bin)
	w.clinicSide(own("stock"))
}

// clinicSide gives a box without netd its address in the LAN, and NAT.
func (w *world) clinicSide(tunnels ...string) {
	w.must(w.box.Addr("lan", "10.20.0.2/24"))
	for _, dev := range []string{"wan1", "wan2"} {
		w.run(w.box, "iptables", "-t", "nat", "-A", "POSTROUTING", "-o", dev, "-j", "MASQUERADE")
	}
	for _, dev := range tunnels {
		w.run(w.box, "iptables", "-t", "nat", "-A", "POSTROUTING", "-o", dev, "-j", "SNAT", "--to", "10.99.0.2")
	}
}

// startMwan3 builds the peer. When its tracker says so, the hub's end is switched
// along with the box's, which no mwan3 does.
func (w *world) startMwan3(bin string) {
	w.startHub(bin)
	boxKey, boxPub := wgKey(w.t, 0x42)
	_, hubPub := wgKey(w.t, 0x43)
	hubKeyB, hubPubB := wgKey(w.t, 0x44)
	w.stockTunnel(bin, w.hub, own("hub-b"), hubKeyB, "51821", boxPub, "10.99.0.2/32", "", "0")
	w.must(w.box.Addr("wan1", "100.64.1.2/24"), w.box.Addr("wan2", "198.51.100.2/24"))
	w.run(w.box, "ip", "route", "add", "default", "via", "100.64.1.1", "metric", "10")
	w.run(w.box, "ip", "route", "add", "default", "via", "198.51.100.1", "metric", "20")
	for mark, gateway := range map[string]string{"10": "100.64.1.1", "11": "198.51.100.1"} { // each tunnel stays with its provider
		w.run(w.box, "ip", "route", "add", "default", "via", gateway, "table", mark)
		w.run(w.box, "ip", "rule", "add", "fwmark", mark, "table", mark)
	}
	w.stockTunnel(bin, w.box, own("tun-a"), boxKey, "0", hubPub, "10.0.0.0/8", "192.0.2.1:51820", "10")
	w.stockTunnel(bin, w.box, own("tun-b"), boxKey, "0", hubPubB, "10.0.0.0/8", "192.0.2.1:51821", "11")
	w.must(w.box.Addr(own("tun-a"), "10.99.0.2/32"), w.box.RouteDev("10.98.0.0/15", own("tun-a")))
	w.clinicSide(own("tun-a"), own("tun-b"))
	var hosts []string
	for i := range 4 {
		hosts = append(hosts, fmt.Sprintf("192.0.2.%d", 11+i))
		w.must(w.hub.Addr("eth0", hosts[i]+"/24"))
	}
	hook := filepath.Join(w.dir, "hook.sh")
	w.must(os.WriteFile(hook, fmt.Appendf(nil, `#!/bin/sh
[ "$1" = down ] || exit 0
ip route del default via 100.64.1.1 metric 10
ip route add default via 100.64.1.1 metric 30
ip route replace 10.98.0.0/15 dev %s
ip netns exec %s ip route replace 10.99.0.2/32 dev %s
conntrack -F
`, own("tun-b"), w.hub.Name, own("hub-b")), 0o755))
	w.start(proc.Spec{Name: "mwan3track", Space: w.box, Args: append([]string{"sh", "testdata/mwan3track.sh", "wan1", hook}, hosts...)})
}

// silentScene: provider A swallows everything, without a word. wait is how long the
// box may take.
func silentScene(wait time.Duration) func(*world) map[string]float64 {
	return func(w *world) map[string]float64 {
		s, flows := w.clinic()
		w.must(w.hub.Addr("eth0", "192.0.2.3/24"))
		w.echo(w.hub, "192.0.2.3:7001")
		cut := time.Now()
		w.silence()
		plain := w.plain("192.0.2.3:7001", wait)
		for time.Since(cut) < min(wait, plain+3*time.Second) {
			time.Sleep(100 * time.Millisecond)
		}
		v := s.since(cut.Add(-100 * time.Millisecond))
		return map[string]float64{
			"silent.tunnel_hole_ms": ms(v.back), "silent.tunnel_up_hole_ms": ms(v.over),
			"silent.tcp_broken": broken(flows), "silent.plain_hole_ms": ms(plain),
		}
	}
}

// broken is how many of the connections a person would call so.
func broken(flows []*talk) float64 {
	n := 0.0
	for _, k := range flows {
		if k.givenUp() {
			n++
		}
	}
	return n
}

// linkDownScene: A's cable is pulled at the box.
func linkDownScene(w *world) map[string]float64 {
	s, flows := w.clinic()
	w.must(w.hub.Addr("eth0", "192.0.2.3/24"))
	w.echo(w.hub, "192.0.2.3:7001")
	cut := time.Now()
	w.run(w.ispA, "ip", "link", "set", "box", "down")
	plain := w.plain("192.0.2.3:7001", 10*time.Second)
	time.Sleep(12*time.Second - time.Since(cut))
	return map[string]float64{
		"linkdown.tunnel_hole_ms": ms(s.since(cut.Add(-100 * time.Millisecond)).back),
		"linkdown.tcp_broken":     broken(flows), "linkdown.plain_hole_ms": ms(plain),
	}
}

// loss30Scene: A begins to lose three of ten packets in each direction.
func loss30Scene(w *world) map[string]float64 {
	s, flows := w.clinic()
	begin := time.Now()
	w.loses(w.ispA, "< 3")
	time.Sleep(12 * time.Second)
	v := s.since(begin)
	return map[string]float64{"loss30.tunnel_hole_ms": ms(v.back), "loss30.lost_pct": v.lost, "loss30.tcp_broken": broken(flows)}
}

// flapScene: A dies and comes back, three times.
func flapScene(w *world) map[string]float64 {
	s, flows := w.clinic()
	cut := time.Now()
	for range 3 {
		w.silence()
		time.Sleep(2 * time.Second)
		w.revive()
		time.Sleep(3 * time.Second)
	}
	return map[string]float64{"flap.tunnel_hole_ms": ms(s.since(cut.Add(-100 * time.Millisecond)).back), "flap.tcp_broken": broken(flows)}
}

// lossScene: every provider loses 10 % of all packets, in each direction.
func lossScene(w *world) map[string]float64 {
	s, _ := w.clinic()
	w.lossy()
	time.Sleep(6 * time.Second) // until it has been noticed
	begin := time.Now()
	time.Sleep(8 * time.Second)
	v := s.since(begin)
	return map[string]float64{"loss10.lost_pct": v.lost, "loss10.lost_up_pct": v.lostOver}
}

// lossy makes every provider lose a tenth of all packets.
func (w *world) lossy() {
	w.t.Helper()
	w.loses(w.ispA, "0")
	w.loses(w.ispB, "0")
}

// loses makes a provider lose those of ten packets.
func (w *world) loses(isp *netns.Space, ofTen string) {
	w.t.Helper()
	w.run(isp, "nft", "add table ip lossy; add chain ip lossy in { type filter hook prerouting priority -400; }; add rule ip lossy in numgen random mod 10 "+ofTen+" drop")
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// clinic starts the traffic: the stream, and 50 TCP connections through the tunnel.
func (w *world) clinic() (*stream, []*talk) {
	w.t.Helper()
	w.echo(w.hub, "10.98.1.10:7000")
	s := w.stream(w.pc, w.hub, "10.98.1.10:7500")
	var flows []*talk
	for range 50 {
		flows = append(flows, w.talk(w.pc, "tcp4", "10.98.1.10:7000", 100*time.Millisecond))
	}
	for _, k := range flows {
		k.settled(w.t)
	}
	time.Sleep(time.Second)
	return s, flows
}

// givenUp reports whether a person would call the connection broken: it ended, or
// nothing was answered for ten seconds.
func (k *talk) givenUp() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err != nil || max(k.longest, time.Since(k.last)) > 10*time.Second
}

// plain is how long it takes from now until a new connection past the tunnel gets
// an answer. One is tried every 20 ms.
func (w *world) plain(addr string, within time.Duration) time.Duration {
	w.t.Helper()
	begin := time.Now()
	answered := make(chan time.Duration, 1)
	var tries sync.WaitGroup
	defer tries.Wait()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for time.Since(begin) < within {
		select {
		case d := <-answered:
			return d
		case <-tick.C:
			tries.Go(func() {
				if reach(w.pc, addr, 900*time.Millisecond) != nil {
					return
				}
				select {
				case answered <- time.Since(begin):
				default: // another was first
				}
			})
		}
	}
	return within
}
