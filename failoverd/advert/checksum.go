package advert

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// verify tells which form of checksum b carries. Where both hold, the newer one
// is reported.
func verify(b []byte, src, dst netip.Addr) (Form, error) {
	for _, form := range [...]Form{RFC9568, RFC5798} {
		if sum(b, pseudo(form, src, dst, len(b))) == 0xffff {
			return form, nil
		}
	}
	return 0, fmt.Errorf("%w: 0x%04x is right neither by RFC 9568 nor by RFC 5798", ErrChecksum, binary.BigEndian.Uint16(b[6:]))
}

// pseudo returns the sum of the pseudo-header: none for IPv4 in RFC 9568, RFC
// 5798's for IPv4 otherwise, RFC 8200 §8.1's for IPv6 in both.
func pseudo(form Form, src, dst netip.Addr, length int) uint32 {
	if src.Is4() && form == RFC9568 {
		return 0
	}
	s := uint32(Protocol) + uint32(length)
	s = words(src.AsSlice(), s)
	return words(dst.AsSlice(), s)
}

// sum is the Internet checksum (RFC 1071) of b on top of s, before the final
// complement: 0xffff for a message whose checksum is right.
func sum(b []byte, s uint32) uint16 {
	s = words(b, s)
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

func words(b []byte, s uint32) uint32 {
	for ; len(b) > 1; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}
