// Package upload takes files over HTTPS: whole by POST, in pieces by tus 1.0.0,
// and DICOM by STOW-RS. Its guarantee: an answer of success means that the whole
// file was sound and is durable in the queue; an offset that is told is on disk;
// and nothing is taken but from a device the site names, or from a workstation
// where someone is logged in.
//
// Files by POST and tus are put together in syncd/partial first, so that a slow
// sender holds nothing but its own connection.
package upload

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"clinicgate/syncd/caller"
	"clinicgate/syncd/grant"
	"clinicgate/syncd/ingest"
	"clinicgate/syncd/partial"
	"clinicgate/syncd/queue"
	"clinicgate/syncd/trail"
)

// Paths of the three ways.
const (
	PostPath = "/uploads"
	TusPath  = "/uploads/tus/"
	StowPath = "/dicom-web/studies"
)

// Bounds.
const (
	maxFile    = 4 << 30          // of POST and tus
	maxAtOnce  = 32               // requests
	patience   = 30 * time.Second // for the next bytes of a body
	answerTime = 2 * time.Minute  // for the answer, once the body is there
)

// Door lets files in; *ingest.Door is one.
type Door interface {
	Stream(ctx context.Context, from ingest.Source, body io.Reader) (queue.Receipt, error)
	DICOM(ctx context.Context, f ingest.File10) (queue.Receipt, error)
}

// Trail makes accesses durable; *trail.Trail is one.
type Trail interface {
	Append(e trail.Entry) error
}

// Options say how to serve. All are required but Devices.
type Options struct {
	Door    Door
	Parts   *partial.Store
	Trail   Trail
	Roster  func() *grant.Roster // what cardauth last said; nil lets no person in
	Issuer  string               // of the tokens
	Devices []string             // certificate names that may upload with nobody logged in
	Log     *slog.Logger
}

// Handler serves the three ways.
type Handler struct {
	Options
	mux    *http.ServeMux
	places chan struct{}
}

// New returns the handler.
func New(o Options) *Handler {
	h := &Handler{Options: o, mux: http.NewServeMux(), places: make(chan struct{}, maxAtOnce)}
	h.mux.HandleFunc("POST "+PostPath, h.with(h.post))
	h.mux.HandleFunc("POST "+StowPath, h.with(h.stow))
	h.mux.HandleFunc("OPTIONS "+TusPath, h.tusOptions)
	h.mux.HandleFunc("POST "+TusPath+"{$}", h.with(h.tus(h.tusCreate)))
	h.mux.HandleFunc("HEAD "+TusPath+"{id}", h.with(h.tus(h.tusHead)))
	h.mux.HandleFunc("PATCH "+TusPath+"{id}", h.with(h.tus(h.tusPatch)))
	h.mux.HandleFunc("DELETE "+TusPath+"{id}", h.with(h.tus(h.tusDelete)))
	return h
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if m := r.Header.Get("X-HTTP-Method-Override"); m != "" && strings.HasPrefix(r.URL.Path, TusPath) {
		r.Method = m // tus 1.0.0 wants it
	}
	h.mux.ServeHTTP(w, r)
}

// A sender is who uploads.
type sender struct {
	name   string      // of the certificate
	peer   string      // x5t#S256 of the certificate
	person grant.Grant // empty: the device itself
}

// owner keeps one person's uploads apart from another's at the same workstation.
func (s sender) owner() string { return s.name + "|" + s.person.Subject }

// with lets a request in, bounds it and gives it the sender.
func (h *Handler) with(next func(http.ResponseWriter, *http.Request, sender)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		s, err := h.sender(r)
		if err != nil {
			h.denied(w, s, err)
			return
		}
		select {
		case h.places <- struct{}{}:
			defer func() { <-h.places }()
		default:
			w.Header().Set("Retry-After", "5")
			problem(w, http.StatusServiceUnavailable, "busy", "too many uploads at once; try again in a moment")
			return
		}
		ctl := http.NewResponseController(w)
		_ = ctl.SetReadDeadline(time.Now().Add(answerTime)) // not every writer can
		r.Body = &patient{r.Body, ctl}
		next(w, r, s)
	}
}

// patient gives a body time as long as something comes.
type patient struct {
	io.ReadCloser
	ctl *http.ResponseController
}

func (p *patient) Read(b []byte) (int, error) {
	_ = p.ctl.SetReadDeadline(time.Now().Add(patience))
	n, err := p.ReadCloser.Read(b)
	if err != nil { // the connection is still listened to, for its end
		_ = p.ctl.SetReadDeadline(time.Now().Add(answerTime))
		_ = p.ctl.SetWriteDeadline(time.Now().Add(answerTime))
	}
	return n, err
}

