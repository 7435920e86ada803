// Package warm decides whose records are fetched before they are needed. It is
// pure: who is expected and what is held come as values, and so does the time. Its
// one guarantee: who is needed soonest comes first, and what Keeps says is never more
// than the room it was given.
package warm

import (
	"cmp"
	"slices"
	"time"

	"clinicgate/syncd/lane"
)

// Why a patient is wanted, the strongest first.
type Why int

// The reasons.
const (
	Pinned Why = iota + 1 // by the clinic, always
	Listed                // on a list of the coming days
	Panel                 // one of the clinic's own
)

// A Want is a patient whose records shall be here.
type Want struct {
	Patient string // id
	Why     Why
	When    time.Time // of the visit, of those who are listed
}

// Held is what is here of a patient.
type Held struct {
	Whole   time.Time // when all was fetched
	Swept   time.Time // when changes were asked for last
	Bytes   int64
	Failed  time.Time // last attempt that failed, zero after one that did not
	Fails   int
	Trouble string
}

// Policy is the site's.
type Policy struct {
	Bytes int64         // room for what is fetched ahead
	Soon  time.Duration // a visit so near is today's: lane routine; others wait for spare bandwidth
	Sweep time.Duration // changes of today's patients are asked for so often
	Whole time.Duration // all is fetched anew so often
	Guess int64         // bytes of a patient who was never fetched
}

// Default is the policy of a site that says nothing but how much room there is.
func Default(bytes int64) Policy {
	return Policy{Bytes: bytes, Soon: 36 * time.Hour, Sweep: 30 * time.Minute, Whole: 24 * time.Hour, Guess: 512 << 10}
}

// A Fetch is one patient's turn.
type Fetch struct {
	Patient string
	Lane    lane.Lane
	Since   time.Time // changes since then will do; zero: all
}

// A Plan is what to do now.
type Plan struct {
	Fetch []Fetch         // in this order
	Keeps map[string]bool // patients who must not make room
	Over  int             // wanted, and there is no room for them
	Next  time.Time       // when there is something to do again, if nothing is now
}

// overlap is how far a sweep reaches back behind the last: a change can become
// visible late, and the EHR's clock is not ours.
const overlap = 5 * time.Minute

// Make plans.
func Make(p Policy, wants []Want, held map[string]Held, now time.Time) Plan {
	plan := Plan{Keeps: map[string]bool{}}
	room := p.Bytes
	for _, w := range ordered(wants, now) {
		h, ok := held[w.Patient]
		size := h.Bytes
		if !ok || size == 0 {
			size = p.Guess
		}
		if room < size {
			plan.Over++
			continue
		}
		room -= size
		plan.Keeps[w.Patient] = true
		f, due := p.turn(w, h, now)
		if due.After(now) {
			if plan.Next.IsZero() || due.Before(plan.Next) {
				plan.Next = due
			}
			continue
		}
		plan.Fetch = append(plan.Fetch, f)
	}
	slices.SortStableFunc(plan.Fetch, func(a, b Fetch) int {
		// Who is not here at all comes before who is here and a little old.
		return cmp.Or(cmp.Compare(a.Lane, b.Lane), cmp.Compare(known(a), known(b)))
	})
	return plan
}

func known(f Fetch) int {
	if f.Since.IsZero() {
		return 0
	}
	return 1
}

// ordered are the wants by need, each patient once.
func ordered(wants []Want, now time.Time) []Want {
	all := slices.Clone(wants)
	slices.SortStableFunc(all, func(a, b Want) int {
		return cmp.Or(cmp.Compare(a.rank(now), b.rank(now)), a.When.Compare(b.When), cmp.Compare(a.Patient, b.Patient))
	})
	been := map[string]bool{}
	return slices.DeleteFunc(all, func(w Want) bool {
		again := been[w.Patient]
		been[w.Patient] = true
		return again
	})
}

// rank orders by need: today's list, the pinned, later lists, the panel. A visit that
// is over by hours is a patient of the panel's.
func (w Want) rank(now time.Time) int {
	switch {
	case w.Why == Listed && now.Sub(w.When) > 12*time.Hour:
		return 4
	case w.Why == Listed && w.When.Sub(now) < 36*time.Hour:
		return 1
	case w.Why == Pinned:
		return 2
	case w.Why == Listed:
		return 3
	}
	return 4
}

// turn is a patient's next fetch and when it is due.
func (p Policy) turn(w Want, h Held, now time.Time) (f Fetch, due time.Time) {
	f = Fetch{Patient: w.Patient, Lane: lane.Bulk}
	today := w.rank(now) <= 2
	if today && (w.Why == Pinned || w.When.Sub(now) < p.Soon) {
		f.Lane = lane.Routine
	}
	whole := h.Whole.Add(p.Whole)
	switch {
	case h.Whole.IsZero():
	case today && h.Swept.Add(p.Sweep).Before(whole):
		due, f.Since = h.Swept.Add(p.Sweep), h.Swept.Add(-overlap)
	default:
		due = whole
	}
	if h.Fails > 0 {
		if again := h.Failed.Add(lane.Pause(time.Minute, time.Hour, h.Fails, 0)); again.After(due) {
			due = again
		}
	}
	return f, due
}
