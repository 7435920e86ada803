package main

import (
	"testing"
	"time"

	"clinicgate/firmware/wire"
)

const allUp = "isp-a=up isp-b=up hub=up"

// TestBothUp: DHCP on one uplink, static on the other, NAT and tunnel, by the real
// netd with no more rights than on the box.
func TestBothUp(t *testing.T) {
	w := newWorld(t)
	bin := programs(t)
	w.startISPA()
	w.startHub(bin)
	w.startNetd(bin, nil)
	n := w.await("all up", 15*time.Second, func(n *wire.Net) bool { return w.states(n) == allUp })
	if n.Active != "isp-a" || n.Uplinks[0].Gateway != "100.64.1.1" || n.Tunnels[0].Via != "isp-a" {
		t.Errorf("got %+v", n)
	}
	w.run(w.pc, "ping", "-c", "2", "-i", "0.2", "-W", "2", "192.0.2.1")
	w.run(w.pc, "ping", "-c", "2", "-i", "0.2", "-W", "2", "10.98.1.10")
	t.Log(w.run(w.box, "sh", "-c", "ip rule; ip route show table all | grep -v local; iptables-save | head -80"))
}
