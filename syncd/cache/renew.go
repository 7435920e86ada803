package cache

import (
	"context"
	"slices"
	"time"

	"clinicgate/syncd/fhir"
)

// Renew asks the EHR for all of a patient, or for what changed since then, whatever
// is stored, and stores it. It returns the bytes that the EHR said.
func (r *Reader) Renew(ctx context.Context, patient fhir.Ref, since time.Time) (int64, error) {
	e := fhir.Everything{Patient: patient}
	if !since.IsZero() {
		e.Since = since.UTC().Format(time.RFC3339)
	}
	a, _, err := r.Source.Ask(ctx, e, "")
	if r.Asked != nil && ctx.Err() == nil {
		r.Asked(err)
	}
	if err != nil || a.Policy.NoStore {
		return 0, err
	}
	if e.Since == "" {
		err = r.putSet(e, a)
	} else {
		err = r.merge(patient, a)
	}
	if r.Kept != nil {
		r.Kept(err)
	}
	return int64(len(a.Body)), err
}

// merge adds what changed to what is known of a patient. What was deleted meanwhile
// goes with the next fetch of all.
//
//	stop before the lists are written: newer resources, in lists of an older time
func (r *Reader) merge(patient fhir.Ref, a fhir.Answer) error {
	changed, records, err := r.members(a)
	if err != nil {
		return err
	}
	keys := []string{fhir.Everything{Patient: patient}.Key()}
	for _, t := range fhir.Clinical() {
		keys = append(keys, fhir.Whole(t, patient).Key())
	}
	for i, key := range keys {
		list, members, ok, err := r.Cache.readList(key)
		if err != nil || !ok {
			continue // never fetched whole: a change makes it no wholer
		}
		for _, m := range changed {
			ref, ok := m.ref()
			if ok && (i == 0 || fhir.Whole(ref.Type, patient).Key() == key) && !slices.Contains(members, m) {
				members = append(members, m)
			}
		}
		list.At, list.Policy = a.At, a.Policy
		records = append(records, listOf(key, list, members))
	}
	return r.Cache.PutAll(records)
}

// Held says when all of a patient was fetched or swept last, zero when it never was,
// and how many resources that were.
func (r *Reader) Held(patient fhir.Ref) (at time.Time, resources int) {
	a, members, ok, err := r.Cache.readList(fhir.Everything{Patient: patient}.Key())
	if err != nil || !ok {
		return time.Time{}, 0
	}
	return a.At, len(members)
}
