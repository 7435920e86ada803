package main

import (
	"testing"
	"time"

	"clinicgate/firmware/wire"
)

// TestFan: with a fan at the hub both directions have copies. Both providers lose a
// tenth of all packets in each direction, and nearly no echo is lost; then one dies
// silently, and the other carries on.
func TestFan(t *testing.T) {
	needs(t)
	bin := programs(t)
	w := newWorld(t)
	w.startISPA()
	w.startFan(bin)
	w.startNetd(bin, withFan)
	w.await("all up", func(n *wire.Net) bool { return w.states(n) == allUp })
	s, flows := w.clinic()
	w.lossy()
	w.await("loss noticed", func(n *wire.Net) bool {
		tun := n.Tunnels[0]
		return len(tun.Paths) == 2 && tun.Paths[0].Copies == 3 && tun.Paths[1].LossPct > 1 && tun.Paths[1].TxBPS > 0 &&
			tun.Doubled > 0 && tun.MTU == 1420 && len(tun.Hubs) == 1 && tun.Hubs[0].InUse
	})
	begin := time.Now()
	time.Sleep(5 * time.Second)
	v := s.since(begin)
	t.Logf("both providers lose 10 %%: %.3f %% of %d echoes lost, %.3f %% on the way there", v.lost, v.n, v.lostOver)
	// One provider alone would lose 19 %. Nearly none are when nobody is busy.
	if v.lost > 8 || v.n == 0 {
		t.Errorf("%.2f %% of %d echoes lost, want nearly none", v.lost, v.n)
	}
	cut := time.Now()
	w.silence()
	time.Sleep(3 * time.Second)
	v = s.since(cut)
	t.Logf("one dies: longest hole %v", v.back.Round(time.Millisecond))
	for _, k := range flows {
		k.alive(t, "in the tunnel")
	}
}

// TestFanStranger: a stock client passes through the fan to the WireGuard behind.
func TestFanStranger(t *testing.T) {
	needs(t)
	bin := programs(t)
	w := newWorld(t)
	w.startISPA()
	w.startFan(bin)
	w.startNetd(bin, nil) // gives no notice: a stock client, with copies
	w.await("all up", func(n *wire.Net) bool { return w.states(n) == allUp })
	w.wait(w.pc, "ping", "-c", "1", "-W", "2", "10.98.1.10")
}
