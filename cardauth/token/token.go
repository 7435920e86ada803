// Package token makes and checks the short-lived tokens by which a session's
// workstation asks for records: JWTs of type at+jwt (RFC 9068), signed with ES256
// and bound to the workstation's TLS certificate (RFC 8705 §3). A token says
// nothing that its session doesn't: it is worth nothing once the session is over.
package token

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"clinicgate/cardauth/session"
	"clinicgate/firmware/wire"
)

// Lifetime of a token; a workstation renews it while its session lives.
const Lifetime = time.Minute

// Audience is the service that takes the tokens.
const Audience = "urn:clinicgate:syncd"

const tokenType = "at+jwt"

// scopes are what a role may ask for (SMART App Launch 2). A role that is not
// here gets a token without rights.
var scopes = map[string]string{
	wire.RoleDoctor:  "user/*.cruds",
	wire.RolePatient: "patient/*.rs",
	wire.RoleStaff:   "user/Patient.rs user/Appointment.rs user/Coverage.rs user/Schedule.rs user/Slot.rs",
}

// ErrInvalid is returned for a token that is not ours or not valid now.
var ErrInvalid = errors.New("token is not valid")

// A Signer makes and checks tokens. Its keys may be such as never leave a TPM. Safe
// for concurrent use if they are.
type Signer struct {
	issuer string

	mu   sync.Mutex
	keys []held // in the order of their use; at least one
}

// New returns a signer for the clinic with this code. The key is P-256, and in use
// at once.
func New(key crypto.Signer, site string) (*Signer, error) {
	h, err := hold(key, time.Time{})
	if err != nil {
		return nil, err
	}
	return &Signer{issuer: "urn:clinicgate:" + site, keys: []held{h}}, nil
}

// claims are RFC 9068's with the confirmation of RFC 8705 and our session.
type claims struct {
	jwt.RegisteredClaims
	Session string `json:"sid"`
	Role    string `json:"role"`
	Scope   string `json:"scope"`
	Room    string `json:"room"`
	Client  string `json:"client_id"`
	User    string `json:"fhirUser,omitempty"`
	Confirm struct {
		CertHash string `json:"x5t#S256,omitempty"`
		Key      string `json:"jkt,omitempty"`
		Addr     string `json:"addr,omitempty"`
	} `json:"cnf"`
}

// Issue makes a token for a live session's workstation.
func (s *Signer) Issue(of session.Session, now time.Time) (string, error) {
	c := s.claims(of, "workstation", scopes[of.Role], now)
	c.Confirm.CertHash = of.CertHash
	return s.sign(tokenType, c, now)
}

// claims are what every token says of its session (RFC 9068 §2.2).
func (s *Signer) claims(of session.Session, client, scope string, now time.Time) claims {
	return claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: s.issuer, Audience: jwt.ClaimStrings{Audience}, Subject: of.Subject, ID: rand.Text(),
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(Lifetime)),
		},
		Session: of.ID, Role: of.Role, Scope: scope, Room: of.Room, Client: client,
	}
}

func (s *Signer) sign(typ string, c jwt.Claims, now time.Time) (string, error) {
	by := s.current(now)
	t := jwt.NewWithClaims(method{rand.Reader}, c)
	t.Header["typ"], t.Header["kid"] = typ, by.kid
	signed, err := t.SignedString(by.key)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return signed, nil
}

// Check returns the session and the certificate hash of a token of ours that has
// not expired. Whether the session lives is for the caller to find out.
func (s *Signer) Check(token string, now time.Time) (sid, certHash string, err error) {
	var c claims
	t, err := jwt.ParseWithClaims(token, &c, func(t *jwt.Token) (any, error) { return s.named(t.Header["kid"], now) },
		jwt.WithValidMethods([]string{"ES256"}), jwt.WithIssuer(s.issuer), jwt.WithAudience(Audience),
		jwt.WithExpirationRequired(), jwt.WithTimeFunc(func() time.Time { return now }))
	if err != nil {
		return "", "", fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if t.Header["typ"] != tokenType {
		return "", "", fmt.Errorf("%w: typ is %v, want %s", ErrInvalid, t.Header["typ"], tokenType)
	}
	return c.Session, c.Confirm.CertHash, nil
}

// CertHash is how a token names a TLS certificate (RFC 8705 §3.1).
func CertHash(der []byte) string {
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// method is ES256 over any crypto.Signer; the library's own wants the key itself.
type method struct{ random io.Reader }

// Alg names the method in a token's header.
func (method) Alg() string { return "ES256" }

// Verify is the library's.
func (method) Verify(text string, sig []byte, key any) error {
	return jwt.SigningMethodES256.Verify(text, sig, key)
}

// Sign makes the 64 bytes of RFC 7518 §3.4 from the ASN.1 that signers return.
func (m method) Sign(text string, key any) ([]byte, error) {
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, jwt.ErrInvalidKeyType
	}
	sum := sha256.Sum256([]byte(text))
	der, err := signer.Sign(m.random, sum[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	var sig struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(der, &sig); err != nil || len(rest) > 0 {
		return nil, errors.New("signer returned no ASN.1 signature")
	}
	out := make([]byte, 64)
	sig.R.FillBytes(out[:32])
	sig.S.FillBytes(out[32:])
	return out, nil
}
