package flowsync

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"clinicgate/failoverd/flowsync/flow"
	"clinicgate/firmware/twin"
)

// errSelf is a session of a box with itself.
var errSelf = errors.New("the address of the other box leads back to this one")

// Times of a session.
const (
	handshake = 3 * time.Second        // from the first byte to hello
	beat      = 250 * time.Millisecond // between pings
	silent    = 5 * time.Second        // without a sign of life the session is over
)

// purpose tells the identity of this session from the pair's others.
const purpose = "clinicgate pair flows 1"

// dial opens the session in which this box tells.
func (s *Sync) dial(ctx context.Context) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshake)
	defer cancel()
	// From the address that the other box expects us at.
	from := net.TCPAddrFromAddrPort(netip.AddrPortFrom(s.cfg.Listen.Addr(), 0))
	d := net.Dialer{LocalAddr: from, Control: twin.OnPort(s.cfg.Port)}
	raw, err := d.DialContext(ctx, "tcp", s.cfg.Peer.String())
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, s.terms)
	if err := s.greet(ctx, conn); err != nil {
		raw.Close()
		return nil, err
	}
	return conn, nil
}

// greet ends with both sides knowing that the other one holds the key, speaks this
// version and is another box.
func (s *Sync) greet(ctx context.Context, conn *tls.Conn) error {
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Now().Add(handshake)); err != nil {
		return err
	}
	hello := flow.Message{Kind: flow.Hello, Ver: flow.Version, Box: s.box}
	if _, err := conn.Write(hello.Append(nil)); err != nil {
		return err
	}
	m, err := flow.Read(conn)
	switch {
	case err != nil:
		return err
	case m.Kind != flow.Hello:
		return fmt.Errorf("got message %d, want hello", m.Kind)
	case m.Ver != flow.Version:
		return fmt.Errorf("the other box speaks version %d, this one %d", m.Ver, flow.Version)
	case m.Box == s.box:
		return errSelf
	}
	return conn.SetDeadline(time.Time{})
}

// A patient writer gives up on a peer that takes nothing.
type patient struct{ net.Conn }

func (p patient) Write(b []byte) (int, error) {
	if err := p.SetWriteDeadline(time.Now().Add(silent)); err != nil {
		return 0, err
	}
	return p.Conn.Write(b)
}
