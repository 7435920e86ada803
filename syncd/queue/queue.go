package queue

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"clinicgate/syncd/lane"
	"clinicgate/syncd/segment"
	"clinicgate/syncd/vault"
)

// Options of a queue. Domain is required.
type Options struct {
	Domain    *vault.Domain   // seals everything
	Retention time.Duration   // a delivered item is kept so long, and its Key known; zero: 30 days
	Segment   segment.Options // of the log
	Share     int64           // bytes that one origin may have here undelivered; zero: any
	Pair      []byte          // secret of the pair that items' Names are made with; nil: there is no other box

	chunk int // piece of a body; tests have small ones
}

const defaultRetention = 30 * 24 * time.Hour

// A Queue is an open queue. Safe for concurrent use.
type Queue struct {
	domain    *vault.Domain
	log       *segment.Log
	retention time.Duration
	chunk     int
	share     int64
	pair      []byte
	buffers   sync.Pool // of a chunk each

	// keep is held for reading from an append until what it wrote is counted in
	// pins, and for writing while segments are given up.
	keep sync.RWMutex

	mu      sync.Mutex
	entries map[ID]*entry
	names   map[Name]ID
	claims  map[ID]chan struct{} // identities being accepted now
	pins    map[uint64]int       // records in a segment that living items need
	totals  map[lane.Lane]uint64
	usage   usage
	watch   []func(Brief)
	observe func(id ID, fresh bool) // nil: nobody does
	damage  error                   // what of the log can't be read; then nothing is given up
}

// entry is what is known of an item in memory.
type entry struct {
	Brief
	attempt
	ref    segment.Ref
	chunks []segment.Ref
	mark   segment.Ref // of its state; zero: still as accepted
	tried  bool        // an attempt was recorded, or the other box may have made one: the destination may have it
	name   Name
	rev    uint32 // how often a person or a refusal decided about it
	busy   bool   // a change is being written
}

// Brief is an item's place in the queue, without what is personal in it.
type Brief struct {
	ID       ID
	Lane     lane.Lane
	Kind     string
	Origin   string
	Order    string // a name for the order, not what Item.Order said
	Digest   Digest
	Size     int64
	Accepted time.Time
	State    State
	Changed  time.Time // when it came into this state
	Where    string    // destination it is on its way to or was delivered to
	Why      string    // reason of Held, proof of Delivered
	Released string    // who let it go on after it was held
}

// Open opens the queue whose log lies under dir and replays what is there.
// Damage to the log doesn't keep it from opening: see Damage.
func Open(dir string, o Options) (*Queue, error) {
	if err := o.Domain.Err(); err != nil {
		return nil, fmt.Errorf("open queue: %w", err)
	}
	if o.Retention == 0 {
		o.Retention = defaultRetention
	}
	if o.chunk == 0 {
		o.chunk = chunkSize
	}
	log, err := segment.Open(filepath.Join(dir, "log"), o.Segment)
	if err != nil {
		return nil, fmt.Errorf("open queue: %w", err)
	}
	q := &Queue{
		domain: o.Domain, log: log, retention: o.Retention, chunk: o.chunk, share: o.Share, pair: o.Pair,
		entries: map[ID]*entry{}, names: map[Name]ID{}, claims: map[ID]chan struct{}{}, pins: map[uint64]int{}, totals: map[lane.Lane]uint64{},
	}
	if err := q.replay(); err != nil {
		log.Close()
		return nil, fmt.Errorf("open queue: %w", err)
	}
	return q, nil
}

// Close waits for what is being written. Everything is durable already.
func (q *Queue) Close() error { return q.log.Close() }

// Damage says what of the log can't be read, or nil. While there is damage,
// nothing is recycled: a person looks first.
func (q *Queue) Damage() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.damage
}

// replay makes the state in memory from the log. Marks without their item belong
// to one whose segment was given up. An item's record that comes again is the
// same item at a new place.
func (q *Queue) replay() error {
	marks := map[incarnation]markAt{}
	var unread []error
	err := q.log.Scan(func(ref segment.Ref, record []byte) error {
		if err := q.apply(ref, record, marks); err != nil {
			unread = append(unread, fmt.Errorf("record at %v: %w", ref, err))
		}
		return nil
	})
	if err != nil && !errors.Is(err, segment.ErrDamaged) {
		return err
	}
	if n := len(unread); n > 0 {
		err = errors.Join(err, fmt.Errorf("%d records can't be read, first: %w", n, unread[0]))
	}
	q.damage = err
	for _, e := range q.entries {
		if m, ok := marks[incarnation{e.ID, e.attempt}]; ok {
			e.apply(m)
		}
	}
	q.forgetAgain()
	return nil
}

