package segment

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"clinicgate/syncd/disk"
)

// wanted is how many spare segments are kept ready; the last is AppendReserve's.
const wanted = 2

// maxSpares is how many retired segments are kept for reuse; more are removed.
const maxSpares = 4

func liveName(gen uint64) string { return fmt.Sprintf("%016x.seg", gen) }
func freeName(gen uint64) string { return fmt.Sprintf("%016x.free", gen) }

// Segment describes a live segment to the owner that decides what to retire.
type Segment struct {
	Gen   uint64 // what Ref.Segment returns for its records
	Size  int64  // of the file
	Used  int64  // bytes of records
	Last  bool   // receives appends, or did last; can't be retired
	Fault error  // why it can't be read at all
}

// Segments lists the live segments, oldest first.
func (l *Log) Segments() []Segment {
	l.table.RLock()
	defer l.table.RUnlock()
	var all []Segment
	for i, s := range l.live {
		all = append(all, Segment{s.gen, s.size, s.end.Load() - headerSize, i == len(l.live)-1, s.bad})
	}
	return all
}

// Retire gives up a segment: its records are gone for good, its file is used
// again. It is durable on return; so an owner whose newer records outrank older
// ones retires the older segment first. After an error it may be called again.
//
//	rename to .free    stop here: live or free
//	sync the folder    stop here: free; what it held is overwritten in its next use
func (l *Log) Retire(gen uint64) error {
	l.table.Lock()
	defer l.table.Unlock()
	i := slices.IndexFunc(l.live, func(s *segment) bool { return s.gen == gen })
	switch {
	case i < 0:
		return fmt.Errorf("retire segment %x: %w", gen, ErrGone)
	case i == len(l.live)-1:
		return fmt.Errorf("retire segment %x: it is the newest", gen)
	}
	s := l.live[i]
	l.space.Lock()
	defer l.space.Unlock()
	reuse := !s.lost && s.bad == nil && s.size == l.o.SegmentSize && len(l.spares) < maxSpares
	if err := l.unname(s, reuse); err != nil {
		return fmt.Errorf("retire segment %x: %w", gen, err)
	}
	if err := l.fs.Sync(); err != nil {
		return fmt.Errorf("retire segment %x: %w", gen, err)
	}
	if s.file != nil {
		s.file.Close()
	}
	l.live = slices.Delete(l.live, i, i+1)
	if reuse {
		l.spares = append(l.spares, s.name)
	}
	return nil
}

