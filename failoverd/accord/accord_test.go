package accord

import (
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 123456789, time.UTC)

func notes() []Note {
	return []Note{
		{Kind: Take, ID: 7}, {Kind: Taken, ID: 1<<64 - 1}, {Kind: Refuse, ID: 7, Why: "no link on lan"}, {Kind: Refuse, ID: 8},
		{Kind: Floor, At: noon}, {Kind: Clock, At: noon}, {Kind: Echo, At: noon, Now: noon.Add(-10 * time.Minute)},
	}
}

func TestRoundTrip(t *testing.T) {
	for _, want := range notes() {
		got, err := Parse(want.String())
		if err != nil || got != want {
			t.Errorf("%q: got %+v, %v; want %+v", want, got, err, want)
		}
	}
}

// A reason from another program's error is cut to what fits and can be shown.
func TestReason(t *testing.T) {
	n := Note{Kind: Refuse, ID: 1, Why: "two\nlines " + strings.Repeat("ñ", 200)}
	got, err := Parse(n.String())
	if err != nil || !strings.HasPrefix(got.Why, "two?lines ñ") || len(n.String()) > 255 {
		t.Errorf("got %q, %v", got.Why, err)
	}
}

func TestRefusals(t *testing.T) {
	for _, text := range []string{
		"", "take", "take x", "take -1", "take 1 2", "taken 18446744073709551616", "dance 1", "floor", "floor -1", "floor 1 1",
		"echo 1", "echo 1 x", "echo 1 2 3", "refuse x no", "refuse 1 two\nlines", "refuse 1 " + strings.Repeat("x", 200), "Take 1",
	} {
		if n, err := Parse(text); err == nil {
			t.Errorf("%q: got %+v, want a refusal", text, n)
		}
	}
}

// Any text: what is accepted is said again as it was understood.
func FuzzParse(f *testing.F) {
	for _, n := range notes() {
		f.Add(n.String())
	}
	f.Add("refuse 1 \xff")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(n.String())
		if err != nil || again != n || len(n.String()) > 255 {
			t.Errorf("%q is %+v, said again %+v, %v", text, n, again, err)
		}
	})
}
