package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"clinicgate/firmware/lab/pki"
	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"
	"clinicgate/syncd/grant"
	"clinicgate/syncd/serve"
)

// TestMain lets a test start this program: the test binary is syncd when told so.
func TestMain(m *testing.M) {
	if os.Getenv("CLINICGATE_TEST_PROGRAM") == "syncd" {
		main()
		return
	}
	if os.Getenv("CLINICGATE_TEST_PROGRAM") == "receiver" {
		receiver()
		return
	}
	os.Exit(m.Run())
}

// A clinic is syncd as a process, with everything around it made by the test:
// certificates, cardauth's and netd's word, and an EHR over HTTP.
type clinic struct {
	t     testing.TB
	dir   string
	world *pki.World
	desk  *pki.Device // the workstation
	key   *ecdsa.PrivateKey
	ehr   *ehr
	port  string
	proc  *exec.Cmd
	log   *lockedBuffer
	http  *http.Client
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newClinic(t testing.TB) *clinic {
	t.Helper()
	c := &clinic{t: t, dir: t.TempDir(), log: &lockedBuffer{}, ehr: newEHR(t)}
	var err error
	if c.world, err = pki.New(time.Now()); err != nil {
		t.Fatal(err)
	}
	if c.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	if c.desk, err = c.world.Client("workstation", "desk-1"); err != nil {
		t.Fatal(err)
	}
	c.must(c.world.WriteAnchors(c.path("site/anchors")))
	c.must(os.MkdirAll(c.path("run"), 0o755))
	c.port = freePort(t)
	c.must(os.WriteFile(c.path("site/site.toml"), fmt.Appendf(nil, `[site]
name = "Test"
code = "T-1"
[sync]
listen = "127.0.0.1:%s"
devices = "devices.pem"
[sync.ehr]
base = "%s/fhir/R4"
timeout = "1500ms"
[sync.cache]
size_mb = 64
`, c.port, c.ehr.srv.URL), 0o644))
	c.http = c.client(c.desk.TLS())
	t.Cleanup(func() {
		c.kill()
		if t.Failed() {
			t.Logf("syncd's log:\n%s", c.log)
		}
	})
	return c
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// ready is a clinic at work, with nobody logged in.
func ready(t testing.TB) *clinic {
	t.Helper()
	c := newClinic(t)
	c.records()
	c.keys()
	c.uplink("isp-a")
	c.card()
	c.start()
	c.listening()
	return c
}

func (c *clinic) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *clinic) path(p string) string { return filepath.Join(c.dir, p) }

// keys puts the box's TLS key pair where syncd looks for it.
func (c *clinic) keys() {
	c.t.Helper()
	box, err := c.world.Gateway(net.ParseIP("127.0.0.1"))
	c.must(err)
	c.must(box.Write(c.path("secrets"), "tls"))
}

func (c *clinic) client(cert ...tls.Certificate) *http.Client {
	pool := x509.NewCertPool()
	pool.AddCert(c.world.Devices.Cert)
	tr := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: pool, Certificates: cert, ServerName: pki.GatewayName},
		ForceAttemptHTTP2: true,
	}
	c.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

func (c *clinic) start() {
	c.t.Helper()
	c.proc = exec.Command(os.Args[0], "-site", c.path("site/site.toml"), "-secrets", c.path("secrets"), "-state", c.path("state"), "-run", c.path("run"))
	c.proc.Env = append(os.Environ(), "CLINICGATE_TEST_PROGRAM=syncd")
	c.proc.Stderr = c.log
	c.must(c.proc.Start())
}

// kill is kill -9.
func (c *clinic) kill() {
	if c.proc != nil {
		_ = c.proc.Process.Kill()
		_ = c.proc.Wait()
		c.proc = nil
	}
	c.http.CloseIdleConnections()
}

// listening waits until the endpoint takes connections.
func (c *clinic) listening() {
	c.t.Helper()
	c.wait("listening", func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+c.port)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func (c *clinic) wait(what string, ok func() bool) {
	c.t.Helper()
	c.within(20*time.Second, what, ok)
}

// within is wait for what may take longer on a busy machine.
func (c *clinic) within(limit time.Duration, what string, ok func() bool) {
	c.t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatalf("no %s; syncd.json: %+v", what, c.status())
		}
	}
}

func (c *clinic) status() *wire.Sync {
	s, err := wirefile.Read[wire.Sync](c.path("run"), wire.SyncFile)
	if err != nil {
		return &wire.Sync{}
	}
	return s
}

func (c *clinic) fault(id string) bool {
	for _, f := range c.status().Faults {
		if f.ID == id {
			return f.What != "" && f.Do != "" && f.Where != ""
		}
	}
	return false
}

