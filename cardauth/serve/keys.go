package serve

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
)

// Keys are the endpoint's certificate and the CA of its callers, read from files
// that may be replaced at any time: new connections use what was loaded last.
type Keys struct {
	Cert, Key, Devices string // paths

	now     atomic.Pointer[tls.Config]
	gateway atomic.Pointer[[]byte] // PEM of Devices
}

// Load reads the files. On an error what was loaded before stays in force.
func (k *Keys) Load() error {
	pair, err := tls.LoadX509KeyPair(k.Cert, k.Key)
	if err != nil {
		return fmt.Errorf("TLS key pair: %w", bare(err))
	}
	data, err := os.ReadFile(k.Devices)
	if err != nil {
		return fmt.Errorf("devices CA: %w", bare(err))
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return fmt.Errorf("devices CA: %s: got no PEM certificate", filepath.Base(k.Devices))
	}
	k.gateway.Store(&data)
	k.now.Store(&tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{pair},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    pool,
		NextProtos:   []string{"http/1.1"},
	})
	return nil
}

// ErrNoKey is returned before Load has succeeded.
var ErrNoKey = errors.New("no TLS key pair yet")

// Gateway returns the key pair and the PEM of the CA it is from.
func (k *Keys) Gateway() (tls.Certificate, []byte, error) {
	c, ca := k.now.Load(), k.gateway.Load()
	if c == nil || ca == nil {
		return tls.Certificate{}, nil, ErrNoKey
	}
	return c.Certificates[0], *ca, nil
}

// bare cuts folders from a path error: people know files by their names.
func bare(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return fmt.Errorf("%s: %w", filepath.Base(p.Path), p.Err)
	}
	return err
}

// Open is TLS for those who have no certificate.
func (k *Keys) Open() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			c := k.now.Load()
			if c == nil {
				return nil, ErrNoKey
			}
			return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: c.Certificates, NextProtos: []string{"h2", "http/1.1"}}, nil
		},
	}
}

// TLS returns the configuration of a listener. Until Load has succeeded every
// connection is refused.
func (k *Keys) TLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			if c := k.now.Load(); c != nil {
				return c, nil
			}
			return nil, ErrNoKey
		},
	}
}
