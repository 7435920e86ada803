package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/proc"
	"clinicgate/firmware/wire"
)

// bulkTunnel is a second tunnel beside the example's, for the flows of one class.
const bulkTunnel = `[net.class.bulk]
match = [{ service = "tcp/5201" }]

[[net.tunnel]]
name      = "bulk"
address   = "10.97.0.2/32"
endpoint  = "192.0.2.1:51821"
peer_key  = %q
key       = "hub.key"
routes    = ["10.97.0.0/24", "10.98.0.0/16"]
keepalive = "15s"
policy    = "aggregate"
class     = "bulk"
probe     = "10.97.0.1"

[net.firewall]`

// startBulkHub starts the bulk tunnel's far end on the hub's machine.
func (w *world) startBulkHub(bin string) (edit func(site string) string) {
	w.t.Helper()
	p := w.startPeer(bin, farEnd{space: w.hub, name: "bulk", seed: 0x46, port: "51821", inner: "10.97.0.2"})
	w.must(w.hub.Addr(p.dev, "10.97.0.1/24"), w.hub.Up(p.dev))
	_, pub := wgKey(w.t, 0x46)
	return func(site string) string {
		return strings.Replace(site, "[net.firewall]", fmt.Sprintf(bulkTunnel, pub), 1)
	}
}

// TestTwoTunnels: a clinical tunnel with copies and a bulk one over both providers
// lead to the same network, each to a stock wireguard-go. Bulk takes what both
// providers carry together; a provider that dies meanwhile costs the clinical one
// next to nothing.
func TestTwoTunnels(t *testing.T) {
	needs(t)
	lab.Require(t, lab.Program("iperf3"))
	bin := programs(t)
	w := newWorld(t)
	w.startISPA()
	w.startHub(bin)
	w.startNetd(bin, w.startBulkHub(bin))
	w.await("all up", func(n *wire.Net) bool { return w.states(n) == allUp+" bulk=up" })
	w.narrow()
	w.startIperf()
	w.echo(w.hub, "10.98.1.10:7000")
	clinical := w.talk(w.pc, "udp4", "10.98.1.10:7000", 10*time.Millisecond)
	flow := w.talk(w.pc, "tcp4", "10.98.1.10:7000", 50*time.Millisecond)
	clinical.settled(t)
	flow.settled(t)
	before := w.carried()
	bulk := w.start(proc.Spec{Name: "bulk-flow", Space: w.pc, Args: []string{"iperf3", "-c", "10.98.1.10", "-t", "9"}})
	time.Sleep(4 * time.Second)
	after := w.carried()
	a, b := float64(after[0]-before[0])*8/4e6, float64(after[1]-before[1])*8/4e6
	t.Logf("bulk and clinical together: %.1f Mbit/s by A, %.1f by B", a, b)
	if min(a, b) < (a+b)/5 {
		t.Errorf("one provider carried next to nothing: %.1f and %.1f Mbit/s", a, b)
	}
	clinical.settled(t) // forget what was before
	w.silence()
	time.Sleep(3 * time.Second)
	clinical.alive(t, "clinical echoes")
	flow.alive(t, "a clinical connection")
	hole := clinical.hole()
	t.Logf("clinical echoes beside a bulk flow: longest hole %v", hole.Round(time.Millisecond))
	// A call whose answer was missed is repeated each five seconds.
	if out, err := w.netd.Output(); err != nil || strings.Count(string(out), "Handshake did not complete") > 1 {
		t.Errorf("the hubs are called again and again: %v", err)
	}
	select {
	case <-bulk.Done():
		if out := bulk.Tail(4); !strings.Contains(out, "receiver") {
			t.Errorf("the bulk flow broke:\n%s", out)
		}
	case <-time.After(ample):
		t.Errorf("the bulk flow hangs:\n%s", bulk.Tail(5))
	}
}

// carried is how many bytes left the box by each provider.
func (w *world) carried() (n [2]uint64) {
	w.t.Helper()
	for i, dev := range []string{"wan1", "wan2"} {
		var got []struct {
			Stats struct{ Tx struct{ Bytes uint64 } } `json:"stats64"`
		}
		w.must(json.Unmarshal([]byte(w.run(w.box, "ip", "-s", "-j", "link", "show", "dev", dev)), &got))
		n[i] = got[0].Stats.Tx.Bytes
	}
	return n
}
