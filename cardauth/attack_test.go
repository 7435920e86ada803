package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"clinicgate/cardauth/token"
	"clinicgate/firmware/lab/pivcard"
	"clinicgate/firmware/lab/pki"
	"clinicgate/firmware/wire"
)

// A doctor's visit: card in, PIN, a token that its JWKS verifies, renewed, and
// dead when the card is out.
func TestVisit(t *testing.T) {
	d := newDesk(t)
	d.refused(d.login(rightPIN), http.StatusConflict, "no-card")
	d.insert(d.card(d.world.Professionals, "282864711"))
	a := d.mustLogin()
	if a.Expires != 60 || a.Session.Role != "doctor" || a.Session.Subject != "Practitioner/282864711" || a.Session.Room != room {
		t.Errorf("got %+v", a)
	}
	d.verifyToken(a)
	renewed := d.call(d.ws, "/v1/renew", a.Token, "")
	if renewed.Status != http.StatusOK || renewed.Session.ID != a.Session.ID {
		t.Errorf("renew: %+v", renewed)
	}
	if got := d.state(); !strings.Contains(got, `"state":"session"`) || strings.Contains(got, "28286") {
		t.Errorf("state: %s", got)
	}
	out := time.Now()
	d.slot.Remove()
	gone := d.until("no session", func(c *wire.Card) bool { return len(c.Sessions) == 0 })
	t.Logf("card out to session gone from cardauth.json: %v", gone.Sub(out).Round(time.Millisecond))
	d.refused(d.call(d.ws, "/v1/renew", a.Token, ""), http.StatusUnauthorized, "session-over")

	d.until("an empty reader", reader(wire.ReaderEmpty))
	d.insert(d.card(d.world.Professionals, "1"))
	a = d.mustLogin()
	if got := d.call(d.ws, "/v1/logout", a.Token, ""); got.Status != http.StatusNoContent {
		t.Errorf("logout: %+v", got)
	}
	d.until("no session", func(c *wire.Card) bool { return len(c.Sessions) == 0 })
	d.mustLogin() // the card is still in
}

// verifyToken checks a token as syncd would, with nothing but cardauth.json.
func (d *desk) verifyToken(a answer) {
	d.t.Helper()
	d.mu.Lock()
	card := d.last
	d.mu.Unlock()
	var claims struct {
		jwt.RegisteredClaims
		Session string            `json:"sid"`
		Scope   string            `json:"scope"`
		Confirm map[string]string `json:"cnf"`
	}
	tok, err := jwt.ParseWithClaims(a.Token, &claims, func(t *jwt.Token) (any, error) {
		for _, k := range card.Keys.Keys {
			if k.Kid == t.Header["kid"] {
				return publicKey(d.t, k), nil
			}
		}
		return nil, jwt.ErrTokenUnverifiable
	}, jwt.WithValidMethods([]string{"ES256"}), jwt.WithAudience("urn:clinicgate:syncd"), jwt.WithIssuer("urn:clinicgate:ES-VA-047"), jwt.WithExpirationRequired())
	if err != nil {
		d.t.Fatalf("token: %v", err)
	}
	want := token.CertHash(d.wsCert.Cert.Raw)
	if tok.Header["typ"] != "at+jwt" || claims.Scope != "user/*.cruds" || claims.Session != a.Session.ID || claims.Confirm["x5t#S256"] != want {
		d.t.Errorf("header %v, claims %+v", tok.Header, claims)
	}
	if s := card.Sessions[0]; s.ID != claims.Session || s.CertHash != want {
		d.t.Errorf("cardauth.json lists %+v", s)
	}
}

func publicKey(t testing.TB, k wire.JWK) *ecdsa.PublicKey {
	t.Helper()
	point := []byte{4}
	for _, s := range []string{k.X, k.Y} {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		point = append(point, b...)
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		t.Fatal(err)
	}
	return pub
}

func (d *desk) state() string {
	d.t.Helper()
	resp, err := d.ws.Get("https://" + d.addr + "/v1/state?room=" + room)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	var raw json.RawMessage
	if err := json.NewDecoder(resp.Body).Decode(&raw); err != nil {
		d.t.Fatal(err)
	}
	return string(raw)
}

