package token

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"clinicgate/cardauth/session"
)

var (
	now    = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	doctor = session.Session{ID: "s-1", Role: "doctor", Subject: "Practitioner/1", Room: "consulting-1", CertHash: "hash"}
)

func signer(t *testing.T) *Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(key, "site")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func issue(t *testing.T, s *Signer, of session.Session) string {
	t.Helper()
	text, err := s.Issue(of, now)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// What syncd relies on is in the token, under these names.
func TestIssue(t *testing.T) {
	s := signer(t)
	text := issue(t, s, doctor)
	parts := strings.Split(text, ".")
	decode := func(part string) (m map[string]any) {
		raw, err := base64.RawURLEncoding.DecodeString(part)
		if err == nil {
			err = json.Unmarshal(raw, &m)
		}
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	head, body := decode(parts[0]), decode(parts[1])
	if head["typ"] != "at+jwt" || head["alg"] != "ES256" || head["kid"] != s.JWKS(now).Keys[0].Kid {
		t.Errorf("header %v", head)
	}
	for claim, want := range map[string]any{
		"iss": "urn:clinicgate:site", "sub": "Practitioner/1", "sid": "s-1", "role": "doctor", "scope": "user/*.cruds",
		"room": "consulting-1", "iat": float64(now.Unix()), "exp": float64(now.Unix() + 60),
	} {
		if body[claim] != want {
			t.Errorf("%s: got %v, want %v", claim, body[claim], want)
		}
	}
	if cnf, _ := body["cnf"].(map[string]any); cnf["x5t#S256"] != "hash" {
		t.Errorf("cnf %v", body["cnf"])
	}
	nurse := doctor
	nurse.Role = "nurse"
	if body := decode(strings.Split(issue(t, s, nurse), ".")[1]); body["scope"] != "" {
		t.Errorf("a nurse's scope is %v, want none", body["scope"])
	}
}

func TestCheck(t *testing.T) {
	s := signer(t)
	text := issue(t, s, doctor)
	sid, hash, err := s.Check(text, now.Add(59*time.Second))
	if err != nil || sid != "s-1" || hash != "hash" {
		t.Fatalf("got %q, %q, %v", sid, hash, err)
	}
	resign := func(method jwt.SigningMethod, key any, change func(*jwt.Token, jwt.MapClaims)) string {
		t.Helper()
		c := jwt.MapClaims{"iss": "urn:clinicgate:site", "aud": Audience, "exp": now.Unix() + 60, "sid": "s-1"}
		tok := jwt.NewWithClaims(method, c)
		tok.Header["typ"], tok.Header["kid"] = "at+jwt", s.keys[0].kid
		change(tok, c)
		out, err := tok.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	same := func(*jwt.Token, jwt.MapClaims) {}
	own := s.keys[0].key.(*ecdsa.PrivateKey)
	if _, _, err := s.Check(resign(jwt.SigningMethodES256, own, same), now); err != nil {
		t.Fatalf("the test's own way of signing: %v", err)
	}
	for name, bad := range map[string]string{
		"empty":          "",
		"not a token":    "a.b.c",
		"other key":      issue(t, signer(t), doctor),
		"no signature":   resign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, same),
		"shared secret":  resign(jwt.SigningMethodHS256, []byte(s.keys[0].kid), same),
		"other audience": resign(jwt.SigningMethodES256, own, func(_ *jwt.Token, c jwt.MapClaims) { c["aud"] = "urn:other" }),
		"other issuer":   resign(jwt.SigningMethodES256, own, func(_ *jwt.Token, c jwt.MapClaims) { c["iss"] = "urn:other" }),
		"no expiry":      resign(jwt.SigningMethodES256, own, func(_ *jwt.Token, c jwt.MapClaims) { delete(c, "exp") }),
		"other type":     resign(jwt.SigningMethodES256, own, func(t *jwt.Token, _ jwt.MapClaims) { t.Header["typ"] = "JWT" }),
		"cut":            text[:len(text)-1],
	} {
		if _, _, err := s.Check(bad, now); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
	if _, _, err := s.Check(text, now.Add(Lifetime+time.Second)); !errors.Is(err, ErrInvalid) {
		t.Errorf("expired: %v", err)
	}
}

// RFC 7638's rules on a key of its own kind: the name depends on the key only.
func TestKeyName(t *testing.T) {
	s := signer(t)
	again, err := New(s.keys[0].key, "elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	if again.keys[0].kid != s.keys[0].kid || signer(t).keys[0].kid == s.keys[0].kid || len(s.keys[0].kid) != 43 {
		t.Errorf("kid %q and %q", s.keys[0].kid, again.keys[0].kid)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(p384, "site"); err == nil {
		t.Error("a P-384 key was taken for ES256")
	}
}

func TestOpenKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets", "token.key")
	first, err := OpenKey(path)
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v, want mode 0600", fi, err)
	}
	second, err := OpenKey(path)
	if err != nil || !first.Public().(*ecdsa.PublicKey).Equal(second.Public()) {
		t.Fatalf("another key at the second start, %v", err)
	}
	// Stopped inside the first write: a stray temporary file, no key.
	stray := filepath.Join(t.TempDir(), "token.key")
	if err := os.WriteFile(filepath.Join(filepath.Dir(stray), ".token.key.tmp"), []byte("half a k"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKey(stray); err != nil {
		t.Errorf("after a stop in the first write: %v", err)
	}
	for name, text := range map[string]string{"empty": "", "text": "key", "not DER": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenKey(path); err == nil || !strings.Contains(err.Error(), "remove the file") {
			t.Errorf("%s: got %v, want what to do", name, err)
		}
	}
}
