package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// A figure is one line of build/bench/ux.json.
type figure struct {
	Metric    string  `json:"metric"`
	Value     float64 `json:"value"`
	Unit      string  `json:"unit"`
	Peer      string  `json:"peer"`
	PeerValue float64 `json:"peer_value"`
	Ratio     float64 `json:"ratio"`
	N         int     `json:"n"`
}

// goal is what a page may weigh, in kB: the peer of the figures.
const goal = 150

// BenchmarkPage opens the page with an empty cache, on a bad morning with a whole day
// of plots. It writes its lines of build/bench/ux.json; run it with -benchtime 1x.
func BenchmarkPage(b *testing.B) {
	s := newStage(b)
	s.yesterday(time.Now())
	s.clinic("offline")
	s.turn()
	b.Cleanup(func() { s.stop(os.Kill) })
	s.launch()
	const n = 5
	var bytes, requests, paint, load []float64
	for range n {
		s.do("person", "width", 390, "height", 844, "lang", "es")
		s.do("open", "url", s.url())
		s.do("live")
		w := s.do("wire")
		bytes = append(bytes, w["bytes"].(float64)/1000)
		requests = append(requests, w["requests"].(float64))
		paint, load = append(paint, w["paint"].(float64)), append(load, w["load"].(float64))
	}
	page, err := os.ReadFile(s.bin)
	s.try(err)
	write(b, []figure{
		{"ux.page_kb", median(bytes), "kB", "goal", goal, median(bytes) / goal, n},
		{Metric: "ux.page_requests", Value: median(requests), Unit: "requests", N: n},
		{Metric: "ux.page_paint_ms", Value: median(paint), Unit: "ms", N: n},
		{Metric: "ux.page_load_ms", Value: median(load), Unit: "ms", N: n},
		{Metric: "ux.page_program_mb", Value: float64(len(page)) / 1e6, Unit: "MB", N: 1},
	})
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// write puts the figures among those that others measured, and prints them.
func write(b *testing.B, figures []figure) {
	b.Helper()
	path := filepath.Join("../../build/bench", "ux.json")
	var all []figure
	if data, err := os.ReadFile(path); err == nil {
		if err := json.Unmarshal(data, &all); err != nil {
			b.Fatalf("%s: %v", path, err)
		}
	}
	for _, f := range figures {
		fmt.Printf("%-22s %10.1f %-9s ratio %.2f (n=%d)\n", f.Metric, f.Value, f.Unit, f.Ratio, f.N)
		all = slices.DeleteFunc(all, func(old figure) bool { return old.Metric == f.Metric })
	}
	data, err := json.MarshalIndent(append(all, figures...), "", "  ")
	if err != nil {
		b.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, append(data, '\n'), 0o644); err != nil {
		b.Fatal(err)
	}
}
