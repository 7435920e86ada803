package main

import (
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/syncd/bearer/authority"
	"clinicgate/syncd/serve"
)

// The gateway logs in at an EHR over TLS by the hybrid key exchange; what it read is
// there, and marked, while the EHR lets it in no longer; and it comes in again.
func TestLogin(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	c.records()
	var curve atomic.Uint32
	var front http.Handler
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		curve.Store(uint32(r.TLS.CurveID))
		front.ServeHTTP(w, r)
	}))
	defer srv.Close()
	auth := authority.New(srv.URL+"/fhir/R4", time.Hour)
	front = auth.Guard(c.ehr)
	c.must(os.WriteFile(c.path("site/anchors/ehr.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o644))
	site := strings.Replace(readFile(t, c.path("site/site.toml")), c.ehr.srv.URL+`/fhir/R4"`, srv.URL+"/fhir/R4\"\nca = \"ehr.pem\"", 1)
	c.must(os.WriteFile(c.path("site/site.toml"), []byte(site+"[sync.ehr.oauth]\nclient_id = \"box-1\"\n"), 0o644))
	c.keys()
	c.uplink("isp-a")
	c.card(c.doctor())
	c.start()
	c.listening()

	login := func() (got wire.EHRLogin) {
		c.must(json.Unmarshal([]byte(c.control("/ehr/login")), &got))
		return got
	}
	c.read("Patient/p1-secret", 504)
	c.wait("word that the EHR does not know the gateway", func() bool { return c.fault(faultLogin) })
	got := login()
	if len(got.JWKS.Keys) != 1 || got.JWKS.Keys[0].Alg != "ES384" || got.ClientID != "box-1" || !strings.Contains(got.Reason, "invalid_client") {
		t.Fatalf("got %+v", got)
	}
	auth.Register("box-1", &got.JWKS.Keys[0])
	c.wait("a login", func() bool { return c.allowed("Patient/p1-secret") })
	c.wait("an end of the fault", func() bool { return !c.fault(faultLogin) })
	if id := tls.CurveID(curve.Load()); id != tls.X25519MLKEM768 {
		t.Errorf("the line to the EHR is kept by %v, want X25519MLKEM768", id)
	}
	resp, err := c.http.Get("https://127.0.0.1:" + c.port + serve.Base + "/metadata")
	c.must(err)
	resp.Body.Close()
	if resp.TLS.CurveID != tls.X25519MLKEM768 {
		t.Errorf("the line to a workstation is kept by %v, want X25519MLKEM768", resp.TLS.CurveID)
	}
	if got := login(); got.KeyExchange != tls.X25519MLKEM768.String() || got.Until.IsZero() {
		t.Errorf("gatectl is told %+v", got)
	}

	auth.Revoke() // the EHR forgot the token: a new one, and no one notices
	if _, h := c.read("Patient/p1-secret", 200); h.Get(serve.StaleHeader) != "" {
		t.Errorf("stale after a new login: %v", h)
	}
	auth.Register("box-1", nil)
	auth.Revoke()
	if _, h := c.read("Patient/p1-secret", 200); !strings.Contains(h.Get(serve.StaleHeader), "invalid_client") {
		t.Errorf("no word why it is old: %v", h)
	}
	auth.Register("box-1", &got.JWKS.Keys[0])
	c.wait("another login", func() bool {
		_, h := c.read("Patient/p1-secret", 200)
		return h.Get(serve.StaleHeader) == ""
	})
}
