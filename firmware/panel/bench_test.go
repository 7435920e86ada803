package main

import (
	"os"
	"testing"
	"time"

	"clinicgate/firmware/lab/figures"
)

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
	figures.Write(b, "ux", []figures.Figure{
		figures.Of("ux.page_kb", "kB", bytes).Beside("goal", goal),
		figures.Of("ux.page_requests", "requests", requests),
		figures.Of("ux.page_paint_ms", "ms", paint),
		figures.Of("ux.page_load_ms", "ms", load),
		figures.Of("ux.page_program_mb", "MB", []float64{float64(len(page)) / 1e6}),
	})
}
