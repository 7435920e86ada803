// Package packet sends and receives VRRP's IP packets on one port. What Receive
// returns came in through that port, to the VRRP group, with TTL or hop limit 255:
// from a neighbour, not through a router (RFC 9568 §5.1.1.3, §5.1.2.3, §7.1).
package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"clinicgate/failoverd/advert"
)

// The addresses all VRRP routers of a link listen to (§5.1.1.2, §5.1.2.2).
var (
	Group4 = netip.AddrFrom4([4]byte{224, 0, 0, 18})
	Group6 = netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 15: 0x12})
)

// Group is the one for packets from self.
func Group(self netip.Addr) netip.Addr {
	if self.Is4() {
		return Group4
	}
	return Group6
}

const ttl = 255

// class is that of routing protocols: an advertisement must not stand in a queue
// behind a DICOM transfer.
const (
	class    = 0xc0
	priority = 6
)

// ErrForeign marks a packet that must be dropped: the network's fault, not the
// socket's. Receive may be called again.
var ErrForeign = errors.New("foreign packet")

// Conn is a raw socket bound to one port. Send and Receive may be called from
// different goroutines; Close wakes both.
type Conn struct {
	file  *os.File
	index int
	self  netip.Addr
	buf   [8192]byte // larger than any advertisement: 20 to 60 + 8 + 255*16
	oob   [256]byte
}

// Open joins the VRRP group of self's family on the port with that index and name.
// Packets carry the source address self, the port's own: left to itself the kernel
// might choose the shared one. A port that is removed and made anew needs a new
// Conn.
func Open(index int, name string, self netip.Addr) (*Conn, error) {
	family, set := unix.AF_INET, options4
	if self.Is6() {
		family, set = unix.AF_INET6, options6
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, advert.Protocol)
	if err != nil {
		return nil, fmt.Errorf("open VRRP socket: %w", err)
	}
	for _, o := range set(fd, index, name, self) {
		if err := o.set(); err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("open VRRP socket on %s: %s: %w", name, o.what, err)
		}
	}
	return &Conn{file: os.NewFile(uintptr(fd), "vrrp-"+name), index: index, self: self}, nil
}

// An option is one setting of a socket; what names it in an error.
type option struct {
	what string
	set  func() error
}

// number is an option whose value is a number.
func number(what string, fd, level, name, value int) option {
	return option{what, func() error { return unix.SetsockoptInt(fd, level, name, value) }}
}

// options4 binds first: from then on nothing arrives from elsewhere.
func options4(fd, index int, name string, self netip.Addr) []option {
	mreq := &unix.IPMreqn{Ifindex: int32(index), Address: self.As4()}
	group := &unix.IPMreqn{Ifindex: int32(index), Multiaddr: Group4.As4()}
	return []option{
		{"bind to port", func() error { return unix.BindToDevice(fd, name) }},
		{"multicast port", func() error { return unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, mreq) }},
		number("multicast TTL", fd, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, ttl),
		number("multicast loop", fd, unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0),
		number("precedence", fd, unix.IPPROTO_IP, unix.IP_TOS, class),
		number("priority", fd, unix.SOL_SOCKET, unix.SO_PRIORITY, priority),
		{"join group", func() error { return unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, group) }},
	}
}

// Send sends one message to the group.
func (c *Conn) Send(msg []byte) error {
	raw, err := c.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("send advertisement: %w", err)
	}
	var sendErr error
	err = raw.Write(func(fd uintptr) bool {
		if c.self.Is4() {
			sendErr = unix.Sendto(int(fd), msg, 0, &unix.SockaddrInet4{Addr: Group4.As4()})
		} else {
			sendErr = send6(int(fd), c.index, c.self, msg)
		}
		return true // a full queue is an error like any other: the next one comes soon
	})
	if err = errors.Join(err, sendErr); err != nil {
		return fmt.Errorf("send advertisement: %w", err)
	}
	return nil
}

// Receive waits for one message to the group and returns it with its sender. The
// bytes are valid until the next call. An error that is ErrForeign ends nothing.
func (c *Conn) Receive() (msg []byte, from netip.Addr, err error) {
	if c.self.Is6() {
		return c.receive6()
	}
	n, err := c.file.Read(c.buf[:])
	if err != nil {
		return nil, netip.Addr{}, fmt.Errorf("receive advertisement: %w", err)
	}
	return open(c.buf[:n])
}

// Close leaves the group.
func (c *Conn) Close() error { return c.file.Close() }

// open takes the IPv4 header off b, as a raw socket delivers it (RFC 791 §3.1).
func open(b []byte) ([]byte, netip.Addr, error) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return nil, netip.Addr{}, fmt.Errorf("%w: %d bytes are no IPv4 packet", ErrForeign, len(b))
	}
	header, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
	if header < 20 || header > total || total > len(b) {
		return nil, netip.Addr{}, fmt.Errorf("%w: header of %d in a packet of %d, %d received", ErrForeign, header, total, len(b))
	}
	from, to := netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	if b[9] != advert.Protocol {
		return nil, from, fmt.Errorf("%w: protocol %d from %v, want %d", ErrForeign, b[9], from, advert.Protocol)
	}
	if err := check(from, to, int(b[8])); err != nil {
		return nil, from, err
	}
	return b[header:total], from, nil
}

// check is what holds for both families: the way the packet came.
func check(from, to netip.Addr, hops int) error {
	switch {
	case hops != ttl:
		return fmt.Errorf("%w: TTL %d from %v, want %d: not from this link", ErrForeign, hops, from, ttl)
	case to != Group(to):
		return fmt.Errorf("%w: sent to %v by %v, want %v", ErrForeign, to, from, Group(to))
	}
	return nil
}
