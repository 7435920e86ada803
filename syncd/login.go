package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/syncd/bearer"
)

// access is how the gateway itself comes to the EHR: whose certificate it believes
// and with which token it asks. Everything that goes there shares it.
type access struct {
	roots  *x509.CertPool // nil: the system's
	key    *bearer.Key    // nil: it does not log in
	source *bearer.Source
	curve  atomic.Uint32 // key exchange of the last answer over TLS
}

// openAccess reads what access needs.
func (s *state) openAccess() error {
	s.access = &access{}
	if file := s.cfg.EHR.CA; file != "" {
		pem, err := os.ReadFile(s.anchor(file))
		if err != nil {
			return fmt.Errorf("CA of the EHR: %w", err)
		}
		s.access.roots = x509.NewCertPool()
		if !s.access.roots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("CA of the EHR: %s: got no certificate, want one or more in PEM", file)
		}
	}
	if o := s.cfg.EHR.OAuth; o != nil {
		key, err := bearer.OpenKey(filepath.Join(s.env.Secrets, o.Key))
		if err != nil {
			return err
		}
		place := ""
		if o.TokenURL != nil {
			place = o.TokenURL.String()
		}
		s.access.key = key
		s.access.source = bearer.New(bearer.Options{
			Base: s.cfg.EHR.Base, TokenURL: place, ClientID: o.ClientID, Scope: o.Scope, Key: key, HTTP: s.access.client(),
		})
	}
	s.ehr.Through(s.access.through)
	return nil
}

// client asks for tokens. Each question dials: they are rare, and the way out may
// have changed since the last.
func (a *access) client() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: a.tls(), DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// tls leaves the key exchange to the Go release, which offers the hybrid with ML-KEM
// first: what is recorded today shall not be readable when X25519 is broken.
func (a *access) tls() *tls.Config {
	return &tls.Config{RootCAs: a.roots, MinVersion: tls.VersionTLS12}
}

// through is what a transport becomes that leads to the EHR.
func (a *access) through(t *http.Transport) http.RoundTripper {
	t.TLSClientConfig = a.tls()
	var next http.RoundTripper = observed{t, a}
	if a.source != nil {
		next = a.source.Over(next)
	}
	return next
}

// observed notes how well the line to the EHR is kept.
type observed struct {
	*http.Transport
	access *access
}

// RoundTrip is the transport's.
func (o observed) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := o.Transport.RoundTrip(r)
	if err == nil && resp.TLS != nil {
		o.access.curve.Store(uint32(resp.TLS.CurveID))
	}
	return resp, err
}

// atEHR says whether an address is inside the EHR's.
func (s *state) atEHR(u *url.URL) bool {
	b := s.cfg.EHR.Base
	return u.Scheme == b.Scheme && u.Host == b.Host && (u.Path == b.Path || strings.HasPrefix(u.Path, b.Path+"/"))
}

// loginFaults says that the EHR doesn't let the gateway in. That its token endpoint
// can't be reached, faultLost says.
func (s *state) loginFaults(now time.Time) []wire.Fault {
	if s.access.source == nil {
		return nil
	}
	until, err := s.access.source.Status(now)
	if !errors.Is(err, bearer.ErrRefused) {
		return nil
	}
	f := wire.Fault{
		Severity: wire.Alarm, Where: s.cfg.EHR.Base.Host, What: err.Error(),
		Do: "have the EHR register client_id and key as gatectl ehr shows them, and see that the clock is right; records read before are shown meanwhile",
	}
	if !until.IsZero() {
		f.Severity = wire.Warning
	}
	return []wire.Fault{f}
}

// accessRoutes shows it to a technician.
func (s *state) accessRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /ehr/login", func(w http.ResponseWriter, _ *http.Request) {
		got := wire.EHRLogin{V: 1, EHR: s.cfg.EHR.Base.String(), JWKS: wire.ClientKeys{Keys: []wire.ClientKey{}}}
		if id := s.access.curve.Load(); id != 0 {
			got.KeyExchange = tls.CurveID(id).String()
		}
		if src := s.access.source; src != nil {
			until, err := src.Status(time.Now())
			got.ClientID, got.Until = s.cfg.EHR.OAuth.ClientID, until.UTC().Truncate(time.Second)
			got.JWKS.Keys = append(got.JWKS.Keys, s.access.key.Public())
			if err != nil {
				got.Reason = err.Error()
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(got) // a caller that hung up
	})
}
