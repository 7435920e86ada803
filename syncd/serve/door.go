package serve

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"clinicgate/firmware/dpop"
	"clinicgate/firmware/wire"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/grant"
)

// A Door lets programs in a browser come to the records: without a certificate,
// with tokens bound to a key they prove or to their computer's address, and only
// from pages of programs that are registered with cardauth.
type Door struct {
	Apps  func() *wire.Apps // what cardauth last said; nil: none are registered
	Base  string            // "https://host:port", as browsers reach it
	Guard *dpop.Guard
}

// An asking is who a request comes from, as far as that can be seen before its
// token is judged.
type asking struct {
	grant.Request
	proof  *dpop.Proof // to be used up once the token holds
	device string      // for the trace
}

// asking reads a request's token and what it must be bound to.
func (h *Handler) asking(r *http.Request) (asking, error) {
	if h.Door == nil {
		peer := fingerprint(r)
		return asking{Request: grant.Request{Token: bearer(r), Peer: peer}, device: peer}, nil
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "DPoP") {
		addr := address(r)
		return asking{Request: grant.Request{Token: bearer(r), Addr: addr}, device: "addr:" + addr}, nil
	}
	proofs := r.Header.Values("DPoP")
	if len(proofs) != 1 {
		return asking{}, dpop.ErrProof
	}
	p, err := dpop.Parse(proofs[0], dpop.Want{Method: r.Method, URL: h.Door.Base + r.URL.EscapedPath(), Token: token}, time.Now())
	if err != nil {
		return asking{}, err
	}
	return asking{Request: grant.Request{Token: token, Thumb: p.Key}, proof: &p, device: "jkt:" + p.Key}, nil
}

// once uses a request's proof up.
func (h *Handler) once(a asking) error {
	if a.proof == nil {
		return nil
	}
	return h.Door.Guard.Use(*a.proof, time.Now())
}

// unproven answers a proof that does not hold (RFC 9449 §7.1, §9).
func (h *Handler) unproven(err error) answer {
	a := failure(http.StatusUnauthorized, fhir.CodeLogin, "the request is not proven to come from the program that logged in")
	code := "invalid_dpop_proof"
	if errors.Is(err, dpop.ErrNonce) {
		code = "use_dpop_nonce"
	}
	a.header["WWW-Authenticate"] = `DPoP error="` + code + `", algs="ES256"`
	a.header["DPoP-Nonce"] = h.Door.Guard.Nonce(time.Now())
	return a
}

// address is where a request comes from.
func address(r *http.Request) string {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return from.Addr().Unmap().String()
}

// What a page of a registered program may send and see.
const (
	maySend = "Authorization, DPoP, Content-Type, Accept, Prefer, If-None-Match, If-Modified-Since, If-Match, If-None-Exist, Idempotency-Key, Cache-Control, Pragma"
	maySee  = "DPoP-Nonce, ETag, Age, Cache-Status, Last-Modified, WWW-Authenticate, Preference-Applied, Location, " + PendingHeader + ", " + StaleHeader
)

// admit sets what browsers want to know before a page may ask, and answers what is
// the door's own. It reports whether the request is done.
func (d *Door) admit(w http.ResponseWriter, r *http.Request) (done bool) {
	apps := d.Apps()
	w.Header().Add("Vary", "Origin")
	if origin := r.Header.Get("Origin"); origin != "" {
		if apps == nil || !slices.Contains(apps.Origins, origin) {
			http.Error(w, "this page is not one of a program registered at this clinic", http.StatusForbidden)
			return true
		}
		w.Header().Set("Access-Control-Allow-Origin", origin)
		w.Header().Set("Access-Control-Expose-Headers", maySee)
	}
	if r.Method == http.MethodOptions {
		w.Header().Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE")
		w.Header().Set("Access-Control-Allow-Headers", maySend)
		w.Header().Set("Access-Control-Max-Age", "600")
		w.WriteHeader(http.StatusNoContent)
		return true
	}
	if r.Method == http.MethodGet && r.URL.Path == Base+"/.well-known/smart-configuration" {
		d.describe(w, apps)
		return true
	}
	w.Header().Set("DPoP-Nonce", d.Guard.Nonce(time.Now()))
	return false
}

// describe says where programs log in (SMART App Launch 2 §2).
func (d *Door) describe(w http.ResponseWriter, apps *wire.Apps) {
	if apps == nil {
		http.Error(w, "the card service is not answering", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(wire.SMARTConfiguration(apps.Base)) // a program that hung up needs none
}
