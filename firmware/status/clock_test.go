package status

import (
	"testing"
	"time"

	"clinicgate/firmware/wire"
)

// A box whose clock began in 2020 and was set right an hour after its start: what it
// noted before that has not lasted six years.
func TestSinceStart(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	start, wrong, right := now.Add(-2*time.Hour), time.Date(2020, 1, 1, 0, 30, 0, 0, time.UTC), now.Add(-time.Minute)
	fault := wire.Header{Faults: []wire.Fault{{ID: "x", Since: wrong}, {ID: "y", Since: right}}}
	b := Box{
		Init: Seen[wire.Init]{V: &wire.Init{Header: fault, Booted: start, Services: []wire.Service{{Since: wrong}}}},
		Net: Seen[wire.Net]{V: &wire.Net{
			Header: fault, Uplinks: []wire.Uplink{{Since: wrong}, {Since: right}, {}}, Tunnels: []wire.Tunnel{{Since: wrong}},
		}},
		Pair: Seen[wire.Failover]{V: &wire.Failover{Header: fault, Groups: []wire.Group{{Since: wrong}}}},
		Sync: Seen[wire.Sync]{V: &wire.Sync{Header: fault, Destinations: []wire.Destination{{Since: wrong}}}},
	}
	SinceStart(b)
	for name, got := range map[string]time.Time{
		"init's fault": b.Init.V.Faults[0].Since, "service": b.Init.V.Services[0].Since, "netd's fault": b.Net.V.Faults[0].Since,
		"line": b.Net.V.Uplinks[0].Since, "tunnel": b.Net.V.Tunnels[0].Since, "group": b.Pair.V.Groups[0].Since,
		"destination": b.Sync.V.Destinations[0].Since,
	} {
		if !got.Equal(start) {
			t.Errorf("%s: since %v, want the start", name, got)
		}
	}
	if !b.Init.V.Faults[1].Since.Equal(right) || !b.Net.V.Uplinks[1].Since.Equal(right) || !b.Net.V.Uplinks[2].Since.IsZero() {
		t.Error("what was right was changed")
	}
	SinceStart(Box{}) // nothing is known: nothing happens
}
