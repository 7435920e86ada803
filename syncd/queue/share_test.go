package queue

import (
	"bytes"
	"context"
	"errors"
	"testing"
)

// One origin's share is its own: when it is used up the others go on, and what is
// delivered gives it back.
func TestShare(t *testing.T) {
	q := mustOpen(t, t.TempDir(), domain(t), Options{Share: 3 << 10, chunk: 1 << 10})
	from := func(origin, key string, n int) error {
		it := item(key)
		it.Origin = origin
		_, err := q.Accept(context.Background(), it, bytes.NewReader(noise(n, 7)))
		return err
	}
	if err := from("HOLTER", "a", 2500); err != nil {
		t.Fatal(err)
	}
	err := from("HOLTER", "b", 1500)
	if !errors.Is(err, ErrShare) || !errors.Is(err, ErrFull) {
		t.Fatalf("beyond its share: %v", err)
	}
	if err := from("ECGCART", "c", 1500); err != nil {
		t.Fatalf("another origin: %v", err)
	}
	if err := from("HOLTER", "d", 500); err != nil {
		t.Fatalf("what was refused keeps its room: %v", err)
	}
	if err := from("HOLTER", "a", 2500); err != nil {
		t.Fatalf("the same again: %v", err)
	}
	for _, b := range q.List(Waiting) {
		if _, _, err := q.Begin(b.ID, "hospital"); err != nil {
			t.Fatal(err)
		}
		if err := q.Done(b.ID, "read back"); err != nil {
			t.Fatal(err)
		}
	}
	q.usage.at = q.usage.at.Add(-2e9)
	if err := from("HOLTER", "b", 1500); err != nil {
		t.Fatalf("after delivery: %v", err)
	}
	if q.Newest().IsZero() {
		t.Error("no newest item")
	}
	verify(t, q)
}
