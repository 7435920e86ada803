package serve

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"clinicgate/firmware/dpop"
	"clinicgate/firmware/wire"
	"clinicgate/syncd/grant"
)

const (
	doorBase = "https://gateway.internal:8447"
	origin   = "https://program.example"
)

// A page is a registered program in a browser, at the gateway's door for programs.
type page struct {
	*desk
	key   *ecdsa.PrivateKey // it proves its requests with
	addr  string            // of its computer
	bound []string          // what the session knows of
	apps  *wire.Apps
}

func newPage(t *testing.T) *page {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &page{desk: newDesk(t), key: key, addr: "10.20.0.50", apps: &wire.Apps{Base: "https://gateway.internal:8446", Origins: []string{origin}}}
	p.bound = []string{wire.BoundKey + p.thumb(), wire.BoundAddr + p.addr}
	p.h.Door = &Door{Base: doorBase, Guard: dpop.NewGuard([32]byte{1}), Apps: func() *wire.Apps { return p.apps }}
	p.h.Roster = p.roster
	return p
}

// jwk is the page's public key, and thumb its RFC 7638 thumbprint.
func (p *page) jwk() map[string]any {
	point, err := p.key.PublicKey.Bytes()
	if err != nil {
		p.t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return map[string]any{"kty": "EC", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])}
}

