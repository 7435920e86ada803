package lane

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestScripts plays testdata/*.txt: a time since the start, a command, and behind
// = what must come out.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("scripts: %v, %v", files, err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			s := New(Policy{}, func() float64 { return 0 })
			lines := bufio.NewScanner(f)
			for n := 1; lines.Scan(); n++ {
				text, _, _ := strings.Cut(lines.Text(), "#")
				command, want, _ := strings.Cut(text, "=")
				words := strings.Fields(command)
				if len(words) == 0 {
					continue
				}
				got, err := play(s, words)
				if err != nil || got != strings.TrimSpace(want) {
					t.Fatalf("%s:%d: %s: got %q, %v; want %q", path, n, strings.TrimSpace(command), got, err, strings.TrimSpace(want))
				}
			}
		})
	}
}

var start = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

func play(s *Schedule, words []string) (string, error) {
	since, err := time.ParseDuration(words[0])
	if err != nil || len(words) < 2 {
		return "", fmt.Errorf("want a time and a command: %v", err)
	}
	now, args := start.Add(since), words[2:]
	switch words[1] {
	case "add":
		l, err := Parse(args[1])
		if err != nil {
			return "", err
		}
		s.Add(Entry{ID: id(args[0]), Lane: l, Order: strings.Join(args[2:], " "), Accepted: now})
		return "", nil
	case "next", "next-stat":
		least := Bulk
		if words[1] == "next-stat" {
			least = Stat
		}
		e, ok := s.Next(now, least)
		if !ok {
			return "-", nil
		}
		return strings.TrimRight(string(e.ID[:]), "\x00"), nil
	case "done":
		for _, a := range args {
			s.Done(id(a))
		}
		return "", nil
	case "retry", "later":
		return short(s.Retry(id(args[0]), now, words[1] == "retry")), nil
	case "wake":
		at, _ := s.Wake()
		return short(at), nil
	case "len":
		return fmt.Sprint(s.Len()), nil
	}
	return "", fmt.Errorf("unknown command %q", words[1])
}

func id(name string) (b [16]byte) {
	copy(b[:], name)
	return b
}

func short(at time.Time) string { return at.Sub(start).String() }

func TestPause(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 10000).Draw(t, "failures")
		j := rapid.Float64Range(0, 0.999).Draw(t, "jitter")
		d := Pause(time.Second, time.Minute, n, j)
		if d < time.Second/2 || d > time.Minute {
			t.Fatalf("pause %v after %d failures", d, n)
		}
	})
}

// Whatever happens in whatever order: each entry leaves once at a time, the oldest
// of its line, and none is forgotten.
func TestScheduleProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New(Policy{}, func() float64 { return 0.5 })
		now := start
		lines := map[string][][16]byte{} // lane and order: what waits, oldest first
		flight := map[[16]byte]string{}
		n := byte(0)
		total := 0
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 600).Draw(t, "seconds")) * time.Second)
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0, 1:
				n++
				e := Entry{ID: [16]byte{n}, Lane: Lane(rapid.IntRange(1, 3).Draw(t, "lane")), Accepted: now}
				e.Order = rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "order")
				line := fmt.Sprint(e.Lane, e.Order)
				if e.Order == "" {
					line += fmt.Sprint(n)
				}
				lines[line] = append(lines[line], e.ID)
				s.Add(e)
				total++
			case 2:
				e, ok := s.Next(now, Bulk)
				if !ok {
					continue
				}
				if _, twice := flight[e.ID]; twice {
					t.Fatalf("%v left twice", e.ID)
				}
				for line, ids := range lines {
					if ids[0] == e.ID {
						flight[e.ID] = line
					}
				}
				if flight[e.ID] == "" {
					t.Fatalf("%v left before an older one of its line", e.ID)
				}
			case 3:
				for e, line := range flight {
					delete(flight, e)
					if rapid.Bool().Draw(t, "delivered") {
						s.Done(e)
						total--
						if lines[line] = lines[line][1:]; len(lines[line]) == 0 {
							delete(lines, line)
						}
					} else {
						s.Retry(e, now, rapid.Bool().Draw(t, "own fault"))
					}
					break
				}
			}
			if s.Len() != total {
				t.Fatalf("%d entries, want %d", s.Len(), total)
			}
		}
		for e := range flight {
			s.Done(e)
			total--
		}
		for ; total > 0; total-- {
			e, ok := s.Next(now.Add(time.Hour), Bulk)
			if !ok {
				t.Fatalf("%d entries are forgotten", total)
			}
			s.Done(e.ID)
		}
	})
}
