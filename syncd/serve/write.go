package serve

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"time"

	"clinicgate/syncd/amend"
	"clinicgate/syncd/cache"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/grant"
	"clinicgate/syncd/pending"
	"clinicgate/syncd/trail"
)

// Writes makes changes; *amend.Desk does.
type Writes interface {
	Make(ctx context.Context, e pending.Edit) (amend.Outcome, error)
	// Now is the name that holds now of a resource that was made here.
	Now(ref fhir.Ref) fhir.Ref
	// Current turns references by names from here into those that hold now.
	Current(body []byte) ([]byte, error)
}

// Writing is what changes of records need.
type Writing struct {
	Writes
	// Stands is a resource as it stands here, hidden or not.
	Stands func(ctx context.Context, ref fhir.Ref) (cache.Result, error)
}

// PendingHeader says how many resources of an answer the EHR does not have so yet.
const PendingHeader = "Clinicgate-Pending"

// change answers a request that changes records: one change, or a transaction of them.
//
//	stop before the trace of its beginning: nothing was done
//	stop behind it: the edit is in the journal or not; the trace says that it was begun
func (h *Handler) change(ctx context.Context, ask asking, all []wish, key string) (answer, amend.Outcome) {
	none := amend.Outcome{}
	g, e, refusal := h.mayChange(ask, all)
	if refusal != nil {
		return *refusal, none
	}
	edit, err := h.edit(ctx, all, g, key)
	if err != nil {
		return h.unwritten(err), none
	}
	edit.Author = pending.Author{Session: g.Session, Who: g.Subject, Role: g.Role, Room: g.Room, Device: ask.device}
	e.Patient = edit.patient.String()
	purpose, err := g.Over(h.ownerOf(ctx, g, edit))
	if err != nil {
		return h.denied(e, err), none
	}
	e.Purpose, edit.Author.Purpose = purpose, purpose
	if !h.still(ask) { // the body took its time, the card may be out
		return h.denied(e, &grant.Refusal{Reason: grant.NoSession}), none
	}
	e.Outcome = "begun"
	if a := h.traced(e, answer{trace: "begun"}); a.status != 0 {
		return a, none
	}
	out, err := h.Writing.Make(ctx, edit.Edit)
	a := h.made(ctx, all, edit, out, err)
	if len(out.Edit.Changes) > 0 && out.Edit.Changes[0].At != (fhir.Ref{}) {
		e.What = out.Edit.Changes[0].At.String()
	}
	return h.traced(e, a), out
}

// mayChange judges whether whoever asks may make such changes at all.
func (h *Handler) mayChange(ask asking, all []wish) (g grant.Grant, e trail.Entry, refusal *answer) {
	for i, w := range all {
		ask.Op, ask.Type = w.op, w.ref.Type
		one, err := grant.Decide(time.Now(), h.Roster(), h.Issuer, ask.Request)
		if i == 0 || err != nil {
			g = one
			e = trail.Entry{
				When: time.Now().UTC(), Session: g.Session, Who: g.Subject, Role: g.Role, Room: g.Room, Device: ask.device,
				Action: w.action(), What: w.what(), Purpose: g.Purpose(),
			}
		}
		if err != nil {
			a := h.denied(e, err)
			return g, e, &a
		}
		if h.Writing == nil {
			a := failure(http.StatusMethodNotAllowed, fhir.CodeNotSupported, "records can only be read here: write them in the EHR itself")
			a.header["Allow"] = "GET, HEAD"
			return g, e, &a
		}
		if w.err != nil {
			a := refused(w.err)
			return g, e, &a
		}
	}
	return g, e, nil
}

// still says whether the session behind a request lives.
func (h *Handler) still(ask asking) bool {
	ask.Op, ask.Type = grant.Create, "Patient"
	_, err := grant.Decide(time.Now(), h.Roster(), h.Issuer, ask.Request)
	var no *grant.Refusal
	return err == nil || errors.As(err, &no) && no.Known()
}

// ownerOf is whose record an edit is of. A patient who is made by it is known by the
// numbers that it gives.
func (h *Handler) ownerOf(ctx context.Context, g grant.Grant, e *draft) grant.Owner {
	if e.newPatient == nil {
		return h.owner(ctx, g, e.patient, e.patient)
	}
	o := grant.Owner{Type: "Patient", Names: []string{g.Name(e.patient.ID)}}
	numbers, err := fhir.Numbers(e.newPatient)
	o.Unsure = err != nil
	for _, n := range numbers {
		o.Names = append(o.Names, g.Name(n))
	}
	return o
}

// unwritten turns the reason why an edit can't be made into what a person can act on.
func (h *Handler) unwritten(err error) answer {
	var p *problem
	switch {
	case errors.As(err, &p), errors.Is(err, errMedia), errors.Is(err, fhir.ErrBody) && !errors.Is(err, fhir.ErrNonsense):
		return refused(err)
	}
	return h.unanswered(err)
}

