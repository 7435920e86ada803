package plot

import (
	"encoding/xml"
	"io"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/panel/day"
)

func points(change map[int]day.Point) []day.Point {
	all := make([]day.Point, day.Minutes)
	for i := range all {
		all[i] = day.Point{Service: day.Works, RTT: 80}
		if p, ok := change[i]; ok {
			all[i] = p
		}
	}
	return all
}

func TestLook(t *testing.T) {
	f := Look(points(map[int]day.Point{7: {Service: day.Out}, 8: {Service: day.Out}, 9: {Service: day.Weak, RTT: 2400}}))
	if f != (Facts{Measured: true, Median: 8, Most: 240, Out: 2 * time.Minute, Top: 500}) {
		t.Errorf("got %+v", f)
	}
	if f := Look(nil); f.Measured || f.Top != 10 {
		t.Errorf("of nothing: %+v", f)
	}
	if f := Look(make([]day.Point, day.Minutes)); f.Measured {
		t.Errorf("of a day nobody measured: %+v", f)
	}
}

func TestDraw(t *testing.T) {
	p := points(map[int]day.Point{0: {Service: day.Out}, 720: {Service: day.Out}, 726: {Service: day.Out}, 1439: {Service: day.Weak, RTT: 9999}})
	for i := 720; i < 732; i++ {
		p[i].RTT = 0
	}
	got := Draw(p, Look(p))
	for _, want := range []string{
		`<path class="out" d="M0 0H1V60H0ZM120 0H122V60H120Z"/>`,
		`<path class="weak" d="M239 0H240V60H239Z"/>`,
		"L239.5 0.0", // the longest answer is at the top
		"M122.5 ",    // the curve goes on behind the gap
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %.400s", want, got)
		}
	}
	if strings.Contains(got, "L120.5") || strings.Contains(got, "style=") {
		t.Error("the curve crosses a gap, or has a style of its own")
	}
	if len(got) > 6000 {
		t.Errorf("%d bytes", len(got))
	}
	for d := xml.NewDecoder(strings.NewReader(got)); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if Draw(nil, Look(nil)) == "" {
		t.Error("nothing drawn for nothing")
	}
}
