package serve

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
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"clinicgate/firmware/wire"
	"clinicgate/syncd/cache"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/grant"
	"clinicgate/syncd/trail"
)

// A desk is a workstation, its gateway, and an EHR that says what a test wants.
type desk struct {
	t              *testing.T
	h              *Handler
	key            *ecdsa.PrivateKey
	cert           *x509.Certificate
	role           string
	scope, patient string
	res            cache.Result
	err            error
	asked          []string
	trail          []trail.Entry
	noDisk         error
	noWalk         error
	log            bytes.Buffer
}

func (d *desk) Read(_ context.Context, q fhir.Query) (cache.Result, error) {
	d.asked = append(d.asked, q.Key())
	return d.res, d.err
}

func (d *desk) Append(e trail.Entry) error {
	if d.noDisk == nil {
		d.trail = append(d.trail, e)
	}
	return d.noDisk
}

func (d *desk) Walk(fn func(trail.Entry)) error {
	for _, e := range d.trail {
		fn(e)
	}
	return d.noWalk
}

const patient = `{"resourceType":"Patient","id":"p1","multipleBirthInteger":1.00}`

func newDesk(t *testing.T) *desk {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{t: t, key: key, cert: &x509.Certificate{Raw: []byte("workstation")}, role: wire.RoleDoctor, scope: "user/*.cruds"}
	d.res = cache.Result{How: cache.Fetched, Stored: true, Answer: fhir.Answer{
		Body: []byte(patient), ETag: `W/"3"`, LastModified: "Sun, 22 Nov 2026 08:00:00 GMT", At: time.Now(),
	}}
	d.h = &Handler{
		Records: d, Trail: d, Roster: d.roster, Issuer: grant.Issuer("c"), Self: "https://gw" + Base,
		Capability: fhir.Capability("https://gw"+Base, "1", time.Now(), true),
		Log:        slog.New(slog.NewTextHandler(&d.log, nil)), Traced: func(error) {},
	}
	return d
}

