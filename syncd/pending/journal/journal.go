// Package journal keeps edits on the disk. Its one guarantee: an edit whose Put
// returned is there after any stop, as that Put or a later one said it stands, sealed,
// and nothing of it in plain.
//
// A record is the whole of an edit as it stands; the newest of an edit counts, so that
// a record can be moved to the young end of the log at any time:
//
//	blind name of the edit's id (32) ‖ sealed { edit, JSON }
package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"clinicgate/syncd/disk"
	"clinicgate/syncd/pending"
	"clinicgate/syncd/segment"
	"clinicgate/syncd/vault"
)

// Bounds of the log on the disk.
const (
	segmentSize = 8 << 20 // bytes
	segments    = 16
)

const nameSize = 32

// ErrDamaged is a record that can't be read: an edit may be lost.
var ErrDamaged = errors.New("journal: an edit can't be read")

// Options of a journal.
type Options struct {
	Dir         string
	Domain      *vault.Domain
	FS          disk.FS      // replaces the disk, for tests
	SegmentSize int64        // zero: 8 MiB
	Background  func(func()) // see segment.Options, for tests
}

// A Journal is an open journal. Safe for concurrent use.
type Journal struct {
	log    *segment.Log
	domain *vault.Domain

	mu     sync.Mutex
	newest map[string]segment.Ref // by the edit's id
}

// Open opens the journal and calls fn with each edit as it stands. Damage is returned
// as ErrDamaged beside a usable journal.
func Open(o Options, fn func(pending.Edit)) (*Journal, error) {
	if err := o.Domain.Err(); err != nil {
		return nil, fmt.Errorf("open journal of edits: %w", err)
	}
	if o.SegmentSize == 0 {
		o.SegmentSize = segmentSize
	}
	log, err := segment.Open(o.Dir, segment.Options{SegmentSize: o.SegmentSize, MaxBytes: segments * o.SegmentSize, FS: o.FS, Background: o.Background})
	if err != nil {
		return nil, fmt.Errorf("open journal of edits: %w", err)
	}
	j := &Journal{log: log, domain: o.Domain, newest: map[string]segment.Ref{}}
	bad := 0
	err = log.Scan(func(ref segment.Ref, record []byte) error {
		e, err := j.open(record)
		if err != nil {
			bad++
			return nil
		}
		j.newest[e.ID] = ref
		fn(e)
		return nil
	})
	switch {
	case errors.Is(err, segment.ErrDamaged):
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	case err != nil:
		log.Close()
		return nil, fmt.Errorf("open journal of edits: %w", err)
	case bad > 0:
		err = fmt.Errorf("%w: %d records", ErrDamaged, bad)
	}
	return j, err
}

func (j *Journal) open(record []byte) (e pending.Edit, err error) {
	if len(record) < nameSize {
		return e, ErrDamaged
	}
	text, err := j.domain.Open(nil, record[nameSize:], record[:nameSize])
	if err == nil {
		err = json.Unmarshal(text, &e)
	}
	if err != nil {
		return e, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if name := j.domain.Blind([]byte(e.ID)); string(name[:]) != string(record[:nameSize]) {
		return e, ErrDamaged
	}
	return e, nil
}

// Put makes edits durable as they stand, in that order. final ones may take the last
// room: what they say frees some.
//
//	stop before it returns: the first of them stand so, the others as before
//	stop after: all stand so
func (j *Journal) Put(final bool, edits ...pending.Edit) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	records := make([][]byte, len(edits))
	for i, e := range edits {
		text, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("write journal of edits: %w", err)
		}
		name := j.domain.Blind([]byte(e.ID))
		records[i] = j.domain.Seal(append([]byte(nil), name[:]...), text, name[:])
	}
	refs, err := j.append(final, records)
	for i, ref := range refs {
		j.newest[edits[i].ID] = ref
	}
	if err != nil {
		return fmt.Errorf("write journal of edits: %w", err)
	}
	return nil
}

func (j *Journal) append(final bool, records [][]byte) (refs []segment.Ref, err error) {
	for tries := len(j.log.Segments()) + 2; ; tries-- {
		put := j.log.AppendAll
		if final {
			put = j.log.AppendAllReserve
		}
		some, err := put(records)
		refs, records = append(refs, some...), records[len(some):]
		if !errors.Is(err, segment.ErrFull) || tries == 0 {
			return refs, err
		}
		if err := j.trim(); err != nil {
			return refs, err
		}
	}
}

// Forget drops an edit: nothing of it is kept once its place on the disk is used
// again.
func (j *Journal) Forget(id string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.newest, id)
}

// Trim gives up the oldest segment when there are many.
func (j *Journal) Trim(atMost int) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.log.Segments()) <= atMost {
		return nil
	}
	return j.trim()
}

// trim moves what counts in the oldest segment to the young end and gives the segment
// up.
//
//	stop while it moves: records are there twice, the younger one counts
//	stop before Retire: the same
func (j *Journal) trim() error {
	live := j.log.Segments()
	if len(live) == 0 || live[0].Last {
		return segment.ErrFull
	}
	end := errors.New("end of the segment")
	var ids []string
	var records [][]byte
	err := j.log.Scan(func(ref segment.Ref, record []byte) error {
		if ref.Segment() != live[0].Gen {
			return end
		}
		e, err := j.open(record)
		if err == nil && j.newest[e.ID] == ref {
			ids, records = append(ids, e.ID), append(records, append([]byte(nil), record...))
		}
		return nil
	})
	if err != nil && !errors.Is(err, end) {
		return err
	}
	refs, err := j.log.AppendAllReserve(records)
	for i, ref := range refs {
		j.newest[ids[i]] = ref
	}
	if err != nil {
		return err
	}
	return j.log.Retire(live[0].Gen)
}

// Close closes the journal.
func (j *Journal) Close() error { return j.log.Close() }
