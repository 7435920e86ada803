package announce

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// A neighbour advertisement with the option for our hardware address (RFC 4861
// §4.4, §4.6.1).
const (
	naType   = 136
	naLen    = 32
	naFlags  = 0xa0 // router and override, not solicited (RFC 9568 §8.2.2)
	naOption = 2    // target link-layer address
)

// allNodes hears announcements.
var allNodes = netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 15: 1})

// Neighbor is what ARP is, for IPv6.
type Neighbor struct {
	file  *os.File
	index int
	mac   net.HardwareAddr
}

// OpenNeighbor opens the port with that index and name, whose hardware address is
// mac.
func OpenNeighbor(index int, name string, mac net.HardwareAddr) (*Neighbor, error) {
	if len(mac) != 6 {
		return nil, fmt.Errorf("open ICMPv6 socket: %s has hardware address %q, want 6 bytes", name, mac)
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_ICMPV6)
	if err != nil {
		return nil, fmt.Errorf("open ICMPv6 socket: %w", err)
	}
	var only unix.ICMPv6Filter // a bit set is a type passed over
	for i := range only.Data {
		only.Data[i] = 0xffffffff
	}
	only.Data[naType/32] &^= 1 << (naType % 32)
	err = errors.Join(
		unix.SetsockoptICMPv6Filter(fd, unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER, &only),
		unix.BindToDevice(fd, name),
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, index),
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255),
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 0),
	)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open ICMPv6 socket on %s: %w", name, err)
	}
	return &Neighbor{file: os.NewFile(uintptr(fd), "icmpv6"), index: index, mac: mac}, nil
}

// Say sends an unsolicited neighbour advertisement: the address is at our port
// now. The address must be on the port before: it is the source as well.
func (n *Neighbor) Say(addr netip.Addr) error {
	raw, err := n.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("announce %v: %w", addr, err)
	}
	info := unix.PktInfo6(&unix.Inet6Pktinfo{Addr: addr.As16(), Ifindex: uint32(n.index)})
	to := &unix.SockaddrInet6{Addr: allNodes.As16(), ZoneId: uint32(n.index)}
	var sendErr error
	err = raw.Write(func(fd uintptr) bool {
		sendErr = unix.Sendmsg(int(fd), unsolicited(n.mac, addr), info, to, 0)
		return true
	})
	if err = errors.Join(err, sendErr); err != nil {
		return fmt.Errorf("announce %v: %w", addr, err)
	}
	return nil
}

// Hear waits for somebody to advertise that an address is theirs.
func (n *Neighbor) Hear() (netip.Addr, net.HardwareAddr, error) {
	var buf [256]byte
	for {
		m, err := n.file.Read(buf[:])
		if err != nil {
			return netip.Addr{}, nil, fmt.Errorf("hear neighbour advertisement: %w", err)
		}
		if addr, mac, ok := target(buf[:m]); ok && !bytes.Equal(mac, n.mac) {
			return addr, mac, nil
		}
	}
}

// Close ends the listening.
func (n *Neighbor) Close() error { return n.file.Close() }

// unsolicited makes the message; the kernel fills in its checksum.
func unsolicited(mac net.HardwareAddr, addr netip.Addr) []byte {
	b := append(make([]byte, 0, naLen), naType, 0, 0, 0, naFlags, 0, 0, 0)
	b = append(append(b, addr.AsSlice()...), naOption, 1) // in units of 8 bytes
	return append(b, mac...)
}

// target reads who says to have which address. Without the option nobody learns
// anything from the message.
func target(b []byte) (netip.Addr, net.HardwareAddr, bool) {
	if len(b) < naLen || b[0] != naType {
		return netip.Addr{}, nil, false
	}
	addr := netip.AddrFrom16([16]byte(b[8:24]))
	for o := b[24:]; len(o) >= 8; {
		size := int(o[1]) * 8
		if size == 0 || size > len(o) {
			break
		}
		if o[0] == naOption {
			return addr, bytes.Clone(o[2:8]), true
		}
		o = o[size:]
	}
	return netip.Addr{}, nil, false
}
