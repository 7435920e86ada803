package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// GatewayName is the box's name on the clinic's LAN.
const GatewayName = "gateway.internal"

// A Device is a key pair and its certificate from the devices CA.
type Device struct {
	Cert *x509.Certificate
	Key  *ecdsa.PrivateKey
}

// Gateway makes a TLS server's certificate for GatewayName, localhost and ips,
// such as 10.20.0.1. It is good as a client too: a pair's boxes call each other.
func (w *World) Gateway(ips ...net.IP) (*Device, error) {
	return w.device(&x509.Certificate{
		Subject:     deviceName("gateway", GatewayName),
		DNSNames:    []string{GatewayName, "localhost"},
		IPAddresses: ips,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
}

// Client makes a TLS client's certificate. kind is what the device is
// ("workstation", "modality", "mqtt") and becomes its organizational unit.
func (w *World) Client(kind, name string) (*Device, error) {
	return w.device(&x509.Certificate{
		Subject:     deviceName(kind, name),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

func deviceName(kind, name string) pkix.Name {
	return pkix.Name{Country: []string{"XX"}, Organization: []string{"Test Clinic"}, OrganizationalUnit: []string{kind}, CommonName: name}
}

func (w *World) device(t *x509.Certificate) (*Device, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t.KeyUsage, t.BasicConstraintsValid = x509.KeyUsageDigitalSignature, true
	der, err := w.Devices.Sign(t, key.Public())
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &Device{cert, key}, err
}

// TLS returns the pair for crypto/tls.
func (d *Device) TLS() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{d.Cert.Raw}, PrivateKey: d.Key, Leaf: d.Cert}
}

// CertPEM returns the certificate.
func (d *Device) CertPEM() []byte { return certPEM(d.Cert.Raw) }

// KeyPEM returns the private key in PKCS #8, which OpenSSL, mosquitto and Go read.
func (d *Device) KeyPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(d.Key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// Write puts name.crt and name.key (0600) into dir, making it.
func (d *Device) Write(dir, name string) error {
	key, err := d.KeyPEM()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, name+".crt"), d.CertPEM(), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name+".key"), key, 0o600)
}

// WriteAnchors puts what a site's anchors folder holds into dir, making it:
// professionals.pem and patients.pem (root and issuing CA each) and devices.pem.
func (w *World) WriteAnchors(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	files := map[string][]byte{
		"professionals.pem": append(w.Root.PEM(), w.Professionals.PEM()...),
		"patients.pem":      append(w.Root.PEM(), w.Patients.PEM()...),
		"devices.pem":       w.Devices.PEM(),
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return fmt.Errorf("write anchors: %w", err)
		}
	}
	return nil
}
