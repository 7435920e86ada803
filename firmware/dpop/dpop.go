// Package dpop reads proofs of possession (RFC 9449): a browser's program signs
// each request with a key that never left it, so that a token by itself is worth
// nothing. A proof counts for one method, one address, one token, one nonce of ours,
// once, and about now.
package dpop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// What is wrong with a proof.
var (
	ErrProof  = errors.New("invalid DPoP proof")
	ErrNonce  = errors.New("DPoP proof without a nonce of ours that is fresh") // the answer brings one
	ErrReplay = errors.New("DPoP proof used before")
)

// Bounds of a proof.
const (
	maxProof = 4096             // bytes
	maxID    = 128              // bytes of a jti
	old      = time.Minute      // after it was made
	early    = 10 * time.Second // before: clocks of workstations differ
)

// Want is the request a proof must be for.
type Want struct {
	Method string
	URL    string // without query and fragment; those of the proof are cut
	Token  string // the access token beside it; empty at the token endpoint
}

// A Proof is one that holds for its request. That it is used once is for Guard.
type Proof struct {
	Key   string // RFC 7638 thumbprint of the key, as in cnf jkt
	ID    string
	Nonce string
	Until time.Time // when it is too old anyhow
}

// jwk is the proof's public key. A private one is refused: a program that sends
// it along has lost it.
type jwk struct {
	Kty string          `json:"kty"`
	Crv string          `json:"crv"`
	X   string          `json:"x"`
	Y   string          `json:"y"`
	D   json.RawMessage `json:"d"`
}

type claims struct {
	ID     string  `json:"jti"`
	Method string  `json:"htm"`
	URL    string  `json:"htu"`
	At     float64 `json:"iat"`
	Hash   string  `json:"ath"`
	Nonce  string  `json:"nonce"`
}

// Parse reads the value of one DPoP header and says whether it is a proof for the
// request, by its own key, made about now.
func Parse(text string, want Want, now time.Time) (Proof, error) {
	if len(text) > maxProof {
		return Proof{}, fmt.Errorf("%w: %d bytes, want at most %d", ErrProof, len(text), maxProof)
	}
	c, key, err := verify(text)
	if err != nil {
		return Proof{}, err
	}
	at := time.Unix(0, int64(c.At*float64(time.Second)))
	switch {
	case c.ID == "" || len(c.ID) > maxID:
		return Proof{}, fmt.Errorf("%w: jti of %d bytes, want 1 to %d", ErrProof, len(c.ID), maxID)
	case c.Method != want.Method:
		return Proof{}, fmt.Errorf("%w: htm is for another method", ErrProof)
	case !sameURL(c.URL, want.URL):
		return Proof{}, fmt.Errorf("%w: htu is for another address", ErrProof)
	case c.At <= 0 || c.At > 1e11 || now.Sub(at) > old || at.Sub(now) > early:
		return Proof{}, fmt.Errorf("%w: iat is not about now", ErrProof)
	case want.Token != "" && c.Hash != hash(want.Token):
		return Proof{}, fmt.Errorf("%w: ath is of another token", ErrProof)
	}
	return Proof{Key: key, ID: c.ID, Nonce: c.Nonce, Until: at.Add(old)}, nil
}

// verify checks the signature by the key in the header and returns that key's
// thumbprint.
func verify(text string) (*claims, string, error) {
	var key string
	p := jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodES256.Alg()}), jwt.WithoutClaimsValidation(), jwt.WithStrictDecoding())
	raw := jwt.MapClaims{}
	_, err := p.ParseWithClaims(text, &raw, func(t *jwt.Token) (any, error) {
		if typ, _ := t.Header["typ"].(string); typ != "dpop+jwt" {
			return nil, errors.New("typ is not dpop+jwt")
		}
		pub, thumb, err := public(t.Header["jwk"])
		key = thumb
		return pub, err
	})
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrProof, err)
	}
	part, err := base64.RawURLEncoding.DecodeString(strings.Split(text, ".")[1])
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrProof, err)
	}
	c := new(claims)
	if err := json.Unmarshal(part, c); err != nil {
		return nil, "", fmt.Errorf("%w: claims: %w", ErrProof, err)
	}
	return c, key, nil
}

// public reads a JWK (RFC 7517) and names it by its thumbprint (RFC 7638).
func public(header any) (*ecdsa.PublicKey, string, error) {
	data, err := json.Marshal(header) // decoded from JSON a moment ago
	if err != nil {
		return nil, "", err
	}
	var k jwk
	if err := json.Unmarshal(data, &k); err != nil {
		return nil, "", fmt.Errorf("jwk: %w", err)
	}
	if k.Kty != "EC" || k.Crv != "P-256" || k.D != nil {
		return nil, "", errors.New("jwk: want a public EC key on P-256")
	}
	point := []byte{4} // uncompressed (SEC 1 §2.3.3)
	for _, s := range []string{k.X, k.Y} {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil || len(b) != 32 || base64.RawURLEncoding.EncodeToString(b) != s {
			return nil, "", errors.New("jwk: a coordinate is not 32 bytes of base64url")
		}
		point = append(point, b...)
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return nil, "", fmt.Errorf("jwk: %w", err)
	}
	return pub, hash(fmt.Sprintf(`{"crv":"P-256","kty":"EC","x":%q,"y":%q}`, k.X, k.Y)), nil
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// sameURL compares addresses as RFC 9449 §4.3 wants: scheme and host in any case,
// the default port left out or not, without query and fragment.
func sameURL(a, b string) bool {
	x, y := plain(a), plain(b)
	return x != "" && x == y
}

func plain(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || u.Opaque != "" {
		return ""
	}
	host := strings.ToLower(u.Host)
	if strings.EqualFold(u.Scheme, "https") {
		host = strings.TrimSuffix(host, ":443")
	}
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	return strings.ToLower(u.Scheme) + "://" + host + path
}