// A problem is a change that can't be made as it is asked for.
type problem struct {
	status     int
	code, text string
}

func (p *problem) Error() string { return p.text }

func wrong(text string) error { return &problem{http.StatusBadRequest, fhir.CodeInvalid, text} }

// made answers what became of an edit.
func (h *Handler) made(ctx context.Context, all []wish, d *draft, out amend.Outcome, err error) answer {
	var no *fhir.Refusal
	switch {
	case errors.As(err, &no):
		a := ehrSaysNo(no)
		a.trace = "failed: refused by the EHR, status " + http.StatusText(no.Status)
		return a
	case err != nil:
		h.Log.Error("a change could not be taken", "err", err)
		a := failure(http.StatusServiceUnavailable, fhir.CodeTransient,
			"the change could not be kept safely and was not made: try again; if this stays, write it on paper and call support")
		a.header["Retry-After"] = "10"
		return a
	case out.Edit.Digest != d.Digest:
		return failure(http.StatusUnprocessableEntity, fhir.CodeConflict, "this Idempotency-Key was used for another change")
	case out.Edit.State == pending.Refused:
		return failure(http.StatusConflict, fhir.CodeConflict, "the EHR refused this change before; nothing was made of it")
	case out.Edit.State == pending.Clashed:
		return failure(http.StatusConflict, fhir.CodeConflict, "the EHR did not take this change; a Task has what was written and what the EHR has")
	}
	return h.madeOne(ctx, all[0], out, 0)
}

// madeOne answers one change of an edit.
func (h *Handler) madeOne(ctx context.Context, w wish, out amend.Outcome, i int) answer {
	c := out.Edit.Changes[i]
	a := answer{header: map[string]string{}}
	ref, version := c.Ref, out.Edit.Version(i)
	if out.Edit.State == pending.Done {
		ref, version = c.At, c.Version
		a.status, a.trace = http.StatusOK, "written"
		if c.New && !c.Found {
			a.status = http.StatusCreated
		}
	} else {
		a.status, a.trace = http.StatusAccepted, "kept here, on its way"
		a.header[PendingHeader] = "1"
	}
	if c.New {
		a.header["Location"] = h.Self + "/" + ref.String()
		if out.Edit.State == pending.Done && version != "" {
			a.header["Location"] += "/_history/" + version
		}
	}
	if version != "" {
		a.header["ETag"] = fhir.ETag(version)
	}
	h.show(ctx, &a, w, out, i, ref)
	return a
}

// show gives the resource back, if it is wanted and may be seen.
func (h *Handler) show(ctx context.Context, a *answer, w wish, out amend.Outcome, i int, ref fhir.Ref) {
	switch {
	case c(out, i).Hide:
		text := "hidden; nothing of it is deleted, its history shows it"
		if a.status == http.StatusAccepted {
			text = "hidden here; the EHR hears of it when it can be reached"
		}
		a.body = fhir.Outcome("information", fhir.CodeInformation, text)
		return
	case w.returns("minimal"):
		return
	case w.returns("OperationOutcome"):
		text := "written to the EHR"
		if a.status == http.StatusAccepted {
			text = "kept here durably and on its way to the EHR"
		}
		a.body = fhir.Outcome("information", fhir.CodeInformation, text)
		return
	}
	var body []byte
	if i < len(out.Written) {
		body = out.Written[i].Answer.Body
	}
	if body == nil {
		res, err := h.Writing.Stands(ctx, ref)
		if err != nil {
			return // it is made; that it can't be shown is no failure of that
		}
		body = res.Body
	}
	env, err := fhir.Decode(body, h.EHR)
	if err != nil || h.Writing.Now(env.Patient) != h.Writing.Now(out.Edit.Patient) {
		return // found by its number, and another patient's
	}
	if !env.Updated.IsZero() {
		a.header["Last-Modified"] = env.Updated.UTC().Format(http.TimeFormat)
	}
	a.body = body
}

func c(out amend.Outcome, i int) pending.Change { return out.Edit.Changes[i] }

// newID is an edit's id: the same for the same key of the same person, else a new one.
func newID(who, key string) string {
	var seed [32]byte
	rand.Read(seed[:]) // never fails (crypto/rand)
	if key != "" {
		seed = sha256.Sum256([]byte("clinicgate edit 1|" + hex.EncodeToString([]byte(who)) + "|" + key))
	}
	return pending.UUID(seed[:])
}

// returns says what Prefer wants back (http.html#return).
func (w wish) returns(what string) bool {
	return strings.Contains(strings.ReplaceAll(w.prefer, " ", ""), "return="+what)
}
