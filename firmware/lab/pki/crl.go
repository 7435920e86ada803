package pki

import (
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"
	"time"
)

// CRL signs a list of revoked certificates, number n, that holds for a week from
// this: the serial numbers of these certificates.
func (ca *CA) CRL(n int64, this time.Time, revoked ...*x509.Certificate) ([]byte, error) {
	t := &x509.RevocationList{Number: big.NewInt(n), ThisUpdate: this, NextUpdate: this.Add(7 * 24 * time.Hour)}
	for _, c := range revoked {
		t.RevokedCertificateEntries = append(t.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: c.SerialNumber, RevocationTime: this, ReasonCode: 1, // keyCompromise
		})
	}
	return ca.SignCRL(t)
}

// SignCRL signs the list described by t, for tests that spoil it before.
func (ca *CA) SignCRL(t *x509.RevocationList) ([]byte, error) {
	der, err := x509.CreateRevocationList(rand.Reader, t, ca.Cert, ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign list of revoked certificates: %w", err)
	}
	return der, nil
}
