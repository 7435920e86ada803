package session

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts print into their files")

// The scripts in testdata are talks with the machine: a time and an event per
// line, and indented below it what the machine made of it. Lines of # are for
// the reader. go test -rewrite writes the answers; the diff is the review.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(data))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(data) {
				t.Errorf("got:\n%s", got)
			}
		})
	}
}

// rules of the site the scripts play at.
var rules = Rules{Doctor: "doctor", Window: 4 * time.Hour, Emergency: 30 * time.Minute, Resume: 15 * time.Minute, PerDay: 3}

var epoch = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

func play(t *testing.T, script string) string {
	t.Helper()
	m := New(rules)
	var out strings.Builder
	before := show(m)
	for line := range strings.Lines(script) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "\t") {
			continue
		}
		fmt.Fprintln(&out, line)
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		after, err := time.ParseDuration(f[0])
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		for _, said := range step(t, m, epoch.Add(after), f[1], f[2:]) {
			fmt.Fprintln(&out, "\t"+said)
		}
		if now := show(m); now != before {
			fmt.Fprintln(&out, "\tnow:", now)
			before = now
		}
	}
	return out.String()
}

// step gives the machine one event of a script.
func step(t *testing.T, m *Machine, now time.Time, what string, args []string) []string {
	t.Helper()
	arg := func(i int) string {
		if i >= len(args) {
			t.Fatalf("%s: argument %d is missing", what, i+1)
		}
		return args[i]
	}
	due := func(i int) time.Time {
		d, err := time.ParseDuration(arg(i))
		if err != nil {
			t.Fatal(err)
		}
		return now.Add(d)
	}
	card := func(i int) (c [32]byte) { copy(c[:], arg(i)); return c }
	switch what {
	case "attach":
		m.Attach(now, arg(0), arg(1), len(args) > 2)
	case "detach":
		return say(m.Detach(now, arg(0)))
	case "in":
		return say(m.Set(now, arg(0), Card))
	case "out":
		return say(m.Set(now, arg(0), Empty))
	case "faulty":
		return say(m.Set(now, arg(0), Faulty))
	case "login":
		return say(m.Open(now, Session{ID: arg(0), Reader: arg(1), Card: card(2), Due: due(3), Role: "doctor", Subject: arg(2), PIN: true}))
	case "nurse":
		return say(m.Open(now, Session{ID: arg(0), Reader: arg(1), Card: card(2), Due: due(3), Role: "nurse", Subject: arg(2), PIN: true}))
	case "patient":
		return say(m.Open(now, Session{ID: arg(0), Reader: arg(1), Card: card(2), Due: due(3), Role: "patient", Patient: arg(2), PIN: len(args) > 4}))
	case "break":
		if no := m.MayBreak(now, arg(0)); no != nil {
			return append(say(m.Break(now, arg(0), arg(1), arg(1))), "refused: "+string(no.Kind))
		}
		return say(m.Break(now, arg(0), arg(1), arg(1)))
	case "close":
		return say(m.Close(arg(0), arg(1)))
	case "proof":
		return []string{fmt.Sprint("lives: ", m.Proved(now, due(1), arg(0)))}
	case "end":
		return say(m.End(now, arg(0), Reason(arg(1))))
	case "tick":
		return say(m.Tick(now))
	case "slept":
		d, err := time.ParseDuration(arg(0))
		if err != nil {
			t.Fatal(err)
		}
		m.Slept(d)
	case "wrong":
		m.Wrong(now, card(0))
	case "right":
		m.Right(card(0))
	case "told":
		m.Told(now, card(0))
	case "spend-last?":
		at, err := time.ParseDuration(arg(1))
		if err != nil {
			t.Fatal(err)
		}
		return []string{fmt.Sprint(m.MaySpendLast(card(0), epoch.Add(at)))}
	case "wait?":
		return []string{m.Wait(now, card(0)).String()}
	default:
		t.Fatalf("unknown event %q", what)
	}
	return nil
}

func say(events []Event) []string {
	var lines []string
	for _, e := range events {
		if e.Care != nil && e.Ended == "" {
			lines = append(lines, fmt.Sprintf("%s begins: %s for %s, %s", e.Care.ID, e.Care.Doctor, e.Care.Patient, e.Care.Basis))
		} else if e.Care != nil {
			lines = append(lines, fmt.Sprintf("%s ends: %s", e.Care.ID, e.Ended))
		} else if e.Ended == "" {
			lines = append(lines, fmt.Sprintf("%s begins in %s", e.Session.ID, e.Session.Room))
		} else {
			lines = append(lines, fmt.Sprintf("%s ends: %s", e.Session.ID, e.Ended))
		}
	}
	return lines
}

