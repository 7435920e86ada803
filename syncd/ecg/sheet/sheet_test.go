package sheet

import (
	"bytes"
	"encoding/xml"
	"flag"
	"io"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"clinicgate/syncd/ecg"
	"clinicgate/syncd/format"
)

var rewrite = flag.Bool("rewrite", false, "write the drawings into testdata; look at them")

// flat is a recording at rest, changed where a test says.
func flat(rate float64, change func(v []float64)) *ecg.Recording {
	r := &ecg.Recording{Rate: rate}
	for _, name := range ecg.Standard {
		v := make([]float64, int(10*rate))
		change(v)
		r.Leads = append(r.Leads, ecg.Lead{Name: name, Micro: v})
	}
	return r
}

type point struct{ x, y float64 }

// points are those of a trace in the drawing.
func points(t *testing.T, svg []byte, id string) (all []point) {
	t.Helper()
	m := regexp.MustCompile(`<path id="` + id + `" d="([^"]*)"`).FindSubmatch(svg)
	if m == nil {
		t.Fatalf("no trace %s", id)
	}
	for _, one := range regexp.MustCompile(`[ML]([-\d.]+) ([-\d.]+)`).FindAllSubmatch(m[1], -1) {
		x, _ := strconv.ParseFloat(string(one[1]), 64)
		y, _ := strconv.ParseFloat(string(one[2]), 64)
		all = append(all, point{x, y})
	}
	return all
}

// Calibration: a millivolt is 10 mm, a second 25 mm, at each rate that devices have,
// and the pulse before each row says the same.
func TestCalibration(t *testing.T) {
	for _, rate := range []float64{240, 250, 500, 1000, 2000, 8000} {
		step := int(6 * rate) // in lead V1's column, a millivolt up after six seconds
		svg := Draw(flat(rate, func(v []float64) {
			for i := step; i < len(v); i++ {
				v[i] = 1000
			}
		}), Head{})
		strip := points(t, svg, "II-0")
		if len(strip) == 0 {
			t.Fatal("no strip")
		}
		all := points(t, svg, "V1-5")
		first, last := all[0], all[len(all)-1]
		if d := first.y - last.y; math.Abs(d-10) > .011 {
			t.Errorf("%g Hz: a millivolt is %g mm", rate, d)
		}
		var at float64
		for _, p := range all {
			if p.y == first.y {
				at = p.x
			}
		}
		if want := left + 6*25; math.Abs(at-want) > fine+25/rate {
			t.Errorf("%g Hz: the sixth second is at %g mm, want %g", rate, at, want)
		}
		if n := bytes.Count(svg, []byte("h2.5v-10h5v10h2.5")); n != 4 {
			t.Errorf("%d calibration pulses", n)
		}
	}
	if width := Draw(flat(500, func([]float64) {}), Head{}); !bytes.Contains(width, []byte(`width="275mm" height="170mm" viewBox="0 0 275 170"`)) {
		t.Errorf("not drawn in millimetres: %.200s", width)
	}
}

// A pacemaker's spike of one sample is seen, up and down, whatever the rate.
func TestSpike(t *testing.T) {
	for _, rate := range []float64{500, 1000, 4000, 16000} {
		svg := Draw(flat(rate, func(v []float64) { v[int(.5*rate)], v[int(.5*rate)+1] = 1500, -500 }), Head{})
		low, high := math.Inf(1), math.Inf(-1)
		for _, p := range points(t, svg, "I-0") {
			low, high = min(low, p.y), max(high, p.y)
		}
		zero := top + row/2
		if math.Abs(zero-low-15) > .011 || math.Abs(high-zero-5) > .011 {
			t.Errorf("%g Hz: drawn from %g to %g about %g", rate, low, high, zero)
		}
	}
}

// Leads that are missing are said to be, short ones end, wild ones are cut; words
// can't become markup.
func TestOdd(t *testing.T) {
	r := &ecg.Recording{Rate: 500, Leads: []ecg.Lead{{Name: "I", Micro: make([]float64, 600)}, {Name: "V6", Micro: []float64{1e12}}}}
	r.Leads[0].Micro[3] = math.Inf(1)
	svg := Draw(r, Head{Who: `<script>alert("x")</script>`, Notes: []string{"&"}})
	if !bytes.Contains(svg, []byte("II –")) || bytes.Contains(svg, []byte("<script")) || bytes.Contains(svg, []byte("V6-7.5")) {
		t.Errorf("got %.600s", svg)
	}
	if all := points(t, svg, "I-0"); math.Abs(all[len(all)-1].x-left-1.2*25) > .11 {
		t.Errorf("a lead of 1.2 s ends at %g", all[len(all)-1].x)
	}
	sound(t, svg)
}

func sound(t *testing.T, svg []byte) {
	t.Helper()
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		tok, err := d.Token()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := tok.(xml.StartElement); ok {
			for _, a := range e.Attr {
				if a.Name.Local == "style" || strings.HasPrefix(a.Name.Local, "on") || strings.Contains(a.Name.Local, "href") {
					t.Errorf("an attribute %s", a.Name.Local)
				}
			}
		}
	}
}

// A real ECG, drawn as it was when a person looked at it.
func TestGolden(t *testing.T) {
	b, err := os.ReadFile("../../format/testdata/ecgtoolkit_example.scp")
	if err != nil {
		t.Fatal(err)
	}
	r, err := ecg.Read(format.SCPECG, b)
	if err != nil {
		t.Fatal(err)
	}
	got := Draw(r, Head{Who: "Clark, SBJ-123", When: "2002-11-22 09:10:00", Notes: []string{"500 Hz", "unfiltered"}})
	const golden = "testdata/ecgtoolkit_example.svg"
	if *rewrite {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("drawn otherwise; -rewrite writes it, then look at it")
	}
	sound(t, got)
}