// Wrong PINs cost one try each, slow down, and don't take the last without a word.
func TestAttackPINExhaustion(t *testing.T) {
	d := newDesk(t)
	c := d.card(d.world.Professionals, "1")
	d.insert(c)
	for _, bad := range []string{"12345", "abcdef", "123456789", ""} {
		d.refused(d.login(bad), http.StatusBadRequest, "malformed-pin")
	}
	if c.Tries() != 3 {
		t.Fatalf("malformed PINs left %d tries, want 3", c.Tries())
	}
	d.hammer(c)
	for range 50 {
		d.refused(d.login("111111"), http.StatusConflict, "last-try")
	}
	if c.Tries() != 1 {
		t.Fatalf("the network spent the last try: %d left", c.Tries())
	}
	// A program may confirm as often as it likes.
	confirmed := `{"room":"consulting-1","pin":"111111","last_try":true}`
	for range 50 {
		d.refused(d.call(d.ws, "/v1/login", "", confirmed), http.StatusConflict, "last-try")
	}
	d.remove()
	d.insert(c)
	d.refused(d.login("111111"), http.StatusConflict, "last-try")
	if c.Tries() != 1 {
		t.Fatalf("the last try was spent without a word of the holder: %d left", c.Tries())
	}
	d.remove()
	d.insert(c)
	d.refused(d.call(d.ws, "/v1/login", "", confirmed), http.StatusForbidden, "blocked")
	d.wait("the end of the pause", func() bool { return d.login(rightPIN).Type != "slow-down" })
	d.refused(d.login(rightPIN), http.StatusForbidden, "blocked")
}

// hammer tries a wrong PIN as fast as it goes, until the card's last try is all
// there is: two were spent, and after each nothing was for as long as was said.
func (d *desk) hammer(c *pivcard.Card) {
	d.t.Helper()
	asked := time.Now()
	a := d.login("111111")
	d.refused(a, http.StatusUnauthorized, "wrong-pin")
	for pause := time.Second; ; pause *= 2 {
		if a.Tries == nil || *a.Tries != c.Tries() {
			d.t.Errorf("tries_left %v, card %d", a.Tries, c.Tries())
		}
		for a = d.login("111111"); a.Type == "slow-down"; a = d.login("111111") {
			d.refused(a, http.StatusTooManyRequests, "slow-down")
		}
		if took := time.Since(asked); took < pause {
			d.t.Errorf("the card was asked again %v after a wrong PIN, want %v", took, pause)
		}
		if a.Type == "last-try" {
			break
		}
		d.refused(a, http.StatusUnauthorized, "wrong-pin")
	}
}

// Cards that must not open a session, each for its own reason.
func TestAttackWrongCards(t *testing.T) {
	d := newDesk(t)
	good := d.card(d.world.Professionals, "1")
	clone, err := pivcard.New(rightPIN)
	if err != nil {
		t.Fatal(err)
	}
	bare, err := pivcard.New(rightPIN)
	if err != nil {
		t.Fatal(err)
	}
	der, err := d.world.Professionals.CardCertificate(pki.Person{Name: "Dr 1", Registration: "1", Profession: pki.Doctor}, 0x9A, good.Public(0x9A))
	if err != nil {
		t.Fatal(err)
	}
	if err := clone.PutCertificate(0x9A, der); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		card   *pivcard.Card
		status int
		kind   string
		tries  int
	}{
		{"foreign CA", d.card(d.world.Foreign, "1"), http.StatusForbidden, "untrusted-card", 3},
		{"devices CA", d.card(d.world.Devices, "1"), http.StatusForbidden, "untrusted-card", 3},
		{"cloned certificate", clone, http.StatusForbidden, "untrusted-card", 3},
		{"no certificate", bare, http.StatusForbidden, "unknown-card", 3},
	} {
		d.insert(c.card)
		// With a wrong PIN first: an untrusted card's tries are not ours to spend.
		if c.card != clone {
			d.refused(d.login("111111"), c.status, c.kind)
		}
		d.refused(d.login(rightPIN), c.status, c.kind)
		if got := c.card.Tries(); got != c.tries {
			t.Errorf("%s: %d tries left, want %d", c.name, got, c.tries)
		}
		d.remove()
	}
}

