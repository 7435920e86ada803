package tpm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
)

// A Key is an ECDSA key on P-256 of the TPM's owner hierarchy. It is not kept
// anywhere: the TPM derives the same one from its own seed and the salt each time
// (part 1 §27.2). Who has the disk has the salt and no seed; who may ask the TPM
// but not read the salt gets other keys. Safe for concurrent use.
type Key struct {
	chip     *Chip
	handle   uint32
	password []byte
	public   *ecdsa.PublicKey
}

// Algorithms (part 2 §6.3).
const (
	algSHA256 = 0x000B
	algNull   = 0x0010
	algECDSA  = 0x0018
	algECC    = 0x0023
	curveP256 = 0x0003
)

// signing: fixed to this TPM and its hierarchy, made there, used by password, no
// dictionary lockout, unrestricted signing and nothing else (part 2 §8.3).
const signing = 1<<1 | 1<<4 | 1<<5 | 1<<6 | 1<<10 | 1<<18

// SaltSize is the length of a key's salt in bytes.
const SaltSize = 32

// NewKey has the TPM make the key of that salt.
func NewKey(chip *Chip, salt []byte) (*Key, error) {
	if len(salt) != SaltSize {
		return nil, fmt.Errorf("key in the TPM: got a salt of %d bytes, want %d", len(salt), SaltSize)
	}
	password := spread("clinicgate key password", salt)
	handle, body, err := chip.primary(password, template(spread("clinicgate key", salt)))
	if err != nil {
		return nil, fmt.Errorf("key in the TPM: %w", err)
	}
	k := &Key{chip: chip, handle: handle, password: password}
	if k.public, err = publicKey(body); err != nil {
		k.Close()
		return nil, fmt.Errorf("key in the TPM: %w", err)
	}
	return k, nil
}

// Try has the TPM make some key and sign with it, to see whether it can.
func (c *Chip) Try() error {
	k, err := NewKey(c, make([]byte, SaltSize))
	if err != nil {
		return err
	}
	defer k.Close()
	_, err = k.Sign(nil, make([]byte, sha256.Size), nil)
	return err
}

// template is the TPMT_PUBLIC of the key; what the salt gives stands where the
// point will be.
func template(unique []byte) []byte {
	t := []byte{algECC >> 8, algECC & 0xFF, 0, algSHA256}
	t = binary.BigEndian.AppendUint32(t, signing)
	t = append(t, 0, 0)                                  // no policy
	t = append(t, 0, algNull, 0, algECDSA, 0, algSHA256) // no symmetric part; the scheme
	t = append(t, 0, curveP256, 0, algNull)              // curve, no KDF
	return append(sized(t, unique), 0, 0)
}

// publicKey reads a TPM2B_PUBLIC made by our template.
func publicKey(b []byte) (*ecdsa.PublicKey, error) {
	area, _, ok := take(b)
	const head = 2 + 2 + 4 + 2 + 6 + 4 // as in template, up to the point
	if !ok || len(area) < head {
		return nil, errors.New("malformed public area")
	}
	x, rest, okX := take(area[head:])
	y, _, okY := take(rest)
	if !okX || !okY || len(x) > 32 || len(y) > 32 {
		return nil, errors.New("malformed point")
	}
	point := make([]byte, 65)
	point[0] = 4
	copy(point[33-len(x):], x)
	copy(point[65-len(y):], y)
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
}

// take splits off a TPM2B.
func take(b []byte) (body, rest []byte, ok bool) {
	if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
		return nil, nil, false
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	return b[2:n], b[n:], true
}

// Public returns the public key.
func (k *Key) Public() crypto.PublicKey { return k.public }

// Sign has the TPM sign a SHA-256 digest; what comes back is checked, so that a
// TPM with a fault gives an error and no bad signature.
func (k *Key) Sign(_ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	if len(digest) != sha256.Size {
		return nil, fmt.Errorf("sign with the TPM: got a digest of %d bytes, want %d", len(digest), sha256.Size)
	}
	p := sized(authorized(k.handle, k.password), digest)
	p = append(p, 0, algNull) // the key's own scheme
	p = binary.BigEndian.AppendUint16(p, tagHashCheck)
	p = append(binary.BigEndian.AppendUint32(p, rhNull), 0, 0) // the digest was not made by the TPM
	body, err := k.chip.command(tagSessions, ccSign, p)
	if err != nil {
		return nil, fmt.Errorf("sign with the TPM: %w", err)
	}
	sig, err := signature(body)
	if err == nil && !ecdsa.VerifyASN1(k.public, digest, sig) {
		err = errors.New("its signature does not verify")
	}
	if err != nil {
		return nil, fmt.Errorf("sign with the TPM: %w", err)
	}
	return sig, nil
}

// signature reads TPM2_Sign's answer: parameter size, scheme, hash, r, s.
func signature(body []byte) ([]byte, error) {
	if len(body) < 8 || binary.BigEndian.Uint16(body[4:]) != algECDSA {
		return nil, errors.New("malformed signature")
	}
	r, rest, okR := take(body[8:])
	s, _, okS := take(rest)
	if !okR || !okS {
		return nil, errors.New("malformed signature")
	}
	return asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(r), new(big.Int).SetBytes(s)})
}

// Close has the TPM forget the key until it is made again.
func (k *Key) Close() { k.chip.forget(k.handle) }