func (d *desk) hash() string {
	sum := sha256.Sum256(d.cert.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (d *desk) card() *wire.Card {
	point, err := d.key.PublicKey.Bytes()
	if err != nil {
		d.t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return &wire.Card{
		Keys:     wire.JWKS{Keys: []wire.JWK{{Kty: "EC", Crv: "P-256", Kid: "k", X: b64(point[1:33]), Y: b64(point[33:])}}},
		Sessions: []wire.Session{{ID: "s1", Role: d.role, Subject: "Practitioner/1", Room: "r1", CertHash: d.hash(), Patient: d.patient, PIN: d.patient != ""}},
	}
}

func (d *desk) roster() *grant.Roster {
	r, err := grant.NewRoster(d.card())
	if err != nil {
		d.t.Fatal(err)
	}
	return r
}

func (d *desk) token() string {
	tok := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": grant.Issuer("c"), "aud": grant.Audience, "sub": "Practitioner/1", "sid": "s1", "role": d.role, "scope": d.scope,
		"room": "r1", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(), "cnf": map[string]any{"x5t#S256": d.hash()},
	})
	tok.Header["typ"], tok.Header["kid"] = "at+jwt", "k"
	s, err := tok.SignedString(d.key)
	if err != nil {
		d.t.Fatal(err)
	}
	return s
}

// get asks with a good token; changes may spoil the request.
func (d *desk) get(path string, change ...func(*http.Request)) *http.Response {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{d.cert}}
	r.Header.Set("Authorization", "Bearer "+d.token())
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	d.h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	var b bytes.Buffer
	if _, err := b.ReadFrom(r.Body); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// outcome checks that r is an error with an OperationOutcome for a person.
func outcome(t *testing.T, r *http.Response, status int, code string) string {
	t.Helper()
	var o struct {
		ResourceType string
		Issue        []struct {
			Severity, Code string
			Details        struct{ Text string }
		}
	}
	text := body(t, r)
	if err := json.Unmarshal([]byte(text), &o); err != nil || o.ResourceType != "OperationOutcome" || len(o.Issue) != 1 {
		t.Fatalf("status %d, not an OperationOutcome: %s", r.StatusCode, text)
	}
	if r.StatusCode != status || o.Issue[0].Code != code || o.Issue[0].Details.Text == "" || r.Header.Get("Content-Type") != fhir.MediaType {
		t.Fatalf("got %d %s, want %d %s: %s", r.StatusCode, o.Issue[0].Code, status, code, text)
	}
	return o.Issue[0].Details.Text
}

func TestRead(t *testing.T) {
	d := newDesk(t)
	r := d.get(Base + "/Patient/p1")
	if r.StatusCode != 200 || body(t, r) != patient {
		t.Fatalf("status %d", r.StatusCode)
	}
	for k, want := range map[string]string{
		"ETag": `W/"3"`, "Last-Modified": "Sun, 22 Nov 2026 08:00:00 GMT", "Content-Type": fhir.MediaType, "Cache-Control": "no-store",
		"Cache-Status": "clinicgate; fwd=uri-miss; fwd-status=200; stored", "Age": "", StaleHeader: "",
	} {
		if got := r.Header.Get(k); got != want {
			t.Errorf("%s: got %q, want %q", k, got, want)
		}
	}
	if len(d.trail) != 1 || d.trail[0].What != "Patient/p1" || d.trail[0].Who != "Practitioner/1" || d.trail[0].Session != "s1" ||
		d.trail[0].Action != "read" || d.trail[0].Outcome != string(cache.Fetched) || d.trail[0].When.IsZero() {
		t.Errorf("trail %+v", d.trail)
	}
	r = d.get(Base+"/Patient/p1", func(r *http.Request) { r.Header.Set("If-None-Match", `W/"1", "3"`) })
	if r.StatusCode != http.StatusNotModified || body(t, r) != "" || r.Header.Get("ETag") != `W/"3"` {
		t.Errorf("conditional read: %d", r.StatusCode)
	}
	if len(d.trail) != 2 {
		t.Error("a conditional read left no trace")
	}
	r = d.get(Base+"/Patient/p1", func(r *http.Request) { r.Method = http.MethodHead })
	if r.StatusCode != 200 || r.Header.Get("Content-Length") != fmt.Sprint(len(patient)) {
		t.Errorf("HEAD: %d", r.StatusCode)
	}
}

func TestStale(t *testing.T) {
	d := newDesk(t)
	d.res.How, d.res.Why, d.res.At, d.res.TTL = cache.Stale, "no internet provider is usable", time.Now().Add(-2*time.Hour), -2*time.Hour
	r := d.get(Base + "/Patient/p1")
	if r.StatusCode != 200 || body(t, r) != patient {
		t.Fatalf("a stale record is unchanged: %d", r.StatusCode)
	}
	if got := r.Header.Get("Age"); got != "7200" {
		t.Errorf("Age %q", got)
	}
	if got := r.Header.Get("Cache-Status"); got != "clinicgate; hit; ttl=-7200; detail=stale" {
		t.Errorf("Cache-Status %q", got)
	}
	if got := r.Header.Get(StaleHeader); !strings.HasPrefix(got, "as-of=20") || !strings.Contains(got, `reason="no internet provider is usable"`) {
		t.Errorf("%s %q", StaleHeader, got)
	}
	d.res.Body = fhir.Join([]json.RawMessage{fhir.NewEntry([]byte(`{"resourceType":"Observation","id":"o"}`), false)})
	text := body(t, d.get(Base+"/Observation?patient=p1"))
	if !strings.Contains(text, `"search":{"mode":"outcome"}`) || !strings.Contains(text, "As of ") || !strings.Contains(text, `"total":1`) {
		t.Errorf("a stale search does not say so: %s", text)
	}
}

func TestSearch(t *testing.T) {
	d := newDesk(t)
	var entries []json.RawMessage
	for i := range 3 {
		entries = append(entries, fhir.NewEntry(fmt.Appendf(nil, `{"resourceType":"Observation","id":"o%d"}`, i), false))
	}
	d.res.Body, d.res.ETag, d.res.How = fhir.Join(entries), "", cache.Hit
	r := d.get(Base + "/Observation?subject=Patient/p1&_count=2")
	text := body(t, r)
	if r.StatusCode != 200 || strings.Count(text, `"Observation"`) != 2 || !strings.Contains(text, `"https://gw/fhir/R4/Observation?patient=Patient/p1`) || r.Header.Get("Age") != "0" {
		t.Fatalf("%d %s", r.StatusCode, text)
	}
	if d.asked[0] != "Observation?patient=Patient/p1" || d.trail[0].Action != "search" || d.trail[0].What != d.asked[0] {
		t.Errorf("asked %q, trail %+v", d.asked, d.trail)
	}
}

func TestMetadataNeedsNoLogin(t *testing.T) {
	d := newDesk(t)
	r := d.get(Base+"/metadata", func(r *http.Request) { r.Header.Del("Authorization") })
	if r.StatusCode != 200 || !strings.Contains(body(t, r), `"CapabilityStatement"`) {
		t.Errorf("got %d", r.StatusCode)
	}
}

// What can't be asked is refused with the reason, and never reaches the EHR.
func TestRequestRefusals(t *testing.T) {
	noAuth := func(r *http.Request) { r.Header.Del("Authorization") }
	method := func(m string) func(*http.Request) { return func(r *http.Request) { r.Method = m } }
	header := func(k, v string) func(*http.Request) { return func(r *http.Request) { r.Header.Set(k, v) } }
	for name, c := range map[string]struct {
		path   string
		change func(*http.Request)
		status int
		code   string
	}{
		"no token":        {"/fhir/R4/Patient/p1", noAuth, 401, fhir.CodeLogin},
		"basic":           {"/fhir/R4/Patient/p1", header("Authorization", "Basic eDp5"), 401, fhir.CodeLogin},
		"rubbish":         {"/fhir/R4/Patient/p1", header("Authorization", "Bearer x"), 401, fhir.CodeLogin},
		"write, no token": {"/fhir/R4/Patient", func(r *http.Request) { r.Method = "POST"; noAuth(r) }, 401, fhir.CodeLogin},
		"create":          {"/fhir/R4/Patient", method("POST"), 405, fhir.CodeNotSupported},
		"update":          {"/fhir/R4/Patient/p1", method("PUT"), 405, fhir.CodeNotSupported},
		"delete":          {"/fhir/R4/Patient/p1", method("DELETE"), 405, fhir.CodeNotSupported},
		"search of json": {"/fhir/R4/Observation/_search", func(r *http.Request) {
			r.Method = "POST"
			r.Body = io.NopCloser(strings.NewReader("{}"))
			r.ContentLength = 2
		}, 415, fhir.CodeNotSupported},
		"_search by get":     {"/fhir/R4/Observation/_search?patient=p1", nil, 404, fhir.CodeNotFound},
		"batch of xml":       {"/fhir/R4", method("POST"), 415, fhir.CodeNotSupported},
		"xml":                {"/fhir/R4/Patient/p1", header("Accept", "application/fhir+xml"), 406, fhir.CodeNotSupported},
		"xml by parameter":   {"/fhir/R4/Patient/p1?_format=xml", header("Accept", "*/*"), 406, fhir.CodeNotSupported},
		"metadata in xml":    {"/fhir/R4/metadata", header("Accept", "application/fhir+xml"), 406, fhir.CodeNotSupported},
		"unknown type":       {"/fhir/R4/Patients/p1", nil, 404, fhir.CodeNotFound},
		"bad id":             {"/fhir/R4/Patient/p_1", nil, 400, fhir.CodeInvalid},
		"dots":               {"/fhir/R4/Patient/..", nil, 400, fhir.CodeInvalid},
		"escaped slash":      {"/fhir/R4/Patient/..%2fObservation%2fo", nil, 400, fhir.CodeInvalid},
		"version":            {"/fhir/R4/Patient/p1/_history/a_b", nil, 400, fhir.CodeInvalid},
		"below a version":    {"/fhir/R4/Patient/p1/_history/1/2", nil, 404, fhir.CodeNotFound},
		"everything else":    {"/fhir/R4/Observation/o1/$everything", nil, 400, fhir.CodeNotSupported},
		"operation":          {"/fhir/R4/Patient/$match", nil, 404, fhir.CodeNotFound},
		"all patients":       {"/fhir/R4/Patient", nil, 400, fhir.CodeNotSupported},
		"all observations":   {"/fhir/R4/Observation", nil, 400, fhir.CodeNotSupported},
		"two patients":       {"/fhir/R4/Observation?patient=p1&patient=p2", nil, 400, fhir.CodeNotSupported},
		"unknown parameter":  {"/fhir/R4/Observation?patient=p1&x=y", nil, 400, fhir.CodeNotSupported},
		"outside":            {"/", nil, 404, fhir.CodeNotFound},
		"nothing below base": {"/fhir/R4/", nil, 404, fhir.CodeNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			change := c.change
			if change == nil {
				change = func(*http.Request) {}
			}
			r := d.get(c.path, change)
			outcome(t, r, c.status, c.code)
			if len(d.asked) != 0 {
				t.Errorf("the EHR was asked for %q", d.asked)
			}
			if c.status == 401 && !strings.HasPrefix(r.Header.Get("WWW-Authenticate"), "Bearer") {
				t.Error("no WWW-Authenticate")
			}
			if c.status == 405 && r.Header.Get("Allow") == "" {
				t.Error("no Allow")
			}
			if len(d.trail) != 0 {
				t.Errorf("a stranger's noise is in the trail: %+v", d.trail)
			}
		})
	}
}

