// Package tap counts the packets that leave and come in by one port, at a cost that
// does not depend on how many there are: the kernel counts what matches a filter
// and hands over no packet. It sees neither contents nor addresses.
package tap

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Tap is two sockets on one device: one for what leaves, one for what comes in. Not
// safe for concurrent use.
type Tap struct {
	out, in int
}

// Open counts on the device with this interface index from now on. Packets whose
// mark has a bit of unheard are not counted as leaving: nobody answers them here. It
// needs CAP_NET_RAW. A device that vanished and came back needs another Tap.
func Open(index int, unheard uint32) (*Tap, error) {
	out, err := count(unix.ETH_P_ALL, index, leaving(unheard))
	if err != nil {
		return nil, err
	}
	in, err := count(unix.ETH_P_IP, index, coming())
	if err != nil {
		return nil, errors.Join(err, unix.Close(out))
	}
	return &Tap{out: out, in: in}, nil
}

// Close gives the sockets back.
func (t *Tap) Close() { _, _ = unix.Close(t.out), unix.Close(t.in) }

// Count returns how many packets left and came in since the last call.
func (t *Tap) Count() (out, in int, err error) {
	if out, err = stats(t.out); err == nil {
		in, err = stats(t.in)
	}
	return out, in, err
}

// stats reads and resets the socket's counter. What found no room in the socket,
// which is all but the first few, is in it too.
func stats(fd int) (int, error) {
	s, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0, fmt.Errorf("count packets: %w", err)
	}
	return int(s.Packets), nil
}

// count makes a socket that nobody reads. Its filter passes one byte of each packet
// to count; when its few hundred bytes of room are full the kernel only counts.
func count(proto, index int, filter []unix.SockFilter) (int, error) {
	// Bound only after the filter is on, so that nothing else is ever counted.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open tap: %w", err)
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1), // the least there is
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: swap(uint16(proto)), Ifindex: index}),
	)
	if err != nil {
		return -1, errors.Join(fmt.Errorf("open tap: %w", err), unix.Close(fd))
	}
	return fd, nil
}

func swap(n uint16) uint16 { return n<<8 | n>>8 }

// Offsets of linux/filter.h at which a filter finds what is not in the packet.
const (
	adProtocol = 0xfffff000 + 0
	adPktType  = 0xfffff000 + 4
	adMark     = 0xfffff000 + 20
	ipProto    = 9 // in an IPv4 header
)

// The instructions that are used here.
const (
	load     = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	loadByte = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS
	equal    = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	anyBit   = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
	give     = unix.BPF_RET | unix.BPF_K
)

// leaving passes IPv4 that goes out and that one would expect an answer to: not ICMP,
// as probes are judged by themselves, and of TCP neither RST nor an ACK without data,
// which ends most conversations.
func leaving(unheard uint32) []unix.SockFilter {
	const drop, pass = 20, 21
	to := func(target, at int) uint8 { return uint8(target - at - 1) }
	return []unix.SockFilter{
		0:  {Code: load, K: adPktType},
		1:  {Code: equal, K: unix.PACKET_OUTGOING, Jf: to(drop, 1)},
		2:  {Code: load, K: adProtocol},
		3:  {Code: equal, K: unix.ETH_P_IP, Jf: to(drop, 3)},
		4:  {Code: load, K: adMark},
		5:  {Code: anyBit, K: unheard, Jt: to(drop, 5)},
		6:  {Code: loadByte, K: ipProto},
		7:  {Code: equal, K: unix.IPPROTO_ICMP, Jt: to(drop, 7)},
		8:  {Code: equal, K: unix.IPPROTO_TCP, Jf: to(pass, 8)},
		9:  {Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0}, // X: the IP header's length
		10: {Code: unix.BPF_LD | unix.BPF_B | unix.BPF_IND, K: 13},
		11: {Code: anyBit, K: 0x03, Jt: to(pass, 11)}, // SYN, FIN
		12: {Code: anyBit, K: 0x04, Jt: to(drop, 12)}, // RST
		13: {Code: unix.BPF_LD | unix.BPF_B | unix.BPF_IND, K: 12},
		14: {Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: 0xf0},
		15: {Code: unix.BPF_ALU | unix.BPF_RSH | unix.BPF_K, K: 2},
		16: {Code: unix.BPF_ALU | unix.BPF_ADD | unix.BPF_X},
		17: {Code: unix.BPF_MISC | unix.BPF_TAX}, // X: both headers' length
		18: {Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 2},
		19: {Code: unix.BPF_JMP | unix.BPF_JGT | unix.BPF_X, Jt: to(pass, 19)},
		20: {Code: give, K: 0},
		21: {Code: give, K: 1},
	}
}

// coming passes IPv4 that is for this box, but no ICMP: that a gateway can reach
// nobody is no sign of life of what is behind it.
func coming() []unix.SockFilter {
	return []unix.SockFilter{
		{Code: load, K: adPktType}, {Code: equal, K: unix.PACKET_HOST, Jf: 3},
		{Code: loadByte, K: ipProto}, {Code: equal, K: unix.IPPROTO_ICMP, Jt: 1},
		{Code: give, K: 1}, {Code: give, K: 0},
	}
}