func (c *clinic) hash() string {
	sum := sha256.Sum256(c.desk.Cert.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// card says what cardauth says: this test is alive in its place.
func (c *clinic) card(sessions ...wire.Session) {
	c.t.Helper()
	c.cardauth(&wire.Card{Header: wire.Header{V: 1, PID: os.Getpid()}, Sessions: sessions})
}

// cardauth publishes all of what cardauth says; the key is ours.
func (c *clinic) cardauth(card *wire.Card) {
	c.t.Helper()
	point, err := c.key.PublicKey.Bytes()
	c.must(err)
	b64 := base64.RawURLEncoding.EncodeToString
	card.Keys = wire.JWKS{Keys: []wire.JWK{{Kty: "EC", Crv: "P-256", Alg: "ES256", Use: "sig", Kid: "k", X: b64(point[1:33]), Y: b64(point[33:])}}}
	c.must(wirefile.Publish(c.path("run"), wire.CardFile, card, 0o640))
}

func (c *clinic) doctor() wire.Session {
	return wire.Session{ID: "s1", Role: wire.RoleDoctor, Subject: "Practitioner/d1", Room: "r1", CertHash: c.hash()}
}

// uplink says what netd says; "" is no usable provider.
func (c *clinic) uplink(active string) {
	c.t.Helper()
	c.must(wirefile.Publish(c.path("run"), wire.NetFile, &wire.Net{
		Header: wire.Header{V: 1, PID: os.Getpid()}, Uplinks: []wire.Uplink{{Name: "isp-a"}}, Active: active,
	}, 0o640))
}

func (c *clinic) token() string { return c.tokenOf(c.doctor(), "user/*.rs") }

// tokenOf is what cardauth would give a session.
func (c *clinic) tokenOf(s wire.Session, scope string) string {
	tok := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": grant.Issuer("T-1"), "aud": grant.Audience, "sub": s.Subject, "sid": s.ID, "role": s.Role, "scope": scope,
		"room": s.Room, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(), "cnf": map[string]any{"x5t#S256": c.hash()},
	})
	tok.Header["typ"], tok.Header["kid"] = "at+jwt", "k"
	text, err := tok.SignedString(c.key)
	c.must(err)
	return text
}

// read is what the doctor's program does.
func (c *clinic) read(path string, status int) (body string, header http.Header) {
	c.t.Helper()
	return c.readWith(c.token(), path, status)
}

func (c *clinic) readWith(token, path string, status int) (body string, header http.Header) {
	c.t.Helper()
	got, body, header := c.ask(token, path)
	if got != status {
		c.t.Fatalf("%s: got %d, want %d: %s", path, got, status, body)
	}
	return body, header
}

// allowed reports that the doctor is let in.
func (c *clinic) allowed(path string) bool {
	c.t.Helper()
	status, _, _ := c.ask(c.token(), path)
	return status == http.StatusOK
}

func (c *clinic) ask(token, path string) (status int, body string, header http.Header) {
	c.t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "https://127.0.0.1:"+c.port+serve.Base+"/"+path, nil)
	c.must(err)
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := c.http.Do(r)
	c.must(err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	c.must(err)
	return resp.StatusCode, string(data), resp.Header
}

// control asks the control socket.
func (c *clinic) control(path string) string {
	c.t.Helper()
	resp, err := unixClient(c.path("run/syncd.sock")).Get("http://syncd" + path)
	c.must(err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	c.must(err)
	return string(data)
}

// An ehr holds a few resources and does what it is told.
type ehr struct {
	srv   *httptest.Server
	down  atomic.Bool
	wrong atomic.Bool // answers with another patient
	asked atomic.Int32

	mu   sync.Mutex
	body map[string]string // path and query → body
}

func newEHR(t testing.TB) *ehr {
	e := &ehr{body: map[string]string{}}
	e.srv = httptest.NewServer(e)
	t.Cleanup(func() {
		e.srv.CloseClientConnections()
		e.srv.Close()
	})
	return e
}

func (e *ehr) set(path, body string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.body[path] = body
}

func (e *ehr) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.asked.Add(1)
	if e.down.Load() {
		panic(http.ErrAbortHandler)
	}
	e.mu.Lock()
	body, ok := e.body[strings.TrimPrefix(r.URL.RequestURI(), "/fhir/R4/")]
	e.mu.Unlock()
	w.Header().Set("Content-Type", "application/fhir+json")
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"not-found"}]}`)
		return
	}
	if e.wrong.Load() {
		body = strings.ReplaceAll(body, "p1-secret", "p2-secret")
	}
	etag := fmt.Sprintf(`W/"%x"`, sha256.Sum256([]byte(body)))
	w.Header().Set("ETag", etag)
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	io.WriteString(w, body)
}

// unixClient asks at a control socket.
func unixClient(path string) *http.Client {
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
	return &http.Client{Transport: tr, Timeout: 5 * time.Second}
}

// httpServer is a partner over HTTP.
func httpServer(t testing.TB, h http.Handler) string {
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}
