package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"time"

	"clinicgate/firmware/wire"
)

// A new key is told to those who check tokens for a while before it signs, and an
// old one until its last token has expired and their clocks have had their leeway:
// at no moment is a token out that its checkers can't check.
const (
	announced = 10 * time.Second
	outlives  = Lifetime + 10*time.Second
)

// A held is a key and the time from which it signs.
type held struct {
	key  crypto.Signer
	pub  *ecdsa.PublicKey
	kid  string
	from time.Time
}

func hold(key crypto.Signer, from time.Time) (held, error) {
	pub, ok := key.Public().(*ecdsa.PublicKey)
	if !ok || pub.Curve != elliptic.P256() {
		return held{}, fmt.Errorf("token key: got %T, want an ECDSA key on P-256", key.Public())
	}
	h := held{key: key, pub: pub, from: from}
	jwk := h.jwk()
	// RFC 7638: the members in this order, nothing else.
	sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":"P-256","kty":"EC","x":%q,"y":%q}`, jwk.X, jwk.Y))
	h.kid = base64.RawURLEncoding.EncodeToString(sum[:])
	return h, nil
}

func (h held) jwk() wire.JWK {
	var x, y [32]byte
	point, err := h.pub.Bytes() // 04 X Y
	if err == nil {
		copy(x[:], point[1:33])
		copy(y[:], point[33:])
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return wire.JWK{Kty: "EC", Crv: "P-256", Alg: "ES256", Use: "sig", Kid: h.kid, X: b64(x[:]), Y: b64(y[:])}
}

// Rotate brings a new key into use, shortly after now. A key that is waiting for
// its time gives way to it. The time from which it signs is returned.
func (s *Signer) Rotate(key crypto.Signer, now time.Time) (time.Time, error) {
	h, err := hold(key, now.Add(announced))
	if err != nil {
		return time.Time{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = slices.DeleteFunc(living(s.keys, now), func(x held) bool { return x.from.After(now) || x.kid == h.kid && len(s.keys) > 1 })
	s.keys = append(s.keys, h)
	return h.from, nil
}

// JWKS returns the public keys for those who check tokens: the one in use, one
// that will be, and those whose tokens may still be out.
func (s *Signer) JWKS(now time.Time) wire.JWKS {
	var out wire.JWKS
	for _, h := range s.living(now) {
		out.Keys = append(out.Keys, h.jwk())
	}
	return out
}

func (s *Signer) living(now time.Time) []held {
	s.mu.Lock()
	defer s.mu.Unlock()
	return living(s.keys, now)
}

// living are the keys that checkers must know, in the order of their use.
func living(keys []held, now time.Time) (out []held) {
	for i, h := range keys {
		if i+1 == len(keys) || now.Before(keys[i+1].from.Add(outlives)) {
			out = append(out, h)
		}
	}
	return out
}

// current is the key that signs now: the last whose time has come.
func (s *Signer) current(now time.Time) held {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.keys) - 1; i > 0; i-- {
		if !s.keys[i].from.After(now) {
			return s.keys[i]
		}
	}
	return s.keys[0]
}

// named is the living key that a token names.
func (s *Signer) named(kid any, now time.Time) (*ecdsa.PublicKey, error) {
	for _, h := range s.living(now) {
		if h.kid == kid {
			return h.pub, nil
		}
	}
	return nil, fmt.Errorf("%w: its key is none of ours", ErrInvalid)
}
