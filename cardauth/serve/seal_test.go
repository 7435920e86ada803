package serve

import (
	"crypto/hpke"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"clinicgate/cardauth/sealed"
)

// box asks for the key as a workstation and seals a PIN as the documentation says.
func box(t *testing.T, h http.Handler, cert []byte, pin string) string {
	t.Helper()
	w := ask(h, "GET", "/v1/pin-key", "", "", cert)
	var got struct{ Key, Suite, Public, Info string }
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK || !strings.HasPrefix(got.Suite, "DHKEM(P-256") {
		t.Fatalf("%d %s, %v", w.Code, w.Body, err)
	}
	point, err := base64.RawURLEncoding.DecodeString(got.Public)
	if err != nil {
		t.Fatal(err)
	}
	kem, err := hpke.NewKEM(0x0010) // DHKEM(P-256, HKDF-SHA256)
	if err != nil {
		t.Fatal(err)
	}
	public, err := kem.NewPublicKey(point)
	if err != nil {
		t.Fatal(err)
	}
	out, err := hpke.Seal(public, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(got.Info), []byte(pin))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`"sealed_pin":{"key":%q,"box":%q}`, got.Key, base64.RawURLEncoding.EncodeToString(out))
}

// A sealed PIN reaches the card as it was typed; one of another workstation, with
// another key, or plain where that is refused, does not.
func TestSealedPIN(t *testing.T) {
	o := &office{}
	make := func(only bool) http.Handler {
		return (&Server{
			Desk: o, View: o, Tokens: names{}, Admits: func(*x509.Certificate, string) bool { return true }, Log: slog.New(slog.DiscardHandler),
			Seals: &sealed.Keys{}, SealedOnly: only,
		}).Handler()
	}
	h, other := make(true), make(false)
	for _, c := range []struct {
		what, body string
		code       int
		kind, pin  string
	}{
		{"sealed", box(t, h, ws1, "654321"), 200, "", "654321"},
		{"another workstation's", box(t, h, ws2, "654321"), 400, "bad-request", ""},
		{"another key", box(t, other, ws1, "654321"), 409, "pin-key", ""},
		{"plain", `"pin":"654321"`, 400, "plain-pin", ""},
		{"both", `"pin":"654321",` + box(t, h, ws1, "654321"), 400, "bad-request", ""},
		{"no box", `"sealed_pin":{"key":"x","box":"?"}`, 400, "bad-request", ""},
		{"none", `"last_try":false`, 200, "", ""}, // it is typed at the reader
	} {
		o.pin = ""
		w := ask(h, "POST", "/v1/login", "", `{"room":"one",`+c.body+`}`, ws1)
		if w.Code != c.code || o.pin != c.pin || !strings.Contains(w.Body.String(), c.kind) || strings.Contains(w.Body.String(), "654321") {
			t.Errorf("%s: %d %s, the card had %q", c.what, w.Code, w.Body, o.pin)
		}
	}
	if w := ask(other, "POST", "/v1/login", "", goodLogin, ws1); w.Code != http.StatusOK {
		t.Errorf("plain where it may be: %d %s", w.Code, w.Body)
	}
	if w := ask(h, "GET", "/v1/pin-key", "", "", nil); w.Code != http.StatusForbidden {
		t.Errorf("without a certificate: %d", w.Code)
	}
}
