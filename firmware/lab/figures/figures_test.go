package figures

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestFigure(t *testing.T) {
	f := Of("pair.hole_ms", "ms", []float64{50, 40, 45}).Beside("keepalived", 60, 90)
	want := Figure{Metric: "pair.hole_ms", Value: 45, Unit: "ms", Peer: "keepalived", PeerValue: 90, Ratio: 0.5, N: 3, PeerN: 2}
	if f != want {
		t.Errorf("got %+v", f)
	}
	if f := Of("x", "ms", nil).Beside("nobody"); f.Ratio != 0 || f.Value != 0 {
		t.Errorf("of nothing: %+v", f)
	}
}

// Figures replace their own lines, and those of another bench stay.
func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "ux.json")
	for _, all := range [][]Figure{
		{{Metric: "a", Value: 1}, {Metric: "b", Value: 2}},
		{{Metric: "a", Value: 3}, {Metric: "c", Value: 4}},
	} {
		if err := write(path, all); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []Figure
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if want := []Figure{{Metric: "b", Value: 2}, {Metric: "a", Value: 3}, {Metric: "c", Value: 4}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	if err := os.WriteFile(path, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := write(path, nil); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a broken file: %v", err)
	}
}

func TestPrint(t *testing.T) {
	var out strings.Builder
	Print(&out, []Figure{{Metric: "a", Value: 1.5, Unit: "s", N: 3}, {Metric: "b", Value: 1, Unit: "s", Peer: "goal", PeerValue: 2, Ratio: 0.5, N: 1}})
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || strings.Contains(lines[0], "|") || !strings.HasSuffix(lines[1], "2.00 goal, ratio 0.500") {
		t.Errorf("got\n%s", out.String())
	}
}
