// Package advert is the VRRPv3 advertisement on the wire (RFC 9568 §5.2, with
// errata 8299 to 8301): what Append makes, Parse accepts, and Parse refuses
// everything a router must drop without looking further than the message.
package advert

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Protocol is VRRP's IP protocol number.
const Protocol = 112

// Priorities with a meaning of their own (§5.2.4).
const (
	Resign = 0   // the sender stops being Active
	Owner  = 255 // the sender owns the addresses
)

// Bounds of the Max Advertise Interval (§5.2.7; 0 is refused by erratum 8301).
const (
	MinInterval = 10 * time.Millisecond
	MaxInterval = 4095 * 10 * time.Millisecond
)

const (
	headerLen = 8
	first     = 3<<4 | 1 // version 3, type 1: advertisement
)

// Form says which checksum an IPv4 message carries. IPv6 has only one.
type Form int

// The two forms in the field. keepalived and FRR send the older one by default.
const (
	RFC9568 Form = iota // over the message alone (§5.2.8)
	RFC5798             // over a pseudo-header and the message
)

func (f Form) String() string {
	if f == RFC5798 {
		return "rfc5798"
	}
	return "rfc9568"
}

// What Parse refuses, one sentinel per cause; they are counted apart.
var (
	ErrLength   = errors.New("length")
	ErrVersion  = errors.New("version or type")
	ErrChecksum = errors.New("checksum")
	ErrCount    = errors.New("address count")
	ErrInterval = errors.New("interval")
	ErrAddress  = errors.New("address")
)

// Message is one advertisement. Addresses are all of the family it travels in.
type Message struct {
	VRID      uint8
	Priority  uint8
	Interval  time.Duration // whole centiseconds, MinInterval to MaxInterval
	Addresses []netip.Addr
}

// Append adds the message, as sent from src to dst, to b.
func (m Message) Append(b []byte, form Form, src, dst netip.Addr) ([]byte, error) {
	switch n := len(m.Addresses); {
	case n < 1 || n > 255:
		return nil, fmt.Errorf("%w: got %d, want 1 to 255", ErrCount, n)
	case m.Interval < MinInterval || m.Interval > MaxInterval || m.Interval%MinInterval != 0:
		return nil, fmt.Errorf("%w: got %v, want %v to %v in steps of %v", ErrInterval, m.Interval, MinInterval, MaxInterval, MinInterval)
	}
	start := len(b)
	b = append(b, first, m.VRID, m.Priority, uint8(len(m.Addresses)))
	b = binary.BigEndian.AppendUint16(b, uint16(m.Interval/MinInterval))
	b = append(b, 0, 0)
	for _, a := range m.Addresses {
		if a.Is4() != src.Is4() {
			return nil, fmt.Errorf("%w: %v in a message from %v", ErrAddress, a, src)
		}
		b = append(b, a.AsSlice()...)
	}
	if err := linkLocalFirst(m.Addresses[0]); err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint16(b[start+6:], ^sum(b[start:], pseudo(form, src, dst, len(b)-start)))
	return b, nil
}

// Parse reads one message that travelled from src to dst. Bytes behind the last
// address are ignored, and so are the four reserved bits (§5.2.6). The TTL is the
// caller's to check; it is not in the message.
func Parse(b []byte, src, dst netip.Addr) (Message, Form, error) {
	if len(b) < headerLen {
		return Message{}, 0, fmt.Errorf("%w: got %d bytes, want at least %d", ErrLength, len(b), headerLen)
	}
	if b[0] != first {
		return Message{}, 0, fmt.Errorf("%w: got version %d type %d, want 3 and 1", ErrVersion, b[0]>>4, b[0]&0xf)
	}
	size, count := len(src.AsSlice()), int(b[3])
	if count == 0 { // erratum 8299
		return Message{}, 0, fmt.Errorf("%w: got 0, want at least 1", ErrCount)
	}
	want := headerLen + count*size
	if len(b) < want {
		return Message{}, 0, fmt.Errorf("%w: got %d bytes, want %d for %d addresses", ErrLength, len(b), want, count)
	}
	b = b[:want]
	form, err := verify(b, src, dst)
	if err != nil {
		return Message{}, 0, err
	}
	m := Message{VRID: b[1], Priority: b[2], Interval: time.Duration(binary.BigEndian.Uint16(b[4:])&0x0fff) * MinInterval}
	if m.Interval == 0 { // erratum 8301: it would make every timer fire at once
		return Message{}, 0, fmt.Errorf("%w: got 0, want %v to %v", ErrInterval, MinInterval, MaxInterval)
	}
	for a := b[headerLen:]; len(a) > 0; a = a[size:] {
		addr, _ := netip.AddrFromSlice(a[:size])
		m.Addresses = append(m.Addresses, addr)
	}
	if err := linkLocalFirst(m.Addresses[0]); err != nil {
		return Message{}, 0, err
	}
	return m, form, nil
}

// linkLocalFirst is erratum 8300, for IPv6.
func linkLocalFirst(a netip.Addr) error {
	if a.Is6() && !a.IsLinkLocalUnicast() {
		return fmt.Errorf("%w: first is %v, want a link-local one", ErrAddress, a)
	}
	return nil
}
