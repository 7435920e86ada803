package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/figures"
	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/proc"
	"clinicgate/firmware/wire"
)

// BenchmarkTunnel measures what goes through the tunnel: the real netd against
// stock wireguard-go on the same links, in turn. The hub is stock in both cases.
// It writes build/bench/tunnel.json; run it with -benchtime 1x.
func BenchmarkTunnel(b *testing.B) {
	needsBench(b)
	bin := programs(b)
	const n = 3
	series := map[string][]float64{}
	one := func(name string, make func(*world), edit func(string) string, args ...string) {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b)
			make(w)
			if edit == nil {
				w.startStock(bin)
			} else {
				w.startHub(bin)
				w.startISPA()
				w.startNetd(bin, edit)
				w.await("all up", func(n *wire.Net) bool { return w.states(n) == allUp })
			}
			w.startIperf()
			for _, way := range args {
				series[name+way] = append(series[name+way], w.iperf(way))
			}
		})
	}
	redundant := func(site string) string { return site }
	for range n {
		one("stock", plain, nil, "up", "down")
		one("best", plain, policyBest, "up", "down")
		one("redundant", plain, redundant, "up")
	}
	aggregate := func(site string) string { return strings.Replace(site, `"redundant"`, `"aggregate"`, 1) }
	for range n {
		one("link", (*world).narrow, policyBest, "up")
		one("aggregate", (*world).narrow, aggregate, "up")
	}
	figures.Write(b, "tunnel", []figures.Figure{
		figures.Of("tunnel.best_mbps", "Mbps", series["bestup"]).Beside("stock wireguard-go", series["stockup"]...),
		figures.Of("tunnel.best_down_mbps", "Mbps", series["bestdown"]).Beside("stock wireguard-go", series["stockdown"]...),
		figures.Of("tunnel.redundant_mbps", "Mbps", series["redundantup"]).Beside("stock wireguard-go", series["stockup"]...),
		figures.Of("tunnel.aggregate_mbps", "Mbps", series["aggregateup"]).Beside("one of the two links", series["linkup"]...),
	})
}

func needsBench(b *testing.B) {
	b.Helper()
	needs(b)
	lab.Require(b, lab.Program("iperf3"))
}

func plain(*world) {}

// narrow lets each provider take 40 Mbit/s to the hub.
func (w *world) narrow() {
	for _, isp := range []*netns.Space{w.ispA, w.ispB} {
		w.run(isp, "tc", "qdisc", "add", "dev", "up", "root", "tbf", "rate", "40mbit", "burst", "32kb", "latency", "60ms")
	}
}

// own makes a device's name this process's: stock WireGuard has one folder of sockets
// for the whole machine, whatever the namespace.
func own(dev string) string { return fmt.Sprintf("%s%d", dev, os.Getpid()) }

// startStock makes the box an unmodified wireguard-go by provider A, and the hub.
func (w *world) startStock(bin string) {
	w.t.Helper()
	w.startHub(bin)
	w.must(w.box.Addr("wan1", "100.64.1.2/24"), w.box.Route("default", "100.64.1.1"))
	boxKey, _ := wgKey(w.t, 0x42)
	_, hubPub := wgKey(w.t, 0x43)
	w.stockTunnel(bin, w.box, own("stock"), boxKey, "0", hubPub, "10.0.0.0/8", "192.0.2.1:51820", "0")
	w.must(w.box.Addr(own("stock"), "10.99.0.2/32"), w.box.RouteDev("10.98.0.0/15", own("stock")))
}

// stockTunnel starts wireguard-go as dev in space; its endpoint may be "".
func (w *world) stockTunnel(bin string, space *netns.Space, dev, key, port, peer, allowed, endpoint, mark string) {
	w.t.Helper()
	p := w.start(proc.Spec{Name: dev, Space: space, Args: []string{filepath.Join(bin, "wireguard-go"), "-f", dev}, Env: []string{"LOG_LEVEL=verbose"}})
	w.must(p.WaitLine(w.t.Context(), "UAPI listener started"))
	file := filepath.Join(w.dir, dev+".key")
	w.must(os.WriteFile(file, []byte(key), 0o600))
	args := []string{"wg", "set", dev, "private-key", file, "listen-port", port, "fwmark", mark, "peer", peer, "allowed-ips", allowed}
	if endpoint != "" {
		args = append(args, "endpoint", endpoint, "persistent-keepalive", "15")
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
		_, err := proc.Run(ctx, space, args...)
		cancel()
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			w.t.Fatal(err)
		}
	}
	w.must(space.Up(dev))
}

func (w *world) startIperf() {
	w.t.Helper()
	p := w.start(proc.Spec{Name: "iperf3", Space: w.hub, Args: []string{"iperf3", "-s", "-B", "10.98.1.10"}})
	w.must(p.WaitPort(w.t.Context(), "10.98.1.10:5201"))
}

// iperf measures TCP from the box to the hub, "up", or back, for some seconds.
func (w *world) iperf(way string) float64 {
	w.t.Helper()
	args := []string{"iperf3", "-c", "10.98.1.10", "-t", "6", "-O", "2", "-J"}
	if strings.HasPrefix(way, "down") {
		args = append(args, "-R")
	}
	var got struct {
		End struct {
			Received struct {
				BPS float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	w.must(json.Unmarshal([]byte(w.run(w.box, args...)), &got))
	fmt.Printf("%s %s: %.1f Mbit/s\n", w.t.Name(), way, got.End.Received.BPS/1e6)
	return got.End.Received.BPS / 1e6
}
