// Package trail keeps the trace of every access to records. Its one guarantee: an
// entry whose Append returned is durable, sealed, and chained to all before it,
// so that none can be altered, exchanged or taken from the middle unnoticed.
//
// Entries that come together share one record and one fdatasync. A record is
//
//	number (8) ‖ sealed { prev (32) ‖ entries, JSON lines }
//
// with the number as its sealed identity and prev the SHA-256 of the text of the
// record before. What was cut off the end can be told only by someone who was
// given the last hash: the EHR, to which Next and Delivered bring the trail, and the
// note of how far that is, which lies beside it.
//
// What was delivered is recycled in the end. An entry says so first, with number and
// hash of the last record that goes, so that a front cut off by anybody else is told.
package trail

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"clinicgate/syncd/segment"
	"clinicgate/syncd/vault"
)

// Entry is one access, in the terms of FHIR's AuditEvent.
type Entry struct {
	When    time.Time `json:"when"`
	Session string    `json:"sid,omitempty"`
	Who     string    `json:"who,omitempty"`
	Role    string    `json:"role,omitempty"`
	Room    string    `json:"room,omitempty"`
	Device  string    `json:"device"`            // x5t#S256 of the workstation
	Action  string    `json:"action"`            // "read", "search", or the method of what was refused
	What    string    `json:"what"`              // reference or search
	Patient string    `json:"patient,omitempty"` // reference of the patient whose record it is, where that is known
	Purpose string    `json:"purpose,omitempty"` // HL7 v3 ActReason: "TREAT"; "BTG" is an emergency
	Outcome string    `json:"outcome"`

	// Of an event that was taken over from another program: its number there,
	// within an epoch, and itself, a FHIR AuditEvent.
	Epoch  string          `json:"epoch,omitempty"`
	Number uint64          `json:"n,omitempty"`
	Event  json.RawMessage `json:"event,omitempty"`

	// Of an entry by which older ones were recycled.
	Mark *Mark `json:"mark,omitempty"`
}

// ErrBroken is a chain that does not hold.
var ErrBroken = errors.New("trail: the chain is broken")

// maxBatch bounds the entries of one record.
const maxBatch = 256

// Trail is an open trail. Safe for concurrent use.
type Trail struct {
	log    *segment.Log
	domain *vault.Domain
	note   string // file of how far it is delivered

	queue   sync.Mutex // guards the next three
	waiting []*waiter
	leading bool // somebody writes, or has been told to
	closed  bool

	// Owned by whoever leads.
	number uint64
	prev   Hash

	mu      sync.Mutex
	last    map[string]uint64 // epoch → highest number taken over
	parts   []part            // by segment, oldest first
	chain   string            // names the trail outside the box; "" before the first record
	through State             // delivered so far
	cursor  segment.Ref       // of the last record delivered, as far as is known
}

// Hash is a record's, over its text.
type Hash [sha256.Size]byte

// A waiter is one Append in progress.
type waiter struct {
	entry Entry
	line  []byte // as it is chained
	wake  chan struct{}
	lead  bool // woken to write, not because it is done
	last  bool // Close: comes after all others and appends nothing
	err   error
}

// Open opens the trail in dir and checks its chain. A broken chain is returned
// as ErrBroken beside a usable trail, which goes on from the last record that can
// be read: care must not stop, but someone must know.
func Open(dir string, domain *vault.Domain) (*Trail, error) {
	if err := domain.Err(); err != nil {
		return nil, fmt.Errorf("open trail: %w", err)
	}
	log, err := segment.Open(dir, segment.Options{SegmentSize: 4 << 20})
	if err != nil {
		return nil, fmt.Errorf("open trail: %w", err)
	}
	t := &Trail{
		log: log, domain: domain, note: dir + ".delivered", last: map[string]uint64{},
	}
	t.recall()
	broken := t.check(t.learn)
	if broken != nil && !errors.Is(broken, ErrBroken) {
		log.Close()
		return nil, fmt.Errorf("open trail: %w", broken)
	}
	return t, broken
}

// check walks the chain, calls fn for every record and leaves number and prev at
// its end.
func (t *Trail) check(fn func(segment.Ref, Record)) error {
	t.number, t.prev = 0, Hash{}
	var broken error
	var first *Record
	marks := map[place]bool{}
	err := t.log.Scan(func(ref segment.Ref, record []byte) error {
		r, err := t.open(record)
		switch {
		case err != nil:
			broken = fmt.Errorf("%w: the record at %v: %w", ErrBroken, ref, err)
			return nil
		case first == nil:
			first = &r
		case r.Number != t.number+1 || r.Prev != t.prev:
			broken = fmt.Errorf("%w: got record %d after %d", ErrBroken, r.Number, t.number)
		}
		t.number, t.prev = r.Number, r.Hash
		for _, e := range r.Entries {
			if e.Mark != nil {
				marks[place{e.Mark.Through, e.Mark.Hash}] = true
			}
		}
		fn(ref, r)
		return nil
	})
	if errors.Is(err, segment.ErrDamaged) {
		return fmt.Errorf("%w: %w", ErrBroken, err)
	}
	if first != nil && !first.begins() && !marks[place{first.Number - 1, first.Prev.String()}] {
		broken = fmt.Errorf("%w: it begins with record %d", ErrBroken, first.Number)
	}
	return errors.Join(err, broken, t.held())
}

