// Package trust decides whose card this is: it takes a certificate only with a
// path to a site anchor, the right policy, key usage and role, and returns what
// the rest of cardauth may believe about the holder. The time is an argument.
package trust

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"clinicgate/firmware/wire"
)

// Why a certificate is refused. Each comes wrapped with what was found.
var (
	ErrIssuer   = errors.New("no path to a trusted authority")
	ErrValidity = errors.New("certificate is not valid now")
	ErrPolicy   = errors.New("certificate policy is missing")
	ErrUsage    = errors.New("certificate is not for logging in")
	ErrRole     = errors.New("no role here")
	ErrIdentity = errors.New("registration number is missing or malformed")
)

// Anchors are a site's trusted authorities for cards: self-signed certificates
// are roots, others issuing CAs on the way to them.
type Anchors struct {
	roots, between *x509.CertPool
	certs          []*x509.Certificate
}

// ParseAnchors reads PEM certificates, which must be CAs. There must be a root.
func ParseAnchors(data []byte) (*Anchors, error) {
	a := &Anchors{roots: x509.NewCertPool(), between: x509.NewCertPool()}
	roots := 0
	for {
		var block *pem.Block
		block, data = pem.Decode(data)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("got a PEM block %q, want CERTIFICATE", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		if !cert.IsCA {
			return nil, fmt.Errorf("%q is not a CA", cert.Subject.CommonName)
		}
		a.certs = append(a.certs, cert)
		if cert.CheckSignatureFrom(cert) == nil {
			a.roots.AddCert(cert)
			roots++
			continue
		}
		a.between.AddCert(cert)
	}
	if roots == 0 {
		return nil, fmt.Errorf("got %d certificates, want at least one self-signed root in PEM", len(a.certs))
	}
	return a, nil
}

// Newest is when the newest of them was made: time can't be before it.
func (a *Anchors) Newest() (newest time.Time) {
	if a == nil {
		return newest
	}
	for _, c := range a.certs {
		if c.NotBefore.After(newest) {
			newest = c.NotBefore
		}
	}
	return newest
}

// Steady is until when what was found good at now stays so, as far as time alone
// goes: no certificate here begins or runs out before.
func (a *Anchors) Steady(cert *x509.Certificate, now time.Time) time.Time {
	until := cert.NotAfter
	for _, c := range a.certs {
		if c.NotAfter.After(now) && c.NotAfter.Before(until) {
			until = c.NotAfter
		}
	}
	return until
}

// Expired returns the names of anchors that are not valid at now.
func (a *Anchors) Expired(now time.Time) []string {
	var names []string
	for _, c := range a.certs {
		if now.After(c.NotAfter) || now.Before(c.NotBefore) {
			names = append(names, c.Subject.CommonName)
		}
	}
	return names
}

// Rules are what a site asks of a professional's certificate.
type Rules struct {
	Policy x509.OID
	Roles  map[string]string // profession OID, dotted → role
}

// A Holder is whom a good certificate names.
type Holder struct {
	Role         string
	Registration string   // number in the register of professionals
	Key          [32]byte // SHA-256 of the public key: the card's identity here
}

// registration numbers become FHIR ids, so they must be able to (FHIR R4 "id").
var registration = regexp.MustCompile(`^[A-Za-z0-9.-]{1,64}$`)

// Holder returns who holds the certificate's card, if the certificate can be
// believed at now. It proves nothing about who has the key.
func (a *Anchors) Holder(cert *x509.Certificate, rules Rules, now time.Time) (Holder, error) {
	if err := a.path(cert, rules.Policy, now); err != nil {
		return Holder{}, err
	}
	if cert.IsCA {
		return Holder{}, fmt.Errorf("%w: it is a CA's", ErrUsage)
	}
	if cert.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return Holder{}, fmt.Errorf("%w: key usage lacks digitalSignature", ErrUsage)
	}
	if len(cert.ExtKeyUsage)+len(cert.UnknownExtKeyUsage) == 0 {
		return Holder{}, fmt.Errorf("%w: extended key usage lacks clientAuth", ErrUsage)
	}
	return professional(cert, rules)
}

// oidCardAuth is the use of a key that says its card is there (FIPS 201-3, PIV
// card authentication).
var oidCardAuth = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 6, 8}

