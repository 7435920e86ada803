package amend

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"clinicgate/syncd/fhir"
	"clinicgate/syncd/pending"
	"clinicgate/syncd/trail"
)

// send sends what is not made yet of an edit; made has what is.
func (d *Desk) send(ctx context.Context, e pending.Edit, changes []fhir.Change, made []*fhir.Written) ([]fhir.Written, error) {
	if len(changes) == 1 {
		w, err := d.EHR.Write(ctx, changes[0])
		if err != nil {
			return nil, err
		}
		return []fhir.Written{d.own(e, 0, w)}, nil
	}
	var index []int
	for i := range changes {
		if made == nil || made[i] == nil {
			index = append(index, i)
		}
	}
	body, err := d.EHR.Transact(ctx, bundle(e, changes, index))
	if err != nil {
		return nil, err
	}
	got, err := responses(body, e, changes, index, d.Base)
	if err != nil {
		return nil, err
	}
	out := make([]fhir.Written, len(changes))
	for i := range changes {
		if made != nil && made[i] != nil {
			out[i] = *made[i]
		}
	}
	for n, i := range index {
		out[i] = d.own(e, i, got[n])
	}
	return out, nil
}

// own says of what was found that it is the edit's own, from a time when nobody heard
// the answer.
func (d *Desk) own(e pending.Edit, i int, w fhir.Written) fhir.Written {
	if w.Found && (e.Changes[i].NoneExist == "" || pending.Carries(w.Answer.Body, e.Mark(i))) {
		w.Found = false
	}
	return w
}

