// Package sheet draws a resting ECG as a report shows it: twelve leads in four
// columns and a rhythm strip, on millimetre paper, 25 mm a second and 10 mm a
// millivolt. Its one guarantee: a millimetre of the drawing is what that says; no
// voltage is filtered, and none is left out that would be seen.
package sheet

import (
	"encoding/xml"
	"math"
	"strconv"
	"strings"

	"clinicgate/syncd/ecg"
)

// The paper, in mm. The drawing's units are millimetres, too.
const (
	Speed = 25.0 // mm a second
	Gain  = 10.0 // mm a millivolt

	seconds = 10.0 // of a row
	left    = 20.0 // before the traces: the calibration pulse is there
	right   = 5.0
	top     = 20.0 // the first row's upper edge
	row     = 35.0 // height of a row
	bottom  = 10.0
	width   = left + seconds*Speed + right

	reach = 30.0 // a trace goes so far from its zero line, then it is cut
	fine  = 0.1  // width in which of all voltages the extremes are drawn
)

// Head is what is written above; it may be empty.
type Head struct {
	Who, When string
	Notes     []string // below: how it was drawn
}

// columns of a report, each a quarter of a row's time.
var columns = [...][3]string{{"I", "II", "III"}, {"aVR", "aVL", "aVF"}, {"V1", "V2", "V3"}, {"V4", "V5", "V6"}}

// rhythm is the lead of the strip below, if it was recorded.
const rhythm = "II"

// Draw draws the first ten seconds. The drawing has no script and no style but its
// own attributes.
func Draw(r *ecg.Recording, h Head) []byte {
	height := top + 4*row + bottom
	var b strings.Builder
	b.WriteString(`<svg xmlns="http://www.w3.org/2000/svg" width="` + mm(width) + `mm" height="` + mm(height) + `mm" viewBox="0 0 ` + mm(width) + " " + mm(height) + `" font-family="sans-serif" font-size="4" role="img">`)
	b.WriteString("<title>" + escape("ECG, 12 leads, 25 mm/s, 10 mm/mV") + "</title>")
	b.WriteString(`<rect width="100%" height="100%" fill="#fffdfb"/>`)
	grid(&b, height)
	text(&b, 5, 7, 5, h.Who)
	text(&b, 5, 13, 4, h.When)
	b.WriteString(`<g fill="none" stroke="#111" stroke-width="0.3" stroke-linejoin="round">`)
	for i := range 4 {
		zero := top + row*float64(i) + row/2
		pulse(&b, zero)
		for c, names := range columns {
			from := float64(c) * seconds / float64(len(columns))
			switch {
			case i < 3:
				trace(&b, r, names[i], from, from+seconds/float64(len(columns)), zero)
			case c == 0:
				trace(&b, r, rhythm, 0, seconds, zero)
			}
		}
	}
	b.WriteString("</g>")
	labels(&b, r)
	text(&b, 5, height-3, 3.5, strings.Join(append([]string{"25 mm/s   10 mm/mV"}, h.Notes...), "   "))
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

// grid is paper: a line each millimetre, a stronger one each fifth.
func grid(b *strings.Builder, height float64) {
	for _, g := range []struct {
		step         float64
		colour, line string
	}{{1, "#f6d9d6", "0.1"}, {5, "#e8a9a4", "0.2"}} {
		b.WriteString(`<path fill="none" stroke="` + g.colour + `" stroke-width="` + g.line + `" d="`)
		for x := left - 15; x <= width-right; x += g.step {
			b.WriteString("M" + mm(x) + " " + mm(top) + "V" + mm(height-bottom))
		}
		for y := top; y <= height-bottom; y += g.step {
			b.WriteString("M" + mm(left-15) + " " + mm(y) + "H" + mm(width-right))
		}
		b.WriteString(`"/>`)
	}
}

// pulse is the calibration: a millivolt for 200 ms.
func pulse(b *strings.Builder, zero float64) {
	b.WriteString(`<path class="calibration" d="M` + mm(left-10) + " " + mm(zero) + "h2.5v" + mm(-Gain) + "h" + mm(0.2*Speed) + "v" + mm(Gain) + `h2.5"/>`)
}

func labels(b *strings.Builder, r *ecg.Recording) {
	for c, names := range columns {
		for i, name := range names {
			x := left + float64(c)*seconds*Speed/float64(len(columns)) + 1
			if r.Lead(name) == nil {
				name += " –"
			}
			text(b, x, top+row*float64(i)+5, 4, name)
		}
	}
	text(b, left+1, top+3*row+5, 4, rhythm)
}

// trace draws one lead between two times, where the report has that time. Where more
// than two samples fall into a tenth of a millimetre, the lowest and the highest are
// drawn in the order they came.
func trace(b *strings.Builder, r *ecg.Recording, name string, from, to, zero float64) {
	v := r.Lead(name)
	first, end := int(math.Ceil(from*r.Rate)), min(int(math.Ceil(to*r.Rate)), len(v))
	if first >= end {
		return
	}
	b.WriteString(`<path id="` + name + `-` + mm(from) + `" d="`)
	pen := "M"
	put := func(i int) {
		y := zero - max(-reach, min(reach, v[i]/1000*Gain))
		b.WriteString(pen + mm(left+float64(i)/r.Rate*Speed) + " " + mm(y))
		pen = "L"
	}
	per := max(1, int(fine/Speed*r.Rate))
	for i := first; i < end; i += per {
		low, high := i, i
		for j := i; j < min(i+per, end); j++ {
			if v[j] < v[low] {
				low = j
			}
			if v[j] > v[high] {
				high = j
			}
		}
		put(min(low, high))
		if low != high {
			put(max(low, high))
		}
	}
	b.WriteString(`"/>`)
}

// mm writes a length with as many digits as can be seen.
func mm(v float64) string {
	s := strconv.FormatFloat(v, 'f', 2, 64)
	s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	if s == "-0" {
		return "0"
	}
	return s
}

func text(b *strings.Builder, x, y, size float64, s string) {
	if s != "" {
		b.WriteString(`<text x="` + mm(x) + `" y="` + mm(y) + `" font-size="` + mm(size) + `" fill="#111">` + escape(s) + "</text>")
	}
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}
