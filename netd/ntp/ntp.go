// Package ntp is the 48 bytes of an NTPv4 packet (RFC 5905 §7.3). What follows
// them, extensions and authentication, is left unread, and never sent.
package ntp

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Size is a packet's length without what may follow.
const Size = 48

// Port is NTP's.
const Port = 123

// Modes of a packet.
const (
	SymmetricActive  = 1
	SymmetricPassive = 2
	Client           = 3
	Server           = 4
)

// Unsynchronised is the leap indicator of a clock that nobody should follow.
const Unsynchronised = 3

// Time is NTP's: seconds since 1900 and their 2^-32 parts; 0 is no time.
type Time uint64

// Packet is what two clocks tell each other.
type Packet struct {
	Leap, Version, Mode uint8
	Stratum             uint8 // 0: unsynchronised, or a kiss
	Poll, Precision     int8  // log2 of seconds
	RootDelay           time.Duration
	RootDispersion      time.Duration
	RefID               [4]byte // IPv4 address of what the clock follows, or a code
	Reference           Time    // when the clock was last set
	Origin              Time    // the request's Transmit
	Receive             Time
	Transmit            Time
}

// Parse reads a packet.
func Parse(b []byte) (Packet, error) {
	if len(b) < Size {
		return Packet{}, fmt.Errorf("NTP packet of %d bytes, want at least %d", len(b), Size)
	}
	p := Packet{
		Leap: b[0] >> 6, Version: b[0] >> 3 & 7, Mode: b[0] & 7, Stratum: b[1], Poll: int8(b[2]), Precision: int8(b[3]),
		RootDelay: long(b[4:]), RootDispersion: long(b[8:]), RefID: [4]byte(b[12:16]),
		Reference: Time(binary.BigEndian.Uint64(b[16:])), Origin: Time(binary.BigEndian.Uint64(b[24:])),
		Receive: Time(binary.BigEndian.Uint64(b[32:])), Transmit: Time(binary.BigEndian.Uint64(b[40:])),
	}
	if p.Version < 1 || p.Version > 4 {
		return Packet{}, fmt.Errorf("NTP version %d, want 1 to 4", p.Version)
	}
	return p, nil
}

// Marshal returns the packet's bytes.
func (p Packet) Marshal() []byte {
	b := make([]byte, 0, Size)
	b = append(b, p.Leap<<6|p.Version&7<<3|p.Mode&7, p.Stratum, byte(p.Poll), byte(p.Precision))
	b = binary.BigEndian.AppendUint32(b, short(p.RootDelay))
	b = binary.BigEndian.AppendUint32(b, short(p.RootDispersion))
	b = append(b, p.RefID[:]...)
	for _, t := range [...]Time{p.Reference, p.Origin, p.Receive, p.Transmit} {
		b = binary.BigEndian.AppendUint64(b, uint64(t))
	}
	return b
}

// long reads seconds in 16.16 bits.
func long(b []byte) time.Duration {
	return time.Duration(uint64(binary.BigEndian.Uint32(b)) * uint64(time.Second) >> 16)
}

// short writes them, rounded up: an error bound must not shrink.
func short(d time.Duration) uint32 {
	v := (uint64(max(d, 0))<<16 + uint64(time.Second) - 1) / uint64(time.Second)
	return uint32(min(v, 1<<32-1))
}

// epoch is 1900 in Unix seconds, era the seconds after which NTP begins anew.
const (
	epoch = -2208988800
	era   = 1 << 32
)

// ToTime is t as NTP tells it.
func ToTime(t time.Time) Time {
	sec := uint64(t.Unix()-epoch) % era
	frac := uint64(t.Nanosecond()) << 32 / uint64(time.Second)
	return Time(sec<<32 | frac)
}

// Sub is the time from u to t, which are less than 68 years apart: it is right
// across the end of an era.
func (t Time) Sub(u Time) time.Duration {
	d := int64(t - u)
	return time.Duration(d>>32)*time.Second + time.Duration(uint64(d)&(era-1)*uint64(time.Second)>>32)
}
