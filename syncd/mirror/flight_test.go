package mirror

import (
	"context"
	"errors"
	"testing"
	"time"

	"clinicgate/syncd/mirror/census"
)

// An attempt is waited for until what was sent has settled: from its begin, from the
// last word that attempts were under way, and of a lost box from the last word at all.
// What is remembered is bounded.
func TestUnsettled(t *testing.T) {
	now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		begun, flew, heard time.Duration // ago; 0: never
		up, want           bool
	}{
		"never begun there":               {0, time.Second, time.Second, false, false},
		"lost a moment ago":               {time.Minute, time.Minute, time.Second, false, true},
		"lost before it settled":          {time.Minute, time.Minute, settle - 1, false, true},
		"lost long ago":                   {time.Minute, time.Minute, settle, false, false},
		"there, ended long ago":           {time.Minute, 2 * settle, time.Second, true, false},
		"there, broke off a moment ago":   {time.Minute, time.Second, time.Second, true, true},
		"there, begun between two words":  {time.Second, time.Minute, time.Second, true, true},
		"there, begun and settled before": {settle, time.Minute, time.Second, true, false},
	} {
		f := flights{of: map[census.Name]time.Time{}, heard: now.Add(-c.heard), flew: now.Add(-c.flew)}
		if c.begun > 0 {
			f.note(census.Name{1}, now.Add(-c.begun))
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

// The box that takes over from one that is there, and broke off, waits as well: the
// destination may be taking in the attempt yet.
func TestBrokenOff(t *testing.T) {
	a, b := sides(t)
	a.on()
	b.on()
	a.wait("alive", alive)
	b.wait("alive", alive)
	r := a.must("k", content(100, 1))
	if err := a.m.Begin(context.Background(), r.ID); err != nil {
		t.Fatal(err)
	}
	there, _ := b.queue.Named("k")
	if err := b.m.Begin(context.Background(), there.ID); !errors.Is(err, errSettle) {
		t.Errorf("got %v", err)
	}
}
