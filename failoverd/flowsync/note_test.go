package flowsync

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// heard waits for a note of the other box.
func (s *side) heard(t *testing.T) string {
	t.Helper()
	select {
	case text := <-s.Noted():
		return text
	case <-time.After(10 * time.Second):
		t.Fatal("no note came")
		return ""
	}
}

// A note comes after the connections that were told before it, both ways, also from
// a box that owns none.
func TestNotes(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	a := p.startA()
	if err := a.Say("too early"); !errors.Is(err, ErrApart) {
		t.Errorf("alone: got %v", err)
	}
	put(t, a.table, 0, 500)
	a.prepare(t)
	b := p.startB()
	eventually(t, "both reach each other", func() bool { return a.Status().Telling && b.Status().Telling })
	eventually(t, "all at the join", func() bool { return b.table.len() == 500 })
	put(t, a.table, 500, 550)
	eventually(t, "the changes are under way", func() bool { return a.Status().Sent == 550 || b.table.len() == 550 })
	if err := a.Say("take"); err != nil {
		t.Fatal(err)
	}
	if got := b.heard(t); got != "take" || b.table.len() != 550 {
		t.Errorf("got %q with %d connections in place, want take and 550", got, b.table.len())
	}
	if err := b.Say("taken"); err != nil {
		t.Fatal(err)
	}
	if got := a.heard(t); got != "taken" {
		t.Errorf("got %q", got)
	}
	if err := a.Say(strings.Repeat("x", 256)); err == nil {
		t.Error("a note of 256 bytes was taken")
	}
	// A box that reads no notes is told of connections all the same.
	for i := range 3 * notes {
		a.Say(fmt.Sprint(i))
		time.Sleep(time.Millisecond)
	}
	put(t, a.table, 600, 650)
	eventually(t, "connections go on", func() bool { return b.table.len() == 600 })
	if got := b.heard(t); got != "0" {
		t.Errorf("the oldest note is %q, want 0", got)
	}
}