// Who is known and may not leaves a trace.
func TestKnownAndRefused(t *testing.T) {
	for name, c := range map[string]struct {
		spoil  func(*desk) func(*http.Request)
		status int
		code   string
		trace  string
	}{
		"nurse":   {func(d *desk) func(*http.Request) { d.role = wire.RoleNurse; return nil }, 403, fhir.CodeForbidden, "refused: role"},
		"patient": {func(d *desk) func(*http.Request) { d.role = wire.RolePatient; return nil }, 403, fhir.CodeForbidden, "refused: scope"},
		"card out": {func(d *desk) func(*http.Request) {
			r, err := grant.NewRoster(&wire.Card{})
			if err != nil {
				d.t.Fatal(err)
			}
			d.h.Roster = func() *grant.Roster { return r }
			return nil
		}, 401, fhir.CodeLogin, ""},
		"cardauth gone": {func(d *desk) func(*http.Request) { d.h.Roster = func() *grant.Roster { return nil }; return nil }, 401, fhir.CodeLogin, ""},
		"stolen token": {func(d *desk) func(*http.Request) {
			token := d.token()
			d.cert = &x509.Certificate{Raw: []byte("other workstation")}
			return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
		}, 401, fhir.CodeLogin, "refused: other-device"},
		"no certificate": {func(d *desk) func(*http.Request) { return func(r *http.Request) { r.TLS = nil } }, 401, fhir.CodeLogin, "refused: other-device"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			var changes []func(*http.Request)
			if change := c.spoil(d); change != nil {
				changes = append(changes, change)
			}
			outcome(t, d.get(Base+"/Patient/p1", changes...), c.status, c.code)
			if len(d.asked) != 0 {
				t.Error("the EHR was asked")
			}
			switch {
			case c.trace == "" && len(d.trail) != 0, c.trace != "" && (len(d.trail) != 1 || d.trail[0].Outcome != c.trace || d.trail[0].What != "Patient/p1"):
				t.Errorf("trail %+v, want %q", d.trail, c.trace)
			}
		})
	}
}

