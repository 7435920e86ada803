package handin

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
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"clinicgate/firmware/lab/pki"
	"clinicgate/firmware/wire"
	"clinicgate/syncd/cache"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/grant"
	"clinicgate/syncd/identity"
	"clinicgate/syncd/ingest"
	"clinicgate/syncd/ingest/memqueue"
	"clinicgate/syncd/trail"
)

// A node is the handler behind TLS, with a queue in memory and an EHR that knows
// one patient.
type node struct {
	t     *testing.T
	queue *memqueue.Queue
	trail []trail.Entry
	disk  error // of the trail
	known identity.Knowledge
	mu    sync.Mutex
	card  *wire.Card
	key   *ecdsa.PrivateKey
	srv   *httptest.Server
	desk  *pki.Device
	cart  *pki.Device
	log   bytes.Buffer
}

const names = "0123456789abcdef0123456789abcdef"

func newNode(t *testing.T) *node {
	t.Helper()
	world, err := pki.New(time.Now())
	must(t, err)
	n := &node{t: t, queue: &memqueue.Queue{}}
	n.desk, err = world.Client("workstation", "desk-1")
	must(t, err)
	n.cart, err = world.Client("mqtt", "cart-1")
	must(t, err)
	n.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	n.known = identity.Knowledge{Asked: true, Persons: []identity.Person{{Ref: "Patient/p1", Numbers: []identity.Number{{Value: "4711"}}, Names: []identity.Name{{Family: "Roe", Given: []string{"Anna"}}}}}}
	n.session(wire.RoleDoctor)
	h := New(Options{
		Base: "/fhir/R4", EHR: "https://ehr/fhir", Door: ingest.New(n.queue, &memqueue.Faults{}), Trail: n, Known: n, Records: n,
		Roster: n.roster, Issuer: grant.Issuer("T-1"), Devices: []string{"cart-1"}, Log: slog.New(slog.NewTextHandler(&n.log, nil)),
	})
	mux := http.NewServeMux()
	h.Register(mux, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "asked %d bytes", len(body))
	}))
	pool := x509.NewCertPool()
	pool.AddCert(world.Devices.Cert)
	n.srv = httptest.NewUnstartedServer(mux)
	n.srv.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	n.srv.StartTLS()
	t.Cleanup(n.srv.Close)
	return n
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (n *node) Append(e trail.Entry) error {
	if n.disk == nil {
		n.trail = append(n.trail, e)
	}
	return n.disk
}

func (n *node) Know(context.Context, identity.Claim) identity.Knowledge { return n.known }

func (n *node) Read(context.Context, fhir.Query) (cache.Result, error) {
	return cache.Result{Answer: fhir.Answer{Body: []byte(`{"resourceType":"Patient","id":"p1","identifier":[{"value":"4711"}]}`)}}, nil
}