// learn remembers what is needed of a record that is in the log.
func (t *Trail) learn(ref segment.Ref, r Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.begins() && t.chain == "" {
		t.chain = r.Hash.String()[:chainDigits]
	}
	if n := len(t.parts); n == 0 || t.parts[n-1].gen != ref.Segment() {
		t.parts = append(t.parts, part{gen: ref.Segment()})
	}
	p := &t.parts[len(t.parts)-1]
	p.last, p.hash = r.Number, r.Hash
	if r.Number == t.through.Number {
		t.cursor = ref
	}
	for _, e := range r.Entries {
		if e.Epoch != "" {
			t.last[e.Epoch] = max(t.last[e.Epoch], e.Number)
		}
		if e.When.After(p.newest) {
			p.newest = e.When
		}
		if e.Mark != nil {
			t.chain = e.Mark.Chain
			for epoch, n := range e.Mark.Last {
				t.last[epoch] = max(t.last[epoch], n)
			}
		}
	}
}

// Last is the highest number of that epoch that the trail has: what has a lower
// one is here already.
func (t *Trail) Last(epoch string) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last[epoch]
}

// open opens a record as it lies in the log.
func (t *Trail) open(record []byte) (Record, error) {
	if len(record) < 8 {
		return Record{}, errors.New("too short")
	}
	text, err := t.domain.Open(nil, record[8:], record[:8])
	if err != nil {
		return Record{}, err
	}
	if len(text) < sha256.Size {
		return Record{}, errors.New("too short")
	}
	r := Record{Number: binary.BigEndian.Uint64(record), Prev: Hash(text[:sha256.Size]), Hash: sha256.Sum256(text)}
	r.Lines = bytes.Split(bytes.TrimSuffix(text[sha256.Size:], []byte("\n")), []byte("\n"))
	for _, line := range r.Lines {
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil {
			return Record{}, err
		}
		r.Entries = append(r.Entries, e)
	}
	return r, nil
}

// Walk calls fn for every entry, oldest first, those appended before the call at
// least. What can't be read is left out: Open has said so.
func (t *Trail) Walk(fn func(Entry)) error {
	err := t.log.Scan(func(_ segment.Ref, record []byte) error {
		if r, err := t.open(record); err == nil {
			for _, e := range r.Entries {
				fn(e)
			}
		}
		return nil
	})
	if errors.Is(err, segment.ErrDamaged) {
		return nil
	}
	return err
}

// ErrClosed is an Append after Close.
var ErrClosed = errors.New("trail: closed")

// Append makes an entry durable. After an error the access must not take place.
//
//	stop before it returns: the entry is there or not, the chain holds
//	stop after: it is there
func (t *Trail) Append(e Entry) error {
	line, err := json.Marshal(e) // here, so that many do it at once
	if err != nil {
		return fmt.Errorf("write trail: %w", err)
	}
	w := &waiter{entry: e, line: append(line, '\n'), wake: make(chan struct{})}
	t.queue.Lock()
	if t.closed {
		t.queue.Unlock()
		return ErrClosed
	}
	t.waiting = append(t.waiting, w)
	leads := !t.leading
	t.leading = true
	t.queue.Unlock()
	if !leads {
		<-w.wake
	}
	if leads || w.lead {
		t.lead()
	}
	return w.err
}

// lead writes what waits, the caller's entry in front, as one record: in its own
// goroutine, so that a lone reader waits for nobody. Then it hands the lead to the
// first of those who came meanwhile.
func (t *Trail) lead() {
	t.queue.Lock()
	n := 0
	for n < len(t.waiting) && n < maxBatch && !t.waiting[n].last {
		n++
	}
	group := slices.Clone(t.waiting[:n])
	t.waiting = slices.Delete(t.waiting, 0, n)
	t.queue.Unlock()
	err := t.write(group)
	for i, w := range group {
		w.err = err
		if i > 0 {
			close(w.wake)
		}
	}
	t.queue.Lock()
	defer t.queue.Unlock()
	if t.leading = len(t.waiting) > 0; t.leading {
		t.waiting[0].lead = true
		close(t.waiting[0].wake)
	}
}

func (t *Trail) write(group []*waiter) error {
	text := bytes.NewBuffer(append([]byte(nil), t.prev[:]...))
	for _, w := range group {
		text.Write(w.line)
	}
	id := binary.BigEndian.AppendUint64(nil, t.number+1)
	record := t.domain.Seal(append([]byte(nil), id...), text.Bytes(), id)
	// The last free segment is for this: a full disk must not end care.
	ref, err := t.log.AppendReserve(record)
	if err != nil {
		return fmt.Errorf("write trail: %w", err)
	}
	r := Record{Number: t.number + 1, Prev: t.prev, Hash: sha256.Sum256(text.Bytes())}
	for _, w := range group {
		r.Entries = append(r.Entries, w.entry)
	}
	t.number, t.prev = r.Number, r.Hash
	t.learn(ref, r)
	return nil
}

// Close waits for appends in progress and closes the trail.
func (t *Trail) Close() error {
	t.queue.Lock()
	t.closed = true
	if t.leading {
		last := &waiter{wake: make(chan struct{}), last: true}
		t.waiting = append(t.waiting, last)
		t.queue.Unlock()
		<-last.wake // the lead is ours now, and nobody else will ask for it
		t.queue.Lock()
		t.waiting, t.leading = nil, false
	}
	t.queue.Unlock()
	return t.log.Close()
}
