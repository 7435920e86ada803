package main

import (
	"fmt"
	"slices"
	"testing"

	"clinicgate/firmware/lab/figures"
)

// measured are the metrics and where their values are found.
var measured = [...]struct{ metric, unit, ours, peer, theirs string }{
	{"pair.kill.hole_ms", "ms", "ours/fast/kill.hole_ms", "keepalived, 10 ms", "keepalived/fast/kill.hole_ms"},
	{"pair.linkdown.hole_ms", "ms", "ours/fast/linkdown.hole_ms", "keepalived, 10 ms", "keepalived/fast/linkdown.hole_ms"},
	{"pair.isolation.hole_ms", "ms", "ours/fast/isolation.hole_ms", "keepalived, 10 ms", "keepalived/fast/isolation.hole_ms"},
	{"pair.stop.hole_ms", "ms", "ours/fast/stop.hole_ms", "keepalived, 10 ms", "keepalived/fast/stop.hole_ms"},
	{"pair.default.hole_ms", "ms", "ours/default/isolation.hole_ms", "keepalived, its default 1 s", "keepalived/default/isolation.hole_ms"},
	{"pair.default.kill.hole_ms", "ms", "ours/default/kill.hole_ms", "keepalived, its default 1 s", "keepalived/default/kill.hole_ms"},
	{"pair.default.linkdown.hole_ms", "ms", "ours/default/linkdown.hole_ms", "keepalived, its default 1 s", "keepalived/default/linkdown.hole_ms"},
	{"pair.default.stop.hole_ms", "ms", "ours/default/stop.hole_ms", "keepalived, its default 1 s", "keepalived/default/stop.hole_ms"},
	{"pair.graceful.lost", "probes", "ours/default/handover.lost", "keepalived stopped, 10 ms", "keepalived/fast/stop.lost"},
	{"pair.tcp_survived_pct", "%", "ours/flows/survived_pct", "keepalived + conntrackd", "keepalived/flows/survived_pct"},
	{"pair.false_takeovers", "in 10 m", "ours/hogs/false_takeovers", "keepalived in 20 s", "keepalived/hogs/false_takeovers"},
}

// writePair prints what was measured and writes build/bench/pair.json, unless only
// a part of it was.
func writePair(b *testing.B, found series) {
	b.Helper()
	var all []figures.Figure
	for _, f := range measured {
		ours, theirs := found[f.ours], found[f.theirs]
		if len(ours)+len(theirs) == 0 {
			continue
		}
		v := figures.Of(f.metric, f.unit, ours).Beside(f.peer, theirs...)
		fmt.Printf("%-30s %8.1f %s %-8s %8.1f %s  %s (n %d)\n", v.Metric, v.Value, spread(ours), v.Unit, v.PeerValue, spread(theirs), v.Peer, v.N)
		if len(ours) > 0 && len(theirs) > 0 {
			all = append(all, v)
		}
	}
	if len(all) < len(measured) {
		fmt.Printf("%d of %d figures: not written\n", len(all), len(measured))
		return
	}
	figures.Write(b, "pair", all)
}

// spread is the least and the most of a series.
func spread(all []float64) string {
	if len(all) == 0 {
		return "(not run)"
	}
	return fmt.Sprintf("(%.0f to %.0f)", slices.Min(all), slices.Max(all))
}
