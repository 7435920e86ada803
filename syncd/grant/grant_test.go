package grant

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"clinicgate/firmware/wire"
)

var now = time.Date(2026, 11, 22, 8, 30, 0, 0, time.UTC)

const issuer = "urn:clinicgate:ES-VA-047"

type world struct {
	key    *ecdsa.PrivateKey
	roster *Roster
}

func newWorld(t testing.TB) world {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	roster, err := NewRoster(&wire.Card{
		Keys: wire.JWKS{Keys: []wire.JWK{jwk(t, "k1", &key.PublicKey)}},
		Sessions: []wire.Session{
			{ID: "s1", Role: wire.RoleDoctor, Subject: "Practitioner/1", Room: "r1", CertHash: "ws1"},
			{ID: "s2", Role: wire.RoleNurse, Subject: "Practitioner/2", Room: "r1", CertHash: "ws1"},
			{ID: "s3", Role: wire.RolePatient, Subject: "x", Room: "r1", CertHash: "ws1"},
			{ID: "s4", Role: "janitor", Subject: "y", Room: "r1", CertHash: "ws1"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return world{key, roster}
}

func jwk(t testing.TB, kid string, pub *ecdsa.PublicKey) wire.JWK {
	t.Helper()
	point, err := pub.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return wire.JWK{Kty: "EC", Crv: "P-256", Alg: "ES256", Use: "sig", Kid: kid, X: b64(point[1:33]), Y: b64(point[33:])}
}

// good is a token that is let in; a case changes one thing.
func good() (header, claims map[string]any) {
	return map[string]any{"typ": "at+jwt", "kid": "k1"}, map[string]any{
		"iss": issuer, "aud": Audience, "sub": "Practitioner/1", "sid": "s1", "role": "doctor",
		"scope": "user/*.rs", "room": "r1", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
		"cnf": map[string]any{"x5t#S256": "ws1"},
	}
}

func sign(t testing.TB, method jwt.SigningMethod, key any, header, claims map[string]any) string {
	t.Helper()
	tok := jwt.NewWithClaims(method, jwt.MapClaims(claims))
	maps.Copy(tok.Header, header)
	s, err := tok.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAllowed(t *testing.T) {
	w := newWorld(t)
	h, c := good()
	g, err := Decide(now, w.roster, issuer, Request{Token: sign(t, jwt.SigningMethodES256, w.key, h, c), Peer: "ws1", Op: Read, Type: "Patient"})
	if err != nil || g.Session != "s1" || g.Subject != "Practitioner/1" || g.Role != "doctor" || g.Room != "r1" {
		t.Fatalf("got %+v, %v", g, err)
	}
}

// Handing in needs a live session, and no more of it.
func TestWho(t *testing.T) {
	w := newWorld(t)
	h, c := good()
	delete(c, "scope")
	token := sign(t, jwt.SigningMethodES256, w.key, h, c)
	if g, err := Who(now, w.roster, issuer, token, "ws1"); err != nil || g.Subject != "Practitioner/1" {
		t.Errorf("got %+v, %v", g, err)
	}
	for name, err := range map[string]error{
		"another device": second(Who(now, w.roster, issuer, token, "ws2")),
		"no device":      second(Who(now, w.roster, issuer, token, "")),
		"no token":       second(Who(now, w.roster, issuer, "", "ws1")),
		"run out":        second(Who(now.Add(time.Hour), w.roster, issuer, token, "ws1")),
		"no roster":      second(Who(now, nil, issuer, token, "ws1")),
	} {
		if err == nil {
			t.Errorf("%s: allowed", name)
		}
	}
}

func second(_ Grant, err error) error { return err }

// Each case changes one thing of a good request.
func TestRefused(t *testing.T) {
	w := newWorld(t)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set := func(k string, v any) func(h, c map[string]any) { return func(_, c map[string]any) { c[k] = v } }
	drop := func(k string) func(h, c map[string]any) { return func(_, c map[string]any) { delete(c, k) } }
	session := func(sid, role, sub string) func(h, c map[string]any) {
		return func(_, c map[string]any) { c["sid"], c["role"], c["sub"] = sid, role, sub }
	}
	for name, c := range map[string]struct {
		change func(h, c map[string]any)
		req    func(*Request)
		at     time.Duration
		key    *ecdsa.PrivateKey
		want   Reason
	}{
		"no token":           {req: func(r *Request) { r.Token = "" }, want: NoToken},
		"not a token":        {req: func(r *Request) { r.Token = "abc" }, want: Malformed},
		"huge token":         {req: func(r *Request) { r.Token += strings.Repeat("A", maxToken) }, want: Malformed},
		"signature cut":      {req: func(r *Request) { r.Token = r.Token[:strings.LastIndex(r.Token, ".")+1] + "AAAA" }, want: Signature},
		"signed by another":  {key: other, want: Signature},
		"unknown key":        {change: func(h, _ map[string]any) { h["kid"] = "k2" }, want: UnknownKey},
		"no key named":       {change: func(h, _ map[string]any) { delete(h, "kid") }, want: UnknownKey},
		"key as a number":    {change: func(h, _ map[string]any) { h["kid"] = 1 }, want: UnknownKey},
		"identity token":     {change: func(h, _ map[string]any) { h["typ"] = "JWT" }, want: Malformed},
		"no type":            {change: func(h, _ map[string]any) { delete(h, "typ") }, want: Malformed},
		"expired":            {at: time.Minute + leeway + time.Second, want: Expired},
		"never expires":      {change: drop("exp"), want: Claims},
		"issued tomorrow":    {change: set("iat", now.Add(24*time.Hour).Unix()), want: Claims},
		"not yet":            {change: set("nbf", now.Add(time.Hour).Unix()), want: Claims},
		"expiry is text":     {change: set("exp", "soon"), want: Malformed},
		"another clinic":     {change: set("iss", "urn:clinicgate:X"), want: OtherService},
		"no issuer":          {change: drop("iss"), want: Claims},
		"another service":    {change: set("aud", "urn:clinicgate:netd"), want: OtherService},
		"another device":     {req: func(r *Request) { r.Peer = "ws2" }, want: OtherDevice},
		"no certificate":     {req: func(r *Request) { r.Peer = "" }, want: OtherDevice},
		"bearer only":        {change: drop("cnf"), want: OtherDevice},
		"bound elsewhere":    {change: set("cnf", map[string]any{"x5t#S256": "ws2"}), req: func(r *Request) { r.Peer = "ws2" }, want: OtherSession},
		"session over":       {change: set("sid", "s0"), want: NoSession},
		"no session":         {change: drop("sid"), want: NoSession},
		"session of another": {change: set("sub", "Practitioner/2"), want: OtherSession},
		"role of another":    {change: set("sid", "s2"), want: OtherSession},
		"room of another":    {change: set("room", "r2"), want: OtherSession},
		"nurse":              {change: session("s2", "nurse", "Practitioner/2"), want: Role},
		"patient":            {change: session("s3", "patient", "x"), want: Scope},
		"unknown role":       {change: session("s4", "janitor", "y"), want: Role},
		"no scope":           {change: drop("scope"), want: Scope},
		"write scope":        {change: set("scope", "user/*.cud"), want: Scope},
		"scope of a type":    {change: set("scope", "user/Observation.rs"), want: Scope},
		"patient scope":      {change: set("scope", "patient/*.rs"), want: Scope},
	} {
		t.Run(name, func(t *testing.T) {
			h, cl := good()
			if c.change != nil {
				c.change(h, cl)
			}
			key := w.key
			if c.key != nil {
				key = c.key
			}
			tok := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims(cl))
			tok.Header = h
			h["alg"] = "ES256"
			s, err := tok.SignedString(key)
			if err != nil {
				t.Fatal(err)
			}
			r := Request{Token: s, Peer: "ws1", Op: Read, Type: "Patient"}
			if c.req != nil {
				c.req(&r)
			}
			_, err = Decide(now.Add(c.at), w.roster, issuer, r)
			var no *Refusal
			if !errors.As(err, &no) || no.Reason != c.want {
				t.Fatalf("got %+v, want %s", no, c.want)
			}
			if no.Known() != (c.want == Role || c.want == Scope) || no.Error() == "" {
				t.Errorf("known %v, text %q", no.Known(), no.Error())
			}
		})
	}
}

// Only ES256: neither "none" nor a MAC keyed with the public key gets in.
func TestAlgorithms(t *testing.T) {
	w := newWorld(t)
	h, c := good()
	pub, err := w.key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{
		sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, h, c),
		sign(t, jwt.SigningMethodHS256, pub, h, c),
	} {
		_, err := Decide(now, w.roster, issuer, Request{Token: token, Peer: "ws1", Op: Read, Type: "Patient"})
		var no *Refusal
		if !errors.As(err, &no) || no.Reason != Signature {
			t.Errorf("got %v", err)
		}
	}
}

func TestNoRoster(t *testing.T) {
	w := newWorld(t)
	h, c := good()
	r := Request{Token: sign(t, jwt.SigningMethodES256, w.key, h, c), Peer: "ws1", Op: Read, Type: "Patient"}
	_, err := Decide(now, nil, issuer, r)
	var no *Refusal
	if !errors.As(err, &no) || no.Reason != NoRoster {
		t.Errorf("without cardauth: %v", err)
	}
	empty, err := NewRoster(&wire.Card{})
	if err != nil || empty.Sessions() != 0 || (*Roster)(nil).Sessions() != 0 {
		t.Fatal(err)
	}
	if _, err := Decide(now, empty, issuer, r); !errors.As(err, &no) || no.Reason != UnknownKey {
		t.Errorf("cardauth restarted: %v", err)
	}
}

func TestRosterKeys(t *testing.T) {
	w := newWorld(t)
	k := jwk(t, "k1", &w.key.PublicKey)
	for name, change := range map[string]func(*wire.JWK){
		"RSA":           func(k *wire.JWK) { k.Kty = "RSA" },
		"curve":         func(k *wire.JWK) { k.Crv = "P-384" },
		"use":           func(k *wire.JWK) { k.Use = "enc" },
		"no kid":        func(k *wire.JWK) { k.Kid = "" },
		"short":         func(k *wire.JWK) { k.X = k.X[:20] },
		"not base64":    func(k *wire.JWK) { k.Y = strings.Repeat("!", 43) },
		"off the curve": func(k *wire.JWK) { k.X = k.Y },
	} {
		bad := k
		change(&bad)
		r, err := NewRoster(&wire.Card{Keys: wire.JWKS{Keys: []wire.JWK{bad}}})
		if err == nil || len(r.keys) != 0 {
			t.Errorf("%s: got %d keys, %v", name, len(r.keys), err)
		}
	}
	if _, err := NewRoster(&wire.Card{Keys: wire.JWKS{Keys: []wire.JWK{k, k}}}); err == nil {
		t.Error("one kid twice went unnoticed")
	}
}

func FuzzDecide(f *testing.F) {
	w := newWorld(f)
	h, c := good()
	f.Add(sign(f, jwt.SigningMethodES256, w.key, h, c)[:40])
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := Decide(now, w.roster, issuer, Request{Token: token, Peer: "ws1", Op: Read, Type: "Patient"}); err == nil {
			t.Fatalf("let in: %q", token)
		}
	})
}

func BenchmarkDecide(b *testing.B) {
	w := newWorld(b)
	h, c := good()
	r := Request{Token: sign(b, jwt.SigningMethodES256, w.key, h, c), Peer: "ws1", Op: Read, Type: "Patient"}
	for b.Loop() {
		if _, err := Decide(now, w.roster, issuer, r); err != nil {
			b.Fatal(err)
		}
	}
}
