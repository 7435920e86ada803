package queue

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/syncd/lane"
	"clinicgate/syncd/segment"
)

// ErrUnknown is the error for an item that is not, or no longer, in the queue.
var ErrUnknown = errors.New("queue: no such item")

// ErrState is the error for a step that the item's state doesn't allow.
var ErrState = errors.New("queue: not in that state")

// Watch calls fn for every item that waits, oldest first, and from then on for
// each that comes to wait. fn must be quick and must not call the queue.
func (q *Queue) Watch(fn func(Brief)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, b := range q.list(Waiting) {
		fn(b)
	}
	q.watch = append(q.watch, fn)
}

// announce tells the watchers of an item that waits. The caller holds mu.
func (q *Queue) announce(e *entry) {
	if e.State != Waiting {
		return
	}
	for _, fn := range q.watch {
		fn(e.Brief)
	}
}

// List returns the items in a state, oldest first.
func (q *Queue) List(s State) []Brief {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.list(s)
}

func (q *Queue) list(s State) []Brief {
	var all []Brief
	for _, e := range q.entries {
		if e.State == s {
			all = append(all, e.Brief)
		}
	}
	slices.SortFunc(all, func(a, b Brief) int {
		if c := a.Accepted.Compare(b.Accepted); c != 0 {
			return c
		}
		return slices.Compare(a.ID[:], b.ID[:])
	})
	return all
}

// Begin starts an attempt to deliver a waiting item and returns its description.
// tried says that an attempt before this one may have succeeded unnoticed, in
// this life of the box or an earlier one: the destination must be asked first.
//
// The first attempt of an item is recorded before Begin returns.
//
//	stop behind it: the next life finds tried true, though nothing was sent yet
func (q *Queue) Begin(id ID, where string) (it Item, tried bool, err error) {
	e, err := q.entry(id, Waiting)
	if err != nil {
		return Item{}, false, err
	}
	it, err = q.describe(e)
	if err != nil {
		return Item{}, false, err
	}
	m := mark{State: Delivering, At: now(), Where: where}
	if e.tried {
		return it, true, q.change(id, Waiting, markAt{mark: m, ref: e.mark, tried: true}, false)
	}
	return it, false, q.change(id, Waiting, markAt{mark: m, tried: true}, true)
}

// Again ends an attempt without a verdict: the item waits. Nothing is recorded;
// that it was tried is.
func (q *Queue) Again(id ID) error {
	e, err := q.entry(id, Delivering)
	if err != nil {
		return err
	}
	return q.change(id, Delivering, markAt{mark: mark{State: Waiting, At: now()}, ref: e.mark}, false)
}

// Done closes an item: its destination has it, and proof says how that is known.
// It is delivered once Done has returned; until then a stop leaves it waiting.
func (q *Queue) Done(id ID, proof string) error {
	e, err := q.entry(id, Delivering)
	if err != nil {
		return err
	}
	m := mark{State: Delivered, At: now(), Where: e.Where, Why: proof}
	return q.change(id, Delivering, markAt{mark: m}, true)
}

// Hold sets an item aside for a person: it waits or is being delivered, and can't
// be for the given reason, which must not name a patient.
func (q *Queue) Hold(id ID, why string) error {
	e, err := q.entry(id, Waiting, Delivering)
	if err != nil {
		return err
	}
	m := mark{State: Held, At: now(), Where: e.Where, Why: why, Rev: e.rev + 1}
	return q.change(id, e.State, markAt{mark: m}, true)
}

// Release lets a held item wait again, on the word of by: a person, who is named
// with the item from then on.
func (q *Queue) Release(id ID, by string) error {
	e, err := q.entry(id, Held)
	if err != nil {
		return err
	}
	if err := q.change(id, Held, markAt{mark: mark{State: Waiting, At: now(), Released: by, Rev: e.rev + 1}}, true); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if e := q.entries[id]; e != nil {
		q.announce(e)
	}
	return nil
}

