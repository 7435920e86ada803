// Package proof is how a card's key shows that it is here: what each kind of key
// is given to sign, and whether a signature holds. A signature over a message that
// has never been signed before proves the private key, now, and nothing else does.
package proof

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
)

// ErrNotTheKey is returned when the card answers but not with the private half of
// the key it was asked to prove: another card, or a clone.
var ErrNotTheKey = errors.New("card does not have the key of its certificate")

// Use is what a key on a card is for. Each kind of card has its own places for
// them.
type Use byte

// The uses.
const (
	Authentication Use = iota // opens sessions; wants the PIN once
	Signature                 // signs for good; wants the PIN each time
	Presence                  // says that the card is there; wants no PIN
)

// String is the use's name in messages.
func (u Use) String() string {
	switch u {
	case Authentication:
		return "authentication"
	case Signature:
		return "signature"
	case Presence:
		return "presence"
	}
	return fmt.Sprintf("use %d", byte(u))
}

// Kind is a kind of key that cards sign with, by its algorithm identifier in
// SP 800-78-5 table 9.
type Kind byte

// The kinds we take.
const (
	RSA2048 Kind = 0x07
	P256    Kind = 0x11
	P384    Kind = 0x14
)

// KindOf says which kind a public key is, or why it is none that we take.
func KindOf(pub crypto.PublicKey) (Kind, error) {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		switch k.Curve.Params().BitSize {
		case 256:
			return P256, nil
		case 384:
			return P384, nil
		}
		return 0, fmt.Errorf("key on curve %s, want P-256 or P-384", k.Curve.Params().Name)
	case *rsa.PublicKey:
		if k.Size() != 256 || k.E < 65537 {
			return 0, fmt.Errorf("RSA key of %d bits and exponent %d, want 2048 and at least 65537", k.N.BitLen(), k.E)
		}
		return RSA2048, nil
	}
	return 0, fmt.Errorf("key of type %T, want ECDSA or RSA", pub)
}

// Block is what the card is given for a message: for ECDSA the digest, as long as
// the curve's order; for RSA the block with its PKCS #1 v1.5 padding, which PIV
// leaves to us.
func (k Kind) Block(message []byte) ([]byte, error) {
	sum := sha256.Sum256(message)
	switch k {
	case P256:
		return sum[:], nil
	case P384:
		sum := sha512.Sum384(message)
		return sum[:], nil
	case RSA2048:
		return pad(Info(message), 256), nil
	}
	return nil, fmt.Errorf("key of kind %02X, want 07, 11 or 14", byte(k))
}

// Info is the DigestInfo of SHA-256 (RFC 8017 §9.2) without its padding, which
// cards that pad by themselves are given.
func Info(message []byte) []byte {
	sum := sha256.Sum256(message)
	return append([]byte{0x30, 0x31, 0x30, 0x0D, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}, sum[:]...)
}

// pad is EMSA-PKCS1-v1_5 (RFC 8017 §9.2).
func pad(info []byte, size int) []byte {
	block := make([]byte, size)
	block[1] = 1
	for i := 2; i < size-len(info)-1; i++ {
		block[i] = 0xFF
	}
	copy(block[size-len(info):], info)
	return block
}

// Check says whether sig is pub's signature of message: ASN.1 for ECDSA, PKCS #1
// v1.5 for RSA.
func Check(pub crypto.PublicKey, message, sig []byte) error {
	sum := sha256.Sum256(message)
	good := false
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		if k.Curve.Params().BitSize == 384 {
			sum := sha512.Sum384(message)
			good = ecdsa.VerifyASN1(k, sum[:], sig)
		} else {
			good = ecdsa.VerifyASN1(k, sum[:], sig)
		}
	case *rsa.PublicKey:
		good = rsa.VerifyPKCS1v15(k, crypto.SHA256, sum[:], sig) == nil
	}
	if !good {
		return ErrNotTheKey
	}
	return nil
}
