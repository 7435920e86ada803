// Package dataset checks DICOM data sets as they pass (PS3.5 §7). Its guarantee:
// the bytes that come out of a Reader are the bytes that went in, and if they all
// come out, they are a whole, well-formed data set. It holds a header and a few
// short values at a time, so a data set may be larger than memory.
//
// github.com/suyashkumar/dicom parses data sets too, and the tests hold this
// package against it, but it can't stand at the door: v1.1.0 allocates what a
// length field says before reading (200 bytes made it take 1 GiB), keeps every
// value in memory, writes to the default logger, and with ParseUntilEOF and
// SkipPixelData takes a data set that ends inside its pixel data for whole.
package dataset

import (
	"bufio"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrMalformed marks data that is no data set in the given transfer syntax.
var ErrMalformed = errors.New("malformed data set")

const (
	maxDepth    = 256     // sequences and items inside each other; SR trees nest deep
	maxKept     = 4 << 10 // bytes of a kept value; longer ones are not kept
	maxInflated = 1 << 30 // bytes out of a deflated data set
	maxTrailer  = 9       // bytes after a deflated data set
	chunk       = 32 << 10
	undefined   = 0xFFFFFFFF // length of what ends with a delimiter
)

// Reader passes a data set through and checks it. Not safe for concurrent use.
type Reader struct {
	syntax Syntax
	raw    *tape     // what comes in, and was not yet read from us
	in     io.Reader // the elements: raw, or raw inflated

	at     int64  // bytes of elements taken so far
	left   int64  // bytes of the current value still to come
	keep   bool   // the current value is kept, under tag
	tag    Tag    // last element at the top level
	stack  []nest // what we are inside of, innermost last
	values map[Tag][]byte
	buf    []byte
	err    error // sticky; io.EOF after a whole data set
}

// nest is a sequence, an item, or the fragments of encapsulated pixel data.
type nest struct {
	kind     byte
	end      int64 // where it ends; -1: at its delimiter
	implicit bool
	big      bool
}

const (
	inSequence = iota
	inItem
	inFragments
)

// NewReader returns a Reader of the data set in src.
func NewReader(src io.Reader, s Syntax) *Reader {
	r := &Reader{syntax: s, raw: &tape{src: bufio.NewReaderSize(src, chunk)}, values: map[Tag][]byte{}, tag: 0}
	r.in = r.raw
	if s.Deflated {
		r.in = io.LimitReader(flate.NewReader(r.raw), maxInflated)
	}
	return r
}

// Read gives the bytes of the data set as they came. It ends with io.EOF after a
// whole one, with an ErrMalformed where it stops being one, or with the source's
// own error.
func (r *Reader) Read(p []byte) (int, error) {
	for r.raw.pending() == 0 && r.err == nil {
		if r.left > 0 && !r.keep && !r.syntax.Deflated { // the common case: a long value, straight through
			n, err := r.raw.src.Read(p[:min(int64(len(p)), r.left)])
			r.left -= int64(n)
			r.at += int64(n)
			r.err = r.within(err)
			if n > 0 {
				return n, nil
			}
			continue
		}
		r.err = r.step()
	}
	if n := r.raw.take(p); n > 0 || len(p) == 0 {
		return n, nil
	}
	return 0, r.err
}

// Head takes in what names the patient, study and instance, without giving it out
// yet: to the first element after them, to the end, or to limit bytes.
func (r *Reader) Head(limit int) error {
	for r.err == nil && r.tag <= lastIdentifier && r.raw.pending() < limit {
		r.err = r.step()
	}
	return r.Err()
}

// Sketch takes in as much again, up to limit bytes, to let Expect see further.
func (r *Reader) Sketch(limit int) error {
	for r.err == nil && r.tag < pixelData && r.raw.pending() < limit {
		r.err = r.step()
	}
	return r.Err()
}

// Err is what stopped the Reader: nil while there is more, and after a whole data
// set.
func (r *Reader) Err() error {
	if r.err == io.EOF {
		return nil
	}
	return r.err
}

// step takes one header or one chunk of a value.
func (r *Reader) step() error {
	if r.left > 0 {
		return r.value()
	}
	for n := len(r.stack); n > 0 && r.stack[n-1].end == r.at; n = len(r.stack) {
		r.stack = r.stack[:n-1]
	}
	if len(r.stack) == 0 {
		return r.element(nest{kind: inItem, end: -1, implicit: r.syntax.Implicit, big: r.syntax.BigEndian})
	}
	in := r.stack[len(r.stack)-1]
	if in.kind == inItem {
		return r.element(in)
	}
	return r.item(in)
}

func (r *Reader) value() error {
	if r.buf == nil {
		r.buf = make([]byte, chunk)
	}
	n, err := r.in.Read(r.buf[:min(chunk, r.left)])
	if r.keep {
		r.values[r.tag] = append(r.values[r.tag], r.buf[:n]...)
	}
	r.left -= int64(n)
	r.at += int64(n)
	return r.within(err)
}

// within is inside for values: an end that comes with the last byte of one is
// found again by the next header.
func (r *Reader) within(err error) error {
	if err == io.EOF && r.left == 0 {
		return nil
	}
	return r.inside(err)
}

// element takes the header of an element, or the delimiter of the item it would
// be in.
func (r *Reader) element(in nest) error {
	var head [12]byte
	top := len(r.stack) == 0
	if err := r.fill(head[:4], top); err != nil {
		return err
	}
	tag := in.tag(head[:4])
	if tag>>16 == 0xFFFE {
		return r.closeItem(tag, in)
	}
	if top && (tag <= r.tag || tag < 0x00080000) {
		return r.bad(tag, "after %v, want ascending order, each once, from group 0008", r.tag)
	}
	if top {
		r.tag = tag
	}
	vr, length, err := r.length(tag, in, head[:])
	if err != nil {
		return err
	}
	return r.enter(tag, vr, length, in)
}

// length takes VR and length of an element.
func (r *Reader) length(tag Tag, in nest, head []byte) (vr [2]byte, length uint32, err error) {
	if in.implicit {
		err = r.fill(head[4:8], false)
		return vr, in.uint32(head[4:]), err
	}
	if err = r.fill(head[4:8], false); err != nil {
		return vr, 0, err
	}
	vr = [2]byte(head[4:6])
	long, known := longForm(vr)
	switch {
	case !known:
		return vr, 0, r.bad(tag, "VR %q", vr[:])
	case !long:
		return vr, uint32(in.uint16(head[6:])), nil
	}
	err = r.fill(head[8:12], false)
	return vr, in.uint32(head[8:]), err
}

// enter begins an element's value.
func (r *Reader) enter(tag Tag, vr [2]byte, length uint32, in nest) error {
	sequence := string(vr[:]) == "SQ"
	if length != undefined && !sequence {
		if err := r.fits(tag, length); err != nil {
			return err
		}
		r.left = int64(length)
		r.keep = len(r.stack) == 0 && kept(tag) && length <= maxKept
		return nil
	}
	inner := nest{kind: inSequence, implicit: in.implicit, big: in.big}
	switch {
	case length != undefined: // SQ
		if err := r.fits(tag, length); err != nil {
			return err
		}
		inner.end = r.at + int64(length)
		return r.push(tag, inner)
	case tag == pixelData && r.syntax.Encapsulated && len(r.stack) == 0:
		inner.kind = inFragments
	case tag == pixelData:
		return r.bad(tag, "fragments, want none in %s", r.syntax.Name)
	case string(vr[:]) == "UN": // PS3.5 §6.2.2 note: its content is Implicit VR Little Endian
		inner.implicit, inner.big = true, false
	case !sequence && !in.implicit:
		return r.bad(tag, "undefined length with VR %q", vr[:])
	}
	inner.end = -1
	return r.push(tag, inner)
}

// item takes an item or fragment of a sequence, or its delimiter.
func (r *Reader) item(in nest) error {
	var head [8]byte
	if err := r.fill(head[:], false); err != nil {
		return err
	}
	tag, length := in.tag(head[:4]), in.uint32(head[4:])
	switch {
	case tag == seqDelimiter && in.end < 0 && length == 0:
		r.stack = r.stack[:len(r.stack)-1]
		return nil
	case tag != item:
		return r.bad(tag, "in a sequence, want an item")
	case length == undefined && in.kind == inSequence:
		return r.push(tag, nest{kind: inItem, end: -1, implicit: in.implicit, big: in.big})
	case length == undefined:
		return r.bad(tag, "fragment of undefined length")
	}
	if err := r.fits(tag, length); err != nil {
		return err
	}
	if in.kind == inFragments {
		r.left, r.keep = int64(length), false
		return nil
	}
	return r.push(tag, nest{kind: inItem, end: r.at + int64(length), implicit: in.implicit, big: in.big})
}

func (r *Reader) closeItem(tag Tag, in nest) error {
	var length [4]byte
	if len(r.stack) == 0 || tag != itemDelimiter || in.end >= 0 {
		return r.bad(tag, "out of place")
	}
	if err := r.fill(length[:], false); err != nil {
		return err
	}
	if in.uint32(length[:]) != 0 {
		return r.bad(tag, "with a value")
	}
	r.stack = r.stack[:len(r.stack)-1]
	return nil
}

func (r *Reader) push(tag Tag, n nest) error {
	if len(r.stack) >= maxDepth {
		return r.bad(tag, "more than %d sequences and items inside each other", maxDepth)
	}
	r.stack = append(r.stack, n)
	return nil
}

// fits holds a length against the innermost container that has one; that one was
// held against those around it.
func (r *Reader) fits(tag Tag, length uint32) error {
	for i := len(r.stack) - 1; i >= 0; i-- {
		if end := r.stack[i].end; end >= 0 {
			if r.at+int64(length) > end {
				return r.bad(tag, "%d bytes long, %d left in its sequence", length, end-r.at)
			}
			return nil
		}
	}
	return nil
}

// fill takes len(b) bytes of a header. Only at the top level may the data set end
// instead.
func (r *Reader) fill(b []byte, mayEnd bool) error {
	n, err := io.ReadFull(r.in, b)
	r.at += int64(n)
	if err == io.EOF && mayEnd {
		return r.end()
	}
	for i := len(r.stack) - 1; i >= 0 && err == nil; i-- {
		if end := r.stack[i].end; end >= 0 && r.at > end {
			return r.bad(r.tag, "a header sticks out of its sequence")
		}
	}
	return r.inside(err)
}

// end is the end of the elements. After a deflated data set there may be a byte of
// padding (PS3.5 §A.5), and real writers leave the eight bytes of a gzip trailer;
// both pass unchanged. Anything longer is more than a data set.
func (r *Reader) end() error {
	if !r.syntax.Deflated {
		return io.EOF
	}
	if r.at >= maxInflated {
		return r.bad(r.tag, "over %d bytes inflated", maxInflated)
	}
	var trailer [maxTrailer + 1]byte
	n, err := io.ReadFull(r.raw, trailer[:])
	switch {
	case n > maxTrailer:
		return r.bad(r.tag, "more data after the deflated part")
	case err == io.ErrUnexpectedEOF:
		return io.EOF
	}
	return err
}

// inside turns the end of the source within a data set, and what the inflater
// can't read, into ErrMalformed.
func (r *Reader) inside(err error) error {
	if err == nil {
		return nil
	}
	var corrupt flate.CorruptInputError
	switch {
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return r.bad(r.tag, "the data ends in the middle")
	case errors.As(err, &corrupt):
		return r.bad(r.tag, "%v", corrupt)
	}
	return err
}

func (r *Reader) bad(tag Tag, format string, args ...any) error {
	return fmt.Errorf("%w: element %v at byte %d: %s", ErrMalformed, tag, r.at, fmt.Sprintf(format, args...))
}

func (n nest) uint16(b []byte) uint16 {
	if n.big {
		return binary.BigEndian.Uint16(b)
	}
	return binary.LittleEndian.Uint16(b)
}

func (n nest) uint32(b []byte) uint32 {
	if n.big {
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

func (n nest) tag(b []byte) Tag { return Tag(n.uint16(b))<<16 | Tag(n.uint16(b[2:])) }