// What the EHR does not answer well becomes words with a way out.
func TestReadErrors(t *testing.T) {
	no := []byte(`{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"not-found","details":{"text":"Not found"}}]}`)
	for name, c := range map[string]struct {
		err    error
		status int
		code   string
		says   string
	}{
		"unreachable":     {fmt.Errorf("%w: no internet provider is usable", fhir.ErrUnreachable), 504, fhir.CodeTimeout, "Try again when"},
		"nonsense":        {fmt.Errorf("%w: more than 32 MiB", fhir.ErrNonsense), 502, fhir.CodeException, "more than 32 MiB"},
		"another patient": {fmt.Errorf("%w: %w", fhir.ErrNonsense, fhir.ErrForeign), 502, fhir.CodeException, "call support"},
		"not found":       {&fhir.Refusal{Status: 404, Body: no}, 404, fhir.CodeNotFound, "Not found"},
		"forbidden":       {&fhir.Refusal{Status: 403, Body: no}, 403, fhir.CodeNotFound, "Not found"},
		"our credentials": {&fhir.Refusal{Status: 401, Body: no}, 502, fhir.CodeException, "does not accept this gateway"},
		"anything":        {errors.New("x"), 500, fhir.CodeException, "call support"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			d.err = c.err
			r := d.get(Base + "/Patient/p1")
			if text := outcome(t, r, c.status, c.code); !strings.Contains(text, c.says) {
				t.Errorf("says %q, want %q in it", text, c.says)
			}
			if len(d.trail) != 1 {
				t.Errorf("trail %+v", d.trail)
			}
			if (r.Header.Get("Retry-After") != "") != (c.status == 504) {
				t.Error("Retry-After")
			}
		})
	}
}

