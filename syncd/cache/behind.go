package cache

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"clinicgate/syncd/segment"
)

// flushing writes the index behind the log until the cache is closed.
func (c *Cache) flushing() {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-tick.C:
			if err := c.flush(); err != nil {
				c.note.Error("write cache index", "err", err)
			}
		}
	}
}

// flush moves what is pending into the index. Changes that come meanwhile stay
// pending; one that came for the same name stays too.
func (c *Cache) flush() error {
	c.mu.RLock()
	changes, upto := maps.Clone(c.pending), c.upto
	c.mu.RUnlock()
	if len(changes) == 0 {
		return nil
	}
	if err := c.index.apply(changes, upto); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for n, ch := range changes {
		if c.pending[n] == ch {
			delete(c.pending, n)
		}
	}
	return nil
}

// evict gives up the oldest segment: what was written longest ago and not
// confirmed since.
//
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
	gone := map[name]segment.Ref{}
	end := errors.New("end of the segment")
	err := c.log.Scan(func(ref segment.Ref, record []byte) error {
		if ref.Segment() != oldest {
			return end
		}
		if kind, n, _, err := prefix(record); err == nil && kind == kindAnswer {
			gone[n] = ref
		}
		return nil
	})
	if err != nil && !errors.Is(err, end) && !errors.Is(err, segment.ErrDamaged) {
		return err
	}
	dropped := 0
	for n, ref := range gone {
		p, ok, err := c.find(n)
		if err != nil {
			return err
		}
		if ok && p.ref == ref {
			if err := c.place(n, change{gone: true}, c.upto); err != nil {
				return err
			}
			dropped++
		}
	}
	if err := c.flush(); err != nil {
		return err
	}
	if err := c.log.Retire(oldest); err != nil {
		return fmt.Errorf("evict: %w", err)
	}
	c.note.Info("cache is full, the oldest answers made room", "answers", dropped)
	return nil
}
