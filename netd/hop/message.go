package hop

import (
	"encoding/binary"
	"net/netip"
)

// Kind is what an answer says.
type Kind string

// The kinds.
const (
	Reply       Kind = "reply"       // of the address itself
	Exceeded    Kind = "exceeded"    // a router's: no hops were left
	Unreachable Kind = "unreachable" // a router's, or the address's: there is no way on
)

// Types of ICMP (RFC 792).
const (
	typeReply       = 0
	typeUnreachable = 3
	typeEcho        = 8
	typeExceeded    = 11
)

const (
	protoICMP = 1
	header    = 8 // of an ICMP message
	echoLen   = header + 8
	minIP     = 20
)

// An echo is one question. The cookie proves that a reply's sender saw it; a router's
// error need not bring it back and is known by address and numbers.
type echo struct {
	id, seq uint16
	cookie  uint64
	to      netip.Addr
}

// marshal returns the request.
func (e echo) marshal() []byte {
	b := make([]byte, echoLen)
	b[0] = typeEcho
	binary.BigEndian.PutUint16(b[4:], e.id)
	binary.BigEndian.PutUint16(b[6:], e.seq)
	binary.BigEndian.PutUint64(b[header:], e.cookie)
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return b
}

// answered reports whether the ICMP message b from an address answers e, and how.
func (e echo) answered(from netip.Addr, b []byte) (Kind, bool) {
	if len(b) < header {
		return "", false
	}
	switch b[0] {
	case typeReply:
		same := from == e.to && e.numbers(b) && len(b) >= echoLen && binary.BigEndian.Uint64(b[header:]) == e.cookie
		return Reply, same
	case typeExceeded:
		return Exceeded, e.quoted(b[header:])
	case typeUnreachable:
		return Unreachable, e.quoted(b[header:])
	}
	return "", false
}

// quoted reports whether an error quotes e: the beginning of the datagram that it is
// about, 8 bytes of its content at least.
func (e echo) quoted(b []byte) bool {
	if len(b) < minIP || b[0]>>4 != 4 || b[9] != protoICMP || netip.AddrFrom4([4]byte(b[16:20])) != e.to {
		return false
	}
	n := int(b[0]&0xf) * 4
	if n < minIP || len(b) < n+header {
		return false
	}
	return b[n] == typeEcho && e.numbers(b[n:])
}

func (e echo) numbers(b []byte) bool {
	return binary.BigEndian.Uint16(b[4:]) == e.id && binary.BigEndian.Uint16(b[6:]) == e.seq
}

// checksum is the Internet checksum (RFC 1071) of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	sum = sum>>16 + sum&0xffff
	sum += sum >> 16
	return ^uint16(sum)
}
