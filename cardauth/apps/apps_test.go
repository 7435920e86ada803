package apps

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"clinicgate/cardauth/session"
	"clinicgate/cardauth/smart"
	"clinicgate/cardauth/token"
	"clinicgate/firmware/wire"
)

const (
	base     = "https://gateway.internal:8446"
	fhir     = "https://gateway.internal:8447/fhir/R4"
	callback = "https://old.internal/cb"
	verifier = "0123456789012345678901234567890123456789012345"
	here     = "10.20.0.50:4711"
)

// A clinic has one card, whose PIN is 123456.
type clinic struct {
	asked   int
	live    map[string]session.Session
	unbound []string
}

// Login opens a session for the right PIN.
func (c *clinic) Login(_ context.Context, l session.Login) (session.Session, error) {
	c.asked++
	if string(l.PIN) != "123456" {
		return session.Session{}, &session.Refusal{Kind: session.WrongPIN, Detail: "wrong PIN, 2 tries left", Tries: 2}
	}
	s := session.Session{ID: "s-1", Role: "doctor", Subject: "Practitioner/1", Room: l.Room, CertHash: l.CertHash}
	c.live[s.ID] = s
	return s, nil
}

// Live, Bind and Unbind are presence's.
func (c *clinic) Live(id string) (session.Session, bool) { s, ok := c.live[id]; return s, ok }

// Bind reports whether the session lives.
func (c *clinic) Bind(id, _ string) bool { _, ok := c.live[id]; return ok }

// Unbind notes what was ended.
func (c *clinic) Unbind(_, key string) { c.unbound = append(c.unbound, key) }

// tokens are no secrets here.
type tokens struct{}

// IssueTo says whom for.
func (tokens) IssueTo(s session.Session, a token.App, _ time.Time) (string, error) {
	return "token of " + s.ID + " for " + a.Client + " at " + a.Addr, nil
}

// Identify says who.
func (tokens) Identify(s session.Session, _ token.App, _, _ string, _ time.Time) (string, error) {
	return "identity of " + s.Subject, nil
}

// JWKS has no keys.
func (tokens) JWKS(time.Time) wire.JWKS { return wire.JWKS{} }

func start(t *testing.T) (*clinic, http.Handler) {
	t.Helper()
	c := &clinic{live: map[string]session.Session{}}
	s := New(Setup{
		Desk: c, Sessions: c, Tokens: tokens{}, Base: base, FHIR: fhir, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Apps: []smart.App{{ID: "old", Name: "<b>Old</b>", Redirects: []string{callback}, Origins: []string{"https://old.internal"}, Scopes: "user/*.rs openid online_access", Bind: smart.BindAddr}},
		Places: func(a netip.Addr) []Place {
			if a.String() == "10.20.0.50" {
				return []Place{{Room: "1"}}
			}
			return nil
		},
	})
	return c, s.Handler()
}

