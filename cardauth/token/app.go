package token

import (
	"time"

	"github.com/golang-jwt/jwt/v5"

	"clinicgate/cardauth/session"
)

// An App is a program in a browser that somebody let in.
type App struct {
	Client string // client_id
	Scope  string // granted
	User   string // fhirUser, if it may know; the address of a FHIR resource
	Key    string // thumbprint of its key (RFC 9449), or
	Addr   string // the address its tokens are bound to
}

// Scope is what a role may ask for.
func Scope(role string) string { return scopes[role] }

// IssueTo makes a token of a live session for a program.
func (s *Signer) IssueTo(of session.Session, a App, now time.Time) (string, error) {
	c := s.claims(of, a.Client, a.Scope, now)
	c.User, c.Confirm.Key, c.Confirm.Addr = a.User, a.Key, a.Addr
	return s.sign(tokenType, c, now)
}

// identity are the claims of an OpenID Connect identity token.
type identity struct {
	jwt.RegisteredClaims
	User    string   `json:"fhirUser,omitempty"`
	Profile string   `json:"profile,omitempty"` // what fhirUser was called before
	Nonce   string   `json:"nonce,omitempty"`
	Methods []string `json:"amr"` // RFC 8176
}

// Identify makes an identity token: who logged in, for the program's eyes. It opens
// nothing.
func (s *Signer) Identify(of session.Session, a App, issuer, nonce string, now time.Time) (string, error) {
	return s.sign("JWT", identity{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: issuer, Audience: jwt.ClaimStrings{a.Client}, Subject: of.Subject,
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(Lifetime)),
		},
		User: a.User, Profile: a.User, Nonce: nonce, Methods: []string{"sc", "pin"},
	}, now)
}
