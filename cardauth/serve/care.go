package serve

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"clinicgate/cardauth/session"
	"clinicgate/firmware/wire"
)

// A Ward is what doctors and patients do with a live session. Refusals are
// *session.Refusal.
type Ward interface {
	Care(of session.Session) []session.Care
	CloseCare(id, sid string) bool
	BreakGlass(context.Context, session.Session, Emergency) (session.Care, error)
	Consent(of session.Session) ([]byte, bool)
	SetConsent(of session.Session, resource []byte) error // nil takes it back
}

// An Emergency is what a doctor says to see and write a record without the
// patient's card. Whoever is given it wipes the PIN.
type Emergency struct {
	Patient string // number of the card, or id of the Patient
	Reason  string
	PIN     []byte
}

// maxConsent bounds a Consent in bytes.
const maxConsent = 4 << 10

func (s *Server) careRoutes(mux *http.ServeMux) {
	if s.Ward == nil {
		return
	}
	mux.HandleFunc("GET /v1/care", s.care)
	mux.HandleFunc("DELETE /v1/care/{id}", s.closeCare)
	mux.HandleFunc("POST /v1/break-glass", s.breakGlass)
	mux.HandleFunc("GET /v1/consent", s.consent)
	mux.HandleFunc("PUT /v1/consent", s.setConsent)
	mux.HandleFunc("DELETE /v1/consent", s.setConsent)
}

// one is care as workstations see it. The patient is a pseudonym: the program that
// shows it knows whom it asked for.
type one struct {
	ID      string     `json:"id"`
	Patient string     `json:"patient"`
	Basis   string     `json:"basis"`
	Since   time.Time  `json:"since"`
	Until   *time.Time `json:"until,omitempty"`
}

func shown(c session.Care) one {
	o := one{ID: c.ID, Patient: c.Patient, Basis: string(c.Basis), Since: c.Since.UTC()}
	if !c.Until.IsZero() {
		until := c.Until.UTC()
		o.Until = &until
	}
	return o
}

// care: the care of the token's session.
func (s *Server) care(w http.ResponseWriter, r *http.Request) {
	live, ok := s.bearer(w, r)
	if !ok {
		return
	}
	all := []one{}
	for _, c := range s.Ward.Care(live) {
		all = append(all, shown(c))
	}
	respond(w, http.StatusOK, "application/json", map[string]any{"care": all})
}

// closeCare ends care early.
func (s *Server) closeCare(w http.ResponseWriter, r *http.Request) {
	live, ok := s.bearer(w, r)
	if !ok {
		return
	}
	if !s.Ward.CloseCare(r.PathValue("id"), live.ID) {
		problem(w, http.StatusNotFound, "no-care", "there is no such care of yours; while the patient's card is in, it ends with the card")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// breakGlass: {"patient":…,"reason":…,"pin":…} → care for half an hour.
func (s *Server) breakGlass(w http.ResponseWriter, r *http.Request) {
	select {
	case s.busy <- struct{}{}:
		defer func() { <-s.busy }()
	default:
		refused(w, &session.Refusal{Kind: session.Busy, Detail: "too many requests at once; try again in a moment"})
		return
	}
	live, ok := s.bearer(w, r)
	if !ok {
		return
	}
	var body struct {
		Patient string `json:"patient"`
		Reason  string `json:"reason"`
		secret
	}
	if err := readSecret(w, r, &body); err != nil {
		clear(body.PIN)
		problem(w, http.StatusBadRequest, "bad-request", err.Error()+`, want {"patient":"…","reason":"…","pin":"…"} with strings`)
		return
	}
	digits, err := s.open(&body.secret, live.CertHash)
	if err != nil {
		notOpened(w, err)
		return
	}
	c, err := s.Ward.BreakGlass(r.Context(), live, Emergency{body.Patient, body.Reason, digits})
	if err != nil {
		s.refusedFor(w, err)
		return
	}
	respond(w, http.StatusOK, "application/json", map[string]any{"care": shown(c)})
}

func (s *Server) refusedFor(w http.ResponseWriter, err error) {
	var no *session.Refusal
	if errors.As(err, &no) {
		refused(w, no)
		return
	}
	problem(w, http.StatusServiceUnavailable, string(session.Busy), "the request was given up")
}

// patient is bearer for a patient who showed the PIN.
func (s *Server) patient(w http.ResponseWriter, r *http.Request) (session.Session, bool) {
	live, ok := s.bearer(w, r)
	if ok && (live.Role != wire.RolePatient || !live.PIN) {
		refused(w, &session.Refusal{Kind: session.NotYours, Detail: "only the patient can say who sees the record"})
		return live, false
	}
	return live, ok
}

// consent: what the patient said, a FHIR Consent.
func (s *Server) consent(w http.ResponseWriter, r *http.Request) {
	live, ok := s.patient(w, r)
	if !ok {
		return
	}
	resource, said := s.Ward.Consent(live)
	if !said {
		problem(w, http.StatusNotFound, "no-consent", "you have not narrowed who sees your record")
		return
	}
	w.Header().Set("Content-Type", "application/fhir+json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(resource) // a workstation that hung up
}

// setConsent takes what the patient says, or takes it back.
func (s *Server) setConsent(w http.ResponseWriter, r *http.Request) {
	live, ok := s.patient(w, r)
	if !ok {
		return
	}
	var resource []byte
	if r.Method == http.MethodPut {
		deadline := http.NewResponseController(w).SetReadDeadline
		_ = deadline(time.Now().Add(bodyTime)) // only a writer of a test can't
		var err error
		resource, err = io.ReadAll(io.LimitReader(r.Body, maxConsent+1))
		_ = deadline(time.Time{})
		if err != nil || len(resource) > maxConsent || len(resource) == 0 {
			problem(w, http.StatusBadRequest, "bad-request", "want a Consent of at most 4 KiB")
			return
		}
	}
	if err := s.Ward.SetConsent(live, resource); err != nil {
		var no *session.Refusal
		if !errors.As(err, &no) {
			problem(w, http.StatusBadRequest, "bad-request", err.Error())
			return
		}
		refused(w, no)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
