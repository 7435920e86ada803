// Package cache keeps answers of the EHR for when it is out of reach. Its one
// guarantee: Get returns what Put was given last for that key, byte for byte, or
// nothing; never another key's, and never a part.
//
// The log is the truth (syncd/segment); every body in it is sealed and bound to
// its key (syncd/vault). The index says where the newest record of a key lies,
// is written behind, and is rebuilt from the log when it is missing or wrong.
package cache

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
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
	Base   string // the EHR's URL, for references that are absolute
	Log    *slog.Logger
	FS     disk.FS // replaces the disk under the log, for tests
	// SegmentSize in bytes; zero: a sixteenth of Bytes, 4 to 16 MiB.
	SegmentSize int64

	background func(func()) // see segment.Options, for tests
}

// Cache is an open cache. Safe for concurrent use.
type Cache struct {
	log    *segment.Log
	domain *vault.Domain
	base   string
	note   *slog.Logger
	keep   atomic.Pointer[func(key string, patient fhir.Ref) bool]

	write sync.Mutex // one writer: the order of the log is the order of the index

	mu      sync.RWMutex
	index   *index
	pending batch // not yet in the index; count and bytes are of all
	touched map[short]time.Time

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
	log, err := segment.Open(filepath.Join(o.Dir, "log"), segment.Options{SegmentSize: o.SegmentSize, MaxBytes: o.Bytes, FS: o.FS, Background: o.background})
	if err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	c := &Cache{
		log: log, domain: o.Domain, base: o.Base, note: o.Log,
		pending: newBatch(), touched: map[short]time.Time{}, stop: make(chan struct{}),
	}
	if err := c.openIndex(filepath.Join(o.Dir, "index.db")); err != nil {
		log.Close()
		return nil, fmt.Errorf("open cache: %w", err)
	}
	c.done.Go(c.flushing)
	return c, nil
}

// Keep sets which answers must not make room for others: those of patients who are
// needed. patient is zero where an answer is nobody's.
func (c *Cache) Keep(needed func(key string, patient fhir.Ref) bool) { c.keep.Store(&needed) }

// openIndex opens or rebuilds the index and reads what the log has more.
func (c *Cache) openIndex(path string) error {
	ix, err := openIndex(path, c.domain)
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
	if ix, err = openIndex(path, c.domain); err != nil {
		return err
	}
	return c.catchUp(ix)
}

// often is how many changes are gathered before the index is written while the log
// is read again.
const often = 20000

// catchUp puts the records behind the index's mark into it. An index that knows
// records the log has not is of another log.
func (c *Cache) catchUp(ix *index) error {
	known, err := ix.state()
	if err != nil {
		return err
	}
	if !known.upto.IsZero() {
		if _, err := c.log.Read(known.upto); errors.Is(err, segment.ErrGone) {
			return fmt.Errorf("%w: it knows a record that the log has not", errIndex)
		}
	}
	c.index, c.pending = ix, known
	odd := 0
	err = c.log.ScanAfter(known.upto, func(ref segment.Ref, record []byte) error {
		kind, n, sealed, err := prefix(record)
		if err != nil {
			odd++
			return nil
		}
		if len(c.pending.places) >= often {
			if err := c.flush(); err != nil {
				return err
			}
		}
		var lists []short
		if kind == kindAnswer {
			if s, err := c.unseal(n, sealed); err == nil {
				lists = c.listsOf(s)
			}
		}
		return c.place(n.short(), change{ref, kind == kindDrop}, lists)
	})
	if odd > 0 {
		c.note.Warn("cache records of another release are left alone; their answers are asked for again", "records", odd)
	}
	if errors.Is(err, segment.ErrDamaged) {
		c.note.Warn("cache log is damaged; the answers lost are asked for again", "err", err)
		err = nil
	}
	if err != nil {
		return err
	}
	defer c.index.rest()
	return c.flush()
}

// unseal opens what is sealed under a name.
func (c *Cache) unseal(n name, sealed []byte) (stored, error) {
	text, err := c.domain.Open(nil, sealed, n[:])
	if err != nil {
		return stored{}, err
	}
	s, err := unpack(text)
	if err == nil && name(c.domain.Blind([]byte(s.key))) != n {
		err = errRecord
	}
	return s, err
}

