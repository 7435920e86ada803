package flowsync

import (
	"context"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"clinicgate/failoverd/flowsync/flow"
)

// errOtherKey is a peer that doesn't hold the pair's key.
var errOtherKey = errors.New("the other side doesn't hold this pair's key")

// errSelf is a session of a box with itself.
var errSelf = errors.New("the address of the other box leads back to this one")

// Times of a session.
const (
	handshake = 3 * time.Second        // from the first byte to hello
	beat      = 250 * time.Millisecond // between pings
	silent    = 5 * time.Second        // without a sign of life the session is over
)

// ReadKey reads the pair's key: 32 bytes in base64, the same on both boxes.
func ReadKey(path string) (key [32]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return key, fmt.Errorf("read the pair's key: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 256))
	if err != nil {
		return key, fmt.Errorf("read the pair's key: %w", err)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(raw) != len(key) || [32]byte(raw) == key {
		return key, fmt.Errorf("read the pair's key: %s: want 44 characters of base64, as wg genkey writes them", path)
	}
	return [32]byte(raw), nil
}

// terms are the TLS terms of both sides. The identity is derived from the pair's
// key, so both boxes have the same one and pin it: only who holds the key can sign
// the handshake, and TLS 1.3 sees to secrecy, order and replay. No resumption: a
// ticket would stand in for the key.
func terms(key [32]byte) (*tls.Config, error) {
	seed, err := hkdf.Key(sha256.New, key[:], nil, "clinicgate pair flows 1", ed25519.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("derive the pair's identity: %w", err)
	}
	private := ed25519.NewKeyFromSeed(seed)
	public := private.Public().(ed25519.PublicKey)
	// No time is checked: a box without a clock must find its pair.
	bare := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(nil, bare, bare, public, private)
	if err != nil {
		return nil, fmt.Errorf("make the pair's certificate: %w", err)
	}
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}},
		ClientAuth:             tls.RequireAnyClientCert,
		InsecureSkipVerify:     true, // names and CAs; VerifyConnection pins the key instead
		SessionTicketsDisabled: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) == 0 || !public.Equal(cs.PeerCertificates[0].PublicKey) {
				return errOtherKey
			}
			return nil
		},
	}, nil
}

// onPort ties a socket to the port between the boxes: nothing on another cable can
// reach it.
func onPort(port string) func(string, string, syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		if port == "" {
			return nil
		}
		var err error
		ctlErr := c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), port) })
		return errors.Join(ctlErr, err)
	}
}

// dial opens the session in which this box tells.
func (s *Sync) dial(ctx context.Context) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshake)
	defer cancel()
	// From the address that the other box expects us at.
	from := net.TCPAddrFromAddrPort(netip.AddrPortFrom(s.cfg.Listen.Addr(), 0))
	d := net.Dialer{LocalAddr: from, Control: onPort(s.cfg.Port)}
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
