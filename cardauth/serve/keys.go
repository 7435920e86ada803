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

	now atomic.Pointer[tls.Config]
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
	k.now.Store(&tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{pair},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    pool,
		NextProtos:   []string{"http/1.1"},
	})
	return nil
}

// bare cuts folders from a path error: people know files by their names.
func bare(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return fmt.Errorf("%s: %w", filepath.Base(p.Path), p.Err)
	}
	return err
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
			return nil, errors.New("no TLS key pair yet")
		},
	}
}
