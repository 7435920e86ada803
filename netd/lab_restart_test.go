package main

import (
	"testing"
	"time"

	"clinicgate/firmware/wire"
)

// TestTunnelOverRestart: netd is killed and started again at once. Session keys die
// with it, so a stock hub must be called anew; the tunnel is back when netd is up
// and the hub has answered, waiting for no probe, lease or timer.
func TestTunnelOverRestart(t *testing.T) {
	needs(t)
	bin := programs(t)
	w := up(t, bin, nil)
	w.echo(w.hub, "10.98.1.10:7000")
	flow := w.talk(w.pc, "tcp4", "10.98.1.10:7000", 20*time.Millisecond)
	s := w.stream(w.pc, w.hub, "10.98.1.10:7500")
	flow.settled(t)
	time.Sleep(time.Second)
	killed := time.Now()
	w.netd.Kill()
	w.startNetd(bin, nil)
	time.Sleep(3 * time.Second)
	v := s.since(killed.Add(-100 * time.Millisecond))
	t.Logf("killed and started again: hole of %v back, %v over", v.back.Round(time.Millisecond), v.over.Round(time.Millisecond))
	flow.alive(t, "in the tunnel")
	w.await("all up", func(n *wire.Net) bool { return w.states(n) == allUp })
}
