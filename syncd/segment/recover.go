package segment

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"clinicgate/syncd/disk"
)

// recover reads what a stop left: the names first, then the headers, then the end
// of the newest segment.
func (l *Log) recover() error {
	names, err := l.fs.List()
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		base, kind, _ := strings.Cut(name, ".")
		switch kind {
		case "new": // was never whole
			err = l.fs.Remove(name)
		case "free":
			err = l.adoptSpare(name)
		case "seg":
			err = l.adopt(base, name)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	slices.SortFunc(l.live, func(a, b *segment) int { return Ref{gen: a.gen}.Compare(Ref{gen: b.gen}) })
	if n := len(l.live); n > 0 {
		l.gen = l.live[n-1].gen
		if err := l.settle(); err != nil {
			return err
		}
	}
	return l.fs.Sync() // names that only the kernel knew must not be built on
}

// adoptSpare keeps a spare of the right size and removes others.
func (l *Log) adoptSpare(name string) error {
	f, err := l.fs.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if n, err := f.Size(); err != nil || n != l.o.SegmentSize || len(l.spares) == maxSpares {
		return l.fs.Remove(name)
	}
	l.spares = append(l.spares, name)
	return nil
}

// adopt opens a live segment. One whose header is gone stays in the list, for its
// owner to hear of; it is never recycled by itself.
func (l *Log) adopt(base, name string) error {
	gen, err := strconv.ParseUint(base, 16, 64)
	if err != nil || liveName(gen) != name || gen == 0 {
		return fmt.Errorf("not a segment's name, want 16 hex digits")
	}
	s := &segment{header: header{gen: gen}, name: name}
	l.live = append(l.live, s)
	if s.file, err = l.fs.Open(name); err != nil {
		s.bad = err
		return nil
	}
	n, err := s.file.Size()
	b := make([]byte, headerSize)
	if err == nil {
		_, err = s.file.ReadAt(b, 0)
	}
	var h *header
	if err == nil {
		h, err = parseHeader(b)
	}
	if err == nil && (h.gen != gen || h.size != n) {
		err = fmt.Errorf("header of generation %x, %d bytes, in a file of generation %x, %d bytes", h.gen, h.size, gen, n)
	}
	s.size, s.bad = n, err
	if err == nil {
		s.header = *h
		s.end.Store(headerSize)
	}
	return nil
}

// settle finds where each live segment ends: the newest header says it of all
// before; of the newest itself its records do.
func (l *Log) settle() error {
	newest := l.live[len(l.live)-1]
	for _, s := range l.live {
		if s.bad != nil {
			continue
		}
		if end, ok := newest.ends[s.gen]; ok && end >= headerSize && end <= s.size {
			s.end.Store(end)
			continue
		}
		if err := l.settleTail(s); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	for _, s := range slices.Clone(l.live[:len(l.live)-1]) {
		if s.bad == nil && s.end.Load() == headerSize {
			if err := l.Retire(s.gen); err != nil { // begun and never used
				return err
			}
		}
	}
	if newest.bad == nil && !newest.lost && newest.size == l.o.SegmentSize {
		l.active = newest
	}
	return nil
}

// settleTail finds the end of a segment that was written to until the stop. What
// records say was durable before them is; from there on the whole records in
// front are kept. Those are written once more in place, and zeros behind them for
// as far as the torn write can have reached, then synced: so that what is kept is
// durable even if it was only in the kernel's memory, also when a sync failed
// before, and what is dropped can't come back when new records have filled the
// gap before it.
func (l *Log) settleTail(s *segment) error {
	durable, last := int64(headerSize), int64(headerSize)
	w := &walker{s: s}
	w.walk(headerSize, s.size, func(f frame, _ []byte) error {
		durable, last = max(durable, f.synced), f.offset+frameSize(f.length)
		return nil
	})
	if w.err != nil { // unreadable is not torn: keep all there is, write no more
		s.lost = true
		s.end.Store(last)
		return nil
	}
	end := durable
	for {
		f, _, ok := w.frame(end, s.size)
		if !ok {
			break
		}
		end += frameSize(f.length)
	}
	reach := min(durable+frameSize(MaxRecord), s.size)
	if err := rewrite(s.file, durable, min(end, reach)); err != nil {
		return err
	}
	if err := zero(s.file, end, max(end, reach)); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	s.end.Store(end)
	return nil
}

// rewrite writes what is there in place.
func rewrite(f disk.File, from, to int64) error {
	b := make([]byte, min(1<<20, to-from))
	for from < to {
		part := b[:min(int64(len(b)), to-from)]
		if _, err := f.ReadAt(part, from); err != nil {
			return err
		}
		if _, err := f.WriteAt(part, from); err != nil {
			return err
		}
		from += int64(len(part))
	}
	return nil
}

// Scan calls fn for every record, oldest first, those appended before the call at
// least. The bytes are good until fn returns. An error of fn ends the scan and is
// returned. Damage does not end it: after all that can be read, Scan returns an
// error that wraps ErrDamaged and says where.
func (l *Log) Scan(fn func(Ref, []byte) error) error { return l.ScanAfter(Ref{}, fn) }

// ScanAfter is Scan for the records behind the one at ref.
func (l *Log) ScanAfter(ref Ref, fn func(Ref, []byte) error) error {
	l.table.RLock()
	live := slices.Clone(l.live)
	l.table.RUnlock()
	var damage []string
	for _, s := range live {
		from := int64(headerSize)
		switch {
		case s.gen < ref.gen:
			continue
		case s.gen == ref.gen:
			from = ref.end()
		}
		if s.bad != nil {
			damage = append(damage, fmt.Sprintf("segment %x: %v", s.gen, s.bad))
			continue
		}
		w := &walker{s: s}
		gaps, err := w.walk(from, s.end.Load(), func(f frame, record []byte) error {
			return fn(Ref{s.gen, uint32(f.offset), uint32(f.length)}, record)
		})
		if err != nil {
			return err
		}
		if l.find(s.gen) == nil {
			continue // retired while it was read
		}
		for _, g := range gaps {
			damage = append(damage, fmt.Sprintf("segment %x: bytes %d to %d", s.gen, g.from, g.to))
		}
	}
	if len(damage) == 0 {
		return nil
	}
	more := ""
	if n := len(damage) - 8; n > 0 {
		damage, more = damage[:8], fmt.Sprintf("; and %d more", n)
	}
	return fmt.Errorf("%w: %s%s", ErrDamaged, strings.Join(damage, "; "), more)
}
