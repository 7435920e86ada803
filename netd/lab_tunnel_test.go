package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/relay"
	"clinicgate/firmware/wire"

	"golang.zx2c4.com/wireguard/device"
)

// TestHardships: what providers and hubs do to a tunnel.
func TestHardships(t *testing.T) {
	needs(t)
	lab.Require(t, lab.Program("iperf3"))
	bin := programs(t)
	for _, c := range []struct {
		name string
		run  func(*testing.T, string)
	}{
		{"hub under load", hubUnderLoad},
		{"skewed paths", skewedPaths},
		{"narrow path", narrowPath},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, bin) })
	}
}

// hubUnderLoad: a stranger floods the hub with calls, so that it takes no call
// without a cookie. Ours comes through all the same, by both providers.
func hubUnderLoad(t *testing.T, bin string) {
	w := newWorld(t)
	w.startISPA()
	hub := w.startHub(bin)
	calls := w.flood()
	w.startNetd(bin, nil)
	begin := time.Now()
	w.await("up under load", func(n *wire.Net) bool { return w.states(n) == allUp })
	t.Logf("up %v after the start of netd, after %d calls of a stranger", time.Since(begin).Round(time.Millisecond), calls.Load())
	out, _ := hub.Output()
	if !bytes.Contains(out, []byte("Sending cookie response for denied handshake message for 100.64.1.")) ||
		!bytes.Contains(out, []byte("Sending cookie response for denied handshake message for 198.51.100.2")) {
		t.Error("the hub asked for no cookies: it was not under load")
	}
	ours, err := w.netd.Output()
	w.must(err)
	// The first call had no cookie and was not taken. A busy machine may need some more.
	taken, sent := bytes.Count(out, []byte("Received handshake initiation")), bytes.Count(ours, []byte("Sending handshake initiation"))
	if taken == 0 || taken >= sent {
		t.Errorf("the hub took %d of %d calls, want fewer: the copy by the other provider is not news", taken, sent)
	}
}

// flood calls the hub without end, with its public key but as nobody that it knows.
func (w *world) flood() *atomic.Int64 {
	w.t.Helper()
	_, pub := wgKey(w.t, 0x43)
	raw, err := base64.StdEncoding.DecodeString(pub)
	w.must(err)
	var macs device.CookieGenerator
	macs.Init(device.NoisePublicKey(raw))
	msg := make([]byte, device.MessageInitiationSize)
	msg[0] = device.MessageInitiationType
	for i := range 32 {
		msg[8+i] = byte(i + 9) // a point of the curve, as any
	}
	macs.AddMacs(msg)
	var stop atomic.Bool
	var sent atomic.Int64
	w.t.Cleanup(func() { stop.Store(true) })
	for i := range 2 {
		c, err := w.inet.DialContext(w.t.Context(), "udp4", "192.0.2.1:51820")
		w.must(err)
		go func() {
			defer c.Close()
			for n := 0; !stop.Load(); n++ {
				_, _ = c.Write(msg) // a full queue is what we want
				sent.Add(1)
				if n%64 == 63 {
					time.Sleep(time.Duration(1+i) * time.Millisecond)
				}
			}
		}()
	}
	time.Sleep(300 * time.Millisecond)
	return &sent
}

