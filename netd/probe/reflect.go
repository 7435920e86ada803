package probe

import (
	"container/list"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"clinicgate/netd/stamp"

	"golang.org/x/sys/unix"
)

// maxSessions bounds a reflector's memory; the longest silent one makes room.
const maxSessions = 10000

// Reflect answers test packets (RFC 8762 §4.3) on conn until it is closed. It counts
// per sender's address and port: a stateful reflector.
func Reflect(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("reflect: %w", err)
	}
	// Without it replies say 255, as RFC 8762 allows.
	_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVTTL, 1) })
	s := newSessions()
	buf, oob := make([]byte, 1500), make([]byte, 64)
	for {
		n, on, _, from, err := conn.ReadMsgUDPAddrPort(buf, oob)
		now := time.Now()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reflect: %w", err)
		}
		if n < stamp.Size {
			continue
		}
		reply, err := stamp.Reflect(buf[:n], s.count(from), now, ttl(oob[:on]))
		if err != nil {
			continue
		}
		stamp.Stamp(reply, time.Now())
		_, _ = conn.WriteToUDPAddrPort(reply, from) // a sender that is gone
	}
}

// ttl is the packet's, 255 where the kernel does not say.
func ttl(oob []byte) byte {
	all, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 255
	}
	for _, m := range all {
		if m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_TTL && len(m.Data) > 0 {
			return m.Data[0]
		}
	}
	return 255
}

// sessions counts packets per sender, the latest at the front.
type sessions struct {
	all   map[netip.AddrPort]*list.Element
	order list.List
}

type session struct {
	from netip.AddrPort
	next uint32
}

func newSessions() *sessions { return &sessions{all: map[netip.AddrPort]*list.Element{}} }

// count returns the number of this packet of its sender.
func (s *sessions) count(from netip.AddrPort) uint32 {
	e := s.all[from]
	if e == nil {
		if s.order.Len() >= maxSessions {
			oldest := s.order.Back()
			delete(s.all, oldest.Value.(*session).from)
			s.order.Remove(oldest)
		}
		e = s.order.PushFront(&session{from: from})
		s.all[from] = e
	}
	s.order.MoveToFront(e)
	x := e.Value.(*session)
	x.next++
	return x.next - 1
}
