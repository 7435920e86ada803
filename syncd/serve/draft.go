package serve

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"clinicgate/syncd/cache"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/fhir/patch"
	"clinicgate/syncd/grant"
	"clinicgate/syncd/pending"
)

// A wish is one change as it is asked for, alone or in a transaction.
type wish struct {
	method    string
	op        grant.Op
	ref       fhir.Ref // its id is empty in a create
	kind      string   // of the body
	body      []byte
	match     string // If-Match
	noneExist string // If-None-Exist
	prefer    string
	fullURL   string
	err       error // why it can't be understood
}

// wishFor reads what is to be changed and how. The operation is known even when the
// rest is wrong: whoever may not change gets told that first.
func wishFor(method, rest, query string) wish {
	w := wish{method: method, op: grant.Update}
	part := strings.Split(strings.Trim(rest, "/"), "/")
	w.ref.Type = part[0]
	switch method {
	case http.MethodPost:
		w.op = grant.Create
	case http.MethodDelete:
		w.op = grant.Delete
	case http.MethodPut, http.MethodPatch:
	default:
		w.err = fmt.Errorf("%w: %.10q is not a way to change a record", errPath, method)
	}
	switch {
	case w.err != nil:
	case !fhir.IsType(w.ref.Type):
		w.err = fmt.Errorf("%w: got %.40q", fhir.ErrType, w.ref.Type)
	case method == http.MethodPost && len(part) == 1:
	case len(part) == 1 && query != "":
		w.err = &problem{http.StatusNotImplemented, fhir.CodeNotSupported, "conditional update and delete are not taken: read the resource, and change it by its id"}
	case method == http.MethodPost || len(part) != 2:
		w.err = fmt.Errorf("%w: want POST %s/Type, or PUT, PATCH or DELETE %s/Type/id", errPath, Base, Base)
	default:
		w.ref, w.err = fhir.ParseRef(part[0], part[1])
	}
	if w.err == nil && !fhir.IsWritable(w.ref.Type) {
		w.err = &problem{http.StatusMethodNotAllowed, fhir.CodeNotSupported, w.ref.Type + " is not changed here, see the CapabilityStatement"}
	}
	if w.err == nil && w.ref.Type == "Patient" && method == http.MethodDelete {
		w.err = &problem{http.StatusMethodNotAllowed, fhir.CodeNotSupported, "a patient is not hidden here: all of the record hangs on it"}
	}
	return w
}

func (w wish) action() string {
	switch w.op {
	case grant.Create:
		return "create"
	case grant.Delete:
		return "delete"
	}
	if w.method == http.MethodPatch {
		return "patch"
	}
	return "update"
}

func (w wish) what() string {
	if w.ref.ID != "" {
		return w.ref.String()
	}
	if fhir.IsType(w.ref.Type) {
		return w.ref.Type
	}
	return "?"
}

// A draft is an edit before it is made.
type draft struct {
	pending.Edit
	patient    fhir.Ref // whose record it changes
	newPatient []byte   // that patient, if this makes it
}

// edit makes an edit of what is asked for: each change on the version it is based on, by
// the names that hold now, of one patient.
func (h *Handler) edit(ctx context.Context, all []wish, g grant.Grant, key string) (*draft, error) {
	d := &draft{Edit: pending.Edit{ID: newID(g.Subject, key), When: time.Now().UTC()}}
	sum := sha256.New()
	names := map[string]fhir.Ref{} // what entries call each other
	for i, w := range all {
		fmt.Fprintf(sum, "%s %s %s %d|", w.method, w.ref, w.match, len(w.body))
		sum.Write(w.body)
		c := pending.Change{Ref: h.Writing.Now(w.ref)}
		if w.op == grant.Create {
			id := sha256.Sum256([]byte("clinicgate id 1|" + d.Mark(i)))
			c.New, c.Ref.ID = true, pending.UUID(id[:])
			if w.fullURL != "" {
				names[w.fullURL] = c.Ref
			}
		}
		d.Changes = append(d.Changes, c)
	}
	d.Digest = hex.EncodeToString(sum.Sum(nil))
	seen := map[fhir.Ref]bool{}
	for i, w := range all {
		if seen[d.Changes[i].Ref] {
			return nil, wrong("a resource is there twice in one transaction")
		}
		seen[d.Changes[i].Ref] = true
		if err := h.draw(ctx, d, i, w, names); err != nil {
			return nil, err
		}
	}
	d.Edit.Patient = d.patient
	return d, nil
}

