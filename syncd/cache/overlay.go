package cache

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"clinicgate/syncd/fhir"
	"clinicgate/syncd/pending"
)

// Pending is what was changed here and is not at the EHR yet; *amend.Desk knows it. Safe
// for concurrent use.
type Pending interface {
	// Now is the name that holds now of a resource that was made here.
	Now(ref fhir.Ref) fhir.Ref
	// IsMade says whether a resource was made here and is not at the EHR yet; lost, that
	// the EHR did not take it.
	IsMade(ref fhir.Ref) (made, lost bool)
	Of(ref fhir.Ref) (pending.View, bool)
	Views(patient fhir.Ref) []pending.View
	ViewsOf(typ string) []pending.View
}

// none is a reader's Pending where nothing is written.
type none struct{}

func (none) Now(ref fhir.Ref) fhir.Ref             { return ref }
func (none) IsMade(fhir.Ref) (made, lost bool)     { return false, false }
func (none) Of(fhir.Ref) (v pending.View, ok bool) { return v, false }
func (none) Views(fhir.Ref) []pending.View         { return nil }
func (none) ViewsOf(string) []pending.View         { return nil }

func (r *Reader) pending() Pending {
	if r.Pending == nil {
		return none{}
	}
	return r.Pending
}

// Read answers q as this clinic is to see it: what the EHR has or had, under what was
// changed here since. What is hidden is not shown, and said to be.
func (r *Reader) Read(ctx context.Context, q fhir.Query) (Result, error) {
	switch q := q.(type) {
	case fhir.Ref:
		res, err := r.Current(ctx, q)
		if err == nil && pending.Hidden(res.Body) {
			return Result{}, hidden(q)
		}
		return res, err
	case fhir.Version:
		q.Of = r.pending().Now(q.Of)
		if v, ok := r.pending().Of(q.Of); ok && v.Version == q.Number {
			return r.view(v), nil
		}
		return r.known(ctx, q)
	case fhir.History:
		q.Of = r.pending().Now(q.Of)
		return r.known(ctx, q)
	case fhir.Search:
		return r.overSearch(ctx, q)
	case fhir.Everything:
		return r.overAll(ctx, q)
	}
	return r.known(ctx, q)
}

// Current is a resource as it stands here, hidden or not.
func (r *Reader) Current(ctx context.Context, ref fhir.Ref) (Result, error) {
	if _, lost := r.pending().IsMade(ref); lost {
		return Result{}, &fhir.Refusal{Status: http.StatusGone, Body: fhir.Failure(fhir.CodeConflict,
			"the EHR did not take what was written here; what was written is in a Task for its author")}
	}
	ref = r.pending().Now(ref)
	v, changed := r.pending().Of(ref)
	if changed {
		return r.view(v), nil
	}
	return r.known(ctx, ref)
}

// view is a pending resource as an answer.
func (r *Reader) view(v pending.View) Result {
	a := fhir.Answer{Body: v.Body, ETag: fhir.ETag(v.Version), LastModified: httpTime(v.When), At: v.When, Policy: fhir.Policy{MaxAge: -1}}
	return Result{Answer: a, How: Written, Pending: 1}
}

func hidden(ref fhir.Ref) error {
	return &fhir.Refusal{Status: http.StatusGone, Body: fhir.Failure(fhir.CodeDeleted,
		"this was hidden by a doctor; nothing of it is deleted: "+ref.String()+"/_history has it")}
}

// overSearch is a search with what is pending laid over it.
func (r *Reader) overSearch(ctx context.Context, s fhir.Search) (Result, error) {
	var views []pending.View
	if s.Patient == (fhir.Ref{}) {
		views = r.pending().ViewsOf(s.Type)
	} else {
		s = s.For(r.pending().Now(s.Patient))
		views = r.pending().Views(s.Patient)
	}
	matches := func(v pending.View) bool { return v.Ref.Type == s.Type && s.Matches(v.Facets) }
	res, err := r.under(ctx, s, s.Patient, slices.ContainsFunc(views, matches))
	if err != nil {
		return res, err
	}
	res, err = r.lay(res, views, matches)
	if err == nil && res.Pending > 0 && len(s.Sort) > 0 {
		err = r.sort(&res, s)
	}
	return res, err
}

// overAll is $everything with what is pending laid over it.
func (r *Reader) overAll(ctx context.Context, e fhir.Everything) (Result, error) {
	e.Patient = r.pending().Now(e.Patient)
	views := r.pending().Views(e.Patient)
	res, err := r.under(ctx, e, e.Patient, len(views) > 0)
	if err != nil {
		return res, err
	}
	return r.lay(res, views, func(v pending.View) bool { return e.Wants(v.Ref.Type) })
}

// under is what the EHR has below what is pending. A patient who was made here has
// nothing there; of one who can't be asked for, what was written here is at least that.
func (r *Reader) under(ctx context.Context, q fhir.Query, patient fhir.Ref, some bool) (Result, error) {
	if made, _ := r.pending().IsMade(patient); made {
		res := Result{How: Written}
		res.Body, res.At = fhir.Join(nil), time.Now()
		return res, nil
	}
	res, err := r.known(ctx, q)
	if err == nil || !some || !silent(err) {
		return res, err
	}
	res = Result{How: Stale, Why: err.Error(), Partial: onlyWritten}
	res.Body, res.At = fhir.Join(nil), time.Now()
	return res, nil
}

