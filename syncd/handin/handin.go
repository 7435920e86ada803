// Package handin takes new FHIR resources from devices and doctors. Its guarantee:
// an answer of success means that the whole submission was sound, is about one
// patient and is durable in the queue; a doctor's was handed in from a live session
// that cares for that patient, leaves a trace, and does not contradict what is
// known of the patient.
package handin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"clinicgate/syncd/cache"
	"clinicgate/syncd/caller"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/grant"
	"clinicgate/syncd/identity"
	"clinicgate/syncd/ingest"
	"clinicgate/syncd/queue"
	"clinicgate/syncd/submission"
	"clinicgate/syncd/trail"
)

// Bounds.
const (
	MaxBody    = 16 << 20
	small      = 256 << 10        // bodies up to this are read at once, larger ones one by one
	maxAtOnce  = 16               // requests
	maxKey     = 255              // of Idempotency-Key
	patience   = 30 * time.Second // for the next bytes of a body
	answerTime = time.Minute      // for the answer, once the body is there
	askTime    = 3 * time.Second  // for the EHR to say who the patient is
)

// Door lets submissions in; *ingest.Door is one.
type Door interface {
	Submission(ctx context.Context, origin, name string, s *submission.Submission) (queue.Receipt, error)
	NotFHIR(origin string, why error) error
}

// Trail makes accesses durable; *trail.Trail is one.
type Trail interface {
	Append(e trail.Entry) error
}

// Knowing gathers what is known about a claim; *register.Register does.
type Knowing interface {
	Know(ctx context.Context, c identity.Claim) identity.Knowledge
}

// Records answers queries; *cache.Reader does.
type Records interface {
	Read(ctx context.Context, q fhir.Query) (cache.Result, error)
}

// Options say how to serve. All are required but Devices.
type Options struct {
	Base    string // path of the FHIR endpoint
	EHR     string // the EHR's URL, for references that are absolute
	Door    Door
	Trail   Trail
	Known   Knowing
	Records Records
	Roster  func() *grant.Roster // what cardauth last said; nil lets no person in
	Issuer  string               // of the tokens
	Devices []string             // certificate names that may hand in with nobody logged in
	Log     *slog.Logger
}

// Handler serves POST at the FHIR endpoint, for the paths that Register names.
type Handler struct {
	Options
	places chan struct{}
	large  chan struct{} // held by the one large body in memory
}

// New returns the handler.
func New(o Options) *Handler {
	return &Handler{Options: o, places: make(chan struct{}, maxAtOnce), large: make(chan struct{}, 1)}
}

// Register adds the handler to a mux. Bundles of questions go on to reads.
func (h *Handler) Register(mux *http.ServeMux, reads http.Handler) {
	mux.Handle("POST "+h.Base, split(reads, h.taking("Bundle")))
	mux.Handle("POST "+h.Base+"/{$}", split(reads, h.taking("Bundle")))
	for _, typ := range submission.Alone() {
		mux.Handle("POST "+h.Base+"/"+typ, h.taking(typ))
	}
}

// A sender is who hands in.
type sender struct {
	name   string      // of the certificate
	peer   string      // x5t#S256 of the certificate
	person grant.Grant // empty: the device itself
}

// origin keeps one person's submissions apart from another's, at whatever
// workstation.
func (s sender) origin() string {
	if s.person.Subject != "" {
		return "person|" + s.person.Subject
	}
	return "device|" + s.name
}

func (h *Handler) taking(typ string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
			outcome(w, http.StatusServiceUnavailable, fhir.CodeTransient, "", "too many at once; try again in a moment")
			return
		}
		a, err := h.take(w, r, s, typ)
		if err != nil {
			h.refused(w, s, err)
			return
		}
		a.write(w)
	})
}

// sender tells who hands in, and refuses who may not.
func (h *Handler) sender(r *http.Request) (sender, error) {
	c, err := caller.Of(r, h.Devices)
	s := sender{name: c.Name, peer: c.Peer}
	if err != nil || c.Itself {
		return s, err
	}
	s.person, err = grant.HandIn(time.Now(), h.Roster(), h.Issuer, grant.Request{Token: c.Token, Peer: c.Peer})
	return s, err
}

