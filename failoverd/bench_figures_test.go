package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A figure is one line of the result file. Ratio is Value over PeerValue.
type figure struct {
	Metric    string  `json:"metric"`
	Value     float64 `json:"value"`
	Unit      string  `json:"unit"`
	Peer      string  `json:"peer"`
	PeerValue float64 `json:"peer_value"`
	Ratio     float64 `json:"ratio"`
	N         int     `json:"n"`
}

func median(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

// figures are the metrics and where their values are found.
var figures = [...]struct{ metric, unit, ours, peer, theirs string }{
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
	var all []figure
	for _, f := range figures {
		ours, theirs := found[f.ours], found[f.theirs]
		if len(ours)+len(theirs) == 0 {
			continue
		}
		v := figure{Metric: f.metric, Value: median(ours), Unit: f.unit, Peer: f.peer, PeerValue: median(theirs), N: len(ours)}
		if v.PeerValue != 0 {
			v.Ratio = v.Value / v.PeerValue
		}
		fmt.Printf("%-30s %8.1f %s %-8s %8.1f %s  %s (n %d)\n", v.Metric, v.Value, spread(ours), v.Unit, v.PeerValue, spread(theirs), v.Peer, v.N)
		if len(ours) > 0 && len(theirs) > 0 {
			all = append(all, v)
		}
	}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		fmt.Printf("load at the end: %s", load)
	}
	if len(all) < len(figures) {
		fmt.Printf("%d of %d figures: not written\n", len(all), len(figures))
		return
	}
	data, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		b.Fatal(err)
	}
	path := filepath.Join("../build/bench/pair.json")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, append(data, '\n'), 0o644); err != nil {
		b.Fatal(err)
	}
	fmt.Println("written:", path)
}

// spread is the least and the most of a series.
func spread(all []float64) string {
	if len(all) == 0 {
		return "(not run)"
	}
	return fmt.Sprintf("(%.0f to %.0f)", slices.Min(all), slices.Max(all))
}
