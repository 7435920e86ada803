package serve

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/cardauth/session"
	"clinicgate/cardauth/token"
	"clinicgate/firmware/lab/pki"
)

// An office is one room with one possible session.
type office struct {
	refusal error
	live    session.Session
	pin     string
	told    int // refusals
}

// Login opens the session, or refuses as set.
func (o *office) Login(_ context.Context, in session.Login) (session.Session, error) {
	o.pin = string(in.PIN)
	clear(in.PIN)
	if o.refusal != nil {
		return session.Session{}, o.refusal
	}
	o.live = session.Session{ID: "s-1", Role: "doctor", Subject: "Practitioner/1", Room: in.Room, CertHash: in.CertHash}
	return o.live, nil
}

// Logout ends it.
func (o *office) Logout(id string) bool {
	was := o.live.ID == id
	o.live = session.Session{}
	return was
}

// Refused is told of logins that did not get here.
func (o *office) Refused(session.Login, *session.Refusal) { o.told++ }

// Live finds it.
func (o *office) Live(id string) (session.Session, bool) { return o.live, id != "" && o.live.ID == id }

// Room knows one room.
func (o *office) Room(room string) (session.Reader, session.Session, bool) {
	return session.Reader{Name: "r", Room: room, State: session.Card}, o.live, room == "one"
}

// names are tokens that are nothing but a session's name and certificate.
type names struct {
	err   error
	fails *int // so many times only; nil: always
	limit time.Duration
}

// Issue names the session.
func (n names) Issue(s session.Session, _ time.Time) (string, error) {
	if n.fails != nil {
		if *n.fails == 0 {
			return s.ID + " " + s.CertHash, nil
		}
		*n.fails--
	}
	return s.ID + " " + s.CertHash, n.err
}

// Check reads the name back.
func (names) Check(text string, _ time.Time) (string, string, error) {
	sid, hash, ok := strings.Cut(text, " ")
	if !ok {
		return "", "", token.ErrInvalid
	}
	return sid, hash, nil
}

func ask(h http.Handler, method, path, bearer, body string, cert []byte) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if cert != nil {
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Raw: cert}}}
	}
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func server(o *office, n names) http.Handler {
	workstations := func(c *x509.Certificate, _ string) bool { return string(c.Raw) != "cart" }
	return (&Server{Desk: o, View: o, Tokens: n, Admits: workstations, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), signing: n.limit}).Handler()
}

var ws1, ws2 = []byte("ws1"), []byte("ws2")

const goodLogin = `{"room":"one","pin":"123456"}`

