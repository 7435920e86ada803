package piv

import (
	"errors"
	"fmt"
)

// errTLV is the ground of every complaint about a card's data objects.
var errTLV = errors.New("malformed data object")

// maxObject bounds the length a data object may claim.
const maxObject = 64 << 10

// next takes one BER-TLV object (ISO/IEC 7816-4 §5.2.2) from the front of b: tags
// of up to three bytes, definite lengths only, nothing beyond b.
func next(b []byte) (tag uint32, value, rest []byte, err error) {
	tag, b, err = takeTag(b)
	if err != nil {
		return 0, nil, nil, err
	}
	n, b, err := takeLength(b)
	if err != nil {
		return 0, nil, nil, fmt.Errorf("tag %X: %w", tag, err)
	}
	if n > len(b) {
		return 0, nil, nil, fmt.Errorf("%w: tag %X says %d bytes, got %d", errTLV, tag, n, len(b))
	}
	return tag, b[:n:n], b[n:], nil
}

func takeTag(b []byte) (uint32, []byte, error) {
	if len(b) == 0 {
		return 0, nil, fmt.Errorf("%w: got nothing, want a tag", errTLV)
	}
	tag, more := uint32(b[0]), b[0]&0x1F == 0x1F
	for b = b[1:]; more; b = b[1:] {
		if len(b) == 0 || tag > 0xFFFF {
			return 0, nil, fmt.Errorf("%w: tag %X does not end", errTLV, tag)
		}
		tag, more = tag<<8|uint32(b[0]), b[0]&0x80 != 0
	}
	return tag, b, nil
}

func takeLength(b []byte) (int, []byte, error) {
	if len(b) == 0 {
		return 0, nil, fmt.Errorf("%w: got nothing, want a length", errTLV)
	}
	first, b := b[0], b[1:]
	if first < 0x80 {
		return int(first), b, nil
	}
	size := int(first & 0x7F)
	if size < 1 || size > 3 || size > len(b) {
		return 0, nil, fmt.Errorf("%w: length begins with %02X, want a definite one of at most 3 bytes", errTLV, first)
	}
	n := 0
	for _, x := range b[:size] {
		n = n<<8 | int(x)
	}
	if n > maxObject {
		return 0, nil, fmt.Errorf("%w: %d bytes, want at most %d", errTLV, n, maxObject)
	}
	return n, b[size:], nil
}

// find returns the value of the first object with the tag among those in b.
func find(b []byte, tag uint32) ([]byte, error) {
	for len(b) > 0 {
		t, value, rest, err := next(b)
		if err != nil {
			return nil, err
		}
		if t == tag {
			return value, nil
		}
		b = rest
	}
	return nil, fmt.Errorf("%w: no tag %X", errTLV, tag)
}

// encode makes one object with a one-byte tag and at most 64 KiB of value.
func encode(tag byte, value []byte) []byte {
	out := []byte{tag}
	switch n := len(value); {
	case n < 0x80:
		out = append(out, byte(n))
	case n < 0x100:
		out = append(out, 0x81, byte(n))
	default:
		out = append(out, 0x82, byte(n>>8), byte(n))
	}
	return append(out, value...)
}
