package grant

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"clinicgate/firmware/wire"
)

// A Roster is one publication of cardauth: the live sessions and the keys of
// their tokens. It is immutable. A nil Roster lets nobody in.
type Roster struct {
	keys     map[string]*ecdsa.PublicKey
	sessions map[string]wire.Session
	care     map[string][]wire.Care // by session of the doctor
	consents map[string]wire.Consent
	grade    string // of what is known about revoked cards
	lost     bool   // consents: nobody knows what was said
	strict   bool   // reading wants care too
	names    []byte // key of the pseudonyms
	lease    time.Duration
	proven   *proven // tokens whose signature was checked against these keys
}

var errUnknownKey = errors.New("unknown key")

// NewRoster reads cardauth.json. A key that can't be used is left out and
// reported; the roster is good without it.
func NewRoster(c *wire.Card) (*Roster, error) {
	r := &Roster{
		keys: map[string]*ecdsa.PublicKey{}, sessions: map[string]wire.Session{},
		care: map[string][]wire.Care{}, consents: map[string]wire.Consent{},
		grade: c.Trust.Grade, strict: c.ReadsNeedCare, lost: c.ConsentsLost, lease: time.Duration(c.LeaseMS) * time.Millisecond, proven: &proven{},
	}
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
	for _, x := range c.Care {
		r.care[x.Session] = append(r.care[x.Session], x)
	}
	for _, x := range c.Consents {
		r.consents[x.Patient] = x
	}
	return r, errors.Join(bad...)
}

// Named returns the roster with the key by which patients are told apart. Without
// it no patient is known: none reads, and none is written about.
func (r *Roster) Named(key []byte) *Roster {
	named := *r
	named.names = nil
	if len(key) == wire.PatientKeySize {
		named.names = key
	}
	return &named
}

// Lives says whether a session is live, at the device of that certificate.
func (r *Roster) Lives(session, peer string) bool {
	if r == nil {
		return false
	}
	s, live := r.sessions[session]
	return live && same(s.CertHash, peer)
}

// Holds says whether the roster still counts, so long after boot: who published it
// must say again and again that it stands.
func (r *Roster) Holds(sinceBoot time.Duration) bool { return r.lease == 0 || sinceBoot <= r.lease }

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