// take reads, judges and keeps one submission.
//
//	stop before the queue has it: nothing was kept, the sender heard nothing
//	stop before the trace: the sender heard nothing and sends again; it is the same item
func (h *Handler) take(w http.ResponseWriter, r *http.Request, s sender, typ string) (taken, error) {
	body, done, err := h.body(w, r)
	defer done()
	if err != nil {
		return taken{}, err
	}
	key := r.Header.Get("Idempotency-Key")
	if len(key) > maxKey {
		return taken{}, &submission.Problem{Code: fhir.CodeInvalid, What: "Idempotency-Key of over 255 bytes"}
	}
	seed := s.origin() + "|" + key
	sub, err := submission.Parse(body, seed, h.EHR)
	if err == nil && sub.Single != (typ != "Bundle") || err == nil && sub.Single && sub.Refs[0].Type != typ {
		err = &submission.Problem{Code: fhir.CodeInvalid, What: "the body is not of the type in the address"}
	}
	if err != nil {
		_ = h.Door.NotFHIR(s.name, err) // someone should see what keeps coming; the answer is ours
		return taken{}, err
	}
	if key == "" {
		sum := sha256.Sum256(body)
		seed += string(sum[:])
	}
	e := s.entry(sub)
	if s.person.Subject != "" {
		if err := h.covered(r.Context(), s, sub, &e); err != nil {
			return taken{}, errors.Join(err, h.untaken(e, err))
		}
	}
	receipt, err := h.Door.Submission(r.Context(), s.name, seed, sub)
	if err == nil && s.person.Subject != "" {
		e.Outcome = "stored"
		err = h.Trail.Append(e)
	}
	if err != nil {
		return taken{}, err
	}
	h.Log.Info("fhir stored", "device", s.name, "item", receipt.ID, "resources", len(sub.Refs), "bytes", receipt.Size)
	return taken{sub, receipt.ID.String()}, nil
}

// body reads a body: a small one at once, a larger one when it is its turn. done
// must be called when the body is not needed any more.
func (h *Handler) body(w http.ResponseWriter, r *http.Request) (text []byte, done func(), err error) {
	done = func() {}
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if kind = strings.TrimSpace(strings.ToLower(kind)); kind != "application/fhir+json" && kind != "application/json" {
		return nil, done, errMedia
	}
	if r.ContentLength > MaxBody {
		return nil, done, errLong
	}
	ctl := http.NewResponseController(w)
	in := io.LimitReader(&patient{r.Body, ctl}, MaxBody+1)
	var all bytes.Buffer
	if _, err = all.ReadFrom(io.LimitReader(in, small)); err == nil && all.Len() == small {
		select {
		case h.large <- struct{}{}:
			done = func() { <-h.large }
		case <-r.Context().Done():
			return nil, done, errBroken
		}
		_, err = all.ReadFrom(in)
	}
	_ = ctl.SetReadDeadline(time.Now().Add(answerTime)) // not every writer can
	_ = ctl.SetWriteDeadline(time.Now().Add(answerTime))
	switch {
	case err != nil:
		return nil, done, errBroken
	case all.Len() > MaxBody:
		return nil, done, errLong
	}
	return all.Bytes(), done, nil
}

// patient gives a body time as long as something comes.
type patient struct {
	io.Reader
	ctl *http.ResponseController
}

func (p *patient) Read(b []byte) (int, error) {
	_ = p.ctl.SetReadDeadline(time.Now().Add(patience))
	return p.Reader.Read(b)
}

func (s sender) entry(sub *submission.Submission) trail.Entry {
	e := trail.Entry{
		When: time.Now().UTC(), Session: s.person.Session, Who: s.person.Subject, Role: s.person.Role, Room: s.person.Room,
		Device: s.peer, Action: "create", What: sub.Refs[0].String(),
	}
	if sub.Subject.Ref != (fhir.Ref{}) {
		e.Patient = sub.Subject.Ref.String()
	}
	return e
}

// untaken leaves a trace of what a known person may not.
func (h *Handler) untaken(e trail.Entry, why error) error {
	e.Outcome = "refused: " + reason(why)
	return h.Trail.Append(e)
}

// errors of a request that say nothing about FHIR.
var (
	errMedia  = errors.New("want application/fhir+json")
	errLong   = errors.New("over 16 MiB: send the file by itself (tus, STOW-RS) and refer to it")
	errBroken = &ingest.Refusal{Reason: ingest.Failed, What: "the request broke off"}
)
