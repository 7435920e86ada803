package button

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The scripts in testdata are presses with their times, and what they ask for.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			play(t, string(text))
		})
	}
}

// play obeys lines such as "start asked", "5s down", "6s up restart".
func play(t *testing.T, script string) {
	t.Helper()
	begin := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	m := &Machine{Started: begin}
	for n, l := range strings.Split(script, "\n") {
		words := strings.Fields(l)
		if len(words) == 0 || strings.HasPrefix(l, "#") {
			continue
		}
		if words[0] == "start" {
			m = &Machine{Started: begin, Asked: len(words) > 1 && words[1] == "asked"}
			continue
		}
		d, err := time.ParseDuration(words[0])
		if err != nil {
			t.Fatal(err)
		}
		now := begin.Add(d)
		got := ""
		switch words[1] {
		case "down", "up":
			got = string(m.Press(words[1] == "down", now))
		case "tick":
			got = string(m.Tick(now))
		case "shows":
			down, restart, reset := m.Held(now)
			got = fmt.Sprintf("%v,%v,%v", down, restart, reset)
		}
		if want := strings.Join(words[2:], " "); got != want {
			t.Errorf("line %d: %s: got %q", n+1, l, got)
		}
	}
}

// No sequence of presses resets a box that was not asked to before its start, and
// none of presses and ticks after the time for it.
func FuzzMachine(f *testing.F) {
	f.Add([]byte{1, 150, 0, 10, 1, 20, 0, 20}, true)
	f.Fuzz(func(t *testing.T, steps []byte, asked bool) {
		begin := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
		m, now, resets := &Machine{Started: begin, Asked: asked}, begin, 0
		for i := 0; i+1 < len(steps); i += 2 {
			now = now.Add(time.Duration(steps[i+1]) * 100 * time.Millisecond)
			a := m.Tick(now)
			if steps[i]%3 < 2 {
				a = m.Press(steps[i]%3 == 1, now)
			}
			if a == DoReset {
				resets++
				if !asked || now.Sub(begin) > Confirm || resets > 1 {
					t.Fatalf("reset after %v, asked %v, number %d", now.Sub(begin), asked, resets)
				}
			}
		}
	})
}
