package segment

import (
	"encoding/binary"
	"fmt"
)

// Ref is the place of a record. Refs compare with ==, and their encodings sort in
// the order of the log.
type Ref struct {
	gen         uint64
	off, length uint32
}

// RefSize is the length of an encoded Ref.
const RefSize = 16

// AppendBinary appends the encoding; the error is always nil.
func (r Ref) AppendBinary(b []byte) ([]byte, error) {
	b = binary.BigEndian.AppendUint64(b, r.gen)
	b = binary.BigEndian.AppendUint32(b, r.off)
	return binary.BigEndian.AppendUint32(b, r.length), nil
}

// DecodeRef reads an encoded Ref from the front of b.
func DecodeRef(b []byte) (Ref, error) {
	if len(b) < RefSize {
		return Ref{}, fmt.Errorf("segment: reference of %d bytes, want %d", len(b), RefSize)
	}
	return Ref{binary.BigEndian.Uint64(b), binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:])}, nil
}

// IsZero reports that r is the zero Ref, which no record has.
func (r Ref) IsZero() bool { return r == Ref{} }

// Segment is the generation of the segment the record lies in.
func (r Ref) Segment() uint64 { return r.gen }

// Size is the room the record takes on disk.
func (r Ref) Size() int64 { return frameSize(int(r.length)) }

// Compare orders refs as the log does.
func (r Ref) Compare(s Ref) int {
	switch {
	case r.gen != s.gen && r.gen < s.gen, r.gen == s.gen && r.off < s.off:
		return -1
	case r == s:
		return 0
	}
	return 1
}

// String is for logs.
func (r Ref) String() string { return fmt.Sprintf("%x:%d+%d", r.gen, r.off, r.length) }

func (r Ref) end() int64 { return int64(r.off) + r.Size() }
