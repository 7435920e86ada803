// Package cache keeps answers of the EHR for when it is out of reach. Its one
// guarantee: Get returns what Put was given last for that key, byte for byte, or
// nothing; never another key's, and never a part.
//
// The log is the truth (syncd/segment); every body in it is sealed and bound to
// its key (syncd/vault). The index says where the newest record of a key lies,
// is written behind, and is rebuilt from the log when it is missing or wrong.
package cache

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"clinicgate/firmware/durable"
	"clinicgate/syncd/disk"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/segment"
	"clinicgate/syncd/vault"
)

// maxBody bounds a stored body, in bytes, as the EHR sent it.
const maxBody = 32 << 20

// ErrTooLarge is an answer that does not fit a record even deflated.
var ErrTooLarge = segment.ErrTooLarge

// flushEvery is how long the index may lag behind the log.
const flushEvery = 500 * time.Millisecond

// Options of a cache.
type Options struct {
	Dir    string // its folder, made if there is none
	Bytes  int64  // bound of the log on disk
	Domain *vault.Domain
	Log    *slog.Logger
	FS     disk.FS // replaces the disk under the log, for tests
	// SegmentSize in bytes; zero: a sixteenth of Bytes, 4 to 16 MiB.
	SegmentSize int64
}

// Cache is an open cache. Safe for concurrent use.
type Cache struct {
	log    *segment.Log
	domain *vault.Domain
	note   *slog.Logger

	write sync.Mutex // one writer: the order of the log is the order of the index

	mu      sync.RWMutex
	index   *index
	pending map[name]change // not yet in the index
	upto    segment.Ref     // last record looked at
	touched map[name]time.Time
	count   int
	bytes   int64

	stop chan struct{}
	done sync.WaitGroup
}

// Open opens the cache. Damage in the log costs the damaged answers, a bad index
// costs a scan; both are logged.
func Open(o Options) (*Cache, error) {
	if err := o.Domain.Err(); err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	if o.SegmentSize == 0 {
		o.SegmentSize = min(max(o.Bytes/16, 4<<20), 16<<20)
	}
	if err := durable.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	log, err := segment.Open(filepath.Join(o.Dir, "log"), segment.Options{SegmentSize: o.SegmentSize, MaxBytes: o.Bytes, FS: o.FS})
	if err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	c := &Cache{
		log: log, domain: o.Domain, note: o.Log,
		pending: map[name]change{}, touched: map[name]time.Time{}, stop: make(chan struct{}),
	}
	if err := c.openIndex(filepath.Join(o.Dir, "index.db")); err != nil {
		log.Close()
		return nil, fmt.Errorf("open cache: %w", err)
	}
	c.done.Go(c.flushing)
	return c, nil
}

// openIndex opens or rebuilds the index and reads what the log has more.
func (c *Cache) openIndex(path string) error {
	owner := name(c.domain.Blind([]byte("clinicgate cache index")))
	ix, err := openIndex(path, owner)
	if err == nil {
		err = c.catchUp(ix)
	}
	if err == nil {
		return nil
	}
	c.note.Warn("cache index is rebuilt from the log", "err", err)
	if ix != nil {
		ix.db.Close()
	}
	if err := removeIndex(path); err != nil {
		return err
	}
	if ix, err = openIndex(path, owner); err != nil {
		return err
	}
	return c.catchUp(ix)
}

// catchUp puts the records behind the index's mark into it. An index that knows
// records the log has not is of another log.
func (c *Cache) catchUp(ix *index) error {
	c.pending, c.count, c.bytes = map[name]change{}, 0, 0
	upto, err := ix.upto()
	if err != nil {
		return err
	}
	if !upto.IsZero() {
		if _, err := c.log.Read(upto); errors.Is(err, segment.ErrGone) {
			return fmt.Errorf("%w: it knows a record that the log has not", errIndex)
		}
	}
	c.index, c.upto = ix, upto
	if err := ix.each(func(_ name, p place) { c.count++; c.bytes += p.size }); err != nil {
		return err
	}
	err = c.log.ScanAfter(upto, func(ref segment.Ref, record []byte) error {
		kind, n, _, err := prefix(record)
		if err != nil {
			c.note.Warn("cache record skipped", "at", ref.String(), "err", err)
			return nil
		}
		return c.place(n, change{place{ref, ref.Size()}, kind == kindDrop}, ref)
	})
	if errors.Is(err, segment.ErrDamaged) {
		c.note.Warn("cache log is damaged; the answers lost are asked for again", "err", err)
		err = nil
	}
	if err != nil {
		return err
	}
	return c.flush()
}

