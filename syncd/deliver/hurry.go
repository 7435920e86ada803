package deliver

import (
	"sync"
	"time"
)

// yield is how long the other destinations leave the link to an urgent item. One
// whose destination does not answer must not stop them for longer.
const yield = 10 * time.Second

// A hurry is what the lines share: which of them has urgent items on their way, and
// the pace of the others. The link they leave by is one.
type hurry struct {
	*pace

	mu      sync.Mutex
	since   map[*line]time.Time
	changed chan struct{} // closed and replaced when one ends
}

func newHurry(p *pace) *hurry {
	return &hurry{pace: p, since: map[*line]time.Time{}, changed: make(chan struct{})}
}

// begin notes that a line has an urgent item under way.
func (h *hurry) begin(l *line, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, on := h.since[l]; !on {
		h.since[l] = now
	}
}

// end notes that it has none any more.
func (h *hurry) end(l *line) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.since, l)
	close(h.changed)
	h.changed = make(chan struct{})
}

// wait says how long a line's other items are to leave the link to another line's;
// changed is closed when that may be over sooner.
func (h *hurry) wait(l *line, now time.Time) (left time.Duration, changed <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for other, since := range h.since {
		if other != l {
			left = max(left, yield-now.Sub(since))
		}
	}
	return left, h.changed
}