// Two cards with one key: the key stays whose it was first, for good.
func TestAttackSameKey(t *testing.T) {
	d := newDesk(t)
	first := d.card(d.world.Professionals, "1")
	d.insert(first)
	d.mustLogin()
	d.remove()
	second := d.card(d.world.Professionals, "2", pivcard.WithKeyOf(0x9A, first))
	d.insert(second)
	d.refused(d.login(rightPIN), http.StatusForbidden, "untrusted-card")
	d.fault("card.same-key")
	d.kill()
	d.launch()
	d.serves()
	d.until("the card again", reader(wire.ReaderCard))
	d.refused(d.login("111111"), http.StatusForbidden, "untrusted-card")
	if second.Tries() != 3 {
		t.Errorf("%d tries left", second.Tries())
	}
	d.remove()
	d.insert(d.card(d.world.Professionals, "1", pivcard.WithKeyOf(0x9A, first))) // renewed
	d.mustLogin()
}

// A card swapped so fast that the reader notices nothing ends the session, and
// the other card does not take it over.
func TestAttackFastSwap(t *testing.T) {
	d := newDesk(t)
	first, second := d.card(d.world.Professionals, "1"), d.card(d.world.Professionals, "2")
	none := func(c *wire.Card) bool { return len(c.Sessions) == 0 }
	for name, swap := range map[string]func(){
		"in the reader's blind moment": func() {
			d.slot.Remove()
			if err := d.slot.Insert(second); err != nil {
				t.Fatal(err)
			}
		},
		"without the reader noticing at all": func() { d.slot.Swap(second) },
	} {
		d.insert(first)
		a := d.mustLogin()
		at := time.Now()
		swap()
		gone := d.until("no session", none)
		t.Logf("%s: session gone after %v", name, gone.Sub(at).Round(time.Millisecond))
		d.refused(d.call(d.ws, "/v1/renew", a.Token, ""), http.StatusUnauthorized, "session-over")
		// pcscd, which looks every 400 ms, must see the reader empty before the next.
		d.slot.Remove()
		time.Sleep(2 * time.Second)
		d.until("an empty reader", reader(wire.ReaderEmpty))
	}
}

// A card that took the place of the one that was read, unseen, before anybody logged
// in: the login is its own holder's, or nobody's.
func TestAttackSwapBeforeLogin(t *testing.T) {
	d := newDesk(t)
	first, second := d.card(d.world.Professionals, "1"), d.card(d.world.Professionals, "2")
	d.insert(first)
	d.slot.Swap(second)
	d.refused(d.login("111111"), http.StatusUnauthorized, "wrong-pin")
	if first.Tries() != 3 || second.Tries() != 2 {
		t.Errorf("%d and %d tries left, want 3 and 2", first.Tries(), second.Tries())
	}
	d.wait("the end of the pause", func() bool { return d.login(rightPIN).Type != "slow-down" })
	if a := d.mustLogin(); a.Session.Subject != "Practitioner/2" {
		t.Errorf("the session is %s", a.Session.Subject)
	}
}

// A card that stops answering ends the session though the reader says it is in.
func TestAttackSilentCard(t *testing.T) {
	d := newDesk(t)
	d.insert(d.card(d.world.Professionals, "1"))
	a := d.mustLogin()
	at := time.Now()
	d.slot.Hang(true)
	gone := d.until("no session", func(c *wire.Card) bool { return len(c.Sessions) == 0 })
	t.Logf("session gone %v after the card fell silent", gone.Sub(at).Round(time.Millisecond))
	d.refused(d.call(d.ws, "/v1/renew", a.Token, ""), http.StatusUnauthorized, "session-over")
	d.slot.Hang(false)
	d.until("the card again", reader(wire.ReaderCard))
	d.mustLogin()
}

// An ECG cart has a certificate of the same CA, and spends nobody's PIN tries.
func TestAttackOtherDevice(t *testing.T) {
	d := newDesk(t)
	c := d.card(d.world.Professionals, "1")
	d.insert(c)
	cart, _ := d.device("modality", "ecg-cart")
	for _, pin := range []string{"111111", rightPIN} {
		d.refused(d.call(cart, "/v1/login", "", fmt.Sprintf(`{"room":%q,"pin":%q}`, room, pin)), http.StatusForbidden, "not-a-workstation")
	}
	if c.Tries() != 3 {
		t.Errorf("a cart spent PIN tries: %d left", c.Tries())
	}
}

