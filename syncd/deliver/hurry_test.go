package deliver

import (
	"testing"
	"time"

	"clinicgate/syncd/allowance"
	"clinicgate/syncd/lane"
)

// Another destination's urgent item has the link for a while, and for no longer.
func TestHurry(t *testing.T) {
	h, now := newHurry(newPace(allowance.Policy{})), time.Now()
	a, b := newLine(Destination{Name: "a"}, Policy{}.withDefaults(), h), newLine(Destination{Name: "b"}, Policy{}.withDefaults(), h)
	h.begin(a, now)
	h.begin(a, now.Add(yield/2)) // a second one does not prolong it
	if left, _ := h.wait(a, now); left > 0 {
		t.Errorf("a line waits %v for itself", left)
	}
	left, changed := h.wait(b, now)
	if left != yield {
		t.Errorf("the other waits %v", left)
	}
	if left, _ := h.wait(b, now.Add(yield)); left > 0 {
		t.Errorf("the other waits %v after its time", left)
	}
	h.end(a)
	select {
	case <-changed:
	default:
		t.Error("the end went unheard")
	}
	if left, _ := h.wait(b, now); left > 0 {
		t.Errorf("the other waits %v for nobody", left)
	}
}

// A bulk item's next piece waits while another line's urgent one is under way.
func TestGateAcrossLines(t *testing.T) {
	h := newHurry(newPace(allowance.Policy{}))
	a, b := newLine(Destination{Name: "a"}, Policy{}.withDefaults(), h), newLine(Destination{Name: "b"}, Policy{}.withDefaults(), h)
	a.add(lane.Entry{ID: [16]byte{1}, Lane: lane.Stat})
	e, ok, _, _ := a.next(time.Now(), lane.Stat)
	if !ok {
		t.Fatal("the urgent item does not leave")
	}
	passed := make(chan error, 1)
	go func() { passed <- b.gate(t.Context(), lane.Bulk)() }()
	if err := b.gate(t.Context(), lane.Stat)(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-passed:
		t.Fatal("bulk passed an urgent item")
	case <-time.After(50 * time.Millisecond):
	}
	a.done(e)
	select {
	case err := <-passed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("bulk never goes on")
	}
}
