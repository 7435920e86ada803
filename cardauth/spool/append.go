package spool

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"

	"clinicgate/firmware/durable"
)

// Append makes a record durable and gives it its number.
//
//	stop before the sync returns: the frame is there, torn or not at all; nobody was told
//	stop after: it is there
//
// After a failed write or sync the file is written anew before the next record:
// what the kernel kept of it is not known.
func (s *Spool) Append(r Record) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bad != nil {
		if err := s.rewrite(); err != nil {
			return 0, err
		}
	}
	r.N = s.next
	text, err := json.Marshal(r)
	if err != nil {
		return 0, fmt.Errorf("append to spool: %w", err)
	}
	limit := int64(MaxSize - reserve)
	if r.Ends != "" {
		limit = MaxSize
	}
	if len(text) > maxRecord || s.size+int64(len(text)) > limit {
		return 0, fmt.Errorf("append to spool: %w: a record of %d bytes behind %d", ErrFull, len(text), s.size)
	}
	frame := s.seal(text, false)
	_, err = s.file.WriteAt(frame, s.size)
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		s.bad = err
		return 0, fmt.Errorf("append to spool: %w", err)
	}
	s.prev = sha256.Sum256(frame)
	s.size += int64(len(frame))
	s.took(r, s.size)
	return r.N, nil
}

// Waiting returns up to max records behind number after, oldest first, that are
// not acknowledged.
func (s *Spool) Waiting(after uint64, max int) []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Record
	for _, k := range s.kept {
		if k.N > after && len(all) < max {
			all = append(all, k.Record)
		}
	}
	return all
}

// Status is how many records wait and how many bytes the file has.
func (s *Spool) Status() (waiting int, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.kept), s.size
}

// Ack tells that all records up to and including n were taken over. It need not
// be durable: what is offered once more is known by its number.
func (s *Spool) Ack(n uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.kept, func(k kept) bool { return k.N > n })
	if i < 0 {
		i = len(s.kept)
	}
	s.kept = slices.Clone(s.kept[i:])
	dead := s.size
	if len(s.kept) > 0 {
		dead -= s.size - s.kept[0].end
	}
	if dead < slack {
		return nil
	}
	return s.rewrite()
}

// Unfinished returns the sessions that were begun and not ended, as their Begins
// and Note say: after a stop they are over, and nobody has said so.
func (s *Spool) Unfinished() []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Record
	for _, r := range s.open {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b Record) int { return cmp.Compare(a.Begins, b.Begins) })
	return all
}

// rewrite replaces the file with one of what is not acknowledged.
//
//	stop before the rename: the old file, whole
//	stop after: the new one
func (s *Spool) rewrite() error {
	old := s.kept
	next := s.next
	out := bytes.NewBuffer(nil)
	out.WriteString(magic)
	out.Write(s.epoch[:])
	s.prev = [sha256.Size]byte{}
	if len(old) > 0 {
		next = old[0].N
	}
	text, err := json.Marshal(state{Next: next, Open: s.openBefore(old)})
	if err != nil {
		return fmt.Errorf("rewrite spool: %w", err)
	}
	put := func(text []byte, first bool) int64 {
		frame := s.seal(text, first)
		s.prev = sha256.Sum256(frame)
		out.Write(frame)
		return int64(out.Len())
	}
	end := s.next
	put(text, true)
	fresh := make([]kept, 0, len(old))
	for _, k := range old {
		if text, err = json.Marshal(k.Record); err != nil {
			return fmt.Errorf("rewrite spool: %w", err)
		}
		s.next = k.N
		fresh = append(fresh, kept{k.Record, put(text, false)})
	}
	s.next = end
	if err := durable.WriteFile(s.path, out.Bytes(), 0o600); err != nil {
		s.bad = err
		return fmt.Errorf("rewrite spool: %w", err)
	}
	s.kept = fresh
	return s.reopen(int64(out.Len()))
}

// openBefore is what was open before the records that stay.
func (s *Spool) openBefore(stay []kept) map[string]Record {
	open := map[string]Record{}
	for sid, r := range s.open {
		open[sid] = r
	}
	for _, k := range stay {
		delete(open, k.Begins)
	}
	return open
}

// Close closes the file; what Append returned for is on disk already.
func (s *Spool) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.close()
}
