package grant

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"

	"clinicgate/firmware/wire"
)

// A Roster is one publication of cardauth: the live sessions and the keys of
// their tokens. It is immutable. A nil Roster lets nobody in.
type Roster struct {
	keys     map[string]*ecdsa.PublicKey
	sessions map[string]wire.Session
}

var errUnknownKey = errors.New("unknown key")

// NewRoster reads cardauth.json. A key that can't be used is left out and
// reported; the roster is good without it.
func NewRoster(c *wire.Card) (*Roster, error) {
	r := &Roster{keys: map[string]*ecdsa.PublicKey{}, sessions: map[string]wire.Session{}}
	var bad []error
	for _, k := range c.Keys.Keys {
		pub, err := publicKey(k)
		if err == nil && (k.Kid == "" || r.keys[k.Kid] != nil) {
			err = errors.New("its kid is empty or taken")
		}
		if err != nil {
			bad = append(bad, fmt.Errorf("token key %q: %w", k.Kid, err))
			continue
		}
		r.keys[k.Kid] = pub
	}
	for _, s := range c.Sessions {
		r.sessions[s.ID] = s
	}
	return r, errors.Join(bad...)
}

// Sessions is the number of live sessions.
func (r *Roster) Sessions() int {
	if r == nil {
		return 0
	}
	return len(r.sessions)
}

func publicKey(k wire.JWK) (*ecdsa.PublicKey, error) {
	if k.Kty != "EC" || k.Crv != "P-256" || k.Alg != "" && k.Alg != "ES256" || k.Use != "" && k.Use != "sig" {
		return nil, fmt.Errorf("got %s %s %s %s, want EC P-256 ES256 sig", k.Kty, k.Crv, k.Alg, k.Use)
	}
	point := []byte{4} // uncompressed (SEC 1 §2.3.3)
	for _, s := range []string{k.X, k.Y} {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil || len(b) != 32 {
			return nil, errors.New("a coordinate is not 32 bytes of base64url")
		}
		point = append(point, b...)
	}
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
}

func (r *Roster) key(t *jwt.Token) (any, error) {
	kid, _ := t.Header["kid"].(string)
	if pub, ok := r.keys[kid]; ok {
		return pub, nil
	}
	return nil, errUnknownKey
}