// place notes where a name's newest record is. Callers are serialised.
func (c *Cache) place(n name, ch change, upto segment.Ref) error {
	old, had, err := c.find(n)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if had {
		c.count--
		c.bytes -= old.size
	}
	if !ch.gone {
		c.count++
		c.bytes += ch.size
	}
	c.pending[n], c.upto = ch, upto
	delete(c.touched, n)
	return nil
}

// find returns the place of a name's newest record.
func (c *Cache) find(n name) (place, bool, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if ch, ok := c.pending[n]; ok {
		return ch.place, !ch.gone, nil
	}
	return c.index.get(n)
}

// Get returns the stored answer of a key.
func (c *Cache) Get(key string) (fhir.Answer, bool, error) {
	n := name(c.domain.Blind([]byte(key)))
	p, ok, err := c.find(n)
	if err != nil || !ok {
		return fhir.Answer{}, false, err
	}
	record, err := c.log.Read(p.ref)
	if errors.Is(err, segment.ErrGone) {
		return fhir.Answer{}, false, nil // evicted since
	}
	if err != nil {
		return fhir.Answer{}, false, fmt.Errorf("read cache: %w", err)
	}
	_, _, sealed, err := prefix(record)
	if err != nil {
		return fhir.Answer{}, false, fmt.Errorf("read cache: %w", err)
	}
	text, err := c.domain.Open(nil, sealed, []byte(key))
	if err != nil {
		return fhir.Answer{}, false, fmt.Errorf("read cache: %w", err)
	}
	a, err := unpack(text)
	if err != nil {
		return fhir.Answer{}, false, fmt.Errorf("read cache: %w", err)
	}
	c.mu.RLock()
	if t, ok := c.touched[n]; ok && t.After(a.At) {
		a.At = t
	}
	c.mu.RUnlock()
	return a, true, nil
}

// Put stores an answer in place of the key's earlier one. It is durable on
// return.
//
//	stop in the append: the earlier answer, or none
//	stop after it: this one, though the index does not know yet
func (c *Cache) Put(key string, a fhir.Answer) error {
	text, err := pack(a)
	if err != nil {
		return fmt.Errorf("write cache: %w", err)
	}
	n := name(c.domain.Blind([]byte(key)))
	record := append([]byte{kindAnswer}, n[:]...)
	return c.append(n, c.domain.Seal(record, text, []byte(key)))
}

// Drop forgets a key, durably: the EHR says there is no such record any more.
func (c *Cache) Drop(key string) error {
	n := name(c.domain.Blind([]byte(key)))
	if _, ok, err := c.find(n); err != nil || !ok {
		return err
	}
	return c.append(n, append([]byte{kindDrop}, n[:]...))
}

func (c *Cache) append(n name, record []byte) error {
	c.write.Lock()
	defer c.write.Unlock()
	ref, err := c.log.Append(record)
	for range 4 { // room for one record needs one segment, or two when they are small
		if !errors.Is(err, segment.ErrFull) {
			break
		}
		if err := c.evict(); err != nil {
			return fmt.Errorf("write cache: %w", err)
		}
		ref, err = c.log.Append(record)
	}
	if err != nil {
		return fmt.Errorf("write cache: %w", err)
	}
	return c.place(n, change{place{ref, ref.Size()}, record[0] == kindDrop}, ref)
}

// longTouch is the age from which a confirmed answer is written anew, so that
// its new age outlives a stop and its record moves away from the end that is
// evicted first.
const longTouch = time.Hour

// Touch notes that the EHR confirmed a stored answer at that time.
func (c *Cache) Touch(key string, stored fhir.Answer, at time.Time) error {
	if at.Sub(stored.At) >= longTouch {
		stored.At = at
		return c.Put(key, stored)
	}
	n := name(c.domain.Blind([]byte(key)))
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.touched) >= 1<<16 { // bounded; the ages fall back to the stored ones
		clear(c.touched)
	}
	c.touched[n] = at
	return nil
}

// Stats returns how many answers are stored and the room they take.
func (c *Cache) Stats() (count int, bytes int64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.count, c.bytes
}

// Close writes the index and closes all files.
func (c *Cache) Close() error {
	close(c.stop)
	c.done.Wait()
	c.write.Lock()
	defer c.write.Unlock()
	return errors.Join(c.flush(), c.index.close(), c.log.Close())
}
