package packet

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"clinicgate/failoverd/advert"
)

// listen opens a packet socket that gets the device's VRRP packets and no others:
// the kernel sorts them out before it wakes us.
func listen(index int, six bool) (int, error) {
	proto, next := unix.ETH_P_IP, uint32(9) // where the header names what it carries
	if six {
		proto, next = unix.ETH_P_IPV6, 6
	}
	order := uint16(proto<<8 | proto>>8) // network order: every board of ours is little-endian
	// Protocol 0 until bound: else every device's packets arrive in between.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	err = filter(fd,
		unix.SockFilter{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: next},
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: advert.Protocol, Jf: 1},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K},
	)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: index, Protocol: order})
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// filter has the kernel run a classic BPF program on what arrives.
func filter(fd int, program ...unix.SockFilter) error {
	err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{
		Len: uint16(len(program)), Filter: (*unix.SockFilter)(unsafe.Pointer(&program[0])),
	})
	runtime.KeepAlive(program)
	return err
}

// open4 takes the IPv4 header off b (RFC 791 §3.1).
func open4(b []byte) (Packet, int, error) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return Packet{}, 0, fmt.Errorf("%w: %d bytes are no IPv4 packet", ErrForeign, len(b))
	}
	header, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
	if header < 20 || header > total || total > len(b) {
		return Packet{}, 0, fmt.Errorf("%w: header of %d in a packet of %d, %d received", ErrForeign, header, total, len(b))
	}
	p := Packet{Msg: b[header:total], From: netip.AddrFrom4([4]byte(b[12:16])), To: netip.AddrFrom4([4]byte(b[16:20]))}
	switch fragment := binary.BigEndian.Uint16(b[6:]) & 0x3fff; {
	case b[9] != advert.Protocol:
		return p, 0, fmt.Errorf("%w: protocol %d from %v, want %d", ErrForeign, b[9], p.From, advert.Protocol)
	case fragment != 0:
		return p, 0, fmt.Errorf("%w: a fragment from %v", ErrForeign, p.From)
	case !intact(b[:header]):
		return p, 0, fmt.Errorf("%w: broken IP header from %v", ErrForeign, p.From)
	}
	return p, int(b[8]), nil
}

// intact is the header checksum of IPv4.
func intact(b []byte) bool {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return sum == 0xffff
}

// open6 takes the IPv6 header off b (RFC 8200 §3). An extension header is not
// looked behind: no VRRP router sends one.
func open6(b []byte) (Packet, int, error) {
	const header = 40
	if len(b) < header || b[0]>>4 != 6 {
		return Packet{}, 0, fmt.Errorf("%w: %d bytes are no IPv6 packet", ErrForeign, len(b))
	}
	size := int(binary.BigEndian.Uint16(b[4:]))
	if header+size > len(b) {
		return Packet{}, 0, fmt.Errorf("%w: %d bytes announced, %d received", ErrForeign, size, len(b)-header)
	}
	p := Packet{Msg: b[header : header+size], From: netip.AddrFrom16([16]byte(b[8:24])), To: netip.AddrFrom16([16]byte(b[24:40]))}
	if b[6] != advert.Protocol {
		return p, 0, fmt.Errorf("%w: next header %d from %v, want %d", ErrForeign, b[6], p.From, advert.Protocol)
	}
	return p, int(b[7]), nil
}
