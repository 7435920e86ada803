package warm

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var start = time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)

// A clinic is what a script says of one.
type clinic struct {
	policy Policy
	wants  []Want
	held   map[string]Held
}

// TestScripts plays testdata/*.txt: a time since the evening before, a command, and
// behind = what must come out.
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
			c := &clinic{policy: Policy{Bytes: 1000, Soon: 36 * time.Hour, Sweep: 30 * time.Minute, Whole: 24 * time.Hour, Guess: 100}, held: map[string]Held{}}
			lines := bufio.NewScanner(f)
			for n := 1; lines.Scan(); n++ {
				text, _, _ := strings.Cut(lines.Text(), "#")
				command, want, _ := strings.Cut(text, "=")
				words := strings.Fields(command)
				if len(words) == 0 {
					continue
				}
				got, err := c.play(words)
				if err != nil || got != strings.TrimSpace(want) {
					t.Fatalf("%s:%d: %s: got %q, %v; want %q", path, n, strings.TrimSpace(command), got, err, strings.TrimSpace(want))
				}
			}
		})
	}
}

func (c *clinic) play(words []string) (string, error) {
	since, err := time.ParseDuration(words[0])
	if err != nil || len(words) < 2 {
		return "", fmt.Errorf("want a time and a command: %v", err)
	}
	now, args := start.Add(since), words[2:]
	switch words[1] {
	case "visit":
		in, err := time.ParseDuration(args[1])
		c.wants = append(c.wants, Want{args[0], Listed, now.Add(in)})
		return "", err
	case "pin":
		c.wants = append(c.wants, Want{Patient: args[0], Why: Pinned})
	case "panel":
		for _, p := range args {
			c.wants = append(c.wants, Want{Patient: p, Why: Panel})
		}
	case "fetched":
		size, err := strconv.ParseInt(args[1], 10, 64)
		c.held[args[0]] = Held{Whole: now, Swept: now, Bytes: size}
		return "", err
	case "swept":
		h := c.held[args[0]]
		h.Swept = now
		c.held[args[0]] = h
	case "failed":
		h := c.held[args[0]]
		h.Failed, h.Fails = now, h.Fails+1
		c.held[args[0]] = h
	case "plan":
		var all []string
		plan := Make(c.policy, c.wants, c.held, now)
		for _, f := range plan.Fetch {
			one := f.Patient + ":" + f.Lane.String()
			if !f.Since.IsZero() {
				one += ":since-" + f.Since.Sub(start).String()
			}
			all = append(all, one)
		}
		if plan.Over > 0 {
			all = append(all, fmt.Sprint("over:", plan.Over))
		}
		if len(plan.Fetch) == 0 && !plan.Next.IsZero() {
			all = append(all, "next:"+plan.Next.Sub(start).String())
		}
		return strings.Join(all, " "), nil
	case "keeps":
		return strings.Join(slices.Sorted(maps.Keys(Make(c.policy, c.wants, c.held, now).Keeps)), " "), nil
	default:
		return "", fmt.Errorf("unknown command %q", words[1])
	}
	return "", nil
}

// Whatever is wanted and held: what is kept fits, today's come first, and nobody is
// planned twice.
func TestPlanProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Policy{Bytes: int64(rapid.IntRange(0, 2000).Draw(t, "room")), Soon: 36 * time.Hour, Sweep: time.Hour, Whole: 24 * time.Hour, Guess: 100}
		var wants []Want
		held := map[string]Held{}
		for i := range rapid.IntRange(0, 30).Draw(t, "patients") {
			id := fmt.Sprint("p", i/2) // some are wanted twice
			wants = append(wants, Want{id, Why(rapid.IntRange(1, 3).Draw(t, "why")), start.Add(time.Duration(rapid.IntRange(-48, 96).Draw(t, "visit")) * time.Hour)})
			if rapid.Bool().Draw(t, "held") {
				at := start.Add(-time.Duration(rapid.IntRange(0, 48).Draw(t, "age")) * time.Hour)
				held[id] = Held{Whole: at, Swept: at, Bytes: int64(rapid.IntRange(1, 300).Draw(t, "bytes"))}
			}
		}
		plan := Make(p, wants, held, start)
		room := int64(0)
		for id := range plan.Keeps {
			size := held[id].Bytes
			if size == 0 {
				size = p.Guess
			}
			room += size
		}
		if room > p.Bytes {
			t.Fatalf("keeps %d bytes in room for %d", room, p.Bytes)
		}
		been := map[string]bool{}
		for i, f := range plan.Fetch {
			if been[f.Patient] || !plan.Keeps[f.Patient] {
				t.Fatalf("%v is planned twice, or not kept", f)
			}
			been[f.Patient] = true
			if i > 0 && plan.Fetch[i-1].Lane > f.Lane {
				t.Fatalf("%v comes after %v", f, plan.Fetch[i-1])
			}
		}
	})
}
