package hubs

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestScripts plays testdata/*.txt. A line is a time in seconds and what is true
// from then on: "in-use answers", "in-use silent", "hub N answers", "hub N silent",
// "no uplink", "uplink"; or "want N": the hub in use at that time.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { play(t, file) })
	}
}

type world struct {
	up        []bool
	able      bool
	handshake []Hub
}

func play(t *testing.T, file string) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	start := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	const step = 100 * time.Millisecond
	w := world{up: []bool{true, true, true}, able: true, handshake: make([]Hub, 3)}
	now, m := start, New(3, start)
	for lines, n := bufio.NewScanner(f), 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		var at float64
		if _, err := fmt.Sscan(line, &at); err != nil {
			t.Fatalf("%s:%d: %v", file, n, err)
		}
		for until := start.Add(time.Duration(at * float64(time.Second))); now.Before(until); now = now.Add(step) {
			if i := m.Due(now); i >= 0 && w.up[i] && w.able {
				w.handshake[i].Handshake = now.Add(30 * time.Millisecond)
			}
			i := m.Current()
			m.Choose(w.handshake, w.up[i] && w.able, w.able, now)
		}
		_, what, _ := strings.Cut(line, " ")
		if err := w.happen(strings.TrimSpace(what), m.Current()); err != nil {
			t.Errorf("%s:%d: %v", file, n, err)
		}
	}
}

func (w *world) happen(what string, current int) error {
	var i int
	switch {
	case what == "no uplink":
		w.able = false
	case what == "uplink":
		w.able = true
	case scan(what, "hub %d silent", &i):
		w.up[i] = false
	case scan(what, "hub %d answers", &i):
		w.up[i] = true
	case scan(what, "want %d", &i):
		if current != i {
			return fmt.Errorf("hub %d is in use, want %d", current, i)
		}
	default:
		return fmt.Errorf("not understood: %q", what)
	}
	return nil
}

func scan(text, format string, i *int) bool {
	n, err := fmt.Sscanf(text, format, i)
	return n == 1 && err == nil && fmt.Sprintf(format, *i) == text
}

// TestAlone: with one hub there is nowhere to go.
func TestAlone(t *testing.T) {
	now := time.Now()
	m := New(1, now)
	for range 1000 {
		now = now.Add(50 * time.Millisecond)
		if m.Choose([]Hub{{}}, false, true, now) != 0 || m.Due(now) != -1 {
			t.Fatal("another hub than the only one")
		}
	}
}
