// Package packet sends and receives VRRP's IP packets on one device. What Receive
// returns came in through that device, to the VRRP group or, where packets are sent
// to each peer, to our own address, with TTL or hop limit 255: from a neighbour, not
// through a router (RFC 9568 §5.1.1.3, §5.1.2.3, §7.1).
package packet

import (
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

// A Packet is what arrived. Msg is valid until the next Receive.
type Packet struct {
	Msg      []byte
	From, To netip.Addr
	MAC      [6]byte // the frame's source
}

// Conn is VRRP on one device. Send and Receive may be called from different
// goroutines; Close wakes both.
type Conn struct {
	out, in *os.File
	index   int
	self    netip.Addr
	to      netip.Addr // where packets for us go: the group, or self
	buf     [8192]byte // larger than any advertisement: 20 to 60 + 8 + 255*16
}

// Open opens the device with that index and name for packets from self, which need
// not be one of its own addresses. With unicast, packets must come to self, else to
// the VRRP group. A device that is removed and made anew needs a new Conn.
//
// A raw socket sends, and joins the group so that the hardware lets it in; a packet
// socket receives, because it alone tells which machine a packet came from.
func Open(index int, name string, self netip.Addr, unicast bool) (*Conn, error) {
	family, set := unix.AF_INET, options4
	if self.Is6() {
		family, set = unix.AF_INET6, options6
	}
	out, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, advert.Protocol)
	if err != nil {
		return nil, fmt.Errorf("open VRRP socket: %w", err)
	}
	for _, o := range set(out, index, name) {
		if err := o.set(); err != nil {
			unix.Close(out)
			return nil, fmt.Errorf("open VRRP socket on %s: %s: %w", name, o.what, err)
		}
	}
	in, err := listen(index, self.Is6())
	if err != nil {
		unix.Close(out)
		return nil, fmt.Errorf("open VRRP socket on %s: %w", name, err)
	}
	c := &Conn{out: os.NewFile(uintptr(out), "vrrp-"+name), in: os.NewFile(uintptr(in), "vrrp-"+name), index: index, self: self, to: Group(self)}
	if unicast {
		c.to = self
	}
	return c, nil
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

// mute lets nothing into a socket that only sends.
func mute(fd int) option {
	return option{"hear nothing", func() error { return filter(fd, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}) }}
}

func options4(fd, index int, name string) []option {
	group := &unix.IPMreqn{Ifindex: int32(index), Multiaddr: Group4.As4()}
	return []option{
		mute(fd),
		{"bind to device", func() error { return unix.BindToDevice(fd, name) }},
		number("TTL", fd, unix.IPPROTO_IP, unix.IP_TTL, ttl),
		number("multicast TTL", fd, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, ttl),
		number("multicast loop", fd, unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0),
		number("precedence", fd, unix.IPPROTO_IP, unix.IP_TOS, class),
		number("priority", fd, unix.SOL_SOCKET, unix.SO_PRIORITY, priority),
		{"join group", func() error { return unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, group) }},
	}
}

// options6 frees the source: a link-local address of another device is one on a
// device for a virtual hardware address.
func options6(fd, index int, name string) []option {
	group := &unix.IPv6Mreq{Interface: uint32(index), Multiaddr: Group6.As16()}
	return []option{
		mute(fd),
		{"bind to device", func() error { return unix.BindToDevice(fd, name) }},
		number("free source", fd, unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1),
		number("hop limit", fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, ttl),
		number("multicast device", fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, index),
		number("multicast hop limit", fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, ttl),
		number("multicast loop", fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 0),
		number("traffic class", fd, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, class),
		number("priority", fd, unix.SOL_SOCKET, unix.SO_PRIORITY, priority),
		{"join group", func() error {
			return unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, group)
		}},
	}
}

// Send sends one message to the group or to one peer, from self: left to itself the
// kernel might choose the shared address.
func (c *Conn) Send(to netip.Addr, msg []byte) error {
	raw, err := c.out.SyscallConn()
	if err != nil {
		return fmt.Errorf("send advertisement: %w", err)
	}
	var info []byte
	var sa unix.Sockaddr
	if c.self.Is4() {
		info = unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: c.self.As4(), Ifindex: int32(c.index)})
		sa = &unix.SockaddrInet4{Addr: to.As4()}
	} else {
		info = unix.PktInfo6(&unix.Inet6Pktinfo{Addr: c.self.As16(), Ifindex: uint32(c.index)})
		sa = &unix.SockaddrInet6{Addr: to.As16(), ZoneId: uint32(c.index)}
	}
	var sendErr error
	err = raw.Write(func(fd uintptr) bool {
		sendErr = unix.Sendmsg(int(fd), msg, info, sa, 0)
		return true // a full queue is an error like any other: the next one comes soon
	})
	if err = errors.Join(err, sendErr); err != nil {
		return fmt.Errorf("send advertisement to %v: %w", to, err)
	}
	return nil
}

// Receive waits for one message and returns it with its sender. An error that is
// ErrForeign ends nothing, and the packet says what is known of it.
func (c *Conn) Receive() (Packet, error) {
	raw, err := c.in.SyscallConn()
	if err != nil {
		return Packet{}, fmt.Errorf("receive advertisement: %w", err)
	}
	var n int
	var sender unix.Sockaddr
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		n, sender, failed = unix.Recvfrom(int(fd), c.buf[:], 0)
		return !errors.Is(failed, unix.EAGAIN)
	})
	if err == nil { // else closed
		err = failed
	}
	if errors.Is(err, unix.ENETDOWN) { // said once; the socket works again with the link
		return Packet{}, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	if err != nil {
		return Packet{}, fmt.Errorf("receive advertisement: %w", err)
	}
	parse := open4
	if c.self.Is6() {
		parse = open6
	}
	p, hops, err := parse(c.buf[:n])
	if ll, ok := sender.(*unix.SockaddrLinklayer); ok {
		p.MAC = [6]byte(ll.Addr[:6])
	}
	if err == nil {
		err = c.check(p, hops)
	}
	return p, err
}

// Close leaves the group.
func (c *Conn) Close() error { return errors.Join(c.out.Close(), c.in.Close()) }

// check is what holds for both families: the way the packet came.
func (c *Conn) check(p Packet, hops int) error {
	switch {
	case hops != ttl:
		return fmt.Errorf("%w: TTL %d from %v, want %d: not from this link", ErrForeign, hops, p.From, ttl)
	case p.To != c.to:
		return fmt.Errorf("%w: sent to %v by %v, want %v", ErrForeign, p.To, p.From, c.to)
	case p.From.Is6() && !p.From.IsLinkLocalUnicast():
		return fmt.Errorf("%w: from %v, want a link-local address", ErrForeign, p.From)
	}
	return nil
}
