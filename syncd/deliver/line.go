package deliver

import (
	"context"
	"sync"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/syncd/lane"
)

// States of a destination in the wire file.
const (
	stateUnknown     = "unknown"
	stateOK          = "ok"
	stateUnreachable = "unreachable"
	stateRefusing    = "refusing"
)

// A line is what waits for one destination, and how that does. Safe for
// concurrent use.
type line struct {
	Destination
	policy Policy
	hurry  *hurry

	mu        sync.Mutex
	schedule  *lane.Schedule
	changed   chan struct{} // closed and replaced at every change
	state     string
	reason    string
	since     time.Time
	failures  int       // of the destination, one after the other
	until     time.Time // its pause
	flight    int
	stat      int // of them in the stat lane
	successes uint64
	trials    map[[16]byte]trial
}

// trial is an item's own bad luck.
type trial struct {
	tries int
	at    uint64 // successes of the line when it first failed
}

func newLine(d Destination, p Policy, h *hurry) *line {
	return &line{
		Destination: d, policy: p, hurry: h, schedule: lane.New(lane.Policy{First: p.ItemFirst}, jitter), changed: make(chan struct{}),
		state: stateUnknown, since: time.Now(), trials: map[[16]byte]trial{},
	}
}

// change tells all who wait. The caller holds mu.
func (l *line) change() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *line) add(e lane.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.schedule.Add(e)
	l.change()
}

// idle is how long a worker sleeps when nothing says when to look again.
const idle = time.Minute

// next takes the entry whose turn it is. If there is none, it says what to wait
// for. A destination that failed is tried with one item at a time until one
// attempt succeeds.
func (l *line) next(now time.Time, least lane.Lane) (e lane.Entry, ok bool, changed <-chan struct{}, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if pause := l.until.Sub(now); l.failures > 0 && pause > 0 {
		return e, false, l.changed, min(pause, idle)
	}
	if l.failures > 0 && l.flight > 0 {
		return e, false, l.changed, idle
	}
	if least == lane.Bulk && l.tooDear(now) {
		least = lane.Routine
	}
	if e, ok = l.schedule.Next(now, least); ok {
		l.flight++
		if e.Lane == lane.Stat {
			l.stat++
			l.hurry.begin(l, now)
			l.change()
		}
		return e, true, nil, 0
	}
	wait = idle
	if at, pausing := l.schedule.Wake(); pausing {
		wait = min(wait, max(at.Sub(now), time.Millisecond))
	}
	return e, false, l.changed, wait
}

// tooDear reports whether bulk waits for a cheaper uplink. The caller holds mu.
func (l *line) tooDear(now time.Time) bool {
	accepted, ok := l.schedule.Oldest(lane.Bulk, now)
	return ok && l.hurry.waits(lane.Bulk, accepted, now)
}

// withheld is 1 if bulk waits so.
func (l *line) withheld() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tooDear(time.Now()) {
		return 1
	}
	return 0
}

// landed counts an attempt that ended. The caller holds mu.
func (l *line) landed(e lane.Entry) {
	l.flight--
	if e.Lane == lane.Stat {
		if l.stat--; l.stat == 0 {
			l.hurry.end(l)
		}
	}
	l.change()
}

// done takes an entry out of the line.
func (l *line) done(e lane.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.trials, e.ID)
	l.schedule.Done(e.ID)
	l.landed(e)
}

// works notes that the destination answered as it should.
func (l *line) works() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.successes++
	l.failures = 0
	l.set(stateOK, "")
	l.change()
}

// set changes the state and reports whether it was another. The caller holds mu.
func (l *line) set(state, reason string) bool {
	other := l.state != state
	if other {
		l.since = time.Now()
	}
	l.state, l.reason = state, reason
	return other
}

// retry puts an entry back and lets it or the destination pause. It reports
// whether the destination's state changed.
func (l *line) retry(e lane.Entry, f *Failure) (changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if f.Kind == Pending {
		l.schedule.Retry(e.ID, now, true)
		l.landed(e)
		return false
	}
	if f.Kind == Troubled {
		t := l.trials[e.ID]
		if t.tries == 0 {
			t.at = l.successes
		}
		t.tries++
		l.trials[e.ID] = t
		l.schedule.Retry(e.ID, now, true)
		l.landed(e)
		return false
	}
	l.schedule.Retry(e.ID, now, false)
	l.failures++
	l.until = now.Add(max(f.After, lane.Pause(l.policy.First, l.policy.Most, l.failures, jitter())))
	state := stateUnreachable
	if f.Kind == Refusing {
		state = stateRefusing
	}
	changed = l.set(state, f.Error())
	l.landed(e)
	return changed
}

// tries is how often an entry has failed by itself, this time included.
func (l *line) tries(e lane.Entry) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.trials[e.ID].tries + 1
}

// passed reports whether others were delivered since the entry first failed.
func (l *line) passed(e lane.Entry) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, ok := l.trials[e.ID]
	return ok && l.successes > t.at
}

// gate returns what a body's reader calls before each piece: it waits while stat
// items are on their way, here or for a while to another destination, unless this is
// one, and while the lane has had its share of the up-link.
func (l *line) gate(ctx context.Context, of lane.Lane) func() error {
	return func() error {
		for {
			l.mu.Lock()
			stat, changed := l.stat, l.changed
			l.mu.Unlock()
			left, ended := l.hurry.wait(l, time.Now())
			pause, faster := l.hurry.pause(of, time.Now())
			left = max(left, pause)
			if of == lane.Stat || stat == 0 && left <= 0 {
				return ctx.Err()
			}
			if stat > 0 {
				left = idle
			}
			timer := time.NewTimer(left)
			select {
			case <-ctx.Done():
				timer.Stop()
				return ctx.Err()
			case <-changed:
			case <-ended:
			case <-faster:
			case <-timer.C:
			}
			timer.Stop()
		}
	}
}

func (l *line) nudge() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = time.Time{}
	l.change()
}

func (l *line) status() wire.Destination {
	l.mu.Lock()
	defer l.mu.Unlock()
	return wire.Destination{Name: l.Name, Kind: l.Kind, State: l.state, Reason: l.reason, Since: l.since.UTC().Truncate(time.Millisecond)}
}
