package mirror

import (
	"context"
	"errors"
	"testing"
	"time"

	"clinicgate/syncd/mirror/census"
)

// An attempt of a box that was lost is waited for; one of a box that is there, or
// was lost long ago, is not. What is remembered is bounded.
func TestUnsettled(t *testing.T) {
	now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		begun bool
		heard time.Duration // ago
		up    bool
		want  bool
	}{
		"never begun there":         {false, time.Second, false, false},
		"lost a moment ago":         {true, time.Second, false, true},
		"lost before it settled":    {true, settle - 1, false, true},
		"lost long ago":             {true, settle, false, false},
		"it is there, and says all": {true, time.Second, true, false},
	} {
		f := flights{of: map[census.Name]time.Time{}, heard: now.Add(-c.heard)}
		if c.begun {
			f.note(census.Name{1}, now.Add(-time.Minute))
		}
		if got := f.unsettled(census.Name{1}, now, c.up); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
	f := flights{of: map[census.Name]time.Time{}}
	for i := range 3 * maxFlights {
		f.note(census.Name{byte(i), byte(i >> 8)}, now.Add(time.Duration(i)*time.Second))
	}
	if len(f.of) > maxFlights {
		t.Errorf("%d are remembered, want at most %d", len(f.of), maxFlights)
	}
}

// The box that takes over from one that was lost while it sent waits before it asks.
func TestLostWhileSending(t *testing.T) {
	a, b := sides(t)
	a.on()
	b.on()
	a.wait("alive", alive)
	r := a.must("k", content(100, 1))
	other := a.must("l", content(100, 2))
	if err := a.m.Begin(context.Background(), r.ID); err != nil {
		t.Fatal(err)
	}
	there, _ := b.queue.Named("k")
	calm, _ := b.queue.Named("l")
	a.stop()
	b.wait("fallen", func(s Status) bool { return !s.Alive })
	if err := b.m.Begin(context.Background(), there.ID); !errors.Is(err, errSettle) {
		t.Errorf("got %v", err)
	}
	if err := b.m.Begin(context.Background(), calm.ID); err != nil {
		t.Errorf("%v was never begun: %v", other.ID, err)
	}
}
