package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A figure is one line of build/bench/NAME.json.
type figure struct {
	Metric    string  `json:"metric"`
	Value     float64 `json:"value"`
	Unit      string  `json:"unit"`
	Peer      string  `json:"peer"`
	PeerValue float64 `json:"peer_value"`
	Ratio     float64 `json:"ratio"`
	N         int     `json:"n"`
}

// beside is a figure and its peer's.
func beside(metric string, value float64, unit, peer string, peerValue float64, n int) figure {
	return figure{metric, value, unit, peer, peerValue, value / peerValue, n}
}

func middle(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

// writeFigures writes build/bench/NAME.json and prints the same.
func writeFigures(b *testing.B, name string, figures []figure) {
	b.Helper()
	load, _ := os.ReadFile("/proc/loadavg") // only to be printed
	fmt.Printf("\nload %s", load)
	for _, f := range figures {
		fmt.Printf("%-28s %12.2f %-4s (n %d)", f.Metric, f.Value, f.Unit, f.N)
		if f.Peer != "" {
			fmt.Printf(" | %12.2f %s, ratio %.2f", f.PeerValue, f.Peer, f.Ratio)
		}
		fmt.Println()
	}
	data, err := json.MarshalIndent(figures, "", "  ")
	path := filepath.Join("../build/bench", name+".json")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		err = os.WriteFile(path, append(data, '\n'), 0o644)
	}
	if err != nil {
		b.Fatal(err)
	}
}

// rss is a process's resident memory.
func rss(b *testing.B, pid int) (kib int) {
	_, after, _ := strings.Cut(readFile(b, fmt.Sprintf("/proc/%d/status", pid)), "VmRSS:")
	if _, err := fmt.Sscan(after, &kib); err != nil {
		b.Fatal(err)
	}
	return kib
}