func TestLoginRenewLogout(t *testing.T) {
	o := &office{}
	h := server(o, names{})
	w := ask(h, "POST", "/v1/login", "", goodLogin, ws1)
	var got struct {
		Token   string
		Expires int `json:"expires_in"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 || got.Expires != 60 || o.pin != "123456" {
		t.Fatalf("login: %d %s, %v", w.Code, w.Body, err)
	}
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Error("a token may be cached")
	}
	for _, c := range []struct {
		what, path, bearer string
		cert               []byte
		code               int
		kind               string
	}{
		{"renew", "/v1/renew", got.Token, ws1, 200, ""},
		{"without token", "/v1/renew", "", ws1, 401, "invalid-token"},
		{"nonsense", "/v1/renew", "x", ws1, 401, "invalid-token"},
		{"other workstation", "/v1/renew", got.Token, ws2, 401, "invalid-token"},
		{"no certificate", "/v1/renew", got.Token, nil, 401, "invalid-token"},
		{"other session", "/v1/renew", "s-2 " + token.CertHash(ws1), ws1, 401, "session-over"},
		{"other workstation's logout", "/v1/logout", got.Token, ws2, 401, "invalid-token"},
		{"logout", "/v1/logout", got.Token, ws1, 204, ""},
		{"renew after it", "/v1/renew", got.Token, ws1, 401, "session-over"},
	} {
		w := ask(h, "POST", c.path, c.bearer, "", c.cert)
		if w.Code != c.code || !strings.Contains(w.Body.String(), c.kind) {
			t.Errorf("%s: %d %s, want %d %s", c.what, w.Code, w.Body, c.code, c.kind)
		}
	}
}

// A device that is no workstation gets to no card.
func TestNotAWorkstation(t *testing.T) {
	o := &office{}
	w := ask(server(o, names{}), "POST", "/v1/login", "", goodLogin, []byte("cart"))
	if w.Code != 403 || !strings.Contains(w.Body.String(), "not-a-workstation") || o.pin != "" || o.told != 1 {
		t.Fatalf("got %d %s, desk was given %q and told %d times", w.Code, w.Body, o.pin, o.told)
	}
}

// Every refusal has its type, a status of 4xx or 5xx, and no surprise.
func TestRefusals(t *testing.T) {
	for kind, code := range status {
		o := &office{refusal: &session.Refusal{Kind: kind, Detail: "d", Tries: 2, Wait: 1500 * time.Millisecond}}
		w := ask(server(o, names{}), "POST", "/v1/login", "", goodLogin, ws1)
		var p trouble
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != code || p.Status != code || code < 400 ||
			p.Type != string(kind) || p.Title == "" || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s", kind, w.Code, w.Body)
		}
		if counts := kind == session.WrongPIN || kind == session.LastTry || kind == session.Blocked; (p.Tries != nil) != counts {
			t.Errorf("%s: tries_left %v", kind, p.Tries)
		}
		if slow := w.Header().Get("Retry-After"); (slow == "2") != (kind == session.SlowDown) {
			t.Errorf("%s: Retry-After %q", kind, slow)
		}
	}
	o := &office{refusal: context.Canceled}
	if w := ask(server(o, names{}), "POST", "/v1/login", "", goodLogin, ws1); w.Code != 503 {
		t.Errorf("given up: %d", w.Code)
	}
	if w := ask(server(&office{}, names{}), "POST", "/v1/login", "", goodLogin, nil); w.Code != 403 {
		t.Errorf("no certificate: %d", w.Code)
	}
	o = &office{}
	if w := ask(server(o, names{err: errors.New("no TPM"), limit: time.Nanosecond}), "POST", "/v1/login", "", goodLogin, ws1); w.Code != 503 || o.live.ID != "" {
		t.Errorf("unsigned: %d %s, session %+v", w.Code, w.Body, o.live)
	}
	fails := 1
	if w := ask(server(&office{}, names{err: errors.New("no TPM"), fails: &fails}), "POST", "/v1/login", "", goodLogin, ws1); w.Code != 200 {
		t.Errorf("unsigned once, then signed: %d %s", w.Code, w.Body)
	}
}

func TestBadBodies(t *testing.T) {
	for _, body := range []string{"", "{", "[]", `{"room":1}`, `{"pin":123456}`, `{"pin":null,"room":[]}`, `{"pin":"12\u00334"}`, strings.Repeat(" ", maxBody+1)} {
		o := &office{}
		w := ask(server(o, names{}), "POST", "/v1/login", "", body, ws1)
		if w.Code != 400 || o.live.ID != "" || strings.Contains(w.Body.String(), "123") {
			t.Errorf("%q: %d %s", body, w.Code, w.Body)
		}
	}
	if w := ask(server(&office{}, names{}), "GET", "/v1/login", "", "", ws1); w.Code != 405 {
		t.Errorf("GET login: %d", w.Code)
	}
}

func TestState(t *testing.T) {
	o := &office{}
	h := server(o, names{})
	if w := ask(h, "GET", "/v1/state?room=one", "", "", ws1); w.Code != 200 || !strings.Contains(w.Body.String(), `"state":"card"`) {
		t.Errorf("card in: %d %s", w.Code, w.Body)
	}
	ask(h, "POST", "/v1/login", "", goodLogin, ws1)
	w := ask(h, "GET", "/v1/state?room=one", "", "", ws1)
	if !strings.Contains(w.Body.String(), `"state":"session"`) || strings.Contains(w.Body.String(), "Practitioner") {
		t.Errorf("session: %s", w.Body)
	}
	if w := ask(h, "GET", "/v1/state?room=two", "", "", ws1); w.Code != 404 {
		t.Errorf("unknown room: %d", w.Code)
	}
}

// Keys are loaded while connections are taken: first none, then a pair, then the
// next; a caller without a certificate of the clinic is refused.
func TestKeys(t *testing.T) {
	dir := t.TempDir()
	keys := &Keys{Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key"), Devices: filepath.Join(dir, "devices.pem")}
	if err := keys.Load(); err == nil || strings.Contains(err.Error(), dir) {
		t.Errorf("without files: %v, want names without folders", err)
	}
	w, err := pki.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	client, err := w.Client("workstation", "ws")
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(w.Devices.Cert)
	conf := &tls.Config{RootCAs: pool, ServerName: pki.GatewayName, Certificates: []tls.Certificate{client.TLS()}}
	if _, err := meet(keys, conf); err == nil {
		t.Error("met without keys")
	}
	if err := w.WriteAnchors(dir); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		gateway, err := w.Gateway()
		if err == nil {
			err = gateway.Write(dir, "tls")
		}
		if err == nil {
			err = keys.Load()
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := meet(keys, conf)
		if err != nil || !bytes.Equal(got, gateway.Cert.Raw) {
			t.Errorf("met another certificate, %v", err)
		}
	}
	foreign, err := pki.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := foreign.Client("workstation", "ws")
	if err != nil {
		t.Fatal(err)
	}
	for name, certs := range map[string][]tls.Certificate{"none": nil, "a stranger's": {stranger.TLS()}} {
		if _, err := meet(keys, &tls.Config{RootCAs: pool, ServerName: pki.GatewayName, Certificates: certs}); err == nil {
			t.Errorf("certificate %s was accepted", name)
		}
	}
}

// meet has the two ends shake hands and say a byte, and returns the server's
// certificate.
func meet(keys *Keys, client *tls.Config) ([]byte, error) {
	l, err := tls.Listen("tcp", "127.0.0.1:0", keys.TLS())
	if err != nil {
		return nil, err
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = c.Write([]byte{1}) // refused callers get none
			c.Close()
		}
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), client)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		return nil, err
	}
	return c.ConnectionState().PeerCertificates[0].Raw, nil
}

// Whatever a body is, a login has at most what was in it.
func FuzzReadLogin(f *testing.F) {
	f.Add([]byte(goodLogin))
	f.Add([]byte(`{"pin":"\"","pin":"1"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		in, err := (&Server{}).readLogin(httptest.NewRecorder(), httptest.NewRequest("POST", "/v1/login", bytes.NewReader(body)), "")
		if err == nil && (len(in.PIN) > len(body) || len(body) > maxBody) {
			t.Fatalf("PIN of %d bytes from a body of %d", len(in.PIN), len(body))
		}
	})
}
