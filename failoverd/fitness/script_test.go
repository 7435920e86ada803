package fitness

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write what happened into testdata/*.txt; the diff is the review")

// TestScripts plays testdata/*.txt. A line in the first column is input, an indented
// one is what counts after it:
//
//	net runs|dead|unknown, sync runs|dead|unknown    a program
//	uplinks USABLE of CONFIGURED
//	fault ID, fault                                  of syncd; without ID: over
//	disk FREE of TOTAL
//	heat ZONE DEGREES [critical DEGREES]
//	run D                                            time passes; a change is shown when it counts
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

type stage struct {
	out   strings.Builder
	judge Judge
	facts Facts
	now   time.Time
	last  string
}

var epoch = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

func play(t *testing.T, script string) string {
	s := &stage{now: epoch}
	for line := range strings.Lines(script) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, " ") {
			continue // what happened last time
		}
		fmt.Fprintln(&s.out, line)
		if f := strings.Fields(line); len(f) > 0 && f[0] != "#" {
			if err := s.do(f); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
		}
	}
	return s.out.String()
}

func (s *stage) do(f []string) (err error) {
	states := map[string]Program{"unknown": Unknown, "runs": Runs, "dead": Dead}
	rest := strings.Join(f[1:], " ")
	switch f[0] {
	case "net":
		s.facts.Net = states[f[1]]
	case "sync":
		s.facts.Sync = states[f[1]]
	case "uplinks":
		_, err = fmt.Sscanf(rest, "%d of %d", &s.facts.Usable, &s.facts.Uplinks)
	case "fault":
		s.facts.SyncFault = rest
	case "disk":
		_, err = fmt.Sscanf(rest, "%d of %d", &s.facts.DiskFree, &s.facts.DiskTotal)
	case "heat":
		s.facts.Heat = Heat{}
		if _, err = fmt.Sscanf(rest, "%s %d critical %d", &s.facts.Heat.Zone, &s.facts.Heat.Milli, &s.facts.Heat.Critical); err != nil {
			_, err = fmt.Sscanf(rest, "%s %d", &s.facts.Heat.Zone, &s.facts.Heat.Milli)
		}
		s.facts.Heat.Milli *= 1000
		s.facts.Heat.Critical *= 1000
	case "run":
		d, e := time.ParseDuration(f[1])
		s.run(d)
		return e
	default:
		return fmt.Errorf("unknown command")
	}
	s.look()
	return err
}

// look asks the judge and tells what changed.
func (s *stage) look() time.Time {
	flaws, again := s.judge.Judge(s.now, s.facts)
	what := fmt.Sprintf("priority %d", Priority(100, flaws))
	if w := Words(flaws); w != "" {
		what += ": " + w
	}
	if what != s.last {
		fmt.Fprintf(&s.out, "  %8s %s\n", s.now.Sub(epoch), what)
		s.last = what
	}
	return again
}

func (s *stage) run(d time.Duration) {
	end := s.now.Add(d)
	for {
		again := s.look()
		if again.IsZero() || again.After(end) {
			break
		}
		s.now = again
	}
	s.now = end
	s.look()
}

// Nothing asks for more than there is to lose.
func TestPriority(t *testing.T) {
	bad := []Flaw{{"net", 100, "a"}, {"sync", 80, "b"}}
	for _, c := range []struct{ configured, want uint8 }{{254, 74}, {100, 1}, {1, 1}} {
		if got := Priority(c.configured, bad); got != c.want {
			t.Errorf("of %d: got %d, want %d", c.configured, got, c.want)
		}
	}
	if Words(bad) != "a, b" || Words(nil) != "" {
		t.Errorf("got %q", Words(bad))
	}
}
