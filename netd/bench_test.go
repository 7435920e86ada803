package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A figure is one line of a bench's result file. Ratio is Value over PeerValue.
type figure struct {
	Metric    string  `json:"metric"`
	Value     float64 `json:"value"`
	Unit      string  `json:"unit"`
	Peer      string  `json:"peer"`
	PeerValue float64 `json:"peer_value"`
	Ratio     float64 `json:"ratio"`
	N         int     `json:"n"`
	PeerN     int     `json:"peer_n"`
}

// compare makes a figure of the medians of two series.
func compare(metric, unit string, ours []float64, peer string, theirs []float64) figure {
	f := figure{Metric: metric, Value: median(ours), Unit: unit, Peer: peer, PeerValue: median(theirs), N: len(ours), PeerN: len(theirs)}
	if f.PeerValue != 0 {
		f.Ratio = f.Value / f.PeerValue
	}
	return f
}

func median(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

// writeFigures writes build/bench/NAME.json and prints the same.
func writeFigures(b *testing.B, name string, figures []figure) {
	b.Helper()
	for _, f := range figures {
		fmt.Printf("%-30s %10.2f %-5s (n %d) | %10.2f %s (n %d), ratio %.3f\n", f.Metric, f.Value, f.Unit, f.N, f.PeerValue, f.Peer, f.PeerN, f.Ratio)
	}
	data, err := json.MarshalIndent(figures, "", "  ")
	if err != nil {
		b.Fatal(err)
	}
	path := filepath.Join("../build/bench", name+".json")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, append(data, '\n'), 0o644); err != nil {
		b.Fatal(err)
	}
	fmt.Println("written:", path)
}
