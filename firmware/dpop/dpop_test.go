package dpop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

var (
	now  = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	want = Want{Method: "GET", URL: "https://gateway.internal:8447/fhir/R4/Patient", Token: "token"}
)

// A signer is a browser's program.
type signer struct {
	key    *ecdsa.PrivateKey
	claims jwt.MapClaims
	header map[string]any
	method jwt.SigningMethod
	with   any // key to sign with
}

func newSigner(t testing.TB) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return &signer{
		key: key, method: jwt.SigningMethodES256, with: key,
		claims: jwt.MapClaims{"jti": "1", "htm": "GET", "htu": want.URL, "iat": now.Unix(), "ath": hash("token")},
		header: map[string]any{"typ": "dpop+jwt", "jwk": map[string]any{"kty": "EC", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])}},
	}
}

func (s *signer) sign(t testing.TB) string {
	t.Helper()
	tok := jwt.NewWithClaims(s.method, s.claims)
	for k, v := range s.header {
		tok.Header[k] = v
	}
	text, err := tok.SignedString(s.with)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestProof(t *testing.T) {
	s := newSigner(t)
	p, err := Parse(s.sign(t), want, now)
	if err != nil || p.ID != "1" || len(p.Key) != 43 {
		t.Fatalf("got %+v, %v", p, err)
	}
	s.claims["htu"] = "HTTPS://Gateway.Internal:8447/fhir/R4/Patient?name=x#y"
	if _, err := Parse(s.sign(t), want, now); err != nil {
		t.Errorf("query and case: %v", err)
	}
	again := newSigner(t)
	if q, err := Parse(again.sign(t), want, now); err != nil || q.Key == p.Key {
		t.Errorf("two keys, one thumbprint: %v", err)
	}
}

// Each row changes one thing; a verifier that skips the check would let it by.
func TestAttackForgedProofs(t *testing.T) {
	other := newSigner(t)
	for name, spoil := range map[string]func(*signer){
		"another method":         func(s *signer) { s.claims["htm"] = "POST" },
		"another address":        func(s *signer) { s.claims["htu"] = "https://evil.internal/fhir/R4/Patient" },
		"another path":           func(s *signer) { s.claims["htu"] = want.URL + "/1" },
		"a user in the address":  func(s *signer) { s.claims["htu"] = "https://x@gateway.internal:8447/fhir/R4/Patient" },
		"another token":          func(s *signer) { s.claims["ath"] = hash("another") },
		"no token":               func(s *signer) { delete(s.claims, "ath") },
		"old":                    func(s *signer) { s.claims["iat"] = now.Add(-2 * time.Minute).Unix() },
		"of tomorrow":            func(s *signer) { s.claims["iat"] = now.Add(time.Hour).Unix() },
		"without time":           func(s *signer) { delete(s.claims, "iat") },
		"of no time at all":      func(s *signer) { s.claims["iat"] = 1e300 },
		"without id":             func(s *signer) { delete(s.claims, "jti") },
		"with an endless id":     func(s *signer) { s.claims["jti"] = strings.Repeat("x", 1000) },
		"signed by another key":  func(s *signer) { s.with = other.key },
		"another type":           func(s *signer) { s.header["typ"] = "JWT" },
		"without key":            func(s *signer) { delete(s.header, "jwk") },
		"key on another curve":   func(s *signer) { s.header["jwk"].(map[string]any)["crv"] = "P-384" },
		"a point off the curve":  func(s *signer) { s.header["jwk"].(map[string]any)["x"] = strings.Repeat("A", 43) },
		"with the private key":   func(s *signer) { s.header["jwk"].(map[string]any)["d"] = "AA" },
		"signed with no key":     func(s *signer) { s.method, s.with = jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType },
		"signed with a password": func(s *signer) { s.method, s.with = jwt.SigningMethodHS256, []byte("x") },
		"too long":               func(s *signer) { s.claims["x"] = strings.Repeat("x", 8000) },
	} {
		s := newSigner(t)
		spoil(s)
		if p, err := Parse(s.sign(t), want, now); !errors.Is(err, ErrProof) {
			t.Errorf("%s: got %+v, %v, want ErrProof", name, p, err)
		}
	}
}

func TestAttackReplayedProof(t *testing.T) {
	g := NewGuard([32]byte{1})
	p := Proof{Key: "k", ID: "1", Nonce: g.Nonce(now), Until: now.Add(old)}
	if err := g.Use(p, now); err != nil {
		t.Fatal(err)
	}
	if err := g.Use(p, now); !errors.Is(err, ErrReplay) {
		t.Errorf("the second time: %v", err)
	}
	p.Key = "k2"
	if err := g.Use(p, now); err != nil {
		t.Errorf("another key's proof of the same id: %v", err)
	}
	for name, nonce := range map[string]string{
		"none": "", "made up": "AAAA", "another guard's": NewGuard([32]byte{2}).Nonce(now),
		"old": g.Nonce(now.Add(-time.Hour)), "of the future": g.Nonce(now.Add(time.Hour)),
	} {
		if err := g.Use(Proof{Key: "n", ID: name, Nonce: nonce}, now); !errors.Is(err, ErrNonce) {
			t.Errorf("nonce %s: %v", name, err)
		}
	}
	if err := NewGuard([32]byte{3}).Use(p, now); !errors.Is(err, ErrNonce) {
		t.Errorf("after a restart: %v", err)
	}
}

// A flood of proofs takes bounded memory, and is over when they are too old.
func TestGuardIsBounded(t *testing.T) {
	g := NewGuard([32]byte{1})
	var err error
	for i := 0; i <= maxSeen; i++ {
		err = g.Use(Proof{Key: "k", ID: fmt.Sprint(i), Nonce: g.Nonce(now), Until: now.Add(old)}, now)
	}
	if !errors.Is(err, ErrReplay) || len(g.seen) != maxSeen {
		t.Errorf("got %v with %d remembered", err, len(g.seen))
	}
	later := now.Add(old + time.Second)
	if err := g.Use(Proof{Key: "k", ID: "new", Nonce: g.Nonce(later), Until: later.Add(old)}, later); err != nil {
		t.Errorf("after the flood: %v", err)
	}
}

func FuzzProof(f *testing.F) {
	s := newSigner(f)
	f.Add(s.sign(f))
	f.Add("a.b.c")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text, want, now)
		if err == nil && (p.Key == "" || p.ID == "") {
			t.Fatalf("%q counts as %+v", text, p)
		}
	})
}
