package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A Sizer asks one host for echoes of given sizes that must not be cut into
// fragments. Send and Receive may run at the same time.
type Sizer struct {
	p *Prober
}

const (
	ipHeader = 20
	maxSize  = 1500
)

// OpenSizer makes a sizer whose packets leave by dev only.
func OpenSizer(ctx context.Context, dev string, mark uint32, target netip.Addr) (*Sizer, error) {
	p, err := Open(ctx, dev, mark, []netip.Addr{target})
	if err != nil {
		return nil, err
	}
	raw, err := p.conn.SyscallConn()
	if err == nil {
		// Don't fragment, whatever routers have said about the path.
		ctl := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
		})
		err = errors.Join(ctl, err)
	}
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("open sizer on %s: %w", dev, err)
	}
	return &Sizer{p}, nil
}

// Close ends Receive.
func (s *Sizer) Close() error { return s.p.Close() }

// Send asks for an echo by an IPv4 packet of that size, an even number. What is
// larger than the device takes is not sent, as if it had been lost.
func (s *Sizer) Send(size int) error {
	e := s.p.self
	e.round = uint64(size)
	_, err := s.p.conn.WriteToIP(pad(e.marshal(), size-ipHeader), &net.IPAddr{IP: s.p.targets[0].AsSlice()})
	if err != nil && !errors.Is(err, unix.EMSGSIZE) {
		return fmt.Errorf("ask %s for %d bytes: %w", s.p.targets[0], size, err)
	}
	return nil
}

// pad makes an echo longer by zeros, which its checksum doesn't see.
func pad(b []byte, size int) []byte {
	return append(b, make([]byte, max(0, size-len(b)))...)
}

// unpad returns the echo in front of the zeros.
func unpad(b []byte) ([]byte, bool) {
	if len(b) < echoLen || len(b) > maxSize {
		return nil, false
	}
	for _, c := range b[echoLen:] {
		if c != 0 {
			return nil, false
		}
	}
	return b[:echoLen], true
}

// Receive calls answered with the size of each echo that came back whole, from one
// goroutine, until Close.
func (s *Sizer) Receive(answered func(size int)) error {
	buf := make([]byte, 2048)
	for {
		n, from, err := s.p.conn.ReadFromIP(buf)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive answers of a size: %w", err)
		}
		b, ok := unpad(buf[:n])
		if !ok {
			continue
		}
		if size, ok := s.p.check(from, b); ok && int(size) == n+ipHeader {
			answered(int(size))
		}
	}
}
