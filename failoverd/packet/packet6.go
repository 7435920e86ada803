package packet

import (
	"errors"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// options6 is options4 for IPv6. The kernel must tell the hop limit and the
// destination of what it received: a raw IPv6 socket doesn't deliver the header.
func options6(fd, index int, name string, _ netip.Addr) []option {
	group := &unix.IPv6Mreq{Interface: uint32(index), Multiaddr: Group6.As16()}
	return []option{
		{"bind to port", func() error { return unix.BindToDevice(fd, name) }},
		number("tell hop limit", fd, unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1),
		number("tell destination", fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1),
		number("multicast port", fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, index),
		number("multicast hop limit", fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, ttl),
		number("multicast loop", fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 0),
		number("traffic class", fd, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, class),
		number("priority", fd, unix.SOL_SOCKET, unix.SO_PRIORITY, priority),
		{"join group", func() error {
			return unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, group)
		}},
	}
}

// send6 names the source with every packet: a socket bound to a link-local address
// would not hear the group on every kernel.
func send6(fd, index int, self netip.Addr, msg []byte) error {
	info := unix.PktInfo6(&unix.Inet6Pktinfo{Addr: self.As16(), Ifindex: uint32(index)})
	return unix.Sendmsg(fd, msg, info, &unix.SockaddrInet6{Addr: Group6.As16(), ZoneId: uint32(index)}, 0)
}

func (c *Conn) receive6() ([]byte, netip.Addr, error) {
	raw, err := c.file.SyscallConn()
	if err != nil {
		return nil, netip.Addr{}, fmt.Errorf("receive advertisement: %w", err)
	}
	var n, oobn int
	var sender unix.Sockaddr
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		n, oobn, _, sender, failed = unix.Recvmsg(int(fd), c.buf[:], c.oob[:], 0)
		return !errors.Is(failed, unix.EAGAIN)
	})
	if err == nil { // else closed
		err = failed
	}
	if err != nil {
		return nil, netip.Addr{}, fmt.Errorf("receive advertisement: %w", err)
	}
	source, ok := sender.(*unix.SockaddrInet6)
	if !ok {
		return nil, netip.Addr{}, fmt.Errorf("%w: not from an IPv6 address", ErrForeign)
	}
	from := netip.AddrFrom16(source.Addr)
	to, hops, err := told(c.oob[:oobn])
	if err == nil {
		err = check(from, to, hops)
	}
	if err == nil && !from.IsLinkLocalUnicast() {
		err = fmt.Errorf("%w: from %v, want a link-local address", ErrForeign, from)
	}
	return c.buf[:n], from, err
}

// told reads what the kernel says beside a packet (RFC 3542 §6).
func told(oob []byte) (to netip.Addr, hops int, err error) {
	hops = -1
	all, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return to, hops, fmt.Errorf("%w: %v", ErrForeign, err)
	}
	for _, m := range all {
		switch {
		case m.Header.Level != unix.IPPROTO_IPV6:
		case m.Header.Type == unix.IPV6_HOPLIMIT && len(m.Data) >= 4:
			hops = int(*(*int32)(unsafe.Pointer(&m.Data[0]))) // as the kernel laid it down
		case m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= 16:
			to = netip.AddrFrom16([16]byte(m.Data[:16]))
		}
	}
	if !to.IsValid() {
		return to, hops, fmt.Errorf("%w: without a destination", ErrForeign)
	}
	return to, hops, nil
}
