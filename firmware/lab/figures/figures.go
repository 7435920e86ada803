// Package figures keeps what benches measured, each beside its peer's. It guarantees
// one form for all: build/bench/NAME.json, with the lines that another bench wrote
// there left alone, and the same on the terminal.
package figures

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A Figure is one line. Value and PeerValue are medians, N and PeerN how many runs they
// are of.
type Figure struct {
	Metric    string  `json:"metric"` // "pair.kill.hole_ms"
	Value     float64 `json:"value"`
	Unit      string  `json:"unit"`
	Peer      string  `json:"peer"` // the program beside it, or "goal"; empty: none
	PeerValue float64 `json:"peer_value"`
	Ratio     float64 `json:"ratio"` // of Value to PeerValue; 0 where that is 0
	N         int     `json:"n"`
	PeerN     int     `json:"peer_n,omitempty"`
}

// Of is the median of a series.
func Of(metric, unit string, series []float64) Figure {
	return Figure{Metric: metric, Value: Median(series), Unit: unit, N: len(series)}
}

// Beside adds the peer's series.
func (f Figure) Beside(peer string, series ...float64) Figure {
	f.Peer, f.PeerValue, f.PeerN = peer, Median(series), len(series)
	if f.PeerValue != 0 {
		f.Ratio = f.Value / f.PeerValue
	}
	return f
}

// Median is the upper one of an even number; 0 of none.
func Median(series []float64) float64 {
	if len(series) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(series))[len(series)/2]
}

// Write puts the figures into build/bench/NAME.json of the module, in place of those of
// the same metrics, and prints them with the machine's load.
func Write(tb testing.TB, name string, all []Figure) {
	tb.Helper()
	root, err := moduleRoot()
	if err == nil {
		err = write(filepath.Join(root, "build/bench", name+".json"), all)
	}
	if err != nil {
		tb.Fatal(err)
	}
	load, _ := os.ReadFile("/proc/loadavg") // only to be printed
	fmt.Printf("\nbuild/bench/%s.json, load %s", name, load)
	Print(os.Stdout, all)
}

// Print shows figures, a line each.
func Print(w io.Writer, all []Figure) {
	for _, f := range all {
		fmt.Fprintf(w, "%-34s %12.2f %-8s (n %d)", f.Metric, f.Value, f.Unit, f.N)
		if f.Peer != "" {
			fmt.Fprintf(w, " | %12.2f %s", f.PeerValue, f.Peer)
			if f.PeerN > 0 {
				fmt.Fprintf(w, " (n %d)", f.PeerN)
			}
			fmt.Fprintf(w, ", ratio %.3f", f.Ratio)
		}
		fmt.Fprintln(w)
	}
}

func write(path string, fresh []Figure) error {
	var all []Figure
	data, err := os.ReadFile(path)
	switch {
	case err == nil:
		if err := json.Unmarshal(data, &all); err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	all = slices.DeleteFunc(all, func(old Figure) bool {
		return slices.ContainsFunc(fresh, func(f Figure) bool { return f.Metric == old.Metric })
	})
	if data, err = json.MarshalIndent(append(all, fresh...), "", "  "); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

// moduleRoot is the folder with go.mod above the one that a bench runs in.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("find the module: no go.mod above the working folder")
		}
		dir = filepath.Dir(dir)
	}
	return "", err
}
