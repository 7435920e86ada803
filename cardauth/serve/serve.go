// Package serve is the login endpoint for the clinic's workstations: HTTPS with a
// client certificate from the devices CA, small JSON in and out, refusals as
// application/problem+json (RFC 9457) whose type never changes. It decides
// nothing; it never keeps or logs a PIN.
package serve

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"clinicgate/cardauth/session"
	"clinicgate/cardauth/token"
	"clinicgate/firmware/wire"
)

// A Desk opens and closes sessions. Login returns a *session.Refusal when it
// won't, and wipes the PIN in any case.
type Desk interface {
	Login(context.Context, session.Login) (session.Session, error)
	Logout(id string) bool
	// Refused puts a login on record that did not get to a card.
	Refused(session.Login, *session.Refusal)
}

// A View shows what is live.
type View interface {
	Live(id string) (session.Session, bool)
	Room(room string) (session.Reader, session.Session, bool)
}

// Tokens makes and checks tokens.
type Tokens interface {
	Issue(session.Session, time.Time) (string, error)
	Check(string, time.Time) (sid, certHash string, err error)
}

// Bounds on what a workstation may send and how long it may take.
const (
	maxBody  = 1 << 10
	bodyTime = 5 * time.Second
	atOnce   = 16 // logins under way, of all workstations together
)

// A Server answers the endpoints. Its fields are set before Handler is called.
type Server struct {
	Desk   Desk
	View   View
	Tokens Tokens
	// Admits says whether this is the certificate of a workstation where cards
	// of that room may be used. Other devices have certificates too.
	Admits func(cert *x509.Certificate, room string) bool
	Ward   Ward  // nil: only logins
	Seals  Seals // nil: PINs come as they were typed only
	// SealedOnly refuses those that do.
	SealedOnly bool
	Log        *slog.Logger

	signing time.Duration // how long an answer may wait for a key that signs
	busy    chan struct{}
}

// Handler returns the endpoints.
func (s *Server) Handler() http.Handler {
	s.busy = make(chan struct{}, atOnce)
	s.signing = cmp.Or(s.signing, signing)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/login", s.login)
	mux.HandleFunc("POST /v1/renew", s.renew)
	mux.HandleFunc("POST /v1/logout", s.logout)
	mux.HandleFunc("GET /v1/state", s.state)
	mux.HandleFunc("GET /v1/pin-key", s.pinKey)
	s.careRoutes(mux)
	return mux
}

// login: {"room":…,"pin":…,"last_try":false} → token and session.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	select {
	case s.busy <- struct{}{}:
		defer func() { <-s.busy }()
	default:
		refused(w, &session.Refusal{Kind: session.Busy, Detail: "too many logins at once; try again in a moment"})
		return
	}
	hash, ok := certHash(r)
	if !ok {
		problem(w, http.StatusForbidden, "no-certificate", "a client certificate of this clinic is required")
		return
	}
	in, err := s.readLogin(w, r, hash)
	if err != nil {
		notOpened(w, err)
		return
	}
	in.CertHash, in.Device = hash, r.TLS.PeerCertificates[0].Subject.CommonName
	if !s.Admits(r.TLS.PeerCertificates[0], in.Room) {
		clear(in.PIN)
		no := &session.Refusal{Kind: session.NotHere, Detail: "this device's certificate is not that of a workstation for this room; the card was not asked"}
		s.Desk.Refused(in, no)
		refused(w, no)
		return
	}
	in.From = caller(r)
	in.Question = "PIN for the clinic's records"
	got, err := s.Desk.Login(r.Context(), in)
	var refusal *session.Refusal
	switch {
	case errors.As(err, &refusal):
		refused(w, refusal)
	case err != nil: // the workstation hung up
		problem(w, http.StatusServiceUnavailable, string(session.Busy), "the login was given up")
	default:
		s.grant(w, r, got)
	}
}

// readLogin reads a login's body.
func (s *Server) readLogin(w http.ResponseWriter, r *http.Request, certHash string) (session.Login, error) {
	var body struct {
		secret
		Room    string `json:"room"`
		LastTry bool   `json:"last_try"`
		Card    string `json:"card"` // "patient": the one in the room's reader for patients
	}
	if err := readSecret(w, r, &body); err != nil {
		clear(body.PIN)
		return session.Login{}, fmt.Errorf(`%w, want {"room":"…","pin":"…"} with strings`, err)
	}
	if body.Card != "" && body.Card != wire.RolePatient {
		clear(body.PIN)
		return session.Login{}, errors.New(`want "card":"patient" or none`)
	}
	digits, err := s.open(&body.secret, certHash)
	if err != nil {
		return session.Login{}, err
	}
	return session.Login{Room: body.Room, PIN: digits, LastTry: body.LastTry, Patient: body.Card == wire.RolePatient}, nil
}

