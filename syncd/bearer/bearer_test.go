package bearer

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"clinicgate/syncd/bearer/authority"
)

func key(t *testing.T) *Key {
	t.Helper()
	k, err := OpenKey(filepath.Join(t.TempDir(), "ehr.key"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// ehr is a FHIR server behind an authority, and a client that logs in there.
type ehr struct {
	*authority.Authority
	asked  atomic.Int32 // requests that were let through
	source *Source
	client *http.Client
	url    string
}

func newEHR(t *testing.T, k *Key, life time.Duration) *ehr {
	t.Helper()
	e := &ehr{}
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	e.url = srv.URL + "/fhir/R4"
	e.Authority = authority.New(e.url, life)
	pub := k.Public()
	e.Register("box-1", &pub)
	mux.Handle("/", e.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.asked.Add(1)
		io.Copy(w, r.Body)
	})))
	base, err := url.Parse(e.url)
	if err != nil {
		t.Fatal(err)
	}
	e.source = New(Options{Base: base, ClientID: "box-1", Scope: "system/*.rs", Key: k, HTTP: srv.Client()})
	e.client = &http.Client{Transport: e.source.Over(srv.Client().Transport)}
	return e
}

func (e *ehr) get(t *testing.T) int {
	t.Helper()
	resp, err := e.client.Get(e.url + "/Patient/1")
	if err != nil {
		t.Error(err)
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

// Many that ask at once share one token, by either kind of key.
func TestOneToken(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	other, err := newKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for alg, k := range map[string]*Key{"ES384": key(t), "RS384": other} {
		if k.Alg() != alg {
			t.Errorf("got %s, want %s", k.Alg(), alg)
		}
		e := newEHR(t, k, time.Hour)
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if got := e.get(t); got != 200 {
					t.Errorf("%s: got %d", alg, got)
				}
			})
		}
		all.Wait()
		if e.Grants() != 1 || e.asked.Load() != 20 {
			t.Errorf("%s: %d tokens for %d requests, want 1 for 20", alg, e.Grants(), e.asked.Load())
		}
		if until, err := e.source.Status(time.Now()); until.IsZero() || err != nil {
			t.Errorf("%s: status %v %v", alg, until, err)
		}
	}
}

// A token that the EHR does not take is renewed once, and the request goes again with
// its body.
func TestRenewedOnce(t *testing.T) {
	e := newEHR(t, key(t), time.Hour)
	e.get(t)
	e.Revoke()
	resp, err := e.client.Post(e.url+"/Observation", "application/fhir+json", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 200 || string(text) != "body" || e.Grants() != 2 {
		t.Fatalf("got %d %q after %d tokens", resp.StatusCode, text, e.Grants())
	}

	// A body that can't be read again is not sent again; the next request has a new token.
	e.Revoke()
	r, err := http.NewRequest("POST", e.url+"/Observation", io.MultiReader(strings.NewReader("x")))
	if err != nil {
		t.Fatal(err)
	}
	if resp, err = e.client.Do(r); err != nil || resp.StatusCode != 401 {
		t.Fatalf("got %v %v", resp, err)
	}
	resp.Body.Close()
	if got := e.get(t); got != 200 || e.Grants() != 3 {
		t.Errorf("got %d after %d tokens", got, e.Grants())
	}

	// An EHR that takes no token at all is asked twice, not for ever.
	never := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		e.asked.Add(1)
		w.WriteHeader(401)
	}))
	defer never.Close()
	e.source.o.Base, _ = url.Parse(never.URL)
	e.asked.Store(0)
	if resp, err = e.client.Get(never.URL + "/x"); err != nil || resp.StatusCode != 401 || e.asked.Load() != 2 {
		t.Errorf("got %v %v after %d", resp, err, e.asked.Load())
	}
	resp.Body.Close()
}

// No other server sees the token.
func TestOnlyTheEHR(t *testing.T) {
	e := newEHR(t, key(t), time.Hour)
	e.get(t)
	var got http.Header
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header }))
	defer other.Close()
	for _, to := range []string{other.URL + "/fhir/R4/Patient/1", strings.TrimSuffix(e.url, "/fhir/R4") + "/fhir/R4x"} {
		resp, err := e.client.Get(to)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got.Get("Authorization") != "" || strings.HasSuffix(to, "x") && resp.StatusCode != 401 {
			t.Errorf("%s was shown the token", to)
		}
	}
}

// A client that is not registered is refused, in the endpoint's own word, and comes in
// once it is.
func TestRefused(t *testing.T) {
	e := newEHR(t, key(t), time.Hour)
	e.Register("box-1", nil)
	for range 5 {
		_, err := e.client.Get(e.url + "/Patient/1")
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "invalid_client") {
			t.Fatalf("got %v", err)
		}
	}
	pub := e.source.o.Key.Public()
	e.Register("box-1", &pub)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if resp, err := e.client.Get(e.url + "/Patient/1"); err == nil {
			resp.Body.Close()
			return
		} else if time.Now().After(end) {
			t.Fatalf("registered, and still %v", err)
		}
	}
}

// in is a transport within a test.
type in func(*http.Request) (*http.Response, error)