// entry copies what is known of an item that must be in one of the states.
func (q *Queue) entry(id ID, states ...State) (entry, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.entries[id]
	if e == nil {
		return entry{}, fmt.Errorf("%w: %v", ErrUnknown, id)
	}
	if e.busy || !slices.Contains(states, e.State) {
		return entry{}, fmt.Errorf("%w: item %v is %v, want %v", ErrState, id, e.State, states)
	}
	return *e, nil
}

// change moves an item from a state, in the log first if that is asked for. While
// it writes, the item is busy and nobody else can change it. A mark without a Rev
// leaves the item's.
func (q *Queue) change(id ID, from State, m markAt, record bool) error {
	q.keep.RLock()
	defer q.keep.RUnlock()
	q.mu.Lock()
	e := q.entries[id]
	if e == nil || e.State != from || e.busy {
		q.mu.Unlock()
		return fmt.Errorf("%w: item %v changed meanwhile", ErrState, id)
	}
	if m.State == Delivered {
		q.totals[e.Lane]++
		m.Lane, m.Total = e.Lane, q.totals[e.Lane]
	}
	e.busy = true
	if m.Released == "" {
		m.Released = e.Released // every mark carries it: the last one may be all that is kept
	}
	if m.Rev == 0 {
		m.Rev = e.rev
	}
	q.mu.Unlock()

	var err error
	if record {
		m.ref, err = q.record(id, e.attempt, m.mark)
	}

	q.mu.Lock()
	defer q.mu.Unlock()
	e.busy = false
	if err != nil {
		if m.State == Delivered {
			q.totals[e.Lane]--
		}
		return fmt.Errorf("item %v to become %v: %w", id, m.State, err)
	}
	e.State, e.Changed, e.Where, e.Why, e.mark, e.Released = m.State, m.At, m.Where, m.Why, m.ref, m.Released
	e.tried, e.rev = e.tried || m.tried, m.Rev
	if !m.copied && (m.State == Delivered || m.State == Held || from == Held) {
		q.tell(id, false)
	}
	return nil
}

// record appends a mark. It may use the log's reserve: on a full disk, marks are
// what makes room.
func (q *Queue) record(id ID, a attempt, m mark) (segment.Ref, error) {
	b, err := sealMark(q.domain, id, a, m)
	if err != nil {
		return segment.Ref{}, err
	}
	return q.log.AppendReserve(b)
}

// describe reads an item's description from the log.
func (q *Queue) describe(e entry) (Item, error) {
	b, err := q.log.Read(e.ref)
	if err != nil {
		return Item{}, fmt.Errorf("item %v: %w", e.ID, err)
	}
	_, _, h, _, err := openItem(q.domain, b)
	if err != nil {
		return Item{}, err
	}
	it := h.item()
	it.Released = e.Released
	return it, nil
}

// Named returns the item that was accepted under a key.
func (q *Queue) Named(key string) (Brief, bool) { return q.known(q.blind("key", legible(key))) }

// Describe returns the description of an item in whatever state.
func (q *Queue) Describe(id ID) (Item, error) {
	q.mu.Lock()
	e := q.entries[id]
	var known entry
	if e != nil {
		known = *e
	}
	q.mu.Unlock()
	if e == nil {
		return Item{}, fmt.Errorf("%w: %v", ErrUnknown, id)
	}
	return q.describe(known)
}

// Lanes counts for the wire file.
func (q *Queue) Lanes() []wire.Lane {
	q.mu.Lock()
	defer q.mu.Unlock()
	at := map[lane.Lane]*wire.Lane{}
	out := make([]wire.Lane, len(lane.All()))
	for i, l := range lane.All() {
		out[i] = wire.Lane{Name: l.String(), Delivered: q.totals[l]}
		at[l] = &out[i]
	}
	for _, e := range q.entries {
		if e.State != Waiting && e.State != Delivering {
			continue
		}
		w := at[e.Lane]
		w.Waiting++
		w.Bytes += e.Size
		if w.Oldest.IsZero() || e.Accepted.Before(w.Oldest) {
			w.Oldest = e.Accepted
		}
	}
	return out
}

func now() time.Time { return time.Now().UTC().Round(0) }
