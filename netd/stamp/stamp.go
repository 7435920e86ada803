// Package stamp is the Simple Two-Way Active Measurement Protocol (RFC 8762) in its
// unauthenticated mode: its packets, and what a sender learns from those that come
// back. It is pure.
package stamp

import (
	"encoding/binary"
	"errors"
	"time"
)

// Size of every packet, in both directions: a reflector amplifies nothing.
const Size = 44

// ErrPacket is what is no packet of the protocol.
var ErrPacket = errors.New("not a STAMP packet")

// estimate is the error estimate of our clocks (RFC 4656 §4.1.2): not synchronised,
// NTP format, and a multiplier that must not be zero.
const estimate = 0x0001

// Test is a sender's packet (RFC 8762 §4.2.1).
type Test struct {
	Seq  uint32
	Sent time.Time
	SSID uint16 // session sender identifier (RFC 8972 §3), 0: none
}

// Marshal returns the packet.
func (p Test) Marshal() []byte {
	b := make([]byte, Size)
	binary.BigEndian.PutUint32(b, p.Seq)
	binary.BigEndian.PutUint64(b[4:], toNTP(p.Sent))
	binary.BigEndian.PutUint16(b[12:], estimate)
	binary.BigEndian.PutUint16(b[14:], p.SSID)
	return b
}

// Reply is a reflector's packet (RFC 8762 §4.3.1).
type Reply struct {
	Seq      uint32    // the reflector's own count, or the sender's again
	Sent     time.Time // by the reflector's clock
	SSID     uint16
	Received time.Time // by the reflector's clock
	Test     uint32    // the sender's number
	TestSent uint64    // the sender's time stamp as it was
}

// ParseReply reads what a reflector sent. What follows the packet (RFC 8972's
// extensions) is passed over.
func ParseReply(b []byte) (Reply, error) {
	if len(b) < Size {
		return Reply{}, ErrPacket
	}
	return Reply{
		Seq:      binary.BigEndian.Uint32(b),
		Sent:     fromNTP(binary.BigEndian.Uint64(b[4:])),
		SSID:     binary.BigEndian.Uint16(b[14:]),
		Received: fromNTP(binary.BigEndian.Uint64(b[16:])),
		Test:     binary.BigEndian.Uint32(b[24:]),
		TestSent: binary.BigEndian.Uint64(b[28:]),
	}, nil
}

// Reflect makes the reply to a sender's packet that came at received with the given
// TTL, numbered seq; sent is filled in last by Stamp.
func Reflect(test []byte, seq uint32, received time.Time, ttl byte) ([]byte, error) {
	if len(test) < Size {
		return nil, ErrPacket
	}
	b := make([]byte, Size)
	binary.BigEndian.PutUint32(b, seq)
	binary.BigEndian.PutUint16(b[12:], estimate)
	copy(b[14:16], test[14:16]) // SSID
	binary.BigEndian.PutUint64(b[16:], toNTP(received))
	copy(b[24:38], test[0:14]) // number, time stamp and error estimate
	b[40] = ttl
	return b, nil
}

// Stamp notes when a reply leaves.
func Stamp(reply []byte, sent time.Time) { binary.BigEndian.PutUint64(reply[4:], toNTP(sent)) }

// ntpEpoch is Unix time zero in NTP's seconds (RFC 5905 §6).
const ntpEpoch = 2208988800

// toNTP is RFC 5905's 64-bit time stamp; it wraps in 2036, and differences don't mind.
func toNTP(t time.Time) uint64 {
	sec := uint64(t.Unix()+ntpEpoch) & 0xffffffff
	return sec<<32 | uint64(t.Nanosecond())<<32/uint64(time.Second)
}

// fromNTP takes the era in which the time lies after 1970.
func fromNTP(n uint64) time.Time {
	sec := int64(n>>32) - ntpEpoch
	if sec < 0 {
		sec += 1 << 32
	}
	nano := (n&0xffffffff)*uint64(time.Second) + 1<<31
	return time.Unix(sec, int64(nano>>32))
}
