// Package metric counts what a daemon does and shows it in the Prometheus text
// format, version 0.0.4. A nil Set, Counter or Gauge discards, so code that counts
// needs no second shape for tests and tools.
package metric

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// Set holds the metrics of one program. The zero value is ready. Safe for
// concurrent use.
type Set struct {
	mu       sync.Mutex
	families map[string]*family
}

type family struct {
	name, help, kind string
	series           map[string]*value // by rendered labels
}

// value is a float64 that many goroutines change.
type value struct{ bits atomic.Uint64 }

func (v *value) add(d float64) {
	for {
		old := v.bits.Load()
		if v.bits.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+d)) {
			return
		}
	}
}

// Counter only goes up, until its program starts afresh.
type Counter struct{ v *value }

// Add adds n, which must not be negative: a negative n is dropped.
func (c *Counter) Add(n float64) {
	if c != nil && n > 0 {
		c.v.add(n)
	}
}

// Inc adds one.
func (c *Counter) Inc() { c.Add(1) }

// Gauge goes up and down.
type Gauge struct{ v *value }

// Set replaces the value.
func (g *Gauge) Set(x float64) {
	if g != nil {
		g.v.bits.Store(math.Float64bits(x))
	}
}

// Add adds d.
func (g *Gauge) Add(d float64) {
	if g != nil {
		g.v.add(d)
	}
}

// Counter returns the counter of that name and labels, which are pairs of key and
// value; the same ones give the same counter. Label values must come from a small
// set: never an address from the network, never anything about a patient.
func (s *Set) Counter(name, help string, labels ...string) *Counter {
	if s == nil {
		return nil
	}
	return &Counter{s.value(name, help, "counter", labels)}
}

// Gauge is Counter for a value that goes up and down.
func (s *Set) Gauge(name, help string, labels ...string) *Gauge {
	if s == nil {
		return nil
	}
	return &Gauge{s.value(name, help, "gauge", labels)}
}

// value finds or makes a series. One name with two kinds, a bad name or half a
// pair of labels is a mistake in the program, found by the first test that runs.
func (s *Set) value(name, help, kind string, labels []string) *value {
	if !valid(name) || len(labels)%2 != 0 {
		panic(fmt.Sprintf("internal error: metric %q with labels %q", name, labels))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.families == nil {
		s.families = map[string]*family{}
	}
	f := s.families[name]
	if f == nil {
		f = &family{name: name, help: help, kind: kind, series: map[string]*value{}}
		s.families[name] = f
	}
	if f.kind != kind {
		panic(fmt.Sprintf("internal error: metric %q is a %s and a %s", name, f.kind, kind))
	}
	key := render(labels)
	if f.series[key] == nil {
		f.series[key] = &value{}
	}
	return f.series[key]
}

func valid(name string) bool {
	for i, r := range name {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != ""
}

// render makes {key="value",…} with the keys in order, or nothing.
func render(labels []string) string {
	var pairs []string
	for i := 0; i < len(labels); i += 2 {
		if !valid(labels[i]) {
			panic(fmt.Sprintf("internal error: label %q", labels[i]))
		}
		v := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(strings.ToValidUTF8(labels[i+1], "\uFFFD"))
		pairs = append(pairs, fmt.Sprintf(`%s="%s"`, labels[i], v))
	}
	if pairs == nil {
		return ""
	}
	slices.Sort(pairs)
	return "{" + strings.Join(pairs, ",") + "}"
}

// Write writes all metrics in the text format, in the order of their names. A
// slow reader holds up nobody who counts.
func (s *Set) Write(w io.Writer) error {
	_, err := w.Write(s.text())
	return err
}

func (s *Set) text() []byte {
	var out bytes.Buffer
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range sorted(s.families) {
		f := s.families[name]
		help := strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(f.help)
		fmt.Fprintf(&out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, f.kind)
		for _, labels := range sorted(f.series) {
			x := math.Float64frombits(f.series[labels].bits.Load())
			fmt.Fprintf(&out, "%s%s %s\n", name, labels, strconv.FormatFloat(x, 'g', -1, 64))
		}
	}
	return out.Bytes()
}

func sorted[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// ServeHTTP answers GET /metrics.
func (s *Set) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_ = s.Write(w) // the client went away; nobody is left to be told
}
