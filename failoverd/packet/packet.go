// Package packet sends and receives VRRP's IP packets on one port. What Receive
// returns came in through that port, to the VRRP group, with TTL 255: from a
// neighbour, not through a router (RFC 9568 §5.1.1.3, §7.1).
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

// Group is the address all VRRP routers of a link listen to (§5.1.1.2).
var Group = netip.AddrFrom4([4]byte{224, 0, 0, 18})

const ttl = 255

// ErrForeign marks a packet that must be dropped: the network's fault, not the
// socket's. Receive may be called again.
var ErrForeign = errors.New("foreign packet")

// Conn is a raw socket bound to one port. Send and Receive may be called from
// different goroutines; Close wakes both.
type Conn struct {
	file *os.File
	buf  [2048]byte // larger than any advertisement: 20 to 60 + 8 + 255*4
}

// Open joins the VRRP group on the port with that index and name. Packets carry
// the source address self, the port's own: left to itself the kernel might choose
// the shared one. A port that is removed and made anew needs a new Conn.
func Open(index int, name string, self netip.Addr) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, advert.Protocol)
	if err != nil {
		return nil, fmt.Errorf("open VRRP socket: %w", err)
	}
	if err := options(fd, index, name, self); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open VRRP socket on %s: %w", name, err)
	}
	return &Conn{file: os.NewFile(uintptr(fd), "vrrp-"+name)}, nil
}

// options binds first: from then on nothing arrives from elsewhere.
func options(fd, index int, name string, self netip.Addr) error {
	mreq := &unix.IPMreqn{Ifindex: int32(index), Address: self.As4()}
	group := &unix.IPMreqn{Ifindex: int32(index), Multiaddr: Group.As4()}
	for _, o := range []struct {
		what string
		err  func() error
	}{
		{"bind to port", func() error { return unix.BindToDevice(fd, name) }},
		{"multicast port", func() error { return unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, mreq) }},
		{"multicast TTL", func() error { return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, ttl) }},
		{"multicast loop", func() error { return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0) }},
		// The class of routing protocols: an advertisement must not stand in a queue
		// behind a DICOM transfer.
		{"precedence", func() error { return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TOS, 0xc0) }},
		{"priority", func() error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, 6) }},
		{"join group", func() error { return unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, group) }},
	} {
		if err := o.err(); err != nil {
			return fmt.Errorf("%s: %w", o.what, err)
		}
	}
	return nil
}

// Send sends one message to the group.
func (c *Conn) Send(msg []byte) error {
	raw, err := c.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("send advertisement: %w", err)
	}
	var sendErr error
	err = raw.Write(func(fd uintptr) bool {
		sendErr = unix.Sendto(int(fd), msg, 0, &unix.SockaddrInet4{Addr: Group.As4()})
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
	switch {
	case b[9] != advert.Protocol:
		return nil, from, fmt.Errorf("%w: protocol %d from %v, want %d", ErrForeign, b[9], from, advert.Protocol)
	case b[8] != ttl:
		return nil, from, fmt.Errorf("%w: TTL %d from %v, want %d: not from this link", ErrForeign, b[8], from, ttl)
	case to != Group:
		return nil, from, fmt.Errorf("%w: sent to %v by %v, want %v", ErrForeign, to, from, Group)
	}
	return b[header:total], from, nil
}