const onlyWritten = "only what was written here and is not at the EHR yet is shown; there may be more."

// lay lays views over an answer of many resources, and leaves out what is hidden.
func (r *Reader) lay(res Result, views []pending.View, matches func(pending.View) bool) (Result, error) {
	if len(views) == 0 && !pending.MayHide(res.Body) {
		return res, nil
	}
	entries, err := fhir.Entries(res.Body)
	if err != nil {
		return res, err
	}
	entries, res.Pending = pending.Overlay(entries, views, r.Cache.base, matches)
	res.Body = fhir.Join(entries)
	return res, nil
}

// sort puts an answer into the order that was asked for, the pending among the others.
func (r *Reader) sort(res *Result, s fhir.Search) error {
	entries, err := fhir.Entries(res.Body)
	if err != nil {
		return err
	}
	type line struct {
		entry   json.RawMessage
		include bool
		facets  fhir.Facets
	}
	lines := make([]line, len(entries))
	for i, e := range entries {
		resource, include, _ := fhir.ResourceOf(e)
		lines[i] = line{entry: e, include: include}
		lines[i].facets, _ = fhir.Facet(resource, r.Cache.base) // last, if it can't be read
	}
	slices.SortStableFunc(lines, func(a, b line) int {
		switch {
		case a.include != b.include && a.include:
			return 1
		case a.include != b.include:
			return -1
		case a.include:
			return 0
		}
		return s.Compare(a.facets, b.facets)
	})
	for i := range lines {
		entries[i] = lines[i].entry
	}
	res.Body = fhir.Join(entries)
	return nil
}

// The mark of a change of ours, in the cache: what was asked for before is out of date.
// Of a resource it has the time; of a type of a patient's, too.
func wroteKey(of string) string { return "wrote/" + of }

// Wrote takes the EHR's word that a change of ours is made.
//
//	stop before the mark: an old answer may be given until it is stale
func (r *Reader) Wrote(patient fhir.Ref, w fhir.Written) {
	now := w.Answer
	at := time.Now() // what was asked for before may lack it
	if now.Body == nil {
		if a, _, err := r.Source.Ask(context.Background(), w.Ref, ""); err == nil {
			now = a
		}
	}
	records := []Keyed{
		{wroteKey(w.Ref.Key()), fhir.Answer{At: at, Body: []byte("1")}},
		{wroteKey(patient.String() + "/" + w.Ref.Type), fhir.Answer{At: at, Body: []byte("1")}},
	}
	if now.Body != nil && !now.Policy.NoStore {
		now.At, now.Policy.MaxAge = at, -1 // its policy was of an answer to a change
		records = append(records, Keyed{w.Ref.Key(), now})
		records = append(records, r.joined(patient, w.Ref)...)
	}
	err := r.Cache.PutAll(records)
	if err == nil && now.Body == nil {
		err = r.Cache.Drop(w.Ref.Key())
	}
	if err != nil {
		r.Log.Error("keep what was written", "err", err)
	}
	if r.Seen != nil && now.Body != nil {
		r.Seen(w.Ref, now)
	}
}

// joined are the lists of all of a patient's type, and of all of a patient, with one
// resource more.
func (r *Reader) joined(patient, ref fhir.Ref) (lists []Keyed) {
	for _, key := range []string{fhir.Whole(ref.Type, patient).Key(), fhir.Everything{Patient: patient}.Key()} {
		list, members, ok, err := r.Cache.readList(key)
		if err != nil || !ok || slices.ContainsFunc(members, func(m member) bool { return m.Ref == ref.String() }) {
			continue
		}
		lists = append(lists, listOf(key, list, append(members, member{Ref: ref.String()})))
	}
	return lists
}

// outdated says that an answer was asked for before a change of ours that it may not
// show.
func (r *Reader) outdated(q fhir.Query, a *fhir.Answer) bool {
	key := ""
	switch q := q.(type) {
	case fhir.Ref:
		key = q.Key()
	case fhir.History:
		key = q.Of.Key()
	case fhir.Search:
		if key = q.Patient.String() + "/" + q.Type; q.Patient == (fhir.Ref{}) {
			return false
		}
	default:
		return false
	}
	mark, ok, err := r.Cache.Get(wroteKey(key))
	return err == nil && ok && a.At.Before(mark.At)
}

// mayLack says that a stored answer may not show a change of ours. A resource is stored
// with the change, and the list of all of a type is kept up with it.
func (r *Reader) mayLack(q fhir.Query, a *fhir.Answer) bool {
	switch q := q.(type) {
	case fhir.History:
		return r.outdated(q, a)
	case fhir.Search:
		return q.Key() != q.Whole().Key() && r.outdated(q, a)
	}
	return false
}
