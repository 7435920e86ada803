// Package hop asks an address for an echo by one device, over as many hops as it is
// told, and says who answered. Over all hops that is a ping, over one more each time
// a trace.
package hop

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Answer is what came back.
type Answer struct {
	From  netip.Addr
	Kind  Kind
	After time.Duration
}

// ErrSilent says that nothing came back in time.
var ErrSilent = errors.New("no answer")

// Socket asks one question at a time. Not safe for concurrent use.
type Socket struct {
	conn *net.IPConn
	self echo
}

// Open makes a socket whose packets leave by dev only, with the mark that chooses an
// uplink's routing table; an empty dev leaves it to the routes. It needs CAP_NET_RAW
// and CAP_NET_ADMIN.
func Open(ctx context.Context, dev string, mark uint32) (*Socket, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		cerr := c.Control(func(fd uintptr) { err = prepare(int(fd), dev, mark) })
		return errors.Join(cerr, err)
	}}
	conn, err := lc.ListenPacket(ctx, "ip4:icmp", "0.0.0.0")
	if err != nil {
		return nil, fmt.Errorf("open echo socket: %w", err)
	}
	var seed [10]byte
	rand.Read(seed[:]) // never fails
	s := &Socket{conn: conn.(*net.IPConn)}
	s.self.id, s.self.cookie = binary.BigEndian.Uint16(seed[:]), binary.BigEndian.Uint64(seed[2:])
	return s, nil
}

// icmpFilter is ICMP_FILTER of linux/icmp.h: a set bit keeps the type out.
const icmpFilter = 1

func prepare(fd int, dev string, mark uint32) error {
	if dev != "" {
		if err := unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, dev); err != nil {
			return fmt.Errorf("bind to device %s: %w", dev, err)
		}
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)); err != nil {
		return fmt.Errorf("set mark: %w", err)
	}
	keep := ^uint32(1<<typeReply | 1<<typeUnreachable | 1<<typeExceeded)
	if err := unix.SetsockoptInt(fd, unix.SOL_RAW, icmpFilter, int(int32(keep))); err != nil {
		return fmt.Errorf("set filter: %w", err)
	}
	return nil
}

// Close gives the socket back.
func (s *Socket) Close() error { return s.conn.Close() }

// Ask sends one echo over at most ttl hops and waits for what answers it, for so long.
// The error is ErrSilent when nothing did.
func (s *Socket) Ask(to netip.Addr, ttl int, seq uint16, wait time.Duration) (Answer, error) {
	raw, err := s.conn.SyscallConn()
	if err != nil {
		return Answer{}, err
	}
	if cerr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, ttl) }); cerr != nil || err != nil {
		return Answer{}, fmt.Errorf("set hops: %w", errors.Join(cerr, err))
	}
	s.self.seq, s.self.to = seq, to
	sent := time.Now()
	if err := s.conn.SetReadDeadline(sent.Add(wait)); err != nil {
		return Answer{}, err
	}
	if _, err := s.conn.WriteToIP(s.self.marshal(), &net.IPAddr{IP: to.AsSlice()}); err != nil {
		return Answer{}, fmt.Errorf("send echo: %w", err)
	}
	buf := make([]byte, 2048)
	for {
		n, from, err := s.conn.ReadFromIP(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return Answer{}, ErrSilent
		}
		if err != nil {
			return Answer{}, fmt.Errorf("receive echo: %w", err)
		}
		addr, _ := netip.AddrFromSlice(from.IP)
		if kind, ok := s.self.answered(addr.Unmap(), buf[:n]); ok {
			return Answer{From: addr.Unmap(), Kind: kind, After: time.Since(sent)}, nil
		}
	}
}