// forgetAgain drops what an earlier life had forgotten: delivered items of which
// a part lay in a segment that was given up.
func (q *Queue) forgetAgain() {
	live := map[uint64]bool{}
	for _, s := range q.log.Segments() {
		live[s.Gen] = true
	}
	for _, e := range q.entries {
		gone := func(c segment.Ref) bool { return !live[c.Segment()] }
		if e.State == Delivered && slices.ContainsFunc(e.chunks, gone) {
			q.drop(e)
		}
	}
}

// An incarnation is one acceptance of an item.
type incarnation struct {
	id ID
	attempt
}

type markAt struct {
	mark
	ref    segment.Ref
	tried  bool
	copied bool // it is what the other box said
}

func (q *Queue) apply(ref segment.Ref, record []byte, marks map[incarnation]markAt) error {
	if len(record) == 0 {
		return errors.New("empty")
	}
	switch record[0] {
	case chunkRecord:
		return nil // counts when its item comes
	case itemRecord:
		id, a, h, _, err := openItem(q.domain, record)
		if err != nil {
			return err
		}
		q.put(q.newEntry(id, a, h, ref))
		return nil
	case markRecord:
		id, a, m, err := openMark(q.domain, record)
		if err != nil {
			return err
		}
		which := incarnation{id, a}
		if m.Released == "" {
			m.Released = marks[which].Released
		}
		marks[which] = markAt{mark: m, ref: ref, tried: marks[which].tried || m.State == Delivering}
		if m.State == Delivered && m.Total > 0 {
			q.totals[m.Lane] = max(q.totals[m.Lane], m.Total)
		}
		return nil
	case totalRecord:
		totals, err := openTotals(q.domain, record)
		for l, n := range totals {
			q.totals[l] = max(q.totals[l], n)
		}
		return err
	}
	return fmt.Errorf("of unknown type %q", record[0])
}

func (q *Queue) newEntry(id ID, a attempt, h head, ref segment.Ref) *entry {
	e := &entry{attempt: a, ref: ref, chunks: h.chunks(), tried: h.Tried, name: q.name(h.Key, Digest(h.Digest))}
	e.Brief = Brief{
		ID: id, Lane: h.Lane, Kind: h.Kind, Origin: h.Origin, Digest: Digest(h.Digest), Size: h.Size,
		Accepted: h.Accepted, State: Waiting, Changed: h.Accepted,
	}
	if h.Order != "" {
		e.Order = q.blind("order", h.Order).String()
	}
	if h.Held != "" {
		e.State, e.Why = Held, h.Held
	}
	return e
}

// blind names something personal without saying it.
func (q *Queue) blind(what, name string) ID {
	sum := q.domain.Blind(append([]byte(what+"\x00"), name...))
	return ID(sum[:16])
}

// put takes an entry in, or moves the one that is there to its new place. One of
// an earlier acceptance, delivered and forgotten, makes way. The caller holds mu,
// or is alone.
func (q *Queue) put(e *entry) {
	if old := q.entries[e.ID]; old != nil {
		q.unpin(old)
		if old.attempt == e.attempt {
			old.ref, old.chunks = e.ref, e.chunks
			e = old
		}
	}
	q.entries[e.ID] = e
	if q.pair != nil {
		q.names[e.name] = e.ID
	}
	q.pin(e)
}

// drop forgets an entry. The caller holds mu, or is alone.
func (q *Queue) drop(e *entry) {
	q.unpin(e)
	delete(q.entries, e.ID)
	delete(q.names, e.name)
}

func (q *Queue) pin(e *entry) {
	q.pins[e.ref.Segment()]++
	for _, c := range e.chunks {
		q.pins[c.Segment()]++
	}
}

func (q *Queue) unpin(e *entry) {
	q.pins[e.ref.Segment()]--
	for _, c := range e.chunks {
		q.pins[c.Segment()]--
	}
}

func (e *entry) apply(m markAt) {
	e.State, e.Changed, e.Where, e.Why = m.State, m.At, m.Where, m.Why
	e.mark, e.tried, e.Released, e.rev = m.ref, e.tried || m.tried, m.Released, m.Rev
	if e.State == Delivering {
		e.State = Waiting // the attempt ended with the process that made it
	}
}
