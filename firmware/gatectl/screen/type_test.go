package screen

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// typed types text at a console on which the command number 2 works and number 3
// asks, and tells what came of it.
func typed(t testing.TB, text string) (done []string, m *Model) {
	t.Helper()
	m = New(menu)
	m.Look(morning(t), now)
	for piece := range strings.SplitSeq(text, "|") {
		for _, a := range m.Type([]byte(piece)) {
			switch a.Kind {
			case Run:
				done = append(done, strings.TrimSpace("run "+menu[a.Item].Word+" "+a.Arg))
				if a.Item == 2 {
					m.Ask("Sure?", false)
				} else {
					m.Over("")
				}
			case Answer:
				done = append(done, "answer "+a.Arg)
				m.Over("")
			case Leave:
				done = append(done, "leave")
			case Plain:
				done = append(done, "plain")
			}
		}
	}
	return done, m
}

func TestTyping(t *testing.T) {
	for name, c := range map[string]struct{ in, done string }{
		"number":              {"2\r", "run doctor"},
		"word":                {"doctor\r", "run doctor"},
		"argument":            {"log netd\r\n", "run log netd"},
		"line feed":           {"log netd\n", "run log netd"},
		"typo mended":         {"docc\btor\r", "run doctor"},
		"started over":        {"rebo\x15doctor\r", "run doctor"},
		"unknown":             {"sh\r", ""},
		"number 0":            {"0\r", ""},
		"number 8":            {"8\r", ""},
		"arrows":              {"\x1b[A\x1bOB2\r", "run doctor"},
		"in pieces":           {"lo|g ne|td|\r", "run log netd"},
		"sequence in pieces":  {"\x1b|[1|;5|C2\r", "run doctor"},
		"terminal's answer":   {"\x1b]11;rgb:0/0/0\x072\r", "run doctor"},
		"answered":            {"3\r|yes\r", "run lines; answer yes"},
		"left":                {"3\r|b\r", "run lines; leave"},
		"left by Ctrl-C":      {"3\r|y\x03", "run lines; leave"},
		"two commands":        {"2\r|log\r", "run doctor; run log"},
		"plain":               {"plain\r", "plain"},
		"too long":            {strings.Repeat("2", 300) + "\r|2\r", "run doctor"},
		"cut off sequence":    {"\x1b[\r|2\r", "run doctor"},
		"nothing but a space": {"   2\r", "run doctor"},
	} {
		if done, _ := typed(t, c.in); strings.Join(done, "; ") != c.done {
			t.Errorf("%s: did %q, want %q", name, done, c.done)
		}
	}
}

// While a command works, what is typed is nothing: an answer typed ahead is none.
func TestBusy(t *testing.T) {
	m := New(menu)
	m.Look(morning(t), now)
	m.Type([]byte("7\r"))
	if acts := m.Type([]byte("yes\r2\r")); len(acts) != 0 || !m.Busy() {
		t.Errorf("acted %v", acts)
	}
}

func TestHiddenAnswer(t *testing.T) {
	m := New(menu)
	m.Look(morning(t), now)
	m.Type([]byte("7\r"))
	m.Ask("Code:", true)
	m.Type([]byte("12345"))
	rows, _, _ := m.Rows()
	m.Type([]byte("678\r"))
	after, _, _ := m.Rows()
	text := strings.Join(append(rows, after...), "\n")
	if strings.Contains(text, "123") || !strings.Contains(text, "Code: *****") || !strings.Contains(text, "Code: ********") {
		t.Errorf("got\n%s", text)
	}
}

func TestPaging(t *testing.T) {
	m := screens(t)["page"]
	seen := map[string]bool{}
	for range 5 {
		rows, _, _ := m.Rows()
		for _, r := range rows {
			seen[r] = true
		}
		m.Type([]byte("\r"))
	}
	for i := range 15 {
		if !seen[fmt.Sprintf("11-22 08:30:%02d WARN  netd      fault %d%s", i, i, strings.Repeat(" long", i/4))] {
			t.Errorf("fault %d was never on the screen", i)
		}
	}
	if m.page != nil {
		t.Error("Enter at the end did not lead back")
	}
}

// A megabyte of anything costs neither memory nor acts.
func TestPaste(t *testing.T) {
	noise := make([]byte, 1<<20)
	for i, r := 0, rand.New(rand.NewPCG(1, 2)); i < len(noise); i++ {
		noise[i] = byte(r.UintN(256))
	}
	for name, in := range map[string]string{
		"noise": string(noise), "one line": strings.Repeat("reboot ", 1<<17), "line ends": strings.Repeat("\r\n", 1<<19),
		"commands": strings.Repeat("2\r", 1<<19), "escapes": strings.Repeat("\x1b[", 1<<19),
	} {
		m := New(menu)
		m.Look(morning(t), now)
		acts := m.Type([]byte(in))
		if len(acts) > maxActs || len(m.typed.text) > maxTyped {
			t.Errorf("%s: %d acts, %d typed", name, len(acts), len(m.typed.text))
		}
		for _, a := range acts {
			if a.Kind == Answer {
				t.Errorf("%s: answered %q", name, a.Arg)
			}
		}
	}
}

// A command that never stops talking is kept in bounds.
func TestChatter(t *testing.T) {
	m := New(menu)
	m.Look(morning(t), now)
	m.Type([]byte("log\r"))
	for range 2000 {
		m.Say(strings.Repeat("x", 5000))
		m.Say("\nline\n")
	}
	if n := len(m.page.lines); n > maxLines {
		t.Errorf("%d lines are kept", n)
	}
	rows, x, y := m.Rows()
	check(t, m, rows, x, y)
}

func FuzzType(f *testing.F) {
	f.Add([]byte("2\rlog netd\r3\ryes\r\x1b[A\x1b]x\x07"), uint16(80), uint16(24))
	f.Add([]byte("reboot\rb\r \x0c\x15"), uint16(20), uint16(5))
	f.Fuzz(func(t *testing.T, in []byte, width, height uint16) {
		done, m := typed(t, string(in))
		m.Resize(int(width), int(height))
		rows, x, y := m.Rows()
		check(t, m, rows, x, y)
		for _, d := range done {
			if strings.HasPrefix(d, "answer") && !strings.Contains(strings.Join(done, "\n"), "run lines") {
				t.Fatalf("%q", done)
			}
		}
	})
}