// open reads the record that a name has in the index.
func (c *Cache) open(n short, ref segment.Ref) (s stored, ok bool, err error) {
	record, err := c.log.Read(ref)
	if errors.Is(err, segment.ErrGone) {
		return stored{}, false, nil // evicted since
	}
	if err != nil {
		return stored{}, false, fmt.Errorf("read cache: %w", err)
	}
	_, whole, sealed, err := prefix(record)
	if err == nil && whole.short() != n {
		err = errRecord
	}
	if err == nil {
		s, err = c.unseal(whole, sealed)
	}
	if err != nil {
		return stored{}, false, fmt.Errorf("read cache: %w", err)
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	if t, ok := c.touched[n]; ok && t.After(s.At) {
		s.At = t
	}
	return s, true, nil
}

// place notes where a name's newest record is, and the lists it stands in. Callers
// are serialised.
func (c *Cache) place(n short, ch change, lists []short) error {
	old, had, err := c.find(n)
	if err != nil {
		return err
	}
	var left []short
	if had {
		if s, ok, err := c.open(n, old); err == nil && ok { // what can't be read is left standing, and found to be gone
			left = c.listsOf(s)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := &c.pending
	if had {
		p.count--
		p.bytes -= old.Size()
	}
	if !ch.gone {
		p.count++
		p.bytes += ch.ref.Size()
	}
	p.places[n] = ch
	if !ch.ref.IsZero() {
		p.upto = ch.ref
	}
	for _, l := range left {
		p.list(l, n, false)
	}
	for _, l := range lists {
		p.list(l, n, true)
	}
	delete(c.touched, n)
	return nil
}

func (b *batch) list(l, n short, in bool) {
	if b.lists[l] == nil {
		b.lists[l] = map[short]bool{}
	}
	b.lists[l][n] = in
}

// find returns the place of a name's newest record.
func (c *Cache) find(n short) (segment.Ref, bool, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if ch, ok := c.pending.places[n]; ok {
		return ch.ref, !ch.gone, nil
	}
	return c.index.get(n)
}

// get returns the record of a name.
func (c *Cache) get(n short) (stored, bool, error) {
	ref, ok, err := c.find(n)
	if err != nil || !ok {
		return stored{}, false, err
	}
	return c.open(n, ref)
}

// Get returns the stored answer of a key.
func (c *Cache) Get(key string) (fhir.Answer, bool, error) {
	s, ok, err := c.get(c.nameOf(key).short())
	if err != nil || !ok || s.key != key {
		return fhir.Answer{}, false, err
	}
	return s.Answer, true, nil
}

func (c *Cache) nameOf(key string) name { return name(c.domain.Blind([]byte(key))) }

// Put stores an answer in place of the key's earlier one. It is durable on
// return.
//
//	stop in the append: the earlier answer, or none
//	stop after it: this one, though the index does not know yet
func (c *Cache) Put(key string, a fhir.Answer) error { return c.PutAll([]Keyed{{key, a}}) }

// A Keyed is an answer under its key.
type Keyed struct {
	Key    string
	Answer fhir.Answer
}

// PutAll stores answers, in that order. After a stop in the middle the first of them
// are there.
func (c *Cache) PutAll(all []Keyed) error {
	records := make([]entry, 0, len(all))
	for _, k := range all {
		e, err := c.seal(k)
		if err != nil {
			return fmt.Errorf("write cache: %w", err)
		}
		records = append(records, e)
	}
	return c.append(records)
}

// An entry is a record before it is written.
type entry struct {
	name   name
	record []byte
	lists  []short
	gone   bool
}

func (c *Cache) seal(k Keyed) (entry, error) {
	n := c.nameOf(k.Key)
	s := stored{key: k.Key}
	if isRef(k.Key) {
		if f, err := fhir.Facet(k.Answer.Body, c.base); err == nil { // else it is shown by its id, and not found
			s.facets, _ = json.Marshal(f) // of strings and numbers
		}
	}
	text, err := pack(k.Key, k.Answer, s.facets)
	if err != nil {
		return entry{}, err
	}
	record := append([]byte{kindAnswer}, n[:]...)
	return entry{name: n, record: c.domain.Seal(record, text, n[:]), lists: c.listsOf(s)}, nil
}

// Drop forgets a key, durably: the EHR says there is no such record any more.
func (c *Cache) Drop(key string) error {
	n := c.nameOf(key)
	if _, ok, err := c.find(n.short()); err != nil || !ok {
		return err
	}
	return c.append([]entry{{name: n, record: append([]byte{kindDrop}, n[:]...), gone: true}})
}

// append writes records, making room where there is none.
func (c *Cache) append(all []entry) error {
	c.write.Lock()
	defer c.write.Unlock()
	for tries := len(c.log.Segments()) + 4; len(all) > 0; tries-- {
		records := make([][]byte, len(all))
		for i, e := range all {
			records[i] = e.record
		}
		refs, err := c.log.AppendAll(records)
		for i, ref := range refs {
			if err := c.place(all[i].name.short(), change{ref, all[i].gone}, all[i].lists); err != nil {
				return err
			}
		}
		all = all[len(refs):]
		if errors.Is(err, segment.ErrFull) && tries > 0 {
			err = c.evict()
		}
		if err != nil {
			return fmt.Errorf("write cache: %w", err)
		}
	}
	return nil
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
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.touched) >= 1<<16 { // bounded; the ages fall back to the stored ones
		clear(c.touched)
	}
	c.touched[c.nameOf(key).short()] = at
	return nil
}

// Stats returns how many answers are stored and the room they take.
func (c *Cache) Stats() (count int, bytes int64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.pending.count, c.pending.bytes
}

// Close writes the index and closes all files.
func (c *Cache) Close() error {
	close(c.stop)
	c.done.Wait()
	c.write.Lock()
	defer c.write.Unlock()
	return errors.Join(c.flush(), c.index.close(), c.log.Close())
}
