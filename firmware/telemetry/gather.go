// Package telemetry brings what a box says of itself to those who look after many: the
// metrics of all its programs for a Prometheus that asks, and their log lines to a
// collector. A collector that is slow or away costs lines, counted, and holds nobody up.
package telemetry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"clinicgate/firmware/gatectl/ask"
	"clinicgate/firmware/gatectl/collect"
	"clinicgate/firmware/metric"
	"clinicgate/firmware/status"
)

// daemons have metrics on their control sockets.
var daemons = [...]string{"netd", "failoverd", "cardauth", "syncd", "update", "panel"}

// Bounds of one program's metrics.
const (
	maxText  = 512 << 10
	askTime  = 3 * time.Second
	maxLines = 5000
)

// sample is a line of Prometheus' text format (version 0.0.4) with a value; what a
// program says otherwise is not passed on.
var sample = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*(?:\{[^\n]*\})? [0-9eE+.naNIif-]+$`)

// Gather writes the metrics of all programs, and those of the box as a whole, in the
// text format. A program that doesn't answer is one with clinicgate_program_up 0.
func Gather(ctx context.Context, source collect.Source, now time.Time, w io.Writer) error {
	look := source.Look(now)
	box := Box(look.Box, now)
	type answer struct {
		name string
		text []byte
		err  error
	}
	answers := make(chan answer, len(daemons))
	for _, name := range daemons {
		go func() {
			text, err := ask.Peer{Run: source.Run, Name: name, Limit: maxText, Time: askTime}.Do(ctx, http.MethodGet, "/metrics", nil)
			answers <- answer{name, text, err}
		}()
	}
	texts := map[string][]byte{}
	for range daemons {
		a := <-answers
		box.Gauge("clinicgate_metrics_answered", "1 while the program gives its metrics.", "program", a.name).Set(one(a.err == nil))
		if a.err == nil {
			texts[a.name] = a.text
		}
	}
	if err := box.Write(w); err != nil {
		return err
	}
	for _, name := range daemons {
		if _, err := w.Write(clean(name, texts[name])); err != nil {
			return err
		}
	}
	return nil
}

// clean keeps what is a program's own and in form: a program can't speak for another,
// nor break the whole with one line.
func clean(program string, text []byte) []byte {
	var out bytes.Buffer
	n := 0
	for line := range bytes.Lines(text) {
		s := strings.TrimRight(string(line), "\r\n")
		own := strings.TrimPrefix(strings.TrimPrefix(s, "# HELP "), "# TYPE ")
		if !strings.HasPrefix(own, program+"_") || own == s && !sample.MatchString(s) {
			continue
		}
		if n++; n > maxLines {
			break
		}
		out.WriteString(s)
		out.WriteByte('\n')
	}
	return out.Bytes()
}

// Box makes metrics of what the programs publish and PID 1 supervises. Labels are
// names of programs and of faults, which are few.
func Box(b status.Box, now time.Time) *metric.Set {
	m := &metric.Set{}
	v := status.Judge(b)
	m.Gauge("clinicgate_verdict", "0 ok, 1 degraded, 2 failed: what gatectl status ends with.").Set(float64(v.Level))
	for program, presence := range map[string]status.Presence{
		"init": b.Init.Presence, "netd": b.Net.Presence, "failoverd": b.Pair.Presence, "cardauth": b.Card.Presence,
		"syncd": b.Sync.Presence, "panel": b.Panel.Presence,
	} {
		m.Gauge("clinicgate_program_up", "1 while the program runs and publishes.", "program", program).Set(one(presence == status.Live))
	}
	for _, f := range v.Findings {
		m.Gauge("clinicgate_fault", "Faults that stand, by their names.", "program", f.Program, "id", f.ID, "severity", string(f.Severity)).Add(1)
	}
	if i := b.Init.V; i != nil && b.Init.Presence == status.Live {
		m.Gauge("clinicgate_info", "What runs.", "release", i.Release, "board", i.Board, "slot", i.Slot).Set(1)
		m.Gauge("clinicgate_up_seconds", "Since the box was started.").Set(now.Sub(i.Booted).Seconds())
		for _, s := range i.Services {
			m.Gauge("clinicgate_service_restarts", "Times that a program was started again.", "program", s.Name).Set(float64(s.Restarts))
			m.Gauge("clinicgate_service_memory_bytes", "Memory that a program has in RAM.", "program", s.Name).Set(float64(s.RSS))
		}
	}
	if s := b.Sync.V; s != nil && b.Sync.Presence == status.Live {
		m.Gauge("clinicgate_disk_free_bytes", "Room on the data partition.").Set(float64(s.Disk.Free))
		m.Gauge("clinicgate_disk_bytes", "Size of the data partition.").Set(float64(s.Disk.Total))
		for _, l := range s.Lanes {
			age := 0.0
			if !l.Oldest.IsZero() {
				age = max(0, now.Sub(l.Oldest).Seconds())
			}
			m.Gauge("clinicgate_queue_oldest_seconds", "Age of the oldest upload that waits; 0: none does.", "lane", l.Name).Set(age)
		}
		if !s.Cache.LastContact.IsZero() {
			m.Gauge("clinicgate_ehr_silent_seconds", "Since the EHR's last good answer.").Set(max(0, now.Sub(s.Cache.LastContact).Seconds()))
		}
	}
	return m
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// Handler answers GET /metrics to those it knows.
type Handler struct {
	Source collect.Source
	From   func(remote string) bool // who may ask
}

// ServeHTTP answers.
func (h Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case !h.From(r.RemoteAddr):
		http.Error(w, "not from here", http.StatusForbidden)
		return
	case r.URL.Path != "/metrics" || r.Method != http.MethodGet:
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	if err := Gather(r.Context(), h.Source, time.Now(), w); err != nil && r.Context().Err() == nil {
		http.Error(w, fmt.Sprint(err), http.StatusInternalServerError)
	}
}