// readSecret reads a small JSON body into a buffer of ours and wipes that. What
// lies in the buffers of net/http and crypto/tls is out of reach: a sealed PIN is as
// good as none there. An error does not quote the body.
func readSecret(w http.ResponseWriter, r *http.Request, into any) error {
	// Only a writer of a test can't set deadlines.
	deadline := http.NewResponseController(w).SetReadDeadline
	_ = deadline(time.Now().Add(bodyTime))
	defer func() { _ = deadline(time.Time{}) }()
	buf := make([]byte, maxBody+1)
	defer clear(buf)
	n, err := io.ReadFull(r.Body, buf)
	switch {
	case err == nil:
		return errors.New("body too long")
	case !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF):
		return errors.New("body not read in time")
	}
	if json.Unmarshal(buf[:n], into) != nil {
		return errors.New("body is not as it should be")
	}
	return nil
}

// pin is a JSON string as bytes that can be wiped; a Go string can't.
type pin []byte

// UnmarshalJSON copies the string's characters. Escapes are refused: no PIN
// needs one.
func (p *pin) UnmarshalJSON(raw []byte) error {
	n := len(raw)
	if n < 2 || raw[0] != '"' || raw[n-1] != '"' {
		return errors.New("not a string")
	}
	for _, b := range raw[1 : n-1] {
		if b == '\\' {
			return errors.New("escape in a PIN")
		}
	}
	clear(*p)
	*p = append(make(pin, 0, n-2), raw[1:n-1]...)
	return nil
}

// renew: a token → another one while the session lives.
func (s *Server) renew(w http.ResponseWriter, r *http.Request) {
	if live, ok := s.bearer(w, r); ok {
		s.grant(w, r, live)
	}
}

// logout ends the token's session.
func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	if live, ok := s.bearer(w, r); ok {
		s.Desk.Logout(live.ID)
		w.WriteHeader(http.StatusNoContent)
	}
}

// bearer returns the live session of a request's token, or answers for itself.
// The token counts only over the TLS certificate it was issued to.
func (s *Server) bearer(w http.ResponseWriter, r *http.Request) (session.Session, bool) {
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	hash, hasCert := certHash(r)
	if !ok || !hasCert {
		invalid(w, "want Authorization: Bearer with a token of ours")
		return session.Session{}, false
	}
	sid, bound, err := s.Tokens.Check(text, time.Now())
	if err != nil || bound != hash {
		invalid(w, "the token has expired, is not ours, or belongs to another workstation")
		return session.Session{}, false
	}
	live, ok := s.View.Live(sid)
	if !ok || live.CertHash != hash {
		problem(w, http.StatusUnauthorized, "session-over", "the session is over; put the card in and log in")
		return session.Session{}, false
	}
	return live, true
}

func invalid(w http.ResponseWriter, detail string) {
	w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	problem(w, http.StatusUnauthorized, "invalid-token", detail)
}

// A key that fails gives way to another one, which signs when those who check tokens
// know of it. A workstation waits for that rather than be turned away.
const (
	signing = 30 * time.Second
	again   = 500 * time.Millisecond
)

// issue makes a token, trying for a while.
func (s *Server) issue(ctx context.Context, of session.Session) (string, error) {
	for end := time.Now().Add(s.signing); ; {
		text, err := s.Tokens.Issue(of, time.Now())
		if err == nil || time.Now().After(end) {
			return text, err
		}
		select {
		case <-ctx.Done():
			return "", err
		case <-time.After(again):
		}
	}
}

// grant answers with a new token.
func (s *Server) grant(w http.ResponseWriter, r *http.Request, of session.Session) {
	text, err := s.issue(r.Context(), of)
	if err != nil {
		s.Log.Error("issue token", "err", err)
		s.Desk.Logout(of.ID)
		problem(w, http.StatusServiceUnavailable, "no-token", "the gateway can't sign tokens; tell the technician")
		return
	}
	type who struct {
		ID      string `json:"sid"`
		Role    string `json:"role"`
		Subject string `json:"sub"`
		Room    string `json:"room"`
		Number  string `json:"number,omitempty"` // on a patient's own card
	}
	answer := who{of.ID, of.Role, of.Subject, of.Room, ""}
	if of.Role == wire.RolePatient {
		answer.Number = of.Number
	}
	respond(w, http.StatusOK, "application/json", struct {
		Token   string `json:"token"`
		Expires int    `json:"expires_in"` // seconds
		Session who    `json:"session"`
	}{text, int(token.Lifetime / time.Second), answer})
}

