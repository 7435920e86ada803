package queue

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"clinicgate/syncd/segment"
)

// Maintain forgets what was delivered longer ago than the retention and gives up
// the segments nothing needs. Segments go oldest first only: a mark lies behind
// its item, so none is lost before the item it speaks of.
//
//	stop between two segments: those gone are gone, the next life goes on
func (q *Queue) Maintain(now time.Time) error {
	if q.Damage() != nil {
		return nil // nothing is given up that a person may want to look at
	}
	q.forget(now.Add(-q.retention))
	for {
		gone, err := q.giveUpOldest()
		if err != nil || !gone {
			return err
		}
	}
}

// forget drops what was delivered before.
func (q *Queue) forget(before time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range q.entries {
		if e.State == Delivered && !e.busy && e.Changed.Before(before) {
			q.drop(e)
		}
	}
}

// giveUpOldest retires the oldest segment if nothing in it is needed. If only held
// items are, and behind them is room to gain, they are moved to the front first.
func (q *Queue) giveUpOldest() (bool, error) {
	all := q.log.Segments()
	if len(all) < 3 || all[0].Last {
		return false, nil // too few to gain anything
	}
	gen := all[0].Gen
	if held := q.onlyHeld(gen); len(held) > 0 && q.worthMoving(all) {
		for _, id := range held {
			if err := q.move(id); err != nil {
				return false, fmt.Errorf("move item %v: %w", id, err)
			}
		}
	}
	q.keep.Lock()
	defer q.keep.Unlock()
	q.mu.Lock()
	needed := q.pins[gen]
	if needed <= 0 {
		delete(q.pins, gen)
	}
	q.mu.Unlock()
	if needed > 0 {
		return false, nil
	}
	if err := q.saveTotals(); err != nil { // the marks that said them may go now
		return false, err
	}
	if err := q.log.Retire(gen); err != nil {
		return false, fmt.Errorf("maintain queue: %w", err)
	}
	return true, nil
}

func (q *Queue) saveTotals() error {
	q.mu.Lock()
	totals := maps.Clone(q.totals)
	q.mu.Unlock()
	b, err := sealTotals(q.domain, totals)
	if err == nil {
		_, err = q.log.AppendReserve(b)
	}
	if err != nil {
		return fmt.Errorf("maintain queue: %w", err)
	}
	return nil
}

// worthMoving reports that at least half of the log is of no use any more. So all
// that is ever moved is less than what comes free by it, and a log full of held
// items lies still.
func (q *Queue) worthMoving(all []segment.Segment) bool {
	var used, needed int64
	for _, s := range all {
		used += s.Used
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range q.entries {
		needed += e.ref.Size() + e.mark.Size()
		for _, c := range e.chunks {
			needed += c.Size()
		}
	}
	return used > 2*needed
}

// onlyHeld lists the items that need a segment, if all of them are held.
func (q *Queue) onlyHeld(gen uint64) []ID {
	q.mu.Lock()
	defer q.mu.Unlock()
	var held []ID
	pins := 0
	for id, e := range q.entries {
		n := 0
		for _, ref := range append(slices.Clone(e.chunks), e.ref) {
			if ref.Segment() == gen {
				n++
			}
		}
		if n > 0 && e.State == Held {
			held = append(held, id)
			pins += n
		}
	}
	if pins != q.pins[gen] { // others, or an Accept in progress
		return nil
	}
	return held
}

// move writes a held item and its mark once more at the end of the log. Chunks
// and marks are bound to the item, not to their place.
//
//	stop anywhere: the old records are still there; the same item twice is one item
func (q *Queue) move(id ID) error {
	q.keep.RLock()
	defer q.keep.RUnlock()
	old, err := q.seize(id)
	if err != nil {
		return err
	}
	defer q.letGo(id)
	record, err := q.log.Read(old.ref)
	if err != nil {
		return err
	}
	if len(old.chunks) > 0 {
		if record, err = q.moveChunks(record, old.chunks); err != nil {
			return err
		}
	}
	ref, err := q.log.Append(record)
	if err != nil {
		return err
	}
	at := old.mark
	if !at.IsZero() {
		if at, err = q.copy(at); err != nil {
			return err
		}
	}
	_, a, h, _, err := openItem(q.domain, record)
	if err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.put(q.newEntry(id, a, h, ref))
	q.entries[id].mark = at
	return nil
}

// seize makes a held item busy, so that nobody changes it while it moves.
func (q *Queue) seize(id ID) (entry, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.entries[id]
	if e == nil || e.State != Held || e.busy {
		return entry{}, fmt.Errorf("%w: item %v", ErrState, id)
	}
	e.busy = true
	return *e, nil
}

func (q *Queue) letGo(id ID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.entries[id].busy = false
}

// moveChunks copies the chunks and returns the item's record with their places.
func (q *Queue) moveChunks(record []byte, chunks []segment.Ref) ([]byte, error) {
	id, a, h, _, err := openItem(q.domain, record)
	if err != nil {
		return nil, err
	}
	h.Chunks = nil
	for _, ref := range chunks {
		to, err := q.copy(ref)
		if err != nil {
			return nil, err
		}
		h.Chunks, _ = to.AppendBinary(h.Chunks)
	}
	return sealItem(q.domain, id, a, h, nil)
}

func (q *Queue) copy(ref segment.Ref) (segment.Ref, error) {
	record, err := q.log.Read(ref)
	if err != nil {
		return segment.Ref{}, err
	}
	return q.log.Append(record)
}
