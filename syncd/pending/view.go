package pending

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"clinicgate/syncd/fhir"
)

// A View is a resource as this clinic is to see it before the EHR does.
type View struct {
	Ref     fhir.Ref // by the name that holds now
	Patient fhir.Ref
	Version string
	Body    []byte
	Hidden  bool
	New     bool
	When    time.Time
	Facets  fhir.Facets

	seq uint64
}

// see is how a resource looks after a change of an edit under way.
func (b *Book) see(p place) (View, bool) {
	e, c := *p.e, p.change()
	ref := b.Now(c.Ref)
	body, err := b.Current(c.Body)
	if err == nil {
		e.Changes = slices.Clone(e.Changes)
		e.Changes[p.i].Ref, e.Changes[p.i].Body = ref, body
		body, err = e.shown(p.i)
	}
	if err != nil {
		return View{}, false // it was read when it was taken
	}
	v := View{Ref: ref, Patient: b.Now(e.Patient), Version: e.Version(p.i), Body: body, Hidden: c.Hide, When: e.When, seq: e.Seq}
	v.New, _ = b.IsMade(c.Ref)
	v.Facets, _ = fhir.Facet(body, b.base) // what can't be found by them is not
	return v, true
}

// newest is the last change under way of a resource, by any of its names.
func (b *Book) newest(ref fhir.Ref) (last place, ok bool) {
	for _, name := range []fhir.Ref{ref, b.named[ref], b.Now(ref)} {
		for _, p := range b.touched[name] {
			if !ok || p.e.Seq > last.e.Seq {
				last, ok = p, true
			}
		}
	}
	return last, ok
}

// Of returns what is pending of one resource, by any of its names.
func (b *Book) Of(ref fhir.Ref) (View, bool) {
	if len(b.touched) == 0 {
		return View{}, false
	}
	p, ok := b.newest(ref)
	if !ok {
		return View{}, false
	}
	return b.see(p)
}

// Views are what is pending of a patient, oldest first.
func (b *Book) Views(patient fhir.Ref) []View {
	return b.views(b.open[b.Now(patient)], func(*Change) bool { return true })
}

// ViewsOf are the pending resources of a type, of everybody.
func (b *Book) ViewsOf(typ string) []View {
	if len(b.open) == 0 {
		return nil
	}
	var all []*Edit
	for _, edits := range b.open {
		all = append(all, edits...)
	}
	return b.views(all, func(c *Change) bool { return c.Ref.Type == typ })
}

func (b *Book) views(edits []*Edit, want func(*Change) bool) (all []View) {
	last := map[fhir.Ref]place{}
	for _, e := range edits {
		for i := range e.Changes {
			if c := &e.Changes[i]; want(c) && (last[b.Now(c.Ref)].e == nil || last[b.Now(c.Ref)].e.Seq <= e.Seq) {
				last[b.Now(c.Ref)] = place{e, i}
			}
		}
	}
	for _, p := range last {
		if v, ok := b.see(p); ok {
			all = append(all, v)
		}
	}
	slices.SortFunc(all, func(x, y View) int {
		return cmp.Or(cmp.Compare(x.seq, y.seq), cmp.Compare(x.Ref.String(), y.Ref.String()))
	})
	return all
}

// Overlay lays pending resources over what was found of them: it replaces those that
// changed, leaves out those that do not match any more or are hidden, and adds those
// that match now. entries are fhir.NewEntry's.
func Overlay(entries []json.RawMessage, views []View, base string, matches func(View) bool) (out []json.RawMessage, laid int) {
	at := map[fhir.Ref]View{}
	for _, v := range views {
		at[v.Ref] = v
	}
	been := map[fhir.Ref]bool{}
	for _, entry := range entries {
		resource, include, ok := fhir.ResourceOf(entry)
		if !ok {
			out = append(out, entry)
			continue
		}
		if Hidden(resource) {
			if env, err := fhir.Decode(resource, base); err != nil || !at[env.Ref].shows() {
				continue
			}
		}
		v, changed := View{}, false
		if len(views) > 0 {
			if env, err := fhir.Decode(resource, base); err == nil {
				v, changed = at[env.Ref]
			}
		}
		switch {
		case !changed:
			out = append(out, entry)
		case v.Hidden || !include && !matches(v):
			been[v.Ref] = true
			laid++
		default:
			been[v.Ref] = true
			out = append(out, fhir.NewEntry(v.Body, include))
			laid++
		}
	}
	for _, v := range views {
		if !been[v.Ref] && !v.Hidden && matches(v) {
			out = append(out, fhir.NewEntry(v.Body, false))
			laid++
		}
	}
	return out, laid
}

// shows says whether a pending change brings a hidden resource back.
func (v View) shows() bool { return v.Body != nil && !v.Hidden }

// MayHide says whether an answer may have something hidden in it: worth a look.
func MayHide(body []byte) bool { return bytes.Contains(body, []byte(HiddenSystem)) }
