package rate

import (
	"testing"
	"time"
)

func count(t *Table[int], key, tries int, now time.Time) (n int) {
	for range tries {
		if t.Allow(key, now) {
			n++
		}
	}
	return n
}

func TestAllow(t *testing.T) {
	now := time.Unix(1e9, 0)
	table := New[int](Limit{PerSecond: 2, Burst: 3, Keys: 10}, now)
	if n := count(table, 1, 9, now); n != 3 {
		t.Errorf("burst: got %d, want 3", n)
	}
	if n := count(table, 2, 9, now); n != 3 {
		t.Errorf("another key's burst: got %d, want 3", n)
	}
	if n := count(table, 1, 9, now.Add(time.Second)); n != 2 {
		t.Errorf("a second later: got %d, want 2", n)
	}
	if n := count(table, 1, 9, now.Add(time.Hour)); n != 3 {
		t.Errorf("an hour later: got %d, want the burst", n)
	}
	if n := count(table, 1, 9, now); n != 0 {
		t.Errorf("a clock that went back: got %d, want 0", n)
	}
}

// More keys than there is room for cost no memory, and share an allowance.
func TestBound(t *testing.T) {
	now := time.Unix(1e9, 0)
	table := New[int](Limit{PerSecond: 1, Burst: 2, Keys: 100}, now)
	served := 0
	for key := range 100_000 {
		if table.Allow(key, now) {
			served++
		}
	}
	if len(table.keys) != 100 || served != 102 {
		t.Errorf("%d keys kept, %d served, want 100 and 102", len(table.keys), served)
	}
	if !table.Allow(100_001, now.Add(3*time.Second)) || len(table.keys) > 100 {
		t.Errorf("full allowances are not forgotten: %d keys", len(table.keys))
	}
}
