package main

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/syncd/grant"
	"clinicgate/syncd/queue"
	"clinicgate/syncd/trail"
)

// heldPath is where a doctor sees what is held, and lets it go on.
const heldPath = "/held"

// doctorsRoutes adds what a doctor with a live card session may do about held
// uploads. What is shown names no patient: the doctor compares device and record.
func (s *state) doctorsRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET "+heldPath, func(w http.ResponseWriter, r *http.Request) {
		if _, _, ok := s.doctor(w, r); ok {
			reply(w, http.StatusOK, s.held())
		}
	})
	mux.HandleFunc("POST "+heldPath+"/{id}/release", func(w http.ResponseWriter, r *http.Request) {
		g, device, ok := s.doctor(w, r)
		if !ok {
			return
		}
		s.letGo(w, r.PathValue("id"), trail.Entry{
			Who: g.Subject, Session: g.Session, Role: g.Role, Room: g.Room, Device: device, Purpose: grant.Treatment,
		})
	})
}

// doctor says whose live session a request is, and answers it if it is no doctor's.
func (s *state) doctor(w http.ResponseWriter, r *http.Request) (g grant.Grant, device string, ok bool) {
	w.Header().Set("Cache-Control", "no-store")
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		refuse(w, http.StatusUnauthorized, "no client certificate")
		return g, "", false
	}
	sum := sha256.Sum256(r.TLS.PeerCertificates[0].Raw)
	device = base64.RawURLEncoding.EncodeToString(sum[:])
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		token = ""
	}
	g, err := grant.HandIn(time.Now(), s.live(), grant.Issuer(s.cfg.Site.Code), grant.Request{Token: strings.TrimSpace(token), Peer: device})
	if err == nil {
		return g, device, true
	}
	status := http.StatusUnauthorized
	var no *grant.Refusal
	if errors.As(err, &no) && no.Known() {
		status = http.StatusForbidden
	} else {
		w.Header().Set("WWW-Authenticate", `Bearer realm="clinicgate"`)
	}
	refuse(w, status, err.Error())
	return g, device, false
}

// held lists what waits for a person.
func (s *state) held() wire.HeldUploads {
	all := []wire.HeldUpload{}
	for _, b := range s.queue.List(queue.Held) {
		all = append(all, wire.HeldUpload{
			ID: b.ID.String(), Kind: b.Kind, Origin: b.Origin, Lane: b.Lane.String(), Bytes: b.Size,
			Accepted: b.Accepted, Held: b.Changed, Where: b.Where, Why: b.Why,
		})
	}
	return wire.HeldUploads{V: 1, Items: all}
}

// letGo lets a held upload go on, on the word of whom e names, in the trail of
// accesses first: what can't be traced is not done.
//
//	stop behind the trail: the release is on record and was not done; it is asked for again
func (s *state) letGo(w http.ResponseWriter, id string, e trail.Entry) {
	b, err := s.heldBy(id)
	if err != nil {
		refuse(w, http.StatusNotFound, err.Error())
		return
	}
	if strings.HasPrefix(b.Kind, "unrecognised") {
		refuse(w, http.StatusConflict, "no format was recognised in it, so no destination takes it; mend the device and have it sent anew")
		return
	}
	e.When, e.Action, e.What, e.Outcome = time.Now().UTC(), "release", "upload/"+b.ID.String(), b.Why
	err = s.trail.Append(e)
	s.countTraced(err)
	if err == nil {
		err = s.queue.Release(b.ID, e.Who)
	}
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	s.env.Log.Info("released", "item", b.ID, "was", b.Why)
	reply(w, http.StatusOK, wire.ReleasedUpload{V: 1, ID: b.ID.String()})
}
