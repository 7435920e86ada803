// Package pkcs15 reads cards of ISO/IEC 7816-15 (PKCS #15): which keys and
// certificates they say they have, where those lie, and which PIN goes with them. It
// writes nothing to a card, and believes nothing of what it reads but where to look
// further. Behind it lies one of the many forms the standard allows: certificates by
// path, one PIN, keys chosen by MANAGE SECURITY ENVIRONMENT.
package pkcs15

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"clinicgate/cardauth/apdu"
	"clinicgate/cardauth/proof"
)

// What callers branch on.
var (
	ErrNotPKCS15     = errors.New("not a PKCS #15 card")
	ErrNoCertificate = errors.New("no certificate for this use")
	ErrNoKey         = errors.New("no key for this use")
)

// errFile is the ground of every complaint about a card's directories.
var errFile = errors.New("malformed directory")

// aid is the PKCS #15 application (ISO/IEC 7816-15 §7.4).
var aid = []byte{0xA0, 0, 0, 0, 0x63, 'P', 'K', 'C', 'S', '-', '1', '5'}

// Bounds on what a card may have us read.
const (
	maxFile    = 16 << 10
	maxObjects = 64
)

// A Card is a card whose PKCS #15 application is chosen and whose directories are
// read. It belongs to one goroutine.
type Card struct {
	t     apdu.Transport
	keys  []key
	certs []certificate
	pins  []pinObject
}

// Select chooses the application on the card behind t and reads its directories.
func Select(t apdu.Transport) (*Card, error) {
	r, err := apdu.Exchange(t, apdu.Command{Ins: 0xA4, P1: 4, Data: aid, Ne: 256})
	if err != nil {
		return nil, fmt.Errorf("select PKCS #15: %w", err)
	}
	if r.Status != apdu.OK {
		return nil, fmt.Errorf("%w: select: card says %v", ErrNotPKCS15, r.Status)
	}
	c := &Card{t: t}
	if err := c.directories(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotPKCS15, err)
	}
	return c, nil
}

