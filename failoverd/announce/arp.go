package announce

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// arpLen is an ARP packet for IPv4 over Ethernet (RFC 826).
const arpLen = 28

// protocol is unix.ETH_P_ARP in network order, as a sockaddr wants it: every board
// of ours is little-endian.
const protocol = 0x0608

// arpHeader is hardware Ethernet, protocol IPv4, lengths 6 and 4.
var arpHeader = [...]byte{0, 1, 8, 0, 6, 4}

// ARP speaks and listens on one port. Say and Hear may be called from different
// goroutines; Close wakes both.
type ARP struct {
	file    *os.File
	index   int
	mac     net.HardwareAddr
	answers atomic.Pointer[[]netip.Addr] // addresses on no device, answered for here
}

// OpenARP opens the port with that index, whose hardware address is mac.
func OpenARP(index int, mac net.HardwareAddr) (*ARP, error) {
	if len(mac) != 6 {
		return nil, fmt.Errorf("open ARP socket: port %d has hardware address %q, want 6 bytes", index, mac)
	}
	// Protocol 0 until bound: else every port's ARP arrives in between.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open ARP socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: index, Protocol: protocol}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open ARP socket: bind to port %d: %w", index, err)
	}
	return &ARP{file: os.NewFile(uintptr(fd), "arp"), index: index, mac: mac}, nil
}

// Say broadcasts a gratuitous ARP request: the address is at our port now (RFC
// 9568 §8.1.2 with errata 7947 and 7949). The address must be on the port before.
func (a *ARP) Say(addr netip.Addr) error {
	if err := a.send(broadcast(), gratuitous(a.mac, addr)); err != nil {
		return fmt.Errorf("announce %v: %w", addr, err)
	}
	return nil
}

func broadcast() net.HardwareAddr { return bytes.Repeat([]byte{0xff}, 6) }

// Ask asks a machine whether it is there, in the name of self, an address of this
// port. Its answer is heard by Hear.
func (a *ARP) Ask(self, addr netip.Addr) error {
	if err := a.send(broadcast(), request(a.mac, self, addr)); err != nil {
		return fmt.Errorf("ask for %v: %w", addr, err)
	}
	return nil
}

// Answer has Hear answer requests for addresses that are on no device, so that this
// box is their master but takes in nothing that is sent to them; nil: for none. It
// ends with the program.
func (a *ARP) Answer(addrs []netip.Addr) { a.answers.Store(&addrs) }

func (a *ARP) send(mac net.HardwareAddr, b []byte) error {
	return hand(a.file, a.index, protocol, mac, b)
}

// hand puts what is behind the Ethernet header on the wire for a machine, by a packet
// socket and past all routes. The protocol is in network order.
func hand(socket *os.File, index int, protocol uint16, mac net.HardwareAddr, b []byte) error {
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	to := &unix.SockaddrLinklayer{Ifindex: index, Protocol: protocol, Halen: 6}
	copy(to.Addr[:], mac)
	var sendErr error
	err = raw.Write(func(fd uintptr) bool {
		sendErr = unix.Sendto(int(fd), b, 0, to)
		return true
	})
	return errors.Join(err, sendErr)
}

// Hear waits for somebody on the network to say, in a request or an answer, that
// an address is theirs. What is no ARP for IPv4 is passed over.
func (a *ARP) Hear() (netip.Addr, net.HardwareAddr, error) {
	var buf [64]byte
	for {
		n, err := a.file.Read(buf[:])
		if err != nil {
			return netip.Addr{}, nil, fmt.Errorf("hear ARP: %w", err)
		}
		a.answer(buf[:n])
		if addr, mac, ok := sender(buf[:n]); ok && !bytes.Equal(mac, a.mac) {
			return addr, mac, nil
		}
	}
}

// answer tells who asks for one of the answered addresses where it is. One that is
// not sent is asked for again.
func (a *ARP) answer(b []byte) {
	want, from, ok := wanted(b)
	if list := a.answers.Load(); ok && list != nil && slices.Contains(*list, want) {
		mac := net.HardwareAddr(bytes.Clone(b[8:14]))
		_ = a.send(mac, reply(a.mac, want, mac, from))
	}
}

// Close ends the listening.
func (a *ARP) Close() error { return a.file.Close() }

// Operations.
const (
	opRequest = 1
	opReply   = 2
)

// gratuitous makes the request: who has addr? addr, which is at mac, asks.
func gratuitous(mac net.HardwareAddr, addr netip.Addr) []byte {
	return message(opRequest, mac, addr, mac, addr)
}

// request makes the request: who has addr? self, which is at mac, asks.
func request(mac net.HardwareAddr, self, addr netip.Addr) []byte {
	return message(opRequest, mac, self, make(net.HardwareAddr, 6), addr)
}

func reply(mac net.HardwareAddr, addr netip.Addr, toMAC net.HardwareAddr, to netip.Addr) []byte {
	return message(opReply, mac, addr, toMAC, to)
}

func message(op uint16, mac net.HardwareAddr, addr netip.Addr, toMAC net.HardwareAddr, to netip.Addr) []byte {
	b := append(make([]byte, 0, arpLen), arpHeader[:]...)
	b = binary.BigEndian.AppendUint16(b, op)
	b = append(append(b, mac...), addr.AsSlice()...)
	return append(append(b, toMAC...), to.AsSlice()...)
}

// wanted reads who asks for which address.
func wanted(b []byte) (addr, from netip.Addr, ok bool) {
	if len(b) < arpLen || !bytes.Equal(b[:6], arpHeader[:]) || binary.BigEndian.Uint16(b[6:]) != opRequest {
		return addr, from, false
	}
	return netip.AddrFrom4([4]byte(b[24:28])), netip.AddrFrom4([4]byte(b[14:18])), true
}

// sender reads who says to have which address. A probe (RFC 5227 §1.1) comes from
// 0.0.0.0 and claims nothing.
func sender(b []byte) (netip.Addr, net.HardwareAddr, bool) {
	if len(b) < arpLen || !bytes.Equal(b[:6], arpHeader[:]) {
		return netip.Addr{}, nil, false
	}
	addr := netip.AddrFrom4([4]byte(b[14:18]))
	return addr, bytes.Clone(b[8:14]), !addr.IsUnspecified()
}
