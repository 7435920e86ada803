package trail

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"clinicgate/firmware/durable"
	"clinicgate/syncd/segment"
)

// Record is a record of the trail, as others are given it. Hash is the SHA-256 of
// Prev and the Lines, each with a line feed behind it.
type Record struct {
	Number     uint64
	Prev, Hash Hash
	Entries    []Entry
	Lines      [][]byte // the entries as they are chained

	at segment.Ref // zero: not known
}

// String is the hash in hex.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// begins says that a record is a trail's first.
func (r Record) begins() bool { return r.Number == 1 && r.Prev == Hash{} }

// chainDigits of the first record's hash name a trail: two boxes of a site, and one
// box whose data partition was made anew, have different ones.
const chainDigits = 16

// State is how far the trail is delivered. The zero State is not at all.
type State struct {
	Number uint64 `json:"number"`
	Hash   string `json:"hash"`
	Chain  string `json:"chain,omitempty"` // the name since a fork
}

const (
	noteID   = "delivered" // the note's identity; a record's has 8 bytes
	noteMost = 4096
)

// recall reads the note. One that is lost or can't be opened is no loss: then all is
// offered again, and what takes it knows it by number and hash.
func (t *Trail) recall() {
	sealed, err := os.ReadFile(t.note)
	if err != nil || len(sealed) > noteMost {
		return
	}
	if text, err := t.domain.Open(nil, sealed, []byte(noteID)); err == nil {
		_ = json.Unmarshal(text, &t.through)
	}
}

// held holds the end of the chain against what was delivered: what was delivered and
// is not here was cut off. The chain goes on behind it then.
func (t *Trail) held() error {
	if t.number >= t.through.Number {
		return nil
	}
	was := t.number
	raw, err := hex.DecodeString(t.through.Hash)
	if err == nil && len(raw) == sha256.Size {
		t.number, t.prev = t.through.Number, Hash(raw)
	}
	return fmt.Errorf("%w: it ends with record %d, and %d was delivered", ErrBroken, was, t.through.Number)
}

// errEnough ends a scan.
var errEnough = errors.New("enough")

// Next returns the oldest records that are not delivered, at least one if there is
// one, and no more when they have so many entries or bytes.
func (t *Trail) Next(entries, bytes int) ([]Record, error) {
	t.mu.Lock()
	from, after := t.cursor, t.through.Number
	t.mu.Unlock()
	var all []Record
	err := t.log.ScanAfter(from, func(ref segment.Ref, record []byte) error {
		r, err := t.open(record)
		if err != nil || r.Number <= after {
			return nil // Open has said so; the gap is seen by whoever takes them
		}
		for _, line := range r.Lines {
			bytes -= len(line)
		}
		entries -= len(r.Entries)
		if len(all) > 0 && (entries < 0 || bytes < 0) {
			return errEnough
		}
		r.at = ref
		all = append(all, r)
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) && !errors.Is(err, segment.ErrDamaged) {
		return nil, fmt.Errorf("read trail: %w", err)
	}
	return all, nil
}

// Delivered notes that everything up to r is delivered. After an error it is offered
// again.
//
//	stop before the rename in durable.WriteFile: it is offered again
//	stop after: it is not
func (t *Trail) Delivered(r Record) error {
	t.mu.Lock()
	s := State{Number: r.Number, Hash: r.Hash.String(), Chain: t.through.Chain}
	t.mu.Unlock()
	if err := t.keep(s); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !r.at.IsZero() {
		t.cursor = r.at
	}
	return nil
}

// Fork gives the trail another name from r on: there is another record of its number
// outside the box already, so one of the two was made by going back in time. The name
// follows from r, so that it is the same after a stop.
func (t *Trail) Fork(r Record) error {
	t.mu.Lock()
	s := t.through
	s.Chain = r.Hash.String()[:chainDigits] + "f"
	t.mu.Unlock()
	return t.keep(s)
}

// keep writes the note.
func (t *Trail) keep(s State) error {
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("note how far the trail is delivered: %w", err)
	}
	if err := durable.WriteFile(t.note, t.domain.Seal(nil, text, []byte(noteID)), 0o600); err != nil {
		return fmt.Errorf("note how far the trail is delivered: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.through = s
	return nil
}

// Chain names the trail outside the box; "" before its first record.
func (t *Trail) Chain() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.through.Chain != "" {
		return t.through.Chain
	}
	return t.chain
}

// Length is the number of the newest record, and of the newest that is delivered.
func (t *Trail) Length() (last, delivered uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.parts); n > 0 {
		last = t.parts[n-1].last
	}
	return last, t.through.Number
}

// part is what is known of a segment of the log.
type part struct {
	gen    uint64
	last   uint64 // newest record in it
	hash   Hash
	newest time.Time // of its entries
}

// Mark says which records were recycled, and what of them must be known.
type Mark struct {
	Through uint64            `json:"through"`
	Hash    string            `json:"hash"`  // of that record
	Until   time.Time         `json:"until"` // time of the newest entry that went
	Chain   string            `json:"chain"` // the trail's name, which follows from its first record
	Last    map[string]uint64 `json:"last,omitempty"`
}

// place is a record by number and hash.
type place struct {
	number uint64
	hash   string
}

// Recycle gives up segments all of which is delivered, the oldest first, when their
// newest entry is from before, or the log takes more than most bytes. It returns how
// many.
//
//	stop before the mark is durable: nothing happened
//	stop before the segment is retired: a mark too early, which says nothing yet; the
//	next call makes another
func (t *Trail) Recycle(before time.Time, most int64) (n int, err error) {
	for {
		p, ok := t.oldest(before, most)
		if !ok {
			return n, nil
		}
		t.mu.Lock()
		m := &Mark{Through: p.last, Hash: p.hash.String(), Until: p.newest, Chain: t.chain, Last: map[string]uint64{}}
		for epoch, last := range t.last {
			m.Last[epoch] = last
		}
		t.mu.Unlock()
		e := Entry{When: time.Now().UTC(), Action: "recycle", What: accesses, Outcome: "delivered", Mark: m}
		if err := t.Append(e); err != nil {
			return n, err
		}
		if err := t.log.Retire(p.gen); err != nil {
			return n, fmt.Errorf("recycle trail: %w", err)
		}
		t.mu.Lock()
		t.parts = t.parts[1:]
		t.mu.Unlock()
		n++
	}
}

// accesses is the type of what the trail holds.
const accesses = "AuditEvent"

// oldest is the oldest segment, if it may go.
func (t *Trail) oldest(before time.Time, most int64) (part, bool) {
	all := t.log.Segments()
	var size int64
	for _, s := range all {
		size += s.Size
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(all) < 2 || len(t.parts) < 2 || t.parts[0].gen != all[0].Gen {
		return part{}, false
	}
	p := t.parts[0]
	return p, p.last <= t.through.Number && (p.newest.Before(before) || size > most)
}
