// Package plot draws a line's day as a small SVG, and says in numbers what the
// drawing shows, for those who don't see it.
package plot

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"clinicgate/firmware/panel/day"
)

// The drawing's own units: a column is six minutes.
const (
	perColumn = 6
	columns   = day.Minutes / perColumn
	height    = 60
)

// Facts are what a day's drawing shows.
type Facts struct {
	Measured bool
	Median   float64 // ms, of the answers
	Most     float64 // ms
	Out      time.Duration
	Top      float64 // ms at the upper edge
}

// Look finds the facts.
func Look(points []day.Point) Facts {
	var f Facts
	var rtts []uint16
	for _, p := range points {
		f.Measured = f.Measured || p.Service != day.Unknown
		if p.Service == day.Out {
			f.Out += time.Minute
		}
		if p.RTT > 0 {
			rtts = append(rtts, p.RTT)
		}
	}
	slices.Sort(rtts)
	if n := len(rtts); n > 0 {
		f.Median, f.Most = float64(rtts[n/2])/10, float64(rtts[n-1])/10
	}
	f.Top = 10
	for _, nice := range []float64{20, 50, 100, 200, 500, 1000, 2000, 5000, 10000} {
		if f.Top >= f.Most {
			break
		}
		f.Top = nice
	}
	return f
}

// Draw draws the points: a line for the answers' time, a bar hanging from the top
// for loss, a band for each time out of service. It has no text: that is HTML's,
// which grows with the reader's letters.
func Draw(points []day.Point, f Facts) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="plot" viewBox="0 0 %d %d" preserveAspectRatio="none" aria-hidden="true" focusable="false">`, columns, height)
	fmt.Fprintf(&b, `<path class="grid" d="M0 %[1]dH%[2]dM0 %[3]dH%[2]d"/>`, height/2, columns, height)
	if d := bands(points, day.Out); d != "" {
		fmt.Fprintf(&b, `<path class="out" d="%s"/>`, d)
	}
	if d := bands(points, day.Weak); d != "" {
		fmt.Fprintf(&b, `<path class="weak" d="%s"/>`, d)
	}
	if d := curve(points, f.Top); d != "" {
		fmt.Fprintf(&b, `<path class="rtt" d="%s"/>`, d)
	}
	b.WriteString("</svg>")
	return b.String()
}

// bands are the columns in which that was the worst service, joined.
func bands(points []day.Point, service byte) string {
	var b strings.Builder
	for c := 0; c < columns; {
		if worst(points, c) != service {
			c++
			continue
		}
		from := c
		for c < columns && worst(points, c) == service {
			c++
		}
		fmt.Fprintf(&b, "M%d 0H%dV%dH%dZ", from, c, height, from)
	}
	return b.String()
}

func column(points []day.Point, c int) []day.Point {
	return points[min(c*perColumn, len(points)):min((c+1)*perColumn, len(points))]
}

func worst(points []day.Point, c int) (s byte) {
	for _, p := range column(points, c) {
		s = max(s, p.Service)
	}
	return s
}

// curve joins the longest answers of neighbouring columns; a column without any
// breaks it.
func curve(points []day.Point, top float64) string {
	var b strings.Builder
	pen := "M"
	for c := range columns {
		most := uint16(0)
		for _, p := range column(points, c) {
			most = max(most, p.RTT)
		}
		if most == 0 {
			pen = "M"
			continue
		}
		y := height - min(float64(most)/10/top, 1)*height
		fmt.Fprintf(&b, "%s%d.5 %.1f", pen, c, y)
		if pen == "M" {
			fmt.Fprintf(&b, "h.01") // a lone point is seen, too
		}
		pen = "L"
	}
	return b.String()
}