// skewedPaths: B is so much slower than A that its copies come when the hub's replay
// window (8128 datagrams) has moved on. They are worth nothing then, and do no harm.
func skewedPaths(t *testing.T, bin string) {
	w := newWorld(t)
	cable := w.cableB()
	cable.SetAB(relay.Faults{Delay: 1200 * time.Millisecond})
	w.startISPA()
	w.startHub(bin)
	w.startNetd(bin, nil)
	w.await("all up", func(n *wire.Net) bool { return w.states(n) == allUp })
	const count = 30000
	far, err := w.listen("10.98.1.10:7700")
	w.must(err)
	roomy(t, far)
	near, err := w.pc.DialContext(t.Context(), "udp4", "10.98.1.10:7700")
	w.must(err)
	defer near.Close()
	seen := make([]atomic.Int32, count)
	go func() {
		buf := make([]byte, 64)
		for {
			n, _, err := far.ReadFrom(buf)
			if err != nil {
				return
			}
			if i := binary.BigEndian.Uint32(buf); n == 4 && i < count {
				seen[i].Add(1)
			}
		}
	}()
	begin := time.Now()
	for i := range count {
		_, _ = near.Write(binary.BigEndian.AppendUint32(nil, uint32(i))) // what can't be sent is lost
		if i%64 == 63 {
			time.Sleep(5 * time.Millisecond)
		}
	}
	took := time.Since(begin)
	time.Sleep(2 * time.Second)
	lost, twice := 0, 0
	for i := range seen {
		switch n := seen[i].Load(); {
		case n == 0:
			lost++
		case n > 1:
			twice++
		}
	}
	rate := float64(count) / took.Seconds()
	t.Logf("%.0f datagrams a second, B %.0f behind: %d of %d lost, %d twice", rate, rate*1.2, lost, count, twice)
	if twice > 0 {
		t.Errorf("%d datagrams arrived twice", twice)
	}
	if rate*1.2 < 8128 {
		t.Logf("this machine is too slow to leave the replay window")
	}
	if lost > count/3 { // a busy machine loses some where they queue up
		t.Errorf("%d of %d lost, want nearly none: A carries them all", lost, count)
	}
	w.await("tunnel up still", func(n *wire.Net) bool { return n.Tunnels[0].State == wire.TunnelUp })
}

func (w *world) listen(addr string) (c net.PacketConn, err error) {
	err = w.hub.Do(func() error {
		c, err = net.ListenPacket("udp4", addr)
		return err
	})
	if err == nil {
		w.t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// cableB puts a cable that can be delayed and cut between provider B, its end A, and
// the internet.
func (w *world) cableB() *relay.Link {
	w.t.Helper()
	w.run(w.ispB, "ip", "link", "del", "dev", "up")
	a, err := relay.TAP(w.ispB, "up")
	w.must(err)
	b, err := relay.TAP(w.inet, "b")
	w.must(err)
	link := relay.New(a, b, 1)
	w.t.Cleanup(func() { link.Close() })
	w.must(w.ispB.Addr("up", "10.0.2.1/30"), w.inet.Addr("b", "10.0.2.2/30"),
		w.ispB.Route("default", "10.0.2.2"), w.inet.Route("198.51.100.0/24", "10.0.2.1"))
	return link
}

// narrowPath: provider A drops what is longer than 1400 bytes, and fragments, and
// tells nobody. The tunnel goes by A alone, so nothing else can carry it.
func narrowPath(t *testing.T, bin string) {
	w := newWorld(t)
	w.startISPA()
	w.startHub(bin)
	for dev, at := range map[string]*netns.Space{"up": w.ispA, "a": w.inet} {
		w.run(at, "ip", "link", "set", "dev", dev, "mtu", "1400")
		w.run(at, "nft", `add table ip narrow
add chain ip narrow in { type filter hook prerouting priority -450; }
add rule ip narrow in ip frag-off & 0x3fff != 0 drop
add chain ip narrow out { type filter hook output priority 0; }
add rule ip narrow out icmp type destination-unreachable drop`)
	}
	w.startNetd(bin, policyBest)
	w.await("all up", func(n *wire.Net) bool { return w.states(n) == allUp && n.Active == "isp-a" })
	w.wait(w.box, "sh", "-c", "ip link show cg-hub | grep -q 'mtu 1328 '")
	w.wait(w.pc, "ping", "-c", "1", "-W", "2", "-s", "1300", "10.98.1.10") // 1328 bytes
	w.startIperf()
	w.wait(w.pc, "iperf3", "-c", "10.98.1.10", "-n", "2M")
	w.wait(w.pc, "iperf3", "-c", "10.98.1.10", "-n", "2M", "-R") // its server may not be done with the first yet
	if n := w.await("state", func(*wire.Net) bool { return true }); w.states(n) != allUp {
		t.Errorf("got %s", w.states(n))
	}
}