// state: ?room=… → what the reader and the session of that room are like.
func (s *Server) state(w http.ResponseWriter, r *http.Request) {
	room := r.URL.Query().Get("room")
	reader, live, ok := s.View.Room(room)
	if !ok {
		problem(w, http.StatusNotFound, string(session.NoReader), "no card reader of this room is connected")
		return
	}
	type since struct {
		State string    `json:"state,omitempty"`
		Role  string    `json:"role,omitempty"`
		Since time.Time `json:"since"`
	}
	out := struct {
		Room    string `json:"room"`
		Reader  since  `json:"reader"`
		Session *since `json:"session,omitempty"`
	}{Room: room, Reader: since{State: ReaderState(reader, live.ID != ""), Since: reader.Since.UTC()}}
	if live.ID != "" {
		out.Session = &since{Role: live.Role, Since: live.Since.UTC()}
	}
	respond(w, http.StatusOK, "application/json", out)
}

// ReaderState is how a reader's state is called outside.
func ReaderState(r session.Reader, live bool) string {
	switch {
	case r.State == session.Faulty:
		return wire.ReaderFault
	case live:
		return wire.ReaderSession
	case r.State == session.Card:
		return wire.ReaderCard
	}
	return wire.ReaderEmpty
}

// certHash is the hash of the workstation's certificate.
func certHash(r *http.Request) (string, bool) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return "", false
	}
	return token.CertHash(r.TLS.PeerCertificates[0].Raw), true
}

// caller is the address a request comes from.
func caller(r *http.Request) netip.Addr {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return from.Addr().Unmap()
}

// status is the HTTP status of each refusal.
var status = map[session.Kind]int{
	session.NoReader:  http.StatusServiceUnavailable,
	session.NoCard:    http.StatusConflict,
	session.NotACard:  http.StatusForbidden,
	session.Untrusted: http.StatusForbidden,
	session.BadPIN:    http.StatusBadRequest,
	session.WrongPIN:  http.StatusUnauthorized,
	session.LastTry:   http.StatusConflict,
	session.Blocked:   http.StatusForbidden,
	session.InUse:     http.StatusConflict,
	session.SlowDown:  http.StatusTooManyRequests,
	session.Busy:      http.StatusServiceUnavailable,
	session.Failed:    http.StatusServiceUnavailable,
	session.NotReady:  http.StatusServiceUnavailable,
	session.NotKept:   http.StatusServiceUnavailable,
	session.NoSession: http.StatusUnauthorized,
	session.NotYours:  http.StatusForbidden,
	session.TooMany:   http.StatusTooManyRequests,
	session.NoReason:  http.StatusBadRequest,
	session.Unsigned:  http.StatusForbidden,
	session.NotHere:   http.StatusForbidden,

	session.PINAtReader: http.StatusBadRequest,
	session.NoPIN:       http.StatusUnauthorized,
	session.Elsewhere:   http.StatusForbidden,
}

// A trouble is one application/problem+json.
type trouble struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Tries  *int   `json:"tries_left,omitempty"`
}

func refused(w http.ResponseWriter, r *session.Refusal) {
	p := trouble{Type: string(r.Kind), Status: status[r.Kind], Detail: r.Detail}
	if r.Kind == session.WrongPIN || r.Kind == session.LastTry || r.Kind == session.Blocked {
		p.Tries = &r.Tries
	}
	if r.Kind == session.SlowDown { // whole seconds, rounded up
		w.Header().Set("Retry-After", strconv.Itoa(int((r.Wait+time.Second-1)/time.Second)))
	}
	p.Title = http.StatusText(p.Status)
	respond(w, p.Status, "application/problem+json", p)
}

func problem(w http.ResponseWriter, code int, kind, detail string) {
	respond(w, code, "application/problem+json", trouble{Type: kind, Title: http.StatusText(code), Status: code, Detail: detail})
}

func respond(w http.ResponseWriter, code int, kind string, body any) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // a workstation that hung up needs no answer
}
