package status

import (
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/wire"
)

func TestTunnels(t *testing.T) {
	now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	net := Seen[wire.Net]{Presence: Live, V: &wire.Net{Tunnels: []wire.Tunnel{{
		Name: "hub", State: wire.TunnelUp, Reason: "the hub answers\x1b[2J", Since: now.Add(-2 * time.Hour), Device: "cg-hub", Policy: "redundant", MTU: 1420,
		RTTMS: 14.2, TxBytes: 2_500_000, RxBytes: 900, Doubled: 4000,
		Hubs:  []wire.TunnelHub{{Endpoint: "192.0.2.1:51820", InUse: true, Handshake: now.Add(-40 * time.Second)}, {Endpoint: "192.0.2.2:51820"}},
		Paths: []wire.TunnelPath{{Uplink: "isp-a", Sends: "all", Copies: 3, RTTMS: 14, LossPct: 10, TxBPS: 8e6, RxBPS: 1e6, Datagrams: 1_200_000, Heard: now}, {Uplink: "abcdefghijkl", Sends: "idle"}},
	}}}}
	got := Tunnels(net, now)
	for _, want := range []string{
		"hub up for 2h00m the hub answers", "redundant on cg-hub, packets to 1420 bytes; RTT 14.2 ms; 2.5MB out", "4.0kB of copies not needed",
		"hub 192.0.2.1:51820 in use, handshake 40s ago", "hub 192.0.2.2:51820 stands by, no handshake yet",
		"isp-a        all         3    14.0    10%", "8.0M", "1.2M", "never",
	} {
		if !strings.Contains(strings.Join(strings.Fields(got), " "), strings.Join(strings.Fields(want), " ")) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	for line := range strings.Lines(got) {
		if len(strings.TrimRight(line, "\n")) > 80 || strings.ContainsRune(line, 0x1b) {
			t.Errorf("a line of %d columns: %q", len(line), line)
		}
	}
	if got := Tunnels(Seen[wire.Net]{Presence: Missing, Why: "never published"}, now); !strings.Contains(got, "never published") {
		t.Errorf("got %q", got)
	}
}
