package mirror

import (
	"time"

	"clinicgate/syncd/queue"
)

// debts are what the other box is to be told. They are no lists of changes: each
// says that an item is to be told as it is when its turn comes. mu of the Mirror
// guards them.
type debts struct {
	of    map[queue.ID]*debt
	fresh []queue.ID // somebody may wait for these
	old   []queue.ID // what was found at a join
	seq   uint64
}

// debt is one item's. Its place in a line may be stale: next skips those.
type debt struct {
	seq   uint64 // of the latest change
	whole bool   // the other box may not have the item at all
	since time.Time
	busy  bool          // being told
	paid  chan struct{} // closed when the other box has it, or the session falls
}

func newDebts() debts { return debts{of: map[queue.ID]*debt{}} }

// owe notes a change. One that is being told is told again.
func (b *debts) owe(id queue.ID, whole bool, now time.Time, fresh bool) {
	b.seq++
	d := b.of[id]
	if d == nil {
		d = &debt{since: now, paid: make(chan struct{})}
		b.of[id] = d
	}
	d.seq, d.whole = b.seq, d.whole || whole
	if fresh {
		b.fresh = append(b.fresh, id)
	} else {
		b.old = append(b.old, id)
	}
}

// urge brings forward what somebody waits for.
func (b *debts) urge(id queue.ID) {
	if d := b.of[id]; d != nil && !d.busy && len(b.old) > 0 {
		b.fresh = append(b.fresh, id)
	}
}

// next takes the next debt to pay; old says whether those of a join may be it.
func (b *debts) next(old bool) (id queue.ID, d debt, ok bool) {
	for _, line := range []*[]queue.ID{&b.fresh, &b.old} {
		if line == &b.old && !old {
			break
		}
		for len(*line) > 0 {
			id, *line = (*line)[0], (*line)[1:]
			if d := b.of[id]; d != nil && !d.busy {
				d.busy = true
				return id, *d, true
			}
		}
	}
	return id, d, false
}

// pay notes that the other box took the item as it was when seq was read; what
// changed since is owed. It reports whether nothing is.
func (b *debts) pay(id queue.ID, seq uint64) bool {
	d := b.of[id]
	if d == nil {
		return true
	}
	d.busy, d.whole = false, false
	close(d.paid)
	if d.seq == seq {
		delete(b.of, id)
		return true
	}
	d.paid = make(chan struct{})
	b.fresh = append(b.fresh, id)
	return false
}

// again puts back what could not be told now.
func (b *debts) again(id queue.ID) {
	if d := b.of[id]; d != nil {
		d.busy = false
		b.fresh = append(b.fresh, id)
	}
}

// release lets all go who wait: the session fell.
func (b *debts) release() {
	for _, d := range b.of {
		close(d.paid)
		d.paid, d.busy = make(chan struct{}), false
	}
}

// lack is one that a join found.
type lack struct {
	id    queue.ID
	whole bool
}

// replace makes the debts what a join found, in its order, and what changed since
// it began.
func (b *debts) replace(lacks []lack, stamp uint64, now time.Time) {
	was := b.of
	b.of, b.fresh, b.old = map[queue.ID]*debt{}, nil, nil
	for _, l := range lacks {
		since := now
		if d := was[l.id]; d != nil {
			since = d.since
		}
		b.owe(l.id, l.whole, since, false)
	}
	for id, d := range was {
		close(d.paid)
		if d.seq > stamp {
			b.owe(id, d.whole, d.since, true)
		}
	}
}

// oldest is since when the longest debt stands.
func (b *debts) oldest() (at time.Time) {
	for _, d := range b.of {
		if at.IsZero() || d.since.Before(at) {
			at = d.since
		}
	}
	return at
}

// busy reports whether one is being told.
func (b *debts) busy() bool {
	for _, d := range b.of {
		if d.busy {
			return true
		}
	}
	return false
}