// A token is worth nothing at another workstation, and another workstation can't
// disturb a session.
func TestAttackOtherWorkstation(t *testing.T) {
	d := newDesk(t)
	c := d.card(d.world.Professionals, "1")
	d.insert(c)
	a := d.mustLogin()
	other, _ := d.workstation("ws-2")
	d.refused(d.call(other, "/v1/renew", a.Token, ""), http.StatusUnauthorized, "invalid-token")
	d.refused(d.call(other, "/v1/logout", a.Token, ""), http.StatusUnauthorized, "invalid-token")
	d.refused(d.call(other, "/v1/login", "", `{"room":"consulting-1","pin":"111111"}`), http.StatusConflict, "in-use")
	d.refused(d.call(d.ws, "/v1/renew", a.Token[:len(a.Token)-8]+"AAAAAAAA", ""), http.StatusUnauthorized, "invalid-token")
	if got := d.call(d.ws, "/v1/renew", a.Token, ""); got.Status != http.StatusOK || c.Tries() != 3 {
		t.Errorf("the session was disturbed: %+v, %d tries", got, c.Tries())
	}
	for _, body := range []string{"", "{", `{"pin":123456}`, `{"room":"consulting-1","pin":"12\u0033456"}`, strings.Repeat(" ", 5000)} {
		d.refused(d.call(d.ws, "/v1/login", "", body), http.StatusBadRequest, "bad-request")
	}
	d.refused(d.call(d.ws, "/v1/login", "", `{"room":"cellar","pin":"123456"}`), http.StatusServiceUnavailable, "no-reader")
}

// pcscd dies: the session ends, the fault is shown, and everything comes back.
func TestPCSCDKilled(t *testing.T) {
	d := newDesk(t)
	d.insert(d.card(d.world.Professionals, "1"))
	d.mustLogin()
	at := time.Now()
	d.pcscd.Kill()
	gone := d.until("no session", func(c *wire.Card) bool { return len(c.Sessions) == 0 })
	t.Logf("session gone %v after pcscd was killed", gone.Sub(at).Round(time.Millisecond))
	d.fault("card.no-pcscd")
	d.refused(d.login(rightPIN), http.StatusServiceUnavailable, "no-reader")
	if err := d.pcscd.Restart(); err != nil {
		t.Fatal(err)
	}
	d.until("the card again, without fault", func(c *wire.Card) bool { return reader(wire.ReaderCard)(c) && len(c.Faults) == 0 })
	d.mustLogin()
}

// What is missing at the start is said, and mended while cardauth runs.
func TestMissingFiles(t *testing.T) {
	var anchors, tlsKey string
	d := newDesk(t, func(d *desk) {
		anchors = filepath.Join(d.dir, "site", "anchors", "professionals.pem")
		tlsKey = filepath.Join(d.dir, "secrets", "tls.key")
		for _, f := range []string{anchors, tlsKey} {
			if err := os.Rename(f, f+".away"); err != nil {
				d.t.Fatal(err)
			}
		}
	})
	d.fault("card.anchor-missing")
	d.fault("card.tls")
	for _, f := range []string{anchors, tlsKey} {
		if err := os.Rename(f+".away", f); err != nil {
			t.Fatal(err)
		}
	}
	d.until("no faults", func(c *wire.Card) bool { return len(c.Faults) == 0 })
	d.insert(d.card(d.world.Professionals, "1"))
	d.mustLogin()
}

// A reader that isn't there is one clear fault.
func TestNoReader(t *testing.T) {
	d := newDesk(t, func(d *desk) {
		path := filepath.Join(d.dir, "site", "site.toml")
		text, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, []byte(strings.Replace(string(text), "Virtual PCD 00 00", "Omnikey", 1)), 0o644)
		}
		if err != nil {
			d.t.Fatal(err)
		}
	})
	d.fault("card.no-reader")
	d.refused(d.login(rightPIN), http.StatusServiceUnavailable, "no-reader")
}