// Patient returns whose patient's card the certificate is for, either of its key
// for logging in or of its key for presence. A patient's certificate never gives
// another role: its authorities and its policy are of its own.
func (a *Anchors) Patient(cert *x509.Certificate, policy x509.OID, now time.Time) (Holder, error) {
	if err := a.chain(cert, policy, now, x509.ExtKeyUsageAny); err != nil {
		return Holder{}, err
	}
	if cert.IsCA || cert.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return Holder{}, fmt.Errorf("%w: it is a CA's, or key usage lacks digitalSignature", ErrUsage)
	}
	use := slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	for _, oid := range cert.UnknownExtKeyUsage {
		use = use || oid.Equal(oidCardAuth)
	}
	if !use {
		return Holder{}, fmt.Errorf("%w: extended key usage lacks clientAuth and card authentication", ErrUsage)
	}
	return named(cert, wire.RolePatient)
}

// Signer returns whose signatures the certificate stands for: a professional's,
// by the card's key for that (key usage contentCommitment, RFC 5280 §4.2.1.3).
func (a *Anchors) Signer(cert *x509.Certificate, rules Rules, now time.Time) (Holder, error) {
	if err := a.chain(cert, rules.Policy, now, x509.ExtKeyUsageAny); err != nil {
		return Holder{}, err
	}
	if cert.IsCA || cert.KeyUsage&x509.KeyUsageContentCommitment == 0 {
		return Holder{}, fmt.Errorf("%w: it is a CA's, or key usage lacks contentCommitment", ErrUsage)
	}
	return professional(cert, rules)
}

// Present returns which professional's card a certificate of its key for presence
// is of: one that wants no PIN. It never opens a session.
func (a *Anchors) Present(cert *x509.Certificate, rules Rules, now time.Time) (Holder, error) {
	if err := a.chain(cert, rules.Policy, now, x509.ExtKeyUsageAny); err != nil {
		return Holder{}, err
	}
	if cert.IsCA || cert.KeyUsage&x509.KeyUsageDigitalSignature == 0 || !slices.ContainsFunc(cert.UnknownExtKeyUsage, oidCardAuth.Equal) {
		return Holder{}, fmt.Errorf("%w: it is a CA's, or lacks digitalSignature or card authentication", ErrUsage)
	}
	return professional(cert, rules)
}

// professional is who a professional's certificate names, with the role that its
// Admission extension gives to the same number.
func professional(cert *x509.Certificate, rules Rules) (Holder, error) {
	h, err := named(cert, "")
	if err != nil {
		return Holder{}, err
	}
	h.Role, err = roleOf(cert, rules.Roles, h.Registration)
	if err != nil {
		return Holder{}, err
	}
	return h, nil
}

// named is who a certificate names, in a role.
func named(cert *x509.Certificate, role string) (Holder, error) {
	number := cert.Subject.SerialNumber
	if !registration.MatchString(number) {
		return Holder{}, fmt.Errorf("%w: subject serialNumber has %d characters", ErrIdentity, len(number))
	}
	return Holder{role, number, sha256.Sum256(cert.RawSubjectPublicKeyInfo)}, nil
}

// path finds a chain to a root with our policy in each certificate below it.
func (a *Anchors) path(cert *x509.Certificate, policy x509.OID, now time.Time) error {
	return a.chain(cert, policy, now, x509.ExtKeyUsageClientAuth)
}

// chain is path for a key of that use. Verify alone takes a chain without any
// policy, where no CA demands one, so the leaf's own is looked for as well.
func (a *Anchors) chain(cert *x509.Certificate, policy x509.OID, now time.Time, use x509.ExtKeyUsage) error {
	_, err := cert.Verify(x509.VerifyOptions{
		Roots: a.roots, Intermediates: a.between, CurrentTime: now,
		KeyUsages:           []x509.ExtKeyUsage{use},
		CertificatePolicies: []x509.OID{policy},
	})
	if err != nil {
		return fmt.Errorf("%w: %w", reason(err), err)
	}
	for _, p := range cert.Policies {
		if p.Equal(policy) {
			return nil
		}
	}
	return fmt.Errorf("%w: want %v", ErrPolicy, policy)
}

// reason sorts the verifier's errors for those who must say what to do.
func reason(err error) error {
	var invalid x509.CertificateInvalidError
	if !errors.As(err, &invalid) {
		return ErrIssuer
	}
	switch invalid.Reason {
	case x509.Expired:
		return ErrValidity
	case x509.IncompatibleUsage:
		return ErrUsage
	case x509.NoValidChains:
		return ErrPolicy
	}
	return ErrIssuer
}
