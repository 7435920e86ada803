// Package twin is how the two boxes of a pair know each other. It guarantees that a
// TLS connection under its terms has a holder of the pair's key at the other end,
// and that a socket made with its control is reached over the named port alone.
package twin

import (
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
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// KeyFile is the pair's key, in the secrets folder of each program that talks to
// the other box; the same on both boxes.
const KeyFile = "ha.key"

// ErrOtherKey is a peer that doesn't hold the pair's key.
var ErrOtherKey = errors.New("the other side doesn't hold this pair's key")

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

// Terms are the TLS terms of both sides, for one purpose. The identity is derived
// from the pair's key, so both boxes have the same one and pin it: only who holds
// the key can sign the handshake, and TLS 1.3 sees to secrecy, order and replay. No
// resumption: a ticket would stand in for the key. A peer of another purpose is as
// good as a stranger.
func Terms(key [32]byte, purpose string) (*tls.Config, error) {
	seed, err := hkdf.Key(sha256.New, key[:], nil, purpose, ed25519.SeedSize)
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
				return ErrOtherKey
			}
			return nil
		},
	}, nil
}

// OnPort ties a socket to the port between the boxes: nothing on another cable can
// reach it. It is for the Control of a dialer or a listener; port "" is any.
func OnPort(port string) func(string, string, syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		if port == "" {
			return nil
		}
		var err error
		ctlErr := c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), port) })
		return errors.Join(ctlErr, err)
	}
}
