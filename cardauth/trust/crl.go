package trust

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Why a list of revoked cards is refused.
var (
	ErrList     = errors.New("not a list of revoked cards that can be used")
	ErrRollback = errors.New("older than the one that is here")
)

// ErrRevoked is a card that must not be used any more.
var ErrRevoked = errors.New("card is revoked")

// MaxList bounds a list in bytes; 50 000 entries take 2 MiB.
const MaxList = 8 << 20

// maxAhead is how far a list's thisUpdate may be ahead of our clock.
const maxAhead = 5 * time.Minute

// A CRL is a certificate revocation list of one of the anchors (RFC 5280 §5),
// checked but for its age.
type CRL struct {
	Issuer string // name of the CA, for people
	Raw    []byte
	Number *big.Int
	This   time.Time
	Next   time.Time

	subject []byte // of the issuer, DER
	revoked map[string]bool
	users   bool // its scope: certificates of users,
	cas     bool // of CAs
}

var (
	oidNumber = asn1.ObjectIdentifier{2, 5, 29, 20}
	oidDelta  = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidIDP    = asn1.ObjectIdentifier{2, 5, 29, 28}
)

// ParseCRL reads a CRL, DER or PEM, and checks that one of the anchors signed it
// and that it says all that can be revoked, now.
func ParseCRL(data []byte, a *Anchors, now time.Time) (*CRL, error) {
	if len(data) > MaxList {
		return nil, fmt.Errorf("%w: got %d bytes, want at most %d", ErrList, len(data), MaxList)
	}
	if block, _ := pem.Decode(data); block != nil {
		if block.Type != "X509 CRL" {
			return nil, fmt.Errorf("%w: got a PEM block %q, want X509 CRL", ErrList, block.Type)
		}
		data = block.Bytes
	}
	list, err := x509.ParseRevocationList(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrList, err)
	}
	c := &CRL{Raw: list.Raw, Number: list.Number, This: list.ThisUpdate, Next: list.NextUpdate, subject: list.RawIssuer, users: true, cas: true}
	if c.Issuer, err = a.signed(list); err != nil {
		return nil, err
	}
	switch {
	case c.Number == nil:
		return nil, fmt.Errorf("%w: it has no number", ErrList)
	case c.Next.IsZero() || !c.Next.After(c.This):
		return nil, fmt.Errorf("%w: it does not say until when it holds", ErrList)
	case c.This.After(now.Add(maxAhead)):
		return nil, fmt.Errorf("%w: it is of %s, which is not yet: is the clock right?", ErrList, c.This.Format(time.DateOnly))
	}
	if err := c.extensions(list); err != nil {
		return nil, err
	}
	c.revoked = make(map[string]bool, len(list.RevokedCertificateEntries))
	for _, e := range list.RevokedCertificateEntries {
		for _, x := range e.Extensions {
			if x.Critical {
				return nil, fmt.Errorf("%w: an entry has the critical extension %v", ErrList, x.Id)
			}
		}
		if e.ReasonCode != removeFromCRL {
			c.revoked[string(e.SerialNumber.Bytes())] = true
		}
	}
	return c, nil
}

// removeFromCRL takes a certificate off hold (RFC 5280 §5.3.1).
const removeFromCRL = 8

// signed finds the anchor that signed a list and returns its name.
func (a *Anchors) signed(list *x509.RevocationList) (string, error) {
	for _, ca := range a.certs {
		if bytes.Equal(ca.RawSubject, list.RawIssuer) && list.CheckSignatureFrom(ca) == nil {
			return ca.Subject.CommonName, nil
		}
	}
	return "", fmt.Errorf("%w: no trusted authority signed it", ErrList)
}

// extensions reads those that change what a list says, and refuses what is not
// understood (RFC 5280 §5.2).
func (c *CRL) extensions(list *x509.RevocationList) error {
	for _, x := range list.Extensions {
		switch {
		case x.Id.Equal(oidDelta):
			return fmt.Errorf("%w: it says only what changed, want the whole list", ErrList)
		case x.Id.Equal(oidIDP):
			if err := c.scope(x.Value); err != nil {
				return err
			}
		case x.Critical && !x.Id.Equal(oidNumber):
			return fmt.Errorf("%w: it has the critical extension %v", ErrList, x.Id)
		}
	}
	return nil
}

// scope reads:
//
//	IssuingDistributionPoint ::= SEQUENCE { distributionPoint [0] OPTIONAL, onlyContainsUserCerts [1] BOOLEAN DEFAULT FALSE,
//	   onlyContainsCACerts [2], onlySomeReasons [3] OPTIONAL, indirectCRL [4], onlyContainsAttributeCerts [5] }
func (c *CRL) scope(der []byte) error {
	in := cryptobyte.String(der)
	var seq cryptobyte.String
	if !in.ReadASN1(&seq, casn1.SEQUENCE) || !in.Empty() {
		return fmt.Errorf("%w: its scope is malformed", ErrList)
	}
	for !seq.Empty() {
		var value cryptobyte.String
		var tag casn1.Tag
		if !seq.ReadAnyASN1(&value, &tag) {
			return fmt.Errorf("%w: its scope is malformed", ErrList)
		}
		set := len(value) == 1 && value[0] != 0
		switch number := tag & 0x1F; {
		case number == 0:
		case number == 1 && set:
			c.cas = false
		case number == 2 && set:
			c.users = false
		case number == 3 || set:
			return fmt.Errorf("%w: it is for some reasons, other issuers or other kinds of certificates only", ErrList)
		}
	}
	return nil
}

// Newer says whether c may replace old: a list that goes back would forget what
// was revoked since.
func (c *CRL) Newer(old *CRL) error {
	if old == nil || c.Number.Cmp(old.Number) > 0 && !c.This.Before(old.This) || bytes.Equal(c.Raw, old.Raw) {
		return nil
	}
	return fmt.Errorf("%w: got number %v of %s, have number %v of %s", ErrRollback,
		c.Number, c.This.UTC().Format(time.RFC3339), old.Number, old.This.UTC().Format(time.RFC3339))
}

// Key names the place of a list: a list of the same key replaces it.
func (c *CRL) Key() string { return listKey(c.subject, c.users) }

func listKey(subject []byte, users bool) string {
	if users {
		return string(subject)
	}
	return string(subject) + "/CA" // only of CAs, beside the one of users
}

// Len is how many certificates are on the list.
func (c *CRL) Len() int { return len(c.revoked) }
