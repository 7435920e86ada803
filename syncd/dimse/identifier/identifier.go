// Package identifier holds the small data sets of DIMSE messages, queries and
// their answers (PS3.7 §9.1.2.1.5), and their bytes. Its guarantee: what Parse
// accepts has every element inside its bounds, sequences no deeper than maxDepth,
// and what Append writes parses to the same set.
package identifier

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"clinicgate/syncd/dataset"
)

// MaxSize bounds a set in bytes; a query is under 2 kB, a commitment of a thousand
// instances under 200 kB.
const MaxSize = 1 << 20

const (
	maxDepth    = 8
	maxElements = 50_000
	undefined   = 0xFFFFFFFF

	item          = dataset.Tag(0xFFFEE000)
	itemDelimiter = dataset.Tag(0xFFFEE00D)
	seqDelimiter  = dataset.Tag(0xFFFEE0DD)
)

// ErrInvalid marks bytes that are no such set.
var ErrInvalid = errors.New("invalid identifier")

// Element is an element with a value, or a sequence with its items.
type Element struct {
	Tag   dataset.Tag
	VR    string // two letters; needed to write Explicit VR
	Value []byte
	Items []Set // of a sequence
}

// Set is a data set, its elements ascending.
type Set []Element

// Get returns an element.
func (s Set) Get(t dataset.Tag) (Element, bool) {
	i := slices.IndexFunc(s, func(e Element) bool { return e.Tag == t })
	if i < 0 {
		return Element{}, false
	}
	return s[i], true
}

// Text is a value without its padding, empty if there is none.
func (s Set) Text(t dataset.Tag) string {
	e, _ := s.Get(t)
	return strings.Trim(string(e.Value), " \x00")
}

// reader takes elements off the front of b.
type reader struct {
	b        []byte
	explicit bool
	left     int // elements that may still come
}

// Parse reads a set in Little Endian, with VRs or without.
func Parse(b []byte, explicit bool) (Set, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes, want at most %d", ErrInvalid, len(b), MaxSize)
	}
	r := &reader{b: b, explicit: explicit, left: maxElements}
	return r.set(0, false)
}

func bad(t dataset.Tag, what string) error { return fmt.Errorf("%w: %v: %s", ErrInvalid, t, what) }

// set reads elements to the end of b, or to the delimiter of the item it is.
func (r *reader) set(depth int, delimited bool) (s Set, err error) {
	for len(r.b) > 0 {
		e, length, err := r.head()
		if err != nil {
			return nil, err
		}
		if e.Tag == itemDelimiter && delimited && length == 0 {
			return s, nil
		}
		if n := len(s); n > 0 && s[n-1].Tag >= e.Tag || e.Tag>>16 == 0xFFFE {
			return nil, bad(e.Tag, "out of order")
		}
		if r.left--; r.left < 0 {
			return nil, bad(e.Tag, "too many elements")
		}
		if err := r.value(&e, length, depth); err != nil {
			return nil, err
		}
		s = append(s, e)
	}
	if delimited {
		return nil, bad(itemDelimiter, "missing")
	}
	return s, nil
}

// head reads tag, VR and length.
func (r *reader) head() (e Element, length uint32, err error) {
	if len(r.b) < 8 {
		return e, 0, fmt.Errorf("%w: %d bytes left, want an element", ErrInvalid, len(r.b))
	}
	e.Tag = dataset.Tag(binary.LittleEndian.Uint16(r.b))<<16 | dataset.Tag(binary.LittleEndian.Uint16(r.b[2:]))
	switch {
	case !r.explicit || e.Tag>>16 == 0xFFFE:
		length, r.b = binary.LittleEndian.Uint32(r.b[4:]), r.b[8:]
		if !r.explicit && sequence(e.Tag) {
			e.VR = "SQ"
		}
		return e, length, nil
	case !long(string(r.b[4:6])):
		e.VR, length, r.b = string(r.b[4:6]), uint32(binary.LittleEndian.Uint16(r.b[6:])), r.b[8:]
		return e, length, nil
	case len(r.b) < 12:
		return e, 0, bad(e.Tag, "cut short")
	}
	e.VR, length, r.b = string(r.b[4:6]), binary.LittleEndian.Uint32(r.b[8:]), r.b[12:]
	return e, length, nil
}

func (r *reader) value(e *Element, length uint32, depth int) error {
	if length == undefined {
		e.VR = "SQ"
	}
	if length != undefined && uint64(length) > uint64(len(r.b)) {
		return bad(e.Tag, "sticks out")
	}
	if e.VR != "SQ" {
		e.Value, r.b = r.b[:length:length], r.b[length:]
		return nil
	}
	if depth >= maxDepth {
		return bad(e.Tag, "nested too deep")
	}
	in := r
	if length != undefined {
		in = &reader{b: r.b[:length], explicit: r.explicit, left: r.left}
		r.b = r.b[length:]
	}
	items, err := in.items(e.Tag, depth+1, length == undefined)
	r.left = in.left
	e.Items = items
	return err
}

// items reads the items of a sequence.
func (r *reader) items(of dataset.Tag, depth int, delimited bool) (items []Set, err error) {
	for len(r.b) > 0 {
		h, length, err := r.head()
		if err != nil {
			return nil, err
		}
		if h.Tag == seqDelimiter && delimited && length == 0 {
			return items, nil
		}
		if r.left--; h.Tag != item || r.left < 0 {
			return nil, bad(of, "holds what is no item, or too much")
		}
		in := r
		if length != undefined {
			if uint64(length) > uint64(len(r.b)) {
				return nil, bad(of, "an item sticks out")
			}
			in = &reader{b: r.b[:length], explicit: r.explicit, left: r.left}
			r.b = r.b[length:]
		}
		s, err := in.set(depth, length == undefined)
		if err != nil {
			return nil, err
		}
		r.left = in.left
		items = append(items, s)
	}
	if delimited {
		return nil, bad(of, "ends without its delimiter")
	}
	return items, nil
}

// sequence tells which elements are sequences where no VR says so.
func sequence(t dataset.Tag) bool {
	switch t {
	case 0x00400100, 0x00400008, 0x00321064, 0x00081110, 0x00081120, 0x00081199, 0x00081198, 0x00081115, 0x0040100A, 0x00380004, 0x00380502, 0x00101002:
		return true
	}
	return false
}

func long(vr string) bool {
	switch vr {
	case "OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV":
		return true
	}
	return false
}

// Append writes a set. Values get the padding of their VR.
func Append(b []byte, s Set, explicit bool) []byte {
	for _, e := range s {
		v := e.Value
		if e.VR == "SQ" {
			v = nil
			for _, in := range e.Items {
				one := Append(nil, in, explicit)
				v = appendTag(v, item)
				v = binary.LittleEndian.AppendUint32(v, uint32(len(one)))
				v = append(v, one...)
			}
		} else if len(v)%2 == 1 {
			pad := byte(' ')
			if e.VR == "UI" {
				pad = 0
			}
			v = append(v[:len(v):len(v)], pad)
		}
		b = appendTag(b, e.Tag)
		switch {
		case !explicit:
			b = binary.LittleEndian.AppendUint32(b, uint32(len(v)))
		case long(e.VR):
			b = append(append(b, e.VR...), 0, 0)
			b = binary.LittleEndian.AppendUint32(b, uint32(len(v)))
		default:
			b = binary.LittleEndian.AppendUint16(append(b, e.VR...), uint16(len(v)))
		}
		b = append(b, v...)
	}
	return b
}

func appendTag(b []byte, t dataset.Tag) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(t>>16))
	return binary.LittleEndian.AppendUint16(b, uint16(t))
}
