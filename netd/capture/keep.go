package capture

import "encoding/binary"

// Ethernet types (IEEE 802), and protocols of IP (IANA).
const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherVLAN = 0x8100
	etherQinQ = 0x88a8
	etherIPv6 = 0x86dd

	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
	protoVRRP   = 112
)

// Lengths of headers, and how much is kept of what the network says to itself.
const (
	etherLen = 14
	udpLen   = 8
	tcpLen   = 20
	icmpLen  = 8
	ipv6Len  = 40
	maxOwn   = 400 // DHCP with its options
	maxARP   = 46
)

// Keep says how many bytes of a frame are written down: its headers. What a person or
// a program says is left out, on whatever port; what is there for the network itself
// stays whole: ARP, DHCP, VRRP, the neighbours of IPv6. Of an ICMP error the headers of
// the datagram that it quotes stay.
func Keep(frame []byte, ethernet bool) int {
	at := 0
	kind := 0
	if ethernet {
		if len(frame) < etherLen {
			return len(frame)
		}
		kind, at = int(binary.BigEndian.Uint16(frame[12:])), etherLen
		for tags := 0; tags < 2 && (kind == etherVLAN || kind == etherQinQ) && len(frame) >= at+4; tags++ {
			kind, at = int(binary.BigEndian.Uint16(frame[at+2:])), at+4
		}
	} else if len(frame) > 0 {
		kind = map[byte]int{4: etherIPv4, 6: etherIPv6}[frame[0]>>4]
	}
	switch kind {
	case etherARP:
		at += maxARP
	case etherIPv4:
		at += ipv4(frame[at:], true)
	case etherIPv6:
		at += ipv6(frame[at:])
	}
	return min(at, len(frame))
}

// ipv4 is how much of a datagram stays; an error may quote one, which may not quote
// another.
func ipv4(b []byte, whole bool) int {
	if len(b) < 20 {
		return len(b)
	}
	n := max(int(b[0]&0xf)*4, 20)
	fragment := binary.BigEndian.Uint16(b[6:]) & 0x1fff
	if fragment != 0 || n >= len(b) {
		return n // a later fragment is all content
	}
	rest := b[n:]
	switch b[9] {
	case protoICMP:
		n += icmpLen
		if kind := rest[0]; whole && len(rest) > icmpLen && (kind == 3 || kind == 5 || kind == 11 || kind == 12) {
			n += ipv4(rest[icmpLen:], false)
		}
	case protoTCP:
		n += tcp(rest)
	case protoUDP:
		n += udp(rest)
	case protoVRRP:
		n += min(len(rest), maxOwn)
	}
	return n
}

func ipv6(b []byte) int {
	if len(b) <= ipv6Len {
		return len(b)
	}
	rest := b[ipv6Len:]
	switch b[6] {
	case protoTCP:
		return ipv6Len + tcp(rest)
	case protoUDP:
		return ipv6Len + udp(rest)
	case protoVRRP:
		return ipv6Len + min(len(rest), maxOwn)
	case protoICMPv6:
		if kind := rest[0]; kind >= 133 && kind <= 137 { // neighbours and routers
			return ipv6Len + min(len(rest), maxOwn)
		}
		return ipv6Len + icmpLen
	}
	return ipv6Len // what an extension header hides is content as well
}

func tcp(b []byte) int {
	if len(b) < tcpLen {
		return tcpLen
	}
	return max(int(b[12]>>4)*4, tcpLen)
}

func udp(b []byte) int {
	if len(b) < udpLen {
		return udpLen
	}
	for _, port := range []uint16{binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])} {
		if port != 67 && port != 68 && port != 546 && port != 547 {
			return udpLen
		}
	}
	return min(len(b), maxOwn)
}
