package serve

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrNoKey is a key pair that has not been put into its folder yet.
var ErrNoKey = errors.New("no TLS key pair")

// TLS reads the endpoint's key pair, tls.crt and tls.key in secrets, and the CA
// that devices must have their certificates from.
func TLS(secrets, devices string) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(filepath.Join(secrets, "tls.crt"), filepath.Join(secrets, "tls.key"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrNoKey, err)
	}
	if err != nil {
		return nil, fmt.Errorf("TLS key pair in %s: %w", secrets, err)
	}
	pem, err := os.ReadFile(devices)
	if err != nil {
		return nil, fmt.Errorf("CA of devices: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("CA of devices: %s: got no certificate, want one or more in PEM", devices)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{cert},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    pool,
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{"h2", "http/1.1"},
	}, nil
}

// OpenTLS reads the same key pair, for those who have no certificate.
func OpenTLS(secrets string) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(filepath.Join(secrets, "tls.crt"), filepath.Join(secrets, "tls.key"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrNoKey, err)
	}
	if err != nil {
		return nil, fmt.Errorf("TLS key pair in %s: %w", secrets, err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"}}, nil
}
