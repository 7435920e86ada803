package piv

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"

	"clinicgate/cardauth/apdu"
)

// ErrNotTheKey is returned when the card answers but not with the private half of
// the key it was asked to prove: another card, or a clone.
var ErrNotTheKey = errors.New("card does not have the key of its certificate")

// Algorithm identifiers (SP 800-78-5, table 9).
const (
	algRSA2048 = 0x07
	algP256    = 0x11
	algP384    = 0x14
)

// CheckKey says whether a card can prove a key of this kind to us.
func CheckKey(pub crypto.PublicKey) error {
	_, _, err := challenge(pub, nil)
	return err
}

// Prove has the slot's key sign message and checks the signature with pub. A nil
// error means: whoever answers holds that private key now, provided that message
// has never been signed before.
func (c *Card) Prove(slot Slot, pub crypto.PublicKey, message []byte) error {
	alg, block, err := challenge(pub, message)
	if err != nil {
		return err
	}
	act := fmt.Sprintf("sign with key %X", byte(slot))
	body := encode(0x7C, append([]byte{0x82, 0}, encode(0x81, block)...))
	r, err := apdu.Exchange(c.t, apdu.Command{Ins: 0x87, P1: alg, P2: byte(slot), Data: body, Ne: 256})
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	if r.Status != apdu.OK {
		return &apdu.StatusError{Act: act, Status: r.Status}
	}
	template, err := find(r.Data, 0x7C)
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	sig, err := find(template, 0x82)
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	if !verify(pub, message, sig) {
		return fmt.Errorf("%s: %w", act, ErrNotTheKey)
	}
	return nil
}

// challenge is what the card is given: for ECDSA the digest, as long as the
// curve's order; for RSA the block with its PKCS #1 v1.5 padding, which the card
// leaves to us.
func challenge(pub crypto.PublicKey, message []byte) (alg byte, block []byte, err error) {
	sum := sha256.Sum256(message)
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		switch k.Curve.Params().BitSize {
		case 256:
			return algP256, sum[:], nil
		case 384:
			sum := sha512.Sum384(message)
			return algP384, sum[:], nil
		}
		return 0, nil, fmt.Errorf("key on curve %s, want P-256 or P-384", k.Curve.Params().Name)
	case *rsa.PublicKey:
		if k.Size() != 256 || k.E < 65537 {
			return 0, nil, fmt.Errorf("RSA key of %d bits and exponent %d, want 2048 and at least 65537", k.N.BitLen(), k.E)
		}
		return algRSA2048, pad(sum[:], k.Size()), nil
	}
	return 0, nil, fmt.Errorf("key of type %T, want ECDSA or RSA", pub)
}

// pad is EMSA-PKCS1-v1_5 for SHA-256 (RFC 8017 §9.2).
func pad(sum []byte, size int) []byte {
	info := append([]byte{0x30, 0x31, 0x30, 0x0D, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}, sum...)
	block := make([]byte, size)
	block[1] = 1
	for i := 2; i < size-len(info)-1; i++ {
		block[i] = 0xFF
	}
	copy(block[size-len(info):], info)
	return block
}

func verify(pub crypto.PublicKey, message, sig []byte) bool {
	sum := sha256.Sum256(message)
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		if k.Curve.Params().BitSize == 384 {
			sum := sha512.Sum384(message)
			return ecdsa.VerifyASN1(k, sum[:], sig)
		}
		return ecdsa.VerifyASN1(k, sum[:], sig)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(k, crypto.SHA256, sum[:], sig) == nil
	}
	return false
}
