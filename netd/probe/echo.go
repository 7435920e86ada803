// Package probe asks targets in the internet for an echo through one uplink and
// tells what came back. Judging is netd/uplink's.
package probe

import (
	"encoding/binary"
	"errors"
)

// An echo is the body of an ICMP echo message (RFC 792). The cookie proves that
// an answer's sender saw the question: nobody off the path can keep a dead uplink
// alive.
type echo struct {
	id     uint16
	round  uint64
	cookie uint64
}

const (
	typeEchoReply = 0
	typeEcho      = 8
	echoLen       = 8 + 16 // header, round, cookie
)

var errNotOurs = errors.New("not an answer to our probes")

// marshal returns the request.
func (e echo) marshal() []byte {
	b := make([]byte, echoLen)
	b[0] = typeEcho
	binary.BigEndian.PutUint16(b[4:], e.id)
	binary.BigEndian.PutUint16(b[6:], uint16(e.round))
	binary.BigEndian.PutUint64(b[8:], e.round)
	binary.BigEndian.PutUint64(b[16:], e.cookie)
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return b
}

// parse reads a reply. Anything but a whole reply of our length is refused.
func parse(b []byte) (echo, error) {
	if len(b) != echoLen || b[0] != typeEchoReply || b[1] != 0 || checksum(b) != 0 {
		return echo{}, errNotOurs
	}
	e := echo{
		id:     binary.BigEndian.Uint16(b[4:]),
		round:  binary.BigEndian.Uint64(b[8:]),
		cookie: binary.BigEndian.Uint64(b[16:]),
	}
	if binary.BigEndian.Uint16(b[6:]) != uint16(e.round) {
		return echo{}, errNotOurs
	}
	return e, nil
}

// checksum is the Internet checksum (RFC 1071) of an even number of bytes; over a
// message with its checksum in place it is 0.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	sum = sum>>16 + sum&0xffff
	sum += sum >> 16
	return ^uint16(sum)
}