// directories reads ODF (file 5031) and what it points to.
func (c *Card) directories() error {
	odf, err := c.file([]byte{0x50, 0x31})
	if err != nil {
		return fmt.Errorf("ODF: %w", err)
	}
	dirs, err := parseODF(odf)
	if err != nil {
		return err
	}
	for _, d := range dirs {
		data, err := c.file(d.path)
		if err != nil {
			return fmt.Errorf("directory %X: %w", d.path, err)
		}
		switch d.kind {
		case dirKeys:
			err = c.readKeys(data)
		case dirCertificates:
			err = c.readCertificates(data)
		case dirPINs:
			err = c.readPINs(data)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// file reads a whole transparent file by its path below the application.
func (c *Card) file(path []byte) ([]byte, error) {
	if err := c.choose(path); err != nil {
		return nil, err
	}
	var all []byte
	for len(all) < maxFile {
		r, err := apdu.Exchange(c.t, apdu.Command{Ins: 0xB0, P1: byte(len(all) >> 8), P2: byte(len(all)), Ne: 256})
		if err != nil {
			return nil, err
		}
		switch {
		case r.Status == endOfFile || r.Status == wrongOffset && len(all) > 0:
			return append(all, r.Data...), nil
		case r.Status != apdu.OK:
			return nil, &apdu.StatusError{Act: fmt.Sprintf("read file %X", path), Status: r.Status}
		}
		all = append(all, r.Data...)
		if len(r.Data) < 256 {
			return all, nil
		}
	}
	return nil, fmt.Errorf("%w: file %X of more than %d bytes", errFile, path, maxFile)
}

// Status words of READ BINARY at a file's end.
const (
	endOfFile   apdu.Status = 0x6282
	wrongOffset apdu.Status = 0x6B00
)

// choose selects a file: by its identifier below the application, or by its path
// from the master file.
func (c *Card) choose(path []byte) error {
	cmd := apdu.Command{Ins: 0xA4, P1: 8, P2: 0x0C, Data: path}
	switch {
	case len(path) == 2:
		cmd.P1 = 0
	case len(path) > 2 && path[0] == 0x3F && path[1] == 0:
		cmd.Data = path[2:]
	case len(path) > 2 && path[0] != 0x50: // relative to the application
		cmd.P1 = 9
	}
	r, err := apdu.Exchange(c.t, cmd)
	if err != nil {
		return err
	}
	if r.Status != apdu.OK {
		return &apdu.StatusError{Act: fmt.Sprintf("select file %X", path), Status: r.Status}
	}
	return nil
}

// usages of private keys (ISO/IEC 7816-15 §8.4.2), as bits of a BIT STRING.
const (
	usageSign   = 2
	usageNonRep = 9
)

// keyFor is the key of a use: one that signs, for good or not, with a PIN or
// without.
func (c *Card) keyFor(use proof.Use) (*key, error) {
	for i := range c.keys {
		k := &c.keys[i]
		signs, forGood := k.usage.At(usageSign) == 1, k.usage.At(usageNonRep) == 1
		var fits bool
		switch use {
		case proof.Authentication:
			fits = signs && !forGood && k.auth != nil
		case proof.Signature:
			fits = forGood && k.auth != nil
		case proof.Presence:
			fits = signs && !forGood && k.auth == nil
		}
		if fits {
			return k, nil
		}
	}
	return nil, fmt.Errorf("%w %v", ErrNoKey, use)
}

// Certificate reads the certificate of the key for that use: that of the same id.
func (c *Card) Certificate(use proof.Use) (*x509.Certificate, error) {
	k, err := c.keyFor(use)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoCertificate, err)
	}
	i := slices.IndexFunc(c.certs, func(x certificate) bool { return string(x.id) == string(k.id) })
	if i < 0 {
		return nil, fmt.Errorf("%w %v", ErrNoCertificate, use)
	}
	x := &c.certs[i]
	if x.read != nil {
		return x.read, nil
	}
	der, err := c.file(x.path)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	var whole asn1.RawValue // files are longer than what is in them
	if _, err := asn1.Unmarshal(der, &whole); err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	x.read, err = x509.ParseCertificate(whole.FullBytes)
	return x.read, err
}

// Sign has the key of that use sign a message: MANAGE SECURITY ENVIRONMENT chooses
// the key, COMPUTE DIGITAL SIGNATURE signs (ISO/IEC 7816-8 §11).
func (c *Card) Sign(use proof.Use, kind proof.Kind, message []byte) ([]byte, error) {
	k, err := c.keyFor(use)
	if err != nil {
		return nil, err
	}
	block, err := kind.Block(message)
	if err != nil {
		return nil, err
	}
	if kind == proof.RSA2048 {
		block = proof.Info(message) // the card pads by itself
	}
	act := fmt.Sprintf("sign with key %X", k.id)
	set := apdu.Command{Ins: 0x22, P1: 0x41, P2: 0xB6, Data: []byte{0x80, 1, algorithm(kind), 0x84, 1, k.reference}}
	if r, err := apdu.Exchange(c.t, set); err != nil {
		return nil, fmt.Errorf("%s: %w", act, err)
	} else if r.Status != apdu.OK {
		return nil, &apdu.StatusError{Act: act, Status: r.Status}
	}
	r, err := apdu.Exchange(c.t, apdu.Command{Ins: 0x2A, P1: 0x9E, P2: 0x9A, Data: block, Ne: 256})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", act, err)
	}
	if r.Status != apdu.OK {
		return nil, &apdu.StatusError{Act: act, Status: r.Status}
	}
	if kind == proof.RSA2048 {
		return r.Data, nil
	}
	return sequence(r.Data)
}

// sequence turns the two halves a card answers with into ASN.1, as X9.62 has it.
func sequence(raw []byte) ([]byte, error) {
	if len(raw) == 0 || len(raw)%2 != 0 {
		return nil, fmt.Errorf("signature of %d bytes, want two halves", len(raw))
	}
	n := len(raw) / 2
	return asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:n]), new(big.Int).SetBytes(raw[n:])})
}