// ask makes one request; headers are name, value pairs.
func ask(h http.Handler, method, target, body string, headers ...string) *http.Response {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.RemoteAddr = here
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "From" {
			r.RemoteAddr = headers[i+1]
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func authorizeURL() string {
	sum := sha256.Sum256([]byte(verifier))
	return "/authorize?" + url.Values{
		"client_id": {"old"}, "redirect_uri": {callback}, "response_type": {"code"}, "state": {"st"}, "scope": {"user/*.rs openid online_access"},
		"aud": {fhir}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}.Encode()
}

// begin opens the login page and returns its flow and the browser's cookie.
func begin(t *testing.T, h http.Handler) (flow, jar string) {
	t.Helper()
	resp := ask(h, "GET", authorizeURL(), "")
	body, _ := io.ReadAll(resp.Body)
	m := regexp.MustCompile(`name="flow" value="([A-Z0-9]+)"`).FindSubmatch(body)
	if resp.StatusCode != http.StatusOK || m == nil {
		t.Fatalf("%s: %s", resp.Status, body)
	}
	csp := resp.Header.Get("Content-Security-Policy")
	if strings.Contains(string(body), "<b>") || strings.Contains(string(body), "<script") || !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") {
		t.Errorf("page %s\nwith %s", body, csp)
	}
	c := resp.Cookies()[0]
	if !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode {
		t.Errorf("cookie %+v", c)
	}
	return string(m[1]), c.Name + "=" + c.Value
}

func code(t *testing.T, h http.Handler) string {
	t.Helper()
	flow, jar := begin(t, h)
	resp := ask(h, "POST", "/authorize", "flow="+flow+"&room=1&act=login&pin=123456", "Origin", base, "Cookie", jar)
	to, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || resp.StatusCode != http.StatusSeeOther || to.Query().Get("state") != "st" || to.Query().Get("iss") != base {
		t.Fatalf("%s, to %v", resp.Status, to)
	}
	return to.Query().Get("code")
}

func exchange(h http.Handler, form string, headers ...string) (int, map[string]any) {
	resp := ask(h, "POST", "/token", form, headers...)
	var out map[string]any
	_ = json.NewDecoder(resp.Body).Decode(&out)
	return resp.StatusCode, out
}

func redeem(code string) string {
	return url.Values{"grant_type": {"authorization_code"}, "client_id": {"old"}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {verifier}}.Encode()
}

func TestLogin(t *testing.T) {
	c, h := start(t)
	status, got := exchange(h, redeem(code(t, h)), "Origin", "https://old.internal")
	if status != http.StatusOK || got["access_token"] != "token of s-1 for old at 10.20.0.50" || got["id_token"] != "identity of Practitioner/1" || got["token_type"] != "Bearer" {
		t.Fatalf("%d %v", status, got)
	}
	refresh := "grant_type=refresh_token&client_id=old&refresh_token=" + got["refresh_token"].(string)
	if status, got := exchange(h, refresh); status != http.StatusOK {
		t.Errorf("refresh: %d %v", status, got)
	}
	if status, _ := exchange(h, refresh); status != http.StatusBadRequest || len(c.unbound) != 1 {
		t.Errorf("the refresh token again: %d, ended %v", status, c.unbound)
	}
}

// Forms that are not the person's own: no PIN gets to the card, no code comes out.
func TestAttackForms(t *testing.T) {
	c, h := start(t)
	flow, jar := begin(t, h)
	body := "flow=" + flow + "&room=1&act=login&pin=123456"
	for name, with := range map[string][]string{
		"from another page":      {"Origin", "https://evil.internal", "Cookie", jar},
		"from a page that hides": {"Origin", "null", "Cookie", jar},
		"from nowhere":           {"Cookie", jar},
		"from another browser":   {"Origin", base, "Cookie", "__Host-clinicgate=ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
		"without a cookie":       {"Origin", base},
		"from another computer":  {"Origin", base, "Cookie", jar, "From", "10.20.0.66:1"},
	} {
		if resp := ask(h, "POST", "/authorize", body, with...); resp.StatusCode < 400 || c.asked != 0 {
			t.Errorf("%s: %s, the card was asked %d times", name, resp.Status, c.asked)
		}
	}
	for name, body := range map[string]string{
		"another room":          "flow=" + flow + "&room=2&act=login&pin=123456",
		"no flow":               "room=1&act=login&pin=123456",
		"going on as nobody":    "flow=" + flow + "&room=2&act=continue",
		"a form without an end": body + "&x=" + strings.Repeat("x", maxForm),
	} {
		if resp := ask(h, "POST", "/authorize", body, "Origin", base, "Cookie", jar); resp.StatusCode < 400 || c.asked != 0 {
			t.Errorf("%s: %s, the card was asked %d times", name, resp.Status, c.asked)
		}
	}
	if resp := ask(h, "GET", authorizeURL(), "", "From", "10.20.0.66:1"); resp.StatusCode != http.StatusForbidden {
		t.Errorf("the page at a computer without a card: %s", resp.Status)
	}
	evil := strings.Replace(authorizeURL(), url.QueryEscape(callback), url.QueryEscape("https://evil.internal/"), 1)
	if resp := ask(h, "GET", evil, ""); resp.StatusCode != http.StatusBadRequest || resp.Header.Get("Location") != "" {
		t.Errorf("a foreign redirect: %s to %s", resp.Status, resp.Header.Get("Location"))
	}
}

func TestAttackTokenEndpoint(t *testing.T) {
	c, h := start(t)
	stolen := code(t, h)
	if status, _ := exchange(h, redeem(stolen), "From", "10.20.0.66:1"); status != http.StatusBadRequest {
		t.Errorf("a code at another computer: %d", status)
	}
	if status, _ := exchange(h, redeem(stolen), "Origin", "https://evil.internal"); status != http.StatusBadRequest {
		t.Errorf("a code from another page: %d", status)
	}
	if resp := ask(h, "OPTIONS", "/token", "", "Origin", "https://evil.internal"); resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("another page may read the token endpoint's answers")
	}
	if status, got := exchange(h, redeem(stolen)); status != http.StatusOK {
		t.Fatalf("the rightful use: %d %v", status, got)
	}
	if status, _ := exchange(h, redeem(stolen)); status != http.StatusBadRequest || len(c.unbound) != 1 || c.unbound[0] != "addr:10.20.0.50" {
		t.Errorf("the code again: %d, ended %v", status, c.unbound)
	}
	last := code(t, h)
	delete(c.live, "s-1")
	if status, got := exchange(h, redeem(last)); status != http.StatusBadRequest || got["error"] != smart.InvalidGrant {
		t.Errorf("with the card out: %d %v", status, got)
	}
	if status, _ := exchange(h, redeem(last)+"&client_id=old"); status != http.StatusBadRequest {
		t.Errorf("a parameter twice: %d", status)
	}
}

// The program that must prove a key is told how, and gets nothing without.
func TestTokenWantsProof(t *testing.T) {
	c := &clinic{live: map[string]session.Session{}}
	h := New(Setup{Desk: c, Sessions: c, Tokens: tokens{}, Base: base, FHIR: fhir, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Apps: []smart.App{{ID: "old", Redirects: []string{callback}, Bind: smart.BindKey}}}).Handler()
	resp := ask(h, "POST", "/token", redeem("x"))
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusBadRequest || resp.Header.Get("DPoP-Nonce") == "" || !strings.Contains(string(body), useNonce) {
		t.Errorf("%s %s", resp.Status, body)
	}
	if resp := ask(h, "POST", "/token", redeem("x"), "DPoP", "a.b.c"); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a made-up proof: %s", resp.Status)
	}
}

func FuzzForm(f *testing.F) {
	f.Add([]byte("flow=a&room=1&act=login&pin=123456&last=yes"))
	f.Fuzz(func(t *testing.T, body []byte) {
		if in := parseForm(body); len(in.pin) > len(body) || len(in.room) > len(body) {
			t.Fatalf("%q grew", body)
		}
	})
}
