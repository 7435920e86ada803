package cache

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"clinicgate/syncd/fhir"
	"clinicgate/syncd/segment"
)

// restEvery is how many flushes pass before the index's memory is given back.
const restEvery = 20

// flushing writes the index behind the log until the cache is closed.
func (c *Cache) flushing() {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-c.stop:
			return
		case <-tick.C:
			if err := c.flush(); err != nil {
				c.note.Error("write cache index", "err", err)
			}
			if n%restEvery == 0 {
				c.index.rest()
			}
		}
	}
}

// flush moves what is pending into the index. Changes that come meanwhile stay
// pending; one that came for the same name stays too.
func (c *Cache) flush() error {
	c.mu.RLock()
	b := c.pending
	b.places, b.lists = maps.Clone(b.places), make(map[short]map[short]bool, len(b.lists))
	for l, changes := range c.pending.lists {
		b.lists[l] = maps.Clone(changes)
	}
	c.mu.RUnlock()
	if len(b.places) == 0 {
		return nil
	}
	if err := c.index.apply(b); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for n, ch := range b.places {
		if c.pending.places[n] == ch {
			delete(c.pending.places, n)
		}
	}
	for l, changes := range b.lists {
		for n, in := range changes {
			if now, ok := c.pending.lists[l][n]; ok && now == in {
				delete(c.pending.lists[l], n)
			}
		}
		if len(c.pending.lists[l]) == 0 {
			delete(c.pending.lists, l)
		}
	}
	return nil
}

// evict gives up the oldest segment: what was written longest ago. What is needed
// (Keep) is written anew first, and so moves to the young end.
//
//	stop while it is written anew: it is there twice, the younger one counts
//	stop before the index is written: it names records that are still there
//	stop before Retire: the index has forgotten answers the log still has; their
//	    room is free anyhow, and a rebuilt index finds them again
//	stop after: gone
func (c *Cache) evict() error {
	live := c.log.Segments()
	if len(live) == 0 || live[0].Last {
		return segment.ErrFull // the disk has no room even for one segment more
	}
	oldest := live[0].Gen
	drop, move, err := c.sortOut(oldest)
	if err != nil {
		return err
	}
	if err := c.move(move); err != nil {
		return err
	}
	for _, n := range drop {
		if err := c.place(n, change{gone: true}, nil); err != nil {
			return err
		}
	}
	if err := c.flush(); err != nil {
		return err
	}
	if err := c.log.Retire(oldest); err != nil {
		return fmt.Errorf("evict: %w", err)
	}
	c.note.Info("cache is full, the oldest answers made room", "answers", len(drop), "needed", len(move))
	return nil
}

// sortOut says what of a segment's live records is dropped and what is needed.
func (c *Cache) sortOut(gen uint64) (drop []short, move []entry, err error) {
	end := errors.New("end of the segment")
	err = c.log.Scan(func(ref segment.Ref, record []byte) error {
		if ref.Segment() != gen {
			return end
		}
		kind, n, sealed, err := prefix(record)
		if err != nil || kind != kindAnswer {
			return nil
		}
		if at, ok, err := c.find(n.short()); err != nil || !ok || at != ref {
			return err // there is a younger one
		}
		s, err := c.unseal(n, sealed)
		if err == nil && c.needed(s) {
			move = append(move, entry{name: n, record: append([]byte(nil), record...), lists: c.listsOf(s)})
			return nil
		}
		drop = append(drop, n.short())
		return nil
	})
	if errors.Is(err, end) || errors.Is(err, segment.ErrDamaged) {
		err = nil
	}
	return drop, move, err
}

func (c *Cache) needed(s stored) bool {
	keep := c.keep.Load()
	return keep != nil && (*keep)(s.key, s.patient())
}

// patient is whose a stored answer is, as far as its key or its facets tell.
func (s stored) patient() fhir.Ref {
	if of, ok := patientOfKey(s.key); ok {
		return of
	}
	return s.find().Patient
}

// move writes records anew, into the room that is kept for it.
func (c *Cache) move(all []entry) error {
	records := make([][]byte, len(all))
	for i, e := range all {
		records[i] = e.record
	}
	refs, err := c.log.AppendAllReserve(records)
	for i, ref := range refs {
		if err := c.place(all[i].name.short(), change{ref: ref}, all[i].lists); err != nil {
			return err
		}
	}
	if err != nil {
		return fmt.Errorf("keep what is needed: %w", err)
	}
	return nil
}