// bundle is a transaction of some of an edit's changes.
func bundle(e pending.Edit, changes []fhir.Change, index []int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"resourceType":"Bundle","type":"transaction","entry":[`)
	for n, i := range index {
		if n > 0 {
			b.WriteByte(',')
		}
		c := changes[i]
		request := map[string]string{"method": "POST", "url": c.Ref.Type}
		full := "urn:uuid:" + e.Changes[i].Ref.ID
		if c.Ref.ID != "" {
			request = map[string]string{"method": "PUT", "url": c.Ref.String(), "ifMatch": fhir.ETag(c.Base)}
			full = ""
		} else {
			request["ifNoneExist"] = c.NoneExist
		}
		text, _ := json.Marshal(request) // of strings
		b.WriteByte('{')
		if full != "" {
			fmt.Fprintf(&b, `"fullUrl":"%s",`, full)
		}
		fmt.Fprintf(&b, `"resource":%s,"request":%s}`, c.Body, text)
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

// responses reads the answer to a transaction, entry by entry.
func responses(body []byte, e pending.Edit, changes []fhir.Change, index []int, base string) ([]fhir.Written, error) {
	var got struct {
		Entry []struct {
			Resource json.RawMessage
			Response struct{ Status, Location, Etag string }
		}
	}
	if err := json.Unmarshal(body, &got); err != nil || len(got.Entry) != len(index) {
		return nil, fmt.Errorf("%w: the answer to a transaction of %d has %d entries", fhir.ErrNonsense, len(index), len(got.Entry))
	}
	var all []fhir.Written
	for n, one := range got.Entry {
		c := changes[index[n]]
		status, _, _ := strings.Cut(one.Response.Status, " ")
		code, _ := strconv.Atoi(status)
		if code != http.StatusOK && code != http.StatusCreated {
			return nil, fmt.Errorf("%w: status %d in a transaction that is said to be done", fhir.ErrNonsense, code)
		}
		w := fhir.Written{Ref: c.Ref, Version: fhir.VersionOf(one.Response.Etag), Found: c.Ref.ID == "" && code == http.StatusOK}
		w.Answer.At = time.Now()
		if env, err := fhir.Decode(one.Resource, base); err == nil && env.Type == c.Ref.Type && env.ID != "" {
			w.Ref, w.Answer.Body, w.Version = env.Ref, one.Resource, env.Version
		} else if parts := strings.Split(one.Response.Location, c.Ref.Type+"/"); len(parts) > 1 && c.Ref.ID == "" {
			id, rest, _ := strings.Cut(parts[len(parts)-1], "/_history/")
			w.Ref.ID = id
			if w.Version == "" {
				w.Version = rest
			}
		}
		if _, err := fhir.ParseRef(w.Ref.Type, w.Ref.ID); err != nil || c.Ref.ID != "" && w.Ref != c.Ref {
			return nil, fmt.Errorf("%w: a transaction that does not say what it made", fhir.ErrNonsense)
		}
		if w.Version != "" {
			w.Answer.ETag = fhir.ETag(w.Version)
		}
		all = append(all, w)
	}
	return all, nil
}

// errUnknown is a question about an edit that the EHR did not answer.
var errUnknown = errors.New("the EHR does not say whether it has a change")

// asked finds out what of an edit that was sent before is at the EHR.
func (d *Desk) asked(ctx context.Context, e pending.Edit, changes []fhir.Change) (made []*fhir.Written, all bool, err error) {
	made, all = make([]*fhir.Written, len(changes)), true
	for i, c := range changes {
		if made[i], err = d.find(ctx, e, i, c); err != nil {
			return nil, false, err
		}
		all = all && made[i] != nil
	}
	return made, all, nil
}

// find finds one change by its marks: what was made by its identifier, and the version
// that carries the edit's tag in the history.
func (d *Desk) find(ctx context.Context, e pending.Edit, i int, c fhir.Change) (*fhir.Written, error) {
	ref := c.Ref
	if ref.ID == "" {
		mark := pending.EditSystem + "|" + e.Mark(i)
		a, _, err := d.EHR.Ask(ctx, fhir.Listing{Name: "edit/" + e.Mark(i), Type: ref.Type, Query: "identifier=" + mark}, "")
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errUnknown, err)
		}
		found, err := fhir.Resources(a.Body)
		if err != nil || len(found) == 0 {
			return nil, err
		}
		env, err := fhir.Decode(found[0], d.Base)
		if err != nil || !pending.Named(found[0], e.Mark(i)) {
			return nil, fmt.Errorf("%w: a search by identifier finds what has not got it", errUnknown)
		}
		ref = env.Ref
	}
	a, _, err := d.EHR.Ask(ctx, fhir.History{Of: ref}, "")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnknown, err)
	}
	versions, err := fhir.Resources(a.Body)
	if err != nil {
		return nil, err
	}
	var w *fhir.Written
	for _, v := range versions { // newest first: the last is the one that was made
		if v == nil || !pending.Carries(v, e.Mark(i)) {
			continue
		}
		if env, err := fhir.Decode(v, d.Base); err == nil {
			w = &fhir.Written{Ref: ref, Version: env.Version, Answer: fhir.Answer{Body: v, ETag: fhir.ETag(env.Version), At: a.At}}
		}
	}
	return w, nil
}

// done notes that the EHR has an edit.
//
//	stop before the journal knows: the edit is found at the EHR by its marks, and not
//	sent again
func (d *Desk) done(e pending.Edit, written []fhir.Written) pending.Edit {
	e.State, e.Ended = pending.Done, time.Now().UTC()
	patient := d.Now(e.Patient)
	for i, w := range written {
		c := &e.Changes[i]
		c.At, c.Version, c.Found, c.Body = w.Ref, w.Version, w.Found, nil
		if c.Ref == e.Patient {
			patient = w.Ref
		}
	}
	for _, w := range written { // before it is gone from what is laid over
		if d.Wrote != nil {
			d.Wrote(patient, w)
		}
	}
	d.note(e)
	d.settle(e)
	return e
}

// traced leaves the trace of what became of an edit when nobody waited for it.
func (d *Desk) traced(e pending.Edit, outcome string) {
	for _, c := range e.Changes {
		what := c.Ref
		if c.At != (fhir.Ref{}) {
			what = c.At
		}
		err := d.Trail.Append(trail.Entry{
			When: time.Now().UTC(), Session: e.Session, Who: e.Who, Role: e.Role, Room: e.Room, Device: "gateway",
			Action: c.Action(), What: what.String(), Patient: d.Now(e.Patient).String(), Purpose: e.Purpose, Outcome: outcome,
		})
		if err != nil {
			d.Log.Error("the delivery of a change could not be traced", "err", err)
		}
	}
}
