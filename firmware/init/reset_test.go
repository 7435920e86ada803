package main

import (
	"os"
	"path/filepath"
	"testing"

	"clinicgate/firmware/reset"
)

// TestUndelivered: what waits in any lane or for a person counts, and a dead syncd
// counts nothing.
func TestUndelivered(t *testing.T) {
	run := t.TempDir()
	alive, dead := func(int) bool { return true }, func(int) bool { return false }
	if n := undelivered(run, alive); n != unknown {
		t.Errorf("without a file: %d", n)
	}
	text := `{"v":1,"program":"syncd","pid":140,"held":1,"lanes":[{"name":"stat","waiting":1},{"name":"bulk","waiting":2}]}`
	if err := os.WriteFile(filepath.Join(run, "syncd.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := undelivered(run, alive); n != 4 {
		t.Errorf("got %d, want 4", n)
	}
	if n := undelivered(run, dead); n != unknown {
		t.Errorf("of a dead program: %d", n)
	}
	for name, c := range map[string]struct {
		known int
		clean bool
		goes  bool
	}{
		"as confirmed":         {4, true, true},
		"one was delivered":    {5, true, true},
		"one came":             {3, true, false},
		"syncd was killed":     {4, false, false},
		"nothing was known of": {0, true, false},
	} {
		if why := more(run, c.known, c.clean); (why == "") != c.goes {
			t.Errorf("%s: %q", name, why)
		}
	}
	if why := more(t.TempDir(), 0, true); why == "" {
		t.Error("a reset goes on without syncd's word")
	}
}

// Each number has words of its own: nobody confirms another's.
func TestPhrase(t *testing.T) {
	seen := map[string]bool{}
	for _, n := range []int{unknown, 0, 1, 2, 10} {
		if seen[phrase(n)] || phrase(n) == "" {
			t.Errorf("%d: %q", n, phrase(n))
		}
		seen[phrase(n)] = true
	}
}

func TestProved(t *testing.T) {
	if got := proved(reset.Proof{Files: 3, Blocks: 5}); got != "3 keys destroyed, 5 blocks of the disk read back without them" {
		t.Error(got)
	}
	if got := proved(reset.Proof{Files: 3, Weak: "no disk"}); got != "3 keys overwritten; it was not read back from the disk: no disk" {
		t.Error(got)
	}
}
