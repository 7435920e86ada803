package announce

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Neighbour solicitations and advertisements with the option for a hardware address
// (RFC 4861 §4.3, §4.4, §4.6.1).
const (
	nsType   = 135
	nsOption = 1 // source link-layer address
	naType   = 136
	naLen    = 32
	naFlags  = 0xa0 // router and override, not solicited (RFC 9568 §8.2.2)
	naAnswer = 0xe0 // and solicited
	naOption = 2    // target link-layer address
)

// solicited is the group in which a machine with that address listens for questions
// about it (RFC 4291 §2.7.1).
func solicited(addr netip.Addr) netip.Addr {
	a := addr.As16()
	return netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 11: 1, 12: 0xff, 13: a[13], 14: a[14], 15: a[15]})
}

// unsolicited makes the message; the kernel fills in its checksum.
func unsolicited(mac net.HardwareAddr, addr netip.Addr) []byte {
	return discovery(naType, naFlags, addr, naOption, mac)
}

func discovery(kind, flags byte, addr netip.Addr, carries byte, mac net.HardwareAddr) []byte {
	b := append(make([]byte, 0, naLen), kind, 0, 0, 0, flags, 0, 0, 0)
	b = append(append(b, addr.AsSlice()...), carries, 1) // in units of 8 bytes
	return append(b, mac...)
}

// header6 is the length of IPv6's header.
const header6 = 40

// neighborly takes the IPv6 header off a message of neighbour discovery, which must
// come from this link and be whole (RFC 4861 §7.1).
func neighborly(b []byte) (from netip.Addr, msg []byte, ok bool) {
	if len(b) < header6 || b[0]>>4 != 6 || b[6] != unix.IPPROTO_ICMPV6 || b[7] != 255 {
		return from, nil, false
	}
	size := int(binary.BigEndian.Uint16(b[4:]))
	if size < 24 || header6+size > len(b) {
		return from, nil, false
	}
	return netip.AddrFrom16([16]byte(b[8:24])), b[header6 : header6+size], sum(b[:header6+size]) == 0xffff
}

// packed puts the IPv6 header in front of a message, and the checksum into it.
func packed(from, to netip.Addr, msg []byte) []byte {
	b := append(make([]byte, 0, header6+len(msg)), 0x60, 0, 0, 0)
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(msg))), unix.IPPROTO_ICMPV6, 255)
	b = append(append(append(b, from.AsSlice()...), to.AsSlice()...), msg...)
	binary.BigEndian.PutUint16(b[header6+2:], ^sum(b))
	return b
}

// sum is the ones' complement sum over a packet's message and the pseudo-header (RFC
// 8200 §8.1).
func sum(b []byte) uint16 {
	s := uint32(len(b)-header6) + unix.IPPROTO_ICMPV6
	for part := b[8:]; len(part) > 0; part = part[min(2, len(part)):] {
		s += uint32(part[0]) << 8
		if len(part) > 1 {
			s += uint32(part[1])
		}
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// asked reads for which address a solicitation asks.
func asked(msg []byte) (netip.Addr, bool) {
	if len(msg) < 24 || msg[0] != nsType {
		return netip.Addr{}, false
	}
	return netip.AddrFrom16([16]byte(msg[8:24])), true
}

// said reads who says to have which address. A machine that asks says so of the one it
// asks from; one that has none yet claims nothing.
func said(from netip.Addr, msg []byte) (netip.Addr, net.HardwareAddr, bool) {
	if len(msg) < naLen || msg[0] != nsType {
		return target(msg)
	}
	mac, ok := option(msg[24:], nsOption)
	return from, mac, ok && !from.IsUnspecified()
}

// target reads who says to have which address. Without the option nobody learns
// anything from the message.
func target(b []byte) (netip.Addr, net.HardwareAddr, bool) {
	if len(b) < naLen || b[0] != naType {
		return netip.Addr{}, nil, false
	}
	mac, ok := option(b[24:], naOption)
	if !ok {
		return netip.Addr{}, nil, false
	}
	return netip.AddrFrom16([16]byte(b[8:24])), mac, true
}

// option finds the hardware address of a kind among a message's options.
func option(list []byte, kind byte) (net.HardwareAddr, bool) {
	for o := list; len(o) >= 8; {
		size := int(o[1]) * 8
		if size == 0 || size > len(o) {
			break
		}
		if o[0] == kind {
			return bytes.Clone(o[2:8]), true
		}
		o = o[size:]
	}
	return nil, false
}