func (f in) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Who is refused does not ask without end.
func TestRefusedRests(t *testing.T) {
	k := key(t)
	synctest.Test(t, func(t *testing.T) {
		n := 0
		s := New(Options{
			Base: &url.URL{Scheme: "https", Host: "ehr"}, TokenURL: "https://ehr/token", Key: k, ClientID: "c", Scope: "s",
			HTTP: &http.Client{Transport: in(func(*http.Request) (*http.Response, error) {
				n++
				return &http.Response{StatusCode: 400, Body: io.NopCloser(strings.NewReader(`{"error":"invalid_client"}`))}, nil
			})},
		})
		for range 600 {
			if _, err := s.Token(t.Context()); !errors.Is(err, ErrRefused) {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if n < 5 || n > 40 {
			t.Errorf("asked %d times in ten minutes", n)
		}
	})
}

// A token is renewed before its end, behind those who use it; when that fails the
// old one serves until its end, and not longer.
func TestRenewedBefore(t *testing.T) {
	k := key(t)
	synctest.Test(t, func(t *testing.T) {
		n, mute := 0, false
		s := New(Options{
			Base: &url.URL{Scheme: "https", Host: "ehr"}, TokenURL: "https://ehr/token", Key: k, ClientID: "c", Scope: "s",
			HTTP: &http.Client{Transport: in(func(*http.Request) (*http.Response, error) {
				if mute {
					return nil, errors.New("cut")
				}
				n++
				time.Sleep(time.Second)
				body := fmt.Sprintf(`{"access_token":"t%d","token_type":"Bearer","expires_in":300}`, n)
				return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(body))}, nil
			})},
		})
		token := func(want string) {
			t.Helper()
			if got, err := s.Token(t.Context()); got != want {
				t.Fatalf("got %q %v, want %q", got, err, want)
			}
		}
		token("t1")
		time.Sleep(200 * time.Second)
		token("t1")
		time.Sleep(45 * time.Second) // at most 60+30 s before the end
		token("t1")                  // and the next is asked for
		time.Sleep(2 * time.Second)
		token("t2")
		mute = true
		time.Sleep(245 * time.Second)
		token("t2")
		time.Sleep(20 * time.Second)
		token("t2")
		time.Sleep(20 * time.Second)
		if got, err := s.Token(t.Context()); !errors.Is(err, ErrSilent) {
			t.Fatalf("got %q %v at its end", got, err)
		}
		mute = false
		time.Sleep(silentPause)
		token("t3")

		// Who goes away does not end the question for the others.
		s.Renounce("t2")
		token("t3")
		s.Renounce("t3")
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := s.Token(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		token("t4")
	})
}

func TestAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		want   string
	}{
		"good":        {200, `{"access_token":"a","token_type":"bearer","expires_in":60}`, ""},
		"no time":     {200, `{"access_token":"a","token_type":"bearer"}`, ""},
		"too short":   {200, `{"access_token":"a","token_type":"bearer","expires_in":1}`, "gives tokens for 1s"},
		"negative":    {200, `{"access_token":"a","token_type":"bearer","expires_in":-60}`, "gives tokens for 0s"},
		"other type":  {200, `{"access_token":"a","token_type":"mac"}`, `token_type "mac"`},
		"header":      {200, `{"access_token":"a\r\nX: y","token_type":"bearer"}`, "no usable access_token"},
		"too long":    {200, `{"access_token":"` + strings.Repeat("a", maxToken+1) + `","token_type":"bearer"}`, "no usable access_token"},
		"page":        {200, `<html>`, "not JSON"},
		"refused":     {401, `{"error":"invalid_client","error_description":"of box-1"}`, "invalid_client"},
		"odd refusal": {400, `{"error":"a b\n"}`, "status 400"},
	} {
		_, err := parseToken(c.status, []byte(c.body))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, ErrRefused)) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	for body, ok := range map[string]bool{
		`{"token_endpoint":"https://a/t"}`:     true,
		`{"token_endpoint":"http://a/t"}`:      false,
		`{"token_endpoint":"https://u:p@a/t"}`: false,
		`{"token_endpoint":"/t"}`:              false,
		`{"token_endpoint":"https://a/t","token_endpoint_auth_methods_supported":["client_secret_basic"]}`: false,
		`{"token_endpoint":"https://a/t","token_endpoint_auth_signing_alg_values_supported":["RS384"]}`:    false,
		`[]`: false,
	} {
		if _, err := parsePlace([]byte(body), true, "ES384"); (err == nil) != ok {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// Whatever comes, what is taken is fit for a header and lives within bounds.
func FuzzAnswer(f *testing.F) {
	f.Add(200, []byte(`{"access_token":"a","token_type":"bearer","expires_in":60}`))
	f.Add(400, []byte(`{"error":"invalid_client"}`))
	f.Add(200, []byte(`{"token_endpoint":"https://a/t"}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if got, err := parseToken(status, body); err == nil && (!word(got.text, maxToken) || got.life < minLife || got.life > maxLife) {
			t.Errorf("took %+v", got)
		}
		if place, err := parsePlace(body, true, "ES384"); err == nil && !strings.HasPrefix(place, "https://") {
			t.Errorf("took %q", place)
		}
	})
}

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets", "ehr.key")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	first, err := OpenKey(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := OpenKey(path)
	if err != nil || again.Public().Kid != first.Public().Kid {
		t.Fatalf("another key at the second start: %v", err)
	}
	small, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(small)
	if err != nil {
		t.Fatal(err)
	}
	weak := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"P-256": weak, "nothing": nil, "half": whole[:60], "damaged": bytes.Replace(whole, []byte("M"), []byte("N"), 1),
		"certificate": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
	} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenKey(path); err == nil || bytes.Contains([]byte(err.Error()), der[10:20]) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKey(path); err == nil {
		t.Error("a key that everybody can read was taken")
	}
}
