package slot

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/quick"
	"time"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// life plays a scenario of testdata/trials.txt.
type life struct {
	s      State
	booted Name
}

// event returns what came of it: a step, the good slot, or why it was refused.
func (l *life) event(words []string) (step Step, refused string) {
	arg := strings.Join(words[1:], " ")
	var err error
	switch words[0] {
	case "new":
		l.booted = Name(words[1])
		l.s, step = State{Version: words[2]}.Boot(l.booted, noon)
	case "arm":
		l.s, err = l.s.Arm(l.booted, arg, true, noon)
	case "start":
		l.booted = Name(arg)
		l.s, step = l.s.Boot(l.booted, noon)
	case "commit":
		l.s, err = l.s.Commit(l.booted)
	case "fail", "world":
		l.s = l.s.Fail(arg, words[0] == "fail", noon)
	default:
		err = fmt.Errorf("unknown event %q", words[0])
	}
	if err != nil {
		refused = err.Error()
	}
	return step, refused
}

func TestTrials(t *testing.T) {
	text, err := os.ReadFile("testdata/trials.txt")
	if err != nil {
		t.Fatal(err)
	}
	scenarios := strings.Split(string(text), "\n== ")[1:]
	for _, sc := range scenarios {
		title, body, _ := strings.Cut(sc, "\n")
		t.Run(title, func(t *testing.T) {
			var l life
			for line := range strings.Lines(body) {
				event, want, _ := strings.Cut(strings.TrimSpace(line), "-> ")
				if event == "" {
					continue
				}
				step, refused := l.event(strings.Fields(event))
				switch want = strings.TrimSpace(want); want {
				case "":
				case string(Work), string(Prove), string(TryAgain):
					if string(step) != want {
						t.Errorf("%s: step %q, want %q", event, step, want)
					}
					refusedIs(t, event, refused, "")
				case "good a", "good b":
					if "good "+string(l.s.Good) != want {
						t.Errorf("%s: %s is good, want %s", event, l.s.Good, want)
					}
					refusedIs(t, event, refused, "")
				default:
					refusedIs(t, event, refused, want)
				}
			}
		})
	}
}

func refusedIs(t *testing.T, event, got, want string) {
	t.Helper()
	if (got == "") != (want == "") || !strings.Contains(got, want) {
		t.Errorf("%s: refused with %q, want %q", event, got, want)
	}
}

// Whatever happens in whatever order, there is a good slot, it is never the one on
// trial, no trial is started more often than allowed, and memory is bounded.
func TestAlwaysASlot(t *testing.T) {
	verbs := []string{"arm 1", "arm 2", "arm 3", "start a", "start b", "commit", "fail broken", "world no link"}
	property := func(events []byte) bool {
		l := life{}
		l.event([]string{"new", "a", "0"})
		for n, e := range events {
			verb := verbs[int(e)%len(verbs)]
			if strings.HasPrefix(verb, "arm") {
				verb += fmt.Sprint(n)
			}
			l.event(strings.Fields(verb))
			if l.s.Good != A && l.s.Good != B || len(l.s.Refused) > maxRefused {
				return false
			}
			if tr := l.s.Trial; tr != nil && (tr.Slot == l.s.Good || tr.Starts > Starts) {
				return false
			}
		}
		return true
	}
	if err := quick.Check(property, &quick.Config{MaxCount: 2000}); err != nil {
		t.Error(err)
	}
}