func show(m *Machine) string {
	names := map[State]string{Empty: "empty", Card: "card", Faulty: "faulty"}
	var parts []string
	for _, r := range m.Readers() {
		parts = append(parts, r.Name+" "+names[r.State])
	}
	for _, s := range m.Sessions() {
		parts = append(parts, fmt.Sprintf("%s@%s", s.ID, s.Reader))
	}
	for _, c := range m.Care() {
		until := ""
		if !c.Until.IsZero() {
			until = " until " + c.Until.Sub(epoch).String()
		}
		parts = append(parts, fmt.Sprintf("%s %s/%s %s%s", c.ID, c.Session, c.Patient, c.Basis, until))
	}
	return strings.Join(parts, ", ")
}

// Whatever happens in whatever order: a live session has a reader with a card in
// it, no reader and no card has two, none lives past its due time after Tick; and
// care has a live doctor's session in its room, and the patient's card while it
// says so.
func TestInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, now := New(rules), epoch
		readers := rapid.SampledFrom([]string{"r1", "r2"})
		cards := rapid.SampledFrom([]byte{1, 2, 3})
		serial := 0
		check := func() {
			seenReader, seenCard := map[string]bool{}, map[[32]byte]bool{}
			for _, s := range m.Sessions() {
				r := m.readers[s.Reader]
				if r == nil || r.State != Card {
					t.Fatalf("%s lives in %+v", s.ID, r)
				}
				if seenReader[s.Reader] || seenCard[s.Card] {
					t.Fatalf("two sessions of one reader or card: %+v", m.Sessions())
				}
				seenReader[s.Reader], seenCard[s.Card] = true, true
			}
			for _, c := range m.Care() {
				s, ok := m.Live(c.Session)
				if !ok || s.Role != "doctor" || s.Subject != c.Doctor || s.Room != c.Room {
					t.Fatalf("care %+v of session %+v", c, s)
				}
				if (c.Basis == Present) != c.Until.IsZero() || c.Basis == Present && !m.isHere(c) {
					t.Fatalf("care %+v without the patient's card", c)
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"attach": func(t *rapid.T) { m.Attach(now, readers.Draw(t, "r"), "room", false) },
			"detach": func(t *rapid.T) { m.Detach(now, readers.Draw(t, "r")) },
			"patient": func(t *rapid.T) {
				serial++
				m.Open(now, Session{ID: fmt.Sprint(serial), Reader: readers.Draw(t, "r"), Card: [32]byte{9}, Patient: "p", Due: now.Add(time.Hour)})
			},
			"break": func(t *rapid.T) { m.Break(now, fmt.Sprint(serial), "q", "q") },
			"set": func(t *rapid.T) {
				m.Set(now, readers.Draw(t, "r"), State(rapid.IntRange(0, 2).Draw(t, "s")))
			},
			"open": func(t *rapid.T) {
				serial++
				m.Open(now, Session{ID: fmt.Sprint(serial), Reader: readers.Draw(t, "r"), Card: [32]byte{cards.Draw(t, "c")}, Role: "doctor", Subject: fmt.Sprint(serial % 3), Due: now.Add(time.Second)})
			},
			"prove": func(t *rapid.T) { m.Proved(now, now.Add(time.Second), fmt.Sprint(serial)) },
			"time": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(0, 1500).Draw(t, "ms")) * time.Millisecond)
				m.Tick(now)
				for _, s := range m.Sessions() {
					if now.After(s.Due) {
						t.Fatalf("%s lives past its due time", s.ID)
					}
				}
			},
			"": func(*rapid.T) { check() },
		})
	})
}

func TestBackoffForgets(t *testing.T) {
	m := New(rules)
	for i := range 2 * manyCards {
		m.Wrong(epoch, [32]byte{byte(i), byte(i >> 8)})
	}
	if len(m.wrong) > manyCards {
		t.Fatalf("remembers %d cards, want at most %d", len(m.wrong), manyCards)
	}
	m.Wrong(epoch.Add(2*forget), [32]byte{0xFF, 0xFF})
	if len(m.wrong) != 1 {
		t.Fatalf("remembers %d cards after a rest, want 1", len(m.wrong))
	}
	if got := (&Refusal{Kind: NoCard, Detail: "put the card in"}).Error(); got != "no-card: put the card in" {
		t.Error(got)
	}
}