// draw makes one change of a draft.
func (h *Handler) draw(ctx context.Context, d *draft, i int, w wish, names map[string]fhir.Ref) error {
	c := &d.Changes[i]
	var stands cache.Result
	var err error
	if !c.New {
		if stands, err = h.Writing.Stands(ctx, c.Ref); err != nil {
			return err
		}
	}
	body := w.body
	switch w.method {
	case http.MethodDelete:
		c.Hide, body = true, stands.Body
	case http.MethodPatch:
		if body, err = patched(w, stands.Body); err != nil {
			return err
		}
	default:
		if !fhir.JSONBody(w.kind) {
			return fmt.Errorf("%w: got %.60q, want application/fhir+json", errMedia, w.kind)
		}
	}
	env, err := fhir.Decode(body, h.EHR)
	switch {
	case err != nil:
		return err
	case env.Type != c.Ref.Type:
		return wrong("the resource is not of the type in the address")
	case w.method != http.MethodPost && env.ID != w.ref.ID && env.ID != c.Ref.ID:
		return wrong("the resource's id is not the one in the address")
	}
	if err := h.base(c, w, env, stands); err != nil {
		return err
	}
	if body, err = pending.Renamed(body, names); err == nil {
		body, err = h.Writing.Current(body)
	}
	if err == nil {
		c.Body, err = pending.Plain(body, "")
	}
	if err != nil {
		return wrong(err.Error())
	}
	c.Closes = pending.Closes(c.Body)
	return h.belongs(d, i, stands)
}

// base finds the version that a change is based on, and holds it against what stands.
func (h *Handler) base(c *pending.Change, w wish, env fhir.Envelope, stands cache.Result) error {
	if c.New {
		if w.noneExist == "" {
			return nil
		}
		q, err := url.ParseQuery(strings.TrimPrefix(w.noneExist, "?"))
		if err != nil || len(q) != 1 || len(q["identifier"]) != 1 || !strings.Contains(q.Get("identifier"), "|") {
			return wrong("If-None-Exist: want identifier=SYSTEM|VALUE and nothing else")
		}
		c.NoneExist = "identifier=" + url.QueryEscape(q.Get("identifier"))
		return nil
	}
	now := fhir.VersionOf(stands.ETag)
	switch {
	case w.match != "":
		if c.Base = fhir.VersionOf(w.match); c.Base == "" {
			return wrong(`If-Match: want one version as W/"VERSION"`)
		}
	case w.method == http.MethodPut:
		if c.Base = env.Version; c.Base == "" {
			return wrong("it does not say which version it changes: send If-Match with the ETag that was read, or meta.versionId")
		}
	default:
		c.Base = now
	}
	if stands.How == cache.Written && c.Base != now {
		return &problem{http.StatusPreconditionFailed, fhir.CodeConflict, "it was changed here since it was read: read it again"}
	}
	if c.Base == "" {
		return &problem{http.StatusPreconditionFailed, fhir.CodeConflict, "the EHR does not say which version it has, so it can't be changed safely"}
	}
	return nil
}

// belongs holds a change to the one patient of its edit, and to the one whose it was.
func (h *Handler) belongs(d *draft, i int, stands cache.Result) error {
	c := &d.Changes[i]
	env, err := fhir.Decode(c.Body, h.EHR)
	if err != nil {
		return err
	}
	patient := h.Writing.Now(env.Patient)
	if c.Ref.Type == "Patient" {
		patient = c.Ref
		if c.New {
			d.newPatient = c.Body
		}
	}
	if patient.ID == "" {
		return &problem{http.StatusUnprocessableEntity, fhir.CodeInvalid, "it does not say whose record it belongs to: want a reference to a Patient"}
	}
	if len(stands.Body) > 0 && c.Ref.Type != "Patient" {
		was, err := fhir.Decode(stands.Body, h.EHR)
		if err != nil {
			return err
		}
		if h.Writing.Now(was.Patient) != patient {
			return &problem{http.StatusUnprocessableEntity, fhir.CodeConflict, "it belongs to another patient: a record is not moved from one to another here"}
		}
	}
	if d.patient.ID != "" && d.patient != patient {
		return &problem{http.StatusUnprocessableEntity, fhir.CodeConflict, "one transaction changes the record of one patient"}
	}
	d.patient = patient
	return nil
}

// patched is what stands with a JSON Patch on it.
func patched(w wish, stands []byte) ([]byte, error) {
	if w.kind != "application/json-patch+json" {
		return nil, &problem{http.StatusUnsupportedMediaType, fhir.CodeNotSupported,
			"a patch is taken as JSON Patch alone (application/json-patch+json); FHIRPath Patch and XML Patch are not"}
	}
	body, err := patch.Apply(stands, w.body)
	switch {
	case errors.Is(err, patch.ErrApply):
		return nil, &problem{http.StatusUnprocessableEntity, fhir.CodeInvalid, err.Error()}
	case err != nil:
		return nil, wrong(err.Error())
	}
	return body, nil
}
