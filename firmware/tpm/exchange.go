package tpm

import (
	"crypto/ecdh"
	"encoding/binary"
	"errors"
	"fmt"
)

// An Exchange is an ECDH key on P-256 that the TPM uses only while its registers
// say what they said when the key was bound. Like a Key it is not kept anywhere: the
// TPM derives it from its own seed, the salt and the state, and another state makes
// another key. It fits crypto/hpke. Safe for concurrent use.
type Exchange struct {
	chip   *Chip
	handle uint32
	pcrs   []int
	public *ecdh.PublicKey
}

// exchanging: fixed to this TPM and its hierarchy, made there, used by policy alone,
// no dictionary lockout, decryption and nothing else (part 2 §8.3).
const exchanging = 1<<1 | 1<<4 | 1<<5 | 1<<7 | 1<<10 | 1<<17

// NewExchange has the TPM make the key of that salt, bound to that state.
func NewExchange(chip *Chip, salt []byte, bound State) (*Exchange, error) {
	if len(salt) != SaltSize || len(bound.PCRs) == 0 || len(bound.PCRs) != len(bound.Values) {
		return nil, fmt.Errorf("exchange key in the TPM: got a salt of %d bytes and %d registers, want %d and at least one", len(salt), len(bound.PCRs), SaltSize)
	}
	t := []byte{algECC >> 8, algECC & 0xFF, 0, algSHA256}
	t = sized(binary.BigEndian.AppendUint32(t, exchanging), bound.digest())
	t = append(t, 0, algNull, 0, algNull)   // no symmetric part, no scheme
	t = append(t, 0, curveP256, 0, algNull) // curve, no KDF
	t = append(sized(t, spread("clinicgate exchange", salt)), 0, 0)
	handle, body, err := chip.primary(nil, t)
	if err != nil {
		return nil, fmt.Errorf("exchange key in the TPM: %w", err)
	}
	k := &Exchange{chip: chip, handle: handle, pcrs: bound.PCRs}
	if k.public, err = exchangeKey(body); err != nil {
		k.Close()
		return nil, fmt.Errorf("exchange key in the TPM: %w", err)
	}
	return k, nil
}

// exchangeKey reads a TPM2B_PUBLIC made by NewExchange's template.
func exchangeKey(b []byte) (*ecdh.PublicKey, error) {
	area, _, ok := take(b)
	const head = 2 + 2 + 4 + 2 + 32 + 4 + 4 // as in the template, up to the point
	if !ok || len(area) < head {
		return nil, errors.New("malformed public area")
	}
	return point(area[head:])
}

// point reads x and y.
func point(b []byte) (*ecdh.PublicKey, error) {
	x, rest, okX := take(b)
	y, _, okY := take(rest)
	if !okX || !okY || len(x) > 32 || len(y) > 32 {
		return nil, errors.New("malformed point")
	}
	p := make([]byte, 65)
	p[0] = 4
	copy(p[33-len(x):], x)
	copy(p[65-len(y):], y)
	return ecdh.P256().NewPublicKey(p)
}

// PublicKey returns the public key.
func (k *Exchange) PublicKey() *ecdh.PublicKey { return k.public }

// Curve is P-256.
func (k *Exchange) Curve() ecdh.Curve { return ecdh.P256() }

// ECDH has the TPM multiply. ErrState: it does not, in this state.
func (k *Exchange) ECDH(remote *ecdh.PublicKey) ([]byte, error) {
	raw := remote.Bytes()
	if len(raw) != 65 {
		return nil, errors.New("exchange with the TPM: not a point of P-256")
	}
	session, err := k.chip.prove(k.pcrs)
	if err != nil {
		return nil, fmt.Errorf("exchange with the TPM: %w", err)
	}
	p := binary.BigEndian.AppendUint32(nil, k.handle)
	p = binary.BigEndian.AppendUint32(p, 9)
	p = binary.BigEndian.AppendUint32(p, session)
	p = append(p, 0, 0, 0, 0, 0) // no nonce, forget the session afterwards, no HMAC
	p = sized(p, sized(sized(nil, raw[1:33]), raw[33:]))
	body, err := k.chip.command(tagSessions, ccECDHZGen, p)
	if err != nil {
		k.chip.forget(session)
		var code Code
		if errors.As(err, &code) && code.policyFailed() {
			err = ErrState
		}
		return nil, fmt.Errorf("exchange with the TPM: %w", err)
	}
	return shared(body)
}

// shared reads TPM2_ECDH_ZGen's answer: parameter size, point; x is the secret.
func shared(body []byte) ([]byte, error) {
	if len(body) < 4 {
		return nil, errors.New("exchange with the TPM: its answer is too short")
	}
	area, _, ok := take(body[4:])
	x, _, okX := take(area)
	if !ok || !okX || len(x) == 0 || len(x) > 32 {
		return nil, errors.New("exchange with the TPM: malformed point")
	}
	z := make([]byte, 32)
	copy(z[32-len(x):], x)
	return z, nil
}

// Close has the TPM forget the key until it is made again.
func (k *Exchange) Close() { k.chip.forget(k.handle) }
