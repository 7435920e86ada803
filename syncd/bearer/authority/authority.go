// Package authority is a small honest EHR login for tests: a token endpoint that
// gives a token only for an assertion that is signed, meant for it, in time and new
// (RFC 7523 §3), and a guard that lets only its live tokens through.
package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"clinicgate/firmware/wire"
)

// An Authority knows its clients. Its handlers are safe for concurrent use.
type Authority struct {
	Base string        // URL of the FHIR server it stands before
	Life time.Duration // of a token

	mu     sync.Mutex
	keys   map[string]wire.ClientKey // by client
	used   map[string]bool           // jti
	tokens map[string]time.Time
	grants int
}

// New returns an authority without clients.
func New(base string, life time.Duration) *Authority {
	return &Authority{Base: base, Life: life, keys: map[string]wire.ClientKey{}, used: map[string]bool{}, tokens: map[string]time.Time{}}
}

// Register lets a client in by its key, or no longer by none.
func (a *Authority) Register(client string, key *wire.ClientKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.keys, client)
	if key != nil {
		a.keys[client] = *key
	}
}

// Revoke ends all tokens.
func (a *Authority) Revoke() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.tokens)
}

// Grants is how many tokens were given.
func (a *Authority) Grants() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.grants
}

// Place is the token endpoint's address.
func (a *Authority) Place() string { return a.Base + "/auth/token" }

// Guard stands before a FHIR server.
func (a *Authority) Guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/.well-known/smart-configuration"):
			_ = json.NewEncoder(w).Encode(map[string]any{
				"token_endpoint": a.Place(), "token_endpoint_auth_methods_supported": []string{"private_key_jwt"},
				"token_endpoint_auth_signing_alg_values_supported": []string{"RS384", "ES384"},
			})
		case strings.HasSuffix(r.URL.Path, "/auth/token"):
			a.token(w, r)
		case !a.live(r.Header.Get("Authorization")):
			w.Header().Set("WWW-Authenticate", "Bearer")
			w.Header().Set("Content-Type", "application/fhir+json")
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"login"}]}`)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func (a *Authority) live(header string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	until, ok := a.tokens[strings.TrimPrefix(header, "Bearer ")]
	return ok && time.Now().Before(until)
}

func (a *Authority) token(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if why := a.judge(r); why != "" {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": why})
		return
	}
	text := rand.Text()
	a.mu.Lock()
	a.tokens[text] = time.Now().Add(a.Life)
	a.grants++
	a.mu.Unlock()
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": text, "token_type": "bearer", "expires_in": a.Life.Seconds(), "scope": r.FormValue("scope")})
}

// judge says why a request gets no token, or "".
func (a *Authority) judge(r *http.Request) string {
	if r.Method != http.MethodPost || r.FormValue("grant_type") != "client_credentials" {
		return "unsupported_grant_type"
	}
	if r.FormValue("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" || r.FormValue("scope") == "" {
		return "invalid_request"
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var c jwt.RegisteredClaims
	_, err := jwt.ParseWithClaims(r.FormValue("client_assertion"), &c, func(t *jwt.Token) (any, error) {
		key, ok := a.keys[c.Issuer]
		if !ok || t.Header["kid"] != key.Kid || t.Method.Alg() != key.Alg {
			return nil, fmt.Errorf("no key of %q", c.Issuer)
		}
		return public(key)
	}, jwt.WithValidMethods([]string{"ES384", "RS384"}), jwt.WithAudience(a.Place()), jwt.WithExpirationRequired(), jwt.WithIssuedAt())
	if err != nil || c.Subject != c.Issuer || c.ID == "" || a.used[c.ID] || time.Until(c.ExpiresAt.Time) > 5*time.Minute {
		return "invalid_client"
	}
	a.used[c.ID] = true
	return ""
}

// public is a key as it was registered.
func public(k wire.ClientKey) (crypto.PublicKey, error) {
	b := func(s string) []byte {
		raw, _ := base64.RawURLEncoding.DecodeString(s) // a wrong one verifies nothing
		return raw
	}
	if k.Kty == "RSA" {
		return &rsa.PublicKey{N: new(big.Int).SetBytes(b(k.N)), E: int(new(big.Int).SetBytes(b(k.E)).Int64())}, nil
	}
	return ecdsa.ParseUncompressedPublicKey(elliptic.P384(), append(append([]byte{4}, b(k.X)...), b(k.Y)...))
}
