package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/proc"
	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"
)

// say is failoverd's word to netd.
func (w *world) say(run bool, floor time.Time) {
	w.t.Helper()
	f := wire.Failover{Header: wire.Header{PID: os.Getpid()}, Tunnel: &wire.PairTunnel{Run: run, Floor: floor}}
	w.must(wirefile.Publish(filepath.Join(w.dir, "run"), wire.FailoverFile, &f, 0o644))
}

// heldBack has failoverd tell of a call that is later than this box's clock, until
// netd was seen to wait for that time: a busy machine may be too late to see it.
func (w *world) heldBack(prepare func()) (floor time.Time) {
	w.t.Helper()
	for range 20 {
		prepare()
		floor = time.Now().Add(1900 * time.Millisecond)
		w.say(true, floor)
		for ; time.Now().Before(floor); time.Sleep(10 * time.Millisecond) {
			n, err := wirefile.Read[wire.Net](filepath.Join(w.dir, "run"), wire.NetFile)
			if err == nil && n.Tunnels[0].State != wire.TunnelUp && strings.Contains(n.Tunnels[0].Reason, "s behind the time") {
				return floor
			}
		}
	}
	w.t.Fatal("netd was never seen to hold back a call")
	return floor
}

// rested is how often the tunnel was put to rest.
func (w *world) rested() int {
	w.t.Helper()
	out, err := w.netd.Output()
	w.must(err)
	return strings.Count(string(out), `"tunnel rests"`)
}

// turns: of two boxes only the master runs the tunnel. A backup keeps device, routes
// and uplinks ready, and is there within a call when its turn comes.
func turns(t *testing.T, bin string) {
	w := newWorld(t)
	w.startISPA()
	w.startHub(bin)
	w.must(netns.Veth(w.box, "ha", w.pc, "ha"))
	w.startNetd(bin, func(site string) string {
		return site + "\n[net.ha]\nport = \"ha\"\naddress = \"10.77.0.1/24\"\npeer = \"10.77.0.2\"\n"
	})
	standby := func(n *wire.Net) bool { return w.states(n) == "isp-a=up isp-b=up hub=standby" }
	n := w.await("no word yet: it rests", standby)
	if !strings.Contains(n.Tunnels[0].Reason, "has not said yet") || !n.Tunnels[0].Called.IsZero() {
		t.Errorf("got %+v", n.Tunnels[0])
	}
	w.say(false, time.Time{})
	w.await("the other box runs it", func(n *wire.Net) bool {
		return standby(n) && n.Tunnels[0].Reason == "the other box runs it"
	})
	if got := w.run(w.box, "ip", "route", "get", "10.98.1.10"); !strings.Contains(got, "dev cg-hub src 10.99.0.2") {
		t.Errorf("a backup is not prepared: %s", got)
	}
	if got := w.run(w.box, "ip", "-o", "addr", "show", "dev", "ha"); !strings.Contains(got, "10.77.0.1/24") {
		t.Errorf("the cable to the other box: %s", got)
	}
	before := time.Now()
	w.say(true, time.Time{})
	n = w.await("its turn", func(n *wire.Net) bool { return w.states(n) == allUp })
	t.Logf("up %v after the word", time.Since(before).Round(time.Millisecond))
	w.wait(w.pc, "ping", "-c", "1", "-W", "2", "10.98.1.10")
	if called := n.Tunnels[0].Called; called.Before(before.Add(-time.Millisecond)) || called.After(time.Now().Add(time.Millisecond)) {
		t.Errorf("called at %v, want between %v and now", called, before)
	}
	if len(n.Faults) > 0 {
		t.Errorf("faults: %+v", n.Faults)
	}
	// Our own call comes back as the floor, and does not stand in our way.
	floor := w.heldBack(func() {})
	n = w.await("called", func(n *wire.Net) bool { return n.Tunnels[0].Called.After(floor) })
	rested := w.rested()
	w.say(true, n.Tunnels[0].Called)
	n = w.await("up", func(n *wire.Net) bool { return w.states(n) == allUp })
	w.say(true, n.Tunnels[0].Called)
	time.Sleep(200 * time.Millisecond)
	if again := w.rested() - rested; again != 0 {
		t.Errorf("the tunnel rested %d times more", again)
	}
	w.say(false, time.Time{})
	w.await("no longer its turn", standby)
	if _, err := proc.Run(t.Context(), w.pc, "ping", "-c", "1", "-W", "1", "10.98.1.10"); err == nil {
		t.Error("the tunnel goes on beside the other box's")
	}
	// The other box has called with a time that is still to come here.
	floor = w.heldBack(func() {
		w.say(false, time.Time{})
		w.await("rests", standby)
	})
	n = w.await("then called at once", func(n *wire.Net) bool { return w.states(n) == allUp })
	if called := n.Tunnels[0].Called; !called.After(floor) {
		t.Errorf("called at %v, not after %v", called, floor)
	}
	// Far behind: the hub would not listen, and people are told while it doesn't.
	w.say(false, time.Time{})
	w.await("rests", standby)
	w.run(w.hub, "nft", "add table ip dead; add chain ip dead in { type filter hook prerouting priority -400; policy drop; }")
	w.say(true, time.Now().Add(10*time.Minute))
	w.await("the clock is told about", func(n *wire.Net) bool { return hasFault(n, "tunnel.clock") })
	w.run(w.hub, "nft", "delete table ip dead")
	w.await("a hub that listens all the same", func(n *wire.Net) bool {
		return n.Tunnels[0].State == wire.TunnelUp && !hasFault(n, "tunnel.clock")
	})
	// A failoverd that is dead says nothing: the other box may have taken over.
	f := wire.Failover{Header: wire.Header{PID: 1<<22 - 1}, Tunnel: &wire.PairTunnel{Run: true}}
	w.must(wirefile.Publish(filepath.Join(w.dir, "run"), wire.FailoverFile, &f, 0o644))
	w.await("failoverd is dead", func(n *wire.Net) bool { return strings.Contains(n.Tunnels[0].Reason, "failoverd is dead") })
}

func hasFault(n *wire.Net, id string) bool {
	for _, f := range n.Faults {
		if f.ID == id {
			return true
		}
	}
	return false
}
