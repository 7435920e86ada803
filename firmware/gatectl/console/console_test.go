package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// play types text at a console with three commands and returns what it showed and
// what was done.
func play(t *testing.T, text string) (shown string, done []string) {
	t.Helper()
	var out bytes.Buffer
	run := func(word string) func(context.Context, Talk, string) error {
		return func(_ context.Context, w Talk, arg string) error {
			done = append(done, strings.TrimSpace(word+" "+arg))
			if arg == "fails" {
				return errors.New("no")
			}
			fmt.Fprintf(w, "\x1b]0;owned\x07\xc3\xb1did %s\n", word) // output is hostile too
			return nil
		}
	}
	err := Run(t.Context(), strings.NewReader(text), &out, func(w io.Writer) { fmt.Fprintln(w, "first") }, []Command{
		{Word: "status", Help: "show", Run: run("status")},
		{Word: "log", Help: "lines", Run: run("log")},
		{Word: "poweroff", Help: "end", Confirm: "Power off?", Run: run("poweroff")},
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), done
}

func TestCommands(t *testing.T) {
	for name, c := range map[string]struct{ in, done, shown string }{
		"word":            {"status\n", "status", "did status"},
		"number":          {"1\n", "status", "did status"},
		"with argument":   {"log netd\r\n", "log netd", "did log"},
		"carriage return": {"status\rlog\r", "status log", "did log"},
		"typo mended":     {"stax\btus\n", "status", "did status"},
		"noise around":    {"\x00\x1b\xffstatus\x07\n", "status", "did status"},
		"failure":         {"log fails\nstatus\n", "log fails status", "log: no"},
		"help":            {"help\n", "", "3) poweroff"},
		"question mark":   {"?\n", "", "2) log"},
		"empty":           {"\n", "", Prompt + " 1)status 2)log 3)poweroff" + Prompt},
		"unknown":         {"sh\n", "", "no such command"},
		"number 0":        {"0\n", "", "no such command"},
		"number 4":        {"4\n", "", "no such command"},
		"poweroff":        {"poweroff\nyes\n", "poweroff", "Power off? Type yes: "},
		"poweroff not":    {"poweroff\ny\nstatus\n", "status", "not done"},
		"poweroff at end": {"poweroff\n", "", "not done"},
		"half a line":     {"poweroff", "", Prompt},
	} {
		t.Run(name, func(t *testing.T) {
			shown, done := play(t, c.in)
			if strings.Join(done, " ") != c.done {
				t.Errorf("did %q, want %q", done, c.done)
			}
			if flat := strings.ReplaceAll(shown, "\r\n", ""); !strings.Contains(shown, c.shown) && !strings.Contains(flat, c.shown) {
				t.Errorf("showed %q, want %q in it", shown, c.shown)
			}
		})
	}
}

func TestFirstThenMenuThenPrompt(t *testing.T) {
	if shown, _ := play(t, ""); shown != "first\r\n 1)status 2)log 3)poweroff\r\n"+Prompt {
		t.Errorf("got %q", shown)
	}
}

// Noise must not make more noise, and the next command works.
func TestNoise(t *testing.T) {
	noise := make([]byte, 1<<20)
	for i, r := 0, rand.New(rand.NewPCG(1, 2)); i < len(noise); i++ {
		noise[i] = byte(r.UintN(256))
	}
	for name, in := range map[string]string{
		"random":            string(noise),
		"one long line":     strings.Repeat("status ", 1<<17),
		"line ends":         strings.Repeat("\r\n\n", 1<<18),
		"lines of no sense": strings.Repeat("rm -rf /\n", 1<<17),
	} {
		t.Run(name, func(t *testing.T) {
			shown, done := play(t, in+"\nstatus\n")
			if len(done) == 0 || done[len(done)-1] != "status" || len(done) > 5 || strings.Contains(strings.Join(done, " "), "poweroff") {
				t.Errorf("did %.60q", done)
			}
			if len(shown) > 4000 {
				t.Errorf("answered %d bytes of noise with %d", len(in), len(shown))
			}
		})
	}
}

func TestGoneLine(t *testing.T) {
	err := Run(t.Context(), strings.NewReader("1\n1\n"), broken{}, func(io.Writer) {}, nil)
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func FuzzRun(f *testing.F) {
	f.Add([]byte("status\npoweroff\nyes\n"))
	f.Add([]byte("\x1b[A\r\r\n\b\b1"))
	f.Fuzz(func(t *testing.T, in []byte) {
		shown, done := play(t, string(in))
		for _, d := range done {
			if strings.HasPrefix(d, "poweroff") && !bytes.Contains(in, []byte("yes")) && !bytes.ContainsAny(in, "\b\x7f") && !containsSplit(in) {
				t.Fatalf("powered off without a yes: %q", in)
			}
		}
		if i := strings.IndexFunc(shown, func(r rune) bool { return r != '\r' && r != '\n' && (r < ' ' || r > '~') }); i >= 0 {
			t.Fatalf("showed %q", shown[i:])
		}
	})
}

// containsSplit: bytes that count for nothing may stand inside the yes.
func containsSplit(in []byte) bool {
	var kept []byte
	for _, b := range in {
		if b >= ' ' && b <= '~' || b == '\n' || b == '\r' {
			kept = append(kept, b)
		}
	}
	return bytes.Contains(kept, []byte("yes"))
}
