package deliver

import (
	"errors"
	"sync"
	"time"

	"clinicgate/syncd/allowance"
	"clinicgate/syncd/lane"
)

// errDear ends attempts of what can wait for a cheaper uplink.
var errDear = errors.New("waits for an uplink that costs less")

// pace holds what leaves to the lanes' shares of the up-link. Safe for concurrent use.
type pace struct {
	mu      sync.Mutex
	policy  allowance.Policy
	way     allowance.Way
	meter   allowance.Meter
	changed chan struct{} // closed and replaced when the way is another one
}

func newPace(p allowance.Policy) *pace {
	return &pace{policy: p.WithDefaults(), changed: make(chan struct{})}
}

// set says by which way uploads leave now, and reports whether it is another one.
func (p *pace) set(w allowance.Way) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.way == w {
		return false
	}
	p.way = w
	p.meter.Reset()
	close(p.changed)
	p.changed = make(chan struct{})
	return true
}

// pause is how long a lane's next piece waits; changed is closed when that may be
// over sooner.
func (p *pace) pause(l lane.Lane, now time.Time) (left time.Duration, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.meter.Pause(l, now), p.changed
}

// passed counts a piece that leaves.
func (p *pace) passed(l lane.Lane, n int, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.meter.Passed(p.policy, p.way, l, n, now)
}

// waits reports whether an item must wait for a cheaper uplink.
func (p *pace) waits(l lane.Lane, accepted, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.policy.Waits(p.way, l, accepted, now)
}

// dear names the uplink that is too dear for what can wait; empty: none is.
func (p *pace) dear() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.way.Cheaper {
		return ""
	}
	return p.way.Dear
}

// Way says by which up-link items leave from now on.
func (e *Engine) Way(w allowance.Way) {
	if !e.pace.set(w) {
		return
	}
	e.log.Info("up-link of deliveries", "bit_s", w.Up, "dear", w.Dear, "cheaper_one_away", w.Cheaper)
	for _, l := range e.lines {
		l.mu.Lock()
		l.change()
		l.mu.Unlock()
	}
}
