package pathmtu

import (
	"testing"
	"time"
)

// path answers what fits, but for the rounds that it loses.
type path struct {
	fits int
	lose map[int]bool // rounds
}

// play runs a search for so long and returns what it found and how often it asked.
func play(s *Search, p path, begin time.Time, d time.Duration) (size, rounds int) {
	for now := begin; now.Before(begin.Add(d)); now = now.Add(50 * time.Millisecond) {
		if !s.Due(now) {
			continue
		}
		rounds++
		for _, size := range Sizes() {
			if size <= p.fits && !p.lose[rounds] {
				s.Answered(size)
			}
		}
	}
	return s.Size(), rounds
}

func TestSearch(t *testing.T) {
	start := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		path path
		want int
	}{
		"full":             {path{fits: 1500}, 1480},
		"1400":             {path{fits: 1400}, 1400},
		"between":          {path{fits: 1492 - 20}, 1460},
		"PPPoE":            {path{fits: 1492}, 1480},
		"1280":             {path{fits: 1280}, 1280},
		"nobody answers":   {path{fits: 0}, 0},
		"first round lost": {path{fits: 1400, lose: map[int]bool{1: true, 2: true}}, 1400},
	} {
		s := New(30 * time.Second)
		if got, rounds := play(s, c.path, start, 5*time.Second); got != c.want || rounds > 4 {
			t.Errorf("%s: got %d in %d rounds, want %d in at most 4", name, got, rounds, c.want)
		}
	}
}

// TestChange: a path that narrows is noticed by the next round, one that widens too,
// and lost rounds change nothing.
func TestChange(t *testing.T) {
	start := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	s := New(30 * time.Second)
	play(s, path{fits: 1500}, start, 10*time.Second)
	if got, _ := play(s, path{fits: 1500, lose: map[int]bool{1: true, 2: true}}, start.Add(10*time.Second), 80*time.Second); got != 1480 {
		t.Errorf("after lost rounds: got %d, want 1480", got)
	}
	if got, _ := play(s, path{fits: 1300}, start.Add(90*time.Second), 40*time.Second); got != 1300 {
		t.Errorf("narrower: got %d, want 1300", got)
	}
	if got, _ := play(s, path{fits: 1500}, start.Add(130*time.Second), 40*time.Second); got != 1480 {
		t.Errorf("wider: got %d, want 1480", got)
	}
	s.Restart()
	if s.Size() != 1480 || !s.Due(start.Add(171*time.Second)) {
		t.Error("a restart forgets what was known, or waits")
	}
}