// unname takes the segment's live name away, once. A name that is gone went in an
// earlier call that was told it had failed.
func (l *Log) unname(s *segment, reuse bool) error {
	if s.name == "" || s.name == freeName(s.gen) {
		return nil // done by an earlier call, whose sync failed
	}
	if !reuse {
		err := l.fs.Remove(s.name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		s.name = ""
		return nil
	}
	err := l.fs.Rename(s.name, freeName(s.gen))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.name = freeName(s.gen)
	return nil
}

// begin makes a spare the active segment. Only the leader calls it.
//
//	header written and synced    stop here: a spare with an odd header
//	rename to .seg               stop here: a spare, or a live segment without records
//	sync the folder              stop here: a live segment without records
//
// From the rename on the new header is what says where the old segment ends: so
// the old one takes no more records even if the rest fails.
func (l *Log) begin(reserve bool) error {
	ends := map[uint64]int64{}
	l.table.RLock()
	for _, s := range l.live {
		ends[s.gen] = s.end.Load()
	}
	l.table.RUnlock()
	if len(ends) >= maxLive {
		return fmt.Errorf("%w: %d segments in use, want less than %d", ErrFull, len(ends), maxLive)
	}
	spare, err := l.takeSpare(reserve)
	if err != nil {
		return err
	}
	l.active = nil
	l.gen++
	s := &segment{header: header{gen: l.gen, size: l.o.SegmentSize, ends: ends}, name: liveName(l.gen)}
	rand.Read(s.salt[:])
	s.end.Store(headerSize)
	if err := l.install(s, spare); err != nil {
		if s.file != nil {
			s.file.Close()
		}
		l.fs.Remove(spare)
		l.fs.Remove(s.name)
		return fmt.Errorf("begin segment %x: %w", s.gen, err)
	}
	l.table.Lock()
	l.live = append(l.live, s)
	l.table.Unlock()
	l.active = s
	l.prepare()
	return nil
}

func (l *Log) install(s *segment, spare string) (err error) {
	if s.file, err = l.fs.Open(spare); err != nil {
		return err
	}
	if _, err := s.file.WriteAt(s.appendTo(nil), 0); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	if err := l.fs.Rename(spare, s.name); err != nil {
		return err
	}
	return l.fs.Sync()
}

// takeSpare takes a spare segment's file, making one if only the reserve is left.
func (l *Log) takeSpare(reserve bool) (string, error) {
	for {
		if name := l.popSpare(1); name != "" {
			return name, nil
		}
		err := l.makeSpare()
		if err == nil {
			continue
		}
		if reserve {
			if name := l.popSpare(0); name != "" {
				return name, nil
			}
		}
		if isFull(err) {
			return "", fmt.Errorf("%w: %w", ErrFull, err)
		}
		return "", err
	}
}

// popSpare takes a spare if more than leave of them are there.
func (l *Log) popSpare(leave int) string {
	l.space.Lock()
	defer l.space.Unlock()
	if len(l.spares) <= leave {
		return ""
	}
	name := l.spares[0]
	l.spares = l.spares[1:]
	return name
}

// prepare sees to it, aside, that spares are ready before they are needed. What
// fails here fails again, and is told, where a spare is needed.
func (l *Log) prepare() {
	l.space.Lock()
	idle := !l.making && len(l.spares) < wanted
	l.making = l.making || idle
	l.space.Unlock()
	if !idle {
		return
	}
	l.o.Background(func() {
		for l.needsSpare() && l.makeSpare() == nil {
		}
		l.space.Lock()
		l.making = false
		l.space.Unlock()
	})
}

func (l *Log) needsSpare() bool {
	l.space.Lock()
	defer l.space.Unlock()
	return len(l.spares) < wanted
}

// makeSpare writes a new segment full of zeros: room that is only set aside would
// have to be marked as written at every append, which is a second write.
//
//	create, write, sync    stop here: a .new file, removed at the next start
//	rename to .free        stop here: .new or .free, as good
func (l *Log) makeSpare() error {
	if err := l.withinLimit(); err != nil {
		return err
	}
	name := rand.Text()[:16]
	f, err := l.fs.Create(name+".new", l.o.SegmentSize)
	if err != nil {
		return fmt.Errorf("make segment: %w", err)
	}
	err = zero(f, 0, l.o.SegmentSize)
	if err == nil {
		err = f.Sync()
	}
	f.Close()
	if err == nil {
		err = l.fs.Rename(name+".new", name+".free")
	}
	if err != nil {
		l.fs.Remove(name + ".new")
		return fmt.Errorf("make segment: %w", err)
	}
	l.space.Lock()
	defer l.space.Unlock()
	l.spares = append(l.spares, name+".free")
	return nil
}

func (l *Log) withinLimit() error {
	if l.o.MaxBytes == 0 {
		return nil
	}
	total := l.o.SegmentSize
	for _, s := range l.Segments() {
		total += s.Size
	}
	l.space.Lock()
	defer l.space.Unlock()
	if total += int64(len(l.spares)) * l.o.SegmentSize; total > l.o.MaxBytes {
		return fmt.Errorf("%w: one more segment would make %d bytes, want at most %d", ErrFull, total, l.o.MaxBytes)
	}
	return nil
}

// zero writes zeros from offset from to offset to.
func zero(f disk.File, from, to int64) error {
	zeros := make([]byte, min(1<<20, to-from))
	for from < to {
		n, err := f.WriteAt(zeros[:min(int64(len(zeros)), to-from)], from)
		if err != nil {
			return err
		}
		from += int64(n)
	}
	return nil
}
