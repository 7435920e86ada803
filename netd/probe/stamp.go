package probe

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"clinicgate/netd/stamp"
)

// Session measures the path to a STAMP reflector (RFC 8762) through one uplink.
// Safe for concurrent use.
type Session struct {
	conn *net.UDPConn
	ssid uint16

	mu    sync.Mutex
	meter stamp.Meter
}

// OpenSession makes a session whose packets leave by dev only, with the mark of its
// uplink. It needs CAP_NET_RAW and CAP_NET_ADMIN.
func OpenSession(ctx context.Context, dev string, mark uint32, reflector netip.AddrPort) (*Session, error) {
	d := net.Dialer{Control: through(dev, mark)}
	conn, err := d.DialContext(ctx, "udp4", reflector.String())
	if err != nil {
		return nil, fmt.Errorf("open STAMP session on %s: %w", dev, err)
	}
	return &Session{conn: conn.(*net.UDPConn), ssid: random()}, nil
}

func random() uint16 {
	var b [2]byte
	rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint16(b[:])
}

// through binds a socket to a device and gives it a mark.
func through(dev string, mark uint32) func(string, string, syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		ctl := c.Control(func(fd uintptr) { err = bindTo(int(fd), dev, mark) })
		return errors.Join(ctl, err)
	}
}

// Close ends Receive.
func (s *Session) Close() error { return s.conn.Close() }

// Send sends the next packet. What can't be sent counts as lost.
func (s *Session) Send() error {
	s.mu.Lock()
	b := s.meter.Send(time.Now(), s.ssid, random())
	s.mu.Unlock()
	if _, err := s.conn.Write(b); err != nil {
		return fmt.Errorf("STAMP: %w", err)
	}
	return nil
}

// Receive takes in what comes back, until Close.
func (s *Session) Receive() error {
	buf := make([]byte, 1500)
	for {
		n, err := s.conn.Read(buf)
		now := time.Now()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
			continue // told by ICMP: no reflector there now
		case err != nil:
			return fmt.Errorf("receive STAMP: %w", err)
		}
		s.mu.Lock()
		s.meter.Reply(buf[:n], now)
		s.mu.Unlock()
	}
}

// Result is what is known of the path.
func (s *Session) Result() stamp.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.meter.Result()
}
