// Package card is a smartcard of any make we know, behind one interface: whoever
// has a Card reads certificates, shows PINs and has keys sign without knowing
// which application answers. Select finds out which it is.
package card

import (
	"crypto/x509"
	"errors"

	"clinicgate/cardauth/apdu"
	"clinicgate/cardauth/piv"
	"clinicgate/cardauth/pkcs15"
	"clinicgate/cardauth/proof"
)

// A Card is a card whose application is chosen. It belongs to one goroutine.
type Card interface {
	Keys
	PIN
}

// Keys are a card's keys, by what they are for.
type Keys interface {
	// Certificate reads the certificate of the key for that use. Nothing
	// about it is believed yet.
	Certificate(proof.Use) (*x509.Certificate, error)
	// Sign has that key, which is of that kind, sign a message. Whether the
	// signature is any good is the caller's to check.
	Sign(proof.Use, proof.Kind, []byte) ([]byte, error)
}

// PIN is the card's PIN.
type PIN interface {
	// Tries asks how many wrong PINs the card still takes, 0 when it is
	// blocked, pin.Unknown when it doesn't say. The card may forget a PIN
	// shown before.
	Tries() (int, error)
	// Verify shows a PIN, once, and wipes its copies. A refusal is a
	// *pin.Wrong or pin.ErrBlocked.
	Verify(digits []byte) error
	// VerifyBy is Verify where the card's reader has the PIN typed: pad is
	// given the command with fill bytes in place of the PIN, and returns what
	// the card answered to it.
	VerifyBy(pad func(command []byte) ([]byte, error)) error
	// Forget makes the card forget a PIN shown before.
	Forget() error
}

// ErrUnknown is a card that none of our applications is on.
var ErrUnknown = errors.New("not a card of a make we know")

// Select chooses the application on the card behind t.
func Select(t apdu.Transport) (Card, error) {
	c, err := piv.Select(t)
	if errors.Is(err, piv.ErrNotPIV) {
		other, err15 := pkcs15.Select(t)
		if errors.Is(err15, pkcs15.ErrNotPKCS15) {
			return nil, errors.Join(ErrUnknown, err, err15)
		}
		if err15 != nil {
			return nil, err15
		}
		return other, nil
	}
	if err != nil {
		return nil, err // not a nil *piv.Card in a Card
	}
	return c, nil
}