// ending asks at the end of what is sent whether it may still be taken.
type ending struct {
	io.Reader
	still func() error
}

func (e *ending) Read(b []byte) (int, error) {
	n, err := e.Reader.Read(b)
	if errors.Is(err, io.EOF) {
		if over := e.still(); over != nil {
			return n, over
		}
	}
	return n, err
}

// errOver is a session that ended while its upload was on the way.
var errOver = errors.New("the session ended before the upload did")

// still says whether a person's session lives, at the end of what was sent: a card
// pulled out takes along what is not handed in yet. The token may have run out
// meanwhile; it was good at the start.
func (h *Handler) still(r *http.Request, s sender) error {
	if s.person.Subject == "" || h.Roster().Lives(s.person.Session, s.peer) {
		return nil
	}
	err := h.Trail.Append(trail.Entry{
		When: time.Now().UTC(), Session: s.person.Session, Who: s.person.Subject, Role: s.person.Role, Room: s.person.Room,
		Device: s.peer, Action: "upload", What: r.URL.Path, Outcome: "refused: " + string(grant.NoSession),
	})
	return errors.Join(errOver, err)
}

// sender tells who uploads, and refuses who may not.
func (h *Handler) sender(r *http.Request) (sender, error) {
	c, err := caller.Of(r, h.Devices)
	s := sender{name: c.Name, peer: c.Peer}
	if err != nil || c.Itself {
		return s, err
	}
	s.person, err = grant.Who(time.Now(), h.Roster(), h.Issuer, c.Token, c.Peer)
	return s, err
}

func (h *Handler) denied(w http.ResponseWriter, s sender, err error) {
	h.Log.Info("upload not let in", "device", s.name, "err", err)
	w.Header().Set("WWW-Authenticate", `Bearer realm="clinicgate"`)
	kind := "no-certificate"
	var no *grant.Refusal
	if errors.As(err, &no) {
		kind = string(no.Reason)
	}
	problem(w, http.StatusUnauthorized, kind, err.Error())
}

// took makes the trace of a person's upload durable; a device's is the item.
func (h *Handler) took(s sender, item string) error {
	if s.person.Subject == "" {
		return nil
	}
	return h.Trail.Append(trail.Entry{
		When: time.Now().UTC(), Session: s.person.Session, Who: s.person.Subject, Role: s.person.Role, Room: s.person.Room,
		Device: s.peer, Action: "upload", What: item, Outcome: "stored",
	})
}

// problem answers with RFC 9457; kind is stable.
func problem(w http.ResponseWriter, status int, kind, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"type": kind, "status": status, "detail": detail}) // a sender that went away
}

// refused answers a Refusal, or another failure of ours.
func refused(w http.ResponseWriter, err error) {
	var no *ingest.Refusal
	switch {
	case errors.Is(err, errOver):
		problem(w, http.StatusUnauthorized, string(grant.NoSession), errOver.Error()+"; log in and send it again")
		return
	case errors.As(err, &no):
	case errors.Is(err, partial.ErrFull):
		no = &ingest.Refusal{Reason: ingest.Full, What: "no room for uploads"}
	case errors.Is(err, partial.ErrQuota):
		w.Header().Set("Retry-After", "600")
		problem(w, http.StatusTooManyRequests, "quota", err.Error())
		return
	case errors.Is(err, partial.ErrUnknown):
		problem(w, http.StatusNotFound, "unknown", err.Error())
		return
	case errors.Is(err, partial.ErrOffset):
		problem(w, http.StatusConflict, "offset", err.Error())
		return
	case errors.Is(err, partial.ErrLong):
		problem(w, http.StatusRequestEntityTooLarge, "too-long", err.Error())
		return
	case errors.Is(err, partial.ErrBusy):
		problem(w, http.StatusLocked, "busy", err.Error())
		return
	default:
		no = &ingest.Refusal{Reason: ingest.Failed, What: "the upload could not be kept"}
	}
	if !no.Permanent() {
		w.Header().Set("Retry-After", "60")
	}
	problem(w, statusOf(no.Reason), no.Reason.String(), no.What)
}

// statusOf is a Refusal as HTTP says it.
func statusOf(r ingest.Reason) int {
	switch r {
	case ingest.Malformed, ingest.Mismatch:
		return http.StatusUnprocessableEntity
	case ingest.Unsupported:
		return http.StatusUnsupportedMediaType
	case ingest.Conflict:
		return http.StatusConflict
	case ingest.Full:
		return http.StatusInsufficientStorage
	}
	return http.StatusServiceUnavailable
}
