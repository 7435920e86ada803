package wire

import "time"

// EHRLogin answers GET /ehr/login on syncd's control socket: how the gateway itself
// logs in at the EHR.
type EHRLogin struct {
	V           int        `json:"v"`
	EHR         string     `json:"ehr"`                    // its FHIR address
	ClientID    string     `json:"client_id,omitempty"`    // empty: it asks for no login
	Until       time.Time  `json:"until,omitzero"`         // a token is held that serves so long
	Reason      string     `json:"reason,omitempty"`       // why the last attempt to get one failed
	JWKS        ClientKeys `json:"jwks"`                   // what the EHR registers
	KeyExchange string     `json:"key_exchange,omitempty"` // of the last connection over TLS
}

// ClientKeys is a JSON Web Key set (RFC 7517).
type ClientKeys struct {
	Keys []ClientKey `json:"keys"`
}

// ClientKey is a public key with which the gateway proves itself, on P-384 or RSA.
type ClientKey struct {
	Kty    string   `json:"kty"`
	Crv    string   `json:"crv,omitempty"`
	Alg    string   `json:"alg"` // "ES384", "RS384"
	Use    string   `json:"use"`
	KeyOps []string `json:"key_ops"`
	Kid    string   `json:"kid"` // RFC 7638 thumbprint
	X      string   `json:"x,omitempty"`
	Y      string   `json:"y,omitempty"`
	N      string   `json:"n,omitempty"`
	E      string   `json:"e,omitempty"`
}
