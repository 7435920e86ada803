// Package piv talks to a PIV card (NIST SP 800-73-5 part 2): which certificates
// it has, how many PIN tries are left, whether a PIN is right, and whether it has
// a key. It sends one VERIFY per call of Verify and never retries; a PIN try is
// the holder's to spend.
package piv

import (
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"errors"
	"fmt"
	"io"

	"clinicgate/cardauth/apdu"
	"clinicgate/cardauth/proof"
)

// A slot is a key's place on the card (part 1, table 4b).
type slot byte

// The slots we use: 9A wants the PIN once, 9C each time, 9E never.
const (
	slotAuthentication slot = 0x9A
	slotSignature      slot = 0x9C
	slotCard           slot = 0x9E
)

// slotOf is where a key of that use lies.
func slotOf(u proof.Use) (slot, error) {
	switch u {
	case proof.Authentication:
		return slotAuthentication, nil
	case proof.Signature:
		return slotSignature, nil
	case proof.Presence:
		return slotCard, nil
	}
	return 0, fmt.Errorf("a PIV card has no key for %v", u)
}

// objects are where the slots' certificates lie (part 1, table 3).
var objects = map[slot][3]byte{
	slotAuthentication: {0x5F, 0xC1, 0x05},
	slotSignature:      {0x5F, 0xC1, 0x0A},
	slotCard:           {0x5F, 0xC1, 0x01},
}

// What callers branch on.
var (
	ErrNotPIV        = errors.New("not a PIV card")
	ErrNoCertificate = errors.New("no certificate in this slot")
)

// aid is the PIV application with its version, 1.0; the shorter form makes some
// cards answer without a template, and a few know no other.
var aid = []byte{0xA0, 0, 0, 3, 8, 0, 0, 0x10, 0, 1, 0}

const unversioned = 9 // bytes of it without the version

// A Card is a card whose PIV application is selected. It belongs to one
// goroutine.
type Card struct {
	t         apdu.Transport
	reference byte // of the PIN that opens its keys
}

// Select chooses the PIV application on the card behind t.
func Select(t apdu.Transport) (*Card, error) {
	r, err := apdu.Exchange(t, apdu.Command{Ins: 0xA4, P1: 4, Data: aid, Ne: 256})
	if err == nil && r.Status == apdu.NotFound {
		r, err = apdu.Exchange(t, apdu.Command{Ins: 0xA4, P1: 4, Data: aid[:unversioned], Ne: 256})
	}
	if err != nil {
		return nil, fmt.Errorf("select PIV: %w", err)
	}
	switch r.Status {
	case apdu.OK:
		return &Card{t, applicationPIN}, nil
	case apdu.NotFound, apdu.UnknownIns, apdu.UnknownClass, apdu.NotSupported, apdu.ConditionsOfUse:
		return nil, fmt.Errorf("%w: select PIV: card says %v", ErrNotPIV, r.Status)
	}
	return nil, &apdu.StatusError{Act: "select PIV", Status: r.Status}
}

// Certificate reads the certificate of the key for that use. Nothing about it is
// believed yet.
func (c *Card) Certificate(use proof.Use) (*x509.Certificate, error) {
	slot, err := slotOf(use)
	if err != nil {
		return nil, err
	}
	tag := objects[slot]
	act := fmt.Sprintf("read certificate %X", byte(slot))
	r, err := apdu.Exchange(c.t, apdu.Command{Ins: 0xCB, P1: 0x3F, P2: 0xFF, Data: encode(0x5C, tag[:]), Ne: 256})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", act, err)
	}
	switch r.Status {
	case apdu.OK:
	case apdu.NotFound, apdu.ReferenceNotFound:
		return nil, fmt.Errorf("%s: %w", act, ErrNoCertificate)
	default:
		return nil, &apdu.StatusError{Act: act, Status: r.Status}
	}
	cert, err := parseCertificate(r.Data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", act, err)
	}
	return cert, nil
}

// parseCertificate reads a certificate object: 53 { 70 certificate, 71 info, FE }.
func parseCertificate(object []byte) (*x509.Certificate, error) {
	if len(object) == 0 { // how some cards say that the slot is empty
		return nil, ErrNoCertificate
	}
	inner, err := find(object, 0x53)
	if err != nil {
		return nil, err
	}
	if len(inner) == 0 { // and others
		return nil, ErrNoCertificate
	}
	der, err := find(inner, 0x70)
	if err != nil {
		return nil, err
	}
	info, err := find(inner, 0x71)
	packed := err == nil && len(info) == 1 && info[0]&1 != 0
	// Some cards pack it and don't say so; no certificate begins like gzip.
	if packed || bytes.HasPrefix(der, []byte{0x1F, 0x8B}) {
		if der, err = gunzip(der); err != nil {
			return nil, err
		}
	}
	return x509.ParseCertificate(der)
}

// gunzip unpacks a compressed certificate, up to maxObject.
func gunzip(data []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("unpack certificate: %w", err)
	}
	out, err := io.ReadAll(io.LimitReader(z, maxObject+1))
	if err != nil {
		return nil, fmt.Errorf("unpack certificate: %w", err)
	}
	if len(out) > maxObject {
		return nil, fmt.Errorf("unpack certificate: more than %d bytes", maxObject)
	}
	return out, nil
}
