package ascii

import (
	"slices"
	"testing"
	"time"
)

var now = time.Date(2026, 11, 22, 8, 34, 0, 0, time.UTC)

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", -time.Hour: "0s", 59 * time.Second: "59s", time.Minute: "1m", 59*time.Minute + 59*time.Second: "59m",
		time.Hour: "1h00m", 23*time.Hour + 59*time.Minute: "23h59m", 24 * time.Hour: "1d0h", 292 * time.Hour: "12d4h",
	} {
		if got := Age(now.Add(-d), now); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
	if got := Ago(time.Time{}, now); got != "never" {
		t.Errorf("zero time: %q", got)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 291000: "291 kB", 1048576: "1.0 MB", 3 << 30: "3.2 GB"} {
		if got := Size(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []string
	}{
		{"", []string{""}},
		{"one two three", []string{"one two", "three"}},
		{"abcdefghijkl x", []string{"abcde...", "x"}},
	} {
		if got := Wrap(c.in, 8); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
	}
}

func TestASCII(t *testing.T) {
	for in, want := range map[string]string{
		"Peñafiel, Åre": "Penafiel, Are", "a\r\nb\tc": "a  b c", "\x1b[2J\x00\x7f": "?[2J??", "ΨΩ": "??", "\xff": "?",
	} {
		if got := Text(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
