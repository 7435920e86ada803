package announce

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// protocol6 is unix.ETH_P_IPV6 in network order.
const protocol6 = 0xdd86

// allNodes hears announcements.
var allNodes = netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 15: 1})

// Neighbor is what ARP is, for IPv6. A raw socket sends, and joins the groups that
// the hardware is to let in; a packet socket hears what is for no address of this box
// too.
type Neighbor struct {
	out, in *os.File
	index   int
	mac     net.HardwareAddr
	answers atomic.Pointer[[]netip.Addr] // addresses on no device, answered for here
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
	var none unix.ICMPv6Filter // a bit set is a type passed over
	for i := range none.Data {
		none.Data[i] = 0xffffffff
	}
	err = errors.Join(
		unix.SetsockoptICMPv6Filter(fd, unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER, &none),
		unix.BindToDevice(fd, name),
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1), // a source that is on no device
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 255),
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, index),
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255),
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 0),
	)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open ICMPv6 socket on %s: %w", name, err)
	}
	in, err := hearing(index)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open ICMPv6 socket on %s: %w", name, err)
	}
	return &Neighbor{out: os.NewFile(uintptr(fd), "icmpv6"), in: os.NewFile(uintptr(in), "icmpv6"), index: index, mac: mac}, nil
}

// hearing opens a packet socket that gets the port's neighbour discovery alone: the
// kernel sorts it out before it wakes us.
func hearing(index int) (int, error) {
	// Protocol 0 until bound: else every port's packets arrive in between.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 6}, // next header
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_ICMPV6, Jf: 4},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: header6}, // type
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nsType, Jt: 1},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: naType, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
		{Code: unix.BPF_RET | unix.BPF_K},
	}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{
		Len: uint16(len(program)), Filter: (*unix.SockFilter)(unsafe.Pointer(&program[0])),
	})
	runtime.KeepAlive(program)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: index, Protocol: protocol6})
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Say sends an unsolicited neighbour advertisement: the address is at our port
// now. It is the source as well.
func (n *Neighbor) Say(addr netip.Addr) error {
	if err := n.send(addr, allNodes, unsolicited(n.mac, addr)); err != nil {
		return fmt.Errorf("announce %v: %w", addr, err)
	}
	return nil
}

// Ask asks a machine whether it is there, in the name of self, an address of this
// port. Its answer is heard by Hear.
func (n *Neighbor) Ask(self, addr netip.Addr) error {
	if err := n.send(self, solicited(addr), discovery(nsType, 0, addr, nsOption, n.mac)); err != nil {
		return fmt.Errorf("ask for %v: %w", addr, err)
	}
	return nil
}

func (n *Neighbor) send(from, to netip.Addr, b []byte) error {
	raw, err := n.out.SyscallConn()
	if err != nil {
		return err
	}
	info := unix.PktInfo6(&unix.Inet6Pktinfo{Addr: from.As16(), Ifindex: uint32(n.index)})
	sa := &unix.SockaddrInet6{Addr: to.As16(), ZoneId: uint32(n.index)}
	var sendErr error
	err = raw.Write(func(fd uintptr) bool {
		sendErr = unix.Sendmsg(int(fd), b, info, sa, 0)
		return true
	})
	return errors.Join(err, sendErr)
}

// Answer is ARP's Answer: Hear answers solicitations for addresses that are on no
// device; nil: for none. It ends with the program.
func (n *Neighbor) Answer(addrs []netip.Addr) {
	if old := n.answers.Swap(&addrs); old != nil {
		n.groups(unix.IPV6_LEAVE_GROUP, *old)
	}
	n.groups(unix.IPV6_JOIN_GROUP, addrs)
}

// groups joins or leaves those in which the addresses are asked for. A group that can't
// be joined is one that the hardware lets in for another reason, or the port is gone.
func (n *Neighbor) groups(change int, addrs []netip.Addr) {
	raw, err := n.out.SyscallConn()
	if err != nil {
		return
	}
	for _, a := range addrs {
		_ = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptIPv6Mreq(int(fd), unix.IPPROTO_IPV6, change, &unix.IPv6Mreq{Multiaddr: solicited(a).As16(), Interface: uint32(n.index)})
		})
	}
}

// Hear waits for somebody on the network to say, in a question or an answer, that an
// address is theirs.
func (n *Neighbor) Hear() (netip.Addr, net.HardwareAddr, error) {
	var buf [256]byte
	for {
		m, err := n.in.Read(buf[:])
		if err != nil {
			return netip.Addr{}, nil, fmt.Errorf("hear neighbour discovery: %w", err)
		}
		from, msg, ok := neighborly(buf[:m])
		if !ok {
			continue
		}
		n.answer(from, msg)
		if addr, mac, ok := said(from, msg); ok && !bytes.Equal(mac, n.mac) {
			return addr, mac, nil
		}
	}
}

// answer tells who asks for one of the answered addresses where it is. Who has no
// address yet looks for a holder of the one it wants, and all are told (RFC 4861
// §7.2.4). An answer that is not sent is asked for again.
func (n *Neighbor) answer(from netip.Addr, msg []byte) {
	want, ok := asked(msg)
	list := n.answers.Load()
	if !ok || list == nil || !slices.Contains(*list, want) {
		return
	}
	if from.IsUnspecified() {
		_ = n.Say(want)
		return
	}
	b := packed(want, from, discovery(naType, naAnswer, want, naOption, n.mac))
	if mac, ok := option(msg[24:], nsOption); ok {
		_ = hand(n.in, n.index, protocol6, mac, b) // there may be no route to it
	}
}

// Close ends the listening.
func (n *Neighbor) Close() error { return errors.Join(n.out.Close(), n.in.Close()) }