func (p *page) thumb() string {
	k := p.jwk()
	sum := sha256.Sum256([]byte(`{"crv":"P-256","kty":"EC","x":"` + k["x"].(string) + `","y":"` + k["y"].(string) + `"}`))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (p *page) roster() *grant.Roster {
	point, err := p.desk.key.PublicKey.Bytes()
	if err != nil {
		p.t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	r, err := grant.NewRoster(&wire.Card{
		Keys:     wire.JWKS{Keys: []wire.JWK{{Kty: "EC", Crv: "P-256", Kid: "k", X: b64(point[1:33]), Y: b64(point[33:])}}},
		Sessions: []wire.Session{{ID: "s1", Role: wire.RoleDoctor, Subject: "Practitioner/1", Room: "r1", CertHash: p.hash(), Keys: p.bound}},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

// access is an access token bound to something.
func (p *page) access(cnf map[string]any) string {
	tok := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": grant.Issuer("c"), "aud": grant.Audience, "sub": "Practitioner/1", "sid": "s1", "role": wire.RoleDoctor, "scope": "user/*.rs",
		"room": "r1", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(), "cnf": cnf,
	})
	tok.Header["typ"], tok.Header["kid"] = "at+jwt", "k"
	return p.sign(tok, p.desk.key)
}

func (p *page) sign(tok *jwt.Token, key *ecdsa.PrivateKey) string {
	text, err := tok.SignedString(key)
	if err != nil {
		p.t.Fatal(err)
	}
	return text
}

// proof proves one request of the page's.
func (p *page) proof(url, access, nonce, id string) string {
	sum := sha256.Sum256([]byte(access))
	tok := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"jti": id, "htm": "GET", "htu": url, "iat": time.Now().Unix(), "nonce": nonce, "ath": base64.RawURLEncoding.EncodeToString(sum[:]),
	})
	tok.Header["typ"], tok.Header["jwk"] = "dpop+jwt", p.jwk()
	return p.sign(tok, p.key)
}

// ask sends a request as a browser would.
func (p *page) ask(method, path string, header ...string) *http.Response {
	r := httptest.NewRequest(method, path, nil)
	r.RemoteAddr = p.addr + ":40000"
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	p.h.ServeHTTP(w, r)
	return w.Result()
}

// proven asks for a record with a proof for it; each change spoils something.
func (p *page) proven(change func(url, access, nonce *string)) *http.Response {
	nonce := p.ask("GET", Base+"/Patient/p1").Header.Get("DPoP-Nonce")
	url, access := doorBase+Base+"/Patient/p1", p.access(map[string]any{"jkt": p.thumb()})
	used := access
	if change != nil {
		change(&url, &used, &nonce)
	}
	return p.ask("GET", Base+"/Patient/p1", "Origin", origin, "Authorization", "DPoP "+access, "DPoP", p.proof(url, used, nonce, rand.Text()))
}

func TestDoorByKey(t *testing.T) {
	p := newPage(t)
	r := p.proven(nil)
	if r.StatusCode != 200 || body(t, r) != patient || r.Header.Get("Access-Control-Allow-Origin") != origin || r.Header.Get("DPoP-Nonce") == "" {
		t.Fatalf("%d %v", r.StatusCode, r.Header)
	}
	if last := p.trail[len(p.trail)-1]; last.Device != "jkt:"+p.thumb() || last.Who != "Practitioner/1" {
		t.Errorf("trail: %+v", last)
	}
}

// What does not prove that the page itself asks gets nothing.
func TestAttackDoorProofs(t *testing.T) {
	for name, change := range map[string]func(url, access, nonce *string){
		"for another address": func(url, _, _ *string) { *url = doorBase + Base + "/Patient/p2" },
		"for another server":  func(url, _, _ *string) { *url = "https://elsewhere" + Base + "/Patient/p1" },
		"for another token":   func(_, access, _ *string) { *access += "x" },
		"without a nonce":     func(_, _, nonce *string) { *nonce = "" },
		"with its own nonce":  func(_, _, nonce *string) { *nonce = "AAAA" },
	} {
		p := newPage(t)
		before := len(p.trail)
		r := p.proven(change)
		outcome(t, r, http.StatusUnauthorized, "login")
		if !strings.HasPrefix(r.Header.Get("WWW-Authenticate"), "DPoP error=") || r.Header.Get("DPoP-Nonce") == "" || len(p.asked) != 0 || len(p.trail) != before {
			t.Errorf("%s: %v, asked %v", name, r.Header, p.asked)
		}
	}
	p := newPage(t)
	nonce := p.ask("GET", Base+"/Patient/p1").Header.Get("DPoP-Nonce")
	access := p.access(map[string]any{"jkt": p.thumb()})
	proof := p.proof(doorBase+Base+"/Patient/p1", access, nonce, "once")
	send := func(h ...string) int { return p.ask("GET", Base+"/Patient/p1", h...).StatusCode }
	if got := send("Authorization", "DPoP "+access, "DPoP", proof); got != 200 {
		t.Fatalf("a good proof: %d", got)
	}
	if got := send("Authorization", "DPoP "+access, "DPoP", proof); got != 401 {
		t.Errorf("the same proof again: %d", got)
	}
	if got := send("Authorization", "DPoP "+access, "DPoP", proof, "DPoP", proof); got != 401 {
		t.Errorf("two proofs: %d", got)
	}
	if got := send("Authorization", "Bearer "+access); got != 401 {
		t.Errorf("the token without its key: %d", got)
	}
	p.bound = nil
	if got := p.proven(nil).StatusCode; got != 401 {
		t.Errorf("a key the session does not know: %d", got)
	}
}

func TestDoorByAddress(t *testing.T) {
	p := newPage(t)
	access := p.access(map[string]any{"addr": p.addr})
	ask := func() int {
		return p.ask("GET", Base+"/Patient/p1", "Authorization", "Bearer "+access).StatusCode
	}
	if got := ask(); got != 200 || p.trail[len(p.trail)-1].Device != "addr:10.20.0.50" {
		t.Fatalf("%d, trail %+v", got, p.trail)
	}
	p.addr = "10.20.0.51"
	if got := ask(); got != 401 {
		t.Errorf("from another computer: %d", got)
	}
	p.addr = "[::ffff:10.20.0.50]"
	if got := ask(); got != 200 {
		t.Errorf("the same address in its long form: %d", got)
	}
}

// A token of a workstation is worth nothing at this door: nobody shows a
// certificate here.
func TestAttackDoorWithAWorkstationsToken(t *testing.T) {
	p := newPage(t)
	if r := p.ask("GET", Base+"/Patient/p1", "Authorization", "Bearer "+p.token()); r.StatusCode != 401 {
		t.Errorf("let in with %d", r.StatusCode)
	}
}

// Pages of programs that are not registered are turned away, before anything else.
func TestDoorOrigins(t *testing.T) {
	p := newPage(t)
	for name, c := range map[string]struct {
		method, path, from string
		apps               *wire.Apps
		status             int
		allowed            bool
	}{
		"registered, asks first":       {"OPTIONS", Base + "/Patient/p1", origin, p.apps, 204, true},
		"a stranger asks first":        {"OPTIONS", Base + "/Patient/p1", "https://evil.example", p.apps, 403, false},
		"a stranger asks":              {"GET", Base + "/Patient/p1", "https://evil.example", p.apps, 403, false},
		"a file on the disk":           {"GET", Base + "/metadata", "null", p.apps, 403, false},
		"registered, without a token":  {"GET", Base + "/Patient/p1", origin, p.apps, 401, true},
		"cardauth is away":             {"GET", Base + "/Patient/p1", origin, nil, 403, false},
		"where to log in":              {"GET", Base + "/.well-known/smart-configuration", origin, p.apps, 200, true},
		"where to log in, no origin":   {"GET", Base + "/.well-known/smart-configuration", "", p.apps, 200, false},
		"where to log in, no cardauth": {"GET", Base + "/.well-known/smart-configuration", "", nil, 503, false},
	} {
		p.apps = c.apps
		var header []string
		if c.from != "" {
			header = []string{"Origin", c.from}
		}
		r := p.ask(c.method, c.path, header...)
		got := r.Header.Get("Access-Control-Allow-Origin")
		if r.StatusCode != c.status || (got != "") != c.allowed || got != "" && got != c.from || !strings.Contains(strings.Join(r.Header.Values("Vary"), ","), "Origin") {
			t.Errorf("%s: %d, allowed %q, want %d", name, r.StatusCode, got, c.status)
		}
		if c.status == 200 && !strings.Contains(body(t, r), "https://gateway.internal:8446/authorize") {
			t.Errorf("%s: not cardauth's", name)
		}
		if c.status == 204 && (!strings.Contains(r.Header.Get("Access-Control-Allow-Headers"), "DPoP") || r.Header.Get("Access-Control-Allow-Credentials") != "") {
			t.Errorf("%s: %v", name, r.Header)
		}
	}
	if len(p.asked) != 0 {
		t.Errorf("records were read: %v", p.asked)
	}
}
