package vrrp

import (
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write what happened into testdata/*.txt; the diff is the review")

// TestScripts runs the scenarios in testdata. A line that starts in the first
// column is input, an indented one is what happened:
//
//	router NAME ADDRESS priority N interval D [hold] [sole] [delay D]
//	                                                   a box; hold: it does not preempt;
//	                                                   sole: one of two
//	start NAME [ADDRESS], stop NAME REASON             its port comes and goes
//	run D                                              time passes
//	rank NAME N                                        it has another priority now
//	bar NAME REASON, unbar NAME                        it must not become master
//	cede NAME REASON                                   the other box is master by right
//	hear NAME ADDRESS priority N interval D            NAME alone hears this
//	cut, join                                          the wire between all boxes
//	take NAME REASON, yield NAME REASON                a handover
//	along NAME REASON                                  the other side's router became active
//	aside NAME, back NAME                              it takes part with the lowest priority, or again as it is
//	kill NAME                                          power gone: it says nothing more
//	freeze NAME, thaw NAME                             it sleeps; what it would hear waits
func TestScripts(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.txt")
	if len(files) == 0 {
		t.Fatal("no scripts")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(want))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("got:\n%s", got)
			}
		})
	}
}

// A world is some boxes on one wire and the time since the script began.
type world struct {
	out   bytes.Buffer
	now   time.Time
	boxes []*box
	cut   bool
}

type box struct {
	*Router
	name   string
	self   netip.Addr
	cfg    Config
	owns   bool // the addresses are on its port
	gone   bool
	asleep bool
	bar    string
	inbox  []Heard
}

var epoch = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

func play(t *testing.T, script string) string {
	w := &world{now: epoch}
	for line := range strings.Lines(script) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, " ") {
			continue // what happened last time
		}
		fmt.Fprintln(&w.out, line)
		if f := strings.Fields(line); len(f) > 0 && f[0] != "#" {
			if err := w.do(f); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
		}
	}
	return w.out.String()
}

func (w *world) do(f []string) error {
	switch f[0] {
	case "cut", "join":
		w.cut = f[0] == "cut"
		return nil
	case "run":
		d, err := time.ParseDuration(f[1])
		w.run(d)
		return err
	case "router":
		return w.add(f[1:])
	}
	i := slices.IndexFunc(w.boxes, func(b *box) bool { return b.name == f[1] })
	if i < 0 {
		return fmt.Errorf("no box %q", f[1])
	}
	b := w.boxes[i]
	switch f[0] {
	case "start":
		if len(f) > 2 {
			b.self = netip.MustParseAddr(f[2])
		}
		w.step(b, Start{Self: b.self})
	case "stop":
		w.step(b, Stop{Reason: strings.Join(f[2:], " ")})
	case "along":
		w.step(b, Join{Reason: strings.Join(f[2:], " ")})
	case "take":
		w.step(b, Take{Reason: strings.Join(f[2:], " ")})
	case "yield":
		w.step(b, Yield{Reason: strings.Join(f[2:], " ")})
	case "aside", "back":
		w.step(b, Aside{On: f[0] == "aside"})
	case "rank":
		n, err := strconv.ParseUint(f[2], 10, 8)
		w.step(b, Rank{uint8(n)})
		return err
	case "bar", "unbar":
		b.bar = strings.Join(f[2:], " ")
	case "cede":
		w.step(b, Cede{strings.Join(f[2:], " ")})
	case "kill":
		b.gone, b.owns = true, false
	case "freeze":
		b.asleep = true
	case "thaw":
		b.asleep = false
		for _, h := range b.inbox {
			w.step(b, h)
		}
		b.inbox = nil
	case "hear":
		cfg, err := parseConfig(f[3:])
		w.step(b, Heard{netip.MustParseAddr(f[2]), cfg.Priority, cfg.Interval})
		return err
	default:
		return fmt.Errorf("unknown command")
	}
	return nil
}

func (w *world) add(f []string) error {
	cfg, err := parseConfig(f[2:])
	w.boxes = append(w.boxes, &box{Router: New(cfg, w.now), cfg: cfg, name: f[0], self: netip.MustParseAddr(f[1])})
	return err
}

func parseConfig(f []string) (cfg Config, err error) {
	cfg.Preempt = true
	for ; len(f) > 0 && err == nil; f = f[1:] {
		switch f[0] {
		case "priority":
			n, e := strconv.ParseUint(f[1], 10, 8)
			cfg.Priority, err, f = uint8(n), e, f[1:]
		case "interval":
			cfg.Interval, err = time.ParseDuration(f[1])
			f = f[1:]
		case "delay":
			cfg.Delay, err = time.ParseDuration(f[1])
			f = f[1:]
		case "hold":
			cfg.Preempt = false
		case "sole":
			cfg.Sole = true
		default:
			return cfg, fmt.Errorf("unknown word %q", f[0])
		}
	}
	return cfg, err
}

// run fires deadlines in their order until d has passed.
func (w *world) run(d time.Duration) {
	end := w.now.Add(d)
	for {
		var next *box
		for _, b := range w.boxes {
			at := b.Deadline()
			if b.gone || b.asleep || at.IsZero() || at.After(end) {
				continue
			}
			if next == nil || at.Before(next.Deadline()) {
				next = b
			}
		}
		if next == nil {
			w.now = end
			return
		}
		w.now = later(w.now, next.Deadline())
		w.step(next, Tick{next.bar})
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// step moves one box, tells what it does, and delivers what it sends.
func (w *world) step(b *box, ev Event) {
	before := b.Status()
	do := b.Step(w.now, ev)
	var words []string
	for _, a := range do {
		words = append(words, a.String())
		b.owns = (b.owns || a == Claim) && a != Release
	}
	if after := b.Status(); after.State != before.State || after.Reason != before.Reason {
		words = append(words, fmt.Sprintf("-> %v: %s", after.State, after.Reason))
	}
	if len(words) > 0 {
		fmt.Fprintf(&w.out, "  %8s %s  %s\n", w.now.Sub(epoch).Round(time.Millisecond), b.name, strings.Join(words, " "))
	}
	for _, a := range do {
		switch a {
		case Send:
			w.deliver(b, Heard{b.self, b.Priority(), b.cfg.Interval})
		case Resign:
			w.deliver(b, Heard{b.self, resign, b.cfg.Interval})
		}
	}
}

func (w *world) deliver(from *box, h Heard) {
	for _, b := range w.boxes {
		switch {
		case b == from || b.gone || w.cut:
		case b.asleep:
			b.inbox = append(b.inbox, h)
		default:
			w.step(b, h)
		}
	}
}
