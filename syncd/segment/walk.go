package segment

import "encoding/binary"

// span is a stretch of a segment, from and behind it.
type span struct{ from, to int64 }

// windowSize is how much of a segment is looked at at once; sector is what is
// skipped when even that much can't be read.
const (
	windowSize = 256 << 10
	sector     = 4096
)

// A walker reads a segment's frames in order, past damage.
type walker struct {
	s      *segment
	window []byte // of the file, beginning at
	at     int64
	record []byte
	err    error // first read error; what can't be read counts as zeros
}

// walk calls fn for each valid frame between from and to. Where there is none it
// looks for the next, and returns all such gaps. An error of fn ends the walk.
func (w *walker) walk(from, to int64, fn func(frame, []byte) error) (gaps []span, err error) {
	for off := from; off < to; {
		f, record, ok := w.frame(off, to)
		if !ok {
			next := w.seek(off+frameAlign, to)
			gaps = append(gaps, span{off, next})
			off = next
			continue
		}
		if err := fn(f, record); err != nil {
			return gaps, err
		}
		off += frameSize(f.length)
	}
	return gaps, nil
}

// seek returns the next offset with a valid frame, or to.
func (w *walker) seek(off, to int64) int64 {
	for ; off < to; off += frameAlign {
		head := w.bytes(off, frameHead)
		if head == nil {
			return to
		}
		if binary.BigEndian.Uint64(head[8:]) != w.s.gen {
			continue
		}
		if _, _, ok := w.frame(off, to); ok {
			return off
		}
	}
	return to
}

// frame returns the valid frame at off, if it ends by to. The record is good
// until the next call.
func (w *walker) frame(off, to int64) (frame, []byte, bool) {
	head := w.bytes(off, frameHead)
	if head == nil {
		return frame{}, nil, false
	}
	f, ok := w.s.parseFrame(head, off)
	if !ok || off+frameSize(f.length) > to {
		return f, nil, false
	}
	sum := [frameHead]byte(head)
	body := w.bytes(off+frameHead, f.length)
	if body == nil || f.crc != w.s.sum(sum[:], body) {
		return f, nil, false
	}
	return f, body, true
}

// bytes returns n bytes at off, or nil beyond the end of the segment.
func (w *walker) bytes(off int64, n int) []byte {
	if off+int64(n) > w.s.size {
		return nil
	}
	if i := off - w.at; i >= 0 && i+int64(n) <= int64(len(w.window)) {
		return w.window[i : i+int64(n)]
	}
	if n > windowSize {
		w.record = append(w.record[:0], make([]byte, n)...)
		w.read(w.record, off)
		return w.record
	}
	w.at = off
	w.window = append(w.window[:0], make([]byte, min(windowSize, w.s.size-off))...)
	w.read(w.window, off)
	return w.window[:n]
}

// read fills b from off, sector by sector if it must, so that one bad sector
// hides no more than itself.
func (w *walker) read(b []byte, off int64) {
	if _, err := w.s.file.ReadAt(b, off); err == nil {
		return
	}
	for i := 0; i < len(b); i += sector {
		part := b[i:min(i+sector, len(b))]
		if _, err := w.s.file.ReadAt(part, off+int64(i)); err != nil {
			clear(part)
			if w.err == nil {
				w.err = err
			}
		}
	}
}
