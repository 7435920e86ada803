package cache

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"clinicgate/syncd/fhir"
)

func httpTime(t time.Time) string { return t.UTC().Format(http.TimeFormat) }

func cut(key string) (typ, id string) {
	typ, id, _ = strings.Cut(key, "/")
	return typ, id
}

// What an answer from here may lack.
const (
	onlySeen     = "only what was read here before is looked through; there may be more."
	onlyPatients = "only patients whose records were read here before are looked through; there may be others."
	notIncluded  = "some of what the records refer to is not kept here."
	notKept      = "some records are not kept here any more."
	tooMany      = "there are more matches than are gathered here; narrow the search."
	notAllTypes  = "only what was read here before is shown; there may be more."
)

// local answers a question, within what the site lets be shown.
func (r *Reader) local(q fhir.Query) (res Result, ok bool) {
	if res, ok = r.built(q); !ok {
		return res, false
	}
	res.Policy.MaxAge = -1
	return res, r.bears(TTL(time.Now(), &res.Answer, r.Fresh))
}

// built answers a question from what is stored, when the EHR can't be asked and the
// same question was not asked before. Nothing found is an answer only where all there
// is has been seen: otherwise ok is false, for a gap must not look like an absence.
func (r *Reader) built(q fhir.Query) (res Result, ok bool) {
	switch q := q.(type) {
	case fhir.Search:
		return r.search(q)
	case fhir.Everything:
		return r.everything(q)
	case fhir.Version:
		a, ok, err := r.Cache.Get(q.Of.Key())
		if err != nil || !ok || a.ETag != `W/"`+q.Number+`"` {
			return Result{}, false
		}
		return Result{Answer: a}, true // a version never changes
	}
	return Result{}, false
}

// maxLocal bounds the matches of a search here, which are held in memory.
const maxLocal = 2000

// A pool is what a search found among what it looked through.
type pool struct {
	found   []Found
	at      time.Time // all there was then was looked through; zero: perhaps not all
	partial string
}

// add takes a resource into the pool if the search is for it.
func (p *pool) add(s fhir.Search, f Found) {
	switch {
	case f.Ref.Type != s.Type || f.Policy.Revalidate || !s.Matches(f.Facets):
	case len(p.found) == maxLocal:
		p.partial = tooMany
	default:
		p.found = append(p.found, f)
	}
}

// whole looks through all of a type of a patient, as it was when the EHR was asked
// for it last.
func (r *Reader) whole(s fhir.Search) (p pool, ok bool) {
	list, members, ok, err := r.Cache.readList(s.Whole().Key())
	if err != nil || !ok || list.Policy.Revalidate {
		return p, false
	}
	p.at = list.At
	for _, m := range members {
		ref, ok := m.ref()
		if !ok || m.Include {
			continue
		}
		f, ok, err := r.Cache.Find(ref)
		if err != nil || !ok {
			p.partial = notKept
			continue
		}
		p.add(s, f)
	}
	return p, true
}

// seen looks through what has been read of a patient's type, or of patients, in
// whatever way.
func (r *Reader) seen(s fhir.Search) (p pool) {
	p.partial = onlySeen
	if s.Patient == (fhir.Ref{}) {
		p.partial = onlyPatients
	}
	keys, lists := s.Candidates()
	for _, k := range keys {
		var ref fhir.Ref
		if ref.Type, ref.ID = cut(k); isRef(k) {
			if f, ok, err := r.Cache.Find(ref); err == nil && ok {
				p.add(s, f)
			}
		}
	}
	for _, l := range lists {
		if _, err := r.Cache.List(l, func(f Found) { p.add(s, f) }); err != nil {
			r.Log.Error("a list of the index can't be read", "err", err)
		}
	}
	return p
}

func (r *Reader) search(s fhir.Search) (Result, bool) {
	var p pool
	ok := false
	if s.Patient != (fhir.Ref{}) {
		p, ok = r.whole(s)
	}
	if !ok {
		p = r.seen(s)
	}
	matches := p.found
	if len(matches) == 0 && p.partial != "" {
		return Result{}, false
	}
	slices.SortStableFunc(matches, func(a, b Found) int {
		return cmp.Or(s.Compare(a.Facets, b.Facets), strings.Compare(a.Ref.ID, b.Ref.ID))
	})
	matches = slices.CompactFunc(matches, func(a, b Found) bool { return a.Ref == b.Ref })
	entries := make([]json.RawMessage, 0, len(matches))
	res := Result{Partial: p.partial}
	res.At = p.at
	for _, m := range matches {
		entries = append(entries, fhir.NewEntry(m.Body, false))
		if p.at.IsZero() && (res.At.IsZero() || m.At.Before(res.At)) {
			res.At = m.At // as old as the oldest
		}
	}
	included, all := r.include(s, matches)
	if !all {
		res.Partial = strings.TrimSpace(res.Partial + " " + notIncluded)
	}
	res.Body = fhir.Join(append(entries, included...))
	return res, true
}

// include finds what matches refer to, as the search wants it: nobody's, or the same
// patient's.
func (r *Reader) include(s fhir.Search, matches []Found) (entries []json.RawMessage, all bool) {
	all = true
	been := map[fhir.Ref]bool{}
	for _, m := range matches {
		been[m.Ref] = true
	}
	for _, m := range matches {
		for _, ref := range s.Refers(m.Facets) {
			if been[ref] {
				continue
			}
			been[ref] = true
			f, ok, err := r.Cache.Find(ref)
			if err != nil || !ok {
				all = false
				continue
			}
			if f.Facets.Patient == (fhir.Ref{}) || f.Facets.Patient == s.Patient {
				entries = append(entries, fhir.NewEntry(f.Body, true))
			}
		}
	}
	return entries, all
}

// everything puts together what is known of a patient.
func (r *Reader) everything(e fhir.Everything) (Result, bool) {
	p, ok, err := r.Cache.Find(e.Patient)
	if err != nil || !ok || p.Policy.Revalidate || e.Since != "" {
		return Result{}, false
	}
	res := Result{}
	res.At = p.At
	var entries []json.RawMessage
	if e.Wants("Patient") {
		entries = append(entries, fhir.NewEntry(p.Body, false))
	}
	for _, typ := range fhir.Clinical() {
		if !e.Wants(typ) {
			continue
		}
		of, ok := r.whole(fhir.Whole(typ, e.Patient))
		if !ok {
			of = r.seen(fhir.Whole(typ, e.Patient))
			res.Partial = notAllTypes
		} else if of.partial != "" {
			res.Partial = of.partial
		}
		if ok && of.at.Before(res.At) {
			res.At = of.at
		}
		for _, f := range of.found {
			entries = append(entries, fhir.NewEntry(f.Body, false))
		}
	}
	if len(entries) == 0 {
		return Result{}, false
	}
	res.Body = fhir.Join(entries)
	return res, true
}

// confirmedAt is when the EHR last said that a record is so: by itself, or in a list
// of all of its type of the patient.
func (r *Reader) confirmedAt(ref fhir.Ref, a fhir.Answer) time.Time {
	f, ok, err := r.Cache.Find(ref)
	if err != nil || !ok || f.Facets.Patient == (fhir.Ref{}) || ref.Type == "Patient" {
		return a.At
	}
	list, members, ok, err := r.Cache.readList(fhir.Whole(ref.Type, f.Facets.Patient).Key())
	if err != nil || !ok || !list.At.After(a.At) || !slices.ContainsFunc(members, func(m member) bool { return m.Ref == ref.String() }) {
		return a.At
	}
	return list.At
}
