package wire

import "time"

// Card is cardauth.json: readers, live sessions and the keys their tokens are
// signed with. It is readable by the clinicgate group only.
type Card struct {
	Header
	Readers  []Reader  `json:"readers"`
	Sessions []Session `json:"sessions"`
	Keys     JWKS      `json:"keys"`
}

// Reader states.
const (
	ReaderEmpty   = "empty"
	ReaderCard    = "card"    // a card is in, no session yet
	ReaderSession = "session" // a card is in and a session is live
	ReaderFault   = "fault"
)

// Reader is one card reader.
type Reader struct {
	Name  string    `json:"name"` // as PC/SC names it
	Room  string    `json:"room"`
	State string    `json:"state"`
	Since time.Time `json:"since"`
}

// Roles a card's certificate and the roster can give.
const (
	RoleDoctor  = "doctor"
	RoleNurse   = "nurse"
	RolePatient = "patient"
)

// Session is a live card. A token whose sid is not in this list is dead, whatever
// its expiry says.
type Session struct {
	ID       string    `json:"sid"`
	Role     string    `json:"role"`
	Subject  string    `json:"sub"` // FHIR reference for staff ("Practitioner/…"); for patients an opaque id
	Room     string    `json:"room"`
	Since    time.Time `json:"since"`
	Presence time.Time `json:"presence"` // when the card's key last proved itself
	CertHash string    `json:"x5t#S256"` // workstation certificate the tokens are bound to (RFC 8705)
}

// JWKS is a JSON Web Key Set (RFC 7517) of P-256 public keys.
type JWKS struct {
	Keys []JWK `json:"keys"`
}

// JWK is one P-256 public key.
type JWK struct {
	Kty string `json:"kty"` // "EC"
	Crv string `json:"crv"` // "P-256"
	Alg string `json:"alg"` // "ES256"
	Use string `json:"use"` // "sig"
	Kid string `json:"kid"`
	X   string `json:"x"` // base64url, 32 bytes
	Y   string `json:"y"`
}
