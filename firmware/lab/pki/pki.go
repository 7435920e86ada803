// Package pki is the test world's certificate authorities: a root whose issuing
// CA signs doctors' cards, a CA of devices, and a foreign hierarchy that looks
// the same and must not be trusted. Nothing here is fit for real patients: keys
// of the CAs live in memory and die with the process.
//
//	root (P-384) ── professionals (P-256, policy required) ── cards' certificates
//	            └── patients (the same, of another policy) ── patients' cards
//	devices (P-256, its own root) ── gateways, workstations, modalities
//	foreign root ── foreign professionals ── a card nobody here knows
//
// Keys of cards are made on the card; a card hands out its public key and takes
// a certificate.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// PolicyProfessional is the certificate policy of professionals' cards, in an
// arc used for tests only. docs/site.example.toml names it.
const PolicyProfessional = "1.3.6.1.4.1.99999.1.1"

// PolicyPatient is the one of patients' cards.
const PolicyPatient = "1.3.6.1.4.1.99999.1.2"

const year = 365 * 24 * time.Hour

// A World is one set of authorities.
type World struct {
	Root          *CA
	Professionals *CA
	Patients      *CA // under the same root
	Devices       *CA
	// Foreign signs professionals' cards of another country: the same names,
	// policy and roles under a root that no gateway here has as an anchor.
	ForeignRoot *CA
	Foreign     *CA

	now time.Time
}

// A CA signs certificates.
type CA struct {
	Cert *x509.Certificate
	key  crypto.Signer
	now  time.Time
}

// New makes a world whose certificates are valid around now. They begin an hour
// before it: clocks of virtual machines differ.
func New(now time.Time) (*World, error) {
	w := &World{now: now}
	var err error
	if w.Root, w.Professionals, err = hierarchy("Test Health", now); err != nil {
		return nil, err
	}
	if w.ForeignRoot, w.Foreign, err = hierarchy("Foreign Health", now); err != nil {
		return nil, err
	}
	if w.Patients, err = issuer(w.Root, authority("Test Health", "Patients CA"), PolicyPatient, now); err != nil {
		return nil, err
	}
	w.Devices, err = newCA(nil, elliptic.P256(), authority("Test Clinic", "Devices CA"), now)
	if err != nil {
		return nil, err
	}
	return w, nil
}

// hierarchy makes a root and its issuing CA for professionals.
func hierarchy(org string, now time.Time) (root, issuing *CA, err error) {
	root, err = newCA(nil, elliptic.P384(), authority(org, "Root CA"), now)
	if err != nil {
		return nil, nil, err
	}
	issuing, err = issuer(root, authority(org, "Professionals CA"), PolicyProfessional, now)
	return root, issuing, err
}

// issuer makes an issuing CA whose certificates carry a policy.
func issuer(root *CA, t *x509.Certificate, policy string, now time.Time) (*CA, error) {
	t.MaxPathLen, t.MaxPathLenZero = 0, true
	t.Policies = []x509.OID{mustOID(policy)}
	t.ExtraExtensions = []pkix.Extension{requireExplicitPolicy}
	return newCA(root, elliptic.P256(), t, now)
}

// requireExplicitPolicy is policyConstraints with requireExplicitPolicy 0
// (RFC 5280 §4.2.1.11): from this CA down, a chain without an acceptable policy
// is invalid. crypto/x509 reads it but can't write it.
var requireExplicitPolicy = pkix.Extension{
	Id:       asn1.ObjectIdentifier{2, 5, 29, 36},
	Critical: true,
	Value:    []byte{0x30, 0x03, 0x80, 0x01, 0x00},
}

func authority(org, name string) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{Country: []string{"XX"}, Organization: []string{org}, CommonName: org + " " + name},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

// newCA makes a CA under parent, or a root when parent is nil.
func newCA(parent *CA, curve elliptic.Curve, t *x509.Certificate, now time.Time) (*CA, error) {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		return nil, err
	}
	ca := &CA{key: key, now: now}
	if parent == nil {
		parent = &CA{Cert: t, key: key, now: now}
	}
	t.NotBefore, t.NotAfter = now.Add(-time.Hour), now.Add(20*year)
	der, err := parent.Sign(t, key.Public())
	if err != nil {
		return nil, err
	}
	ca.Cert, err = x509.ParseCertificate(der)
	return ca, err
}

// Sign issues the certificate described by t, a template of crypto/x509, for
// pub. Serial number and validity (two years) are filled in where t has none:
// tests of refusal set their own.
func (ca *CA) Sign(t *x509.Certificate, pub crypto.PublicKey) ([]byte, error) {
	if t.SerialNumber == nil {
		n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
		if err != nil {
			return nil, err
		}
		t.SerialNumber = n.Add(n, big.NewInt(1))
	}
	if t.NotAfter.IsZero() {
		t.NotBefore, t.NotAfter = ca.now.Add(-time.Hour), ca.now.Add(2*year)
	}
	der, err := x509.CreateCertificate(rand.Reader, t, ca.Cert, pub, ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign %q: %w", t.Subject.CommonName, err)
	}
	return der, nil
}

// PEM returns the CA's own certificate.
func (ca *CA) PEM() []byte { return certPEM(ca.Cert.Raw) }

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func mustOID(s string) x509.OID {
	oid, err := x509.ParseOID(s)
	if err != nil {
		panic(fmt.Sprintf("internal error: %q: %v", s, err))
	}
	return oid
}