// No trace, no record.
func TestUntracedIsNotGiven(t *testing.T) {
	d := newDesk(t)
	d.noDisk = errors.New("no space left on device")
	var told error
	d.h.Traced = func(err error) { told = err }
	r := d.get(Base + "/Patient/p1")
	if text := outcome(t, r, 503, fhir.CodeException); strings.Contains(text, "birth") || told == nil {
		t.Errorf("%s, told %v", text, told)
	}
	if r.Header.Get("ETag") != "" {
		t.Error("the answer's headers went out")
	}
}

func TestLogNamesNoPatient(t *testing.T) {
	d := newDesk(t)
	d.get(Base + "/Patient/secret-id")
	d.err = errors.New("x")
	d.get(Base + "/Observation?patient=secret-id&code=secret")
	d.noDisk = errors.New("full")
	d.get(Base + "/Patient/secret-id")
	d.role = wire.RoleNurse
	d.get(Base + "/Patient/secret-id")
	d.get(Base+"/Patient/secret-id", func(r *http.Request) { r.Header.Del("Authorization") })
	if got := d.log.String(); got == "" || strings.Contains(got, "secret") {
		t.Errorf("log:\n%s", got)
	}
}

func FuzzPath(f *testing.F) {
	f.Add("Patient/p1", "")
	f.Add("Observation", "patient=p1&_count=3")
	f.Add("Patient/../x", "_format=%zz")
	f.Fuzz(func(t *testing.T, rest, query string) {
		q, _, err := parse(inquiry{rest: rest, query: query})
		if err == nil && (strings.Contains(q.Key(), "..") && strings.Contains(q.Key(), "/../") || strings.ContainsAny(q.Key(), "\r\n\x00")) {
			t.Fatalf("%q %q: key %q", rest, query, q.Key())
		}
		if a := refused(errors.Join(err, errPath)); a.status < 400 {
			t.Fatal(a.status)
		}
	})
}
