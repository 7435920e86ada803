package bearer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"clinicgate/firmware/durable"
	"clinicgate/firmware/wire"
)

// Key is what proves the gateway to the EHR: ES384 with a key on P-384, RS384 with
// an RSA key, the two that SMART asks servers to take.
type Key struct {
	private crypto.Signer
	method  jwt.SigningMethod
	jwk     wire.ClientKey
}

// Bounds of RSA keys, in bits.
const minRSA, maxRSA = 2048, 8192

// OpenKey reads the key, in PEM, or makes one on P-384 where there is none.
//
//	stop before the rename in durable.WriteFile: no key; the next start makes another
//	stop after: the key is there; nobody was shown its public half before
func OpenKey(path string) (*Key, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("open the EHR's key: %w", err)
	}
	if fi, err := os.Stat(path); err == nil && fi.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("open the EHR's key: %s: got mode %v, want -rw-------", path, fi.Mode().Perm())
	}
	k, err := parseKey(text)
	if err != nil {
		return nil, fmt.Errorf("open the EHR's key: %s: %w", path, err)
	}
	return k, nil
}

func makeKey(path string) (*Key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the EHR's key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("make the EHR's key: %w", err)
	}
	if err := durable.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return nil, fmt.Errorf("make the EHR's key: %w", err)
	}
	return newKey(private)
}

// parseKey reads PKCS #8, or the older forms of either kind.
func parseKey(text []byte) (*Key, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("got no PEM block, want a private key")
	}
	var private any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		private, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		private, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		private, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("got a %.40q, want a private key", block.Type)
	}
	if err != nil {
		return nil, errors.New("got a private key that can't be read") // the cause may quote it
	}
	return newKey(private)
}

func newKey(private any) (*Key, error) {
	b64 := base64.RawURLEncoding.EncodeToString
	k := &Key{}
	var thumb string // RFC 7638 §3.2: the members that make the key, in order
	switch p := private.(type) {
	case *ecdsa.PrivateKey:
		if p.Curve != elliptic.P384() {
			return nil, fmt.Errorf("got a key on %s, want P-384 (ES384) or RSA (RS384)", p.Curve.Params().Name)
		}
		point, err := p.PublicKey.Bytes()
		if err != nil {
			return nil, err
		}
		k.private, k.method = p, jwt.SigningMethodES384
		k.jwk = wire.ClientKey{Kty: "EC", Crv: "P-384", X: b64(point[1:49]), Y: b64(point[49:])}
		thumb = fmt.Sprintf(`{"crv":"P-384","kty":"EC","x":%q,"y":%q}`, k.jwk.X, k.jwk.Y)
	case *rsa.PrivateKey:
		if n := p.N.BitLen(); n < minRSA || n > maxRSA {
			return nil, fmt.Errorf("got an RSA key of %d bits, want %d to %d", n, minRSA, maxRSA)
		}
		k.private, k.method = p, jwt.SigningMethodRS384
		k.jwk = wire.ClientKey{Kty: "RSA", N: b64(p.N.Bytes()), E: b64(big.NewInt(int64(p.E)).Bytes())}
		thumb = fmt.Sprintf(`{"e":%q,"kty":"RSA","n":%q}`, k.jwk.E, k.jwk.N)
	default:
		return nil, fmt.Errorf("got a %T, want a key on P-384 (ES384) or RSA (RS384)", private)
	}
	sum := sha256.Sum256([]byte(thumb))
	k.jwk.Alg, k.jwk.Use, k.jwk.Kid = k.method.Alg(), "sig", b64(sum[:])
	k.jwk.KeyOps = []string{"verify"}
	return k, nil
}

// Alg is the name of its signatures.
func (k *Key) Alg() string { return k.method.Alg() }

// Public is what the EHR registers.
func (k *Key) Public() wire.ClientKey { return k.jwk }

// assertLife is how long an assertion may be used, at most five minutes (SMART App
// Launch 2, §client-confidential-asymmetric). It allows for a clock that is off.
const assertLife = 4 * time.Minute

// assert signs who we are, for one use at one token endpoint.
func (k *Key) assert(client, place string, now time.Time) (string, error) {
	t := jwt.NewWithClaims(k.method, jwt.MapClaims{
		"iss": client, "sub": client, "aud": place, "jti": rand.Text(),
		"iat": now.Unix(), "exp": now.Add(assertLife).Unix(),
	})
	t.Header["kid"] = k.jwk.Kid
	text, err := t.SignedString(k.private)
	if err != nil {
		return "", fmt.Errorf("%w: sign who we are: %w", ErrRefused, err)
	}
	return text, nil
}