func (n *node) hash() string {
	sum := sha256.Sum256(n.desk.Cert.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// session logs one person in, with the patient's card in the room's second reader.
func (n *node) session(role string) {
	n.card = &wire.Card{Sessions: []wire.Session{{ID: "s1", Role: role, Subject: "Practitioner/d1", Room: "r1", CertHash: n.hash()}}}
	n.care("4711")
}

func (n *node) care(number string) {
	n.card.Care = []wire.Care{{ID: "c1", Session: "s1", Patient: wire.Pseudonym([]byte(names), number), Basis: wire.CarePresent}}
}

func (n *node) roster() *grant.Roster {
	n.mu.Lock()
	defer n.mu.Unlock()
	point, err := n.key.PublicKey.Bytes()
	must(n.t, err)
	b64 := base64.RawURLEncoding.EncodeToString
	n.card.Keys = wire.JWKS{Keys: []wire.JWK{{Kty: "EC", Crv: "P-256", Alg: "ES256", Use: "sig", Kid: "k", X: b64(point[1:33]), Y: b64(point[33:])}}}
	r, err := grant.NewRoster(n.card)
	must(n.t, err)
	return r.Named([]byte(names))
}

func (n *node) token() string {
	role := wire.RoleDoctor
	if len(n.card.Sessions) > 0 {
		role = n.card.Sessions[0].Role
	}
	tok := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": grant.Issuer("T-1"), "aud": grant.Audience, "sub": "Practitioner/d1", "sid": "s1", "role": role, "scope": "user/*.rs",
		"room": "r1", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(), "cnf": map[string]any{"x5t#S256": n.hash()},
	})
	tok.Header["typ"], tok.Header["kid"] = "at+jwt", "k"
	text, err := tok.SignedString(n.key)
	must(n.t, err)
	return text
}

// post hands in as the doctor.
func (n *node) post(path, body string, header ...string) (*http.Response, string) {
	n.t.Helper()
	return n.send(n.desk, path, strings.NewReader(body), append([]string{"Authorization", "Bearer " + n.token()}, header...)...)
}

func (n *node) send(as *pki.Device, path string, body io.Reader, header ...string) (*http.Response, string) {
	n.t.Helper()
	client := n.srv.Client()
	client.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{as.TLS()}
	client.CloseIdleConnections()
	r, err := http.NewRequest(http.MethodPost, n.srv.URL+"/fhir/R4"+path, body)
	must(n.t, err)
	r.Header.Set("Content-Type", "application/fhir+json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(r)
	must(n.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(n.t, err)
	return resp, string(text)
}

const (
	message = `{"resourceType":"Communication","status":"completed","subject":{"reference":"Patient/p1"},"payload":[{"contentString":"secret words"}]}`
	media   = `{"resourceType":"Media","status":"completed","subject":{"identifier":{"value":"4711"},"display":"Roe^Anna"},"content":{"contentType":"text/plain","data":"aGk="}}`
)

func bundleOf(resources ...string) string {
	var all []string
	for _, r := range resources {
		typ := strings.Split(r, `"`)[3]
		all = append(all, `{"resource":`+r+`,"request":{"method":"POST","url":"`+typ+`"}}`)
	}
	return `{"resourceType":"Bundle","type":"transaction","entry":[` + strings.Join(all, ",") + `]}`
}

func TestTaken(t *testing.T) {
	n := newNode(t)
	resp, text := n.post("/Communication", message)
	place := resp.Header.Get("Location")
	if resp.StatusCode != http.StatusAccepted || !strings.HasPrefix(place, "Communication/") || resp.Header.Get(ItemHeader) == "" || !strings.Contains(text, "OperationOutcome") {
		t.Fatalf("%d %s %s", resp.StatusCode, place, text)
	}
	if again, _ := n.post("/Communication", message); again.Header.Get("Location") != place || len(n.queue.Items()) != 1 {
		t.Errorf("again: %s, %d items", again.Header.Get("Location"), len(n.queue.Items()))
	}
	if resp, text = n.post("", bundleOf(message, media)); resp.StatusCode != http.StatusAccepted || !strings.Contains(text, "transaction-response") || strings.Count(text, "202 Accepted") != 2 {
		t.Errorf("bundle: %d %s", resp.StatusCode, text)
	}
	if resp, text = n.send(n.cart, "/Media", strings.NewReader(media)); resp.StatusCode != http.StatusAccepted {
		t.Errorf("a device's: %d %s", resp.StatusCode, text)
	}
	if items := n.queue.Items(); len(items) != 3 {
		t.Errorf("%d items, want 3", len(items))
	}
	if len(n.trail) != 3 || n.trail[0].Patient != "Patient/p1" || n.trail[0].Action != "create" || n.trail[0].Who != "Practitioner/d1" {
		t.Errorf("trail: %+v", n.trail)
	}
	if strings.Contains(n.log.String(), "secret") || strings.Contains(n.log.String(), "4711") || strings.Contains(n.log.String(), "p1") {
		t.Errorf("the log says too much: %s", n.log.String())
	}
}

func TestIdempotencyKey(t *testing.T) {
	n := newNode(t)
	key := []string{"Idempotency-Key", "1"}
	n.post("/Communication", message, key...)
	n.post("/Communication", message, key...)
	n.post("/Communication", message, "Idempotency-Key", "2")
	if len(n.queue.Items()) != 2 {
		t.Errorf("%d items, want 2", len(n.queue.Items()))
	}
	if resp, text := n.post("/Communication", strings.Replace(message, "words", "other", 1), key...); resp.StatusCode != 422 || !strings.Contains(text, "duplicate") {
		t.Errorf("another content: %d %s", resp.StatusCode, text)
	}
}

// Each case is refused with an OperationOutcome, and nothing is kept.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(n *node)
		path   string
		body   string
		header []string
		status int
		says   string
	}{
		"malformed":              {nil, "/Communication", `{"resourceType":"Communication"`, nil, 422, "structure"},
		"no payload":             {nil, "/Communication", strings.Replace(message, "payload", "note", 1), nil, 422, "Communication.payload"},
		"at another address":     {nil, "/Media", message, nil, 422, "address"},
		"a Bundle of another":    {nil, "/Media", bundleOf(media), nil, 422, "address"},
		"XML":                    {nil, "/Media", "<x/>", []string{"Content-Type", "application/fhir+xml"}, 415, "not-supported"},
		"too long":               {nil, "/Media", strings.Repeat(" ", MaxBody+1), nil, 413, "too-long"},
		"nobody logged in":       {func(n *node) { n.card.Sessions = nil }, "/Communication", message, nil, 401, "login"},
		"a nurse":                {func(n *node) { n.session(wire.RoleNurse) }, "/Communication", message, nil, 403, "forbidden"},
		"without care":           {func(n *node) { n.care("4712") }, "/Communication", message, nil, 403, "forbidden"},
		"another patient's":      {func(n *node) { n.known.Persons[0].Ref = "Patient/p2" }, "/Communication", message, nil, 422, "other-than-reference"},
		"nobody of that id":      {func(n *node) { n.known.Persons = nil }, "/Communication", message, nil, 422, "no such patient"},
		"a full disk":            {func(n *node) { n.queue.SetFull(true) }, "/Communication", message, nil, 507, "no-store"},
		"a failing disk":         {func(n *node) { n.queue.SetError(memqueue.ErrDisk) }, "/Communication", message, nil, 503, "transient"},
		"an endless key":         {nil, "/Communication", message, []string{"Idempotency-Key", strings.Repeat("x", 300)}, 422, "255"},
		"a session that is over": {func(n *node) { n.card.Sessions[0].ID = "s2" }, "/Communication", message, nil, 401, "login"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			if c.change != nil {
				c.change(n)
			}
			resp, text := n.post(c.path, c.body, c.header...)
			if resp.StatusCode != c.status || !strings.Contains(text, "OperationOutcome") || !strings.Contains(text, c.says) {
				t.Errorf("got %d, want %d and %q: %s", resp.StatusCode, c.status, c.says, text)
			}
			if len(n.queue.Items()) != 0 {
				t.Error("something was kept")
			}
		})
	}
}

// Questions in a Bundle are the records' to answer; the rest is handed in.
func TestQuestionsPassBy(t *testing.T) {
	n := newNode(t)
	n.card.Sessions = nil // who may ask is theirs to say
	for _, kind := range []string{"batch", "transaction"} {
		asked := `{"resourceType":"Bundle","type":"` + kind + `","entry":[{"request":{"method":"GET","url":"Patient/p1"}}]}`
		if _, text := n.post("", asked); text != fmt.Sprintf("asked %d bytes", len(asked)) {
			t.Errorf("%s: %s", kind, text)
		}
	}
	for name, body := range map[string]string{
		"both": strings.Replace(bundleOf(message), `"entry":[`, `"entry":[{"request":{"method":"GET","url":"Patient/p1"}},`, 1),
		"none": "x", "long": strings.Repeat(" ", maxReads+10) + bundleOf(message),
	} {
		if resp, text := n.post("/", body); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", name, resp.StatusCode, text)
		}
	}
}

// With the EHR away a patient who was never read is asked for before delivery.
func TestOffline(t *testing.T) {
	n := newNode(t)
	n.known = identity.Knowledge{}
	if resp, text := n.post("/Communication", message); resp.StatusCode != http.StatusAccepted {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
}

// What can't be traced is not answered as done; sent again it is the same item.
func TestTraceFirst(t *testing.T) {
	n := newNode(t)
	n.disk = errors.New("no room")
	if resp, _ := n.post("/Communication", message); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("untraced: %d", resp.StatusCode)
	}
	n.disk = nil
	if resp, _ := n.post("/Communication", message); resp.StatusCode != http.StatusAccepted || len(n.queue.Items()) != 1 {
		t.Errorf("again: %d, %d items", resp.StatusCode, len(n.queue.Items()))
	}
}

// A card pulled out while the body is on its way takes the submission along.
func TestCardOutMeanwhile(t *testing.T) {
	n := newNode(t)
	token := n.token()
	r, w := io.Pipe()
	go func() {
		fmt.Fprint(w, message[:40])
		n.mu.Lock()
		n.card.Sessions = nil
		n.mu.Unlock()
		fmt.Fprint(w, message[40:])
		w.Close()
	}()
	resp, text := n.send(n.desk, "/Communication", r, "Authorization", "Bearer "+token)
	if resp.StatusCode != http.StatusUnauthorized || len(n.queue.Items()) != 0 {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
}

// A large image passes, and a second one waits for its turn.
func TestLarge(t *testing.T) {
	n := newNode(t)
	data := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("x"), 3<<20))
	big := strings.Replace(media, "aGk=", data, 1)
	if resp, text := n.post("/Media", big); resp.StatusCode != http.StatusAccepted {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
	if !bytes.Contains(n.queue.Items()[0].Body, []byte(data)) {
		t.Error("it was changed")
	}
}
